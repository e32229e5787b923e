//! Programs that were unpacked into the workspace's `.cache` by the scripts, and how to run them.
//!
//! An unpacked program runs with the loader and the libraries that lie beside it, never with the machine's own.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Error;

/// The folder that holds `scripts/` and `crates/`.
#[must_use]
pub fn workspace_root() -> PathBuf {
    let built_in = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let starts = [env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from), env::current_dir().ok()];
    for start in starts.into_iter().flatten().chain([built_in.clone()]) {
        if let Some(root) =
            start.ancestors().find(|folder| folder.join("scripts/get-mysql.sh").is_file())
        {
            return root.to_path_buf();
        }
    }
    built_in
}

/// Runs one of the `get-*.sh` scripts and returns the path that it prints.
pub(crate) fn run_script(
    what: &'static str,
    script: &str,
    arguments: &[&str],
) -> Result<PathBuf, Error> {
    let path = workspace_root().join("scripts").join(script);
    let output =
        Command::new(&path).args(arguments).output().map_err(Error::io(format!("run {script}")))?;
    let last_words = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        text.lines().last().unwrap_or_default().to_owned()
    };
    match output.status.code() {
        Some(0) => Ok(PathBuf::from(last_words(&output.stdout))),
        Some(3) => Err(Error::Unavailable { what, reason: last_words(&output.stderr) }),
        _ => Err(Error::failed(script, last_words(&output.stderr))),
    }
}

/// An unpacked set of Debian packages.
#[derive(Debug, Clone)]
pub struct Package {
    root: PathBuf,
    loader: PathBuf,
    libraries: String,
}

impl Package {
    /// MySQL: the folder named by `SHARDLAKE_MYSQL`, or `.cache/mysql`, which is filled when it is not there.
    pub fn mysql() -> Result<Self, Error> {
        if let Some(root) = env::var_os("SHARDLAKE_MYSQL") {
            return Self::open(PathBuf::from(root));
        }
        let root = workspace_root().join(".cache/mysql");
        if root.join(".packages").is_file() {
            return Self::open(root);
        }
        Self::open(run_script("MySQL", "get-mysql.sh", &[])?)
    }

    /// MariaDB 10.11, in `.cache/mariadb`, which is filled when it is not there.
    pub fn mariadb() -> Result<Self, Error> {
        let root = workspace_root().join(".cache/mariadb");
        if root.join(".packages").is_file() {
            return Self::open(root);
        }
        Self::open(run_script("MariaDB 10.11", "get-mariadb.sh", &[])?)
    }

    /// MariaDB 11.8, in `.cache/mariadb-11`, which is filled when it is not there.
    pub fn mariadb_11() -> Result<Self, Error> {
        let root = workspace_root().join(".cache/mariadb-11");
        if root.join(".packages").is_file() {
            return Self::open(root);
        }
        Self::open(run_script("MariaDB 11.8", "get-mariadb.sh", &["11"])?)
    }

    fn open(root: PathBuf) -> Result<Self, Error> {
        let found = ["usr/lib", "lib"].iter().find_map(|folder| find_loader(&root.join(folder)));
        let Some(loader) = found else {
            return Err(Error::failed(
                "looking for the loader",
                format!("none in {}", root.display()),
            ));
        };
        let triplet = loader.parent().and_then(Path::file_name).unwrap_or_default().to_owned();
        let usr = root.join("usr/lib").join(&triplet);
        let top = root.join("lib").join(&triplet);
        let libraries = format!("{}:{}", usr.display(), top.display());
        Ok(Self { root, loader, libraries })
    }

    /// The folder into which the packages were unpacked.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A command that runs one of the programs, named relative to the root: `usr/bin/mysqlbinlog`.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut words = self.command_line(program).into_iter();
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words);
        command
    }

    /// The words with which a program's command line starts.
    pub(crate) fn command_line(&self, program: &str) -> Vec<String> {
        vec![
            self.loader.display().to_string(),
            "--library-path".to_owned(),
            self.libraries.clone(),
            self.root.join(program).display().to_string(),
        ]
    }
}

/// `<folder>/<triplet>/ld-linux-<processor>.so.<n>`.
fn find_loader(folder: &Path) -> Option<PathBuf> {
    for triplet in fs::read_dir(folder).ok()?.flatten() {
        for file in fs::read_dir(triplet.path()).into_iter().flatten().flatten() {
            if file.file_name().to_string_lossy().starts_with("ld-linux-") {
                return Some(file.path());
            }
        }
    }
    None
}
