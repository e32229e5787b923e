//! A table whose columns follow those of its source.
//!
//! The writers of a run share one draft of the table: its committed schema and what has been added to it since.
//! Files are written with the draft's schema, and each result carries it, so the committer gives the table that
//! schema before it commits the first files that need it.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, new_null_array};
use arrow::datatypes::{Schema, SchemaRef};
use parking_lot::Mutex;
use shardlake_change::ChangeBatch;
use shardlake_connector::Error;
use shardlake_iceberg_table::{Table, WriterShared, WrittenFiles};

use crate::error::from_lake;

/// What the writers and the committer of a run share.
pub(crate) struct Follow {
    draft: Mutex<Draft>,
    /// The table as of the last commit.
    committed: Mutex<Table>,
}

/// The table with the columns of everything that has been written.
#[derive(Clone)]
pub(crate) struct Draft {
    /// How often its schema has changed in this run.
    version: u64,
    table: Table,
    pub(crate) shared: Arc<WriterShared>,
}

impl Follow {
    pub(crate) fn new(table: &Table, shared: Arc<WriterShared>) -> Self {
        let draft = Draft { version: 0, table: table.clone(), shared };
        Self { draft: Mutex::new(draft), committed: Mutex::new(table.clone()) }
    }

    /// The draft with room for these columns.
    pub(crate) fn with_room_for(&self, columns: &Schema) -> Result<Draft, Error> {
        let mut draft = self.draft.lock();
        if let Some(table) = draft.table.with_room_for(columns).map_err(from_lake)? {
            let shared = draft.shared.with_schema_of(&table).map_err(from_lake)?;
            *draft = Draft { version: draft.version + 1, table, shared };
            let table = draft.table.name();
            tracing::info!(%table, version = draft.version, "columns of the table change");
        }
        Ok(draft.clone())
    }

    /// The table as of the last commit.
    pub(crate) fn committed(&self) -> Table {
        self.committed.lock().clone()
    }

    /// The table has been committed.
    pub(crate) fn commit(&self, table: &Table) {
        *self.committed.lock() = table.clone();
    }
}

impl Draft {
    pub(crate) const fn arrow_schema(&self) -> &SchemaRef {
        self.table.arrow_schema()
    }
}

/// A batch with all columns of the table; those that it lacks are NULL.
pub(crate) fn complete(batch: ChangeBatch, schema: &SchemaRef) -> Result<ChangeBatch, Error> {
    let given = batch.schema();
    if schema.fields().iter().all(|field| given.column_with_name(field.name()).is_some()) {
        return Ok(batch);
    }
    let (rows, kinds) = batch.into_parts();
    let mut fields = given.fields().to_vec();
    let mut columns: Vec<ArrayRef> = rows.columns().to_vec();
    for field in schema.fields() {
        if given.column_with_name(field.name()).is_none() {
            columns.push(new_null_array(field.data_type(), rows.num_rows()));
            let field = field.as_ref().clone().with_nullable(true);
            fields.push(Arc::new(field));
        }
    }
    let failed = |error: String| Error::bug(format!("columns cannot be added to a batch: {error}"));
    let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
        .map_err(|error| failed(error.to_string()))?;
    ChangeBatch::try_new(rows, kinds).map_err(|error| failed(error.to_string()))
}

/// A result of a writer: the schema that its files need, and the files.
pub(crate) struct Framed<'a> {
    pub(crate) version: u64,
    pub(crate) schema: &'a str,
    pub(crate) files: &'a [u8],
}

/// The bytes of a result; empty if there is nothing to commit.
pub(crate) fn frame(draft: &Draft, files: &WrittenFiles) -> Result<Vec<u8>, Error> {
    let files = files.encode().map_err(from_lake)?;
    if files.is_empty() && draft.version == 0 {
        return Ok(Vec::new());
    }
    let schema = draft.table.schema_text().map_err(from_lake)?;
    let length = u32::try_from(schema.len())
        .map_err(|error| Error::bug("a schema is too long").caused_by(error))?;
    let mut bytes = draft.version.to_le_bytes().to_vec();
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(schema.as_bytes());
    bytes.extend_from_slice(&files);
    Ok(bytes)
}

/// Reads what [`frame`] made.
pub(crate) fn unframe(bytes: &[u8]) -> Result<Option<Framed<'_>>, Error> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let parts = || {
        let (version, rest) = bytes.split_first_chunk::<8>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let (schema, files) = rest.split_at_checked(length)?;
        let schema = std::str::from_utf8(schema).ok()?;
        Some(Framed { version: u64::from_le_bytes(*version), schema, files })
    };
    parts().map(Some).ok_or_else(|| Error::bug("the result of a writer cannot be read"))
}
