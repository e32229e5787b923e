//! The thread that commits epochs, in order.
//!
//! It keeps the position of the whole job: each lane's last boundary. An epoch in which no row was
//! written and no position moved is passed over. A job with several sinks first writes a checkpoint,
//! so that a crash between two commits can be mended; sinks that do not remember their progress are
//! committed first, because only they would miss an epoch that the others have.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, Sender};
use parking_lot::Mutex;
use serde_json::{Value, json};
use shardlake_checkpoint::{Checkpoint, CheckpointStore, SinkResults};
use shardlake_connector::{
    CommitOutcome, CommitRequest, Error, JobPosition, OpenedSink, Phase, Progress, SinkCommitter,
    WriteResult,
};
use tracing::debug;

use crate::credit::Wake;
use crate::meters::CommitReading;
use crate::run::Shared;
use crate::sink::Report;
use crate::source::Mark;

/// A key in a stored position beside the sources' names: all inputs of the job had ended.
pub const FINISHED_KEY: &str = "$finished";

/// A key in a stored position beside the sources' names: the lanes that still copied existing rows.
const SNAPSHOT_KEY: &str = "$snapshot";

/// Where a job stood at its last commit, kept over its runs.
pub type LastCommit = Arc<Mutex<Option<Progress>>>;

/// Everything that was made of one epoch.
pub(crate) struct EpochEnd {
    pub(crate) epoch: u64,
    pub(crate) reports: Vec<Report>,
    pub(crate) marks: Vec<Mark>,
    /// Whether the job's inputs have ended with this epoch.
    pub(crate) finishes: bool,
}

/// A lane's names, for positions.
#[derive(Clone, Debug)]
pub(crate) struct LaneName {
    pub(crate) source: String,
    pub(crate) lane: String,
}

impl LaneName {
    /// The lane among those of all sources.
    fn full(&self) -> String {
        format!("{}/{}", self.source, self.lane)
    }

    /// The phase in which a stored position left the lane; a lane that has none begins by copying.
    fn stored_phase(&self, position: &JobPosition) -> Phase {
        let known = position.get(&self.source).is_some_and(|lanes| lanes.contains_key(&self.lane));
        let copying =
            position.get(SNAPSHOT_KEY).is_some_and(|lanes| lanes.contains_key(&self.full()));
        if known && !copying { Phase::Streaming } else { Phase::Snapshot }
    }
}

/// A sink to commit to.
pub(crate) struct CommitTarget {
    pub(crate) name: String,
    pub(crate) stores_progress: bool,
    pub(crate) last_epoch: Option<u64>,
    pub(crate) opened: Arc<dyn OpenedSink>,
}

/// What the committing thread needs.
pub(crate) struct CommitSeat {
    pub(crate) job_name: String,
    pub(crate) fingerprint: String,
    pub(crate) position: JobPosition,
    pub(crate) lanes: Vec<LaneName>,
    pub(crate) sinks: Vec<CommitTarget>,
    pub(crate) worker_count: usize,
    pub(crate) store: Option<Box<dyn CheckpointStore>>,
    pub(crate) last: LastCommit,
}

impl CommitSeat {
    /// Starts the thread. It sends the number of each epoch that is done, and then calls `wake`.
    pub(crate) fn spawn(
        self,
        epochs: Receiver<EpochEnd>,
        done: Sender<u64>,
        wake: Wake,
        shared: &Arc<Shared>,
    ) {
        let run = Arc::clone(shared);
        shared.spawn("committer", move || {
            let outcome = catch_unwind(AssertUnwindSafe(|| self.work(&epochs, &done, &wake, &run)));
            match outcome {
                Ok(Ok(())) => {}
                Ok(Err(error)) => run.ending.fail(error),
                Err(payload) => run.ending.panicked("a sink's committer", payload.as_ref()),
            }
        });
    }

    fn work(
        mut self,
        epochs: &Receiver<EpochEnd>,
        done: &Sender<u64>,
        wake: &Wake,
        shared: &Shared,
    ) -> Result<(), Error> {
        let mut committers = Vec::with_capacity(self.sinks.len());
        for (index, sink) in self.sinks.iter().enumerate() {
            committers.push((index, sink.opened.committer()?));
        }
        committers.sort_by_key(|(index, _)| self.sinks.get(*index).map(|s| s.stores_progress));
        let mut phases: Vec<Phase> =
            self.lanes.iter().map(|lane| lane.stored_phase(&self.position)).collect();
        while let Ok(end) = epochs.recv() {
            if shared.ending.is_over() {
                return Ok(());
            }
            let epoch = end.epoch;
            self.commit(end, &mut committers, &mut phases, shared)?;
            shared.clock.committed(epoch)?;
            if done.send(epoch).is_err() {
                return Ok(());
            }
            wake();
        }
        Ok(())
    }

    fn commit(
        &mut self,
        end: EpochEnd,
        committers: &mut [(usize, Box<dyn SinkCommitter>)],
        phases: &mut [Phase],
        shared: &Shared,
    ) -> Result<(), Error> {
        let (moved, event_time_ms) = self.advance(end.marks, phases);
        let sinks = self.results(end.reports)?;
        let empty = |result: &WriteResult| result.row_count == 0 && result.committable.is_empty();
        if !moved && sinks.iter().all(|sink| sink.results.iter().all(empty)) {
            return Ok(());
        }
        self.remember_phases(phases);
        if end.finishes {
            let finished = BTreeMap::from([(String::new(), json!(true))]);
            self.position.insert(FINISHED_KEY.to_owned(), finished);
        }
        let progress = Progress {
            epoch: end.epoch,
            position: self.position.clone(),
            fingerprint: self.fingerprint.clone(),
        };
        let phase = phases.iter().min().copied().unwrap_or(Phase::Streaming);
        let checkpoint =
            Checkpoint { job_name: self.job_name.clone(), progress, phase, event_time_ms, sinks };
        if let Some(store) = &mut self.store {
            store.save(&checkpoint)?;
        }
        let closed_at_ms = shared.clock.take_closed_at_ms(end.epoch);
        let mut commits = vec![None; checkpoint.sinks.len()];
        let (mut row_count, mut size_bytes) = (0, 0);
        for (index, committer) in committers {
            let outcome = commit_to_sink(&checkpoint, *index, committer.as_mut())?;
            if let Some(name) = outcome {
                if let Some(commit) = commits.get_mut(*index) {
                    *commit = Some(name.clone());
                }
                if let Some(sink) = self.sinks.get_mut(*index) {
                    sink.last_epoch = Some(end.epoch);
                }
                let results = checkpoint.sinks.get(*index).map(|sink| sink.results.as_slice());
                let results = results.unwrap_or_default();
                let meter = shared.meters.sink(*index);
                let rows: u64 = results.iter().map(|result| result.row_count).sum();
                let bytes: u64 = results.iter().map(|result| result.size_bytes).sum();
                row_count += rows;
                size_bytes += bytes;
                meter.committed(rows, name);
                meter.add_bytes(bytes);
            }
        }
        if commits.iter().any(Option::is_some) {
            shared.meters.committed(CommitReading {
                epoch: end.epoch,
                closed_at_ms,
                at_ms: wall_clock_ms(),
                event_time_ms,
                snapshot_phase: phase == Phase::Snapshot,
                row_count,
                size_bytes,
                commits,
            });
        }
        *self.last.lock() = Some(checkpoint.progress);
        Ok(())
    }

    /// Moves the job's position on. Whether it moved, and the newest event time in the epoch.
    fn advance(&mut self, marks: Vec<Mark>, phases: &mut [Phase]) -> (bool, Option<u64>) {
        let (mut moved, mut event_time_ms) = (false, None);
        for mark in marks {
            let Some(place) = mark.boundary else { continue };
            let Some(name) = self.lanes.get(mark.lane) else { continue };
            if let Some(phase) = phases.get_mut(mark.lane) {
                *phase = if place.snapshot_phase { Phase::Snapshot } else { Phase::Streaming };
            }
            event_time_ms = event_time_ms.max(place.event_time_ms);
            let lanes = self.position.entry(name.source.clone()).or_default();
            let before = lanes.insert(name.lane.clone(), place.position);
            moved |= before.as_ref() != lanes.get(&name.lane);
        }
        (moved, event_time_ms)
    }

    /// Notes in the position which lanes still copy existing rows, so that a run that resumes knows it
    /// before it hears of them.
    fn remember_phases(&mut self, phases: &[Phase]) {
        let copying = self.lanes.iter().zip(phases).filter(|(_, phase)| **phase == Phase::Snapshot);
        let copying: BTreeMap<String, Value> =
            copying.map(|(lane, _)| (lane.full(), json!(true))).collect();
        if copying.is_empty() {
            self.position.remove(SNAPSHOT_KEY);
        } else {
            self.position.insert(SNAPSHOT_KEY.to_owned(), copying);
        }
    }

    /// The results of all writers of all sinks; those that saw no row of the epoch have an empty one.
    fn results(&self, reports: Vec<Report>) -> Result<Vec<SinkResults>, Error> {
        let mut sinks: Vec<SinkResults> = self
            .sinks
            .iter()
            .map(|sink| SinkResults {
                name: sink.name.clone(),
                before: sink.last_epoch.filter(|_| sink.stores_progress),
                results: vec![WriteResult::default(); self.worker_count],
            })
            .collect();
        for report in reports {
            let slot = sinks
                .get_mut(report.sink)
                .and_then(|sink| sink.results.get_mut(report.worker))
                .ok_or_else(|| Error::bug("a report names a sink or worker that is not there"))?;
            *slot = report.result;
        }
        Ok(sinks)
    }
}

/// Commits an epoch to one sink; the commit's name if it became visible.
fn commit_to_sink(
    checkpoint: &Checkpoint,
    sink_index: usize,
    committer: &mut dyn SinkCommitter,
) -> Result<Option<String>, Error> {
    let Some(sink) = checkpoint.sinks.get(sink_index) else {
        return Err(Error::bug("a checkpoint lacks one of the job's sinks"));
    };
    let request = CommitRequest {
        progress: checkpoint.progress.clone(),
        phase: checkpoint.phase,
        event_time_ms: checkpoint.event_time_ms,
        results: sink.results.clone(),
        recovered: false,
    };
    let outcome = committer.commit(&request)?;
    let (epoch, table) = (checkpoint.progress.epoch, &sink.name);
    match outcome {
        CommitOutcome::Committed(name) => {
            debug!(job = checkpoint.job_name, table, epoch, commit = name, "committed epoch");
            Ok(Some(name))
        }
        CommitOutcome::Empty => Ok(None),
        CommitOutcome::AlreadyCommitted => Err(Error::bug(format!(
            "epoch {epoch} of table {table} was committed before it was written"
        ))),
    }
}

/// Milliseconds since 1970.
pub(crate) fn wall_clock_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
