//! A running `shardlake server`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::client::binary;
use crate::wait_until;

/// The process; killed when dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    state: PathBuf,
    log: PathBuf,
    url: String,
}

impl Server {
    /// Starts it on a free port of the loopback interface and waits until it listens.
    pub fn start(state: &Path, log: &Path) -> Result<Self> {
        Self::start_at("0", state, log)
    }

    fn start_at(port: &str, state: &Path, log: &Path) -> Result<Self> {
        let output = File::create(log).context("making the server's log")?;
        let child = Command::new(binary())
            .args(["server", "--port", port, "--state-dir"])
            .arg(state)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .context("starting the server")?;
        let (state, log) = (state.to_path_buf(), log.to_path_buf());
        let mut server = Self { child, state, log, url: String::new() };
        let url = wait_until("the server listens", Duration::from_secs(30), || {
            if let Some(status) = server.child.try_wait()? {
                bail!("the server ended with {status}: {}", server.log());
            }
            let url = server.log().lines().find_map(address);
            Ok((url.is_some(), url))
        })?;
        server.url = url.context("the server does not say where it listens")?;
        Ok(server)
    }

    /// Where it listens, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// All that it has printed.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Kills it as a power cut would.
    pub fn kill_dash_nine(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Starts it again after a kill, with the same state at the same address.
    pub fn start_again(&mut self) -> Result<()> {
        let port = self.url.rsplit(':').next().unwrap_or("0").to_owned();
        *self = Self::start_at(&port, &self.state, &self.log)?;
        Ok(())
    }

    /// Ends it gracefully.
    pub fn stop(mut self) -> Result<ExitStatus> {
        let id = self.child.id().to_string();
        Command::new("kill").args(["-TERM", &id]).status()?;
        Ok(self.child.wait()?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn address(line: &str) -> Option<String> {
    let start = line.find("http://127.0.0.1:")?;
    line.get(start..).map(|url| url.trim().to_owned())
}
