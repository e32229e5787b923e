//! The options `jdbc.properties.*`: the properties of MySQL's JDBC driver that have a meaning here.
//!
//! A property that would change nothing or that is not known is refused by name.

use std::path::PathBuf;
use std::time::Duration;

use shardlake_connector::{Error, Options};
use shardlake_mysql_wire::decode::ZeroDates;

/// The prefix of these options.
pub(crate) const PREFIX: &str = "jdbc.properties.";

/// How the connection is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SslMode {
    /// Never.
    Disabled,
    /// If the server offers it.
    Preferred,
    /// Always, whatever certificate the server shows.
    Required,
    /// Always, with a certificate of a known authority.
    VerifyCa,
    /// As `VerifyCa`, and the certificate names the host.
    VerifyIdentity,
}

impl SslMode {
    fn parse(text: &str) -> Option<Self> {
        match text.trim().to_ascii_uppercase().as_str() {
            "DISABLED" => Some(Self::Disabled),
            "PREFERRED" => Some(Self::Preferred),
            "REQUIRED" => Some(Self::Required),
            "VERIFY_CA" => Some(Self::VerifyCa),
            "VERIFY_IDENTITY" => Some(Self::VerifyIdentity),
            _ => None,
        }
    }
}

/// The properties that a user gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JdbcProperties {
    /// `sslMode`, or what `useSSL`, `requireSSL` and `verifyServerCertificate` amount to.
    pub(crate) ssl_mode: SslMode,
    /// `trustCertificateKeyStoreUrl`: a PEM file of authorities; the public ones if not given.
    pub(crate) authorities: Option<PathBuf>,
    /// `allowPublicKeyRetrieval`: whether the password may be sent under a key that an unencrypted
    /// server shows.
    pub(crate) public_key_retrieval: bool,
    /// `socketTimeout`: how long a statement may say nothing.
    pub(crate) socket_timeout: Option<Duration>,
    /// `zeroDateTimeBehavior`: what becomes of dates that do not exist.
    pub(crate) zero_dates: ZeroDates,
}

impl JdbcProperties {
    /// Reads the properties.
    pub(crate) fn parse(options: &Options) -> Result<Self, Error> {
        let mut parsed = Self {
            ssl_mode: SslMode::Preferred,
            authorities: None,
            public_key_retrieval: true,
            socket_timeout: None,
            zero_dates: ZeroDates::Null,
        };
        let mut legacy = LegacySsl::default();
        let mut explicit_mode = None;
        for (key, value) in options.iter() {
            let Some(name) = key.strip_prefix(PREFIX) else { continue };
            match name.to_ascii_lowercase().as_str() {
                "sslmode" => {
                    explicit_mode = Some(SslMode::parse(value).ok_or_else(|| {
                        Error::job(format!(
                            "Invalid value for option '{key}'. Supported values are [DISABLED, \
                             PREFERRED, REQUIRED, VERIFY_CA, VERIFY_IDENTITY], but was: {value}"
                        ))
                    })?);
                }
                "usessl" => legacy.use_ssl = Some(boolean(key, value)?),
                "requiressl" => legacy.require = boolean(key, value)?,
                "verifyservercertificate" => legacy.verify = boolean(key, value)?,
                "trustcertificatekeystoreurl" => parsed.authorities = Some(pem_file(key, value)?),
                "trustcertificatekeystoretype" => only(key, value, &["PEM"])?,
                "allowpublickeyretrieval" => parsed.public_key_retrieval = boolean(key, value)?,
                "sockettimeout" => parsed.socket_timeout = milliseconds(key, value)?,
                // A column is converted to its declared type, so both values mean the same here.
                "tinyint1isbit" => {
                    boolean(key, value)?;
                }
                "useunicode" => only(key, value, &["true"])?,
                "characterencoding" => only(key, value, &["UTF-8", "utf8", "utf8mb4"])?,
                "zerodatetimebehavior" => parsed.zero_dates = zero_dates(key, value)?,
                _ => return Err(refuse(key, name)),
            }
        }
        parsed.ssl_mode = explicit_mode.unwrap_or_else(|| legacy.mode());
        Ok(parsed)
    }
}

/// The properties that came before `sslMode`.
#[derive(Default)]
struct LegacySsl {
    use_ssl: Option<bool>,
    require: bool,
    verify: bool,
}

impl LegacySsl {
    fn mode(&self) -> SslMode {
        match (self.use_ssl, self.verify, self.require) {
            (Some(false), _, _) => SslMode::Disabled,
            (_, true, _) => SslMode::VerifyCa,
            (_, false, true) => SslMode::Required,
            (_, false, false) => SslMode::Preferred,
        }
    }
}

/// Both spellings of the JDBC driver's versions.
fn zero_dates(key: &str, value: &str) -> Result<ZeroDates, Error> {
    match value.trim().to_ascii_uppercase().as_str() {
        "CONVERT_TO_NULL" | "CONVERTTONULL" => Ok(ZeroDates::Null),
        "ROUND" => Ok(ZeroDates::Round),
        "EXCEPTION" => Ok(ZeroDates::Refuse),
        _ => Err(Error::job(format!(
            "Invalid value for option '{key}'. Supported values are [CONVERT_TO_NULL, ROUND, \
             EXCEPTION], but was: {value}"
        ))),
    }
}

fn boolean(key: &str, value: &str) -> Result<bool, Error> {
    match value.trim().to_ascii_lowercase().as_str() {
        "true" | "yes" => Ok(true),
        "false" | "no" => Ok(false),
        _ => Err(Error::job(format!("Could not parse value '{value}' for key '{key}'."))),
    }
}

/// A time in milliseconds; 0 is none.
fn milliseconds(key: &str, value: &str) -> Result<Option<Duration>, Error> {
    let millis: u64 = value
        .trim()
        .parse()
        .map_err(|_| Error::job(format!("Could not parse value '{value}' for key '{key}'.")))?;
    Ok((millis > 0).then(|| Duration::from_millis(millis)))
}

fn only(key: &str, value: &str, supported: &[&str]) -> Result<(), Error> {
    if supported.iter().any(|word| word.eq_ignore_ascii_case(value.trim())) {
        return Ok(());
    }
    Err(Error::job(format!(
        "Invalid value for option '{key}'. Supported values are [{}], but was: {value}",
        supported.join(", ")
    )))
}

fn pem_file(key: &str, value: &str) -> Result<PathBuf, Error> {
    let path = value.strip_prefix("file:").unwrap_or(value);
    let path = path.strip_prefix("//").unwrap_or(path);
    let lower = path.to_ascii_lowercase();
    if lower.ends_with(".jks") || lower.ends_with(".p12") || lower.ends_with(".pfx") {
        return Err(Error::job(format!(
            "'{key}' names a Java key store, which is not supported: give a PEM file of the \
             authorities' certificates"
        )));
    }
    Ok(PathBuf::from(path))
}

fn refuse(key: &str, name: &str) -> Error {
    let advice = match name.to_ascii_lowercase().as_str() {
        "servertimezone" | "connectiontimezone" | "uselegacydatetimecode" => {
            "use 'server-time-zone'"
        }
        "connecttimeout" => "use 'connect.timeout'",
        "maxreconnects" | "autoreconnect" | "initialtimeout" => {
            "remove it, lost connections are made anew, and use 'connect.max-retries' for the first"
        }
        "usecursorfetch"
        | "defaultfetchsize"
        | "rewritebatchedstatements"
        | "useserverprepstmts"
        | "cacheprepstmts" => "remove it, results are streamed",
        _ => "remove it",
    };
    Error::job(format!("The option '{key}' is not supported: {advice}."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(given: &[(&str, &str)]) -> Result<JdbcProperties, String> {
        let options =
            given.iter().map(|(key, value)| (format!("{PREFIX}{key}"), (*value).to_owned()));
        JdbcProperties::parse(&options.collect()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_ssl_mode_follows_the_driver_properties() {
        for (given, mode) in [
            (vec![], SslMode::Preferred),
            (vec![("useSSL", "false")], SslMode::Disabled),
            (vec![("useSSL", "true")], SslMode::Preferred),
            (vec![("requireSSL", "true")], SslMode::Required),
            (vec![("verifyServerCertificate", "true")], SslMode::VerifyCa),
            (vec![("useSSL", "false"), ("sslMode", "verify_identity")], SslMode::VerifyIdentity),
        ] {
            assert_eq!(parse(&given).unwrap().ssl_mode, mode, "{given:?}");
        }
    }

    #[test]
    fn what_has_no_meaning_here_is_refused_by_name() {
        insta::assert_snapshot!(parse(&[("serverTimezone", "UTC")]).unwrap_err(), @"The option 'jdbc.properties.serverTimezone' is not supported: use 'server-time-zone'.");
        insta::assert_snapshot!(parse(&[("useSSL", "maybe")]).unwrap_err(), @"Could not parse value 'maybe' for key 'jdbc.properties.useSSL'.");
        insta::assert_snapshot!(parse(&[("characterEncoding", "latin1")]).unwrap_err(), @"Invalid value for option 'jdbc.properties.characterEncoding'. Supported values are [UTF-8, utf8, utf8mb4], but was: latin1");
        insta::assert_snapshot!(parse(&[("trustCertificateKeyStoreUrl", "file:/a.jks")]).unwrap_err(), @"'jdbc.properties.trustCertificateKeyStoreUrl' names a Java key store, which is not supported: give a PEM file of the authorities' certificates");
        assert_eq!(
            parse(&[("socketTimeout", "1500")]).unwrap().socket_timeout,
            Some(Duration::from_millis(1_500))
        );
        assert!(parse(&[("tinyInt1isBit", "false"), ("useUnicode", "true")]).is_ok());
    }
}
