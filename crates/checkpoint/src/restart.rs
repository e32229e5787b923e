//! What follows a failure. No other place decides it.
//!
//! A transient fault restarts the job by the user's `restart-strategy`; a fault that a user has to
//! mend fails it at once. A bug is treated as transient, because the input that met it may not come
//! back, but only a few times without a commit in between. The defaults are those of Flink 2.x.

use std::collections::VecDeque;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use shardlake_connector::{Error, Fault, OptionKind, OptionSpec, Options};

/// How often a bug may end a run before a commit is made; then the job fails.
const BUGS_MAX: u32 = 3;

const TYPE: OptionSpec = OptionSpec::new(
    "restart-strategy.type",
    OptionKind::Word(&[
        "none",
        "off",
        "disable",
        "fixeddelay",
        "fixed-delay",
        "failurerate",
        "failure-rate",
        "exponentialdelay",
        "exponential-delay",
    ]),
    "What follows a failure that may pass: no restart, or restarts after a pause.",
)
.default_value("exponential-delay");
const TYPE_OLD: OptionSpec =
    OptionSpec::new("restart-strategy", TYPE.kind, "The old spelling of restart-strategy.type.");
const FIXED_ATTEMPTS: OptionSpec = OptionSpec::new(
    "restart-strategy.fixed-delay.attempts",
    OptionKind::Integer { min: 0, max: i64::MAX },
    "How often the job is restarted before it fails.",
)
.default_value("1");
const FIXED_DELAY: OptionSpec = OptionSpec::new(
    "restart-strategy.fixed-delay.delay",
    OptionKind::Duration,
    "The pause before each restart.",
)
.default_value("1 s");
const RATE_FAILURES: OptionSpec = OptionSpec::new(
    "restart-strategy.failure-rate.max-failures-per-interval",
    OptionKind::Integer { min: 0, max: i64::MAX },
    "How many failures within the interval are followed by a restart.",
)
.default_value("1");
const RATE_INTERVAL: OptionSpec = OptionSpec::new(
    "restart-strategy.failure-rate.failure-rate-interval",
    OptionKind::Duration,
    "The interval in which failures are counted.",
)
.default_value("1 min");
const RATE_DELAY: OptionSpec = OptionSpec::new(
    "restart-strategy.failure-rate.delay",
    OptionKind::Duration,
    "The pause before each restart.",
)
.default_value("1 s");
const EXP_INITIAL: OptionSpec = OptionSpec::new(
    "restart-strategy.exponential-delay.initial-backoff",
    OptionKind::Duration,
    "The pause before the first restart.",
)
.default_value("1 s");
const EXP_MAX: OptionSpec = OptionSpec::new(
    "restart-strategy.exponential-delay.max-backoff",
    OptionKind::Duration,
    "The longest pause.",
)
.default_value("1 min");
const EXP_MULTIPLIER: OptionSpec = OptionSpec::new(
    "restart-strategy.exponential-delay.backoff-multiplier",
    OptionKind::Float,
    "By what each pause is longer than the one before.",
)
.default_value("1.5");
const EXP_RESET: OptionSpec = OptionSpec::new(
    "restart-strategy.exponential-delay.reset-backoff-threshold",
    OptionKind::Duration,
    "After so long without a failure the next pause is the first one again.",
)
.default_value("1 h");
const EXP_JITTER: OptionSpec = OptionSpec::new(
    "restart-strategy.exponential-delay.jitter-factor",
    OptionKind::Float,
    "By what part of itself a pause is made longer or shorter at random.",
)
.default_value("0.1");
const EXP_ATTEMPTS: OptionSpec = OptionSpec::new(
    "restart-strategy.exponential-delay.attempts-before-reset-backoff",
    OptionKind::Integer { min: 0, max: i64::MAX },
    "How often the job is restarted without a reset in between before it fails.",
)
.default_value("2147483647");

/// The options that a restart strategy knows.
pub(crate) const SPECS: &[OptionSpec] = &[
    TYPE,
    TYPE_OLD,
    FIXED_ATTEMPTS,
    FIXED_DELAY,
    RATE_FAILURES,
    RATE_INTERVAL,
    RATE_DELAY,
    EXP_INITIAL,
    EXP_MAX,
    EXP_MULTIPLIER,
    EXP_RESET,
    EXP_JITTER,
    EXP_ATTEMPTS,
];

/// A restart strategy with its parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RestartPolicy {
    /// Every failure fails the job.
    None,
    /// A fixed number of restarts.
    FixedDelay {
        /// Restarts before the job fails.
        attempts: u64,
        /// The pause before each.
        delay_ms: u64,
    },
    /// Restarts while failures are rare.
    FailureRate {
        /// Failures within the interval that are followed by a restart.
        failures_max: u64,
        /// The interval.
        interval_ms: u64,
        /// The pause before each restart.
        delay_ms: u64,
    },
    /// Restarts after growing pauses.
    ExponentialDelay {
        /// The first pause.
        initial_ms: u64,
        /// The longest pause.
        max_ms: u64,
        /// The factor between pauses.
        multiplier: f64,
        /// The time without failure after which the pauses start anew.
        reset_ms: u64,
        /// The random part of a pause.
        jitter: f64,
        /// Restarts without a reset before the job fails.
        attempts: u64,
    },
}

fn number(options: &Options, spec: &OptionSpec) -> Result<u64, Error> {
    Ok(options.integer(spec)?.and_then(|number| u64::try_from(number).ok()).unwrap_or(0))
}

fn duration(options: &Options, spec: &OptionSpec) -> Result<u64, Error> {
    Ok(options.duration_ms(spec)?.unwrap_or(0))
}

fn factor(options: &Options, spec: &OptionSpec, least: f64, most: f64) -> Result<f64, Error> {
    let value = options.float(spec)?.unwrap_or(least);
    if (least..=most).contains(&value) {
        Ok(value)
    } else {
        Err(Error::job(format!(
            "The value of option '{}' must be between {least} and {most}, but is {value}",
            spec.key
        )))
    }
}

impl RestartPolicy {
    /// The strategy that the user chose; both spellings of its key are known.
    ///
    /// # Errors
    /// If a value is not of its type or out of range, naming the key.
    pub fn from_options(options: &Options) -> Result<Self, Error> {
        let name = options.get(TYPE_OLD.key).filter(|_| options.get(TYPE.key).is_none());
        let name = name.or_else(|| options.text(&TYPE)).unwrap_or("none");
        match name.trim().to_ascii_lowercase().as_str() {
            "none" | "off" | "disable" => Ok(Self::None),
            "fixed-delay" | "fixeddelay" => Ok(Self::FixedDelay {
                attempts: number(options, &FIXED_ATTEMPTS)?,
                delay_ms: duration(options, &FIXED_DELAY)?,
            }),
            "failure-rate" | "failurerate" => Ok(Self::FailureRate {
                failures_max: number(options, &RATE_FAILURES)?,
                interval_ms: duration(options, &RATE_INTERVAL)?,
                delay_ms: duration(options, &RATE_DELAY)?,
            }),
            "exponential-delay" | "exponentialdelay" => Ok(Self::ExponentialDelay {
                initial_ms: duration(options, &EXP_INITIAL)?,
                max_ms: duration(options, &EXP_MAX)?,
                multiplier: factor(options, &EXP_MULTIPLIER, 1.0, 100.0)?,
                reset_ms: duration(options, &EXP_RESET)?,
                jitter: factor(options, &EXP_JITTER, 0.0, 1.0)?,
                attempts: number(options, &EXP_ATTEMPTS)?,
            }),
            other => Err(Error::job(format!(
                "Invalid value for option '{}'. Supported values are [none, fixed-delay, \
                 failure-rate, exponential-delay], but was: {other}",
                TYPE.key
            ))),
        }
    }
}

/// What to do about a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Start the job again after a pause.
    Restart {
        /// The pause.
        after_ms: u64,
    },
    /// The job has failed for good.
    Fail {
        /// Why it is not restarted, for the user.
        reason: &'static str,
    },
}

/// The restarts of one job.
#[derive(Debug)]
pub struct Restarts {
    policy: RestartPolicy,
    random: StdRng,
    attempts: u64,
    bugs: u32,
    recent_ms: VecDeque<u64>,
    backoff_ms: f64,
    last_restart_ms: Option<u64>,
}

impl Restarts {
    /// No failure yet. `seed` makes the random part of pauses repeatable.
    #[must_use]
    pub fn new(policy: RestartPolicy, seed: u64) -> Self {
        Self {
            policy,
            random: StdRng::seed_from_u64(seed),
            attempts: 0,
            bugs: 0,
            recent_ms: VecDeque::new(),
            backoff_ms: 0.0,
            last_restart_ms: None,
        }
    }

    /// An epoch was committed: a bug that happened before did not keep the job from going on.
    pub const fn committed(&mut self) {
        self.bugs = 0;
    }

    /// What to do about a failure at this time.
    pub fn failed(&mut self, fault: Fault, now_ms: u64) -> Decision {
        match fault {
            Fault::Transient => {}
            Fault::Bug => {
                self.bugs += 1;
                if self.bugs > BUGS_MAX {
                    return Decision::Fail {
                        reason: "the same kind of internal error came back without progress",
                    };
                }
            }
            Fault::Table | Fault::Job => {
                return Decision::Fail { reason: "trying again cannot mend it" };
            }
        }
        match self.policy {
            RestartPolicy::None => Decision::Fail { reason: "'restart-strategy.type' is 'none'" },
            RestartPolicy::FixedDelay { attempts, delay_ms } => {
                self.attempts += 1;
                if self.attempts > attempts {
                    return Decision::Fail {
                        reason: "'restart-strategy.fixed-delay.attempts' is reached",
                    };
                }
                Decision::Restart { after_ms: delay_ms }
            }
            RestartPolicy::FailureRate { failures_max, interval_ms, delay_ms } => {
                self.recent_ms.push_back(now_ms);
                self.recent_ms.retain(|at| at + interval_ms > now_ms);
                if self.recent_ms.len() as u64 > failures_max {
                    return Decision::Fail {
                        reason: "'restart-strategy.failure-rate.max-failures-per-interval' is \
                                 reached",
                    };
                }
                Decision::Restart { after_ms: delay_ms }
            }
            RestartPolicy::ExponentialDelay { .. } => self.exponential(now_ms),
        }
    }

    fn exponential(&mut self, now_ms: u64) -> Decision {
        let RestartPolicy::ExponentialDelay {
            initial_ms,
            max_ms,
            multiplier,
            reset_ms,
            jitter,
            attempts,
        } = self.policy
        else {
            return Decision::Fail { reason: "the restart strategy is not exponential-delay" };
        };
        let quiet = self.last_restart_ms.is_none_or(|at| now_ms.saturating_sub(at) >= reset_ms);
        if quiet {
            self.attempts = 0;
            self.backoff_ms = exact(initial_ms);
        } else {
            self.backoff_ms = (self.backoff_ms * multiplier).min(exact(max_ms));
        }
        self.attempts += 1;
        if self.attempts > attempts {
            return Decision::Fail {
                reason: "'restart-strategy.exponential-delay.attempts-before-reset-backoff' is \
                         reached",
            };
        }
        let share = jitter * (self.random.random::<f64>() * 2.0 - 1.0);
        let pause = (self.backoff_ms * (1.0 + share)).clamp(0.0, exact(max_ms));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped to the range from zero to the longest pause"
        )]
        let after_ms = pause.round() as u64;
        self.last_restart_ms = Some(now_ms + after_ms);
        Decision::Restart { after_ms }
    }
}

/// Pauses are far below 2^53 milliseconds; longer ones may lose a millisecond.
fn exact(ms: u64) -> f64 {
    ms as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(entries: &[(&str, &str)]) -> Options {
        entries.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    /// What follows failures at these times, in text.
    fn check(entries: &[(&str, &str)], failures: &[(Fault, u64)]) -> String {
        let policy = RestartPolicy::from_options(&options(entries)).unwrap();
        let mut restarts = Restarts::new(policy, 1);
        let lines = failures.iter().map(|(fault, at)| match restarts.failed(*fault, *at) {
            Decision::Restart { after_ms } => format!("restart after {after_ms} ms\n"),
            Decision::Fail { reason } => format!("fail: {reason}\n"),
        });
        lines.collect()
    }

    #[test]
    fn pauses_grow_and_start_anew_after_a_quiet_hour() {
        let no_jitter = [("restart-strategy.exponential-delay.jitter-factor", "0")];
        let times = [0, 2_000, 5_000, 10_000, 4_000_000].map(|at| (Fault::Transient, at));
        insta::assert_snapshot!(check(&no_jitter, &times), @"
        restart after 1000 ms
        restart after 1500 ms
        restart after 2250 ms
        restart after 3375 ms
        restart after 1000 ms
        ");
    }

    #[test]
    fn jitter_stays_within_its_part_and_pauses_below_the_longest() {
        let policy = RestartPolicy::from_options(&Options::default()).unwrap();
        let mut restarts = Restarts::new(policy, 42);
        let mut pauses = Vec::new();
        for second in 0..100 {
            match restarts.failed(Fault::Transient, second * 1_000) {
                Decision::Restart { after_ms } => pauses.push(after_ms),
                Decision::Fail { reason } => panic!("{reason}"),
            }
        }
        assert!((900..=1_100).contains(&pauses[0]), "{pauses:?}");
        assert!(pauses.iter().all(|pause| *pause <= 60_000), "{pauses:?}");
        assert!(pauses[99] >= 54_000, "{pauses:?}");
    }

    #[test]
    fn a_fixed_number_of_restarts() {
        let given = [
            ("restart-strategy", "fixed-delay"),
            ("restart-strategy.fixed-delay.attempts", "2"),
            ("restart-strategy.fixed-delay.delay", "5 s"),
        ];
        insta::assert_snapshot!(check(&given, &[(Fault::Transient, 0); 3]), @"
        restart after 5000 ms
        restart after 5000 ms
        fail: 'restart-strategy.fixed-delay.attempts' is reached
        ");
    }

    #[test]
    fn failures_are_counted_within_the_interval() {
        let given = [("restart-strategy.type", "failure-rate")];
        let times = [0, 70_000, 75_000].map(|at| (Fault::Transient, at));
        insta::assert_snapshot!(check(&given, &times), @"
        restart after 1000 ms
        restart after 1000 ms
        fail: 'restart-strategy.failure-rate.max-failures-per-interval' is reached
        ");
    }

    #[test]
    fn what_a_user_has_to_mend_is_not_tried_again() {
        insta::assert_snapshot!(check(&[], &[(Fault::Job, 0), (Fault::Table, 0)]), @"
        fail: trying again cannot mend it
        fail: trying again cannot mend it
        ");
        insta::assert_snapshot!(
            check(&[("restart-strategy.type", "none")], &[(Fault::Transient, 0)]),
            @"fail: 'restart-strategy.type' is 'none'"
        );
    }

    #[test]
    fn a_bug_that_comes_back_without_progress_fails_the_job() {
        let policy = RestartPolicy::from_options(&Options::default()).unwrap();
        let mut restarts = Restarts::new(policy, 1);
        for round in 0..2 {
            for _ in 0..3 {
                let decision = restarts.failed(Fault::Bug, round);
                assert!(matches!(decision, Decision::Restart { .. }), "{decision:?}");
            }
            restarts.committed();
        }
        for _ in 0..3 {
            restarts.failed(Fault::Bug, 9);
        }
        assert!(matches!(restarts.failed(Fault::Bug, 9), Decision::Fail { .. }));
    }

    #[test]
    fn wrong_values_name_their_key() {
        let message = |key: &str, value: &str| {
            RestartPolicy::from_options(&options(&[(key, value)])).unwrap_err().to_string()
        };
        insta::assert_snapshot!(message("restart-strategy.type", "sometimes"), @"Invalid value for option 'restart-strategy.type'. Supported values are [none, fixed-delay, failure-rate, exponential-delay], but was: sometimes");
        insta::assert_snapshot!(message("restart-strategy.exponential-delay.jitter-factor", "3"), @"The value of option 'restart-strategy.exponential-delay.jitter-factor' must be between 0 and 1, but is 3");
    }
}
