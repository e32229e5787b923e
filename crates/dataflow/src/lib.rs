//! A job's plan as a running timely dataflow. The only crate that knows timely.
//!
//! The timely timestamp is the epoch. A source holds the capability of the open epoch and gives it
//! up at a boundary when the [`Coordinator`](shardlake_checkpoint::Coordinator) closes the epoch; a
//! sink's writer closes the epoch when its frontier has passed it; the committer commits it when the
//! results of all writers and the positions of all lanes have arrived. Operators never wait: what may
//! block (writers, the committer) runs on threads of its own behind channels.
//!
//! Memory is bounded twice, because timely itself queues without bound. Every batch carries a
//! [credit](credit) that is given back when the last writer is done with it, and sources stop
//! reading while too much is out; and an epoch that grows too large closes early, of which only a few
//! may wait for their commits.

mod batch;
mod clock;
mod coalesce;
mod commit;
mod committer;
mod control;
mod credit;
mod ending;
mod exchange;
mod graph;
mod meters;
mod run;
mod settings;
mod sink;
mod source;
mod transform;
mod writer;

pub use commit::{FINISHED_KEY, LastCommit};
pub use control::{Control, Wish};
pub use graph::{StageInput, TransformChain, transforms};
pub use meters::{CommitReading, Meters, TableCounters};
pub use run::{End, Run, StartPoint, run};
pub use settings::{OPTIONS, Settings};
