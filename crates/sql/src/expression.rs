//! What a streaming query does to each batch of changes, by itself and without state.

mod calc;
mod constraint;

pub(crate) use calc::{Calc, OutputColumn};
pub(crate) use constraint::{Constraint, NullPolicy};

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
