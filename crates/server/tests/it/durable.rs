//! What a server remembers when it starts again.

use reqwest::Method;
use serde_json::json;

use crate::harness::{Harness, options};

#[tokio::test(flavor = "multi_thread")]
async fn tables_and_jobs_come_back_and_what_ended_stays_ended() {
    let harness = Harness::start().await;
    let session = harness.open_session().await;
    let warehouse = harness.folder.path().join("lake");
    for statement in [
        "CREATE DATABASE shop".to_owned(),
        "USE shop".to_owned(),
        "CREATE TEMPORARY TABLE src (id BIGINT) WITH ('connector'='datagen','rows-per-second'='200',\
         'fields.id.kind'='sequence','fields.id.start'='1','fields.id.end'='1000000')"
            .to_owned(),
        format!(
            "CREATE TABLE lake (id BIGINT) WITH ('connector'='iceberg','catalog-name'='c','catalog-type'='hadoop',\
             'warehouse'='file://{}')",
            warehouse.display()
        ),
        "CREATE TABLE gone (id BIGINT) WITH ('connector'='blackhole')".to_owned(),
        "CREATE VIEW v AS SELECT id FROM lake WHERE id > 0".to_owned(),
        "CREATE TABLE bh (id BIGINT) WITH ('connector'='blackhole')".to_owned(),
        "DROP TABLE gone".to_owned(),
    ] {
        harness.run(&session, &statement).await.unwrap();
    }
    let running = harness.submit(&session, "INSERT INTO lake SELECT id FROM src").await;
    let cancelled = harness.submit(&session, "INSERT INTO bh SELECT id FROM src").await;
    harness.ask(Method::PATCH, &format!("/jobs/{cancelled}"), None).await;
    harness
        .wait_for(&format!("/jobs/{cancelled}"), |job| (job["state"] == "CANCELED").then_some(()))
        .await;
    harness
        .wait_for(&format!("/jobs/{running}/checkpoints"), |value| {
            value["latest"]["completed"]["id"].as_u64()
        })
        .await;
    let folder = harness.stop().await;

    // The table that the job writes is dropped from the catalog while the server is down: the job knows it.
    let options = options(&folder);
    let harness = Harness::with(folder, options).await;
    let session = harness.open_session().await;
    let tables = harness.rows(&session, "SHOW TABLES FROM shop").await;
    assert_eq!(tables, [json!(["bh"]), json!(["lake"]), json!(["v"])]);
    harness
        .wait_for(&format!("/jobs/{running}/checkpoints"), |value| {
            value["latest"]["completed"]["id"].as_u64()
        })
        .await;
    let ended = harness.get(&format!("/jobs/{cancelled}")).await;
    assert_eq!(ended["state"], "CANCELED");
    let (status, _) = harness.ask(Method::PATCH, &format!("/jobs/{running}"), None).await;
    assert!(status.is_success());
    harness
        .wait_for(&format!("/jobs/{running}"), |job| (job["state"] == "CANCELED").then_some(()))
        .await;
    let rows = harness.rows(&session, "SELECT COUNT(*), MAX(id) FROM shop.lake").await;
    assert_eq!(rows[0][0], rows[0][1], "{rows:?}");
    harness.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bounded_job_that_has_finished_is_not_run_again() {
    let harness = Harness::start().await;
    let session = harness.open_session().await;
    let warehouse = harness.folder.path().join("lake");
    for statement in [
        "CREATE TABLE src (id BIGINT) WITH ('connector'='datagen','number-of-rows'='5')".to_owned(),
        format!(
            "CREATE TABLE lake (id BIGINT) WITH ('connector'='iceberg','catalog-name'='c','catalog-type'='hadoop',\
             'warehouse'='file://{}')",
            warehouse.display()
        ),
    ] {
        harness.run(&session, &statement).await.unwrap();
    }
    let job = harness.submit(&session, "INSERT INTO lake SELECT id FROM src").await;
    harness
        .wait_for(&format!("/jobs/{job}"), |job| (job["state"] == "FINISHED").then_some(()))
        .await;
    let folder = harness.stop().await;
    let options = options(&folder);
    let harness = Harness::with(folder, options).await;
    assert_eq!(harness.get(&format!("/jobs/{job}")).await["state"], "FINISHED");
    let session = harness.open_session().await;
    assert_eq!(harness.rows(&session, "SELECT COUNT(*) FROM lake").await, [json!([5])]);
    harness.stop().await;
}
