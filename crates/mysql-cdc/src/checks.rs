//! What must hold on a server before it is read: version, binlog settings, grants, time zone.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::chunk::quote_text;
use crate::connection::{Connection, TextRow};
use crate::error::{Error, Result};
use crate::position::{BinlogOffset, Watermark};
use crate::zone::ServerZone;

/// Difference between the server's clock and the zone that is taken for the same.
const ZONE_TOLERANCE_SECONDS: i64 = 30 * 60;
/// A server that does not follow summer time differs by an hour for half a year.
const SUMMER_TIME_SECONDS: i64 = 3_600;

/// What a server told about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServerFacts {
    /// Its UUID.
    pub(crate) uuid: String,
    /// Whether every transaction has a GTID.
    pub(crate) gtid: bool,
    /// Whether it writes the names of databases and tables in lower case.
    pub(crate) lower_case: bool,
    /// Whether it is MariaDB, whose GTIDs, read views and dumps differ.
    pub(crate) mariadb: bool,
    /// The statement that shows the end of the binlog.
    status_sql: &'static str,
}

/// Checks a server.
pub(crate) fn check_server(connection: &mut Connection, zone: &ServerZone) -> Result<ServerFacts> {
    let settings = settings(connection)?;
    let setting = |name: &str| settings.get(name).map_or("", String::as_str);
    check_settings(connection.server(), setting)?;
    check_zone(connection, zone)?;
    let status_sql = status_statement(connection)?;
    let mariadb = connection.is_mariadb();
    let lower_case = setting("lower_case_table_names") == "1";
    if mariadb {
        check_mariadb_grant(connection)?;
        let uuid = mariadb_identity(setting);
        return Ok(ServerFacts { uuid, gtid: true, lower_case, mariadb, status_sql });
    }
    check_replication_grant(connection)?;
    Ok(ServerFacts {
        uuid: setting("server_uuid").to_owned(),
        gtid: setting("gtid_mode") == "ON",
        lower_case,
        mariadb,
        status_sql,
    })
}

/// What stands for the UUID that MariaDB's servers do not have.
fn mariadb_identity<'a>(setting: impl Fn(&str) -> &'a str) -> String {
    let id = setting("server_id");
    match setting("server_uid") {
        "" => format!("{id}@{}:{}", setting("hostname"), setting("port")),
        uid => format!("{id}@{uid}"),
    }
}

fn settings(connection: &mut Connection) -> Result<BTreeMap<String, String>> {
    let sql = "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('version', 'log_bin', \
               'binlog_format', 'binlog_row_image', 'server_uuid', \
               'gtid_mode', 'lower_case_table_names', 'server_id', 'server_uid', 'hostname', \
               'port')";
    let rows = connection.query(sql, "reading its settings")?;
    Ok(rows.iter().map(|row| (row.text(0).to_ascii_lowercase(), row.text(1).to_owned())).collect())
}

fn check_settings<'a>(server: &str, setting: impl Fn(&str) -> &'a str) -> Result<()> {
    let version = setting("version");
    let mut numbers = version.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    let mut number = || numbers.next().and_then(std::result::Result::ok).unwrap_or(0);
    let (major, minor) = (number(), number());
    if (major, minor) < (5, 6) {
        return Err(Error::job(format!(
            "Currently only MySQL servers whose version is larger or equal to 5.6 are supported, \
             but {server} is {version}: upgrade it"
        )));
    }
    if version.to_ascii_lowercase().contains("mariadb") && (major, minor) < (10, 5) {
        return Err(Error::job(format!(
            "{server} is MariaDB {version}; MariaDB is read from 10.5 on: upgrade it"
        )));
    }
    if setting("log_bin") != "ON" {
        return Err(Error::job(format!(
            "The MySQL server {server} writes no binlog, which is required for this connector to \
             work properly. Start it with log_bin (and without skip-log-bin)."
        )));
    }
    for (name, required) in [("binlog_format", "ROW"), ("binlog_row_image", "FULL")] {
        let actual = setting(name);
        if !actual.is_empty() && !actual.eq_ignore_ascii_case(required) {
            return Err(Error::job(format!(
                "The MySQL server {server} is configured with {name} {actual} rather than \
                 {required}, which is required for this connector to work properly. Change the \
                 MySQL configuration to use a {name}={required} and restart the connector."
            )));
        }
    }
    Ok(())
}

fn check_zone(connection: &mut Connection, zone: &ServerZone) -> Result<()> {
    let sql = "SELECT TIMESTAMPDIFF(SECOND, UTC_TIMESTAMP(), CONVERT_TZ(UTC_TIMESTAMP(), '+00:00', \
               @@GLOBAL.time_zone))";
    let rows = connection.query(sql, "reading its time zone")?;
    let Some(actual) = rows.first().and_then(|row| row.get(0)).and_then(|text| text.parse().ok())
    else {
        return Ok(());
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let configured = zone.offset_at(i64::try_from(now).unwrap_or(0));
    if zone_fits(actual, configured) {
        return Ok(());
    }
    let direction = if actual >= 0 { "ahead of" } else { "behind" };
    Err(Error::job(format!(
        "The MySQL server has a timezone offset ({} seconds {direction} UTC) which does not match \
         the configured timezone {zone}. Specify the right server-time-zone to avoid \
         inconsistencies for time-related fields (server {}).",
        actual.abs(),
        connection.server()
    )))
}

fn zone_fits(actual: i64, configured: i64) -> bool {
    let difference = (actual - configured).abs();
    difference <= ZONE_TOLERANCE_SECONDS
        || (difference - SUMMER_TIME_SECONDS).abs() <= ZONE_TOLERANCE_SECONDS
}

/// MySQL 8.2 renamed the statement, 8.4 dropped the old name.
fn status_statement(connection: &mut Connection) -> Result<&'static str> {
    const SPELLINGS: [&str; 2] = ["SHOW BINARY LOG STATUS", "SHOW MASTER STATUS"];
    const SYNTAX_ERROR: u16 = 1_064;
    let mut failure = None;
    for sql in SPELLINGS {
        match connection.query(sql, "asking for the end of the binlog") {
            Ok(_) => return Ok(sql),
            Err(Error::Refused { code: SYNTAX_ERROR, .. }) => {}
            Err(error) => failure = Some(error),
        }
        if failure.is_some() {
            break;
        }
    }
    Err(explain_grant(connection, failure, "REPLICATION CLIENT"))
}

fn check_replication_grant(connection: &mut Connection) -> Result<()> {
    const SYNTAX_ERROR: u16 = 1_064;
    for sql in ["SHOW REPLICAS", "SHOW SLAVE HOSTS"] {
        match connection.query(sql, "checking the user's grants") {
            Ok(_) => return Ok(()),
            Err(Error::Refused { code: SYNTAX_ERROR, .. }) => {}
            Err(error) => {
                return Err(explain_grant(connection, Some(error), "REPLICATION SLAVE"));
            }
        }
    }
    Ok(())
}

/// The list of MariaDB's replicas needs a privilege that a reader does not, so the grants are read instead.
fn check_mariadb_grant(connection: &mut Connection) -> Result<()> {
    const SUFFICIENT: [&str; 3] = ["ALL PRIVILEGES", "REPLICATION SLAVE", "REPLICATION REPLICA"];
    let grants = connection.query("SHOW GRANTS", "checking the user's grants")?;
    let is_sufficient = |row: &TextRow| {
        let grant = row.text(0).to_ascii_uppercase();
        // A grant names privileges, then ON, then what they are for.
        let privileges = grant.split(" ON ").next().unwrap_or_default();
        SUFFICIENT.iter().any(|word| privileges.contains(word)) && grant.contains(" ON *.* ")
    };
    if grants.iter().any(is_sufficient) {
        return Ok(());
    }
    Err(lacks_privilege(connection, "REPLICATION SLAVE", "it is not among SHOW GRANTS"))
}

fn lacks_privilege(connection: &Connection, grant: &str, message: &str) -> Error {
    Error::job(format!(
        "the MySQL user '{user}' lacks the privilege {grant} on server {server} ({message}): run \
         GRANT SELECT, SHOW DATABASES, REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO '{user}'@'…'",
        user = connection.user(),
        server = connection.server(),
    ))
}

fn explain_grant(connection: &Connection, error: Option<Error>, grant: &str) -> Error {
    const ACCESS_DENIED: [u16; 3] = [1_142, 1_227, 1_045];
    match error {
        Some(Error::Refused { code, message, .. }) if ACCESS_DENIED.contains(&code) => {
            lacks_privilege(connection, grant, &message)
        }
        Some(error) => error,
        None => Error::Bug("no statement shows the end of the binlog".to_owned()),
    }
}

impl ServerFacts {
    /// Facts of a made-up server.
    #[cfg(test)]
    pub(crate) fn for_tests(uuid: &str, gtid: bool) -> Self {
        let status_sql = "SHOW BINARY LOG STATUS";
        let uuid = uuid.to_owned();
        Self { uuid, gtid, lower_case: false, mariadb: false, status_sql }
    }

    /// The end of the binlog, and the executed transactions if they have GTIDs.
    pub(crate) fn watermark(&self, connection: &mut Connection) -> Result<Watermark> {
        if self.mariadb {
            let mut watermark = open_exact_view(connection)?;
            connection.execute("COMMIT", "closing a read view")?;
            watermark.gtid_set = Some(mariadb_position(connection, &watermark.offset)?);
            return Ok(watermark);
        }
        let rows = connection.query(self.status_sql, "asking for the end of the binlog")?;
        let row = rows.first().ok_or_else(|| {
            Error::job(format!(
                "MySQL server {} has no binlog: start it with log_bin",
                connection.server()
            ))
        })?;
        let offset = row
            .text(1)
            .parse()
            .map_err(|_| Error::Bug("the end of the binlog is no number".to_owned()))?;
        let gtid_set =
            self.gtid.then(|| row.text(4).chars().filter(|c| !c.is_whitespace()).collect());
        Ok(Watermark { offset: BinlogOffset { file: row.text(0).to_owned(), offset }, gtid_set })
    }
}

/// The watermarks of the chunks that a connection reads one after the other.
pub(crate) struct ChunkWatermarks<'a> {
    facts: &'a ServerFacts,
    low: Watermark,
}

impl<'a> ChunkWatermarks<'a> {
    /// No chunk has been read yet.
    pub(crate) fn new(facts: &'a ServerFacts, connection: &mut Connection) -> Result<Self> {
        let low = if facts.mariadb { Watermark::default() } else { facts.watermark(connection)? };
        Ok(Self { facts, low })
    }

    /// To be called before a chunk is read.
    pub(crate) fn open(&mut self, connection: &mut Connection) -> Result<()> {
        if self.facts.mariadb {
            self.low = open_exact_view(connection)?;
        }
        Ok(())
    }

    /// To be called behind a chunk: its low and its high watermark.
    pub(crate) fn close(&mut self, connection: &mut Connection) -> Result<(Watermark, Watermark)> {
        if self.facts.mariadb {
            connection.execute("COMMIT", "closing a read view")?;
            return Ok((self.low.clone(), self.low.clone()));
        }
        // One answer is this chunk's high watermark and, read before its read view, the next chunk's low watermark.
        let high = self.facts.watermark(connection)?;
        let low = std::mem::replace(&mut self.low, high.clone());
        Ok((low, high))
    }
}

/// Opens a read view of MariaDB and tells the offset behind the last transaction that it shows. `gtid_binlog_pos` would
/// tell too much: it has transactions that no read view shows yet. This one is taken under the lock under which
/// transactions become visible, so it is exact: the view shows everything before the offset and nothing behind it.
fn open_exact_view(connection: &mut Connection) -> Result<Watermark> {
    const DOING: &str = "opening a read view";
    connection.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT", DOING)?;
    let rows = connection.query("SHOW STATUS LIKE 'binlog_snapshot_%'", DOING)?;
    let value = |name: &str| {
        let row = rows.iter().find(|row| row.text(0).eq_ignore_ascii_case(name));
        row.map(|row| row.text(1).to_owned()).filter(|text| !text.is_empty())
    };
    let offset = value("binlog_snapshot_position").and_then(|text| text.parse().ok());
    match (value("binlog_snapshot_file"), offset) {
        (Some(file), Some(offset)) => {
            Ok(Watermark { offset: BinlogOffset { file, offset }, gtid_set: None })
        }
        _ => Err(Error::job(format!(
            "MariaDB server {} does not tell where in its binlog a read view is \
             (binlog_snapshot_file is empty): start it with log_bin",
            connection.server()
        ))),
    }
}

/// The last transactions of each domain before an offset.
fn mariadb_position(connection: &mut Connection, offset: &BinlogOffset) -> Result<String> {
    let sql = format!("SELECT BINLOG_GTID_POS({}, {})", quote_text(&offset.file), offset.offset);
    let rows = connection.query(&sql, "asking for its GTID position")?;
    Ok(rows.first().map(|row| row.text(0).to_owned()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(changed: &[(&str, &str)]) -> String {
        let base = [
            ("version", "8.0.36"),
            ("log_bin", "ON"),
            ("binlog_format", "ROW"),
            ("binlog_row_image", "FULL"),
        ];
        let settings: BTreeMap<&str, &str> = base.iter().chain(changed).copied().collect();
        match check_settings("db:3306", |name| settings.get(name).copied().unwrap_or("")) {
            Ok(()) => "ok".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn settings_that_lose_changes_are_refused() {
        assert_eq!(check(&[]), "ok");
        assert_eq!(check(&[("version", "9.7.4"), ("binlog_row_value_options", "")]), "ok");
        insta::assert_snapshot!(check(&[("version", "5.5.62")]), @"Currently only MySQL servers whose version is larger or equal to 5.6 are supported, but db:3306 is 5.5.62: upgrade it");
        insta::assert_snapshot!(check(&[("log_bin", "OFF")]), @"The MySQL server db:3306 writes no binlog, which is required for this connector to work properly. Start it with log_bin (and without skip-log-bin).");
        insta::assert_snapshot!(check(&[("binlog_format", "MIXED")]), @"The MySQL server db:3306 is configured with binlog_format MIXED rather than ROW, which is required for this connector to work properly. Change the MySQL configuration to use a binlog_format=ROW and restart the connector.");
        insta::assert_snapshot!(check(&[("binlog_row_image", "MINIMAL")]), @"The MySQL server db:3306 is configured with binlog_row_image MINIMAL rather than FULL, which is required for this connector to work properly. Change the MySQL configuration to use a binlog_row_image=FULL and restart the connector.");
        assert_eq!(check(&[("binlog_row_value_options", "PARTIAL_JSON")]), "ok");
        assert_eq!(check(&[("version", "10.11.6-MariaDB-log")]), "ok");
        insta::assert_snapshot!(check(&[("version", "10.3.39-MariaDB")]), @"db:3306 is MariaDB 10.3.39-MariaDB; MariaDB is read from 10.5 on: upgrade it");
    }

    #[test]
    fn the_zone_may_differ_by_summer_time_only() {
        assert!(zone_fits(28_800, 28_800));
        assert!(zone_fits(3_600, 7_200));
        assert!(zone_fits(100, 0));
        assert!(!zone_fits(28_800, 0));
        assert!(!zone_fits(-28_800, 28_800));
    }
}
