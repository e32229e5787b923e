//! The tutorial, statement by statement, and its four states as three readers see them.

use std::time::Duration;

use serde_json::Value;
use shardlake_e2e::{Job, Scene, tutorial_script, wait_until};
use shardlake_testkit::{Reader, ServerOptions, or_skip};

/// A row of the tutorial as the readers print it.
fn user(database: u8, table: u8, id: u32, address: &str) -> String {
    // The third shard has no email column.
    let email = match (database, table) {
        (2, 1) => "null".to_owned(),
        _ => format!("\"user_{id}@foo.com\""),
    };
    format!(
        "{{\"db_name\":\"user_db_{database}\",\"table_name\":\"user_table_{table}\",\"id\":\"{id}\",\
         \"name\":\"user_{id}\",\"address\":\"{address}\",\"phone_number\":\"123567891234\",\
         \"email\":{email}}}"
    )
}

/// Waits until the lake has these rows, as all three readers see them.
fn expect_state(scene: &Scene, job: &mut Job, lake: &str, mut wanted: Vec<String>) {
    let table = scene.table("all_users_sink");
    let query = "SELECT * FROM all_users_sink";
    wanted.sort_unstable();
    wait_until("the next state", Duration::from_secs(60), || {
        job.ensure_running()?;
        // Until the job has made the table, there is nothing to read.
        let is_there = table.join("metadata/version-hint.text").exists();
        let rows = if is_there { Reader::DuckDb.rows(&table)? } else { Vec::new() };
        Ok((rows == wanted, rows))
    })
    .unwrap();
    assert_eq!(Reader::PyIceberg.rows(&table).unwrap(), wanted);
    let mut ours = scene.client("reader").select(lake, query).unwrap();
    ours.sort_unstable();
    let mut theirs: Vec<String> = wanted.iter().map(|line| values_of(line)).collect();
    theirs.sort_unstable();
    assert_eq!(ours, theirs);
}

/// The values of a row of the readers in the form in which our client's rows are compared.
fn values_of(line: &str) -> String {
    let row: Value = serde_json::from_str(line).unwrap();
    let keys = ["db_name", "table_name", "id", "name", "address", "phone_number", "email"];
    keys.map(|key| row[key].as_str().unwrap_or("NULL").to_owned()).join("|")
}

#[test]
fn tutorial_is_followed_state_by_state() {
    let scene = or_skip!(Scene::start(ServerOptions::default()));
    or_skip!(Reader::ensure_available());
    let script = tutorial_script(&scene).unwrap();
    let root = scene.server.session_of("root", "123456");
    let start = script.find("CREATE TABLE all_users_sink").unwrap();
    let end = script.find("INSERT INTO").unwrap();
    let lake = script.get(start..end).unwrap().to_owned();

    let mut job = scene.job("tutorial", &script).unwrap();
    let mut expect = |rows: Vec<String>| expect_state(&scene, &mut job, &lake, rows);

    let first = [user(1, 1, 11100, "Shanghai"), user(1, 2, 12100, "Shanghai")];
    let second = [user(2, 1, 21100, "Shanghai"), user(2, 2, 22100, "Shanghai")];
    expect([first.clone(), second.clone()].concat());

    let insert = "INSERT INTO user_db_1.user_table_1 VALUES \
                  (11101,'user_11101','Shanghai','123567891234','user_11101@foo.com')";
    root.execute(insert).unwrap();
    let new = user(1, 1, 11101, "Shanghai");
    expect([&first[..], &second[..], std::slice::from_ref(&new)].concat());

    root.execute("UPDATE user_db_1.user_table_2 SET address='Beijing' WHERE id=12100").unwrap();
    let moved = user(1, 2, 12100, "Beijing");
    expect(vec![
        first[0].clone(),
        new.clone(),
        moved.clone(),
        second[0].clone(),
        second[1].clone(),
    ]);

    root.execute("DELETE FROM user_db_2.user_table_1 WHERE id=21100").unwrap();
    expect(vec![first[0].clone(), new, moved, second[1].clone()]);

    assert_eq!(job.stop("TERM").unwrap().code(), Some(0));
}
