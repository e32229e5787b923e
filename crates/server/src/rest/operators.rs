//! The operators of a job with their counters: what REST calls vertices.

use serde::Serialize;
use shardlake_job::{JobHandle, OperatorKind, TableCounters};

/// An operator at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct OperatorReading {
    /// Its id in paths: 32 hexadecimal digits, the same for the same operator of a resubmitted job.
    pub(crate) id: String,
    /// What it is.
    pub(crate) kind: OperatorKind,
    /// Its name.
    pub(crate) name: String,
    /// On how many workers it runs.
    pub(crate) parallelism: usize,
    /// The ids of the operators whose rows it takes.
    pub(crate) inputs: Vec<String>,
    /// Changes that it took in; for a source, that it read.
    pub(crate) row_count: u64,
    /// For a source the bytes that it read, for a sink those that it committed.
    pub(crate) size_bytes: u64,
    /// Changes that are committed; for sinks only.
    pub(crate) committed_row_count: u64,
    /// How long it has worked.
    pub(crate) busy_ms: u64,
    /// How long it waited for those that follow it.
    pub(crate) blocked_ms: u64,
}

impl OperatorReading {
    /// Changes that it passed on. What a transformation drops is not counted apart.
    pub(crate) const fn rows_out(&self) -> u64 {
        match self.kind {
            OperatorKind::Source | OperatorKind::Transform => self.row_count,
            OperatorKind::Sink => 0,
        }
    }

    /// Changes that it took from other operators.
    pub(crate) const fn rows_in(&self) -> u64 {
        match self.kind {
            OperatorKind::Source => 0,
            OperatorKind::Transform | OperatorKind::Sink => self.row_count,
        }
    }
}

/// The operators of a job, each after those whose rows it takes.
pub(crate) fn readings(job: &JobHandle) -> Vec<OperatorReading> {
    let counters = job.counters();
    let graph = job.graph();
    let ids: Vec<String> =
        graph.iter().map(|operator| id_of(job.name(), operator.kind, operator.index)).collect();
    let nothing = TableCounters::default();
    graph
        .iter()
        .zip(&ids)
        .map(|(operator, id)| {
            let of_kind = match operator.kind {
                OperatorKind::Source => &counters.sources,
                OperatorKind::Transform => &counters.transforms,
                OperatorKind::Sink => &counters.sinks,
            };
            let counted = of_kind.get(operator.index).unwrap_or(&nothing);
            OperatorReading {
                id: id.clone(),
                kind: operator.kind,
                name: operator.name.clone(),
                parallelism: operator.parallelism,
                inputs: operator
                    .inputs
                    .iter()
                    .filter_map(|input| ids.get(*input).cloned())
                    .collect(),
                row_count: counted.row_count,
                size_bytes: counted.size_bytes,
                committed_row_count: counted.committed_row_count,
                busy_ms: counted.busy_ms,
                blocked_ms: counted.blocked_ms,
            }
        })
        .collect()
}

/// FNV-1a, twice with different beginnings, for 32 digits.
fn id_of(job: &str, kind: OperatorKind, index: usize) -> String {
    let kind = match kind {
        OperatorKind::Source => "source",
        OperatorKind::Transform => "transform",
        OperatorKind::Sink => "sink",
    };
    let text = format!("{job}\u{0}{kind}\u{0}{index}");
    let hash = |seed: u64| {
        text.bytes()
            .fold(seed, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    };
    format!("{:016x}{:016x}", hash(0xcbf2_9ce4_8422_2325), hash(0x9e37_79b9_7f4a_7c15))
}
