//! Credits: how much memory may be on its way between sources and writers.
//!
//! A batch takes a [`Credit`] of its size when a source emits it. Parts and copies share the credit;
//! the last one to be dropped, after a writer has written it, gives it back. Sources do not read
//! while the budget is used up, so whatever the queues between operators do, no more than the limit
//! and one batch of each lane is under way.
//!
//! No wake-up is lost: a source first announces that it waits and then looks again; a credit is first
//! given back and then looks for waiting sources. Both orders are sequentially consistent.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;

/// Wakes an operator; may be called from any thread.
pub(crate) type Wake = Arc<dyn Fn() + Send + Sync>;

/// The memory that all batches under way may take.
pub(crate) struct Budget {
    limit_bytes: usize,
    used_bytes: AtomicUsize,
    waiting: AtomicBool,
    sources: Mutex<Vec<Wake>>,
}

impl Budget {
    pub(crate) fn new(limit_bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            limit_bytes,
            used_bytes: AtomicUsize::new(0),
            waiting: AtomicBool::new(false),
            sources: Mutex::new(Vec::new()),
        })
    }

    /// Has a source woken when there is room again.
    pub(crate) fn enrol(&self, wake: Wake) {
        self.sources.lock().push(wake);
    }

    /// Takes a credit; always granted, also past the limit.
    pub(crate) fn take(self: &Arc<Self>, size_bytes: usize) -> Arc<Credit> {
        self.used_bytes.fetch_add(size_bytes, Ordering::SeqCst);
        Arc::new(Credit { size_bytes, budget: Arc::clone(self) })
    }

    /// Whether no more may be emitted now. A source that hears yes is woken later.
    pub(crate) fn is_used_up(&self) -> bool {
        if self.used_bytes.load(Ordering::SeqCst) < self.limit_bytes {
            return false;
        }
        self.waiting.store(true, Ordering::SeqCst);
        self.used_bytes.load(Ordering::SeqCst) >= self.limit_bytes
    }
}

/// A part of the budget, given back when it is dropped.
pub(crate) struct Credit {
    size_bytes: usize,
    budget: Arc<Budget>,
}

impl Credit {
    /// The memory that it stands for.
    pub(crate) const fn size_bytes(&self) -> usize {
        self.size_bytes
    }
}

impl Drop for Credit {
    fn drop(&mut self) {
        let before = self.budget.used_bytes.fetch_sub(self.size_bytes, Ordering::SeqCst);
        let used = before - self.size_bytes;
        let room = used <= self.budget.limit_bytes / 2;
        if room && self.budget.waiting.swap(false, Ordering::SeqCst) {
            for wake in self.budget.sources.lock().iter() {
                wake();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_that_waited_is_woken_when_half_is_free() {
        let budget = Budget::new(100);
        let woken = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&woken);
        budget.enrol(Arc::new(move || {
            count.fetch_add(1, Ordering::SeqCst);
        }));
        let credits: Vec<_> = (0..4).map(|_| budget.take(30)).collect();
        assert!(budget.is_used_up());
        let mut credits = credits.into_iter();
        drop(credits.next());
        assert_eq!(woken.load(Ordering::SeqCst), 0);
        assert!(!budget.is_used_up());
        drop(credits);
        assert_eq!(woken.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn copies_share_one_credit() {
        let budget = Budget::new(10);
        let credit = budget.take(10);
        let copy = Arc::clone(&credit);
        drop(credit);
        assert!(budget.is_used_up());
        drop(copy);
        assert!(!budget.is_used_up());
    }
}
