//! Where a job stands, as the table tells: in the summaries of its snapshots and in one property.
//!
//! Every snapshot of a job, claims included, carries the job's whole state, so the newest retained ancestor
//! of the current snapshot is enough. Other engines may expire all of them; therefore the same commit
//! writes a property, which is used only when the snapshot that it names has been expired.

use std::collections::HashMap;

use iceberg::spec::{Snapshot, SnapshotRef};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Error, Table};

/// The summary key of the job's name.
pub const JOB_NAME: &str = "shardlake.job-name";
/// The summary key of the job's id.
pub const JOB_ID: &str = "shardlake.job-id";
/// The summary key of the run's generation.
pub const GENERATION: &str = "shardlake.generation";
/// The summary key of the epoch.
pub const EPOCH: &str = "shardlake.epoch";
/// The summary key of the sources' position, as JSON.
pub const POSITION: &str = "shardlake.position";
/// The summary key of the fingerprint of query and sources.
pub const FINGERPRINT: &str = "shardlake.fingerprint";
/// The summary key of the phase, `snapshot` or `streaming`.
pub const PHASE: &str = "shardlake.phase";
/// The summary key of a snapshot that changed rows by a statement: a job must build its key index anew.
pub const ROWS_CHANGED: &str = "shardlake.rows-changed";
/// The prefix of the property that repeats a job's progress.
const PROPERTY: &str = "shardlake.progress.";

/// What a committed epoch left in the table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochProgress {
    /// The epoch.
    pub epoch: u64,
    /// Where the sources stood. Not looked into.
    pub position: Value,
    /// Names the query and sources that the position belongs to.
    pub fingerprint: String,
    /// `snapshot` or `streaming`.
    pub phase: String,
}

/// What a table knows of a job.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JobProgress {
    /// The greatest generation that a run of the job had; 0 if there was none.
    pub generation: u64,
    /// The newest committed epoch.
    pub progress: Option<EpochProgress>,
}

/// A run of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Writer {
    /// The job's name.
    pub job: String,
    /// The id of the run's submission.
    pub job_id: String,
    /// Greater than that of every earlier run.
    pub generation: u64,
}

/// The value of the property.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Property {
    generation: u64,
    job_id: String,
    snapshot_id: i64,
    /// None as long as no epoch of the job was committed.
    #[serde(flatten)]
    progress: Option<EpochProgress>,
}

impl Writer {
    /// A writer that is no job: it leaves no trace of itself, and the jobs' progress as it is.
    pub(crate) const fn of_no_job() -> Self {
        Self { job: String::new(), job_id: String::new(), generation: 0 }
    }

    /// The summary keys of a snapshot of this run.
    pub(crate) fn summary(
        &self,
        progress: Option<&EpochProgress>,
    ) -> Result<HashMap<String, String>, Error> {
        if self.job.is_empty() {
            return Ok(HashMap::new());
        }
        let mut summary = HashMap::from([
            (JOB_NAME.to_owned(), self.job.clone()),
            (JOB_ID.to_owned(), self.job_id.clone()),
            (GENERATION.to_owned(), self.generation.to_string()),
        ]);
        if let Some(progress) = progress {
            let position = serde_json::to_string(&progress.position).map_err(Error::bug)?;
            summary.insert(EPOCH.to_owned(), progress.epoch.to_string());
            summary.insert(POSITION.to_owned(), position);
            summary.insert(FINGERPRINT.to_owned(), progress.fingerprint.clone());
            summary.insert(PHASE.to_owned(), progress.phase.clone());
        }
        Ok(summary)
    }

    /// The table property of a snapshot of this run.
    pub(crate) fn property(
        &self,
        progress: Option<&EpochProgress>,
        snapshot_id: i64,
    ) -> Result<Option<(String, String)>, Error> {
        if self.job.is_empty() {
            return Ok(None);
        }
        let property = Property {
            generation: self.generation,
            job_id: self.job_id.clone(),
            snapshot_id,
            progress: progress.cloned(),
        };
        let value = serde_json::to_string(&property).map_err(Error::bug)?;
        Ok(Some((format!("{PROPERTY}{}", self.job), value)))
    }
}

/// Where the job of this name stands in the table.
///
/// # Errors
/// [`Error::Corrupt`] if what the table says cannot be understood, [`Error::Invalid`] if the table was rolled back
/// to before the job's first commit.
pub fn of_job(table: &Table, job: &str) -> Result<JobProgress, Error> {
    let metadata = table.metadata();
    let property = property_of(table, job)?;
    let in_snapshots = metadata
        .snapshots()
        .filter_map(|snapshot| Some(writer_of(snapshot)?).filter(|writer| writer.job == job))
        .map(|writer| writer.generation);
    let in_property = property.as_ref().map(|property| property.generation);
    let generation = in_snapshots.chain(in_property).max().unwrap_or(0);
    let newest = ancestors(table)
        .find(|snapshot| writer_of(snapshot).is_some_and(|writer| writer.job == job));
    let progress = match (newest, property) {
        (Some(snapshot), _) => epoch_of(snapshot)?,
        (None, None) => None,
        (None, Some(Property { progress: None, .. })) => None,
        (None, Some(property)) if metadata.snapshot_by_id(property.snapshot_id).is_none() => {
            property.progress
        }
        (None, Some(_)) => {
            return Err(Error::Invalid(format!(
                "table {} was rolled back to before the first commit of job '{job}'; to start the job \
                 from the beginning, remove the table property '{PROPERTY}{job}'",
                table.name()
            )));
        }
    };
    Ok(JobProgress { generation, progress })
}

/// The run that made a snapshot, if it was one of ours.
pub(crate) fn writer_of(snapshot: &Snapshot) -> Option<Writer> {
    let summary = &snapshot.summary().additional_properties;
    Some(Writer {
        job: summary.get(JOB_NAME)?.clone(),
        job_id: summary.get(JOB_ID).cloned().unwrap_or_default(),
        generation: summary.get(GENERATION)?.parse().ok()?,
    })
}

/// The current snapshot and those before it, newest first, as far as they are retained.
pub(crate) fn ancestors(table: &Table) -> impl Iterator<Item = &SnapshotRef> {
    let parent =
        |snapshot: &&SnapshotRef| table.metadata().snapshot_by_id(snapshot.parent_snapshot_id()?);
    std::iter::successors(table.current_snapshot(), parent)
}

fn epoch_of(snapshot: &Snapshot) -> Result<Option<EpochProgress>, Error> {
    let summary = &snapshot.summary().additional_properties;
    let corrupt = |key: &str| {
        let place = format!("the summary of snapshot {}", snapshot.snapshot_id());
        Error::corrupt(place, format!("key '{key}' is missing or malformed"))
    };
    let Some(epoch) = summary.get(EPOCH) else { return Ok(None) };
    let position = summary.get(POSITION).and_then(|text| serde_json::from_str(text).ok());
    Ok(Some(EpochProgress {
        epoch: epoch.parse().map_err(|_| corrupt(EPOCH))?,
        position: position.ok_or_else(|| corrupt(POSITION))?,
        fingerprint: summary.get(FINGERPRINT).ok_or_else(|| corrupt(FINGERPRINT))?.clone(),
        phase: summary.get(PHASE).ok_or_else(|| corrupt(PHASE))?.clone(),
    }))
}

fn property_of(table: &Table, job: &str) -> Result<Option<Property>, Error> {
    let key = format!("{PROPERTY}{job}");
    table
        .metadata()
        .properties()
        .get(&key)
        .map(|text| {
            serde_json::from_str(text)
                .map_err(|error| Error::corrupt(format!("table property '{key}'"), error))
        })
        .transpose()
}
