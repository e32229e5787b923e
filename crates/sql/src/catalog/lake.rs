//! A catalog whose databases and tables are those of an Iceberg warehouse.
//!
//! Nothing is kept here: each question is answered by the warehouse. A table's definition carries the
//! options with which connector `iceberg` finds the table again.

use arrow::datatypes::{DataType, TimeUnit};
use async_trait::async_trait;
use shardlake_change::{LogicalType, TableSchema};
use shardlake_connector::Options;
use shardlake_iceberg_table::{
    Catalog as TableCatalog, Error as LakeError, HadoopCatalog, Table, TableCreation, TableName,
    properties, schema,
};

use super::memory::{database_not_found, object_exists};
use super::{Catalog, CatalogObject, CatalogTable, ColumnDefinition, ColumnKind, PrimaryKey};
use crate::diagnostic::{Code, Diagnostic};

/// The options that `CREATE CATALOG` of type `iceberg` takes.
const OPTIONS: [&str; 6] =
    ["type", "catalog-type", "warehouse", "default-database", "property-version", "cache-enabled"];

/// An Iceberg warehouse as a catalog.
pub(crate) struct LakeCatalog {
    name: String,
    options: Options,
    lake: HadoopCatalog,
}

impl LakeCatalog {
    /// The catalog that these options describe. Does no I/O.
    pub(crate) fn open(name: &str, options: Options) -> Result<Self, Diagnostic> {
        let refuse = |message: String| Err(Diagnostic::new(Code::TableOptions, message));
        if let Some((key, _)) = options.iter().find(|(key, _)| !OPTIONS.contains(key)) {
            return refuse(format!(
                "Unsupported options found for catalog '{name}'.\n\nUnsupported options:\n\n{key}\n\n\
                 Supported options:\n\n{}",
                OPTIONS.join("\n")
            ));
        }
        match options.get("catalog-type") {
            Some("hadoop") => {}
            Some(other) => {
                let what = format!("Iceberg catalog type '{other}'");
                return Err(Diagnostic::unsupported(&what).with_hint(
                    "Use 'catalog-type' = 'hadoop' with a 'warehouse' on a local disk.",
                ));
            }
            None => {
                return refuse(
                    "One or more required options are missing.\n\nMissing required options are:\n\n\
                     catalog-type"
                        .to_owned(),
                );
            }
        }
        let Some(warehouse) = options.get("warehouse") else {
            return refuse(
                "One or more required options are missing.\n\nMissing required options are:\n\n\
                 warehouse"
                    .to_owned(),
            );
        };
        let lake = HadoopCatalog::new(warehouse).map_err(|error| lake_error(&error))?;
        Ok(Self { name: name.to_owned(), options, lake })
    }

    fn definition(&self, table: &Table) -> Result<CatalogTable, Diagnostic> {
        let TableName { namespace, name } = table.name();
        let mut options = Options::default();
        options.set("connector", "iceberg");
        options.set("catalog-name", self.name.as_str());
        options.set("catalog-type", "hadoop");
        options.set("warehouse", self.options.get("warehouse").unwrap_or_default());
        options.set("catalog-database", namespace.as_str());
        options.set("catalog-table", name.as_str());
        let fields = table.schema().as_struct().fields();
        let mut columns = Vec::with_capacity(fields.len());
        for (field, arrow) in fields.iter().zip(table.arrow_schema().fields()) {
            let data_type = logical_type(arrow.data_type()).ok_or_else(|| {
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
        Ok(CatalogTable { columns, primary_key, partitioned_by: vec![], options, comment: None })
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

/// The SQL type of an Arrow type that an Iceberg table has.
fn logical_type(arrow: &DataType) -> Option<LogicalType> {
    const fn precision(unit: &TimeUnit) -> u8 {
        match unit {
            TimeUnit::Second => 0,
            TimeUnit::Millisecond => 3,
            TimeUnit::Microsecond => 6,
            TimeUnit::Nanosecond => 9,
        }
    }
    Some(match arrow {
        DataType::Utf8 => LogicalType::String,
        DataType::Boolean => LogicalType::Boolean,
        DataType::FixedSizeBinary(len) => LogicalType::Binary(u32::try_from(*len).ok()?),
        DataType::Binary => LogicalType::Bytes,
        DataType::Decimal128(precision, scale) => {
            LogicalType::Decimal { precision: *precision, scale: u8::try_from(*scale).ok()? }
        }
        DataType::Int32 => LogicalType::Int,
        DataType::Int64 => LogicalType::BigInt,
        DataType::Float32 => LogicalType::Float,
        DataType::Float64 => LogicalType::Double,
        DataType::Date32 => LogicalType::Date,
        DataType::Time64(unit) => LogicalType::Time(precision(unit)),
        DataType::Timestamp(unit, None) => LogicalType::Timestamp(precision(unit)),
        DataType::Timestamp(unit, Some(_)) => LogicalType::TimestampLtz(precision(unit)),
        DataType::List(element) => LogicalType::Array(Box::new(logical_type(element.data_type())?)),
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) => match fields.as_ref() {
                [key, value] => LogicalType::Map(
                    Box::new(logical_type(key.data_type())?),
                    Box::new(logical_type(value.data_type())?),
                ),
                _ => return None,
            },
            _ => return None,
        },
        DataType::Struct(fields) => LogicalType::Row(
            fields
                .iter()
                .map(|field| Some((field.name().clone(), logical_type(field.data_type())?)))
                .collect::<Option<_>>()?,
        ),
        _ => return None,
    })
}

#[async_trait]
impl Catalog for LakeCatalog {
    fn options(&self) -> &Options {
        &self.options
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

    async fn drop_database(&self, _database: &str, _cascade: bool) -> Result<(), Diagnostic> {
        Err(Diagnostic::unsupported("DROP DATABASE in an Iceberg catalog"))
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

    async fn rename(&self, _database: &str, _name: &str, _to: &str) -> Result<(), Diagnostic> {
        // As in Flink: a table of the Hadoop catalog is its folder.
        Err(Diagnostic::new(Code::Unsupported, "Cannot rename Hadoop tables"))
    }

    async fn remove(&self, database: &str, name: &str) -> Result<(), Diagnostic> {
        let table = TableName::new(database, name);
        self.lake.purge(&table).await.map_err(|error| lake_error(&error))
    }
}

/// What the lake has to make for a declared table.
fn creation(table: &CatalogTable) -> Result<TableCreation, Diagnostic> {
    if !table.partitioned_by.is_empty() {
        return Err(Diagnostic::unsupported("PARTITIONED BY for an Iceberg table"));
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
        let kept = properties::is_table_property(key) || (key == "format-version" && value == "2");
        if !kept {
            // The value may be a secret.
            let what = format!("Option '{key}' of an Iceberg table, with this value,");
            let hint = "Possible are 'format-version' = '2' and keys that begin with write., read., \
                        commit., history. or shardlake.table.";
            return Err(Diagnostic::unsupported(&what).with_hint(hint));
        }
    }
    let primary_key = table.primary_key.as_ref().map(|key| key.columns.clone()).unwrap_or_default();
    let properties = properties::from_options(options.iter());
    Ok(TableCreation {
        schema: TableSchema { columns, primary_key },
        properties,
        ..TableCreation::default()
    })
}
