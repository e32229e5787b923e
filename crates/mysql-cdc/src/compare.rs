//! Sums over the rows of MySQL tables, computed by the servers.
//!
//! Each column becomes text in one canonical form, a row the concatenation of its columns, each with its
//! length in front; the first half of its SHA-256 is the row's hash (MySQL 9.7 has no MD5 of its own).
//! docs/formats/verification.md has the forms. All tables that match count as one; the columns of
//! metadata are constants of each.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use shardlake_change::{Column, LogicalType};
use shardlake_connector::{
    BucketSum, ComparableSource, ComparedColumns, Error as ConnectorError, KeyedHash, RowText,
    TableDefinition,
};
use shardlake_mysql_wire::gtid::GtidSet;

use crate::chunk::{quote_name, quote_text};
use crate::connection::{Connection, Target, TextRow};
use crate::discovery::{ServerColumn, ServerTable, matching_tables};
use crate::error::{Error, Result};
use crate::matching::TableMatcher;
use crate::options::SourceOptions;
use crate::output::SERVER_NAME;
use crate::zone::ServerZone;

const DOING: &str = "comparing rows";

/// The tables of a definition, on all its servers.
pub(crate) struct Comparer {
    definition: TableDefinition,
    zone: ServerZone,
    servers: Vec<Server>,
    columns: Option<ComparedColumns>,
    incomparable: Vec<String>,
}

struct Server {
    name: String,
    connection: Connection,
    tables: Vec<ServerTable>,
}

impl Comparer {
    /// Connects to the servers and finds the tables.
    pub(crate) fn connect(
        definition: &TableDefinition,
        options: &SourceOptions,
        matcher: &TableMatcher,
    ) -> Result<Self> {
        let timeout = Duration::from_millis(options.connect_timeout_ms);
        let mut servers = Vec::with_capacity(options.servers.len());
        for address in &options.servers {
            let target = Target::new(address.clone(), options.jdbc.clone(), timeout)?;
            let mut connection = Connection::open(&target, Arc::new(|| false))?;
            let tables = matching_tables(&mut connection, matcher)?;
            servers.push(Server { name: address.name.clone(), connection, tables });
        }
        Ok(Self {
            definition: definition.clone(),
            zone: options.zone,
            servers,
            columns: None,
            incomparable: Vec::new(),
        })
    }

    fn columns(&self) -> Result<&ComparedColumns> {
        self.columns.as_ref().ok_or_else(|| Error::Bug("columns were not chosen".to_owned()))
    }

    /// Asks every table with the statement that `sql` makes of its rows.
    fn ask(
        &mut self,
        sql: impl Fn(&RowSql, &str) -> String,
        mut take: impl FnMut(&TextRow) -> Result<()>,
    ) -> Result<()> {
        let columns = self.columns()?.clone();
        for server in &mut self.servers {
            for table in &server.tables {
                let scope = Scope {
                    definition: &self.definition,
                    server: &server.name,
                    zone: self.zone,
                    table,
                };
                let row = RowSql::of(&scope, &columns)?;
                let statement = sql(&row, &table.quoted());
                for answer in server.connection.query(&statement, DOING)? {
                    take(&answer)?;
                }
            }
        }
        Ok(())
    }
}

impl ComparableSource for Comparer {
    fn incomparable(&self) -> Vec<String> {
        self.incomparable.clone()
    }

    fn prepare(&mut self, columns: &ComparedColumns) -> std::result::Result<(), ConnectorError> {
        let mut incomparable: Vec<usize> = Vec::new();
        for (index, column) in columns.schema.columns.iter().enumerate() {
            let is_comparable = self.servers.iter().all(|server| {
                server.tables.iter().all(|table| {
                    let scope = Scope {
                        definition: &self.definition,
                        server: &server.name,
                        zone: self.zone,
                        table,
                    };
                    scope.text_of(column).is_some()
                })
            });
            if !is_comparable {
                incomparable.push(index);
            }
        }
        if let Some(key) = columns.key.iter().find(|key| incomparable.contains(key)) {
            let name = columns.schema.columns.get(*key).map_or("", |column| column.name.as_str());
            return Err(ConnectorError::job(format!(
                "column '{name}' of the key cannot be compared with MySQL: it has no common text form \
                 with its declared type"
            )));
        }
        let mut kept = columns.clone();
        let mut place = 0;
        kept.schema.columns.retain(|_| {
            place += 1;
            !incomparable.contains(&(place - 1))
        });
        let moved = |index: &usize| index - incomparable.iter().filter(|at| *at < index).count();
        kept.key = columns.key.iter().map(moved).collect();
        self.incomparable = incomparable
            .iter()
            .filter_map(|index| Some(columns.schema.columns.get(*index)?.name.clone()))
            .collect();
        self.columns = Some(kept);
        Ok(())
    }

    fn executed(&mut self) -> std::result::Result<String, ConnectorError> {
        let mut all = GtidSet::new();
        for server in &mut self.servers {
            let rows = server
                .connection
                .query("SELECT @@GLOBAL.gtid_executed, @@GLOBAL.gtid_mode", DOING)?;
            let row = rows.first();
            if row.is_none_or(|row| !row.text(1).eq_ignore_ascii_case("ON")) {
                return Err(ConnectorError::job(format!(
                    "MySQL server {} has gtid_mode = OFF: without GTIDs it cannot be told which state of \
                     the lake to compare; set gtid_mode = ON",
                    server.connection.server()
                )));
            }
            let text = row.map_or("", |row| row.text(0));
            let set: GtidSet = text
                .parse()
                .map_err(|error| Error::Bug(format!("gtid_executed cannot be read: {error}")))?;
            all.union(&set);
        }
        Ok(all.to_string())
    }

    fn sums(&mut self) -> std::result::Result<BTreeMap<u32, BucketSum>, ConnectorError> {
        let count = self.columns()?.bucket_count;
        let mut sums: BTreeMap<u32, BucketSum> = BTreeMap::new();
        self.ask(
            |row, table| {
                format!(
                    "SELECT b, COUNT(*), BIT_XOR(CAST(CONV(LEFT(h, 16), 16, 10) AS UNSIGNED)), \
                     BIT_XOR(CAST(CONV(RIGHT(h, 16), 16, 10) AS UNSIGNED)) FROM \
                     (SELECT {} AS b, {} AS h FROM {table}) AS r GROUP BY b",
                    row.bucket(count),
                    row.hash()
                )
            },
            |answer| {
                let sum = BucketSum {
                    row_count: number(answer, 1)?,
                    sum: u128::from(number(answer, 2)?) << 64 | u128::from(number(answer, 3)?),
                };
                let bucket = u32::try_from(number(answer, 0)?)
                    .map_err(|error| Error::Bug(error.to_string()))?;
                sums.entry(bucket).or_default().add(sum);
                Ok(())
            },
        )?;
        Ok(sums)
    }

    fn keys(&mut self, buckets: &[u32]) -> std::result::Result<Vec<KeyedHash>, ConnectorError> {
        let columns = self.columns()?;
        let (count, width) = (columns.bucket_count, columns.key.len());
        let list: Vec<String> = buckets.iter().map(u32::to_string).collect();
        let mut found = Vec::new();
        self.ask(
            |row, table| {
                format!(
                    "SELECT {}, {} FROM {table} WHERE {} IN ({})",
                    row.key.join(", "),
                    row.hash(),
                    row.bucket(count),
                    list.join(", ")
                )
            },
            |answer| {
                let key = (0..width).map(|at| answer.get(at).map(str::to_owned)).collect();
                let hash = u128::from_str_radix(answer.text(width), 16)
                    .map_err(|error| Error::Bug(format!("a hash is no number: {error}")))?;
                found.push(KeyedHash { key, hash });
                Ok(())
            },
        )?;
        Ok(found)
    }

    fn rows(&mut self, keys: &[RowText]) -> std::result::Result<Vec<RowText>, ConnectorError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let width = self.columns()?.schema.columns.len();
        let hashes: Vec<String> = keys.iter().map(|key| quote_text(&packed(key))).collect();
        let mut found = Vec::new();
        self.ask(
            |row, table| {
                format!(
                    "SELECT {} FROM {table} WHERE {} IN ({})",
                    row.all.join(", "),
                    concatenation(&row.key),
                    hashes.join(", ")
                )
            },
            |answer| {
                found.push((0..width).map(|at| answer.get(at).map(str::to_owned)).collect());
                Ok(())
            },
        )?;
        Ok(found)
    }
}

fn number(answer: &TextRow, column: usize) -> Result<u64> {
    answer.text(column).parse().map_err(|error| Error::Bug(format!("a sum is no number: {error}")))
}

/// A key in the form in which [`concatenation`] computes it.
fn packed(key: &RowText) -> String {
    let mut text = String::new();
    for value in key {
        match value {
            None => text.push('0'),
            Some(value) => text.push_str(&format!("1{}:{value}", value.len())),
        }
    }
    text
}

/// The columns of a row of one table as SQL.
struct RowSql {
    key: Vec<String>,
    all: Vec<String>,
}

impl RowSql {
    fn of(scope: &Scope<'_>, columns: &ComparedColumns) -> Result<Self> {
        let all = columns
            .schema
            .columns
            .iter()
            .map(|column| {
                scope.text_of(column).ok_or_else(|| {
                    Error::job(format!(
                        "column '{}' can no longer be compared: the table was altered",
                        column.name
                    ))
                })
            })
            .collect::<Result<Vec<String>>>()?;
        let key = columns.key.iter().filter_map(|at| all.get(*at).cloned()).collect();
        Ok(Self { key, all })
    }

    fn bucket(&self, count: u32) -> String {
        let key = concatenation(&self.key);
        format!("CAST(CONV(LEFT(SHA2({key}, 256), 8), 16, 10) AS UNSIGNED) % {count}")
    }

    fn hash(&self) -> String {
        format!("LEFT(SHA2({}, 256), 32)", concatenation(&self.all))
    }
}

/// Texts, each with its length in front, so that no two rows have the same.
fn concatenation(texts: &[String]) -> String {
    let parts: Vec<String> = texts
        .iter()
        .map(|text| format!("COALESCE(CONCAT('1', LENGTH({text}), ':', {text}), '0')"))
        .collect();
    format!("CONCAT({})", parts.join(", "))
}

/// One table on one server, as a definition sees it.
struct Scope<'a> {
    definition: &'a TableDefinition,
    server: &'a str,
    zone: ServerZone,
    table: &'a ServerTable,
}

impl Scope<'_> {
    /// The canonical text of a column as SQL; none if there is none for its type.
    fn text_of(&self, column: &Column) -> Option<String> {
        let index = self.definition.schema.index_of(&column.name)?;
        if let Some(key) = self.definition.metadata_key(index) {
            let constant = match key {
                "database_name" => &self.table.id.database,
                "table_name" => &self.table.id.table,
                SERVER_NAME => self.server,
                _ => return None,
            };
            return Some(in_unicode(&quote_text(constant)));
        }
        match self.table.columns.iter().find(|found| found.name == column.name) {
            // A shard without the column.
            None => Some("NULL".to_owned()),
            Some(found) => self.stored_text(found, &column.data_type),
        }
    }

    #[expect(clippy::too_many_lines, reason = "one arm for each type, in one table")]
    fn stored_text(&self, column: &ServerColumn, data_type: &LogicalType) -> Option<String> {
        let name = quote_name(&column.name);
        let kind = column.data_type.to_ascii_lowercase();
        let is_number = matches!(
            kind.as_str(),
            "tinyint"
                | "smallint"
                | "mediumint"
                | "int"
                | "bigint"
                | "decimal"
                | "year"
                | "float"
                | "double"
                | "bit"
        );
        Some(match data_type {
            LogicalType::Boolean if is_number => {
                format!(
                    "CASE WHEN {name} IS NULL THEN NULL WHEN {name} + 0 <> 0 THEN '1' ELSE '0' END"
                )
            }
            LogicalType::TinyInt
            | LogicalType::SmallInt
            | LogicalType::Int
            | LogicalType::BigInt
                if is_number =>
            {
                format!("CAST({name} + 0 AS CHAR)")
            }
            LogicalType::Decimal { precision, scale } if is_number => {
                format!("CAST(CAST({name} AS DECIMAL({precision}, {scale})) AS CHAR)")
            }
            LogicalType::Char(_) | LogicalType::VarChar(_) | LogicalType::String => {
                match kind.as_str() {
                    "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext"
                    | "enum" => in_unicode(&name),
                    _ => return None,
                }
            }
            LogicalType::Binary(_) | LogicalType::VarBinary(_) | LogicalType::Bytes => {
                match kind.as_str() {
                    "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => {
                        format!("HEX({name})")
                    }
                    _ => return None,
                }
            }
            LogicalType::Date if kind == "date" => {
                no_zero(&name, &format!("DATE_FORMAT({name}, '%Y-%m-%d')"))
            }
            LogicalType::Time(precision) if kind == "time" => {
                digits(&format!("CAST({name} AS TIME(6))"), 8, *precision)
            }
            LogicalType::Timestamp(precision) => match kind.as_str() {
                "datetime" => {
                    no_zero(&name, &digits(&format!("CAST({name} AS DATETIME(6))"), 19, *precision))
                }
                "timestamp" => {
                    let offset = self.fixed_offset()?;
                    let local = format!("CONVERT_TZ({name}, '+00:00', '{offset}')");
                    no_zero(
                        &name,
                        &digits(&format!("CAST({local} AS DATETIME(6))"), 19, *precision),
                    )
                }
                _ => return None,
            },
            LogicalType::TimestampLtz(precision) if kind == "timestamp" => {
                let unit = 10_u64.pow(u32::from((*precision).min(6)));
                let ticks = format!("CAST(FLOOR(UNIX_TIMESTAMP({name}) * {unit}) AS SIGNED)");
                no_zero(&name, &format!("CAST({ticks} AS CHAR)"))
            }
            _ => return None,
        })
    }

    /// The distance from UTC, if it is always the same.
    fn fixed_offset(&self) -> Option<String> {
        let seconds = match self.zone {
            ServerZone::Fixed(offset) => i64::from(offset.local_minus_utc()),
            ServerZone::Named(zone) if zone == chrono_tz::UTC || zone == chrono_tz::Etc::UTC => 0,
            ServerZone::Named(_) | ServerZone::System => return None,
        };
        let sign = if seconds < 0 { '-' } else { '+' };
        let minutes = seconds.abs() / 60;
        Some(format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60))
    }
}

fn in_unicode(text: &str) -> String {
    format!("CONVERT({text} USING utf8mb4)")
}

/// NULL for a date of which a part is zero: the source delivers it so.
fn no_zero(name: &str, text: &str) -> String {
    format!("IF(MONTH({name}) = 0 OR DAYOFMONTH({name}) = 0, NULL, {text})")
}

/// The text of a time with as many digits of its fraction as are declared.
fn digits(time: &str, whole: u8, precision: u8) -> String {
    let length = if precision == 0 { whole } else { whole + 1 + precision.min(6) };
    format!("LEFT(CAST({time} AS CHAR), {length})")
}
