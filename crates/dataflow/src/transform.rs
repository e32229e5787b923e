//! Applies transformations to each batch.
//!
//! Transformations that follow one another run in one operator. Rows stay in their order and keep
//! the credit of the batch that they came from.

use std::sync::Arc;

use shardlake_change::ChangeBatch;
use shardlake_connector::Error;
use shardlake_sql::plan::Transform;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;

use crate::batch::Batch;
use crate::run::Shared;

/// The stream after these transformations, the first one first.
pub(crate) fn transform<'scope>(
    input: Stream<'scope, u64, Batch>,
    transforms: Vec<Arc<dyn Transform>>,
    index: usize,
    shared: &Arc<Shared>,
) -> Stream<'scope, u64, Batch> {
    let meter = shared.meters.transform(index);
    let shared = Arc::clone(shared);
    input.unary::<CapacityContainerBuilder<Batch>, _, _, _>(
        Pipeline,
        &describe(&transforms),
        move |_capability, _operator| {
            move |input, output| {
                input.for_each(|capability, batch| {
                    let Some((changes, credit)) = batch.take() else { return };
                    let _busy = meter.busy();
                    meter.add_rows(changes.row_count() as u64);
                    // A batch that came without rows tells of columns.
                    let tells = changes.row_count() == 0;
                    match apply(&transforms, changes) {
                        Ok(changes) if tells || changes.row_count() > 0 => {
                            let mut batch = Batch::new(changes, credit);
                            output.session(&capability).give_container(&mut batch);
                        }
                        Ok(_) => {}
                        Err(error) => shared.ending.fail(error),
                    }
                });
            }
        },
    )
}

/// What these transformations are, for plans and metrics.
pub(crate) fn describe(transforms: &[Arc<dyn Transform>]) -> String {
    let names: Vec<String> = transforms.iter().map(|transform| transform.describe()).collect();
    names.join(" -> ")
}

fn apply(transforms: &[Arc<dyn Transform>], batch: ChangeBatch) -> Result<ChangeBatch, Error> {
    transforms.iter().try_fold(batch, |batch, transform| transform.apply(&batch))
}
