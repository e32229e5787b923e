//! Functions that choose between values.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, Datum, new_null_array};
use arrow::compute::kernels::cmp::{gt, lt};
use arrow::compute::kernels::zip::zip;
use arrow::compute::{and, is_not_null, is_null, or};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use datafusion::common::{Result, ScalarValue};

use super::Parameter::{Boolean, Common, Text};
use super::{Arguments, Definition, Returns};

pub(super) fn definitions() -> Vec<Definition> {
    vec![
        Definition::new("ifnull", &[Common, Common], Returns::Like(0), if_null),
        Definition::new("if", &[Boolean, Common, Common], Returns::Like(1), choose),
        Definition::new("greatest", &[Common], Returns::Like(0), greatest).variadic(),
        Definition::new("least", &[Common], Returns::Like(0), least).variadic(),
        Definition::new("is_alpha", &[Text], Returns::Boolean, is_alpha),
        Definition::new("is_digit", &[Text], Returns::Boolean, is_digit),
        Definition::new("is_decimal", &[Text], Returns::Boolean, is_decimal),
    ]
}

fn if_null(arguments: &Arguments<'_>) -> Result<ArrayRef> {
    let (first, second) = (arguments.any(0)?, arguments.any(1)?);
    Ok(zip(&is_not_null(first)?, first, second)?)
}

/// NULL counts as false.
fn choose(arguments: &Arguments<'_>) -> Result<ArrayRef> {
    let condition = arguments.boolean(0)?;
    let condition = match condition.nulls() {
        Some(_) => and(&is_not_null(condition)?, &nulls_as_false(condition))?,
        None => condition.clone(),
    };
    Ok(zip(&condition, arguments.any(1)?, arguments.any(2)?)?)
}

fn nulls_as_false(mask: &BooleanArray) -> BooleanArray {
    mask.iter().map(|value| Some(value.unwrap_or(false))).collect()
}

type Comparison = fn(&dyn Datum, &dyn Datum) -> std::result::Result<BooleanArray, ArrowError>;

fn greatest(arguments: &Arguments<'_>) -> Result<ArrayRef> {
    extreme(arguments, gt)
}

fn least(arguments: &Arguments<'_>) -> Result<ArrayRef> {
    extreme(arguments, lt)
}

/// NULL if any argument is NULL, unlike DataFusion's functions of those names.
fn extreme(arguments: &Arguments<'_>, better: Comparison) -> Result<ArrayRef> {
    let mut best = Arc::clone(arguments.any(0)?);
    if best.data_type() == &DataType::Null {
        return Ok(best);
    }
    let mut missing = is_null(&best)?;
    for place in 1..arguments.count() {
        let candidate = arguments.any(place)?;
        missing = or(&missing, &is_null(candidate)?)?;
        best = zip(&nulls_as_false(&better(candidate, &best)?), candidate, &best)?;
    }
    let nothing = ScalarValue::try_from(best.data_type())?.to_scalar()?;
    if best.is_empty() {
        return Ok(new_null_array(best.data_type(), 0));
    }
    Ok(zip(&missing, &nothing, &best)?)
}

fn is_alpha(arguments: &Arguments<'_>) -> Result<ArrayRef> {
    every(arguments, |text| !text.is_empty() && text.chars().all(char::is_alphabetic))
}

fn is_digit(arguments: &Arguments<'_>) -> Result<ArrayRef> {
    every(arguments, |text| !text.is_empty() && text.chars().all(char::is_numeric))
}

fn is_decimal(arguments: &Arguments<'_>) -> Result<ArrayRef> {
    every(arguments, |text| text.trim().parse::<f64>().is_ok_and(f64::is_finite))
}

/// NULL is none of these things, so the answer for it is false.
fn every(arguments: &Arguments<'_>, holds: impl Fn(&str) -> bool) -> Result<ArrayRef> {
    let text = arguments.text(0)?;
    let answers = text.iter().map(|value| Some(value.is_some_and(&holds)));
    Ok(Arc::new(answers.collect::<BooleanArray>()))
}
