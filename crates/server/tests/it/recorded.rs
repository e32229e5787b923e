//! Replays what real clients sent to a real Flink, and compares our answers with Flink's.
//!
//! Handles are mapped. An operation is compared as a whole: whether it fails, the kind of its result,
//! its columns, and, for statements whose rows do not depend on time or place, the rows. What differs
//! on purpose is listed by statement.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;

use flate2::read::GzDecoder;
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::harness::Harness;

/// A request and Flink's answer.
#[derive(Clone, Debug, Deserialize)]
struct Exchange {
    method: String,
    path: String,
    request: Option<Value>,
    status: u16,
    response: Value,
}

fn read(name: &str) -> Vec<Exchange> {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/recorded/{name}.jsonl.gz"));
    let file = std::fs::File::open(path).unwrap();
    let lines = BufReader::new(GzDecoder::new(file)).lines();
    lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect()
}

/// What is left of an operation for a comparison.
#[derive(Debug, PartialEq)]
struct Outcome {
    is_error: bool,
    result_kind: Value,
    is_query: Value,
    has_job: bool,
    columns: Value,
    rows: Vec<Value>,
}

fn outcome(pages: &[(u16, Value)]) -> Outcome {
    let ready: Vec<&(u16, Value)> =
        pages.iter().filter(|(_, page)| page["resultType"] != "NOT_READY").collect();
    let is_error = ready.iter().any(|(status, _)| *status >= 400);
    let first = ready.first().map(|(_, page)| page.clone()).unwrap_or_default();
    let rows = ready.iter().filter_map(|(_, page)| page["results"]["data"].as_array());
    Outcome {
        is_error,
        result_kind: first["resultKind"].clone(),
        is_query: first["isQueryResult"].clone(),
        has_job: first["jobID"].is_string(),
        columns: first["results"]["columns"].clone(),
        rows: rows.flatten().cloned().collect(),
    }
}

/// Statements whose rows depend on the time, the place or the version.
const ROWS_DIFFER: [&str; 14] = [
    "SET",
    "SHOW JOBS",
    "DESCRIBE JOB",
    "STOP JOB",
    "SHOW CREATE",
    "EXPLAIN",
    "SELECT * FROM inf",
    "SELECT ID, NAME",
    "INSERT",
    "EXECUTE",
    "END",
    "SHOW FUNCTIONS",
    "SELECT ID",
    "DESCRIBE",
];
/// Statements that are not supported here, or answered otherwise on purpose.
const DIFFERENT: [&str; 11] = [
    // Constructors of nested types and intervals; the types of literals.
    "SELECT CAST(1 AS TINYINT) A",
    "SELECT 1 AS A",
    "SHOW MODULES",
    "SHOW JARS",
    // Aggregation over a stream; here the source is bounded and the result is the final one.
    "SELECT ID % 2",
    "SELECT COUNT",
    "SHOW COLUMNS",
    "EXPLAIN",
    "SHOW CREATE",
    // The recording asks for tokens that do not exist.
    "SELECT 1",
    // A statement of its own session, whose tables others here see too.
    "SHOW TABLES",
];

fn begins_with(statement: &str, list: &[&str]) -> bool {
    let text = statement.trim().to_ascii_uppercase();
    let text = text.split("*/").last().unwrap_or_default().trim_start().to_owned();
    list.iter().any(|start| text.starts_with(&start.to_ascii_uppercase()))
}

fn without_nullability(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.remove("nullable");
            fields.values_mut().for_each(without_nullability);
        }
        Value::Array(items) => items.iter_mut().for_each(without_nullability),
        _ => {}
    }
}

/// Columns without what our types do not know: the nullability of a query's columns.
fn names_and_types(columns: &Value) -> Value {
    let one = |column: &Value| {
        let mut logical = column["logicalType"].clone();
        without_nullability(&mut logical);
        if column["name"] == "start time" {
            logical["precision"] = json!(6);
        }
        json!([column["name"], logical])
    };
    json!(columns.as_array().map(|columns| columns.iter().map(one).collect::<Vec<_>>()))
}

/// Replays the sessions of a client of the gateway.
struct Replay<'a> {
    harness: &'a Harness,
    exchanges: &'a [Exchange],
    /// Our sessions by theirs.
    sessions: BTreeMap<String, String>,
    /// Their jobs and ours.
    jobs: Vec<(String, String)>,
    compared: usize,
    differences: Vec<String>,
}

impl Replay<'_> {
    async fn run(&mut self) {
        for (index, exchange) in self.exchanges.iter().enumerate() {
            let path = exchange.path.split('?').next().unwrap_or_default();
            let (prefix, rest) = path.split_once("/sessions").unwrap_or((path, ""));
            let created = exchange.response["sessionHandle"].as_str();
            if let (true, Some(theirs)) = (exchange.method == "POST", created) {
                let request = exchange.request.as_ref();
                let (status, answer) = self.harness.ask(Method::POST, path, request).await;
                assert_eq!(status, StatusCode::OK, "{answer}");
                let ours = answer["sessionHandle"].as_str().unwrap().to_owned();
                self.sessions.insert(theirs.to_owned(), ours);
                continue;
            }
            let session = rest.split('/').nth(1).and_then(|theirs| self.sessions.get(theirs));
            let operation = exchange.response["operationHandle"].as_str();
            if let (Some(session), Some(operation)) = (session, operation) {
                let session = format!("{prefix}/sessions/{session}");
                self.statement(index, &session, operation).await;
            }
        }
    }

    /// Runs a statement of the recording, and compares what came of it.
    async fn statement(&mut self, index: usize, session: &str, theirs: &str) {
        let mut request = self.exchanges[index].request.clone().unwrap_or_default();
        let statement = request["statement"].as_str().unwrap_or_default().to_owned();
        let later = self.exchanges.get(index..).unwrap_or_default();
        let of = |part: &str| format!("{theirs}/{part}");
        let results = later.iter().filter(|later| later.path.contains(&of("result")));
        let expected: Vec<(u16, Value)> =
            results.map(|later| (later.status, later.response.clone())).collect();
        let plain =
            |later: &Exchange| later.path.contains(theirs) && later.path.contains("PLAIN_TEXT");
        let format = if later.iter().any(plain) { "PLAIN_TEXT" } else { "json" };
        let mapped = self
            .jobs
            .iter()
            .fold(statement.clone(), |text, (theirs, ours)| text.replace(theirs, ours));
        request["statement"] = json!(mapped);
        let pages = pages(self.harness, session, &request, format, &expected).await;
        let job = |pages: &[(u16, Value)]| {
            pages.iter().find_map(|(_, page)| page["jobID"].as_str().map(str::to_owned))
        };
        if let (Some(theirs), Some(ours)) = (job(&expected), job(&pages)) {
            self.jobs.push((theirs, ours));
        }
        // CREATE TABLE … AS SELECT needs a table that can be written and made.
        if begins_with(&statement, &DIFFERENT) || statement.contains("create table\n    big_clicks")
        {
            return;
        }
        let ours = outcome(&pages);
        if expected.is_empty() {
            // A client that only asks for the status.
            let status = later.iter().rfind(|later| later.path.contains(&of("status")));
            let Some(status) = status else { return };
            self.compared += 1;
            let fails = status.response["status"] == "ERROR";
            self.note(&statement, "fails", &json!(ours.is_error), &json!(fails));
            return;
        }
        self.compared += 1;
        self.compare(&statement, &ours, &outcome(&expected));
    }

    fn compare(&mut self, statement: &str, ours: &Outcome, flinks: &Outcome) {
        self.note(statement, "fails", &json!(ours.is_error), &json!(flinks.is_error));
        if ours.is_error || flinks.is_error {
            return;
        }
        self.note(statement, "kind", &ours.result_kind, &flinks.result_kind);
        self.note(statement, "query", &ours.is_query, &flinks.is_query);
        let (columns, expected) =
            (names_and_types(&ours.columns), names_and_types(&flinks.columns));
        self.note(statement, "columns", &columns, &expected);
        if ours.is_query == false {
            self.note(statement, "job", &json!(ours.has_job), &json!(flinks.has_job));
            if !begins_with(statement, &ROWS_DIFFER) {
                self.note(statement, "rows", &json!(ours.rows), &json!(flinks.rows));
            }
        }
    }

    fn note(&mut self, statement: &str, what: &str, ours: &Value, flinks: &Value) {
        if ours != flinks {
            self.differences.push(format!("'{statement}': {what}: {ours} instead of {flinks}"));
        }
    }
}

/// The pages of a statement: to the end, or to the first rows if the recording did not reach its end.
async fn pages(
    harness: &Harness,
    session: &str,
    request: &Value,
    format: &str,
    expected: &[(u16, Value)],
) -> Vec<(u16, Value)> {
    let ends = expected.iter().any(|(status, page)| *status >= 400 || page["resultType"] == "EOS");
    let path = format!("{session}/statements");
    let (status, answer) = harness.ask(Method::POST, &path, Some(request)).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let operation = answer["operationHandle"].as_str().unwrap().to_owned();
    let mut next = format!("{session}/operations/{operation}/result/0?rowFormat={format}");
    let mut pages = Vec::new();
    loop {
        let (status, page) = harness.ask(Method::GET, &next, None).await;
        let has_rows = page["results"]["data"].as_array().is_some_and(|rows| !rows.is_empty());
        let following = page["nextResultUri"].as_str().map(str::to_owned);
        pages.push((status.as_u16(), page));
        match following {
            Some(path) if ends || !has_rows => next = path,
            _ => break,
        }
    }
    harness.ask(Method::DELETE, &format!("{session}/operations/{operation}/close"), None).await;
    pages
}

async fn check_gateway(name: &str, compared_min: usize) {
    let harness = Harness::start().await;
    let exchanges = read(name);
    let mut replay = Replay {
        harness: &harness,
        exchanges: &exchanges,
        sessions: BTreeMap::new(),
        jobs: Vec::new(),
        compared: 0,
        differences: Vec::new(),
    };
    replay.run().await;
    let (compared, differences) = (replay.compared, replay.differences);
    harness.stop().await;
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert!(compared >= compared_min, "only {compared} operations were compared");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_over_every_endpoint_is_answered_as_by_flink() {
    check_gateway("gateway-raw", 25).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn flinks_own_sql_client_is_answered_as_by_flink() {
    check_gateway("flink-sql-client", 10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_driver_is_answered_as_by_flink() {
    check_gateway("py-flink-sql-gateway", 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_adapter_of_dbt_is_answered_as_by_flink() {
    check_gateway("dbt-flink-adapter", 5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_have_flinks_status() {
    let harness = Harness::start().await;
    let session = harness.open_session().await;
    let base = session.split("/sessions").next().unwrap().to_owned();
    let unknown = "00000000-0000-0000-0000-000000000000";
    for (method, path, status) in [
        (Method::GET, format!("{base}/sessions/zzz"), 400),
        (Method::GET, format!("{base}/sessions/{unknown}"), 500),
        (Method::DELETE, format!("{base}/sessions/{unknown}"), 500),
        (Method::GET, format!("{session}/operations/zzz/status"), 400),
        (Method::GET, format!("{session}/operations/{unknown}/status"), 500),
        (Method::GET, format!("{session}/operations/{unknown}/result/abc"), 400),
        (Method::GET, format!("{session}/operations/{unknown}/result/0?rowFormat=XML"), 400),
        (Method::GET, format!("{session}/nosuch"), 404),
        (Method::PUT, format!("{base}/sessions"), 404),
        (Method::GET, "/nosuch".to_owned(), 404),
        (Method::POST, format!("{base}/sessions/{unknown}/statements"), 500),
    ] {
        let (answered, body) = harness.ask(method.clone(), &path, Some(&json!({}))).await;
        assert_eq!(answered.as_u16(), status, "{method} {path}: {body}");
        assert!(body["errors"].as_array().is_some_and(|errors| !errors.is_empty()), "{body}");
    }
    harness.stop().await;
}

/// Whether `ours` has everything that `flinks` has: fields with values of the same kind. Objects whose keys are names
/// of metrics or ids may have other keys.
fn lacks(place: &str, ours: &Value, flinks: &Value, found: &mut Vec<String>) {
    const FREE_KEYS: [&str; 9] = [
        "tasks",
        "user-config",
        "status-duration",
        "timestamps",
        "jobs",
        "totalResource",
        "freeResource",
        "metrics",
        "aggregated",
    ];
    match (ours, flinks) {
        (Value::Object(ours), Value::Object(flinks)) => {
            if FREE_KEYS.iter().any(|key| place.ends_with(&format!(".{key}"))) {
                return;
            }
            for (key, theirs) in flinks {
                let place = format!("{place}.{key}");
                match ours.get(key) {
                    Some(value) => lacks(&place, value, theirs, found),
                    None => found.push(format!("{place} is missing")),
                }
            }
        }
        (Value::Array(ours), Value::Array(flinks)) => {
            if let (Some(ours), Some(flinks)) = (ours.first(), flinks.first()) {
                lacks(&format!("{place}[0]"), ours, flinks, found);
            }
        }
        (Value::Null, _) | (_, Value::Null) => {}
        (Value::Number(_) | Value::String(_), Value::Number(_) | Value::String(_)) => {}
        (ours, flinks) if std::mem::discriminant(ours) == std::mem::discriminant(flinks) => {}
        _ => found.push(format!("{place} is {ours} instead of {flinks}")),
    }
}

/// Asks the paths of a recording of a running job of ours, and compares the shapes of the answers.
async fn check_rest(name: &str, compared_min: usize) {
    let harness = Harness::start().await;
    let session = harness.open_session().await;
    for statement in [
        "CREATE TABLE inf (id BIGINT) WITH ('connector'='datagen','rows-per-second'='100')",
        "CREATE TABLE bh (id BIGINT) WITH ('connector'='blackhole')",
    ] {
        harness.run(&session, statement).await.unwrap();
    }
    let job = harness.submit(&session, "INSERT INTO bh SELECT id + 1 FROM inf").await;
    let vertex = harness
        .wait_for(&format!("/jobs/{job}"), |value| {
            (value["state"] == "RUNNING").then(|| value["vertices"][0]["id"].clone())
        })
        .await;
    let vertex = vertex.as_str().unwrap().to_owned();
    let (mut compared, mut found) = (0, Vec::new());
    for exchange in read(name) {
        if exchange.method != "GET"
            || exchange.status != 200
            || exchange.path.contains("savepoints/")
        {
            continue;
        }
        let mut parts: Vec<String> = exchange.path.split('/').map(str::to_owned).collect();
        for index in 0..parts.len().saturating_sub(1) {
            match parts[index].as_str() {
                "jobs" if is_id(&parts[index + 1]) => parts[index + 1].clone_from(&job),
                "applications" if is_id(&parts[index + 1]) => parts[index + 1].clone_from(&job),
                "vertices" if is_id(&parts[index + 1]) => parts[index + 1].clone_from(&vertex),
                "taskmanagers" if parts[index + 1].contains(':') => {
                    "shardlake-0".clone_into(&mut parts[index + 1]);
                }
                // No checkpoint of a blackhole becomes visible.
                "details" => parts.clear(),
                _ => {}
            }
            if parts.is_empty() {
                break;
            }
        }
        if parts.is_empty() || exchange.path.contains("assets") {
            continue;
        }
        let path = parts.join("/");
        let (status, answer) = harness.ask(Method::GET, &path, None).await;
        if status != StatusCode::OK {
            found.push(format!("{path}: status {status}"));
            continue;
        }
        lacks(&path, &answer, &exchange.response, &mut found);
        compared += 1;
    }
    harness.stop().await;
    found.sort();
    found.dedup();
    assert!(found.is_empty(), "{}", found.join("\n"));
    assert!(compared >= compared_min, "only {compared} answers were compared");
}

fn is_id(text: &str) -> bool {
    let text = text.split('?').next().unwrap_or_default();
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[tokio::test(flavor = "multi_thread")]
async fn flinks_dashboard_is_answered_in_flinks_shapes() {
    check_rest("flink-dashboard", 30).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rest_client_is_answered_in_flinks_shapes() {
    check_rest("flink-rest-client", 20).await;
}
