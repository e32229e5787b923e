//! The counters of a job, as others see them.

use shardlake_dataflow::Meters;

use crate::JobCounters;

/// The counters as they stand.
pub(crate) fn counters(meters: &Meters, restarts: u64) -> JobCounters {
    let last = meters.last_commit();
    JobCounters {
        sources: meters.sources(),
        transforms: meters.transforms(),
        sinks: meters.sinks(),
        last_epoch: last.as_ref().map(|last| last.epoch),
        last_commit_ms: last.as_ref().map(|last| last.at_ms),
        last_event_time_ms: last.as_ref().and_then(|last| last.event_time_ms),
        restarts,
    }
}
