//! The options of a streaming or incremental read, with Flink's names, rules and messages.

use shardlake_connector::{Error, OptionKind, OptionSpec, Options};
use shardlake_iceberg_table::StartingPoint;

const STREAMING: OptionSpec = OptionSpec::new(
    "streaming",
    OptionKind::Boolean,
    "Whether the table is read as a stream that never ends.",
)
.default_value("false");
const MONITOR_INTERVAL: OptionSpec = OptionSpec::new(
    "monitor-interval",
    OptionKind::Duration,
    "How often a streaming read looks for new snapshots.",
)
.default_value("60s");
const STARTING_STRATEGY: OptionSpec = OptionSpec::new(
    "starting-strategy",
    OptionKind::Word(&[
        "TABLE_SCAN_THEN_INCREMENTAL",
        "INCREMENTAL_FROM_LATEST_SNAPSHOT",
        "INCREMENTAL_FROM_LATEST_SNAPSHOT_EXCLUSIVE",
        "INCREMENTAL_FROM_EARLIEST_SNAPSHOT",
        "INCREMENTAL_FROM_SNAPSHOT_ID",
        "INCREMENTAL_FROM_SNAPSHOT_TIMESTAMP",
    ]),
    "Where a streaming read begins.",
)
.default_value("INCREMENTAL_FROM_LATEST_SNAPSHOT");
const START_SNAPSHOT_ID: OptionSpec = OptionSpec::new(
    "start-snapshot-id",
    OptionKind::Integer { min: i64::MIN, max: i64::MAX },
    "The snapshot with which the strategy INCREMENTAL_FROM_SNAPSHOT_ID begins; without a strategy, the \
     snapshot after which reading begins.",
);
const START_SNAPSHOT_TIMESTAMP: OptionSpec = OptionSpec::new(
    "start-snapshot-timestamp",
    OptionKind::Integer { min: 0, max: i64::MAX },
    "Reading begins with the first snapshot of this time or later, in milliseconds since 1970.",
);
const START_TAG: OptionSpec =
    OptionSpec::new("start-tag", OptionKind::Text, "As start-snapshot-id, with a tag's snapshot.");
const END_SNAPSHOT_ID: OptionSpec = OptionSpec::new(
    "end-snapshot-id",
    OptionKind::Integer { min: i64::MIN, max: i64::MAX },
    "The last snapshot whose changes are read; only without streaming.",
);
const END_TAG: OptionSpec =
    OptionSpec::new("end-tag", OptionKind::Text, "As end-snapshot-id, with a tag's snapshot.");
const BRANCH: OptionSpec =
    OptionSpec::new("branch", OptionKind::Text, "The branch that is read.").default_value("main");
const TAG: OptionSpec =
    OptionSpec::new("tag", OptionKind::Text, "The tag whose state is read; not for streaming.");
const SNAPSHOT_ID: OptionSpec = OptionSpec::new(
    "snapshot-id",
    OptionKind::Integer { min: i64::MIN, max: i64::MAX },
    "The snapshot whose state is read; not for streaming.",
);
const AS_OF_TIMESTAMP: OptionSpec = OptionSpec::new(
    "as-of-timestamp",
    OptionKind::Integer { min: 0, max: i64::MAX },
    "The time whose state is read, in milliseconds since 1970; not for streaming.",
);
const PLANNING_COUNT: OptionSpec = OptionSpec::new(
    "max-planning-snapshot-count",
    OptionKind::Integer { min: 1, max: i64::MAX },
    "Accepted for Flink's sake: snapshots are always planned one by one.",
);
const PLANNING_FAILURES: OptionSpec = OptionSpec::new(
    "max-allowed-planning-failures",
    OptionKind::Integer { min: -1, max: i64::MAX },
    "How many times in a row looking for new snapshots may fail; -1: always.",
)
.default_value("3");

/// The options of reading, beside those that say where the table is.
pub const SOURCE_OPTIONS: &[OptionSpec] = &[
    STREAMING,
    MONITOR_INTERVAL,
    STARTING_STRATEGY,
    START_SNAPSHOT_ID,
    START_SNAPSHOT_TIMESTAMP,
    START_TAG,
    END_SNAPSHOT_ID,
    END_TAG,
    BRANCH,
    TAG,
    SNAPSHOT_ID,
    AS_OF_TIMESTAMP,
    PLANNING_COUNT,
    PLANNING_FAILURES,
];

/// The snapshot at which something begins or ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Anchor {
    Snapshot(i64),
    Tag(String),
}

/// Where reading begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// At a place that needs no tag.
    Point(StartingPoint),
    /// With the changes of a tag's snapshot.
    Tag(String),
    /// After a tag's snapshot.
    AfterTag(String),
}

/// When reading ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    Never,
    /// At the newest snapshot of the start.
    Newest,
    At(Anchor),
}

/// What is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ReadOptions {
    pub(super) start: Start,
    pub(super) end: End,
    pub(super) branch: Option<String>,
    pub(super) monitor_interval_ms: u64,
    /// Failures in a row that are borne; none: any number.
    pub(super) allowed_failures: Option<u64>,
}

impl ReadOptions {
    /// Reads the options of a table.
    pub(super) fn parse(options: &Options) -> Result<Self, Error> {
        let streaming = options.boolean(&STREAMING)?;
        for (spec, what) in [
            (TAG, "Cannot scan table using ref configured for streaming reader: 'tag'"),
            (SNAPSHOT_ID, "Cannot set snapshot-id option for streaming reader"),
            (AS_OF_TIMESTAMP, "Cannot set as-of-timestamp option for streaming reader"),
        ] {
            if options.get(spec.key).is_some() {
                return Err(Error::job(what));
            }
        }
        let start = anchor(options, [START_SNAPSHOT_ID, START_TAG])?;
        let end = anchor(options, [END_SNAPSHOT_ID, END_TAG])?;
        if streaming && let Some(end) = &end {
            return Err(Error::job(match end {
                Anchor::Snapshot(_) => "Cannot set end-snapshot-id option for streaming reader",
                Anchor::Tag(_) => "Cannot set end-tag option for streaming reader",
            }));
        }
        let timestamp = options.integer(&START_SNAPSHOT_TIMESTAMP)?;
        let strategy = options.get(STARTING_STRATEGY.key).map(str::to_ascii_uppercase);
        let start = start_of(strategy.as_deref(), start, timestamp)?;
        let failures = options.integer(&PLANNING_FAILURES)?.unwrap_or(3);
        Ok(Self {
            start,
            end: match (streaming, end) {
                (true, _) => End::Never,
                (false, None) => End::Newest,
                (false, Some(end)) => End::At(end),
            },
            branch: options.get(BRANCH.key).map(str::to_owned),
            monitor_interval_ms: options.duration_ms(&MONITOR_INTERVAL)?.unwrap_or(60_000),
            allowed_failures: u64::try_from(failures).ok(),
        })
    }
}

/// A snapshot given by its id or by a tag.
fn anchor(options: &Options, [id, tag]: [OptionSpec; 2]) -> Result<Option<Anchor>, Error> {
    match (options.integer(&id)?, options.get(tag.key)) {
        (Some(_), Some(_)) => {
            let name = |key: &str| key.to_uppercase().replace('-', "_");
            Err(Error::job(format!("{} and {} cannot both be set.", name(id.key), name(tag.key))))
        }
        (Some(id), None) => Ok(Some(Anchor::Snapshot(id))),
        (None, Some(tag)) => Ok(Some(Anchor::Tag(tag.to_owned()))),
        (None, None) => Ok(None),
    }
}

fn start_of(
    strategy: Option<&str>,
    start: Option<Anchor>,
    timestamp: Option<i64>,
) -> Result<Start, Error> {
    let point = |point| Ok(Start::Point(point));
    let Some(strategy) = strategy else {
        return match (start, timestamp) {
            (Some(_), Some(_)) => Err(Error::job(
                "only one of 'start-snapshot-id', 'start-tag' and 'start-snapshot-timestamp' can be \
                 given",
            )),
            (Some(Anchor::Snapshot(id)), None) => point(StartingPoint::AfterSnapshot(id)),
            (Some(Anchor::Tag(tag)), None) => Ok(Start::AfterTag(tag)),
            (None, Some(millis)) => point(StartingPoint::TimestampMs(millis)),
            (None, None) => point(StartingPoint::Latest),
        };
    };
    let refuse = |what: &str, is: &str| {
        Err(Error::job(format!("Invalid starting snapshot {what} for {strategy} strategy: {is}")))
    };
    match (strategy, start, timestamp) {
        ("INCREMENTAL_FROM_SNAPSHOT_ID", None, _) => refuse("id", "null"),
        ("INCREMENTAL_FROM_SNAPSHOT_ID", Some(_), Some(_)) => refuse("timestamp", "not null"),
        ("INCREMENTAL_FROM_SNAPSHOT_ID", Some(Anchor::Snapshot(id)), None) => {
            point(StartingPoint::Snapshot(id))
        }
        ("INCREMENTAL_FROM_SNAPSHOT_ID", Some(Anchor::Tag(tag)), None) => Ok(Start::Tag(tag)),
        ("INCREMENTAL_FROM_SNAPSHOT_TIMESTAMP", _, None) => refuse("timestamp", "null"),
        ("INCREMENTAL_FROM_SNAPSHOT_TIMESTAMP", Some(_), Some(_)) => refuse("id", "not null"),
        ("INCREMENTAL_FROM_SNAPSHOT_TIMESTAMP", None, Some(millis)) => {
            point(StartingPoint::TimestampMs(millis))
        }
        ("TABLE_SCAN_THEN_INCREMENTAL", None, None) => point(StartingPoint::TableScan),
        ("INCREMENTAL_FROM_LATEST_SNAPSHOT", None, None) => point(StartingPoint::Latest),
        ("INCREMENTAL_FROM_LATEST_SNAPSHOT_EXCLUSIVE", None, None) => {
            point(StartingPoint::AfterLatest)
        }
        ("INCREMENTAL_FROM_EARLIEST_SNAPSHOT", None, None) => point(StartingPoint::Earliest),
        (_, Some(_), _) => refuse("id", "not null"),
        (_, None, _) => refuse("timestamp", "not null"),
    }
}
