//! A table as it stood at one version of its metadata.
//!
//! A [`Table`] never changes: a commit or a reload makes another. So whatever is planned on one
//! sees one consistent state.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef as ArrowSchemaRef;
use iceberg::io::FileIO;
use iceberg::spec::{
    MAIN_BRANCH, Manifest, ManifestFile, ManifestList, PartitionField, SchemaRef, Snapshot,
    SnapshotRef, TableMetadata, Transform,
};

use crate::{Error, Storage, schema};

/// The name of a table in a catalog: a namespace of one level and a name in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableName {
    /// The namespace (Flink's database).
    pub namespace: String,
    /// The table.
    pub name: String,
}

impl TableName {
    /// Names a table.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.namespace, self.name)
    }
}

/// One version of a table.
#[derive(Clone, Debug)]
pub struct Table {
    name: TableName,
    metadata: Arc<TableMetadata>,
    metadata_location: String,
    storage: Storage,
    file_io: FileIO,
    arrow_schema: ArrowSchemaRef,
    /// The branch on which it is seen.
    branch: Arc<str>,
}

impl Table {
    pub(crate) fn try_new(
        name: TableName,
        metadata: TableMetadata,
        metadata_location: String,
        storage: Storage,
    ) -> Result<Self, Error> {
        let arrow_schema = schema::to_arrow(metadata.current_schema())?;
        let (metadata, file_io) = (Arc::new(metadata), storage.file_io());
        let branch = MAIN_BRANCH.into();
        Ok(Self { name, metadata, metadata_location, storage, file_io, arrow_schema, branch })
    }

    /// The table's name.
    #[must_use]
    pub const fn name(&self) -> &TableName {
        &self.name
    }

    /// All of its metadata.
    #[must_use]
    pub fn metadata(&self) -> &TableMetadata {
        &self.metadata
    }

    /// The file that the metadata was read from.
    #[must_use]
    pub fn metadata_location(&self) -> &str {
        &self.metadata_location
    }

    /// The folder of the table, without a slash at its end.
    #[must_use]
    pub fn location(&self) -> &str {
        self.metadata.location().trim_end_matches('/')
    }

    /// What its files are read and written with.
    #[must_use]
    pub const fn storage(&self) -> &Storage {
        &self.storage
    }

    /// The same for the `iceberg` crate's own calls.
    #[must_use]
    pub const fn file_io(&self) -> &FileIO {
        &self.file_io
    }

    /// The current schema.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        self.metadata.current_schema()
    }

    /// What the table is partitioned by, as `PARTITIONED BY` has it: columns, and transforms of them.
    #[must_use]
    pub fn partitioned_by(&self) -> Vec<String> {
        let schema = self.metadata.current_schema();
        let spec = self.metadata.default_partition_spec();
        let entry = |field: &PartitionField| {
            let column = schema.name_by_field_id(field.source_id)?;
            Some(match field.transform {
                Transform::Identity => column.to_owned(),
                Transform::Bucket(count) => format!("bucket({count}, {column})"),
                Transform::Truncate(width) => format!("truncate({width}, {column})"),
                Transform::Year => format!("year({column})"),
                Transform::Month => format!("month({column})"),
                Transform::Day => format!("day({column})"),
                Transform::Hour => format!("hour({column})"),
                Transform::Void => return None,
                Transform::Unknown => format!("unknown({column})"),
            })
        };
        spec.fields().iter().filter_map(entry).collect()
    }

    /// The current schema in Arrow's terms; each field carries its id as `PARQUET:field_id`.
    #[must_use]
    pub const fn arrow_schema(&self) -> &ArrowSchemaRef {
        &self.arrow_schema
    }

    /// The same table, seen on a branch.
    #[must_use]
    pub(crate) fn on_branch(self, branch: Arc<str>) -> Self {
        Self { branch, ..self }
    }

    /// The branch on which the table is seen, which is the main branch unless it was opened on another.
    #[must_use]
    pub fn branch(&self) -> &str {
        &self.branch
    }

    /// The newest snapshot of the branch; none if nothing was committed yet. A branch that is not there
    /// begins where the main branch is.
    #[must_use]
    pub fn current_snapshot(&self) -> Option<&SnapshotRef> {
        let main = self.metadata.current_snapshot();
        if &*self.branch == MAIN_BRANCH {
            return main;
        }
        self.metadata.snapshot_for_ref(&self.branch).or(main)
    }

    /// The id of [`Self::current_snapshot`].
    #[must_use]
    pub fn current_snapshot_id(&self) -> Option<i64> {
        self.current_snapshot().map(|snapshot| snapshot.snapshot_id())
    }

    /// The manifests of a snapshot, data and deletes.
    ///
    /// # Errors
    /// [`Error::Storage`] or [`Error::Corrupt`], naming the manifest list.
    pub async fn manifests(&self, snapshot: &Snapshot) -> Result<Vec<ManifestFile>, Error> {
        let path = snapshot.manifest_list();
        let bytes = self.storage.read(path).await?;
        let list = ManifestList::parse_with_version(&bytes, self.metadata.format_version())
            .map_err(|error| Error::corrupt(path, error))?;
        Ok(list.consume_entries().into_iter().collect())
    }

    /// The entries of a manifest; what entries inherit from the manifest is filled in.
    ///
    /// # Errors
    /// [`Error::Corrupt`], naming the manifest.
    pub async fn load_manifest(&self, manifest: &ManifestFile) -> Result<Manifest, Error> {
        let path = &manifest.manifest_path;
        manifest.load_manifest(&self.file_io).await.map_err(|error| {
            // Only a failure of storage has a cause of ours.
            match StdError::source(&error).and_then(storage_failure) {
                Some(action) => {
                    Error::Storage { action, path: path.as_str().into(), source: error.into() }
                }
                None => Error::corrupt(path, error),
            }
        })
    }
}

/// What storage tried, if the failure is one of storage.
fn storage_failure(cause: &(dyn StdError + 'static)) -> Option<&'static str> {
    match cause.downcast_ref()? {
        Error::Storage { action, .. } => Some(action),
        _ => None,
    }
}
