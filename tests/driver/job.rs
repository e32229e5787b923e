//! A script whose streaming job keeps the process alive.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::{Client, pause};

/// A running process; killed when dropped.
#[derive(Debug)]
pub struct Job {
    child: Child,
    log: PathBuf,
}

impl Job {
    /// Starts `shardlake sql -f SCRIPT` with its output appended to a log.
    pub fn start(client: &Client, script: &Path, log: &Path) -> Result<Self> {
        let open = || File::options().create(true).append(true).open(log);
        let mut command = client.command();
        command.arg("-f").arg(script).stdout(open()?).stderr(open()?);
        let child = command.spawn().context("starting the job")?;
        Ok(Self { child, log: log.to_path_buf() })
    }

    /// The process number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// All that was printed so far, by earlier runs on the same log too.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Fails with the log's end when the process has ended.
    pub fn ensure_running(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("the job ended with {status}: {}", last_lines(&self.log())),
        }
    }

    /// Kills it as a power cut would.
    pub fn kill_dash_nine(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Sends a signal by name: `TERM`, `INT`, `STOP`, `CONT`.
    pub fn signal(&self, name: &str) -> Result<()> {
        let id = self.child.id().to_string();
        let status = Command::new("kill").args([format!("-{name}"), id]).status()?;
        anyhow::ensure!(status.success(), "kill -{name} failed");
        Ok(())
    }

    /// Sends a signal and waits for the end.
    pub fn stop(mut self, signal: &str) -> Result<ExitStatus> {
        self.signal(signal)?;
        self.wait(Duration::from_secs(30))
    }

    /// Waits for the process to end by itself.
    pub fn wait(&mut self, patience: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!("the job does not end: {}", last_lines(&self.log()));
            }
            pause(Duration::from_millis(10));
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn last_lines(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(25)..].join("\n")
}
