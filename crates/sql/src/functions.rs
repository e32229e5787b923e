//! Flink's functions under Flink's names.
//!
//! A scalar function is a [`Definition`]: its parameters, its result and how a batch of rows is
//! evaluated. A name that is not registered here does not exist, so nothing with another meaning slips
//! in from DataFusion. Functions whose value would differ when a job is restarted are marked volatile
//! or stable: streaming queries refuse them.

mod condition;
mod encode;
mod json;
mod math;
mod moment;
mod number;
mod regex;
mod text;
mod time;
mod time_pattern;

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Float64Array, Int32Array, Int64Array,
    StringArray, TimestampMicrosecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Field, FieldRef, Float64Type, Int32Type, Int64Type, TimeUnit,
    TimestampMicrosecondType,
};
use chrono::FixedOffset;
use chrono_tz::Tz;
use datafusion::common::{DataFusionError, Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::type_coercion::binary::type_union_coercion;
use datafusion::logical_expr::{
    AggregateUDF, ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, Volatility, WindowUDF,
};

use crate::session::SessionZone;

pub(crate) use encode::sha256_hex;
pub(crate) use moment::{
    CUT_MOMENT, CUT_TEXT, PAD_TEXT, instant_of_local, local_of_instant, text_of_boolean,
    text_of_moment,
};

/// The zone in which instants are stored.
pub(crate) const UTC: &str = "+00:00";

/// What a function takes in one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parameter {
    /// Text; other simple values are printed.
    Text,
    /// A whole number of 32 bits.
    Int,
    /// A whole number of 64 bits.
    BigInt,
    /// A number with a fraction.
    Double,
    /// Any number, in its own type; text is read as a number with a fraction.
    Number,
    /// Bytes; text stands for its UTF-8 form.
    Bytes,
    /// Yes or no.
    Boolean,
    /// A date, a time stamp or an instant; text is read as a time stamp.
    Moment,
    /// Anything.
    Any,
    /// The common type of all arguments in such places.
    Common,
}

/// The type of a function's result.
#[derive(Clone, Copy)]
pub(crate) enum Returns {
    /// `STRING`.
    Text,
    /// `INT`.
    Int,
    /// `BIGINT`.
    BigInt,
    /// `DOUBLE`.
    Double,
    /// `BOOLEAN`.
    Boolean,
    /// `BYTES`.
    Bytes,
    /// `DATE`.
    Date,
    /// `TIMESTAMP`.
    Timestamp,
    /// `TIMESTAMP_LTZ`.
    Instant,
    /// The type of the argument at this place.
    Like(usize),
    /// Derived from the argument types and the constants among the arguments.
    Derived(fn(&[DataType], &[Option<&ScalarValue>]) -> Result<DataType>),
}

/// A scalar function.
#[derive(Clone)]
pub(crate) struct Definition {
    name: &'static str,
    parameters: &'static [Parameter],
    required: usize,
    variadic: bool,
    returns: Returns,
    volatility: Volatility,
    evaluate: fn(&Arguments<'_>) -> Result<ArrayRef>,
}

impl Definition {
    /// A function whose arguments are all required and whose value depends on nothing else.
    pub(crate) const fn new(
        name: &'static str,
        parameters: &'static [Parameter],
        returns: Returns,
        evaluate: fn(&Arguments<'_>) -> Result<ArrayRef>,
    ) -> Self {
        let required = parameters.len();
        let volatility = Volatility::Immutable;
        Self { name, parameters, required, variadic: false, returns, volatility, evaluate }
    }

    /// The same function with only the first `count` arguments required.
    pub(crate) const fn required(mut self, count: usize) -> Self {
        self.required = count;
        self
    }

    /// The same function, its last parameter repeated at will.
    pub(crate) const fn variadic(mut self) -> Self {
        self.variadic = true;
        self
    }

    /// The same function under another name.
    pub(crate) const fn named(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    /// The same function, with a new value for each row.
    pub(crate) const fn volatile(mut self) -> Self {
        self.volatility = Volatility::Volatile;
        self
    }

    fn parameter(&self, place: usize) -> Option<Parameter> {
        match self.parameters.get(place) {
            Some(parameter) => Some(*parameter),
            None if self.variadic => self.parameters.last().copied(),
            None => None,
        }
    }

    /// The function as DataFusion calls it.
    pub(crate) fn into_udf(self) -> ScalarUDF {
        let signature = Signature::user_defined(self.volatility);
        ScalarUDF::new_from_impl(FlinkFunction { definition: self, signature })
    }
}

/// The arguments of one call: a column for each, of equal length.
pub(crate) struct Arguments<'a> {
    columns: &'a [ArrayRef],
    /// How many rows are evaluated.
    pub(crate) rows: usize,
    /// The session's time zone.
    pub(crate) zone: SessionZone,
    /// The type of the result.
    pub(crate) return_type: &'a DataType,
}

impl Arguments<'_> {
    /// How many arguments were given.
    pub(crate) fn count(&self) -> usize {
        self.columns.len()
    }

    /// An argument of any type.
    pub(crate) fn any(&self, place: usize) -> Result<&ArrayRef> {
        self.columns
            .get(place)
            .ok_or_else(|| DataFusionError::Execution(format!("argument {place} is missing")))
    }

    /// A `Text` argument.
    pub(crate) fn text(&self, place: usize) -> Result<&StringArray> {
        self.typed(place, |column| column.as_string_opt::<i32>())
    }

    /// An `Int` argument.
    pub(crate) fn int(&self, place: usize) -> Result<&Int32Array> {
        self.typed(place, |column| column.as_primitive_opt::<Int32Type>())
    }

    /// A `BigInt` argument.
    pub(crate) fn big_int(&self, place: usize) -> Result<&Int64Array> {
        self.typed(place, |column| column.as_primitive_opt::<Int64Type>())
    }

    /// A `Double` argument.
    pub(crate) fn double(&self, place: usize) -> Result<&Float64Array> {
        self.typed(place, |column| column.as_primitive_opt::<Float64Type>())
    }

    /// A `Bytes` argument.
    pub(crate) fn bytes(&self, place: usize) -> Result<&BinaryArray> {
        self.typed(place, |column| column.as_binary_opt::<i32>())
    }

    /// A `Boolean` argument.
    pub(crate) fn boolean(&self, place: usize) -> Result<&BooleanArray> {
        self.typed(place, |column| column.as_boolean_opt())
    }

    /// A `Moment` argument as wall-clock microseconds since 1970, instants seen in the session's zone.
    pub(crate) fn local(&self, place: usize) -> Result<TimestampMicrosecondArray> {
        let column = self.any(place)?;
        let zoned = matches!(column.data_type(), DataType::Timestamp(_, Some(_)));
        let column = cast(column, &DataType::Timestamp(TimeUnit::Microsecond, None))?;
        let local = column.as_primitive::<TimestampMicrosecondType>();
        Ok(if zoned { moment::to_local(local, self.zone) } else { local.clone() })
    }

    fn typed<'b, T>(
        &'b self,
        place: usize,
        downcast: impl Fn(&'b ArrayRef) -> Option<&'b T>,
    ) -> Result<&'b T> {
        let column = self.any(place)?;
        downcast(column).ok_or_else(|| {
            DataFusionError::Execution(format!(
                "argument {place} has the unexpected type {}",
                column.data_type()
            ))
        })
    }

    /// True if any argument of the row is NULL.
    pub(crate) fn has_null(&self, row: usize) -> bool {
        self.columns.iter().any(|column| column.is_null(row))
    }

    /// One value for each row: NULL where an argument is NULL, else what `value` says.
    pub(crate) fn each<T, A: FromIterator<Option<T>> + Array + 'static>(
        &self,
        mut value: impl FnMut(usize) -> Result<Option<T>>,
    ) -> Result<ArrayRef> {
        let array: A = (0..self.rows)
            .map(|row| if self.has_null(row) { Ok(None) } else { value(row) })
            .collect::<Result<_>>()?;
        Ok(Arc::new(array))
    }

    /// [`Self::each`] for a result of text.
    pub(crate) fn each_text(
        &self,
        value: impl FnMut(usize) -> Result<Option<String>>,
    ) -> Result<ArrayRef> {
        self.each::<String, StringArray>(value)
    }
}

#[derive(Clone)]
struct FlinkFunction {
    definition: Definition,
    signature: Signature,
}

impl std::fmt::Debug for FlinkFunction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.definition.name)
    }
}

impl PartialEq for FlinkFunction {
    fn eq(&self, other: &Self) -> bool {
        self.definition.name == other.definition.name
    }
}

impl Eq for FlinkFunction {}

impl Hash for FlinkFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.definition.name.hash(state);
    }
}

impl ScalarUDFImpl for FlinkFunction {
    fn name(&self) -> &str {
        self.definition.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        let definition = &self.definition;
        let name = definition.name.to_uppercase();
        let most = if definition.variadic { usize::MAX } else { definition.parameters.len() };
        if given.len() < definition.required || given.len() > most {
            return plan_err!(
                "Invalid number of arguments to function '{name}'. Was expecting {} arguments",
                expected_count(definition)
            );
        }
        let common = common_type(definition, given)?;
        given
            .iter()
            .enumerate()
            .map(|(place, given)| {
                let parameter = definition.parameter(place).unwrap_or(Parameter::Any);
                coerce(parameter, given, common.as_ref()).ok_or_else(|| {
                    DataFusionError::Plan(format!(
                        "Cannot apply '{name}': argument {} of type {given} is not supported",
                        place + 1
                    ))
                })
            })
            .collect()
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        self.result_type(arguments, &vec![None; arguments.len()])
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let types: Vec<DataType> =
            args.arg_fields.iter().map(|field| field.data_type().clone()).collect();
        let result = self.result_type(&types, args.scalar_arguments)?;
        Ok(Arc::new(Field::new(self.definition.name, result, true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let constant = !args.args.is_empty()
            && args.args.iter().all(|value| matches!(value, ColumnarValue::Scalar(_)))
            && self.definition.volatility != Volatility::Volatile;
        let columns = ColumnarValue::values_to_arrays(&args.args)?;
        let rows = if constant { 1 } else { args.number_rows };
        let arguments = Arguments {
            columns: &columns,
            rows,
            zone: zone_of(args.config_options.execution.time_zone.as_deref())?,
            return_type: args.return_field.data_type(),
        };
        let result = (self.definition.evaluate)(&arguments)?;
        if constant {
            Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?))
        } else {
            Ok(ColumnarValue::Array(result))
        }
    }
}

impl FlinkFunction {
    fn result_type(
        &self,
        arguments: &[DataType],
        constants: &[Option<&ScalarValue>],
    ) -> Result<DataType> {
        Ok(match self.definition.returns {
            Returns::Text => DataType::Utf8,
            Returns::Int => DataType::Int32,
            Returns::BigInt => DataType::Int64,
            Returns::Double => DataType::Float64,
            Returns::Boolean => DataType::Boolean,
            Returns::Bytes => DataType::Binary,
            Returns::Date => DataType::Date32,
            Returns::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            Returns::Instant => DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into())),
            Returns::Like(place) => arguments.get(place).cloned().unwrap_or(DataType::Null),
            Returns::Derived(derive) => derive(arguments, constants)?,
        })
    }
}

fn expected_count(definition: &Definition) -> String {
    match (definition.required, definition.parameters.len(), definition.variadic) {
        (least, _, true) => format!("at least {least}"),
        (least, most, false) if least == most => least.to_string(),
        (least, most, false) => format!("{least} to {most}"),
    }
}

fn common_type(definition: &Definition, given: &[DataType]) -> Result<Option<DataType>> {
    let mut common: Option<DataType> = None;
    for (place, data_type) in given.iter().enumerate() {
        if definition.parameter(place) != Some(Parameter::Common) {
            continue;
        }
        common = Some(match common {
            None => data_type.clone(),
            Some(so_far) => type_union_coercion(&so_far, data_type).ok_or_else(|| {
                DataFusionError::Plan(format!(
                    "Cannot apply '{}': {so_far} and {data_type} have no common type",
                    definition.name.to_uppercase()
                ))
            })?,
        });
    }
    Ok(common)
}

fn coerce(parameter: Parameter, given: &DataType, common: Option<&DataType>) -> Option<DataType> {
    let simple = !given.is_nested();
    let number = given.is_numeric() || given.is_null();
    let text = matches!(given, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    let target = match parameter {
        Parameter::Any => given.clone(),
        Parameter::Common => common?.clone(),
        Parameter::Text if simple && !is_binary(given) => DataType::Utf8,
        Parameter::Int if number || text => DataType::Int32,
        Parameter::BigInt if number || text => DataType::Int64,
        Parameter::Double if number || text => DataType::Float64,
        Parameter::Number if given.is_null() => DataType::Int32,
        Parameter::Number if number => given.clone(),
        Parameter::Number if text => DataType::Float64,
        Parameter::Bytes if text || is_binary(given) || given.is_null() => DataType::Binary,
        Parameter::Boolean if given == &DataType::Boolean || given.is_null() => DataType::Boolean,
        Parameter::Moment => match given {
            DataType::Timestamp(_, Some(_)) => {
                DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into()))
            }
            DataType::Timestamp(_, None) | DataType::Date32 | DataType::Null => {
                DataType::Timestamp(TimeUnit::Microsecond, None)
            }
            _ if text => DataType::Timestamp(TimeUnit::Microsecond, None),
            _ => return None,
        },
        _ => return None,
    };
    Some(target)
}

const fn is_binary(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_)
    )
}

/// Where no zone is set, and for wall-clock times.
pub(crate) const UTC_ZONE: SessionZone = SessionZone::Named(Tz::UTC);

/// The session's time zone from DataFusion's configuration; UTC if none is set.
pub(crate) fn zone_of(name: Option<&str>) -> Result<SessionZone> {
    let Some(name) = name.filter(|name| *name != UTC) else { return Ok(UTC_ZONE) };
    if let Ok(zone) = name.parse::<Tz>() {
        return Ok(SessionZone::Named(zone));
    }
    match name.parse::<FixedOffset>() {
        Ok(offset) => Ok(SessionZone::Fixed(offset)),
        Err(_) => exec_err!("unknown time zone '{name}'; use a name such as Asia/Shanghai"),
    }
}

/// All functions that a query may name, by lower-case name.
pub(crate) struct FunctionRegistry {
    pub(crate) scalars: BTreeMap<String, Arc<ScalarUDF>>,
    pub(crate) aggregates: BTreeMap<String, Arc<AggregateUDF>>,
    pub(crate) windows: BTreeMap<String, Arc<WindowUDF>>,
}

impl FunctionRegistry {
    /// Flink's functions: ours, and those of DataFusion that mean the same.
    pub(crate) fn new() -> Self {
        let mut scalars = same_in_datafusion();
        let ours = text::definitions()
            .into_iter()
            .chain(regex::definitions())
            .chain(condition::definitions())
            .chain(number::definitions())
            .chain(math::definitions())
            .chain(time::definitions())
            .chain(encode::definitions())
            .chain(json::definitions())
            .chain(moment::definitions());
        for definition in ours {
            scalars.insert(definition.name.to_owned(), Arc::new(definition.into_udf()));
        }
        scalars.extend(time::clock_functions());
        let aggregates = aggregate_functions();
        let windows = datafusion::functions_window::all_default_window_functions()
            .into_iter()
            .map(|function| (function.name().to_lowercase(), function))
            .collect();
        Self { scalars, aggregates, windows }
    }

    /// All names, in upper case and in order.
    pub(crate) fn names(&self) -> Vec<String> {
        let names = self.scalars.keys().chain(self.aggregates.keys()).chain(self.windows.keys());
        let mut names: Vec<String> =
            names.filter(|name| !name.starts_with("__")).map(|name| name.to_uppercase()).collect();
        names.sort();
        names.dedup();
        names
    }
}

/// Flink's name and DataFusion's, of functions that mean the same.
const SAME: &[(&str, &str)] = &[
    ("upper", "upper"),
    ("lower", "lower"),
    ("char_length", "character_length"),
    ("character_length", "character_length"),
    ("btrim", "btrim"),
    ("trim", "btrim"),
    ("ltrim", "ltrim"),
    ("rtrim", "rtrim"),
    ("replace", "replace"),
    ("reverse", "reverse"),
    ("repeat", "repeat"),
    ("lpad", "lpad"),
    ("rpad", "rpad"),
    ("initcap", "initcap"),
    ("left", "left"),
    ("right", "right"),
    ("nullif", "nullif"),
    ("coalesce", "coalesce"),
    ("overlay", "overlay"),
    ("cardinality", "cardinality"),
    ("array_contains", "array_has"),
    ("array_distinct", "array_distinct"),
    ("array_position", "array_position"),
    ("array_append", "array_append"),
    ("array_concat", "array_concat"),
    ("array_join", "array_to_string"),
    // What the planner of expressions needs for literals and operators.
    ("make_array", "make_array"),
    ("array", "make_array"),
    ("map", "map"),
    ("struct", "struct"),
    ("row", "struct"),
    ("named_struct", "named_struct"),
    ("get_field", "get_field"),
];

fn same_in_datafusion() -> BTreeMap<String, Arc<ScalarUDF>> {
    let mut by_name = BTreeMap::new();
    let all = datafusion::functions::all_default_functions()
        .into_iter()
        .chain(datafusion::functions_nested::all_default_nested_functions());
    for function in all {
        by_name.insert(function.name().to_lowercase(), Arc::clone(&function));
        for alias in function.aliases() {
            by_name.insert(alias.to_lowercase(), Arc::clone(&function));
        }
    }
    SAME.iter()
        .filter_map(|(flink, datafusion)| {
            Some(((*flink).to_owned(), Arc::clone(by_name.get(*datafusion)?)))
        })
        .collect()
}

/// Flink's name and DataFusion's, of aggregate functions.
const AGGREGATES: &[(&str, &str)] = &[
    ("count", "count"),
    ("sum", "sum"),
    ("avg", "avg"),
    ("min", "min"),
    ("max", "max"),
    ("stddev_pop", "stddev_pop"),
    ("stddev_samp", "stddev"),
    ("stddev", "stddev"),
    ("var_pop", "var_pop"),
    ("var_samp", "var"),
    ("variance", "var"),
    ("first_value", "first_value"),
    ("last_value", "last_value"),
    ("listagg", "string_agg"),
    ("array_agg", "array_agg"),
    ("collect", "array_agg"),
    ("approx_count_distinct", "approx_distinct"),
    ("grouping", "grouping"),
];

fn aggregate_functions() -> BTreeMap<String, Arc<AggregateUDF>> {
    let mut by_name = BTreeMap::new();
    for function in datafusion::functions_aggregate::all_default_aggregate_functions() {
        by_name.insert(function.name().to_lowercase(), Arc::clone(&function));
        for alias in function.aliases() {
            by_name.insert(alias.to_lowercase(), Arc::clone(&function));
        }
    }
    AGGREGATES
        .iter()
        .filter_map(|(flink, datafusion)| {
            Some(((*flink).to_owned(), Arc::clone(by_name.get(*datafusion)?)))
        })
        .collect()
}

#[cfg(test)]
mod tests;
