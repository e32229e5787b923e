//! A server on a free port with the connectors that need no other server, and a client for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use shardlake_builtin::{BlackholeFactory, DatagenFactory, PrintFactory};
use shardlake_iceberg_sink::IcebergSinkFactory;
use shardlake_job::Environment;
use shardlake_server::{Access, Engine, Server, ServerOptions};
use shardlake_sql::catalog::Connectors;
use tempfile::TempDir;
use tokio::runtime::Handle;

/// How long a state is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn connectors() -> Connectors {
    Connectors::default()
        .with_source(Arc::new(DatagenFactory))
        .with_sink(Arc::new(IcebergSinkFactory))
        .with_sink(Arc::new(PrintFactory))
        .with_sink(Arc::new(BlackholeFactory))
}

/// A server and what belongs to it.
pub(crate) struct Harness {
    pub(crate) server: Option<Server>,
    pub(crate) engine: Arc<Engine>,
    pub(crate) url: String,
    pub(crate) client: Client,
    pub(crate) folder: TempDir,
}

pub(crate) fn options(folder: &TempDir) -> ServerOptions {
    ServerOptions {
        address: ([127, 0, 0, 1], 0).into(),
        gateway_address: None,
        access: Access::default(),
        tls: None,
        state_dir: folder.path().to_owned(),
        settings: vec![
            ("execution.checkpointing.interval".to_owned(), "200ms".to_owned()),
            (
                "execution.checkpointing.savepoint-dir".to_owned(),
                format!("file://{}", folder.path().join("savepoints").display()),
            ),
        ],
        sessions_max: 200,
        session_idle_timeout: Duration::from_secs(600),
        operations_max: 100,
    }
}

impl Harness {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = options(&folder);
        Self::with(folder, options).await
    }

    pub(crate) async fn with(folder: TempDir, options: ServerOptions) -> Self {
        let environment =
            Environment { state_dir: folder.path().to_owned(), runtime: Handle::current() };
        let engine = Engine::durable(connectors(), environment).unwrap();
        let server = Server::start(Arc::clone(&engine), options).await.unwrap();
        let url = format!("http://{}", server.addresses()[0]);
        let client = Client::builder().timeout(Duration::from_secs(60)).build().unwrap();
        Self { server: Some(server), engine, url, client, folder }
    }

    /// Ends the server as SIGTERM does; gives the folder back.
    pub(crate) async fn stop(mut self) -> TempDir {
        self.server.take().unwrap().stop().await;
        self.engine.shut_down().await;
        self.folder
    }

    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> (StatusCode, Value) {
        let mut request = self.client.request(method, format!("{}{path}", self.url));
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status();
        let bytes = answer.bytes().await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    /// The answer of a path that must be there.
    pub(crate) async fn get(&self, path: &str) -> Value {
        let (status, value) = self.ask(Method::GET, path, None).await;
        assert_eq!(status, StatusCode::OK, "{path}: {value}");
        value
    }

    pub(crate) async fn open_session(&self) -> String {
        let (status, value) = self.ask(Method::POST, "/v3/sessions", Some(&json!({}))).await;
        assert_eq!(status, StatusCode::OK, "{value}");
        format!("/v3/sessions/{}", value["sessionHandle"].as_str().unwrap())
    }

    /// Runs a statement to its end; the pages with something to tell, or the failure.
    pub(crate) async fn run(&self, session: &str, statement: &str) -> Result<Vec<Value>, Value> {
        let body = json!({ "statement": statement });
        let path = format!("{session}/statements");
        let (_, answer) = self.ask(Method::POST, &path, Some(&body)).await;
        let Some(operation) = answer["operationHandle"].as_str() else { return Err(answer) };
        let mut next = format!("{session}/operations/{operation}/result/0");
        let mut pages = Vec::new();
        let started = Instant::now();
        loop {
            assert!(started.elapsed() < PATIENCE, "'{statement}' does not end");
            let (status, page) = self.ask(Method::GET, &next, None).await;
            if status != StatusCode::OK {
                return Err(page);
            }
            let is_ready = page["resultType"] != "NOT_READY";
            let following = page["nextResultUri"].as_str().map(str::to_owned);
            if is_ready {
                pages.push(page);
            } else {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            match following {
                Some(path) => next = path,
                None => return Ok(pages),
            }
        }
    }

    /// The fields of all rows that a statement gives.
    pub(crate) async fn rows(&self, session: &str, statement: &str) -> Vec<Value> {
        let pages = self.run(session, statement).await.unwrap();
        let rows = pages.iter().flat_map(|page| page["results"]["data"].as_array().unwrap());
        rows.map(|row| row["fields"].clone()).collect()
    }

    /// Submits a job; its id.
    pub(crate) async fn submit(&self, session: &str, statement: &str) -> String {
        let pages = self.run(session, statement).await.unwrap();
        pages[0]["jobID"].as_str().unwrap().to_owned()
    }

    /// Waits until `found` finds something in the answer of a path.
    pub(crate) async fn wait_for<T>(&self, path: &str, found: impl Fn(&Value) -> Option<T>) -> T {
        let started = Instant::now();
        loop {
            let value = self.get(path).await;
            if let Some(result) = found(&value) {
                return result;
            }
            assert!(started.elapsed() < PATIENCE, "{path} stays {value}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
