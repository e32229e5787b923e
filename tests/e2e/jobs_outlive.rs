//! Jobs that outlive their clients and the server, and other people's clients of the server.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use shardlake_e2e::{Scene, StatementServer as Server, wait_until};
use shardlake_testkit::{ServerOptions, or_skip, workspace_root};

const PASSWORD: &str = "correct-horse-battery";
const PATIENCE: Duration = Duration::from_secs(90);

fn shards(scene: &Scene) {
    for database in ["user_db_1", "user_db_2"] {
        scene.server.execute(&format!("CREATE DATABASE {database}")).unwrap();
        for table in ["user_table_1", "user_table_2"] {
            let create =
                format!("CREATE TABLE {database}.{table} (id INT PRIMARY KEY, name VARCHAR(40))");
            scene.server.execute(&create).unwrap();
        }
    }
    for statement in [
        "INSERT INTO user_db_1.user_table_1 VALUES (110, 'a')",
        "INSERT INTO user_db_1.user_table_2 VALUES (120, 'b')",
        "INSERT INTO user_db_2.user_table_1 VALUES (210, 'c')",
        "INSERT INTO user_db_2.user_table_2 VALUES (220, 'd')",
    ] {
        scene.server.execute(statement).unwrap();
    }
    for statement in [
        format!("CREATE USER 'cdc'@'%' IDENTIFIED BY '{PASSWORD}'"),
        "GRANT SELECT, SHOW DATABASES, REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO 'cdc'@'%'"
            .to_owned(),
    ] {
        scene.server.execute(&statement).unwrap();
    }
}

/// What MySQL has.
fn truth(scene: &Scene) -> Vec<String> {
    let mut rows = Vec::new();
    for database in ["user_db_1", "user_db_2"] {
        for table in ["user_table_1", "user_table_2"] {
            let query = format!("SELECT '{database}', '{table}', id, name FROM {database}.{table}");
            rows.extend(scene.server.query(&query).unwrap().into_iter().map(|row| row.join("|")));
        }
    }
    rows.sort_unstable();
    rows
}

fn await_truth(scene: &Scene, server: &Server) {
    let expected = truth(scene);
    wait_until("the lake equals MySQL", PATIENCE, || {
        let rows = server.select("SELECT db, tbl, id, name FROM lake")?;
        Ok((rows == expected, rows))
    })
    .unwrap();
}

/// Whether a file below a folder holds a text.
fn holds(folder: &Path, text: &str) -> bool {
    fs::read_dir(folder).unwrap().flatten().any(|entry| {
        let path = entry.path();
        if path.is_dir() {
            return holds(&path, text);
        }
        let bytes = fs::read(&path).unwrap_or_default();
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    })
}

#[test]
fn a_job_survives_its_client_and_the_deaths_of_the_server() {
    let scene = or_skip!(Scene::start(ServerOptions::default()));
    shards(&scene);
    let (state, log) = (scene.folder().join("server"), scene.folder().join("server.log"));
    let secret = [("MYSQL_PASSWORD", PASSWORD)];
    let server = Server::start(&state, &log, &secret).unwrap();
    let source = |password: &str| {
        scene.source_options("cdc", password, "user_db_[0-9]+", "user_table_[0-9]+")
    };
    let table = |name: &str, password: &str| {
        format!(
            "CREATE TABLE {name} (db STRING METADATA FROM 'database_name' VIRTUAL, tbl STRING METADATA FROM 'table_name' \
             VIRTUAL, id INT NOT NULL, name STRING, PRIMARY KEY (id) NOT ENFORCED) WITH ({});",
            source(password)
        )
    };
    let answer = server
        .run(&format!(
            "SET 'execution.checkpointing.interval' = '200ms'; {} {} \
             CREATE TABLE lake (db STRING, tbl STRING, id INT NOT NULL, name STRING, PRIMARY KEY (db, tbl, id) NOT \
             ENFORCED) WITH ({}); INSERT INTO lake SELECT * FROM users;",
            table("users", "${env:MYSQL_PASSWORD}"),
            table("literal", PASSWORD),
            scene.lake_options()
        ))
        .unwrap();
    assert_eq!(answer.status, Some(0), "{}", answer.text());
    await_truth(&scene, &server);

    // Killed while changes arrive, twice; nothing is lost and nothing doubled.
    let mut server = server;
    for round in 0..2 {
        for id in 0..20 {
            let id = 1_000 + round * 100 + id;
            let insert = format!("INSERT INTO user_db_1.user_table_1 VALUES ({id}, 'new')");
            scene.server.execute(&insert).unwrap();
        }
        server.kill_dash_nine().unwrap();
        scene.server.execute("UPDATE user_db_1.user_table_2 SET name = CONCAT(name, '!')").unwrap();
        scene.server.execute("DELETE FROM user_db_2.user_table_1 WHERE id = 210").unwrap();
        server = Server::start(&state, &log, &secret).unwrap();
        await_truth(&scene, &server);
    }

    // Stopped gracefully: what was read is committed, and the next start goes on.
    server.terminate().unwrap();
    scene.server.execute("INSERT INTO user_db_2.user_table_1 VALUES (211, 'late')").unwrap();
    let server = Server::start(&state, &log, &secret).unwrap();
    await_truth(&scene, &server);
    let jobs = server.select("SHOW JOBS").unwrap();
    assert_eq!(jobs.len(), 1, "{jobs:?}");
    let id = jobs[0].split('|').next().unwrap().to_owned();
    let stopped = server.run(&format!("STOP JOB '{id}'; SHOW CREATE TABLE literal;")).unwrap();
    assert_eq!(stopped.status, Some(0), "{}", stopped.text());
    assert!(!stopped.text().contains(PASSWORD), "{}", stopped.text());
    server.terminate().unwrap();
    assert!(!holds(&state, PASSWORD), "the password is in the state directory");
    assert!(!fs::read_to_string(&log).unwrap().contains(PASSWORD), "the password is in the log");

    // A job that was stopped is not resumed.
    let server = Server::start(&state, &log, &secret).unwrap();
    let jobs = server.select("SHOW JOBS").unwrap();
    assert!(jobs.iter().all(|job| job.contains("FINISHED")), "{jobs:?}");
}

#[test]
fn other_peoples_clients_work_unmodified() {
    let script = workspace_root().join("scripts/get-clients.sh");
    let found = Command::new(script).arg("--check").output().unwrap();
    if !found.status.success() {
        eprintln!("skipped: Python clients of Flink (scripts/get-clients.sh)");
        return;
    }
    let python = String::from_utf8(found.stdout).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("server.log");
    let server = Server::start(&folder.path().join("state"), &log, &[]).unwrap();
    let port = server.url().rsplit(':').next().unwrap();
    let output = Command::new(python.trim())
        .arg(workspace_root().join("tests/clients/flink_clients.py"))
        .args(["127.0.0.1", port])
        .arg(folder.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
    assert!(text.contains("the job is stopped with a savepoint"), "{text}");
}
