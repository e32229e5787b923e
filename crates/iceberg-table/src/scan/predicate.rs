//! Filters of a query in a form that can be held against bounds.
//!
//! Only the question "may a row match?" is answered, so whatever has no form here is
//! [`Predicate::Unknown`], which may always match. Negations are pushed down to comparisons on the
//! way in; that is right in three-valued logic, because a NULL satisfies neither a comparison nor
//! its negation. Comparisons follow DataFusion: NaN equals itself and is greater than all else.

use std::cmp::Ordering;
use std::collections::HashMap;

use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Between, BinaryExpr, Expr, Like, Operator};
use iceberg::spec::{Datum, Transform};
use iceberg::transform::create_transform_function;

use super::bounds::{ColumnBounds, Known};
use super::value::{Unit, Value, after_prefix};

/// A condition on rows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Predicate {
    /// Nothing is known about it.
    Unknown,
    /// No row matches.
    Never,
    /// All of these.
    And(Vec<Predicate>),
    /// Any of these.
    Or(Vec<Predicate>),
    /// A column compared with a value.
    Compare(i32, Comparison, Value),
    /// A column equal to one of these values.
    In(i32, Vec<Value>),
    /// A column whose text starts with this.
    StartsWith(i32, String),
    /// A column that is NULL.
    IsNull(i32),
    /// A column that is not NULL.
    IsNotNull(i32),
}

/// How a column is compared with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Comparison {
    const fn from_operator(operator: Operator) -> Option<Self> {
        Some(match operator {
            Operator::Eq => Self::Equal,
            Operator::NotEq => Self::NotEqual,
            Operator::Lt => Self::Less,
            Operator::LtEq => Self::LessOrEqual,
            Operator::Gt => Self::Greater,
            Operator::GtEq => Self::GreaterOrEqual,
            _ => return None,
        })
    }

    const fn negated(self) -> Self {
        match self {
            Self::Equal => Self::NotEqual,
            Self::NotEqual => Self::Equal,
            Self::Less => Self::GreaterOrEqual,
            Self::LessOrEqual => Self::Greater,
            Self::Greater => Self::LessOrEqual,
            Self::GreaterOrEqual => Self::Less,
        }
    }

    /// The comparison when both sides are exchanged.
    const fn mirrored(self) -> Self {
        match self {
            Self::Equal | Self::NotEqual => self,
            Self::Less => Self::Greater,
            Self::LessOrEqual => Self::GreaterOrEqual,
            Self::Greater => Self::Less,
            Self::GreaterOrEqual => Self::LessOrEqual,
        }
    }
}

/// The ids of the columns that filters may name.
pub(crate) type FieldIds = HashMap<String, i32>;

impl Predicate {
    /// The conjunction of a query's filters.
    pub(crate) fn from_filters<'a>(
        filters: impl IntoIterator<Item = &'a Expr>,
        fields: &FieldIds,
    ) -> Self {
        Self::And(filters.into_iter().map(|filter| from_expr(filter, fields, false)).collect())
    }

    /// Whether it asks for nothing.
    pub(crate) fn is_trivial(&self) -> bool {
        matches!(self, Self::And(all) if all.is_empty())
    }

    /// Whether a row of which `bounds` are known may match.
    pub(crate) fn may_match(&self, bounds: &[ColumnBounds]) -> bool {
        let known = |id: &i32| {
            let id = *id;
            bounds.iter().filter(move |bound| bound.field_id == id)
        };
        match self {
            Self::Unknown => true,
            Self::Never => false,
            Self::And(all) => all.iter().all(|one| one.may_match(bounds)),
            Self::Or(any) => any.iter().any(|one| one.may_match(bounds)),
            Self::Compare(id, comparison, value) => {
                known(id).all(|bound| may_compare(bound, *comparison, value))
            }
            Self::In(id, values) => values
                .iter()
                .any(|value| known(id).all(|bound| may_compare(bound, Comparison::Equal, value))),
            Self::StartsWith(id, prefix) => known(id).all(|bound| may_start_with(bound, prefix)),
            Self::IsNull(id) => known(id).all(|bound| bound.may_be_null),
            Self::IsNotNull(id) => known(id).all(|bound| bound.may_be_value),
        }
    }
}

fn may_compare(bound: &ColumnBounds, comparison: Comparison, value: &Value) -> bool {
    if !bound.may_be_value {
        return false;
    }
    let (lower, upper) = match &bound.values {
        Known::Range { lower, upper } => (lower.as_ref(), upper.as_ref()),
        Known::Buckets { count, lower, upper } => {
            return comparison != Comparison::Equal
                || bucket(value, *count).is_none_or(|found| *lower <= found && found <= *upper);
        }
    };
    let order = |bound: Option<&Value>| bound.and_then(|bound| bound.compare(value));
    // Signs of zeros in bounds are not to be trusted, so a zero never excludes its equal.
    let strict = !value.is_float_zero();
    match comparison {
        Comparison::Equal => {
            order(lower) != Some(Ordering::Greater) && order(upper) != Some(Ordering::Less)
        }
        Comparison::NotEqual => {
            bound.may_be_nan
                || !strict
                || order(lower) != Some(Ordering::Equal)
                || order(upper) != Some(Ordering::Equal)
        }
        Comparison::Less => match order(lower) {
            Some(Ordering::Greater) => false,
            Some(Ordering::Equal) => !strict,
            Some(Ordering::Less) | None => true,
        },
        Comparison::LessOrEqual => order(lower) != Some(Ordering::Greater),
        Comparison::Greater => match order(upper) {
            Some(Ordering::Less) => bound.may_be_nan,
            Some(Ordering::Equal) => bound.may_be_nan || !strict,
            Some(Ordering::Greater) | None => true,
        },
        Comparison::GreaterOrEqual => bound.may_be_nan || order(upper) != Some(Ordering::Less),
    }
}

fn may_start_with(bound: &ColumnBounds, prefix: &str) -> bool {
    if !bound.may_be_value {
        return false;
    }
    let Known::Range { lower, upper } = &bound.values else { return true };
    if let Some(Value::Text(upper)) = upper
        && upper.as_str() < prefix
    {
        return false;
    }
    match (lower, after_prefix(prefix)) {
        (Some(Value::Text(lower)), Some(after)) => *lower < after,
        _ => true,
    }
}

/// The bucket of a value; none if this value has no hash that all writers agree on.
fn bucket(value: &Value, count: u32) -> Option<i128> {
    let datum = match value {
        // An int hashes as the long of the same value.
        Value::Number(value, Unit::One) => Datum::long(i64::try_from(*value).ok()?),
        Value::Number(value, Unit::Day) => Datum::date(i32::try_from(*value).ok()?),
        Value::Number(value, Unit::TimeMicros) => {
            Datum::time_micros(i64::try_from(*value).ok()?).ok()?
        }
        Value::Number(value, Unit::TimestampMicros) => {
            Datum::timestamp_micros(i64::try_from(*value).ok()?)
        }
        Value::Text(value) => Datum::string(value),
        Value::Bytes(value) => Datum::binary(value.iter().copied()),
        Value::Number(_, Unit::TimestampNanos)
        | Value::Boolean(_)
        | Value::Decimal(..)
        | Value::Float(_) => return None,
    };
    let hash = create_transform_function(&Transform::Bucket(count)).ok()?;
    let bucket = hash.transform_literal(&datum).ok()??;
    match Value::from_iceberg(bucket.literal(), bucket.data_type())? {
        Value::Number(bucket, _) => Some(bucket),
        _ => None,
    }
}

fn from_expr(expr: &Expr, fields: &FieldIds, negated: bool) -> Predicate {
    match expr {
        Expr::Not(inner) => from_expr(inner, fields, !negated),
        Expr::BinaryExpr(binary) => from_binary(binary, fields, negated),
        Expr::IsNull(inner) => null_check(inner, fields, !negated),
        Expr::IsNotNull(inner) => null_check(inner, fields, negated),
        Expr::Between(between) => from_between(between, fields, negated),
        Expr::InList(list) => {
            let values: Option<Vec<Value>> = list.list.iter().map(literal).collect();
            match (field_id(&list.expr, fields), values) {
                (Some(id), Some(values)) if list.negated == negated => Predicate::In(id, values),
                // NOT IN of a single value is all that bounds can tell.
                (Some(id), Some(values)) => match values.as_slice() {
                    [only] => Predicate::Compare(id, Comparison::NotEqual, only.clone()),
                    _ => Predicate::Unknown,
                },
                _ => Predicate::Unknown,
            }
        }
        Expr::Like(like) if !negated => from_like(like, fields),
        Expr::Column(_) => boolean(expr, fields, !negated),
        Expr::IsTrue(inner) if !negated => boolean(inner, fields, true),
        Expr::IsFalse(inner) if !negated => boolean(inner, fields, false),
        Expr::Literal(ScalarValue::Boolean(value), _) => match value {
            Some(value) if *value != negated => Predicate::Unknown,
            _ => Predicate::Never,
        },
        Expr::Alias(alias) => from_expr(&alias.expr, fields, negated),
        _ => Predicate::Unknown,
    }
}

fn from_binary(binary: &BinaryExpr, fields: &FieldIds, negated: bool) -> Predicate {
    let both = || {
        vec![from_expr(&binary.left, fields, negated), from_expr(&binary.right, fields, negated)]
    };
    match binary.op {
        // De Morgan's laws hold in three-valued logic.
        Operator::And if !negated => return Predicate::And(both()),
        Operator::And => return Predicate::Or(both()),
        Operator::Or if !negated => return Predicate::Or(both()),
        Operator::Or => return Predicate::And(both()),
        _ => {}
    }
    let Some(comparison) = Comparison::from_operator(binary.op) else { return Predicate::Unknown };
    let sides = match (field_id(&binary.left, fields), literal(&binary.right)) {
        (Some(id), Some(value)) => Some((id, comparison, value)),
        _ => match (literal(&binary.left), field_id(&binary.right, fields)) {
            (Some(value), Some(id)) => Some((id, comparison.mirrored(), value)),
            _ => None,
        },
    };
    match sides {
        Some((id, comparison, value)) if negated => {
            Predicate::Compare(id, comparison.negated(), value)
        }
        Some((id, comparison, value)) => Predicate::Compare(id, comparison, value),
        None => Predicate::Unknown,
    }
}

fn from_between(between: &Between, fields: &FieldIds, negated: bool) -> Predicate {
    let Some(id) = field_id(&between.expr, fields) else { return Predicate::Unknown };
    let (Some(low), Some(high)) = (literal(&between.low), literal(&between.high)) else {
        return Predicate::Unknown;
    };
    if between.negated == negated {
        Predicate::And(vec![
            Predicate::Compare(id, Comparison::GreaterOrEqual, low),
            Predicate::Compare(id, Comparison::LessOrEqual, high),
        ])
    } else {
        Predicate::Or(vec![
            Predicate::Compare(id, Comparison::Less, low),
            Predicate::Compare(id, Comparison::Greater, high),
        ])
    }
}

fn from_like(like: &Like, fields: &FieldIds) -> Predicate {
    let pattern = match like.pattern.as_ref() {
        Expr::Literal(scalar, _) => Value::from_scalar(scalar),
        _ => None,
    };
    let (Some(id), Some(Value::Text(pattern))) = (field_id(&like.expr, fields), pattern) else {
        return Predicate::Unknown;
    };
    if like.negated || like.case_insensitive || like.escape_char.is_some() {
        return Predicate::Unknown;
    }
    // A backslash escapes, so what follows it is no plain text.
    let prefix: String =
        pattern.chars().take_while(|letter| !matches!(letter, '%' | '_' | '\\')).collect();
    if prefix.is_empty() { Predicate::IsNotNull(id) } else { Predicate::StartsWith(id, prefix) }
}

fn null_check(expr: &Expr, fields: &FieldIds, is_null: bool) -> Predicate {
    match field_id(expr, fields) {
        Some(id) if is_null => Predicate::IsNull(id),
        Some(id) => Predicate::IsNotNull(id),
        None => Predicate::Unknown,
    }
}

fn boolean(expr: &Expr, fields: &FieldIds, wanted: bool) -> Predicate {
    field_id(expr, fields).map_or(Predicate::Unknown, |id| {
        Predicate::Compare(id, Comparison::Equal, Value::Boolean(wanted))
    })
}

fn field_id(expr: &Expr, fields: &FieldIds) -> Option<i32> {
    match expr {
        Expr::Column(column) => fields.get(&column.name).copied(),
        _ => None,
    }
}

fn literal(expr: &Expr) -> Option<Value> {
    match expr {
        Expr::Literal(scalar, _) => Value::from_scalar(scalar),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
