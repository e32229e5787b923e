//! How a run ends: the first cause wins, and every worker learns of it.
//!
//! A cause is set before the operator that met it returns, so before timely lets the epoch of the
//! lost rows pass: the committer, which looks here before each commit, never commits that epoch.

use std::any::Any;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Thread};

use parking_lot::Mutex;
use shardlake_connector::Error;

/// Why a run ends before its dataflow has finished.
#[derive(Debug)]
pub(crate) enum Cause {
    /// Something failed.
    Failed(Error),
    /// The user wants it to.
    Cancelled,
}

/// How one run ends.
#[derive(Default)]
pub(crate) struct Ending {
    cause: Mutex<Option<Cause>>,
    over: AtomicBool,
    workers: Mutex<Vec<Thread>>,
}

impl Ending {
    /// The calling thread is a worker; it is woken when the run is over.
    pub(crate) fn enrol(&self) {
        self.workers.lock().push(thread::current());
    }

    /// Ends the run for this cause unless it has one already.
    pub(crate) fn set(&self, cause: Cause) {
        self.cause.lock().get_or_insert(cause);
        self.over.store(true, Ordering::SeqCst);
        for worker in self.workers.lock().iter() {
            worker.unpark();
        }
    }

    /// Ends the run with this failure unless it has a cause already.
    pub(crate) fn fail(&self, error: Error) {
        self.set(Cause::Failed(error));
    }

    /// Ends the run because a thread panicked.
    pub(crate) fn panicked(&self, who: &str, payload: &(dyn Any + Send)) {
        let message = payload
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "no message".to_owned());
        self.fail(Error::bug(format!("{who} panicked: {message}")));
    }

    /// Whether the run is over.
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// The cause, once all threads have ended.
    pub(crate) fn take(&self) -> Option<Cause> {
        self.cause.lock().take()
    }
}
