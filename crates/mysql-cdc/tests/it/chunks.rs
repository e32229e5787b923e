//! Existing rows in chunks: tables without a primary key, restarts, limits.

use std::time::{Duration, Instant};

use shardlake_change::LogicalType;
use shardlake_connector::ChunkCount;
use shardlake_testkit::{MysqlServer, ServerOptions, or_skip};

use crate::reading::{Definition, Job, server_rows};

const KEY_COLUMN: &str = "scan.incremental.snapshot.chunk.key-column";
const CHUNK_SIZE: &str = "scan.incremental.snapshot.chunk.size";

fn start(
    options: ServerOptions,
    tables: &str,
    rows: u32,
) -> Result<MysqlServer, shardlake_testkit::Error> {
    let server = MysqlServer::start(options)?;
    server.execute(tables)?;
    server.execute(&format!(
        "\
         INSERT INTO shop.log WITH RECURSIVE n AS (SELECT 1 AS id UNION ALL SELECT id + 1 FROM n \
         WHERE id < {rows}) SELECT id, IF(id % 10 = 0, NULL, IF(id < {rows} / 2, 7, id)), 'x' FROM n; \
         ANALYZE TABLE shop.log"
    ))?;
    Ok(server)
}

const KEYLESS: &str =
    "CREATE DATABASE shop; CREATE TABLE shop.log (id INT, grp INT, name VARCHAR(20))";
const KEYED: &str =
    "CREATE DATABASE shop; CREATE TABLE shop.log (id INT PRIMARY KEY, grp INT, name VARCHAR(20))";

fn definition(server: &MysqlServer) -> Definition {
    Definition::new(server, "shop", "log")
        .column("id", LogicalType::BigInt)
        .column("grp", LogicalType::BigInt)
        .column("name", LogicalType::String)
}

fn check_equal(server: &MysqlServer, job: &mut Job, name: &str) {
    server.execute(&format!("INSERT INTO shop.log VALUES (999999, 1, '{name}')")).unwrap();
    job.until(|job| job.rows.get(&vec!["999999".to_owned()]).is_some_and(|row| row[2] == name));
    let sql = "SELECT id, IFNULL(grp, 'NULL'), name FROM shop.log";
    assert_eq!(job.rows, server_rows(server, sql, &[0]));
}

#[test]
fn tables_without_a_primary_key_are_cut_by_the_column_that_is_named() {
    for options in [ServerOptions::default(), ServerOptions::default().without_gtid()] {
        // A tenth of the rows has no chunk key, and nearly half of them share one.
        let server = or_skip!(start(options, KEYLESS, 500));
        let keyed_by = |columns: &str| {
            definition(&server).option(KEY_COLUMN, columns).option(CHUNK_SIZE, "20")
        };
        let mut job = keyed_by("shop.lo[g]:grp").read(None).unwrap();
        job.until_streaming();
        assert_eq!(job.rows.len(), 500);
        let chunks = job.split_status()[0].chunks.unwrap();
        assert!(chunks.total > 5 && chunks.left() == 0 && !chunks.estimated, "{chunks:?}");
        server
            .execute(
                "UPDATE shop.log SET grp = 1000 - id WHERE id % 3 = 0; \
                 DELETE FROM shop.log WHERE id % 7 = 0",
            )
            .unwrap();
        check_equal(&server, &mut job, "end");
        let error = keyed_by("nope").read(None).err().unwrap().to_string();
        assert!(error.contains("names the column nope, which table shop.log"), "{error}");
    }
}

#[test]
fn a_restart_reads_only_what_has_not_been_read() {
    let server = or_skip!(start(ServerOptions::default(), KEYED, 3_000));
    let definition = definition(&server).option(CHUNK_SIZE, "30");
    let mut job = definition.read(None).unwrap();
    let read = |job: &Job| job.split_status()[0].chunks.map_or(0, |chunks| chunks.read);
    while read(&job) < 90 {
        job.step();
    }
    job.until(|job| job.changes >= 2_700);
    let (position, before) = (job.position(), job.changes);
    let rows = job.into_rows();
    let mut job = definition.read(position).unwrap();
    job.rows = rows;
    job.until_streaming();
    assert_eq!(before + job.changes, 3_000, "no row is read twice");
    let chunks = job.split_status()[0].chunks;
    assert_eq!(chunks.map(|chunks| (chunks.left(), chunks.estimated)), Some((0, false)));
    check_equal(&server, &mut job, "end");
}

#[test]
fn another_chunk_key_reads_the_table_again() {
    let server = or_skip!(start(ServerOptions::default(), KEYED, 1_000));
    let by = |column: &str| definition(&server).option(CHUNK_SIZE, "30").option(KEY_COLUMN, column);
    let mut job = by("id").read(None).unwrap();
    job.until(|job| job.changes > 100);
    let position = job.position();
    let rows = job.into_rows();
    server.execute("DELETE FROM shop.log WHERE id < 50").unwrap();
    let mut job = by("grp").read(position).unwrap();
    job.rows = rows;
    job.until_streaming();
    assert_eq!(job.rows.len(), 951);
    check_equal(&server, &mut job, "end");
}

#[test]
fn the_pace_and_the_connections_are_bounded() {
    let server = or_skip!(start(ServerOptions::default(), KEYED, 2_000));
    server.create_reader("cdc", "secret").unwrap();
    let before = Instant::now();
    let mut job = definition(&server)
        .option("username", "cdc")
        .option("password", "secret")
        .option(CHUNK_SIZE, "50")
        .option("connection.pool.size", "3")
        .option("scan.snapshot.rows-per-second", "1000")
        .read(None)
        .unwrap();
    let sql = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE USER = 'cdc'";
    let mut most = 0;
    while job.split_status()[0].chunks != Some(ChunkCount { read: 40, total: 40, estimated: false })
    {
        job.step();
        most = most.max(server.query(sql).unwrap()[0][0].parse().unwrap());
    }
    assert!(most == 2 || most == 3, "{most} connections");
    assert!(
        before.elapsed() >= Duration::from_millis(1_900),
        "it took {:?} only",
        before.elapsed()
    );
    job.until_streaming();
    check_equal(&server, &mut job, "end");
}
