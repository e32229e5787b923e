//! Names and values with every character that quoting can get wrong, and an empty password.

use shardlake_e2e::Scene;
use shardlake_testkit::{Reader, ServerOptions, or_skip};

#[test]
fn strange_names_and_values_arrive_as_they_are() {
    let scene = or_skip!(Scene::start(ServerOptions::default()));
    or_skip!(Reader::ensure_available());
    scene.server.execute("CREATE USER 'le sage'@'%' IDENTIFIED BY ''").unwrap();
    let grants = "SELECT, RELOAD, REPLICATION SLAVE, REPLICATION CLIENT, SHOW DATABASES";
    scene.server.execute(&format!("GRANT {grants} ON *.* TO 'le sage'@'%'")).unwrap();
    for database in ["dash-ed", "dot.ted", "größe 多"] {
        scene.server.execute(&format!("CREATE DATABASE `{database}`")).unwrap();
        let create = "(`the id` INT PRIMARY KEY, `naïve;col` TEXT CHARACTER SET utf8mb4)";
        scene.server.execute(&format!("CREATE TABLE `{database}`.`t-1.x 表` {create}")).unwrap();
    }
    scene
        .server
        .execute("INSERT INTO `dash-ed`.`t-1.x 表` VALUES (1, 'it''s; \"so\" -- no')")
        .unwrap();
    scene
        .server
        .execute("INSERT INTO `dot.ted`.`t-1.x 表` VALUES (1, 'back\\\\slash /* c */')")
        .unwrap();
    scene.server.execute("INSERT INTO `größe 多`.`t-1.x 表` VALUES (1, '多语言 🦀')").unwrap();

    let lake = format!(
        "CREATE TABLE `ziel.tabelle-é` (db STRING, tab STRING, `the id` INT NOT NULL, `naïve;col` STRING, \
         PRIMARY KEY (db, tab, `the id`) NOT ENFORCED) WITH ({});",
        scene.lake_options()
    );
    let script = format!(
        "SET 'execution.checkpointing.interval' = '200ms'; -- a comment; with a semicolon
         CREATE TABLE s (db STRING METADATA FROM 'database_name' VIRTUAL, \
           tab STRING METADATA FROM 'table_name' VIRTUAL, `the id` INT NOT NULL, `naïve;col` STRING, \
           PRIMARY KEY (`the id`) NOT ENFORCED) WITH ({});
         {lake}
         INSERT INTO `ziel.tabelle-é` SELECT * FROM s WHERE `naïve;col` <> 'no; ''such'' row';",
        scene.source_options("le sage", "", "(dash-ed|dot\\.ted|größe 多)", "t-1\\.x .")
    );
    let mut job = scene.job("names", &script).unwrap();
    let query = "SELECT * FROM `ziel.tabelle-é`";
    let first = [
        "dash-ed|t-1.x 表|1|it's; \"so\" -- no",
        "dot.ted|t-1.x 表|1|back\\slash /* c */",
        "größe 多|t-1.x 表|1|多语言 🦀",
    ];
    scene.await_rows(&mut job, &lake, query, &first).unwrap();
    scene
        .server
        .execute("UPDATE `größe 多`.`t-1.x 表` SET `naïve;col` = '' WHERE `the id` = 1")
        .unwrap();
    scene.server.execute("INSERT INTO `dot.ted`.`t-1.x 表` VALUES (2, 'a\nb\tc')").unwrap();
    let second = [first[0], first[1], "größe 多|t-1.x 表|1|", "dot.ted|t-1.x 表|2|a\nb\tc"];
    scene.await_rows(&mut job, &lake, query, &second).unwrap();

    let table = scene.table("ziel.tabelle-é");
    assert_eq!(Reader::DuckDb.rows(&table).unwrap(), Reader::PyIceberg.rows(&table).unwrap());
    assert_eq!(Reader::DuckDb.rows(&table).unwrap().len(), 4);
    assert_eq!(job.stop("TERM").unwrap().code(), Some(0));
}
