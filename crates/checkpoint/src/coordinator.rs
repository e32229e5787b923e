//! When epochs close.
//!
//! Epochs are numbered without gaps. One epoch is open: rows that are read now belong to it. Closed
//! epochs wait in order until they are committed. The coordinator is told the load of the open epoch
//! and the time, and says when to close it.
//!
//! Invariants: commits are accepted in order only; open and closed epochs that are not committed
//! are never more than [`Limits::in_flight`]. The second holds because an epoch is only closed (and
//! so the next one opened) while fewer are in flight, and the last epoch opens no other.

use std::collections::VecDeque;

use shardlake_connector::Error;

/// What bounds the coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// An epoch closes this long after the one before it, if anything happened in it.
    pub interval_ms: u64,
    /// At least this long lies between a commit and the next close.
    pub min_pause_ms: u64,
    /// A closed epoch that is not committed for this long is a failure.
    pub timeout_ms: u64,
    /// An epoch of this size closes before its interval is over.
    pub size_bytes_max: u64,
    /// How many epochs may be open or closed without being committed; at least 2.
    pub in_flight: usize,
}

/// What happened so far in the open epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Whether a source sent rows or moved its position.
    pub active: bool,
    /// The size of the rows.
    pub size_bytes: u64,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Close this epoch: each source ends it at its next boundary. The next epoch is open now, or
    /// none if this was the last.
    Close(u64),
    /// Nothing before this time, unless something happens.
    WaitUntil(u64),
    /// Nothing until something happens.
    Wait,
}

#[derive(Clone, Copy, Debug)]
struct Closed {
    epoch: u64,
    at_ms: u64,
}

/// Decides when epochs close and checks the order of commits.
#[derive(Debug)]
pub struct Coordinator {
    limits: Limits,
    open: Option<u64>,
    closed: VecDeque<Closed>,
    last_close_ms: u64,
    last_commit_ms: Option<u64>,
    stopping: bool,
}

impl Coordinator {
    /// A coordinator whose first epoch is open from `now_ms` on.
    #[must_use]
    pub fn new(limits: Limits, first_epoch: u64, now_ms: u64) -> Self {
        let limits = Limits { in_flight: limits.in_flight.max(2), ..limits };
        Self {
            limits,
            open: Some(first_epoch),
            closed: VecDeque::new(),
            last_close_ms: now_ms,
            last_commit_ms: None,
            stopping: false,
        }
    }

    /// The epoch to which rows belong that are read now; none after the last has closed.
    #[must_use]
    pub const fn open_epoch(&self) -> Option<u64> {
        self.open
    }

    /// Whether the last epoch has closed and all are committed.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.open.is_none() && self.closed.is_empty()
    }

    /// How many epochs are open or wait for their commit.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.closed.len() + usize::from(self.open.is_some())
    }

    /// The open epoch is to be the last: it closes as soon as a commit leaves room.
    pub const fn request_stop(&mut self) {
        self.stopping = true;
    }

    /// All sources have ended: the open epoch is closed and was the last.
    pub fn inputs_ended(&mut self, now_ms: u64) {
        if let Some(epoch) = self.open.take() {
            self.closed.push_back(Closed { epoch, at_ms: now_ms });
        }
    }

    /// What to do at this time.
    ///
    /// # Errors
    /// A transient one if a closed epoch has waited too long for its commit.
    pub fn poll(&mut self, now_ms: u64, load: Load) -> Result<Step, Error> {
        let deadline = self.closed.front().map(|oldest| oldest.at_ms + self.limits.timeout_ms);
        if let (Some(deadline), Some(oldest)) = (deadline, self.closed.front())
            && now_ms >= deadline
        {
            return Err(Error::transient(format!(
                "epoch {} was not committed within {} ms of its close: a source does not end its \
                 transaction or a sink is too slow; raise 'execution.checkpointing.timeout' if \
                 this is to be expected",
                oldest.epoch, self.limits.timeout_ms
            )));
        }
        let Some(epoch) = self.open else {
            return Ok(deadline.map_or(Step::Wait, Step::WaitUntil));
        };
        let due = self.due_ms(load);
        if due.is_some_and(|due| due <= now_ms) {
            self.close(epoch, now_ms);
            return Ok(Step::Close(epoch));
        }
        let next = [due, deadline].into_iter().flatten().min();
        Ok(next.map_or(Step::Wait, Step::WaitUntil))
    }

    /// When the open epoch is to close; none if that depends on something that must happen first.
    fn due_ms(&self, load: Load) -> Option<u64> {
        if self.closed.len() + 1 >= self.limits.in_flight {
            return None;
        }
        if self.stopping {
            return Some(0);
        }
        if !load.active {
            return None;
        }
        let paused_until = self.last_commit_ms.map_or(0, |at| at + self.limits.min_pause_ms);
        if load.size_bytes >= self.limits.size_bytes_max {
            return Some(paused_until);
        }
        Some(paused_until.max(self.last_close_ms + self.limits.interval_ms))
    }

    fn close(&mut self, epoch: u64, now_ms: u64) {
        self.closed.push_back(Closed { epoch, at_ms: now_ms });
        self.last_close_ms = now_ms;
        self.open = (!self.stopping).then_some(epoch + 1);
    }

    /// An epoch is committed (or had nothing to commit).
    ///
    /// # Errors
    /// If it is not the oldest closed epoch: a bug, because commits are made in order.
    pub fn committed(&mut self, epoch: u64, now_ms: u64) -> Result<(), Error> {
        match self.closed.front() {
            Some(oldest) if oldest.epoch == epoch => {
                self.closed.pop_front();
                self.last_commit_ms = Some(now_ms);
                Ok(())
            }
            Some(oldest) => Err(Error::bug(format!(
                "epoch {epoch} was committed before epoch {}",
                oldest.epoch
            ))),
            None => Err(Error::bug(format!("epoch {epoch} was committed without being closed"))),
        }
    }
}

#[cfg(test)]
mod tests;
