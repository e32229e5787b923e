//! Bad input: exit status 1, and a message that names what is wrong.

use shardlake_e2e::{Client, Scene};
use shardlake_testkit::{Flavor, ServerOptions, or_skip};

/// The statements fail, and the message has all the words.
#[track_caller]
fn check(client: &Client, statements: &str, words: &[&str]) {
    let answer = client.clone().run(statements).unwrap();
    let text = answer.text();
    assert_eq!(answer.status, Some(1), "{statements}\n{text}");
    for word in words {
        assert!(text.contains(word), "no {word:?} in the answer to {statements}\n{text}");
    }
    assert!(!text.contains("panicked"), "{text}");
}

fn client() -> (tempfile::TempDir, Client) {
    let folder = tempfile::tempdir().unwrap();
    let client = Client::new(&folder.path().join("state"));
    (folder, client)
}

#[test]
fn bad_statements_are_shown_with_their_place() {
    let (_folder, client) = client();
    check(&client, "SELEC 1;", &["SELEC", "^"]);
    check(&client, "SELECT 1 +;", &["^"]);
    check(&client, "SELECT * FROM nowhere;", &["nowhere"]);
    check(&client, "CREATE TABLE t (a STRIN) WITH ('connector'='datagen');", &["STRIN"]);
    check(&client, "SELECT 1; SELECT nothing; SELECT 2;", &["nothing"]);
    check(
        &client,
        "CREATE TABLE t (a INT) WITH ('connector'='nosuch'); SELECT * FROM t;",
        &["nosuch"],
    );
    check(&client, "SET 'execution.checkpointing.interval' = 'soon'; SELECT 1;", &["soon"]);
}

#[test]
fn first_failure_ends_the_script() {
    let (_folder, client) = client();
    let answer = client.run("SELECT 11 + 1; SELECT nothing; SELECT 40 + 2;").unwrap();
    assert_eq!(answer.status, Some(1));
    assert!(answer.stdout.contains("12"), "{answer:?}");
    assert!(!answer.stdout.contains("42"), "{answer:?}");
}

#[test]
fn bad_options_are_named() {
    let (_folder, client) = client();
    let source = |options: &str| {
        format!(
            "CREATE TABLE s (id INT NOT NULL, PRIMARY KEY (id) NOT ENFORCED) WITH ('connector'='mysql-cdc', {options});
             CREATE TABLE b (id INT) WITH ('connector'='blackhole');
             INSERT INTO b SELECT id FROM s;"
        )
    };
    let rest = "'username'='u','password'='p','database-name'='d','table-name'='t'";
    check(&client, &source(rest), &["hostname"]);
    let all = format!("'hostname'='127.0.0.1',{rest}");
    check(&client, &source(&format!("{all},'unknown'='1'")), &["unknown"]);
    check(&client, &source(&format!("{all},'port'='123b'")), &["port", "123b"]);
    check(
        &client,
        &source(&format!("{all},'scan.startup.mode'='abc'")),
        &["scan.startup.mode", "abc", "initial"],
    );
    check(&client, &source(&format!("{all},'server-id'='123b'")), &["server-id"]);
    check(&client, &source(&all.replace("'d'", "'*_invalid_db'")), &["*_invalid_db"]);
    check(
        &client,
        "CREATE TABLE l (id INT) WITH ('connector'='iceberg','catalog-type'='hadoop'); SELECT * FROM l;",
        &["catalog-name"],
    );
}

/// A job on one table of a server, with the restart strategy off so that its failure is final.
fn job(scene: &Scene, user: &str, password: &str, table: &str, columns: &str) -> String {
    format!(
        "SET 'restart-strategy.type' = 'none';
         CREATE TABLE s ({columns}) WITH ({}, 'connect.timeout' = '5s');
         CREATE TABLE l ({columns}) WITH ({});
         INSERT INTO l SELECT * FROM s;",
        scene.source_options(user, password, "shop", table),
        scene.lake_options()
    )
}

const COLUMNS: &str = "id INT NOT NULL, PRIMARY KEY (id) NOT ENFORCED";

#[test]
fn what_the_server_lacks_is_named() {
    let scene = or_skip!(Scene::start(ServerOptions::default().with_flavor(Flavor::Mysql)));
    scene
        .server
        .execute("CREATE DATABASE shop; CREATE TABLE shop.item (id INT PRIMARY KEY)")
        .unwrap();
    scene.server.execute("CREATE TABLE shop.keyless (id INT)").unwrap();
    scene
        .server
        .execute("CREATE USER poor@'%' IDENTIFIED BY 'p'; GRANT SELECT ON shop.* TO poor@'%'")
        .unwrap();
    let client = scene.client("input");
    check(&client, &job(&scene, "root", "wrong", "item", COLUMNS), &["root"]);
    check(&client, &job(&scene, "root", "", "nothing_like_it", COLUMNS), &["nothing_like_it"]);
    check(&client, &job(&scene, "poor", "p", "item", COLUMNS), &["REPLICATION"]);
    check(&client, &job(&scene, "root", "", "keyless", COLUMNS), &["keyless", "key"]);
    let unreachable = job(&scene, "root", "", "item", COLUMNS)
        .replace(&format!("'port' = '{}'", scene.server.port()), "'port' = '1'");
    check(&client, &unreachable, &["127.0.0.1", "1"]);
}

#[test]
fn unfit_binlog_settings_are_named() {
    for (flag, word) in [
        ("--binlog-row-image=MINIMAL", "binlog_row_image"),
        ("--binlog-format=STATEMENT", "binlog_format"),
        ("--skip-log-bin", "log_bin"),
    ] {
        let options = ServerOptions::default().with_flavor(Flavor::Mysql).without_gtid();
        let scene = or_skip!(Scene::start(options.with_flag(flag)));
        scene
            .server
            .execute("CREATE DATABASE shop; CREATE TABLE shop.item (id INT PRIMARY KEY)")
            .unwrap();
        check(&scene.client("input"), &job(&scene, "root", "", "item", COLUMNS), &[word]);
    }
}

#[test]
fn existing_table_with_another_schema_is_refused_by_column() {
    let (folder, client) = client();
    let lake = |columns: &str| {
        let warehouse = folder.path().join("warehouse");
        format!(
            "CREATE TABLE l ({columns}, PRIMARY KEY (id) NOT ENFORCED) WITH ('connector'='iceberg', \
             'catalog-name'='c', 'catalog-type'='hadoop', 'warehouse'='file://{}');",
            warehouse.display()
        )
    };
    client
        .run_ok(&format!(
            "{} INSERT INTO l VALUES (1, 'a');",
            lake("id INT NOT NULL, amount STRING")
        ))
        .unwrap();
    check(
        &client,
        &format!("{} SELECT * FROM l;", lake("id INT NOT NULL, amount BIGINT")),
        &["amount"],
    );
}

#[test]
fn purged_position_is_refused_and_not_started_over() {
    let scene = or_skip!(Scene::start(ServerOptions::default().with_flavor(Flavor::Mysql)));
    scene
        .server
        .execute("CREATE DATABASE shop; CREATE TABLE shop.item (id INT PRIMARY KEY)")
        .unwrap();
    scene.server.execute("INSERT INTO shop.item VALUES (1)").unwrap();
    let script = job(&scene, "root", "", "item", COLUMNS);
    let fast = script.replace(
        "CREATE TABLE s",
        "SET 'execution.checkpointing.interval' = '200ms'; CREATE TABLE s",
    );
    let lake = format!("CREATE TABLE l ({COLUMNS}) WITH ({});", scene.lake_options());
    let mut running = scene.job("purged", &fast).unwrap();
    scene.await_rows(&mut running, &lake, "SELECT * FROM l", &["1"]).unwrap();
    assert_eq!(running.stop("TERM").unwrap().code(), Some(0));
    for id in 2..5 {
        scene
            .server
            .execute(&format!("INSERT INTO shop.item VALUES ({id}); FLUSH BINARY LOGS"))
            .unwrap();
    }
    let logs = scene.server.query("SHOW BINARY LOGS").unwrap();
    let newest = &logs.last().unwrap()[0];
    scene.server.execute(&format!("PURGE BINARY LOGS TO '{newest}'")).unwrap();
    check(&scene.client("purged"), &script, &["no longer available", "binlog_expire_logs_seconds"]);
}
