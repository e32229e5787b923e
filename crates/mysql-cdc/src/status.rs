//! How far the tables of a lane are, for `SHOW SPLITS` and metrics.
//!
//! Readers note what they do; whoever looks gets a picture of the moment. Nothing is decided by it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use shardlake_change::TableId;
use shardlake_connector::{ChunkCount, LaneStatus, ReadPhase, SourceStatus, SplitStatus};

use crate::position::LanePosition;

#[derive(Clone, Debug)]
struct TableStatus {
    chunks: Option<ChunkCount>,
    rows: u64,
    size_bytes: u64,
    last_event_ms: Option<u64>,
    schema_version: u64,
    errors_skipped: u64,
    /// It could not be read on.
    failed: bool,
}

impl Default for TableStatus {
    fn default() -> Self {
        Self {
            chunks: None,
            rows: 0,
            size_bytes: 0,
            last_event_ms: None,
            schema_version: 1,
            errors_skipped: 0,
            failed: false,
        }
    }
}

#[derive(Default)]
struct Board {
    phase: ReadPhase,
    tables: BTreeMap<Arc<TableId>, TableStatus>,
    position: Option<LanePosition>,
    last_event_ms: Option<u64>,
    /// Everything that the server had when it was last heard has been read.
    idle: bool,
    lag_bytes: Option<u64>,
    retries: u64,
    last_error: Option<String>,
}

impl Board {
    fn table(&mut self, table: &Arc<TableId>) -> &mut TableStatus {
        self.tables.entry(Arc::clone(table)).or_default()
    }

    fn chunks(&mut self, table: &Arc<TableId>) -> &mut ChunkCount {
        self.table(table).chunks.get_or_insert_default()
    }

    /// What is being done for a table.
    fn phase_of(&self, table: &TableStatus) -> ReadPhase {
        match (self.phase, table.chunks) {
            _ if table.failed => ReadPhase::Failed,
            (ReadPhase::Binlog, Some(chunks)) if chunks.left() > 0 => ReadPhase::Snapshot,
            (phase, _) => phase,
        }
    }

    fn lag_ms(&self, now_ms: u64) -> Option<u64> {
        match self.phase {
            ReadPhase::Binlog if self.idle => Some(0),
            ReadPhase::Starting | ReadPhase::Snapshot | ReadPhase::Finished => None,
            ReadPhase::Binlog | ReadPhase::Retrying | ReadPhase::Failed => {
                self.last_event_ms.map(|event_ms| now_ms.saturating_sub(event_ms))
            }
        }
    }
}

/// Rows of one table that have been sent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SentRows {
    /// How many.
    pub(crate) row_count: u64,
    /// About how many bytes they take.
    pub(crate) size_bytes: u64,
    /// When they were written, in milliseconds since 1970; 0 in the snapshot phase.
    pub(crate) event_ms: u64,
}

/// What readers note and users see.
pub(crate) struct StatusBoard {
    lane: String,
    board: Mutex<Board>,
}

impl StatusBoard {
    /// A board for a lane.
    pub(crate) fn new(lane: String) -> Self {
        Self { lane, board: Mutex::new(Board::default()) }
    }

    /// The lane does something else now.
    pub(crate) fn set_phase(&self, phase: ReadPhase) {
        self.board.lock().phase = phase;
    }

    /// The lane has failed; it tries again, or has given up.
    pub(crate) fn failed(&self, phase: ReadPhase, error: &str) {
        let mut board = self.board.lock();
        board.phase = phase;
        board.idle = false;
        board.retries += u64::from(phase == ReadPhase::Retrying);
        board.last_error = Some(error.to_owned());
    }

    /// The lane reads these tables.
    pub(crate) fn tables_found<'a>(&self, tables: impl IntoIterator<Item = &'a Arc<TableId>>) {
        let mut board = self.board.lock();
        for table in tables {
            board.table(table);
        }
    }

    /// A change of the table was passed over by policy.
    pub(crate) fn passed_over(&self, table: &TableId) {
        let mut board = self.board.lock();
        board.table(&Arc::new(table.clone())).errors_skipped += 1;
    }

    /// The table cannot be read on.
    pub(crate) fn table_failed(&self, table: &TableId) {
        let mut board = self.board.lock();
        board.table(&Arc::new(table.clone())).failed = true;
    }

    /// About so many chunks of the table are to be read beside those that have been read already.
    pub(crate) fn chunks_expected(&self, table: &Arc<TableId>, count: u64) {
        let mut board = self.board.lock();
        let chunks = board.chunks(table);
        chunks.total = chunks.read + count;
        chunks.estimated = true;
    }

    /// The table has been cut: so many chunks, those that have been read included.
    pub(crate) fn chunks_known(&self, table: &Arc<TableId>, count: u64) {
        let mut board = self.board.lock();
        let chunks = board.chunks(table);
        chunks.total = count.max(chunks.read);
        chunks.estimated = false;
    }

    /// So many chunks of the table had been read before the job started.
    pub(crate) fn chunks_kept(&self, table: &Arc<TableId>, count: u64) {
        self.board.lock().chunks(table).read = count;
    }

    /// So many chunks of the table have been read.
    pub(crate) fn chunks_read(&self, table: &Arc<TableId>, count: u64) {
        let mut board = self.board.lock();
        let chunks = board.chunks(table);
        chunks.read += count;
        chunks.total = chunks.total.max(chunks.read);
    }

    /// Rows of the table have been sent.
    pub(crate) fn rows_sent(&self, table: &Arc<TableId>, rows: SentRows) {
        let mut board = self.board.lock();
        let status = board.table(table);
        status.rows += rows.row_count;
        status.size_bytes += rows.size_bytes;
        if rows.event_ms > 0 {
            status.last_event_ms = status.last_event_ms.max(Some(rows.event_ms));
        }
    }

    /// Values of the table were replaced, because their declared type does not have them.
    pub(crate) fn values_replaced(&self, table: &Arc<TableId>, count: u64) {
        self.board.lock().table(table).errors_skipped += count;
    }

    /// The table has other columns now.
    pub(crate) fn columns_changed(&self, table: &TableId) {
        if let Some(status) = self.board.lock().tables.get_mut(table) {
            status.schema_version += 1;
        }
    }

    /// The engine has been told of a position.
    pub(crate) fn told(&self, position: &LanePosition, event_time_ms: Option<u64>) {
        let mut board = self.board.lock();
        board.position = Some(position.without_chunks());
        if event_time_ms.is_some() && event_time_ms != board.last_event_ms {
            board.last_event_ms = event_time_ms;
            board.idle = false;
        }
    }

    /// Everything that the server has so far has been read.
    pub(crate) fn idle(&self) {
        let mut board = self.board.lock();
        board.idle = true;
        board.lag_bytes = Some(0);
    }

    /// So many bytes of the binlog are still to be read.
    pub(crate) fn bytes_left(&self, lag_bytes: u64) {
        self.board.lock().lag_bytes = Some(lag_bytes);
    }
}

impl SourceStatus for StatusBoard {
    fn splits(&self) -> Vec<SplitStatus> {
        let board = self.board.lock();
        let split = |(table, status): (&Arc<TableId>, &TableStatus)| SplitStatus {
            lane: self.lane.clone(),
            split: table.to_string(),
            phase: board.phase_of(status),
            chunks: status.chunks,
            rows: status.rows,
            size_bytes: status.size_bytes,
            last_event_ms: status.last_event_ms,
            schema_version: status.schema_version,
            errors_skipped: status.errors_skipped,
        };
        board.tables.iter().map(split).collect()
    }

    fn lanes(&self) -> Vec<LaneStatus> {
        let board = self.board.lock();
        let mut lane = LaneStatus {
            lane: self.lane.clone(),
            phase: board.phase,
            split_count: u64::try_from(board.tables.len()).unwrap_or(u64::MAX),
            position: board.position.as_ref().map(ToString::to_string),
            lag_ms: board.lag_ms(now_ms()),
            lag_bytes: board.lag_bytes,
            last_event_ms: board.last_event_ms,
            retries: board.retries,
            last_error: board.last_error.clone(),
            ..LaneStatus::default()
        };
        for table in board.tables.values() {
            lane.rows += table.rows;
            lane.size_bytes += table.size_bytes;
            lane.errors_skipped += table.errors_skipped;
            if let Some(chunks) = table.chunks {
                let all = lane.chunks.get_or_insert_default();
                all.read += chunks.read;
                all.total += chunks.total;
                all.estimated |= chunks.estimated;
            }
        }
        vec![lane]
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The boards of all lanes of a source.
pub(crate) struct Boards(pub(crate) Vec<Arc<StatusBoard>>);

impl SourceStatus for Boards {
    fn splits(&self) -> Vec<SplitStatus> {
        self.0.iter().flat_map(|board| board.splits()).collect()
    }

    fn lanes(&self) -> Vec<LaneStatus> {
        self.0.iter().flat_map(|board| board.lanes()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::{BinlogOffset, Watermark};

    fn position() -> LanePosition {
        let offset = BinlogOffset { file: "binlog.000002".to_owned(), offset: 157 };
        LanePosition::streaming("u".to_owned(), Watermark { offset, gtid_set: Some("u:1".into()) })
    }

    #[test]
    fn the_board_shows_what_was_noted() {
        let board = StatusBoard::new("db:3306".to_owned());
        let table = Arc::new(TableId::new("d", "t"));
        board.tables_found([&table, &Arc::new(TableId::new("d", "u"))]);
        board.chunks_expected(&table, 7);
        board.chunks_read(&table, 1);
        board.rows_sent(&table, SentRows { row_count: 5, size_bytes: 50, event_ms: 0 });
        board.set_phase(ReadPhase::Snapshot);
        let expected = SplitStatus {
            lane: "db:3306".to_owned(),
            split: "d.t".to_owned(),
            phase: ReadPhase::Snapshot,
            chunks: Some(ChunkCount { read: 1, total: 7, estimated: true }),
            rows: 5,
            size_bytes: 50,
            schema_version: 1,
            ..SplitStatus::default()
        };
        assert_eq!(board.splits()[0], expected);
        board.chunks_known(&table, 3);
        board.columns_changed(&table);
        let lane = &board.lanes()[0];
        assert_eq!(lane.chunks, Some(ChunkCount { read: 1, total: 3, estimated: false }));
        assert_eq!((lane.split_count, lane.rows, lane.lag_ms), (2, 5, None));
        assert_eq!(board.splits()[0].schema_version, 2);
    }

    #[test]
    fn an_idle_lane_has_no_lag_and_a_failing_one_says_why() {
        let board = StatusBoard::new("db:3306".to_owned());
        board.set_phase(ReadPhase::Binlog);
        board.told(&position(), Some(1_000));
        assert!(board.lanes()[0].lag_ms > Some(1_000));
        board.idle();
        let lane = board.lanes().remove(0);
        assert_eq!((lane.lag_ms, lane.lag_bytes), (Some(0), Some(0)));
        assert_eq!(lane.position.as_deref(), Some("binlog.000002:157 u:1"));
        board.failed(ReadPhase::Retrying, "no route to host");
        let lane = board.lanes().remove(0);
        assert_eq!((lane.retries, lane.last_error.as_deref()), (1, Some("no route to host")));
        assert!(lane.lag_ms > Some(1_000));
    }
}
