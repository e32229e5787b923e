//! Credentials for the files of a table that the catalog hands out with it, and their renewal.
//!
//! They live for an hour or so, and a job for months: whoever reaches for a bucket asks here, and
//! gets newer ones in time.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Mutex;

use super::client::{Client, Failure};
use super::wire::{LoadedCredentials, LoadedTable, StorageCredential};
use crate::commit::now_ms;
use crate::storage::{CredentialSource, S3Credentials};
use crate::{Error, Storage};

/// Credentials are renewed this long before they end.
const RENEW_BEFORE_MS: i64 = 120_000;

/// How long credentials are taken to live that end at an unknown time: no session is shorter.
const UNKNOWN_LIFE_MS: i64 = 900_000;

/// The way to a table's credentials.
pub(super) struct TableAccess {
    pub(super) client: Arc<Client>,
    /// The path of the table.
    pub(super) path: String,
}

/// The storage of a table: the catalog's, with what came along with the table.
pub(super) fn storage(
    base: &Storage,
    loaded: &LoadedTable,
    access: TableAccess,
) -> Result<Storage, Error> {
    let mut config = loaded.config.clone();
    // What is no secret (endpoint, region) is the same for all prefixes.
    for credential in &loaded.storage_credentials {
        config.extend(credential.config.clone());
    }
    let held = held(&loaded.config, &loaded.storage_credentials);
    if held.is_empty() && config.is_empty() {
        return Ok(base.clone());
    }
    let source: Option<Arc<dyn CredentialSource>> = if held.is_empty() {
        None
    } else {
        Some(Arc::new(Vended { access, held: Mutex::new(held) }))
    };
    base.overlaid(config.iter().map(|(key, value)| (key.as_str(), value.as_str())), source)
}

/// The credentials of an answer. Those of the table's config count where no prefix has its own.
fn held(config: &BTreeMap<String, String>, credentials: &[StorageCredential]) -> Vec<Credential> {
    let whole = Credential::of("", config);
    let of_prefixes = credentials.iter().filter_map(|one| Credential::of(&one.prefix, &one.config));
    of_prefixes.chain(whole).collect()
}

#[derive(Clone)]
pub(super) struct Credential {
    pub(super) prefix: String,
    pub(super) keys: S3Credentials,
    pub(super) expires_at_ms: Option<i64>,
}

impl Credential {
    fn of(prefix: &str, config: &BTreeMap<String, String>) -> Option<Self> {
        let get = |key: &str| config.get(key).cloned();
        let keys = S3Credentials {
            key_id: get("s3.access-key-id")?,
            secret: get("s3.secret-access-key")?,
            session_token: get("s3.session-token"),
        };
        let expires_at_ms = match get("s3.session-token-expires-at-ms") {
            Some(ms) => ms.parse().ok(),
            // A session ends one day, although this server does not say when.
            None => keys.session_token.as_ref().map(|_| now_ms() + UNKNOWN_LIFE_MS),
        };
        Some(Self { prefix: prefix.to_owned(), keys, expires_at_ms })
    }

    fn is_for(&self, bucket: &str) -> bool {
        let rest = self.prefix.split_once("://").map_or(self.prefix.as_str(), |(_, rest)| rest);
        let named = rest.split('/').next().unwrap_or_default();
        // `s3` alone stands for all buckets.
        self.prefix.is_empty() || !self.prefix.contains("://") || named == bucket
    }

    fn is_old(&self) -> bool {
        self.expires_at_ms.is_some_and(|at| now_ms() + RENEW_BEFORE_MS > at)
    }
}

/// Credentials that the catalog renews.
pub(super) struct Vended {
    pub(super) access: TableAccess,
    pub(super) held: Mutex<Vec<Credential>>,
}

impl fmt::Debug for Vended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vended").field("path", &self.access.path).finish_non_exhaustive()
    }
}

impl Vended {
    /// Newer ones: from the endpoint for it, or by loading the table where the server has none.
    async fn renew(&self) -> Result<Vec<Credential>, Failure> {
        let TableAccess { client, path } = &self.access;
        let answer: Result<LoadedCredentials, Failure> =
            client.get(&format!("{path}/credentials"), &[]).await;
        if let Ok(LoadedCredentials { storage_credentials }) = answer {
            let found = held(&BTreeMap::new(), &storage_credentials);
            if !found.is_empty() {
                return Ok(found);
            }
        }
        let loaded: LoadedTable = client.get(path, &[]).await?;
        Ok(held(&loaded.config, &loaded.storage_credentials))
    }
}

#[async_trait]
impl CredentialSource for Vended {
    async fn credentials(&self, bucket: &str) -> Result<S3Credentials, Error> {
        let mut held = self.held.lock().await;
        if held.iter().any(|credential| credential.is_for(bucket) && credential.is_old()) {
            *held = self.renew().await.map_err(Failure::into_error)?;
        }
        let fitting = held.iter().filter(|credential| credential.is_for(bucket));
        let longest = fitting.max_by_key(|credential| credential.prefix.len());
        longest.map(|credential| credential.keys.clone()).ok_or_else(|| {
            Error::Invalid(format!("the catalog gave no credentials for bucket '{bucket}'"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(key: &str) -> BTreeMap<String, String> {
        let pairs = [("s3.access-key-id", key), ("s3.secret-access-key", "sesame")];
        pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn a_prefix_of_the_bucket_goes_before_the_table_s_own() {
        let credentials = [
            StorageCredential { prefix: "s3://lake/a".into(), config: config("of-lake") },
            StorageCredential { prefix: "s3://other".into(), config: config("of-other") },
        ];
        let held = held(&config("of-all"), &credentials);
        let key = |bucket: &str| {
            let fitting = held.iter().filter(|credential| credential.is_for(bucket));
            fitting.max_by_key(|found| found.prefix.len()).unwrap().keys.key_id.clone()
        };
        assert_eq!(key("lake"), "of-lake");
        assert_eq!(key("other"), "of-other");
        assert_eq!(key("third"), "of-all");
    }
}
