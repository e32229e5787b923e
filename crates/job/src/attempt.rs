//! One attempt to run a job: claim the sinks, find the beginning, start the sources, run.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use shardlake_checkpoint::{Checkpoint, CheckpointStore, FileStore, Savepoint};
use shardlake_connector::{
    Claim, CommitRequest, Error, EventReceiver, JobIdentity, JobPosition, KeptRows, OpenedSink,
    Options, Progress, ReadRequest,
};
use shardlake_dataflow::{End, LastCommit, Run, Settings, StartPoint, Wish, run};
use shardlake_sql::plan::{JobPlan, PlannedSource};
use tracing::{info, warn};

use crate::JobStatus;
use crate::folder::{Bounded, JobFolder};
use crate::handle::JobRecord;
use crate::kept::SinkRows;
use crate::recovery::{self, Beginning, Memory, RecoveryMode, SinkMemory};

/// What attempts to run a job need.
pub(crate) struct Attempt {
    pub(crate) plan: JobPlan,
    pub(crate) identity: JobIdentity,
    pub(crate) settings: Settings,
    pub(crate) mode: RecoveryMode,
    pub(crate) folder: JobFolder,
    pub(crate) source_names: Vec<String>,
    pub(crate) last: LastCommit,
    /// Whether an earlier process was given this submission.
    pub(crate) resumed: bool,
    /// The savepoint from which the submission is to start.
    pub(crate) recovery_path: Option<PathBuf>,
    pub(crate) runtime: tokio::runtime::Handle,
    pub(crate) record: Arc<JobRecord>,
}

type Lanes = Vec<(String, EventReceiver)>;

/// The claimed sinks, where they stand, and where the job begins.
struct Begun {
    beginning: Beginning,
    sinks: Vec<Arc<dyn OpenedSink>>,
    sink_epochs: Vec<Option<u64>>,
}

impl Attempt {
    /// Creates or checks what is behind the sinks.
    pub(crate) fn prepare_sinks(&self) -> Result<(), Error> {
        for sink in &self.plan.sinks {
            self.runtime.block_on(sink.sink.prepare())?;
        }
        Ok(())
    }

    /// The epoch of the last commit of this process.
    pub(crate) fn last_epoch(&self) -> Option<u64> {
        self.last.lock().as_ref().map(|progress| progress.epoch)
    }

    /// Runs the job until it ends or fails. Attempts are numbered.
    pub(crate) fn run(&self, attempt: u64) -> Result<End, Error> {
        if let Some(end) = self.wanted_end() {
            return Ok(end);
        }
        let sources = self.plan.sources.len();
        let spill = self.folder.spill_folders(attempt, sources).map_err(state_failure)?;
        let Begun { beginning, sinks, sink_epochs } = self.begin()?;
        if beginning.is_over && self.resumed {
            return Ok(End::Finished);
        }
        let position = beginning.position.clone().unwrap_or_default();
        recovery::check_sources(&self.identity.name, &position, &self.source_names)?;
        if let Some(end) = self.wanted_end() {
            return Ok(end);
        }
        let running = self.remembers_runs().then_some(Bounded::Running {
            afresh: beginning.position.is_none(),
            first_epoch: beginning.epoch,
        });
        self.folder.set_bounded(running.as_ref()).map_err(state_failure)?;
        let lanes = self.start_sources(&position, spill)?;
        self.record.update(|state| {
            if state.status != JobStatus::Cancelling {
                state.status = JobStatus::Running;
            }
        });
        let epoch = beginning.epoch;
        info!(job = self.identity.name, epoch, resumes = !position.is_empty(), "running job");
        let fingerprint = self.identity.fingerprint.clone();
        self.stands_at(epoch - 1, &position, &fingerprint);
        let position = match self.mode == RecoveryMode::Fresh || self.recovery_path.is_some() {
            true => recovery::with_submission(position, &self.identity.id),
            false => position,
        };
        let start = StartPoint { epoch, position, fingerprint };
        let end = run(Run {
            plan: self.plan.clone(),
            settings: self.settings,
            start,
            source_names: self.source_names.clone(),
            lanes,
            sinks,
            sink_epochs,
            store: self.writes_checkpoints().then(|| Box::new(self.store()) as Box<_>),
            runtime: self.runtime.clone(),
            control: self.record.control.clone(),
            meters: self.record.meters.clone(),
            last: Arc::clone(&self.last),
        })?;
        if end == End::Finished && self.remembers_runs() {
            let epoch = self.last_epoch().unwrap_or(0).max(epoch - 1);
            let fingerprint = self.identity.fingerprint.clone();
            let finished = Bounded::Finished { fingerprint, epoch };
            self.folder.set_bounded(Some(&finished)).map_err(state_failure)?;
        }
        Ok(end)
    }

    /// Notes where the job stands before it commits anything, for savepoints.
    fn stands_at(&self, epoch: u64, position: &JobPosition, fingerprint: &str) {
        let (position, fingerprint) = (position.clone(), fingerprint.to_owned());
        let progress = (!position.is_empty()).then_some(Progress { epoch, position, fingerprint });
        *self.record.standing.lock() = progress;
    }

    /// Removes what the job keeps on disk, if it keeps nothing that a later run needs.
    pub(crate) fn forget(&self) {
        if !self.stores_progress() {
            self.folder.remove();
        }
    }

    fn wanted_end(&self) -> Option<End> {
        match self.record.control.wish() {
            Wish::Run => None,
            Wish::Stop => Some(End::Stopped),
            Wish::Cancel => Some(End::Cancelled),
        }
    }

    fn stores_progress(&self) -> bool {
        self.plan.sinks.iter().any(|sink| sink.sink.stores_progress())
    }

    /// Whether it matters how far earlier runs came: the job ends by itself.
    fn remembers_runs(&self) -> bool {
        let mut sources = self.plan.sources.iter();
        self.stores_progress() && sources.all(|source| source.source.is_bounded())
    }

    fn writes_checkpoints(&self) -> bool {
        self.plan.sinks.len() > 1 && self.stores_progress()
    }

    fn store(&self) -> FileStore {
        FileStore::new(self.folder.checkpoint().to_owned())
    }

    /// Claims all sinks, in the plan's order.
    fn claim(&self) -> Result<Vec<Claim>, Error> {
        let claim = |sink: &shardlake_sql::plan::PlannedSink| {
            self.runtime.block_on(sink.sink.open(&self.identity))
        };
        self.plan.sinks.iter().map(claim).collect()
    }

    /// Finds where to begin and mends what a crash left between two commits.
    fn begin(&self) -> Result<Begun, Error> {
        let mut claims = self.claim()?;
        let checkpoint = match self.writes_checkpoints() {
            true => self.store().load()?,
            false => None,
        };
        let memory = self.remember(&claims, checkpoint);
        let beginning = match &self.recovery_path {
            Some(path) if !memory.began_before() => {
                let savepoint = Savepoint::read(path)?;
                check_savepoint(&savepoint, &self.record.sources, &self.plan.configuration)?;
                let keyed: Vec<bool> =
                    self.plan.sinks.iter().map(|sink| !sink.equality_key.is_empty()).collect();
                recovery::begin_at(&savepoint, &memory, &keyed)?
            }
            Some(_) | None => recovery::decide(&memory, self.mode)?,
        };
        if let (false, Some(checkpoint)) = (beginning.missing.is_empty(), &memory.checkpoint) {
            for index in &beginning.missing {
                if let Some(claim) = claims.get(*index) {
                    recommit(checkpoint, *index, claim)?;
                }
            }
            // What was claimed before is older than what has just been committed.
            claims = self.claim()?;
        }
        let epoch = |claim: &Claim| claim.progress.as_ref().map(|progress| progress.epoch);
        let sink_epochs = claims.iter().map(epoch).collect();
        let sinks = claims.into_iter().map(|claim| Arc::from(claim.sink)).collect();
        Ok(Begun { beginning, sinks, sink_epochs })
    }

    fn remember(&self, claims: &[Claim], checkpoint: Option<Checkpoint>) -> Memory<'_> {
        let sinks = self.plan.sinks.iter().zip(claims).map(|(planned, claim)| SinkMemory {
            name: planned.name.to_string(),
            stores_progress: planned.sink.stores_progress(),
            progress: claim.progress.clone(),
        });
        Memory {
            job_name: &self.identity.name,
            job_id: &self.identity.id,
            fingerprint: &self.identity.fingerprint,
            sinks: sinks.collect(),
            checkpoint,
            bounded: self.folder.bounded(),
            last: self.last.lock().clone(),
        }
    }

    /// The way back from a sink to a source, if there is one.
    fn kept_rows(&self, source: &PlannedSource) -> Option<Arc<dyn KeptRows>> {
        let kept = source.kept.clone()?;
        let sink = Arc::clone(&self.plan.sinks.get(kept.sink)?.sink);
        let (columns, runtime) = (source.columns.clone(), self.runtime.clone());
        Some(Arc::new(SinkRows { sink, kept, columns, runtime }))
    }

    /// Starts all sources where they stood.
    fn start_sources(
        &self,
        position: &JobPosition,
        spill: Vec<PathBuf>,
    ) -> Result<Vec<Lanes>, Error> {
        let mut all_lanes = Vec::with_capacity(self.plan.sources.len());
        let mut splits = Vec::new();
        let memory_bytes = self.settings.source_bytes / self.plan.sources.len().max(1);
        let sources = self.plan.sources.iter().zip(&self.source_names);
        for ((source, name), spill_dir) in sources.zip(spill) {
            let stored = position.get(name);
            let running = source.source.start(&ReadRequest {
                columns: source.columns.clone(),
                key_columns: source.key_columns.clone(),
                kept: self.kept_rows(source),
                position: stored.cloned(),
                memory_bytes,
                schema_change: source.schema_change,
                spill_dir,
            })?;
            if let Some(stored) = stored {
                let lanes: Vec<String> =
                    running.lanes.iter().map(|(lane, _)| lane.clone()).collect();
                recovery::check_lanes(&self.identity.name, name, stored, &lanes)?;
            }
            splits.extend(running.status.map(|status| (name.clone(), status)));
            all_lanes.push(running.lanes);
        }
        self.record.update(|state| state.splits = splits);
        Ok(all_lanes)
    }
}

/// Whether a job with these sources can start from a savepoint.
pub(crate) fn check_savepoint(
    savepoint: &Savepoint,
    sources: &BTreeMap<String, String>,
    options: &Options,
) -> Result<(), Error> {
    let takes_unclaimed = shardlake_checkpoint::takes_unclaimed(options)?;
    recovery::check_savepoint(savepoint, sources, takes_unclaimed)
}

/// Commits the checkpoint's epoch to a sink that may lack it.
fn recommit(checkpoint: &Checkpoint, sink_index: usize, claim: &Claim) -> Result<(), Error> {
    let Some(sink) = checkpoint.sinks.get(sink_index) else { return Ok(()) };
    let (job, table) = (&checkpoint.job_name, &sink.name);
    let epoch = checkpoint.progress.epoch;
    warn!(job, table, epoch, "committing an epoch that an earlier run left out");
    claim.sink.committer()?.commit(&CommitRequest {
        progress: checkpoint.progress.clone(),
        phase: checkpoint.phase,
        event_time_ms: checkpoint.event_time_ms,
        results: sink.results.clone(),
        recovered: true,
    })?;
    Ok(())
}

/// A failure of the job's folder as a failure of the run.
fn state_failure(error: crate::Error) -> Error {
    Error::new(error.fault(), "the job's folder cannot be used").caused_by(error)
}
