//! The stream of a server's binlog, as raw events.

use std::io;
use std::time::Duration;

use rand::Rng;
use shardlake_mysql_wire::command::{self, DumpFlags};
use shardlake_mysql_wire::event::{Event, EventReader};
use shardlake_mysql_wire::gtid::GtidSet;
use shardlake_mysql_wire::{Error as WireError, ServerError, reply};

use crate::connection::{Connection, Target};
use crate::error::{Error, Result};
use crate::position::BinlogOffset;
use crate::socket::StopCheck;

/// How often an idle server says that it is alive, and where its binlog ends.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// Without a word for so long, the connection is taken for lost.
const SILENCE: Duration = Duration::from_secs(20);
const DOING: &str = "reading its binlog";
/// Where the first event of a file is.
const FIRST_OFFSET: u32 = 4;
/// MySQL's number for everything that keeps a dump from going on.
const FATAL_DUMP_ERROR: u16 = 1_236;

/// Where a stream begins.
#[derive(Clone, Debug)]
pub(crate) enum DumpFrom {
    /// At an offset.
    Offset(BinlogOffset),
    /// With the transactions that are not in the set.
    Executed(GtidSet),
}

/// Who reads.
#[derive(Clone, Debug)]
pub(crate) struct Replica {
    /// Unique among the server's replicas.
    pub(crate) server_id: u32,
    /// Whether the user chose it.
    pub(crate) server_id_given: bool,
    /// Unique; a reader that comes again under it replaces the one before.
    pub(crate) uuid: String,
}

/// A stream of events.
pub(crate) struct Dump {
    connection: Connection,
    events: EventReader,
    server: String,
    /// For messages: where the stream began.
    from: String,
    server_id_given: bool,
}

impl Dump {
    /// Asks for a stream that follows the server.
    pub(crate) fn follow(
        target: &Target,
        stop: StopCheck,
        replica: &Replica,
        from: &DumpFrom,
    ) -> Result<Self> {
        Self::open(target, stop, replica, from, DumpFlags::default())
    }

    /// Asks for a stream that ends where the binlog ends.
    pub(crate) fn read_to_end(target: &Target, stop: StopCheck, from: &DumpFrom) -> Result<Self> {
        // A number of its own: the stream that follows the server must not be replaced.
        let replica = Replica {
            server_id: rand::rng().random_range(1 << 24..1 << 30),
            server_id_given: false,
            uuid: uuid::Uuid::new_v4().to_string(),
        };
        let flags = DumpFlags { non_blocking: true, ..DumpFlags::default() };
        Self::open(target, stop, &replica, from, flags)
    }

    fn open(
        target: &Target,
        stop: StopCheck,
        replica: &Replica,
        from: &DumpFrom,
        mut flags: DumpFlags,
    ) -> Result<Self> {
        const DOING: &str = "asking for its binlog";
        let mut connection = Connection::open(target, stop)?;
        flags.wide_heartbeats = !connection.is_mariadb();
        let server = connection.server().to_owned();
        let period = HEARTBEAT.as_nanos();
        let uuid = &replica.uuid;
        // Servers before 8.0.26 know the old names only; both are plain user variables.
        connection.execute(
            &format!(
                "SET @source_heartbeat_period = {period}, @master_heartbeat_period = {period}, \
                 @source_binlog_checksum = @@GLOBAL.binlog_checksum, \
                 @master_binlog_checksum = @@GLOBAL.binlog_checksum, \
                 @replica_uuid = '{uuid}', @slave_uuid = '{uuid}'"
            ),
            DOING,
        )?;
        let id = replica.server_id;
        if connection.is_mariadb() {
            prepare_mariadb(&mut connection, from, DOING)?;
        }
        let mut far = None;
        let (request, from) = match from {
            DumpFrom::Offset(at) => {
                // Past 4 GB a file can only be read from its beginning.
                let offset = u32::try_from(at.offset).unwrap_or_else(|_| {
                    far = Some(at.offset);
                    FIRST_OFFSET
                });
                let request = command::binlog_dump(id, &at.file, offset, flags);
                (request, format!("{}:{}", at.file, at.offset))
            }
            DumpFrom::Executed(set) => {
                let request = if connection.is_mariadb() {
                    command::binlog_dump(id, "", FIRST_OFFSET, flags)
                } else {
                    command::binlog_dump_gtid(id, set, flags)
                };
                (request, format!("GTID set '{set}'"))
            }
        };
        let wire = |error| Error::wire(&server, DOING, error);
        let packets = connection.packets();
        packets.send_command(&command::register_replica(id, "")).map_err(wire)?;
        packets.next().and_then(reply::parse_done).map_err(wire)?;
        packets.send_command(&request).map_err(wire)?;
        connection.set_patience(SILENCE);
        let server_id_given = replica.server_id_given;
        let mut dump =
            Self { connection, events: EventReader::new(), server, from, server_id_given };
        if let Some(offset) = far {
            dump.pass_over(offset)?;
        }
        Ok(dump)
    }

    /// Passes over the events of a file up to an offset. Headers hold its low 32 bits only, so sizes are summed up.
    fn pass_over(&mut self, offset: u64) -> Result<()> {
        let mut at = u64::from(FIRST_OFFSET);
        while at < offset {
            let Some(event) = self.next()? else { break };
            if !event.header.is_artificial() && event.header.end_position != 0 {
                at += u64::from(event.header.size);
            }
        }
        if at == offset {
            return Ok(());
        }
        Err(Error::job(format!(
            "reading cannot go on from {} of MySQL server {}: no event of its binlog begins there; \
             start afresh into a new table",
            self.from, self.server
        )))
    }

    /// Whether another event has arrived already, at least in part.
    pub(crate) fn has_buffered(&mut self) -> bool {
        self.connection.packets().has_buffered()
    }

    /// The next event, or `None` at the end of a stream that ends.
    pub(crate) fn next(&mut self) -> Result<Option<Event<'_>>> {
        let Self { connection, events, server, from, server_id_given } = self;
        let failed = |error| match error {
            WireError::Server(error) => explain(server, from, *server_id_given, error),
            other => Error::wire(server, DOING, other),
        };
        let packet = connection.packets().next().map_err(failed)?;
        events.read(packet).map_err(failed)
    }
}

/// Tells MariaDB what the reader understands, and where it stands by GTIDs. Without the capability, transactions would
/// come without their GTIDs, and XA transactions not at all.
fn prepare_mariadb(
    connection: &mut Connection,
    from: &DumpFrom,
    doing: &'static str,
) -> Result<()> {
    connection.execute("SET @mariadb_slave_capability = 4", doing)?;
    let DumpFrom::Executed(set) = from else { return Ok(()) };
    let sql = format!(
        "SET @slave_connect_state = '{set}', @slave_gtid_strict_mode = 1, \
         @slave_gtid_ignore_duplicates = 0"
    );
    connection.execute(&sql, doing)
}

/// Says what an error of the dump means.
fn explain(server: &str, from: &str, server_id_given: bool, error: ServerError) -> Error {
    let ServerError { code, message, .. } = error;
    let text = message.to_ascii_lowercase();
    let is = |words: &str| code == FATAL_DUMP_ERROR && text.contains(words);
    if is("purged") || is("could not find first log file") || is("could not find next log") {
        return Error::job(format!(
            "The connector is trying to read binlog starting at {from} of MySQL server {server}, \
             but this is no longer available on the server. Reconfigure the connector to use a \
             snapshot when needed, and keep binlogs longer (binlog_expire_logs_seconds). The \
             server says: {message}"
        ));
    }
    if is("same server_uuid/server_id") || is("same server_id") {
        if server_id_given {
            return Error::job(format!(
                "The 'server-id' in the mysql cdc connector should be globally unique, but \
                 conflicts happen now on MySQL server {server}: give each reader a 'server-id' of \
                 its own, or leave the option out. The server says: {message}"
            ));
        }
        // Another number will be drawn.
        let source = io::Error::other(message);
        return Error::Lost { server: server.to_owned(), doing: DOING, source };
    }
    if code == FATAL_DUMP_ERROR {
        return Error::job(format!(
            "MySQL server {server} cannot send its binlog from {from} on: {message}"
        ));
    }
    Error::Refused { server: server.to_owned(), doing: DOING, code, message }
}

#[cfg(test)]
mod tests {
    use shardlake_connector::Fault;

    use super::*;

    fn explained(code: u16, message: &str) -> (Fault, String) {
        let error = ServerError { code, sql_state: String::new(), message: message.to_owned() };
        let error = explain("db:3306", "binlog.000001:4", true, error);
        (error.fault(), error.to_string())
    }

    #[test]
    fn purged_binlogs_end_the_job() {
        let (fault, text) =
            explained(1_236, "Could not find first log file name in binary log index file");
        assert_eq!(fault, Fault::Job);
        insta::assert_snapshot!(text, @"The connector is trying to read binlog starting at binlog.000001:4 of MySQL server db:3306, but this is no longer available on the server. Reconfigure the connector to use a snapshot when needed, and keep binlogs longer (binlog_expire_logs_seconds). The server says: Could not find first log file name in binary log index file");
    }

    #[test]
    fn a_server_that_shuts_down_is_tried_again() {
        assert_eq!(explained(1_053, "Server shutdown in progress").0, Fault::Transient);
    }
}
