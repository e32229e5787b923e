//! What a streaming query does to each batch of changes, by itself and without state.

mod calc;
mod constraint;
mod follow;

pub(crate) use calc::{Calc, OutputColumn};
pub(crate) use constraint::{Constraint, NullPolicy};
pub(crate) use follow::Follow;

use arrow::array::{Array as _, BooleanArray};
use arrow::compute::{and, is_not_null};
use arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use shardlake_change::{ChangeBatch, RowKind, RowKinds};
use shardlake_connector::Error;

/// What is reported when rows cannot be put together; never with values.
fn change_error(error: shardlake_change::Error) -> Error {
    Error::bug("a batch of changes could not be built").caused_by(error)
}

/// What went wrong in Arrow, without the value that its message may quote.
pub(crate) const fn arrow_reason(error: &ArrowError) -> &'static str {
    match error {
        ArrowError::DivideByZero => "Division by zero",
        ArrowError::CastError(_) | ArrowError::ParseError(_) => {
            "a value cannot be cast to the type asked for; TRY_CAST gives NULL instead"
        }
        ArrowError::ArithmeticOverflow(_) => "a result is too large for its type",
        _ => "a value does not fit its type",
    }
}

/// An expression failed on some row. Arrow's message may quote the row's value, so it is not shown;
/// those of our own functions hold none.
fn expression_error(what: &str, error: &DataFusionError) -> Error {
    let reason = match error.find_root() {
        DataFusionError::ArrowError(error, _) => arrow_reason(error),
        DataFusionError::Execution(message) => message,
        _ => "it failed on a row",
    };
    Error::job(format!("cannot evaluate {what}: {reason}"))
}

/// Keeps the rows for which `mask` is true; NULL counts as false.
///
/// Of an update of which one half is kept, `-U` becomes `-D` and `+U` becomes `+I`: for what follows
/// the row came or went. The halves of an update stand next to each other in one batch.
fn keep(batch: &ChangeBatch, mask: &BooleanArray) -> Result<ChangeBatch, Error> {
    let mask = match mask.nulls() {
        Some(_) => {
            let valid = is_not_null(mask).and_then(|valid| and(&valid, &without_nulls(mask)));
            valid.map_err(|error| change_error(error.into()))?
        }
        None => mask.clone(),
    };
    if mask.true_count() == batch.row_count() {
        return Ok(batch.clone());
    }
    if matches!(batch.kinds(), RowKinds::Uniform { .. }) {
        return batch.filter(&mask).map_err(change_error);
    }
    let kinds: Vec<RowKind> = batch.kinds().iter().collect();
    let mut kept = Vec::with_capacity(mask.true_count());
    for (row, kind) in kinds.iter().enumerate() {
        if !mask.value(row) {
            continue;
        }
        let partner_lost = match kind {
            RowKind::UpdateBefore => {
                kinds.get(row + 1) == Some(&RowKind::UpdateAfter) && !mask.value(row + 1)
            }
            RowKind::UpdateAfter => {
                row > 0
                    && kinds.get(row - 1) == Some(&RowKind::UpdateBefore)
                    && !mask.value(row - 1)
            }
            RowKind::Insert | RowKind::Delete => false,
        };
        kept.push(match (kind, partner_lost) {
            (RowKind::UpdateBefore, true) => RowKind::Delete,
            (RowKind::UpdateAfter, true) => RowKind::Insert,
            (kind, _) => *kind,
        });
    }
    let (rows, _) = batch.filter(&mask).map_err(change_error)?.into_parts();
    ChangeBatch::try_new(rows, RowKinds::Mixed(kept)).map_err(change_error)
}

/// The same mask with false in place of NULL.
fn without_nulls(mask: &BooleanArray) -> BooleanArray {
    mask.iter().map(|value| Some(value.unwrap_or(false))).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use arrow::array::{Int32Array, RecordBatch};
    use arrow::datatypes::{DataType, Field, Schema};
    use proptest::prelude::*;

    use super::*;

    type Change = (RowKind, i32, i32);

    /// Turns wishes (a key and its new value, or none) into a changelog of a table with one row a key.
    fn changelog(wishes: &[(i32, Option<i32>)]) -> (Vec<Change>, BTreeMap<i32, i32>) {
        let (mut changes, mut table) = (Vec::new(), BTreeMap::new());
        for (key, value) in wishes {
            let before = match value {
                Some(value) => table.insert(*key, *value),
                None => table.remove(key),
            };
            match (before, value) {
                (None, Some(new)) => changes.push((RowKind::Insert, *key, *new)),
                (Some(old), Some(new)) => {
                    changes.push((RowKind::UpdateBefore, *key, old));
                    changes.push((RowKind::UpdateAfter, *key, *new));
                }
                (Some(old), None) => changes.push((RowKind::Delete, *key, old)),
                (None, None) => {}
            }
        }
        (changes, table)
    }

    fn batch(changes: &[Change]) -> ChangeBatch {
        let schema = Schema::new(vec![
            Field::new("key", DataType::Int32, true),
            Field::new("value", DataType::Int32, true),
        ]);
        let keys: Int32Array = changes.iter().map(|change| change.1).collect();
        let values: Int32Array = changes.iter().map(|change| change.2).collect();
        let columns: Vec<arrow::array::ArrayRef> = vec![Arc::new(keys), Arc::new(values)];
        let rows = RecordBatch::try_new(Arc::new(schema), columns).unwrap();
        ChangeBatch::try_new(rows, changes.iter().map(|change| change.0).collect()).unwrap()
    }

    /// Applies a changelog strictly: each change must fit the table that it meets.
    fn applied(changes: &ChangeBatch) -> BTreeMap<i32, i32> {
        use arrow::array::AsArray as _;
        use arrow::datatypes::Int32Type;
        let mut table = BTreeMap::new();
        let keys = changes.rows().column(0).as_primitive::<Int32Type>();
        let values = changes.rows().column(1).as_primitive::<Int32Type>();
        let kinds: Vec<RowKind> = changes.kinds().iter().collect();
        for (row, kind) in kinds.iter().enumerate() {
            let (key, value) = (keys.value(row), values.value(row));
            match kind {
                RowKind::Insert => assert_eq!(table.insert(key, value), None),
                RowKind::Delete => assert_eq!(table.remove(&key), Some(value)),
                RowKind::UpdateBefore => {
                    assert_eq!(table.get(&key), Some(&value));
                    assert_eq!(kinds.get(row + 1), Some(&RowKind::UpdateAfter));
                }
                RowKind::UpdateAfter => {
                    assert_eq!(kinds.get(row.wrapping_sub(1)), Some(&RowKind::UpdateBefore));
                    assert!(table.insert(key, value).is_some());
                }
            }
        }
        table
    }

    proptest! {
        /// Filtering the changelog gives the changelog of the filtered table.
        #[test]
        fn a_filtered_changelog_is_that_of_the_filtered_table(
            wishes in prop::collection::vec((0..4, prop::option::of(0..10)), 0..40),
            threshold in 0..10,
        ) {
            let (changes, table) = changelog(&wishes);
            let mask: BooleanArray =
                changes.iter().map(|change| Some(change.2 >= threshold)).collect();
            let kept = keep(&batch(&changes), &mask).unwrap();
            let expected: BTreeMap<i32, i32> =
                table.into_iter().filter(|(_, value)| *value >= threshold).collect();
            prop_assert_eq!(applied(&kept), expected);
        }
    }
}
