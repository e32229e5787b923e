//! A password is in no output and in no file.

use std::fs;
use std::path::Path;

use shardlake_e2e::Scene;
use shardlake_testkit::{ServerOptions, or_skip};

const PASSWORD: &str = "Geh31mnis-zq7";

fn files_with(folder: &Path, word: &[u8], found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files_with(&path, word, found);
        } else if fs::read(&path).is_ok_and(|bytes| bytes.windows(word.len()).any(|w| w == word)) {
            found.push(path.display().to_string());
        }
    }
}

#[test]
fn passwords_are_nowhere() {
    let scene = or_skip!(Scene::start(ServerOptions::default()));
    scene.server.create_reader("reader", PASSWORD).unwrap();
    scene.server.execute("CREATE DATABASE shop").unwrap();
    scene.server.execute("CREATE TABLE shop.item (id INT PRIMARY KEY)").unwrap();
    scene.server.execute("INSERT INTO shop.item VALUES (1)").unwrap();
    let table = |user: &str, password: &str| {
        format!(
            "CREATE TABLE item (id INT NOT NULL, PRIMARY KEY (id) NOT ENFORCED) WITH ({});",
            scene.source_options(user, password, "shop", "item")
        )
    };
    let source = table("reader", PASSWORD);
    let lake = format!(
        "CREATE TABLE item_lake (id INT NOT NULL, PRIMARY KEY (id) NOT ENFORCED) WITH ({});",
        scene.lake_options()
    );
    let script = format!(
        "SET 'execution.checkpointing.interval' = '200ms'; {source} {lake}
         SHOW CREATE TABLE item; DESCRIBE item; EXPLAIN SELECT * FROM item; SHOW TABLES;
         INSERT INTO item_lake SELECT * FROM item;"
    );
    let mut job = scene.job("secrets", &script).unwrap();
    scene.await_rows(&mut job, &lake, "SELECT * FROM item_lake", &["1"]).unwrap();
    assert!(job.log().contains("'password' = '"), "SHOW CREATE TABLE must show that there is one");
    assert!(!job.log().contains(PASSWORD), "{}", job.log());
    assert_eq!(job.stop("TERM").unwrap().code(), Some(0));

    // Mistakes around the password, too.
    let client = scene.client("mistakes");
    let wrong = format!("{PASSWORD}-wrong");
    let insert = "INSERT INTO item_lake SELECT * FROM item;";
    for statements in [
        format!(
            "{} {lake} SET 'restart-strategy.type' = 'none'; {insert}",
            table("reader", &wrong)
        ),
        format!("{source} SELECT nonsense FROM item;"),
        format!("{} SELECT * FROM item;", source.replace("'password'", "'pass word'")),
        format!("{} SELECT * FROM item;", source.replace("'port' = '", "'port' = 'x")),
        source.replace("WITH (", "WITH "),
        format!("SET 'password' = '{PASSWORD}' 'x';"),
    ] {
        let answer = client.run(&statements).unwrap();
        assert_eq!(answer.status, Some(1), "{statements}: {answer:?}");
        assert!(!answer.text().contains(PASSWORD), "{answer:?}");
    }

    let mut found = Vec::new();
    files_with(&scene.warehouse(), PASSWORD.as_bytes(), &mut found);
    files_with(&scene.folder().join("state"), PASSWORD.as_bytes(), &mut found);
    assert!(found.is_empty(), "{found:?}");
}
