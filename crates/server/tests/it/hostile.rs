//! Requests that are malformed, huge or many, made from the document that the server serves.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use reqwest::{Client, Method};
use serde_json::Value;

use crate::harness::Harness;

/// Values for the places in a path.
const IN_PATH: [&str; 12] = [
    "0",
    "-1",
    "18446744073709551616",
    "zzz",
    "00000000000000000000000000000000",
    "00000000-0000-0000-0000-000000000000",
    "..%2f..%2fetc%2fpasswd",
    "%00",
    "%",
    "%ff%fe",
    "'%20OR%201=1--",
    "%F0%9F%A6%86",
];
/// Values for queries.
const QUERIES: [&str; 8] = [
    "",
    "?",
    "?get=",
    "?get=a,b,,c&get=d",
    "?rowFormat=%00",
    "?mode=stop",
    "?maxExceptions=-5",
    "?%=%&&&==",
];

fn bodies(random: &mut StdRng) -> Vec<Vec<u8>> {
    let garbage: Vec<u8> = (0..512).map(|_| random.random()).collect();
    let cut = br#"{"statement": "SELECT 1", "#;
    let deep = "[".repeat(100_000);
    let nested = format!("{}1{}", "{\"a\":".repeat(50_000), "}".repeat(50_000));
    vec![
        Vec::new(),
        b"null".to_vec(),
        b"[]".to_vec(),
        b"\"text\"".to_vec(),
        br#"{"statement": {"a": 1}, "properties": 5, "executionTimeout": "soon"}"#.to_vec(),
        br#"{"statement": "SELECT '", "properties": {"execution.checkpointing.interval": "soon"}}"#
            .to_vec(),
        br#"{"statement": "STOP JOB '../../x' WITH SAVEPOINT", "target-directory": "s3://x/../y"}"#
            .to_vec(),
        br#"{"savepoint-path": "/etc/passwd", "triggerId": "'; DROP TABLE jobs; --"}"#.to_vec(),
        cut.to_vec(),
        deep.into_bytes(),
        nested.into_bytes(),
        garbage,
    ]
}

struct Case {
    method: Method,
    path: String,
    body: Vec<u8>,
}

/// Requests for every path of the document.
fn cases(document: &Value, session: &str, random: &mut StdRng) -> Vec<Case> {
    let mut cases = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, _) in operations.as_object().unwrap() {
            if path.ends_with("/events") {
                continue;
            }
            let method = Method::from_bytes(method.to_ascii_uppercase().as_bytes()).unwrap();
            let takes_body = method == Method::POST || path.ends_with("complete-statement");
            let bodies = if takes_body { bodies(random) } else { vec![Vec::new()] };
            for body in bodies {
                for _ in 0..2 {
                    let mut filled = String::new();
                    for part in path.split('/').skip(1) {
                        let value = match part {
                            "{session_handle}" if random.random_bool(0.5) => session,
                            part if part.starts_with('{') => {
                                IN_PATH[random.random_range(0..IN_PATH.len())]
                            }
                            part => part,
                        };
                        filled.push('/');
                        filled.push_str(value);
                    }
                    let query = QUERIES[random.random_range(0..QUERIES.len())];
                    cases.push(Case {
                        method: method.clone(),
                        path: format!("{filled}{query}"),
                        body: body.clone(),
                    });
                }
            }
        }
    }
    cases
}

/// What is wrong with the answer to a request.
async fn complaint(client: &Client, url: &str, case: &Case) -> Option<String> {
    let request = client.request(case.method.clone(), format!("{url}{}", case.path));
    let answer = match request.body(case.body.clone()).send().await {
        Ok(answer) => answer,
        Err(error) => return Some(format!("{} {}: {error}", case.method, case.path)),
    };
    let status = answer.status();
    let body = answer.bytes().await.unwrap_or_default();
    if status.as_u16() < 400 {
        return None;
    }
    let value: Value = serde_json::from_slice(&body).unwrap_or_default();
    let has_reason = value["errors"]
        .as_array()
        .is_some_and(|errors| errors.iter().any(|error| error.as_str() != Some("")));
    let is_plain = matches!(status.as_u16(), 400 | 413 | 405);
    (!has_reason && !is_plain)
        .then(|| format!("{} {}: {status} without a reason", case.method, case.path))
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_requests_get_reasons_and_break_nothing() {
    let panics = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&panics);
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        counted.fetch_add(1, Ordering::SeqCst);
        before(panic);
    }));
    let harness = Harness::start().await;
    let session = harness.open_session().await;
    let handle = session.rsplit('/').next().unwrap().to_owned();
    let seed = rand::rng().random();
    let mut random = StdRng::seed_from_u64(seed);
    let document = harness.get("/openapi.json").await;
    let cases = cases(&document, &handle, &mut random);
    assert!(cases.len() > 1_000, "{}", cases.len());
    let mut complaints = Vec::new();
    for chunk in cases.chunks(32) {
        let asked = chunk.iter().map(|case| complaint(&harness.client, &harness.url, case));
        complaints.extend(futures::future::join_all(asked).await.into_iter().flatten());
    }
    assert!(complaints.is_empty(), "seed {seed}\n{}", complaints.join("\n"));
    let huge =
        harness.client.post(format!("{}/v3/sessions", harness.url)).body(vec![b' '; 20 << 20]);
    // The server may answer, or hang up on what it does not want to read.
    if let Ok(answer) = huge.send().await {
        assert_eq!(answer.status().as_u16(), 413);
    }
    harness.get("/readyz").await;
    let (status, _) = harness.ask(Method::GET, "/v3/sessions/x/y/z", None).await;
    assert_eq!(status.as_u16(), 404);
    assert_eq!(panics.load(Ordering::SeqCst), 0, "seed {seed}");
    harness.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_path_of_the_document_is_answered() {
    let harness = Harness::start().await;
    let document = harness.get("/openapi.json").await;
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, _) in operations.as_object().unwrap() {
            if path.ends_with("/events") {
                continue;
            }
            let method = Method::from_bytes(method.to_ascii_uppercase().as_bytes()).unwrap();
            let (_, answer) = harness.ask(method.clone(), path, None).await;
            let missing = format!("Not found: {path}");
            assert_ne!(answer["errors"][0], missing.as_str(), "{method} {path}");
        }
    }
    harness.stop().await;
}
