//! Several processes, and how a process ends.

use std::time::Duration;

use shardlake_e2e::{Scene, pause, wait_until};
use shardlake_testkit::{ServerOptions, or_skip};

struct Statements {
    lake: String,
    script: String,
}

fn statements(scene: &Scene) -> Statements {
    scene.server.execute("CREATE DATABASE shop").unwrap();
    scene.server.execute("CREATE TABLE shop.item (id INT PRIMARY KEY, name VARCHAR(40))").unwrap();
    scene.server.execute("INSERT INTO shop.item VALUES (1, 'one')").unwrap();
    let lake = format!(
        "CREATE TABLE item_lake (id INT NOT NULL, name STRING, PRIMARY KEY (id) NOT ENFORCED) WITH ({});",
        scene.lake_options()
    );
    let script = format!(
        "SET 'execution.checkpointing.interval' = '200ms';
         CREATE TABLE item (id INT NOT NULL, name STRING, PRIMARY KEY (id) NOT ENFORCED) WITH ({});
         {lake}
         INSERT INTO item_lake SELECT * FROM item;",
        scene.source_options("root", "", "shop", "item")
    );
    Statements { lake, script }
}

const QUERY: &str = "SELECT id, name FROM item_lake";

#[test]
fn second_process_on_the_same_state_is_turned_away() {
    let scene = or_skip!(Scene::start(ServerOptions::default()));
    let Statements { lake, script } = statements(&scene);
    let mut job = scene.job("first", &script).unwrap();
    scene.await_rows(&mut job, &lake, QUERY, &["1|one"]).unwrap();

    let second = scene.client("first").run("SHOW TABLES;").unwrap();
    assert_eq!(second.status, Some(1), "{second:?}");
    assert!(second.text().contains(&job.id().to_string()), "names no process: {second:?}");

    // A killed process leaves no lock behind.
    job.kill_dash_nine().unwrap();
    scene.client("first").run_ok("SHOW TABLES;").unwrap();
}

#[test]
fn newer_job_fences_the_older() {
    let scene = or_skip!(Scene::start(ServerOptions::default()));
    let Statements { lake, script } = statements(&scene);
    let mut older = scene.job("older", &script).unwrap();
    scene.await_rows(&mut older, &lake, QUERY, &["1|one"]).unwrap();
    let mut newer = scene.job("newer", &script).unwrap();
    // The newer one owns the table from its claim on; the older one notices when it next commits.
    wait_until("the newer one has claimed the table", Duration::from_secs(30), || {
        newer.ensure_running()?;
        let log = newer.log();
        Ok((log.contains("Job ID"), log))
    })
    .unwrap();
    let mut id = 1;
    let status = wait_until("the older one ends", Duration::from_secs(60), || {
        id += 1;
        scene.server.execute(&format!("INSERT INTO shop.item VALUES ({id}, 'more')"))?;
        newer.ensure_running()?;
        let ended = older.wait(Duration::from_millis(300));
        Ok((ended.is_ok(), ended.ok()))
    })
    .unwrap();
    assert_eq!(status.and_then(|status| status.code()), Some(1));
    assert!(older.log().contains("was fenced"), "gives no reason: {}", older.log());

    let rows: Vec<String> = scene
        .server
        .query("SELECT id, name FROM shop.item")
        .unwrap()
        .into_iter()
        .map(|row| row.join("|"))
        .collect();
    let expected: Vec<&str> = rows.iter().map(String::as_str).collect();
    scene.await_rows(&mut newer, &lake, QUERY, &expected).unwrap();
}

#[test]
fn signals_close_the_epoch_and_exit_with_zero() {
    let scene = or_skip!(Scene::start(ServerOptions::default()));
    let Statements { lake, script } = statements(&scene);
    // With a long interval, only the signal can have committed the last change.
    let slow = script.replace("200ms", "1h");
    for (signal, id) in [("TERM", 2), ("INT", 3)] {
        let mut job = scene.job("signals", &script).unwrap();
        let before = id - 1;
        let known: Vec<String> = (1..=before)
            .map(|id| if id == 1 { "1|one".to_owned() } else { format!("{id}|late") })
            .collect();
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        scene.await_rows(&mut job, &lake, QUERY, &known).unwrap();
        assert_eq!(job.stop(signal).unwrap().code(), Some(0));

        let mut job = scene.job("signals", &slow).unwrap();
        wait_until("the job runs", Duration::from_secs(30), || {
            job.ensure_running()?;
            let dumps = scene.server.query("SHOW PROCESSLIST")?;
            let following =
                dumps.iter().any(|row| row.iter().any(|cell| cell.starts_with("Binlog Dump")));
            Ok((following, dumps))
        })
        .unwrap();
        scene.server.execute(&format!("INSERT INTO shop.item VALUES ({id}, 'late')")).unwrap();
        pause(Duration::from_secs(1));
        let status = job.stop(signal).unwrap();
        assert_eq!(status.code(), Some(0), "after SIG{signal}");
        let rows = scene.client("reader").select(&lake, QUERY).unwrap();
        assert!(rows.contains(&format!("{id}|late")), "after SIG{signal}: {rows:?}");
    }
}

#[test]
fn same_script_resumes_where_it_was() {
    let scene = or_skip!(Scene::start(ServerOptions::default()));
    let Statements { lake, script } = statements(&scene);
    let mut job = scene.job("again", &script).unwrap();
    scene.await_rows(&mut job, &lake, QUERY, &["1|one"]).unwrap();
    assert_eq!(job.stop("TERM").unwrap().code(), Some(0));
    // While nobody reads: all kinds of change, one of them to a key that comes back.
    scene.server.execute("INSERT INTO shop.item VALUES (2, 'two'), (3, 'three')").unwrap();
    scene.server.execute("DELETE FROM shop.item WHERE id = 1").unwrap();
    scene.server.execute("INSERT INTO shop.item VALUES (1, 'again')").unwrap();
    scene.server.execute("UPDATE shop.item SET id = 4 WHERE id = 3").unwrap();
    let mut job = scene.job("again", &script).unwrap();
    scene.await_rows(&mut job, &lake, QUERY, &["1|again", "2|two", "4|three"]).unwrap();
    // A state directory that is lost does not matter: the table knows the position.
    job.kill_dash_nine().unwrap();
    scene.server.execute("INSERT INTO shop.item VALUES (5, 'five')").unwrap();
    let mut job = scene.job("elsewhere", &script).unwrap();
    scene.await_rows(&mut job, &lake, QUERY, &["1|again", "2|two", "4|three", "5|five"]).unwrap();
}
