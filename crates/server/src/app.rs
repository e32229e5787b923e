//! What all requests share.

use std::sync::Arc;

use crate::engine::Engine;
use crate::gateway::Sessions;

/// The version of Flink whose answers are given, for clients that look at it.
pub(crate) const FLINK_VERSION: &str = "2.3.0";

/// The state of a server.
pub(crate) struct App {
    /// Catalogs and jobs.
    pub(crate) engine: Arc<Engine>,
    /// The gateway's sessions.
    pub(crate) sessions: Sessions,
    /// What each session starts with.
    pub(crate) settings: Vec<(String, String)>,
    /// The version of Flink that clients are told.
    pub(crate) flink_version: &'static str,
}
