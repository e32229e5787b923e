//! What `SET` sets.
//!
//! Keys and defaults are Flink's. A key that Shardlake does not know is kept and listed, and the user
//! is told that it has no effect; a value that a known key does not take is refused at once.

use std::collections::BTreeMap;

use chrono::{DateTime, FixedOffset, LocalResult, NaiveDateTime, TimeZone};
use chrono_tz::Tz;
use shardlake_connector::{OptionKind, OptionSpec, Options};

use crate::diagnostic::{Code, Diagnostic};

const ANY_POSITIVE: OptionKind = OptionKind::Integer { min: 1, max: i64::MAX };
const ANY_COUNT: OptionKind = OptionKind::Integer { min: 0, max: i64::MAX };

const fn text(key: &'static str, description: &'static str) -> OptionSpec {
    OptionSpec::new(key, OptionKind::Text, description)
}

const fn word(
    key: &'static str,
    words: &'static [&'static str],
    description: &'static str,
) -> OptionSpec {
    OptionSpec::new(key, OptionKind::Word(words), description)
}

/// The keys that Shardlake knows, sorted.
pub const CONFIGURATION_KEYS: &[OptionSpec] = &[
    text("execution.checkpointing.*", "Checked when a job is submitted."),
    text("execution.checkpointing.dir", "Where checkpoint files are kept."),
    OptionSpec::new(
        "execution.checkpointing.interval",
        OptionKind::Duration,
        "How often a job commits.",
    ),
    OptionSpec::new(
        "execution.checkpointing.max-concurrent-checkpoints",
        ANY_POSITIVE,
        "How many epochs may be under way.",
    ),
    OptionSpec::new(
        "execution.checkpointing.min-pause",
        OptionKind::Duration,
        "The least time between two commits.",
    ),
    word(
        "execution.checkpointing.mode",
        &["EXACTLY_ONCE", "AT_LEAST_ONCE"],
        "The guarantee of a job.",
    )
    .default_value("EXACTLY_ONCE"),
    text("execution.checkpointing.savepoint-dir", "Where savepoints are kept."),
    OptionSpec::new(
        "execution.checkpointing.timeout",
        OptionKind::Duration,
        "How long an epoch may take.",
    )
    .default_value("10 min"),
    word(
        "execution.runtime-mode",
        &["streaming", "batch", "STREAMING", "BATCH", "automatic", "AUTOMATIC"],
        "Whether a query runs as a stream or once over bounded tables.",
    )
    .default_value("streaming"),
    text("execution.state-recovery.path", "The savepoint from which the next job starts."),
    OptionSpec::new("parallelism.default", ANY_POSITIVE, "How many workers a job has."),
    text("pipeline.name", "The name of the next job."),
    text("restart-strategy.*", "Checked when a job is submitted."),
    OptionSpec::new(
        "restart-strategy.exponential-delay.backoff-multiplier",
        OptionKind::Float,
        "By how much the delay grows.",
    )
    .default_value("1.5"),
    OptionSpec::new(
        "restart-strategy.exponential-delay.initial-backoff",
        OptionKind::Duration,
        "The first delay.",
    )
    .default_value("1 s"),
    OptionSpec::new(
        "restart-strategy.exponential-delay.jitter-factor",
        OptionKind::Float,
        "How much of the delay is random.",
    )
    .default_value("0.1"),
    OptionSpec::new(
        "restart-strategy.exponential-delay.max-backoff",
        OptionKind::Duration,
        "The longest delay.",
    )
    .default_value("1 min"),
    OptionSpec::new(
        "restart-strategy.exponential-delay.reset-backoff-threshold",
        OptionKind::Duration,
        "How long a job runs until its delay is reset.",
    )
    .default_value("1 h"),
    OptionSpec::new(
        "restart-strategy.failure-rate.delay",
        OptionKind::Duration,
        "The delay before a restart.",
    )
    .default_value("1 s"),
    OptionSpec::new(
        "restart-strategy.failure-rate.failure-rate-interval",
        OptionKind::Duration,
        "The time in which failures are counted.",
    )
    .default_value("1 min"),
    OptionSpec::new(
        "restart-strategy.failure-rate.max-failures-per-interval",
        ANY_POSITIVE,
        "How many failures are allowed in that time.",
    )
    .default_value("1"),
    OptionSpec::new(
        "restart-strategy.fixed-delay.attempts",
        ANY_COUNT,
        "How often a job is restarted.",
    )
    .default_value("1"),
    OptionSpec::new(
        "restart-strategy.fixed-delay.delay",
        OptionKind::Duration,
        "The delay before a restart.",
    )
    .default_value("1 s"),
    word(
        "restart-strategy.type",
        &[
            "none",
            "off",
            "disable",
            "fixed-delay",
            "fixeddelay",
            "failure-rate",
            "failurerate",
            "exponential-delay",
            "exponentialdelay",
        ],
        "What happens when a job fails.",
    ),
    text("shardlake.*", "Shardlake's own settings."),
    word(
        "sql-client.display.print-time-cost",
        &["true", "false"],
        "Whether the time that a query took is printed.",
    )
    .default_value("true"),
    OptionSpec::new(
        "sql-client.execution.max-table-result.rows",
        ANY_COUNT,
        "How many rows the result mode 'table' keeps.",
    )
    .default_value("1000000"),
    word(
        "sql-client.execution.result-mode",
        &["table", "changelog", "tableau", "TABLE", "CHANGELOG", "TABLEAU"],
        "How results are shown.",
    )
    .default_value("table"),
    OptionSpec::new(
        "sql-client.verbose",
        OptionKind::Boolean,
        "Whether errors are printed with their details.",
    )
    .default_value("false"),
    word("table.column-expansion-strategy", &[""], "Which columns SELECT * leaves out.")
        .default_value(""),
    OptionSpec::new(
        "table.display.max-column-width",
        ANY_POSITIVE,
        "How wide a column of a result is at most.",
    )
    .default_value("30"),
    OptionSpec::new(
        "table.dml-sync",
        OptionKind::Boolean,
        "Whether the client waits until an INSERT has finished.",
    )
    .default_value("false"),
    OptionSpec::new(
        "table.dynamic-table-options.enabled",
        OptionKind::Boolean,
        "Whether OPTIONS hints are allowed.",
    )
    .default_value("true"),
    word(
        "table.exec.sink.not-null-enforcer",
        &["ERROR", "DROP", "error", "drop"],
        "What happens to a NULL for a NOT NULL column.",
    )
    .default_value("ERROR"),
    text("table.local-time-zone", "The time zone of the session.").default_value("default"),
];

/// Old names of keys, and what they are called now.
const OLD_KEYS: [(&str, &str); 6] = [
    ("execution.savepoint.path", "execution.state-recovery.path"),
    ("restart-strategy", "restart-strategy.type"),
    ("sql-client.display.max-column-width", "table.display.max-column-width"),
    ("sql-client.execution.mode", "execution.runtime-mode"),
    ("state.checkpoints.dir", "execution.checkpointing.dir"),
    ("state.savepoints.dir", "execution.checkpointing.savepoint-dir"),
];

fn current_name(key: &str) -> &str {
    OLD_KEYS.iter().find(|(old, _)| *old == key).map_or(key, |(_, new)| new)
}

fn spec_of(key: &str) -> Option<&'static OptionSpec> {
    let is_under = |spec: &&OptionSpec| {
        spec.key.strip_suffix('*').is_some_and(|prefix| key.starts_with(prefix))
    };
    let exact = CONFIGURATION_KEYS.iter().find(|spec| spec.key == key);
    exact.or_else(|| CONFIGURATION_KEYS.iter().find(is_under))
}

/// The configuration of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configuration {
    /// What the process was started with; `RESET` goes back to it.
    initial: BTreeMap<String, String>,
    /// What `SET` has set, and what `initial` sets.
    values: BTreeMap<String, String>,
}

impl Configuration {
    /// The configuration of a process that was started with these settings.
    ///
    /// # Errors
    /// A known key does not take its value.
    pub fn new(settings: impl IntoIterator<Item = (String, String)>) -> Result<Self, Diagnostic> {
        let mut configuration = Self::default();
        for (key, value) in settings {
            configuration.set(&key, &value)?;
        }
        configuration.initial.clone_from(&configuration.values);
        Ok(configuration)
    }

    /// Sets a key. Answers with a warning if the key has no effect.
    ///
    /// # Errors
    /// The key does not take the value.
    pub fn set(&mut self, key: &str, value: &str) -> Result<Option<String>, Diagnostic> {
        let key = current_name(key);
        let Some(spec) = spec_of(key) else {
            self.values.insert(key.to_owned(), value.to_owned());
            return Ok(Some(format!("The key '{key}' is not known; it has no effect.")));
        };
        let single: Options = [(key.to_owned(), value.to_owned())].into_iter().collect();
        single
            .validate("session", std::slice::from_ref(spec))
            .map_err(|error| Diagnostic::new(Code::Configuration, error.report()))?;
        if key == "table.local-time-zone" {
            parse_zone(value)?;
        }
        self.values.insert(key.to_owned(), value.to_owned());
        Ok(None)
    }

    /// Sets a key back to what it was at the start.
    pub fn reset(&mut self, key: &str) {
        let key = current_name(key);
        match self.initial.get(key) {
            Some(value) => self.values.insert(key.to_owned(), value.clone()),
            None => self.values.remove(key),
        };
    }

    /// Sets all keys back to what they were at the start.
    pub fn reset_all(&mut self) {
        self.values.clone_from(&self.initial);
    }

    /// The value of a key, or its default.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<String> {
        let key = current_name(key);
        let default = || spec_of(key).and_then(|spec| spec.default).map(str::to_owned);
        self.values.get(key).cloned().or_else(default)
    }

    /// Whether a key has been set.
    #[must_use]
    pub fn is_set(&self, key: &str) -> bool {
        self.values.contains_key(current_name(key))
    }

    /// Whether a key is `true`.
    #[must_use]
    pub fn is_true(&self, key: &str) -> bool {
        self.get(key).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// Whether queries run as batches.
    #[must_use]
    pub fn is_batch(&self) -> bool {
        self.get("execution.runtime-mode").is_some_and(|mode| mode.eq_ignore_ascii_case("batch"))
    }

    /// All keys that are set or have a default, sorted. Values may be secret.
    #[must_use]
    pub fn to_options(&self) -> Options {
        let mut all: BTreeMap<String, String> = CONFIGURATION_KEYS
            .iter()
            .filter_map(|spec| Some((spec.key.to_owned(), spec.default?.to_owned())))
            .collect();
        all.extend(self.values.clone());
        all.into_iter().collect()
    }

    /// What was set, without defaults: what a job takes with it.
    #[must_use]
    pub fn explicit(&self) -> Options {
        self.values.clone().into_iter().collect()
    }

    /// The time zone of the session.
    #[must_use]
    pub fn time_zone(&self) -> SessionZone {
        let name = self.get("table.local-time-zone").unwrap_or_default();
        parse_zone(&name).unwrap_or(SessionZone::Named(Tz::UTC))
    }

    /// The instant, in milliseconds since 1970, of a wall clock time in the session's zone. The first
    /// of two if the clock was set back then.
    ///
    /// # Errors
    /// The text is no such time, or the clock skipped it.
    pub fn instant_ms(&self, timestamp: &str) -> Result<i64, Diagnostic> {
        let text = timestamp.trim().replacen('T', " ", 1);
        let parsed = NaiveDateTime::parse_from_str(&text, "%Y-%m-%d %H:%M:%S%.f")
            .or_else(|_| NaiveDateTime::parse_from_str(&text, "%Y-%m-%d %H:%M"))
            .or_else(|_| NaiveDateTime::parse_from_str(&format!("{text} 00:00"), "%Y-%m-%d %H:%M"));
        let zone = self.time_zone();
        parsed.ok().and_then(|local| zone.to_utc_ms(local)).ok_or_else(|| {
            let message = format!("'{timestamp}' is no time in zone {}.", zone.name());
            Diagnostic::new(Code::TypeMismatch, message)
                .with_hint("Write TIMESTAMP 'yyyy-MM-dd HH:mm:ss'.")
        })
    }
}

/// A time zone by name, or a fixed distance from UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionZone {
    /// A zone of the IANA database.
    Named(Tz),
    /// A fixed distance.
    Fixed(FixedOffset),
}

impl SessionZone {
    /// Its name, as Arrow understands it.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Named(zone) => zone.name().to_owned(),
            Self::Fixed(offset) => offset.to_string(),
        }
    }

    /// The wall clock time of an instant in this zone.
    #[must_use]
    pub fn local(&self, instant: DateTime<chrono::Utc>) -> NaiveDateTime {
        match self {
            Self::Named(zone) => instant.with_timezone(zone).naive_local(),
            Self::Fixed(offset) => instant.with_timezone(offset).naive_local(),
        }
    }

    fn to_utc_ms(self, local: NaiveDateTime) -> Option<i64> {
        fn first<T: TimeZone>(result: LocalResult<DateTime<T>>) -> Option<i64> {
            result.earliest().map(|instant| instant.timestamp_millis())
        }
        match self {
            Self::Named(zone) => first(zone.from_local_datetime(&local)),
            Self::Fixed(offset) => first(offset.from_local_datetime(&local)),
        }
    }
}

/// Reads a zone as Flink does: `default`, `Europe/Berlin`, `UTC`, `GMT+08:00`, `+08:00`.
fn parse_zone(name: &str) -> Result<SessionZone, Diagnostic> {
    if name == "default" {
        return Ok(system_zone());
    }
    if let Ok(zone) = name.parse::<Tz>() {
        return Ok(SessionZone::Named(zone));
    }
    let offset = ["GMT", "UTC", "UT"].iter().find_map(|prefix| name.strip_prefix(prefix));
    fixed_offset(offset.unwrap_or(name)).map(SessionZone::Fixed).ok_or_else(|| {
        let message = format!("Invalid time zone '{name}' for key 'table.local-time-zone'.");
        Diagnostic::new(Code::Configuration, message)
            .with_hint("Use a name such as 'Europe/Berlin', 'UTC', or 'GMT+08:00'.")
    })
}

fn fixed_offset(text: &str) -> Option<FixedOffset> {
    let (sign, rest) = match text.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = rest.split_once(':').unwrap_or((rest, "0"));
    let (hours, minutes): (i32, i32) = (hours.parse().ok()?, minutes.parse().ok()?);
    if !(0..=18).contains(&hours) || !(0..60).contains(&minutes) {
        return None;
    }
    FixedOffset::east_opt(sign * (hours * 3600 + minutes * 60))
}

/// The zone of the machine: `TZ`, else what `/etc/localtime` points at, else UTC.
fn system_zone() -> SessionZone {
    let from_env = std::env::var("TZ").ok().and_then(|name| name.parse::<Tz>().ok());
    let from_link = || {
        let target = std::fs::read_link("/etc/localtime").ok()?;
        let (_, name) = target.to_str()?.split_once("zoneinfo/")?;
        name.parse::<Tz>().ok()
    };
    SessionZone::Named(from_env.or_else(from_link).unwrap_or(Tz::UTC))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_sorted_and_their_defaults_are_valid() {
        for pair in CONFIGURATION_KEYS.windows(2) {
            assert!(pair[0].key < pair[1].key, "{} before {}", pair[0].key, pair[1].key);
        }
        let mut configuration = Configuration::default();
        for spec in CONFIGURATION_KEYS {
            if let Some(default) = spec.default {
                configuration.set(spec.key, default).unwrap();
            }
        }
    }

    #[test]
    fn reset_goes_back_to_the_start() {
        let start = [("pipeline.name".to_owned(), "a".to_owned())];
        let mut configuration = Configuration::new(start).unwrap();
        configuration.set("pipeline.name", "b").unwrap();
        configuration.set("table.dml-sync", "true").unwrap();
        assert!(configuration.is_true("table.dml-sync"));
        configuration.reset("pipeline.name");
        assert_eq!(configuration.get("pipeline.name").as_deref(), Some("a"));
        configuration.reset_all();
        assert!(!configuration.is_true("table.dml-sync"));
    }

    #[test]
    fn a_wrong_value_is_refused_and_an_unknown_key_is_named() {
        let mut configuration = Configuration::default();
        let error = configuration.set("execution.checkpointing.interval", "soon").unwrap_err();
        insta::assert_snapshot!(error, @"Could not parse value 'soon' for key 'execution.checkpointing.interval'.");
        let error = configuration.set("execution.runtime-mode", "fast").unwrap_err();
        insta::assert_snapshot!(error, @"Invalid value for option 'execution.runtime-mode'. Supported values are [streaming, batch, STREAMING, BATCH, automatic, AUTOMATIC], but was: fast");
        let warning = configuration.set("foo.bar", "1").unwrap();
        insta::assert_snapshot!(warning.unwrap(), @"The key 'foo.bar' is not known; it has no effect.");
    }

    #[test]
    fn old_keys_mean_the_new_ones() {
        let mut configuration = Configuration::default();
        configuration.set("sql-client.display.max-column-width", "5").unwrap();
        assert_eq!(configuration.get("table.display.max-column-width").as_deref(), Some("5"));
    }

    #[test]
    fn instants_follow_the_zone_of_the_session() {
        let mut configuration = Configuration::default();
        for (zone, expected) in [
            ("UTC", 1_704_067_200_000),
            ("Asia/Shanghai", 1_704_038_400_000),
            ("GMT+08:00", 1_704_038_400_000),
            ("-02:30", 1_704_076_200_000),
        ] {
            configuration.set("table.local-time-zone", zone).unwrap();
            assert_eq!(
                configuration.instant_ms("2024-01-01 00:00:00").unwrap(),
                expected,
                "{zone}"
            );
        }
        configuration.set("table.local-time-zone", "Europe/Berlin").unwrap();
        assert!(configuration.instant_ms("2024-03-31 02:30:00").is_err());
        assert!(configuration.set("table.local-time-zone", "Mars/Crater").is_err());
    }
}
