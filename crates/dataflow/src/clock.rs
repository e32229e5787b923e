//! The epoch clock: the coordinator, shared by all workers of a run.
//!
//! Worker 0 asks the coordinator after each step; sources look at [`EpochClock::open`] at each
//! boundary and end every epoch below it. Whoever may change the coordinator's answer wakes worker 0.
//!
//! A stop goes through the lanes: each first passes on what its source has sent already, then the
//! coordinator closes the last epoch.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use shardlake_checkpoint::{Coordinator, Limits, Load, Step};
use shardlake_connector::Error;

use crate::commit::wall_clock_ms;
use crate::credit::Wake;

/// The epochs of one run.
pub(crate) struct EpochClock {
    started: Instant,
    coordinator: Mutex<Coordinator>,
    /// Epochs below this are closed.
    open: AtomicU64,
    /// Epochs below this are committed.
    committed: AtomicU64,
    /// The last epoch; `u64::MAX` until it is known.
    last: AtomicU64,
    size_bytes_max: u64,
    size_bytes: AtomicU64,
    active: AtomicBool,
    stopping: AtomicBool,
    /// Lanes that wait for a commit.
    waiting: AtomicUsize,
    /// Lanes that still read.
    reading: AtomicUsize,
    /// Lanes that have not ended.
    running: AtomicUsize,
    /// Whether the last epoch is the last because all inputs have ended.
    inputs_ended: AtomicBool,
    sources: Mutex<Vec<Wake>>,
    ticker: Mutex<Option<Thread>>,
    /// When the epochs that are not committed yet were closed, in milliseconds since 1970.
    closed_at_ms: Mutex<BTreeMap<u64, u64>>,
}

impl EpochClock {
    /// A clock whose first epoch is open, for so many lanes.
    pub(crate) fn new(limits: Limits, first_epoch: u64, lanes: usize) -> Self {
        let clock = Self {
            started: Instant::now(),
            coordinator: Mutex::new(Coordinator::new(limits, first_epoch, 0)),
            open: AtomicU64::new(first_epoch),
            committed: AtomicU64::new(first_epoch),
            last: AtomicU64::new(u64::MAX),
            size_bytes_max: limits.size_bytes_max,
            size_bytes: AtomicU64::new(0),
            active: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            waiting: AtomicUsize::new(0),
            reading: AtomicUsize::new(lanes),
            running: AtomicUsize::new(lanes),
            inputs_ended: AtomicBool::new(false),
            sources: Mutex::new(Vec::new()),
            ticker: Mutex::new(None),
            closed_at_ms: Mutex::default(),
        };
        if lanes == 0 {
            clock.end_inputs();
        }
        clock
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The calling thread calls [`EpochClock::tick`]; it is woken when that is needed.
    pub(crate) fn enrol_ticker(&self) {
        *self.ticker.lock() = Some(thread::current());
    }

    /// Has a source woken when an epoch closes or a stop is wanted.
    pub(crate) fn enrol_source(&self, wake: Wake) {
        self.sources.lock().push(wake);
    }

    fn wake_ticker(&self) {
        if let Some(ticker) = self.ticker.lock().as_ref() {
            ticker.unpark();
        }
    }

    fn wake_sources(&self) {
        for wake in self.sources.lock().iter() {
            wake();
        }
    }

    /// Closes what is due; how long nothing more is due, if that is known.
    pub(crate) fn tick(&self) -> Result<Option<Duration>, Error> {
        let now_ms = self.now_ms();
        let mut coordinator = self.coordinator.lock();
        loop {
            let load = Load {
                active: self.active.load(Ordering::SeqCst),
                size_bytes: self.size_bytes.load(Ordering::SeqCst),
            };
            match coordinator.poll(now_ms, load)? {
                Step::Close(epoch) => {
                    self.closed_at_ms.lock().insert(epoch, wall_clock_ms());
                    // Cleared before the next epoch opens, so that nothing of it is cleared.
                    self.active.store(false, Ordering::SeqCst);
                    self.size_bytes.store(0, Ordering::SeqCst);
                    if coordinator.open_epoch().is_none() {
                        self.last.store(epoch, Ordering::SeqCst);
                    }
                    self.open.store(epoch + 1, Ordering::SeqCst);
                    self.wake_sources();
                }
                Step::WaitUntil(at_ms) => {
                    return Ok(Some(Duration::from_millis(at_ms.saturating_sub(now_ms))));
                }
                Step::Wait => return Ok(None),
            }
        }
    }

    /// Epochs below this are closed: a lane ends them at its next boundary.
    pub(crate) fn open(&self) -> u64 {
        self.open.load(Ordering::SeqCst)
    }

    /// The last epoch, once it is closed.
    pub(crate) fn last(&self) -> Option<u64> {
        Some(self.last.load(Ordering::SeqCst)).filter(|epoch| *epoch != u64::MAX)
    }

    /// Whether the inputs have ended, as against a stop.
    pub(crate) fn inputs_ended(&self) -> bool {
        self.inputs_ended.load(Ordering::SeqCst)
    }

    /// Whether the inputs have ended with this epoch.
    pub(crate) fn finishes_with(&self, epoch: u64) -> bool {
        self.inputs_ended() && self.last() == Some(epoch)
    }

    /// Whether the open epoch has reached its size: lanes that stand at a boundary wait.
    pub(crate) fn is_full(&self) -> bool {
        self.size_bytes.load(Ordering::SeqCst) >= self.size_bytes_max
    }

    /// Rows of this size were emitted.
    pub(crate) fn add(&self, size_bytes: usize) {
        let size_bytes = size_bytes as u64;
        let before = self.size_bytes.fetch_add(size_bytes, Ordering::SeqCst);
        let full = before < self.size_bytes_max && before + size_bytes >= self.size_bytes_max;
        let first = !self.active.swap(true, Ordering::SeqCst);
        if full || first {
            self.wake_ticker();
        }
    }

    /// A lane's position moved.
    pub(crate) fn touch(&self) {
        if !self.active.swap(true, Ordering::SeqCst) {
            self.wake_ticker();
        }
    }

    /// Whether something happened in the open epoch already.
    pub(crate) fn is_active(&self) -> bool {
        self.active.load(Ordering::SeqCst)
    }

    /// Whether an epoch is committed. A lane that waits for it says so by [`EpochClock::wait`].
    pub(crate) fn is_committed(&self, epoch: u64) -> bool {
        epoch < self.committed.load(Ordering::SeqCst)
    }

    /// A lane waits for the commit of an epoch, in which something happened.
    pub(crate) fn wait(&self) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        self.touch();
    }

    /// A lane no longer waits.
    pub(crate) fn waited(&self) {
        self.waiting.fetch_sub(1, Ordering::SeqCst);
    }

    /// Whether a stop is wanted: lanes pass on what is there and then read no more.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// A stop is wanted.
    pub(crate) fn stop(&self) {
        if !self.stopping.swap(true, Ordering::SeqCst) {
            self.wake_sources();
        }
    }

    /// A lane has passed on what its source had sent and reads no more. Called once by each lane.
    pub(crate) fn lane_drained(&self) {
        if self.reading.fetch_sub(1, Ordering::SeqCst) == 1 && self.is_stopping() {
            self.coordinator.lock().request_stop();
            self.wake_ticker();
        }
    }

    /// A lane has ended. If it was the last one, the open epoch is the last. Returns the epoch up to
    /// which the lane has to give marks. Called once by each lane.
    pub(crate) fn lane_ended(&self) -> u64 {
        if self.running.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.end_inputs();
        }
        let coordinator = self.coordinator.lock();
        self.last().or(coordinator.open_epoch()).unwrap_or_else(|| self.open())
    }

    fn end_inputs(&self) {
        let mut coordinator = self.coordinator.lock();
        if let Some(epoch) = coordinator.open_epoch() {
            coordinator.inputs_ended(self.now_ms());
            self.last.store(epoch, Ordering::SeqCst);
            self.inputs_ended.store(true, Ordering::SeqCst);
        }
    }

    /// When an epoch was closed, in milliseconds since 1970; told once. An epoch that closed because all
    /// inputs ended is closed now.
    pub(crate) fn take_closed_at_ms(&self, epoch: u64) -> u64 {
        let mut closed = self.closed_at_ms.lock();
        let at_ms = closed.remove(&epoch);
        *closed = closed.split_off(&epoch);
        at_ms.unwrap_or_else(wall_clock_ms)
    }

    /// An epoch is committed.
    pub(crate) fn committed(&self, epoch: u64) -> Result<(), Error> {
        self.coordinator.lock().committed(epoch, self.now_ms())?;
        self.committed.store(epoch + 1, Ordering::SeqCst);
        self.wake_ticker();
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.wake_sources();
        }
        Ok(())
    }
}
