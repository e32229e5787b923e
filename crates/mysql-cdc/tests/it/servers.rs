//! One table definition over several servers: each has its own lane, and its own fate.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use shardlake_change::LogicalType;
use shardlake_connector::{Fault, ReadPhase};
use shardlake_testkit::{MysqlServer, ServerOptions, or_skip};

use crate::reading::{Definition, Job, Step};

const MEMORY: usize = 64 << 20;

fn start(table: &str) -> Result<MysqlServer, shardlake_testkit::Error> {
    let server = MysqlServer::start(ServerOptions::default())?;
    server.execute(&format!(
        "CREATE DATABASE shop; CREATE TABLE shop.{table} (id INT PRIMARY KEY, name VARCHAR(20)); \
         INSERT INTO shop.{table} VALUES (1, 'one'), (2, 'two')"
    ))?;
    Ok(server)
}

fn definition(servers: &[&MysqlServer]) -> Definition {
    Definition::new(servers[0], "shop", "orders_[0-9]+")
        .servers(servers)
        .metadata("server_name", "server_name", LogicalType::String)
        .metadata("table_name", "table_name", LogicalType::String)
        .column("id", LogicalType::BigInt)
        .column("name", LogicalType::String)
}

fn position(jobs: &[Job]) -> Option<BTreeMap<String, Value>> {
    Some(jobs.iter().filter_map(Job::position).flatten().collect())
}

fn resumed(
    definition: &Definition,
    position: Option<BTreeMap<String, Value>>,
    before: Vec<Job>,
) -> Vec<Job> {
    let mut jobs = definition.read_lanes(position, MEMORY).unwrap();
    for (job, before) in jobs.iter_mut().zip(before) {
        job.rows = before.into_rows();
    }
    jobs
}

fn dump_threads(server: &MysqlServer) -> usize {
    let sql =
        "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE COMMAND LIKE 'Binlog Dump%'";
    server.query(sql).unwrap()[0][0].parse().unwrap()
}

#[test]
fn a_dead_server_does_not_hold_up_the_others() {
    let mut first = or_skip!(start("orders_1"));
    let second = or_skip!(start("orders_2"));
    let both = definition(&[&first, &second]);
    let mut jobs = both.read_lanes(None, MEMORY).unwrap();
    jobs.iter_mut().for_each(Job::until_streaming);
    let name = |server: &MysqlServer| format!("127.0.0.1:{}", server.port());
    let rows = |server: &MysqlServer, table: &str, last: &str| {
        format!("{0} | {table} | 1 | one\n{0} | {table} | 2 | {last}\n", name(server))
    };
    assert_eq!(jobs[0].text(), rows(&first, "orders_1", "two"));
    assert_eq!(jobs[1].text(), rows(&second, "orders_2", "two"));

    let tables: Vec<String> = jobs[0].split_status().into_iter().map(|table| table.split).collect();
    assert_eq!(tables, ["shop.orders_1"]);

    // While the first one is down, the second one goes on, through a restart of the job too.
    first.kill_dash_nine().unwrap();
    second.execute("UPDATE shop.orders_2 SET name = 'b' WHERE id = 2").unwrap();
    jobs[1].until(|job| job.changes > 2);
    let place = position(&jobs);
    let mut jobs = resumed(&both, place, jobs);
    second.execute("UPDATE shop.orders_2 SET name = 'c' WHERE id = 2").unwrap();
    jobs[1].until(|job| job.text() == rows(&second, "orders_2", "c"));
    let status = jobs[0].lane_status();
    assert!(matches!(status.phase, ReadPhase::Starting | ReadPhase::Retrying), "{status:?}");

    first.start_again().unwrap();
    first.execute("UPDATE shop.orders_1 SET name = 'a' WHERE id = 2").unwrap();
    jobs[0].until(|job| job.text() == rows(&first, "orders_1", "a"));
    let status = jobs[0].lane_status();
    assert_eq!(status.phase, ReadPhase::Binlog);
    assert!(status.retries > 0 && status.last_error.is_some(), "{status:?}");
    // MariaDB notices only after a while that nobody listens to the earlier job's dump.
    for server in [&first, &second] {
        let deadline = Instant::now() + Duration::from_secs(30);
        while dump_threads(server) != 1 {
            assert!(Instant::now() < deadline, "{} dumps", dump_threads(server));
            thread::park_timeout(Duration::from_millis(20));
        }
    }
}

#[test]
fn a_server_that_is_added_is_read_alone() {
    let first = or_skip!(start("orders_1"));
    let second = or_skip!(start("orders_2"));
    let mut jobs = definition(&[&first]).read_lanes(None, MEMORY).unwrap();
    jobs[0].until_streaming();
    let place = position(&jobs);
    drop(jobs);
    let mut jobs = definition(&[&second, &first]).read_lanes(place.clone(), MEMORY).unwrap();
    jobs[0].until_streaming();
    assert_eq!(jobs[0].changes, 2);
    first.execute("INSERT INTO shop.orders_1 VALUES (3, 'three')").unwrap();
    jobs[1].until(|job| job.changes > 0);
    assert_eq!(jobs[1].changes, 1, "the first server is not read again");
    drop(jobs);
    let error = definition(&[&second]).read_lanes(place, MEMORY).err().unwrap();
    assert_eq!(error.fault(), Fault::Job);
    let lane = format!("127.0.0.1:{}", first.port());
    assert!(error.report().contains(&format!("has read MySQL server {lane}")), "{error}");
}

#[test]
fn a_server_that_never_answered_fails_a_first_start() {
    let first = or_skip!(start("orders_1"));
    let mut second = or_skip!(start("orders_2"));
    second.stop().unwrap();
    let both = definition(&[&first, &second]).option("connect.max-retries", "1");
    let error = both.read_lanes(None, MEMORY).err().unwrap();
    assert_eq!(error.fault(), Fault::Transient);
    assert!(error.report().contains(&format!("127.0.0.1:{}", second.port())), "{error}");
}

#[test]
fn servers_with_the_same_table_need_a_key_that_tells_them_apart() {
    let first = or_skip!(start("orders_1"));
    let second = or_skip!(start("orders_1"));
    let both = || definition(&[&first, &second]);
    let error = both().key_columns(&[1, 2]).read_lanes(None, MEMORY).err().unwrap().report();
    assert!(error.contains("both hold a table shop.orders_1"), "{error}");
    assert!(error.contains("server_name"), "{error}");
    let mut jobs = both().key_columns(&[0, 1, 2]).read_lanes(None, MEMORY).unwrap();
    jobs.iter_mut().for_each(Job::until_streaming);
    assert_eq!(jobs.iter().map(|job| job.rows.len()).sum::<usize>(), 4);
}

#[test]
fn a_server_that_cannot_be_read_stands_still_alone() {
    let first = or_skip!(start("orders_1"));
    let second = or_skip!(start("orders_2"));
    let mut jobs = definition(&[&first, &second]).read_lanes(None, MEMORY).unwrap();
    jobs.iter_mut().for_each(Job::until_streaming);
    first
        .execute(
            "SET SESSION binlog_format = 'STATEMENT'; UPDATE shop.orders_1 SET name = 'x' WHERE id = 1",
        )
        .unwrap();
    second.execute("UPDATE shop.orders_2 SET name = 'b' WHERE id = 2").unwrap();
    jobs[1].until(|job| job.changes > 2);
    while jobs[0].lane_status().phase != ReadPhase::Failed {
        thread::park_timeout(Duration::from_millis(20));
    }
    let error = jobs[0].lane_status().last_error.unwrap();
    assert!(error.contains("statement or mixed based replication format"), "{error}");
    // The last one that can be read takes the job with it.
    second
        .execute(
            "SET SESSION binlog_format = 'STATEMENT'; UPDATE shop.orders_2 SET name = 'x' WHERE id = 1",
        )
        .unwrap();
    let failure = loop {
        match jobs[1].step() {
            Step::Failed(error) => break error,
            Step::Rows | Step::Boundary => {}
            Step::Ended => panic!("the source ended"),
        }
    };
    assert_eq!(failure.fault(), Fault::Job);
}
