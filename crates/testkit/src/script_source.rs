//! A source that sends what a test has written down.
//!
//! Each lane has a list of transactions; its position is the number of transactions that it has
//! sent. Lists may grow while the source runs. An idle lane repeats its last boundary now and then,
//! as a heartbeat of a real source would, and so learns that its job has ended.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::Builder;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use serde_json::{Value, json};
use shardlake_change::ChangeBatch;
use shardlake_connector::{
    Boundary, ChangelogMode, Error, EventSender, Fault, Phase, ReadRequest, ReceiverGone,
    RunningSource, Source, SourceEvent, event_channel,
};

/// How often an idle lane repeats its boundary.
const HEARTBEAT: Duration = Duration::from_millis(5);

/// The batches of one transaction.
pub type Transaction = Vec<ChangeBatch>;

#[derive(Default)]
struct Lane {
    transactions: Vec<Transaction>,
    /// Failures to come: before the transaction of this number.
    failures: Vec<(usize, Fault)>,
}

#[derive(Default)]
struct Shared {
    lanes: Mutex<BTreeMap<String, Lane>>,
    grown: Condvar,
    row_count: AtomicU64,
    threads: AtomicUsize,
    starts: Mutex<Vec<Option<BTreeMap<String, Value>>>>,
    silent: AtomicBool,
}

/// A scripted source. Clones stand for the same source.
#[derive(Clone)]
pub struct ScriptSource {
    shared: Arc<Shared>,
    bounded: bool,
    phase: Phase,
    capacity: usize,
}

impl ScriptSource {
    /// A source that goes on for ever.
    #[must_use]
    pub fn unbounded(lanes: &[&str]) -> Self {
        Self::new(lanes, false)
    }

    /// A source that ends after the transactions that it has when it comes to the end of them.
    #[must_use]
    pub fn bounded(lanes: &[&str]) -> Self {
        Self::new(lanes, true)
    }

    fn new(lanes: &[&str], bounded: bool) -> Self {
        let shared = Shared::default();
        let lanes = lanes.iter().map(|lane| ((*lane).to_owned(), Lane::default()));
        *shared.lanes.lock() = lanes.collect();
        Self { shared: Arc::new(shared), bounded, phase: Phase::Streaming, capacity: 16 }
    }

    /// The same source with another capacity of its channels, in events.
    #[must_use]
    pub fn with_capacity(mut self, capacity: usize) -> Self {
        self.capacity = capacity;
        self
    }

    /// The same source in its snapshot phase.
    #[must_use]
    pub fn in_snapshot_phase(mut self) -> Self {
        self.phase = Phase::Snapshot;
        self
    }

    /// Adds a transaction to a lane.
    pub fn push(&self, lane: &str, transaction: Transaction) {
        self.shared.lanes.lock().entry(lane.to_owned()).or_default().transactions.push(transaction);
        self.shared.grown.notify_all();
    }

    /// Has a lane fail once, before it sends the transaction of this number (from 0).
    pub fn fail_before(&self, lane: &str, transaction: usize, fault: Fault) {
        let mut lanes = self.shared.lanes.lock();
        lanes.entry(lane.to_owned()).or_default().failures.push((transaction, fault));
    }

    /// Has idle lanes send no boundary any more.
    pub fn set_silent(&self) {
        self.shared.silent.store(true, Ordering::SeqCst);
    }

    /// Rows sent so far, over all runs.
    #[must_use]
    pub fn row_count(&self) -> u64 {
        self.shared.row_count.load(Ordering::SeqCst)
    }

    /// Reader threads that are alive.
    #[must_use]
    pub fn thread_count(&self) -> usize {
        self.shared.threads.load(Ordering::SeqCst)
    }

    /// The position with which each run was started.
    #[must_use]
    pub fn starts(&self) -> Vec<Option<BTreeMap<String, Value>>> {
        self.shared.starts.lock().clone()
    }

    fn spawn(&self, name: &str, from: usize) -> Result<shardlake_connector::EventReceiver, Error> {
        let (sender, receiver) = event_channel(self.capacity);
        let (source, lane) = (self.clone(), name.to_owned());
        self.shared.threads.fetch_add(1, Ordering::SeqCst);
        let thread = Builder::new().name(format!("script-{name}")).spawn(move || {
            let _gone = source.read(&lane, from, &sender);
            source.shared.threads.fetch_sub(1, Ordering::SeqCst);
        });
        thread.map_err(|error| Error::transient("no thread for a reader").caused_by(error))?;
        Ok(receiver)
    }

    fn read(&self, lane: &str, from: usize, sender: &EventSender) -> Result<(), ReceiverGone> {
        let mut next = from;
        loop {
            match self.take(lane, next) {
                Step::Send(transaction) => {
                    for batch in transaction {
                        let row_count = batch.row_count() as u64;
                        self.shared.row_count.fetch_add(row_count, Ordering::SeqCst);
                        sender.send(SourceEvent::Rows(batch))?;
                    }
                    next += 1;
                    sender.send(self.boundary(next))?;
                }
                Step::Fail(fault) => {
                    let error = Error::new(fault, format!("{lane} was told to fail"));
                    return sender.send(SourceEvent::Failed(error));
                }
                Step::End => {
                    sender.send(self.boundary(next))?;
                    return sender.send(SourceEvent::End);
                }
                Step::Idle if self.shared.silent.load(Ordering::SeqCst) => {
                    if sender.is_closed() {
                        return Err(ReceiverGone);
                    }
                }
                Step::Idle => sender.send(self.boundary(next))?,
            }
        }
    }

    fn boundary(&self, position: usize) -> SourceEvent {
        SourceEvent::Boundary(Boundary {
            position: json!(position),
            phase: self.phase,
            event_time_ms: Some(position as u64),
        })
    }

    /// What a lane does next; waits a little if there is nothing.
    fn take(&self, lane: &str, next: usize) -> Step {
        let mut lanes = self.shared.lanes.lock();
        let Some(state) = lanes.get_mut(lane) else { return Step::End };
        if let Some(index) = state.failures.iter().position(|(at, _)| *at == next) {
            return Step::Fail(state.failures.remove(index).1);
        }
        if let Some(transaction) = state.transactions.get(next) {
            return Step::Send(transaction.clone());
        }
        if self.bounded {
            return Step::End;
        }
        let _woken = self.shared.grown.wait_for(&mut lanes, HEARTBEAT);
        Step::Idle
    }
}

enum Step {
    Send(Transaction),
    Fail(Fault),
    End,
    Idle,
}

impl Source for ScriptSource {
    fn changelog_mode(&self) -> ChangelogMode {
        ChangelogMode::All
    }

    fn is_bounded(&self) -> bool {
        self.bounded
    }

    fn fingerprint(&self) -> String {
        "script".to_owned()
    }

    fn start(&self, request: &ReadRequest) -> Result<RunningSource, Error> {
        self.shared.starts.lock().push(request.position.clone());
        let names: Vec<String> = self.shared.lanes.lock().keys().cloned().collect();
        let mut lanes = Vec::with_capacity(names.len());
        for name in names {
            let stored = request.position.as_ref().and_then(|position| position.get(&name));
            let from = stored.and_then(Value::as_u64).unwrap_or(0);
            let from = usize::try_from(from).unwrap_or(usize::MAX);
            let receiver = self.spawn(&name, from)?;
            lanes.push((name, receiver));
        }
        Ok(RunningSource { lanes, status: None })
    }
}
