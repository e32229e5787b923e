//! Changing a table's schema for the rows that are about to be committed.
//!
//! It is a version of the table of its own, before the snapshot: columns that are there earlier than their rows
//! harm nobody, and a run that starts again finds them.

use iceberg::spec::{Schema, TableMetadataBuilder};

use super::manifests::Manifests;
use super::{ATTEMPTS, Committer, busy, rebase};
use crate::{Error, Table};

impl Committer {
    /// Gives the table the schema of `draft`, which [`Table::with_room_for`] made of it.
    ///
    /// # Errors
    /// [`Error::Conflict`] if another writer has changed the schema meanwhile: load the table again; otherwise as
    /// [`Committer::commit`].
    pub async fn change_schema(&mut self, schema: &str) -> Result<(), Error> {
        let wanted: Schema = serde_json::from_str(schema)
            .map_err(|error| Error::corrupt("the schema to commit", error))?;
        for _ in 0..ATTEMPTS {
            if self.table.schema().as_struct() == wanted.as_struct() {
                return Ok(());
            }
            let built = self
                .table
                .metadata()
                .clone()
                .into_builder(Some(self.table.metadata_location().to_owned()))
                .add_current_schema(wanted.clone())
                .and_then(TableMetadataBuilder::build)
                .map_err(|error| Error::bug(format!("the new schema is invalid: {error}")))?;
            match self.catalog.publish(&self.table, built).await {
                Ok(table) => {
                    self.table = table;
                    return Ok(());
                }
                Err(Error::Conflict { table, version }) => {
                    let newer = self.catalog.load(self.table.name()).await?;
                    rebase::check(&self.table, &newer, &self.writer).await?;
                    let known = newer.schema().as_struct();
                    if known != self.table.schema().as_struct() && known != wanted.as_struct() {
                        return Err(Error::Conflict { table, version });
                    }
                    self.manifests = Manifests::load(&newer).await?;
                    self.table = newer;
                }
                Err(error) => return Err(error),
            }
        }
        Err(busy(self.table.name()))
    }
}

impl Table {
    /// The schema as text, for [`Committer::change_schema`].
    ///
    /// # Errors
    /// [`Error::Bug`] if it cannot be written.
    pub fn schema_text(&self) -> Result<String, Error> {
        serde_json::to_string(self.schema().as_ref()).map_err(Error::bug)
    }
}
