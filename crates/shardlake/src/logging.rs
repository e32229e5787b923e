//! Where the log goes: into the state directory, and warnings to standard error for scripts and servers.

use std::fmt::{self as text, Write as _};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Mutex;

use anyhow::{Context, Result};
use chrono::{SecondsFormat, Utc};
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

/// The variable that chooses what is logged, in the syntax of `tracing`'s `EnvFilter`.
const FILTER_VARIABLE: &str = "SHARDLAKE_LOG";
/// A log larger than this is set aside when a process starts.
const ROTATE_BYTES: u64 = 16 << 20;

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people.
    Text,
    /// A JSON object a line.
    Json,
}

/// Starts the log of a client.
///
/// # Errors
/// The log file cannot be opened.
pub(crate) fn start(state_dir: &Path, warnings_to_stderr: bool) -> Result<()> {
    start_with(state_dir, warnings_to_stderr, LogFormat::Text)
}

/// Starts the log of a server.
///
/// # Errors
/// The log file cannot be opened.
pub(crate) fn start_server(state_dir: &Path, format: LogFormat) -> Result<()> {
    start_with(state_dir, true, format)
}

fn start_with(state_dir: &Path, warnings_to_stderr: bool, format: LogFormat) -> Result<()> {
    let path = state_dir.join("shardlake.log");
    if fs::metadata(&path).is_ok_and(|log| log.len() > ROTATE_BYTES) {
        fs::rename(&path, state_dir.join("shardlake.log.1"))
            .with_context(|| format!("cannot set {} aside", path.display()))?;
    }
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("cannot open the log {}", path.display()))?;
    let filter = EnvFilter::builder()
        .with_env_var(FILTER_VARIABLE)
        .with_default_directive(LevelFilter::INFO.into())
        .from_env_lossy();
    let is_json = format == LogFormat::Json;
    let file = fmt::layer().with_ansi(false).with_writer(Mutex::new(file));
    let to_file = match is_json {
        true => file.event_format(JsonLines).with_filter(filter).boxed(),
        false => file.with_filter(filter).boxed(),
    };
    let to_stderr = warnings_to_stderr.then(|| {
        let stderr = fmt::layer().with_writer(std::io::stderr).with_target(false);
        match is_json {
            true => stderr.with_ansi(false).event_format(JsonLines).boxed(),
            false => stderr.boxed(),
        }
        .with_filter(LevelFilter::WARN)
    });
    tracing_subscriber::registry()
        .with(to_file)
        .with(to_stderr)
        .try_init()
        .context("cannot start logging")
}

/// Writes each event as a JSON object: `timestamp`, `level`, `target`, `message`, and its fields.
struct JsonLines;

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> text::Result {
        let mut fields = Fields(Map::new());
        let now = Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true);
        fields.0.insert("timestamp".to_owned(), Value::from(now));
        fields.0.insert("level".to_owned(), Value::from(event.metadata().level().as_str()));
        fields.0.insert("target".to_owned(), Value::from(event.metadata().target()));
        event.record(&mut fields);
        writeln!(writer, "{}", Value::Object(fields.0))
    }
}

struct Fields(Map<String, Value>);

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        self.0.insert(field.name().to_owned(), value);
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, Value::from(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, Value::from(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, Value::from(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, Value::from(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, Value::from(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn text::Debug) {
        let mut shown = String::new();
        // Writing to a string cannot fail.
        let _ = write!(shown, "{value:?}");
        self.put(field, Value::from(shown));
    }
}
