//! Shards whose columns change while the job runs, as the lake shows them to three readers.

use std::time::Duration;

use serde_json::Value;
use shardlake_e2e::{Job, Scene, wait_until};
use shardlake_testkit::{Reader, ServerOptions, or_skip};

const SHARDS: [&str; 4] = ["shop_1.users_1", "shop_1.users_2", "shop_2.users_1", "shop_2.users_2"];

/// Four shards with 20 rows each.
fn fill(scene: &Scene) {
    for shard in SHARDS {
        let (database, _) = shard.split_once('.').unwrap();
        scene
            .server
            .execute(&format!(
                "CREATE DATABASE IF NOT EXISTS {database}; \
                 CREATE TABLE {shard} (id INT PRIMARY KEY, name VARCHAR(20), age INT); \
                 INSERT INTO {shard} WITH RECURSIVE n AS (SELECT 1 AS id UNION ALL SELECT id + 1 FROM n \
                 WHERE id < 20) SELECT id, CONCAT('n', id), id FROM n"
            ))
            .unwrap();
    }
}

fn lake(scene: &Scene, behavior: &str) -> String {
    format!(
        "CREATE TABLE lake (db STRING, tab STRING, id INT, name STRING, age INT, \
         PRIMARY KEY (db, tab, id) NOT ENFORCED) WITH ({}, 'schema.evolution' = 'true', \
         'schema.change.behavior' = '{behavior}');\n",
        scene.lake_options()
    )
}

fn script(scene: &Scene, behavior: &str) -> String {
    let source = scene.source_options("root", "", "shop_[0-9]+", "users_[0-9]+");
    format!(
        "SET 'execution.checkpointing.interval' = '200ms';\n\
         CREATE TABLE source (db STRING METADATA FROM 'database_name' VIRTUAL, \
         tab STRING METADATA FROM 'table_name' VIRTUAL, id INT, name STRING, age INT, \
         PRIMARY KEY (id) NOT ENFORCED) WITH ({source}, 'server-time-zone' = 'UTC');\n{}\
         INSERT INTO lake SELECT * FROM source;\n",
        lake(scene, behavior)
    )
}

/// The rows of the lake as DuckDB reads them, as `db.tab|id|…` with these columns.
fn rows(scene: &Scene, columns: &[&str]) -> anyhow::Result<Vec<String>> {
    let table = scene.table("lake");
    if !table.join("metadata/version-hint.text").exists() {
        return Ok(Vec::new());
    }
    let text = |row: &Value, column: &str| match &row[column] {
        Value::String(text) => text.clone(),
        Value::Null => "NULL".to_owned(),
        other => other.to_string(),
    };
    let mut rows = Vec::new();
    for line in Reader::DuckDb.rows(&table)? {
        let row: Value = serde_json::from_str(&line)?;
        let shard = format!("{}.{}", text(&row, "db"), text(&row, "tab"));
        let values = columns.iter().map(|column| text(&row, column));
        rows.push(std::iter::once(shard).chain(values).collect::<Vec<_>>().join("|"));
    }
    rows.sort_unstable();
    Ok(rows)
}

/// The rows that the server's shards have, in the same form.
fn expected(scene: &Scene, queries: &[(&str, &str)]) -> Vec<String> {
    let mut expected = Vec::new();
    for (shard, columns) in queries {
        let sql = format!("SELECT '{shard}', id, {columns} FROM {shard}");
        let rows = scene.server.query(&sql).unwrap();
        expected.extend(rows.into_iter().map(|row| row.join("|")));
    }
    expected.sort_unstable();
    expected
}

/// Waits until the lake has exactly these rows in these columns.
fn await_lake(scene: &Scene, job: &mut Job, columns: &[&str], wanted: &[String]) {
    wait_until("the lake shows the shards", Duration::from_secs(90), || {
        job.ensure_running()?;
        let rows = rows(scene, columns)?;
        Ok((rows == wanted, (rows.len(), rows.into_iter().take(3).collect::<Vec<_>>())))
    })
    .unwrap();
}

#[test]
fn a_column_is_added_shard_by_shard_under_writes_and_through_a_crash() {
    let scene = or_skip!(Scene::start(ServerOptions::default()));
    or_skip!(Reader::ensure_available());
    fill(&scene);
    let script = script(&scene, "lenient");
    let mut job = scene.job("evolution", &script).unwrap();
    let all = SHARDS.map(|shard| (shard, "name, age"));
    await_lake(&scene, &mut job, &["id", "name", "age"], &expected(&scene, &all));
    for (number, shard) in SHARDS.into_iter().enumerate() {
        let number = number + 1;
        scene
            .server
            .execute(&format!(
                "UPDATE {shard} SET age = age + 1 WHERE id < 5; \
                 ALTER TABLE {shard} ADD COLUMN email VARCHAR(50) AFTER id, MODIFY age BIGINT; \
                 INSERT INTO {shard} (id, name, age, email) VALUES (100, 'new', 5000000000, 'a@b'); \
                 UPDATE {shard} SET email = CONCAT(name, '@x') WHERE id % 3 = 0; \
                 DELETE FROM {shard} WHERE id = 20"
            ))
            .unwrap();
        // In the middle of it all the process dies, whatever it has committed.
        if number == 2 {
            job.kill_dash_nine().unwrap();
            job = scene.job("evolution", &script).unwrap();
        }
    }
    let all = SHARDS.map(|shard| (shard, "name, age, COALESCE(email, 'NULL')"));
    let wanted = expected(&scene, &all);
    assert_eq!(wanted.len(), 80);
    await_lake(&scene, &mut job, &["id", "name", "age", "email"], &wanted);
    // Our own reader shows the new column, too.
    let ours = scene.client("reader").select(
        &lake(&scene, "lenient"),
        "SELECT age, email FROM lake WHERE db = 'shop_2' AND tab = 'users_1' AND id = 100",
    );
    assert_eq!(ours.unwrap(), ["5000000000|a@b"]);
    // A column that goes stays, and is NULL from then on; one that gets another name is a new one.
    scene
        .server
        .execute(
            "ALTER TABLE shop_1.users_1 DROP COLUMN email; \
             UPDATE shop_1.users_1 SET age = 0 WHERE id = 3; \
             ALTER TABLE shop_2.users_2 RENAME COLUMN email TO mail; \
             UPDATE shop_2.users_2 SET mail = 'm' WHERE id = 6",
        )
        .unwrap();
    let mut changed: Vec<String> = wanted
        .iter()
        .map(|row| match row.as_str() {
            "shop_1.users_1|3|n3|4|n3@x" => "shop_1.users_1|3|n3|0|NULL|NULL".to_owned(),
            "shop_2.users_2|6|n6|6|n6@x" => "shop_2.users_2|6|n6|6|NULL|m".to_owned(),
            row => format!("{row}|NULL"),
        })
        .collect();
    changed.sort_unstable();
    await_lake(&scene, &mut job, &["id", "name", "age", "email", "mail"], &changed);
}

#[test]
fn exchanged_new_and_emptied_shards_are_followed() {
    let scene = or_skip!(Scene::start(ServerOptions::default()));
    or_skip!(Reader::ensure_available());
    fill(&scene);
    let mut job = scene.job("shards", &script(&scene, "evolve")).unwrap();
    let all = SHARDS.map(|shard| (shard, "name, age"));
    await_lake(&scene, &mut job, &["id", "name", "age"], &expected(&scene, &all));
    scene.server.execute("SET GLOBAL log_bin_trust_function_creators = 1").unwrap();
    scene
        .server
        .execute(
            "USE shop_1; CREATE TABLE _users_1_gho LIKE users_1; \
             ALTER TABLE _users_1_gho ADD COLUMN g INT; \
             INSERT INTO _users_1_gho SELECT *, NULL FROM users_1; \
             RENAME TABLE users_1 TO _users_1_del, _users_1_gho TO users_1; DROP TABLE _users_1_del; \
             UPDATE users_1 SET g = 7 WHERE id = 7; \
             CREATE TABLE _users_2_new LIKE users_2; \
             ALTER TABLE _users_2_new ADD COLUMN p VARCHAR(9) FIRST; \
             CREATE TRIGGER pt_upd AFTER UPDATE ON users_2 FOR EACH ROW \
             REPLACE INTO _users_2_new (id, name, age) VALUES (NEW.id, NEW.name, NEW.age); \
             INSERT IGNORE INTO _users_2_new (id, name, age) SELECT id, name, age FROM users_2; \
             UPDATE users_2 SET age = 99 WHERE id = 9; \
             RENAME TABLE users_2 TO _users_2_old, _users_2_new TO users_2; DROP TABLE _users_2_old; \
             UPDATE users_2 SET p = 'p' WHERE id = 2; \
             CREATE DATABASE shop_3; CREATE TABLE shop_3.users_9 LIKE shop_1.users_1; \
             INSERT INTO shop_3.users_9 VALUES (1, 'x', 1, 2); \
             TRUNCATE shop_2.users_1; INSERT INTO shop_2.users_1 VALUES (5, 'again', 5); \
             DROP TABLE shop_2.users_2",
        )
        .unwrap();
    let wanted = expected(
        &scene,
        &[
            ("shop_1.users_1", "name, age, IFNULL(g, 'NULL'), 'NULL'"),
            ("shop_1.users_2", "name, age, 'NULL', IFNULL(p, 'NULL')"),
            ("shop_2.users_1", "name, age, 'NULL', 'NULL'"),
            ("shop_3.users_9", "name, age, g, 'NULL'"),
        ],
    );
    assert_eq!(wanted.len(), 42);
    await_lake(&scene, &mut job, &["id", "name", "age", "g", "p"], &wanted);
}

#[test]
fn rows_of_an_emptied_shard_stay_where_nothing_shall_be_lost() {
    let scene = or_skip!(Scene::start(ServerOptions::default()));
    or_skip!(Reader::ensure_available());
    fill(&scene);
    let mut job = scene.job("lenient", &script(&scene, "lenient")).unwrap();
    let all = SHARDS.map(|shard| (shard, "name, age"));
    let mut wanted = expected(&scene, &all);
    await_lake(&scene, &mut job, &["id", "name", "age"], &wanted);
    scene
        .server
        .execute("TRUNCATE shop_2.users_1; INSERT INTO shop_2.users_1 VALUES (50, 'new', 1)")
        .unwrap();
    wanted.push("shop_2.users_1|50|new|1".to_owned());
    wanted.sort_unstable();
    await_lake(&scene, &mut job, &["id", "name", "age"], &wanted);
}
