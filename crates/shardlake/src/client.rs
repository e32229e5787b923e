//! What runs the statements of `shardlake sql`: an engine in this process, or a server.

use std::sync::Arc;

use shardlake_job::{Environment, Jobs};
use shardlake_server::{Answer, Engine, EngineSession, GatewayClient};
use shardlake_sql::diagnostic::Diagnostic;
use shardlake_sql::session::Configuration;
use tokio::runtime::Handle;

use crate::connectors::connectors;
use crate::state_dir::StateDir;

/// A session somewhere.
pub(crate) enum SqlClient {
    /// In this process, whose jobs end with it.
    Embedded(Box<Embedded>),
    /// At a server, whose jobs go on.
    Remote(Box<GatewayClient>),
}

/// A session with an engine of its own.
pub(crate) struct Embedded {
    session: EngineSession,
    _state_dir: StateDir,
}

impl SqlClient {
    /// An engine that keeps its state below `state_dir`.
    pub(crate) fn embedded(state_dir: StateDir, configuration: Configuration) -> Self {
        let environment =
            Environment { state_dir: state_dir.path().to_owned(), runtime: Handle::current() };
        let session = Engine::in_memory(connectors(), environment).session(configuration);
        Self::Embedded(Box::new(Embedded { session, _state_dir: state_dir }))
    }

    /// Runs one statement.
    ///
    /// # Errors
    /// Why it was not run.
    pub(crate) async fn execute(&mut self, text: &str) -> Result<Answer, Diagnostic> {
        match self {
            Self::Embedded(embedded) => embedded.session.execute(text).await,
            Self::Remote(client) => client.execute(text).await,
        }
    }

    /// What is set.
    pub(crate) const fn configuration(&self) -> &Configuration {
        match self {
            Self::Embedded(embedded) => embedded.session.session().configuration(),
            Self::Remote(client) => client.configuration(),
        }
    }

    /// The names of tables and views, for completion.
    pub(crate) async fn object_names(&self) -> Vec<String> {
        match self {
            Self::Embedded(embedded) => embedded.session.session().object_names().await,
            Self::Remote(client) => client.object_names().await,
        }
    }

    /// The jobs of this process, which end with it.
    pub(crate) fn jobs(&self) -> Option<&Arc<Jobs>> {
        match self {
            Self::Embedded(embedded) => Some(embedded.session.engine().jobs()),
            Self::Remote(_) => None,
        }
    }

    /// Ends the session.
    pub(crate) async fn close(self) {
        if let Self::Remote(client) = self {
            client.close().await;
        }
    }
}
