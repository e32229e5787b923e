//! Every type, read both ways, beside the server's own text.

use std::fmt::Write;
use std::slice;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::util::display::array_value_to_string;
use shardlake_change::{ChangeBatch, Column, LogicalType, changelog_text};
use shardlake_mysql_wire::command::Parameter;
use shardlake_mysql_wire::rows::UpdateImages;
use shardlake_testkit::{Flavor, MysqlServer, ServerOptions, or_skip};

use crate::client::Client;

/// A column: its name, MySQL type, declared type, and values as SQL.
type Declared = (&'static str, &'static str, LogicalType, &'static [&'static str]);

const fn decimal(precision: u8, scale: u8) -> LogicalType {
    LogicalType::Decimal { precision, scale }
}

fn numbers() -> Vec<Declared> {
    use LogicalType as L;
    vec![
        ("ti", "tinyint", L::TinyInt, &["-128", "127", "0", "NULL"]),
        ("tiu", "tinyint unsigned", L::SmallInt, &["255", "0"]),
        ("si", "smallint", L::SmallInt, &["-32768", "32767"]),
        ("siu", "smallint unsigned", L::Int, &["65535", "1"]),
        ("mi", "mediumint", L::Int, &["-8388608", "8388607", "-1"]),
        ("miu", "mediumint unsigned", L::BigInt, &["16777215", "1"]),
        ("i", "int", L::Int, &["-2147483648", "2147483647"]),
        ("iu", "int unsigned zerofill", L::BigInt, &["4294967295", "7"]),
        ("bi", "bigint", L::BigInt, &["-9223372036854775808", "9223372036854775807"]),
        ("biu", "bigint unsigned", decimal(20, 0), &["18446744073709551615", "0"]),
        (
            "d",
            "double",
            L::Double,
            &[
                "0",
                "-0.1",
                "1e15",
                "1e14",
                "1.5e-7",
                "1.7976931348623157e308",
                "5e-324",
                "123456789012345.67",
            ],
        ),
        (
            "de",
            "decimal(12,2)",
            decimal(12, 2),
            &["-9999999999.99", "0.01", "-0.5", "0", "123456789.10"],
        ),
        ("du", "decimal(5,5) unsigned", decimal(10, 5), &["0.99999", "0.00001"]),
        (
            "dl",
            "decimal(38,10)",
            decimal(38, 10),
            &["-9999999999999999999999999999.9999999999", "1"],
        ),
        (
            "dx",
            "decimal(65,30)",
            L::String,
            &[
                "-99999999999999999999999999999999999.999999999999999999999999999999",
                "0.000000000000000000000000000001",
            ],
        ),
        ("y", "year", L::Int, &["2024", "1901", "2155", "0"]),
    ]
}

fn times() -> Vec<Declared> {
    use LogicalType as L;
    vec![
        (
            "da",
            "date",
            L::Date,
            &["'2024-02-29'", "'0000-00-00'", "'9999-12-31'", "'2024-00-15'", "'1000-01-01'"],
        ),
        ("t0", "time", L::String, &["'-838:59:59'", "'838:59:59'", "'00:00:00'", "'12:34:56'"]),
        ("t2", "time(2)", L::String, &["'-00:00:00.01'", "'-12:34:56.99'", "'12:34:56.5'"]),
        ("t4", "time(4)", L::String, &["'-00:00:00.0001'", "'-1:00:00.9999'"]),
        ("t6", "time(6)", L::String, &["'-00:00:00.000001'", "'23:59:59.999999'"]),
        ("tt", "time(6)", L::Time(6), &["'00:00:00'", "'23:59:59.999999'", "NULL"]),
        (
            "dt0",
            "datetime",
            L::Timestamp(0),
            &["'2024-02-29 12:34:56'", "'0000-00-00'", "'9999-12-31 23:59:59'"],
        ),
        ("dt1", "datetime(1)", L::Timestamp(3), &["'2024-02-29 12:34:56.7'", "'1000-01-01'"]),
        ("dt3", "datetime(3)", L::Timestamp(3), &["'2024-02-29 12:34:56.789'"]),
        (
            "dt6",
            "datetime(6)",
            L::Timestamp(6),
            &["'2024-02-29 12:34:56.789012'", "'2024-02-30 01:01:01'"],
        ),
        (
            "ts0",
            "timestamp null",
            L::TimestampLtz(0),
            &["'2024-06-30 12:34:56'", "'1970-01-01 00:00:01'", "NULL", "'0000-00-00'"],
        ),
        (
            "ts3",
            "timestamp(3) null",
            L::Timestamp(3),
            &["'2038-01-19 03:14:07.499'", "'2024-01-01'"],
        ),
        ("ts6", "timestamp(6) null", L::TimestampLtz(6), &["'2024-06-30 12:34:56.000001'"]),
    ]
}

fn texts() -> Vec<Declared> {
    use LogicalType as L;
    let list = || L::Array(Box::new(L::String));
    vec![
        ("c", "char(10)", L::Char(10), &["'a'", "'zoë  '", "''", "'😀😀😀😀😀😀😀😀😀😀'"]),
        ("c255", "char(255)", L::Char(255), &["REPEAT('ä', 255)", "'x'"]),
        ("vc", "varchar(63)", L::VarChar(63), &["'short'", "REPEAT('😀', 63)"]),
        ("vl", "varchar(300)", L::VarChar(300), &["REPEAT('ß', 300)", "''", "NULL"]),
        ("la", "varchar(20) character set latin1", L::VarChar(20), &["'€uro ÄÖÜ'", "'plain'"]),
        ("gb", "varchar(20) character set gbk", L::VarChar(20), &["'你好, 世界'"]),
        ("u16", "varchar(20) character set utf16", L::VarChar(20), &["'a😀ü'"]),
        ("u32", "char(5) character set utf32", L::Char(5), &["'a😀ü'", "''"]),
        ("tx", "text", L::String, &["'text'", "REPEAT('0123456789', 6000)"]),
        ("lt", "longtext", L::String, &["REPEAT('x', 70000)", "'y'"]),
        ("tl", "tinytext character set latin1", L::String, &["'é'"]),
        ("e", "enum('a','it''s','x,y)','ä')", L::String, &["'a'", "'it''s'", "'x,y)'", "'ä'"]),
        ("el", "enum('ä','ö') character set latin1", L::String, &["'ö'", "'ä'"]),
        ("s", "set('a','b c','ä')", L::String, &["'a,ä'", "''", "'b c'"]),
        ("sl", "set('a','b','c','d','e','f','g','h','i')", list(), &["'a,i'", "''", "'b,c,d'"]),
        ("j", "json", L::String, JSON),
    ]
}

const JSON: &[&str] = &[
    "'{\"b\": 1, \"aa\": [true, false, null], \"a\": {\"x\": -1.5}}'",
    "'[]'",
    "'{}'",
    "'\"plain\"'",
    "'null'",
    "'[0, -1, 32767, -32768, 65535, 2147483647, 4294967295, -9223372036854775808, 18446744073709551615]'",
    "'[1000.0, 0.1, 1e14, 1e15, 1e16, 1e20, 1e-5, 1e-14, 1e-15, 1e-16, -0.0, 123456789012345678]'",
    "'[1234567890123456.5, 1.7976931348623157e308, 5e-324, 3.0e0]'",
    "'\"\\\\u0000\\\\u0001\\\\u001f\\\\u007f \\\\b\\\\f\\\\n\\\\r\\\\t \\\\\"\\\\\\\\ / ü 😀\"'",
    "JSON_OBJECT('d', CAST(1.50 AS DECIMAL(5,2)), 'n', CAST(-0.001 AS DECIMAL(10,3)), 'z', CAST(0 AS DECIMAL(5,2)))",
    "JSON_ARRAY(CAST('2015-01-15 23:24:25.12' AS DATETIME(2)), CAST('2015-01-15' AS DATE), CAST('-12:13:14' AS TIME), TIMESTAMP'2020-02-29 01:02:03.000004')",
    "JSON_ARRAY(CAST('0000-00-00' AS DATE), CAST('838:59:59.000001' AS TIME(6)))",
    "JSON_ARRAY(x'cafe', b'101', CAST('abc' AS BINARY), REPEAT(x'00ff', 100))",
    "JSON_OBJECT('long', REPEAT('x', 70000), 'n', 2147483648, 'i', -5, 'l', 70000)",
    "JSON_ARRAY(JSON_OBJECT('k', REPEAT('y', 66000)), 1, 100000, true)",
    "JSON_OBJECT('zz', 1, 'y', 2, 'ä', 3, 'aaa', 4, '', 5)",
    "JSON_ARRAY(ST_GeomFromText('POINT(1 2)'))",
    "JSON_ARRAY(CAST(2024 AS YEAR), 'x', NULL, true)",
    "NULL",
];

/// Types whose text in a SELECT says less than their value, or nothing.
fn bytes() -> Vec<Declared> {
    use LogicalType as L;
    vec![
        ("f", "float", L::Float, &["1.2345679", "16777216", "-3.4028235e38", "1e-45", "0"]),
        ("b1", "bit(1)", L::Boolean, &["b'1'", "b'0'", "NULL"]),
        ("b12", "bit(12)", L::Binary(2), &["b'101010101010'", "1"]),
        ("b64", "bit(64)", decimal(20, 0), &["0xffffffffffffffff", "1"]),
        ("t1", "tinyint(1)", L::Boolean, &["1", "0", "2", "-1"]),
        ("bn", "binary(5)", L::Binary(5), &["x'0100'", "x''", "x'0102030405'", "'a'"]),
        ("bb", "binary(255)", L::Bytes, &["x'01'", "x'0000'"]),
        ("vb", "varbinary(300)", L::VarBinary(300), &["x'ff00'", "x''", "x'0000'"]),
        ("bl", "blob", L::Bytes, &["REPEAT(x'ff00', 4000)", "x''", "NULL"]),
        ("mb", "mediumblob", L::Bytes, &["REPEAT(x'80', 70000)"]),
        (
            "g",
            "geometry",
            L::Bytes,
            &["ST_GeomFromText('POINT(1 2)')", "ST_GeomFromText('LINESTRING(0 0, 1 1)')"],
        ),
    ]
}

fn create(columns: &[Declared]) -> String {
    let mut sql = "CREATE TABLE wire.t (id int PRIMARY KEY".to_owned();
    for (name, kind, ..) in columns {
        write!(sql, ", {name} {kind}").unwrap();
    }
    sql + ")"
}

/// Rows in which every value of every column occurs.
fn insert(columns: &[Declared]) -> Vec<String> {
    let rows = columns.iter().map(|(.., values)| values.len()).max().unwrap_or(0);
    (0..rows)
        .map(|row| {
            let values = columns.iter().map(|(.., values)| values[row % values.len()]);
            format!("INSERT INTO wire.t VALUES ({row}, {})", values.collect::<Vec<_>>().join(", "))
        })
        .collect()
}

fn declared(columns: &[Declared]) -> Vec<Column> {
    let mut all = vec![Column::new("id", LogicalType::Int).not_null()];
    all.extend(columns.iter().map(|(name, _, declared, _)| Column::new(*name, declared.clone())));
    all
}

fn as_text(columns: &[Declared]) -> Vec<Column> {
    let mut all = vec![Column::new("id", LogicalType::Int).not_null()];
    all.extend(columns.iter().map(|(name, ..)| Column::new(*name, LogicalType::String)));
    all
}

/// Compares one cell with another one.
pub(crate) fn assert_same_cell(left: (&ArrayRef, usize), right: (&ArrayRef, usize), what: &str) {
    let cell = |(array, row): (&ArrayRef, usize)| {
        let text = array.is_valid(row).then(|| array_value_to_string(array, row).unwrap());
        text.map(|text| text.chars().take(300).collect::<String>())
    };
    if left.0.slice(left.1, 1) != right.0.slice(right.1, 1) {
        panic!("{what}: {:?} | {:?}", cell(left), cell(right));
    }
}

/// Compares all columns and says which differ where.
fn assert_equal(left: &ChangeBatch, right: &ChangeBatch, what: &str) {
    assert_eq!(left.row_count(), right.row_count(), "{what}");
    for (index, field) in left.schema().fields().iter().enumerate() {
        let (a, b) = (left.rows().column(index), right.rows().column(index));
        if a != b {
            let row = (0..a.len()).find(|row| a.slice(*row, 1) != b.slice(*row, 1)).unwrap();
            let cell = |array: &ArrayRef| {
                let text = array_value_to_string(array, row).unwrap();
                text.chars().take(300).collect::<String>()
            };
            panic!("{what}: column {} in row {row}: {} | {}", field.name(), cell(a), cell(b));
        }
    }
}

/// How a server writes its binlog: statements that set it so, and whether its TABLE_MAPs tell of the columns.
struct Setting {
    sql: &'static str,
    knows_columns: bool,
}

const MYSQL: &[Setting] = &[
    Setting { sql: "SET GLOBAL binlog_row_metadata = MINIMAL", knows_columns: true },
    Setting { sql: "SET GLOBAL binlog_row_metadata = FULL", knows_columns: false },
    Setting { sql: "SET GLOBAL binlog_transaction_compression = ON", knows_columns: false },
];

const MARIADB: &[Setting] = &[
    Setting { sql: "SET GLOBAL binlog_row_metadata = NO_LOG", knows_columns: true },
    Setting { sql: "SET GLOBAL mysql56_temporal_format = OFF", knows_columns: true },
    Setting {
        sql: "SET GLOBAL binlog_row_metadata = FULL, mysql56_temporal_format = ON",
        knows_columns: false,
    },
    Setting {
        sql: "SET GLOBAL log_bin_compress = ON, log_bin_compress_min_len = 10",
        knows_columns: false,
    },
];

/// Fills a table and compares: the snapshot's reading, the binlog's reading, the server's text.
fn check(columns: &[Declared], compares_text: bool) {
    check_on(Flavor::Mysql, columns, compares_text);
}

fn check_on(flavor: Flavor, columns: &[Declared], compares_text: bool) {
    let server = or_skip!(MysqlServer::start(ServerOptions::default().with_flavor(flavor)));
    let (settings, reset) = if flavor.is_mariadb() {
        (MARIADB, "RESET MASTER")
    } else {
        (MYSQL, "RESET BINARY LOGS AND GTIDS")
    };
    for setting in settings {
        Client::root(&server).run(setting.sql);
        let mut client = Client::root(&server);
        client.run("SET sql_mode = ''");
        client.run("CREATE DATABASE IF NOT EXISTS wire DEFAULT CHARACTER SET utf8mb4");
        client.run("DROP TABLE IF EXISTS wire.t");
        client.run(&create(columns));
        client.run(reset);
        for sql in insert(columns) {
            client.run(&sql);
        }
        let known = client.known_columns("t");
        let names: Vec<&str> = columns.iter().map(|(name, ..)| *name).collect();
        let sql = format!("SELECT id, {} FROM wire.t WHERE id >= ? ORDER BY id", names.join(", "));
        let mut declarations = vec![declared(columns)];
        if compares_text {
            declarations.push(as_text(columns));
        }
        for declared in declarations {
            let snapshot = client.select(&sql, &[Parameter::Int(0)], &declared);
            let known = if setting.knows_columns { &known[..] } else { &known[..1] };
            let replayed = Client::root(&server).replay("t", known, &declared, UpdateImages::Both);
            assert_equal(&snapshot, &replayed, setting.sql);
        }
        if compares_text {
            compare_text(&mut client, columns, &names);
        }
    }
}

/// Compares with what the server prints.
fn compare_text(client: &mut Client, columns: &[Declared], names: &[&str]) {
    // The server prints TIMESTAMP in the session's zone, which the tests take to be an hour ahead.
    client.run("SET time_zone = '+01:00'");
    let rows = client.text(&format!("SELECT {} FROM wire.t ORDER BY id", names.join(", ")));
    client.run("SET time_zone = '+00:00'");
    let sql = format!("SELECT id, {} FROM wire.t ORDER BY id", names.join(", "));
    let batch = client.select(&sql, &[], &as_text(columns));
    for (index, (name, kind, ..)) in columns.iter().enumerate() {
        let column = batch.rows().column(index + 1).as_string::<i32>();
        for (row, cells) in rows.iter().enumerate() {
            let ours = column.is_valid(row).then(|| column.value(row));
            let theirs = cells[index].as_deref().map(|cell| std::str::from_utf8(cell).unwrap());
            // A number with leading zeros is a matter of display.
            let theirs = theirs.map(|text| {
                if kind.contains("zerofill") { text.trim_start_matches('0') } else { text }
            });
            assert_eq!(ours, theirs, "column {name} in row {row}");
        }
    }
}

#[test]
fn numbers_are_read_as_the_server_prints_them() {
    check(&numbers(), true);
}

#[test]
fn types_of_mariadb_are_read_as_the_server_prints_them() {
    // JSON is text there.
    let texts = texts().into_iter().filter(|(name, ..)| *name != "j");
    let columns: Vec<Declared> = numbers().into_iter().chain(times()).chain(texts).collect();
    check_on(Flavor::Mariadb, &columns, true);
    check_on(Flavor::Mariadb, &bytes(), false);
}

/// A table of types that only MariaDB has. Nothing in the binlog tells them apart from bytes.
#[test]
fn addresses_and_compressed_columns_are_read_as_mariadb_prints_them() {
    use LogicalType as L;
    let columns: &[Declared] = &[
        (
            "u",
            "uuid",
            L::String,
            &[
                "'6ba7b810-9dad-11d1-80b4-00c04fd430c8'",
                "'d9428888-122b-4ac1-8a6f-1f2b3c4d5e00'",
                "'01890a5d-ac96-774b-bcce-b302099a8000'",
                "'00000000-0000-0000-0000-000000000000'",
                "NULL",
                "'ffffffff-ffff-ffff-ffff-ffffffffffff'",
            ],
        ),
        ("i4", "inet4", L::String, &["'0.0.0.0'", "'10.1.2.0'", "'255.255.255.255'"]),
        (
            "i6",
            "inet6",
            L::String,
            &[
                "'::'",
                "'::1'",
                "'::1.2.3.4'",
                "'::ffff:1.2.3.4'",
                "'2001:db8::ff00:42:8329'",
                "'1:0:2:3:4:5:6:7'",
                "'1:0:0:2:3:0:0:0'",
                "'fe80::'",
            ],
        ),
        ("vc", "varchar(2000) compressed", L::String, &["'ü'", "REPEAT('ab', 500)", "''", "NULL"]),
        ("tc", "text compressed character set latin1", L::String, &["REPEAT('é', 50000)", "'x'"]),
        ("j", "json", L::String, &["'{\"b\": 1.50,  \"a\":[]}'", "'null'", "NULL"]),
    ];
    let server = or_skip!(MysqlServer::start(
        ServerOptions::default()
            .with_flavor(Flavor::Mariadb)
            .with_flag("--binlog-row-metadata=FULL")
    ));
    let mut client = Client::root(&server);
    client.run("CREATE DATABASE wire DEFAULT CHARACTER SET utf8mb4");
    client.run(&create(columns));
    for sql in insert(columns) {
        client.run(&sql);
    }
    let known = client.known_columns("t");
    let declared = as_text(columns);
    let snapshot = client.select("SELECT * FROM wire.t ORDER BY id", &[], &declared);
    let replayed = Client::root(&server).replay("t", &known, &declared, UpdateImages::Both);
    assert_equal(&snapshot, &replayed, "snapshot against binlog");
    let names: Vec<&str> = columns.iter().map(|(name, ..)| *name).collect();
    compare_text(&mut client, columns, &names);
}

#[test]
fn partial_updates_of_json_are_completed() {
    let options = ServerOptions::default()
        .with_flavor(Flavor::Mysql)
        .with_flag("--binlog-row-value-options=PARTIAL_JSON");
    let server = or_skip!(MysqlServer::start(options));
    let mut client = Client::root(&server);
    client.run("CREATE DATABASE wire");
    client.run("CREATE TABLE wire.t (id int PRIMARY KEY, a json, n int, b json, c json)");
    let long = "REPEAT('x', 3000)";
    for id in 0..3 {
        client.run(&format!(
            "INSERT INTO wire.t VALUES ({id}, JSON_OBJECT('k', {long}, 'list', JSON_ARRAY(1, 2.5, \
             'three'), 'o', JSON_OBJECT('ü \"quoted\"', NULL)), 1, NULL, JSON_ARRAY({long}, {long}))"
        ));
    }
    for change in [
        "a = JSON_SET(a, '$.list[1]', 'changed', '$.new', TRUE)",
        "a = JSON_SET(a, '$.o.\"ü \\\\\"quoted\\\\\"\"', JSON_ARRAY(1)), n = n + 1",
        "a = JSON_REMOVE(a, '$.list[0]', '$.new'), c = JSON_SET(c, '$[0]', 70000)",
        "c = JSON_SET(c, '$[9]', -1), b = JSON_ARRAY({long})",
        "b = JSON_REPLACE(b, '$[0]', CAST('2024-02-29 01:02:03.5' AS DATETIME(1)))",
        "b = JSON_REPLACE(b, '$[0]', CAST(1.50 AS DECIMAL(5,2))), n = n + 1",
        "n = n + 1",
    ] {
        let change = change.replace("{long}", long);
        client.run(&format!("UPDATE wire.t SET {change} WHERE id < 2"));
    }
    client.run("SET binlog_row_value_options = ''");
    client.run("UPDATE wire.t SET a = JSON_SET(a, '$.list[1]', 'whole') WHERE id = 1");
    let known = client.known_columns("t");
    let declared: Vec<Column> = ["id", "a", "n", "b", "c"]
        .into_iter()
        .map(|name| Column::new(name, LogicalType::String))
        .collect();
    let mut partial = 0;
    Client::root(&server).dump(|event| partial += usize::from(event.header.type_code == 39));
    assert!(partial >= 5, "only {partial} events hold differences");
    let snapshot = client.select("SELECT * FROM wire.t ORDER BY id", &[], &declared);
    let replayed = Client::root(&server).replay("t", &known, &declared, UpdateImages::Both);
    // The last image of each row is the row.
    let last = |id: &str| {
        let ids = replayed.rows().column(0).as_string::<i32>();
        (0..ids.len()).rev().find(|row| ids.value(*row) == id).unwrap()
    };
    for row in 0..snapshot.row_count() {
        for (column, declared) in declared.iter().enumerate() {
            let (left, right) = (snapshot.rows().column(column), replayed.rows().column(column));
            let last = last(&row.to_string());
            assert_same_cell((left, row), (right, last), &declared.name);
        }
    }
}

#[test]
fn spatial_values_are_geojson_and_vectors_are_lists() {
    let values = [
        ("ST_GeomFromText('POINT(1.5 -2)')", "NULL"),
        ("ST_GeomFromText('LINESTRING(0 0, 1 1e10)')", "TO_VECTOR('[1,2.5,-3e-7]')"),
        ("ST_GeomFromText('POLYGON((0 0,9 0,9 9,0 0),(1 1,2 1,2 2,1 1))')", "TO_VECTOR('[0]')"),
        ("ST_GeomFromText('MULTIPOINT((1 2),(3 4))')", "NULL"),
        ("ST_GeomFromText('MULTILINESTRING((0 0,1 1),(2 2,3 3))')", "NULL"),
        ("ST_GeomFromText('MULTIPOLYGON(((0 0,9 0,9 9,0 0)),((0 0,5 0,5 5,0 0)))')", "NULL"),
        ("ST_GeomFromText('GEOMETRYCOLLECTION(POINT(1 2),LINESTRING(0 0,1 1))')", "NULL"),
        ("ST_GeomFromText('POINT(50 10)', 4326)", "NULL"),
        ("NULL", "TO_VECTOR('[3.4028235e38]')"),
    ];
    let options = ServerOptions::default().with_flavor(Flavor::Mysql);
    let server = or_skip!(MysqlServer::start(options));
    let mut client = Client::root(&server);
    client.run("CREATE DATABASE wire");
    client.run("CREATE TABLE wire.t (id int PRIMARY KEY, g geometry, v vector(4), l vector(4))");
    for (id, (geometry, vector)) in values.iter().enumerate() {
        client.run(&format!("INSERT INTO wire.t VALUES ({id}, {geometry}, {vector}, {vector})"));
    }
    let known = client.known_columns("t");
    let declared = [
        Column::new("g", LogicalType::String),
        Column::new("v", LogicalType::String),
        Column::new("l", LogicalType::Array(Box::new(LogicalType::Float))),
    ];
    let snapshot = client.select("SELECT g, v, l FROM wire.t ORDER BY id", &[], &declared);
    let replayed = Client::root(&server).replay("t", &known, &declared, UpdateImages::Both);
    assert_equal(&snapshot, &replayed, "snapshot against binlog");
    insta::assert_snapshot!(changelog_text(slice::from_ref(&snapshot)).unwrap(), @r#"
    +I {"coordinates":[1.5,-2],"type":"Point","srid":0} | NULL | NULL
    +I {"coordinates":[[0,0],[1,10000000000]],"type":"LineString","srid":0} | [1,2.5,-0.0000003] | [1.0, 2.5, -3e-7]
    +I {"coordinates":[[[0,0],[9,0],[9,9],[0,0]],[[1,1],[2,1],[2,2],[1,1]]],"type":"Polygon","srid":0} | [0] | [0.0]
    +I {"coordinates":[[1,2],[3,4]],"type":"MultiPoint","srid":0} | NULL | NULL
    +I {"coordinates":[[[0,0],[1,1]],[[2,2],[3,3]]],"type":"MultiLineString","srid":0} | NULL | NULL
    +I {"coordinates":[[[[0,0],[9,0],[9,9],[0,0]]],[[[0,0],[5,0],[5,5],[0,0]]]],"type":"MultiPolygon","srid":0} | NULL | NULL
    +I {"geometries":[{"type":"Point","coordinates":[1,2]},{"type":"LineString","coordinates":[[0,0],[1,1]]}],"type":"GeometryCollection","srid":0} | NULL | NULL
    +I {"coordinates":[10,50],"type":"Point","srid":4326} | NULL | NULL
    +I NULL | [3.4028235e38] | [3.4028235e38]
    "#);
    // The coordinates are those of the server's own GeoJSON.
    let theirs = client.text("SELECT ST_AsGeoJSON(g) FROM wire.t ORDER BY id");
    let ours = snapshot.rows().column(0).as_string::<i32>();
    for (row, cells) in theirs.iter().enumerate() {
        let Some(text) = &cells[0] else { continue };
        let theirs: serde_json::Value = serde_json::from_slice(text).unwrap();
        let ours: serde_json::Value = serde_json::from_str(ours.value(row)).unwrap();
        for part in ["type", "coordinates"] {
            let plain = |value: &serde_json::Value| value.to_string().replace(".0", "");
            assert_eq!(plain(&ours[part]), plain(&theirs[part]), "row {row}");
        }
    }
}

#[test]
fn times_are_read_as_the_server_prints_them() {
    check(&times(), true);
}

#[test]
fn texts_are_read_as_the_server_prints_them() {
    check(&texts(), true);
}

#[test]
fn bytes_are_read_alike_from_rows_and_from_the_binlog() {
    check(&bytes(), false);
}

#[test]
fn changes_are_read_in_order() {
    let options = ServerOptions::default().with_flavor(Flavor::Mysql);
    let server = or_skip!(MysqlServer::start(options));
    let mut client = Client::root(&server);
    client.run("CREATE DATABASE wire");
    client.run("CREATE TABLE wire.t (id int PRIMARY KEY, name varchar(20))");
    client.run("CREATE TABLE wire.other (id int PRIMARY KEY)");
    client.run("INSERT INTO wire.other VALUES (1), (2)");
    client.run("INSERT INTO wire.t VALUES (1, 'ann'), (2, NULL)");
    client.run("UPDATE wire.t SET name = 'bob' WHERE id = 1");
    client.run("UPDATE wire.t SET id = 7, name = 'zoë' WHERE id = 2");
    client.run("DELETE FROM wire.t WHERE id = 7");
    let known = client.known_columns("t");
    let declared = [Column::new("id", LogicalType::Int), Column::new("name", LogicalType::String)];
    let replay = |images| {
        let batch = Client::root(&server).replay("t", &known, &declared, images);
        changelog_text(&[batch]).unwrap()
    };
    insta::assert_snapshot!(replay(UpdateImages::Both), @r"
    +I 1 | ann
    +I 2 | NULL
    -U 1 | ann
    +U 1 | bob
    -U 2 | NULL
    +U 7 | zoë
    -D 7 | zoë
    ");
    insta::assert_snapshot!(replay(UpdateImages::AfterUnlessKeyChanged), @r"
    +I 1 | ann
    +I 2 | NULL
    +U 1 | bob
    -U 2 | NULL
    +U 7 | zoë
    -D 7 | zoë
    ");
}
