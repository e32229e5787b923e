//! What all requests share.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{Semaphore, watch};

use crate::engine::Engine;
use crate::gateway::Sessions;
use crate::guard::Access;
use crate::live::Live;
use crate::metrics::Requests;
use crate::rest::Triggers;

/// The version of Flink whose answers are given, for clients that look at it.
pub(crate) const FLINK_VERSION: &str = "2.3.0";
/// The most streams of events that are open at a time.
pub(crate) const STREAMS_MAX: usize = 64;
/// How many descriptions of tables are read at a time.
pub(crate) const TABLE_READS_MAX: usize = 2;

/// The state of a server.
pub(crate) struct App {
    /// Catalogs and jobs.
    pub(crate) engine: Arc<Engine>,
    /// The gateway's sessions.
    pub(crate) sessions: Sessions,
    /// Who may ask what.
    pub(crate) access: Access,
    /// Rates and history of the jobs.
    pub(crate) live: Live,
    /// Answers so far.
    pub(crate) requests: Requests,
    /// Savepoints that were triggered.
    pub(crate) triggers: Triggers,
    /// What each session starts with.
    pub(crate) settings: Vec<(String, String)>,
    /// The version of Flink that clients are told.
    pub(crate) flink_version: &'static str,
    /// Where the server listens.
    pub(crate) address: SocketAddr,
    /// Where the log is.
    pub(crate) state_dir: PathBuf,
    /// When the server started, in milliseconds since 1970.
    pub(crate) started_at_ms: u64,
    /// Room for streams of events.
    pub(crate) streams: Arc<Semaphore>,
    /// Room for descriptions of tables.
    pub(crate) table_reads: Semaphore,
    /// Becomes true when the server is to end.
    pub(crate) ending: watch::Receiver<bool>,
}
