//! Where reading starts, and what it meets there.

use shardlake_change::LogicalType;
use shardlake_connector::Phase;
use shardlake_testkit::{MysqlServer, ServerOptions, or_skip};

use crate::reading::{Definition, Job};

fn definition(server: &MysqlServer, mode: &str) -> Definition {
    Definition::new(server, "start", "t")
        .column("id", LogicalType::Int)
        .option("scan.startup.mode", mode)
}

fn server_with_rows(options: ServerOptions) -> Result<MysqlServer, shardlake_testkit::Error> {
    let server = MysqlServer::start(options)?;
    server.execute("CREATE DATABASE start; CREATE TABLE start.t (id INT PRIMARY KEY)")?;
    server.execute("INSERT INTO start.t VALUES (1)")?;
    Ok(server)
}

fn ids(job: &Job) -> Vec<String> {
    job.rows.values().map(|row| row[0].clone()).collect()
}

/// Inserts the row 9 and reads until it has come.
fn read_to_nine(server: &MysqlServer, job: &mut Job) -> Vec<String> {
    server.execute("INSERT INTO start.t VALUES (9)").unwrap();
    job.until(|job| job.rows.contains_key(["9".to_owned()].as_slice()));
    server.execute("DELETE FROM start.t WHERE id = 9").unwrap();
    ids(job)
}

#[test]
fn each_mode_starts_at_its_place() {
    for gtid in [true, false] {
        let options = ServerOptions::default();
        let options = if gtid { options } else { options.without_gtid() };
        let server = or_skip!(server_with_rows(options));
        let mut job = definition(&server, "latest-offset").read(None).unwrap();
        assert_eq!(read_to_nine(&server, &mut job), ["9"]);
        assert_eq!(job.phase(), Some(Phase::Streaming));

        let mut job = definition(&server, "earliest-offset").read(None).unwrap();
        assert_eq!(read_to_nine(&server, &mut job), ["1", "9"]);

        let (status, gtids) = server.binlog_status().unwrap();
        server.execute("INSERT INTO start.t VALUES (2)").unwrap();
        let mut job = definition(&server, "specific-offset")
            .option("scan.startup.specific-offset.file", &status.0)
            .option("scan.startup.specific-offset.pos", &status.1.to_string())
            .read(None)
            .unwrap();
        assert_eq!(read_to_nine(&server, &mut job), ["2", "9"]);

        if gtid {
            let mut job = definition(&server, "specific-offset")
                .option("scan.startup.specific-offset.gtid-set", &gtids)
                .read(None)
                .unwrap();
            assert_eq!(read_to_nine(&server, &mut job), ["2", "9"]);
        }

        server.execute("FLUSH BINARY LOGS; DO SLEEP(1.1)").unwrap();
        let now = server.query("SELECT UNIX_TIMESTAMP() * 1000").unwrap().remove(0).remove(0);
        server.execute("INSERT INTO start.t VALUES (3)").unwrap();
        let mut job = definition(&server, "timestamp")
            .option("scan.startup.timestamp-millis", &now)
            .read(None)
            .unwrap();
        assert_eq!(read_to_nine(&server, &mut job), ["3", "9"]);
    }
}

#[test]
fn rows_that_vanished_without_row_events_do_not_come_back() {
    for options in [ServerOptions::default(), ServerOptions::default().without_gtid()] {
        let server = or_skip!(server_with_rows(options));
        server
            .execute(
                "TRUNCATE start.t; INSERT INTO start.t VALUES (2); DROP TABLE start.t; \
                 CREATE TABLE start.t (name VARCHAR(9), id INT PRIMARY KEY); \
                 INSERT INTO start.t VALUES ('a', 3); DROP DATABASE start; CREATE DATABASE start; \
                 CREATE TABLE start.t (id INT PRIMARY KEY); INSERT INTO start.t VALUES (4)",
            )
            .unwrap();
        let mut job = definition(&server, "initial").read(None).unwrap();
        job.until_streaming();
        assert_eq!(read_to_nine(&server, &mut job), ["4", "9"]);
    }
}

#[test]
fn an_xa_transaction_that_was_prepared_before_is_read_when_it_commits() {
    for options in [ServerOptions::default(), ServerOptions::default().without_gtid()] {
        let server = or_skip!(server_with_rows(options));
        let session = server.session();
        session
            .execute("XA START 'x'; INSERT INTO start.t VALUES (7); XA END 'x'; XA PREPARE 'x'")
            .unwrap();
        server.execute("FLUSH BINARY LOGS").unwrap();
        let mut job = definition(&server, "initial").read(None).unwrap();
        job.until_streaming();
        assert_eq!(ids(&job), ["1"]);
        session.execute("XA COMMIT 'x'").unwrap();
        assert_eq!(read_to_nine(&server, &mut job), ["1", "7", "9"]);
    }
}

#[test]
fn names_may_hold_any_character() {
    let server = or_skip!(MysqlServer::start(ServerOptions::default()));
    let session = server.session();
    session
        .execute(
            "SET NAMES utf8mb4; CREATE DATABASE `a.b-c`; CREATE DATABASE `größe`; \
             CREATE TABLE `a.b-c`.`x``y 'z\"\\\\` (`k``ey` INT PRIMARY KEY, `naïve name` INT); \
             INSERT INTO `a.b-c`.`x``y 'z\"\\\\` VALUES (1, 10); \
             CREATE TABLE `größe`.`表` (`k``ey` INT PRIMARY KEY, `naïve name` INT); \
             INSERT INTO `größe`.`表` VALUES (2, 20)",
        )
        .unwrap();
    let mut job = Definition::new(&server, "a\\.b-c|gr.+e", ".*")
        .metadata("db", "database_name", LogicalType::String)
        .metadata("t", "table_name", LogicalType::String)
        .column("k`ey", LogicalType::Int)
        .column("naïve name", LogicalType::Int)
        .read(None)
        .unwrap();
    job.until_streaming();
    session
        .execute("UPDATE `größe`.`表` SET `naïve name` = 21; INSERT INTO `a.b-c`.`x``y 'z\"\\\\` VALUES (3, 30)")
        .unwrap();
    job.until(|job| job.changes == 5);
    insta::assert_snapshot!(job.text(), @r#"
    a.b-c | x`y 'z"\\ | 3 | 30
    größe | 表 | 2 | 21
    "#);
}

#[test]
fn certificates_are_checked_when_that_is_asked_for() {
    let server = or_skip!(server_with_rows(ServerOptions::default()));
    let authority = server.data_folder().join("ca.pem");
    let read = |mode: &str, authority: Option<&str>| {
        let definition = definition(&server, "snapshot").option("jdbc.properties.sslMode", mode);
        match authority {
            Some(file) => {
                definition.option("jdbc.properties.trustCertificateKeyStoreUrl", file).read(None)
            }
            None => definition.read(None),
        }
    };
    let authority = format!("file://{}", authority.display());
    read("VERIFY_CA", Some(&authority)).unwrap().until_streaming();
    read("VERIFY_CA", None).err().unwrap();
    // The server's own certificate names no host.
    read("VERIFY_IDENTITY", Some(&authority)).err().unwrap();
}
