//! All ordinary types: what the snapshot phase reads, what the binlog tells and what the server says is the same.

use shardlake_change::LogicalType;
use shardlake_testkit::{Flavor, MysqlServer, ServerOptions, or_skip};

use crate::reading::{Definition, Job};

/// Name, MySQL's type, declared type, and how the server prints it as the job does.
fn columns() -> Vec<(&'static str, &'static str, LogicalType, &'static str)> {
    let decimal = |precision, scale| LogicalType::Decimal { precision, scale };
    vec![
        ("ti", "TINYINT", LogicalType::TinyInt, "ti"),
        ("tu", "TINYINT UNSIGNED", LogicalType::SmallInt, "tu"),
        ("b1", "TINYINT(1)", LogicalType::Boolean, "IF(b1 IS NULL, NULL, IF(b1, 'true', 'false'))"),
        ("si", "SMALLINT", LogicalType::SmallInt, "si"),
        ("su", "SMALLINT UNSIGNED", LogicalType::Int, "su"),
        ("mi", "MEDIUMINT", LogicalType::Int, "mi"),
        ("mu", "MEDIUMINT UNSIGNED", LogicalType::BigInt, "mu"),
        ("i", "INT", LogicalType::Int, "i"),
        ("iu", "INT UNSIGNED", LogicalType::BigInt, "iu"),
        ("bi", "BIGINT", LogicalType::BigInt, "bi"),
        ("bu", "BIGINT UNSIGNED", decimal(20, 0), "bu"),
        ("de", "DECIMAL(12,2)", decimal(12, 2), "de"),
        ("dw", "DECIMAL(38,10)", decimal(38, 10), "dw"),
        ("dx", "DECIMAL(65,30)", LogicalType::String, "dx"),
        ("f", "FLOAT", LogicalType::Float, "CAST(f AS DOUBLE)"),
        ("d", "DOUBLE", LogicalType::Double, "d"),
        ("c", "CHAR(5)", LogicalType::Char(5), "c"),
        ("vc", "VARCHAR(40)", LogicalType::VarChar(40), "vc"),
        ("l1", "VARCHAR(40) CHARACTER SET latin1", LogicalType::String, "l1"),
        ("gb", "VARCHAR(40) CHARACTER SET gbk", LogicalType::String, "gb"),
        ("tx", "TEXT", LogicalType::String, "tx"),
        ("lt", "LONGTEXT", LogicalType::String, "lt"),
        ("bn", "BINARY(4)", LogicalType::Bytes, "LOWER(HEX(bn))"),
        ("vb", "VARBINARY(9)", LogicalType::Bytes, "LOWER(HEX(vb))"),
        ("bl", "BLOB", LogicalType::Bytes, "LOWER(HEX(bl))"),
        ("da", "DATE", LogicalType::Date, "da"),
        ("t0", "TIME", LogicalType::Time(0), "t0"),
        ("t6", "TIME(6)", LogicalType::Time(6), "t6"),
        ("d0", "DATETIME", LogicalType::Timestamp(0), "REPLACE(d0, ' ', 'T')"),
        ("d6", "DATETIME(6)", LogicalType::Timestamp(6), "REPLACE(d6, ' ', 'T')"),
        ("s3", "TIMESTAMP(3)", LogicalType::TimestampLtz(3), "CONCAT(REPLACE(s3, ' ', 'T'), 'Z')"),
        ("s0", "TIMESTAMP", LogicalType::Timestamp(0), "REPLACE(s0, ' ', 'T')"),
        ("y", "YEAR", LogicalType::Int, "y"),
        ("bt", "BIT(1)", LogicalType::Boolean, "IF(bt IS NULL, NULL, IF(bt = 1, 'true', 'false'))"),
        ("bb", "BIT(10)", LogicalType::Bytes, "NULL"),
        ("e", "ENUM('small','größer','x,y')", LogicalType::String, "e"),
        ("se", "SET('a','b','c d')", LogicalType::String, "se"),
        ("js", "JSON", LogicalType::String, "js"),
    ]
}

const VALUES: [&str; 3] = [
    "-128, 0, 0, -32768, 0, -8388608, 0, -2147483648, 0, -9223372036854775808, 0, \
     -9999999999.99, -1234567890123456789012345678.0123456789, -0.000000000000000000000000000001, \
     -1.5, -2.25e-10, '', '', '', '', '', '', X'00000000', X'', X'', '1000-01-01', '00:00:00', \
     '00:00:00.000001', '1000-01-01 00:00:00', '1000-01-01 00:00:00.000001', \
     '1970-01-01 00:00:01.000', '1970-01-01 00:00:01', 1901, b'0', b'0', 'small', '', '{}'",
    "127, 255, 1, 32767, 65535, 8388607, 16777215, 2147483647, 4294967295, 9223372036854775807, \
     18446744073709551615, 9999999999.99, 9999999999999999999999999999.9999999999, \
     12345678901234567890123456789012345.123456789012345678901234567890, 16777216, 1.5e300, 'äöüß', \
     'quote\\'s, \"comma\"; semi', 'café €', '中文', 'line\\nbreak', REPEAT('long', 2000), \
     X'01020300', X'FF00FF', X'DEADBEEF00', '9999-12-31', '23:59:59', '23:59:59.999999', \
     '9999-12-31 23:59:59', '9999-12-31 23:59:59.999999', '2038-01-19 03:14:07.999', \
     '2038-01-19 03:14:07', 2155, b'1', b'1010101010', 'größer', 'a,c d', \
     '{\"b\": [1, 2.5, \"x\\\\u00e4\", null, true], \"a\": {\"nested\": 12345678901234567890}}'",
    "NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, \
     NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, \
     NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL",
];

fn insert(server: &MysqlServer, first_id: usize) {
    let session = server.session();
    session.execute("SET NAMES utf8mb4; SET time_zone = '+00:00'").unwrap();
    for (offset, values) in VALUES.iter().enumerate() {
        let id = first_id + offset;
        session.execute(&format!("INSERT INTO types.everything VALUES ({id}, {values})")).unwrap();
    }
}

fn row(job: &Job, id: usize) -> &[String] {
    &job.rows[[id.to_string()].as_slice()][1..]
}

fn check(options: ServerOptions) {
    let server = or_skip!(MysqlServer::start(options));
    let list: Vec<String> =
        columns().iter().map(|(name, kind, ..)| format!("{name} {kind} NULL")).collect();
    server
        .execute(&format!(
            "CREATE DATABASE types; CREATE TABLE types.everything (id INT PRIMARY KEY, {}) \
             CHARACTER SET utf8mb4",
            list.join(", ")
        ))
        .unwrap();
    insert(&server, 1);
    let mut definition =
        Definition::new(&server, "types", "everything").column("id", LogicalType::Int);
    for (name, _, declared, _) in columns() {
        definition = definition.column(name, declared);
    }
    let mut job = definition.read(None).unwrap();
    job.until_streaming();
    insert(&server, 101);
    job.until(|job| job.rows.len() == 6);
    let printed: Vec<String> = columns().iter().map(|(.., sql)| (*sql).to_owned()).collect();
    let session = server.session();
    session.execute("SET NAMES utf8mb4; SET time_zone = '+00:00'").unwrap();
    let expected = session
        .query(&format!("SELECT {} FROM types.everything ORDER BY id", printed.join(", ")))
        .unwrap();
    for (offset, expected) in expected.iter().take(VALUES.len()).enumerate() {
        let (snapshot, binlog) = (row(&job, 1 + offset), row(&job, 101 + offset));
        for (index, (name, kind, ..)) in columns().iter().enumerate() {
            assert_eq!(snapshot[index], binlog[index], "{name} {kind}: snapshot against binlog");
            if *name != "bb" {
                let same = same_value(&snapshot[index], &expected[index]);
                assert!(same, "{name} {kind}: {} is {} here", expected[index], snapshot[index]);
            }
        }
    }
}

/// Equal text, or equal numbers, or times that differ in trailing zeros of the fraction only.
fn same_value(here: &str, server: &str) -> bool {
    if here == server {
        return true;
    }
    if let (Ok(here), Ok(server)) = (here.parse::<f64>(), server.parse::<f64>()) {
        return (here - server).abs() <= server.abs() * 1e-15;
    }
    let plain = |text: &str| {
        let text = text.trim_end_matches('Z');
        match text.split_once('.') {
            Some((whole, fraction)) => {
                let fraction = fraction.trim_end_matches('0');
                if fraction.is_empty() { whole.to_owned() } else { format!("{whole}.{fraction}") }
            }
            None => text.to_owned(),
        }
    };
    plain(here) == plain(server)
}

#[test]
fn every_type_reads_the_same_in_both_phases() {
    check(ServerOptions::default());
}

#[test]
fn every_type_reads_the_same_with_full_metadata_and_compression() {
    check(
        ServerOptions::default()
            .with_flag("--binlog-row-metadata=FULL")
            .with_flag("--binlog-transaction-compression=ON"),
    );
}

/// The statements of a table's life. With FULL metadata the events name their columns, so a reader that lags
/// may see several changes of the table at once; without it each change must have been read before the next.
fn alter_while_reading(server: &MysqlServer, waits: bool) {
    server
        .execute(
            "CREATE DATABASE types; CREATE TABLE types.t (id INT PRIMARY KEY, a INT); \
             INSERT INTO types.t VALUES (1, 10)",
        )
        .unwrap();
    let mut job = Definition::new(server, "types", "t.*")
        .column("id", LogicalType::Int)
        .column("a", LogicalType::Int)
        .column("b", LogicalType::String)
        .read(None)
        .unwrap();
    job.until_streaming();
    let steps = [
        "INSERT INTO types.t VALUES (2, 20); \
         ALTER TABLE types.t ADD COLUMN z INT FIRST, ADD COLUMN b VARCHAR(9); \
         INSERT INTO types.t VALUES (0, 3, 30, 'new')",
        "ALTER TABLE types.t DROP COLUMN a; INSERT INTO types.t VALUES (0, 4, 'last')",
        "CREATE TABLE types.t_new (b VARCHAR(9), id INT PRIMARY KEY); \
         INSERT INTO types.t_new VALUES ('made', 5)",
    ];
    for (step, rows) in steps.into_iter().zip(3..) {
        server.execute(step).unwrap();
        if waits || rows == 5 {
            job.until(|job| job.rows.len() == rows);
        }
    }
    assert_eq!(
        job.text(),
        "1 | 10 | NULL\n2 | 20 | NULL\n3 | 30 | new\n4 | NULL | last\n5 | NULL | made\n"
    );
}

#[test]
fn columns_that_are_added_later_read_as_null_or_are_ignored() {
    let server = or_skip!(MysqlServer::start(ServerOptions::default()));
    alter_while_reading(&server, true);
}

#[test]
fn columns_named_in_the_binlog_may_change_in_quick_succession() {
    let options = ServerOptions::default().with_flag("--binlog-row-metadata=FULL");
    let server = or_skip!(MysqlServer::start(options));
    alter_while_reading(&server, false);
}

#[test]
fn dates_that_do_not_exist_follow_the_option_and_are_counted() {
    let server = or_skip!(MysqlServer::start(ServerOptions::default().with_flag("--sql-mode=")));
    server
        .execute(
            "CREATE DATABASE types; CREATE TABLE types.d (id INT PRIMARY KEY, a DATE, b DATETIME, c \
             TIMESTAMP NULL, d DATE); \
             INSERT INTO types.d VALUES (1, '0000-00-00', '2024-00-15', '0000-00-00', '2024-13-45')",
        )
        .unwrap();
    let definition = |behaviour: &str| {
        Definition::new(&server, "types", "d")
            .column("id", LogicalType::Int)
            .column("a", LogicalType::Date)
            .column("b", LogicalType::Timestamp(0))
            .column("c", LogicalType::TimestampLtz(0))
            .column("d", LogicalType::String)
            .option("jdbc.properties.zeroDateTimeBehavior", behaviour)
    };
    let replaced = |job: &Job| job.split_status().iter().map(|s| s.errors_skipped).sum::<u64>();
    let rounded = "0001-01-01 | 2024-01-15T00:00:00 | 0001-01-01T00:00:00Z | 0000-00-00";
    for (behaviour, row) in
        [("CONVERT_TO_NULL", "NULL | NULL | NULL | 0000-00-00"), ("ROUND", rounded)]
    {
        server.execute("DELETE FROM types.d WHERE id = 2").unwrap();
        let mut job = definition(behaviour).read(None).unwrap();
        job.until_streaming();
        assert_eq!(job.text(), format!("1 | {row}\n"));
        server.execute("INSERT INTO types.d SELECT 2, a, b, c, d FROM types.d").unwrap();
        job.until(|job| job.rows.len() == 2);
        assert_eq!(job.text(), format!("1 | {row}\n2 | {row}\n"));
        assert_eq!(replaced(&job), 6, "{behaviour}");
    }
    let mut job = definition("EXCEPTION").read(None).unwrap();
    let error = crate::errors::failure(&mut job);
    assert!(error.contains("zero or impossible date") && error.contains("`a`"), "{error}");
}

#[test]
fn partial_updates_of_json_arrive_whole() {
    let options = ServerOptions::default()
        .with_flavor(Flavor::Mysql)
        .with_flag("--binlog-row-value-options=PARTIAL_JSON")
        .with_flag("--binlog-transaction-compression=ON");
    let server = or_skip!(MysqlServer::start(options));
    server
        .execute(
            "CREATE DATABASE types; CREATE TABLE types.j (id INT PRIMARY KEY, doc JSON, g POINT); \
             INSERT INTO types.j VALUES (1, JSON_OBJECT('a', REPEAT('x', 2000), 'n', 1), NULL), \
             (2, '[]', ST_GeomFromText('POINT(1 2)'))",
        )
        .unwrap();
    let mut job = Definition::new(&server, "types", "j")
        .column("id", LogicalType::Int)
        .column("doc", LogicalType::String)
        .column("g", LogicalType::String)
        .read(None)
        .unwrap();
    job.until_streaming();
    server
        .execute(
            "UPDATE types.j SET doc = JSON_SET(doc, '$.n', 2.5), g = ST_GeomFromText('POINT(3 4)') \
             WHERE id = 1; UPDATE types.j SET doc = JSON_ARRAY_APPEND(doc, '$', 'new') WHERE id = 2",
        )
        .unwrap();
    let expected = server.query("SELECT doc FROM types.j ORDER BY id").unwrap();
    job.until(|job| job.changes == 6);
    let rows: Vec<&Vec<String>> = job.rows.values().collect();
    assert_eq!((&rows[0][1], &rows[1][1]), (&expected[0][0], &expected[1][0]));
    assert_eq!(rows[0][2], r#"{"coordinates":[3,4],"type":"Point","srid":0}"#);
}

#[test]
fn keys_of_every_kind_are_cut_into_chunks() {
    let server = or_skip!(MysqlServer::start(ServerOptions::default()));
    server.execute("CREATE DATABASE types").unwrap();
    let session = server.session();
    session.execute("SET NAMES utf8mb4").unwrap();
    for (number, (kind, key)) in [
        ("BIGINT UNSIGNED", "18446744073709551615 - id * 3"),
        ("DECIMAL(20,3)", "id * 1.5 - 700"),
        ("VARCHAR(40) CHARACTER SET utf8mb4", "CONCAT(IF(id % 2, 'Äpfel', 'äpfel'), id, '\\'\"')"),
        ("VARCHAR(40) CHARACTER SET latin1", "CONCAT('é', id)"),
        ("VARBINARY(20)", "UNHEX(CONCAT(LPAD(HEX(id), 8, '0'), '00'))"),
        ("DATETIME(3)", "'2024-01-01 00:00:00' + INTERVAL id * 1001000 MICROSECOND"),
        ("ENUM('z','a')", "IF(id % 2, 'a', 'z')"),
    ]
    .into_iter()
    .enumerate()
    {
        session
            .execute(&format!(
                "CREATE TABLE types.k{number} (k {kind}, id INT, PRIMARY KEY (k, id)); \
                 INSERT INTO types.k{number} WITH RECURSIVE n AS (SELECT 1 AS id UNION ALL SELECT \
                 id + 1 FROM n WHERE id < 1000) SELECT {key}, id FROM n; \
                 ANALYZE TABLE types.k{number}"
            ))
            .unwrap();
        let mut job = Definition::new(&server, "types", &format!("k{number}"))
            .column("id", LogicalType::Int)
            .option("scan.incremental.snapshot.chunk.size", "37")
            .option("scan.startup.mode", "snapshot")
            .read(None)
            .unwrap();
        job.until_streaming();
        assert_eq!(job.rows.len(), 1_000, "{kind}");
        assert_eq!(job.changes, 1_000, "{kind}: each row comes once");
    }
}
