//! How maintenance leaves the processor to the stream: it works for a while, then rests.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long it works before it rests.
const SLICE: Duration = Duration::from_millis(10);

/// Says when to rest, and when to stop.
#[derive(Clone, Debug)]
pub struct Throttle {
    /// The share of one processor's time that may be used, more than 0 and at most 1.
    share: f64,
    stop: Arc<AtomicBool>,
    since: Instant,
}

impl Throttle {
    /// Works for `share` of the time (between 0.01 and 1), until `stop` is set.
    #[must_use]
    pub fn new(share: f64, stop: Arc<AtomicBool>) -> Self {
        Self { share: share.clamp(0.01, 1.0), stop, since: Instant::now() }
    }

    /// Never rests and never stops.
    #[must_use]
    pub fn none() -> Self {
        Self::new(1.0, Arc::default())
    }

    /// Rests if it is time. False if the work is to be given up.
    pub(crate) async fn go_on(&mut self) -> bool {
        let worked = self.since.elapsed();
        if self.share < 1.0 && worked >= SLICE {
            tokio::time::sleep(worked.mul_f64((1.0 - self.share) / self.share)).await;
            self.since = Instant::now();
        }
        !self.stop.load(Ordering::Relaxed)
    }
}
