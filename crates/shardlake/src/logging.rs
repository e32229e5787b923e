//! Where the log goes: into the state directory, and warnings to standard error for scripts.

use std::fs::{self, OpenOptions};
use std::path::Path;
use std::sync::Mutex;

use anyhow::{Context, Result};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

/// The variable that chooses what is logged, in the syntax of `tracing`'s `EnvFilter`.
const FILTER_VARIABLE: &str = "SHARDLAKE_LOG";
/// A log larger than this is set aside when a process starts.
const ROTATE_BYTES: u64 = 16 << 20;

/// Starts logging.
///
/// # Errors
/// The log file cannot be opened.
pub(crate) fn start(state_dir: &Path, warnings_to_stderr: bool) -> Result<()> {
    let path = state_dir.join("shardlake.log");
    if fs::metadata(&path).is_ok_and(|log| log.len() > ROTATE_BYTES) {
        fs::rename(&path, state_dir.join("shardlake.log.1"))
            .with_context(|| format!("cannot set {} aside", path.display()))?;
    }
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| format!("cannot open the log {}", path.display()))?;
    let filter = EnvFilter::builder()
        .with_env_var(FILTER_VARIABLE)
        .with_default_directive(LevelFilter::INFO.into())
        .from_env_lossy();
    let to_file = fmt::layer().with_ansi(false).with_writer(Mutex::new(file)).with_filter(filter);
    let to_stderr = warnings_to_stderr.then(|| {
        fmt::layer().with_writer(std::io::stderr).with_target(false).with_filter(LevelFilter::WARN)
    });
    tracing_subscriber::registry()
        .with(to_file)
        .with(to_stderr)
        .try_init()
        .context("cannot start logging")
}
