//! One table over two servers, of which one purges the binlog while the job is away.

use shardlake_e2e::Scene;
use shardlake_testkit::{MysqlServer, ServerOptions, or_skip};

const QUERY: &str = "SELECT server_name, id, name FROM item_lake";

fn script(servers: &[&MysqlServer], lake: &str, more: &str) -> String {
    let hosts: Vec<String> =
        servers.iter().map(|server| format!("127.0.0.1:{}", server.port())).collect();
    format!(
        "SET 'execution.checkpointing.interval' = '200ms';
         CREATE TABLE item (
             server_name STRING METADATA VIRTUAL, database_name STRING METADATA VIRTUAL,
             table_name STRING METADATA VIRTUAL, id BIGINT NOT NULL, name STRING,
             PRIMARY KEY (id) NOT ENFORCED
         ) WITH (
             'connector' = 'mysql-cdc', 'hostname' = '{}', 'username' = 'root', 'password' = '',
             'database-name' = 'shop', 'table-name' = 'item', 'server-time-zone' = 'UTC'{more}
         );
         {lake}
         INSERT INTO item_lake SELECT * FROM item;",
        hosts.join(", ")
    )
}

#[test]
fn a_server_that_has_purged_its_binlog_is_read_again() {
    let scene = or_skip!(Scene::start(ServerOptions::default()));
    let second = or_skip!(MysqlServer::start(ServerOptions::default()));
    let lake = format!(
        "CREATE TABLE item_lake (server_name STRING NOT NULL, database_name STRING NOT NULL, \
         table_name STRING NOT NULL, id BIGINT NOT NULL, name STRING, \
         PRIMARY KEY (server_name, database_name, table_name, id) NOT ENFORCED) WITH ({});",
        scene.lake_options()
    );
    for server in [&scene.server, &second] {
        server
            .execute(
                "CREATE DATABASE shop; CREATE TABLE shop.item (id INT PRIMARY KEY, name VARCHAR(40)); \
                 INSERT INTO shop.item VALUES (1, 'one'), (2, 'two'), (3, 'three')",
            )
            .unwrap();
    }
    let row = |server: &MysqlServer, row: &str| format!("127.0.0.1:{}|{row}", server.port());
    let rows = |first: &[&str], others: &[&str]| -> Vec<String> {
        let first = first.iter().map(|text| row(&scene.server, text));
        first.chain(others.iter().map(|text| row(&second, text))).collect()
    };
    let servers = [&scene.server, &second];
    let await_rows = |job: &mut _, rows: Vec<String>| {
        let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
        scene.await_rows(job, &lake, QUERY, &rows).unwrap();
    };
    let mut job = scene.job("first", &script(&servers, &lake, "")).unwrap();
    let all = ["1|one", "2|two", "3|three"];
    await_rows(&mut job, rows(&all, &all));
    assert_eq!(job.stop("TERM").unwrap().code(), Some(0));

    scene
        .server
        .execute(
            "DELETE FROM shop.item WHERE id = 1; UPDATE shop.item SET name = 'TWO' WHERE id = 2; \
             INSERT INTO shop.item VALUES (4, 'four'); FLUSH BINARY LOGS",
        )
        .unwrap();
    let files = scene.server.query("SHOW BINARY LOGS").unwrap();
    let last = &files.last().unwrap()[0];
    scene.server.execute(&format!("PURGE BINARY LOGS TO '{last}'")).unwrap();
    second.execute("DELETE FROM shop.item WHERE id = 2").unwrap();

    let more = ", 'scan.purged-binlog' = 'resnapshot'";
    let mut job = scene.job("second", &script(&servers, &lake, more)).unwrap();
    await_rows(&mut job, rows(&["2|TWO", "3|three", "4|four"], &["1|one", "3|three"]));
    scene.server.execute("DELETE FROM shop.item WHERE id = 4").unwrap();
    await_rows(&mut job, rows(&["2|TWO", "3|three"], &["1|one", "3|three"]));
    assert_eq!(job.stop("TERM").unwrap().code(), Some(0));
}
