//! The options of `'connector' = 'mysql-cdc'`: Flink CDC's names, defaults and messages.
//!
//! Every option of Flink CDC is declared. One that has no effect here, or that is not supported yet,
//! is refused by name with what to do instead: no option is accepted and ignored.

use std::ops::RangeInclusive;

use rand::Rng;
use shardlake_connector::{Error, OptionKind, OptionSpec, Options};

use crate::chunk_key::{self, ChunkKeys};
use crate::debezium;
use crate::jdbc::JdbcProperties;
use crate::pace::PaceLimits;
use crate::servers::{self, ServerEntry};
use crate::zone::ServerZone;

use OptionKind::{Boolean, Duration, Float, Text};

const HOSTNAME: OptionSpec = OptionSpec::new(
    "hostname",
    Text,
    "Name or address of the MySQL server, or of several: `mysql-[1-4].internal:3306, 10.0.0.5`.",
)
.required();
const PORT: OptionSpec = OptionSpec::new(
    "port",
    OptionKind::Integer { min: 1, max: 65_535 },
    "The port of servers whose entry has none.",
)
.default_value("3306");
const USERNAME: OptionSpec =
    OptionSpec::new("username", Text, "The user that reads the tables and the binlog.").required();
const PASSWORD: OptionSpec =
    OptionSpec::new("password", Text, "The user's password; it may be empty.").required().secret();
const DATABASE_NAME: OptionSpec = OptionSpec::new(
    "database-name",
    Text,
    "A Java regular expression that the database's whole name must match.",
)
.required();
const TABLE_NAME: OptionSpec = OptionSpec::new(
    "table-name",
    Text,
    "A Java regular expression; `database-name`, a dot and this one must match the whole of \
     `database.table`.",
)
.required();
const SERVER_ID: OptionSpec = OptionSpec::new(
    "server-id",
    Text,
    "The id under which the binlog is read, or a range such as `5400-5408`. It must be unique \
     among the replicas of the server; by default a random one of 5400 to 6400.",
);
const SERVER_TIME_ZONE: OptionSpec = OptionSpec::new(
    "server-time-zone",
    Text,
    "The server's time zone, for example `Asia/Shanghai` or `+08:00`; by default that of this \
     machine. TIMESTAMP columns that are declared without a zone are shown in it.",
);
const STARTUP_MODES: &[&str] =
    &["initial", "snapshot", "latest-offset", "earliest-offset", "specific-offset", "timestamp"];
const STARTUP_MODE: OptionSpec = OptionSpec::new(
    "scan.startup.mode",
    OptionKind::Word(STARTUP_MODES),
    "Where to start: with the existing rows and then the binlog (`initial`), with the existing \
     rows only (`snapshot`), or in the binlog.",
)
.default_value("initial");
const OFFSET_FILE: OptionSpec = OptionSpec::new(
    "scan.startup.specific-offset.file",
    Text,
    "The binlog file of `specific-offset`.",
);
const OFFSET_POS: OptionSpec = OptionSpec::new(
    "scan.startup.specific-offset.pos",
    OptionKind::Integer { min: 4, max: i64::MAX },
    "The place in that file.",
);
const OFFSET_GTID_SET: OptionSpec = OptionSpec::new(
    "scan.startup.specific-offset.gtid-set",
    Text,
    "The GTID set of `specific-offset`: transactions in it are passed over.",
);
const TIMESTAMP_MILLIS: OptionSpec = OptionSpec::new(
    "scan.startup.timestamp-millis",
    OptionKind::Integer { min: 0, max: i64::MAX },
    "The time of `timestamp`, in milliseconds since 1970: older changes are passed over.",
);
const CHUNK_SIZE: OptionSpec = OptionSpec::new(
    "scan.incremental.snapshot.chunk.size",
    OptionKind::Integer { min: 2, max: 100_000_000 },
    "Rows of a chunk of the snapshot phase.",
)
.default_value("8096");
const CONNECT_TIMEOUT: OptionSpec = OptionSpec::new(
    "connect.timeout",
    Duration,
    "How long to wait for the server, at least 250 ms.",
)
.default_value("30s");
const CONNECT_MAX_RETRIES: OptionSpec = OptionSpec::new(
    "connect.max-retries",
    OptionKind::Integer { min: 1, max: 1_000 },
    "How often the first connection is tried again. A connection that is lost later is made anew \
     without limit.",
)
.default_value("3");
const POOL_SIZE: OptionSpec = OptionSpec::new(
    "connection.pool.size",
    OptionKind::Integer { min: 2, max: 256 },
    "How many connections there may be to one server. If it is given, all of them but one read chunks of \
     the snapshot phase, otherwise two do.",
)
.default_value("20");
const HEARTBEAT_INTERVAL: OptionSpec = OptionSpec::new(
    "heartbeat.interval",
    Duration,
    "How often the position moves on while no matching table changes; 0 turns it off.",
)
.default_value("30s");
const APPEND_ONLY: OptionSpec = OptionSpec::new(
    "scan.read-changelog-as-append-only.enabled",
    Boolean,
    "Delivers every change as an insert; the metadata column `row_kind` tells what it was.",
)
.default_value("false");
const FACTOR_UPPER: OptionSpec = OptionSpec::new(
    "chunk-key.even-distribution.factor.upper-bound",
    Float,
    "Above this ratio of key range to rows, chunks are cut by asking the server for keys.",
)
.default_value("1000.0");
const FACTOR_LOWER: OptionSpec = OptionSpec::new(
    "chunk-key.even-distribution.factor.lower-bound",
    Float,
    "Below this ratio of key range to rows, chunks are cut by asking the server for keys.",
)
.default_value("0.05");
const CHUNK_KEY: OptionSpec = OptionSpec::new(
    chunk_key::OPTION,
    Text,
    "The column by which tables are cut into chunks, or a list such as \
     `db.orders:customer;db.log_\\.*:at`; by default the first column of the primary key. Tables without \
     a primary key need it.",
);
const PURGED_BINLOG: OptionSpec = OptionSpec::new(
    "scan.purged-binlog",
    OptionKind::Word(&["fail", "resnapshot"]),
    "What happens when a server no longer has the binlog that is to be read: its reading ends \
     (`fail`), or the tables of that server are read again, and rows that are gone are deleted from \
     the sink (`resnapshot`).",
)
.default_value("fail");
const ROWS_PER_SECOND: OptionSpec = OptionSpec::new(
    "scan.snapshot.rows-per-second",
    OptionKind::Integer { min: 1, max: i64::MAX },
    "How many existing rows are read from one server in a second at most.",
);
const BYTES_PER_SECOND: OptionSpec = OptionSpec::new(
    "scan.snapshot.bytes-per-second",
    OptionKind::Size,
    "How many bytes of existing rows are read from one server in a second at most.",
);
const FETCH_SIZE: OptionSpec = OptionSpec::new(
    "scan.snapshot.fetch.size",
    OptionKind::Integer { min: 2, max: i32::MAX as i64 },
    "Results are streamed row by row, so every value means the same.",
);
const BACKFILL_SKIP: OptionSpec = OptionSpec::new(
    "scan.incremental.snapshot.backfill.skip",
    Boolean,
    "Chunks are never filled in one by one: the changes of the snapshot phase follow once, after all \
     chunks, and none is lost or doubled. Both values mean the same.",
);
const UNBOUNDED_FIRST: OptionSpec = OptionSpec::new(
    "scan.incremental.snapshot.unbounded-chunk-first.enabled",
    Boolean,
    "A large last chunk is kept on disk whenever it is read, so both values mean the same.",
);
const META_GROUP_SIZE: OptionSpec = OptionSpec::new(
    "chunk-meta.group.size",
    OptionKind::Integer { min: 2, max: i32::MAX as i64 },
    "There are no such messages here, so every value means the same.",
);
const CLOSE_IDLE_READER: OptionSpec = OptionSpec::new(
    "scan.incremental.close-idle-reader.enabled",
    Boolean,
    "Readers of chunks always end with the snapshot phase, so both values mean the same.",
);

/// All declared options.
pub(crate) static OPTIONS: &[OptionSpec] = &[
    HOSTNAME,
    PORT,
    USERNAME,
    PASSWORD,
    DATABASE_NAME,
    TABLE_NAME,
    SERVER_ID,
    SERVER_TIME_ZONE,
    STARTUP_MODE,
    OFFSET_FILE,
    OFFSET_POS,
    OFFSET_GTID_SET,
    TIMESTAMP_MILLIS,
    CHUNK_SIZE,
    CONNECT_TIMEOUT,
    CONNECT_MAX_RETRIES,
    POOL_SIZE,
    HEARTBEAT_INTERVAL,
    APPEND_ONLY,
    FACTOR_UPPER,
    FACTOR_LOWER,
    CHUNK_KEY,
    PURGED_BINLOG,
    ROWS_PER_SECOND,
    BYTES_PER_SECOND,
    FETCH_SIZE,
    BACKFILL_SKIP,
    UNBOUNDED_FIRST,
    META_GROUP_SIZE,
    CLOSE_IDLE_READER,
    OptionSpec::new(
        "jdbc.properties.*",
        Text,
        "Properties of MySQL's JDBC driver, such as sslMode.",
    ),
    // Declared so that they are refused by name, see `REFUSED`.
    OptionSpec::new("scan.startup.specific-offset.skip-events", Text, "Not supported."),
    OptionSpec::new("scan.startup.specific-offset.skip-rows", Text, "Not supported."),
    OptionSpec::new("scan.incremental.snapshot.enabled", Boolean, "Always true."),
    NEWLY_ADDED,
    OptionSpec::new(
        "scan.parse.online.schema.changes.enabled",
        Boolean,
        "Not needed: changes by gh-ost and pt-online-schema-change are always followed.",
    ),
    OptionSpec::new("use.legacy.json.format", Boolean, "Always false: JSON is as MySQL prints it."),
    OptionSpec::new("split-key.even-distribution.factor.upper-bound", Float, "Old spelling."),
    OptionSpec::new("split-key.even-distribution.factor.lower-bound", Float, "Old spelling."),
    OptionSpec::new("debezium.*", Text, "Not supported: there is no Debezium here."),
];

pub(crate) const NEWLY_ADDED: OptionSpec = OptionSpec::new(
    "scan.newly-added-table.enabled",
    Boolean,
    "Whether a job that starts again reads the existing rows of tables that match since. The expressions may \
     then be changed between two starts. Tables that come while the job runs are read in any case.",
)
.default_value("false");

/// An option that is refused unless it has the one value that describes what happens anyway.
struct Refused {
    key: &'static str,
    accepted: Option<&'static str>,
    advice: &'static str,
}

const REFUSED: &[Refused] = &[
    Refused {
        key: "scan.startup.specific-offset.skip-events",
        accepted: Some("0"),
        advice: "reading starts between two transactions: give the position of a transaction's begin",
    },
    Refused {
        key: "scan.startup.specific-offset.skip-rows",
        accepted: Some("0"),
        advice: "reading starts between two transactions: give the position of a transaction's begin",
    },
    Refused {
        key: "scan.incremental.snapshot.enabled",
        accepted: Some("true"),
        advice: "rows are always read in chunks, without locks: remove the option",
    },
    Refused {
        key: "use.legacy.json.format",
        accepted: Some("false"),
        advice: "JSON always comes as MySQL prints it: remove the option",
    },
];

/// Where reading starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StartupMode {
    /// The existing rows, then the binlog.
    Initial,
    /// The existing rows only.
    Snapshot,
    /// The end of the binlog.
    Latest,
    /// The beginning of the binlog that the server still has.
    Earliest,
    /// A place in a binlog file.
    File {
        /// The file.
        file: String,
        /// The place in it.
        offset: u64,
    },
    /// After the transactions of a GTID set.
    GtidSet(String),
    /// Changes since a time.
    Timestamp {
        /// In milliseconds since 1970.
        millis: u64,
    },
}

impl StartupMode {
    /// Whether existing rows are read.
    pub(crate) const fn reads_existing_rows(&self) -> bool {
        matches!(self, Self::Initial | Self::Snapshot)
    }
}

/// How a server is reached.
#[derive(Clone)]
pub(crate) struct ServerAddress {
    /// Its entry in the list, as written.
    pub(crate) name: String,
    /// Name or address.
    pub(crate) host: String,
    /// Port.
    pub(crate) port: u16,
    /// User.
    pub(crate) user: String,
    /// Password; never shown.
    pub(crate) password: String,
}

impl ServerAddress {
    /// The lane's name: `host:port`.
    pub(crate) fn lane(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

/// The options of a source, checked.
#[derive(Clone)]
pub(crate) struct SourceOptions {
    pub(crate) servers: Vec<ServerAddress>,
    pub(crate) database_name: String,
    pub(crate) table_name: String,
    pub(crate) server_ids: RangeInclusive<u32>,
    /// Whether the user chose the server id.
    pub(crate) server_id_given: bool,
    pub(crate) zone: ServerZone,
    pub(crate) startup: StartupMode,
    pub(crate) chunk_size: u64,
    pub(crate) connect_timeout_ms: u64,
    pub(crate) connect_max_retries: u32,
    pub(crate) reader_count: usize,
    pub(crate) heartbeat_interval_ms: u64,
    pub(crate) append_only: bool,
    /// Whether tables that match since the last start are read.
    pub(crate) newly_added: bool,
    pub(crate) factor_lower: f64,
    pub(crate) factor_upper: f64,
    pub(crate) chunk_keys: ChunkKeys,
    pub(crate) pace: PaceLimits,
    /// Whether tables are read again when the binlog was purged.
    pub(crate) reads_again: bool,
    pub(crate) jdbc: JdbcProperties,
}

impl SourceOptions {
    /// The id under which the server at this place of the list is read: a range is dealt out in turn.
    pub(crate) fn server_id_of(&self, index: usize) -> u32 {
        let (first, last) = (*self.server_ids.start(), *self.server_ids.end());
        let count = u64::from(last - first) + 1;
        let turn = u64::try_from(index).unwrap_or(0) % count;
        first + u32::try_from(turn).unwrap_or(0)
    }

    /// Checks the options of a table.
    pub(crate) fn parse(options: &Options) -> Result<Self, Error> {
        options.validate("mysql-cdc", OPTIONS)?;
        refuse_unsupported(options)?;
        let (factor_lower, factor_upper) = even_distribution(options)?;
        let (server_ids, server_id_given) = server_ids(options)?;
        Ok(Self {
            servers: server_addresses(options)?,
            database_name: required(options, &DATABASE_NAME)?,
            table_name: required(options, &TABLE_NAME)?,
            server_ids,
            server_id_given,
            zone: zone(options)?,
            startup: startup(options)?,
            chunk_size: number(options, &CHUNK_SIZE)?,
            connect_timeout_ms: connect_timeout_ms(options)?,
            connect_max_retries: number(options, &CONNECT_MAX_RETRIES)?,
            reader_count: reader_count(options)?,
            heartbeat_interval_ms: options.duration_ms(&HEARTBEAT_INTERVAL)?.unwrap_or(30_000),
            append_only: options.boolean(&APPEND_ONLY)?,
            newly_added: options.boolean(&NEWLY_ADDED)?,
            factor_lower,
            factor_upper,
            chunk_keys: ChunkKeys::parse(options.text(&CHUNK_KEY).unwrap_or_default())?,
            reads_again: options
                .text(&PURGED_BINLOG)
                .is_some_and(|word| word.trim().eq_ignore_ascii_case("resnapshot")),
            pace: PaceLimits {
                rows_per_second: positive(options.integer(&ROWS_PER_SECOND)?),
                bytes_per_second: options.size_bytes(&BYTES_PER_SECOND)?.filter(|bytes| *bytes > 0),
            },
            jdbc: JdbcProperties::parse(options)?,
        })
    }
}

fn required(options: &Options, spec: &OptionSpec) -> Result<String, Error> {
    let value = options.text(spec).map(str::to_owned);
    value.ok_or_else(|| Error::bug(format!("option '{}' was not checked", spec.key)))
}

fn number<T: TryFrom<i64>>(options: &Options, spec: &OptionSpec) -> Result<T, Error> {
    let value = options.integer(spec)?.and_then(|value| T::try_from(value).ok());
    value.ok_or_else(|| Error::bug(format!("option '{}' was not checked", spec.key)))
}

fn positive(value: Option<i64>) -> Option<u64> {
    value.and_then(|value| u64::try_from(value).ok()).filter(|value| *value > 0)
}

fn server_addresses(options: &Options) -> Result<Vec<ServerAddress>, Error> {
    let entries = servers::parse(&required(options, &HOSTNAME)?, number(options, &PORT)?)?;
    let (user, password) = (required(options, &USERNAME)?, required(options, &PASSWORD)?);
    let address = |entry: ServerEntry| ServerAddress {
        name: entry.name,
        host: entry.host,
        port: entry.port,
        user: user.clone(),
        password: password.clone(),
    };
    Ok(entries.into_iter().map(address).collect())
}

/// Connections to one server that read chunks; one more cuts tables into chunks.
fn reader_count(options: &Options) -> Result<usize, Error> {
    if options.get(POOL_SIZE.key).is_none() {
        return Ok(2);
    }
    Ok(number::<usize>(options, &POOL_SIZE)?.saturating_sub(1).max(1))
}

fn refuse_unsupported(options: &Options) -> Result<(), Error> {
    for refused in REFUSED {
        let Some(value) = options.get(refused.key) else { continue };
        if !refused.accepted.is_some_and(|word| word.eq_ignore_ascii_case(value.trim())) {
            return Err(Error::job(format!(
                "The option '{}' = '{value}' is not supported: {}.",
                refused.key, refused.advice
            )));
        }
    }
    if let Some((key, _)) = options.iter().find(|(key, _)| key.starts_with(debezium::PREFIX)) {
        return Err(debezium::refuse(key));
    }
    Ok(())
}

fn connect_timeout_ms(options: &Options) -> Result<u64, Error> {
    let millis = options.duration_ms(&CONNECT_TIMEOUT)?.unwrap_or(30_000);
    if millis < 250 {
        #[expect(clippy::cast_precision_loss, reason = "below 250")]
        let seconds = millis as f64 / 1_000.0;
        return Err(Error::job(format!(
            "The value of option 'connect.timeout' cannot be less than PT0.25S, but actual is \
             PT{seconds}S"
        )));
    }
    Ok(millis)
}

fn even_distribution(options: &Options) -> Result<(f64, f64), Error> {
    let with_old_key = |spec: &OptionSpec, old: &'static str| {
        let spec = match options.get(spec.key) {
            Some(_) => *spec,
            None => OptionSpec { key: old, ..*spec },
        };
        options.float(&spec)
    };
    let upper = with_old_key(&FACTOR_UPPER, "split-key.even-distribution.factor.upper-bound")?
        .unwrap_or(1_000.0);
    let lower = with_old_key(&FACTOR_LOWER, "split-key.even-distribution.factor.lower-bound")?
        .unwrap_or(0.05);
    if upper < 1.0 || upper.is_nan() {
        return Err(Error::job(format!(
            "The value of option '{}' must larger than or equals 1.0, but is {upper:?}",
            FACTOR_UPPER.key
        )));
    }
    if !(0.0..=1.0).contains(&lower) {
        return Err(Error::job(format!(
            "The value of option '{}' must between 0.0 and 1.0 inclusively, but is {lower:?}",
            FACTOR_LOWER.key
        )));
    }
    Ok((lower, upper))
}

/// An id as Flink CDC draws it.
pub(crate) fn random_server_id() -> u32 {
    rand::rng().random_range(5_400..6_400)
}

fn server_ids(options: &Options) -> Result<(RangeInclusive<u32>, bool), Error> {
    let Some(text) = options.text(&SERVER_ID) else {
        let id = random_server_id();
        return Ok((id..=id, false));
    };
    let invalid = |cause: String| {
        Error::job(format!("The value of option 'server-id' is invalid: '{text}'"))
            .caused_by(Error::job(cause))
    };
    let one = |id: &str| {
        id.trim()
            .parse::<u32>()
            .map_err(|_| invalid(format!("The server id {} is not a valid numeric.", id.trim())))
    };
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (one(first)?, one(last)?),
        None => (one(text)?, one(text)?),
    };
    if first == 0 || first > last {
        return Err(invalid("The range must run from a smaller to a larger number.".to_owned()));
    }
    Ok((first..=last, true))
}

fn zone(options: &Options) -> Result<ServerZone, Error> {
    let Some(text) = options.text(&SERVER_TIME_ZONE) else { return Ok(ServerZone::System) };
    ServerZone::parse(text).ok_or_else(|| {
        Error::job(format!(
            "The value of option 'server-time-zone' is invalid: '{text}' is no time zone, write \
             for example 'Asia/Shanghai' or '+08:00'"
        ))
    })
}

fn startup(options: &Options) -> Result<StartupMode, Error> {
    let mode = options.text(&STARTUP_MODE).unwrap_or("initial").trim().to_ascii_lowercase();
    Ok(match mode.as_str() {
        "snapshot" => StartupMode::Snapshot,
        "latest-offset" => StartupMode::Latest,
        "earliest-offset" => StartupMode::Earliest,
        "specific-offset" => specific_offset(options)?,
        "timestamp" => {
            let millis = options
                .integer(&TIMESTAMP_MILLIS)?
                .and_then(|millis| u64::try_from(millis).ok())
                .ok_or_else(|| {
                    Error::job(
                        "To use timestamp startup mode, the startup timestamp millis \
                         'scan.startup.timestamp-millis' must be set.",
                    )
                })?;
            StartupMode::Timestamp { millis }
        }
        _ => StartupMode::Initial,
    })
}

fn specific_offset(options: &Options) -> Result<StartupMode, Error> {
    if let Some(set) = options.text(&OFFSET_GTID_SET) {
        return Ok(StartupMode::GtidSet(set.trim().to_owned()));
    }
    let offset = options.integer(&OFFSET_POS)?.and_then(|offset| u64::try_from(offset).ok());
    match (options.text(&OFFSET_FILE), offset) {
        (Some(file), Some(offset)) => {
            Ok(StartupMode::File { file: file.trim().to_owned(), offset })
        }
        _ => Err(Error::job(
            "Unable to find a valid binlog offset. Either gtid-set, or file and pos are required.",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(given: &[(&str, &str)]) -> Result<SourceOptions, Error> {
        let base = [
            ("hostname", "db"),
            ("username", "u"),
            ("password", ""),
            ("database-name", "d"),
            ("table-name", "t"),
        ];
        let all = base.iter().chain(given);
        SourceOptions::parse(&all.map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    fn refusal(given: &[(&str, &str)]) -> String {
        parse(given).err().map_or("accepted".to_owned(), |error| error.report())
    }

    #[test]
    fn defaults_are_flinks() {
        let options = parse(&[]).unwrap();
        assert_eq!(options.servers[0].lane(), "db:3306");
        assert_eq!(options.reader_count, 2);
        assert_eq!(options.chunk_size, 8_096);
        assert_eq!(options.connect_timeout_ms, 30_000);
        assert_eq!(options.connect_max_retries, 3);
        assert_eq!(options.heartbeat_interval_ms, 30_000);
        assert_eq!(options.startup, StartupMode::Initial);
        assert!((5_400..6_400).contains(options.server_ids.start()));
        assert!(!options.append_only && !options.server_id_given);
    }

    #[test]
    fn mistakes_get_flinks_messages() {
        let check = |given: &[(&str, &str)]| refusal(given);
        insta::assert_snapshot!(check(&[("server-id", "123b")]), @"The value of option 'server-id' is invalid: '123b': The server id 123b is not a valid numeric.");
        insta::assert_snapshot!(check(&[("connect.timeout", "240ms")]), @"The value of option 'connect.timeout' cannot be less than PT0.25S, but actual is PT0.24S");
        insta::assert_snapshot!(check(&[("scan.incremental.snapshot.chunk.size", "1")]), @"The value of option 'scan.incremental.snapshot.chunk.size' must larger than 1, but is 1");
        insta::assert_snapshot!(check(&[("scan.snapshot.fetch.size", "1")]), @"The value of option 'scan.snapshot.fetch.size' must larger than 1, but is 1");
        insta::assert_snapshot!(check(&[("chunk-meta.group.size", "1")]), @"The value of option 'chunk-meta.group.size' must larger than 1, but is 1");
        insta::assert_snapshot!(check(&[("connection.pool.size", "1")]), @"The value of option 'connection.pool.size' must larger than 1, but is 1");
        insta::assert_snapshot!(check(&[("connect.max-retries", "0")]), @"The value of option 'connect.max-retries' must larger than 0, but is 0");
        insta::assert_snapshot!(check(&[("scan.startup.mode", "abc")]), @"Invalid value for option 'scan.startup.mode'. Supported values are [initial, snapshot, latest-offset, earliest-offset, specific-offset, timestamp], but was: abc");
        insta::assert_snapshot!(check(&[("scan.startup.mode", "specific-offset")]), @"Unable to find a valid binlog offset. Either gtid-set, or file and pos are required.");
        insta::assert_snapshot!(check(&[("port", "123b")]), @"Could not parse value '123b' for key 'port'.");
        insta::assert_snapshot!(check(&[("chunk-key.even-distribution.factor.upper-bound", "0.8")]), @"The value of option 'chunk-key.even-distribution.factor.upper-bound' must larger than or equals 1.0, but is 0.8");
        insta::assert_snapshot!(check(&[("split-key.even-distribution.factor.lower-bound", "-1")]), @"The value of option 'chunk-key.even-distribution.factor.lower-bound' must between 0.0 and 1.0 inclusively, but is -1.0");
        insta::assert_snapshot!(check(&[("server-time-zone", "Atlantis")]), @"The value of option 'server-time-zone' is invalid: 'Atlantis' is no time zone, write for example 'Asia/Shanghai' or '+08:00'");
    }

    #[test]
    fn what_is_not_supported_is_refused_by_name() {
        for key in REFUSED.iter().map(|refused| refused.key) {
            let value = if key.ends_with("enabled") { "maybe" } else { "7" };
            let error = refusal(&[(key, value)]);
            assert!(error.contains(key), "{error}");
        }
        insta::assert_snapshot!(refusal(&[("debezium.snapshot.mode", "never")]), @"The option 'debezium.snapshot.mode' is not supported, there is no Debezium here: use 'scan.startup.mode'.");
        insta::assert_snapshot!(refusal(&[("use.legacy.json.format", "true")]), @"The option 'use.legacy.json.format' = 'true' is not supported: JSON always comes as MySQL prints it: remove the option.");
        assert_eq!(refusal(&[("scan.incremental.snapshot.enabled", "true")]), "accepted");
    }

    #[test]
    fn every_refused_option_is_declared() {
        for refused in REFUSED {
            assert!(OPTIONS.iter().any(|spec| spec.key == refused.key), "{}", refused.key);
        }
    }

    #[test]
    fn startup_modes_carry_their_place() {
        let mode = |given: &[(&str, &str)]| parse(given).unwrap().startup;
        assert_eq!(
            mode(&[
                ("scan.startup.mode", "specific-offset"),
                ("scan.startup.specific-offset.file", "binlog.000003"),
                ("scan.startup.specific-offset.pos", "4"),
            ]),
            StartupMode::File { file: "binlog.000003".to_owned(), offset: 4 }
        );
        assert_eq!(
            mode(&[("scan.startup.mode", "timestamp"), ("scan.startup.timestamp-millis", "5")]),
            StartupMode::Timestamp { millis: 5 }
        );
        assert_eq!(mode(&[("scan.startup.mode", "LATEST-OFFSET")]), StartupMode::Latest);
    }
}
