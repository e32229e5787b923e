//! What a user has to mend is said, with the server and what to do.

use shardlake_change::LogicalType;
use shardlake_connector::{Error, Fault};
use shardlake_testkit::{MysqlServer, ServerOptions, or_skip};

use crate::reading::{Definition, Job, Step};
use crate::tutorial;

fn refused(started: Result<Job, Error>) -> String {
    let error = started.err().expect("the source must refuse to start");
    assert_eq!(error.fault(), Fault::Job, "{}", error.report());
    error.report()
}

pub(crate) fn failure(job: &mut Job) -> String {
    loop {
        match job.step() {
            Step::Failed(error) => {
                assert_eq!(error.fault(), Fault::Job, "{}", error.report());
                return error.report();
            }
            Step::Rows | Step::Boundary => {}
            Step::Ended => panic!("the source ended"),
        }
    }
}

#[test]
fn a_start_that_cannot_succeed_says_why() {
    let server = or_skip!(MysqlServer::start(ServerOptions::default()));
    tutorial::fill(&server);
    let lane = format!("127.0.0.1:{}", server.port());

    let error = refused(tutorial::definition(&server).option("password", "wrong").read(None));
    assert!(error.contains("Access denied for user 'root'") && error.contains(&lane), "{error}");

    let error = refused(tutorial::definition(&server).option("table-name", "nothing").read(None));
    assert!(error.starts_with("No matched tables found."), "{error}");

    server.execute("CREATE TABLE user_db_1.keyless (a INT)").unwrap();
    let error = refused(tutorial::definition(&server).option("table-name", "keyless").read(None));
    assert!(error.contains("is required for table without primary key"), "{error}");
    assert!(error.contains("user_db_1.keyless"), "{error}");

    server.execute("CREATE USER weak IDENTIFIED BY 'w'; GRANT SELECT ON *.* TO weak").unwrap();
    let weak = || tutorial::definition(&server).option("username", "weak").option("password", "w");
    let error = refused(weak().read(None));
    assert!(error.contains("lacks the privilege REPLICATION CLIENT"), "{error}");
    server.execute("GRANT REPLICATION CLIENT ON *.* TO weak").unwrap();
    let error = refused(weak().read(None));
    assert!(error.contains("lacks the privilege REPLICATION SLAVE"), "{error}");

    let error = refused(
        tutorial::definition(&server).option("server-time-zone", "Asia/Shanghai").read(None),
    );
    assert!(error.contains("does not match the configured timezone Asia/Shanghai"), "{error}");

    let wrong_type = Definition::new(&server, "user_db_1", "user_table_1")
        .column("id", LogicalType::BigInt)
        .column("name", LogicalType::Date);
    let error = refused(wrong_type.read(None));
    assert!(error.contains("name"), "{error}");

    let error = refused(
        tutorial::definition(&server)
            .option("scan.startup.mode", "specific-offset")
            .option("scan.startup.specific-offset.gtid-set", "nonsense")
            .read(None),
    );
    assert!(error.contains("nonsense"), "{error}");
}

#[test]
fn a_server_with_unfit_settings_is_refused() {
    for (flag, words) in [
        ("--binlog-format=STATEMENT", "binlog_format=ROW"),
        ("--binlog-row-image=MINIMAL", "binlog_row_image=FULL"),
        ("--skip-log-bin", "log_bin"),
    ] {
        let options = ServerOptions::default().without_gtid().with_flag(flag);
        let server = or_skip!(MysqlServer::start(options));
        tutorial::fill(&server);
        let error = refused(tutorial::definition(&server).read(None));
        assert!(error.contains(words), "{flag}: {error}");
    }
}

#[test]
fn a_purged_position_is_said() {
    for options in [ServerOptions::default(), ServerOptions::default().without_gtid()] {
        let server = or_skip!(MysqlServer::start(options));
        tutorial::fill(&server);
        let mut job = tutorial::definition(&server).read(None).unwrap();
        job.until_streaming();
        let position = job.position();
        drop(job);
        server
            .execute(
                "INSERT INTO user_db_1.user_table_1 (id) VALUES (1); FLUSH BINARY LOGS; \
                 INSERT INTO user_db_1.user_table_1 (id) VALUES (2); FLUSH BINARY LOGS",
            )
            .unwrap();
        // A file that the ended job's dump still has open stays for a moment.
        loop {
            let files = server.query("SHOW BINARY LOGS").unwrap();
            let last = &files.last().unwrap()[0];
            if files.len() == 1 {
                break;
            }
            server.execute(&format!("PURGE BINARY LOGS TO '{last}'")).unwrap();
        }
        let mut job = tutorial::definition(&server).read(position).unwrap();
        let error = failure(&mut job);
        assert!(error.contains("no longer available on the server"), "{error}");
        assert!(error.contains(&format!("127.0.0.1:{}", server.port())), "{error}");
    }
}

#[test]
fn a_statement_that_changes_rows_is_refused() {
    let server = or_skip!(MysqlServer::start(ServerOptions::default()));
    tutorial::fill(&server);
    let mut job = tutorial::definition(&server).read(None).unwrap();
    job.until_streaming();
    server
        .execute(
            "SET SESSION binlog_format = 'STATEMENT'; \
             UPDATE user_db_1.user_table_1 SET name = 'secret value'",
        )
        .unwrap();
    let error = failure(&mut job);
    assert!(error.contains("user_db_1.user_table_1"), "{error}");
    assert!(error.contains("statement or mixed based replication format"), "{error}");
    assert!(!error.contains("secret value"), "{error}");
}

#[test]
fn a_partial_row_image_is_refused() {
    let server = or_skip!(MysqlServer::start(ServerOptions::default()));
    tutorial::fill(&server);
    let mut job = tutorial::definition(&server).read(None).unwrap();
    job.until_streaming();
    server
        .execute(
            "SET SESSION binlog_row_image = 'MINIMAL'; \
             UPDATE user_db_1.user_table_1 SET name = 'x'",
        )
        .unwrap();
    let error = failure(&mut job);
    assert!(error.contains("binlog_row_image=FULL"), "{error}");
}
