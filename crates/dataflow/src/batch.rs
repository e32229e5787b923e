//! A batch on its way between operators: the changes and the credit that they hold.
//!
//! Within a process batches move by pointer. Timely wants a byte form of everything that may be
//! exchanged; it is an Arrow IPC stream and the row kinds.

use std::io::Write;
use std::sync::Arc;

use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use shardlake_change::{ChangeBatch, RowKind, RowKinds};
use timely::Accountable;
use timely::bytes::arc::Bytes;
use timely::dataflow::channels::ContainerBytes;

use crate::credit::Credit;

/// Memory that a batch takes besides its columns, roughly.
const OVERHEAD_BYTES: usize = 512;

/// Changes with their credit; empty by default. Timely counts its rows, at least one.
#[derive(Clone, Default)]
pub(crate) struct Batch {
    pub(crate) changes: Option<ChangeBatch>,
    pub(crate) credit: Option<Arc<Credit>>,
}

impl Batch {
    pub(crate) const fn new(changes: ChangeBatch, credit: Option<Arc<Credit>>) -> Self {
        Self { changes: Some(changes), credit }
    }

    /// The changes and their credit, leaving an empty batch.
    pub(crate) fn take(&mut self) -> Option<(ChangeBatch, Option<Arc<Credit>>)> {
        let credit = self.credit.take();
        self.changes.take().map(|changes| (changes, credit))
    }
}

impl Accountable for Batch {
    fn record_count(&self) -> i64 {
        // A batch without rows tells of columns, and counts as a message.
        let rows = self.changes.as_ref().map_or(0, |changes| changes.row_count().max(1));
        i64::try_from(rows).unwrap_or(i64::MAX)
    }
}

/// The memory of the rows themselves: a slice of a large batch counts its own rows only.
pub(crate) fn weight_bytes(batch: &ChangeBatch) -> usize {
    let columns = batch.rows().columns().iter();
    let columns = columns.map(|column| {
        column.to_data().get_slice_memory_size().unwrap_or_else(|_| column.get_array_memory_size())
    });
    columns.sum::<usize>() + OVERHEAD_BYTES
}

/// Rounds up to whole words: timely wants messages of whole words.
const fn padded(length: usize) -> usize {
    length.next_multiple_of(8)
}

/// Length of the kinds, the kinds, and an IPC stream; nothing for an empty batch.
fn encode(batch: &Batch) -> Vec<u8> {
    let Some(changes) = &batch.changes else { return Vec::new() };
    let mut bytes = (changes.row_count() as u64).to_le_bytes().to_vec();
    bytes.extend(changes.kinds().iter().map(|kind| kind as u8));
    let write = |bytes: &mut Vec<u8>| {
        let mut writer = StreamWriter::try_new(bytes, &changes.schema())?;
        writer.write(changes.rows())?;
        writer.finish()
    };
    #[expect(clippy::expect_used, reason = "writing Arrow columns to memory does not fail")]
    write(&mut bytes).expect("a batch of Arrow columns is written to memory");
    bytes
}

fn decode(bytes: &[u8]) -> Option<ChangeBatch> {
    let (count, rest) = bytes.split_first_chunk::<8>()?;
    let (kinds, stream) =
        rest.split_at_checked(usize::try_from(u64::from_le_bytes(*count)).ok()?)?;
    let kinds: Option<RowKinds> = kinds.iter().map(|kind| RowKind::from_number(*kind)).collect();
    let rows = StreamReader::try_new(stream, None).ok()?.next()?.ok()?;
    ChangeBatch::try_new(rows, kinds?).ok()
}

impl ContainerBytes for Batch {
    fn from_bytes(bytes: Bytes) -> Self {
        let (length, rest) = bytes.split_first_chunk::<8>().unwrap_or((&[0; 8], &[]));
        let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
        if length == 0 {
            return Self::default();
        }
        let changes = rest.get(..length).and_then(decode);
        #[expect(clippy::expect_used, reason = "timely has no way to report a broken message")]
        let changes = changes.expect("a message between workers holds a batch");
        Self { changes: Some(changes), credit: None }
    }

    fn length_in_bytes(&self) -> usize {
        8 + padded(encode(self).len())
    }

    fn into_bytes<W: Write>(&self, writer: &mut W) {
        let mut bytes = encode(self);
        let length = (bytes.len() as u64).to_le_bytes();
        bytes.resize(padded(bytes.len()), 0);
        #[expect(
            clippy::expect_used,
            reason = "timely has no way to report a full message buffer"
        )]
        writer
            .write_all(&length)
            .and_then(|()| writer.write_all(&bytes))
            .expect("a message buffer has the room that was asked for");
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, RecordBatch, StringArray};
    use timely::bytes::arc::BytesMut;

    use super::*;

    fn changes() -> ChangeBatch {
        let ids: Int64Array = vec![1, 2].into();
        let names: StringArray = vec![Some("ann"), None].into();
        let rows = RecordBatch::try_from_iter([
            ("id", Arc::new(ids) as _),
            ("name", Arc::new(names) as _),
        ]);
        ChangeBatch::try_new(
            rows.unwrap(),
            [RowKind::UpdateBefore, RowKind::Delete].into_iter().collect(),
        )
        .unwrap()
    }

    #[test]
    fn the_byte_form_keeps_rows_and_kinds() {
        for batch in [Batch::new(changes(), None), Batch::default()] {
            let mut bytes = Vec::new();
            batch.into_bytes(&mut bytes);
            assert_eq!(bytes.len(), batch.length_in_bytes());
            assert_eq!(bytes.len() % 8, 0);
            let read = Batch::from_bytes(BytesMut::from(bytes).freeze());
            assert_eq!(read.changes, batch.changes);
        }
    }

    #[test]
    fn a_slice_weighs_its_own_rows() {
        let ids: Int64Array = (0..100_000).collect();
        let rows = RecordBatch::try_from_iter([("id", Arc::new(ids) as _)]).unwrap();
        let all = ChangeBatch::inserts(rows);
        assert!(weight_bytes(&all) >= 800_000);
        assert!(weight_bytes(&all.slice(5, 10)) < 1_000);
    }
}
