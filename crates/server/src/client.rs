//! A client of the gateway: `shardlake sql --endpoint`.
//!
//! It asks for rows in Arrow's form and for diagnostics with their parts, so that what it shows is what
//! embedded mode shows.

use std::io::Cursor;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::ipc::reader::StreamReader;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use reqwest::{Certificate, Client, Method, RequestBuilder};
use serde_json::{Map, Value, json};
use shardlake_change::{ChangeBatch, Column, RowKind, RowKinds};
use shardlake_sql::diagnostic::{Code, Diagnostic, Span};
use shardlake_sql::parser::parse_statement;
use shardlake_sql::session::{Configuration, Layout, ResultTable};
use shardlake_sql::statement::Statement;
use tokio::sync::mpsc::{Sender, channel};
use tokio::task::AbortHandle;

use crate::collect::Delivery;
use crate::engine::{Answer, QueryResult};
use crate::error::Error;
use crate::gateway::{column_from_json, kind_of_letter};

/// How long an answer may take. A page is answered at once, whatever the query does.
const TIMEOUT: Duration = Duration::from_secs(60);
/// How often the server is told that the session is in use.
const HEARTBEAT: Duration = Duration::from_secs(60);
/// How often an unfinished statement is asked for: first, and at most.
const POLLS: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(200));
/// How long a query without new rows is left alone.
const ROWS_PAUSE: Duration = Duration::from_millis(20);
/// Pages of a result that wait to be shown.
const PAGES: usize = 4;

/// A session at a gateway.
pub struct GatewayClient {
    link: Link,
    session: String,
    configuration: Configuration,
    heartbeat: AbortHandle,
}

/// The way to the server.
#[derive(Clone)]
struct Link {
    client: Client,
    endpoint: Arc<str>,
    token: Option<Arc<str>>,
}

impl Drop for GatewayClient {
    fn drop(&mut self) {
        self.heartbeat.abort();
    }
}

impl Link {
    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.endpoint));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    fn protocol(&self, reason: impl Into<String>) -> Error {
        Error::Protocol { endpoint: self.endpoint.to_string(), reason: reason.into() }
    }

    /// The object that the server answers with, and whether it is a success.
    async fn send(&self, request: RequestBuilder) -> Result<(bool, Value), Error> {
        let unreachable =
            |source| Error::Unreachable { endpoint: self.endpoint.to_string(), source };
        let answer = request.send().await.map_err(unreachable)?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(unreachable)?;
        let value = serde_json::from_slice(&body)
            .map_err(|_| self.protocol(format!("status {status} without JSON")))?;
        Ok((status.is_success(), value))
    }

    /// As [`Link::send`]; a failure of the server is a diagnostic.
    async fn ask(&self, request: RequestBuilder) -> Result<Value, Diagnostic> {
        match self.send(request).await {
            Ok((true, value)) => Ok(value),
            Ok((false, value)) => Err(diagnostic_of(&value)),
            Err(error) => Err(lost(&error)),
        }
    }
}

/// The server cannot be asked.
fn lost(error: &Error) -> Diagnostic {
    let mut message = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        message.push_str(": ");
        message.push_str(&error.to_string());
        cause = error.source();
    }
    Diagnostic::new(Code::CatalogAccess, message)
        .with_hint("Jobs go on without the client; start it again when the server can be reached.")
}

/// The diagnostic in a failure, or the first error as one.
fn diagnostic_of(failure: &Value) -> Diagnostic {
    let detail = failure.get("diagnostic").filter(|value| value.is_object());
    let text = |key: &str| detail?.get(key)?.as_str().map(str::to_owned);
    if let (Some(code), Some(message)) = (text("code"), text("message")) {
        let code =
            shardlake_sql::diagnostic::CODES.into_iter().find(|known| known.as_str() == code);
        let mut diagnostic = Diagnostic::new(code.unwrap_or(Code::Internal), message);
        diagnostic.detail = text("detail");
        diagnostic.hint = text("hint");
        let span = detail.and_then(|detail| detail.get("span"));
        let place = |key: &str| usize::try_from(span?.get(key)?.as_u64()?).ok();
        diagnostic.span = place("start").zip(place("end")).map(|(start, end)| Span { start, end });
        return diagnostic;
    }
    let errors = failure.get("errors").and_then(Value::as_array);
    let last = errors.and_then(|errors| errors.last()).and_then(Value::as_str);
    let line = last.and_then(|text| text.lines().rfind(|line| line.starts_with("Caused by: ")));
    let line = line.and_then(|line| line.strip_prefix("Caused by: ")).or(last);
    Diagnostic::new(Code::SessionState, line.unwrap_or("The server refused without a reason."))
}

/// How a client introduces itself, and whom it trusts.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// The token, if the server asks for one.
    pub token: Option<String>,
    /// Certificates in PEM form that the server's may be signed with, besides those that everybody knows.
    pub authorities: Option<Vec<u8>>,
}

impl GatewayClient {
    /// Opens a session with these settings.
    ///
    /// # Errors
    /// The server cannot be reached, is none, or refuses.
    pub async fn connect(
        endpoint: &str,
        credentials: &Credentials,
        settings: &[(String, String)],
    ) -> Result<Self, Error> {
        let endpoint = endpoint.trim_end_matches('/');
        let endpoint = match endpoint.contains("://") {
            true => endpoint.to_owned(),
            false => format!("http://{endpoint}"),
        };
        let unreachable = |source| Error::Unreachable { endpoint: endpoint.clone(), source };
        let mut builder = Client::builder().timeout(TIMEOUT);
        let authorities = credentials.authorities.as_deref();
        let authorities = authorities.map(Certificate::from_pem_bundle).transpose();
        for certificate in authorities.map_err(unreachable)?.into_iter().flatten() {
            builder = builder.add_root_certificate(certificate);
        }
        let client = builder.build().map_err(unreachable)?;
        let token = credentials.token.as_deref().map(Arc::from);
        let link = Link { client, endpoint: endpoint.into(), token };
        let properties: Map<String, Value> = settings
            .iter()
            .map(|(key, value)| (key.clone(), Value::from(value.as_str())))
            .collect();
        let body = json!({ "sessionName": "shardlake-sql", "properties": properties });
        let request = link.request(Method::POST, "/v3/sessions").json(&body);
        let (is_success, answer) = link.send(request).await?;
        if !is_success {
            return Err(link.protocol(diagnostic_of(&answer).message));
        }
        let session = answer.get("sessionHandle").and_then(Value::as_str);
        let session = session.ok_or_else(|| link.protocol("it opened no session"))?;
        let session = format!("/v3/sessions/{session}");
        let heartbeat = tokio::spawn(keep_alive(link.clone(), session.clone())).abort_handle();
        let mut client = Self { link, session, configuration: Configuration::default(), heartbeat };
        client.refresh().await.map_err(|failure| client.link.protocol(failure.message))?;
        Ok(client)
    }

    /// Closes the session. Jobs go on.
    pub async fn close(self) {
        let request = self.link.request(Method::DELETE, &self.session);
        if let Err(error) = self.link.send(request).await {
            tracing::debug!(%error, "cannot close session");
        }
    }

    /// What is set in the session.
    #[must_use]
    pub const fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// The names of the tables and views of the current database, for completion.
    pub async fn object_names(&self) -> Vec<String> {
        let body = json!({ "statement": "SELECT * FROM " });
        let path = format!("{}/complete-statement", self.session);
        let answer = self.link.ask(self.link.request(Method::POST, &path).json(&body)).await;
        let candidates =
            answer.ok().and_then(|answer| answer.get("candidates")?.as_array().cloned());
        let last_part = |name: &Value| Some(name.as_str()?.rsplit('.').next()?.to_owned());
        candidates.unwrap_or_default().iter().filter_map(last_part).collect()
    }

    /// Runs one statement.
    ///
    /// # Errors
    /// Why it was not run.
    pub async fn execute(&mut self, text: &str) -> Result<Answer, Diagnostic> {
        match parse_statement(text) {
            Ok(Statement::Help) => return Ok(Answer::Help),
            Ok(Statement::Clear) => return Ok(Answer::Clear),
            Ok(Statement::Quit) => return Ok(Answer::Quit),
            // The server knows better what it can parse.
            Ok(_) | Err(_) => {}
        }
        let body = json!({ "statement": text });
        let path = format!("{}/statements", self.session);
        let answer = self.link.ask(self.link.request(Method::POST, &path).json(&body)).await?;
        let handle = answer.get("operationHandle").and_then(Value::as_str);
        let handle = handle.ok_or_else(|| Diagnostic::internal("the server started nothing"))?;
        let operation = format!("{}/operations/{handle}", self.session);
        let answer = self.result(operation.clone()).await;
        if !matches!(answer, Ok(Answer::Rows(_))) {
            leave(&self.link, &operation).await;
            self.refresh().await?;
        }
        answer
    }

    async fn refresh(&mut self) -> Result<(), Diagnostic> {
        let answer = self.link.ask(self.link.request(Method::GET, &self.session)).await?;
        let properties = answer.get("properties").and_then(Value::as_object).cloned();
        let pair = |(key, value): (String, Value)| Some((key, value.as_str()?.to_owned()));
        let settings = properties.unwrap_or_default().into_iter().filter_map(pair);
        self.configuration = Configuration::new(settings)?;
        Ok(())
    }

    async fn result(&self, operation: String) -> Result<Answer, Diagnostic> {
        let mut pages = Pages { link: self.link.clone(), operation, token: 0 };
        let first = pages.first().await?;
        let columns = first.columns;
        if first.is_query {
            let (sender, receiver) = channel(PAGES);
            let shows_op = first.shows_op;
            if !first.is_last {
                tokio::spawn(pages.send_all(first.rows, sender));
            }
            return Ok(Answer::Rows(QueryResult::new(columns, shows_op, receiver)));
        }
        let mut batches: Vec<RecordBatch> =
            first.rows.into_iter().map(|b| b.into_parts().0).collect();
        let mut is_last = first.is_last;
        while !is_last {
            let page = pages.next().await?;
            batches.extend(page.rows.into_iter().map(|batch| batch.into_parts().0));
            is_last = page.is_last;
        }
        if let Some(lines) = first.lines {
            return Ok(match first.job {
                Some(job) => Answer::Submitted { job, lines },
                None => Answer::Done(lines),
            });
        }
        let rows = ResultTable::whole(&columns, &batches)?;
        Ok(Answer::Table(ResultTable { columns, rows, layout: first.layout }))
    }
}

/// A page as it came.
struct PageRead {
    columns: Vec<Column>,
    rows: Option<ChangeBatch>,
    is_query: bool,
    is_last: bool,
    job: Option<String>,
    lines: Option<Vec<String>>,
    layout: Layout,
    shows_op: bool,
}

/// The pages of one result, in order.
struct Pages {
    link: Link,
    operation: String,
    token: u64,
}

impl Pages {
    /// The first page, when the statement has been run.
    async fn first(&mut self) -> Result<PageRead, Diagnostic> {
        let (mut pause, longest) = POLLS;
        loop {
            if let Some(page) = self.fetch().await? {
                return Ok(page);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(longest);
        }
    }

    async fn next(&mut self) -> Result<PageRead, Diagnostic> {
        let page = self.fetch().await?;
        page.ok_or_else(|| Diagnostic::internal("the server took a result back"))
    }

    async fn fetch(&mut self) -> Result<Option<PageRead>, Diagnostic> {
        let path = format!("{}/result/{}?rowFormat=ARROW", self.operation, self.token);
        let answer = self.link.ask(self.link.request(Method::GET, &path)).await?;
        if answer.get("resultType").and_then(Value::as_str) == Some("NOT_READY") {
            return Ok(None);
        }
        let page = read_page(&answer);
        let page =
            page.ok_or_else(|| Diagnostic::internal("the server sent a page that cannot be read"))?;
        self.token += 1;
        Ok(Some(page))
    }

    /// Sends the rows of all pages until the end, or until nobody listens any more.
    async fn send_all(mut self, first: Option<ChangeBatch>, sender: Sender<Delivery>) {
        let mut rows = first;
        loop {
            let is_empty = rows.is_none();
            if let Some(batch) = rows.take()
                && sender.send(Ok(batch)).await.is_err()
            {
                break;
            }
            if is_empty {
                tokio::select! {
                    () = tokio::time::sleep(ROWS_PAUSE) => {}
                    () = sender.closed() => break,
                }
            }
            let page = tokio::select! {
                page = self.next() => page,
                () = sender.closed() => break,
            };
            match page {
                Ok(page) if page.is_last => break,
                Ok(page) => rows = page.rows,
                Err(failure) => {
                    // Nobody may be listening any more; then there is nobody to tell.
                    sender.send(Err(failure)).await.unwrap_or_default();
                    break;
                }
            }
        }
        leave(&self.link, &self.operation).await;
    }
}

/// Tells the server that an operation is no longer of interest.
async fn leave(link: &Link, operation: &str) {
    let request = link.request(Method::DELETE, &format!("{operation}/close"));
    if let Err(error) = link.send(request).await {
        tracing::debug!(%error, "cannot close operation");
    }
}

async fn keep_alive(link: Link, session: String) {
    loop {
        tokio::time::sleep(HEARTBEAT).await;
        let request = link.request(Method::POST, &format!("{session}/heartbeat"));
        if let Err(error) = link.send(request).await {
            tracing::debug!(%error, "heartbeat failed");
        }
    }
}

fn read_page(answer: &Value) -> Option<PageRead> {
    let results = answer.get("results")?;
    let columns = results.get("columns")?.as_array()?;
    let columns: Vec<Column> = columns.iter().map(column_from_json).collect::<Option<_>>()?;
    let extra = answer.get("shardlake")?;
    let lines = extra.get("lines").and_then(Value::as_array);
    let text = |value: &Value| value.as_str().map(str::to_owned);
    Some(PageRead {
        rows: match results.get("data")? {
            Value::Object(data) => Some(read_rows(data)?),
            _ => None,
        },
        columns,
        is_query: answer.get("isQueryResult")?.as_bool()?,
        is_last: answer.get("resultType")?.as_str()? == "EOS",
        job: answer.get("jobID").and_then(text),
        lines: lines.map(|lines| lines.iter().filter_map(text).collect()),
        layout: match extra.get("layout")?.as_str()? {
            "TEXT" => Layout::Text,
            _ => Layout::Table,
        },
        shows_op: extra.get("showsOp")?.as_bool()?,
    })
}

fn read_rows(data: &Map<String, Value>) -> Option<ChangeBatch> {
    let bytes = BASE64.decode(data.get("stream")?.as_str()?).ok()?;
    let rows = StreamReader::try_new(Cursor::new(bytes), None).ok()?.next()?.ok()?;
    let kinds = data.get("kinds")?.as_str()?.chars().map(kind_of_letter);
    let kinds: Vec<RowKind> = kinds.collect::<Option<_>>()?;
    ChangeBatch::try_new(rows, RowKinds::Mixed(kinds)).ok()
}
