//! Existing rows are read while they change: at the end the job holds what the server holds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use shardlake_change::LogicalType;
use shardlake_testkit::{Flavor, MysqlServer, ServerOptions, Session, or_skip};

use crate::reading::{Definition, Job, Step, server_rows};

const TABLES: [(&str, &str); 3] = [("shop_1", "orders"), ("shop_1", "items"), ("shop_2", "orders")];
const ROWS: u64 = 6_000;

pub(crate) fn fill(server: &MysqlServer) {
    for (database, table) in TABLES {
        server
            .execute(&format!(
                "CREATE DATABASE IF NOT EXISTS {database}; \
                 CREATE TABLE {database}.{table} (id BIGINT PRIMARY KEY, version INT, note VARCHAR(40))"
            ))
            .unwrap();
        let session = server.session();
        session
            .execute(&format!(
                "INSERT INTO {database}.{table} WITH RECURSIVE n AS (SELECT 1 AS id UNION ALL \
                 SELECT id + 1 FROM n WHERE id < {ROWS}) SELECT id * 2, 0, CONCAT('row ', id) FROM n"
            ))
            .unwrap();
    }
}

pub(crate) fn definition(server: &MysqlServer) -> Definition {
    Definition::new(server, "shop_[12]", "orders|items")
        .metadata("db", "database_name", LogicalType::String)
        .metadata("t", "table_name", LogicalType::String)
        .column("id", LogicalType::BigInt)
        .column("version", LogicalType::Int)
        .column("note", LogicalType::String)
        .option("scan.incremental.snapshot.chunk.size", "500")
}

/// Changes rows until told to stop, and counts the statements.
fn write(session: &Session, seed: u64, stop: &AtomicBool, statements: &AtomicU64) {
    let mut random = seed;
    let mut next = |bound: u64| {
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % bound
    };
    while !stop.load(Ordering::Relaxed) {
        let (database, table) = TABLES[usize::try_from(next(3)).unwrap()];
        let name = format!("{database}.{table}");
        let id = next(ROWS * 2 + 100);
        let sql = match next(6) {
            0 => format!("DELETE FROM {name} WHERE id = {id}"),
            1 => format!("INSERT IGNORE INTO {name} VALUES ({id}, 1, 'new')"),
            2 => format!("UPDATE IGNORE {name} SET id = {} WHERE id = {id}", next(ROWS * 2)),
            3 => format!(
                "BEGIN; UPDATE {name} SET version = version + 1 WHERE id BETWEEN {id} AND {}; \
                 REPLACE INTO {name} VALUES ({id}, 9, NULL); COMMIT",
                id + 20
            ),
            4 => format!("BEGIN; DELETE FROM {name} WHERE id < {id}; ROLLBACK"),
            _ => format!("UPDATE {name} SET version = version + 1 WHERE id = {id}"),
        };
        // Two writers may meet in a deadlock.
        if session.execute(&sql).is_err() {
            drop(session.execute("ROLLBACK"));
        }
        statements.fetch_add(1, Ordering::Relaxed);
    }
}

pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    statements: Arc<AtomicU64>,
    writers: Vec<thread::JoinHandle<()>>,
}

impl Load {
    pub(crate) fn start(server: &MysqlServer) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let statements = Arc::new(AtomicU64::new(0));
        let writers = (1..4)
            .map(|seed| {
                let session = server.session();
                let (stop, statements) = (Arc::clone(&stop), Arc::clone(&statements));
                thread::spawn(move || write(&session, seed * 7_919, &stop, &statements))
            })
            .collect();
        let load = Self { stop, statements, writers };
        load.wait_for(20);
        load
    }

    /// Waits until so many statements have run.
    fn wait_for(&self, statements: u64) {
        while self.statements.load(Ordering::Relaxed) < statements {
            thread::park_timeout(std::time::Duration::from_millis(1));
        }
    }

    /// Stops when a fair number of statements have run.
    pub(crate) fn stop(self) {
        self.wait_for(200);
        self.stop.store(true, Ordering::Relaxed);
        for writer in self.writers {
            writer.join().unwrap();
        }
    }
}

/// Reads until a marker row shows that everything before it has come, and compares.
pub(crate) fn check_equal(server: &MysqlServer, job: &mut Job, marker: u64) {
    server.execute(&format!("INSERT INTO shop_2.orders VALUES ({marker}, 0, 'marker')")).unwrap();
    let key = ["shop_2".to_owned(), "orders".to_owned(), marker.to_string()];
    job.until(|job| job.rows.contains_key(key.as_slice()));
    let sql: Vec<String> = TABLES
        .iter()
        .map(|(database, table)| {
            format!("SELECT '{database}', '{table}', id, version, note FROM {database}.{table}")
        })
        .collect();
    let expected = server_rows(server, &sql.join(" UNION ALL "), &[0, 1, 2]);
    let different: Vec<_> =
        expected.iter().filter(|(key, row)| job.rows.get(*key) != Some(row)).take(5).collect();
    assert!(different.is_empty(), "the server has {different:?}");
    let extra: Vec<_> =
        job.rows.keys().filter(|key| !expected.contains_key(*key)).take(5).collect();
    assert!(extra.is_empty(), "the server does not have {extra:?}");
}

pub(crate) fn check(options: ServerOptions) {
    let server = or_skip!(MysqlServer::start(options.with_sync_binlog(1)));
    fill(&server);
    let load = Load::start(&server);
    let mut job = definition(&server).read(None).unwrap();
    job.until_streaming();
    load.stop();
    check_equal(&server, &mut job, 1_000_000);
}

#[test]
fn snapshot_and_binlog_meet_without_gap_with_gtids() {
    check(ServerOptions::default());
}

#[test]
fn snapshot_and_binlog_meet_without_gap_without_gtids() {
    check(ServerOptions::default().without_gtid());
}

#[test]
fn a_job_goes_on_from_the_middle_of_the_snapshot_phase() {
    let server = or_skip!(MysqlServer::start(ServerOptions::default()));
    fill(&server);
    let load = Load::start(&server);
    let mut job = definition(&server).read(None).unwrap();
    let mut rows = Default::default();
    let mut restarts = 0;
    while job.phase() != Some(shardlake_connector::Phase::Streaming) && restarts < 20 {
        for _ in 0..3 {
            loop {
                match job.step() {
                    Step::Rows => {}
                    Step::Boundary => break,
                    other => panic!("{other:?}"),
                }
            }
        }
        // Rows past the last boundary are lost, as in a crash.
        let position = job.position();
        rows = job.into_rows();
        job = definition(&server).read(position).unwrap();
        job.rows = std::mem::take(&mut rows);
        restarts += 1;
    }
    assert!(restarts > 3, "only {restarts} restarts");
    load.stop();
    // A marker that a chunk shows would prove nothing.
    if job.phase() != Some(shardlake_connector::Phase::Streaming) {
        job.until_streaming();
    }
    check_equal(&server, &mut job, 1_000_001);
    drop(rows);
}

#[test]
fn a_small_budget_spills_large_transactions_and_chunks() {
    let server = or_skip!(MysqlServer::start(ServerOptions::default()));
    fill(&server);
    let mut job = definition(&server)
        .option("scan.incremental.snapshot.chunk.size", "100000")
        .read_within(None, 64 << 10)
        .unwrap();
    job.until_streaming();
    server
        .execute(
            "BEGIN; UPDATE shop_1.orders SET version = 7; DELETE FROM shop_1.items; \
             UPDATE shop_2.orders SET id = id + 100000, note = REPEAT('x', 40); COMMIT",
        )
        .unwrap();
    check_equal(&server, &mut job, 1_000_002);
}

/// Takes 9 GB of disk and a minute or two, so it runs only if `SHARDLAKE_SLOW_TESTS` is set.
#[test]
fn a_binlog_file_past_4_gb_is_followed_and_resumed_without_gtids() {
    if std::env::var_os("SHARDLAKE_SLOW_TESTS").is_none() {
        return;
    }
    let options = ServerOptions::default()
        .with_flavor(Flavor::Mysql)
        .without_gtid()
        .with_flag("--max-allowed-packet=1G");
    let server = or_skip!(MysqlServer::start(options));
    server
        .execute(
            "CREATE DATABASE shop; CREATE TABLE shop.t (id INT PRIMARY KEY); INSERT INTO shop.t \
             VALUES (1); CREATE TABLE shop.large (id INT, b LONGBLOB) ENGINE=BLACKHOLE",
        )
        .unwrap();
    let definition = || Definition::new(&server, "shop", "t").column("id", LogicalType::Int);
    let mut job = definition().read(None).unwrap();
    job.until_streaming();
    server
        .execute(
            "INSERT INTO shop.large WITH RECURSIVE n AS (SELECT 1 AS id UNION ALL SELECT id + 1 \
             FROM n WHERE id < 74) SELECT id, REPEAT('x', 60000000) FROM n; \
             INSERT INTO shop.t VALUES (2)",
        )
        .unwrap();
    job.until(|job| job.rows.len() == 2);
    let mut position = job.position().unwrap();
    drop(job);
    // As if the job had ended right behind the large transaction: the rotation to the next file is 44 bytes long.
    let first = server.query("SHOW BINARY LOGS").unwrap().swap_remove(0);
    let offset = first[1].parse::<u64>().unwrap() - 44;
    assert!(offset > 1 << 32, "{first:?}");
    for lane in position.values_mut() {
        lane["file"] = first[0].as_str().into();
        lane["offset"] = offset.into();
    }
    let mut job = definition().read(Some(position)).unwrap();
    job.until(|job| job.rows.len() == 1);
    assert_eq!(job.text(), "2\n");
}
