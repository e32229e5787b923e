//! Tables that are altered while nobody reads, with `binlog_row_metadata=MINIMAL`: row events name no columns.

use std::collections::BTreeMap;

use serde_json::Value;
use shardlake_change::LogicalType;
use shardlake_testkit::{MysqlServer, ServerOptions, or_skip};

use crate::reading::{Definition, Job, Step};

fn definition(server: &MysqlServer) -> Definition {
    Definition::new(server, "d", "t[0-9]*")
        .metadata("t", "table_name", LogicalType::String)
        .column("id", LogicalType::Int)
        .column("a", LogicalType::Int)
        .column("b", LogicalType::Int)
        .column("e", LogicalType::String)
}

/// A server with two tables, and where a job stands that has read them.
fn begin(options: ServerOptions) -> Option<(MysqlServer, Job)> {
    let server = match MysqlServer::start(options) {
        Ok(server) => server,
        Err(error) => {
            eprintln!("skipped: {error}");
            return None;
        }
    };
    server
        .execute(
            "CREATE DATABASE d; USE d; \
             CREATE TABLE t1 (id INT PRIMARY KEY, a INT, b INT, e ENUM('x','y')); \
             CREATE TABLE t2 LIKE t1; \
             INSERT INTO t1 VALUES (1, 10, 100, 'x'); INSERT INTO t2 VALUES (1, 11, 111, 'y')",
        )
        .unwrap();
    let mut job = definition(&server).read(None).unwrap();
    job.until_streaming();
    Some((server, job))
}

/// Ends a job, lets `sql` happen, and goes on until the marker has come through table t2.
fn resume(server: &MysqlServer, job: Job, sql: &str, forget: bool) -> Job {
    let mut position = job.position().unwrap();
    if forget {
        position.values_mut().for_each(forget_columns);
    }
    let rows = job.into_rows();
    let marker = 90 + rows.len();
    server.execute(&format!("USE d; {sql}; INSERT INTO t2 (id) VALUES ({marker})")).unwrap();
    let mut job = definition(server).read(Some(position)).unwrap();
    job.rows = rows;
    job.until(|job| job.rows.contains_key(&vec!["t2".to_owned(), marker.to_string()]));
    job
}

/// A position as an earlier version of the program stored it.
fn forget_columns(lane: &mut Value) {
    assert!(lane.as_object_mut().unwrap().remove("columns").is_some());
}

fn rows_of(job: &Job, table: &str) -> Vec<String> {
    let rows = job.rows.iter().filter(|(key, _)| key[0] == table);
    rows.map(|(_, row)| row[1..].join(" ")).collect()
}

#[test]
fn an_unread_alter_that_moves_columns_among_like_types_is_followed() {
    for options in [ServerOptions::default(), ServerOptions::default().without_gtid()] {
        let Some((server, job)) = begin(options) else { return };
        let sql = "INSERT INTO t1 VALUES (2, 20, 200, 'y'); \
                   ALTER TABLE t1 MODIFY b INT AFTER id; \
                   INSERT INTO t1 (id, a, b, e) VALUES (3, 30, 300, 'x')";
        let job = resume(&server, job, sql, false);
        assert_eq!(rows_of(&job, "t1"), ["1 10 100 x", "2 20 200 y", "3 30 300 x"]);
        // What was learnt is stored: nothing but the position tells what comes next.
        let sql =
            "UPDATE t1 SET b = b + 1; ALTER TABLE t1 MODIFY b INT AFTER a; UPDATE t1 SET a = a + 1";
        let job = resume(&server, job, &format!("DELETE FROM t2 WHERE id = 99; {sql}"), false);
        assert_eq!(rows_of(&job, "t1"), ["1 11 101 x", "2 21 201 y", "3 31 301 x"]);
    }
}

#[test]
fn alters_in_quick_succession_are_followed_one_by_one() {
    let Some((server, job)) = begin(ServerOptions::default()) else { return };
    let sql = "ALTER TABLE t1 RENAME COLUMN a TO b, RENAME COLUMN b TO a; \
               INSERT INTO t1 (id, a, b, e) VALUES (2, 20, 200, 'y'); \
               ALTER TABLE t1 DROP COLUMN b, ADD COLUMN c INT AFTER id; \
               INSERT INTO t1 (id, a, c, e) VALUES (3, 30, 300, 'x'); \
               ALTER TABLE t1 CHANGE c b INT AFTER a, MODIFY e ENUM('y','x','z'); \
               INSERT INTO t1 (id, a, b, e) VALUES (4, 40, 400, 'y'); \
               RENAME TABLE t1 TO t0, t0 TO t3; \
               INSERT INTO t3 (id, a, b, e) VALUES (5, 50, 500, 'z'); \
               DROP TABLE t3; CREATE TABLE t3 (b INT, a INT, id INT PRIMARY KEY); \
               INSERT INTO t3 (id, a, b) VALUES (6, 60, 600)";
    let job = resume(&server, job, sql, false);
    let t1 = rows_of(&job, "t1");
    assert_eq!(t1, ["1 10 100 x", "2 20 200 y", "3 30 NULL x", "4 40 400 y"]);
    assert_eq!(rows_of(&job, "t3"), ["5 50 500 z", "6 60 600 NULL"]);
}

#[test]
fn a_table_whose_columns_cannot_be_known_is_refused_and_the_others_go_on() {
    let Some((server, job)) = begin(ServerOptions::default()) else { return };
    // An old position, and a statement that a reader of text cannot follow, before another one.
    let sql = "INSERT INTO t1 VALUES (2, 20, 200, 'y'); ALTER TABLE t1 MODIFY b INT AFTER id; \
               INSERT INTO t1 (id, a, b) VALUES (3, 30, 300)";
    let job = resume(&server, job, sql, true);
    assert_eq!(rows_of(&job, "t1"), ["1 10 100 x"]);
    assert_eq!(rows_of(&job, "t2"), ["1 11 111 y", "92 NULL NULL NULL"]);
    assert_eq!(job.phase_of("d.t1"), Some("failed"));
    assert_eq!(job.phase_of("d.t2"), Some("binlog"));
    let lanes: BTreeMap<String, Value> = job.position().unwrap();
    let reason = &lanes.values().next().unwrap()["stopped"]["d"]["t1"];
    let reason = reason.as_str().unwrap();
    assert!(reason.contains("d.t1") && reason.contains("binlog_row_metadata=FULL"), "{reason}");
}

#[test]
fn columns_that_nothing_changes_ahead_are_looked_up() {
    let Some((server, job)) = begin(ServerOptions::default()) else { return };
    // No text tells what ORDER BY leaves behind, but the server does, as long as it is the last statement.
    let sql = "INSERT INTO t1 VALUES (2, 20, 200, 'y'); ALTER TABLE t1 COMMENT 'x', ADD INDEX (a)";
    let job = resume(&server, job, sql, true);
    assert_eq!(rows_of(&job, "t1"), ["1 10 100 x", "2 20 200 y"]);
    let sql = "ALTER TABLE t1 ORDER BY a, b; \
               INSERT INTO t1 VALUES (3, 30, 300, 'x')";
    let mut job = resume(&server, job, sql, false);
    assert_eq!(rows_of(&job, "t1").last().unwrap(), "3 30 300 x");
    // While it runs, too.
    server
        .execute(
            "USE d; ALTER TABLE t1 MODIFY b INT AFTER id; \
             INSERT INTO t1 (id, a, b) VALUES (4, 40, 400); INSERT INTO t2 (id) VALUES (98)",
        )
        .unwrap();
    job.until(|job| job.rows.contains_key(&vec!["t2".to_owned(), "98".to_owned()]));
    assert_eq!(rows_of(&job, "t1").last().unwrap(), "4 40 400 NULL");
}

#[test]
fn with_full_metadata_an_old_position_is_enough() {
    let full = ServerOptions::default().with_flag("--binlog-row-metadata=FULL");
    let Some((server, job)) = begin(full) else { return };
    let sql = "INSERT INTO t1 VALUES (2, 20, 200, 'y'); ALTER TABLE t1 MODIFY b INT AFTER id; \
               INSERT INTO t1 (id, a, b, e) VALUES (3, 30, 300, 'x'); ALTER TABLE t1 DROP b";
    let job = resume(&server, job, sql, true);
    assert_eq!(rows_of(&job, "t1"), ["1 10 100 x", "2 20 200 y", "3 30 300 x"]);
}

#[test]
fn tables_altered_while_existing_rows_are_read_are_read_rightly() {
    let server = or_skip!(MysqlServer::start(ServerOptions::default()));
    server
        .execute(
            "CREATE DATABASE d; USE d; \
             CREATE TABLE t1 (id INT PRIMARY KEY, a INT, b INT, e ENUM('x','y')); \
             CREATE TABLE t2 LIKE t1; INSERT INTO t1 VALUES (1, 10, 100, 'x')",
        )
        .unwrap();
    // The job's first boundary stands before anything was read.
    let mut job = definition(&server).read(None).unwrap();
    while !matches!(job.step(), Step::Boundary) {}
    let sql = "INSERT INTO t1 VALUES (2, 20, 200, 'y'); ALTER TABLE t1 MODIFY b INT AFTER id; \
               INSERT INTO t1 (id, a, b, e) VALUES (3, 30, 300, 'x')";
    let mut job = resume(&server, job, sql, false);
    job.until_streaming();
    assert_eq!(rows_of(&job, "t1"), ["1 10 100 x", "2 20 200 y", "3 30 300 x"]);
}
