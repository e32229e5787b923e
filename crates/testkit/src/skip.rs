//! What must be seen in the output of a passing run: that a test was skipped, and what a long one measured.

use std::env;
use std::io::{Write, stderr};

/// Says that a test was skipped, past the test harness's capture of output.
///
/// With `SHARDLAKE_REQUIRE_SERVERS` set, nothing may be skipped: the caller must fail instead when this returns false.
#[must_use]
pub fn report_skipped(test: &str, reason: &str) -> bool {
    if env::var_os("SHARDLAKE_REQUIRE_SERVERS").is_some_and(|value| !value.is_empty()) {
        return false;
    }
    say(&format!("SKIPPED {test}: {reason}"));
    true
}

/// Prints a line past the test harness's capture of output.
pub fn say(line: &str) {
    // Whether anybody reads it does not matter to the test.
    drop(stderr().write_all(format!("{line}\n").as_bytes()));
}

/// Takes the value of a `Result<_, shardlake_testkit::Error>`, or leaves the test: with a line
/// `SKIPPED <test>: <reason>` when the environment cannot be had, and with a panic when it is there
/// and broken.
#[macro_export]
macro_rules! or_skip {
    ($result:expr) => {
        match $result {
            Ok(value) => value,
            Err(error) if error.is_unavailable() => {
                fn here() {}
                let name = ::std::any::type_name_of_val(&here).trim_end_matches("::here");
                if $crate::report_skipped(name, &error.to_string()) {
                    return ::std::default::Default::default();
                }
                panic!("{error}");
            }
            Err(error) => panic!("{error}: {:?}", ::std::error::Error::source(&error)),
        }
    };
}
