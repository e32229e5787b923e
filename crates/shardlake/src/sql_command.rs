//! `shardlake sql`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs};

use anyhow::{Context, Result, anyhow};
use shardlake_server::{Credentials, GatewayClient};
use shardlake_sql::print;
use shardlake_sql::session::Configuration;
use tokio::runtime::Builder;

use crate::arguments::SqlArguments;
use crate::client::SqlClient;
use crate::output::Format;
use crate::script::{self, End, ScriptRun};
use crate::signals::Signals;
use crate::state_dir::StateDir;
use crate::{logging, repl};

/// Where the token for a server is found if no file is named.
const TOKEN_VARIABLE: &str = "SHARDLAKE_TOKEN";

/// Runs the command to its end.
///
/// # Errors
/// The state directory, a file, a setting or the server cannot be used.
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
    let mut client = connect(&arguments, text.is_some()).await?;
    let mut signals = Signals::listen().context("cannot listen for signals")?;
    let code = run_statements(&mut client, &arguments, text, &mut signals).await;
    client.close().await;
    code
}

async fn connect(arguments: &SqlArguments, is_script: bool) -> Result<SqlClient> {
    let Some(endpoint) = &arguments.endpoint else {
        let state_dir = StateDir::open(&arguments.state_dir)?;
        logging::start(state_dir.path(), is_script)?;
        let configuration = Configuration::new(arguments.settings.iter().cloned())
            .map_err(|diagnostic| anyhow!(print::error_text(&diagnostic, "")))?;
        return Ok(SqlClient::embedded(state_dir, configuration));
    };
    let authorities = arguments
        .ca_file
        .as_ref()
        .map(|path| fs::read(path).with_context(|| format!("cannot read {}", path.display())));
    let credentials = Credentials {
        token: token(arguments.token_file.as_ref())?,
        authorities: authorities.transpose()?,
    };
    let client = GatewayClient::connect(endpoint, &credentials, &arguments.settings).await?;
    Ok(SqlClient::Remote(Box::new(client)))
}

/// The token of `--token-file`, or of the environment.
fn token(file: Option<&PathBuf>) -> Result<Option<String>> {
    match file {
        Some(path) => Ok(Some(read(path)?.trim().to_owned())),
        None => Ok(env::var(TOKEN_VARIABLE).ok().filter(|token| !token.is_empty())),
    }
}

async fn run_statements(
    client: &mut SqlClient,
    arguments: &SqlArguments,
    text: Option<String>,
    signals: &mut Signals,
) -> Result<ExitCode> {
    if let Some(path) = &arguments.init {
        let text = read(path)?;
        let init = ScriptRun { text: &text, format: Format::Json, echoes: false };
        if script::run(client, &init, signals).await? == End::Failed {
            script::stop_own_jobs(client).await;
            return Ok(ExitCode::FAILURE);
        }
    }
    let Some(text) = text else {
        return repl::run(client, signals).await;
    };
    let run = ScriptRun { text: &text, format: arguments.format, echoes: arguments.file.is_some() };
    let end = script::run(client, &run, signals).await?;
    if end != End::Complete {
        script::stop_own_jobs(client).await;
    }
    match (end, client.jobs()) {
        (End::Failed, _) => Ok(ExitCode::FAILURE),
        (_, Some(jobs)) => Ok(script::wait_for_jobs(jobs, signals).await),
        (_, None) => Ok(ExitCode::SUCCESS),
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
