//! One run of a job, from its first epoch to its end.
//!
//! [`run`] starts the workers, waits for them, and joins every thread that the run has started. A
//! panic in a worker is caught in that worker, becomes the run's failure, and ends the others: timely
//! itself would leave them waiting for ever.

use std::iter::repeat;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use parking_lot::Mutex;
use shardlake_checkpoint::CheckpointStore;
use shardlake_connector::{Error, EventReceiver, JobPosition, OpenedSink};
use shardlake_sql::plan::{JobPlan, StreamNode};
use timely::scheduling::SyncActivator;
use timely::worker::Worker;
use timely::{CommunicationConfig, Config, WorkerConfig};
use tokio::runtime::Handle;

use crate::clock::EpochClock;
use crate::commit::{CommitSeat, CommitTarget, LaneName, LastCommit};
use crate::control::{Control, Wish};
use crate::credit::{Budget, Wake};
use crate::ending::{Cause, Ending};
use crate::graph::build;
use crate::meters::Meters;
use crate::settings::Settings;
use crate::sink::SinkSpec;
use crate::source::Lane;

/// The longest time for which a worker does not look around.
const PARK_MAX: Duration = Duration::from_millis(500);

/// Where a run begins.
#[derive(Clone, Debug)]
pub struct StartPoint {
    /// Its first epoch: one more than the last that was committed, at least 1.
    pub epoch: u64,
    /// Where the sources stand.
    pub position: JobPosition,
    /// The fingerprint to store with positions.
    pub fingerprint: String,
}

/// Everything that a run needs.
pub struct Run {
    /// The plan.
    pub plan: JobPlan,
    /// How it runs.
    pub settings: Settings,
    /// Where it begins.
    pub start: StartPoint,
    /// The names of the plan's sources, as positions have them.
    pub source_names: Vec<String>,
    /// For each source of the plan its lanes.
    pub lanes: Vec<Vec<(String, EventReceiver)>>,
    /// The claimed sinks, in the plan's order.
    pub sinks: Vec<Arc<dyn OpenedSink>>,
    /// For each sink the last epoch that it says was committed to it.
    pub sink_epochs: Vec<Option<u64>>,
    /// Where checkpoints of a job with several sinks go.
    pub store: Option<Box<dyn CheckpointStore>>,
    /// The runtime in whose context writers and committers run.
    pub runtime: Handle,
    /// The user's wishes.
    pub control: Control,
    /// The job's counters.
    pub meters: Meters,
    /// Where the job stood at its last commit.
    pub last: LastCommit,
}

/// How a run ended without a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// All inputs have ended and everything is committed.
    Finished,
    /// The user wanted a stop, and everything that the sources had sent is committed.
    Stopped,
    /// The user wanted an end at once.
    Cancelled,
}

/// What the threads of a run share.
pub(crate) struct Shared {
    pub(crate) first_epoch: u64,
    pub(crate) clock: EpochClock,
    pub(crate) budget: Arc<Budget>,
    pub(crate) ending: Ending,
    pub(crate) meters: Meters,
    runtime: Handle,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Shared {
    /// Starts a thread that [`run`] joins.
    pub(crate) fn spawn(&self, name: &str, work: impl FnOnce() + Send + 'static) {
        let runtime = self.runtime.clone();
        let thread = Builder::new().name(name.to_owned()).spawn(move || {
            let _context = runtime.enter();
            work();
        });
        match thread {
            Ok(thread) => self.threads.lock().push(thread),
            Err(error) => self.ending.fail(
                Error::transient("the operating system refused to start a thread").caused_by(error),
            ),
        }
    }
}

/// What is handed to the workers when they build the dataflow.
pub(crate) struct Parts {
    pub(crate) source_count: usize,
    pub(crate) lane_names: Vec<LaneName>,
    pub(crate) sinks: Vec<(SinkSpec, StreamNode)>,
    lane_sources: Vec<usize>,
    lanes: Mutex<Vec<Option<Lane>>>,
    commit_seat: Mutex<Option<CommitSeat>>,
}

impl Parts {
    pub(crate) fn take_lane(&self, index: usize) -> Option<Lane> {
        self.lanes.lock().get_mut(index).and_then(Option::take)
    }

    pub(crate) fn source_of(&self, lane: usize) -> usize {
        self.lane_sources.get(lane).copied().unwrap_or(usize::MAX)
    }

    pub(crate) fn take_commit_seat(&self) -> Option<CommitSeat> {
        self.commit_seat.lock().take()
    }
}

/// Wakes an operator from any thread, once for all calls before it looks.
pub(crate) struct Waker {
    pub(crate) call: Wake,
    pending: Arc<AtomicBool>,
}

impl Waker {
    /// The operator looks now: whatever was announced before is seen, and later calls wake again.
    pub(crate) fn clear(&self) {
        self.pending.swap(false, Ordering::SeqCst);
    }
}

pub(crate) fn waker(activator: SyncActivator) -> Waker {
    let pending = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&pending);
    let call: Wake = Arc::new(move || {
        if !flag.swap(true, Ordering::SeqCst) {
            // It fails only when the worker is gone, and then nobody needs to be woken.
            let _unless_gone = activator.activate();
        }
    });
    Waker { call, pending }
}

/// Runs a job until it ends. Blocks.
///
/// # Errors
/// The first failure; all threads of the run have ended by then.
pub fn run(run: Run) -> Result<End, Error> {
    let control = run.control.clone();
    let parallelism = run.settings.parallelism;
    let (parts, shared) = prepare(run);
    let wishes = Arc::clone(&shared);
    control.listen(Arc::new(move |wish| match wish {
        Wish::Run => {}
        Wish::Stop => wishes.clock.stop(),
        Wish::Cancel => wishes.ending.set(Cause::Cancelled),
    }));
    let outcome = work(parts, &shared, parallelism);
    control.unlisten();
    let threads = std::mem::take(&mut *shared.threads.lock());
    for thread in threads {
        // Panics were caught in the thread.
        let _caught = thread.join();
    }
    match (shared.ending.take(), outcome) {
        (Some(Cause::Failed(error)), _) | (None, Err(error)) => Err(error),
        (Some(Cause::Cancelled), _) => Ok(End::Cancelled),
        (None, Ok(())) if shared.clock.inputs_ended() => Ok(End::Finished),
        (None, Ok(())) => Ok(End::Stopped),
    }
}

fn prepare(run: Run) -> (Parts, Arc<Shared>) {
    let Run { plan, settings, start, source_names, lanes, sinks, sink_epochs, store, .. } = run;
    let mut lane_names = Vec::new();
    let mut lane_sources = Vec::new();
    let mut receivers = Vec::new();
    let source_count = lanes.len();
    for (source, (name, lanes)) in source_names.iter().zip(lanes).enumerate() {
        for (lane, receiver) in lanes {
            lane_names.push(LaneName { source: name.clone(), lane });
            lane_sources.push(source);
            receivers.push(Some(Lane { source, receiver }));
        }
    }
    let shared = Arc::new(Shared {
        first_epoch: start.epoch,
        clock: EpochClock::new(settings.limits, start.epoch, receivers.len()),
        budget: Budget::new(settings.queue_bytes),
        ending: Ending::default(),
        meters: run.meters,
        runtime: run.runtime,
        threads: Mutex::new(Vec::new()),
    });
    let sink_epochs = sink_epochs.into_iter().chain(repeat(None));
    let targets = plan.sinks.iter().zip(&sinks).zip(sink_epochs);
    let targets = targets.map(|((planned, opened), last_epoch)| CommitTarget {
        name: planned.name.to_string(),
        stores_progress: planned.sink.stores_progress(),
        last_epoch,
        opened: Arc::clone(opened),
    });
    let seat = CommitSeat {
        job_name: plan.name,
        fingerprint: start.fingerprint,
        position: start.position,
        lanes: lane_names.clone(),
        sinks: targets.collect(),
        worker_count: settings.parallelism,
        store,
        last: run.last,
    };
    let specs = plan.sinks.into_iter().zip(sinks).enumerate();
    let specs = specs.map(|(index, (planned, opened))| {
        let name = planned.name.to_string();
        let spec = SinkSpec { index, name, equality_key: planned.equality_key, opened };
        (spec, planned.input)
    });
    let parts = Parts {
        source_count,
        sinks: specs.collect(),
        lane_names,
        lane_sources,
        lanes: Mutex::new(receivers),
        commit_seat: Mutex::new(Some(seat)),
    };
    (parts, shared)
}

/// Starts the workers and waits for them.
fn work(parts: Parts, shared: &Arc<Shared>, parallelism: usize) -> Result<(), Error> {
    let communication = match parallelism {
        0 | 1 => CommunicationConfig::Thread,
        workers => CommunicationConfig::Process(workers),
    };
    // Parking at once: what wakes a worker comes from other threads, which need the core.
    let worker = WorkerConfig::default().idle_spin(Duration::ZERO);
    let config = Config { communication, worker };
    let workers = Arc::clone(shared);
    let parts = Arc::new(parts);
    let guards = timely::execute(config, move |worker| work_on(worker, &parts, &workers));
    let guards = guards.map_err(|reason| {
        Error::transient(format!("the workers of the job cannot be started: {reason}"))
    })?;
    let ended = guards.join().into_iter().all(|worker| worker.is_ok());
    if ended { Ok(()) } else { Err(Error::bug("a worker ended without a word")) }
}

/// The life of one worker.
fn work_on(worker: &mut Worker, parts: &Arc<Parts>, shared: &Arc<Shared>) {
    shared.ending.enrol();
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        build(worker, parts, shared);
        drive(worker, shared);
    }));
    if let Err(payload) = &outcome {
        shared.ending.panicked(&format!("worker {}", worker.index()), payload.as_ref());
    }
    // A worker that keeps a dataflow would be stepped on by timely. What cannot even be dropped ends
    // this thread; the others end by the cause that is set.
    let dropped = catch_unwind(AssertUnwindSafe(|| {
        for dataflow in worker.installed_dataflows() {
            worker.drop_dataflow(dataflow);
        }
    }));
    if let Err(payload) = dropped {
        shared.ending.panicked("the end of a worker", payload.as_ref());
        resume_unwind(payload);
    }
}

fn drive(worker: &mut Worker, shared: &Shared) {
    let ticks = worker.index() == 0;
    if ticks {
        shared.clock.enrol_ticker();
    }
    while worker.has_dataflows() && !shared.ending.is_over() {
        let mut pause = PARK_MAX;
        if ticks {
            match shared.clock.tick() {
                Ok(next) => pause = next.unwrap_or(PARK_MAX).min(PARK_MAX),
                Err(error) => return shared.ending.fail(error),
            }
        }
        worker.step_or_park(Some(pause));
    }
}
