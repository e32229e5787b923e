//! How fast existing rows are read, so that a busy server is not slowed down.
//!
//! All readers of a server share one pace. Each tells what it has read and then waits until that much was allowed; a
//! result that is not fetched makes the server wait, so nothing piles up anywhere.

use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::error::{Error, Result};
use crate::socket::StopCheck;

/// How often a reader that waits looks whether its job has ended.
const POLL: Duration = Duration::from_millis(50);

/// The limits that the user set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PaceLimits {
    /// Rows a second.
    pub(crate) rows_per_second: Option<u64>,
    /// Bytes a second, as they come from the server.
    pub(crate) bytes_per_second: Option<u64>,
}

/// The pace of all readers of a server.
pub(crate) struct Pace {
    limits: PaceLimits,
    /// When everything that was read so far was allowed.
    allowed_until: Mutex<Instant>,
    stop: StopCheck,
}

impl Pace {
    /// A pace; waits end when `stop` says so.
    pub(crate) fn new(limits: PaceLimits, stop: StopCheck) -> Self {
        Self { limits, allowed_until: Mutex::new(Instant::now()), stop }
    }

    /// Waits until so much more may have been read.
    ///
    /// # Errors
    /// [`Error::Ended`] when the job has ended.
    pub(crate) fn keep(&self, rows: u64, bytes: u64) -> Result<()> {
        let cost = cost(self.limits, rows, bytes);
        if cost.is_zero() {
            return Ok(());
        }
        let until = {
            let mut allowed_until = self.allowed_until.lock();
            // Time in which nothing was read is not made up for.
            *allowed_until = (*allowed_until).max(Instant::now()) + cost;
            *allowed_until
        };
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            if (self.stop)() {
                return Err(Error::Ended);
            }
            thread::park_timeout(left.min(POLL));
        }
    }
}

/// The time in which so much may be read.
fn cost(limits: PaceLimits, rows: u64, bytes: u64) -> Duration {
    let share = |amount: u64, limit: Option<u64>| {
        let nanos =
            limit.map_or(0, |limit| u128::from(amount) * 1_000_000_000 / u128::from(limit.max(1)));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    };
    share(rows, limits.rows_per_second).max(share(bytes, limits.bytes_per_second))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn the_tighter_limit_counts() {
        let limits = PaceLimits { rows_per_second: Some(100), bytes_per_second: Some(1_000) };
        assert_eq!(cost(limits, 50, 100), Duration::from_millis(500));
        assert_eq!(cost(limits, 1, 100), Duration::from_millis(100));
        assert_eq!(cost(PaceLimits::default(), 1_000, 1_000), Duration::ZERO);
    }

    #[test]
    fn a_reader_that_waits_ends_with_its_job() {
        let limits = PaceLimits { rows_per_second: Some(1), bytes_per_second: None };
        let pace = Pace::new(limits, Arc::new(|| true));
        assert!(matches!(pace.keep(1_000_000, 0), Err(Error::Ended)));
    }
}
