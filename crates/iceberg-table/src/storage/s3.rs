//! Reaching a bucket: Iceberg's `s3.*` options, or the environment.
//!
//! Values of the options are secrets until proved otherwise: only keys are ever shown.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, AwsCredential, S3ConditionalPut};
use object_store::{
    BackoffConfig, ClientConfigKey, CredentialProvider, Error as StoreError, ObjectStore,
    RetryConfig,
};

use crate::Error;

/// Options that say how buckets are reached.
const ENDPOINT: &str = "s3.endpoint";
const ACCESS_KEY_ID: &str = "s3.access-key-id";
const SECRET_ACCESS_KEY: &str = "s3.secret-access-key";
const SESSION_TOKEN: &str = "s3.session-token";
const REGION: &str = "s3.region";
const CLIENT_REGION: &str = "client.region";
const PATH_STYLE: &str = "s3.path-style-access";
const REMOTE_SIGNING: &str = "s3.remote-signing-enabled";
pub(crate) const KEYS: [&str; 8] = [
    ENDPOINT,
    ACCESS_KEY_ID,
    SECRET_ACCESS_KEY,
    SESSION_TOKEN,
    REGION,
    CLIENT_REGION,
    PATH_STYLE,
    REMOTE_SIGNING,
];

/// The region where none is named and an endpoint is: stores that are not Amazon's rarely look at
/// it.
const DEFAULT_REGION: &str = "us-east-1";
/// How long a request may take. Longer than any part takes on a slow line.
const REQUEST_TIMEOUT: &str = "60 seconds";

/// How buckets are reached.
#[derive(Clone, Default)]
pub(crate) struct S3Options {
    endpoint: Option<String>,
    access_key_id: Option<String>,
    secret_access_key: Option<String>,
    session_token: Option<String>,
    region: Option<String>,
    path_style: Option<bool>,
}

impl fmt::Debug for S3Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Options").finish_non_exhaustive()
    }
}

impl S3Options {
    /// Whether this is an option that is read here.
    pub(crate) fn knows(key: &str) -> bool {
        KEYS.contains(&key)
    }

    /// These options with others over them; what is none of storage is passed over.
    pub(crate) fn overlaid<'a>(
        self,
        options: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, Error> {
        let mut found = self;
        for (key, value) in options {
            let text = || Some(value.to_owned()).filter(|value| !value.is_empty());
            match key {
                ENDPOINT => found.endpoint = text(),
                ACCESS_KEY_ID => found.access_key_id = text(),
                SECRET_ACCESS_KEY => found.secret_access_key = text(),
                SESSION_TOKEN => found.session_token = text(),
                // `s3.region` is ours and pyiceberg's; Java says `client.region`.
                REGION => found.region = text(),
                CLIENT_REGION if found.region.is_none() => found.region = text(),
                PATH_STYLE => found.path_style = Some(boolean(key, value)?),
                REMOTE_SIGNING if boolean(key, value)? => {
                    return Err(Error::Invalid(format!(
                        "'{REMOTE_SIGNING}' = 'true' is not supported; use vended credentials, or \
                         '{ACCESS_KEY_ID}' and '{SECRET_ACCESS_KEY}'"
                    )));
                }
                _ => {}
            }
        }
        if found.access_key_id.is_some() != found.secret_access_key.is_some() {
            return Err(Error::Invalid(format!(
                "'{ACCESS_KEY_ID}' and '{SECRET_ACCESS_KEY}' must be given together"
            )));
        }
        Ok(found)
    }

    /// A client for one bucket. Does no I/O.
    pub(crate) fn bucket(
        &self,
        bucket: &str,
        credentials: Option<&Arc<dyn CredentialSource>>,
    ) -> Result<Arc<dyn ObjectStore>, Error> {
        let mut builder = AmazonS3Builder::from_env()
            .with_bucket_name(bucket)
            .with_conditional_put(S3ConditionalPut::ETagMatch)
            .with_retry(retries())
            .with_config(AmazonS3ConfigKey::Client(ClientConfigKey::Timeout), REQUEST_TIMEOUT);
        if let Some(endpoint) = &self.endpoint {
            let endpoint = endpoint.trim_end_matches('/');
            builder = builder.with_allow_http(endpoint.starts_with("http://"));
            // Iceberg's default is the other way round, but then a store without wildcard DNS is
            // not reached.
            let path_style = self.path_style.unwrap_or(true);
            let endpoint = match endpoint.split_once("://") {
                Some((scheme, host)) if !path_style => format!("{scheme}://{bucket}.{host}"),
                Some(_) => endpoint.to_owned(),
                None => {
                    return Err(Error::Invalid(format!(
                        "'{ENDPOINT}' must begin with http:// or https://"
                    )));
                }
            };
            builder =
                builder.with_endpoint(endpoint).with_virtual_hosted_style_request(!path_style);
            builder = builder.with_region(self.region.as_deref().unwrap_or(DEFAULT_REGION));
        } else if let Some(path_style) = self.path_style {
            builder = builder.with_virtual_hosted_style_request(!path_style);
        }
        if let Some(region) = &self.region {
            builder = builder.with_region(region);
        }
        if let Some(source) = credentials {
            let source = Arc::clone(source);
            builder =
                builder.with_credentials(Arc::new(Renewed { bucket: bucket.to_owned(), source }));
        } else if let (Some(id), Some(secret)) = (&self.access_key_id, &self.secret_access_key) {
            builder = builder.with_access_key_id(id).with_secret_access_key(secret);
            if let Some(token) = &self.session_token {
                builder = builder.with_token(token);
            }
        }
        let store = builder.build().map_err(|error| {
            Error::Invalid(format!("bucket '{bucket}' cannot be reached: {error}"))
        })?;
        Ok(Arc::new(store))
    }
}

/// Keys to a bucket.
#[derive(Clone)]
pub(crate) struct S3Credentials {
    pub(crate) key_id: String,
    pub(crate) secret: String,
    pub(crate) session_token: Option<String>,
}

/// Where keys come from that end one day.
#[async_trait]
pub(crate) trait CredentialSource: fmt::Debug + Send + Sync {
    /// Keys that are good for a while.
    async fn credentials(&self, bucket: &str) -> Result<S3Credentials, Error>;
}

/// Keys that are asked for with each request.
#[derive(Debug)]
struct Renewed {
    bucket: String,
    source: Arc<dyn CredentialSource>,
}

#[async_trait]
impl CredentialProvider for Renewed {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let found = self.source.credentials(&self.bucket).await;
        let S3Credentials { key_id, secret, session_token } = found
            .map_err(|error| StoreError::Generic { store: "credentials", source: error.into() })?;
        Ok(Arc::new(AwsCredential { key_id, secret_key: secret, token: session_token }))
    }
}

/// Throttling passes within seconds; what lasts longer is for the job's restart strategy.
fn retries() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(5),
            base: 2.0,
        },
        max_retries: 10,
        retry_timeout: Duration::from_secs(60),
    }
}

fn boolean(key: &str, value: &str) -> Result<bool, Error> {
    match value.trim().to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(Error::Invalid(format!("option '{key}' must be true or false"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(options: &[(&str, &str)]) -> String {
        S3Options::default().overlaid(options.iter().copied()).unwrap_err().to_string()
    }

    #[test]
    fn wrong_options_are_named_and_values_are_not_shown() {
        insta::assert_snapshot!(
            refusal(&[(ACCESS_KEY_ID, "id")]),
            @"'s3.access-key-id' and 's3.secret-access-key' must be given together"
        );
        insta::assert_snapshot!(
            refusal(&[(PATH_STYLE, "perhaps")]),
            @"option 's3.path-style-access' must be true or false"
        );
        insta::assert_snapshot!(
            refusal(&[(REMOTE_SIGNING, "true")]),
            @"'s3.remote-signing-enabled' = 'true' is not supported; use vended credentials, or 's3.access-key-id' and 's3.secret-access-key'"
        );
        let options = [(ACCESS_KEY_ID, "id"), (SECRET_ACCESS_KEY, "sesame")];
        let shown = format!("{:?}", S3Options::default().overlaid(options).unwrap());
        assert_eq!(shown, "S3Options { .. }");
    }

    #[test]
    fn a_region_of_java_gives_way_to_ours() {
        let options = [(REGION, "a"), (CLIENT_REGION, "b")];
        assert_eq!(S3Options::default().overlaid(options).unwrap().region.as_deref(), Some("a"));
        let options = [(CLIENT_REGION, "b"), (REGION, "a")];
        assert_eq!(S3Options::default().overlaid(options).unwrap().region.as_deref(), Some("a"));
    }
}
