//! Where a lane stands: the binlog offset behind which every change has been sent and, in the
//! snapshot phase, the chunks that have been read with their watermarks.
//!
//! # Why the watermarks lose nothing
//! The low watermark of a chunk is read before the chunk's read view opens, so every transaction in
//! its GTID set is visible to the chunk. The binlog is read from the earliest low watermark, after all
//! chunks. A table's watermark is the earliest of its chunks: an event that it contains is in every
//! chunk and is dropped; all later events are applied in order. Those that a chunk showed already are
//! applied again, which is harmless, because each carries the full row and the last one wins. Past the
//! greatest high watermark no chunk is ahead of the binlog, so from there on every transaction's end
//! is a consistent state.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use shardlake_change::{LogicalType, TableId};
use shardlake_connector::Phase;
use shardlake_mysql_wire::gtid::GtidSet;

use crate::error::{Error, Result};
use crate::layouts::Layouts;

/// The version of the stored form.
const VERSION: u32 = 1;

/// An offset in the binlog of one server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct BinlogOffset {
    /// The file.
    pub(crate) file: String,
    /// The place in it.
    pub(crate) offset: u64,
}

impl Ord for BinlogOffset {
    /// Files are numbered, and the number grows a digit after `binlog.999999`.
    fn cmp(&self, other: &Self) -> Ordering {
        (self.file.len(), &self.file, self.offset).cmp(&(
            other.file.len(),
            &other.file,
            other.offset,
        ))
    }
}

impl PartialOrd for BinlogOffset {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A state of the server: the end of its binlog and, with `gtid_mode = ON`, the executed transactions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Watermark {
    /// The end of the binlog.
    #[serde(flatten)]
    pub(crate) offset: BinlogOffset,
    /// The executed transactions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) gtid_set: Option<String>,
}

impl Watermark {
    /// Whether this state shows less than another one.
    ///
    /// The server reads the executed transactions and the end of its binlog one after the other, and a
    /// transaction is in the binlog before it is executed. So two states with equal offsets, or with offsets in
    /// the other order, can differ in their transactions: these decide where they are known.
    fn is_earlier_than(&self, other: &Self) -> bool {
        match (&self.gtid_set, &other.gtid_set) {
            (Some(own), Some(others)) if own == others => false,
            (Some(own), Some(others)) => {
                match (own.parse::<GtidSet>(), others.parse::<GtidSet>()) {
                    (Ok(own), Ok(others)) => !own.contains_set(&others),
                    (Err(_), _) | (_, Err(_)) => self.offset < other.offset,
                }
            }
            (None, _) | (_, None) => self.offset < other.offset,
        }
    }
}

/// A half-open range of keys, as the server prints them; open where there is no bound.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeyRange {
    /// The least key, included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<String>,
    /// The key at which the range ends, not included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) to: Option<String>,
}

/// Neighbouring chunks, by their numbers, and the keys that they cover.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ChunkRun {
    /// The number of the first.
    pub(crate) first: u64,
    /// The number of the last.
    pub(crate) last: u64,
    /// The keys of all of them.
    #[serde(flatten)]
    pub(crate) keys: KeyRange,
}

impl ChunkRun {
    /// How many chunks they are.
    pub(crate) const fn chunk_count(&self) -> u64 {
        self.last + 1 - self.first
    }
}

/// How far the existing rows of one table have been read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TableProgress {
    /// The column that chunks are cut by.
    pub(crate) key: String,
    /// Index into [`SnapshotProgress::lows`] of the earliest low watermark.
    pub(crate) low: usize,
    /// The chunks that have been read, neighbours merged, ascending.
    pub(crate) finished: Vec<ChunkRun>,
}

impl TableProgress {
    /// Notes that a chunk has been read.
    pub(crate) fn finish(&mut self, run: ChunkRun) {
        let at = self.finished.partition_point(|other| other.first < run.first);
        self.finished.insert(at, run);
        self.merge_at(at);
        if at > 0 {
            self.merge_at(at - 1);
        }
    }

    fn merge_at(&mut self, at: usize) {
        let Some(next) = self.finished.get(at + 1) else { return };
        let (next_first, next_last, next_to) = (next.first, next.last, next.keys.to.clone());
        let Some(run) = self.finished.get_mut(at) else { return };
        if run.last + 1 == next_first {
            run.last = next_last;
            run.keys.to = next_to;
            self.finished.remove(at + 1);
        }
    }

    /// The chunks that are still to be read. The last one is open if the table has not been cut to
    /// its end: its end number is then a guess.
    pub(crate) fn missing(&self) -> Vec<ChunkRun> {
        let mut missing = Vec::new();
        let mut next = 0;
        let mut from = None;
        for run in &self.finished {
            if run.first > next {
                let keys = KeyRange { from: from.take(), to: run.keys.from.clone() };
                missing.push(ChunkRun { first: next, last: run.first - 1, keys });
            }
            next = run.last + 1;
            from.clone_from(&run.keys.to);
        }
        if next == 0 || from.is_some() {
            let keys = KeyRange { from, to: None };
            missing.push(ChunkRun { first: next, last: next, keys });
        }
        missing
    }
}

/// How far the existing rows of all tables have been read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SnapshotProgress {
    /// The watermark before anything was read: reading the binlog starts here.
    pub(crate) start: Watermark,
    /// The greatest high watermark.
    pub(crate) high: BinlogOffset,
    /// Low watermarks, each once.
    pub(crate) lows: Vec<Watermark>,
    /// The tables, by database and name.
    pub(crate) tables: BTreeMap<String, BTreeMap<String, TableProgress>>,
    /// Whether every table has been read to its end.
    pub(crate) complete: bool,
    /// Whether a chunk shows everything before its low watermark's offset and nothing behind it, as MariaDB can tell.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) exact: bool,
}

impl SnapshotProgress {
    /// Nothing has been read yet.
    pub(crate) fn new(start: Watermark) -> Self {
        Self { high: start.offset.clone(), start, ..Self::default() }
    }

    /// The progress of a table, if a chunk of it has been read.
    pub(crate) fn table(&self, table: &TableId) -> Option<&TableProgress> {
        self.tables.get(&table.database)?.get(&table.table)
    }

    /// The progress of a table, if a chunk of it has been read.
    pub(crate) fn table_mut(&mut self, table: &TableId) -> Option<&mut TableProgress> {
        self.tables.get_mut(&table.database)?.get_mut(&table.table)
    }

    /// The low watermark of a table.
    pub(crate) fn low(&self, table: &TableId) -> Option<&Watermark> {
        self.lows.get(self.table(table)?.low)
    }

    /// Notes that a chunk has been read.
    pub(crate) fn finish(&mut self, chunk: FinishedChunk<'_>) {
        if chunk.high > self.high {
            self.high = chunk.high;
        }
        let stored = self.table(chunk.table).map(|table| table.low);
        let earlier = stored
            .and_then(|low| self.lows.get(low))
            .is_none_or(|low| chunk.low.is_earlier_than(low));
        let low = match stored {
            Some(low) if !earlier => low,
            Some(_) | None => self.low_index(&chunk.low),
        };
        let database = self.tables.entry(chunk.table.database.clone()).or_default();
        let progress = database.entry(chunk.table.table.clone()).or_insert_with(|| TableProgress {
            key: chunk.key.to_owned(),
            low,
            finished: Vec::new(),
        });
        progress.low = low;
        progress.finish(chunk.run);
    }

    fn low_index(&mut self, low: &Watermark) -> usize {
        if let Some(index) = self.lows.iter().rposition(|stored| stored == low) {
            return index;
        }
        self.lows.push(low.clone());
        self.lows.len() - 1
    }
}

/// A chunk that has been read.
pub(crate) struct FinishedChunk<'a> {
    /// Its table.
    pub(crate) table: &'a TableId,
    /// The column that chunks of the table are cut by.
    pub(crate) key: &'a str,
    /// Its numbers and keys.
    pub(crate) run: ChunkRun,
    /// Read before its read view opened.
    pub(crate) low: Watermark,
    /// Read after its last row.
    pub(crate) high: BinlogOffset,
}

/// Where a lane stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LanePosition {
    version: u32,
    /// The server's UUID: offsets mean nothing on another server.
    pub(crate) server_uuid: String,
    /// Everything before it has been sent.
    #[serde(flatten)]
    pub(crate) at: Watermark,
    /// The snapshot phase, until it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) snapshot: Option<SnapshotProgress>,
    /// XA transactions that are prepared and not yet decided, and where each begins.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) prepared: BTreeMap<String, BinlogOffset>,
    /// The columns of all tables as they are there; see [`crate::layouts`]. Positions of earlier versions of
    /// the program have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) columns: Option<String>,
    /// The columns that batches have beyond or instead of the declared ones, where columns are followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) evolved: Option<Vec<(String, LogicalType)>>,
    /// Tables that could not be read on, and why; their changes are passed over.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) stopped: BTreeMap<String, BTreeMap<String, String>>,
    /// Tables whose existing rows are being read beside the binlog, and the key from which they are still to be
    /// read.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) adding: BTreeMap<String, BTreeMap<String, Option<String>>>,
    /// Tables of which the sink may have rows that are gone from the server, by database and name.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) sweeping: BTreeSet<(String, String)>,
}

impl LanePosition {
    /// A lane that reads the binlog only.
    pub(crate) fn streaming(server_uuid: String, at: Watermark) -> Self {
        Self {
            version: VERSION,
            server_uuid,
            at,
            snapshot: None,
            prepared: BTreeMap::new(),
            columns: None,
            evolved: None,
            stopped: BTreeMap::new(),
            adding: BTreeMap::new(),
            sweeping: BTreeSet::new(),
        }
    }

    /// A lane that is about to read existing rows.
    pub(crate) fn initial(server_uuid: String, start: Watermark) -> Self {
        let snapshot = Some(SnapshotProgress::new(start.clone()));
        Self { snapshot, ..Self::streaming(server_uuid, start) }
    }

    /// The same place with the columns that all tables have there.
    pub(crate) fn with_columns(self, columns: Option<String>) -> Self {
        Self { columns, ..self }
    }

    /// The columns of all tables there. Without them each table's are found out when its rows come.
    pub(crate) fn layouts(&self, lane: &str) -> Result<Layouts> {
        let Some(text) = &self.columns else { return Ok(Layouts::default()) };
        Layouts::decode(text).map_err(|reason| {
            Error::job(format!(
                "the columns that are stored with the position of MySQL server {lane} cannot be read \
                 ({reason}): start the job under a new 'pipeline.name' and into a new table"
            ))
        })
    }

    /// The existing rows of a table are to be read.
    pub(crate) fn add_table(&mut self, table: &TableId) {
        let tables = self.adding.entry(table.database.clone()).or_default();
        tables.insert(table.table.clone(), None);
    }

    /// The next table whose existing rows are to be read, and from which key on.
    pub(crate) fn next_added(&self) -> Option<(TableId, Option<String>)> {
        let (database, tables) = self.adding.iter().next()?;
        let (table, from) = tables.iter().next()?;
        Some((TableId::new(database.clone(), table.clone()), from.clone()))
    }

    /// The existing rows of a table have been read up to a key.
    pub(crate) fn added_up_to(&mut self, table: &TableId, key: String) {
        if let Some(from) =
            self.adding.get_mut(&table.database).and_then(|tables| tables.get_mut(&table.table))
        {
            *from = Some(key);
        }
    }

    /// All rows of a table are to be read again, and those that are gone deleted.
    pub(crate) fn read_again(&mut self, table: &TableId) {
        self.add_table(table);
        self.sweeping.insert((table.database.clone(), table.table.clone()));
    }

    /// The next table whose rows in the sink are to be looked for on the server.
    pub(crate) fn next_swept(&self) -> Option<TableId> {
        let (database, table) = self.sweeping.iter().next()?;
        Some(TableId::new(database.clone(), table.clone()))
    }

    /// The sink has no more rows of a table that are gone from the server.
    pub(crate) fn end_sweep(&mut self, table: &TableId) {
        self.sweeping.remove(&(table.database.clone(), table.table.clone()));
    }

    /// No more existing rows of a table are to be read.
    pub(crate) fn end_added(&mut self, table: &TableId) {
        if let Some(tables) = self.adding.get_mut(&table.database) {
            tables.remove(&table.table);
            if tables.is_empty() {
                self.adding.remove(&table.database);
            }
        }
    }

    /// Why a table could not be read on, if it could not.
    pub(crate) fn stop_reason(&self, table: &TableId) -> Option<&str> {
        self.stopped.get(&table.database)?.get(&table.table).map(String::as_str)
    }

    /// The tables that could not be read on.
    pub(crate) fn stopped_tables(&self) -> impl Iterator<Item = TableId> {
        let tables = self.stopped.iter();
        tables.flat_map(|(database, tables)| {
            tables.keys().map(|table| TableId::new(database.clone(), table.clone()))
        })
    }

    /// A table cannot be read on.
    pub(crate) fn stop_table(&mut self, table: &TableId, reason: String) {
        let tables = self.stopped.entry(table.database.clone()).or_default();
        tables.insert(table.table.clone(), reason);
    }

    /// The same place without what only the snapshot phase needs.
    pub(crate) fn without_chunks(&self) -> Self {
        Self::streaming(self.server_uuid.clone(), self.at.clone())
    }

    /// Whether existing rows are being read or caught up with.
    pub(crate) fn phase(&self) -> Phase {
        match &self.snapshot {
            None if self.adding.is_empty() => Phase::Streaming,
            None | Some(_) => Phase::Snapshot,
        }
    }

    /// The transactions behind this position; none while existing rows are read or without GTIDs.
    pub(crate) fn executed(&self) -> Option<GtidSet> {
        match (&self.snapshot, &self.at.gtid_set) {
            (None, Some(set)) => set.parse().ok(),
            (Some(_), _) | (None, None) => None,
        }
    }

    /// The stored form.
    pub(crate) fn to_json(&self) -> Result<Value> {
        serde_json::to_value(self)
            .map_err(|error| Error::Bug(format!("a position cannot be stored: {error}")))
    }

    /// Reads the stored form.
    pub(crate) fn from_json(lane: &str, value: &Value) -> Result<Self> {
        let position: Self = serde_json::from_value(value.clone()).map_err(|error| {
            Error::job(format!(
                "the stored position of MySQL server {lane} cannot be read ({error}): it was \
                 stored by another version of the program; start the job under a new \
                 'pipeline.name' and into a new table to begin afresh"
            ))
        })?;
        if position.version != VERSION {
            return Err(Error::job(format!(
                "the stored position of MySQL server {lane} has version {}, this program reads \
                 version {VERSION}: use the program that stored it",
                position.version
            )));
        }
        Ok(position)
    }
}

impl fmt::Display for LanePosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BinlogOffset { file, offset } = &self.at.offset;
        match &self.at.gtid_set {
            Some(set) if file.is_empty() => f.write_str(set),
            Some(set) => write!(f, "{file}:{offset} {set}"),
            None => write!(f, "{file}:{offset}"),
        }
    }
}

/// Whether lanes at these positions had together read all transactions of `target`. `None` if no
/// position is one of a lane with GTIDs that has read its existing rows.
///
/// # Errors
/// `target` is no GTID set.
pub(crate) fn have_reached(positions: &[&Value], target: &str) -> Result<Option<bool>> {
    let wanted: GtidSet = target
        .parse()
        .map_err(|error| Error::job(format!("'{target}' is no GTID set: {error}")))?;
    let mut executed = GtidSet::new();
    let mut is_known = false;
    for position in positions {
        let position = serde_json::from_value::<LanePosition>((*position).clone());
        if let Some(set) = position.ok().and_then(|position| position.executed()) {
            is_known = true;
            executed.union(&set);
        }
    }
    Ok(is_known.then(|| executed.contains_set(&wanted)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(number: u64, count: u64) -> KeyRange {
        let bound = |at: u64| (at > 0 && at < count).then(|| format!("k{at}"));
        KeyRange { from: bound(number), to: bound(number + 1) }
    }

    fn run(number: u64, count: u64) -> ChunkRun {
        ChunkRun { first: number, last: number, keys: key(number, count) }
    }

    fn offset(file: &str, offset: u64) -> BinlogOffset {
        BinlogOffset { file: file.to_owned(), offset }
    }

    #[test]
    fn offsets_are_ordered_past_the_last_six_digit_file() {
        assert!(offset("binlog.999999", 900) < offset("binlog.1000000", 4));
        assert!(offset("binlog.000002", 4) < offset("binlog.000002", 100));
        assert!(offset("binlog.000002", 400) < offset("binlog.000010", 4));
    }

    #[test]
    fn the_stored_form_is_small_and_stable() {
        let low =
            Watermark { offset: offset("binlog.000002", 157), gtid_set: Some("u:1-5".into()) };
        let mut position = LanePosition::initial("u".to_owned(), low.clone());
        let snapshot = position.snapshot.as_mut().unwrap();
        let table = TableId::new("d.x", "t");
        for number in [1, 0, 3] {
            snapshot.finish(FinishedChunk {
                table: &table,
                key: "id",
                run: run(number, 9),
                low: low.clone(),
                high: offset("binlog.000002", 200 + number),
            });
        }
        let json = position.to_json().unwrap();
        insta::assert_snapshot!(json, @r#"{"file":"binlog.000002","gtid_set":"u:1-5","offset":157,"server_uuid":"u","snapshot":{"complete":false,"high":{"file":"binlog.000002","offset":203},"lows":[{"file":"binlog.000002","gtid_set":"u:1-5","offset":157}],"start":{"file":"binlog.000002","gtid_set":"u:1-5","offset":157},"tables":{"d.x":{"t":{"finished":[{"first":0,"last":1,"to":"k2"},{"first":3,"from":"k3","last":3,"to":"k4"}],"key":"id","low":0}}}},"version":1}"#);
        assert_eq!(LanePosition::from_json("db:3306", &json).unwrap(), position);
    }

    #[test]
    fn the_earliest_low_watermark_is_the_one_with_the_fewest_transactions() {
        const UUID: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
        let low = |at, executed: u64| Watermark {
            offset: offset("binlog.000002", at),
            gtid_set: Some(format!("{UUID}:1-{executed}")),
        };
        // Two readers asked at the same time: the offsets are equal, or even the other way round.
        for (first, second, earliest) in [
            (low(900, 8), low(900, 7), 7),
            (low(800, 8), low(900, 7), 7),
            (low(900, 7), low(800, 8), 7),
        ] {
            let mut snapshot = SnapshotProgress::new(low(100, 1));
            let table = TableId::new("d", "t");
            for (number, low) in [first, second].into_iter().enumerate() {
                let run = run(number as u64, 2);
                let high = offset("binlog.000002", 1_000);
                snapshot.finish(FinishedChunk { table: &table, key: "id", run, low, high });
            }
            assert_eq!(snapshot.low(&table).unwrap().gtid_set, low(0, earliest).gtid_set);
        }
    }

    #[test]
    fn positions_without_columns_are_still_read() {
        let stored = serde_json::json!({
            "version": 1, "server_uuid": "u", "file": "binlog.000002", "offset": 157,
        });
        let position = LanePosition::from_json("db:3306", &stored).unwrap();
        assert_eq!(position.layouts("db:3306").unwrap(), Layouts::default());
        assert_eq!(position.to_json().unwrap(), stored);
    }

    #[test]
    fn lanes_of_several_servers_reach_a_gtid_set_together() {
        const ONE: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
        const TWO: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429563";
        let lane = |set: String| {
            let at = Watermark { offset: offset("binlog.000002", 4), gtid_set: Some(set) };
            LanePosition::streaming("u".to_owned(), at).to_json().unwrap()
        };
        let (one, two) = (lane(format!("{ONE}:1-7")), lane(format!("{TWO}:1-5")));
        let both = [&one, &two];
        let reached = |target: String| have_reached(&both, &target).unwrap();
        assert_eq!(reached(format!("{ONE}:1-7,{TWO}:3")), Some(true));
        assert_eq!(reached(format!("{ONE}:8")), Some(false));
        let snapshot =
            LanePosition::initial("u".to_owned(), Watermark::default()).to_json().unwrap();
        let error = have_reached(&both, "three").unwrap_err().to_string();
        assert!(error.starts_with("'three' is no GTID set: "), "{error}");
        assert_eq!(have_reached(&[&snapshot], &format!("{ONE}:1")).unwrap(), None);
    }

    #[test]
    fn another_version_is_refused() {
        let error = LanePosition::from_json("db:3306", &serde_json::json!({"version": 9}));
        assert!(error.unwrap_err().to_string().contains("db:3306"));
    }

    proptest! {
        /// Whatever chunks have been read in whatever order, the missing ones are the others, and
        /// together they cover all keys exactly once.
        #[test]
        fn missing_chunks_complement_the_finished_ones(
            count in 1_u64..12,
            order in Just((0_u64..12).collect::<Vec<_>>()).prop_shuffle(),
            finished in 0_usize..13,
        ) {
            let done: Vec<u64> =
                order.into_iter().filter(|number| *number < count).take(finished).collect();
            let mut progress = TableProgress { key: "id".into(), low: 0, finished: Vec::new() };
            for number in &done {
                progress.finish(run(*number, count));
            }
            let mut runs = progress.finished.clone();
            runs.extend(progress.missing());
            runs.sort_by_key(|run| run.first);
            let mut from = None;
            for run in &runs {
                prop_assert_eq!(&run.keys.from, &from);
                from.clone_from(&run.keys.to);
            }
            prop_assert_eq!(from, None);
            for number in 0..count {
                let in_finished = progress
                    .finished
                    .iter()
                    .any(|run| (run.first..=run.last).contains(&number));
                prop_assert_eq!(in_finished, done.contains(&number));
            }
        }
    }
}
