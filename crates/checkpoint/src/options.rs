//! The settings of epochs and checkpoints, by Flink's keys.
//!
//! A key below `execution.checkpointing.` or `restart-strategy.` that is not known is an error; one
//! that Flink knows and that has no meaning here is told to the user, never passed over silently.

use std::path::PathBuf;
use std::sync::LazyLock;

use shardlake_connector::{Error, OptionKind, OptionSpec, Options};

use crate::{Limits, restart};

/// The shortest interval that is accepted.
const INTERVAL_MS_MIN: u64 = 50;
/// The interval when the user gives none.
const INTERVAL_MS_DEFAULT: u64 = 3_000;

const INTERVAL: OptionSpec = OptionSpec::new(
    "execution.checkpointing.interval",
    OptionKind::Duration,
    "How often changes are committed, at least 50 ms; 3 s if it is not given.",
);
const MIN_PAUSE: OptionSpec = OptionSpec::new(
    "execution.checkpointing.min-pause",
    OptionKind::Duration,
    "The least time between a commit and the end of the next epoch.",
)
.default_value("0 ms");
const MAX_CONCURRENT: OptionSpec = OptionSpec::new(
    "execution.checkpointing.max-concurrent-checkpoints",
    OptionKind::Integer { min: 1, max: 64 },
    "How many epochs may wait for their commit while the next one is read.",
)
.default_value("1");
const TIMEOUT: OptionSpec = OptionSpec::new(
    "execution.checkpointing.timeout",
    OptionKind::Duration,
    "An epoch that is not committed so long after its end fails the run.",
)
.default_value("10 min");
const MODE: OptionSpec = OptionSpec::new(
    "execution.checkpointing.mode",
    OptionKind::Word(&["EXACTLY_ONCE", "AT_LEAST_ONCE"]),
    "Commits are always exactly once.",
)
.default_value("EXACTLY_ONCE");
const DIR: OptionSpec = OptionSpec::new(
    "execution.checkpointing.dir",
    OptionKind::Text,
    "A local folder for the checkpoint files of jobs with several sinks instead of the state folder.",
);
const DIR_OLD: OptionSpec = OptionSpec::new(
    "state.checkpoints.dir",
    OptionKind::Text,
    "The old spelling of execution.checkpointing.dir.",
);
const SAVEPOINT_DIR: OptionSpec = OptionSpec::new(
    "execution.checkpointing.savepoint-dir",
    OptionKind::Text,
    "A local folder for savepoints if a statement or request names none.",
);
const SAVEPOINT_DIR_OLD: OptionSpec = OptionSpec::new(
    "state.savepoints.dir",
    OptionKind::Text,
    "The old spelling of execution.checkpointing.savepoint-dir.",
);
const RECOVERY_PATH: OptionSpec = OptionSpec::new(
    "execution.state-recovery.path",
    OptionKind::Text,
    "The savepoint from which the next job starts.",
);
const UNCLAIMED: OptionSpec = OptionSpec::new(
    "execution.state-recovery.ignore-unclaimed-state",
    OptionKind::Boolean,
    "Whether a savepoint may hold positions of sources that the job does not read.",
)
.default_value("false");
const EPOCH_SIZE: OptionSpec = OptionSpec::new(
    "shardlake.epoch.max-size",
    OptionKind::Size,
    "An epoch of this size, in memory, is committed before the interval is over.",
)
.default_value("64 mb");

/// Keys that Flink knows and that change nothing here, with the reason.
const WITHOUT_EFFECT: &[(&str, &str)] = &[
    ("execution.checkpointing.unaligned.enabled", "epochs need no alignment"),
    ("execution.checkpointing.unaligned", "epochs need no alignment"),
    ("execution.checkpointing.aligned-checkpoint-timeout", "epochs need no alignment"),
    ("execution.checkpointing.incremental", "checkpoints hold positions and file names only"),
    ("execution.checkpointing.num-retained", "one checkpoint is enough to resume"),
    (
        "execution.checkpointing.externalized-checkpoint-retention",
        "the table itself stores the job's position, and it always stays",
    ),
    (
        "execution.checkpointing.tolerable-failed-checkpoints",
        "a failed commit restarts the job by its restart strategy",
    ),
    (
        "execution.checkpointing.checkpoints-after-tasks-finish.enabled",
        "epochs always go on while other inputs run",
    ),
];

/// All options that this crate reads.
pub static OPTIONS: LazyLock<Vec<OptionSpec>> = LazyLock::new(|| {
    let own = [
        INTERVAL,
        MIN_PAUSE,
        MAX_CONCURRENT,
        TIMEOUT,
        MODE,
        DIR,
        DIR_OLD,
        EPOCH_SIZE,
        SAVEPOINT_DIR,
        SAVEPOINT_DIR_OLD,
        RECOVERY_PATH,
        UNCLAIMED,
    ];
    own.iter().chain(restart::SPECS).copied().collect()
});

/// The settings of a job's epochs and what the user should be told about them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointSettings {
    /// What bounds the coordinator.
    pub limits: Limits,
    /// One sentence for each thing that the user may not expect.
    pub notices: Vec<String>,
}

impl CheckpointSettings {
    /// Reads and checks the settings of a session.
    ///
    /// # Errors
    /// If a key is unknown or a value wrong, naming the key.
    pub fn from_options(options: &Options) -> Result<Self, Error> {
        let mut notices = check_keys(options)?;
        let interval_ms = match options.duration_ms(&INTERVAL)? {
            Some(ms) if ms < INTERVAL_MS_MIN => {
                return Err(Error::job(format!(
                    "The value of option '{}' must be at least {INTERVAL_MS_MIN} ms, but is {ms} ms",
                    INTERVAL.key
                )));
            }
            Some(ms) => ms,
            None => {
                notices.push(format!(
                    "'{}' is not set: changes are committed every 3 s.",
                    INTERVAL.key
                ));
                INTERVAL_MS_DEFAULT
            }
        };
        if options.text(&MODE).is_some_and(|mode| mode.eq_ignore_ascii_case("AT_LEAST_ONCE")) {
            notices.push(format!("'{}' has no effect: commits are exactly once.", MODE.key));
        }
        let waiting = options.integer(&MAX_CONCURRENT)?.unwrap_or(1);
        let limits = Limits {
            interval_ms,
            min_pause_ms: options.duration_ms(&MIN_PAUSE)?.unwrap_or(0),
            timeout_ms: options.duration_ms(&TIMEOUT)?.unwrap_or(u64::MAX / 4).max(1),
            size_bytes_max: options.size_bytes(&EPOCH_SIZE)?.unwrap_or(64 << 20).max(1),
            in_flight: usize::try_from(waiting).unwrap_or(1).saturating_add(1),
        };
        Ok(Self { limits, notices })
    }
}

/// The notices about keys without effect.
fn check_keys(options: &Options) -> Result<Vec<String>, Error> {
    let mut notices = Vec::new();
    let mut ours = Options::default();
    for (key, value) in options.iter() {
        if let Some((_, why)) = WITHOUT_EFFECT.iter().find(|(ignored, _)| *ignored == key) {
            notices.push(format!("'{key}' has no effect: {why}."));
        } else if key.starts_with("execution.checkpointing.")
            || key.starts_with("restart-strategy")
            || OPTIONS.iter().any(|spec| spec.key == key)
        {
            ours.set(key, value);
        }
    }
    ours.validate("job", &OPTIONS)?;
    Ok(notices)
}

/// The folder that the user chose for checkpoint files, if any.
///
/// # Errors
/// If it is not on the local file system.
pub fn checkpoint_folder(options: &Options) -> Result<Option<PathBuf>, Error> {
    let given = options.get(DIR.key).map(|value| (DIR.key, value));
    let given = given.or_else(|| options.get(DIR_OLD.key).map(|value| (DIR_OLD.key, value)));
    let Some((key, value)) = given else { return Ok(None) };
    local_path(key, value).map(Some)
}

/// The folder for savepoints that the user chose, if any.
///
/// # Errors
/// If it is not on the local file system.
pub fn savepoint_folder(options: &Options) -> Result<Option<PathBuf>, Error> {
    let keys = [SAVEPOINT_DIR.key, SAVEPOINT_DIR_OLD.key];
    let given = keys.into_iter().find_map(|key| Some((key, options.get(key)?)));
    given.map(|(key, value)| local_path(key, value)).transpose()
}

/// The savepoint from which a job is to start, if any.
///
/// # Errors
/// If it is not on the local file system.
pub fn recovery_path(options: &Options) -> Result<Option<PathBuf>, Error> {
    options.get(RECOVERY_PATH.key).map(|value| local_path(RECOVERY_PATH.key, value)).transpose()
}

/// Whether a savepoint may hold positions of sources that the job does not read.
///
/// # Errors
/// If the option is neither `true` nor `false`.
pub fn takes_unclaimed(options: &Options) -> Result<bool, Error> {
    options.boolean(&UNCLAIMED)
}

/// The local path that a value of option `key` names: a path, or a URI of scheme `file`.
///
/// # Errors
/// If it is not on the local file system.
pub fn local_path(key: &str, value: &str) -> Result<PathBuf, Error> {
    let path = match value.split_once("://") {
        Some(("file", path)) => path,
        Some((scheme, _)) => {
            return Err(Error::job(format!(
                "Option '{key}' has the scheme '{scheme}', but checkpoint files are written to \
                 the local file system only: give 'file:///folder' or leave it out"
            )));
        }
        None => value.strip_prefix("file:").unwrap_or(value),
    };
    if path.is_empty() {
        return Err(Error::job(format!("Option '{key}' must name a folder")));
    }
    Ok(PathBuf::from(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(entries: &[(&str, &str)]) -> Options {
        entries.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn check(entries: &[(&str, &str)]) -> String {
        match CheckpointSettings::from_options(&options(entries)) {
            Ok(settings) => format!("{:?}\n{}", settings.limits, settings.notices.join("\n")),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn without_an_interval_three_seconds_hold_and_the_user_is_told() {
        insta::assert_snapshot!(check(&[]), @"
        Limits { interval_ms: 3000, min_pause_ms: 0, timeout_ms: 600000, size_bytes_max: 67108864, in_flight: 2 }
        'execution.checkpointing.interval' is not set: changes are committed every 3 s.
        ");
    }

    #[test]
    fn all_settings_are_read() {
        let given = [
            ("execution.checkpointing.interval", "50ms"),
            ("execution.checkpointing.min-pause", "10 ms"),
            ("execution.checkpointing.max-concurrent-checkpoints", "3"),
            ("execution.checkpointing.timeout", "1 min"),
            ("execution.checkpointing.unaligned.enabled", "true"),
            ("shardlake.epoch.max-size", "1mb"),
            ("table.dml-sync", "true"),
        ];
        insta::assert_snapshot!(check(&given), @"
        Limits { interval_ms: 50, min_pause_ms: 10, timeout_ms: 60000, size_bytes_max: 1048576, in_flight: 4 }
        'execution.checkpointing.unaligned.enabled' has no effect: epochs need no alignment.
        ");
    }

    #[test]
    fn mistakes_name_the_key() {
        insta::assert_snapshot!(check(&[("execution.checkpointing.interval", "10ms")]), @"The value of option 'execution.checkpointing.interval' must be at least 50 ms, but is 10 ms");
        insta::assert_snapshot!(check(&[("execution.checkpointing.interval", "soon")]), @"Could not parse value 'soon' for key 'execution.checkpointing.interval'.");
        assert!(
            check(&[("execution.checkpointing.intervall", "3s")])
                .starts_with("Unsupported options found")
        );
        assert!(
            check(&[("restart-strategy.typ", "none")]).starts_with("Unsupported options found")
        );
    }

    #[test]
    fn the_checkpoint_folder_is_local() {
        let folder = |value: &str| checkpoint_folder(&options(&[("state.checkpoints.dir", value)]));
        assert_eq!(folder("file:///a/b").unwrap(), Some(PathBuf::from("/a/b")));
        assert_eq!(folder("a/b").unwrap(), Some(PathBuf::from("a/b")));
        insta::assert_snapshot!(folder("s3://bucket/x").unwrap_err().to_string(), @"Option 'state.checkpoints.dir' has the scheme 's3', but checkpoint files are written to the local file system only: give 'file:///folder' or leave it out");
    }
}
