//! The test environment itself: servers start, end and come back as the tests of other crates rely on.

use shardlake_testkit::{Flavor, MysqlServer, Reader, ServerOptions, or_skip};

#[test]
fn keeps_its_data_through_restart_and_kill() {
    let options = ServerOptions::default().with_sync_binlog(1);
    let mut server = or_skip!(MysqlServer::start(options));
    let port = server.port();
    server.execute("CREATE DATABASE d; CREATE TABLE d.t (a INT PRIMARY KEY, b TEXT)").unwrap();
    server.execute("INSERT INTO d.t VALUES (1, 'it''s; ok'), (2, NULL)").unwrap();
    server.restart().unwrap();
    server.execute("INSERT INTO d.t VALUES (3, '')").unwrap();
    server.kill_dash_nine().unwrap();
    assert!(server.query("SELECT 1").is_err());
    server.start_again().unwrap();
    assert_eq!(server.port(), port);
    let rows = server.query("SELECT * FROM d.t ORDER BY a").unwrap();
    assert_eq!(rows, [["1", "it's; ok"], ["2", "NULL"], ["3", ""]]);
}

#[test]
fn is_configured_as_asked() {
    let options = ServerOptions::default().without_gtid().with_flag("--binlog-row-image=MINIMAL");
    let server = or_skip!(MysqlServer::start(options.with_flavor(Flavor::Mysql)));
    let sql = "SELECT @@gtid_mode, @@binlog_row_image, @@binlog_format";
    assert_eq!(server.query(sql).unwrap(), [["OFF", "MINIMAL", "ROW"]]);

    server.create_reader("o'neil", "p\"a's;s").unwrap();
    let reader = server.session_of("o'neil", "p\"a's;s");
    assert_eq!(reader.query("SELECT 1").unwrap(), [["1"]]);
    assert!(reader.execute("CREATE DATABASE forbidden").is_err());
    assert!(server.session_of("o'neil", "wrong").query("SELECT 1").is_err());
}

#[test]
fn two_servers_are_two_servers() {
    let first = or_skip!(MysqlServer::start(ServerOptions::default().with_flavor(Flavor::Mysql)));
    let second = or_skip!(MysqlServer::start(
        ServerOptions::default().with_flavor(Flavor::Mysql).with_server_id(2)
    ));
    let uuid = |server: &MysqlServer| server.query("SELECT @@server_uuid, @@server_id").unwrap();
    assert_ne!(uuid(&first), uuid(&second));
    assert_ne!(first.port(), second.port());
}

#[test]
fn mariadb_stands_in() {
    let options = ServerOptions::default().with_flavor(Flavor::Mariadb);
    let server = or_skip!(MysqlServer::start(options));
    let version = server.query("SELECT VERSION(), @@binlog_format").unwrap();
    assert!(version[0][0].contains("MariaDB"), "{version:?}");
    assert_eq!(version[0][1], "ROW");
}

#[test]
fn readers_start() {
    or_skip!(Reader::ensure_available());
    assert!(Reader::DuckDb.rows("no/such/table".as_ref()).is_err());
}
