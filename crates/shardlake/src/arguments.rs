//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::output::Format;

/// Many sharded MySQL tables, one real-time Apache Iceberg table, in SQL.
#[derive(Debug, Parser)]
#[command(name = "shardlake", version, arg_required_else_help = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs SQL: interactively, from a file, or from the command line.
    Sql(SqlArguments),
}

/// What `shardlake sql` takes.
#[derive(Debug, Args)]
pub(crate) struct SqlArguments {
    /// Runs the statements of this file, then ends when no job runs any more.
    #[arg(short, long, value_name = "FILE", conflicts_with = "execute")]
    pub(crate) file: Option<PathBuf>,

    /// Runs these statements, then ends when no job runs any more.
    #[arg(short, long, value_name = "STATEMENTS")]
    pub(crate) execute: Option<String>,

    /// Runs the statements of this file first: definitions and settings.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) init: Option<PathBuf>,

    /// Sets a configuration key, as SET does.
    #[arg(short = 'D', value_name = "KEY=VALUE", value_parser = setting)]
    pub(crate) settings: Vec<(String, String)>,

    /// How the results of -f and -e are written.
    #[arg(long, value_enum, default_value_t = Format::Tableau)]
    pub(crate) format: Format,

    /// Where the lock, the log and the state of jobs are kept.
    #[arg(long, value_name = "DIR", default_value = "./.shardlake")]
    pub(crate) state_dir: PathBuf,
}

fn setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => {
            Ok((key.trim().to_owned(), value.trim().to_owned()))
        }
        _ => {
            Err("write -D key=value, for example -D execution.checkpointing.interval=1s".to_owned())
        }
    }
}
