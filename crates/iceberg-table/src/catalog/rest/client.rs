//! Requests to a catalog service: where it is, who we are, and what an answer means.
//!
//! A failure is *certain* if the request has changed nothing, and *unknown* if it may have. Reading
//! is repeated here; what changes something is repeated by whoever can find out whether it has been
//! done.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Method, Response, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::OnceCell;

use super::auth::Auth;
use super::sigv4::Signer;
use super::wire::{ErrorAnswer, ServerConfig};
use crate::catalog::options::missing_uri;
use crate::storage::run_on_network;
use crate::{Error, TableName};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// How often a request is sent that certainly failed for a moment.
const ATTEMPTS: u32 = 6;
/// The longest pause that a server may ask for.
const MAX_PAUSE: Duration = Duration::from_secs(10);

/// What came of a request.
#[derive(Debug)]
pub(super) enum Failure {
    /// It has changed nothing.
    Certain(Error),
    /// It may have been done.
    Unknown(Error),
}

impl Failure {
    pub(super) fn into_error(self) -> Error {
        match self {
            Self::Certain(error) | Self::Unknown(error) => error,
        }
    }
}

/// A catalog service as one user sees it.
pub(super) struct Client {
    http: reqwest::Client,
    uri: String,
    warehouse: Option<String>,
    /// Those of the user.
    options: BTreeMap<String, String>,
    headers: HeaderMap,
    auth: Auth,
    signer: Option<Signer>,
    /// What the server says about itself, asked once.
    config: OnceCell<Config>,
}

struct Config {
    /// The address up to what all paths share, with a slash at its end.
    base: String,
    /// Options of the server, those of the user over them, and what the server insists on over
    /// both.
    options: BTreeMap<String, String>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("uri", &self.uri).finish_non_exhaustive()
    }
}

/// A request as it is sent.
#[derive(Clone)]
struct Outgoing {
    method: Method,
    url: Url,
    body: Option<Vec<u8>>,
    idempotency_key: Option<String>,
}

impl Client {
    pub(super) fn new(options: &BTreeMap<&str, &str>) -> Result<Self, Error> {
        let uri = options.get("uri").ok_or_else(|| missing_uri("rest"))?;
        let uri = uri.trim_end_matches('/').to_owned();
        let parsed = Url::parse(&uri).map_err(|error| {
            Error::Invalid(format!("'uri' of the REST catalog is no address: {error}"))
        })?;
        if !parsed.username().is_empty() || parsed.password().is_some() {
            return Err(Error::Invalid(
                "'uri' of the REST catalog holds a user or password, which would be shown; use \
                 'credential' or 'token'"
                    .to_owned(),
            ));
        }
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(REQUEST_TIMEOUT)
            .user_agent(concat!("shardlake/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| Error::bug(format!("no HTTP client: {error}")))?;
        let text = |key: &str| options.get(key).map(|value| (*value).to_owned());
        Ok(Self {
            http,
            auth: Auth::of_options(&uri, options)?,
            signer: Signer::of_options(options)?,
            headers: headers(options)?,
            warehouse: text("warehouse"),
            options: options.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect(),
            uri,
            config: OnceCell::new(),
        })
    }

    async fn config(&self) -> Result<&Config, Failure> {
        let ask = || async {
            let mut url = format!("{}/v1/config", self.uri);
            if let Some(warehouse) = &self.warehouse {
                url = with_query(&url, &[("warehouse", warehouse)])?;
            }
            let answer = self.read(&url).await?;
            let found: ServerConfig = parse(&url, &answer).map_err(Failure::Certain)?;
            let mut merged = found.defaults;
            merged.extend(self.options.clone());
            merged.extend(found.overrides);
            let uri = merged.get("uri").map_or(self.uri.as_str(), String::as_str);
            let mut base = format!("{}/v1/", uri.trim_end_matches('/'));
            if let Some(prefix) = merged.get("prefix").filter(|prefix| !prefix.is_empty()) {
                // A prefix may have several segments.
                let segments: Vec<String> = prefix.split('/').map(segment).collect();
                base = format!("{base}{}/", segments.join("/"));
            }
            Ok(Config { base, options: merged })
        };
        self.config.get_or_try_init(ask).await
    }

    /// All options, for example how files are reached; those of the server among them.
    pub(super) async fn options(&self) -> Result<&BTreeMap<String, String>, Failure> {
        Ok(&self.config().await?.options)
    }

    async fn url(&self, path: &str, query: &[(&str, &str)]) -> Result<String, Failure> {
        with_query(&format!("{}{path}", self.config().await?.base), query)
    }

    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<T, Failure> {
        let url = self.url(path, query).await?;
        let answer = self.read(&url).await?;
        parse(&url, &answer).map_err(Failure::Certain)
    }

    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        idempotency_key: &str,
    ) -> Result<T, Failure> {
        let url = self.url(path, &[]).await?;
        let answer = self.change(Method::POST, &url, Some(body), idempotency_key).await?;
        // It was done, and what was done is not told.
        parse(&url, &answer).map_err(Failure::Unknown)
    }

    pub(super) async fn post_ignoring(
        &self,
        path: &str,
        body: &impl Serialize,
        idempotency_key: &str,
    ) -> Result<(), Failure> {
        let url = self.url(path, &[]).await?;
        self.change(Method::POST, &url, Some(body), idempotency_key).await.map(drop)
    }

    pub(super) async fn delete(&self, path: &str, query: &[(&str, &str)]) -> Result<(), Failure> {
        let url = self.url(path, query).await?;
        let key = uuid::Uuid::now_v7().to_string();
        self.change(Method::DELETE, &url, None::<&()>, &key).await.map(drop)
    }

    /// Reads, as often as it takes within reason.
    async fn read(&self, url: &str) -> Result<Vec<u8>, Failure> {
        let mut attempt = 1;
        loop {
            match self.send(outgoing(Method::GET, url, None, None)?).await {
                Err(Failure::Unknown(error)) if attempt < ATTEMPTS => {
                    tracing::debug!(url, %error, "asking once more");
                    sleep(backoff(attempt)).await?;
                    attempt += 1;
                }
                other => return other,
            }
        }
    }

    async fn change(
        &self,
        method: Method,
        url: &str,
        body: Option<&impl Serialize>,
        idempotency_key: &str,
    ) -> Result<Vec<u8>, Failure> {
        let bytes = body.map(serde_json::to_vec).transpose();
        let bytes = bytes.map_err(|error| Failure::Certain(Error::bug(error)))?;
        self.send(outgoing(method, url, bytes, Some(idempotency_key.to_owned()))?).await
    }

    /// Sends a request; again if the server certainly has not looked at it, or wants a newer token.
    async fn send(&self, request: Outgoing) -> Result<Vec<u8>, Failure> {
        let mut attempt = 1;
        let mut is_token_new = false;
        loop {
            let response = self.send_once(&request).await?;
            let status = response.status;
            let is_busy =
                matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
            let is_expired = status == StatusCode::UNAUTHORIZED || status.as_u16() == 419;
            if is_busy && attempt < ATTEMPTS {
                let pause = response.retry_after.unwrap_or_else(|| backoff(attempt));
                sleep(pause.min(MAX_PAUSE)).await?;
                attempt += 1;
            } else if is_expired && !is_token_new && self.auth.forget_token().await {
                is_token_new = true;
            } else {
                return response.into_result(&request.url);
            }
        }
    }

    async fn send_once(&self, request: &Outgoing) -> Result<Answer, Failure> {
        let token = self.auth.token(&self.http).await.map_err(Failure::Certain)?;
        let mut builder = self
            .http
            .request(request.method.clone(), request.url.clone())
            .headers(self.headers.clone());
        if let Some(token) = token {
            builder = builder.bearer_auth(token);
        }
        if let Some(key) = &request.idempotency_key {
            builder = builder.header("Idempotency-Key", key);
        }
        if let Some(body) = &request.body {
            builder = builder.header(CONTENT_TYPE, "application/json").body(body.clone());
        }
        let mut built = builder.build().map_err(|error| Failure::Certain(Error::bug(error)))?;
        if let Some(signer) = &self.signer {
            signer.sign(&mut built, request.body.as_deref().unwrap_or_default())?;
        }
        let http = self.http.clone();
        let answered = run_on_network(async move { receive(http.execute(built).await?).await });
        let answered = answered.await.map_err(Failure::Unknown)?;
        answered.map_err(|error| not_answered(&request.url, error))
    }
}

/// What a server has answered.
struct Answer {
    status: StatusCode,
    retry_after: Option<Duration>,
    body: Vec<u8>,
}

async fn receive(response: Response) -> Result<Answer, reqwest::Error> {
    let status = response.status();
    let seconds = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let retry_after = seconds.and_then(|text| text.parse().ok()).map(Duration::from_secs);
    let body = response.bytes().await?.to_vec();
    Ok(Answer { status, retry_after, body })
}

/// A request without an answer: the server may have seen it.
fn not_answered(url: &Url, error: reqwest::Error) -> Failure {
    // Its own message names the address with all parameters.
    Failure::Unknown(unavailable(url, error.without_url()))
}

fn unavailable(url: &Url, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Error {
    Error::Storage { action: "use the catalog at", path: shown(url).into(), source: source.into() }
}

/// The address without parameters.
fn shown(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{host}{port}{}", url.scheme(), url.path())
}

impl Answer {
    fn into_result(self, url: &Url) -> Result<Vec<u8>, Failure> {
        let status = self.status;
        if status.is_success() {
            return Ok(self.body);
        }
        let words = match serde_json::from_slice::<ErrorAnswer>(&self.body) {
            Ok(ErrorAnswer { error }) => format!("{status}: {} {}", error.r#type, error.message),
            Err(_) => status.to_string(),
        };
        let text = format!("the catalog at {} answered {words}", shown(url));
        Err(match status.as_u16() {
            404 => Failure::Certain(Error::NotFound(text)),
            // The caller knows the table and says it better.
            409 => Failure::Certain(Error::Conflict { table: TableName::new("", ""), version: 0 }),
            429 | 503 => Failure::Certain(unavailable(url, words)),
            500..=599 => Failure::Unknown(unavailable(url, words)),
            401 | 403 => Failure::Certain(Error::Invalid(format!(
                "{text}; check 'credential', 'token' and what the user may do"
            ))),
            _ => Failure::Certain(Error::Invalid(text)),
        })
    }
}

fn outgoing(
    method: Method,
    url: &str,
    body: Option<Vec<u8>>,
    idempotency_key: Option<String>,
) -> Result<Outgoing, Failure> {
    let url = Url::parse(url).map_err(|error| {
        Failure::Certain(Error::Invalid(format!("the catalog's address is not valid: {error}")))
    })?;
    Ok(Outgoing { method, url, body, idempotency_key })
}

fn parse<T: DeserializeOwned>(url: &str, body: &[u8]) -> Result<T, Error> {
    let body = if body.is_empty() { b"null" } else { body };
    serde_json::from_slice(body).map_err(|error| {
        let url = url.split('?').next().unwrap_or_default();
        Error::corrupt(format!("the answer of the catalog at {url}"), error)
    })
}

fn with_query(url: &str, query: &[(&str, &str)]) -> Result<String, Failure> {
    let mut url = Url::parse(url).map_err(|error| {
        Failure::Certain(Error::Invalid(format!("the catalog's address is not valid: {error}")))
    })?;
    if !query.is_empty() {
        url.query_pairs_mut().extend_pairs(query);
    }
    Ok(url.into())
}

/// The headers that the user and the protocol ask for.
fn headers(options: &BTreeMap<&str, &str>) -> Result<HeaderMap, Error> {
    let mut headers = HeaderMap::new();
    headers.insert(
        HeaderName::from_static("x-iceberg-access-delegation"),
        HeaderValue::from_static("vended-credentials"),
    );
    for (key, value) in options {
        let Some(name) = key.strip_prefix("header.") else { continue };
        let (Ok(name), Ok(mut value)) =
            (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value))
        else {
            return Err(Error::Invalid(format!("option '{key}' makes no valid HTTP header")));
        };
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}

/// A name as one segment of a path.
pub(super) fn segment(name: &str) -> String {
    let mut encoded = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            for digit in [byte >> 4, byte & 15] {
                encoded.extend(char::from_digit(digit.into(), 16).map(|c| c.to_ascii_uppercase()));
            }
        }
    }
    encoded
}

/// A namespace as one segment: the protocol puts a unit separator between levels.
pub(super) fn namespace_segment(namespace: &str) -> String {
    segment(&namespace.replace('.', "\u{1f}"))
}

fn backoff(attempt: u32) -> Duration {
    Duration::from_millis(100) * 2_u32.pow(attempt.min(6))
}

async fn sleep(duration: Duration) -> Result<(), Failure> {
    crate::storage::pause(duration).await.map_err(Failure::Unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_segments() {
        assert_eq!(segment("a b/ü%"), "a%20b%2F%C3%BC%25");
        assert_eq!(namespace_segment("a.b"), "a%1Fb");
    }

    #[test]
    fn a_password_in_the_address_is_refused() {
        let options = BTreeMap::from([("uri", "http://me:sesame@host/catalog")]);
        let error = Client::new(&options).unwrap_err().to_string();
        insta::assert_snapshot!(error, @"'uri' of the REST catalog holds a user or password, which would be shown; use 'credential' or 'token'");
    }
}
