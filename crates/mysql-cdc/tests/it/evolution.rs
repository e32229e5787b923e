//! Batches that follow the columns of the tables.

use shardlake_change::LogicalType;
use shardlake_connector::SchemaChangeBehavior::{self, Evolve, Exception, Lenient, TryEvolve};
use shardlake_testkit::{MysqlServer, ServerOptions, or_skip};

use crate::reading::{Definition, Job, Step};

fn definition(server: &MysqlServer, behavior: SchemaChangeBehavior) -> Definition {
    Definition::new(server, "d", "t[0-9]")
        .metadata("db", "database_name", LogicalType::String)
        .metadata("t", "table_name", LogicalType::String)
        .column("id", LogicalType::Int)
        .column("v", LogicalType::Int)
        .follow(behavior)
}

fn fill(server: &MysqlServer) {
    server
        .execute(
            "CREATE DATABASE d; USE d; CREATE TABLE t1 (id INT PRIMARY KEY, v INT); \
             CREATE TABLE t2 LIKE t1; ALTER TABLE t2 ADD w VARCHAR(9) FIRST; \
             CREATE TABLE t9 (id INT PRIMARY KEY); \
             INSERT INTO t1 VALUES (1, 10); INSERT INTO t2 VALUES ('w', 2, 20)",
        )
        .unwrap();
}

/// Reads until everything that has happened so far has come.
fn catch_up(server: &MysqlServer, job: &mut Job) {
    let marker = (900 + job.rows.len()).to_string();
    server.execute(&format!("INSERT INTO d.t9 (id) VALUES ({marker})")).unwrap();
    let key = ["d", "t9", &marker].map(str::to_owned);
    job.until(|job| job.rows.contains_key(key.as_slice()));
}

fn rows_of(job: &Job, table: &str) -> Vec<String> {
    let rows = job.rows.iter().filter(|(key, _)| key[1] == table);
    rows.map(|(_, row)| row[2..].join(" ")).collect()
}

#[test]
fn columns_are_added_and_widened_in_order_with_the_rows() {
    for metadata in ["MINIMAL", "FULL"] {
        let server = or_skip!(MysqlServer::start(
            ServerOptions::default().with_flag(format!("--binlog-row-metadata={metadata}"))
        ));
        fill(&server);
        let mut job = definition(&server, Lenient).read(None).unwrap();
        job.until_streaming();
        // What a shard has already, all have.
        assert_eq!(rows_of(&job, "t1"), ["1 10 NULL"]);
        assert_eq!(rows_of(&job, "t2"), ["2 20 w"]);
        server
            .execute(
                "USE d; BEGIN; UPDATE t1 SET v = 11; INSERT INTO t2 VALUES ('x', 3, 30); COMMIT; \
                 ALTER TABLE t1 ADD n DECIMAL(5,1) AFTER id; INSERT INTO t1 VALUES (4, 1.5, 40); \
                 ALTER TABLE t1 MODIFY v BIGINT; INSERT INTO t1 VALUES (5, NULL, 5000000000); \
                 ALTER TABLE t2 DROP w, ADD n DECIMAL(9,1); INSERT INTO t2 VALUES (6, 60, 12345678.5); \
                 ALTER TABLE t1 RENAME COLUMN n TO m; INSERT INTO t1 VALUES (7, 2.5, 70)",
            )
            .unwrap();
        catch_up(&server, &mut job);
        let t1 = ["1 11 NULL", "4 40 NULL 1.5", "5 5000000000 NULL NULL", "7 70 NULL NULL 2.5"];
        assert_eq!(rows_of(&job, "t1"), t1);
        assert_eq!(rows_of(&job, "t2"), ["2 20 w", "3 30 x", "6 60 NULL 12345678.5"]);
        let columns =
            "db Utf8, t Utf8, id Int32, v Int64, w Utf8, n Decimal128(9, 1), m Decimal128(5, 1)";
        assert_eq!(job.columns, columns);
        // A job that starts again begins with these columns.
        let position = job.position();
        let rows = job.into_rows();
        server.execute("INSERT INTO d.t2 VALUES (8, 80, NULL)").unwrap();
        let mut job = definition(&server, Lenient).read(position).unwrap();
        job.rows = rows;
        catch_up(&server, &mut job);
        assert_eq!(job.columns, columns);
        assert_eq!(rows_of(&job, "t2").last().unwrap(), "8 80 NULL NULL NULL");
    }
}

#[test]
fn what_does_not_fit_stops_its_table_or_is_passed_over() {
    for behavior in [Lenient, TryEvolve] {
        let server = or_skip!(MysqlServer::start(ServerOptions::default()));
        fill(&server);
        let mut job = definition(&server, behavior).read(None).unwrap();
        job.until_streaming();
        let sql = "USE d; ALTER TABLE t1 MODIFY v VARCHAR(9); INSERT INTO t1 VALUES (4, 'x')";
        server.execute(sql).unwrap();
        catch_up(&server, &mut job);
        if behavior == Lenient {
            assert_eq!(rows_of(&job, "t1"), ["1 10 NULL"]);
            assert_eq!(job.phase_of("d.t1"), Some("failed"));
        } else {
            assert_eq!(rows_of(&job, "t1"), ["1 10 NULL", "4 NULL NULL"]);
            assert_eq!(job.phase_of("d.t1"), Some("binlog"));
        }
    }
}

#[test]
fn a_table_that_stopped_is_read_anew_when_it_has_been_mended() {
    let server = or_skip!(MysqlServer::start(ServerOptions::default()));
    fill(&server);
    let mut job = definition(&server, Lenient).read(None).unwrap();
    job.until_streaming();
    server
        .execute(
            "USE d; ALTER TABLE t1 MODIFY id BIGINT; INSERT INTO t1 VALUES (4, 40); \
             ALTER TABLE t1 MODIFY id INT",
        )
        .unwrap();
    catch_up(&server, &mut job);
    // A key's column is never widened.
    assert_eq!(job.phase_of("d.t1"), Some("failed"));
    let position = job.position();
    let rows = job.into_rows();
    let mut job = definition(&server, Lenient).read(position).unwrap();
    job.rows = rows;
    catch_up(&server, &mut job);
    job.until_streaming();
    assert_eq!(rows_of(&job, "t1"), ["1 10 NULL", "4 40 NULL"]);
}

#[test]
fn rows_of_tables_that_are_emptied_or_go_are_removed_in_order() {
    let server = or_skip!(MysqlServer::start(ServerOptions::default()));
    fill(&server);
    let mut job = definition(&server, Evolve).read(None).unwrap();
    job.until_streaming();
    server
        .execute(
            "USE d; UPDATE t1 SET v = 11; TRUNCATE t1; INSERT INTO t1 VALUES (4, 40); \
             CREATE TABLE t3 LIKE t1; INSERT INTO t3 VALUES (1, 1); DROP TABLE t2, t3; \
             CREATE TABLE _t1_new LIKE t1; INSERT INTO _t1_new SELECT * FROM t1; \
             RENAME TABLE t1 TO _t1_old, _t1_new TO t1; DROP TABLE _t1_old",
        )
        .unwrap();
    catch_up(&server, &mut job);
    assert_eq!(rows_of(&job, "t1"), ["4 40 NULL"]);
    assert!(rows_of(&job, "t2").is_empty() && rows_of(&job, "t3").is_empty());
}

#[test]
fn any_change_fails_a_job_that_wants_none() {
    let server = or_skip!(MysqlServer::start(ServerOptions::default()));
    fill(&server);
    let mut job = definition(&server, Exception).read(None).unwrap();
    job.until_streaming();
    server.execute("ALTER TABLE d.t1 ADD INDEX (v); ALTER TABLE d.t1 ADD n INT").unwrap();
    loop {
        match job.step() {
            Step::Rows | Step::Boundary => {}
            Step::Failed(error) => return assert!(error.to_string().contains("d.t1"), "{error}"),
            Step::Ended => panic!("the source ended"),
        }
    }
}
