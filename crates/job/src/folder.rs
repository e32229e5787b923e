//! A job's folder below the state folder: `jobs/<name>/{checkpoint, bounded, spill/}`.
//!
//! Job names hold any character; what is not a letter, digit, `-` or `_` is written as `%xx`, and a
//! long name is cut and told apart by its hash.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::Error;

/// The longest name of a folder before it is cut.
const NAME_BYTES_MAX: usize = 180;

/// The folder of one job.
#[derive(Clone, Debug)]
pub(crate) struct JobFolder {
    path: PathBuf,
    checkpoint: PathBuf,
}

/// How far the last run of a bounded job came. A statement that has ended begins anew when it is run
/// again; one that a crash cut off goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub(crate) enum Bounded {
    /// It was started and did not report its end.
    Running {
        /// Whether it read its sources from the beginning.
        afresh: bool,
        /// Its first epoch.
        first_epoch: u64,
    },
    /// It has ended.
    Finished {
        /// Its fingerprint.
        fingerprint: String,
        /// Its last epoch: what is committed up to there is all of it.
        epoch: u64,
    },
}

impl JobFolder {
    /// The folder of this job; checkpoints go to another folder if the user chose one.
    pub(crate) fn new(state_dir: &Path, job_name: &str, checkpoints: Option<PathBuf>) -> Self {
        let name = encoded(job_name);
        let path = state_dir.join("jobs").join(&name);
        let checkpoint = match checkpoints {
            Some(folder) => folder.join(name).join("checkpoint"),
            None => path.join("checkpoint"),
        };
        Self { path, checkpoint }
    }

    /// The checkpoint of a job with several sinks.
    pub(crate) fn checkpoint(&self) -> &Path {
        &self.checkpoint
    }

    /// Removes all spill files and makes folders for so many sources. Each attempt has folders of its
    /// own: a reader of the attempt before, which may not have noticed its end yet, cannot get in the
    /// way of a new one.
    pub(crate) fn spill_folders(
        &self,
        attempt: u64,
        source_count: usize,
    ) -> Result<Vec<PathBuf>, Error> {
        let spill = self.path.join("spill");
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::StateFolder { path, source }
        };
        match fs::remove_dir_all(&spill) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(&spill)(error)),
            Ok(()) | Err(_) => {}
        }
        let folders = (0..source_count).map(|source| {
            let path = spill.join(format!("{attempt}-{source}"));
            fs::create_dir_all(&path).map_err(failed(&path))?;
            Ok(path)
        });
        folders.collect()
    }

    /// Removes the folder and what is in it. What cannot be removed stays; it does no harm.
    pub(crate) fn remove(&self) {
        if let Err(error) = fs::remove_dir_all(&self.path)
            && error.kind() != ErrorKind::NotFound
        {
            tracing::debug!(path = %self.path.display(), %error, "cannot remove the job's folder");
        }
    }

    /// What is known of the last run of a bounded job; nothing if that cannot be read.
    pub(crate) fn bounded(&self) -> Option<Bounded> {
        let bytes = fs::read(self.path.join("bounded")).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Keeps or forgets how far a bounded job came.
    pub(crate) fn set_bounded(&self, bounded: Option<&Bounded>) -> Result<(), Error> {
        let path = self.path.join("bounded");
        let outcome = match bounded {
            Some(bounded) => self.write_bounded(&path, bounded),
            None => match fs::remove_file(&path) {
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
                other => other,
            },
        };
        outcome.map_err(|source| Error::StateFolder { path, source })
    }

    fn write_bounded(&self, path: &Path, bounded: &Bounded) -> io::Result<()> {
        fs::create_dir_all(&self.path)?;
        let beside = path.with_extension("tmp");
        let mut file = File::create(&beside)?;
        file.write_all(&serde_json::to_vec(bounded)?)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        File::open(&self.path)?.sync_all()
    }
}

/// The name as the name of a folder, different for different names.
fn encoded(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => text.push(char::from(byte)),
            // A dot may stand anywhere but at the front, where it would name or hide a folder.
            b'.' if !text.is_empty() => text.push('.'),
            _ => text.push_str(&format!("%{byte:02x}")),
        }
    }
    if text.is_empty() {
        text.push('%');
    }
    if text.len() > NAME_BYTES_MAX {
        text.truncate(NAME_BYTES_MAX);
        text.push_str(&format!("%{:016x}", xxh3_64(name.as_bytes())));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_folders_are_safe_and_distinct() {
        assert_eq!(encoded("insert-into_a.b.c"), "insert-into_a.b.c");
        assert_eq!(encoded("../x y"), "%2e.%2fx%20y");
        assert_eq!(encoded("ü"), "%c3%bc");
        assert_eq!(encoded(""), "%");
        let long = "x".repeat(300);
        assert!(encoded(&long).len() < 255);
        assert_ne!(encoded(&long), encoded(&format!("{long}y")));
    }

    #[test]
    fn spill_files_do_not_survive_and_the_last_run_is_remembered() {
        let state = tempfile::tempdir().unwrap();
        let folder = JobFolder::new(state.path(), "job", None);
        let first = folder.spill_folders(1, 2).unwrap();
        fs::write(first[1].join("rows"), "x").unwrap();
        let second = folder.spill_folders(2, 2).unwrap();
        assert!(!fs::exists(&first[1]).unwrap());
        assert!(second.iter().all(|path| fs::exists(path).unwrap()));

        assert_eq!(folder.bounded(), None);
        let running = Bounded::Running { afresh: true, first_epoch: 1 };
        let finished = Bounded::Finished { fingerprint: "f".to_owned(), epoch: 3 };
        for bounded in [running, finished] {
            folder.set_bounded(Some(&bounded)).unwrap();
            assert_eq!(folder.bounded(), Some(bounded));
        }
        folder.set_bounded(None).unwrap();
        folder.set_bounded(None).unwrap();
        assert_eq!(folder.bounded(), None);
    }
}
