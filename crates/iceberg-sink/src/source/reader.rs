//! The thread that follows the snapshots of a table.

use std::time::Duration;

use futures::TryStreamExt;
use shardlake_change::TableSchema;
use shardlake_connector::{Boundary, Error, EventSender, Phase, ReceiverGone, SourceEvent};
use shardlake_iceberg_table::{
    AsOf, ChangeStream, ChangelogReader, ChangelogStart, StartingPoint, Table, snapshots_after,
};
use tokio::runtime::{Builder, Runtime};

use super::options::{Anchor, End, ReadOptions, Start};
use super::position::LakePosition;
use crate::Target;
use crate::error::from_lake;

/// How often a reader that waits looks whether it is still wanted.
const POLL: Duration = Duration::from_millis(50);

/// Reads one table.
pub(super) struct Reader {
    pub(super) target: Target,
    pub(super) read: ReadOptions,
    pub(super) declared: TableSchema,
    pub(super) columns: Vec<usize>,
    pub(super) memory_bytes: u64,
    pub(super) sender: EventSender,
}

/// Why reading stopped.
enum Stop {
    Failed(Error),
    ReceiverGone,
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<ReceiverGone> for Stop {
    fn from(_: ReceiverGone) -> Self {
        Self::ReceiverGone
    }
}

impl Reader {
    /// Reads on from a position until the table's end, an error, or the end of the job.
    pub(super) fn run(&self, position: Option<LakePosition>) {
        let end = Builder::new_multi_thread()
            .thread_name("iceberg-source")
            .enable_all()
            .build()
            .map_err(|error| {
                let message = "cannot start threads that read an Iceberg table";
                Stop::Failed(Error::transient(message).caused_by(error))
            })
            .and_then(|runtime| self.follow(&runtime, position));
        // Whether the engine has gone does not matter any more.
        let _: Result<(), ReceiverGone> = match end {
            Ok(()) => self.sender.send(SourceEvent::End),
            Err(Stop::Failed(error)) => self.sender.send(SourceEvent::Failed(error)),
            Err(Stop::ReceiverGone) => Err(ReceiverGone),
        };
    }

    fn follow(&self, runtime: &Runtime, position: Option<LakePosition>) -> Result<(), Stop> {
        let table = runtime.block_on(self.target.prepare())?;
        let reader = ChangelogReader::try_new(
            &table,
            &self.declared,
            self.columns.clone(),
            self.memory_bytes,
        )
        .map_err(from_lake)?;
        let end = self.end(&table)?;
        let mut position = match position {
            Some(position) => self.stored(&table, position)?,
            None => self.first(&table)?,
        };
        let mut table = table;
        let mut failures = 0;
        loop {
            if position.steps.is_some() {
                position = self.existing(runtime, &reader, &table, &position)?;
            }
            let branch = self.read.branch.as_deref();
            let behind =
                snapshots_after(&table, branch, position.snapshot_id).map_err(from_lake)?;
            let behind = self.wanted(behind, &position, end)?;
            for snapshot_id in behind {
                let changes = runtime.block_on(reader.changes(&table, snapshot_id));
                self.send(runtime, changes.map_err(from_lake)?)?;
                position.snapshot_id = Some(snapshot_id);
                self.reach(&table, &position)?;
            }
            if end != Reading::Forever {
                return Ok(());
            }
            table = self.newer(runtime, &table, &mut failures)?;
        }
    }

    /// Sends the rows of the snapshot at which reading begins, from the step on that is next.
    fn existing(
        &self,
        runtime: &Runtime,
        reader: &ChangelogReader,
        table: &Table,
        position: &LakePosition,
    ) -> Result<LakePosition, Stop> {
        let mut position = position.clone();
        let Some(snapshot_id) = position.snapshot_id else {
            position.steps = None;
            return Ok(position);
        };
        let rows = runtime.block_on(reader.existing(table, snapshot_id)).map_err(from_lake)?;
        for step in position.steps.unwrap_or(0)..rows.step_count() {
            let changes = runtime.block_on(rows.read(step)).map_err(from_lake)?;
            self.send(runtime, changes)?;
            position.steps = Some(step + 1);
            if step + 1 < rows.step_count() {
                self.reach(table, &position)?;
            }
        }
        position.steps = None;
        self.reach(table, &position)?;
        Ok(position)
    }

    fn send(&self, runtime: &Runtime, mut changes: ChangeStream) -> Result<(), Stop> {
        while let Some(batch) = runtime.block_on(changes.try_next()).map_err(from_lake)? {
            if batch.row_count() > 0 {
                self.sender.send(SourceEvent::Rows(batch))?;
            }
        }
        Ok(())
    }

    fn reach(&self, table: &Table, position: &LakePosition) -> Result<(), Stop> {
        let snapshot = position.snapshot_id.and_then(|id| table.metadata().snapshot_by_id(id));
        let time = snapshot.and_then(|snapshot| u64::try_from(snapshot.timestamp_ms()).ok());
        self.sender.send(SourceEvent::Boundary(Boundary {
            position: position.to_json()?,
            phase: if position.steps.is_some() { Phase::Snapshot } else { Phase::Streaming },
            event_time_ms: time,
        }))?;
        Ok(())
    }

    /// Where a reader without a position begins. The place is stored before anything is read, so that a
    /// restart begins there as well.
    fn first(&self, table: &Table) -> Result<LakePosition, Stop> {
        let point = match &self.read.start {
            Start::Point(point) => point.clone(),
            Start::Tag(tag) => StartingPoint::Snapshot(tagged(table, tag)?),
            Start::AfterTag(tag) => StartingPoint::AfterSnapshot(tagged(table, tag)?),
        };
        let start = point.find(table, self.read.branch.as_deref()).map_err(from_lake)?;
        let (snapshot_id, steps) = match start {
            ChangelogStart::Existing(id) => (Some(id), Some(0)),
            ChangelogStart::After(id) => (id, None),
        };
        let position = LakePosition::new(uuid(table), snapshot_id, steps);
        self.reach(table, &position)?;
        Ok(position)
    }

    fn stored(&self, table: &Table, position: LakePosition) -> Result<LakePosition, Error> {
        if position.table_uuid == uuid(table) {
            return Ok(position);
        }
        Err(Error::job(format!(
            "Iceberg table {} was dropped and made anew since the job read it; start the job under a \
             new 'pipeline.name'",
            self.target.name
        )))
    }

    fn end(&self, table: &Table) -> Result<Reading, Error> {
        Ok(match &self.read.end {
            End::Never => Reading::Forever,
            End::Newest => Reading::Now,
            End::At(Anchor::Snapshot(id)) => Reading::Until(*id),
            End::At(Anchor::Tag(tag)) => Reading::Until(tagged(table, tag)?),
        })
    }

    /// The snapshots that are to be read, of those that follow.
    fn wanted(
        &self,
        mut behind: Vec<i64>,
        position: &LakePosition,
        end: Reading,
    ) -> Result<Vec<i64>, Error> {
        let Reading::Until(last) = end else { return Ok(behind) };
        if position.snapshot_id == Some(last) {
            return Ok(Vec::new());
        }
        let Some(place) = behind.iter().position(|id| *id == last) else {
            return Err(Error::job(format!(
                "snapshot {last}, at which reading is to end, does not follow the start in the \
                 history of table {}",
                self.target.name
            )));
        };
        behind.truncate(place + 1);
        Ok(behind)
    }

    /// Waits for the next version of the table that has another snapshot.
    fn newer(&self, runtime: &Runtime, known: &Table, failures: &mut u64) -> Result<Table, Stop> {
        let interval = Duration::from_millis(self.read.monitor_interval_ms);
        loop {
            self.wait(runtime, interval)?;
            match runtime.block_on(self.target.catalog.load(&self.target.name)) {
                Ok(table) if uuid(&table) != uuid(known) => {
                    return Err(Stop::Failed(Error::job(format!(
                        "Iceberg table {} was dropped and made anew while it was read",
                        self.target.name
                    ))));
                }
                Ok(table) => {
                    *failures = 0;
                    return Ok(table);
                }
                Err(error) => {
                    *failures += 1;
                    let error = from_lake(error);
                    if self.read.allowed_failures.is_some_and(|allowed| *failures > allowed) {
                        return Err(Stop::Failed(error));
                    }
                    let table = &self.target.name;
                    tracing::warn!(%table, failures, error = %error.report(), "cannot look for new snapshots");
                }
            }
        }
    }

    fn wait(&self, runtime: &Runtime, interval: Duration) -> Result<(), Stop> {
        let mut left = interval;
        while !left.is_zero() {
            if self.sender.is_closed() {
                return Err(Stop::ReceiverGone);
            }
            let nap = left.min(POLL);
            runtime.block_on(async { tokio::time::sleep(nap).await });
            left -= nap;
        }
        Ok(())
    }
}

/// How far is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    Forever,
    /// What the table holds at the start.
    Now,
    /// Up to this snapshot.
    Until(i64),
}

fn uuid(table: &Table) -> String {
    table.metadata().uuid().to_string()
}

fn tagged(table: &Table, tag: &str) -> Result<i64, Error> {
    let found = AsOf::Reference(tag.to_owned()).snapshot(table).map_err(from_lake)?;
    found
        .map(|snapshot| snapshot.snapshot_id())
        .ok_or_else(|| Error::job(format!("table {} has no tag '{tag}'", table.name())))
}
