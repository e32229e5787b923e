//! The tutorial's shard tables: existing rows, then an insert, an update and a delete.

use shardlake_change::LogicalType;
use shardlake_connector::Phase;
use shardlake_testkit::{MysqlServer, ServerOptions, or_skip};

use crate::reading::{Definition, Job};

pub(crate) fn fill(server: &MysqlServer) {
    let columns = "id INTEGER NOT NULL PRIMARY KEY, name VARCHAR(255) NOT NULL DEFAULT 'flink', \
                   address VARCHAR(1024), phone_number VARCHAR(512)";
    for (database, table, id) in [
        ("user_db_1", "user_table_1", 11_100),
        ("user_db_1", "user_table_2", 12_100),
        ("user_db_2", "user_table_1", 21_100),
        ("user_db_2", "user_table_2", 22_100),
    ] {
        let email = id != 21_100;
        server
            .execute(&format!(
                "CREATE DATABASE IF NOT EXISTS {database}; \
                 CREATE TABLE {database}.{table} ({columns}{}); \
                 INSERT INTO {database}.{table} VALUES ({id}, 'user_{id}', 'Shanghai', '123567891234'{})",
                if email { ", email VARCHAR(255)" } else { "" },
                if email { format!(", 'user_{id}@foo.com'") } else { String::new() },
            ))
            .unwrap();
    }
}

pub(crate) fn definition(server: &MysqlServer) -> Definition {
    Definition::new(server, "user_db_[0-9]+", "user_table_[0-9]+")
        .metadata("db_name", "database_name", LogicalType::String)
        .metadata("table_name", "table_name", LogicalType::String)
        .column("id", LogicalType::Decimal { precision: 20, scale: 0 })
        .column("name", LogicalType::String)
        .column("address", LogicalType::String)
        .column("phone_number", LogicalType::String)
        .column("email", LogicalType::String)
}

const SNAPSHOT: &str = "\
user_db_1 | user_table_1 | 11100 | user_11100 | Shanghai | 123567891234 | user_11100@foo.com
user_db_1 | user_table_2 | 12100 | user_12100 | Shanghai | 123567891234 | user_12100@foo.com
user_db_2 | user_table_1 | 21100 | user_21100 | Shanghai | 123567891234 | NULL
user_db_2 | user_table_2 | 22100 | user_22100 | Shanghai | 123567891234 | user_22100@foo.com
";

const CHANGED: &str = "\
user_db_1 | user_table_1 | 11100 | user_11100 | Shanghai | 123567891234 | user_11100@foo.com
user_db_1 | user_table_1 | 11101 | user_11101 | Shanghai | 123567891234 | user_11101@foo.com
user_db_1 | user_table_2 | 12100 | user_12100 | Beijing | 123567891234 | user_12100@foo.com
user_db_2 | user_table_2 | 22100 | user_22100 | Shanghai | 123567891234 | user_22100@foo.com
";

fn change(server: &MysqlServer) {
    server
        .execute(
            "INSERT INTO user_db_1.user_table_1 VALUES (11101, 'user_11101', 'Shanghai', \
             '123567891234', 'user_11101@foo.com'); \
             UPDATE user_db_1.user_table_2 SET address = 'Beijing' WHERE id = 12100; \
             DELETE FROM user_db_2.user_table_1 WHERE id = 21100",
        )
        .unwrap();
}

fn check(server: &MysqlServer) {
    fill(server);
    let mut job = definition(server).read(None).unwrap();
    job.until_streaming();
    assert_eq!(job.text(), SNAPSHOT);
    change(server);
    job.until(|job| job.kinds.ends_with("-D"));
    assert_eq!(job.text(), CHANGED);
    assert!(job.kinds.ends_with("+I-U+U-D"), "{}", job.kinds);
}

#[test]
fn four_states_with_gtids() {
    check(&or_skip!(MysqlServer::start(ServerOptions::default())));
}

#[test]
fn four_states_without_gtids() {
    check(&or_skip!(MysqlServer::start(ServerOptions::default().without_gtid())));
}

#[test]
fn a_bounded_read_ends() {
    let server = or_skip!(MysqlServer::start(ServerOptions::default()));
    fill(&server);
    let mut job = definition(&server).option("scan.startup.mode", "snapshot").read(None).unwrap();
    job.until(|job| job.phase() == Some(Phase::Streaming));
    assert_eq!(job.text(), SNAPSHOT);
    assert!(matches!(job.step(), crate::reading::Step::Ended));
}

#[test]
fn a_user_with_a_password_reads_with_and_without_encryption() {
    let server = or_skip!(MysqlServer::start(ServerOptions::default()));
    fill(&server);
    server.create_reader("cdc", "p'ä;\"\\ x").unwrap();
    for mode in ["DISABLED", "PREFERRED", "REQUIRED"] {
        // Clears the server's cache, so that each mode goes through the full authentication.
        server.execute("FLUSH PRIVILEGES").unwrap();
        let job = definition(&server)
            .option("username", "cdc")
            .option("password", "p'ä;\"\\ x")
            .option("jdbc.properties.sslMode", mode)
            .read(None);
        let mut job: Job = job.unwrap_or_else(|error| panic!("{mode}: {}", error.report()));
        job.until_streaming();
        assert_eq!(job.text(), SNAPSHOT, "{mode}");
    }
}

#[test]
fn metadata_and_append_mode() {
    let server = or_skip!(MysqlServer::start(ServerOptions::default()));
    fill(&server);
    let mut job = Definition::new(&server, "user_db_1", "user_table_1")
        .metadata("ts", "op_ts", LogicalType::TimestampLtz(3))
        .metadata("kind", "row_kind", LogicalType::String)
        .column("id", LogicalType::BigInt)
        .option("scan.read-changelog-as-append-only.enabled", "true")
        .read(None)
        .unwrap();
    job.until_streaming();
    assert_eq!(job.text(), "1970-01-01T00:00:00Z | +I | 11100\n");
    server.execute("DELETE FROM user_db_1.user_table_1").unwrap();
    job.until(|job| job.changes == 2);
    assert_eq!(job.kinds, "+I+I");
    let text = job.text();
    assert!(text.ends_with(" | -D | 11100\n") && !text.starts_with("1970"), "{text}");
}

#[test]
fn a_source_can_be_started_and_stopped_many_times() {
    let server = or_skip!(MysqlServer::start(ServerOptions::default()));
    fill(&server);
    for round in 0..50 {
        let mut job = definition(&server).read(None).unwrap();
        if round % 2 == 0 {
            job.until_streaming();
        }
    }
    let lanes = || {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
        let names = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
        names.filter(|name| name.starts_with(&format!("cdc {}", server.port()))).count()
    };
    let mut waited = 0;
    while lanes() > 0 {
        waited += 1;
        assert!(waited < 1_000, "{} lanes still run", lanes());
        std::thread::park_timeout(std::time::Duration::from_millis(10));
    }
}
