//! A running server: its listeners, and what every request passes through.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{OriginalUri, Request, State};
use axum::http::Method;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::timeout::RequestBodyTimeoutLayer;

use crate::app::{App, FLINK_VERSION, STREAMS_MAX, TABLE_READS_MAX};
use crate::directory::wall_clock_ms;
use crate::engine::Engine;
use crate::error::Error;
use crate::failure::Failure;
use crate::gateway::{self, SessionLimits, Sessions};
use crate::guard::{Access, guard};
use crate::listener::Listener;
use crate::live::{Live, sample_for_ever};
use crate::metrics::{self, Requests};
use crate::tls::TlsFiles;
use crate::{api, openapi, page, rest};

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
    /// Who may ask what.
    pub access: Access,
    /// The certificate, if connections are to be encrypted.
    pub tls: Option<TlsFiles>,
    /// Where the log is.
    pub state_dir: PathBuf,
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
        let tls = options.tls.as_ref().map(TlsFiles::acceptor).transpose()?;
        let (end, ending) = watch::channel(false);
        let mut sockets = Vec::new();
        for address in [Some(options.address), options.gateway_address].into_iter().flatten() {
            let failed = |source| Error::Listen { address, source };
            let socket = TcpListener::bind(address).await.map_err(failed)?;
            let bound = socket.local_addr().map_err(failed)?;
            sockets.push((socket, bound));
        }
        let app = Arc::new(App {
            engine,
            sessions: Sessions::new(SessionLimits {
                sessions_max: options.sessions_max,
                idle_timeout: options.session_idle_timeout,
                operations_max: options.operations_max,
            }),
            access: options.access,
            live: Live::new(),
            requests: Requests::default(),
            triggers: rest::Triggers::default(),
            settings: options.settings,
            flink_version: FLINK_VERSION,
            address: sockets.first().map_or(options.address, |(_, bound)| *bound),
            state_dir: options.state_dir,
            started_at_ms: wall_clock_ms(),
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
            table_reads: Semaphore::new(TABLE_READS_MAX),
            ending: ending.clone(),
        });
        let mut server = Self { app, addresses: Vec::new(), end, tasks: Vec::new() };
        let router = server.router();
        for (socket, bound) in sockets {
            server.addresses.push(bound);
            let listener = Listener {
                socket,
                router: router.clone(),
                tls: tls.clone(),
                connections_max: CONNECTIONS_MAX,
                ending: ending.clone(),
            };
            server.tasks.push(tokio::spawn(listener.run()));
        }
        let app = Arc::clone(&server.app);
        server.tasks.push(tokio::spawn(close_idle_sessions(app, ending.clone())));
        let app = Arc::clone(&server.app);
        server.tasks.push(tokio::spawn(sample_for_ever(app, ending)));
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
        Router::new()
            .merge(gateway::routes())
            .merge(rest::routes())
            .nest("/v1", rest::routes())
            .merge(api::routes())
            .route("/metrics", get(metrics::metrics))
            .route("/openapi.json", get(openapi::document))
            .route("/healthz", get(metrics::health))
            .route("/readyz", get(metrics::readiness))
            .fallback(page_or_nothing)
            .method_not_allowed_fallback(not_found)
            .layer(RequestBodyLimitLayer::new(BODY_BYTES_MAX))
            .layer(RequestBodyTimeoutLayer::new(BODY_TIMEOUT))
            .layer(from_fn_with_state(Arc::clone(&self.app), guard))
            .layer(from_fn_with_state(Arc::clone(&self.app), count))
            .with_state(Arc::clone(&self.app))
    }
}

/// What no route answers: a file of the page, or nothing.
async fn page_or_nothing(method: Method, OriginalUri(uri): OriginalUri) -> Response {
    let file = if method == Method::GET { page::file(uri.path()) } else { None };
    file.unwrap_or_else(|| Failure::no_such_path(uri.path()).into_response())
}

async fn not_found(OriginalUri(uri): OriginalUri) -> Response {
    Failure::no_such_path(uri.path()).into_response()
}

/// Counts every answer.
async fn count(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    app.requests.count(response.status());
    response
}

async fn close_idle_sessions(app: Arc<App>, mut ending: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(IDLE_CHECK) => app.sessions.close_idle(),
            _ = ending.changed() => return,
        }
    }
}
