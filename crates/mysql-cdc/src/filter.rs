//! Which changes of the binlog the snapshot phase has made superfluous.
//!
//! The reasoning stands in `position`. With GTIDs, a table's changes are dropped if its low
//! watermark contains their transaction. Without, a position says less: a transaction is in the binlog before its
//! rows are visible. Reading then begins some time before the low watermark, and changes from before
//! a statement that emptied or remade the table are dropped (see `binlog::prefix`).

use std::collections::BTreeMap;

use shardlake_change::TableId;
use shardlake_mysql_wire::gtid::{Gtid, GtidSet};

use crate::error::{Error, Result};
use crate::position::{BinlogOffset, SnapshotProgress};

/// Decides about the changes of the binlog while the snapshot phase lasts.
#[derive(Debug)]
pub(crate) struct WatermarkFilter {
    /// The end of the binlog before tables were looked for.
    start: BinlogOffset,
    tables: BTreeMap<TableId, Low>,
}

#[derive(Debug)]
enum Low {
    /// Transactions that every chunk of the table shows.
    Executed(GtidSet),
    /// The binlog offset up to which every chunk shows everything.
    Before(BinlogOffset),
}

impl WatermarkFilter {
    /// A filter for what has been read. `barriers` are the offsets of the last statements that emptied or remade
    /// a table.
    pub(crate) fn new(
        snapshot: &SnapshotProgress,
        barriers: &BTreeMap<TableId, BinlogOffset>,
    ) -> Result<Self> {
        let mut tables = BTreeMap::new();
        for (database, progress_of) in &snapshot.tables {
            for name in progress_of.keys() {
                let table = TableId::new(database, name);
                let Some(low) = snapshot.low(&table) else { continue };
                let low = match &low.gtid_set {
                    _ if snapshot.exact => Low::Before(low.offset.clone()),
                    Some(set) => Low::Executed(parse_set(set)?),
                    None => {
                        // A new file begins when all transactions of the one before have ended.
                        let file = BinlogOffset { file: low.offset.file.clone(), offset: 0 };
                        let barrier = barriers.get(&table).cloned().unwrap_or_default();
                        Low::Before(file.max(barrier))
                    }
                };
                tables.insert(table, low);
            }
        }
        Ok(Self { start: snapshot.start.offset.clone(), tables })
    }

    /// Whether a change is to be sent. `at` is the offset behind it.
    pub(crate) fn keeps(&self, table: &TableId, gtid: Option<&Gtid>, at: &BinlogOffset) -> bool {
        match (self.tables.get(table), gtid) {
            (Some(Low::Executed(set)), Some(gtid)) => !set.contains(gtid),
            (Some(Low::Executed(_)), None) => true,
            (Some(Low::Before(low)), _) => at > low,
            // A table that was not there when tables were looked for.
            (None, _) => *at > self.start,
        }
    }
}

/// Reads a stored GTID set.
pub(crate) fn parse_set(text: &str) -> Result<GtidSet> {
    text.parse().map_err(|error| {
        Error::job(format!("'{text}' is no GTID set ({error}): write it as uuid:1-100,uuid:1-5"))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::position::{ChunkRun, FinishedChunk, KeyRange, Watermark};

    const UUID: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

    fn watermark(executed: u64) -> Watermark {
        let offset = BinlogOffset { file: "binlog.000002".into(), offset: executed * 100 };
        Watermark { offset, gtid_set: Some(format!("{UUID}:1-{executed}")) }
    }

    fn gtid(number: u64) -> Gtid {
        let set: GtidSet = format!("{UUID}:1").parse().unwrap();
        let source = *set.iter().next().unwrap().0;
        Gtid { source, number }
    }

    proptest! {
        /// A server whose transactions each set one key to their number; chunks are read at any
        /// moments. What the filter keeps, applied to what the chunks showed, ends where the server
        /// ended.
        #[test]
        fn snapshot_and_kept_changes_end_at_the_servers_state(
            transactions in prop::collection::vec((0_u64..6, prop::bool::weighted(0.2)), 1..60),
            reads in prop::collection::vec((0_usize..60, 0_usize..5), 3..4),
        ) {
            let count = transactions.len();
            let state_at = |end: usize| {
                let mut state = BTreeMap::new();
                for (number, (key, delete)) in transactions[..end].iter().enumerate() {
                    if *delete { state.remove(key); } else { state.insert(*key, number); }
                }
                state
            };
            let table = TableId::new("d", "t");
            let mut snapshot = SnapshotProgress::new(watermark(1));
            let mut lake = BTreeMap::new();
            // Chunk n holds keys 2n and 2n + 1. The read view opens at or after the low watermark.
            for (chunk, (low, later)) in (0_u64..).zip(&reads) {
                let low = (*low).clamp(1, count);
                let seen = state_at((low + later).min(count));
                lake.extend(seen.into_iter().filter(|(key, _)| key / 2 == chunk));
                snapshot.finish(FinishedChunk {
                    table: &table,
                    key: "id",
                    run: ChunkRun { first: chunk, last: chunk, keys: KeyRange::default() },
                    low: watermark(low as u64),
                    high: watermark(count as u64).offset,
                });
            }
            let filter = WatermarkFilter::new(&snapshot, &BTreeMap::new()).unwrap();
            for (number, (key, delete)) in transactions.iter().enumerate() {
                let at = watermark(number as u64 + 1).offset;
                if filter.keeps(&table, Some(&gtid(number as u64 + 1)), &at) {
                    if *delete { lake.remove(key); } else { lake.insert(*key, number); }
                }
            }
            prop_assert_eq!(lake, state_at(count));
        }
    }

    #[test]
    fn without_gtids_only_changes_before_a_barrier_are_dropped() {
        let table = TableId::new("d", "t");
        let no_gtid = Watermark { gtid_set: None, ..watermark(5) };
        let mut snapshot = SnapshotProgress::new(no_gtid.clone());
        snapshot.finish(FinishedChunk {
            table: &table,
            key: "id",
            run: ChunkRun { first: 0, last: 0, keys: KeyRange::default() },
            low: no_gtid.clone(),
            high: no_gtid.offset,
        });
        let at = |offset| BinlogOffset { file: "binlog.000002".into(), offset };
        let filter = WatermarkFilter::new(&snapshot, &BTreeMap::new()).unwrap();
        assert!(filter.keeps(&table, None, &at(150)));
        let barriers = BTreeMap::from([(table.clone(), at(200))]);
        let filter = WatermarkFilter::new(&snapshot, &barriers).unwrap();
        assert!(!filter.keeps(&table, None, &at(200)));
        assert!(filter.keeps(&table, None, &at(201)));
        let made_since = TableId::new("d", "new");
        assert!(!filter.keeps(&made_since, None, &at(500)));
        assert!(filter.keeps(&made_since, None, &at(501)));
    }
}
