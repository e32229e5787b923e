//! Without GTIDs: where reading begins before the low watermark, and what of it is dropped.
//!
//! A transaction is in the binlog before its rows are visible, so a chunk may lack rows of a transaction
//! that stands before the chunk's low watermark. Files before the current one are safe: a file is only
//! closed when its transactions have ended. Within the current file, reading begins [`WINDOW_US`] of
//! binlog time before its end; the assumption is that no transaction takes longer from the binlog to its
//! visibility. Where events carry no time, it begins with the file.
//!
//! Changes from before a statement that made, emptied, altered or dropped their table are dropped: such a
//! statement waits until all earlier changes of the table are visible, and applied again they would bring
//! back rows that it removed without row events.

use std::collections::BTreeMap;
use std::sync::Arc;

use shardlake_change::TableId;
use shardlake_mysql_wire::event::EventBody;

use crate::ddl::{Statement, TableStatement, read_statement};
use crate::dump::{Dump, DumpFrom};
use crate::error::Result;
use crate::lane::Lane;
use crate::position::BinlogOffset;

/// Ten minutes.
const WINDOW_US: u64 = 10 * 60 * 1_000_000;
/// Beginnings of transactions are remembered this far apart.
const SAMPLE_US: u64 = 1_000_000;

/// The end of a binlog file before the low watermark.
pub(super) struct Prefix {
    /// Where reading begins.
    pub(super) from: BinlogOffset,
    /// For tables that were made, emptied or altered: where.
    pub(super) barriers: BTreeMap<TableId, BinlogOffset>,
}

/// Looks through the file up to `start`.
pub(super) fn scan(lane: &Lane, start: &BinlogOffset) -> Result<Prefix> {
    let at = |offset| BinlogOffset { file: start.file.clone(), offset };
    let target = Arc::clone(&lane.target);
    let stop = lane.emitter.stop_check();
    let mut dump = Dump::read_to_end(&target, stop, &DumpFrom::Offset(at(4)))?;
    let mut samples = Samples::default();
    let mut barriers = BTreeMap::new();
    let mut offset = 4;
    while let Some(event) = dump.next()? {
        let before = offset;
        if !event.header.is_artificial() && event.header.end_position > 0 {
            offset = u64::from(event.header.end_position);
        }
        if offset > start.offset || (offset < before) {
            break;
        }
        match &event.body {
            EventBody::Gtid(gtid) => samples.add(before, gtid.immediate_commit_us),
            EventBody::Query(query) if !query.is_begin() => {
                match read_statement(&query.text(), &query.database_text()) {
                    Statement::Tables(statements) => {
                        let names = statements.iter().flat_map(TableStatement::names);
                        barriers.extend(names.map(|table| (table.clone(), at(offset))));
                    }
                    Statement::DropDatabase(database) => {
                        let tables = lane.tables_in(&database);
                        barriers.extend(tables.into_iter().map(|table| (table, at(offset))));
                    }
                    _ => {}
                }
            }
            EventBody::Rotate(rotate) if rotate.file != start.file => break,
            _ => {}
        }
    }
    Ok(Prefix { from: at(samples.begin()), barriers })
}

/// Beginnings of transactions with their times, a second apart.
#[derive(Debug, Default)]
struct Samples {
    /// Offset and time, ascending.
    samples: Vec<(u64, u64)>,
    newest_us: u64,
    /// A transaction has no time.
    timeless: bool,
}

impl Samples {
    fn add(&mut self, offset: u64, committed_us: u64) {
        self.timeless |= committed_us == 0;
        self.newest_us = self.newest_us.max(committed_us);
        let last_us = self.samples.last().map_or(0, |(_, us)| *us);
        if committed_us >= last_us + SAMPLE_US {
            self.samples.push((offset, committed_us));
        }
    }

    /// The last remembered transaction that is old enough, or the file's beginning.
    fn begin(&self) -> u64 {
        let old_us = self.newest_us.saturating_sub(WINDOW_US);
        let old = self.samples.iter().rev().find(|(_, us)| *us <= old_us);
        old.filter(|_| !self.timeless).map_or(4, |(offset, _)| *offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(transactions: &[(u64, u64)]) -> u64 {
        let mut samples = Samples::default();
        for (offset, seconds) in transactions {
            samples.add(*offset, seconds * 1_000_000);
        }
        samples.begin()
    }

    #[test]
    fn reading_begins_ten_minutes_before_the_end_of_the_file() {
        assert_eq!(begin(&[]), 4);
        assert_eq!(begin(&[(200, 1_000), (300, 1_500)]), 4);
        assert_eq!(begin(&[(200, 1_000), (300, 1_100), (400, 1_650), (500, 1_701)]), 300);
        assert_eq!(begin(&[(200, 1_000), (300, 1_000), (400, 9_000)]), 200);
    }

    #[test]
    fn without_times_it_begins_with_the_file() {
        assert_eq!(begin(&[(200, 1_000), (300, 0), (400, 9_000)]), 4);
    }
}
