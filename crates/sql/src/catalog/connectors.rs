//! The connectors that this process knows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use shardlake_connector::{
    Error, ObjectName, Sink, SinkFactory, Source, SourceFactory, TableDefinition,
};

use crate::diagnostic::{Code, Diagnostic};

/// The connectors by the value of `'connector'`.
#[derive(Clone, Default)]
pub struct Connectors {
    sources: BTreeMap<&'static str, Arc<dyn SourceFactory>>,
    sinks: BTreeMap<&'static str, Arc<dyn SinkFactory>>,
}

impl Connectors {
    /// The same connectors and one that can be read.
    #[must_use]
    pub fn with_source(mut self, factory: Arc<dyn SourceFactory>) -> Self {
        self.sources.insert(factory.connector(), factory);
        self
    }

    /// The same connectors and one that can be written.
    #[must_use]
    pub fn with_sink(mut self, factory: Arc<dyn SinkFactory>) -> Self {
        self.sinks.insert(factory.connector(), factory);
        self
    }

    /// The names of all connectors, sorted.
    #[must_use]
    pub fn names(&self) -> Vec<&'static str> {
        let names: BTreeSet<&'static str> =
            self.sources.keys().chain(self.sinks.keys()).copied().collect();
        names.into_iter().collect()
    }

    /// Whether tables of this connector can be read as a stream.
    #[must_use]
    pub fn has_source(&self, connector: &str) -> bool {
        self.sources.contains_key(connector)
    }

    /// Everything that can be read, by connector.
    pub(crate) fn sources(&self) -> impl Iterator<Item = &Arc<dyn SourceFactory>> {
        self.sources.values()
    }

    /// What reads tables of this connector.
    ///
    /// # Errors
    /// Flink's message if there is none.
    pub fn source(
        &self,
        table: &ObjectName,
        connector: Option<&str>,
    ) -> Result<Arc<dyn SourceFactory>, Diagnostic> {
        let found = connector.and_then(|name| self.sources.get(name));
        found.cloned().ok_or_else(|| {
            let role = format!("Unable to create a source for reading table '{table}'.");
            self.not_found(&role, "source", connector)
        })
    }

    /// What writes tables of this connector.
    ///
    /// # Errors
    /// Flink's message if there is none.
    pub fn sink(
        &self,
        table: &ObjectName,
        connector: Option<&str>,
    ) -> Result<Arc<dyn SinkFactory>, Diagnostic> {
        let found = connector.and_then(|name| self.sinks.get(name));
        found.cloned().ok_or_else(|| {
            let role = format!("Unable to create a sink for writing table '{table}'.");
            self.not_found(&role, "sink", connector)
        })
    }

    fn not_found(&self, role: &str, direction: &str, connector: Option<&str>) -> Diagnostic {
        let Some(connector) = connector else {
            let message = format!(
                "{role}\n\nTable options do not contain an option key 'connector' for discovering a \
                 connector."
            );
            return Diagnostic::new(Code::ConnectorNotFound, message)
                .with_hint(format!("Available connectors: {}", self.names().join(", ")));
        };
        let names = self.names();
        if names.contains(&connector) {
            let message = format!(
                "{role}\n\nConnector '{connector}' cannot be used as a {direction}. It can only be \
                 used as a {}.",
                if direction == "sink" { "source" } else { "sink" }
            );
            return Diagnostic::new(Code::ConnectorNotFound, message);
        }
        let message = format!(
            "{role}\n\nCannot discover a connector using option: 'connector'='{connector}'\n\n\
             Could not find any factory for identifier '{connector}'.\n\nAvailable factory \
             identifiers are:\n\n{}",
            names.join("\n")
        );
        Diagnostic::new(Code::ConnectorNotFound, message)
    }
}

/// Makes what reads a table, with the references in its options resolved.
pub(crate) fn create_source(
    factory: &dyn SourceFactory,
    definition: &TableDefinition,
) -> Result<Arc<dyn Source>, Diagnostic> {
    let source = with_references_resolved(definition).and_then(|table| factory.create(&table));
    source.map_err(|error| Diagnostic::connector(&error))
}

/// Makes what writes a table, with the references in its options resolved.
pub(crate) fn create_sink(
    factory: &dyn SinkFactory,
    definition: &TableDefinition,
) -> Result<Arc<dyn Sink>, Diagnostic> {
    let sink = with_references_resolved(definition).and_then(|table| factory.create(&table));
    sink.map_err(|error| Diagnostic::connector(&error))
}

fn with_references_resolved(definition: &TableDefinition) -> Result<TableDefinition, Error> {
    Ok(TableDefinition { options: definition.options.resolved()?, ..definition.clone() })
}
