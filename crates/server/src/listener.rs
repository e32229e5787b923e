//! Accepts connections and serves them, with limits that a slow or hostile client meets and others do not
//! notice.
//!
//! Headers must arrive within a time limit; so must bodies, see [`crate::server`]. The number of connections
//! is bounded; further ones wait in the operating system's queue.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tower_service::Service;
use tracing::{debug, warn};

/// How long the headers of a request may take.
const HEADERS_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// The most bytes of headers.
const HEADERS_BYTES_MAX: usize = 64 << 10;
/// The most headers.
const HEADERS_MAX: usize = 100;
/// How long to wait after the operating system refused to accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves a router on a listener until told to end.
pub(crate) struct Listener {
    pub(crate) socket: TcpListener,
    pub(crate) router: Router,
    pub(crate) tls: Option<tokio_rustls::TlsAcceptor>,
    pub(crate) connections_max: usize,
    pub(crate) ending: watch::Receiver<bool>,
}

impl Listener {
    /// Runs until told to end; then open connections finish their requests.
    pub(crate) async fn run(mut self) {
        let room = Arc::new(Semaphore::new(self.connections_max));
        loop {
            let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
                _ = self.ending.changed() => return,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    warn!(%error, "cannot accept connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let router = self.router.clone();
            let tls = self.tls.clone();
            let ending = self.ending.clone();
            tokio::spawn(async move {
                connection(stream, peer, router, tls, ending).await;
                drop(permit);
            });
        }
    }
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    tls: Option<tokio_rustls::TlsAcceptor>,
    ending: watch::Receiver<bool>,
) {
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%peer, %error, "cannot set option of connection");
    }
    match tls {
        None => serve(stream, peer, router, ending).await,
        Some(acceptor) => {
            match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => serve(stream, peer, router, ending).await,
                Ok(Err(error)) => debug!(%peer, %error, "TLS handshake failed"),
                Err(_) => debug!(%peer, "TLS handshake took too long"),
            }
        }
    }
}

async fn serve<S>(stream: S, peer: SocketAddr, router: Router, mut ending: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let mut router = router.clone();
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        async move { router.call(request).await }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_TIMEOUT)
        .max_buf_size(HEADERS_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let mut told = false;
    loop {
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            _ = ending.changed(), if !told => {
                told = true;
                connection.as_mut().graceful_shutdown();
                continue;
            }
        };
        if let Err(error) = ended {
            debug!(%peer, %error, "connection ended");
        }
        return;
    }
}
