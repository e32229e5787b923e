//! A catalog whose databases and tables are those of an Iceberg catalog.
//!
//! Nothing is kept here: each question is answered by that catalog. A table's definition carries the
//! options with which connector `iceberg` finds the table again.

use std::sync::Arc;

use async_trait::async_trait;
use shardlake_change::TableSchema;
use shardlake_connector::Options;
use shardlake_iceberg_table::{
    Catalog as TableCatalog, Error as LakeError, PartitionField, SortField, Table, TableChange,
    TableCreation, TableName, alter, catalog_option_keys, is_catalog_option, open_catalog,
    properties, schema,
};

use super::memory::{database_not_found, object_exists};
use super::{Catalog, CatalogObject, CatalogTable, ColumnDefinition, ColumnKind, PrimaryKey};
use crate::diagnostic::{Code, Diagnostic};
use crate::planner::from_arrow;

/// The options that `CREATE CATALOG` of type `iceberg` takes, beside those of the lake's catalogs.
const OPTIONS: [&str; 4] = ["type", "default-database", "property-version", "cache-enabled"];

/// The option of a table that says how rows are sorted in its data files.
const SORT_ORDER: &str = "shardlake.table.sort-order";

/// A catalog of Iceberg tables as a catalog of ours.
pub(crate) struct LakeCatalog {
    name: String,
    /// As they were written: references to secrets are kept, not what they refer to.
    options: Options,
    lake: Arc<dyn TableCatalog>,
}

impl LakeCatalog {
    /// The catalog that these options describe. Does no I/O.
    pub(crate) fn open(name: &str, options: Options) -> Result<Self, Diagnostic> {
        let refuse = |message: String| Err(Diagnostic::new(Code::TableOptions, message));
        let needs = |key: &str| {
            refuse(format!(
                "One or more required options are missing.\n\nMissing required options are:\n\n{key}"
            ))
        };
        let catalog_type = options.get("catalog-type");
        if catalog_type.is_none() && options.get("catalog-impl").is_none() {
            return needs("catalog-type");
        }
        if catalog_type == Some("hadoop") && options.get("warehouse").is_none() {
            return needs("warehouse");
        }
        let resolved = options.resolved().map_err(|error| Diagnostic::connector(&error))?;
        let lake = open_catalog(name, resolved.iter()).map_err(|error| match error {
            LakeError::Invalid(message) => Diagnostic::new(Code::TableOptions, message),
            error => lake_error(&error),
        })?;
        let is_known = |key: &str| OPTIONS.contains(&key) || is_catalog_option(key);
        if let Some((key, _)) = options.iter().find(|(key, _)| !is_known(key)) {
            let mut supported = OPTIONS.map(str::to_owned).to_vec();
            supported.extend(catalog_option_keys());
            supported.sort_unstable();
            return refuse(format!(
                "Unsupported options found for catalog '{name}'.\n\nUnsupported options:\n\n{key}\n\n\
                 Supported options:\n\n{}",
                supported.join("\n")
            ));
        }
        Ok(Self { name: name.to_owned(), options, lake })
    }

    fn definition(&self, table: &Table) -> Result<CatalogTable, Diagnostic> {
        let TableName { namespace, name } = table.name();
        let mut options = Options::default();
        options.set("connector", "iceberg");
        options.set("catalog-name", self.name.as_str());
        // With these the connector finds the catalog again. Secrets are masked wherever options are shown.
        for (key, value) in self.options.iter().filter(|(key, _)| is_catalog_option(key)) {
            options.set(key, value);
        }
        options.set("catalog-database", namespace.as_str());
        options.set("catalog-table", name.as_str());
        let fields = table.schema().as_struct().fields();
        let mut columns = Vec::with_capacity(fields.len());
        for (field, arrow) in fields.iter().zip(table.arrow_schema().fields()) {
            let data_type = from_arrow(arrow.data_type()).ok_or_else(|| {
                let what = format!("Column '{}' of type {}", arrow.name(), arrow.data_type());
                Diagnostic::unsupported(&what)
            })?;
            columns.push(ColumnDefinition {
                name: arrow.name().clone(),
                kind: ColumnKind::Physical { data_type, nullable: arrow.is_nullable() },
                comment: field.doc.clone(),
            });
        }
        let key: Vec<String> = schema::key_indices(table.schema())
            .into_iter()
            .filter_map(|index| columns.get(index).map(|column| column.name.clone()))
            .collect();
        let primary_key = (!key.is_empty()).then_some(PrimaryKey { name: None, columns: key });
        Ok(CatalogTable {
            columns,
            primary_key,
            partitioned_by: table.partitioned_by(),
            options,
            comment: None,
            watermark: None,
        })
    }
}

/// Words for a failure of the lake, with its causes.
pub(crate) fn lake_error(error: &LakeError) -> Diagnostic {
    let code = match error {
        LakeError::NotFound(_) => Code::ObjectNotFound,
        LakeError::AlreadyExists(_) => Code::ObjectExists,
        LakeError::Invalid(_) => Code::TableDefinition,
        LakeError::Bug(_) => Code::Internal,
        _ => Code::CatalogAccess,
    };
    let mut message = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        message.push_str(": ");
        message.push_str(&error.to_string());
        cause = error.source();
    }
    Diagnostic::new(code, message)
}

#[async_trait]
impl Catalog for LakeCatalog {
    fn options(&self) -> &Options {
        &self.options
    }

    fn keeps_tables(&self) -> bool {
        true
    }

    async fn databases(&self) -> Result<Vec<String>, Diagnostic> {
        self.lake.list_namespaces().await.map_err(|error| lake_error(&error))
    }

    async fn create_database(&self, database: &str, options: &Options) -> Result<(), Diagnostic> {
        if options.iter().next().is_some() {
            return Err(Diagnostic::unsupported("WITH on a database of an Iceberg catalog"));
        }
        self.lake.create_namespace(database).await.map_err(|error| lake_error(&error))
    }

    async fn drop_database(&self, database: &str, cascade: bool) -> Result<(), Diagnostic> {
        if cascade {
            let tables = self.lake.list_tables(database).await;
            for table in tables.map_err(|error| lake_error(&error))? {
                self.lake.purge(&table).await.map_err(|error| lake_error(&error))?;
            }
        }
        self.lake.drop_namespace(database).await.map_err(|error| lake_error(&error))
    }

    async fn list(&self, database: &str) -> Result<Option<Vec<(String, bool)>>, Diagnostic> {
        match self.lake.list_tables(database).await {
            Ok(tables) => Ok(Some(tables.into_iter().map(|table| (table.name, false)).collect())),
            Err(LakeError::NotFound(_)) => Ok(None),
            Err(error) => Err(lake_error(&error)),
        }
    }

    async fn get(&self, database: &str, name: &str) -> Result<Option<CatalogObject>, Diagnostic> {
        match self.lake.load(&TableName::new(database, name)).await {
            Ok(table) => Ok(Some(CatalogObject::Table(self.definition(&table)?))),
            // A name that cannot be a folder, such as one with a slash, names nothing.
            Err(LakeError::NotFound(_) | LakeError::Invalid(_)) => Ok(None),
            Err(error) => Err(lake_error(&error)),
        }
    }

    async fn create(
        &self,
        database: &str,
        name: &str,
        object: CatalogObject,
    ) -> Result<(), Diagnostic> {
        let table = match object {
            CatalogObject::Table(table) => table,
            CatalogObject::View(_) => {
                return Err(Diagnostic::unsupported("A view in an Iceberg catalog")
                    .with_hint("Use CREATE TEMPORARY VIEW, or a view in default_catalog."));
            }
        };
        let exists = self.lake.namespace_exists(database).await;
        if !exists.map_err(|error| lake_error(&error))? {
            return Err(database_not_found(&self.name, database));
        }
        let creation = creation(&table)?;
        match self.lake.create(&TableName::new(database, name), &creation).await {
            Ok(_) => Ok(()),
            Err(LakeError::AlreadyExists(_)) => {
                Err(object_exists(&format!("{}.{database}.{name}", self.name)))
            }
            Err(error) => Err(lake_error(&error)),
        }
    }

    async fn replace(
        &self,
        _database: &str,
        _name: &str,
        _object: CatalogObject,
    ) -> Result<(), Diagnostic> {
        Err(Diagnostic::unsupported("ALTER TABLE in an Iceberg catalog"))
    }

    async fn alter(
        &self,
        database: &str,
        name: &str,
        changes: &[TableChange],
    ) -> Result<bool, Diagnostic> {
        let table = TableName::new(database, name);
        alter(self.lake.as_ref(), &table, changes).await.map_err(|error| lake_error(&error))?;
        Ok(true)
    }

    async fn rename(&self, database: &str, name: &str, to: &str) -> Result<(), Diagnostic> {
        let (name, to) = (TableName::new(database, name), TableName::new(database, to));
        self.lake.rename(&name, &to).await.map_err(|error| match error {
            // As in Flink: a table of the Hadoop catalog is its folder.
            LakeError::Invalid(message) => Diagnostic::new(Code::Unsupported, message),
            error => lake_error(&error),
        })
    }

    async fn remove(&self, database: &str, name: &str) -> Result<(), Diagnostic> {
        let table = TableName::new(database, name);
        self.lake.purge(&table).await.map_err(|error| lake_error(&error))
    }
}

/// What the lake has to make for a declared table.
fn creation(table: &CatalogTable) -> Result<TableCreation, Diagnostic> {
    if table.watermark.is_some() {
        let message = "Creating table with watermark specs is not supported yet.";
        return Err(Diagnostic::new(Code::Unsupported, message).with_hint(
            "An Iceberg table cannot keep a watermark; declare it in default_catalog.",
        ));
    }
    let mut columns = Vec::with_capacity(table.columns.len());
    for column in &table.columns {
        match &column.kind {
            ColumnKind::Physical { data_type, nullable } => {
                columns.push(shardlake_change::Column {
                    name: column.name.clone(),
                    data_type: data_type.clone(),
                    nullable: *nullable,
                    comment: column.comment.clone(),
                });
            }
            ColumnKind::Metadata { .. } | ColumnKind::Computed { .. } => {
                let what = format!(
                    "Column '{}': a computed or metadata column in an Iceberg catalog",
                    column.name
                );
                return Err(Diagnostic::unsupported(&what)
                    .with_hint("Declare a physical column, or compute it in the query."));
            }
        }
    }
    let mut options = table.options.clone();
    match options.remove("connector").as_deref() {
        None | Some("iceberg") => {}
        Some(other) => {
            let message = format!(
                "Cannot create the table in an Iceberg catalog: 'connector'='{other}' is given, and \
                 only 'iceberg' is possible."
            );
            return Err(Diagnostic::new(Code::TableOptions, message)
                .with_hint("Create it in default_catalog, or use CREATE TEMPORARY TABLE."));
        }
    }
    for (key, value) in options.iter() {
        let is_version = key == "format-version" && ["1", "2", "3"].contains(&value);
        let kept = properties::is_table_property(key) || is_version;
        if !kept {
            // The value may be a secret.
            let what = format!("Option '{key}' of an Iceberg table, with this value,");
            let hint = "Possible are 'format-version' = '1' to '3' and keys that begin with write., read., \
                        commit., history. or shardlake.table.";
            return Err(Diagnostic::unsupported(&what).with_hint(hint));
        }
    }
    let primary_key = table.primary_key.as_ref().map(|key| key.columns.clone()).unwrap_or_default();
    let properties = properties::from_options(options.iter());
    let sorted_by = SortField::parse_list(options.get(SORT_ORDER).unwrap_or_default());
    let partitioned_by: Result<Vec<PartitionField>, LakeError> =
        table.partitioned_by.iter().map(|entry| PartitionField::parse(entry)).collect();
    let creation = TableCreation {
        schema: TableSchema { columns, primary_key },
        format_version: options.get("format-version").and_then(|v| v.parse().ok()).unwrap_or(2),
        partitioned_by: partitioned_by.map_err(|error| lake_error(&error))?,
        sorted_by: sorted_by.map_err(|error| lake_error(&error))?,
        properties,
    };
    creation.check().map_err(|error| lake_error(&error))?;
    Ok(creation)
}
