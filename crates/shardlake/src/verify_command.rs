//! `shardlake verify`: `VERIFY TABLE` from the command line, with an exit status that tells the outcome.

use std::process::ExitCode;

use anyhow::{Context, Result, anyhow};
use arrow::array::{Array, AsArray};
use shardlake_server::Answer;
use shardlake_sql::print;
use shardlake_sql::session::{Configuration, ResultTable};
use tokio::runtime::Builder;

use crate::arguments::VerifyArguments;
use crate::client::SqlClient;
use crate::logging;
use crate::output::{Format, Style};
use crate::script::{self, End, ScriptRun};
use crate::signals::Signals;
use crate::state_dir::StateDir;

/// What stands in the first column of the row that sums up.
const SUMMARY: &str = "compared";

/// Runs the command to its end.
///
/// # Errors
/// The definitions cannot be read, the tables cannot be compared, or they differ.
pub(crate) fn run(arguments: &VerifyArguments) -> Result<ExitCode> {
    let runtime = Builder::new_multi_thread()
        .enable_all()
        .thread_name("shardlake")
        .build()
        .context("cannot start the runtime")?;
    let code = runtime.block_on(run_inside(arguments));
    runtime.shutdown_background();
    code
}

async fn run_inside(arguments: &VerifyArguments) -> Result<ExitCode> {
    let state_dir = StateDir::open(&arguments.state_dir)?;
    logging::start(state_dir.path(), true)?;
    let configuration = Configuration::new(arguments.settings.iter().cloned())
        .map_err(|diagnostic| anyhow!(print::error_text(&diagnostic, "")))?;
    let mut client = SqlClient::embedded(state_dir, configuration);
    let mut signals = Signals::listen().context("cannot listen for signals")?;
    let path = &arguments.init;
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let init = ScriptRun { text: &text, format: Format::Json, echoes: false };
    if script::run(&mut client, &init, &mut signals).await? == End::Failed {
        return Ok(ExitCode::FAILURE);
    }
    let repair = if arguments.repair { " REPAIR" } else { "" };
    let statement = format!("VERIFY TABLE {} AGAINST {}{repair}", arguments.lake, arguments.source);
    let answer = client.execute(&statement).await;
    let answer =
        answer.map_err(|diagnostic| anyhow!(print::error_text(&diagnostic, &statement)))?;
    let Answer::Table(table) = answer else {
        return Err(anyhow!("the comparison answered with something else than a table"));
    };
    Style::of(client.configuration(), Format::Tableau).table(&table)?;
    Ok(if differs(&table) && !arguments.repair { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Whether the first row names a difference: without one there is only the row that sums up.
fn differs(table: &ResultTable) -> bool {
    let results = table.rows.columns().first().and_then(|column| column.as_string_opt::<i32>());
    results.is_some_and(|results| results.len() > 0 && results.value(0) != SUMMARY)
}
