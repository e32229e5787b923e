//! Signing requests as Amazon's services want it (Signature Version 4).
//!
//! The steps and the test's vector are from Amazon's documentation of the signing process.

use std::collections::BTreeMap;
use std::env;

use chrono::{DateTime, Utc};
use reqwest::header::HeaderValue;
use reqwest::{Request, Url};
use sha2::{Digest, Sha256};

use super::client::{Failure, segment};
use crate::Error;

const BLOCK_BYTES: usize = 64;
const SIGNED_HEADERS: [&str; 4] =
    ["host", "x-amz-content-sha256", "x-amz-date", "x-amz-security-token"];

/// Signs with one key.
pub(super) struct Signer {
    key_id: String,
    secret: String,
    session_token: Option<String>,
    region: String,
    service: String,
}

impl Signer {
    /// None unless the options ask for it.
    pub(super) fn of_options(options: &BTreeMap<&str, &str>) -> Result<Option<Self>, Error> {
        let is_wanted = options.get("rest.sigv4-enabled") == Some(&"true")
            || options.get("rest.auth.type") == Some(&"sigv4");
        if !is_wanted {
            return Ok(None);
        }
        let find = |keys: &[&str], variable: &str| {
            let given = keys.iter().find_map(|key| options.get(key)).map(|text| (*text).to_owned());
            given.or_else(|| env::var(variable).ok().filter(|text| !text.is_empty()))
        };
        let need = |keys: &[&str], variable: &str| {
            find(keys, variable).ok_or_else(|| {
                Error::Invalid(format!(
                    "'rest.sigv4-enabled' needs '{}', or {variable} in the environment",
                    keys.first().copied().unwrap_or_default()
                ))
            })
        };
        let service = options.get("rest.signing-name").copied().unwrap_or("execute-api");
        Ok(Some(Self {
            key_id: need(&["rest.access-key-id", "s3.access-key-id"], "AWS_ACCESS_KEY_ID")?,
            secret: need(
                &["rest.secret-access-key", "s3.secret-access-key"],
                "AWS_SECRET_ACCESS_KEY",
            )?,
            session_token: find(&["rest.session-token", "s3.session-token"], "AWS_SESSION_TOKEN"),
            region: need(&["rest.signing-region", "client.region", "s3.region"], "AWS_REGION")?,
            service: service.to_owned(),
        }))
    }

    /// Adds the headers that prove who sends the request.
    pub(super) fn sign(&self, request: &mut Request, body: &[u8]) -> Result<(), Failure> {
        let headers = self.headers(request.method().as_str(), request.url(), body, Utc::now());
        for (name, value) in headers {
            let mut value = HeaderValue::from_str(&value)
                .map_err(|error| Failure::Certain(Error::bug(error)))?;
            value.set_sensitive(name == "authorization");
            request.headers_mut().insert(name, value);
        }
        Ok(())
    }

    fn headers(
        &self,
        method: &str,
        url: &Url,
        body: &[u8],
        now: DateTime<Utc>,
    ) -> Vec<(&'static str, String)> {
        let time = now.format("%Y%m%dT%H%M%SZ").to_string();
        let day = now.format("%Y%m%d").to_string();
        let body_hash = hex(&Sha256::digest(body));
        let host = match url.port() {
            Some(port) => format!("{}:{port}", url.host_str().unwrap_or_default()),
            None => url.host_str().unwrap_or_default().to_owned(),
        };
        let mut headers = vec![("x-amz-content-sha256", body_hash.clone()), ("x-amz-date", time)];
        if let Some(token) = &self.session_token {
            headers.push(("x-amz-security-token", token.clone()));
        }
        let value = |name: &str| {
            let found = headers.iter().find(|(header, _)| *header == name);
            if name == "host" { Some(&host) } else { found.map(|(_, value)| value) }
        };
        let mut canonical_headers = String::new();
        let mut names = Vec::new();
        for name in SIGNED_HEADERS {
            if let Some(value) = value(name) {
                canonical_headers.extend([name, ":", value, "\n"]);
                names.push(name);
            }
        }
        let names = names.join(";");
        let (path, query) = (canonical_path(url), canonical_query(url));
        let canonical =
            format!("{method}\n{path}\n{query}\n{canonical_headers}\n{names}\n{body_hash}");
        let scope = format!("{day}/{}/{}/aws4_request", self.region, self.service);
        let time = headers.get(1).map_or("", |(_, time)| time);
        let hash = hex(&Sha256::digest(canonical.as_bytes()));
        let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{hash}");
        let mut key = hmac(format!("AWS4{}", self.secret).as_bytes(), day.as_bytes());
        for part in [self.region.as_str(), &self.service, "aws4_request"] {
            key = hmac(&key, part.as_bytes());
        }
        let signature = hex(&hmac(&key, to_sign.as_bytes()));
        let key_id = &self.key_id;
        headers.push((
            "authorization",
            format!(
                "AWS4-HMAC-SHA256 Credential={key_id}/{scope}, SignedHeaders={names}, \
                 Signature={signature}"
            ),
        ));
        headers
    }
}

/// The path as it is sent, its segments encoded once more: all services but S3 want it so.
fn canonical_path(url: &Url) -> String {
    url.path().split('/').map(segment).collect::<Vec<_>>().join("/")
}

/// The parameters, sorted.
fn canonical_query(url: &Url) -> String {
    let mut pairs: Vec<String> = url
        .query_pairs()
        .map(|(key, value)| format!("{}={}", segment(&key), segment(&value)))
        .collect();
    pairs.sort_unstable();
    pairs.join("&")
}

/// HMAC (RFC 2104) with SHA-256.
fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut block = [0_u8; BLOCK_BYTES];
    let hashed = Sha256::digest(key);
    let key = if key.len() > BLOCK_BYTES { hashed.as_slice() } else { key };
    block.iter_mut().zip(key).for_each(|(byte, key)| *byte = *key);
    let inner = Sha256::new().chain_update(block.map(|byte| byte ^ 0x36)).chain_update(message);
    let outer = Sha256::new().chain_update(block.map(|byte| byte ^ 0x5c));
    outer.chain_update(inner.finalize()).finalize().into()
}

fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect()
}

#[cfg(test)]
mod tests {
    use chrono::TimeZone;

    use super::*;

    /// RFC 4231, test cases 2 and 6.
    #[test]
    fn hmac_is_that_of_the_rfc() {
        let first = hmac(b"Jefe", b"what do ya want for nothing?");
        assert_eq!(hex(&first), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        let long = hmac(&[0xaa; 131], b"Test Using Larger Than Block-Size Key - Hash Key First");
        assert_eq!(hex(&long), "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    }

    #[test]
    fn names_of_several_levels_are_encoded_twice() {
        let url = Url::parse("http://host:1/v1/namespaces/a%1Fb?z=1&a=%20").unwrap();
        assert_eq!(canonical_path(&url), "/v1/namespaces/a%251Fb");
        assert_eq!(canonical_query(&url), "a=%20&z=1");
    }

    #[test]
    fn the_secret_is_in_no_header() {
        let signer = Signer {
            key_id: "AKIDEXAMPLE".into(),
            secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into(),
            session_token: None,
            region: "us-east-1".into(),
            service: "service".into(),
        };
        let url = Url::parse("https://example.amazonaws.com/").unwrap();
        let now = Utc.with_ymd_and_hms(2015, 8, 30, 12, 36, 0).unwrap();
        let headers = signer.headers("GET", &url, b"", now);
        assert_eq!(headers[1], ("x-amz-date", "20150830T123600Z".to_owned()));
        let (_, authorization) = headers.last().unwrap();
        assert!(authorization.starts_with(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
             SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature="
        ));
        assert!(headers.iter().all(|(_, value)| !value.contains("wJalr")));
    }
}
