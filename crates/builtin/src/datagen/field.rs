//! How one column of `datagen` is made.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array,
    Int64Array, ListArray, MapArray, StringArray, StructArray, Time64MicrosecondArray,
    TimestampMicrosecondArray, new_null_array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use rand::Rng;
use rand::rngs::SmallRng;
use shardlake_change::LogicalType;
use shardlake_connector::{Error, TableDefinition, parse_duration_ms};

const KEYS: [&str; 9] =
    ["kind", "min", "max", "max-past", "length", "var-len", "null-rate", "start", "end"];
const DAY_MICROS: i64 = 86_400_000_000;

#[derive(Clone, Debug)]
enum Kind {
    Random(RandomSpec),
    Sequence { start: i64, end: i64 },
}

/// The bounds of random values.
#[derive(Clone, Debug)]
struct RandomSpec {
    min: f64,
    max: f64,
    length: usize,
    var_len: bool,
    max_past_ms: u64,
}

/// Makes the values of one column.
#[derive(Clone, Debug)]
pub(super) struct FieldGenerator {
    data_type: LogicalType,
    kind: Kind,
    null_rate: f64,
    /// What makes the parts of a nested value: the element, key and value, or the fields.
    parts: Vec<FieldGenerator>,
}

/// The options of one column, by what stands behind its name.
type FieldOptions<'a> = BTreeMap<&'a str, &'a str>;
/// The options of all columns and of the parts of nested ones, by their path: `customer.first_name`.
type AllOptions<'a> = BTreeMap<&'a str, FieldOptions<'a>>;

/// One generator for each column of the table.
pub(super) fn generators(table: &TableDefinition) -> Result<Vec<FieldGenerator>, Error> {
    let mut given = AllOptions::new();
    for (key, value) in table.options.iter() {
        let Some(rest) = key.strip_prefix("fields.") else { continue };
        let (path, option) = rest.rsplit_once('.').unwrap_or((rest, ""));
        if !KEYS.contains(&option) {
            let keys = KEYS.join(", ");
            return Err(Error::job(format!(
                "Unknown option '{key}' of datagen. A column takes: {keys}"
            )));
        }
        let column = |name: &str| table.schema.index_of(name).is_some();
        if !column(path) && !column(path.split('.').next().unwrap_or_default()) {
            let names: Vec<&str> = table.schema.columns.iter().map(|c| c.name.as_str()).collect();
            return Err(Error::job(format!(
                "The option '{key}' names no column of the table {}. Its columns are: {}",
                table.name,
                names.join(", ")
            )));
        }
        given.entry(path).or_default().insert(option, value);
    }
    let columns = table.schema.columns.iter();
    columns.map(|column| FieldGenerator::of(&column.name, &column.data_type, &given)).collect()
}

/// Reads one option of a column.
fn option<T>(
    name: &str,
    options: &FieldOptions<'_>,
    key: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, Error> {
    let Some(value) = options.get(key) else { return Ok(None) };
    let parsed = parse(value.trim());
    parsed.map(Some).ok_or_else(|| {
        Error::job(format!("Could not parse value '{value}' for key 'fields.{name}.{key}'."))
    })
}

impl FieldGenerator {
    /// What makes the values at a path, with what makes their parts.
    fn of(path: &str, data_type: &LogicalType, given: &AllOptions<'_>) -> Result<Self, Error> {
        let none = FieldOptions::new();
        let mut field = Self::new(path, data_type, given.get(path).unwrap_or(&none))?;
        let part = |name: &str, data_type: &LogicalType| {
            Self::of(&format!("{path}.{name}"), data_type, given)
        };
        field.parts = match data_type {
            LogicalType::Array(element) => vec![part("element", element)?],
            LogicalType::Map(key, value) => vec![part("key", key)?, part("value", value)?],
            LogicalType::Row(fields) => fields
                .iter()
                .map(|(name, data_type)| part(name, data_type))
                .collect::<Result<_, _>>()?,
            _ => Vec::new(),
        };
        Ok(field)
    }

    fn new(name: &str, data_type: &LogicalType, options: &FieldOptions<'_>) -> Result<Self, Error> {
        let number = |key| option(name, options, key, |text| text.parse::<f64>().ok());
        let null_rate = number("null-rate")?.unwrap_or(0.0);
        if !(0.0..=1.0).contains(&null_rate) {
            return Err(Error::job(format!(
                "The value of 'fields.{name}.null-rate' must be between 0 and 1"
            )));
        }
        let kind = match options.get("kind").copied().unwrap_or("random") {
            "random" => {
                let (low, high) = bounds(data_type);
                let (min, max) = (number("min")?.unwrap_or(low), number("max")?.unwrap_or(high));
                if min > max {
                    return Err(Error::job(format!(
                        "'fields.{name}.min' is greater than 'fields.{name}.max'"
                    )));
                }
                let length = option(name, options, "length", |text| text.parse().ok())?;
                Kind::Random(RandomSpec {
                    min,
                    max,
                    length: length.unwrap_or_else(|| default_length(data_type)),
                    var_len: option(name, options, "var-len", |text| text.parse().ok())?
                        .unwrap_or(false),
                    max_past_ms: option(name, options, "max-past", parse_duration_ms)?.unwrap_or(0),
                })
            }
            "sequence" => {
                let bound = |key: &str| {
                    option(name, options, key, |text| text.parse::<i64>().ok())?.ok_or_else(|| {
                        Error::job(format!(
                            "Could not find required property 'fields.{name}.{key}' for sequence \
                             generator."
                        ))
                    })
                };
                let (start, end) = (bound("start")?, bound("end")?);
                check_sequence_type(name, data_type)?;
                Kind::Sequence { start, end }
            }
            other => {
                return Err(Error::job(format!(
                    "Invalid value for option 'fields.{name}.kind'. Supported values are [random, \
                     sequence], but was: {other}"
                )));
            }
        };
        Ok(Self { data_type: data_type.clone(), kind, null_rate, parts: Vec::new() })
    }

    /// How many rows a sequence has; `None` for random values.
    pub(super) fn row_limit(&self) -> Option<u64> {
        match self.kind {
            Kind::Random(_) => None,
            Kind::Sequence { start, end } => {
                let rows = i128::from(end) - i128::from(start) + 1;
                Some(u64::try_from(rows.max(0)).unwrap_or(u64::MAX))
            }
        }
    }

    /// The values of rows `first .. first + rows`.
    pub(super) fn generate(&self, first: u64, rows: u64, random: &mut SmallRng) -> ArrayRef {
        let target = self.data_type.to_arrow();
        let rows = usize::try_from(rows).unwrap_or(usize::MAX);
        match &self.kind {
            Kind::Sequence { start, .. } => {
                let from = start.wrapping_add(i64::try_from(first).unwrap_or(i64::MAX));
                let values: Int64Array = (from..).take(rows).map(Some).collect();
                // A value that does not fit the declared type is NULL, as a cast in SQL would fail.
                cast(&values, &target).unwrap_or_else(|_| new_null_array(&target, rows))
            }
            Kind::Random(spec) => self.random_values(spec, rows, random),
        }
    }

    fn random_values(&self, spec: &RandomSpec, rows: usize, random: &mut SmallRng) -> ArrayRef {
        let target = self.data_type.to_arrow();
        let mut draw = Draw { rows, null_rate: self.null_rate, random };
        let array = match &self.data_type {
            LogicalType::Boolean => draw.array::<BooleanArray, _>(|random| random.random()),
            LogicalType::TinyInt
            | LogicalType::SmallInt
            | LogicalType::Int
            | LogicalType::BigInt => draw.array::<Int64Array, _>(|random| spec.whole(random)),
            LogicalType::Float | LogicalType::Double => {
                draw.array::<Float64Array, _>(|random| spec.fraction(random))
            }
            LogicalType::Decimal { precision, scale } => {
                let digits = draw.array::<Decimal128Array, _>(|random| digits(*precision, random));
                return with_decimal_type(&digits, *precision, *scale);
            }
            LogicalType::Char(_) | LogicalType::VarChar(_) | LogicalType::String => {
                draw.array::<StringArray, _>(|random| hex_text(spec.pick_length(random), random))
            }
            LogicalType::VarBinary(_) | LogicalType::Bytes | LogicalType::Binary(_) => draw
                .array::<BinaryArray, _>(
                |random| random_bytes(spec.pick_length(random), random),
            ),
            LogicalType::Date => draw.array::<Date32Array, _>(|random| {
                i32::try_from(spec.past_micros(random).div_euclid(DAY_MICROS)).unwrap_or(0)
            }),
            LogicalType::Time(_) => draw.array::<Time64MicrosecondArray, _>(|random| {
                spec.past_micros(random).rem_euclid(DAY_MICROS)
            }),
            LogicalType::Timestamp(_) | LogicalType::TimestampLtz(_) => {
                draw.array::<TimestampMicrosecondArray, _>(|random| spec.past_micros(random))
            }
            LogicalType::Array(_) | LogicalType::Map(..) | LogicalType::Row(_) => {
                let nested = self.nested_values(spec, rows, random);
                return nested.unwrap_or_else(|| new_null_array(&target, rows));
            }
        };
        cast(&array, &target).unwrap_or_else(|_| new_null_array(&target, rows))
    }
}

impl FieldGenerator {
    /// Collections of the wanted length, or rows, of what the parts make.
    fn nested_values(
        &self,
        spec: &RandomSpec,
        rows: usize,
        random: &mut SmallRng,
    ) -> Option<ArrayRef> {
        let nulls: Vec<bool> = (0..rows)
            .map(|_| self.null_rate > 0.0 && random.random::<f64>() < self.null_rate)
            .collect();
        let nulls = Some(NullBuffer::from_iter(nulls.iter().map(|is_null| !is_null)));
        let lengths: Vec<usize> = match self.data_type {
            LogicalType::Row(_) => vec![1; rows],
            _ => (0..rows).map(|_| spec.pick_length(random)).collect(),
        };
        let total = lengths.iter().sum::<usize>() as u64;
        let parts: Vec<ArrayRef> =
            self.parts.iter().map(|part| part.generate(0, total, random)).collect();
        let offsets = OffsetBuffer::from_lengths(lengths);
        Some(match self.data_type.to_arrow() {
            DataType::List(field) => {
                let element = parts.into_iter().next()?;
                Arc::new(ListArray::try_new(field, offsets, element, nulls).ok()?)
            }
            DataType::Map(field, sorted) => {
                let DataType::Struct(fields) = field.data_type() else { return None };
                let entries = StructArray::try_new(fields.clone(), parts, None).ok()?;
                Arc::new(MapArray::try_new(field, offsets, entries, nulls, sorted).ok()?)
            }
            DataType::Struct(fields) => Arc::new(StructArray::try_new(fields, parts, nulls).ok()?),
            _ => return None,
        })
    }
}

/// Draws the values of one array.
struct Draw<'a> {
    rows: usize,
    null_rate: f64,
    random: &'a mut SmallRng,
}

impl Draw<'_> {
    fn array<A, T>(&mut self, make: impl Fn(&mut SmallRng) -> T) -> ArrayRef
    where
        A: Array + FromIterator<Option<T>> + 'static,
    {
        let values = (0..self.rows).map(|_| {
            let is_null = self.null_rate > 0.0 && self.random.random::<f64>() < self.null_rate;
            (!is_null).then(|| make(self.random))
        });
        Arc::new(values.collect::<A>())
    }
}

impl RandomSpec {
    /// A whole number between the bounds, both included, cut to 64 bits.
    fn whole(&self, random: &mut SmallRng) -> i64 {
        #[expect(clippy::cast_possible_truncation, reason = "`as` saturates, which is wanted")]
        let (low, high) = (self.min.ceil() as i64, self.max.floor() as i64);
        if low >= high { low } else { random.random_range(low..=high) }
    }

    fn fraction(&self, random: &mut SmallRng) -> f64 {
        self.min + (self.max - self.min) * random.random::<f64>()
    }

    fn pick_length(&self, random: &mut SmallRng) -> usize {
        if self.var_len && self.length > 0 {
            random.random_range(1..=self.length)
        } else {
            self.length
        }
    }

    /// A moment within the allowed past, in microseconds since 1970.
    fn past_micros(&self, random: &mut SmallRng) -> i64 {
        let back =
            if self.max_past_ms == 0 { 0 } else { random.random_range(0..=self.max_past_ms) };
        now_micros() - i64::try_from(back).unwrap_or(0) * 1_000
    }
}

/// At most as many digits as the precision allows, and as fit 64 bits.
fn digits(precision: u8, random: &mut SmallRng) -> i128 {
    i128::from(random.random_range(0..10_i64.pow(u32::from(precision.min(18)))))
}

fn with_decimal_type(values: &ArrayRef, precision: u8, scale: u8) -> ArrayRef {
    let typed = values
        .to_data()
        .into_builder()
        .data_type(LogicalType::Decimal { precision, scale }.to_arrow());
    typed.build().map_or_else(
        |_| new_null_array(&LogicalType::Decimal { precision, scale }.to_arrow(), values.len()),
        |data| Arc::new(Decimal128Array::from(data)),
    )
}

/// Microseconds since 1970.
fn now_micros() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.ok().and_then(|since| i64::try_from(since.as_micros()).ok()).unwrap_or(0)
}

fn hex_text(length: usize, random: &mut SmallRng) -> String {
    (0..length).filter_map(|_| char::from_digit(random.random_range(0..16), 16)).collect()
}

fn random_bytes(length: usize, random: &mut SmallRng) -> Vec<u8> {
    let mut bytes = vec![0; length];
    random.fill(bytes.as_mut_slice());
    bytes
}

/// The least and the greatest value of a number type.
fn bounds(data_type: &LogicalType) -> (f64, f64) {
    match data_type {
        LogicalType::TinyInt => (f64::from(i8::MIN), f64::from(i8::MAX)),
        LogicalType::SmallInt => (f64::from(i16::MIN), f64::from(i16::MAX)),
        LogicalType::Int => (f64::from(i32::MIN), f64::from(i32::MAX)),
        LogicalType::Float => (0.0, f64::from(f32::MAX)),
        LogicalType::Double => (0.0, f64::MAX),
        _ => (-9.3e18, 9.3e18),
    }
}

fn default_length(data_type: &LogicalType) -> usize {
    match data_type {
        LogicalType::Char(len) | LogicalType::Binary(len) => *len as usize,
        LogicalType::VarChar(len) | LogicalType::VarBinary(len) => (*len as usize).min(100),
        LogicalType::Array(_) | LogicalType::Map(..) => 3,
        _ => 100,
    }
}

fn check_sequence_type(name: &str, data_type: &LogicalType) -> Result<(), Error> {
    match data_type {
        LogicalType::TinyInt
        | LogicalType::SmallInt
        | LogicalType::Int
        | LogicalType::BigInt
        | LogicalType::Float
        | LogicalType::Double
        | LogicalType::Decimal { .. }
        | LogicalType::Char(_)
        | LogicalType::VarChar(_)
        | LogicalType::String => Ok(()),
        _ => Err(Error::job(format!(
            "datagen cannot make a sequence of type {data_type} for column '{name}'; use a \
             number or text type"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn every_type_is_made_in_its_arrow_form() {
        let types = [
            LogicalType::Char(3),
            LogicalType::String,
            LogicalType::Boolean,
            LogicalType::Binary(4),
            LogicalType::Bytes,
            LogicalType::Decimal { precision: 10, scale: 2 },
            LogicalType::TinyInt,
            LogicalType::SmallInt,
            LogicalType::Int,
            LogicalType::BigInt,
            LogicalType::Float,
            LogicalType::Double,
            LogicalType::Date,
            LogicalType::Time(3),
            LogicalType::Timestamp(6),
            LogicalType::TimestampLtz(3),
            LogicalType::Array(Box::new(LogicalType::Int)),
            LogicalType::Map(Box::new(LogicalType::String), Box::new(LogicalType::Int)),
            LogicalType::Row(vec![
                ("a".to_owned(), LogicalType::Int),
                ("b".to_owned(), LogicalType::Array(Box::new(LogicalType::String))),
            ]),
        ];
        let mut random = SmallRng::seed_from_u64(1);
        for data_type in types {
            let field = FieldGenerator::of("c", &data_type, &AllOptions::new()).unwrap();
            let array = field.generate(0, 50, &mut random);
            assert_eq!((array.len(), array.null_count()), (50, 0), "{data_type}");
            assert_eq!(array.data_type(), &data_type.to_arrow());
        }
    }

    #[test]
    fn values_stay_within_their_bounds_and_nulls_come_at_their_rate() {
        let options: FieldOptions<'_> =
            [("min", "3"), ("max", "5"), ("null-rate", "0.5")].into_iter().collect();
        let field = FieldGenerator::new("c", &LogicalType::BigInt, &options).unwrap();
        let array = field.generate(0, 1_000, &mut SmallRng::seed_from_u64(7));
        let values = array.as_any().downcast_ref::<Int64Array>().unwrap();
        assert!(values.iter().flatten().all(|value| (3..=5).contains(&value)));
        assert!((300..700).contains(&array.null_count()), "{}", array.null_count());
    }
}
