//! What goes through a job, counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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
}

/// The last epoch that became visible in a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitReading {
    /// The epoch.
    pub epoch: u64,
    /// When it was committed, in milliseconds since 1970.
    pub at_ms: u64,
    /// When the newest change in it was written at its source, in milliseconds since 1970.
    pub event_time_ms: Option<u64>,
}

/// The counters of one source or sink.
#[derive(Default)]
pub(crate) struct Meter {
    name: String,
    row_count: AtomicU64,
    size_bytes: AtomicU64,
    committed_row_count: AtomicU64,
    last_commit: Mutex<Option<String>>,
}

impl Meter {
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
        }
    }
}

struct Shared {
    sources: Vec<Arc<Meter>>,
    sinks: Vec<Arc<Meter>>,
    last: Mutex<Option<CommitReading>>,
}

/// The counters of a job over all its runs. Clones stand for the same counters.
#[derive(Clone)]
pub struct Meters(Arc<Shared>);

impl Meters {
    /// Counters at zero for tables of these names.
    #[must_use]
    pub fn new(sources: Vec<String>, sinks: Vec<String>) -> Self {
        let meters = |names: Vec<String>| {
            let meter = |name| Arc::new(Meter { name, ..Meter::default() });
            names.into_iter().map(meter).collect()
        };
        Self(Arc::new(Shared {
            sources: meters(sources),
            sinks: meters(sinks),
            last: Mutex::new(None),
        }))
    }

    /// The sources' counters, in the plan's order.
    #[must_use]
    pub fn sources(&self) -> Vec<TableCounters> {
        self.0.sources.iter().map(|meter| meter.read()).collect()
    }

    /// The sinks' counters, in the plan's order.
    #[must_use]
    pub fn sinks(&self) -> Vec<TableCounters> {
        self.0.sinks.iter().map(|meter| meter.read()).collect()
    }

    /// The last epoch that became visible.
    #[must_use]
    pub fn last_commit(&self) -> Option<CommitReading> {
        *self.0.last.lock()
    }

    pub(crate) fn source(&self, index: usize) -> Arc<Meter> {
        self.0.sources.get(index).cloned().unwrap_or_default()
    }

    pub(crate) fn sink(&self, index: usize) -> Arc<Meter> {
        self.0.sinks.get(index).cloned().unwrap_or_default()
    }

    pub(crate) fn committed(&self, reading: CommitReading) {
        *self.0.last.lock() = Some(reading);
    }
}
