//! The tables that a job writes, as their own metadata tells: snapshots, files, deletes.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use shardlake_connector::ObjectName;
use shardlake_job::OperatorKind;
use shardlake_sql::diagnostic::Diagnostic;
use shardlake_sql::print::{CellFormat, JsonLines};

use crate::directory::JobView;
use crate::engine::{Answer, Engine, EngineSession};

/// The most snapshots that are told.
const SNAPSHOTS_MAX: usize = 200;

/// What is known of the tables of a job's sinks. A sink that is no Iceberg table says why it tells nothing.
pub(crate) async fn describe(engine: &Arc<Engine>, job: &JobView) -> Vec<Value> {
    let Some(handle) = &job.handle else { return Vec::new() };
    let sinks = handle.graph().iter().filter(|operator| operator.kind == OperatorKind::Sink);
    let tables: Vec<ObjectName> = sinks.filter_map(|sink| sink.table.clone()).collect();
    let mut described = Vec::with_capacity(tables.len());
    for table in tables {
        let mut value = json!({ "name": table.to_string() });
        let found = match engine.session_of_job(&job.id) {
            Ok(mut session) => table_value(&mut session, &table).await,
            Err(failure) => Err(failure),
        };
        let more = match found {
            Ok(more) => more,
            Err(failure) => Map::from_iter([("error".to_owned(), json!(failure.message))]),
        };
        if let Some(fields) = value.as_object_mut() {
            fields.extend(more);
        }
        described.push(value);
    }
    described
}

async fn table_value(
    session: &mut EngineSession,
    table: &ObjectName,
) -> Result<Map<String, Value>, Diagnostic> {
    let of = |kind: &str| {
        let quoted = |name: &str| format!("`{}`", name.replace('`', "``"));
        let object = quoted(&format!("{}${kind}", table.object));
        format!("{}.{}.{object}", quoted(&table.catalog), quoted(&table.database))
    };
    let snapshots = rows(
        session,
        &format!(
            "SELECT committed_at, snapshot_id, parent_id, operation, summary FROM {} ORDER BY \
             committed_at DESC LIMIT {SNAPSHOTS_MAX}",
            of("snapshots")
        ),
    )
    .await?;
    let files = rows(
        session,
        &format!(
            "SELECT content, COUNT(*) AS file_count, SUM(record_count) AS row_count, \
             SUM(file_size_in_bytes) AS size_bytes, MIN(file_size_in_bytes) AS size_bytes_min, \
             MAX(file_size_in_bytes) AS size_bytes_max FROM {} GROUP BY content ORDER BY content",
            of("files")
        ),
    )
    .await?;
    let kinds = BTreeMap::from([(0, "data"), (1, "position_deletes"), (2, "equality_deletes")]);
    let files: Map<String, Value> = files
        .into_iter()
        .filter_map(|row| {
            let kind = kinds.get(&row.get("content")?.as_i64()?)?;
            Some(((*kind).to_owned(), row))
        })
        .collect();
    Ok(Map::from_iter([
        ("snapshots".to_owned(), Value::Array(snapshots)),
        ("files".to_owned(), Value::Object(files)),
    ]))
}

async fn rows(session: &mut EngineSession, query: &str) -> Result<Vec<Value>, Diagnostic> {
    let Answer::Rows(mut result) = session.execute(query).await? else {
        return Err(Diagnostic::internal("a query gave no rows"));
    };
    let cells = CellFormat::new(session.session().configuration().time_zone());
    let lines = JsonLines::new(&result.columns, cells);
    let mut rows = Vec::new();
    while let Some(delivery) = result.next().await {
        let text = lines.rows(delivery?.rows());
        rows.extend(text.lines().filter_map(|line| serde_json::from_str(line).ok()));
    }
    Ok(rows)
}
