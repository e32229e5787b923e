//! Functions over numbers that keep the kind of number: whole, decimal or with a fraction.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, Float64Array, Int64Array};
use arrow::compute::kernels::numeric::rem;
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::{
    DECIMAL128_MAX_PRECISION, DataType, Decimal128Type, Float64Type, Int64Type,
};
use arrow::error::ArrowError;
use datafusion::common::{DataFusionError, Result, ScalarValue, exec_err};

use super::Parameter::{Common, Int, Number};
use super::{Arguments, Definition, Returns};

pub(super) fn definitions() -> Vec<Definition> {
    let ceil = Definition::new("ceil", &[Number], Returns::Derived(whole), ceil);
    vec![
        Definition::new("abs", &[Number], Returns::Like(0), abs),
        ceil.clone(),
        ceil.named("ceiling"),
        Definition::new("floor", &[Number], Returns::Derived(whole), floor),
        Definition::new("round", &[Number, Int], Returns::Derived(rounded), round).required(1),
        Definition::new("truncate", &[Number, Int], Returns::Derived(rounded), truncate)
            .required(1),
        Definition::new("sign", &[Number], Returns::Like(0), sign),
        Definition::new("mod", &[Common, Common], Returns::Like(0), modulo),
    ]
}

/// How a function works on each kind of number.
struct Kinds {
    whole: fn(i64, i32) -> Option<i64>,
    /// On the unscaled value, with its scale, the scale of the result and the digits asked for.
    decimal: fn(i128, i8, i8, i32) -> Option<i128>,
    fraction: fn(f64, i32) -> f64,
}

fn apply(arguments: &Arguments<'_>, kinds: &Kinds) -> Result<ArrayRef> {
    let (values, target) = (arguments.any(0)?, arguments.return_type);
    let digits = if arguments.count() > 1 { Some(arguments.int(1)?) } else { None };
    let digits = |row: usize| digits.map_or(0, |digits| digits.value(row));
    match (values.data_type(), target) {
        (DataType::Decimal128(_, from), DataType::Decimal128(precision, to)) => {
            let values = values.as_primitive::<Decimal128Type>();
            let result = arguments.each::<i128, Decimal128Array>(|row| {
                (kinds.decimal)(values.value(row), *from, *to, digits(row))
                    .map(Some)
                    .ok_or_else(out_of_range)
            })?;
            let result = result.as_primitive::<Decimal128Type>().clone();
            Ok(Arc::new(result.with_precision_and_scale(*precision, *to)?))
        }
        (DataType::Float32 | DataType::Float64, _) => {
            let wide = cast(values, &DataType::Float64)?;
            let values = wide.as_primitive::<Float64Type>();
            let result = arguments.each::<f64, Float64Array>(|row| {
                Ok(Some((kinds.fraction)(values.value(row), digits(row))))
            })?;
            Ok(cast(&result, target)?)
        }
        _ => {
            let wide = cast(values, &DataType::Int64)?;
            let values = wide.as_primitive::<Int64Type>();
            let result = arguments.each::<i64, Int64Array>(|row| {
                (kinds.whole)(values.value(row), digits(row)).map(Some).ok_or_else(out_of_range)
            })?;
            let strict = CastOptions { safe: false, ..CastOptions::default() };
            Ok(cast_with_options(&result, target, &strict).map_err(|_| out_of_range())?)
        }
    }
}

fn out_of_range() -> DataFusionError {
    DataFusionError::Execution(
        "the result of a number function is out of the range of its type; CAST the argument to a \
         wider type"
            .to_owned(),
    )
}

fn whole(arguments: &[DataType], _: &[Option<&ScalarValue>]) -> Result<DataType> {
    Ok(match arguments.first() {
        Some(DataType::Decimal128(precision, scale)) => {
            let integral = i16::from(*precision) - i16::from(*scale) + 1;
            let precision = u8::try_from(integral.clamp(1, 38)).unwrap_or(DECIMAL128_MAX_PRECISION);
            DataType::Decimal128(precision, 0)
        }
        Some(other) => other.clone(),
        None => DataType::Null,
    })
}

/// `ROUND` and `TRUNCATE` of a decimal to a constant number of digits have that scale.
fn rounded(arguments: &[DataType], constants: &[Option<&ScalarValue>]) -> Result<DataType> {
    let Some(DataType::Decimal128(precision, scale)) = arguments.first() else {
        return Ok(arguments.first().cloned().unwrap_or(DataType::Null));
    };
    let digits = match constants.get(1) {
        None => 0,
        Some(Some(ScalarValue::Int32(Some(digits)))) => i64::from(*digits),
        Some(Some(ScalarValue::Int64(Some(digits)))) => *digits,
        Some(_) => i64::from(*scale),
    };
    let kept = i8::try_from(digits.clamp(0, i64::from(*scale))).unwrap_or(*scale);
    let integral = i16::from(*precision) - i16::from(*scale) + 1;
    let precision =
        u8::try_from((integral + i16::from(kept)).clamp(1, 38)).unwrap_or(DECIMAL128_MAX_PRECISION);
    Ok(DataType::Decimal128(precision, kept))
}

fn abs(arguments: &Arguments<'_>) -> Result<ArrayRef> {
    let kinds = Kinds {
        whole: |x, _| x.checked_abs(),
        decimal: |x, _, _, _| x.checked_abs(),
        fraction: |x, _| x.abs(),
    };
    apply(arguments, &kinds)
}

fn sign(arguments: &Arguments<'_>) -> Result<ArrayRef> {
    let kinds = Kinds {
        whole: |x, _| Some(x.signum()),
        decimal: |x, scale, _, _| power_of_ten(i32::from(scale))?.checked_mul(x.signum()),
        fraction: |x, _| if x == 0.0 || x.is_nan() { x } else { x.signum() },
    };
    apply(arguments, &kinds)
}

fn ceil(arguments: &Arguments<'_>) -> Result<ArrayRef> {
    let kinds = Kinds {
        whole: |x, _| Some(x),
        decimal: |x, scale, _, _| {
            let unit = power_of_ten(i32::from(scale))?;
            Some(x.div_euclid(unit) + i128::from(x.rem_euclid(unit) != 0))
        },
        fraction: |x, _| x.ceil(),
    };
    apply(arguments, &kinds)
}

fn floor(arguments: &Arguments<'_>) -> Result<ArrayRef> {
    let kinds = Kinds {
        whole: |x, _| Some(x),
        decimal: |x, scale, _, _| Some(x.div_euclid(power_of_ten(i32::from(scale))?)),
        fraction: |x, _| x.floor(),
    };
    apply(arguments, &kinds)
}

/// Half away from zero, as Java's HALF_UP.
fn round(arguments: &Arguments<'_>) -> Result<ArrayRef> {
    let kinds = Kinds {
        whole: |x, digits| narrow(cut(i128::from(x), 0, digits, true)?),
        decimal: |x, from, to, digits| rescale(cut(x, from, digits, true)?, from, to),
        fraction: |x, digits| {
            let unit = 10_f64.powi(digits);
            if (x * unit).is_finite() { (x * unit).round() / unit } else { x }
        },
    };
    apply(arguments, &kinds)
}

fn truncate(arguments: &Arguments<'_>) -> Result<ArrayRef> {
    let kinds = Kinds {
        whole: |x, digits| narrow(cut(i128::from(x), 0, digits, false)?),
        decimal: |x, from, to, digits| rescale(cut(x, from, digits, false)?, from, to),
        fraction: |x, digits| {
            let unit = 10_f64.powi(digits);
            if (x * unit).is_finite() { (x * unit).trunc() / unit } else { x }
        },
    };
    apply(arguments, &kinds)
}

fn narrow(value: i128) -> Option<i64> {
    i64::try_from(value).ok()
}

/// `value` of scale `scale`, with all digits behind the first `digits` set to zero.
fn cut(value: i128, scale: i8, digits: i32, round: bool) -> Option<i128> {
    let surplus = i32::from(scale).saturating_sub(digits);
    if surplus <= 0 {
        return Some(value);
    }
    let Some(unit) = power_of_ten(surplus) else { return Some(0) };
    let rest = value % unit;
    let cut = value - rest;
    if round && rest.abs() * 2 >= unit { cut.checked_add(unit * value.signum()) } else { Some(cut) }
}

/// The unscaled value at scale `to` instead of `from`, which is not smaller.
fn rescale(value: i128, from: i8, to: i8) -> Option<i128> {
    Some(value / power_of_ten(i32::from(from) - i32::from(to))?)
}

fn power_of_ten(exponent: i32) -> Option<i128> {
    10_i128.checked_pow(u32::try_from(exponent).ok()?)
}

fn modulo(arguments: &Arguments<'_>) -> Result<ArrayRef> {
    let (left, right) = (arguments.any(0)?, arguments.any(1)?);
    match rem(left, right) {
        Ok(rest) => Ok(cast(&rest, arguments.return_type)?),
        Err(ArrowError::DivideByZero) => exec_err!("Division by zero"),
        Err(other) => Err(other.into()),
    }
}
