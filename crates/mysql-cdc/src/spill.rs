//! Rows that wait for the end of their transaction or chunk, in memory up to a budget and on disk
//! past it.
//!
//! A [`RowBuffer`] gives its batches back in the order in which they came. Its file has no name from
//! the moment it is made, so it vanishes with the process.

use std::fs::File;
use std::io::{BufReader, BufWriter, Seek, SeekFrom};
use std::path::PathBuf;

use arrow::array::{RecordBatch, UInt8Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use shardlake_change::{ChangeBatch, RowKind, RowKinds};
use std::sync::Arc;

use crate::error::{Error, Result};

/// Where rows go that do not fit into memory.
#[derive(Clone, Debug)]
pub(crate) struct SpillPolicy {
    /// Memory that one buffer may hold, in bytes.
    pub(crate) memory_bytes: usize,
    /// The folder of spill files.
    pub(crate) folder: PathBuf,
}

/// Batches in order, in memory and, once they were too many, on disk.
pub(crate) struct RowBuffer {
    policy: SpillPolicy,
    memory: Vec<ChangeBatch>,
    size_bytes: usize,
    row_count: u64,
    total_bytes: u64,
    file: Option<SpillFile>,
}

struct SpillFile {
    writer: StreamWriter<BufWriter<File>>,
    handle: File,
}

impl RowBuffer {
    /// An empty buffer.
    pub(crate) const fn new(policy: SpillPolicy) -> Self {
        Self { policy, memory: Vec::new(), size_bytes: 0, row_count: 0, total_bytes: 0, file: None }
    }

    /// How many rows there are.
    pub(crate) const fn row_count(&self) -> u64 {
        self.row_count
    }

    /// About how many bytes all rows take, wherever they are.
    pub(crate) const fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    /// Whether there is nothing.
    pub(crate) const fn is_empty(&self) -> bool {
        self.row_count == 0
    }

    /// Appends a batch.
    pub(crate) fn push(&mut self, batch: ChangeBatch) -> Result<()> {
        if batch.row_count() == 0 {
            return Ok(());
        }
        self.row_count += u64::try_from(batch.row_count()).unwrap_or(0);
        self.size_bytes += batch.size_bytes();
        self.total_bytes += u64::try_from(batch.size_bytes()).unwrap_or(0);
        self.memory.push(batch);
        if self.size_bytes > self.policy.memory_bytes {
            self.spill()?;
        }
        Ok(())
    }

    fn spill(&mut self) -> Result<()> {
        for batch in std::mem::take(&mut self.memory) {
            let (rows, kinds) = batch.into_parts();
            let rows = with_kinds(&rows, &kinds)?;
            let file = match &mut self.file {
                Some(file) => file,
                None => self.file.insert(SpillFile::create(&self.policy, &rows.schema())?),
            };
            file.writer.write(&rows).map_err(spill_error)?;
        }
        self.size_bytes = 0;
        Ok(())
    }

    /// Takes all batches out, in order, giving each to `receive`; the first error ends it.
    pub(crate) fn drain(
        mut self,
        mut receive: impl FnMut(ChangeBatch) -> Result<()>,
    ) -> Result<()> {
        if let Some(file) = self.file.take() {
            for batch in file.read()? {
                receive(without_kinds(&batch.map_err(spill_error)?)?)?;
            }
        }
        for batch in self.memory {
            receive(batch)?;
        }
        Ok(())
    }
}

impl SpillFile {
    fn create(policy: &SpillPolicy, schema: &SchemaRef) -> Result<Self> {
        let handle = tempfile::tempfile_in(&policy.folder).map_err(Error::Spill)?;
        let output = BufWriter::new(handle.try_clone().map_err(Error::Spill)?);
        let writer = StreamWriter::try_new(output, schema).map_err(spill_error)?;
        Ok(Self { writer, handle })
    }

    fn read(mut self) -> Result<StreamReader<BufReader<File>>> {
        self.writer.finish().map_err(spill_error)?;
        self.writer.flush().map_err(spill_error)?;
        drop(self.writer);
        self.handle.seek(SeekFrom::Start(0)).map_err(Error::Spill)?;
        StreamReader::try_new(BufReader::new(self.handle), None).map_err(spill_error)
    }
}

fn spill_error(error: arrow::error::ArrowError) -> Error {
    match error {
        arrow::error::ArrowError::IoError(_, source) => Error::Spill(source),
        other => Error::Arrow(other),
    }
}

const KIND_COLUMN: &str = "kind";

fn with_kinds(rows: &RecordBatch, kinds: &RowKinds) -> Result<RecordBatch> {
    let mut fields: Vec<_> = rows.schema().fields().iter().map(Arc::clone).collect();
    fields.push(Arc::new(Field::new(KIND_COLUMN, DataType::UInt8, false)));
    let mut columns = rows.columns().to_vec();
    columns.push(Arc::new(UInt8Array::from_iter_values(kinds.iter().map(|kind| kind as u8))));
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

fn without_kinds(rows: &RecordBatch) -> Result<ChangeBatch> {
    let broken = || Error::Bug("a spill file holds no row kinds".to_owned());
    let last = rows.num_columns().checked_sub(1).ok_or_else(broken)?;
    let numbers =
        rows.column(last).as_any().downcast_ref::<UInt8Array>().ok_or_else(broken)?.clone();
    let kinds = numbers
        .values()
        .iter()
        .map(|number| RowKind::from_number(*number).ok_or_else(broken))
        .collect::<Result<RowKinds>>()?;
    let columns: Vec<usize> = (0..last).collect();
    ChangeBatch::try_new(rows.project(&columns)?, kinds)
        .map_err(|error| Error::Bug(error.to_string()))
}

#[cfg(test)]
mod tests {
    use shardlake_change::{changelog_text, parse_changelog};

    use super::*;

    fn check(memory_bytes: usize) {
        let folder = tempfile::tempdir().unwrap();
        let schema: SchemaRef = Arc::new(Schema::new(vec![
            Field::new("id", DataType::Int64, false),
            Field::new("name", DataType::Utf8, true),
        ]));
        let policy = SpillPolicy { memory_bytes, folder: folder.path().to_owned() };
        let mut buffer = RowBuffer::new(policy);
        let mut expected = String::new();
        for number in 0..50 {
            let text = format!("+I {number} | a\n-U {number} | a\n+U {number} | NULL\n");
            expected.push_str(&text);
            buffer.push(parse_changelog(&schema, &text).unwrap()).unwrap();
        }
        assert_eq!(buffer.row_count(), 150);
        let mut batches = Vec::new();
        buffer
            .drain(|batch| {
                batches.push(batch);
                Ok(())
            })
            .unwrap();
        assert_eq!(changelog_text(&batches).unwrap(), expected);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn rows_come_back_in_order_from_memory() {
        check(usize::MAX);
    }

    #[test]
    fn rows_come_back_in_order_from_disk() {
        check(0);
        check(2_000);
    }

    #[test]
    fn a_missing_folder_is_an_error() {
        let policy = SpillPolicy { memory_bytes: 0, folder: PathBuf::from("/nowhere/at/all") };
        let schema: SchemaRef =
            Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, false)]));
        let batch = parse_changelog(&schema, "+I 1").unwrap();
        assert!(matches!(RowBuffer::new(policy).push(batch), Err(Error::Spill(_))));
    }
}
