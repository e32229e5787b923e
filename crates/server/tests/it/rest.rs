//! JobManager REST and the page's own paths, over jobs that run.

use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::harness::Harness;

async fn lake_job(harness: &Harness, session: &str, parallelism: u32) -> String {
    let warehouse = harness.folder.path().join("lake");
    for statement in [
        format!("SET 'parallelism.default' = '{parallelism}'"),
        "CREATE TABLE IF NOT EXISTS src (id BIGINT, name STRING, PRIMARY KEY (id) NOT ENFORCED) \
         WITH ('connector'='datagen','rows-per-second'='200','fields.id.kind'='sequence','fields.id.start'='1','fields.id.end'='1000000')"
            .to_owned(),
        format!(
            "CREATE TABLE IF NOT EXISTS lake (id BIGINT, name STRING, PRIMARY KEY (id) NOT ENFORCED) WITH \
             ('connector'='iceberg','catalog-name'='c','catalog-type'='hadoop','warehouse'='file://{}')",
            warehouse.display()
        ),
    ] {
        harness.run(session, &statement).await.unwrap();
    }
    harness.submit(session, "INSERT INTO lake SELECT id, name FROM src").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_job_is_described_measured_and_cancelled() {
    let harness = Harness::start().await;
    let session = harness.open_session().await;
    let job = lake_job(&harness, &session, 2).await;
    let epoch = harness
        .wait_for(&format!("/jobs/{job}/checkpoints"), |value| {
            value["latest"]["completed"]["id"].as_u64()
        })
        .await;
    let detail = harness.get(&format!("/jobs/{job}/checkpoints/details/{epoch}")).await;
    assert!(detail["end_to_end_duration"].as_u64().is_some(), "{detail}");
    assert!(detail["checkpointed_size"].as_u64().unwrap() > 0, "{detail}");
    let job_value = harness.get(&format!("/v1/jobs/{job}")).await;
    let vertices = job_value["vertices"].as_array().unwrap();
    assert_eq!(vertices.len(), job_value["plan"]["nodes"].as_array().unwrap().len());
    assert_eq!(vertices.last().unwrap()["parallelism"], 2);
    let live = harness
        .wait_for(&format!("/api/v1/jobs/{job}"), |value| {
            (value["committed_rows_per_second"].as_f64()? > 0.0).then(|| value.clone())
        })
        .await;
    assert!(live["checkpoints"].as_array().is_some_and(|epochs| !epochs.is_empty()), "{live}");
    assert_eq!(live["statement"], "INSERT INTO lake SELECT id, name FROM src");
    let tables = harness.get(&format!("/api/v1/jobs/{job}/tables")).await;
    let table = &tables["tables"][0];
    assert!(table["snapshots"].as_array().is_some_and(|list| !list.is_empty()), "{tables}");
    assert!(table["files"]["data"]["row_count"].as_u64().unwrap() > 0, "{tables}");
    let metrics = harness.client.get(format!("{}/metrics", harness.url)).send().await.unwrap();
    let metrics = metrics.text().await.unwrap();
    assert!(metrics.contains(&format!("shardlake_job_up{{job_id=\"{job}\"")), "{metrics}");

    let (status, _) = harness.ask(Method::PATCH, &format!("/jobs/{job}?mode=cancel"), None).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    harness
        .wait_for(&format!("/jobs/{job}"), |value| (value["state"] == "CANCELED").then_some(()))
        .await;
    let (status, _) = harness.ask(Method::PATCH, &format!("/jobs/{job}?mode=cancel"), None).await;
    assert_eq!(status, StatusCode::CONFLICT);
    harness.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_savepoint_stops_a_job_and_starts_another_with_more_workers() {
    let harness = Harness::start().await;
    let session = harness.open_session().await;
    let job = lake_job(&harness, &session, 1).await;
    harness
        .wait_for(&format!("/jobs/{job}/checkpoints"), |value| {
            value["latest"]["completed"]["id"].as_u64()
        })
        .await;
    let folder = harness.folder.path().join("savepoints");
    let body = json!({ "targetDirectory": format!("file://{}", folder.display()) });
    let (status, answer) =
        harness.ask(Method::POST, &format!("/jobs/{job}/stop"), Some(&body)).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
    let trigger = answer["request-id"].as_str().unwrap();
    let location = harness
        .wait_for(&format!("/jobs/{job}/savepoints/{trigger}"), |value| {
            value["operation"]["location"].as_str().map(str::to_owned)
        })
        .await;
    assert!(location.contains(&format!("savepoint-{}-", job.get(..6).unwrap())), "{location}");
    let count = "SELECT COUNT(*), COUNT(DISTINCT id), MAX(id) FROM lake";
    let before = harness.rows(&session, count).await;

    // Another query over the same source, under the same name, with two workers.
    harness
        .run(&session, &format!("SET 'execution.state-recovery.path' = '{location}'"))
        .await
        .unwrap();
    harness.run(&session, "SET 'parallelism.default' = '2'").await.unwrap();
    let second = harness.submit(&session, "INSERT INTO lake SELECT id, UPPER(name) FROM src").await;
    harness
        .wait_for(&format!("/jobs/{second}/checkpoints"), |value| {
            (value["counts"]["completed"].as_u64()? > 2).then_some(())
        })
        .await;
    let stop = format!("STOP JOB '{second}' WITH SAVEPOINT");
    let dir =
        format!("SET 'execution.checkpointing.savepoint-dir' = 'file://{}'", folder.display());
    harness.run(&session, &dir).await.unwrap();
    let path = harness.rows(&session, &stop).await;
    assert!(path[0][0].as_str().is_some_and(|path| path.starts_with("file:")), "{path:?}");
    let after = harness.rows(&session, count).await;
    let number = |rows: &[serde_json::Value], at: usize| rows[0][at].as_u64().unwrap();
    assert!(number(&after, 0) > number(&before, 0));
    assert_eq!(number(&after, 0), number(&after, 1), "no key is there twice");
    assert_eq!(number(&after, 0), number(&after, 2), "no key is missing");

    // A job that reads something else gets a clear no.
    harness
        .run(&session, "CREATE TABLE other (id BIGINT) WITH ('connector'='datagen')")
        .await
        .unwrap();
    harness
        .run(&session, "CREATE TABLE bh (id BIGINT) WITH ('connector'='blackhole')")
        .await
        .unwrap();
    let refusal = harness.run(&session, "INSERT INTO bh SELECT id FROM other").await.unwrap_err();
    assert!(refusal.to_string().contains("which the job does not read"), "{refusal}");
    harness.stop().await;
}
