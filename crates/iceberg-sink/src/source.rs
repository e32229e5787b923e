//! Reading an Iceberg table as a stream: the changes of its snapshots, one snapshot after the other.
//!
//! A lane stands between two snapshots; its position is the id of the last one that was sent whole. So a
//! job that goes on from a position reads each later snapshot exactly once. The rows that a table holds at
//! the start are sent in steps, each of which is a position of its own.

mod options;
mod position;
mod reader;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use shardlake_connector::{
    ChangelogMode, Error, MetadataColumn, OptionSpec, ReadRequest, RunningSource, Source,
    SourceFactory, TableDefinition, event_channel,
};

pub use self::options::SOURCE_OPTIONS;
use self::options::{End, ReadOptions};
use self::position::LakePosition;
use self::reader::Reader;
use crate::Target;
use crate::options::OPTIONS;

/// The one lane.
const LANE: &str = "table";
/// Events between the reader and the engine.
const CHANNEL_EVENTS: usize = 8;

/// Makes sources for `'connector' = 'iceberg'`.
#[derive(Clone, Copy, Debug, Default)]
pub struct IcebergSourceFactory;

impl SourceFactory for IcebergSourceFactory {
    fn connector(&self) -> &'static str {
        "iceberg"
    }

    fn options(&self) -> &'static [OptionSpec] {
        SOURCE_OPTIONS
    }

    fn metadata_columns(&self) -> Vec<MetadataColumn> {
        Vec::new()
    }

    fn create(&self, table: &TableDefinition) -> Result<Arc<dyn Source>, Error> {
        let specs: Vec<OptionSpec> = OPTIONS.iter().chain(SOURCE_OPTIONS).copied().collect();
        table.options.validate(self.connector(), &specs)?;
        let read = ReadOptions::parse(&table.options)?;
        let mut definition = table.clone();
        for spec in SOURCE_OPTIONS {
            definition.options.remove(spec.key);
        }
        let target = Target::of_definition(&definition)?;
        Ok(Arc::new(IcebergSource { target, read, definition }))
    }
}

struct IcebergSource {
    target: Target,
    read: ReadOptions,
    definition: TableDefinition,
}

impl Source for IcebergSource {
    fn changelog_mode(&self) -> ChangelogMode {
        if self.definition.schema.primary_key.is_empty() {
            ChangelogMode::InsertOnly
        } else {
            ChangelogMode::All
        }
    }

    fn is_bounded(&self) -> bool {
        self.read.end != End::Never
    }

    fn fingerprint(&self) -> String {
        let place = self.definition.options.get("warehouse").unwrap_or_default();
        format!("iceberg {} in {place}", self.target.name)
    }

    fn start(&self, request: &ReadRequest) -> Result<RunningSource, Error> {
        let position = stored_position(request.position.as_ref())?;
        let (sender, receiver) = event_channel(CHANNEL_EVENTS);
        let reader = Reader {
            target: self.target.clone(),
            read: self.read.clone(),
            declared: self.definition.schema.clone(),
            columns: request.columns.clone(),
            memory_bytes: request.memory_bytes as u64,
            sender,
        };
        std::thread::Builder::new()
            .name("iceberg-source".to_owned())
            .spawn(move || reader.run(position))
            .map_err(|error| {
                Error::transient("cannot start a thread that reads an Iceberg table")
                    .caused_by(error)
            })?;
        Ok(RunningSource { lanes: vec![(LANE.to_owned(), receiver)], status: None })
    }
}

fn stored_position(lanes: Option<&BTreeMap<String, Value>>) -> Result<Option<LakePosition>, Error> {
    match lanes.and_then(|lanes| lanes.get(LANE)) {
        Some(stored) => LakePosition::from_json(stored).map(Some),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests;
