//! `shardlake sql`.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow};
use shardlake_sql::print;
use shardlake_sql::session::Configuration;
use tokio::runtime::Builder;

use crate::arguments::SqlArguments;
use crate::engine::Engine;
use crate::output::Format;
use crate::script::{self, End, ScriptRun};
use crate::signals::Signals;
use crate::state_dir::StateDir;
use crate::{logging, repl};

/// Runs the command to its end.
///
/// # Errors
/// The state directory, a file or a setting cannot be used.
pub(crate) fn run(arguments: SqlArguments) -> Result<ExitCode> {
    let runtime = Builder::new_multi_thread()
        .enable_all()
        .thread_name("shardlake")
        .build()
        .context("cannot start the runtime")?;
    let code = runtime.block_on(run_inside(arguments));
    // Threads that still wait for a server must not hold the process up.
    runtime.shutdown_background();
    code
}

async fn run_inside(arguments: SqlArguments) -> Result<ExitCode> {
    let text = statements(&arguments)?;
    let state_dir = StateDir::open(&arguments.state_dir)?;
    logging::start(state_dir.path(), text.is_some())?;
    let configuration = Configuration::new(arguments.settings)
        .map_err(|diagnostic| anyhow!(print::error_text(&diagnostic, "")))?;
    let mut engine = Engine::new(state_dir, configuration);
    let mut signals = Signals::listen().context("cannot listen for signals")?;
    if let Some(path) = &arguments.init {
        let text = read(path)?;
        let init = ScriptRun { text: &text, format: Format::Json, echoes: false };
        if script::run(&mut engine, &init, &mut signals).await? == End::Failed {
            script::stop_jobs(engine.jobs()).await;
            return Ok(ExitCode::FAILURE);
        }
    }
    let Some(text) = text else {
        return repl::run(&mut engine, &mut signals).await;
    };
    let run = ScriptRun { text: &text, format: arguments.format, echoes: arguments.file.is_some() };
    match script::run(&mut engine, &run, &mut signals).await? {
        End::Failed => {
            script::stop_jobs(engine.jobs()).await;
            Ok(ExitCode::FAILURE)
        }
        End::Quit | End::Interrupted => {
            script::stop_jobs(engine.jobs()).await;
            Ok(script::wait_for_jobs(engine.jobs(), &mut signals).await)
        }
        End::Complete => Ok(script::wait_for_jobs(engine.jobs(), &mut signals).await),
    }
}

/// The statements of `-f` or `-e`; `None` for an interactive session.
fn statements(arguments: &SqlArguments) -> Result<Option<String>> {
    match (&arguments.execute, &arguments.file) {
        (Some(text), _) => Ok(Some(text.clone())),
        (None, Some(path)) => read(path).map(Some),
        (None, None) => Ok(None),
    }
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}
