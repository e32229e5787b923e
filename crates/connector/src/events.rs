//! What a source sends into the engine, and the bounded channel that carries it.

use std::sync::{Arc, Weak};

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};
use parking_lot::Mutex;
use serde_json::Value;
use shardlake_change::ChangeBatch;

use crate::Error;

/// Whether a source still copies existing rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Existing rows are being read; the table may show transactions in part.
    Snapshot,
    /// The snapshot phase has ended: each boundary is a consistent state of the source.
    Streaming,
}

/// A point between two transactions (or chunks) of a source, at which an epoch may close.
#[derive(Clone, Debug, PartialEq)]
pub struct Boundary {
    /// Where the source resumes so that exactly the rows sent before this boundary are behind it.
    /// Only the source that made it reads it.
    pub position: Value,
    /// Whether existing rows are still being copied.
    pub phase: Phase,
    /// When the last transaction before it was written at the source, in milliseconds since 1970.
    pub event_time_ms: Option<u64>,
}

/// What a source sends.
///
/// Between two boundaries stand whole transactions only: a source holds the rows of a transaction
/// (or snapshot chunk) back until it has read its end.
#[derive(Debug)]
pub enum SourceEvent {
    /// Rows of transactions whose end has been read, at most about 2 MiB.
    Rows(ChangeBatch),
    /// A batch that takes effect between what was sent before it and what follows: the engine commits
    /// everything before it first, then it and its boundary, then goes on. It stands behind a boundary, and
    /// the next one follows at once.
    Alone(ChangeBatch),
    /// All rows sent so far belong to transactions that are complete.
    Boundary(Boundary),
    /// A bounded source has sent its last boundary. Nothing follows.
    End,
    /// The source cannot go on. Nothing follows.
    Failed(Error),
}

type Waker = Box<dyn Fn() + Send + Sync>;

/// A bounded channel of source events. `capacity` counts events.
#[must_use]
pub fn event_channel(capacity: usize) -> (EventSender, EventReceiver) {
    let (sender, receiver) = bounded(capacity);
    let waker = Arc::new(Mutex::new(None));
    let open = Arc::new(());
    (
        EventSender { sender, waker: Arc::clone(&waker), open: Arc::downgrade(&open) },
        EventReceiver { receiver, waker, _open: open },
    )
}

/// The receiver of an event channel no longer exists: the job ended, so the source should too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the job that read this source has ended")]
pub struct ReceiverGone;

/// The source's end of an event channel.
#[derive(Clone)]
pub struct EventSender {
    sender: Sender<SourceEvent>,
    waker: Arc<Mutex<Option<Waker>>>,
    open: Weak<()>,
}

impl EventSender {
    /// Whether the engine no longer listens. A reader that waits for its source asks from time to time.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.open.strong_count() == 0
    }

    /// Sends an event, waiting while the channel is full. Call it from a thread that may block.
    ///
    /// # Errors
    /// [`ReceiverGone`] when the engine no longer listens.
    pub fn send(&self, event: SourceEvent) -> Result<(), ReceiverGone> {
        self.sender.send(event).map_err(|_| ReceiverGone)?;
        if let Some(wake) = self.waker.lock().as_ref() {
            wake();
        }
        Ok(())
    }
}

/// The engine's end of an event channel.
pub struct EventReceiver {
    receiver: Receiver<SourceEvent>,
    waker: Arc<Mutex<Option<Waker>>>,
    _open: Arc<()>,
}

impl EventReceiver {
    /// Has `wake` called after each event that is sent from now on.
    pub fn set_waker(&self, wake: Waker) {
        *self.waker.lock() = Some(wake);
    }

    /// The next event, or `None` if there is none now. A source that vanished without
    /// [`SourceEvent::End`] or [`SourceEvent::Failed`] yields a failure.
    #[must_use]
    pub fn try_next(&self) -> Option<SourceEvent> {
        match self.receiver.try_recv() {
            Ok(event) => Some(event),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(vanished()),
        }
    }

    /// The next event; waits for it.
    #[must_use]
    pub fn next(&self) -> SourceEvent {
        self.receiver.recv().unwrap_or_else(|_| vanished())
    }
}

fn vanished() -> SourceEvent {
    SourceEvent::Failed(Error::bug("a source's reader ended without a word"))
}
