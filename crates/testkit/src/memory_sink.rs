//! A sink that keeps its commits in memory and fails when a test wants it to.
//!
//! The table outlives the jobs that write it, as a lake does: it keeps the progress of the last
//! commit, hands out generations, and refuses commits of older ones. A commit is the changelog text
//! of its rows. It checks the engine's side of the contract and reports a breach as a bug.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::{Condvar, Mutex};
use shardlake_change::{ChangeBatch, changelog_text};
use shardlake_connector::{
    ChangelogMode, Claim, CommitOutcome, CommitRequest, Error, Fault, JobIdentity, OpenedSink,
    Phase, Progress, Sink, SinkCommitter, SinkWriter, WriteResult,
};

/// A commit that became visible.
#[derive(Clone, Debug, PartialEq)]
pub struct MemoryCommit {
    /// Its epoch and the positions.
    pub progress: Progress,
    /// The generation that committed it.
    pub generation: u64,
    /// Whether a source was in its snapshot phase.
    pub phase: Phase,
    /// Its rows as changelog text, writer by writer.
    pub text: String,
}

/// When a sink fails. Each failure happens once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SinkFailure {
    /// The writer reports a transient failure at the batch of this number (from 0, over all runs).
    Write(u64),
    /// The writer panics at the batch of this number.
    WritePanics(u64),
    /// The writer fails to close the epoch of this number of closes.
    Close(u64),
    /// The commit of this number fails before it is visible.
    BeforeCommit(u64),
    /// The commit of this number is visible, but its committer reports a failure.
    AfterCommit(u64),
    /// As [`SinkFailure::BeforeCommit`], for a user to mend.
    CommitRefused(u64),
}

#[derive(Default)]
struct Table {
    commits: Vec<MemoryCommit>,
    progress: Option<Progress>,
    generation: u64,
    failures: Vec<SinkFailure>,
    write_count: u64,
    close_count: u64,
    commit_count: u64,
    recovered_epochs: Vec<u64>,
    requested_epochs: Vec<u64>,
}

#[derive(Default)]
struct Shared {
    table: Mutex<Table>,
    row_count: AtomicU64,
    gate: Mutex<Gate>,
    gate_changed: Condvar,
}

#[derive(Default)]
struct Gate {
    write_pause: Duration,
    closed: bool,
}

/// A table in memory. Clones stand for the same table.
#[derive(Clone)]
pub struct MemorySink {
    shared: Arc<Shared>,
    stores_progress: bool,
}

impl Default for MemorySink {
    fn default() -> Self {
        Self { shared: Arc::new(Shared::default()), stores_progress: true }
    }
}

impl MemorySink {
    /// A table that forgets where its job stood, as a printer does.
    #[must_use]
    pub fn forgetful() -> Self {
        Self { stores_progress: false, ..Self::default() }
    }

    /// Has the sink fail once.
    pub fn fail(&self, failure: SinkFailure) {
        self.shared.table.lock().failures.push(failure);
    }

    /// Has each write take this long.
    pub fn set_write_pause(&self, pause: Duration) {
        self.shared.gate.lock().write_pause = pause;
    }

    /// Has writes wait until [`MemorySink::open_gate`].
    pub fn close_gate(&self) {
        self.shared.gate.lock().closed = true;
    }

    /// Lets writes go on.
    pub fn open_gate(&self) {
        self.shared.gate.lock().closed = false;
        self.shared.gate_changed.notify_all();
    }

    /// All commits.
    #[must_use]
    pub fn commits(&self) -> Vec<MemoryCommit> {
        self.shared.table.lock().commits.clone()
    }

    /// The rows of all commits as changelog text.
    #[must_use]
    pub fn text(&self) -> String {
        self.shared.table.lock().commits.iter().map(|commit| commit.text.as_str()).collect()
    }

    /// Rows written so far, over all runs, committed or not.
    #[must_use]
    pub fn row_count(&self) -> u64 {
        self.shared.row_count.load(Ordering::SeqCst)
    }

    /// The epochs that were asked to be committed as recovered ones.
    #[must_use]
    pub fn recovered_epochs(&self) -> Vec<u64> {
        self.shared.table.lock().recovered_epochs.clone()
    }

    /// All epochs for which a commit was asked.
    #[must_use]
    pub fn requested_epochs(&self) -> Vec<u64> {
        self.shared.table.lock().requested_epochs.clone()
    }

    /// Claims the table as another process would: the job that has it can no longer commit.
    pub fn fence(&self) {
        self.shared.table.lock().generation += 1;
    }
}

impl Table {
    fn fails(&mut self, failure: SinkFailure) -> bool {
        let found = self.failures.iter().position(|planned| *planned == failure);
        found.map(|index| self.failures.remove(index)).is_some()
    }
}

fn injected(what: &str) -> Error {
    Error::transient(format!("the sink was told to fail at {what}"))
}

#[async_trait]
impl Sink for MemorySink {
    fn changelog_mode(&self) -> ChangelogMode {
        ChangelogMode::All
    }

    fn stores_progress(&self) -> bool {
        self.stores_progress
    }

    async fn prepare(&self) -> Result<(), Error> {
        Ok(())
    }

    async fn open(&self, _job: &JobIdentity) -> Result<Claim, Error> {
        let mut table = self.shared.table.lock();
        table.generation += 1;
        let generation = table.generation;
        let progress = table.progress.clone().filter(|_| self.stores_progress);
        let sink = Box::new(Opened { shared: Arc::clone(&self.shared), generation });
        Ok(Claim { sink, progress, generation })
    }
}

struct Opened {
    shared: Arc<Shared>,
    generation: u64,
}

impl OpenedSink for Opened {
    fn writer(&self, _worker: usize, _count: usize) -> Result<Box<dyn SinkWriter>, Error> {
        let shared = Arc::clone(&self.shared);
        Ok(Box::new(Writer { shared, open: BTreeMap::new(), closed: 0 }))
    }

    fn committer(&self) -> Result<Box<dyn SinkCommitter>, Error> {
        let shared = Arc::clone(&self.shared);
        Ok(Box::new(Committer { shared, generation: self.generation }))
    }
}

struct Writer {
    shared: Arc<Shared>,
    open: BTreeMap<u64, Vec<ChangeBatch>>,
    closed: u64,
}

impl SinkWriter for Writer {
    fn write(&mut self, epoch: u64, batch: ChangeBatch) -> Result<(), Error> {
        if epoch <= self.closed {
            return Err(Error::bug("rows of an epoch that was closed"));
        }
        {
            let mut gate = self.shared.gate.lock();
            self.shared.gate_changed.wait_while(&mut gate, |gate| gate.closed);
            let pause = gate.write_pause;
            let _timed_out = self.shared.gate_changed.wait_for(&mut gate, pause);
        }
        let (fails, panics) = {
            let mut table = self.shared.table.lock();
            let count = table.write_count;
            table.write_count += 1;
            (table.fails(SinkFailure::Write(count)), table.fails(SinkFailure::WritePanics(count)))
        };
        assert!(!panics, "the sink was told to panic");
        if fails {
            return Err(injected("a write"));
        }
        self.shared.row_count.fetch_add(batch.row_count() as u64, Ordering::SeqCst);
        self.open.entry(epoch).or_default().push(batch);
        Ok(())
    }

    fn close_epoch(&mut self, epoch: u64) -> Result<WriteResult, Error> {
        if epoch <= self.closed {
            return Err(Error::bug("epochs were closed out of order"));
        }
        self.closed = epoch;
        {
            let mut table = self.shared.table.lock();
            let count = table.close_count;
            table.close_count += 1;
            if table.fails(SinkFailure::Close(count)) {
                return Err(injected("a close"));
            }
        }
        let later = self.open.split_off(&(epoch + 1));
        let batches: Vec<ChangeBatch> =
            std::mem::replace(&mut self.open, later).into_values().flatten().collect();
        let text = changelog_text(&batches)
            .map_err(|error| Error::bug("rows cannot be printed").caused_by(error))?;
        let row_count = batches.iter().map(|batch| batch.row_count() as u64).sum();
        Ok(WriteResult { row_count, size_bytes: text.len() as u64, committable: text.into_bytes() })
    }
}

struct Committer {
    shared: Arc<Shared>,
    generation: u64,
}

impl SinkCommitter for Committer {
    fn commit(&mut self, request: &CommitRequest) -> Result<CommitOutcome, Error> {
        let mut table = self.shared.table.lock();
        let epoch = request.progress.epoch;
        if self.generation != table.generation {
            return Err(Error::job("a newer run has taken the table"));
        }
        if request.recovered {
            table.recovered_epochs.push(epoch);
            if table.progress.as_ref().is_some_and(|progress| progress.epoch >= epoch) {
                return Ok(CommitOutcome::AlreadyCommitted);
            }
        }
        table.requested_epochs.push(epoch);
        let text: String = request
            .results
            .iter()
            .map(|result| String::from_utf8_lossy(&result.committable).into_owned())
            .collect();
        if text.is_empty() {
            return Ok(CommitOutcome::Empty);
        }
        if table.commits.last().is_some_and(|last| last.progress.epoch >= epoch) {
            return Err(Error::bug("epochs were committed out of order"));
        }
        let count = table.commit_count;
        table.commit_count += 1;
        if table.fails(SinkFailure::BeforeCommit(count)) {
            return Err(injected("a commit"));
        }
        if table.fails(SinkFailure::CommitRefused(count)) {
            return Err(Error::new(Fault::Job, "the sink was told to refuse a commit"));
        }
        table.progress = Some(request.progress.clone());
        table.commits.push(MemoryCommit {
            progress: request.progress.clone(),
            generation: self.generation,
            phase: request.phase,
            text,
        });
        if table.fails(SinkFailure::AfterCommit(count)) {
            return Err(injected("the end of a commit"));
        }
        Ok(CommitOutcome::Committed(count.to_string()))
    }
}
