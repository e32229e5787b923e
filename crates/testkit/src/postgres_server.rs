//! A private PostgreSQL for one test: its own data folder, its own port, gone when dropped.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::package::run_script;
use crate::server_process::ServerProcess;
use crate::{Error, workspace_root};

const USER: &str = "catalog";
const PASSWORD: &str = "sesame";
const PATIENCE: Duration = Duration::from_secs(60);
/// The user `nobody`: the server refuses to run as root.
const NOBODY: u32 = 65_534;

/// A running server.
#[derive(Debug)]
pub struct PostgresServer {
    process: ServerProcess,
    port: u16,
    folder: TempDir,
}

impl PostgresServer {
    /// Starts it and waits until it answers.
    pub fn start() -> Result<Self, Error> {
        let root = package()?;
        let folder = tempfile::Builder::new()
            .prefix("shardlake-postgres-")
            .tempdir()
            .map_err(Error::io("make the server's folder"))?;
        let metadata = fs::metadata(folder.path()).map_err(Error::io("look at a folder"))?;
        let is_root = metadata.uid() == 0;
        let password = folder.path().join("password");
        fs::write(&password, PASSWORD).map_err(Error::io("write the password"))?;
        if is_root {
            for path in [folder.path(), &password] {
                chown(path, Some(NOBODY), Some(NOBODY)).map_err(Error::io("give a folder away"))?;
            }
        }
        let program = |name: &str| command_line(&root, name, is_root);
        let data = folder.path().join("data").display().to_string();
        let mut initialise = program("initdb")?;
        let share = share(&root)?;
        initialise.extend(
            ["-D", &data, "-U", USER, "-A", "scram-sha-256", "--no-sync", "-L", &share]
                .map(str::to_owned),
        );
        initialise.push(format!("--pwfile={}", password.display()));
        run(&initialise)?;
        let port = free_port()?;
        let mut words = program("postgres")?;
        let (port_text, here) = (port.to_string(), folder.path().display().to_string());
        words.extend(
            ["-D", &data, "-p", &port_text, "-h", "127.0.0.1", "-k", &here, "-F"]
                .map(str::to_owned),
        );
        let process = ServerProcess::start(&words, &log(&folder))?;
        let mut server = Self { process, port, folder };
        server.wait()?;
        Ok(server)
    }

    /// The address of its database; user and password are those of [`Self::user`] and
    /// [`Self::password`].
    #[must_use]
    pub fn uri(&self) -> String {
        format!("postgresql://127.0.0.1:{}/postgres", self.port)
    }

    /// Who may use it.
    #[must_use]
    pub fn user(&self) -> &'static str {
        USER
    }

    /// The user's password.
    #[must_use]
    pub fn password(&self) -> &'static str {
        PASSWORD
    }

    fn wait(&mut self) -> Result<(), Error> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline && !self.process.has_ended() {
            let log = fs::read_to_string(log(&self.folder)).unwrap_or_default();
            if log.contains("ready to accept connections") {
                return Ok(());
            }
            thread::park_timeout(Duration::from_millis(50));
        }
        let log = fs::read_to_string(log(&self.folder)).unwrap_or_default();
        let words = log.lines().last().unwrap_or_default().to_owned();
        Err(Error::failed("starting PostgreSQL", words))
    }
}

fn log(folder: &TempDir) -> PathBuf {
    folder.path().join("log")
}

fn package() -> Result<PathBuf, Error> {
    let root = workspace_root().join(".cache/postgresql");
    if root.join(".packages").is_file() {
        return Ok(root);
    }
    run_script("PostgreSQL", "get-postgresql.sh", &[])
}

/// `usr/lib/postgresql/<version>/bin/<program>`, with its libraries, and not as root.
fn command_line(root: &Path, program: &str, is_root: bool) -> Result<Vec<String>, Error> {
    let mut words: Vec<String> = if is_root {
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--pdeathsig", "KILL"]
            .map(str::to_owned)
            .into()
    } else {
        Vec::new()
    };
    let libraries: Vec<String> = ["usr/lib", "lib"]
        .iter()
        .flat_map(|folder| subfolders(&root.join(folder)))
        .map(|folder| folder.display().to_string())
        .collect();
    words.push("env".to_owned());
    words.push(format!("LD_LIBRARY_PATH={}", libraries.join(":")));
    words.extend(["LC_ALL=C", "TZ=UTC"].map(str::to_owned));
    let version = newest(&root.join("usr/lib/postgresql"))?;
    words.push(version.join("bin").join(program).display().to_string());
    Ok(words)
}

fn share(root: &Path) -> Result<String, Error> {
    Ok(newest(&root.join("usr/share/postgresql"))?.display().to_string())
}

fn newest(folder: &Path) -> Result<PathBuf, Error> {
    let none =
        || Error::failed("looking for PostgreSQL", format!("nothing in {}", folder.display()));
    subfolders(folder).into_iter().max().ok_or_else(none)
}

fn subfolders(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

fn run(words: &[String]) -> Result<(), Error> {
    let Some((program, arguments)) = words.split_first() else { return Ok(()) };
    let output = Command::new(program).args(arguments).output().map_err(Error::io("run initdb"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::failed("initdb", String::from_utf8_lossy(&output.stderr).into_owned()))
}

fn free_port() -> Result<u16, Error> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(Error::io("find a free port"))?;
    Ok(listener.local_addr().map_err(Error::io("find a free port"))?.port())
}
