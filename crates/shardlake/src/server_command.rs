//! `shardlake server`.

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use shardlake_job::Environment;
use shardlake_server::{Engine, Server, ServerOptions};
use tokio::runtime::{Builder, Handle};
use tracing::info;

use crate::arguments::ServerArguments;
use crate::connectors::connectors;
use crate::output::put;
use crate::signals::Signals;
use crate::state_dir::StateDir;
use crate::{logging, script};

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
    let state_dir = StateDir::open(&arguments.state_dir)?;
    logging::start(state_dir.path(), true)?;
    let mut signals = Signals::listen().context("cannot listen for signals")?;
    let environment =
        Environment { state_dir: state_dir.path().to_owned(), runtime: Handle::current() };
    let engine = Engine::in_memory(connectors(), environment);
    let server = Server::start(Arc::clone(&engine), options(&arguments)).await?;
    for (index, address) in server.addresses().iter().enumerate() {
        let what = if index == 0 { "JobManager REST and SQL gateway" } else { "SQL gateway" };
        put(&format!("{what}: http://{address}\n"))?;
        info!(%address, what, "listening");
    }
    signals.interrupt().await;
    info!("stopping: jobs commit what they have read");
    server.stop().await;
    script::stop_jobs(engine.jobs()).await;
    Ok(ExitCode::SUCCESS)
}

fn options(arguments: &ServerArguments) -> ServerOptions {
    let at = |port: u16| SocketAddr::new(IpAddr::from([127, 0, 0, 1]), port);
    let gateway_port = match (arguments.gateway_port, arguments.port) {
        (Some(port), _) => Some(port),
        (None, None) => Some(GATEWAY_PORT),
        (None, Some(_)) => None,
    };
    ServerOptions {
        address: at(arguments.port.unwrap_or(PORT)),
        gateway_address: gateway_port.map(at),
        settings: arguments.settings.clone(),
        sessions_max: 1_000,
        session_idle_timeout: Duration::from_secs(600),
        operations_max: 100,
    }
}
