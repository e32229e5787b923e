//! Who we are to a catalog service: nobody, the bearer of a token, or an OAuth2 client.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use reqwest::Url;
use tokio::sync::Mutex;

use super::wire::TokenAnswer;
use crate::Error;
use crate::storage::run_on_network;

/// A token is renewed when this part of its life is over.
const RENEW_AFTER: f64 = 0.75;

pub(super) enum Auth {
    None,
    Token(String),
    Client(Box<OauthClient>),
}

/// OAuth2's client credentials flow.
pub(super) struct OauthClient {
    server: Url,
    id: Option<String>,
    secret: String,
    parameters: Vec<(&'static str, String)>,
    held: Mutex<Option<Held>>,
}

struct Held {
    token: String,
    renew_at: Option<Instant>,
}

impl Auth {
    pub(super) fn of_options(uri: &str, options: &BTreeMap<&str, &str>) -> Result<Self, Error> {
        if let Some(kind) = options.get("rest.auth.type")
            && !matches!(*kind, "none" | "oauth2" | "sigv4")
        {
            return Err(Error::Invalid(format!(
                "'rest.auth.type' = '{kind}' is not supported; possible are none, oauth2 and sigv4"
            )));
        }
        if let Some(token) = options.get("token") {
            return Ok(Self::Token((*token).to_owned()));
        }
        let Some(credential) = options.get("credential") else { return Ok(Self::None) };
        let (id, secret) = match credential.split_once(':') {
            Some((id, secret)) => (Some(id.to_owned()), secret.to_owned()),
            None => (None, (*credential).to_owned()),
        };
        let server = match options.get("oauth2-server-uri") {
            Some(server) => (*server).to_owned(),
            None => format!("{uri}/v1/oauth/tokens"),
        };
        let server = Url::parse(&server).map_err(|error| {
            Error::Invalid(format!("'oauth2-server-uri' is no address: {error}"))
        })?;
        let scope = options.get("scope").copied().unwrap_or("catalog");
        let mut parameters = vec![("scope", scope.to_owned())];
        for key in ["audience", "resource"] {
            if let Some(value) = options.get(key) {
                parameters.push((key, (*value).to_owned()));
            }
        }
        let held = Mutex::new(None);
        Ok(Self::Client(Box::new(OauthClient { server, id, secret, parameters, held })))
    }

    /// The token to send.
    pub(super) async fn token(&self, http: &reqwest::Client) -> Result<Option<String>, Error> {
        match self {
            Self::None => Ok(None),
            Self::Token(token) => Ok(Some(token.clone())),
            Self::Client(client) => client.token(http).await.map(Some),
        }
    }

    /// Forgets a token that the server does not accept. False if there is no way to another one.
    pub(super) async fn forget_token(&self) -> bool {
        match self {
            Self::None | Self::Token(_) => false,
            Self::Client(client) => client.held.lock().await.take().is_some(),
        }
    }
}

impl OauthClient {
    async fn token(&self, http: &reqwest::Client) -> Result<String, Error> {
        let mut held = self.held.lock().await;
        let is_good = |held: &&Held| held.renew_at.is_none_or(|at| Instant::now() < at);
        if let Some(good) = held.as_ref().filter(is_good) {
            return Ok(good.token.clone());
        }
        let answer = self.fetch(http).await?;
        let lifetime = answer.expires_in.map(Duration::from_secs);
        let renew_at = lifetime.map(|lifetime| Instant::now() + lifetime.mul_f64(RENEW_AFTER));
        let token = answer.access_token.clone();
        *held = Some(Held { token: answer.access_token, renew_at });
        Ok(token)
    }

    async fn fetch(&self, http: &reqwest::Client) -> Result<TokenAnswer, Error> {
        let mut form = vec![("grant_type", "client_credentials".to_owned())];
        if let Some(id) = &self.id {
            form.push(("client_id", id.clone()));
        }
        form.push(("client_secret", self.secret.clone()));
        form.extend(self.parameters.iter().cloned());
        let request = http.post(self.server.clone()).form(&form);
        let failed = |source: crate::Cause| Error::Storage {
            action: "get a token from",
            path: self.server.as_str().into(),
            source,
        };
        let answer = run_on_network(async move {
            let response = request.send().await?;
            Ok::<_, reqwest::Error>((response.status(), response.bytes().await?))
        });
        let (status, body) =
            answer.await?.map_err(|error: reqwest::Error| failed(error.without_url().into()))?;
        if status.is_server_error() {
            return Err(failed(status.to_string().into()));
        }
        if !status.is_success() {
            return Err(Error::Invalid(format!(
                "{} gave no token ({status}); check 'credential', 'scope' and 'oauth2-server-uri'",
                self.server
            )));
        }
        serde_json::from_slice(&body).map_err(|_| failed("the answer holds no access_token".into()))
    }
}
