//! Where a reader of a table stands. Stored as JSON; see docs/formats/position.md.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use shardlake_connector::Error;

/// The version of the stored form.
const VERSION: u32 = 1;

/// A place between two snapshots, or between two steps of reading all rows of one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct LakePosition {
    version: u32,
    /// Snapshot ids mean nothing in another table.
    pub(super) table_uuid: String,
    /// The last snapshot that was sent whole; none if reading begins before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) snapshot_id: Option<i64>,
    /// How many steps of the rows of `snapshot_id` have been sent, until all have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) steps: Option<usize>,
}

impl LakePosition {
    pub(super) const fn new(
        table_uuid: String,
        snapshot_id: Option<i64>,
        steps: Option<usize>,
    ) -> Self {
        Self { version: VERSION, table_uuid, snapshot_id, steps }
    }

    pub(super) fn to_json(&self) -> Result<Value, Error> {
        serde_json::to_value(self)
            .map_err(|error| Error::bug("a position cannot be stored").caused_by(error))
    }

    pub(super) fn from_json(stored: &Value) -> Result<Self, Error> {
        let position: Self = serde_json::from_value(stored.clone()).map_err(|error| {
            Error::job(
                "the stored position of an Iceberg source cannot be read: it was stored by another \
                 version of the program; start the job under a new 'pipeline.name'",
            )
            .caused_by(error)
        })?;
        if position.version != VERSION {
            return Err(Error::job(format!(
                "the stored position of an Iceberg source has version {}, this program reads version \
                 {VERSION}: use the program that stored it",
                position.version
            )));
        }
        Ok(position)
    }
}
