//! The jobs of one process.

use std::path::PathBuf;

use parking_lot::Mutex;
use shardlake_sql::plan::JobPlan;

use crate::{Error, JobHandle, supervisor};

/// The most ended jobs that are remembered.
const ENDED_JOBS_MAX: usize = 200;

/// What the jobs of a process share.
#[derive(Clone, Debug)]
pub struct Environment {
    /// The state folder; the caller holds its lock. Jobs write below `<state_dir>/jobs/` only.
    pub state_dir: PathBuf,
    /// The runtime on which asynchronous parts of sinks run. It must outlive the jobs.
    pub runtime: tokio::runtime::Handle,
}

/// A job that was accepted.
pub struct Submitted {
    /// The job.
    pub job: JobHandle,
    /// What the user should be told, one sentence each.
    pub notices: Vec<String>,
}

/// A submission that is known from an earlier process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// The job's id.
    pub id: String,
    /// When it was submitted, in milliseconds since 1970.
    pub at_ms: u64,
}

/// All jobs of this process, the last ended ones included, in the order of their submission.
pub struct Jobs {
    environment: Environment,
    jobs: Mutex<Vec<JobHandle>>,
}

impl Jobs {
    /// No jobs yet.
    #[must_use]
    pub fn new(environment: Environment) -> Self {
        Self { environment, jobs: Mutex::new(Vec::new()) }
    }

    /// Checks the job's settings, prepares its sinks, and starts it on threads of its own. Blocks
    /// until the sinks are prepared; connecting the sources and everything after happens in the
    /// background, see [`JobHandle::status`].
    ///
    /// # Errors
    /// If a job of this name runs, a setting is wrong, or a sink refuses.
    pub fn submit(&self, plan: JobPlan) -> Result<Submitted, Error> {
        self.start(plan, None)
    }

    /// As [`Jobs::submit`], for a job that an earlier process was given and that did not end: it
    /// keeps its id and the time of its submission, and goes on from its last commit.
    ///
    /// # Errors
    /// As [`Jobs::submit`].
    pub fn resubmit(&self, plan: JobPlan, known: &Submission) -> Result<Submitted, Error> {
        self.start(plan, Some(known))
    }

    fn start(&self, plan: JobPlan, known: Option<&Submission>) -> Result<Submitted, Error> {
        let planned = supervisor::plan(&self.environment, plan, known)?;
        let job = planned.supervisor.handle();
        {
            let mut jobs = self.jobs.lock();
            // Jobs whose sinks remember nothing cannot get in each other's way.
            let same = |known: &&JobHandle| known.name() == job.name() && planned.is_exclusive;
            let running = jobs.iter().filter(same).find(|known| !known.status().is_terminal());
            if let Some(running) = running {
                return Err(Error::AlreadyRunning {
                    name: job.name().to_owned(),
                    id: running.id().to_owned(),
                });
            }
            jobs.push(job.clone());
            forget_ended(&mut jobs);
        }
        match planned.supervisor.start() {
            Ok(()) => Ok(Submitted { job, notices: planned.notices }),
            Err(error) => {
                self.jobs.lock().retain(|known| known.id() != job.id());
                Err(error.into())
            }
        }
    }

    /// All jobs.
    #[must_use]
    pub fn list(&self) -> Vec<JobHandle> {
        self.jobs.lock().clone()
    }

    /// The job with this id.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<JobHandle> {
        self.jobs.lock().iter().find(|job| job.id() == id).cloned()
    }

    /// The jobs that have not ended.
    #[must_use]
    pub fn running(&self) -> Vec<JobHandle> {
        self.jobs.lock().iter().filter(|job| !job.status().is_terminal()).cloned().collect()
    }

    /// Stops all jobs gracefully and waits for them, as at SIGINT and SIGTERM.
    pub fn stop_all(&self) {
        let running = self.running();
        for job in &running {
            job.stop();
        }
        for job in &running {
            let _status = job.wait();
        }
    }
}

/// Forgets the oldest jobs that have ended, so that a process that runs many queries does not grow.
fn forget_ended(jobs: &mut Vec<JobHandle>) {
    let ended = jobs.iter().filter(|job| job.status().is_terminal()).count();
    let mut surplus = ended.saturating_sub(ENDED_JOBS_MAX);
    jobs.retain(|job| {
        let forget = surplus > 0 && job.status().is_terminal();
        surplus -= usize::from(forget);
        !forget
    });
}
