//! `shardlake server`.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use shardlake_job::Environment;
use shardlake_server::{Access, Engine, Server, ServerOptions, TlsFiles};
use shardlake_sql::print;
use shardlake_sql::session::Configuration;
use tokio::runtime::{Builder, Handle};
use tracing::info;

use crate::arguments::ServerArguments;
use crate::connectors::connectors;
use crate::logging;
use crate::output::put;
use crate::server_settings::Settings;
use crate::signals::Signals;
use crate::state_dir::StateDir;

/// The ports if none is given.
const PORT: u16 = 8081;
const GATEWAY_PORT: u16 = 8083;

/// Runs the server until a signal ends it.
///
/// # Errors
/// The state directory, a setting or a port cannot be used.
pub(crate) fn run(arguments: ServerArguments) -> Result<ExitCode> {
    let runtime = Builder::new_multi_thread()
        .enable_all()
        .thread_name("shardlake")
        .build()
        .context("cannot start the runtime")?;
    let code = runtime.block_on(run_inside(arguments));
    runtime.shutdown_background();
    code
}

async fn run_inside(arguments: ServerArguments) -> Result<ExitCode> {
    let settings = Settings::read(&arguments)?;
    let options = options(&arguments, &settings)?;
    let state_dir = StateDir::open(&arguments.state_dir)?;
    logging::start_server(state_dir.path(), settings.log_format(&arguments)?)?;
    let mut signals = Signals::listen().context("cannot listen for signals")?;
    let environment =
        Environment { state_dir: state_dir.path().to_owned(), runtime: Handle::current() };
    let engine = Engine::durable(connectors(), environment)
        .map_err(|diagnostic| anyhow!(print::error_text(&diagnostic, "")))?;
    let scheme = if options.tls.is_some() { "https" } else { "http" };
    let server = Server::start(Arc::clone(&engine), options).await?;
    for (index, address) in server.addresses().iter().enumerate() {
        let what =
            if index == 0 { "Web page, JobManager REST, SQL gateway" } else { "SQL gateway" };
        put(&format!("{what}: {scheme}://{address}\n"))?;
        info!(%address, what, "listening");
    }
    signals.interrupt().await;
    info!("stopping: jobs commit what they have read");
    server.stop().await;
    engine.shut_down().await;
    info!("stopped");
    Ok(ExitCode::SUCCESS)
}

fn options(arguments: &ServerArguments, settings: &Settings) -> Result<ServerOptions> {
    let host = match arguments.host {
        Some(host) => host,
        None => settings.parsed("rest.bind-address")?.unwrap_or(IpAddr::from([127, 0, 0, 1])),
    };
    let port = match arguments.port {
        Some(port) => Some(port),
        None => settings.parsed("rest.port")?,
    };
    let gateway_port = match (arguments.gateway_port, arguments.port) {
        (Some(port), _) => Some(port),
        (None, None) => {
            Some(settings.parsed("sql-gateway.endpoint.rest.port")?.unwrap_or(GATEWAY_PORT))
        }
        (None, Some(_)) => None,
    };
    // A mistake in a setting of sessions is told now, not to the first client.
    Configuration::new(settings.of_sessions())
        .map_err(|diagnostic| anyhow!(print::error_text(&diagnostic, "")))?;
    Ok(ServerOptions {
        address: SocketAddr::new(host, port.unwrap_or(PORT)),
        gateway_address: gateway_port.map(|port| SocketAddr::new(host, port)),
        access: access(arguments, settings, host)?,
        tls: tls(arguments, settings)?,
        state_dir: arguments.state_dir.clone(),
        settings: settings.of_sessions(),
        sessions_max: settings.parsed("sql-gateway.session.max-num")?.unwrap_or(1_000),
        session_idle_timeout: settings
            .duration("sql-gateway.session.idle-timeout")?
            .unwrap_or(Duration::from_secs(600)),
        operations_max: settings.parsed("shardlake.server.operations-max")?.unwrap_or(100),
    })
}

fn access(arguments: &ServerArguments, settings: &Settings, host: IpAddr) -> Result<Access> {
    let list = |given: &[String], key: &str| {
        let configured = settings.get(key).unwrap_or_default();
        let configured = configured.split([';', ',']).map(str::trim).filter(|one| !one.is_empty());
        given.iter().cloned().chain(configured.map(str::to_owned)).collect::<Vec<_>>()
    };
    let access = Access::default()
        .with_hosts(list(&arguments.allow_host, "shardlake.server.allow-hosts"))
        .with_origins(list(&arguments.allow_origin, "shardlake.server.allow-origins"));
    let tokens = arguments.tokens_file.as_deref();
    let tokens = tokens.or_else(|| settings.get("shardlake.server.tokens-file").map(Path::new));
    if let Some(path) = tokens {
        let text = read_private(path)?;
        let access = access.with_tokens(&text);
        return access.map_err(|reason| anyhow!("cannot use {}: {reason}", path.display()));
    }
    let waived = arguments.insecure || settings.get("shardlake.server.insecure") == Some("true");
    if waived {
        return Ok(if host.is_loopback() { access } else { access.waived() });
    }
    if !host.is_loopback() {
        bail!(
            "refusing to listen on {host} without authentication: whoever reaches the port could \
             read and write every table. Give --tokens-file FILE, or --insecure if the network \
             is closed to others"
        );
    }
    Ok(access)
}

/// Reads a file that only its owner may read.
fn read_private(path: &Path) -> Result<String> {
    use std::os::unix::fs::PermissionsExt;
    let facts =
        std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
    if facts.permissions().mode() & 0o077 != 0 {
        bail!("{} can be read by others: chmod 600 {0}", path.display());
    }
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

fn tls(arguments: &ServerArguments, settings: &Settings) -> Result<Option<TlsFiles>> {
    let file = |given: &Option<std::path::PathBuf>, key: &str| {
        given.clone().or_else(|| settings.get(key).map(Into::into))
    };
    let certificates = file(&arguments.tls_certificate, "shardlake.server.tls.certificate");
    let key = file(&arguments.tls_key, "shardlake.server.tls.key");
    match (certificates, key) {
        (Some(certificates), Some(key)) => Ok(Some(TlsFiles { certificates, key })),
        (None, None) => Ok(None),
        _ => bail!("TLS needs both --tls-certificate and --tls-key"),
    }
}
