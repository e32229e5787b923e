//! What goes through a job, counted.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::Serialize;

/// What went through one source or sink since the job was submitted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TableCounters {
    /// The table's full name.
    pub name: String,
    /// Changes read from the source, or written to the sink. Changes that were read again after a
    /// failure count again.
    pub row_count: u64,
    /// For a source the memory of the changes that it sent, for a sink the bytes that it committed.
    pub size_bytes: u64,
    /// Changes committed; zero for a source.
    pub committed_row_count: u64,
    /// What the last commit is called (for Iceberg, the snapshot id); none for a source.
    pub last_commit: Option<String>,
    /// How long the operator has worked, all its threads together.
    pub busy_ms: u64,
    /// How long it could not send what it had because what follows was full, all its lanes together.
    pub blocked_ms: u64,
}

/// An epoch that became visible in a sink: for users, a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CommitReading {
    /// The epoch.
    pub epoch: u64,
    /// When it was closed, in milliseconds since 1970.
    pub closed_at_ms: u64,
    /// When it was committed, in milliseconds since 1970.
    pub at_ms: u64,
    /// When the newest change in it was written at its source, in milliseconds since 1970.
    pub event_time_ms: Option<u64>,
    /// Whether a source still copied existing rows.
    pub snapshot_phase: bool,
    /// Changes in it.
    pub row_count: u64,
    /// The bytes that its files take.
    pub size_bytes: u64,
    /// For each sink of the plan what the commit is called, if there was one.
    pub commits: Vec<Option<String>>,
}

/// The most committed epochs that are remembered.
const EPOCHS_MAX: usize = 200;

/// The counters of one source or sink.
#[derive(Default)]
pub(crate) struct Meter {
    name: String,
    row_count: AtomicU64,
    size_bytes: AtomicU64,
    committed_row_count: AtomicU64,
    last_commit: Mutex<Option<String>>,
    busy_ns: AtomicU64,
    blocked_ns: AtomicU64,
}

/// Counts the time until it is dropped as work.
pub(crate) struct Busy<'a> {
    meter: &'a Meter,
    since: Instant,
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.meter.busy_ns.fetch_add(nanos(self.since.elapsed()), Ordering::Relaxed);
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Meter {
    /// Counts the time until the answer is dropped as work.
    pub(crate) fn busy(&self) -> Busy<'_> {
        Busy { meter: self, since: Instant::now() }
    }

    /// What follows was full for this time.
    pub(crate) fn add_blocked(&self, time: Duration) {
        self.blocked_ns.fetch_add(nanos(time), Ordering::Relaxed);
    }

    pub(crate) fn add_rows(&self, row_count: u64) {
        self.row_count.fetch_add(row_count, Ordering::Relaxed);
    }

    pub(crate) fn add_bytes(&self, size_bytes: u64) {
        self.size_bytes.fetch_add(size_bytes, Ordering::Relaxed);
    }

    pub(crate) fn committed(&self, row_count: u64, name: String) {
        self.committed_row_count.fetch_add(row_count, Ordering::Relaxed);
        *self.last_commit.lock() = Some(name);
    }

    fn read(&self) -> TableCounters {
        TableCounters {
            name: self.name.clone(),
            row_count: self.row_count.load(Ordering::Relaxed),
            size_bytes: self.size_bytes.load(Ordering::Relaxed),
            committed_row_count: self.committed_row_count.load(Ordering::Relaxed),
            last_commit: self.last_commit.lock().clone(),
            busy_ms: self.busy_ns.load(Ordering::Relaxed) / 1_000_000,
            blocked_ms: self.blocked_ns.load(Ordering::Relaxed) / 1_000_000,
        }
    }
}

struct Shared {
    sources: Vec<Arc<Meter>>,
    transforms: Vec<Arc<Meter>>,
    sinks: Vec<Arc<Meter>>,
    epochs: Mutex<Epochs>,
}

#[derive(Default)]
struct Epochs {
    count: u64,
    last: VecDeque<CommitReading>,
}

/// The counters of a job over all its runs. Clones stand for the same counters.
#[derive(Clone)]
pub struct Meters(Arc<Shared>);

impl Meters {
    /// Counters at zero for tables of these names.
    #[must_use]
    pub fn new(sources: Vec<String>, transforms: Vec<String>, sinks: Vec<String>) -> Self {
        let meters = |names: Vec<String>| {
            let meter = |name| Arc::new(Meter { name, ..Meter::default() });
            names.into_iter().map(meter).collect()
        };
        Self(Arc::new(Shared {
            sources: meters(sources),
            transforms: meters(transforms),
            sinks: meters(sinks),
            epochs: Mutex::default(),
        }))
    }

    /// The sources' counters, in the plan's order.
    #[must_use]
    pub fn sources(&self) -> Vec<TableCounters> {
        self.0.sources.iter().map(|meter| meter.read()).collect()
    }

    /// The counters of what transforms, in the order of [`crate::transforms`].
    #[must_use]
    pub fn transforms(&self) -> Vec<TableCounters> {
        self.0.transforms.iter().map(|meter| meter.read()).collect()
    }

    /// The sinks' counters, in the plan's order.
    #[must_use]
    pub fn sinks(&self) -> Vec<TableCounters> {
        self.0.sinks.iter().map(|meter| meter.read()).collect()
    }

    /// The last epoch that became visible.
    #[must_use]
    pub fn last_commit(&self) -> Option<CommitReading> {
        self.0.epochs.lock().last.back().cloned()
    }

    /// The last epochs that became visible, the oldest first.
    #[must_use]
    pub fn epochs(&self) -> Vec<CommitReading> {
        self.0.epochs.lock().last.iter().cloned().collect()
    }

    /// How many epochs became visible.
    #[must_use]
    pub fn epoch_count(&self) -> u64 {
        self.0.epochs.lock().count
    }

    pub(crate) fn source(&self, index: usize) -> Arc<Meter> {
        self.0.sources.get(index).cloned().unwrap_or_default()
    }

    pub(crate) fn transform(&self, index: usize) -> Arc<Meter> {
        self.0.transforms.get(index).cloned().unwrap_or_default()
    }

    pub(crate) fn sink(&self, index: usize) -> Arc<Meter> {
        self.0.sinks.get(index).cloned().unwrap_or_default()
    }

    pub(crate) fn committed(&self, reading: CommitReading) {
        let mut epochs = self.0.epochs.lock();
        epochs.count += 1;
        epochs.last.push_back(reading);
        while epochs.last.len() > EPOCHS_MAX {
            epochs.last.pop_front();
        }
    }
}
