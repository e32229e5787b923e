//! Small batches that follow one another become one.
//!
//! A transaction of one row makes a batch of one row, and every stage costs as much for one row as
//! for a few hundred. Batches are joined only where they already wait, so no row waits for others.

use shardlake_change::ChangeBatch;
use shardlake_connector::Error;

/// A batch of so many rows is passed on as it is.
const ROW_COUNT_MIN: usize = 1_024;
/// Joined batches have at most so many rows more than [`ROW_COUNT_MIN`].
const ROW_COUNT_MAX: usize = 4_096;
/// A batch of this size is passed on as it is, however few its rows are.
const SIZE_BYTES_MIN: usize = 256 << 10;
/// Joined batches are at most so much larger than [`SIZE_BYTES_MIN`].
const SIZE_BYTES_MAX: usize = 1 << 20;

/// A batch that is to be passed on, with the tokens of the batches that it was made of.
pub(crate) type Ready<T> = (ChangeBatch, Vec<T>);

/// Joins small batches of one epoch, in order. Each comes with a token.
pub(crate) struct Coalescer<T> {
    waiting: Vec<ChangeBatch>,
    tokens: Vec<T>,
    row_count: usize,
    size_bytes: usize,
}

impl<T> Default for Coalescer<T> {
    fn default() -> Self {
        Self { waiting: Vec::new(), tokens: Vec::new(), row_count: 0, size_bytes: 0 }
    }
}

impl<T> Coalescer<T> {
    /// Adds a batch of about this size. What comes back is to be passed on now, in order.
    pub(crate) fn push(
        &mut self,
        batch: ChangeBatch,
        size_bytes: usize,
        token: T,
    ) -> Result<Vec<Ready<T>>, Error> {
        let same_columns =
            self.waiting.first().is_none_or(|first| first.schema() == batch.schema());
        let large = batch.row_count() >= ROW_COUNT_MIN || size_bytes >= SIZE_BYTES_MIN;
        let mut ready = Vec::new();
        if large || !same_columns {
            ready.extend(self.flush()?);
        }
        if large {
            ready.push((batch, vec![token]));
            return Ok(ready);
        }
        if batch.row_count() > 0 {
            self.row_count += batch.row_count();
            self.size_bytes += size_bytes;
            self.waiting.push(batch);
            self.tokens.push(token);
        }
        if self.row_count >= ROW_COUNT_MAX || self.size_bytes >= SIZE_BYTES_MAX {
            ready.extend(self.flush()?);
        }
        Ok(ready)
    }

    /// What is still waiting, as one batch.
    pub(crate) fn flush(&mut self) -> Result<Option<Ready<T>>, Error> {
        self.row_count = 0;
        self.size_bytes = 0;
        let tokens = std::mem::take(&mut self.tokens);
        if self.waiting.len() <= 1 {
            return Ok(self.waiting.pop().map(|batch| (batch, tokens)));
        }
        let batches = std::mem::take(&mut self.waiting);
        let Some(first) = batches.first() else { return Ok(None) };
        let joined = ChangeBatch::concat(&first.schema(), &batches).map_err(|error| {
            Error::bug("batches of the same columns cannot be joined").caused_by(error)
        })?;
        Ok(Some((joined, tokens)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, RecordBatch};
    use shardlake_change::{RowKind, RowKinds};

    use super::*;

    fn batch(ids: std::ops::Range<i64>) -> ChangeBatch {
        let ids: Int64Array = ids.collect();
        let kinds = RowKinds::uniform(RowKind::UpdateAfter, ids.len());
        let rows = RecordBatch::try_from_iter([("id", Arc::new(ids) as _)]).unwrap();
        ChangeBatch::try_new(rows, kinds).unwrap()
    }

    #[test]
    fn small_batches_are_joined_and_order_stays() {
        let mut coalescer = Coalescer::default();
        for id in 0..5 {
            assert!(coalescer.push(batch(id..id + 1), 8, id).unwrap().is_empty());
        }
        let ready = coalescer.push(batch(5..2_000), 8, 5).unwrap();
        assert_eq!(ready, [(batch(0..5), vec![0, 1, 2, 3, 4]), (batch(5..2_000), vec![5])]);
        assert_eq!(coalescer.flush().unwrap(), None);
    }

    #[test]
    fn joined_batches_have_a_bound() {
        let mut coalescer = Coalescer::default();
        let mut sizes = Vec::new();
        for start in (0..10_000).step_by(1_000) {
            let ready = coalescer.push(batch(start..start + 1_000), 8, ()).unwrap();
            sizes.extend(ready.iter().map(|(batch, _)| batch.row_count()));
        }
        assert_eq!(sizes, [5_000, 5_000]);
        // Few rows may be much data.
        for _ in 0..4 {
            assert!(coalescer.push(batch(0..1), 200 << 10, ()).unwrap().is_empty());
        }
        for (size_bytes, row_count) in [(255 << 10, 5), (256 << 10, 1)] {
            let ready = coalescer.push(batch(0..1), size_bytes, ()).unwrap();
            assert_eq!(ready[0].0.row_count(), row_count);
        }
    }
}
