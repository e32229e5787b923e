//! One server process, from start to end.
//!
//! The system kills it when the thread that started it ends (`setpriv --pdeathsig`), so all are started by one thread
//! that lives as long as the test process: a killed test run leaves no server behind.

use std::fs::File;
use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::Error;

type Request = (Command, Sender<io::Result<Child>>);

fn spawner() -> &'static Sender<Request> {
    static SPAWNER: OnceLock<Sender<Request>> = OnceLock::new();
    SPAWNER.get_or_init(|| {
        let (sender, requests) = channel::<Request>();
        thread::spawn(move || {
            for (mut command, reply) in requests {
                // The caller waits for the answer; when it is gone, so is the need for the process.
                if let Err(unsent) = reply.send(command.spawn())
                    && let Ok(mut child) = unsent.0
                {
                    drop(child.kill());
                }
            }
        });
        sender
    })
}

/// A running server program.
#[derive(Debug)]
pub(crate) struct ServerProcess {
    child: Child,
}

impl ServerProcess {
    /// Starts a command line with its output appended to a log.
    pub(crate) fn start(words: &[String], log: &Path) -> Result<Self, Error> {
        let open = || File::options().create(true).append(true).open(log);
        let out = open().map_err(Error::io("open the server's log"))?;
        let err = open().map_err(Error::io("open the server's log"))?;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).args(words);
        command.stdin(Stdio::null()).stdout(out).stderr(err);
        let (reply, answer) = channel();
        let gone =
            || Error::failed("starting a server", "the thread that starts servers has ended");
        spawner().send((command, reply)).map_err(|_| gone())?;
        let child =
            answer.recv().map_err(|_| gone())?.map_err(Error::io("start the server (setpriv)"))?;
        Ok(Self { child })
    }

    /// The process number.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Ends it at once, as a power cut would.
    pub(crate) fn kill(&mut self) -> Result<(), Error> {
        self.child.kill().map_err(Error::io("kill the server"))?;
        self.child.wait().map_err(Error::io("wait for the server"))?;
        Ok(())
    }

    /// Asks it to end, and kills it when it takes longer than the patience.
    pub(crate) fn stop(&mut self, patience: Duration) -> Result<(), Error> {
        if self.has_ended() {
            return Ok(());
        }
        let asked = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        let deadline = Instant::now() + patience;
        while asked.is_ok() && Instant::now() < deadline {
            if self.has_ended() {
                return Ok(());
            }
            thread::park_timeout(Duration::from_millis(20));
        }
        self.kill()
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        if !self.has_ended() {
            drop(self.kill());
        }
    }
}
