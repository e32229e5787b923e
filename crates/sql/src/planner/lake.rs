//! Tables of the lake: found by the options of their definition, read by the lake's own provider.
//!
//! A table that does not exist yet is made when it is first planned, as its sink would make it.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::catalog::TableProvider;
use serde_json::Value;
use shardlake_change::LogicalType;
use shardlake_connector::{JobPosition, Options, SchemaChangeBehavior, Sink};
use shardlake_iceberg_table::{
    AsOf, Catalog as LakeCatalog, Error as LakeError, IcebergTableProvider, MetadataTable, Table,
    TableChange, TableName, alter, open_catalog, source_positions,
};

use super::insert::sink_definition;
use crate::catalog::{PlannerContext, ResolvedColumn, ResolvedTable, create_sink, lake_error};
use crate::diagnostic::{Code, Diagnostic};

/// The option for a state by the position of its source.
const AS_OF_GTID: &str = "as-of-gtid";

/// Options that say what is read, not how the table is stored; a sink does not know them.
const READ_OPTIONS: [&str; 14] = [
    AS_OF_GTID,
    "streaming",
    "monitor-interval",
    "starting-strategy",
    "start-snapshot-id",
    "start-snapshot-timestamp",
    "start-tag",
    "end-snapshot-id",
    "end-tag",
    "tag",
    "snapshot-id",
    "as-of-timestamp",
    "max-planning-snapshot-count",
    "max-allowed-planning-failures",
];

/// Options that ask for the changes of a table instead of one of its states.
const INCREMENTAL_OPTIONS: [&str; 5] =
    ["start-snapshot-id", "start-snapshot-timestamp", "start-tag", "end-snapshot-id", "end-tag"];

/// Whether the options of a table of the lake ask for its changes.
pub(super) fn reads_changes(options: &Options) -> bool {
    options.get("streaming").is_some_and(|value| value.eq_ignore_ascii_case("true"))
        || INCREMENTAL_OPTIONS.iter().any(|key| options.get(key).is_some())
}

/// Leaves out the options that only say what is read.
pub(super) fn remove_read_options(options: &mut Options) {
    for key in READ_OPTIONS {
        options.remove(key);
    }
}

/// What reads a table, and the types of its columns.
type LakeTable = (Arc<dyn TableProvider>, Vec<LogicalType>);

/// What reads a table of connector `iceberg` or one of its metadata tables.
pub(super) async fn lake_table(
    context: &PlannerContext,
    table: &ResolvedTable,
) -> Result<LakeTable, Diagnostic> {
    if let Some(kind) = &table.metadata_table {
        return metadata_table(context, table, kind).await;
    }
    let lake = open(context, table).await?;
    let as_of = as_of(context, table, &lake)?;
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
) -> Result<LakeTable, Diagnostic> {
    let Some(found) = MetadataTable::parse(kind) else {
        let known: Vec<&str> = MetadataTable::ALL.into_iter().map(MetadataTable::name).collect();
        return Err(Diagnostic::object_not_found(&format!("{}${kind}", table.name))
            .with_hint(format!("Metadata tables: {}", known.join(", "))));
    };
    let lake = open(context, table).await?;
    let as_of = as_of(context, table, &lake)?;
    let provider = found.load(&lake, &as_of).await.map_err(|error| lake_error(&error))?;
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
    let (catalog, name) = locate(table)?;
    match catalog.load(&name).await {
        Err(LakeError::NotFound(_)) => {
            sink.prepare().await.map_err(|error| Diagnostic::connector(&error))?;
            catalog.load(&name).await.map_err(|error| lake_error(&error))
        }
        loaded => loaded.map_err(|error| lake_error(&error)),
    }
}

/// Where the options say that the table is.
pub(crate) fn locate(
    table: &ResolvedTable,
) -> Result<(Arc<dyn LakeCatalog>, TableName), Diagnostic> {
    let options = table.definition.options.resolved();
    let options = options.map_err(|error| Diagnostic::connector(&error))?;
    let name = TableName::new(
        options.get("catalog-database").unwrap_or(&table.name.database),
        options.get("catalog-table").unwrap_or(&table.name.object),
    );
    let catalog = options.get("catalog-name").unwrap_or_default();
    let catalog = open_catalog(catalog, options.iter()).map_err(|error| lake_error(&error))?;
    Ok((catalog, name))
}

/// Changes the Iceberg table behind a definition.
///
/// # Errors
/// [`Code::ObjectNotFound`] if it does not exist; why it cannot be changed so.
pub(crate) async fn alter_lake_table(
    table: &ResolvedTable,
    changes: &[TableChange],
) -> Result<(), Diagnostic> {
    let (catalog, name) = locate(table)?;
    let changed = alter(catalog.as_ref(), &name, changes).await;
    changed.map(drop).map_err(|error| lake_error(&error))
}

/// What would write the table: it knows the options, and how the table is made.
fn sink_of(context: &PlannerContext, table: &ResolvedTable) -> Result<Arc<dyn Sink>, Diagnostic> {
    let factory = context.connectors.sink(&table.name, table.connector.as_deref())?;
    let mut definition = sink_definition(table);
    definition.options.remove("branch");
    create_sink(factory.as_ref(), &definition)
}

/// Which state of the table the options ask for.
fn as_of(
    context: &PlannerContext,
    table: &ResolvedTable,
    lake: &Table,
) -> Result<AsOf, Diagnostic> {
    let options = &table.definition.options;
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
    if let Some(set) = options.get(AS_OF_GTID) {
        asked.push(as_of_gtid(context, lake, set)?);
    }
    match (asked.pop(), asked.is_empty()) {
        (None, _) => Ok(AsOf::Current),
        (Some(one), true) => Ok(one),
        (Some(_), false) => {
            let message = "Only one of 'snapshot-id', 'as-of-timestamp', 'as-of-gtid', 'tag' and \
                           'branch' can be given.";
            Err(Diagnostic::new(Code::TableOptions, message))
        }
    }
}

/// The first snapshot that holds every transaction of a GTID set: the lanes of all jobs that write the
/// table count, each as far as its newest snapshot until then says.
pub(crate) fn as_of_gtid(
    context: &PlannerContext,
    lake: &Table,
    set: &str,
) -> Result<AsOf, Diagnostic> {
    let mut lanes_of_job: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    let mut is_comparable = false;
    for stored in source_positions(lake) {
        let lanes = match serde_json::from_value::<JobPosition>(stored.position) {
            // A table that is still being copied may show a transaction in part.
            Ok(position) if !stored.in_snapshot_phase => {
                position.into_values().flat_map(BTreeMap::into_values).collect()
            }
            Ok(_) | Err(_) => Vec::new(),
        };
        lanes_of_job.insert(stored.job, lanes);
        let lanes: Vec<&Value> = lanes_of_job.values().flatten().collect();
        for source in context.connectors.sources() {
            match source.has_reached(&lanes, set).map_err(|error| Diagnostic::connector(&error))? {
                Some(true) => return Ok(AsOf::SnapshotId(stored.snapshot_id)),
                Some(false) => is_comparable = true,
                None => {}
            }
        }
    }
    let table = lake.name();
    let (message, hint) = if is_comparable {
        (
            format!("No retained snapshot of table {table} contains the GTID set '{set}'."),
            "The job that writes the table has not committed these transactions yet, or another \
             server made them.",
        )
    } else {
        (
            format!("The snapshots of table {table} store no position with GTIDs."),
            "GTIDs are stored with gtid_mode = ON, once a job has read the existing rows.",
        )
    };
    Err(Diagnostic::new(Code::ObjectNotFound, message).with_hint(hint))
}
