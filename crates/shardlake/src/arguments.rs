//! The command line.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::logging::LogFormat;
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
    /// Compares a table of the lake with the MySQL tables from which it is written, and can mend it.
    Verify(VerifyArguments),
}

/// What `shardlake verify` takes. It ends with an error if the tables differ, unless they are repaired.
#[derive(Debug, Args)]
pub(crate) struct VerifyArguments {
    /// The table of the lake, as the definitions name it.
    pub(crate) lake: String,

    /// The table of connector mysql-cdc from which it is written.
    pub(crate) source: String,

    /// A file with the definitions of both tables: CREATE TABLE, CREATE CATALOG, USE, SET.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) init: PathBuf,

    /// Takes the rows that differ from MySQL.
    #[arg(long)]
    pub(crate) repair: bool,

    /// Sets a configuration key, as SET does.
    #[arg(short = 'D', value_name = "KEY=VALUE", value_parser = setting)]
    pub(crate) settings: Vec<(String, String)>,

    /// Where the lock and the log are kept.
    #[arg(long, value_name = "DIR", default_value = "./.shardlake")]
    pub(crate) state_dir: PathBuf,
}

/// What `shardlake server` takes.
#[derive(Debug, Args)]
#[command(after_help = SERVER_HELP)]
pub(crate) struct ServerArguments {
    /// The address to listen on [default: 127.0.0.1]. Another one than a loopback address needs
    /// --tokens-file or --insecure. Key: rest.bind-address.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) host: Option<IpAddr>,

    /// The port of web page, JobManager REST and SQL gateway [default: 8081]. Key: rest.port.
    #[arg(long, value_name = "PORT")]
    pub(crate) port: Option<u16>,

    /// A second port, for clients of the SQL gateway [default: 8083; none if --port is given]. Key:
    /// sql-gateway.endpoint.rest.port.
    #[arg(long, value_name = "PORT")]
    pub(crate) gateway_port: Option<u16>,

    /// Where jobs, catalogs, the lock and the log are kept.
    #[arg(long, value_name = "DIR", default_value = "./.shardlake")]
    pub(crate) state_dir: PathBuf,

    /// A file with settings, in the form of Flink's config.yaml.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Sets a configuration key for the server and for each session.
    #[arg(short = 'D', value_name = "KEY=VALUE", value_parser = setting)]
    pub(crate) settings: Vec<(String, String)>,

    /// Asks clients for a token: a line each of `read|operate|admin TOKEN`; readable by its owner
    /// only. Key: shardlake.server.tokens-file.
    #[arg(long, value_name = "FILE")]
    pub(crate) tokens_file: Option<PathBuf>,

    /// Waives authentication: whoever reaches the port may do everything. Key: shardlake.server.insecure.
    #[arg(long, conflicts_with = "tokens_file")]
    pub(crate) insecure: bool,

    /// The certificate for TLS and those that it was signed with, PEM. Key: shardlake.server.tls.certificate.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_certificate: Option<PathBuf>,

    /// The private key of the certificate, PEM. Key: shardlake.server.tls.key.
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    pub(crate) tls_key: Option<PathBuf>,

    /// A name under which the server may be asked besides those of this machine; for servers
    /// without tokens. Key: shardlake.server.allow-hosts.
    #[arg(long, value_name = "NAME")]
    pub(crate) allow_host: Vec<String>,

    /// Another site whose pages may use the server, for example https://lake.example. Key:
    /// shardlake.server.allow-origins.
    #[arg(long, value_name = "ORIGIN")]
    pub(crate) allow_origin: Vec<String>,

    /// How the log is written. Key: shardlake.server.log-format [default: text].
    #[arg(long, value_enum)]
    pub(crate) log_format: Option<LogFormat>,
}

/// What follows the options in `shardlake server --help`.
const SERVER_HELP: &str = "\
Settings come from --config, then from the variables FLINK_PROPERTIES and SHARDLAKE_PROPERTIES (lines of `key: value`),
then from -D, then from the options above; what comes later wins. Keys of sessions and jobs, such as
execution.checkpointing.interval, hold for every session until it sets them otherwise.

Further keys: sql-gateway.session.max-num (1000), sql-gateway.session.idle-timeout (10 min),
shardlake.server.operations-max (100 for each session).

SIGTERM and SIGINT: every job commits what it has read and ends; the next start resumes it.
docs/server.md tells more.";

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

    /// Certificates that the server's may be signed with, PEM; for https endpoints.
    #[arg(long, value_name = "FILE", requires = "endpoint")]
    pub(crate) ca_file: Option<PathBuf>,

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
