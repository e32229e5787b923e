//! Tables of the lake: found by the options of their definition, read by the lake's own provider.
//!
//! A table that does not exist yet is made when it is first planned, as its sink would make it.

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use shardlake_change::LogicalType;
use shardlake_connector::{SchemaChangeBehavior, Sink};
use shardlake_iceberg_table::{
    AsOf, Error as LakeError, IcebergTableProvider, MetadataTable, Table, TableName, open_catalog,
};

use super::insert::sink_definition;
use crate::catalog::{PlannerContext, ResolvedColumn, ResolvedTable, create_sink, lake_error};
use crate::diagnostic::{Code, Diagnostic};

/// Options that say what is read, not how the table is stored; a sink does not know them.
const READ_OPTIONS: [&str; 5] = ["snapshot-id", "as-of-timestamp", "tag", "branch", "streaming"];

/// What reads a table, and the types of its columns.
type LakeTable = (Arc<dyn TableProvider>, Vec<LogicalType>);

/// What reads a table of connector `iceberg` or one of its metadata tables.
pub(super) async fn lake_table(
    context: &PlannerContext,
    table: &ResolvedTable,
) -> Result<LakeTable, Diagnostic> {
    let as_of = as_of(table)?;
    if let Some(kind) = &table.metadata_table {
        return metadata_table(context, table, kind, &as_of).await;
    }
    let lake = open(context, table).await?;
    let current = as_of == AsOf::Current && !follows_columns(table)?;
    let provider = IcebergTableProvider::new(lake, &as_of).map_err(|error| lake_error(&error))?;
    let declared = &table.definition.schema;
    // A state of the past has the columns of its time; the current one has those declared.
    if !current {
        let types = provider.schema();
        let types = types.fields().iter().map(|field| {
            let declared = declared.index_of(field.name());
            let declared = declared.and_then(|index| declared_type(table, index));
            declared.or_else(|| super::from_arrow(field.data_type())).unwrap_or(LogicalType::String)
        });
        let types = types.collect();
        return Ok((Arc::new(provider), types));
    }
    let provider = provider.with_declared(declared).map_err(|error| lake_error(&error))?;
    let types = declared.columns.iter().map(|column| column.data_type.clone()).collect();
    Ok((Arc::new(provider), types))
}

/// Whether a table has the columns that its source has brought, beside those declared.
pub(super) fn follows_columns(table: &ResolvedTable) -> Result<bool, Diagnostic> {
    let behavior = SchemaChangeBehavior::of_options(&table.definition.options)
        .map_err(|error| Diagnostic::connector(&error))?;
    let computed = table.columns.iter().any(|c| matches!(c, ResolvedColumn::Computed { .. }));
    Ok(!computed && behavior.is_some_and(SchemaChangeBehavior::follows_columns))
}

/// The rows of `t$snapshots` and the like.
async fn metadata_table(
    context: &PlannerContext,
    table: &ResolvedTable,
    kind: &str,
    as_of: &AsOf,
) -> Result<LakeTable, Diagnostic> {
    let Some(found) = MetadataTable::parse(kind) else {
        let known: Vec<&str> = MetadataTable::ALL.into_iter().map(MetadataTable::name).collect();
        return Err(Diagnostic::object_not_found(&format!("{}${kind}", table.name))
            .with_hint(format!("Metadata tables: {}", known.join(", "))));
    };
    let lake = open(context, table).await?;
    let provider = found.load(&lake, as_of).await.map_err(|error| lake_error(&error))?;
    let types = provider
        .schema()
        .fields()
        .iter()
        .map(|field| super::from_arrow(field.data_type()).unwrap_or(LogicalType::String))
        .collect();
    Ok((provider, types))
}

fn declared_type(table: &ResolvedTable, index: usize) -> Option<LogicalType> {
    Some(table.definition.schema.columns.get(index)?.data_type.clone())
}

/// The newest state of the table, made first if it does not exist.
async fn open(context: &PlannerContext, table: &ResolvedTable) -> Result<Table, Diagnostic> {
    let sink = sink_of(context, table)?;
    let options = &table.definition.options;
    let name = TableName::new(
        options.get("catalog-database").unwrap_or(&table.name.database),
        options.get("catalog-table").unwrap_or(&table.name.object),
    );
    let resolved = options.resolved().map_err(|error| Diagnostic::connector(&error))?;
    let catalog_name = options.get("catalog-name").unwrap_or_default();
    let catalog =
        open_catalog(catalog_name, resolved.iter()).map_err(|error| lake_error(&error))?;
    match catalog.load(&name).await {
        Err(LakeError::NotFound(_)) => {
            sink.prepare().await.map_err(|error| Diagnostic::connector(&error))?;
            catalog.load(&name).await.map_err(|error| lake_error(&error))
        }
        loaded => loaded.map_err(|error| lake_error(&error)),
    }
}

/// What would write the table: it knows the options, and how the table is made.
fn sink_of(context: &PlannerContext, table: &ResolvedTable) -> Result<Arc<dyn Sink>, Diagnostic> {
    let factory = context.connectors.sink(&table.name, table.connector.as_deref())?;
    let mut definition = sink_definition(table);
    for key in READ_OPTIONS {
        definition.options.remove(key);
    }
    create_sink(factory.as_ref(), &definition)
}

/// Which state of the table the options ask for.
fn as_of(table: &ResolvedTable) -> Result<AsOf, Diagnostic> {
    let options = &table.definition.options;
    if options.get("streaming").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Err(Diagnostic::unsupported("Reading an Iceberg table with 'streaming' = 'true'")
            .with_hint("Leave the option out to read the current snapshot."));
    }
    let number = |key: &str, value: &str| {
        value.trim().parse::<i64>().map_err(|_| {
            let message = format!("Could not parse value '{value}' for key '{key}'.");
            Diagnostic::new(Code::TableOptions, message)
        })
    };
    let mut asked = Vec::new();
    if let Some(id) = options.get("snapshot-id") {
        asked.push(AsOf::SnapshotId(number("snapshot-id", id)?));
    }
    if let Some(time) = options.get("as-of-timestamp") {
        asked.push(AsOf::TimestampMs(number("as-of-timestamp", time)?));
    }
    for key in ["tag", "branch"] {
        if let Some(name) = options.get(key) {
            asked.push(AsOf::Reference(name.to_owned()));
        }
    }
    match (asked.pop(), asked.is_empty()) {
        (None, _) => Ok(AsOf::Current),
        (Some(one), true) => Ok(one),
        (Some(_), false) => {
            let message = "Only one of 'snapshot-id', 'as-of-timestamp', 'tag' and 'branch' can be \
                           given.";
            Err(Diagnostic::new(Code::TableOptions, message))
        }
    }
}
