//! Looks after one job: prepares, starts, restarts, ends it.
//!
//! A job has one supervisor thread, which owns everything of the job that can fail. It asks
//! `checkpoint::restart` after each failure and decides nothing about failures itself.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::Builder;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::{Condvar, Mutex};
use shardlake_checkpoint::{
    Decision, RestartPolicy, Restarts, Savepoint, checkpoint_folder, recovery_path,
};
use shardlake_connector::{Error, JobIdentity, Options};
use shardlake_dataflow::{Control, End, LastCommit, Meters, Settings, Wish};
use shardlake_sql::plan::JobPlan;
use tracing::{error, info, warn};
use uuid::Uuid;

use crate::attempt::{Attempt, check_savepoint};
use crate::folder::JobFolder;
use crate::graph::graph;
use crate::handle::{JobRecord, JobState};
use crate::recovery::RecoveryMode;
use crate::{Environment, JobHandle, JobStatus, Submission};

/// A job that is about to start, and its record.
pub(crate) struct Supervisor {
    record: Arc<JobRecord>,
    attempt: Attempt,
    policy: RestartPolicy,
    started: Instant,
}

/// A supervisor that has not started and what the user should be told.
pub(crate) struct Planned {
    pub(crate) supervisor: Supervisor,
    pub(crate) notices: Vec<String>,
    /// Whether no other job of its name may run: its sinks remember where a job of this name stood.
    pub(crate) is_exclusive: bool,
}

/// Checks the job's settings, and the savepoint that it is to start from. Does no other I/O.
pub(crate) fn plan(
    environment: &Environment,
    plan: JobPlan,
    known: Option<&Submission>,
) -> Result<Planned, Error> {
    let options: &Options = &plan.configuration;
    let (settings, mut notices) = Settings::from_options(options)?;
    let policy = RestartPolicy::from_options(options)?;
    let mode = RecoveryMode::from_options(options)?;
    let checkpoints = checkpoint_folder(options)?;
    if plan.sources.iter().all(|source| source.source.is_bounded()) {
        notices.clear();
    }
    let submission = known.cloned().unwrap_or_else(|| Submission {
        id: Uuid::new_v4().simple().to_string(),
        at_ms: wall_clock_ms(),
    });
    let source_names = source_names(&plan);
    let fingerprints = plan.sources.iter().map(|source| source.source.fingerprint());
    let sources: BTreeMap<String, String> =
        source_names.iter().cloned().zip(fingerprints).collect();
    let recovery_path = recovery_path(options)?;
    if let (Some(path), None) = (&recovery_path, known) {
        // A user hears at once whether the job can start from there.
        check_savepoint(&Savepoint::read(path)?, &sources, options)?;
    }
    let (chains, _) = shardlake_dataflow::transforms(&plan);
    let chain_names = chains.into_iter().map(|chain| chain.description).collect();
    let sink_names = plan.sinks.iter().map(|sink| sink.name.to_string()).collect();
    let record = Arc::new(JobRecord {
        id: submission.id,
        name: plan.name.clone(),
        started_at_ms: submission.at_ms,
        control: Control::default(),
        meters: Meters::new(source_names.clone(), chain_names, sink_names),
        graph: graph(&plan, &source_names, settings.parallelism),
        configuration: plan.configuration.clone(),
        sources,
        last: LastCommit::default(),
        standing: Mutex::default(),
        state: Mutex::new(JobState {
            status: JobStatus::Initializing,
            failure: None,
            ended_at_ms: None,
            restarts: 0,
            complete: false,
            reached_ms: [(JobStatus::Initializing, submission.at_ms)].into(),
            failures: VecDeque::new(),
            splits: Vec::new(),
        }),
        changed: Condvar::new(),
    });
    let is_exclusive = plan.sinks.iter().any(|sink| sink.sink.stores_progress());
    let folder_name = match is_exclusive {
        true => plan.name.clone(),
        false => format!("{}-{}", plan.name, record.id),
    };
    let attempt = Attempt {
        identity: JobIdentity {
            name: plan.name.clone(),
            id: record.id.clone(),
            fingerprint: plan.fingerprint.clone(),
        },
        folder: JobFolder::new(&environment.state_dir, &folder_name, checkpoints),
        plan,
        settings,
        mode,
        source_names,
        last: Arc::clone(&record.last),
        recovery_path,
        resumed: known.is_some(),
        runtime: environment.runtime.clone(),
        record: Arc::clone(&record),
    };
    let supervisor = Supervisor { record, attempt, policy, started: Instant::now() };
    Ok(Planned { supervisor, notices, is_exclusive })
}

/// The names of sources in positions: a table that is read twice gets a number the second time.
fn source_names(plan: &JobPlan) -> Vec<String> {
    let mut names: Vec<String> = Vec::with_capacity(plan.sources.len());
    for source in &plan.sources {
        let name = source.name.to_string();
        let same = names.iter().filter(|known| known.split('#').next() == Some(&name)).count();
        names.push(if same == 0 { name } else { format!("{name}#{}", same + 1) });
    }
    names
}

impl Supervisor {
    /// The job, for others.
    pub(crate) fn handle(&self) -> JobHandle {
        JobHandle { record: Arc::clone(&self.record) }
    }

    /// Prepares the sinks and starts the job. Waits until the sinks are prepared.
    pub(crate) fn start(self) -> Result<(), Error> {
        let record = Arc::clone(&self.record);
        let (prepared, outcome) = sync_channel(1);
        let thread = Builder::new().name("job-supervisor".to_owned()).spawn(move || {
            let record = Arc::clone(&self.record);
            let ended = catch_unwind(AssertUnwindSafe(|| self.supervise(&prepared)));
            if ended.is_err() {
                let failure = "the job's supervisor panicked".to_owned();
                end(&record, JobStatus::Failed, Some(failure));
            }
        });
        let started = match thread {
            Ok(_detached) => outcome
                .recv()
                .unwrap_or_else(|_| Err(Error::bug("the job's supervisor ended without a word"))),
            Err(error) => {
                Err(Error::transient("the operating system refused to start a thread")
                    .caused_by(error))
            }
        };
        if let Err(error) = &started {
            end(&record, JobStatus::Failed, Some(error.report()));
        }
        started
    }

    fn supervise(mut self, prepared: &SyncSender<Result<(), Error>>) {
        let sinks = self.attempt.prepare_sinks();
        let go_on = sinks.is_ok();
        if prepared.send(sinks).is_err() || !go_on {
            return;
        }
        let seed = Uuid::new_v4().as_u64_pair().0;
        let mut restarts = Restarts::new(self.policy, seed);
        let job = &self.record.name;
        info!(job, id = self.record.id, "started job");
        for attempt in 1.. {
            let before = self.attempt.last_epoch();
            let outcome = self.attempt.run(attempt);
            if self.attempt.last_epoch() > before {
                restarts.committed();
            }
            let failure = match outcome {
                Ok(how) => {
                    self.attempt.forget();
                    self.record.update(|state| state.complete = how == End::Finished);
                    let cancelled = how == End::Cancelled;
                    let status = if cancelled { JobStatus::Canceled } else { JobStatus::Finished };
                    info!(job, status = status.as_str(), "ended job");
                    return end(&self.record, status, None);
                }
                Err(failure) => failure,
            };
            if let Some(status) = ending_after_failure(self.record.control.wish()) {
                return end(&self.record, status, Some(failure.report()));
            }
            let now_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
            match restarts.failed(failure.fault(), now_ms) {
                Decision::Restart { after_ms } => {
                    warn!(job, after_ms, error = failure.report(), "restarting job");
                    self.record.update(|state| {
                        state.status = JobStatus::Restarting;
                        state.failure = Some(failure.report());
                        state.restarts += 1;
                    });
                    let wish = self.record.control.wait(Duration::from_millis(after_ms));
                    if let Some(status) = ending_after_failure(wish) {
                        return end(&self.record, status, Some(failure.report()));
                    }
                }
                Decision::Fail { reason } => {
                    error!(job, reason, error = failure.report(), "job failed");
                    return end(&self.record, JobStatus::Failed, Some(failure.report()));
                }
            }
            if self.attempt.last_epoch().is_some() && self.attempt.mode == RecoveryMode::Fresh {
                // What has been committed since the fresh start is not done again.
                self.attempt.mode = RecoveryMode::Exact;
            }
        }
    }
}

/// How a job ends that has failed and is not to run on. A stop promises a last commit, which was not
/// made, so it has failed; nothing is lost, a resubmitted job reads it again.
const fn ending_after_failure(wish: Wish) -> Option<JobStatus> {
    match wish {
        Wish::Run => None,
        Wish::Stop => Some(JobStatus::Failed),
        Wish::Cancel => Some(JobStatus::Canceled),
    }
}

/// The job has ended for good.
fn end(record: &JobRecord, status: JobStatus, failure: Option<String>) {
    record.update(|state| {
        state.status = status;
        state.failure = failure.or(state.failure.take());
        state.ended_at_ms = Some(wall_clock_ms());
        state.splits = Vec::new();
    });
}

/// Milliseconds since 1970.
pub(crate) fn wall_clock_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
