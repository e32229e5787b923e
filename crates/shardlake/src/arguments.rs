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
    /// Runs jobs that outlive their clients: page, JobManager REST and SQL gateway over HTTP.
    Server(ServerArguments),
}

/// What `shardlake server` takes.
#[derive(Debug, Args)]
pub(crate) struct ServerArguments {
    /// The port of page, JobManager REST and SQL gateway [default: 8081].
    #[arg(long, value_name = "PORT")]
    pub(crate) port: Option<u16>,

    /// A port of the SQL gateway alone [default: 8083; none if --port is given].
    #[arg(long, value_name = "PORT")]
    pub(crate) gateway_port: Option<u16>,

    /// Sets a configuration key for the server and for each session.
    #[arg(short = 'D', value_name = "KEY=VALUE", value_parser = setting)]
    pub(crate) settings: Vec<(String, String)>,

    /// Where jobs, catalogs, the lock and the log are kept.
    #[arg(long, value_name = "DIR", default_value = "./.shardlake")]
    pub(crate) state_dir: PathBuf,
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

    /// Runs the statements at the server with this address instead of in this process; jobs go on without the client.
    #[arg(long, value_name = "URL")]
    pub(crate) endpoint: Option<String>,

    /// A file with the token for the server; without it the variable SHARDLAKE_TOKEN is looked at.
    #[arg(long, value_name = "FILE", requires = "endpoint")]
    pub(crate) token_file: Option<PathBuf>,

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
