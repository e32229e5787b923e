//! Connects the operators of a job as its plan says.
//!
//! Every worker builds the same graph: for each lane a source operator (which reads on one worker
//! only), transformations and unions, a sink operator for each sink, and one committer.

use std::sync::Arc;

use shardlake_sql::plan::{JobPlan, StreamNode, Transform};
use timely::dataflow::operators::{Concatenate, Probe};
use timely::dataflow::{Scope, Stream};
use timely::worker::Worker;

use crate::batch::Batch;
use crate::committer::commit;
use crate::run::{Parts, Shared};
use crate::sink::write;
use crate::source::source;
use crate::transform::{describe, transform};

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
        let mut transforms = 0;
        let mut reports = Vec::with_capacity(parts.sinks.len());
        for (sink, input) in &parts.sinks {
            let rows = stage(scope, &sources, input, &mut transforms, shared);
            reports.push(write(rows, sink.clone(), shared));
        }
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

/// A chain of transformations in a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransformChain {
    /// What it is, for example `Calc(select=[id])`.
    pub description: String,
    /// Where its rows come from.
    pub inputs: Vec<StageInput>,
}

/// Where rows come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StageInput {
    /// A source of the plan.
    Source(usize),
    /// A chain of [`transforms`].
    Transform(usize),
}

/// The chains of transformations of a plan, in the order of their counters, and for each sink where
/// its rows come from.
#[must_use]
pub fn transforms(plan: &JobPlan) -> (Vec<TransformChain>, Vec<Vec<StageInput>>) {
    let mut chains = Vec::new();
    let sinks = plan.sinks.iter().map(|sink| inputs_of(&sink.input, &mut chains)).collect();
    (chains, sinks)
}

/// Goes the same way as [`stage`], so that both count alike.
fn inputs_of(node: &StreamNode, chains: &mut Vec<TransformChain>) -> Vec<StageInput> {
    match node {
        StreamNode::Source { index } => vec![StageInput::Source(*index)],
        StreamNode::Union { inputs } => {
            inputs.iter().flat_map(|input| inputs_of(input, chains)).collect()
        }
        StreamNode::Transform { .. } => {
            let (input, chained) = chain(node);
            let inputs = inputs_of(input, chains);
            chains.push(TransformChain { description: describe(&chained), inputs });
            vec![StageInput::Transform(chains.len() - 1)]
        }
    }
}

/// The stream that a node of the plan stands for.
fn stage<'scope>(
    scope: Scope<'scope, u64>,
    sources: &[Stream<'scope, u64, Batch>],
    node: &StreamNode,
    transforms: &mut usize,
    shared: &Arc<Shared>,
) -> Stream<'scope, u64, Batch> {
    match node {
        StreamNode::Source { index } => match sources.get(*index) {
            Some(source) => source.clone(),
            None => union(scope, Vec::new()),
        },
        StreamNode::Union { inputs } => {
            let inputs =
                inputs.iter().map(|input| stage(scope, sources, input, transforms, shared));
            union(scope, inputs.collect())
        }
        StreamNode::Transform { .. } => {
            let (input, chained) = chain(node);
            let input = stage(scope, sources, input, transforms, shared);
            let index = *transforms;
            *transforms += 1;
            transform(input, chained, index, shared)
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
