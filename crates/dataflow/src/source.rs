//! Brings the events of one lane into the dataflow.
//!
//! The operator holds the capability of the lane's epoch. At a boundary, and only there, it ends all
//! epochs that the clock has closed: it sends a [`Mark`] with the lane's position on its second
//! output and downgrades. So the rows of an epoch and the position in its mark always agree.
//!
//! Between boundaries it reads on whatever the clock says, because a transaction belongs to one
//! epoch; it only pauses while the memory budget is used up. At a boundary it also pauses while the
//! open epoch is full.

use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use shardlake_change::ChangeBatch;
use shardlake_connector::{Boundary, Error, EventReceiver, Phase, SourceEvent};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Scope, Stream};

use crate::batch::{Batch, weight_bytes};
use crate::coalesce::{Coalescer, Ready};
use crate::meters::Meter;
use crate::run::{Shared, waker};

/// Events that a lane reads before other operators get their turn.
const EVENTS_PER_STEP: u32 = 64;
/// Events that a lane passes on after a stop was wanted; more than channels hold.
const EVENTS_AFTER_STOP: u32 = 1_024;

/// A lane of a source.
pub(crate) struct Lane {
    /// The index of its source in the plan.
    pub(crate) source: usize,
    /// Its events.
    pub(crate) receiver: EventReceiver,
}

/// Where a lane stood at the end of an epoch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Mark {
    /// The lane's index among all lanes of the job.
    pub(crate) lane: usize,
    /// Its last boundary, if there was one in the epoch.
    pub(crate) boundary: Option<Place>,
}

/// A boundary, in a form that may travel between processes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Place {
    #[serde(serialize_with = "json_text", deserialize_with = "from_json_text")]
    pub(crate) position: Value,
    pub(crate) snapshot_phase: bool,
    pub(crate) event_time_ms: Option<u64>,
}

/// The wire format between workers cannot hold JSON's open values, text it can.
fn json_text<S: Serializer>(value: &Value, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&value.to_string())
}

fn from_json_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
    let text = String::deserialize(deserializer)?;
    serde_json::from_str(&text).map_err(serde::de::Error::custom)
}

impl From<Boundary> for Place {
    fn from(boundary: Boundary) -> Self {
        Self {
            position: boundary.position,
            snapshot_phase: boundary.phase == Phase::Snapshot,
            event_time_ms: boundary.event_time_ms,
        }
    }
}

type DataOutput = OutputBuilder<u64, CapacityContainerBuilder<Batch>>;
type MarkOutput = OutputBuilder<u64, CapacityContainerBuilder<Vec<Mark>>>;

/// The rows and the marks of a lane. `lane` is there on the worker that owns it only.
pub(crate) fn source<'scope>(
    scope: Scope<'scope, u64>,
    name: &str,
    lane_index: usize,
    lane: Option<Lane>,
    shared: &Arc<Shared>,
) -> (Stream<'scope, u64, Batch>, Stream<'scope, u64, Vec<Mark>>) {
    let mut builder = OperatorBuilder::new(format!("Source({name})"), scope);
    let operator = builder.operator_info();
    let (data, rows) = builder.new_output::<Batch>();
    let (marks, positions) = builder.new_output::<Vec<Mark>>();
    let wake = waker(scope.worker().sync_activator_for(operator.address.to_vec()));
    let again = scope.worker().activator_for(operator.address);
    let shared = Arc::clone(shared);
    builder.build(move |capabilities| {
        let mut data: DataOutput = OutputBuilder::from(data);
        let mut marks: MarkOutput = OutputBuilder::from(marks);
        let mut capabilities = capabilities.into_iter();
        let capabilities = (capabilities.next(), capabilities.next());
        let mut reader = match (lane, capabilities) {
            (Some(lane), (Some(data), Some(marks))) => {
                let call = Arc::clone(&wake.call);
                lane.receiver.set_waker(Box::new(move || call()));
                shared.clock.enrol_source(Arc::clone(&wake.call));
                shared.budget.enrol(Arc::clone(&wake.call));
                again.activate();
                Some(LaneReader::new(lane, lane_index, [data, marks], shared))
            }
            _ => None,
        };
        move |_frontiers| {
            wake.clear();
            let Some(lane) = reader.as_mut() else { return };
            match lane.step(&mut data, &mut marks) {
                Ok(Next::Idle) => {}
                Ok(Next::Again) => again.activate(),
                Ok(Next::Ended) => reader = None,
                Err(error) => {
                    lane.shared.ending.fail(error);
                    reader = None;
                }
            }
        }
    });
    (rows, positions)
}

/// What a lane's operator does after a step.
enum Next {
    /// Waits to be woken.
    Idle,
    /// Goes on soon.
    Again,
    /// Nothing any more.
    Ended,
}

/// Where a lane stands with a batch that takes effect by itself.
#[derive(Default)]
enum Gate {
    /// There is none.
    #[default]
    Open,
    /// It waits until this epoch is committed, to which everything before it belongs.
    Before(ChangeBatch, u64),
    /// It has been passed on; from its boundary on, its epoch must be committed first.
    Behind(Option<u64>),
}

struct LaneReader {
    receiver: EventReceiver,
    lane: usize,
    data_capability: Capability<u64>,
    mark_capability: Capability<u64>,
    /// Small batches that wait for more, with their sizes.
    coalescer: Coalescer<usize>,
    /// Whether all rows so far belong to complete transactions.
    at_boundary: bool,
    gate: Gate,
    /// The last boundary that no mark has carried yet.
    boundary: Option<Place>,
    /// The position of the last boundary.
    last_position: Option<Value>,
    events_after_stop: u32,
    drained: bool,
    /// Since when what follows has been full.
    blocked_since: Option<Instant>,
    meter: Arc<Meter>,
    shared: Arc<Shared>,
}

impl LaneReader {
    fn new(
        lane: Lane,
        index: usize,
        [mut data, mut marks]: [Capability<u64>; 2],
        shared: Arc<Shared>,
    ) -> Self {
        let epoch = shared.first_epoch;
        data.downgrade(&epoch);
        marks.downgrade(&epoch);
        Self {
            receiver: lane.receiver,
            lane: index,
            data_capability: data,
            mark_capability: marks,
            coalescer: Coalescer::default(),
            at_boundary: true,
            gate: Gate::Open,
            boundary: None,
            last_position: None,
            events_after_stop: 0,
            drained: false,
            blocked_since: None,
            meter: shared.meters.source(lane.source),
            shared,
        }
    }

    fn step(&mut self, data: &mut DataOutput, marks: &mut MarkOutput) -> Result<Next, Error> {
        let meter = Arc::clone(&self.meter);
        let _busy = meter.busy();
        if let Some(since) = self.blocked_since.take() {
            meter.add_blocked(since.elapsed());
        }
        for _ in 0..EVENTS_PER_STEP {
            if self.at_boundary && self.end_closed_epochs(data, marks)? {
                self.shared.clock.lane_ended();
                return Ok(Next::Ended);
            }
            if self.waits_at_gate(data)? {
                self.drained_at_boundary();
                return Ok(Next::Idle);
            }
            if self.pauses() {
                self.blocked_since = (!self.drained).then(Instant::now);
                self.flush(data)?;
                return Ok(Next::Idle);
            }
            match self.receiver.try_next() {
                None => {
                    self.drained_at_boundary();
                    self.flush(data)?;
                    return Ok(Next::Idle);
                }
                Some(SourceEvent::Rows(batch)) => self.read(batch, data)?,
                Some(SourceEvent::Alone(batch)) => {
                    self.flush(data)?;
                    self.gate = Gate::Before(batch, *self.mark_capability.time());
                    self.shared.clock.wait();
                }
                Some(SourceEvent::Boundary(boundary)) => self.reach(boundary),
                Some(SourceEvent::End) => {
                    self.end(data, marks)?;
                    return Ok(Next::Ended);
                }
                Some(SourceEvent::Failed(error)) => return Err(error),
            }
            if self.shared.clock.is_stopping() {
                self.events_after_stop += 1;
            }
        }
        self.flush(data)?;
        Ok(Next::Again)
    }

    /// Whether the lane waits for a commit before a batch that takes effect by itself, or behind it.
    fn waits_at_gate(&mut self, data: &mut DataOutput) -> Result<bool, Error> {
        match std::mem::take(&mut self.gate) {
            Gate::Open => Ok(false),
            Gate::Before(batch, epoch) => {
                if !self.shared.clock.is_committed(epoch) {
                    self.gate = Gate::Before(batch, epoch);
                    return Ok(true);
                }
                // It belongs to the epoch in which its boundary follows.
                self.read(batch, data)?;
                self.gate = Gate::Behind(None);
                Ok(false)
            }
            Gate::Behind(None) if self.at_boundary => {
                self.gate = Gate::Behind(Some(*self.mark_capability.time()));
                self.shared.clock.touch();
                Ok(true)
            }
            Gate::Behind(Some(epoch)) if self.shared.clock.is_committed(epoch) => {
                self.shared.clock.waited();
                Ok(false)
            }
            Gate::Behind(epoch) => {
                let waits = epoch.is_some();
                self.gate = Gate::Behind(epoch);
                Ok(waits)
            }
        }
    }

    /// Whether the lane does not read now. It is woken when that may have changed.
    fn pauses(&mut self) -> bool {
        if self.at_boundary && self.events_after_stop >= EVENTS_AFTER_STOP {
            self.drained_at_boundary();
        }
        self.drained
            || (self.at_boundary && self.shared.clock.is_full())
            || self.shared.budget.is_used_up()
    }

    /// After a stop was wanted, a lane that has nothing more to pass on says so.
    fn drained_at_boundary(&mut self) {
        if self.at_boundary && !self.drained && self.shared.clock.is_stopping() {
            self.drained = true;
            self.shared.clock.lane_drained();
        }
    }

    fn reach(&mut self, boundary: Boundary) {
        let rows = !self.at_boundary;
        self.at_boundary = true;
        if !self.shared.clock.is_active()
            && (rows || self.last_position.as_ref() != Some(&boundary.position))
        {
            self.shared.clock.touch();
        }
        self.boundary = Some(Place::from(boundary));
    }

    fn read(&mut self, batch: ChangeBatch, data: &mut DataOutput) -> Result<(), Error> {
        self.at_boundary = false;
        let size_bytes = weight_bytes(&batch);
        self.meter.add_rows(batch.row_count() as u64);
        self.meter.add_bytes(size_bytes as u64);
        self.shared.clock.add(size_bytes);
        if batch.row_count() == 0 {
            // It tells of columns: what came before it must stay before it.
            self.flush(data)?;
            self.emit((batch, vec![size_bytes]), data);
            return Ok(());
        }
        for ready in self.coalescer.push(batch, size_bytes, size_bytes)? {
            self.emit(ready, data);
        }
        Ok(())
    }

    fn emit(&self, (batch, sizes): Ready<usize>, data: &mut DataOutput) {
        let credit = self.shared.budget.take(sizes.iter().sum());
        let mut batch = Batch::new(batch, Some(credit));
        data.activate().session(&self.data_capability).give_container(&mut batch);
    }

    fn flush(&mut self, data: &mut DataOutput) -> Result<(), Error> {
        if let Some(ready) = self.coalescer.flush()? {
            self.emit(ready, data);
        }
        Ok(())
    }

    /// Ends the epochs that the clock has closed. True if the last one was among them.
    fn end_closed_epochs(
        &mut self,
        data: &mut DataOutput,
        marks: &mut MarkOutput,
    ) -> Result<bool, Error> {
        let open = self.shared.clock.open();
        if *self.mark_capability.time() < open {
            self.flush(data)?;
            while *self.mark_capability.time() < open {
                self.mark(marks);
            }
        }
        Ok(self.shared.clock.last().is_some_and(|last| *self.mark_capability.time() > last))
    }

    /// Ends the lane's epoch.
    fn mark(&mut self, marks: &mut MarkOutput) {
        if let Some(place) = &self.boundary {
            self.last_position = Some(place.position.clone());
        }
        let mark = Mark { lane: self.lane, boundary: self.boundary.take() };
        marks.activate().session(&self.mark_capability).give(mark);
        let next = *self.mark_capability.time() + 1;
        self.data_capability.downgrade(&next);
        self.mark_capability.downgrade(&next);
    }

    /// The source has ended: its last position goes into every epoch up to the open one.
    fn end(&mut self, data: &mut DataOutput, marks: &mut MarkOutput) -> Result<(), Error> {
        if !self.at_boundary {
            return Err(Error::bug("a source ended within a transaction"));
        }
        self.flush(data)?;
        if !self.drained {
            self.drained = true;
            self.shared.clock.lane_drained();
        }
        let last = self.shared.clock.lane_ended();
        while *self.mark_capability.time() <= last {
            self.mark(marks);
        }
        Ok(())
    }
}
