//! Functions from numbers with a fraction to numbers with a fraction.

use std::f64::consts;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int32Array, StringArray};
use datafusion::common::Result;

use super::Parameter::{BigInt, Double, Int};
use super::{Arguments, Definition, Returns};

type Unary = fn(&Arguments<'_>) -> Result<ArrayRef>;

/// Makes a function of the signature that [`Definition`] wants from an expression over one number.
macro_rules! unary {
    ($value:ident => $result:expr) => {
        |arguments: &Arguments<'_>| {
            let values = arguments.double(0)?;
            Ok(Arc::new(
                values
                    .iter()
                    .map(|value| value.map(|$value: f64| $result))
                    .collect::<Float64Array>(),
            ))
        }
    };
}

pub(super) fn definitions() -> Vec<Definition> {
    let unary: [(&'static str, Unary); 17] = [
        ("sqrt", unary!(x => x.sqrt())),
        ("exp", unary!(x => x.exp())),
        ("ln", unary!(x => x.ln())),
        ("log2", unary!(x => x.log2())),
        ("log10", unary!(x => x.log10())),
        ("sin", unary!(x => x.sin())),
        ("cos", unary!(x => x.cos())),
        ("tan", unary!(x => x.tan())),
        ("cot", unary!(x => x.tan().recip())),
        ("asin", unary!(x => x.asin())),
        ("acos", unary!(x => x.acos())),
        ("atan", unary!(x => x.atan())),
        ("sinh", unary!(x => x.sinh())),
        ("cosh", unary!(x => x.cosh())),
        ("tanh", unary!(x => x.tanh())),
        ("degrees", unary!(x => x.to_degrees())),
        ("radians", unary!(x => x.to_radians())),
    ];
    let mut all: Vec<Definition> = unary
        .into_iter()
        .map(|(name, evaluate)| Definition::new(name, &[Double], Returns::Double, evaluate))
        .collect();
    all.extend([
        Definition::new("power", &[Double, Double], Returns::Double, power),
        Definition::new("atan2", &[Double, Double], Returns::Double, atan2),
        Definition::new("log", &[Double, Double], Returns::Double, log).required(1),
        Definition::new("pi", &[], Returns::Double, |arguments| constant(arguments, consts::PI)),
        Definition::new("e", &[], Returns::Double, |arguments| constant(arguments, consts::E)),
        Definition::new("bin", &[BigInt], Returns::Text, bin),
        Definition::new("rand", &[Int], Returns::Double, rand).required(0).volatile(),
        Definition::new("rand_integer", &[Int], Returns::Int, rand_integer).volatile(),
        Definition::new("uuid", &[], Returns::Text, uuid).volatile(),
    ]);
    all
}

fn constant(arguments: &Arguments<'_>, value: f64) -> Result<ArrayRef> {
    Ok(Arc::new(Float64Array::from(vec![value; arguments.rows])))
}

fn power(arguments: &Arguments<'_>) -> Result<ArrayRef> {
    let (base, exponent) = (arguments.double(0)?, arguments.double(1)?);
    arguments.each::<f64, Float64Array>(|row| Ok(Some(base.value(row).powf(exponent.value(row)))))
}

fn atan2(arguments: &Arguments<'_>) -> Result<ArrayRef> {
    let (y, x) = (arguments.double(0)?, arguments.double(1)?);
    arguments.each::<f64, Float64Array>(|row| Ok(Some(y.value(row).atan2(x.value(row)))))
}

/// `LOG(x)` is the natural logarithm; `LOG(base, x)` that of a base.
fn log(arguments: &Arguments<'_>) -> Result<ArrayRef> {
    let first = arguments.double(0)?;
    let second = if arguments.count() > 1 { Some(arguments.double(1)?) } else { None };
    arguments.each::<f64, Float64Array>(|row| {
        let first = first.value(row);
        Ok(Some(second.map_or_else(|| first.ln(), |x| x.value(row).ln() / first.ln())))
    })
}

fn bin(arguments: &Arguments<'_>) -> Result<ArrayRef> {
    let number = arguments.big_int(0)?;
    arguments.each_text(|row| Ok(Some(format!("{:b}", number.value(row)))))
}

/// A number in [0, 1): the high 53 bits of a random UUID's random half.
fn fraction() -> f64 {
    let (_, random) = uuid::Uuid::new_v4().as_u64_pair();
    // The two highest bits of that half are the UUID's variant; they are shifted out.
    let bits = (random << 2) >> 11;
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit a double exactly")]
    let whole = bits as f64;
    whole / 9_007_199_254_740_992.0
}

fn rand(arguments: &Arguments<'_>) -> Result<ArrayRef> {
    if arguments.count() > 0 {
        return datafusion::common::exec_err!("RAND with a seed is not supported; use RAND()");
    }
    Ok(Arc::new((0..arguments.rows).map(|_| Some(fraction())).collect::<Float64Array>()))
}

fn rand_integer(arguments: &Arguments<'_>) -> Result<ArrayRef> {
    let bound = arguments.int(0)?;
    arguments.each::<i32, Int32Array>(|row| {
        #[expect(clippy::cast_possible_truncation, reason = "below the bound, which is an INT")]
        let value = (fraction() * f64::from(bound.value(row))).floor() as i32;
        Ok(Some(value))
    })
}

fn uuid(arguments: &Arguments<'_>) -> Result<ArrayRef> {
    let ids = (0..arguments.rows).map(|_| Some(uuid::Uuid::new_v4().to_string()));
    Ok(Arc::new(ids.collect::<StringArray>()))
}
