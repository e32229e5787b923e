//! Gathers what was made of each epoch and has it committed.
//!
//! All reports and marks come to worker 0. When both frontiers have passed an epoch, nothing of it
//! can still arrive, so it is complete and goes to the committing thread; epochs go in order. Their
//! capabilities are held until they are committed, so the dataflow does not end before.

use std::collections::BTreeMap;
use std::sync::Arc;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::Operator;

use crate::commit::{CommitSeat, EpochEnd};
use crate::run::{Shared, waker};
use crate::sink::Report;
use crate::source::Mark;

struct Gathered {
    capability: Capability<u64>,
    reports: Vec<Report>,
    marks: Vec<Mark>,
    sent: bool,
}

impl From<Capability<u64>> for Gathered {
    fn from(capability: Capability<u64>) -> Self {
        Self { capability, reports: Vec::new(), marks: Vec::new(), sent: false }
    }
}

/// Commits what arrives; the stream of committed epochs. `seat` is there on worker 0 only.
pub(crate) fn commit<'scope>(
    reports: Stream<'scope, u64, Vec<Report>>,
    marks: Stream<'scope, u64, Vec<Mark>>,
    seat: Option<CommitSeat>,
    shared: &Arc<Shared>,
) -> Stream<'scope, u64, Vec<u64>> {
    let scope = reports.scope();
    let shared = Arc::clone(shared);
    reports.binary_frontier::<_, CapacityContainerBuilder<Vec<u64>>, _, _, _, _>(
        marks,
        Exchange::new(|_: &Report| 0),
        Exchange::new(|_: &Mark| 0),
        "Committer",
        move |_capability, operator| {
            let (ends, end_queue) = crossbeam_channel::unbounded();
            let (done_sender, done) = crossbeam_channel::unbounded();
            let wake = waker(scope.worker().sync_activator_for(operator.address.to_vec()));
            if let Some(seat) = seat {
                seat.spawn(end_queue, done_sender, Arc::clone(&wake.call), &shared);
            }
            let mut open: BTreeMap<u64, Gathered> = BTreeMap::new();
            move |(reports, reports_frontier), (marks, marks_frontier), output| {
                wake.clear();
                let port = output.output_index();
                reports.for_each(|capability, reports| {
                    let Some(epoch) = capability.least().copied() else { return };
                    if let Some(capability) = capability.retain_least(port) {
                        let gathered = open.entry(epoch).or_insert_with(|| capability.into());
                        gathered.reports.append(reports);
                    }
                });
                marks.for_each(|capability, marks| {
                    let Some(epoch) = capability.least().copied() else { return };
                    if let Some(capability) = capability.retain_least(port) {
                        let gathered = open.entry(epoch).or_insert_with(|| capability.into());
                        gathered.marks.append(marks);
                    }
                });
                for (epoch, gathered) in &mut open {
                    if reports_frontier.less_equal(epoch) || marks_frontier.less_equal(epoch) {
                        break;
                    }
                    if !gathered.sent {
                        gathered.sent = true;
                        let _unless_over = ends.send(EpochEnd {
                            epoch: *epoch,
                            reports: std::mem::take(&mut gathered.reports),
                            marks: std::mem::take(&mut gathered.marks),
                            finishes: shared.clock.finishes_with(*epoch),
                        });
                    }
                }
                for epoch in done.try_iter() {
                    if let Some(gathered) = open.remove(&epoch) {
                        output.session(&gathered.capability).give(epoch);
                    }
                }
            }
        },
    )
}
