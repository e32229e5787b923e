//! What each snapshot changed, as rows: the changelog of a table.
//!
//! The manifests that a snapshot added say which data files came and went and which delete files are
//! new. From these follow the rows that are new (rows of added files that are not deleted in the same
//! snapshot) and the rows that are gone: rows of removed files, and rows of files that stay whose
//! positions are newly deleted. Equality deletes are turned into positions first. A key that is among
//! both has changed; a row that is among both, unchanged, was only rewritten and is not sent.
//!
//! A snapshot that replaces files without changing rows (a compaction) yields nothing.

mod delta;
mod netting;
mod start;

use std::sync::Arc;

use arrow::datatypes::SchemaRef as ArrowSchemaRef;
use datafusion::execution::context::{SessionConfig, SessionContext};
use datafusion::execution::{SendableRecordBatchStream, SessionState};
use datafusion::physical_plan::execute_stream;
use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use iceberg::spec::SnapshotRef;
use shardlake_change::{ChangeBatch, TableSchema as DeclaredSchema};
use tokio::sync::mpsc;

use self::delta::Delta;
use self::netting::Netting;
pub use self::start::{ChangelogStart, StartingPoint, snapshots_after};
use crate::provider::positioned::equality_positions;
use crate::provider::{Prepared, from_datafusion};
use crate::scan::equality_deletes;
use crate::scan::plan::{self, PlannedFile, ScanPlan};
use crate::scan::position_deletes::{self, DeletedPositions};
use crate::scan::predicate::{FieldIds, Predicate};
use crate::{AsOf, Error, IcebergTableProvider, Table, schema};

/// Changes of one snapshot, batch by batch.
pub type ChangeStream = BoxStream<'static, Result<ChangeBatch, Error>>;

/// Batches between the reading of files and whoever takes the changes.
const CHANNEL_BATCHES: usize = 4;
/// How many bytes of files one step of reading all rows covers.
const STEP_BYTES: u64 = 64 << 20;

/// Which columns of a table are read, and how changes of its snapshots are derived.
#[derive(Clone)]
pub struct ChangelogReader {
    provider: IcebergTableProvider,
    /// Indices of the wanted columns among those declared.
    wanted: Vec<usize>,
    /// The columns that are scanned: the wanted ones, then key columns that are not among them.
    scanned: Vec<usize>,
    netting: Netting,
    memory_bytes: u64,
    state: Arc<SessionState>,
}

impl ChangelogReader {
    /// A reader of the columns `wanted`, indices into `declared`. The rows of a snapshot that are gone
    /// are held in memory, up to about `memory_bytes`; for more of them its files are read in several
    /// passes.
    ///
    /// # Errors
    /// [`Error::Invalid`] names the column that the table does not have, or has otherwise, or the
    /// column of the key that is not declared.
    pub fn try_new(
        table: &Table,
        declared: &DeclaredSchema,
        wanted: Vec<usize>,
        memory_bytes: u64,
    ) -> Result<Self, Error> {
        let provider =
            IcebergTableProvider::new(table.clone(), &AsOf::Current)?.with_declared(declared)?;
        let fields = table.schema().as_struct().fields();
        let mut scanned = wanted.clone();
        let mut key = Vec::new();
        for index in schema::key_indices(table.schema()) {
            let Some(field) = fields.get(index) else { continue };
            let column = declared.index_of(&field.name).ok_or_else(|| {
                Error::Invalid(format!(
                    "column '{}' is part of the key of table {} and must be declared for its changes \
                     to be read",
                    field.name,
                    table.name()
                ))
            })?;
            let place = scanned.iter().position(|scanned| *scanned == column);
            key.push(place.unwrap_or_else(|| {
                scanned.push(column);
                scanned.len() - 1
            }));
        }
        let arrow = declared.to_arrow();
        let output = Arc::new(arrow.project(&wanted).map_err(Error::bug)?);
        let scan_schema = arrow.project(&scanned).map_err(Error::bug)?;
        let netting = Netting::try_new(&scan_schema, output, key, table.name())?;
        let config = SessionConfig::new();
        let state = Arc::new(SessionContext::new_with_config(config).state());
        Ok(Self { provider, wanted, scanned, netting, memory_bytes, state })
    }

    /// Whether the table has a key by which rows are told apart. Without one only added rows can be
    /// read.
    #[must_use]
    pub fn has_key(&self) -> bool {
        self.netting.has_key()
    }

    /// The columns of the changes.
    #[must_use]
    pub const fn schema(&self) -> &ArrowSchemaRef {
        self.netting.schema()
    }

    /// What snapshot `snapshot_id` of `table` changed in its parent.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the snapshot, or one that is needed to know the former rows, has expired;
    /// [`Error::Invalid`] if it deletes rows of a table without a key; otherwise what reading reports.
    pub async fn changes(&self, table: &Table, snapshot_id: i64) -> Result<ChangeStream, Error> {
        let snapshot = retained(table, snapshot_id)?;
        let Some(delta) = Delta::of(table, &snapshot).await? else {
            return Ok(stream::empty().boxed());
        };
        let provider = self.provider.at(table.clone(), Some(SnapshotRef::clone(&snapshot)));
        if delta.only_adds(&snapshot) {
            let files = delta.added.into_iter().map(PlannedFile::untouched).collect();
            let prepared = self.prepare(table, &snapshot, files).await?;
            return self.inserts(&provider, &prepared, &self.wanted);
        }
        let parent = match snapshot.parent_snapshot_id() {
            None => None,
            Some(id) => Some(table.metadata().snapshot_by_id(id).cloned().ok_or_else(|| {
                Error::NotFound(format!(
                    "snapshot {id} of table {}, which holds the rows that snapshot {snapshot_id} \
                     changed, has expired",
                    table.name()
                ))
            })?),
        };
        let gone = self.gone(table, &snapshot, parent.as_ref(), &delta).await?;
        let new = self.new_rows(table, &snapshot, &delta).await?;
        let passes = gone.size_bytes.div_ceil(self.memory_bytes.max(1)).max(1);
        let job = Passes { reader: self.clone(), provider, gone: gone.prepared, new, passes };
        let (sender, receiver) = mpsc::channel(CHANNEL_BATCHES);
        tokio::spawn(async move {
            if let Err(error) = job.run(&sender).await {
                // If nobody listens any more, nobody needs to know.
                drop(sender.send(Err(error)).await);
            }
        });
        Ok(from_channel(receiver))
    }

    /// The rows that snapshot `snapshot_id` holds, as steps that can be read one after the other. The
    /// steps of a snapshot are always the same.
    ///
    /// # Errors
    /// [`Error::NotFound`] if it has expired, or what reading its manifests reports.
    pub async fn existing(&self, table: &Table, snapshot_id: i64) -> Result<ExistingRows, Error> {
        let snapshot = retained(table, snapshot_id)?;
        let mut files = self.plan(table, &snapshot).await?;
        files.sort_by(|left, right| left.listed.path().cmp(right.listed.path()));
        let mut steps: Vec<Vec<PlannedFile>> = Vec::new();
        let mut step_bytes = STEP_BYTES;
        for file in files {
            let size_bytes = file.listed.file().file_size_in_bytes();
            if step_bytes + size_bytes > STEP_BYTES {
                steps.push(Vec::new());
                step_bytes = 0;
            }
            step_bytes += size_bytes;
            if let Some(step) = steps.last_mut() {
                step.push(file);
            }
        }
        Ok(ExistingRows { reader: self.clone(), table: table.clone(), snapshot, steps })
    }

    async fn plan(&self, table: &Table, snapshot: &SnapshotRef) -> Result<Vec<PlannedFile>, Error> {
        let everything = Predicate::from_filters(&[], &FieldIds::default());
        let snapshot = Some(SnapshotRef::clone(snapshot));
        Ok(plan::plan(table, snapshot, table.schema(), &everything).await?.files)
    }

    async fn prepare(
        &self,
        table: &Table,
        snapshot: &SnapshotRef,
        files: Vec<PlannedFile>,
    ) -> Result<Prepared, Error> {
        let deleted = position_deletes::load(table, snapshot, &files).await?;
        with_deletes(table, snapshot, files, deleted).await
    }

    /// The rows that the snapshot added.
    async fn new_rows(
        &self,
        table: &Table,
        snapshot: &SnapshotRef,
        delta: &Delta,
    ) -> Result<Prepared, Error> {
        let mut files = self.plan(table, snapshot).await?;
        files.retain(|file| delta.adds(file.listed.path()));
        self.prepare(table, snapshot, files).await
    }

    /// The rows of the parent that the snapshot removed.
    async fn gone(
        &self,
        table: &Table,
        snapshot: &SnapshotRef,
        parent: Option<&SnapshotRef>,
        delta: &Delta,
    ) -> Result<Gone, Error> {
        let Some(parent) = parent else { return Ok(Gone::nothing()) };
        let (removed, kept): (Vec<PlannedFile>, Vec<PlannedFile>) = self
            .plan(table, parent)
            .await?
            .into_iter()
            .partition(|file| delta.removes(file.listed.path()));
        let touched = delta::touched(kept, self.plan(table, snapshot).await?, delta);
        let new_positions = self.new_positions(table, snapshot, parent, &touched).await?;
        let mut files = removed;
        let mut deleted = position_deletes::load(table, parent, &files).await?;
        let mut size_bytes: u64 =
            files.iter().map(|file| delta::row_bytes(&file.listed) * file.listed.row_count()).sum();
        for (touched, positions) in touched.into_iter().zip(new_positions) {
            if positions.is_empty() {
                continue;
            }
            size_bytes += delta::row_bytes(&touched.before.listed) * positions.len();
            let mut others = roaring::RoaringTreemap::new();
            others.insert_range(0..touched.before.listed.row_count());
            others -= positions;
            deleted.insert(touched.before.listed.path().to_owned(), others);
            files.push(touched.before);
        }
        let prepared = with_deletes(table, parent, files, deleted).await?;
        Ok(Gone { prepared, size_bytes })
    }

    /// For each touched file the positions that are deleted in the snapshot and were not before.
    async fn new_positions(
        &self,
        table: &Table,
        snapshot: &SnapshotRef,
        parent: &SnapshotRef,
        touched: &[delta::Touched],
    ) -> Result<Vec<roaring::RoaringTreemap>, Error> {
        let before: Vec<PlannedFile> = touched.iter().map(|file| file.before.clone()).collect();
        let after: Vec<PlannedFile> = touched.iter().map(|file| file.after.clone()).collect();
        let before = position_deletes::load(table, parent, &before).await?;
        let mut after = position_deletes::load(table, snapshot, &after).await?;
        let mut found = Vec::with_capacity(touched.len());
        for file in touched {
            let path = file.before.listed.path();
            let mut positions = after.remove(path).unwrap_or_default();
            if !file.equality.is_empty() {
                let mut planned = PlannedFile::untouched(file.before.listed.clone());
                planned.equality_deletes.clone_from(&file.equality);
                let provider = self.provider.at(table.clone(), Some(SnapshotRef::clone(snapshot)));
                let state = self.state.as_ref();
                positions |= equality_positions(&provider, state, snapshot, &planned).await?;
            }
            if let Some(known) = before.get(path) {
                positions -= known;
            }
            positions.remove_range(file.before.listed.row_count()..);
            found.push(positions);
        }
        Ok(found)
    }

    fn scan(
        &self,
        provider: &IcebergTableProvider,
        prepared: &Prepared,
        columns: &[usize],
    ) -> Result<SendableRecordBatchStream, Error> {
        let plan = provider.physical(self.state.as_ref(), prepared, columns, None);
        let plan = plan.map_err(from_datafusion)?;
        execute_stream(plan, self.state.task_ctx()).map_err(from_datafusion)
    }

    fn inserts(
        &self,
        provider: &IcebergTableProvider,
        prepared: &Prepared,
        columns: &[usize],
    ) -> Result<ChangeStream, Error> {
        let rows = self.scan(provider, prepared, columns)?;
        let schema = Arc::clone(self.schema());
        let inserts = rows.map(move |batch| {
            let batch = batch.map_err(from_datafusion)?;
            let batch = netting::with_schema(&batch, &schema)?;
            Ok(ChangeBatch::inserts(batch))
        });
        Ok(inserts.boxed())
    }
}

/// The rows of one snapshot, in steps.
pub struct ExistingRows {
    reader: ChangelogReader,
    table: Table,
    snapshot: SnapshotRef,
    steps: Vec<Vec<PlannedFile>>,
}

impl ExistingRows {
    /// How many steps there are.
    #[must_use]
    pub const fn step_count(&self) -> usize {
        self.steps.len()
    }

    /// The rows of step `step`, all as `+I`; none past the last.
    ///
    /// # Errors
    /// What reading reports.
    pub async fn read(&self, step: usize) -> Result<ChangeStream, Error> {
        let files = self.steps.get(step).cloned().unwrap_or_default();
        let prepared = self.reader.prepare(&self.table, &self.snapshot, files).await?;
        let snapshot = Some(SnapshotRef::clone(&self.snapshot));
        let provider = self.reader.provider.at(self.table.clone(), snapshot);
        self.reader.inserts(&provider, &prepared, &self.reader.wanted)
    }
}

/// The rows of a parent that a snapshot removed.
struct Gone {
    prepared: Prepared,
    /// About how much memory they take.
    size_bytes: u64,
}

impl Gone {
    fn nothing() -> Self {
        let plan = ScanPlan {
            snapshot: None,
            files: Vec::new(),
            skipped_file_count: 0,
            skipped_manifest_count: 0,
        };
        let prepared = Prepared {
            plan,
            deleted: DeletedPositions::new(),
            equality: Arc::default(),
            groups: Vec::new(),
        };
        Self { prepared, size_bytes: 0 }
    }
}

/// The changes of one snapshot, derived pass by pass: each takes its share of the keys.
struct Passes {
    reader: ChangelogReader,
    provider: IcebergTableProvider,
    gone: Prepared,
    new: Prepared,
    passes: u64,
}

type Sender = mpsc::Sender<Result<ChangeBatch, Error>>;

impl Passes {
    /// Sends all changes, or ends when nobody listens any more.
    async fn run(&self, sender: &Sender) -> Result<(), Error> {
        let Self { reader, provider, .. } = self;
        for pass in 0..self.passes {
            let share = netting::Share { pass, passes: self.passes };
            let mut net = reader.netting.start(share);
            let mut gone = reader.scan(provider, &self.gone, &reader.scanned)?;
            while let Some(batch) = gone.next().await {
                net.add_gone(&batch.map_err(from_datafusion)?)?;
            }
            let mut new = reader.scan(provider, &self.new, &reader.scanned)?;
            while let Some(batch) = new.next().await {
                let changes = net.add_new(&batch.map_err(from_datafusion)?)?;
                if changes.row_count() > 0 && sender.send(Ok(changes)).await.is_err() {
                    return Ok(());
                }
            }
            for changes in net.finish()? {
                if sender.send(Ok(changes)).await.is_err() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

async fn with_deletes(
    table: &Table,
    snapshot: &SnapshotRef,
    files: Vec<PlannedFile>,
    deleted: DeletedPositions,
) -> Result<Prepared, Error> {
    let (equality, groups) = equality_deletes::load(table, snapshot, &files).await?;
    let plan = ScanPlan {
        snapshot: Some(SnapshotRef::clone(snapshot)),
        files,
        skipped_file_count: 0,
        skipped_manifest_count: 0,
    };
    Ok(Prepared { plan, deleted, equality: Arc::new(equality), groups })
}

fn retained(table: &Table, snapshot_id: i64) -> Result<SnapshotRef, Error> {
    let found = table.metadata().snapshot_by_id(snapshot_id).cloned();
    found.ok_or_else(|| {
        Error::NotFound(format!("snapshot {snapshot_id} of table {} has expired", table.name()))
    })
}

fn from_channel(receiver: mpsc::Receiver<Result<ChangeBatch, Error>>) -> ChangeStream {
    let next = |mut receiver: mpsc::Receiver<_>| async move {
        receiver.recv().await.map(|item| (item, receiver))
    };
    stream::unfold(receiver, next).boxed()
}

#[cfg(test)]
mod tests;
