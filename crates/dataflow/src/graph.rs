//! Connects the operators of a job as its plan says.
//!
//! Every worker builds the same graph: for each lane a source operator (which reads on one worker
//! only), transformations and unions, a sink operator for each sink, and one committer.

use std::sync::Arc;

use shardlake_sql::plan::{StreamNode, Transform};
use timely::dataflow::operators::{Concatenate, Probe};
use timely::dataflow::{Scope, Stream};
use timely::worker::Worker;

use crate::batch::Batch;
use crate::committer::commit;
use crate::run::{Parts, Shared};
use crate::sink::write;
use crate::source::source;
use crate::transform::transform;

/// Builds the job's dataflow on this worker.
pub(crate) fn build(worker: &mut Worker, parts: &Parts, shared: &Arc<Shared>) {
    let (index, peers) = (worker.index(), worker.peers());
    worker.dataflow::<u64, _, _>(|scope| {
        let mut rows: Vec<Vec<Stream<'_, u64, Batch>>> = vec![Vec::new(); parts.source_count];
        let mut marks = Vec::with_capacity(parts.lane_names.len());
        for (lane_index, name) in parts.lane_names.iter().enumerate() {
            let mine = lane_index % peers == index;
            let lane = if mine { parts.take_lane(lane_index) } else { None };
            let name_of_lane = format!("{}, {}", name.source, name.lane);
            let (batches, positions) = source(scope, &name_of_lane, lane_index, lane, shared);
            if let Some(source) = rows.get_mut(parts.source_of(lane_index)) {
                source.push(batches);
            }
            marks.push(positions);
        }
        let sources: Vec<_> = rows.into_iter().map(|lanes| union(scope, lanes)).collect();
        let reports: Vec<_> = parts
            .sinks
            .iter()
            .map(|(sink, input)| write(stage(scope, &sources, input, shared), sink.clone(), shared))
            .collect();
        let seat = if index == 0 { parts.take_commit_seat() } else { None };
        let reports = scope.concatenate(reports);
        let marks = scope.concatenate(marks);
        // Nothing looks at the probe: it ends the stream of committed epochs.
        let (_probe, _committed) = commit(reports, marks, seat, shared).probe();
    });
}

/// All rows of these streams.
fn union<'scope>(
    scope: Scope<'scope, u64>,
    mut streams: Vec<Stream<'scope, u64, Batch>>,
) -> Stream<'scope, u64, Batch> {
    match streams.pop() {
        Some(only) if streams.is_empty() => only,
        Some(last) => {
            streams.push(last);
            scope.concatenate(streams)
        }
        None => scope.concatenate(streams),
    }
}

/// The stream that a node of the plan stands for.
fn stage<'scope>(
    scope: Scope<'scope, u64>,
    sources: &[Stream<'scope, u64, Batch>],
    node: &StreamNode,
    shared: &Arc<Shared>,
) -> Stream<'scope, u64, Batch> {
    match node {
        StreamNode::Source { index } => match sources.get(*index) {
            Some(source) => source.clone(),
            None => union(scope, Vec::new()),
        },
        StreamNode::Union { inputs } => {
            let inputs = inputs.iter().map(|input| stage(scope, sources, input, shared));
            union(scope, inputs.collect())
        }
        StreamNode::Transform { .. } => {
            let (input, transforms) = chain(node);
            transform(stage(scope, sources, input, shared), transforms, shared)
        }
    }
}

/// The transformations that end in this node, the first one first, and what they start from.
fn chain(node: &StreamNode) -> (&StreamNode, Vec<Arc<dyn Transform>>) {
    let (mut node, mut transforms) = (node, Vec::new());
    while let StreamNode::Transform { input, transform } = node {
        transforms.push(Arc::clone(transform));
        node = input;
    }
    transforms.reverse();
    (node, transforms)
}
