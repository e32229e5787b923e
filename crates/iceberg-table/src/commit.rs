//! Committing: one snapshot for each epoch, by compare-and-swap on the version that the writer saw.
//!
//! A [`Committer`] belongs to one run of one job. It begins with an empty *claim* snapshot of a new
//! generation: from then on the compare-and-swap of every older run fails, and when such a run looks at
//! what came in between, it finds the claim and ends as fenced. A snapshot carries the job's position
//! together with the rows up to it, so the table alone says where the job goes on ([`progress`]).

mod expiry;
mod manifests;
pub mod progress;
mod rebase;
mod removal;
mod rewrite;
mod schema_change;
mod snapshot;
mod vectors;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

pub(crate) use expiry::{Expiry, Retention};
use iceberg::spec::{ManifestFile, TableMetadataBuilder};
use manifests::Manifests;
pub use progress::{EpochProgress, JobProgress, Writer};
pub use rebase::ForeignFiles;
pub use removal::Removal;
pub(crate) use rewrite::RELOCATION;
use snapshot::PendingSnapshot;
pub(crate) use snapshot::now_ms;
use vectors::KnownDeletes;

use crate::maintenance::{ExpiredSnapshots, Relocations};
use crate::{Catalog, Error, Table, TableName, WrittenFiles};

/// How often a commit is tried when other writers commit in between.
const ATTEMPTS: u32 = 20;

/// What one commit adds to the table.
#[derive(Clone, Debug, Default)]
pub struct RowDelta {
    /// New files.
    pub files: WrittenFiles,
    /// Where the job stands with them; none leaves the job's position as it was.
    pub progress: Option<EpochProgress>,
    /// Further keys of the snapshot's summary.
    pub summary: Vec<(String, String)>,
    /// Files that leave the table.
    pub removed: Removal,
    /// The sequence number of the new data files; by default that of the snapshot.
    pub data_sequence_number: Option<i64>,
    /// Whether the table holds the same rows as before, in other files.
    pub is_rewrite: bool,
}

/// Commits the epochs of one run of a job.
pub struct Committer {
    catalog: Arc<dyn Catalog>,
    table: Table,
    manifests: Manifests,
    writer: Writer,
    progress: Option<EpochProgress>,
    known: KnownDeletes,
    expired: ExpiredSnapshots,
    relocations: Arc<Relocations>,
    foreign: ForeignFiles,
}

impl fmt::Debug for Committer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Committer").field("writer", &self.writer).finish_non_exhaustive()
    }
}

impl Committer {
    /// Takes the table over for a job: commits an empty snapshot with a greater generation than any
    /// run of that job had before.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Invalid`] if the table cannot be written, or what the commit reports.
    pub async fn claim(
        catalog: Arc<dyn Catalog>,
        name: &TableName,
        job: &str,
        job_id: &str,
    ) -> Result<Self, Error> {
        for _ in 0..ATTEMPTS {
            let table = catalog.load(name).await?;
            let found = progress::of_job(&table, job)?;
            let writer = Writer {
                job: job.to_owned(),
                job_id: job_id.to_owned(),
                generation: found.generation + 1,
            };
            let manifests = Manifests::load(&table).await?;
            let progress = found.progress;
            let catalog = Arc::clone(&catalog);
            let mut committer = Self {
                catalog,
                table,
                manifests,
                writer,
                progress,
                known: KnownDeletes::default(),
                expired: ExpiredSnapshots::default(),
                relocations: Arc::default(),
                foreign: ForeignFiles::default(),
            };
            let mut pending = PendingSnapshot::new(RowDelta::default());
            match committer.try_publish(&mut pending).await {
                Ok(_) => {
                    committer.expired.add(pending.expiry);
                    return Ok(committer);
                }
                Err(Error::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Err(busy(name))
    }

    /// A committer that works beside the jobs of a table: it claims nothing, and its commits do not touch
    /// their progress.
    ///
    /// # Errors
    /// [`Error::NotFound`], or what reading the table reports.
    pub async fn beside(catalog: Arc<dyn Catalog>, name: &TableName) -> Result<Self, Error> {
        let table = catalog.load(name).await?;
        Ok(Self {
            catalog,
            manifests: Manifests::load(&table).await?,
            table,
            writer: Writer::of_no_job(),
            progress: None,
            known: KnownDeletes::default(),
            expired: ExpiredSnapshots::default(),
            relocations: Arc::default(),
            foreign: ForeignFiles::default(),
        })
    }

    /// The table as of the last commit.
    #[must_use]
    pub const fn table(&self) -> &Table {
        &self.table
    }

    /// The run that commits.
    #[must_use]
    pub const fn writer(&self) -> &Writer {
        &self.writer
    }

    /// Where the job stands in the table.
    #[must_use]
    pub const fn progress(&self) -> Option<&EpochProgress> {
        self.progress.as_ref()
    }

    /// Commits `delta` as one snapshot and returns its id. Snapshots of other writers that came in
    /// between stay, if they removed nothing that this run refers to.
    ///
    /// # Errors
    /// [`Error::Fenced`], [`Error::FilesRemoved`], or [`Error::Storage`]; after the last it is not known whether the
    /// snapshot was made: the table says so.
    pub async fn commit(&mut self, delta: RowDelta) -> Result<i64, Error> {
        let mut pending = PendingSnapshot::new(delta);
        let mut useless = Vec::new();
        for _ in 0..ATTEMPTS {
            let moved =
                rewrite::relocate(&self.table, &self.relocations, &mut pending.delta.files)?;
            if !moved.is_empty() {
                pending.forget_manifests();
                useless.extend(moved);
            }
            let is_committed = match self.try_publish(&mut pending).await {
                Ok(_) => true,
                Err(Error::Conflict { .. }) => self.rebase(&pending).await?,
                Err(error) => return Err(error),
            };
            if is_committed {
                self.expired.add(pending.expiry);
                remove_useless(&self.table, &useless).await;
                return Ok(pending.snapshot_id);
            }
            pending.give_up(&self.table).await;
        }
        Err(busy(self.table.name()))
    }

    /// Where rows are that were moved by rewrites. The writers of this run have to know too: see
    /// [`crate::WriterShared::relocations`].
    pub fn follow(&mut self, relocations: Arc<Relocations>) {
        self.relocations = relocations;
    }

    /// The data files that other writers have added while this run was committing, to be handed to
    /// [`crate::WriterShared::absorb`].
    pub fn take_foreign(&mut self) -> ForeignFiles {
        std::mem::take(&mut self.foreign)
    }

    /// Lets expire what `retention` gives up, without a snapshot of its own.
    pub(crate) async fn expire(&mut self, retention: &Retention) -> Result<(), Error> {
        for _ in 0..ATTEMPTS {
            let expiry = Expiry::plan(&self.table, retention)?;
            if expiry.is_empty() {
                return Ok(());
            }
            let metadata = self.table.metadata().clone();
            let builder = metadata.into_builder(Some(self.table.metadata_location().to_owned()));
            let built = expiry.apply(builder).build().map_err(Error::bug)?;
            match self.catalog.publish(&self.table, built).await {
                Ok(table) => {
                    self.table = table;
                    self.expired.add(expiry);
                    return Ok(());
                }
                Err(Error::Conflict { .. }) => {
                    self.table = self.catalog.load(self.table.name()).await?;
                }
                Err(error) => return Err(error),
            }
        }
        Err(busy(self.table.name()))
    }

    /// Has the next commit merge all manifests that are not of full size.
    pub(crate) const fn merge_all_manifests(&mut self) {
        self.manifests.merges_all = true;
    }

    /// How many manifests the current snapshot has.
    pub(crate) const fn manifest_count(&self) -> usize {
        self.manifests.len()
    }

    /// The snapshots that expired with the commits of this run, to be handed to
    /// [`crate::maintenance::remove_expired`].
    pub fn take_expired(&mut self) -> ExpiredSnapshots {
        std::mem::take(&mut self.expired)
    }

    /// Commits `delta` if nobody else has committed since this committer last did.
    ///
    /// # Errors
    /// [`Error::Conflict`] if somebody has; nothing was committed then.
    pub async fn commit_unless_changed(&mut self, delta: RowDelta) -> Result<i64, Error> {
        self.try_publish(&mut PendingSnapshot::new(delta)).await
    }

    async fn try_publish(&mut self, pending: &mut PendingSnapshot) -> Result<i64, Error> {
        let sequence_number = self.table.metadata().next_sequence_number();
        vectors::resolve(&self.table, &mut self.manifests, &mut self.known, pending).await?;
        pending.write_manifests(&self.table).await?;
        let removal = pending.removal();
        let mut next = self.manifests.next(&self.table, pending.snapshot_id, &removal).await?;
        let is_of_attempt =
            |manifest: &&ManifestFile| manifest.added_snapshot_id == pending.snapshot_id;
        let of_attempt = next.manifests.iter().filter(is_of_attempt);
        pending.of_attempt = of_attempt.map(|made| made.manifest_path.clone()).collect();
        let mut manifests = pending.manifests().chain(&next.manifests).cloned().collect::<Vec<_>>();
        let list = pending.write_manifest_list(&self.table, &mut manifests).await?;
        let now_ms = now_ms();
        let timestamp_ms = now_ms.max(self.table.metadata().last_updated_ms() + 1);
        let progress = pending.delta.progress.as_ref().or(self.progress.as_ref());
        let mut summary: HashMap<String, String> = self.writer.summary(progress)?;
        summary.extend(pending.delta.summary.iter().cloned());
        let snapshot =
            pending.snapshot(&self.table, list, &next.removed, (timestamp_ms, summary))?;
        pending.expiry = Expiry::due(&self.table, now_ms)?;
        let property = self.writer.property(progress, pending.snapshot_id)?;
        let metadata = self.table.metadata().clone();
        let builder = metadata.into_builder(Some(self.table.metadata_location().to_owned()));
        let built = pending
            .expiry
            .apply(builder)
            .set_branch_snapshot(snapshot, self.table.branch())
            .and_then(|builder| builder.set_properties(property.into_iter().collect()))
            .and_then(TableMetadataBuilder::build)
            .map_err(|error| Error::bug(format!("the new version is invalid: {error}")))?;
        self.table = self.catalog.publish(&self.table, built).await?;
        self.manifests.committed(manifests, next.take_entries(), pending, sequence_number);
        if let Some(progress) = &pending.delta.progress {
            self.progress = Some(progress.clone());
        }
        Ok(pending.snapshot_id)
    }

    /// Goes on from what other writers have committed meanwhile. True if the pending snapshot is among
    /// it: then it was committed, and only the answer was lost.
    async fn rebase(&mut self, pending: &PendingSnapshot) -> Result<bool, Error> {
        let newer = self.catalog.load(self.table.name()).await?;
        let foreign = rebase::check(&self.table, &newer, &self.writer).await?;
        for relocation in foreign.relocations {
            self.relocations.add(&Arc::new(relocation));
        }
        self.foreign.0.extend(foreign.files);
        let merges_all = self.manifests.merges_all;
        self.manifests = Manifests::load(&newer).await?;
        self.manifests.merges_all = merges_all;
        self.table = newer;
        let is_committed = self.table.metadata().snapshot_by_id(pending.snapshot_id).is_some();
        if let (true, Some(progress)) = (is_committed, &pending.delta.progress) {
            self.progress = Some(progress.clone());
        }
        Ok(is_committed)
    }
}

/// Deletes files that nothing refers to, as far as it is possible.
async fn remove_useless(table: &Table, locations: &[String]) {
    if let Err(error) = table.storage().delete(locations).await {
        tracing::debug!(%error, "files that are of no use stay behind");
    }
}

fn busy(name: &TableName) -> Error {
    Error::Storage {
        action: "commit to",
        path: name.to_string().into(),
        source: format!("other writers committed first {ATTEMPTS} times in a row").into(),
    }
}

#[cfg(test)]
mod tests;
