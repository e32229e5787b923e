//! Where a job begins: what its sinks remember against what it is now.
//!
//! [`decide`] is pure. A sink that stores progress says where the job stood at its last commit
//! there. With several sinks the checkpoint says what the last epoch was to commit to each: sinks
//! that lack it get it first. Positions of another query are refused, never used and never dropped
//! silently.

use std::collections::BTreeMap;

use serde_json::Value;
use shardlake_checkpoint::{Checkpoint, Savepoint, SinkResults};
use shardlake_connector::{Error, JobPosition, OptionKind, OptionSpec, Options, Progress};
use shardlake_dataflow::FINISHED_KEY;

use crate::folder::Bounded;

/// What is done with stored positions.
pub(crate) const RECOVERY_MODE: OptionSpec = OptionSpec::new(
    "shardlake.recovery.mode",
    OptionKind::Word(&["exact", "replay", "fresh"]),
    "'exact' resumes where the sinks stand and refuses what does not fit; 'replay' resumes a job \
     whose sinks stand at different epochs from the oldest; 'fresh' reads the sources from the \
     beginning.",
)
.default_value("exact");

/// How strictly stored positions are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RecoveryMode {
    /// Resume exactly or refuse.
    Exact,
    /// Sinks that are ahead may see rows again.
    Replay,
    /// Ignore stored positions.
    Fresh,
}

impl RecoveryMode {
    pub(crate) fn from_options(options: &Options) -> Result<Self, Error> {
        let given = options.text(&RECOVERY_MODE).unwrap_or_default().trim().to_ascii_lowercase();
        match given.as_str() {
            "exact" => Ok(Self::Exact),
            "replay" => Ok(Self::Replay),
            "fresh" => Ok(Self::Fresh),
            other => Err(Error::job(format!(
                "Invalid value for option '{}'. Supported values are [exact, replay, fresh], but \
                 was: {other}",
                RECOVERY_MODE.key
            ))),
        }
    }
}

/// What a sink remembers.
#[derive(Clone, Debug)]
pub(crate) struct SinkMemory {
    pub(crate) name: String,
    pub(crate) stores_progress: bool,
    pub(crate) progress: Option<Progress>,
}

/// Everything that is known about where a job stood.
#[derive(Debug)]
pub(crate) struct Memory<'a> {
    pub(crate) job_name: &'a str,
    pub(crate) job_id: &'a str,
    pub(crate) fingerprint: &'a str,
    pub(crate) sinks: Vec<SinkMemory>,
    pub(crate) checkpoint: Option<Checkpoint>,
    pub(crate) bounded: Option<Bounded>,
    /// The last commit of an earlier run in this process.
    pub(crate) last: Option<Progress>,
}

/// A key in a stored position beside the sources' names: the id of the submission that began at the
/// beginning or at a savepoint although its sinks knew a position.
const SUBMISSION_KEY: &str = "$submission";

/// The position with a note of who began there.
pub(crate) fn with_submission(mut position: JobPosition, job_id: &str) -> JobPosition {
    let note = BTreeMap::from([(String::new(), Value::from(job_id))]);
    position.insert(SUBMISSION_KEY.to_owned(), note);
    position
}

impl Memory<'_> {
    /// Whether this submission has committed something since it began at the beginning or at a savepoint.
    pub(crate) fn began_before(&self) -> bool {
        let stored = self.sinks.iter().filter_map(|sink| sink.progress.as_ref());
        let mut all = stored.chain(self.last.as_ref());
        all.any(|progress| {
            let note = progress.position.get(SUBMISSION_KEY);
            note.and_then(|note| note.get("")).and_then(Value::as_str) == Some(self.job_id)
        })
    }
}

/// Where a job begins that starts from a savepoint: the same position, in the next epoch. `keyed` says
/// which sinks tell rows apart by a key.
///
/// # Errors
/// A sink would get rows twice.
pub(crate) fn begin_at(
    savepoint: &Savepoint,
    memory: &Memory<'_>,
    keyed: &[bool],
) -> Result<Beginning, Error> {
    let epochs = memory.sinks.iter().filter_map(|sink| sink.progress.as_ref());
    let newest = epochs.map(|progress| progress.epoch).max().unwrap_or(0);
    for (sink, is_keyed) in memory.sinks.iter().zip(keyed) {
        let ahead = sink.progress.as_ref().filter(|at| at.epoch > savepoint.progress.epoch);
        if let (Some(ahead), false) = (ahead, is_keyed) {
            return Err(Error::job(format!(
                "job '{}' cannot start from this savepoint: {} has no primary key and already holds \
                 what was committed after it (epoch {} instead of {}), so rows would be there \
                 twice. Take the newest savepoint, write to another table, or take the table back to \
                 its state of that time first",
                memory.job_name, sink.name, ahead.epoch, savepoint.progress.epoch
            )));
        }
    }
    let mut position = savepoint.progress.position.clone();
    position.remove(FINISHED_KEY);
    Ok(Beginning {
        missing: Vec::new(),
        epoch: newest.max(savepoint.progress.epoch) + 1,
        is_over: false,
        position: Some(position),
    })
}

/// Whether a job with these sources, each with what its positions belong to, can start from a savepoint.
///
/// # Errors
/// Why not, and what the user can do.
pub(crate) fn check_savepoint(
    savepoint: &Savepoint,
    sources: &BTreeMap<String, String>,
    takes_unclaimed: bool,
) -> Result<(), Error> {
    for (name, fingerprint) in &savepoint.sources {
        match sources.get(name) {
            Some(now) if now == fingerprint => {}
            Some(_) => {
                return Err(Error::job(format!(
                    "the job cannot start from this savepoint: source {name} reads other servers, \
                     databases or tables than the savepoint's positions belong to. Restore the \
                     source's options, or start without the savepoint"
                )));
            }
            None if takes_unclaimed => {}
            None => {
                return Err(Error::job(format!(
                    "the job cannot start from this savepoint: it holds positions of source {name}, \
                     which the job does not read. SET \
                     'execution.state-recovery.ignore-unclaimed-state' = 'true' to leave them out"
                )));
            }
        }
    }
    if savepoint.sources.keys().any(|name| sources.contains_key(name)) {
        return Ok(());
    }
    Err(Error::job(
        "the job cannot start from this savepoint: it reads none of the savepoint's sources",
    ))
}

/// How to begin.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Beginning {
    /// Sinks that are to get the checkpoint's epoch before anything else.
    pub(crate) missing: Vec<usize>,
    /// The first epoch.
    pub(crate) epoch: u64,
    /// Whether the job had done all that it was to do: only a new submission begins anew.
    pub(crate) is_over: bool,
    /// Where the sources resume; none to read them from the beginning.
    pub(crate) position: Option<JobPosition>,
}

/// Decides where the job begins.
pub(crate) fn decide(memory: &Memory<'_>, mode: RecoveryMode) -> Result<Beginning, Error> {
    let stored = || memory.sinks.iter().filter_map(|sink| sink.progress.as_ref());
    let checkpoint = memory.checkpoint.as_ref().filter(|checkpoint| fits(checkpoint, memory));
    let epochs = stored().chain(memory.last.as_ref()).map(|progress| progress.epoch);
    let newest = epochs.chain(checkpoint.map(|c| c.progress.epoch)).max().unwrap_or(0);
    let afresh = |missing| Beginning { missing, epoch: newest + 1, is_over: false, position: None };
    if mode == RecoveryMode::Fresh {
        return Ok(afresh(Vec::new()));
    }
    let (missing, target) = match checkpoint {
        Some(checkpoint) => (missing_sinks(checkpoint, memory), Some(&checkpoint.progress)),
        None => (Vec::new(), common_progress(memory, mode)?),
    };
    let Some(target) = target else { return Ok(afresh(missing)) };
    if is_over(target, memory.bounded.as_ref()) {
        // A run that began anew and has committed nothing is not over, though the one before it is.
        let is_over = !matches!(memory.bounded, Some(Bounded::Running { .. }));
        return Ok(Beginning { is_over, ..afresh(missing) });
    }
    if target.fingerprint != memory.fingerprint {
        return Err(refused(
            memory.job_name,
            "its sink holds the position of another query or of other sources",
        ));
    }
    let position = Some(target.position.clone()).filter(|position| !position.is_empty());
    Ok(Beginning { missing, epoch: newest + 1, is_over: false, position })
}

/// A refusal with the ways out.
pub(crate) fn refused(job_name: &str, reason: &str) -> Error {
    Error::job(format!(
        "job '{job_name}' cannot resume: {reason}. SET 'pipeline.name' = '<another name>' to run it \
         as a new job, or SET '{}' = 'fresh' to read its sources from the beginning",
        RECOVERY_MODE.key
    ))
}

/// Whether a checkpoint was written by this job for these sinks: each that stores progress has the
/// checkpoint's epoch or still stands where it stood before. A table that was dropped, restored or
/// written by the job from another state folder stands elsewhere.
fn fits(checkpoint: &Checkpoint, memory: &Memory<'_>) -> bool {
    let same_sinks = checkpoint.sinks.len() == memory.sinks.len();
    let fits = |(sink, made): (&SinkMemory, &SinkResults)| {
        let stands = sink.progress.as_ref().map(|progress| progress.epoch);
        let expected = [made.before, Some(checkpoint.progress.epoch)];
        sink.name == made.name && (!sink.stores_progress || expected.contains(&stands))
    };
    checkpoint.job_name == memory.job_name
        && same_sinks
        && memory.sinks.iter().zip(&checkpoint.sinks).all(fits)
}

/// The sinks that may lack the checkpoint's epoch and have something to commit in it.
fn missing_sinks(checkpoint: &Checkpoint, memory: &Memory<'_>) -> Vec<usize> {
    let epoch = checkpoint.progress.epoch;
    let has_it = |sink: &SinkMemory| sink.progress.as_ref().is_some_and(|p| p.epoch == epoch);
    // Sinks without progress are committed first: if any other has the epoch, they have it.
    let any_has_it = memory.sinks.iter().any(has_it);
    let sinks = memory.sinks.iter().zip(&checkpoint.sinks).enumerate();
    sinks
        .filter(|(_, (sink, made))| {
            let something = made.results.iter().any(|result| !result.committable.is_empty());
            let lacks_it = if sink.stores_progress { !has_it(sink) } else { !any_has_it };
            something && lacks_it
        })
        .map(|(index, _)| index)
        .collect()
}

/// Where all sinks stand, if they stand at the same epoch.
fn common_progress<'a>(
    memory: &'a Memory<'_>,
    mode: RecoveryMode,
) -> Result<Option<&'a Progress>, Error> {
    let mut sinks = memory.sinks.iter().filter(|sink| sink.stores_progress);
    let Some(first) = sinks.next() else { return Ok(memory.last.as_ref()) };
    let mut oldest = first;
    let mut differs = None;
    for sink in sinks {
        let epoch = |sink: &SinkMemory| sink.progress.as_ref().map(|progress| progress.epoch);
        if epoch(sink) != epoch(first) {
            differs = Some(sink);
        }
        if epoch(sink) < epoch(oldest) {
            oldest = sink;
        }
    }
    match differs {
        Some(other) if mode != RecoveryMode::Replay => Err(refused(
            memory.job_name,
            &format!(
                "its sinks {} and {} stand at different epochs, and the checkpoint that says what \
                 was to be committed to each is not there; SET '{}' = 'replay' to resume from the \
                 oldest, which shows rows to the others again",
                first.name, other.name, RECOVERY_MODE.key
            ),
        )),
        _ => Ok(oldest.progress.as_ref()),
    }
}

/// Whether what was committed belongs to a bounded job that is over, so that this one begins anew.
///
/// The sink alone cannot say so: its last commit may be there although the job was cut off before it
/// reported its end, and then the user who runs it again wants it to go on.
fn is_over(stored: &Progress, last_run: Option<&Bounded>) -> bool {
    let marked = stored.position.contains_key(FINISHED_KEY);
    match last_run {
        Some(Bounded::Running { afresh, first_epoch }) => *afresh && stored.epoch < *first_epoch,
        Some(Bounded::Finished { fingerprint, epoch }) => {
            marked || (*fingerprint == stored.fingerprint && stored.epoch <= *epoch)
        }
        None => marked,
    }
}

/// The stored lanes of one source; refused if the source does not read one of them.
pub(crate) fn check_lanes(
    job_name: &str,
    source: &str,
    stored: &BTreeMap<String, Value>,
    lanes: &[String],
) -> Result<(), Error> {
    match stored.keys().find(|lane| !lanes.contains(lane)) {
        Some(lane) => Err(refused(
            job_name,
            &format!("the stored position names {lane}, which source {source} does not read"),
        )),
        None => Ok(()),
    }
}

/// Refuses a stored position of a source that the job does not have.
pub(crate) fn check_sources(
    job_name: &str,
    position: &JobPosition,
    sources: &[String],
) -> Result<(), Error> {
    // The engine's own keys begin with a dollar sign.
    match position.keys().find(|name| !name.starts_with('$') && !sources.contains(name)) {
        Some(name) => Err(refused(
            job_name,
            &format!("the stored position names source {name}, which the query does not read"),
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
