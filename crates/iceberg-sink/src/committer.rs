//! The one committer: an epoch becomes a snapshot whose summary says where the job stands.
//!
//! Epochs without files are not committed, except when the position has moved and
//! `shardlake.position-commit-interval` has passed: a position that is never stored would be purged at
//! the source one day.
//!
//! Rewritten files of the table's maintenance are committed between epochs, after the epoch that is asked for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::executor::block_on;
use serde_json::Value;
use shardlake_connector::{
    CommitOutcome, CommitRequest, Error, JobPosition, Phase, Progress, SinkCommitter,
};
use shardlake_iceberg_table::commit::{Committer, EpochProgress, RowDelta};
use shardlake_iceberg_table::maintenance::{RewriteStatistics, Rewritten};
use shardlake_iceberg_table::{Error as LakeError, WriterShared, WrittenFiles};

use crate::error::from_lake;
use crate::follow::{Follow, unframe};
use crate::maintenance::{Maintenance, MaintenanceOptions};

/// The summary key of the time of the newest transaction of an epoch at its source.
const EVENT_TIME: &str = "shardlake.event-time-ms";

pub(crate) struct IcebergCommitter {
    committer: Committer,
    /// Learns of a format version that another writer raised.
    shared: Arc<WriterShared>,
    position_interval: Duration,
    last_commit: Instant,
    /// Starts with the first epoch that was not recovered.
    maintenance: Option<Maintenance>,
    maintenance_options: MaintenanceOptions,
    follow: Option<Arc<Follow>>,
}

impl IcebergCommitter {
    pub(crate) fn new(
        committer: Committer,
        shared: Arc<WriterShared>,
        position_interval: Duration,
        maintenance_options: MaintenanceOptions,
    ) -> Self {
        let (last_commit, maintenance) = (Instant::now(), None);
        Self {
            committer,
            shared,
            position_interval,
            last_commit,
            maintenance,
            maintenance_options,
            follow: None,
        }
    }

    /// Commits what maintenance has finished, and tells it of the table's new version.
    fn maintain(&mut self) -> Result<(), Error> {
        let maintenance = match self.maintenance.take() {
            Some(maintenance) => maintenance,
            None => Maintenance::start(self.maintenance_options)?,
        };
        if let Some(rewritten) = maintenance.take_finished() {
            self.commit_rewrite(rewritten)?;
        }
        let foreign = self.committer.take_foreign();
        if !foreign.is_empty() {
            self.shared.absorb(self.committer.table(), &foreign).map_err(from_lake)?;
        }
        let expired = self.committer.take_expired();
        maintenance.note(self.committer.table(), expired);
        self.maintenance = Some(maintenance);
        Ok(())
    }

    fn commit_rewrite(&mut self, rewritten: Rewritten) -> Result<(), Error> {
        let started = Instant::now();
        match block_on(self.committer.commit_rewrite(&rewritten)) {
            Ok(snapshot_id) => {
                let table = self.committer.table().name();
                let RewriteStatistics { rewritten_files, added_files, dropped_rows, .. } =
                    rewritten.statistics;
                let millis = started.elapsed().as_millis();
                tracing::info!(
                    %table, snapshot_id, rewritten_files, added_files, dropped_rows, millis,
                    "committed rewritten files"
                );
                Ok(())
            }
            // Another writer was faster; the files are looked at again.
            Err(LakeError::FilesRemoved { .. }) => {
                block_on(rewritten.discard());
                Ok(())
            }
            Err(error) => Err(from_lake(error)),
        }
    }

    /// A committer of a table whose columns follow those of its source.
    pub(crate) fn following(mut self, follow: Arc<Follow>) -> Self {
        self.follow = Some(follow);
        self
    }

    /// The files of all writers. If they need another schema, the table gets it.
    fn files(&mut self, request: &CommitRequest) -> Result<WrittenFiles, Error> {
        let mut files = WrittenFiles::default();
        if self.follow.is_none() {
            for result in &request.results {
                let written = WrittenFiles::decode(&result.committable, self.committer.table());
                files.append(written.map_err(from_lake)?);
            }
            return Ok(files);
        }
        let framed = request.results.iter().map(|result| unframe(&result.committable));
        let framed = framed.collect::<Result<Vec<_>, _>>()?;
        let newest = framed.iter().flatten().max_by_key(|framed| framed.version);
        if let Some(newest) = newest.filter(|newest| newest.version > 0) {
            block_on(self.committer.change_schema(newest.schema)).map_err(from_lake)?;
        }
        for framed in framed.into_iter().flatten() {
            let written = WrittenFiles::decode(framed.files, self.committer.table());
            files.append(written.map_err(from_lake)?);
        }
        Ok(files)
    }

    /// Whether an epoch without files is committed for its position.
    fn is_position_due(&self, progress: &EpochProgress) -> bool {
        let is_new = |stored: &EpochProgress| {
            stored.position != progress.position || stored.phase != progress.phase
        };
        self.last_commit.elapsed() >= self.position_interval
            && self.committer.progress().is_none_or(is_new)
    }
}

impl SinkCommitter for IcebergCommitter {
    fn commit(&mut self, request: &CommitRequest) -> Result<CommitOutcome, Error> {
        if request.recovered {
            // A rewrite may have been committed after the epoch's files were written.
            block_on(self.committer.follow_past_rewrites()).map_err(from_lake)?;
            return self.commit_epoch(request);
        }
        let outcome = self.commit_epoch(request)?;
        self.maintain()?;
        Ok(outcome)
    }
}

impl IcebergCommitter {
    fn commit_epoch(&mut self, request: &CommitRequest) -> Result<CommitOutcome, Error> {
        let epoch = request.progress.epoch;
        let committed = self.committer.progress().map(|progress| progress.epoch);
        if committed.is_some_and(|committed| committed >= epoch) {
            if request.recovered {
                return Ok(CommitOutcome::AlreadyCommitted);
            }
            return Err(Error::bug(format!("epoch {epoch} was committed before")));
        }
        let files = self.files(request)?;
        let progress = to_epoch(&request.progress, request.phase)?;
        // The end of the snapshot phase is worth a snapshot: readers wait for it.
        let ends_phase = request.phase == Phase::Streaming
            && self.committer.progress().is_some_and(|stored| stored.phase != progress.phase);
        if files.is_empty() && !ends_phase && !self.is_position_due(&progress) {
            return Ok(CommitOutcome::Empty);
        }
        let event_time =
            request.event_time_ms.map(|time| (EVENT_TIME.to_owned(), time.to_string()));
        let summary = event_time.into_iter().collect();
        let started = Instant::now();
        let delta = RowDelta { files, progress: Some(progress), summary, ..RowDelta::default() };
        let snapshot_id = block_on(self.committer.commit(delta)).map_err(from_lake)?;
        self.last_commit = Instant::now();
        self.shared.refresh(self.committer.table()).map_err(from_lake)?;
        if let Some(follow) = &self.follow {
            follow.commit(self.committer.table());
        }
        let table = self.committer.table().name();
        let row_count: u64 = request.results.iter().map(|result| result.row_count).sum();
        let millis = started.elapsed().as_millis();
        tracing::info!(%table, epoch, snapshot_id, row_count, millis, "committed snapshot");
        Ok(CommitOutcome::Committed(snapshot_id.to_string()))
    }
}

const fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Snapshot => "snapshot",
        Phase::Streaming => "streaming",
    }
}

fn to_epoch(progress: &Progress, phase: Phase) -> Result<EpochProgress, Error> {
    let position: Value = serde_json::to_value(&progress.position)
        .map_err(|error| Error::bug("a position cannot be stored").caused_by(error))?;
    Ok(EpochProgress {
        epoch: progress.epoch,
        position,
        fingerprint: progress.fingerprint.clone(),
        phase: phase_name(phase).to_owned(),
    })
}

/// What a table says about a job, as the engine knows it.
pub(crate) fn from_epoch(stored: &EpochProgress) -> Result<Progress, Error> {
    let position: JobPosition =
        serde_json::from_value(stored.position.clone()).map_err(|error| {
            Error::job("the position that the Iceberg table stores cannot be understood")
                .caused_by(error)
        })?;
    Ok(Progress { epoch: stored.epoch, position, fingerprint: stored.fingerprint.clone() })
}
