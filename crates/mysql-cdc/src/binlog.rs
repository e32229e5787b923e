//! Following the binlog of one server: its events become whole transactions and boundaries.
//!
//! Invariant: `ended` is the offset behind the last transaction that has been read to its end, and
//! `executed` the transactions up to there. A boundary carries exactly these, and is only sent when the
//! rows of all these transactions, and no others, have been sent.

mod adding;
mod ahead;
mod columns;
mod groups;
mod lag;
mod prefix;
mod prepared;
pub(crate) mod sweep;
mod tables;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use shardlake_change::{ChangeBatch, LogicalType};
use shardlake_connector::ReadPhase;
use shardlake_mysql_wire::event::{
    Event, EventBody, EventHeader, Heartbeat, PreviousGtids, Rotate,
};
use shardlake_mysql_wire::gtid::GtidSet;

use crate::connection::{self, Connection};
use crate::decode::Collector;
use crate::dump::{Dump, DumpFrom, Replica};
use crate::error::{Error, Result};
use crate::filter::{WatermarkFilter, parse_set};
use crate::lane::{Emitter, Lane};
use crate::options::StartupMode;
use crate::position::BinlogOffset;
use crate::transaction::Assembly;

pub(crate) use ahead::{Ahead, Outlook};
pub(crate) use prepared::Prepared;
pub(crate) use tables::Target;

use adding::Added;
use groups::Group;
use tables::{Tables, TablesStart};

/// Small transactions that have arrived together share a batch, up to these bounds.
const SHARED_ROWS: usize = 8 * 1024;
const SHARED_TIME: Duration = Duration::from_millis(10);
/// How often the position moves on when no row does.
const POSITION_INTERVAL: Duration = Duration::from_secs(1);

/// Follows the binlog. Returns at the end of a bounded source only.
pub(crate) fn follow(lane: &mut Lane, control: Connection) -> Result<()> {
    let (from, filter) = beginning(lane)?;
    let replica = Replica {
        server_id: lane.server_id(),
        server_id_given: lane.shared.options.server_id_given,
        uuid: lane.replica_uuid.clone(),
    };
    let mut reader = BinlogReader::new(lane, control, filter, &from)?;
    reader.run(&replica, &from)
}

/// Where to begin, and what to drop of it.
fn beginning(lane: &Lane) -> Result<(DumpFrom, Option<WatermarkFilter>)> {
    let position = &lane.position;
    let executed = position.at.gtid_set.as_deref().map(parse_set).transpose()?;
    let Some(snapshot) = &position.snapshot else {
        // An offset is found at once, a GTID set by reading the file.
        let at = &position.at.offset;
        let by_set = at.file.is_empty() || u32::try_from(at.offset).is_err();
        return Ok(match executed {
            Some(executed) if by_set => (DumpFrom::Executed(executed), None),
            _ => (DumpFrom::Offset(at.clone()), None),
        });
    };
    if snapshot.exact {
        let filter = WatermarkFilter::new(snapshot, &BTreeMap::new())?;
        return Ok((DumpFrom::Offset(position.at.offset.clone()), Some(filter)));
    }
    if let Some(executed) = executed {
        let filter = WatermarkFilter::new(snapshot, &BTreeMap::new())?;
        return Ok((DumpFrom::Executed(executed), Some(filter)));
    }
    let prefix = prefix::scan(lane, &snapshot.start.offset)?;
    let filter = WatermarkFilter::new(snapshot, &prefix.barriers)?;
    let from = if position.at.offset == snapshot.start.offset {
        prefix.from
    } else {
        position.at.offset.clone()
    };
    Ok((DumpFrom::Offset(from), Some(filter)))
}

/// When the server began to write a binlog file, in milliseconds since 1970.
pub(crate) fn file_created_ms(target: &connection::Target, file: &str) -> Result<Option<u64>> {
    let from = DumpFrom::Offset(BinlogOffset { file: file.to_owned(), offset: 4 });
    let mut dump = Dump::read_to_end(target, Arc::new(|| false), &from)?;
    while let Some(event) = dump.next()? {
        if matches!(event.body, EventBody::FormatDescription(_)) && event.header.timestamp > 0 {
            return Ok(Some(u64::from(event.header.timestamp) * 1_000));
        }
    }
    Ok(None)
}

/// What has been read and not been told to the engine.
struct Report {
    /// The position has moved since the last boundary.
    moved: bool,
    /// Rows have been sent or wait to be sent since the last boundary.
    rows: bool,
    /// When the first of these rows came.
    since: Instant,
    last_boundary: Instant,
    /// When a chunk of an added table was read last.
    last_chunk: Instant,
    /// When the distance to the end of the binlog was measured last.
    measured: Instant,
    /// When the last transaction was written.
    event_time_ms: Option<u64>,
}

/// Reads one stream of the binlog.
struct BinlogReader<'a> {
    lane: &'a mut Lane,
    tables: Tables,
    assembly: Assembly<Collector>,
    filter: Option<WatermarkFilter>,
    /// Where the stream is.
    offset: BinlogOffset,
    /// Behind the last transaction that has ended.
    ended: BinlogOffset,
    executed: Option<GtidSet>,
    group: Group,
    /// The columns of batches, if they have changed since the position was told last.
    evolved: Option<Vec<(String, LogicalType)>>,
    /// Which rows the statement that is being read removes.
    removals: Vec<Vec<(String, String)>>,
    /// The table whose existing rows are being read beside the binlog.
    added: Option<Added>,
    report: Report,
    /// How often the position alone is told, if at all.
    position_interval: Option<Duration>,
    /// Changes before this time are passed over.
    since_ms: u64,
}

/// Hands rows to the engine.
fn sender(emitter: &Emitter) -> impl FnMut(ChangeBatch) -> Result<()> + '_ {
    |batch| emitter.rows(batch)
}

impl<'a> BinlogReader<'a> {
    fn new(
        lane: &'a mut Lane,
        control: Connection,
        filter: Option<WatermarkFilter>,
        from: &DumpFrom,
    ) -> Result<Self> {
        let executed = lane.position.at.gtid_set.as_deref().map(parse_set).transpose()?;
        let ended = match from {
            DumpFrom::Offset(offset) => offset.clone(),
            // Unknown until the first event: no offset goes with a GTID set.
            DumpFrom::Executed(_) => BinlogOffset::default(),
        };
        let interval = lane.shared.options.heartbeat_interval_ms;
        let since_ms = match lane.shared.options.startup {
            StartupMode::Timestamp { millis } => millis,
            _ => 0,
        };
        let now = Instant::now();
        let tables = TablesStart {
            control,
            shared: Arc::clone(&lane.shared),
            server: Arc::clone(&lane.target),
            stop: lane.emitter.stop_check(),
            lower_case: lane.facts.lower_case,
            layouts: lane.position.layouts(lane.target.lane())?,
        };
        Ok(Self {
            tables: Tables::new(tables),
            assembly: Assembly::new(
                Collector::new(Arc::clone(&lane.shared), Arc::clone(&lane.status))?,
                lane.shared.spill.clone(),
            ),
            filter,
            offset: ended.clone(),
            ended,
            executed,
            group: Group::default(),
            evolved: None,
            removals: Vec::new(),
            added: None,
            report: Report {
                moved: false,
                rows: false,
                since: now,
                last_boundary: now,
                last_chunk: now,
                measured: now,
                event_time_ms: None,
            },
            position_interval: (interval > 0)
                .then(|| Duration::from_millis(interval).min(POSITION_INTERVAL)),
            since_ms,
            lane,
        })
    }

    /// Reads the stream until the end of a bounded source.
    fn run(&mut self, replica: &Replica, from: &DumpFrom) -> Result<()> {
        self.recover_prepared()?;
        let target = Arc::clone(&self.lane.target);
        let mut dump = Dump::follow(&target, self.lane.emitter.stop_check(), replica, from)?;
        loop {
            let Some(event) = dump.next()? else {
                let source = io::ErrorKind::UnexpectedEof.into();
                let server = target.lane().to_owned();
                return Err(Error::Lost { server, doing: "reading its binlog", source });
            };
            self.take(&event)?;
            if self.settle(dump.has_buffered())? {
                return Ok(());
            }
        }
    }

    /// Takes one event of the stream.
    fn take(&mut self, event: &Event<'_>) -> Result<()> {
        let before = self.offset.offset;
        self.track(&event.header);
        match &event.body {
            EventBody::Rows(rows) => self.rows(rows, &event.header),
            EventBody::TableMap(map) => self.table_map(map, &event.header),
            EventBody::Gtid(gtid) => self.begin_group(gtid, before),
            EventBody::Query(query) => self.query(query, &event.header),
            EventBody::Xid(_) => self.end_group(&event.header),
            EventBody::Payload(payload) => {
                let mut events = payload.events().map_err(|error| self.tables.unreadable(error))?;
                while let Some(inner) =
                    events.next().map_err(|error| self.tables.unreadable(error))?
                {
                    self.take(&inner)?;
                }
                Ok(())
            }
            EventBody::XaPrepare(prepare) => self.xa_prepare(prepare, &event.header),
            EventBody::Rotate(rotate) => {
                self.rotate(rotate, &event.header);
                Ok(())
            }
            EventBody::Heartbeat(heartbeat) => {
                self.heartbeat(heartbeat);
                Ok(())
            }
            EventBody::PreviousGtids(previous) => self.previous_gtids(previous),
            EventBody::LoadStatement => Err(self.refuse_statement("a table (LOAD DATA)")),
            EventBody::Incident => Err(Error::job(format!(
                "MySQL server {} lost events of its binlog at {}:{} (an incident event): start \
                 afresh into a new table",
                self.lane.target.lane(),
                self.offset.file,
                self.offset.offset
            ))),
            EventBody::FormatDescription(_) | EventBody::Stop | EventBody::Ignored => Ok(()),
        }
    }

    /// Follows the offset. Headers hold its low 32 bits only.
    fn track(&mut self, header: &EventHeader) {
        if header.is_artificial() || header.end_position == 0 {
            return;
        }
        let low = u64::from(header.end_position);
        let high = self.offset.offset & !u64::from(u32::MAX);
        let offset = high | low;
        self.offset.offset = if offset < self.offset.offset { offset + (1 << 32) } else { offset };
    }

    fn rotate(&mut self, rotate: &Rotate<'_>, header: &EventHeader) {
        rotate.file.clone_into(&mut self.offset.file);
        self.offset.offset = rotate.position;
        self.tables.forget_bindings();
        // The one that begins a stream says where the server looks, not what has been sent.
        if !header.is_artificial() && header.timestamp > 0 {
            self.ended.clone_from(&self.offset);
            self.report.moved = true;
        }
    }

    /// The server has sent everything up to here, or passed it over because it is in the GTID set.
    fn heartbeat(&mut self, heartbeat: &Heartbeat<'_>) {
        let same_file = heartbeat.file == self.offset.file.as_bytes();
        if self.group.is_begun() || !same_file || heartbeat.position < self.offset.offset {
            return;
        }
        self.offset.offset = heartbeat.position;
        self.lane.status.idle();
        if self.ended != self.offset {
            self.ended.clone_from(&self.offset);
            self.report.moved = true;
        }
    }

    /// Reading from the beginning of a file, the server tells what came before it.
    fn previous_gtids(&mut self, previous: &PreviousGtids<'_>) -> Result<()> {
        if self.executed.is_none() && self.lane.facts.gtid && self.ended.offset <= 4 {
            let set = previous.set().map_err(|error| self.tables.unreadable(error))?;
            self.executed = Some(set);
        }
        Ok(())
    }

    /// Tells the engine what has been read, when it is time. True at the end of a bounded source.
    fn settle(&mut self, has_buffered: bool) -> Result<bool> {
        if self.group.is_begun() && !self.report.rows {
            return Ok(false);
        }
        if !self.group.is_begun() && self.end_snapshot_phase() {
            self.tell()?;
            if self.lane.shared.options.startup == StartupMode::Snapshot {
                return Ok(true);
            }
        }
        if self.report.rows {
            let full = self.assembly.ended_rows() >= SHARED_ROWS
                || self.report.since.elapsed() >= SHARED_TIME;
            if !has_buffered || full {
                self.tell()?;
            }
        } else if self.report.moved
            && self
                .position_interval
                .is_some_and(|interval| self.report.last_boundary.elapsed() >= interval)
        {
            self.tell()?;
        }
        self.read_added(has_buffered)?;
        self.sweep()?;
        Ok(false)
    }

    /// Ends the snapshot phase when no chunk is ahead of the binlog any more.
    fn end_snapshot_phase(&mut self) -> bool {
        let passed = self
            .lane
            .position
            .snapshot
            .as_ref()
            .is_some_and(|snapshot| snapshot.complete && self.ended >= snapshot.high);
        if passed {
            self.lane.position.snapshot = None;
            self.filter = None;
            self.lane.status.set_phase(ReadPhase::Binlog);
            tracing::info!(server = self.lane.target.lane(), "snapshot phase has ended");
        }
        passed
    }

    /// Sends the rows of ended transactions and a boundary.
    fn tell(&mut self) -> Result<()> {
        self.assembly.flush(&mut sender(&self.lane.emitter))?;
        let at = &mut self.lane.position.at;
        if !self.ended.file.is_empty() {
            at.offset.clone_from(&self.ended);
        }
        at.gtid_set = self.executed.as_ref().map(ToString::to_string);
        if let Some(layouts) = self.tables.take_changed_layouts() {
            self.lane.position.columns = Some(layouts.encode()?);
        }
        if let Some(evolved) = self.evolved.take() {
            self.lane.position.evolved = Some(evolved);
        }
        self.lane.emitter.boundary(&self.lane.position, self.report.event_time_ms)?;
        self.report.moved = false;
        self.report.rows = false;
        self.report.last_boundary = Instant::now();
        self.measure_lag()
    }

    /// Notes that rows of an ended transaction wait to be sent.
    fn note_rows(&mut self) {
        if !self.report.rows {
            self.report.rows = true;
            self.report.since = Instant::now();
        }
    }
}
