//! The sink as the engine sees it: checked at planning, claimed at each start.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use shardlake_change::ChangeBatch;
use shardlake_connector::{
    ChangelogMode, Claim, Error, JobIdentity, KeptRequest, OpenedSink, OptionSpec, RowReceiver,
    SchemaChangeBehavior, Sink, SinkCommitter, SinkFactory, SinkWriter, TableDefinition,
};
use shardlake_iceberg_table::commit::Committer;
use shardlake_iceberg_table::{
    BranchCatalog, DeleteMode, DeltaWriter, DeltaWriterOptions, WriterShared, read_rows,
};

use crate::Target;
use crate::committer::{IcebergCommitter, from_epoch};
use crate::error::from_lake;
use crate::follow::Follow;
use crate::maintenance::MaintenanceOptions;
use crate::options::{
    BRANCH, COMPACTION, COMPACTION_CPU, COMPACTION_GROUP, DELETE_MODE, ENCODERS, FILE_RETENTION,
    INDEX_MEMORY, OPTIONS, POSITION_COMMIT_INTERVAL,
};
use crate::writer::IcebergWriter;

/// Makes sinks for `'connector' = 'iceberg'`.
#[derive(Clone, Copy, Debug, Default)]
pub struct IcebergSinkFactory;

impl SinkFactory for IcebergSinkFactory {
    fn connector(&self) -> &'static str {
        "iceberg"
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn create(&self, table: &TableDefinition) -> Result<Arc<dyn Sink>, Error> {
        table.options.validate(self.connector(), OPTIONS)?;
        let mut target = Target::of_definition(table)?;
        if let Some(branch) = table.options.text(&BRANCH).filter(|branch| !branch.is_empty()) {
            target.catalog = Arc::new(BranchCatalog::new(target.catalog, branch));
        }
        let index_memory = table.options.size_bytes(&INDEX_MEMORY)?.unwrap_or(u64::MAX);
        let encoders = table.options.integer(&ENCODERS)?.unwrap_or(1);
        let delete_mode = table.options.text(&DELETE_MODE).map(str::parse::<DeleteMode>);
        let interval = table.options.duration_ms(&POSITION_COMMIT_INTERVAL)?.unwrap_or(600_000);
        Ok(Arc::new(IcebergSink {
            target,
            writer_options: DeltaWriterOptions {
                index_memory_bytes: usize::try_from(index_memory).unwrap_or(usize::MAX),
                encoder_count: usize::try_from(encoders).unwrap_or(1),
                delete_mode: delete_mode.transpose().map_err(from_lake)?,
                ..DeltaWriterOptions::default()
            },
            position_interval: Duration::from_millis(interval),
            maintenance: maintenance_options(table)?,
            schema_change: SchemaChangeBehavior::of_options(&table.options)?,
        }))
    }
}

struct IcebergSink {
    target: Target,
    writer_options: DeltaWriterOptions,
    position_interval: Duration,
    maintenance: MaintenanceOptions,
    schema_change: Option<SchemaChangeBehavior>,
}

#[async_trait]
impl Sink for IcebergSink {
    fn changelog_mode(&self) -> ChangelogMode {
        if self.target.creation.schema.primary_key.is_empty() {
            ChangelogMode::InsertOnly
        } else {
            ChangelogMode::All
        }
    }

    fn schema_change(&self) -> Option<SchemaChangeBehavior> {
        self.schema_change
    }

    fn stores_progress(&self) -> bool {
        true
    }

    async fn prepare(&self) -> Result<(), Error> {
        self.target.prepare().await.map(drop)
    }

    async fn kept_rows(
        &self,
        request: &KeptRequest,
        receive: &mut RowReceiver<'_>,
    ) -> Result<(), Error> {
        let columns = &self.target.creation.schema.columns;
        let name = |index: &usize| {
            let column = columns.get(*index).map(|column| column.name.clone());
            column.ok_or_else(|| Error::bug(format!("the sink has no column {index}")))
        };
        let wanted: Vec<String> = request.columns.iter().map(name).collect::<Result<_, _>>()?;
        let equal: Vec<(String, String)> = request
            .equal
            .iter()
            .map(|(index, text)| Ok((name(index)?, text.clone())))
            .collect::<Result<_, Error>>()?;
        let table = self.target.catalog.load(&self.target.name).await.map_err(from_lake)?;
        let mut take = |rows| receive(ChangeBatch::inserts(rows));
        read_rows(table, &wanted, &equal, &mut take).await.map_err(from_lake)
    }

    async fn open(&self, job: &JobIdentity) -> Result<Claim, Error> {
        self.target.prepare().await?;
        let catalog = Arc::clone(&self.target.catalog);
        let mut committer = Committer::claim(catalog, &self.target.name, &job.name, &job.id)
            .await
            .map_err(from_lake)?;
        let generation = committer.writer().generation;
        let progress = committer.progress().map(from_epoch).transpose()?;
        // After the claim nobody else of this job commits, so the index is that of the claimed version.
        let shared =
            WriterShared::load(committer.table(), self.writer_options).await.map_err(from_lake)?;
        committer.follow(shared.relocations());
        let epoch = progress.as_ref().map(|progress| progress.epoch);
        let table = &self.target.name;
        tracing::info!(%table, job = %job.name, generation, ?epoch, "claimed table");
        let claimed = committer.table().clone();
        let committer = IcebergCommitter::new(
            committer,
            Arc::clone(&shared),
            self.position_interval,
            self.maintenance,
        );
        let follows = self.schema_change.is_some_and(SchemaChangeBehavior::follows_columns);
        let follow = follows.then(|| Arc::new(Follow::new(&claimed, Arc::clone(&shared))));
        let committer = match &follow {
            Some(follow) => committer.following(Arc::clone(follow)),
            None => committer,
        };
        let committer = Mutex::new(Some(committer));
        let sink = Box::new(ClaimedSink { shared, follow, committer });
        Ok(Claim { sink, progress, generation })
    }
}

fn maintenance_options(table: &TableDefinition) -> Result<MaintenanceOptions, Error> {
    let options = &table.options;
    let percent = options.integer(&COMPACTION_CPU)?.unwrap_or(50);
    let percent = u32::try_from(percent).unwrap_or(100);
    let retention = options.duration_ms(&FILE_RETENTION)?.unwrap_or(600_000);
    Ok(MaintenanceOptions {
        compacts: options.boolean(&COMPACTION)?,
        cpu_share: f64::from(percent) / 100.0,
        group_bytes: options.size_bytes(&COMPACTION_GROUP)?.unwrap_or(256 << 20),
        file_retention: Duration::from_millis(retention),
    })
}

struct ClaimedSink {
    shared: Arc<WriterShared>,
    follow: Option<Arc<Follow>>,
    committer: Mutex<Option<IcebergCommitter>>,
}

impl OpenedSink for ClaimedSink {
    /// All writers share one key index, so it does not matter which keys come to which writer.
    fn writer(&self, worker: usize, _worker_count: usize) -> Result<Box<dyn SinkWriter>, Error> {
        if let Some(follow) = &self.follow {
            return Ok(Box::new(IcebergWriter::following(Arc::clone(follow), worker)?));
        }
        let delta = DeltaWriter::new(Arc::clone(&self.shared), worker);
        Ok(Box::new(IcebergWriter::new(delta)))
    }

    fn committer(&self) -> Result<Box<dyn SinkCommitter>, Error> {
        let committer = self.committer.lock().take();
        let committer = committer.ok_or_else(|| Error::bug("the committer was taken before"))?;
        Ok(Box::new(committer))
    }
}

#[cfg(test)]
mod tests;
