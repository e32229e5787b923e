//! A REST catalog for tests that fails as a script says. Its tables are in memory, their files in a
//! folder.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use iceberg::spec::{
    FormatVersion, Schema, SortOrder, TableMetadata, TableMetadataBuilder, UnboundPartitionSpec,
};
use iceberg::{TableRequirement, TableUpdate};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tempfile::TempDir;

/// What goes wrong with a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nothing.
    None,
    /// It is answered with this status and not made.
    Refused(u16),
    /// It is made and answered with this status.
    MadeBut(u16),
    /// It is made and the connection is cut.
    Cut,
    /// It is not made and the connection is cut.
    CutBefore,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) faults: VecDeque<Fault>,
    /// Method, path and the idempotency key of each request.
    pub(super) requests: Vec<(String, String, Option<String>)>,
    /// The token that is good, if any is asked for.
    pub(super) token: Option<String>,
    pub(super) tokens_given: u32,
    /// What comes along with each table.
    pub(super) table_answer: BTreeMap<String, Value>,
    pub(super) credentials: Option<Value>,
    tables: BTreeMap<String, (u32, TableMetadata)>,
    namespaces: Vec<String>,
}

/// A running server; its thread ends with the test process.
pub(super) struct FakeCatalog {
    pub(super) uri: String,
    pub(super) state: Arc<Mutex<State>>,
    folder: TempDir,
}

impl FakeCatalog {
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let uri = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State::default()));
        let folder = TempDir::new().unwrap();
        let (served, root) = (Arc::clone(&state), folder.path().to_str().unwrap().to_owned());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                serve(stream, &served, &root);
            }
        });
        Self { uri, state, folder }
    }

    pub(super) fn snapshot_count(&self, table: &str) -> usize {
        self.state.lock().tables[table].1.snapshots().count()
    }

    /// Where tables lie.
    pub(super) fn folder(&self) -> &TempDir {
        &self.folder
    }
}

struct Request {
    method: String,
    path: String,
    authorization: Option<String>,
    key: Option<String>,
    body: Vec<u8>,
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let (mut authorization, mut key, mut length) = (None, None, 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "authorization" => authorization = Some(value.trim().to_owned()),
            "idempotency-key" => key = Some(value.trim().to_owned()),
            "content-length" => length = value.trim().parse().ok()?,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request { method, path, authorization, key, body })
}

fn serve(mut stream: TcpStream, state: &Mutex<State>, root: &str) {
    let Some(request) = read(&stream) else { return };
    let Some((status, body)) = answer(&request, &mut state.lock(), root) else { return };
    let body = body.to_string();
    let head = format!(
        "HTTP/1.1 {status} x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        body.len()
    );
    drop(stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes())));
}

fn failure(status: u16) -> Option<(u16, Value)> {
    Some((status, json!({"error": {"message": "scripted", "type": "Scripted", "code": status}})))
}

/// None cuts the connection.
fn answer(request: &Request, state: &mut State, root: &str) -> Option<(u16, Value)> {
    let path = request.path.split('?').next().unwrap().to_owned();
    state.requests.push((request.method.clone(), request.path.clone(), request.key.clone()));
    if path == "/v1/oauth/tokens" {
        state.tokens_given += 1;
        let token = format!("token-{}", state.tokens_given);
        state.token = Some(token.clone());
        return Some((200, json!({"access_token": token, "token_type": "bearer"})));
    }
    let sent = request.authorization.as_deref().and_then(|text| text.strip_prefix("Bearer "));
    if state.token.is_some() && sent != state.token.as_deref() {
        return failure(401);
    }
    let segments: Vec<&str> = path.trim_start_matches("/v1/").split('/').collect();
    match (request.method.as_str(), segments.as_slice()) {
        ("GET", ["config"]) => Some((200, json!({"defaults": {}, "overrides": {"prefix": "p"}}))),
        ("GET", ["p", "namespaces"]) => Some((200, page(&request.path, &state.namespaces))),
        ("POST", ["p", "namespaces"]) => {
            let body: Value = serde_json::from_slice(&request.body).unwrap();
            let levels: Vec<&str> =
                body["namespace"].as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect();
            state.namespaces.push(levels.join("%1F"));
            Some((200, json!({})))
        }
        ("GET", ["p", "namespaces", name]) => {
            let exists = state.namespaces.iter().any(|found| found == name);
            if exists { Some((200, json!({}))) } else { failure(404) }
        }
        ("POST", ["p", "namespaces", namespace, "tables"]) => {
            let body: Value = serde_json::from_slice(&request.body).unwrap();
            create(&body, namespace, state, root)
        }
        ("GET", ["p", "namespaces", _, "tables", name]) => match state.tables.get(*name) {
            Some(_) => Some((200, loaded(state, name))),
            None => failure(404),
        },
        ("GET", ["p", "namespaces", _, "tables", _, "credentials"]) => match &state.credentials {
            Some(found) => Some((200, json!({"storage-credentials": found}))),
            None => failure(404),
        },
        ("POST", ["p", "namespaces", _, "tables", name]) => commit(request, name, state),
        _ => failure(404),
    }
}

/// Two names a page.
fn page(path: &str, names: &[String]) -> Value {
    let from: usize = path.split("pageToken=").nth(1).map_or(0, |token| token.parse().unwrap());
    let found: Vec<Vec<&str>> =
        names.iter().skip(from).take(2).map(|name| name.split("%1F").collect()).collect();
    let next = (from + 2 < names.len()).then(|| (from + 2).to_string());
    json!({"namespaces": found, "next-page-token": next})
}

fn loaded(state: &State, name: &str) -> Value {
    let (version, metadata) = &state.tables[name];
    let location = format!("/fake/{version:05}-x.metadata.json");
    let mut answer = json!({"metadata-location": location, "metadata": metadata});
    for (key, value) in &state.table_answer {
        answer[key] = value.clone();
    }
    answer
}

fn create(body: &Value, namespace: &str, state: &mut State, root: &str) -> Option<(u16, Value)> {
    let name = body["name"].as_str().unwrap();
    if state.tables.contains_key(name) {
        return failure(409);
    }
    let schema: Schema = serde_json::from_value(body["schema"].clone()).unwrap();
    let mut properties: std::collections::HashMap<String, String> =
        serde_json::from_value(body["properties"].clone()).unwrap();
    assert_eq!(properties.remove("format-version").as_deref(), Some("2"));
    let built = TableMetadataBuilder::new(
        schema,
        UnboundPartitionSpec::builder().build(),
        SortOrder::unsorted_order(),
        format!("{root}/{namespace}/{name}"),
        FormatVersion::V2,
        properties,
    );
    let metadata = built.unwrap().build().unwrap().metadata;
    state.tables.insert(name.to_owned(), (0, metadata));
    Some((200, loaded(state, name)))
}

fn commit(request: &Request, name: &str, state: &mut State) -> Option<(u16, Value)> {
    let fault = state.faults.pop_front().unwrap_or(Fault::None);
    match fault {
        Fault::Refused(status) => return failure(status),
        Fault::CutBefore => return None,
        Fault::None | Fault::MadeBut(_) | Fault::Cut => {}
    }
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    let requirements: Vec<TableRequirement> =
        serde_json::from_value(body["requirements"].clone()).unwrap();
    let updates: Vec<TableUpdate> = serde_json::from_value(body["updates"].clone()).unwrap();
    let (version, metadata) = state.tables.get(name)?.clone();
    if requirements.iter().any(|requirement| requirement.check(Some(&metadata)).is_err()) {
        return failure(409);
    }
    let mut builder = metadata.into_builder(Some(format!("/fake/{version:05}-x.metadata.json")));
    for update in updates {
        builder = update.apply(builder).unwrap();
    }
    state.tables.insert(name.to_owned(), (version + 1, builder.build().unwrap().metadata));
    match fault {
        Fault::MadeBut(status) => failure(status),
        Fault::Cut => None,
        _ => Some((200, loaded(state, name))),
    }
}
