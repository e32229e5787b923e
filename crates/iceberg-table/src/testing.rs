//! A lake for tests: a table in a temporary folder, changes as text, and a plain reader.
//!
//! The reader follows the specification by the letter and shares nothing with the scan or the index.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use futures::executor::block_on;
use iceberg::spec::{DataContentType, DataFile, DataFileFormat, SnapshotRef};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use shardlake_change::{ChangeBatch, Column, LogicalType, TableSchema, parse_changelog};
use tempfile::TempDir;

use crate::commit::{Committer, EpochProgress, RowDelta};
use crate::scan::deletion_vector;
use crate::{
    Catalog, DeltaWriter, DeltaWriterOptions, HadoopCatalog, Table, TableCreation, TableName,
    WriterShared, WrittenFiles,
};

/// A table `db.users (id BIGINT, name STRING, PRIMARY KEY (id))`.
pub(crate) struct Lake {
    pub(crate) dir: TempDir,
    pub(crate) catalog: Arc<dyn Catalog>,
    pub(crate) name: TableName,
}

impl Lake {
    pub(crate) fn new() -> Self {
        Self::with(&[("commit.manifest.min-count-to-merge", "3")], &["id"])
    }

    pub(crate) fn with(properties: &[(&str, &str)], key: &[&str]) -> Self {
        Self::made_of(properties, key, |_| ())
    }

    /// A table that `change` makes different before it is created.
    pub(crate) fn made_of(
        properties: &[(&str, &str)],
        key: &[&str],
        change: impl Fn(&mut TableCreation),
    ) -> Self {
        let dir = TempDir::new().unwrap();
        let catalog = Arc::new(HadoopCatalog::new(dir.path().to_str().unwrap()).unwrap());
        let name = TableName::new("db", "users");
        let columns = vec![
            Column::new("id", LogicalType::BigInt).not_null(),
            Column::new("name", LogicalType::String),
        ];
        let primary_key = key.iter().map(|name| (*name).to_owned()).collect();
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let mut creation = TableCreation {
            schema: TableSchema { columns, primary_key },
            properties: properties.iter().map(owned).collect(),
            ..TableCreation::default()
        };
        change(&mut creation);
        block_on(catalog.create(&name, &creation)).unwrap();
        Self { dir, catalog, name }
    }

    pub(crate) fn claim(&self, job: &str) -> Committer {
        let catalog = Arc::clone(&self.catalog);
        block_on(Committer::claim(catalog, &self.name, job, "id")).unwrap()
    }

    pub(crate) fn table(&self) -> Table {
        block_on(self.catalog.load(&self.name)).unwrap()
    }

    /// The rows of the current snapshot as text, sorted.
    pub(crate) fn rows(&self) -> Vec<String> {
        rows(&self.table())
    }
}

/// A run of a job on a lake.
pub(crate) struct Run {
    pub(crate) committer: Committer,
    pub(crate) writer: DeltaWriter,
}

impl Run {
    pub(crate) fn start(lake: &Lake, options: DeltaWriterOptions) -> Self {
        let mut committer = lake.claim("job");
        let shared = block_on(WriterShared::load(committer.table(), options)).unwrap();
        committer.follow(shared.relocations());
        Self { committer, writer: DeltaWriter::new(shared, 0) }
    }

    /// Writes and commits changes as one epoch.
    pub(crate) fn epoch(&mut self, epoch: u64, changes: &str) -> WrittenFiles {
        self.writer.write(epoch, changelog(changes)).unwrap();
        let files = self.writer.close_epoch(epoch).unwrap();
        self.commit(epoch, files.clone()).unwrap();
        files
    }

    pub(crate) fn commit(&mut self, epoch: u64, files: WrittenFiles) -> Result<i64, crate::Error> {
        // Through bytes, as they travel.
        let files = WrittenFiles::decode(&files.encode().unwrap(), self.committer.table()).unwrap();
        block_on(self.committer.commit(RowDelta {
            files,
            progress: Some(progress(epoch)),
            ..RowDelta::default()
        }))
    }
}

pub(crate) fn progress(epoch: u64) -> EpochProgress {
    EpochProgress {
        epoch,
        position: serde_json::json!({"users": {"lane": epoch}}),
        fingerprint: "f".to_owned(),
        phase: "streaming".to_owned(),
    }
}

/// Changes of the table as text; see `shardlake_change::parse_changelog`.
pub(crate) fn changelog(text: &str) -> ChangeBatch {
    let schema = Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("name", DataType::Utf8, true),
    ]));
    parse_changelog(&schema, text).unwrap()
}

/// The rows of the current snapshot as text, sorted.
pub(crate) fn rows(table: &Table) -> Vec<String> {
    table.current_snapshot().map(|snapshot| rows_at(table, snapshot)).unwrap_or_default()
}

/// The rows of a snapshot as text, sorted.
pub(crate) fn rows_at(table: &Table, snapshot: &SnapshotRef) -> Vec<String> {
    let (data, deletes) = files_at(table, snapshot);
    let mut gone: HashMap<String, Vec<(i64, BTreeSet<u64>)>> = HashMap::new();
    let mut vectors: HashMap<String, usize> = HashMap::new();
    // Text of keys with the partition and sequence number of their delete.
    let mut keys = Vec::new();
    for (number, file) in &deletes {
        match (file.content_type(), file.file_format()) {
            (DataContentType::EqualityDeletes, _) => {
                assert_eq!(file.equality_ids(), Some(vec![1]));
                let of_file = read(file).iter().flat_map(text).collect::<BTreeSet<String>>();
                keys.push((*number, file.partition().clone(), of_file));
            }
            (_, DataFileFormat::Puffin) => {
                let path = file.referenced_data_file().unwrap();
                *vectors.entry(path.clone()).or_default() += 1;
                let rows: BTreeSet<u64> =
                    deletion_vector::read(table.storage(), file).unwrap().iter().collect();
                assert_eq!(rows.len() as u64, file.record_count());
                gone.entry(path).or_default().push((*number, rows));
            }
            _ => {
                for batch in read(file) {
                    let paths = batch.column(0).as_string::<i32>();
                    let positions = batch.column(1).as_primitive::<Int64Type>();
                    for (path, position) in paths.iter().zip(positions) {
                        let of_file = gone.entry(path.unwrap().to_owned()).or_default();
                        let position = u64::try_from(position.unwrap()).unwrap();
                        of_file.push((*number, BTreeSet::from([position])));
                    }
                }
            }
        }
    }
    assert!(vectors.values().all(|count| *count == 1), "one vector for each data file");
    let mut rows = Vec::new();
    for (number, file) in &data {
        let gone = gone.get(file.file_path());
        let mut position = 0;
        for row in read(file).iter().flat_map(text) {
            let id = row.split(" | ").next().unwrap();
            let is_gone = gone.is_some_and(|all| {
                all.iter().any(|(n, rows)| n >= number && rows.contains(&position))
            }) || keys.iter().any(|(n, partition, keys)| {
                n > number && partition == file.partition() && keys.contains(id)
            });
            if !is_gone {
                rows.push(row);
            }
            position += 1;
        }
        assert_eq!(position, file.record_count());
    }
    rows.sort();
    rows
}

/// A file with its sequence number.
pub(crate) type NumberedFile = (i64, DataFile);

/// Live data and delete files.
pub(crate) fn files(table: &Table) -> (Vec<NumberedFile>, Vec<NumberedFile>) {
    table.current_snapshot().map(|snapshot| files_at(table, snapshot)).unwrap_or_default()
}

fn files_at(table: &Table, snapshot: &SnapshotRef) -> (Vec<NumberedFile>, Vec<NumberedFile>) {
    let (mut data, mut deletes) = (Vec::new(), Vec::new());
    for manifest in block_on(table.manifests(snapshot)).unwrap() {
        let content = block_on(table.load_manifest(&manifest)).unwrap();
        for entry in content.entries().iter().filter(|entry| entry.is_alive()) {
            let file = entry.data_file().clone();
            let files = match file.content_type() {
                DataContentType::Data => &mut data,
                DataContentType::PositionDeletes | DataContentType::EqualityDeletes => &mut deletes,
            };
            files.push((entry.sequence_number().unwrap(), file));
        }
    }
    (data, deletes)
}

pub(crate) fn read(file: &DataFile) -> Vec<RecordBatch> {
    let opened = File::open(file.file_path()).unwrap();
    assert_eq!(opened.metadata().unwrap().len(), file.file_size_in_bytes());
    let reader = ParquetRecordBatchReaderBuilder::try_new(opened).unwrap().build().unwrap();
    reader.map(Result::unwrap).collect()
}

fn text(batch: &RecordBatch) -> Vec<String> {
    let options = FormatOptions::default().with_null("NULL");
    let columns: Vec<_> = batch
        .columns()
        .iter()
        .map(|column| ArrayFormatter::try_new(column.as_ref(), &options).unwrap())
        .collect();
    (0..batch.num_rows())
        .map(|row| columns.iter().map(|c| c.value(row).to_string()).collect::<Vec<_>>().join(" | "))
        .collect()
}

/// The rows of the current snapshot as the provider reads them, sorted. Reads from any storage.
pub(crate) fn rows_by_scan(table: &Table) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let provider = crate::IcebergTableProvider::new(table.clone(), &crate::AsOf::Current).unwrap();
    let batches = runtime.block_on(async {
        let context = datafusion::prelude::SessionContext::new();
        context.read_table(Arc::new(provider)).unwrap().collect().await.unwrap()
    });
    let mut rows: Vec<String> = batches.iter().flat_map(text).collect();
    rows.sort();
    rows
}
