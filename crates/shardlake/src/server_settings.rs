//! The settings of a server: from a file, the environment and the command line; what comes later wins.

use std::str::FromStr;
use std::time::Duration;
use std::{env, fs};

use anyhow::{Context, Result, anyhow};
use shardlake_connector::parse_duration_ms;
use shardlake_server::parse_config;

use crate::arguments::ServerArguments;
use crate::logging::LogFormat;

/// Variables that hold settings as a file does; the first is that of Flink's images.
const VARIABLES: [&str; 2] = ["FLINK_PROPERTIES", "SHARDLAKE_PROPERTIES"];
/// Keys that begin so are the server's own and no session's.
const OWN_PREFIX: &str = "shardlake.server.";

/// Keys and values, the later ones stronger.
pub(crate) struct Settings(Vec<(String, String)>);

impl Settings {
    /// Reads all of them.
    ///
    /// # Errors
    /// A file or variable cannot be read, naming the line.
    pub(crate) fn read(arguments: &ServerArguments) -> Result<Self> {
        let mut settings = Vec::new();
        if let Some(path) = &arguments.config {
            let text = fs::read_to_string(path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            let pairs = parse_config(&text);
            settings.extend(pairs.map_err(|error| anyhow!("{}: {error}", path.display()))?);
        }
        for variable in VARIABLES {
            let text = env::var(variable).unwrap_or_default();
            let pairs = parse_config(&text);
            settings.extend(pairs.map_err(|error| anyhow!("variable {variable}: {error}"))?);
        }
        settings.extend(arguments.settings.iter().cloned());
        Ok(Self(settings))
    }

    /// The value of a key.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        let found = self.0.iter().rev().find(|(known, _)| known == key);
        found.map(|(_, value)| value.as_str())
    }

    /// The value of a key, as what it stands for.
    ///
    /// # Errors
    /// It does not stand for that, naming the key.
    pub(crate) fn parsed<T: FromStr>(&self, key: &str) -> Result<Option<T>> {
        let parse = |value: &str| {
            value
                .trim()
                .parse()
                .map_err(|_| anyhow!("Could not parse value '{value}' for key '{key}'."))
        };
        self.get(key).map(parse).transpose()
    }

    /// The value of a key, as a duration.
    ///
    /// # Errors
    /// It is none, naming the key.
    pub(crate) fn duration(&self, key: &str) -> Result<Option<Duration>> {
        let parse = |value: &str| {
            let ms = parse_duration_ms(value);
            ms.ok_or_else(|| anyhow!("Could not parse value '{value}' for key '{key}'."))
        };
        Ok(self.get(key).map(parse).transpose()?.map(Duration::from_millis))
    }

    /// How the log is written.
    ///
    /// # Errors
    /// No such form is known.
    pub(crate) fn log_format(&self, arguments: &ServerArguments) -> Result<LogFormat> {
        match (arguments.log_format, self.get("shardlake.server.log-format")) {
            (Some(format), _) => Ok(format),
            (None, None | Some("text")) => Ok(LogFormat::Text),
            (None, Some("json")) => Ok(LogFormat::Json),
            (None, Some(other)) => {
                Err(anyhow!("shardlake.server.log-format is 'text' or 'json', not '{other}'"))
            }
        }
    }

    /// What each session starts with.
    pub(crate) fn of_sessions(&self) -> Vec<(String, String)> {
        self.0.iter().filter(|(key, _)| !key.starts_with(OWN_PREFIX)).cloned().collect()
    }
}
