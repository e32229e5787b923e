//! The threads on which network work of the lake runs.
//!
//! Callers are of all kinds (DataFusion's tasks, timely workers, plain threads), and the network
//! client needs a tokio runtime under it. So its work always runs on this one, and whoever waits
//! may wait anywhere.

use std::future::Future;
use std::sync::OnceLock;
use std::sync::mpsc::channel;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use crate::Error;

const THREADS: usize = 2;

fn runtime() -> Result<&'static Runtime, Error> {
    static RUNTIME: OnceLock<Result<Runtime, std::io::Error>> = OnceLock::new();
    let start = || {
        Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("lake-io")
            .enable_all()
            .build()
    };
    RUNTIME.get_or_init(start).as_ref().map_err(|error| Error::Storage {
        action: "start threads for",
        path: "the network".into(),
        source: error.to_string().into(),
    })
}

/// Runs a future there and waits for it.
pub(crate) async fn run<T: Send + 'static>(
    future: impl Future<Output = T> + Send + 'static,
) -> Result<T, Error> {
    runtime()?.spawn(future).await.map_err(Error::bug)
}

/// Runs a future there and blocks until it is done. Unlike an executor it may be called from within
/// one.
pub(crate) fn wait<T: Send + 'static>(
    future: impl Future<Output = T> + Send + 'static,
) -> Result<T, Error> {
    let (done, result) = channel();
    start(async move {
        // Whoever waits is there until this is sent.
        drop(done.send(future.await));
    })?;
    result.recv().map_err(Error::bug)
}

/// Runs a future there without waiting.
pub(crate) fn start(future: impl Future<Output = ()> + Send + 'static) -> Result<(), Error> {
    drop(runtime()?.spawn(future));
    Ok(())
}

/// Waits there.
pub(crate) async fn pause(duration: Duration) -> Result<(), Error> {
    run(async move { tokio::time::sleep(duration).await }).await
}

/// Runs work that blocks beside them and waits for it.
pub(crate) async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    runtime()?.spawn_blocking(work).await.map_err(Error::bug)
}
