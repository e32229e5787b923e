//! How far the tables of a lane are, for `SHOW` statements and metrics.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use shardlake_change::TableId;
use shardlake_connector::{SourceStatus, SplitStatus};

/// What a lane is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum LanePhase {
    /// Reads existing rows.
    #[default]
    Snapshot,
    /// Reads the binlog.
    Binlog,
    /// Waits before it connects again.
    Retrying,
    /// Has given up.
    Failed,
}

impl LanePhase {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Snapshot => "snapshot",
            Self::Binlog => "binlog",
            Self::Retrying => "retrying",
            Self::Failed => "failed",
        }
    }
}

#[derive(Clone, Debug, Default)]
struct TableStatus {
    /// Chunks read and chunks in all.
    chunks: Option<(u64, u64)>,
    rows: u64,
}

#[derive(Default)]
struct Board {
    phase: LanePhase,
    tables: BTreeMap<Arc<TableId>, TableStatus>,
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
    pub(crate) fn set_phase(&self, phase: LanePhase) {
        self.board.lock().phase = phase;
    }

    /// Another chunk of the table is to be read.
    pub(crate) fn chunk_planned(&self, table: &Arc<TableId>) {
        let mut board = self.board.lock();
        let status = board.tables.entry(Arc::clone(table)).or_default();
        status.chunks.get_or_insert((0, 0)).1 += 1;
    }

    /// A chunk of the table has been read.
    pub(crate) fn chunk_read(&self, table: &Arc<TableId>) {
        let mut board = self.board.lock();
        let status = board.tables.entry(Arc::clone(table)).or_default();
        status.chunks.get_or_insert((0, 0)).0 += 1;
    }

    /// Forgets planned chunks that were not read: they will be planned again.
    pub(crate) fn forget_planned(&self) {
        for status in self.board.lock().tables.values_mut() {
            if let Some((read, all)) = &mut status.chunks {
                *all = *read;
            }
        }
    }

    /// Rows of the table have been sent.
    pub(crate) fn rows_sent(&self, table: &Arc<TableId>, rows: u64) {
        let mut board = self.board.lock();
        board.tables.entry(Arc::clone(table)).or_default().rows += rows;
    }
}

impl SourceStatus for StatusBoard {
    fn splits(&self) -> Vec<SplitStatus> {
        let board = self.board.lock();
        let split = |(table, status): (&Arc<TableId>, &TableStatus)| SplitStatus {
            lane: self.lane.clone(),
            split: table.to_string(),
            phase: board.phase.as_str(),
            chunks: status.chunks,
            rows: status.rows,
        };
        board.tables.iter().map(split).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_board_shows_what_was_noted() {
        let board = StatusBoard::new("db:3306".to_owned());
        let table = Arc::new(TableId::new("d", "t"));
        board.chunk_planned(&table);
        board.chunk_planned(&table);
        board.chunk_read(&table);
        board.rows_sent(&table, 5);
        board.set_phase(LanePhase::Retrying);
        let expected = SplitStatus {
            lane: "db:3306".to_owned(),
            split: "d.t".to_owned(),
            phase: "retrying",
            chunks: Some((1, 2)),
            rows: 5,
        };
        assert_eq!(board.splits(), [expected]);
        board.forget_planned();
        assert_eq!(board.splits()[0].chunks, Some((1, 1)));
    }
}
