//! Project tasks, run as `cargo xtask TASK`.

mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Tasks of the project")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Checks what neither the compiler nor clippy checks: layering, sizes, names, pages
    Tidy,
}

fn main() -> Result<ExitCode> {
    match Arguments::parse().task {
        Task::Tidy => run_tidy(),
    }
}

#[expect(clippy::print_stderr, reason = "this program's output is for its user")]
fn run_tidy() -> Result<ExitCode> {
    let findings = tidy::check(&workspace_root())?;
    for finding in &findings {
        eprintln!("tidy: {finding}");
    }
    Ok(if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn workspace_root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_path_buf()
}

#[cfg(test)]
mod tests {
    use super::{tidy, workspace_root};

    #[test]
    fn the_tree_is_tidy() {
        let findings = tidy::check(&workspace_root()).unwrap();
        assert!(findings.is_empty(), "{}", findings.join("\n"));
    }
}
