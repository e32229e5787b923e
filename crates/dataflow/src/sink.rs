//! Hands rows to a sink's writer and waits for its results.
//!
//! The operator holds the capability of every epoch of which it has seen a row until the writer has
//! closed it, so the committer hears of an epoch only when all of it is durable. An epoch without a
//! row at this worker is not closed by its writer at all.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use shardlake_connector::{OpenedSink, WriteResult};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::{DistributorPact, ParallelizationContract, Pipeline};
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::Operator;

use crate::batch::Batch;
use crate::exchange::KeyDistributor;
use crate::run::{Shared, waker};
use crate::writer::{Task, WriterSeat};

/// What one writer of one sink made of an epoch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) sink: usize,
    pub(crate) worker: usize,
    pub(crate) result: WriteResult,
}

/// A sink of the plan.
#[derive(Clone)]
pub(crate) struct SinkSpec {
    pub(crate) index: usize,
    pub(crate) name: String,
    pub(crate) equality_key: Vec<usize>,
    pub(crate) opened: Arc<dyn OpenedSink>,
}

/// Writes the stream into a sink; the reports of its writers, one for each epoch with rows.
pub(crate) fn write<'scope>(
    input: Stream<'scope, u64, Batch>,
    sink: SinkSpec,
    shared: &Arc<Shared>,
) -> Stream<'scope, u64, Vec<Report>> {
    let workers = input.scope().worker().peers();
    if workers > 1 && !sink.equality_key.is_empty() {
        let (key, run) = (sink.equality_key.clone(), Arc::clone(shared));
        let by_key = DistributorPact(move |_workers| KeyDistributor::new(key, run));
        write_with(input, by_key, sink, shared)
    } else {
        write_with(input, Pipeline, sink, shared)
    }
}

struct OpenEpoch {
    capability: Capability<u64>,
    closing: bool,
}

fn write_with<'scope, P: ParallelizationContract<u64, Batch>>(
    input: Stream<'scope, u64, Batch>,
    pact: P,
    sink: SinkSpec,
    shared: &Arc<Shared>,
) -> Stream<'scope, u64, Vec<Report>> {
    let scope = input.scope();
    let (worker, worker_count) = (scope.worker().index(), scope.worker().peers());
    let shared = Arc::clone(shared);
    let name = format!("Sink(table=[{}])", sink.name);
    input.unary_frontier::<CapacityContainerBuilder<Vec<Report>>, _, _, _>(
        pact,
        &name,
        move |_capability, operator| {
            let (tasks, task_queue) = crossbeam_channel::unbounded();
            let (result_sender, results) = crossbeam_channel::unbounded();
            let wake = waker(scope.worker().sync_activator_for(operator.address.to_vec()));
            let seat = WriterSeat {
                sink: Arc::clone(&sink.opened),
                sink_index: sink.index,
                worker,
                worker_count,
                tasks: task_queue,
                results: result_sender,
                wake: Arc::clone(&wake.call),
            };
            seat.spawn(&shared);
            let mut open: BTreeMap<u64, OpenEpoch> = BTreeMap::new();
            move |(input, frontier), output| {
                wake.clear();
                let port = output.output_index();
                input.for_each(|capability, batch| {
                    let Some(epoch) = capability.least().copied() else { return };
                    if let Some(capability) = capability.retain_least(port) {
                        open.entry(epoch)
                            .or_insert_with(|| OpenEpoch { capability, closing: false });
                    }
                    let _unless_over = tasks.send(Task::Write(epoch, std::mem::take(batch)));
                });
                for (epoch, state) in &mut open {
                    if !state.closing && !frontier.less_equal(epoch) {
                        state.closing = true;
                        let _unless_over = tasks.send(Task::Close(*epoch));
                    }
                }
                for closed in results.try_iter() {
                    let Some(state) = open.remove(&closed.epoch) else { continue };
                    let report = Report { sink: sink.index, worker, result: closed.result };
                    output.session(&state.capability).give(report);
                }
            }
        },
    )
}
