//! Many sessions and statements while jobs stream: nothing stalls, nothing grows.
//! `SHARDLAKE_SLOW_TESTS=1` makes it large.

use std::env;
use std::fs;

use reqwest::Method;
use serde_json::json;

use crate::harness::Harness;

fn is_slow() -> bool {
    env::var("SHARDLAKE_SLOW_TESTS").is_ok_and(|value| value == "1")
}

fn resident_kb() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_run_statements_while_jobs_stream() {
    let (jobs, sessions, statements) = if is_slow() { (10, 50, 20) } else { (4, 20, 5) };
    let harness = Harness::start().await;
    let session = harness.open_session().await;
    let source = "CREATE TABLE src (id BIGINT, name STRING) WITH ('connector'='datagen','rows-per-second'='1000')";
    harness.run(&session, source).await.unwrap();
    let mut ids = Vec::new();
    for number in 0..jobs {
        let sink = format!(
            "CREATE TABLE bh{number} (id BIGINT, name STRING) WITH ('connector'='blackhole')"
        );
        harness.run(&session, &sink).await.unwrap();
        let insert = format!("INSERT INTO bh{number} SELECT id, UPPER(name) FROM src");
        ids.push(harness.submit(&session, &insert).await);
    }
    let run = |number: usize| {
        let harness = &harness;
        async move {
            let session = harness.open_session().await;
            for round in 0..statements {
                let table = format!("t{number}_{round}");
                harness
                    .run(
                        &session,
                        &format!(
                            "CREATE TEMPORARY TABLE {table} (a INT) WITH ('connector'='blackhole')"
                        ),
                    )
                    .await
                    .unwrap();
                let rows = harness.rows(&session, "SELECT 1 + 1").await;
                assert_eq!(rows, [json!([2])]);
                let tables = harness.rows(&session, "SHOW TABLES").await;
                assert_eq!(tables.len(), jobs + 1 + round + 1);
            }
            harness.ask(Method::DELETE, &session, None).await;
        }
    };
    futures::future::join_all((0..sessions).map(run)).await;
    for id in &ids {
        let rows = |value: &serde_json::Value| value["row_count"].as_u64();
        let before = harness.wait_for(&format!("/api/v1/jobs/{id}"), rows).await;
        harness
            .wait_for(&format!("/api/v1/jobs/{id}"), |value| (rows(value)? > before).then_some(()))
            .await;
    }
    harness.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_come_and_go_leave_nothing() {
    let rounds = if is_slow() { 10_000 } else { 300 };
    let harness = Harness::start().await;
    let round = |query: bool| {
        let harness = &harness;
        async move {
            let session = harness.open_session().await;
            if query {
                harness.rows(&session, "SELECT 'x'").await;
            }
            harness.ask(Method::DELETE, &session, None).await;
        }
    };
    for number in 0..rounds / 3 {
        round(number % 10 == 0).await;
    }
    let before = resident_kb();
    for number in 0..rounds {
        round(number % 10 == 0).await;
    }
    let after = resident_kb();
    assert_eq!(harness.get("/api/v1/overview").await["version"], env!("CARGO_PKG_VERSION"));
    harness
        .wait_for("/api/v1/overview", |value| (value["sessions"].as_u64()? == 0).then_some(()))
        .await;
    // An allocator keeps pages; a leak of sessions would be megabytes.
    assert!(after < before + 16_000, "{before} kB before, {after} kB after {rounds} sessions");
    harness.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streaming_queries_that_are_left_end() {
    let harness = Harness::start().await;
    let session = harness.open_session().await;
    let source =
        "CREATE TABLE src (id BIGINT) WITH ('connector'='datagen','rows-per-second'='1000')";
    harness.run(&session, source).await.unwrap();
    for _ in 0..5 {
        let body = json!({ "statement": "SELECT id FROM src" });
        let (_, answer) =
            harness.ask(Method::POST, &format!("{session}/statements"), Some(&body)).await;
        let operation =
            format!("{session}/operations/{}", answer["operationHandle"].as_str().unwrap());
        harness
            .wait_for(&format!("{operation}/result/0"), |page| {
                (page["resultType"] == "PAYLOAD").then_some(())
            })
            .await;
    }
    harness.ask(Method::DELETE, &session, None).await;
    harness
        .wait_for("/jobs/overview", |value| {
            let jobs = value["jobs"].as_array()?;
            jobs.iter().all(|job| job["state"] == "CANCELED").then_some(())
        })
        .await;
    assert_eq!(fs::read_dir(harness.folder.path().join("jobs")).map_or(0, Iterator::count), 0);
    harness.stop().await;
}
