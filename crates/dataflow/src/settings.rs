//! The settings of a run: parallelism and memory, besides those of epochs.

use std::sync::LazyLock;

use shardlake_checkpoint::{CheckpointSettings, Limits};
use shardlake_connector::{Error, OptionKind, OptionSpec, Options};

const PARALLELISM: OptionSpec = OptionSpec::new(
    "parallelism.default",
    OptionKind::Integer { min: 1, max: 64 },
    "How many workers transform and write, each on a thread of its own.",
)
.default_value("1");
const MEMORY: OptionSpec = OptionSpec::new(
    "shardlake.memory.size",
    OptionKind::Size,
    "Memory for changes that are read and not yet written: half for the sources, half for what is \
     under way to the sinks.",
)
.default_value("64 mb");

/// The least memory that a job can run with.
const MEMORY_BYTES_MIN: u64 = 4 << 20;

/// All options that this crate and `checkpoint` read.
pub static OPTIONS: LazyLock<Vec<OptionSpec>> = LazyLock::new(|| {
    let own = [PARALLELISM, MEMORY];
    own.iter().chain(shardlake_checkpoint::OPTIONS.iter()).copied().collect()
});

/// How a job runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The number of workers.
    pub parallelism: usize,
    /// What bounds epochs.
    pub limits: Limits,
    /// Memory that all sources together may hold.
    pub source_bytes: usize,
    /// Memory that batches between sources and writers may take.
    pub queue_bytes: usize,
}

impl Settings {
    /// Reads and checks the settings of a session; also says what the user should be told.
    ///
    /// # Errors
    /// If a value is wrong, naming its key.
    pub fn from_options(options: &Options) -> Result<(Self, Vec<String>), Error> {
        let epochs = CheckpointSettings::from_options(options)?;
        let mut ours = Options::default();
        for spec in [&PARALLELISM, &MEMORY] {
            if let Some(value) = options.get(spec.key) {
                ours.set(spec.key, value);
            }
        }
        ours.validate("job", &OPTIONS)?;
        let memory = ours.size_bytes(&MEMORY)?.unwrap_or(64 << 20);
        if memory < MEMORY_BYTES_MIN {
            return Err(Error::job(format!(
                "The value of option '{}' must be at least 4 mb, but is {memory} bytes",
                MEMORY.key
            )));
        }
        let half = usize::try_from(memory / 2).unwrap_or(usize::MAX);
        let parallelism = ours.integer(&PARALLELISM)?.unwrap_or(1);
        let settings = Self {
            parallelism: usize::try_from(parallelism).unwrap_or(1).max(1),
            limits: epochs.limits,
            source_bytes: half,
            queue_bytes: half,
        };
        Ok((settings, epochs.notices))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(entries: &[(&str, &str)]) -> String {
        let options: Options =
            entries.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        match Settings::from_options(&options) {
            Ok((s, _)) => {
                format!("{} workers, {} + {}", s.parallelism, s.source_bytes, s.queue_bytes)
            }
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn settings_are_read_and_checked() {
        assert_eq!(check(&[]), "1 workers, 33554432 + 33554432");
        assert_eq!(
            check(&[("parallelism.default", "2"), ("shardlake.memory.size", "8mb")]),
            "2 workers, 4194304 + 4194304"
        );
        insta::assert_snapshot!(check(&[("parallelism.default", "0")]), @"The value of option 'parallelism.default' must larger than 0, but is 0");
        insta::assert_snapshot!(check(&[("shardlake.memory.size", "1mb")]), @"The value of option 'shardlake.memory.size' must be at least 4 mb, but is 1048576 bytes");
    }
}
