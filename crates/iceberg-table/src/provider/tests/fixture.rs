//! Tables that are written by hand, as another engine might write them.

use std::collections::HashMap;
use std::fs::File;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{Field, Schema as ArrowSchema};
use arrow::util::pretty::pretty_format_batches;
use datafusion::execution::context::{SessionConfig, SessionContext};
use iceberg::spec::{
    DataContentType, DataFile, DataFileBuilder, DataFileFormat, FormatVersion, Literal,
    ManifestFile, ManifestListWriter, ManifestWriterBuilder, NestedFieldRef, Operation, Schema,
    Snapshot, Struct, Summary, Transform, UnboundPartitionSpec,
};
use parquet::arrow::{ArrowWriter, PARQUET_FIELD_ID_META_KEY};
use parquet::file::properties::WriterProperties;
use roaring::RoaringTreemap;
use shardlake_change::{Column, LogicalType, TableSchema};
use tempfile::TempDir;

use crate::scan::deletion_vector_blob;
use crate::{
    AsOf, Catalog, Error, HadoopCatalog, IcebergTableProvider, Table, TableChange, TableCreation,
    TableName, alter,
};

/// A table in a temporary warehouse, at its newest version.
pub(crate) struct Fixture {
    dir: TempDir,
    catalog: HadoopCatalog,
    pub(crate) table: Table,
    files: usize,
}

/// A column of a Parquet file: field id, name, values.
pub(crate) type FileColumn = (i32, &'static str, ArrayRef);

/// One manifest entry to be committed.
pub(crate) enum Change {
    /// A file, with the sequence number of the snapshot.
    Add(DataFile),
    /// A data file that was there before, with its own sequence number (as after a compaction).
    AddAt(DataFile, i64),
    /// A data file that goes, with its sequence number.
    Remove(DataFile, i64),
}

impl Fixture {
    /// `CREATE TABLE t (columns)`, key first.
    pub(crate) async fn new(columns: &[(&str, LogicalType)]) -> Self {
        Self::keyed(columns, &[]).await
    }

    /// The same with a primary key.
    pub(crate) async fn keyed(columns: &[(&str, LogicalType)], key: &[&str]) -> Self {
        let columns = columns.iter().enumerate().map(|(index, (name, data_type))| {
            let column = Column::new(*name, data_type.clone());
            if index == 0 { column.not_null() } else { column }
        });
        let primary_key = key.iter().map(|name| (*name).to_owned()).collect();
        let schema = TableSchema { columns: columns.collect(), primary_key };
        let dir = TempDir::new().unwrap();
        let catalog = HadoopCatalog::new(dir.path().to_str().unwrap()).unwrap();
        let creation = TableCreation { schema, ..TableCreation::default() };
        let table = catalog.create(&TableName::new("db", "t"), &creation).await.unwrap();
        Self { dir, catalog, table, files: 0 }
    }

    /// A table of an id and a name.
    pub(crate) async fn id_name() -> Self {
        Self::new(&[("id", LogicalType::BigInt), ("name", LogicalType::String)]).await
    }

    pub(crate) async fn upgrade(&mut self, version: FormatVersion) {
        let builder = self.table.metadata().clone().into_builder(None);
        let built = builder.upgrade_format_version(version).unwrap().build().unwrap();
        self.table = self.catalog.publish(&self.table, built).await.unwrap();
    }

    pub(crate) async fn partition_by(&mut self, source: i32, name: &str, transform: Transform) {
        let spec = UnboundPartitionSpec::builder()
            .add_partition_field(source, name, transform)
            .unwrap()
            .build();
        let builder = self.table.metadata().clone().into_builder(None);
        let built = builder.add_default_partition_spec(spec).unwrap().build().unwrap();
        self.table = self.catalog.publish(&self.table, built).await.unwrap();
    }

    /// Gives the table another schema.
    pub(crate) async fn evolve(&mut self, fields: Vec<NestedFieldRef>) {
        let schema = Schema::builder().with_fields(fields).build().unwrap();
        let builder = self.table.metadata().clone().into_builder(None);
        let built = builder.add_current_schema(schema).unwrap().build().unwrap();
        self.table = self.catalog.publish(&self.table, built).await.unwrap();
    }

    pub(crate) async fn set_properties(&mut self, properties: &[(&str, &str)]) {
        let properties: HashMap<String, String> = properties
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let builder = self.table.metadata().clone().into_builder(None);
        let built = builder.set_properties(properties).unwrap().build().unwrap();
        self.table = self.catalog.publish(&self.table, built).await.unwrap();
    }

    pub(crate) fn path(&mut self, extension: &str) -> String {
        self.files += 1;
        format!("{}/file-{}.{extension}", self.dir.path().display(), self.files)
    }

    /// Writes a Parquet file with these columns; a field id of 0 leaves the id out.
    pub(crate) fn parquet(&mut self, columns: &[FileColumn]) -> (String, u64, u64) {
        self.parquet_with(columns, WriterProperties::builder().build())
    }

    pub(crate) fn parquet_with(
        &mut self,
        columns: &[FileColumn],
        properties: WriterProperties,
    ) -> (String, u64, u64) {
        let path = self.path("parquet");
        let fields = columns.iter().map(|(id, name, array)| {
            let field = Field::new(*name, array.data_type().clone(), true);
            if *id == 0 {
                return field;
            }
            let key = PARQUET_FIELD_ID_META_KEY.to_owned();
            field.with_metadata(HashMap::from([(key, id.to_string())]))
        });
        let schema = Arc::new(ArrowSchema::new(fields.collect::<Vec<_>>()));
        let arrays = columns.iter().map(|(_, _, array)| Arc::clone(array)).collect();
        let batch = RecordBatch::try_new(Arc::clone(&schema), arrays).unwrap();
        let file = File::create_new(&path).unwrap();
        let mut writer = ArrowWriter::try_new(file, schema, Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        let size = std::fs::metadata(&path).unwrap().len();
        (path, size, u64::try_from(batch.num_rows()).unwrap())
    }

    /// A file of the table's default spec.
    pub(crate) fn file(
        &self,
        content: DataContentType,
        (path, size, rows): (String, u64, u64),
    ) -> DataFileBuilder {
        let mut builder = DataFileBuilder::default();
        builder
            .content(content)
            .file_path(path)
            .file_format(DataFileFormat::Parquet)
            .file_size_in_bytes(size)
            .record_count(rows)
            .partition(Struct::empty())
            .partition_spec_id(self.table.metadata().default_partition_spec_id());
        builder
    }

    /// A data file with these columns.
    pub(crate) fn data(&mut self, columns: &[FileColumn]) -> DataFile {
        let written = self.parquet(columns);
        self.file(DataContentType::Data, written).build().unwrap()
    }

    /// A data file of ids and names.
    pub(crate) fn rows(&mut self, rows: &[(i64, &str)]) -> DataFile {
        self.data(&[
            (1, "id", longs(rows.iter().map(|(id, _)| Some(*id)))),
            (2, "name", texts(rows.iter().map(|(_, name)| Some(*name)))),
        ])
    }

    /// A position delete file.
    pub(crate) fn position_deletes(&mut self, rows: &[(&DataFile, i64)]) -> DataFile {
        let mut rows: Vec<(&str, i64)> =
            rows.iter().map(|(file, position)| (file.file_path(), *position)).collect();
        rows.sort_unstable();
        let written = self.parquet(&[
            (2_147_483_546, "file_path", texts(rows.iter().map(|(path, _)| Some(*path)))),
            (2_147_483_545, "pos", longs(rows.iter().map(|(_, position)| Some(*position)))),
        ]);
        self.file(DataContentType::PositionDeletes, written).build().unwrap()
    }

    /// An equality delete file over these columns.
    pub(crate) fn equality_deletes(&mut self, columns: &[FileColumn]) -> DataFile {
        let ids = columns.iter().map(|(id, _, _)| *id).collect();
        let written = self.parquet(columns);
        let mut builder = self.file(DataContentType::EqualityDeletes, written);
        builder.equality_ids(Some(ids)).build().unwrap()
    }

    /// A deletion vector for a data file.
    pub(crate) fn deletion_vector(&mut self, file: &DataFile, positions: &[u64]) -> DataFile {
        let path = self.path("puffin");
        let vector: RoaringTreemap = positions.iter().copied().collect();
        let blob = deletion_vector_blob(&vector).unwrap();
        // The manifest alone says where the blob is; the rest of the Puffin file is not read.
        let mut bytes = b"PFA1".to_vec();
        bytes.extend_from_slice(&blob);
        std::fs::write(&path, &bytes).unwrap();
        let size = u64::try_from(bytes.len()).unwrap();
        let written = (path, size, u64::try_from(positions.len()).unwrap());
        self.file(DataContentType::PositionDeletes, written)
            .file_format(DataFileFormat::Puffin)
            .referenced_data_file(Some(file.file_path().to_owned()))
            .content_offset(Some(4))
            .content_size_in_bytes(Some(i64::try_from(blob.len()).unwrap()))
            .build()
            .unwrap()
    }

    /// Commits a snapshot that adds these files, and returns its id.
    pub(crate) async fn commit(&mut self, files: Vec<DataFile>) -> i64 {
        self.commit_changes(files.into_iter().map(Change::Add).collect()).await
    }

    /// Changes the table as a user would.
    pub(crate) async fn alter(&mut self, changes: &[TableChange]) -> Result<(), Error> {
        self.table = alter(&self.catalog, self.table.name(), changes).await?;
        Ok(())
    }

    /// The table as the catalog has it.
    pub(crate) async fn reloaded(&self) -> Table {
        self.catalog.load(self.table.name()).await.unwrap()
    }

    /// Forgets snapshots; their files stay.
    pub(crate) async fn expire(&mut self, snapshots: &[i64]) {
        let builder = self.table.metadata().clone().into_builder(None);
        let built = builder.remove_snapshots(snapshots).build().unwrap();
        self.table = self.catalog.publish(&self.table, built).await.unwrap();
    }

    pub(crate) async fn commit_changes(&mut self, changes: Vec<Change>) -> i64 {
        self.commit_as(Operation::Append, changes).await
    }

    pub(crate) async fn commit_as(&mut self, operation: Operation, changes: Vec<Change>) -> i64 {
        let metadata = self.table.metadata();
        let snapshot_id = metadata.next_sequence_number();
        let sequence_number = metadata.next_sequence_number();
        let mut manifests = Vec::new();
        for is_data in [true, false] {
            let of_kind: Vec<&Change> = changes
                .iter()
                .filter(|change| (change.file().content_type() == DataContentType::Data) == is_data)
                .collect();
            if !of_kind.is_empty() {
                manifests.push(self.manifest(snapshot_id, &of_kind, is_data).await);
            }
        }
        if let Some(current) = self.table.current_snapshot() {
            let removed: Vec<&str> = changes
                .iter()
                .filter_map(|change| match change {
                    Change::Remove(file, _) => Some(file.file_path()),
                    Change::Add(_) | Change::AddAt(..) => None,
                })
                .collect();
            for manifest in self.table.manifests(current).await.unwrap() {
                let content = self.table.load_manifest(&manifest).await.unwrap();
                // A manifest whose only file goes is not carried on.
                if !content.entries().iter().any(|entry| removed.contains(&entry.file_path())) {
                    manifests.push(manifest);
                }
            }
        }
        let list = self.write_list(snapshot_id, sequence_number, manifests).await;
        let parent = self.table.metadata().current_snapshot_id();
        let builder = Snapshot::builder()
            .with_manifest_list(list.0)
            .with_snapshot_id(snapshot_id)
            .with_parent_snapshot_id(parent)
            .with_sequence_number(sequence_number)
            .with_summary(Summary { operation, additional_properties: HashMap::new() })
            .with_schema_id(self.table.metadata().current_schema_id())
            .with_timestamp_ms(self.table.metadata().last_updated_ms() + 1_000);
        let first_row = self.table.metadata().next_row_id();
        let snapshot = match list.1 {
            Some(next) => builder.with_row_range(first_row, next - first_row).build(),
            None => builder.build(),
        };
        let built = self
            .table
            .metadata()
            .clone()
            .into_builder(Some(self.table.metadata_location().to_owned()))
            .set_branch_snapshot(snapshot, "main")
            .unwrap()
            .build()
            .unwrap();
        self.table = self.catalog.publish(&self.table, built).await.unwrap();
        snapshot_id
    }

    async fn manifest(
        &mut self,
        snapshot_id: i64,
        changes: &[&Change],
        is_data: bool,
    ) -> ManifestFile {
        let path = self.path("avro");
        let metadata = self.table.metadata();
        let output = self.table.file_io().new_output(path).unwrap();
        let builder = ManifestWriterBuilder::new(
            output,
            Some(snapshot_id),
            Arc::clone(metadata.current_schema()),
            metadata.default_partition_spec().as_ref().clone(),
        );
        let mut writer = match (metadata.format_version(), is_data) {
            (FormatVersion::V3, true) => builder.build_v3_data(),
            (FormatVersion::V3, false) => builder.build_v3_deletes(),
            (_, true) => builder.build_v2_data(),
            (_, false) => builder.build_v2_deletes(),
        };
        for change in changes {
            match change {
                Change::Add(file) => writer.add_file(file.clone(), -1).unwrap(),
                Change::AddAt(file, sequence) => writer
                    .add_existing_file(file.clone(), snapshot_id, *sequence, Some(*sequence))
                    .unwrap(),
                Change::Remove(file, sequence) => {
                    writer.add_delete_file(file.clone(), *sequence, Some(*sequence)).unwrap();
                }
            }
        }
        writer.write_manifest_file().await.unwrap()
    }

    async fn write_list(
        &mut self,
        snapshot_id: i64,
        sequence_number: i64,
        manifests: Vec<ManifestFile>,
    ) -> (String, Option<u64>) {
        let path = self.path("avro");
        let metadata = self.table.metadata();
        let output = self.table.file_io().new_output(&path).unwrap().writer().await.unwrap();
        let parent = metadata.current_snapshot_id();
        let mut writer = if metadata.format_version() == FormatVersion::V3 {
            let first_row = Some(metadata.next_row_id());
            ManifestListWriter::v3(output, snapshot_id, parent, sequence_number, first_row)
        } else {
            ManifestListWriter::v2(output, snapshot_id, parent, sequence_number)
        };
        writer.add_manifests(manifests.into_iter()).unwrap();
        let next_row = writer.next_row_id();
        writer.close().await.unwrap();
        (path, next_row)
    }

    pub(crate) fn provider(&self) -> IcebergTableProvider {
        IcebergTableProvider::new(self.table.clone(), &AsOf::Current).unwrap()
    }

    /// The result of a query on the current state, in which the table is `t`.
    pub(crate) async fn query(&self, sql: &str) -> String {
        query(self.provider(), sql).await.unwrap()
    }

    pub(crate) async fn query_error(&self, sql: &str) -> String {
        query(self.provider(), sql).await.unwrap_err()
    }
}

impl Change {
    fn file(&self) -> &DataFile {
        match self {
            Self::Add(file) | Self::AddAt(file, _) | Self::Remove(file, _) => file,
        }
    }
}

/// The result of a query as a table of text.
pub(crate) async fn query(provider: IcebergTableProvider, sql: &str) -> Result<String, String> {
    let batches = batches(provider, sql).await?;
    Ok(pretty_format_batches(&batches).unwrap().to_string())
}

/// The result of a query.
pub(crate) async fn batches(
    provider: IcebergTableProvider,
    sql: &str,
) -> Result<Vec<RecordBatch>, String> {
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(2));
    context.register_table("t", Arc::new(provider)).unwrap();
    let frame = context.sql(sql).await.map_err(|error| error.to_string())?;
    frame.collect().await.map_err(|error| chain(&error))
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

pub(crate) fn longs(values: impl IntoIterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(values.into_iter().collect::<Int64Array>())
}

pub(crate) fn texts<'a>(values: impl IntoIterator<Item = Option<&'a str>>) -> ArrayRef {
    Arc::new(values.into_iter().collect::<StringArray>())
}

pub(crate) fn partition(value: Option<Literal>) -> Struct {
    Struct::from_iter([value])
}
