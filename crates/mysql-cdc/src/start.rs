//! Starting a source: connect, check the server, find the tables, decide where to begin.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use shardlake_change::TableId;
use shardlake_connector::{
    Error as ConnectorError, Fault, ReadRequest, RunningSource, event_channel,
};

use crate::binlog::{self, Ahead, Outlook};
use crate::checks::{ServerFacts, check_server};
use crate::connection::{Connection, Target};
use crate::decode::TableReader;
use crate::discovery::{ServerTable, matching_tables, warn_of_unknown_columns};
use crate::dump::DumpFrom;
use crate::error::{Error, Result};
use crate::filter::parse_set;
use crate::lane::{Lane, LaneStart, Shared, reconcile};
use crate::layouts::Layouts;
use crate::options::StartupMode;
use crate::output::OutputShape;
use crate::position::{BinlogOffset, LanePosition, Watermark};
use crate::socket::StopCheck;
use crate::source::MysqlSource;
use crate::spill::SpillPolicy;
use crate::status::{Boards, StatusBoard};

/// How often tables are looked for anew because one was altered meanwhile.
const FIND_ATTEMPTS: u32 = 10;
/// A table that was dropped.
const NO_SUCH_TABLE: u16 = 1_146;
const RETRY_DELAY: Duration = Duration::from_millis(500);
/// The greatest batch, by which the channel's capacity is reckoned.
const BATCH_BYTES: usize = 2 << 20;

/// Starts the source: one lane for its server.
pub(crate) fn start(
    source: &MysqlSource,
    request: &ReadRequest,
) -> std::result::Result<RunningSource, ConnectorError> {
    let options = &source.options;
    let timeout = Duration::from_millis(options.connect_timeout_ms);
    let shared = Arc::new(Shared {
        shape: OutputShape::new(&source.definition, &request.columns, options.append_only)?,
        options: options.clone(),
        matcher: source.matcher.clone(),
        spill: SpillPolicy {
            memory_bytes: request.memory_bytes / 2,
            folder: request.spill_dir.clone(),
        },
    });
    let target = Arc::new(Target::new(options.server.clone(), options.jdbc.clone(), timeout)?);
    let mut connection = connect(&target, options.connect_max_retries)?;
    let facts = check_server(&mut connection, &options.zone)?;
    let stored = stored_position(request, target.lane())?;
    let (position, tables) = begin(&shared, &target, &facts, stored, &mut connection)?;
    let capacity = (request.memory_bytes / 4 / BATCH_BYTES).clamp(4, 64);
    let (sender, receiver) = event_channel(capacity);
    let lane = target.lane().to_owned();
    let status = Arc::new(StatusBoard::new(lane.clone()));
    status.tables_found(tables.iter().map(|table| &table.id));
    position.stopped_tables().for_each(|table| status.table_failed(&table));
    let start = LaneStart {
        shared,
        target,
        facts,
        tables,
        position,
        status: Arc::clone(&status),
        server_id: *options.server_ids.start(),
    };
    Lane::spawn(start, sender)?;
    let status = Some(Arc::new(Boards(vec![status])) as Arc<_>);
    Ok(RunningSource { lanes: vec![(lane, receiver)], status })
}

/// Connects for the first time.
fn connect(target: &Target, max_retries: u32) -> Result<Connection> {
    let mut tries = 0;
    loop {
        match Connection::open(target, Arc::new(|| false)) {
            Err(error) if error.fault() == Fault::Transient && tries < max_retries => {
                let error = ConnectorError::from(error).report();
                tracing::warn!(server = target.lane(), error, "connecting again");
                tries += 1;
                thread::park_timeout(RETRY_DELAY);
            }
            outcome => return outcome,
        }
    }
}

fn stored_position(request: &ReadRequest, lane: &str) -> Result<Option<LanePosition>> {
    let Some(lanes) = &request.position else { return Ok(None) };
    match lanes.get(lane) {
        Some(value) => LanePosition::from_json(lane, value).map(Some),
        None => Err(Error::job(format!(
            "the stored position knows no MySQL server {lane}, only {}: read from the same server, \
             or start afresh into a new table",
            lanes.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
        ))),
    }
}

/// Where the lane begins, and the tables whose rows it reads first.
fn begin(
    shared: &Shared,
    target: &Target,
    facts: &ServerFacts,
    stored: Option<LanePosition>,
    connection: &mut Connection,
) -> Result<(LanePosition, Vec<Arc<ServerTable>>)> {
    let lane = connection.server().to_owned();
    if let Some(mut position) = stored {
        reconcile(&mut position, facts, &lane)?;
        let unread = position.snapshot.as_ref().is_some_and(|snapshot| !snapshot.complete);
        let tables = if unread { find_tables(shared, connection)? } else { Vec::new() };
        return Ok((position, tables));
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
        return Ok((LanePosition::initial(uuid, start).with_columns(columns), tables));
    }
    let at = first_offset(target, &shared.options.startup, facts, start.clone(), connection)?;
    // At another place the tables may have had other columns.
    let columns = columns.filter(|_| at == start);
    Ok((LanePosition::streaming(uuid, at).with_columns(columns), tables))
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
        let from = match start.gtid_set.as_deref() {
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
            table.chunk_key()?;
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
    let gtid_set = if facts.gtid && first.as_ref() == Some(&file) {
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
