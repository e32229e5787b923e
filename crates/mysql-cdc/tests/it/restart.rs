//! Servers that go away and come back, and jobs that resume.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use shardlake_connector::Phase;
use shardlake_testkit::{MysqlServer, ServerOptions, or_skip};

use crate::load::{Load, check_equal, definition, fill};
use crate::reading::{Job, Step};

fn kill_dump_threads(server: &MysqlServer) -> usize {
    let sql = "SELECT ID FROM information_schema.PROCESSLIST WHERE COMMAND LIKE 'Binlog Dump%'";
    let threads = server.query(sql).unwrap();
    for thread in &threads {
        server.execute(&format!("KILL {}", thread[0])).unwrap();
    }
    threads.len()
}

#[test]
fn a_killed_dump_thread_is_replaced() {
    for options in [ServerOptions::default(), ServerOptions::default().without_gtid()] {
        let server = or_skip!(MysqlServer::start(options));
        fill(&server);
        let mut job = definition(&server).read(None).unwrap();
        job.until_streaming();
        let load = Load::start(&server);
        for _ in 0..5 {
            assert!(kill_dump_threads(&server) <= 1, "one dump connection for each server");
            let before = job.changes;
            job.until(|job| job.changes > before + 50);
        }
        load.stop();
        check_equal(&server, &mut job, 2_000_000);
    }
}

#[test]
fn a_restarted_server_is_found_again() {
    let mut server = or_skip!(MysqlServer::start(ServerOptions::default()));
    fill(&server);
    let mut job = definition(&server).read(None).unwrap();
    job.until_streaming();
    server.execute("UPDATE shop_1.orders SET version = 5 WHERE id < 100").unwrap();
    server.kill_dash_nine().unwrap();
    server.start_again().unwrap();
    server.execute("UPDATE shop_1.items SET version = 6 WHERE id < 100").unwrap();
    check_equal(&server, &mut job, 2_000_001);
}

#[test]
fn a_job_resumes_from_every_boundary_of_the_binlog() {
    let server = or_skip!(MysqlServer::start(ServerOptions::default()));
    fill(&server);
    let mut job: Job = definition(&server).read(None).unwrap();
    job.until_streaming();
    let load = Load::start(&server);
    for _ in 0..10 {
        let before = job.changes;
        job.until(|job| job.changes > before);
        if let Step::Failed(error) = job.step() {
            panic!("{}", error.report());
        }
        let position = job.position();
        let rows = job.into_rows();
        job = definition(&server).read(position).unwrap();
        job.rows = rows;
    }
    load.stop();
    check_equal(&server, &mut job, 2_000_002);
    assert_eq!(job.phase(), Some(Phase::Streaming));
}

#[test]
fn an_idle_job_resumes_although_its_tables_never_change() {
    let server = or_skip!(MysqlServer::start(ServerOptions::default()));
    fill(&server);
    server.execute("CREATE DATABASE other; CREATE TABLE other.t (id INT PRIMARY KEY)").unwrap();
    let mut job = definition(&server).read(None).unwrap();
    job.until_streaming();
    let before = job.boundary.clone().unwrap().position;
    server.execute("INSERT INTO other.t VALUES (1)").unwrap();
    job.until(|job| job.boundary.as_ref().unwrap().position != before);
    assert_eq!(job.changes, 18_000);
}

/// Ends a prepared transaction, as soon as the session that prepared it has ended.
fn decide(server: &MysqlServer, sql: &str) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while let Err(error) = server.execute(sql) {
        assert!(Instant::now() < deadline, "{sql}: {error:?}");
        thread::park_timeout(Duration::from_millis(5));
    }
}

#[test]
fn a_prepared_transaction_waits_for_its_decision() {
    let server = or_skip!(MysqlServer::start(ServerOptions::default()));
    fill(&server);
    let mut job = definition(&server).read(None).unwrap();
    job.until_streaming();
    for (xid, id) in [("commit", 500_001), ("rollback", 500_002), ("late", 500_003)] {
        // Its session ends, so that another one may decide.
        server
            .session()
            .execute(&format!(
                "XA START '{xid}'; INSERT INTO shop_1.orders VALUES ({id}, 0, 'xa'); \
                 XA END '{xid}'; XA PREPARE '{xid}'"
            ))
            .unwrap();
    }
    server.execute("INSERT INTO shop_1.orders VALUES (500004, 0, 'plain')").unwrap();
    let row = |id: u32| vec!["shop_1".to_owned(), "orders".to_owned(), id.to_string()];
    job.until(|job| job.rows.contains_key(&row(500_004)));
    assert!(!job.rows.contains_key(&row(500_001)));
    decide(&server, "XA COMMIT 'commit'");
    decide(&server, "XA ROLLBACK 'rollback'");
    job.until(|job| job.rows.contains_key(&row(500_001)));
    // The last one is decided after a restart of the job.
    let position: Option<BTreeMap<_, _>> = job.position();
    let rows = job.into_rows();
    let mut job = definition(&server).read(position).unwrap();
    job.rows = rows;
    decide(&server, "XA COMMIT 'late'");
    check_equal(&server, &mut job, 2_000_003);
    assert!(job.rows.contains_key(&row(500_003)));
}
