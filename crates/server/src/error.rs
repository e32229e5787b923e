//! Why a server does not start, or a client cannot reach one.

use std::net::SocketAddr;

use shardlake_sql::diagnostic::Diagnostic;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the operating system says.
        #[source]
        source: std::io::Error,
    },
    /// A setting does not allow the server to start.
    #[error("{0}")]
    Configuration(String),
    /// The state of the server cannot be used.
    #[error("{0}")]
    State(Diagnostic),
    /// The server at the endpoint cannot be reached.
    #[error("cannot reach the SQL gateway at {endpoint}")]
    Unreachable {
        /// The endpoint.
        endpoint: String,
        /// What failed.
        #[source]
        source: reqwest::Error,
    },
    /// The server at the endpoint does not answer as a gateway does.
    #[error("the SQL gateway at {endpoint} gave an answer that cannot be used: {reason}")]
    Protocol {
        /// The endpoint.
        endpoint: String,
        /// What is wrong with it.
        reason: String,
    },
}
