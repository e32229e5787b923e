//! Starting a source: connect, check the server, find the tables, decide where to begin.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use shardlake_change::TableId;
use shardlake_connector::{
    Error as ConnectorError, EventSender, Fault, ReadRequest, RunningSource, event_channel,
};

use crate::binlog::{self, Ahead, Outlook, sweep};
use crate::checks::ServerFacts;
use crate::connection::{Connection, Target};
use crate::decode::TableReader;
use crate::discovery::{ServerTable, matching_names, matching_tables, warn_of_unknown_columns};
use crate::dump::DumpFrom;
use crate::error::{Error, Result};
use crate::filter::parse_set;
use crate::fleet::Fleet;
use crate::kept::Kept;
use crate::lane::{Emitter, Shared, reconcile};
use crate::layouts::Layouts;
use crate::options::{ServerAddress, StartupMode};
use crate::output::{OutputShape, SERVER_NAME};
use crate::position::{BinlogOffset, LanePosition, Watermark};
use crate::purge;
use crate::seat::Seat;
use crate::socket::StopCheck;
use crate::source::MysqlSource;
use crate::spill::SpillPolicy;
use crate::status::{Boards, StatusBoard};

/// How often tables are looked for anew because one was altered meanwhile.
const FIND_ATTEMPTS: u32 = 10;
/// A table that was dropped.
const NO_SUCH_TABLE: u16 = 1_146;
/// The greatest batch, by which the channel's capacity is reckoned.
const BATCH_BYTES: usize = 2 << 20;

/// Starts the source: one lane for each server.
///
/// Servers of which no position is stored are reached before this returns, all at the same time: the user hears at
/// once what is wrong with one. If other servers have a position, one that does not answer is left to its lane, which
/// goes on trying; so are all servers that have a position, whether they answer or not.
pub(crate) fn start(
    source: &MysqlSource,
    request: &ReadRequest,
) -> std::result::Result<RunningSource, ConnectorError> {
    let options = &source.options;
    check_stored_lanes(request, &options.servers)?;
    let fleet = Arc::new(Fleet::new(options.servers.len(), key_tells_server(source, request)));
    let capacity =
        (request.memory_bytes / 4 / BATCH_BYTES / options.servers.len().max(1)).clamp(4, 64);
    let (mut seats, mut lanes) = (Vec::new(), Vec::new());
    for (index, server) in options.servers.iter().enumerate() {
        let (sender, receiver) = event_channel(capacity);
        seats.push(seat(source, request, index, (server, &fleet, sender))?);
        lanes.push((server.lane(), receiver));
    }
    begin_new(&mut seats, request, options.connect_max_retries)?;
    let boards = Boards(seats.iter().map(|seat| Arc::clone(&seat.status)).collect());
    for seat in seats {
        seat.spawn()?;
    }
    Ok(RunningSource { lanes, status: Some(Arc::new(boards)) })
}

/// Whether rows of tables with the same name on different servers are different rows for the sinks.
fn key_tells_server(source: &MysqlSource, request: &ReadRequest) -> bool {
    let is_server = |column: &usize| source.definition.metadata_key(*column) == Some(SERVER_NAME);
    request.key_columns.as_ref().is_none_or(|columns| columns.iter().any(is_server))
}

/// A server whose position is stored must stay in the list: its rows would no longer change.
fn check_stored_lanes(request: &ReadRequest, servers: &[ServerAddress]) -> Result<()> {
    let mut stored = request.position.iter().flat_map(BTreeMap::keys);
    match stored.find(|lane| servers.iter().all(|server| server.lane() != **lane)) {
        None => Ok(()),
        Some(lane) => Err(Error::job(format!(
            "the job has read MySQL server {lane}, which 'hostname' does not name: name it again (servers \
             can be added to the list, not taken out), or start afresh into a new table"
        ))),
    }
}

fn seat(
    source: &MysqlSource,
    request: &ReadRequest,
    index: usize,
    (server, fleet, sender): (&ServerAddress, &Arc<Fleet>, EventSender),
) -> Result<Seat> {
    let options = &source.options;
    let shape = OutputShape::new(&source.definition, &request.columns, options.append_only);
    let shape = shape.map_err(|error| Error::job(error.report()))?;
    let shared = Arc::new(Shared {
        shape: shape.of_server(&server.name),
        schema_change: request.schema_change,
        options: options.clone(),
        matcher: source.matcher.clone(),
        spill: SpillPolicy {
            memory_bytes: request.memory_bytes / 2 / options.servers.len().max(1),
            folder: request.spill_dir.clone(),
        },
        kept: Kept::new(source, request, &server.name)?,
        fleet: Arc::clone(fleet),
    });
    let timeout = Duration::from_millis(options.connect_timeout_ms);
    let target = Target::new(server.clone(), options.jdbc.clone(), timeout)?;
    let stored = request.position.as_ref().and_then(|lanes| lanes.get(target.lane()));
    let stored = stored.map(|value| LanePosition::from_json(target.lane(), value)).transpose()?;
    let status = Arc::new(StatusBoard::new(target.lane().to_owned()));
    Ok(Seat {
        shared,
        target: Arc::new(target),
        emitter: Emitter::new(sender, Arc::clone(&status)),
        status,
        server_id: options.server_id_of(index),
        unreadable: 0,
        stored,
        begun: None,
    })
}

/// Reaches the servers of which nothing is stored.
fn begin_new(seats: &mut [Seat], request: &ReadRequest, max_retries: u32) -> Result<()> {
    let afresh = request.position.is_none();
    let outcomes = thread::scope(|scope| {
        let new = seats.iter_mut().filter(|seat| seat.stored.is_none());
        let begin = |seat: &mut Seat| match seat.begin_patiently(max_retries) {
            Err(error) if !afresh && error.fault() == Fault::Transient => {
                let error = ConnectorError::from(error).report();
                tracing::warn!(server = seat.target.lane(), error, "a new server does not answer");
                Ok(())
            }
            outcome => outcome,
        };
        let threads: Vec<_> = new.map(|seat| scope.spawn(move || begin(seat))).collect();
        let gone = |_| Err(Error::Bug("a thread that reached a server panicked".to_owned()));
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(gone)).collect::<Vec<_>>()
    });
    outcomes.into_iter().collect()
}

/// What a lane begins with.
pub(crate) struct Beginning {
    /// Where it begins.
    pub(crate) position: LanePosition,
    /// The tables whose existing rows it reads, or begins to follow.
    pub(crate) tables: Vec<Arc<ServerTable>>,
    /// The names of all tables that match.
    pub(crate) names: Vec<Arc<TableId>>,
}

/// Where a lane begins, and the tables whose rows it reads first.
pub(crate) fn begin(
    shared: &Shared,
    target: &Target,
    facts: &ServerFacts,
    stored: Option<LanePosition>,
    connection: &mut Connection,
) -> Result<Beginning> {
    let lane = connection.server().to_owned();
    if let Some(mut position) = stored {
        reconcile(&mut position, facts, &lane)?;
        if shared.options.reads_again && purge::is_purged(connection, facts, &mut position)? {
            return begin_anew(shared, target, facts, connection);
        }
        read_anew(shared, &mut position, connection)?;
        let unread = position.snapshot.as_ref().is_some_and(|snapshot| !snapshot.complete);
        if unread {
            return Ok(Beginning::new(position, find_tables(shared, connection)?));
        }
        let names = matching_names(connection, &shared.matcher)?.into_iter().map(Arc::new);
        return Ok(Beginning { position, tables: Vec::new(), names: names.collect() });
    }
    let (start, tables) = find_tables_at_a_place(shared, target, facts, connection)?;
    warn_of_unknown_columns(
        &lane,
        shared.shape.physical().iter().map(|column| column.name.as_str()),
        &tables,
    );
    let uuid = facts.uuid.clone();
    let columns = Some(Layouts::of_tables(&tables).encode()?);
    if shared.options.startup.reads_existing_rows() {
        let mut position = LanePosition::initial(uuid, start);
        if let Some(snapshot) = &mut position.snapshot {
            snapshot.exact = facts.mariadb;
        }
        return Ok(Beginning::new(position.with_columns(columns), tables));
    }
    let at = first_offset(target, &shared.options.startup, facts, start.clone(), connection)?;
    // At another place the tables may have had other columns.
    let columns = columns.filter(|_| at == start);
    let position = LanePosition::streaming(uuid, at).with_columns(columns);
    Ok(Beginning::new(position, tables))
}

impl Beginning {
    fn new(position: LanePosition, tables: Vec<Arc<ServerTable>>) -> Self {
        let names = tables.iter().map(|table| Arc::clone(&table.id)).collect();
        Self { position, tables, names }
    }
}

/// Has tables read that match since the job ran last, and anew those that could not be read on.
fn read_anew(
    shared: &Shared,
    position: &mut LanePosition,
    connection: &mut Connection,
) -> Result<()> {
    if !shared.options.startup.reads_existing_rows() {
        return Ok(());
    }
    for table in position.stopped_tables().collect::<Vec<_>>() {
        tracing::info!(table = %table, "a table that could not be read on is read anew");
        position.add_table(&table);
    }
    position.stopped.clear();
    if !shared.options.newly_added {
        return Ok(());
    }
    if position.columns.is_none() {
        tracing::warn!(
            server = connection.server(),
            "the stored position does not say which tables it is about: no table is taken for a new one"
        );
        return Ok(());
    }
    let known = position.layouts(connection.server())?;
    for table in matching_tables(connection, &shared.matcher)? {
        let in_snapshot = position.snapshot.as_ref().is_some_and(|all| !all.complete);
        if !known.contains(&table.id) && !in_snapshot {
            tracing::info!(table = %table.id, "a table matches since the job ran last");
            position.add_table(&table.id);
        }
    }
    Ok(())
}

/// Begins again on a server whose binlog was purged: all its tables are read beside the binlog, from
/// now on.
fn begin_anew(
    shared: &Shared,
    target: &Target,
    facts: &ServerFacts,
    connection: &mut Connection,
) -> Result<Beginning> {
    let server = target.lane();
    let (start, tables) = find_tables_at_a_place(shared, target, facts, connection)?;
    let columns = Some(Layouts::of_tables(&tables).encode()?);
    let mut position = LanePosition::streaming(facts.uuid.clone(), start).with_columns(columns);
    for table in &tables {
        sweep::check_key(shared, table)?;
        position.read_again(&table.id);
    }
    tracing::warn!(
        server,
        table_count = tables.len(),
        "the binlog that was to be read has been purged, all tables of the server are read again"
    );
    Ok(Beginning::new(position, tables))
}

/// Finds all tables and a place of the binlog at which they have the columns that were found.
fn find_tables_at_a_place(
    shared: &Shared,
    target: &Target,
    facts: &ServerFacts,
    connection: &mut Connection,
) -> Result<(Watermark, Vec<Arc<ServerTable>>)> {
    let stop: StopCheck = Arc::new(|| false);
    let outlook = Outlook { target, stop: &stop, lower_case: facts.lower_case };
    for _ in 0..FIND_ATTEMPTS {
        // The place comes first: whatever changes while tables are looked for is in the binlog behind it.
        let start = facts.watermark(connection)?;
        let tables = find_tables(shared, connection)?;
        // A statement is in the binlog before it shows in information_schema; the set knows of it.
        // MariaDB's offset is that of a read view, and its set is the same place.
        let from = match start.gtid_set.as_deref().filter(|_| !facts.mariadb) {
            Some(set) => DumpFrom::Executed(parse_set(set)?),
            None => {
                wait_for_statements(connection, &tables)?;
                DumpFrom::Offset(start.offset.clone())
            }
        };
        let is_matched = |table: &TableId| {
            shared.matcher.matches(table).map_err(|error| Error::job(error.report()))
        };
        if !Ahead::changes_any(&outlook, is_matched, &from)? {
            return Ok((start, tables));
        }
    }
    Err(Error::Lost {
        server: target.lane().to_owned(),
        doing: "reading the columns of tables",
        source: io::Error::other("tables are altered all the time"),
    })
}

/// Waits until statements that are altering these tables, and are in the binlog already, have ended.
fn wait_for_statements(connection: &mut Connection, tables: &[Arc<ServerTable>]) -> Result<()> {
    for table in tables {
        let sql = format!("SELECT 1 FROM {} LIMIT 0", table.quoted());
        match connection.query(&sql, "looking at a table") {
            Ok(_) | Err(Error::Refused { code: NO_SUCH_TABLE, .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn find_tables(shared: &Shared, connection: &mut Connection) -> Result<Vec<Arc<ServerTable>>> {
    let tables = matching_tables(connection, &shared.matcher)?;
    for table in &tables {
        if shared.options.startup.reads_existing_rows() {
            shared.options.chunk_keys.of(table)?;
        }
    }
    let tables: Vec<Arc<ServerTable>> = tables.into_iter().map(Arc::new).collect();
    for table in &tables {
        // Names the column that cannot be read as its declared type before anything starts.
        TableReader::new(table, shared)?;
    }
    tracing::info!(server = connection.server(), table_count = tables.len(), "found tables");
    Ok(tables)
}

/// Where a lane begins that reads no existing rows.
fn first_offset(
    target: &Target,
    startup: &StartupMode,
    facts: &ServerFacts,
    now: Watermark,
    connection: &mut Connection,
) -> Result<Watermark> {
    match startup {
        StartupMode::Initial | StartupMode::Snapshot | StartupMode::Latest => Ok(now),
        StartupMode::Earliest => {
            let file = binlog_files(connection)?.into_iter().next();
            at_file(facts, file.ok_or_else(|| no_binlog(connection))?, connection)
        }
        StartupMode::File { file, offset } => {
            let offset = BinlogOffset { file: file.clone(), offset: *offset };
            Ok(Watermark { offset, gtid_set: None })
        }
        StartupMode::GtidSet(set) => {
            if !facts.gtid {
                return Err(Error::job(format!(
                    "'scan.startup.specific-offset.gtid-set' needs gtid_mode=ON on MySQL server {}: \
                     set it, or give file and pos instead",
                    connection.server()
                )));
            }
            let set = parse_set(set)?.to_string();
            Ok(Watermark { offset: BinlogOffset::default(), gtid_set: Some(set) })
        }
        StartupMode::Timestamp { millis } => {
            let mut found = None;
            for file in binlog_files(connection)?.into_iter().rev() {
                let created = binlog::file_created_ms(target, &file)?;
                let old_enough = created.is_some_and(|created| created <= *millis);
                found = Some(file);
                if old_enough {
                    break;
                }
            }
            at_file(facts, found.ok_or_else(|| no_binlog(connection))?, connection)
        }
    }
}

/// The beginning of a file. The transactions before it are known for the first file only.
fn at_file(facts: &ServerFacts, file: String, connection: &mut Connection) -> Result<Watermark> {
    let first = binlog_files(connection)?.into_iter().next();
    // A file of MariaDB says itself what came before it.
    let gtid_set = if facts.gtid && !facts.mariadb && first.as_ref() == Some(&file) {
        let rows = connection
            .query("SELECT @@GLOBAL.gtid_purged", "asking for the purged transactions")?;
        rows.first().map(|row| row.text(0).chars().filter(|c| !c.is_whitespace()).collect())
    } else {
        None
    };
    Ok(Watermark { offset: BinlogOffset { file, offset: 4 }, gtid_set })
}

fn binlog_files(connection: &mut Connection) -> Result<Vec<String>> {
    let rows = connection.query("SHOW BINARY LOGS", "listing binlog files")?;
    Ok(rows.iter().map(|row| row.text(0).to_owned()).collect())
}

fn no_binlog(connection: &Connection) -> Error {
    Error::job(format!(
        "MySQL server {} has no binlog file: start it with log_bin",
        connection.server()
    ))
}
