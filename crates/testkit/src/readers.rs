//! Iceberg readers that are not ours: what they see is what the lake says.
//!
//! Each is a Python script in `tests/readers` that prints a table's rows as JSON lines in one common form, so the
//! outputs of two readers can be compared as text.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::package::run_script;
use crate::{Error, workspace_root};

/// A foreign reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// DuckDB's Iceberg extension.
    DuckDb,
    /// pyiceberg with pyarrow.
    PyIceberg,
}

impl Reader {
    /// The rows of a table folder as sorted JSON lines, as of its newest snapshot.
    pub fn rows(self, table: &Path) -> Result<Vec<String>, Error> {
        self.run(&[table.as_os_str()])
    }

    /// The rows as of one snapshot.
    pub fn rows_at(self, table: &Path, snapshot_id: i64) -> Result<Vec<String>, Error> {
        let id = snapshot_id.to_string();
        self.run(&[table.as_os_str(), id.as_ref()])
    }

    /// Whether the readers can be had here; an [`Error::Unavailable`] says why not.
    pub fn ensure_available() -> Result<(), Error> {
        python().map(drop)
    }

    /// Runs another script of `tests/readers` and returns the lines that it prints.
    pub fn run_script(script: &str, arguments: &[&str]) -> Result<Vec<String>, Error> {
        run_python(script, |command| command.args(arguments))
    }

    /// A command that runs such a script, for one that goes on beside the test.
    pub fn script_command(script: &str, arguments: &[&str]) -> Result<Command, Error> {
        let mut command = Command::new(python()?);
        command.arg("-B").arg(workspace_root().join("tests/readers").join(script)).args(arguments);
        Ok(command)
    }

    fn run(self, arguments: &[&std::ffi::OsStr]) -> Result<Vec<String>, Error> {
        let script = match self {
            Self::DuckDb => "duckdb_rows.py",
            Self::PyIceberg => "pyiceberg_rows.py",
        };
        let mut lines = run_python(script, |command| command.args(arguments))?;
        lines.sort_unstable();
        Ok(lines)
    }
}

fn run_python(
    script: &str,
    with: impl FnOnce(&mut Command) -> &mut Command,
) -> Result<Vec<String>, Error> {
    let mut command = Command::new(python()?);
    command.arg("-B").arg(workspace_root().join("tests/readers").join(script));
    let output = with(&mut command).output().map_err(Error::io(format!("run {script}")))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(Error::failed(script, words));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().map(str::to_owned).collect())
}

pub(crate) fn python() -> Result<PathBuf, Error> {
    let ready = workspace_root().join(".cache/venv");
    if ready.join(".complete").is_file() {
        return Ok(ready.join("bin/python"));
    }
    run_script("the foreign readers", "get-readers.sh", &[])
}
