//! What sinks share that store no progress: nothing to claim, nothing to commit.

use shardlake_connector::{
    Claim, CommitOutcome, CommitRequest, Error, OpenedSink, SinkCommitter, SinkWriter,
};

/// Makes the writer of worker `.0` of `.1`.
type MakeWriter = Box<dyn Fn(usize, usize) -> Box<dyn SinkWriter> + Send + Sync>;

struct Forgetful {
    make_writer: MakeWriter,
}

impl OpenedSink for Forgetful {
    fn writer(&self, worker: usize, worker_count: usize) -> Result<Box<dyn SinkWriter>, Error> {
        Ok((self.make_writer)(worker, worker_count))
    }

    fn committer(&self) -> Result<Box<dyn SinkCommitter>, Error> {
        Ok(Box::new(NothingToCommit))
    }
}

struct NothingToCommit;

impl SinkCommitter for NothingToCommit {
    fn commit(&mut self, _request: &CommitRequest) -> Result<CommitOutcome, Error> {
        Ok(CommitOutcome::Empty)
    }
}

/// The claim of a sink that remembers nothing. `make_writer` makes the writer of a worker, given its number and how
/// many there are.
pub fn forgetful_claim(
    make_writer: impl Fn(usize, usize) -> Box<dyn SinkWriter> + Send + Sync + 'static,
) -> Claim {
    let sink = Box::new(Forgetful { make_writer: Box::new(make_writer) });
    Claim { sink, progress: None, generation: 1 }
}
