//! One run of `shardlake sql` from start to end.

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;
use shardlake_testkit::workspace_root;

/// The binary under test: `SHARDLAKE_BIN`, or the release build beside this test.
#[must_use]
pub fn binary() -> PathBuf {
    if let Some(path) = env::var_os("SHARDLAKE_BIN") {
        return PathBuf::from(path);
    }
    // The test program lies in `release/deps`.
    let beside =
        env::current_exe().ok().and_then(|own| Some(own.parent()?.parent()?.join("shardlake")));
    beside
        .filter(|path| path.is_file())
        .unwrap_or_else(|| workspace_root().join("target/release/shardlake"))
}

/// How a run ended and what it printed.
#[derive(Debug)]
pub struct Answer {
    /// The exit status; none when a signal ended it.
    pub status: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Answer {
    /// Both outputs, for looking for a message wherever it was printed.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    /// The rows that `--format json` printed.
    pub fn rows(&self) -> Result<Vec<Row>> {
        let lines = self.stdout.lines().filter(|line| line.starts_with('{'));
        lines.map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
    }
}

/// A SQL client with its own state directory.
#[derive(Debug, Clone)]
pub struct Client {
    state: PathBuf,
    arguments: Vec<String>,
}

impl Client {
    /// A client whose state lies in this folder.
    #[must_use]
    pub fn new(state: &Path) -> Self {
        Self { state: state.to_path_buf(), arguments: Vec::new() }
    }

    /// With one more argument of the command line.
    #[must_use]
    pub fn with(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// The folder of the state.
    #[must_use]
    pub fn state(&self) -> &Path {
        &self.state
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(binary());
        command.arg("sql").arg("--state-dir").arg(&self.state).args(&self.arguments);
        command.stdin(Stdio::null()).env("NO_COLOR", "1");
        command
    }

    /// Runs statements with `-e` and waits for the end.
    pub fn run(&self, statements: &str) -> Result<Answer> {
        let mut command = self.command();
        command.arg("-e").arg(statements);
        let output = command.output().with_context(|| format!("running {}", binary().display()))?;
        Ok(Answer {
            status: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Runs statements that must succeed.
    pub fn run_ok(&self, statements: &str) -> Result<Answer> {
        let answer = self.run(statements)?;
        ensure!(answer.status == Some(0), "exit status {:?}: {}", answer.status, answer.text());
        Ok(answer)
    }

    /// The final rows of a query as text, in the order of the query: `a|b|NULL`.
    pub fn select(&self, setup: &str, query: &str) -> Result<Vec<String>> {
        let client = self.clone().with("--format").with("json");
        let client = client.with("-D").with("execution.runtime-mode=batch");
        let answer = client.run_ok(&format!("{setup}\n{query};"))?;
        Ok(answer.rows()?.iter().map(Row::to_string).collect())
    }
}

/// A row with its columns in the order in which they were printed.
#[derive(Debug)]
pub struct Row(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Row {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Row;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Row, A::Error> {
                let mut row = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    row.push(entry);
                }
                Ok(Row(row))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

impl fmt::Display for Row {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (_, value)) in self.0.iter().enumerate() {
            formatter.write_str(if index == 0 { "" } else { "|" })?;
            match value {
                Value::Null => formatter.write_str("NULL")?,
                Value::String(text) => formatter.write_str(text)?,
                other => write!(formatter, "{other}")?,
            }
        }
        Ok(())
    }
}
