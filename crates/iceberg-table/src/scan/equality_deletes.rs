//! Which rows are deleted by the values of their keys.
//!
//! All delete files of one scope (the whole table, or one partition) with the same key columns are
//! one hash table: key → the newest sequence number at which it was deleted. A row is deleted if its
//! key was deleted after the row's file was written. So each row costs one lookup, however many
//! delete files there are.
//!
//! Keys are compared in the column's type of today: values of old files are widened, never
//! narrowed. NULL equals NULL, as Iceberg's equality deletes have it.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use hashbrown::{HashMap, HashSet};
use iceberg::spec::{DataFileFormat, NestedFieldRef, SnapshotRef, Type};
use parking_lot::Mutex;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use xxhash_rust::xxh3::Xxh3DefaultBuilder;

use super::plan::{CONCURRENT_FILES, ListedFile, PlannedFile, in_snapshot, unsupported_deletes};
use super::position_deletes::column_index;
use crate::{Cause, Error, Storage, Table, schema};

/// A column of a key.
#[derive(Clone, Debug)]
pub(crate) struct KeyColumn {
    /// The column of the table; it may be gone from the current schema.
    pub(crate) field: NestedFieldRef,
    /// Its type.
    pub(crate) data_type: DataType,
}

/// The equality deletes of a scan.
#[derive(Debug, Default)]
pub(crate) struct EqualityDeletes {
    /// All columns of all keys.
    pub(crate) columns: Vec<KeyColumn>,
    tables: Vec<Arc<DeletedKeys>>,
    /// For each group of data files: what applies to it.
    groups: Vec<Group>,
}

/// Data files to which the same delete files apply.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Group {
    /// Their sequence number.
    sequence_number: i64,
    /// Indices of the tables that may hold their keys.
    tables: Vec<usize>,
}

/// The deleted keys of one scope with one set of columns.
struct DeletedKeys {
    /// Indices into [`EqualityDeletes::columns`].
    columns: Vec<usize>,
    converter: RowConverter,
    keys: HashMap<Box<[u8]>, i64, Xxh3DefaultBuilder>,
}

impl std::fmt::Debug for DeletedKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeletedKeys").field("keys", &self.keys.len()).finish_non_exhaustive()
    }
}

impl EqualityDeletes {
    /// Which rows of a batch are left. `columns` are [`EqualityDeletes::columns`] of the batch, which
    /// belongs to `group`.
    ///
    /// # Errors
    /// Arrow's, if a column cannot be brought to the key's type.
    pub(crate) fn remaining(
        &self,
        group: usize,
        columns: &[ArrayRef],
        row_count: usize,
    ) -> Result<Vec<bool>, ArrowError> {
        let mut remaining = vec![true; row_count];
        let Some(group) = self.groups.get(group) else { return Ok(remaining) };
        for table in group.tables.iter().filter_map(|table| self.tables.get(*table)) {
            let key: Vec<ArrayRef> =
                table.columns.iter().filter_map(|column| columns.get(*column).cloned()).collect();
            let rows = table.converter.convert_columns(&key)?;
            for (row, remaining) in rows.iter().zip(&mut remaining) {
                let deleted_at = table.keys.get(row.as_ref());
                *remaining &= deleted_at.is_none_or(|at| *at <= group.sequence_number);
            }
        }
        Ok(remaining)
    }
}

/// Loads the equality deletes of planned files. The second value has the group of each file; none for
/// a file without equality deletes.
///
/// # Errors
/// [`Error::NotFound`] or [`Error::Corrupt`] name the delete file.
pub(crate) async fn load(
    table: &Table,
    snapshot: &SnapshotRef,
    files: &[PlannedFile],
) -> Result<(EqualityDeletes, Vec<Option<usize>>), Error> {
    let mut deletes = EqualityDeletes::default();
    // Each delete file belongs to one scope: all that it applies to shares its partition or is all.
    let mut scopes: BTreeMap<ScopeKey, Scope> = BTreeMap::new();
    let mut scope_of_file: HashMap<&str, ScopeKey> = HashMap::new();
    for listed in files.iter().flat_map(|file| &file.equality_deletes) {
        if scope_of_file.contains_key(listed.path()) {
            continue;
        }
        let scope = ScopeKey::of(table, listed)?;
        scopes.entry(scope.clone()).or_default().files.push(listed.clone());
        scope_of_file.insert(listed.path(), scope);
    }
    for (index, scope) in scopes.values_mut().enumerate() {
        scope.table = index;
    }
    for (key, scope) in &scopes {
        let columns = key.columns.iter().map(|id| deletes.column(table, *id));
        let columns = columns.collect::<Result<Vec<usize>, Error>>()?;
        let keys = load_scope(table, snapshot, scope, &deletes.columns, columns).await?;
        deletes.tables.push(Arc::new(keys));
    }
    let mut groups: HashMap<Group, usize> = HashMap::new();
    let mut group_of_file = Vec::with_capacity(files.len());
    for file in files {
        let tables: HashSet<usize> = file
            .equality_deletes
            .iter()
            .filter_map(|listed| scope_of_file.get(listed.path()))
            .filter_map(|scope| scopes.get(scope).map(|scope| scope.table))
            .collect();
        if tables.is_empty() {
            group_of_file.push(None);
            continue;
        }
        let mut tables: Vec<usize> = tables.into_iter().collect();
        tables.sort_unstable();
        let group = Group { sequence_number: file.listed.sequence_number, tables };
        let next = deletes.groups.len();
        let index = *groups.entry(group.clone()).or_insert(next);
        if index == next {
            deletes.groups.push(group);
        }
        group_of_file.push(Some(index));
    }
    Ok((deletes, group_of_file))
}

/// What tells scopes apart: spec, partition (as text; only equality and a fixed order matter) and key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct ScopeKey {
    spec_id: i32,
    partition: String,
    columns: Vec<i32>,
}

#[derive(Default)]
struct Scope {
    table: usize,
    files: Vec<ListedFile>,
}

impl ScopeKey {
    fn of(table: &Table, listed: &ListedFile) -> Result<Self, Error> {
        let mut columns = listed.file().equality_ids().unwrap_or_default();
        columns.sort_unstable();
        columns.dedup();
        if columns.is_empty() {
            return Err(Error::corrupt(
                listed.path(),
                format!(
                    "the manifest does not say which columns of table {} it compares",
                    table.name()
                ),
            ));
        }
        let partition = format!("{:?}", listed.file().partition());
        Ok(Self { spec_id: listed.spec_id, partition, columns })
    }
}

impl EqualityDeletes {
    /// The index of a key column, which is added if it is new.
    fn column(&mut self, table: &Table, id: i32) -> Result<usize, Error> {
        if let Some(index) = self.columns.iter().position(|column| column.field.id == id) {
            return Ok(index);
        }
        let field = newest_field(table, id)?;
        let Type::Primitive(kind) = field.field_type.as_ref() else {
            return Err(Error::Invalid(format!(
                "an equality delete of table {} compares column '{}' of type {}, which is not \
                 supported",
                table.name(),
                field.name,
                field.field_type
            )));
        };
        let data_type = schema::arrow_primitive(kind).ok_or_else(|| {
            Error::Invalid(format!(
                "column '{}' has type {kind}, which is not supported",
                field.name
            ))
        })?;
        self.columns.push(KeyColumn { field, data_type });
        Ok(self.columns.len() - 1)
    }
}

/// A column by id: as it is now, or as it was in the newest schema that had it.
fn newest_field(table: &Table, id: i32) -> Result<NestedFieldRef, Error> {
    let top_level = |schema: &iceberg::spec::Schema| {
        schema.as_struct().fields().iter().find(|field| field.id == id).cloned()
    };
    if let Some(field) = top_level(table.schema()) {
        return Ok(field);
    }
    let mut schemas: Vec<_> = table.metadata().schemas_iter().collect();
    schemas.sort_by_key(|schema| std::cmp::Reverse(schema.schema_id()));
    schemas.into_iter().find_map(|schema| top_level(schema)).ok_or_else(|| {
        Error::Invalid(format!(
            "an equality delete of table {} compares the column with id {id}, which is no top-level \
             column of any of its schemas",
            table.name()
        ))
    })
}

async fn load_scope(
    table: &Table,
    snapshot: &SnapshotRef,
    scope: &Scope,
    all: &[KeyColumn],
    columns: Vec<usize>,
) -> Result<DeletedKeys, Error> {
    let key: Vec<KeyColumn> = columns.iter().filter_map(|index| all.get(*index).cloned()).collect();
    let fields = key.iter().map(|column| SortField::new(column.data_type.clone())).collect();
    let converter = RowConverter::new(fields).map_err(Error::bug)?;
    let keys = Mutex::new(HashMap::with_hasher(Xxh3DefaultBuilder::new()));
    stream::iter(scope.files.clone())
        .map(|listed| {
            let (storage, key) = (table.storage().clone(), key.clone());
            async move {
                let path = listed.path().to_owned();
                let sequence_number = listed.sequence_number;
                let task = tokio::spawn(async move { read_keys(&storage, &listed, &key).await });
                let batches = task
                    .await
                    .map_err(Error::bug)?
                    .map_err(|error| in_snapshot(error, table, snapshot, &path))?;
                Ok::<_, Error>((path, sequence_number, batches))
            }
        })
        .buffer_unordered(CONCURRENT_FILES)
        .try_for_each(|(path, sequence_number, batches)| {
            let added = add_keys(&converter, &mut keys.lock(), sequence_number, &batches)
                .map_err(|error| Error::corrupt(path, error));
            async move { added }
        })
        .await?;
    Ok(DeletedKeys { columns, converter, keys: keys.into_inner() })
}

fn add_keys(
    converter: &RowConverter,
    keys: &mut HashMap<Box<[u8]>, i64, Xxh3DefaultBuilder>,
    sequence_number: i64,
    batches: &[Vec<ArrayRef>],
) -> Result<(), ArrowError> {
    for columns in batches {
        for row in &converter.convert_columns(columns)? {
            let newest = keys.entry_ref(row.as_ref()).or_insert(sequence_number);
            *newest = sequence_number.max(*newest);
        }
    }
    Ok(())
}

async fn read_keys(
    storage: &Storage,
    listed: &ListedFile,
    key: &[KeyColumn],
) -> Result<Vec<Vec<ArrayRef>>, Error> {
    if listed.file().file_format() != DataFileFormat::Parquet {
        return Err(unsupported_deletes(listed));
    }
    let bytes = storage.read(listed.path()).await?;
    key_columns(bytes, key).map_err(|cause| Error::corrupt(listed.path(), cause))
}

fn key_columns(bytes: Bytes, key: &[KeyColumn]) -> Result<Vec<Vec<ArrayRef>>, Cause> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes)?;
    let indices = key
        .iter()
        .map(|column| column_index(&builder, column.field.id, &column.field.name))
        .collect::<Result<Vec<usize>, Cause>>()?;
    let mut sorted = indices.clone();
    sorted.sort_unstable();
    let mask = ProjectionMask::roots(builder.parquet_schema(), indices.iter().copied());
    let mut batches = Vec::new();
    for batch in builder.with_projection(mask).build()? {
        let batch: RecordBatch = batch?;
        let columns = indices
            .iter()
            .zip(key)
            .map(|(index, column)| {
                let place = sorted.iter().position(|sorted| sorted == index).unwrap_or_default();
                cast(batch.column(place), &column.data_type)
            })
            .collect::<Result<Vec<ArrayRef>, ArrowError>>()?;
        batches.push(columns);
    }
    Ok(batches)
}
