//! The interactive client: reads statements with history, completion and multi-line editing.

use std::borrow::Cow;
use std::env;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use parking_lot::Mutex;
use reedline::{
    ColumnarMenu, Completer, CompletionResult, Emacs, FileBackedHistory, KeyCode, KeyModifiers,
    MenuBuilder, Prompt, PromptEditMode, PromptHistorySearch, Reedline, ReedlineEvent,
    ReedlineMenu, Signal, Span as MenuSpan, Suggestion, ValidationResult, Validator,
    default_emacs_keybindings,
};
use shardlake_sql::diagnostic::Diagnostic;
use shardlake_sql::print;
use shardlake_sql::script::Script;

use shardlake_server::{Answer, KEYWORDS, hide_secrets};

use crate::client::SqlClient;
use crate::output::{Format, Style, Unwritten, put};
use crate::signals::Signals;
use crate::{screen, script};

const HISTORY_LINES: usize = 1_000;
const MENU: &str = "completion";
const WELCOME: &str = "\
Shardlake SQL client. Enter 'HELP;' to list all available commands, 'QUIT;' to exit.";

/// Reads and runs statements until the user leaves.
///
/// # Errors
/// The terminal cannot be used.
pub(crate) async fn run(client: &mut SqlClient, signals: &mut Signals) -> Result<ExitCode> {
    let names = Arc::new(Mutex::new(client.object_names().await));
    let mut editor = editor(&names)?;
    put(&format!("{WELCOME}\n\n"))?;
    loop {
        if signals.is_terminated() {
            break;
        }
        let line = tokio::task::block_in_place(|| editor.read_line(&SqlPrompt));
        match line.context("cannot read from the terminal")? {
            Signal::Success(text) => {
                signals.forget_interrupts();
                if !run_text(client, &text, signals).await? {
                    break;
                }
                *names.lock() = client.object_names().await;
            }
            // Ctrl-C drops what has been typed, and nothing else.
            Signal::CtrlC => {}
            _ => break,
        }
    }
    leave(client).await
}

/// Ends the session: jobs of this process commit what they have read and stop.
async fn leave(client: &SqlClient) -> Result<ExitCode> {
    let Some(jobs) = client.jobs() else { return Ok(ExitCode::SUCCESS) };
    let running = jobs.running();
    if !running.is_empty() {
        put(&format!(
            "[INFO] {} job(s) run in this process: they commit and stop now. Submitting the same \
             statements again goes on from there.\n",
            running.len()
        ))?;
    }
    script::stop_jobs(jobs).await;
    Ok(ExitCode::SUCCESS)
}

/// Runs the statements of an input; false if the user wants to leave.
async fn run_text(client: &mut SqlClient, text: &str, signals: &mut Signals) -> Result<bool> {
    let spans = match Script::split(text).statements(text) {
        Ok(spans) => spans,
        Err(diagnostic) => {
            complain(&diagnostic, text)?;
            return Ok(true);
        }
    };
    for span in spans {
        let statement = text.get(span.start..span.end).unwrap_or_default();
        let answer = match client.execute(statement).await {
            Ok(answer) => answer,
            Err(diagnostic) => {
                complain(&diagnostic, statement)?;
                return Ok(true);
            }
        };
        if matches!(answer, Answer::Quit) {
            return Ok(false);
        }
        show(client, answer, statement, signals).await?;
    }
    Ok(true)
}

fn complain(diagnostic: &Diagnostic, statement: &str) -> Result<()> {
    Ok(put(&format!("{}\n\n", print::error_text(diagnostic, &hide_secrets(statement))))?)
}

async fn show(
    client: &SqlClient,
    answer: Answer,
    statement: &str,
    signals: &mut Signals,
) -> Result<()> {
    let configuration = client.configuration();
    let style = Style::of(configuration, Format::Tableau);
    match answer {
        Answer::Done(lines) | Answer::Submitted { lines, .. } => {
            put(&format!("{}\n\n", lines.join("\n")))?;
        }
        Answer::Help => put(&format!("{}\n\n", print::HELP))?,
        Answer::Clear => put("\u{1b}[2J\u{1b}[H")?,
        Answer::Quit => {}
        Answer::Table(table) => {
            style.table(&table)?;
            put("\n")?;
        }
        Answer::Rows(result) => {
            let mode = configuration.get("sql-client.execution.result-mode");
            let shown = match mode.as_deref().map(str::to_ascii_lowercase).as_deref() {
                Some("tableau") => style.rows(result, signals).await,
                Some("changelog") => screen::changelog(result, style.cells()),
                _ => screen::table(result, style.cells()),
            };
            match shown {
                Ok(()) => put("\n")?,
                Err(Unwritten::Query(diagnostic)) => complain(&diagnostic, statement)?,
                Err(Unwritten::Output(error)) => {
                    return Err(error).context("cannot show the result");
                }
            }
        }
    }
    Ok(())
}

fn editor(names: &Arc<Mutex<Vec<String>>>) -> Result<Reedline> {
    let mut keys = default_emacs_keybindings();
    keys.add_binding(
        KeyModifiers::NONE,
        KeyCode::Tab,
        ReedlineEvent::UntilFound(vec![
            ReedlineEvent::Menu(MENU.to_owned()),
            ReedlineEvent::MenuNext,
        ]),
    );
    let menu = Box::new(ColumnarMenu::default().with_name(MENU));
    let mut editor = Reedline::create()
        .with_validator(Box::new(StatementEnd))
        .with_completer(Box::new(Words { names: Arc::clone(names) }))
        .with_menu(ReedlineMenu::EngineCompleter(menu))
        .with_edit_mode(Box::new(Emacs::new(keys)));
    if let Some(path) = history_path() {
        // Statements may hold passwords: the file is its owner's alone.
        OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("cannot open the history {}", path.display()))?;
        let history =
            FileBackedHistory::with_file(HISTORY_LINES, path).context("cannot read the history")?;
        editor = editor.with_history(Box::new(history));
    }
    Ok(editor)
}

fn history_path() -> Option<PathBuf> {
    env::var_os("HOME").map(|home| PathBuf::from(home).join(".shardlake-sql-history"))
}

/// An input is complete when its last statement is.
struct StatementEnd;

impl Validator for StatementEnd {
    fn validate(&self, line: &str) -> ValidationResult {
        let word = line.trim().to_ascii_uppercase();
        let is_command = ["QUIT", "EXIT", "HELP", "CLEAR"].contains(&word.as_str());
        if is_command || Script::split(line).is_complete() {
            ValidationResult::Complete
        } else {
            ValidationResult::Incomplete
        }
    }
}

/// Completes keywords and the names of tables and views.
struct Words {
    names: Arc<Mutex<Vec<String>>>,
}

impl Completer for Words {
    fn complete(&mut self, line: &str, position: usize) -> CompletionResult {
        CompletionResult::fresh(self.suggestions(line, position))
    }
}

impl Words {
    fn suggestions(&self, line: &str, position: usize) -> Vec<Suggestion> {
        let before = line.get(..position).unwrap_or(line);
        let start = before.rfind(|c: char| !(c.is_alphanumeric() || c == '_')).map_or(0, |at| {
            at + before.get(at..).and_then(|t| t.chars().next()).map_or(1, char::len_utf8)
        });
        let typed = before.get(start..).unwrap_or_default();
        if typed.is_empty() {
            return Vec::new();
        }
        let upper = typed.to_ascii_uppercase();
        let keywords =
            KEYWORDS.iter().filter(|word| word.starts_with(&upper)).map(|w| (*w).to_owned());
        let names = self.names.lock();
        let tables = names.iter().filter(|name| name.starts_with(typed)).cloned();
        keywords
            .chain(tables)
            .map(|value| Suggestion {
                value,
                span: MenuSpan::new(start, position),
                append_whitespace: true,
                ..Suggestion::default()
            })
            .collect()
    }
}

struct SqlPrompt;

impl Prompt for SqlPrompt {
    fn render_prompt_left(&self) -> Cow<'_, str> {
        Cow::Borrowed("Shardlake SQL")
    }

    fn render_prompt_right(&self) -> Cow<'_, str> {
        Cow::Borrowed("")
    }

    fn render_prompt_indicator(&self, _mode: PromptEditMode) -> Cow<'_, str> {
        Cow::Borrowed("> ")
    }

    fn render_prompt_multiline_indicator(&self) -> Cow<'_, str> {
        Cow::Borrowed("> ")
    }

    fn render_prompt_history_search_indicator(&self, search: PromptHistorySearch) -> Cow<'_, str> {
        Cow::Owned(format!("(search: {}) ", search.term))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_ends_with_its_statement() {
        let complete =
            |text: &str| matches!(StatementEnd.validate(text), ValidationResult::Complete);
        assert!(complete("SELECT ';';"));
        assert!(complete("quit"));
        assert!(!complete("SELECT 1"));
        assert!(!complete("SELECT ';"));
        assert!(!complete("EXECUTE STATEMENT SET BEGIN INSERT INTO a SELECT 1;"));
    }

    #[test]
    fn keywords_and_tables_are_completed() {
        let words = Words { names: Arc::new(Mutex::new(vec!["user_source".to_owned()])) };
        let values = |line: &str| {
            words.suggestions(line, line.len()).into_iter().map(|s| s.value).collect::<Vec<_>>()
        };
        assert_eq!(values("select * from us"), ["USE", "USE CATALOG", "user_source"]);
        assert_eq!(values("sel"), ["SELECT"]);
        assert!(values("select ").is_empty());
    }
}
