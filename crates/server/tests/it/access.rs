//! Who may do what, over the wire.

use std::time::Duration;

use reqwest::{Client, Method, StatusCode, header};
use serde_json::json;
use shardlake_server::Access;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Harness, options};

const TOKENS: &str =
    "read reader-reader-reader\noperate operator-operator\nadmin admin-admin-admin-admin";

async fn with_tokens() -> Harness {
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(&folder);
    options.access = Access::default().with_tokens(TOKENS).unwrap();
    Harness::with(folder, options).await
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_look_operate_and_define() {
    let harness = with_tokens().await;
    let ask = |method: Method, path: &str, token: &str, body: &str| {
        let request = harness.client.request(method, format!("{}{path}", harness.url));
        let request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        let request = request.body(body.to_owned());
        async move { request.send().await.unwrap() }
    };
    let (reader, operator, admin) =
        ("reader-reader-reader", "operator-operator", "admin-admin-admin-admin");
    for (method, path, token, body, status) in [
        (Method::GET, "/jobs", reader, "", 200),
        (Method::GET, "/jobs", "wrong-wrong-wrong-wrong", "", 401),
        (Method::POST, "/v3/sessions", reader, "{}", 403),
        (Method::POST, "/v3/sessions", operator, "{}", 200),
        (Method::GET, "/healthz", "", "", 200),
        (Method::GET, "/", "", "", 200),
        (Method::GET, "/metrics", "", "", 401),
        (Method::PATCH, "/jobs/00000000000000000000000000000000", reader, "", 403),
    ] {
        let answer = ask(method.clone(), path, token, body).await;
        assert_eq!(answer.status().as_u16(), status, "{method} {path} {token}");
    }
    let answer = ask(Method::POST, "/v3/sessions", admin, "{}").await;
    let session: serde_json::Value = answer.json().await.unwrap();
    let path = format!("/v3/sessions/{}/statements", session["sessionHandle"].as_str().unwrap());
    let create =
        json!({ "statement": "/* x */ CREATE TABLE t (a INT) WITH ('connector'='blackhole')" });
    let (create, select) = (create.to_string(), json!({ "statement": "SELECT 1" }).to_string());
    for (token, body, status) in
        [(operator, &create, 403), (operator, &select, 200), (admin, &create, 200)]
    {
        let answer = ask(Method::POST, &path, token, body).await;
        assert_eq!(answer.status().as_u16(), status, "{token} {body}");
    }
    harness.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_other_sites_and_other_names_are_refused() {
    let harness = Harness::start().await;
    let session = |origin: Option<&str>, host: Option<&str>| {
        let mut request = harness.client.post(format!("{}/v3/sessions", harness.url));
        if let Some(origin) = origin {
            request = request.header(header::ORIGIN, origin);
        }
        if let Some(host) = host {
            request = request.header(header::HOST, host);
        }
        async move { request.send().await.unwrap().status() }
    };
    assert_eq!(session(None, None).await, StatusCode::OK);
    assert_eq!(session(Some(&harness.url), None).await, StatusCode::OK);
    assert_eq!(session(Some("http://evil.example"), None).await, StatusCode::FORBIDDEN);
    assert_eq!(session(None, Some("evil.example")).await, StatusCode::FORBIDDEN);
    let answer = harness.client.get(format!("{}/", harness.url)).send().await.unwrap();
    let policy = answer.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
    assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
    assert_eq!(answer.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
    assert!(answer.headers().get(header::ACCESS_CONTROL_ALLOW_ORIGIN).is_none());
    harness.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_bounded_and_idle_ones_are_closed() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(&folder);
    options.sessions_max = 3;
    options.session_idle_timeout = Duration::from_millis(300);
    let harness = Harness::with(folder, options).await;
    for _ in 0..3 {
        harness.open_session().await;
    }
    let (status, answer) = harness.ask(Method::POST, "/v3/sessions", Some(&json!({}))).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(answer.to_string().contains("exceeds the max count: 3"), "{answer}");
    let server = harness.server.as_ref().unwrap();
    while server.session_count() > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    harness.open_session().await;
    harness.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_sends_nothing_holds_nobody_up() {
    let harness = Harness::start().await;
    let address = harness.url.strip_prefix("http://").unwrap().to_owned();
    let mut slow = Vec::new();
    for _ in 0..50 {
        let mut socket = TcpStream::connect(&address).await.unwrap();
        socket
            .write_all(b"POST /v3/sessions HTTP/1.1\r\nHost: localhost\r\nContent-Le")
            .await
            .unwrap();
        slow.push(socket);
    }
    harness.get("/healthz").await;
    // The headers' time limit closes them; an orderly answer may come before.
    let mut socket = slow.pop().unwrap();
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(30), socket.read_to_end(&mut bytes)).await;
    assert!(read.is_ok(), "the server keeps a connection that sends nothing");
    harness.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wrong_certificate_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(&folder);
    let missing = folder.path().join("no-such.pem");
    options.tls =
        Some(shardlake_server::TlsFiles { certificates: missing.clone(), key: missing.clone() });
    let environment = shardlake_job::Environment {
        state_dir: folder.path().to_owned(),
        runtime: tokio::runtime::Handle::current(),
    };
    let engine =
        shardlake_server::Engine::durable(crate::harness::connectors(), environment).unwrap();
    let error = shardlake_server::Server::start(engine, options).await.err().unwrap();
    assert!(error.to_string().contains("no-such.pem"), "{error}");
    drop(Client::new());
}
