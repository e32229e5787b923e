//! A running server: its listeners, and what every request passes through.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::OriginalUri;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::set_header::SetResponseHeaderLayer;
use tower_http::timeout::RequestBodyTimeoutLayer;

use crate::app::{App, FLINK_VERSION};
use crate::engine::Engine;
use crate::error::Error;
use crate::failure::Failure;
use crate::gateway::{self, SessionLimits, Sessions};
use crate::listener::Listener;

/// The most bytes of a request's body.
const BODY_BYTES_MAX: usize = 8 << 20;
/// How long the parts of a body may let wait.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// The most connections to one port.
const CONNECTIONS_MAX: usize = 1_024;
/// How often idle sessions are looked for.
const IDLE_CHECK: Duration = Duration::from_secs(1);

/// How a server runs.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Where page, JobManager REST and gateway are served.
    pub address: SocketAddr,
    /// Where the gateway alone is served besides.
    pub gateway_address: Option<SocketAddr>,
    /// What each session starts with.
    pub settings: Vec<(String, String)>,
    /// The most sessions at a time.
    pub sessions_max: usize,
    /// How long a session is kept that nobody uses; zero for ever.
    pub session_idle_timeout: Duration,
    /// The most operations that a session keeps.
    pub operations_max: usize,
}

/// A server that runs.
pub struct Server {
    app: Arc<App>,
    addresses: Vec<SocketAddr>,
    end: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Server {
    /// Starts to listen and to serve.
    ///
    /// # Errors
    /// An address cannot be listened on.
    pub async fn start(engine: Arc<Engine>, options: ServerOptions) -> Result<Self, Error> {
        let app = Arc::new(App {
            engine,
            sessions: Sessions::new(SessionLimits {
                sessions_max: options.sessions_max,
                idle_timeout: options.session_idle_timeout,
                operations_max: options.operations_max,
            }),
            settings: options.settings,
            flink_version: FLINK_VERSION,
        });
        let (end, ending) = watch::channel(false);
        let mut server = Self { app, addresses: Vec::new(), end, tasks: Vec::new() };
        let router = server.router();
        for address in [Some(options.address), options.gateway_address].into_iter().flatten() {
            let failed = |source| Error::Listen { address, source };
            let socket = TcpListener::bind(address).await.map_err(failed)?;
            server.addresses.push(socket.local_addr().map_err(failed)?);
            let listener = Listener {
                socket,
                router: router.clone(),
                tls: None,
                connections_max: CONNECTIONS_MAX,
                ending: ending.clone(),
            };
            server.tasks.push(tokio::spawn(listener.run()));
        }
        server.tasks.push(tokio::spawn(close_idle_sessions(Arc::clone(&server.app), ending)));
        Ok(server)
    }

    /// Where it listens: the first address serves everything.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// How many sessions the gateway has.
    #[must_use]
    pub fn session_count(&self) -> usize {
        self.app.sessions.count()
    }

    /// Ends the listeners and all sessions; jobs are not touched.
    pub async fn stop(self) {
        self.end.send_replace(true);
        self.app.sessions.close_all();
        for task in self.tasks {
            // A task that panicked has ended as well.
            task.await.unwrap_or_default();
        }
    }

    fn router(&self) -> Router {
        let nosniff = HeaderValue::from_static("nosniff");
        Router::new()
            .merge(gateway::routes())
            .fallback(not_found)
            .method_not_allowed_fallback(not_found)
            .layer(RequestBodyLimitLayer::new(BODY_BYTES_MAX))
            .layer(RequestBodyTimeoutLayer::new(BODY_TIMEOUT))
            .layer(SetResponseHeaderLayer::if_not_present(header::X_CONTENT_TYPE_OPTIONS, nosniff))
            .with_state(Arc::clone(&self.app))
    }
}

async fn not_found(OriginalUri(uri): OriginalUri) -> Response {
    Failure::no_such_path(uri.path()).into_response()
}

async fn close_idle_sessions(app: Arc<App>, mut ending: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(IDLE_CHECK) => app.sessions.close_idle(),
            _ = ending.changed() => return,
        }
    }
}
