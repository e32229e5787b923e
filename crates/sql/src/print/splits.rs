//! The answer to `SHOW SPLITS FOR JOB`.
//!
//! Each lane has a line of its own, which tells what is known of the server as a whole; the lines of its splits follow.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, TimestampMicrosecondArray};
use shardlake_change::LogicalType;
use shardlake_connector::{ChunkCount, LaneStatus, SplitStatus};

use crate::diagnostic::Diagnostic;
use crate::session::{Layout, ResultTable};

/// What one line is about.
struct Line<'a> {
    table: &'a str,
    server: &'a str,
    split: &'a str,
    lane: Option<&'a LaneStatus>,
    status: SplitStatus,
}

/// The answer to `SHOW SPLITS FOR JOB`: `lanes` and `splits` with the tables of which they are a part.
///
/// # Errors
/// A broken invariant.
pub fn splits_table(
    lanes: &[(String, LaneStatus)],
    splits: &[(String, SplitStatus)],
) -> Result<ResultTable, Diagnostic> {
    let lines = lines(lanes, splits);
    let texts = |of: fn(&Line<'_>) -> Option<String>| ResultTable::texts(lines.iter().map(of));
    let counts = |of: fn(&Line<'_>) -> Option<u64>| -> ArrayRef {
        let count = |line: &Line<'_>| of(line).and_then(|count| i64::try_from(count).ok());
        Arc::new(lines.iter().map(count).collect::<Int64Array>())
    };
    let micros = |line: &Line<'_>| {
        line.status.last_event_ms.and_then(|ms| i64::try_from(ms.saturating_mul(1_000)).ok())
    };
    let times: TimestampMicrosecondArray = lines.iter().map(micros).collect();
    let (text, count) = (LogicalType::String, LogicalType::BigInt);
    ResultTable::new(
        vec![
            ("table", text.clone(), texts(|line| Some(line.table.to_owned()))),
            ("server", text.clone(), texts(|line| Some(line.server.to_owned()))),
            ("split", text.clone(), texts(|line| Some(line.split.to_owned()))),
            ("phase", text.clone(), texts(|line| Some(line.status.phase.as_str().to_owned()))),
            ("chunks", text.clone(), texts(|line| line.status.chunks.map(chunks_text))),
            ("rows", count.clone(), counts(|line| Some(line.status.rows))),
            ("bytes", count.clone(), counts(|line| Some(line.status.size_bytes))),
            ("position", text.clone(), texts(|line| line.lane?.position.clone())),
            ("lag ms", count.clone(), counts(|line| line.lane?.lag_ms)),
            ("lag bytes", count.clone(), counts(|line| line.lane?.lag_bytes)),
            ("last event", LogicalType::TimestampLtz(3), Arc::new(times.with_timezone("+00:00"))),
            ("schema version", count.clone(), counts(schema_version)),
            ("skipped", count.clone(), counts(|line| Some(line.status.errors_skipped))),
            ("retries", count, counts(|line| Some(line.lane?.retries))),
            ("last error", text, texts(|line| line.lane?.last_error.clone())),
        ],
        Layout::Table,
    )
}

fn schema_version(line: &Line<'_>) -> Option<u64> {
    line.lane.is_none().then_some(line.status.schema_version)
}

fn lines<'a>(
    lanes: &'a [(String, LaneStatus)],
    splits: &'a [(String, SplitStatus)],
) -> Vec<Line<'a>> {
    let mut lines = Vec::with_capacity(lanes.len() + splits.len());
    for (table, lane) in lanes {
        let status = SplitStatus {
            phase: lane.phase,
            chunks: lane.chunks,
            rows: lane.rows,
            size_bytes: lane.size_bytes,
            last_event_ms: lane.last_event_ms,
            errors_skipped: lane.errors_skipped,
            ..SplitStatus::default()
        };
        lines.push(Line { table, server: &lane.lane, split: "(all)", lane: Some(lane), status });
        for (_, status) in
            splits.iter().filter(|(of, split)| of == table && split.lane == lane.lane)
        {
            let (server, split) = (&lane.lane, &status.split);
            lines.push(Line { table, server, split, lane: None, status: status.clone() });
        }
    }
    lines
}

/// Chunks as `read/total`, where an estimated total has a `~`.
fn chunks_text(chunks: ChunkCount) -> String {
    let about = if chunks.estimated { "~" } else { "" };
    format!("{}/{about}{}", chunks.read, chunks.total)
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array as _, AsArray as _};
    use shardlake_connector::ReadPhase;

    use super::*;

    #[test]
    fn a_server_stands_before_its_splits() {
        let lane = LaneStatus {
            lane: "db:3306".to_owned(),
            phase: ReadPhase::Binlog,
            chunks: Some(ChunkCount { read: 3, total: 9, estimated: true }),
            rows: 7,
            position: Some("binlog.000002:157".to_owned()),
            lag_ms: Some(0),
            lag_bytes: Some(12),
            last_event_ms: Some(1_000),
            retries: 1,
            last_error: Some("the server says nothing".to_owned()),
            ..LaneStatus::default()
        };
        let split = SplitStatus {
            lane: "db:3306".to_owned(),
            split: "shop.orders".to_owned(),
            rows: 7,
            size_bytes: 70,
            schema_version: 2,
            ..SplitStatus::default()
        };
        let named = "c.d.users".to_owned();
        let table = splits_table(&[(named.clone(), lane)], &[(named, split)]).unwrap();
        let names: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
        assert_eq!(
            names.join(","),
            "table,server,split,phase,chunks,rows,bytes,position,lag ms,lag bytes,last event,\
             schema version,skipped,retries,last error"
        );
        let texts = |column: &str| -> Vec<Option<String>> {
            let cells = table.rows.column_by_name(column).unwrap().as_string::<i32>();
            cells.iter().map(|cell| cell.map(str::to_owned)).collect()
        };
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(texts("split"), [text("(all)"), text("shop.orders")]);
        assert_eq!(texts("chunks"), [text("3/~9"), None]);
        assert_eq!(texts("position"), [text("binlog.000002:157"), None]);
        assert_eq!(texts("last error"), [text("the server says nothing"), None]);
        let lag = table.rows.column_by_name("lag ms").unwrap();
        assert_eq!((lag.is_valid(0), lag.is_valid(1)), (true, false));
    }
}
