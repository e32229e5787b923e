//! One connection to a MySQL server: handshake, session settings, statements.
//!
//! Control queries, chunks of the snapshot phase and the binlog all use it. Every session has UTC as its time
//! zone, `utf8mb4` as its character set and an empty `sql_mode`, on which quoting and decoding rely.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use shardlake_mysql_wire::handshake::{self, Encryption, HandshakeOptions, Password};
use shardlake_mysql_wire::packet::PacketReader;
use shardlake_mysql_wire::{Error as WireError, command, reply};

use crate::error::{Error, Result};
use crate::jdbc::{JdbcProperties, SslMode};
use crate::options::ServerAddress;
use crate::socket::{Socket, StopCheck};

/// How long a statement may run before its first word. Counting a large index takes minutes.
const STATEMENT_PATIENCE: Duration = Duration::from_secs(3_600);

/// No packet of a handshake is larger.
const HANDSHAKE_BYTES: usize = 64 * 1024;
/// MySQL's own upper bound of a packet.
const PACKET_BYTES: usize = 1 << 30;
/// No answer to a control query is larger; a server with 100,000 tables answers with a few dozen megabytes.
const ANSWER_BYTES: usize = 256 << 20;

/// What every session runs first. A stalled reader must not lose its connection, so the server waits long.
const SESSION_SETTINGS: &str = "SET SESSION time_zone = '+00:00', SESSION sql_mode = '', \
     SESSION net_write_timeout = 86400, SESSION net_read_timeout = 86400, \
     SESSION wait_timeout = 86400";

/// How a session lifts the limit of its statements' time, by the server's kind.
const NO_TIME_LIMIT: [&str; 2] =
    ["SET SESSION max_execution_time = 0", "SET SESSION max_statement_time = 0"];
/// Before MySQL 5.7 statements had no time limit.
const UNKNOWN_VARIABLE: u16 = 1_193;

/// A chunk must not see transactions that are still open.
const SESSION_ISOLATION: &str = "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ";

/// A server and how to reach it.
pub(crate) struct Target {
    address: ServerAddress,
    lane: String,
    jdbc: JdbcProperties,
    tls: Option<Arc<ClientConfig>>,
    timeout: Duration,
}

impl Target {
    /// Prepares to reach a server.
    pub(crate) fn new(
        address: ServerAddress,
        jdbc: JdbcProperties,
        timeout: Duration,
    ) -> Result<Self> {
        let tls = crate::tls::client_config(&jdbc)?;
        Ok(Self { lane: address.lane(), address, jdbc, tls, timeout })
    }

    /// The server as `host:port`.
    pub(crate) fn lane(&self) -> &str {
        &self.lane
    }

    /// A name for the thread that reads it; systems show its first 15 bytes only.
    pub(crate) fn thread_name(&self) -> String {
        format!("cdc {} {}", self.address.port, self.address.host)
    }
}

/// A row of a control query; NULL is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TextRow(Vec<Option<String>>);

impl TextRow {
    /// A cell, or `None` if it is NULL or missing.
    pub(crate) fn get(&self, column: usize) -> Option<&str> {
        self.0.get(column).and_then(Option::as_deref)
    }

    /// A cell, empty if it is NULL or missing.
    pub(crate) fn text(&self, column: usize) -> &str {
        self.get(column).unwrap_or_default()
    }
}

/// What a failure before the session began means.
fn handshake_error(server: &str, error: WireError) -> Error {
    match error {
        WireError::Malformed { .. } | WireError::TooLarge { .. } => Error::job(format!(
            "what answers at {server} does not speak MySQL's protocol ({error}): check 'hostname' and 'port'"
        )),
        error => Error::wire(server, "connecting", error),
    }
}

/// An open session.
pub(crate) struct Connection {
    packets: PacketReader<Socket>,
    server: String,
    user: String,
    mariadb: bool,
}

impl Connection {
    /// Connects, authenticates and sets the session up. Waits end when `stop` says so.
    pub(crate) fn open(target: &Target, stop: StopCheck) -> Result<Self> {
        let address = &target.address;
        let lost =
            |source| Error::Lost { server: target.lane.clone(), doing: "connecting", source };
        let mut socket =
            Socket::connect(&address.host, address.port, target.timeout, stop).map_err(lost)?;
        socket.set_deadline(Some(Instant::now() + target.timeout));
        let options = HandshakeOptions {
            user: address.user.clone(),
            password: Password::new(address.password.clone()),
            encryption: match target.jdbc.ssl_mode {
                SslMode::Disabled => Encryption::Disabled,
                SslMode::Preferred => Encryption::Preferred,
                SslMode::Required | SslMode::VerifyCa | SslMode::VerifyIdentity => {
                    Encryption::Required
                }
            },
            refuse_public_key: !target.jdbc.public_key_retrieval,
            attributes: vec![("program_name".to_owned(), "shardlake".to_owned())],
            database: None,
        };
        let encrypt = |socket: Socket| match &target.tls {
            Some(config) => socket.encrypt(&address.host, config),
            None => Ok(socket),
        };
        let packets = PacketReader::new(socket).with_limit(HANDSHAKE_BYTES);
        let (packets, greeting) = handshake::authenticate(packets, options, encrypt)
            .map_err(|error| handshake_error(&target.lane, error))?;
        let mut packets = packets.with_limit(PACKET_BYTES);
        packets.stream_mut().set_deadline(None);
        let mut connection = Self {
            packets,
            server: target.lane.clone(),
            user: address.user.clone(),
            mariadb: greeting.is_mariadb(),
        };
        connection.set_patience(target.jdbc.socket_timeout.unwrap_or(STATEMENT_PATIENCE));
        connection.set_up()?;
        Ok(connection)
    }

    fn set_up(&mut self) -> Result<()> {
        const DOING: &str = "setting up the session";
        self.execute(SESSION_SETTINGS, DOING)?;
        self.execute(SESSION_ISOLATION, DOING)?;
        let [mysql, mariadb] = NO_TIME_LIMIT;
        match self.execute(if self.mariadb { mariadb } else { mysql }, DOING) {
            Err(Error::Refused { code: UNKNOWN_VARIABLE, .. }) => Ok(()),
            other => other,
        }
    }

    /// Whether the server is MariaDB.
    pub(crate) const fn is_mariadb(&self) -> bool {
        self.mariadb
    }

    /// The server as `host:port`.
    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    /// The user.
    pub(crate) fn user(&self) -> &str {
        &self.user
    }

    /// How long to wait for the server's next word.
    pub(crate) fn set_patience(&mut self, patience: Duration) {
        self.packets.stream_mut().set_patience(patience);
    }

    /// The packets, for exchanges that are more than a statement and its rows.
    pub(crate) const fn packets(&mut self) -> &mut PacketReader<Socket> {
        &mut self.packets
    }

    /// Runs a statement and returns its rows.
    pub(crate) fn query(&mut self, sql: &str, doing: &'static str) -> Result<Vec<TextRow>> {
        self.try_query(sql).map_err(|error| Error::wire(&self.server, doing, error))
    }

    /// Runs a statement that has no rows.
    pub(crate) fn execute(&mut self, sql: &str, doing: &'static str) -> Result<()> {
        self.query(sql, doing).map(drop)
    }

    fn try_query(&mut self, sql: &str) -> std::result::Result<Vec<TextRow>, WireError> {
        self.packets.send_command(&command::query(sql))?;
        let reply::Head::Columns(count) = reply::parse_head(self.packets.next()?)? else {
            return Ok(Vec::new());
        };
        for _ in 0..count {
            self.packets.next()?;
        }
        let (mut rows, mut size_bytes) = (Vec::new(), 0);
        while let reply::RowPacket::Row(row) = reply::parse_text_row(self.packets.next()?)? {
            let cells = reply::text_cells(row)?;
            let cells = cells
                .into_iter()
                .map(|cell| cell.map(|bytes| String::from_utf8_lossy(bytes).into_owned()));
            size_bytes += row.len();
            if size_bytes > ANSWER_BYTES {
                let (what, size) = ("the answer to a control query", size_bytes as u64);
                return Err(WireError::TooLarge { what, size, limit: ANSWER_BYTES as u64 });
            }
            rows.push(TextRow(cells.collect()));
        }
        Ok(rows)
    }
}
