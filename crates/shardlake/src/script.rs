//! Runs statements without a person: from a file or the command line.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use shardlake_job::{JobStatus, Jobs};
use shardlake_sql::diagnostic::Diagnostic;
use shardlake_sql::print;
use shardlake_sql::script::Script;

use shardlake_server::{Answer, hide_secrets, job_failed};

use crate::client::SqlClient;
use crate::output::{Format, Style, Unwritten, put};
use crate::signals::Signals;

/// How often the end of jobs is looked for.
const POLL: Duration = Duration::from_millis(100);

/// A text of statements and how it is run.
pub(crate) struct ScriptRun<'a> {
    /// The statements.
    pub(crate) text: &'a str,
    /// How results are written.
    pub(crate) format: Format,
    /// Whether each statement is shown before its result.
    pub(crate) echoes: bool,
}

/// How a script ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// All statements were run.
    Complete,
    /// `QUIT` was among them.
    Quit,
    /// A signal came.
    Interrupted,
    /// A statement failed and was reported.
    Failed,
}

/// Runs the statements in order up to the first that fails.
///
/// # Errors
/// Standard output is closed.
pub(crate) async fn run(
    client: &mut SqlClient,
    script: &ScriptRun<'_>,
    signals: &mut Signals,
) -> Result<End> {
    let spans = match Script::split(script.text).statements(script.text) {
        Ok(spans) => spans,
        Err(diagnostic) => return Ok(report(&diagnostic, script.text)),
    };
    for span in spans {
        if signals.is_interrupted() {
            return Ok(End::Interrupted);
        }
        let statement = script.text.get(span.start..span.end).unwrap_or_default();
        if script.echoes && script.format == Format::Tableau {
            put(&format!("Shardlake SQL> {};\n", hide_secrets(statement.trim())))?;
        }
        match run_statement(client, statement, script.format, signals).await? {
            End::Complete => {}
            end => return Ok(end),
        }
    }
    Ok(if signals.is_interrupted() { End::Interrupted } else { End::Complete })
}

async fn run_statement(
    client: &mut SqlClient,
    statement: &str,
    format: Format,
    signals: &mut Signals,
) -> Result<End> {
    let answer = match client.execute(statement).await {
        Ok(answer) => answer,
        Err(diagnostic) => return Ok(report(&diagnostic, statement)),
    };
    let style = Style::of(client.configuration(), format);
    let says = |lines: &[String]| match format {
        Format::Tableau => put(&format!("{}\n\n", lines.join("\n"))),
        // Scripts read results from standard output, so nothing else goes there.
        Format::Json | Format::Csv => Ok(()),
    };
    match answer {
        Answer::Done(lines) | Answer::Submitted { lines, .. } => says(&lines)?,
        Answer::Help => says(&[print::HELP.to_owned()])?,
        Answer::Clear => {}
        Answer::Quit => return Ok(End::Quit),
        Answer::Table(table) => {
            style.table(&table)?;
            says(&[])?;
        }
        Answer::Rows(result) => match style.rows(result, signals).await {
            Ok(()) => says(&[])?,
            Err(Unwritten::Query(diagnostic)) => return Ok(report(&diagnostic, statement)),
            Err(Unwritten::Output(error)) => {
                return Err(error).context("cannot write the result to standard output");
            }
        },
    }
    Ok(End::Complete)
}

/// Tells the user on standard error why a statement failed.
#[expect(clippy::print_stderr, reason = "this is the program's answer to its user")]
fn report(diagnostic: &Diagnostic, statement: &str) -> End {
    eprintln!("{}", print::error_text(diagnostic, &hide_secrets(statement)));
    End::Failed
}

/// Waits until no job runs any more, or a signal asks to end; then all jobs commit and stop.
#[expect(clippy::print_stderr, reason = "this is the program's answer to its user")]
pub(crate) async fn wait_for_jobs(jobs: &Arc<Jobs>, signals: &mut Signals) -> ExitCode {
    while !jobs.running().is_empty() && !signals.is_interrupted() {
        tokio::select! {
            () = tokio::time::sleep(POLL) => {}
            () = signals.interrupt() => break,
        }
    }
    stop_jobs(jobs).await;
    let mut code = ExitCode::SUCCESS;
    for job in jobs.list().iter().filter(|job| job.status() == JobStatus::Failed) {
        eprintln!("[ERROR] {}", job_failed(job));
        code = ExitCode::FAILURE;
    }
    code
}

/// Has the jobs of this process commit what they have read, and end. Jobs of a server go on.
pub(crate) async fn stop_own_jobs(client: &SqlClient) {
    if let Some(jobs) = client.jobs() {
        stop_jobs(jobs).await;
    }
}

/// Has all jobs commit what they have read, and end.
pub(crate) async fn stop_jobs(jobs: &Arc<Jobs>) {
    let stopping = Arc::clone(jobs);
    let stopped = tokio::task::spawn_blocking(move || stopping.stop_all()).await;
    if let Err(error) = stopped {
        tracing::error!(%error, "stopping the jobs failed");
    }
}
