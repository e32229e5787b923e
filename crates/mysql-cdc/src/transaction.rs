//! From row events to complete transactions.
//!
//! Rows of all tables are collected in the order of the binlog. Those of the open transaction wait,
//! on disk past the memory budget, until its end has been read; rows of ended transactions are sent in
//! batches. Nothing of an open transaction is ever sent.

use shardlake_change::ChangeBatch;

use crate::error::Result;
use crate::spill::{RowBuffer, SpillPolicy};

/// Rows being collected; implemented by the decoder of the binlog.
pub(crate) trait Collect {
    /// How many rows have been collected since the last [`Collect::finish`].
    fn row_count(&self) -> usize;

    /// About how many bytes they take.
    fn size_bytes(&self) -> usize;

    /// Takes them out as a batch.
    fn finish(&mut self) -> Result<ChangeBatch>;
}

/// A batch is closed when it holds about this much.
const BATCH_BYTES: usize = 3 << 19;
const BATCH_ROWS: usize = 32 * 1024;

/// Collected rows and where the open transaction begins among them.
pub(crate) struct Assembly<C> {
    rows: C,
    /// Rows before it belong to ended transactions.
    open_from: usize,
    /// Earlier rows of the open transaction.
    held: RowBuffer,
    spill: SpillPolicy,
}

impl<C: Collect> Assembly<C> {
    /// Nothing has been collected yet.
    pub(crate) fn new(rows: C, spill: SpillPolicy) -> Self {
        Self { rows, open_from: 0, held: RowBuffer::new(spill.clone()), spill }
    }

    /// Where rows of the open transaction are to be appended; call [`Assembly::appended`] after each event.
    pub(crate) const fn rows(&mut self) -> &mut C {
        &mut self.rows
    }

    /// How many rows of ended transactions wait to be sent.
    pub(crate) const fn ended_rows(&self) -> usize {
        self.open_from
    }

    /// Closes the batch if it has become large.
    pub(crate) fn appended(
        &mut self,
        send: &mut impl FnMut(ChangeBatch) -> Result<()>,
    ) -> Result<()> {
        if self.rows.size_bytes() < BATCH_BYTES && self.rows.row_count() < BATCH_ROWS {
            return Ok(());
        }
        self.close_batch(send)
    }

    /// Sends what has ended and holds back what has not.
    fn close_batch(&mut self, send: &mut impl FnMut(ChangeBatch) -> Result<()>) -> Result<()> {
        let batch = self.rows.finish()?;
        let ended = std::mem::take(&mut self.open_from);
        if ended == batch.row_count() {
            return if ended == 0 { Ok(()) } else { send(batch) };
        }
        if ended == 0 {
            return self.held.push(batch);
        }
        send(batch.slice(0, ended))?;
        self.held.push(batch.slice(ended, batch.row_count()))
    }

    /// The open transaction has ended: its rows may be sent.
    pub(crate) fn commit(
        &mut self,
        send: &mut impl FnMut(ChangeBatch) -> Result<()>,
    ) -> Result<()> {
        if !self.held.is_empty() {
            self.take_held().drain(&mut *send)?;
        }
        self.open_from = self.rows.row_count();
        Ok(())
    }

    /// The rows of the open transaction shall not be sent.
    pub(crate) fn rollback(
        &mut self,
        send: &mut impl FnMut(ChangeBatch) -> Result<()>,
    ) -> Result<()> {
        self.take_open(send).map(drop)
    }

    /// Takes the rows of the open transaction out, to be sent later or never.
    pub(crate) fn take_open(
        &mut self,
        send: &mut impl FnMut(ChangeBatch) -> Result<()>,
    ) -> Result<RowBuffer> {
        if self.rows.row_count() > self.open_from {
            self.close_batch(send)?;
        }
        Ok(self.take_held())
    }

    fn take_held(&mut self) -> RowBuffer {
        std::mem::replace(&mut self.held, RowBuffer::new(self.spill.clone()))
    }

    /// Takes out everything that has been collected, because rows have other columns from now on.
    pub(crate) fn cut(&mut self, send: &mut impl FnMut(ChangeBatch) -> Result<()>) -> Result<()> {
        if self.rows.row_count() == 0 { Ok(()) } else { self.close_batch(send) }
    }

    /// Sends the rows of ended transactions.
    pub(crate) fn flush(&mut self, send: &mut impl FnMut(ChangeBatch) -> Result<()>) -> Result<()> {
        if self.open_from == 0 { Ok(()) } else { self.close_batch(send) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
    use proptest::prelude::*;
    use shardlake_change::{changelog_text, parse_changelog};

    use super::*;

    /// Numbers instead of rows; a "byte" for each thousand rows a batch may hold.
    struct Numbers(Vec<u64>);

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![Field::new("n", DataType::UInt64, false)]))
    }

    impl Collect for Numbers {
        fn row_count(&self) -> usize {
            self.0.len()
        }

        fn size_bytes(&self) -> usize {
            self.0.len() * BATCH_BYTES / 7
        }

        fn finish(&mut self) -> Result<ChangeBatch> {
            let text: String = self.0.drain(..).map(|number| format!("+I {number}\n")).collect();
            Ok(parse_changelog(&schema(), &text).unwrap())
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Rows(usize),
        Commit,
        Rollback,
        Flush,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (1_usize..6).prop_map(Step::Rows),
            3 => Just(Step::Commit),
            1 => Just(Step::Rollback),
            2 => Just(Step::Flush),
        ];
        prop::collection::vec(step, 0..40)
    }

    proptest! {
        /// Against a list of numbers: what is sent is exactly the committed rows, in order, and
        /// never a row of the open transaction.
        #[test]
        fn only_ended_transactions_are_sent(steps in steps()) {
            let folder = tempfile::tempdir().unwrap();
            let spill = SpillPolicy { memory_bytes: 300, folder: folder.path().to_owned() };
            let mut assembly = Assembly::new(Numbers(Vec::new()), spill);
            let mut sent = Vec::new();
            let mut send = |batch: ChangeBatch| { sent.push(batch); Ok(()) };
            let (mut committed, mut open) = (Vec::new(), Vec::new());
            let mut next = 0;
            for step in steps {
                match step {
                    Step::Rows(count) => {
                        for _ in 0..count {
                            open.push(next);
                            assembly.rows().0.push(next);
                            next += 1;
                        }
                        assembly.appended(&mut send).unwrap();
                    }
                    Step::Commit => {
                        committed.append(&mut open);
                        assembly.commit(&mut send).unwrap();
                    }
                    Step::Rollback => {
                        open.clear();
                        assembly.rollback(&mut send).unwrap();
                    }
                    Step::Flush => assembly.flush(&mut send).unwrap(),
                }
            }
            assembly.flush(&mut send).unwrap();
            let expected: String =
                committed.iter().map(|number| format!("+I {number}\n")).collect();
            prop_assert_eq!(changelog_text(&sent).unwrap(), expected);
        }
    }
}
