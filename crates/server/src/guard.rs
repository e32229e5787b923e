//! Who may ask what. Every request passes here first.
//!
//! With tokens, a request needs one whose role is enough: `read` looks, `operate` also runs statements and ends
//! jobs, `admin` also defines tables and catalogs. Without tokens the server listens on the loopback
//! interface only (or the user waived that), and a browser is the danger: a page of another site must
//! neither make it act nor read from it. So a request that acts must come from the same origin, and
//! the name by which the server was asked must be its own, which no name that was bound anew is.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use ring::digest::{SHA256, digest};

use crate::app::App;
use crate::failure::Failure;

/// What a client may do; a later role may do what an earlier one may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Look.
    Read,
    /// Run statements, and end jobs.
    Operate,
    /// Define tables, views, databases and catalogs.
    Admin,
}

impl Role {
    /// The role of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Read, Self::Operate, Self::Admin].into_iter().find(|role| role.as_str() == name)
    }

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Operate => "operate",
            Self::Admin => "admin",
        }
    }
}

/// The rules of a server.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// The hashes of the tokens with their roles; empty if no token is asked for.
    tokens: Vec<(Role, Vec<u8>)>,
    /// Other sites whose pages may use the server.
    allowed_origins: Vec<String>,
    /// Names of the server besides those of the loopback interface.
    allowed_hosts: Vec<String>,
    /// Whether any name is right, because the user waived the rules.
    any_host: bool,
}

/// The shortest token.
const TOKEN_CHARS_MIN: usize = 16;

impl Access {
    /// The rules with the tokens of a text: a line each, the role and the token; `#` begins a remark.
    ///
    /// # Errors
    /// What is wrong with a line, without its token.
    pub fn with_tokens(mut self, text: &str) -> Result<Self, String> {
        for (index, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            let number = index + 1;
            let (role, token) = line
                .split_once(char::is_whitespace)
                .ok_or_else(|| format!("line {number}: write the role and the token"))?;
            let role = Role::parse(role)
                .ok_or_else(|| format!("line {number}: the role is read, operate or admin"))?;
            let token = token.trim();
            if token.len() < TOKEN_CHARS_MIN {
                return Err(format!(
                    "line {number}: a token has at least {TOKEN_CHARS_MIN} characters"
                ));
            }
            self.tokens.push((role, hash(token)));
        }
        if self.tokens.is_empty() {
            return Err("there is no token in it".to_owned());
        }
        Ok(self)
    }

    /// The rules with other sites whose pages may use the server.
    #[must_use]
    pub fn with_origins(mut self, origins: Vec<String>) -> Self {
        self.allowed_origins = origins;
        self
    }

    /// The rules with other names of the server.
    #[must_use]
    pub fn with_hosts(mut self, hosts: Vec<String>) -> Self {
        self.allowed_hosts = hosts;
        self
    }

    /// The rules of a server that anybody who reaches it may use.
    #[must_use]
    pub const fn waived(mut self) -> Self {
        self.any_host = true;
        self
    }

    /// Whether a token is asked for.
    #[must_use]
    pub const fn asks_for_tokens(&self) -> bool {
        !self.tokens.is_empty()
    }

    /// The role of the token in a request.
    fn role(&self, headers: &HeaderMap) -> Option<Role> {
        if self.tokens.is_empty() {
            return Some(Role::Admin);
        }
        let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
        let (scheme, token) = value.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let given = hash(token.trim());
        let mut found = None;
        for (role, known) in &self.tokens {
            // All are compared, and wholly, so that time tells nothing.
            let differs = known.iter().zip(&given).fold(0, |sum, (a, b)| sum | (a ^ b));
            if differs == 0 {
                found = Some(*role);
            }
        }
        found
    }

    fn knows_host(&self, host: &str) -> bool {
        if self.any_host || self.asks_for_tokens() {
            return true;
        }
        let name = host_name(host);
        let is_loopback = name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        is_loopback
            || name.eq_ignore_ascii_case("localhost")
            || self.allowed_hosts.iter().any(|known| known.eq_ignore_ascii_case(name))
    }

    fn allows_origin(&self, origin: &str, host: Option<&str>) -> bool {
        let same = origin.split_once("://").map(|(_, place)| place) == host;
        same || self.allowed_origins.iter().any(|known| known == origin)
    }
}

fn hash(token: &str) -> Vec<u8> {
    digest(&SHA256, token.as_bytes()).as_ref().to_vec()
}

/// The name in `name:port`, brackets of an IPv6 address removed.
fn host_name(host: &str) -> &str {
    if let Some((address, _)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return address;
    }
    host.rsplit_once(':').map_or(host, |(name, _)| name)
}

/// The role that a request needs; none if anybody may ask.
fn required(method: &Method, path: &str) -> Option<Role> {
    let looks = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    if looks && (path == "/healthz" || path == "/readyz" || crate::page::exists(path)) {
        return None;
    }
    let versions = ["/v1/", "/v2/", "/v3/", "/v4/"];
    let rest = versions.iter().find_map(|version| path.strip_prefix(version));
    let rest = rest.unwrap_or(path.trim_start_matches('/'));
    let is_session = rest == "sessions" || rest.starts_with("sessions/");
    Some(if looks && !is_session { Role::Read } else { Role::Operate })
}

/// Lets a request through, or not.
pub(crate) async fn guard(
    State(app): State<Arc<App>>,
    mut request: Request,
    next: Next,
) -> Response {
    let access = &app.access;
    let host = text_of(request.headers(), &header::HOST);
    let origin = text_of(request.headers(), &header::ORIGIN);
    let method = request.method().clone();
    let known = host.as_deref().is_none_or(|host| access.knows_host(host));
    let acts = !matches!(method, Method::GET | Method::HEAD | Method::OPTIONS);
    let allowed =
        origin.as_deref().is_none_or(|origin| access.allows_origin(origin, host.as_deref()));
    let mut response = if !known {
        refused("This is not a name of this server. Start it with --allow-host NAME to add one.")
    } else if acts && !allowed {
        refused("A page of another site must not use this server.")
    } else if method == Method::OPTIONS {
        StatusCode::NO_CONTENT.into_response()
    } else {
        match (required(&method, request.uri().path()), access.role(request.headers())) {
            (None, _) => next.run(request).await,
            (Some(needed), Some(role)) if role >= needed => {
                request.extensions_mut().insert(role);
                next.run(request).await
            }
            (Some(needed), Some(role)) => refused(&format!(
                "The token's role '{}' is not enough: '{}' is needed.",
                role.as_str(),
                needed.as_str()
            )),
            (Some(_), None) => unauthorized(),
        }
    };
    add_headers(response.headers_mut(), origin.filter(|_| allowed), access);
    response
}

fn text_of(headers: &HeaderMap, name: &header::HeaderName) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

fn refused(reason: &str) -> Response {
    Failure::new(StatusCode::FORBIDDEN, reason).into_response()
}

fn unauthorized() -> Response {
    let failure = Failure::new(
        StatusCode::UNAUTHORIZED,
        "A token is needed: send the header 'Authorization: Bearer TOKEN'.",
    );
    let mut response = failure.into_response();
    let scheme = HeaderValue::from_static("Bearer realm=\"shardlake\"");
    response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
    response
}

fn add_headers(headers: &mut HeaderMap, origin: Option<String>, access: &Access) {
    let fixed = |text| HeaderValue::from_static(text);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, fixed("nosniff"));
    headers.insert(header::REFERRER_POLICY, fixed("no-referrer"));
    headers.insert(header::X_FRAME_OPTIONS, fixed("DENY"));
    headers
        .entry(header::CONTENT_SECURITY_POLICY)
        .or_insert(fixed("default-src 'none'; frame-ancestors 'none'"));
    headers.entry(header::CACHE_CONTROL).or_insert(fixed("no-store"));
    let listed = origin.filter(|origin| access.allowed_origins.contains(origin));
    if let Some(value) = listed.and_then(|origin| HeaderValue::from_str(&origin).ok()) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, value);
        headers.insert(header::VARY, fixed("Origin"));
        headers.insert(
            header::ACCESS_CONTROL_ALLOW_METHODS,
            fixed("GET, POST, PATCH, DELETE, OPTIONS"),
        );
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, fixed("Authorization, Content-Type"));
    }
}

/// Whether a statement defines something, so that it needs the role `admin`.
pub(crate) fn defines(statement: &str) -> bool {
    const WORDS: [&str; 6] = ["CREATE", "ALTER", "DROP", "LOAD", "UNLOAD", "REPLACE"];
    let word: String =
        without_comments(statement).chars().take_while(|c| c.is_ascii_alphabetic()).collect();
    WORDS.contains(&word.to_ascii_uppercase().as_str())
}

/// The statement from its first character that is neither space nor comment.
fn without_comments(statement: &str) -> &str {
    let mut rest = statement.trim_start_matches(|c: char| c.is_whitespace() || c == ';');
    loop {
        let behind = if rest.starts_with("--") {
            rest.split_once('\n').map_or("", |(_, behind)| behind)
        } else if rest.starts_with("/*") {
            rest.split_once("*/").map_or("", |(_, behind)| behind)
        } else {
            return rest;
        };
        rest = behind.trim_start_matches(|c: char| c.is_whitespace() || c == ';');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_need_roles() {
        let need = |method: Method, path: &str| required(&method, path).map(Role::as_str);
        assert_eq!(need(Method::GET, "/jobs"), Some("read"));
        assert_eq!(need(Method::GET, "/v1/jobs"), Some("read"));
        assert_eq!(need(Method::PATCH, "/jobs/x"), Some("operate"));
        assert_eq!(need(Method::GET, "/v3/sessions/x/operations/y/result/0"), Some("operate"));
        assert_eq!(need(Method::GET, "/sessions/x"), Some("operate"));
        assert_eq!(need(Method::GET, "/healthz"), None);
        assert_eq!(need(Method::GET, "/"), None);
        assert_eq!(need(Method::GET, "/metrics"), Some("read"));
        assert_eq!(need(Method::GET, "/no/such"), Some("read"));
    }

    #[test]
    fn tokens_are_read_and_compared() {
        let text = "# tokens\nread abcdefghijklmnop\nadmin   0123456789abcdef # ops\n";
        let access = Access::default().with_tokens(text).unwrap();
        let role = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap());
            access.role(&headers)
        };
        assert_eq!(role("Bearer abcdefghijklmnop"), Some(Role::Read));
        assert_eq!(role("bearer 0123456789abcdef"), Some(Role::Admin));
        assert_eq!(role("Bearer abcdefghijklmno"), None);
        assert_eq!(role("Basic abcdefghijklmnop"), None);
        assert_eq!(access.role(&HeaderMap::new()), None);
        for wrong in ["", "read short", "root abcdefghijklmnopqrst", "abcdefghijklmnopqrst"] {
            assert!(Access::default().with_tokens(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn without_tokens_only_names_of_this_machine_are_right() {
        let access = Access::default().with_hosts(vec!["lake.example".to_owned()]);
        for right in ["localhost:8081", "127.0.0.1", "[::1]:8081", "127.0.0.9:1", "Lake.example:80"]
        {
            assert!(access.knows_host(right), "{right}");
        }
        for wrong in ["evil.example:8081", "10.0.0.1:8081", "localhost.evil.example", ""] {
            assert!(!access.knows_host(wrong), "{wrong}");
        }
        assert!(access.allows_origin("http://localhost:8081", Some("localhost:8081")));
        assert!(!access.allows_origin("http://evil.example", Some("localhost:8081")));
        assert!(!access.allows_origin("null", Some("localhost:8081")));
    }

    #[test]
    fn statements_that_define_are_known_behind_comments_too() {
        for text in ["CREATE TABLE t (a INT)", " -- x\n /* y */ drop table t", ";alter view v"] {
            assert!(defines(text), "{text}");
        }
        for text in ["SELECT 'CREATE'", "INSERT INTO t SELECT 1", "-- CREATE", "", "CREATEX"] {
            assert!(!defines(text), "{text}");
        }
    }
}
