//! Care for the table beside the stream: files of expired snapshots are deleted, small files and delete
//! files become few.
//!
//! One thread plans, reads and writes; it never commits. What it has finished waits for the committer,
//! which puts it into the table between two epochs. So an epoch waits for a commit at most, never
//! for a rewrite. The thread uses a share of one processor and holds one row group at a time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use shardlake_connector::Error;
use shardlake_iceberg_table::maintenance::{
    CompactionOptions, ExpiredSnapshots, Rewritten, Throttle, file_counts, find_unused,
    merge_position_deletes, plan_compaction,
};
use shardlake_iceberg_table::{Error as LakeError, Table};
use tokio::runtime::Runtime;

/// How a sink cares for its table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MaintenanceOptions {
    /// Whether small files and delete files are rewritten.
    pub(crate) compacts: bool,
    /// The share of one processor that may be used.
    pub(crate) cpu_share: f64,
    /// How many bytes of data files are rewritten at a time.
    pub(crate) group_bytes: u64,
    /// How long files of expired snapshots are kept for queries that still read them.
    pub(crate) file_retention: Duration,
}

/// How many more files than at the last look make another look worth it.
const NEW_FILES: u64 = 10;
/// How often it looks whatever the number of files says.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);
/// How long it waits after a failure.
const FAILURE_PAUSE: Duration = Duration::from_secs(30);

/// The thread, seen from the committer.
pub(crate) struct Maintenance {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    stop: Arc<AtomicBool>,
}

#[derive(Default)]
struct State {
    /// The newest version of the table, until the thread has looked at it.
    table: Option<Table>,
    expired: VecDeque<(Table, ExpiredSnapshots)>,
    /// What is to be committed.
    finished: Option<Rewritten>,
}

impl Maintenance {
    /// Starts the thread. It ends when this is dropped.
    ///
    /// # Errors
    /// A bug if no thread can be started.
    pub(crate) fn start(options: MaintenanceOptions) -> Result<Self, Error> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            wake: Condvar::new(),
            stop: Arc::default(),
        });
        let of_thread = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("lake-maintenance".to_owned())
            .spawn(move || {
                match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                    Ok(runtime) => Worker::new(of_thread, options, runtime).run(),
                    Err(error) => tracing::warn!(%error, "no maintenance: no runtime"),
                }
            })
            .map_err(|error| Error::bug("cannot start the maintenance thread").caused_by(error))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Tells of a new version of the table, and of snapshots that expired with it.
    pub(crate) fn note(&self, table: &Table, expired: ExpiredSnapshots) {
        let mut state = self.shared.state.lock();
        if !expired.is_empty() {
            state.expired.push_back((table.clone(), expired));
        }
        state.table = Some(table.clone());
        self.shared.wake.notify_one();
    }

    /// What is to be committed now.
    pub(crate) fn take_finished(&self) -> Option<Rewritten> {
        let finished = self.shared.state.lock().finished.take();
        if finished.is_some() {
            self.shared.wake.notify_one();
        }
        finished
    }
}

impl Drop for Maintenance {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::warn!("the maintenance thread panicked");
        }
    }
}

struct Worker {
    shared: Arc<Shared>,
    options: MaintenanceOptions,
    runtime: Runtime,
    /// Files to be deleted, with the time from which on they may be.
    unused: VecDeque<(Instant, Table, Vec<String>)>,
    /// The numbers of data and delete files at the last look, and when that was.
    seen: Option<(u64, u64)>,
    looked_at: Option<Instant>,
}

impl Worker {
    const fn new(shared: Arc<Shared>, options: MaintenanceOptions, runtime: Runtime) -> Self {
        Self { shared, options, runtime, unused: VecDeque::new(), seen: None, looked_at: None }
    }

    fn run(&mut self) {
        while let Some((table, expired)) = self.wait() {
            for (table, expired) in expired {
                self.note_unused(table, &expired);
            }
            self.delete_unused();
            let Some(table) = table else { continue };
            if !self.options.compacts || !self.is_worth_a_look(&table) {
                continue;
            }
            if let Err(error) = self.care(&table) {
                self.failed(&table, &error);
            }
        }
        if let Some(left) = self.shared.state.lock().finished.take() {
            self.runtime.block_on(left.discard());
        }
    }

    /// Waits for something to do; none at the end.
    #[expect(clippy::type_complexity, reason = "two lists that are used at once")]
    fn wait(&self) -> Option<(Option<Table>, Vec<(Table, ExpiredSnapshots)>)> {
        let mut state = self.shared.state.lock();
        loop {
            if self.is_stopped() {
                return None;
            }
            let is_due = self.unused.front().is_some_and(|(due, ..)| *due <= Instant::now());
            if state.table.is_some() || !state.expired.is_empty() || is_due {
                return Some((state.table.take(), state.expired.drain(..).collect()));
            }
            self.shared.wake.wait_for(&mut state, Duration::from_secs(1));
        }
    }

    fn is_stopped(&self) -> bool {
        self.shared.stop.load(Ordering::Relaxed)
    }

    fn note_unused(&mut self, table: Table, expired: &ExpiredSnapshots) {
        match self.runtime.block_on(find_unused(&table, expired)) {
            Ok(unused) => {
                let due = Instant::now() + self.options.file_retention;
                self.unused.push_back((due, table, unused.locations().collect()));
            }
            Err(error) => {
                let (table, error) = (table.name(), &error);
                tracing::warn!(%table, %error, "files of expired snapshots stay behind");
            }
        }
    }

    fn delete_unused(&mut self) {
        while self.unused.front().is_some_and(|(due, ..)| *due <= Instant::now()) {
            let Some((_, table, locations)) = self.unused.pop_front() else { return };
            let file_count = locations.len();
            match self.runtime.block_on(table.storage().delete(&locations)) {
                Ok(()) => {
                    tracing::debug!(table = %table.name(), file_count, "deleted unused files");
                }
                Err(error) => {
                    let (table, error) = (table.name(), &error);
                    tracing::warn!(%table, %error, "files of expired snapshots stay behind");
                }
            }
        }
    }

    fn is_worth_a_look(&mut self, table: &Table) -> bool {
        let now = file_counts(table);
        let is_due = self.looked_at.is_none_or(|at| at.elapsed() >= LOOK_INTERVAL);
        let has_grown = match (self.seen, now) {
            (Some((data, deletes)), Some((data_now, deletes_now))) => {
                data_now >= data + NEW_FILES || deletes_now >= deletes + NEW_FILES
            }
            _ => true,
        };
        if is_due || has_grown {
            self.seen = now;
            self.looked_at = Some(Instant::now());
        }
        is_due || has_grown
    }

    /// Rewrites what is worth it.
    fn care(&mut self, table: &Table) -> Result<(), LakeError> {
        let options = CompactionOptions {
            max_group_bytes: self.options.group_bytes,
            ..CompactionOptions::default()
        };
        let mut rewrote = false;
        if let Some(mut plan) = self.runtime.block_on(plan_compaction(table, &options))? {
            let mut throttle = Throttle::new(self.options.cpu_share, Arc::clone(&self.shared.stop));
            while let Some(rewritten) = self.runtime.block_on(plan.rewrite_next(&mut throttle))? {
                rewrote = true;
                self.hand_over(rewritten);
            }
        }
        if rewrote || self.is_stopped() {
            // The delete files that are left are looked at again with the next version of the table.
            self.seen = self.seen.map(|(data, _)| (data, 0));
            return Ok(());
        }
        let merged =
            self.runtime.block_on(merge_position_deletes(table, options.min_input_files))?;
        if let Some(merged) = merged {
            self.hand_over(merged);
        }
        Ok(())
    }

    /// Waits until the committer has taken what is finished.
    fn hand_over(&mut self, rewritten: Rewritten) {
        let mut state = self.shared.state.lock();
        state.finished = Some(rewritten);
        while state.finished.is_some() && !self.is_stopped() {
            self.shared.wake.wait_for(&mut state, Duration::from_secs(1));
        }
        drop(state);
        self.seen = None;
    }

    fn failed(&self, table: &Table, error: &LakeError) {
        let name = table.name();
        match error {
            LakeError::Invalid(_) => tracing::debug!(table = %name, %error, "no compaction"),
            _ => tracing::warn!(table = %name, %error, "compaction failed; it is tried again"),
        }
        let mut state = self.shared.state.lock();
        let until = Instant::now() + FAILURE_PAUSE;
        while !self.is_stopped() && Instant::now() < until {
            self.shared.wake.wait_for(&mut state, Duration::from_secs(1));
        }
    }
}
