//! A `shardlake server` process that is asked through `shardlake sql --endpoint`.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::{Answer, binary, wait_until};

/// A running server; killed when dropped.
#[derive(Debug)]
pub struct StatementServer {
    child: Child,
    url: String,
    log: PathBuf,
}

impl StatementServer {
    /// Starts a server on a free port, with its state in a folder and its output appended to a log, and waits until
    /// it listens.
    pub fn start(state: &Path, log: &Path, environment: &[(&str, &str)]) -> Result<Self> {
        let before = std::fs::read_to_string(log).unwrap_or_default().len();
        let open = || File::options().create(true).append(true).open(log);
        let mut command = Command::new(binary());
        command.args(["server", "--port", "0", "--state-dir"]).arg(state);
        command.envs(environment.iter().copied());
        command.stdin(Stdio::null()).stdout(open()?).stderr(open()?);
        let child = command.spawn().context("starting the server")?;
        let mut server = Self { child, url: String::new(), log: log.to_path_buf() };
        server.url = wait_until("the server listens", Duration::from_secs(60), || {
            server.ensure_running()?;
            let text = server.log();
            let new = text.get(before..).unwrap_or_default();
            let url = new.split_whitespace().find(|word| word.starts_with("http://"));
            Ok((url.is_some(), url.unwrap_or_default().to_owned()))
        })?;
        Ok(server)
    }

    /// Where it listens: `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// All that was printed so far, by earlier servers on the same log too.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn ensure_running(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("the server ended with {status}: {}", self.log()),
        }
    }

    /// Runs statements at the server, as a user does.
    pub fn run(&self, statements: &str) -> Result<Answer> {
        let mut command = Command::new(binary());
        command.args(["sql", "--endpoint", &self.url, "--format", "json", "-e", statements]);
        let output = command.stdin(Stdio::null()).output().context("running the client")?;
        Ok(Answer {
            status: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// The final rows of a query as text: `a|b|NULL`, sorted.
    pub fn select(&self, query: &str) -> Result<Vec<String>> {
        let statements = format!("SET 'execution.runtime-mode' = 'batch'; {query};");
        let answer = self.run(&statements)?;
        anyhow::ensure!(answer.status == Some(0), "{query}: {}", answer.text());
        let mut rows: Vec<String> = answer.rows()?.iter().map(ToString::to_string).collect();
        rows.sort_unstable();
        Ok(rows)
    }

    /// Kills it as a power cut would.
    pub fn kill_dash_nine(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Ends it gracefully, and waits.
    pub fn terminate(mut self) -> Result<()> {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &id]).status()?;
        anyhow::ensure!(sent.success(), "kill -TERM failed");
        let status = self.child.wait()?;
        anyhow::ensure!(status.success(), "the server ended with {status}: {}", self.log());
        Ok(())
    }
}

impl Drop for StatementServer {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
