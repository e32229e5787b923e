//! What is MariaDB's own. The other tests run with it by `SHARDLAKE_SERVER=mariadb`.

use shardlake_change::LogicalType;
use shardlake_testkit::{Flavor, MysqlServer, ServerOptions, or_skip};

use crate::load;
use crate::reading::Definition;

fn options() -> ServerOptions {
    ServerOptions::default().with_flavor(Flavor::Mariadb)
}

fn definition(server: &MysqlServer) -> Definition {
    Definition::new(server, "shop", "orders")
        .column("id", LogicalType::Int)
        .column("key", LogicalType::String)
        .column("doc", LogicalType::String)
}

#[test]
fn snapshot_and_binlog_of_mariadb_meet_without_gap() {
    load::check(options());
}

#[test]
fn a_job_goes_on_by_gtid_where_another_mariadb_answers() {
    let server = or_skip!(MysqlServer::start(
        options().with_flag("--binlog-transaction-compression=ON").with_flag("--gtid-domain-id=7")
    ));
    server
        .execute(
            "CREATE DATABASE shop; CREATE TABLE shop.orders (id INT PRIMARY KEY, `key` UUID, doc JSON); \
             INSERT INTO shop.orders VALUES (1, '6ba7b810-9dad-11d1-80b4-00c04fd430c8', '[1]')",
        )
        .unwrap();
    let mut job = definition(&server).read(None).unwrap();
    job.until_streaming();
    server.execute("INSERT INTO shop.orders VALUES (2, NULL, '{\"a\":  1}')").unwrap();
    job.until(|job| job.rows.len() == 2);
    let mut position = job.position().unwrap();
    for lane in position.values_mut() {
        let gtids = server.query("SELECT @@GLOBAL.gtid_binlog_pos").unwrap().concat().concat();
        assert_eq!(lane["gtid_set"], gtids.as_str());
        assert!(gtids.starts_with("7-1-"), "{gtids}");
        // As if it had been read from the server that this one has replaced.
        lane["server_uuid"] = "another".into();
        lane["file"] = "another.000001".into();
    }
    let rows = job.into_rows();
    let mut job = definition(&server).read(Some(position)).unwrap();
    job.rows = rows;
    server
        .execute(
            "UPDATE shop.orders SET `key` = '00000000-0000-0000-0000-00000000000a' WHERE id = 2",
        )
        .unwrap();
    job.until(|job| job.changes == 2);
    assert_eq!(
        job.text(),
        "1 | 6ba7b810-9dad-11d1-80b4-00c04fd430c8 | [1]\n\
         2 | 00000000-0000-0000-0000-00000000000a | {\"a\":  1}\n"
    );
}
