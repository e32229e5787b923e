//! One lane: everything that is read from one MySQL server, on a thread of its own.
//!
//! A lane goes on from the last transaction's end (or the last chunk) whenever it is attempted again; `seat`
//! decides when.

use std::sync::Arc;

use shardlake_change::{ChangeBatch, TableId};
use shardlake_connector::{
    Boundary, EventSender, Fault, Phase, ReadPhase, SchemaChangeBehavior, SourceEvent,
};

use crate::binlog::{self, Prepared};
use crate::checks::{ServerFacts, check_server};
use crate::connection::{Connection, Target};
use crate::discovery::ServerTable;
use crate::error::{Error, Result};
use crate::fleet::Fleet;
use crate::kept::Kept;
use crate::matching::TableMatcher;
use crate::options::{SourceOptions, random_server_id};
use crate::output::OutputShape;
use crate::position::LanePosition;
use crate::purge;
use crate::snapshot;
use crate::socket::StopCheck;
use crate::spill::SpillPolicy;
use crate::status::StatusBoard;

/// What all readers of a lane have in common.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) options: SourceOptions,
    pub(crate) matcher: TableMatcher,
    pub(crate) shape: OutputShape,
    /// How the columns of tables are followed, if they are.
    pub(crate) schema_change: Option<SchemaChangeBehavior>,
    /// Memory of the lane, and where its spill files go.
    pub(crate) spill: SpillPolicy,
    /// What the job has committed, if its rows can be told by their table and server.
    pub(crate) kept: Option<Kept>,
    /// All lanes of the source.
    pub(crate) fleet: Arc<Fleet>,
}

impl Shared {
    /// Whether batches follow the columns of tables.
    pub(crate) fn follows_columns(&self) -> bool {
        self.schema_change.is_some_and(SchemaChangeBehavior::follows_columns)
    }
}

/// The way of a lane's events into the engine.
#[derive(Clone)]
pub(crate) struct Emitter {
    sender: EventSender,
    status: Arc<StatusBoard>,
}

impl Emitter {
    /// The way into a channel.
    pub(crate) const fn new(sender: EventSender, status: Arc<StatusBoard>) -> Self {
        Self { sender, status }
    }

    /// Sends rows of complete transactions or chunks.
    pub(crate) fn rows(&self, batch: ChangeBatch) -> Result<()> {
        if batch.row_count() == 0 {
            return Ok(());
        }
        Ok(self.sender.send(SourceEvent::Rows(batch))?)
    }

    /// Sends a batch without rows that tells of columns.
    pub(crate) fn announce(&self, batch: ChangeBatch) -> Result<()> {
        Ok(self.sender.send(SourceEvent::Rows(batch))?)
    }

    /// Sends a batch that takes effect by itself.
    pub(crate) fn alone(&self, batch: ChangeBatch) -> Result<()> {
        Ok(self.sender.send(SourceEvent::Alone(batch))?)
    }

    /// Says that everything that was sent is complete up to a position.
    pub(crate) fn boundary(
        &self,
        position: &LanePosition,
        event_time_ms: Option<u64>,
    ) -> Result<()> {
        let boundary =
            Boundary { position: position.to_json()?, phase: position.phase(), event_time_ms };
        self.sender.send(SourceEvent::Boundary(boundary))?;
        self.status.told(position, event_time_ms);
        Ok(())
    }

    /// A check whether the engine has stopped to listen.
    pub(crate) fn stop_check(&self) -> StopCheck {
        let sender = self.sender.clone();
        Arc::new(move || sender.is_closed())
    }

    /// Whether the engine no longer listens.
    pub(crate) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Sends what nothing follows.
    pub(crate) fn last(&self, event: SourceEvent) {
        // If nobody listens any more, there is nobody to tell.
        let _gone = self.sender.send(event);
    }
}

/// One lane with all that it knows.
pub(crate) struct Lane {
    pub(crate) shared: Arc<Shared>,
    pub(crate) target: Arc<Target>,
    pub(crate) facts: ServerFacts,
    pub(crate) tables: Vec<Arc<ServerTable>>,
    pub(crate) position: LanePosition,
    /// Transactions that are prepared and not yet decided.
    pub(crate) prepared: Prepared,
    pub(crate) status: Arc<StatusBoard>,
    pub(crate) emitter: Emitter,
    /// Names the lane's binlog reader, so that it replaces its own stale connections.
    pub(crate) replica_uuid: String,
    /// The id under which the binlog is read, if the user chose it.
    pub(crate) server_id: u32,
}

impl Lane {
    /// The id under which the binlog is read: the user's, or another one each time.
    pub(crate) fn server_id(&self) -> u32 {
        if self.shared.options.server_id_given { self.server_id } else { random_server_id() }
    }

    /// The tables of a database whose existing rows were read.
    pub(crate) fn tables_in(&self, database: &str) -> Vec<TableId> {
        let tables = self.position.snapshot.as_ref().and_then(|all| all.tables.get(database));
        let names = tables.into_iter().flat_map(|tables| tables.keys());
        names.map(|table| TableId::new(database, table)).collect()
    }

    /// Reads until the end of a bounded source, or until something fails. `connection` is one over which the
    /// server has just been checked, if there is one.
    pub(crate) fn attempt(&mut self, connection: Option<Connection>) -> Result<()> {
        let mut control = match connection {
            Some(connection) => connection,
            None => self.connect()?,
        };
        let incomplete = self.position.snapshot.as_ref().is_some_and(|snapshot| !snapshot.complete);
        if incomplete {
            drop(control);
            self.status.set_phase(ReadPhase::Snapshot);
            snapshot::read_existing_rows(self)?;
            control = self.connect()?;
        }
        self.status.set_phase(if self.position.phase() == Phase::Snapshot {
            ReadPhase::Snapshot
        } else {
            ReadPhase::Binlog
        });
        binlog::follow(self, control)
    }

    fn connect(&mut self) -> Result<Connection> {
        let mut control = Connection::open(&self.target, self.emitter.stop_check())?;
        self.check_identity(&mut control)?;
        if self.shared.options.reads_again
            && purge::is_purged(&mut control, &self.facts, &mut self.position)?
        {
            // At a start everything that was sent is committed, so the sink can be compared with the
            // server.
            return Err(Error::Source {
                fault: Fault::Transient,
                message: format!(
                    "the binlog that is to be read is no longer available on MySQL server {}: the job \
                     starts again, to read the tables of that server anew",
                    self.target.lane()
                ),
            });
        }
        Ok(control)
    }

    /// Notices when another server answers: binlog files of one mean nothing on another.
    fn check_identity(&mut self, control: &mut Connection) -> Result<()> {
        self.facts = check_server(control, &self.shared.options.zone)?;
        reconcile(&mut self.position, &self.facts, self.target.lane())
    }
}

/// Fits a position to the server that answers.
pub(crate) fn reconcile(
    position: &mut LanePosition,
    facts: &ServerFacts,
    lane: &str,
) -> Result<()> {
    if position.server_uuid == facts.uuid {
        return Ok(());
    }
    if position.snapshot.is_some() {
        return Err(Error::job(format!(
            "another server ({}) answers at {lane} than the one whose rows were being read ({}): \
             the snapshot phase cannot go on there; connect to the first server, or start afresh \
             into a new table",
            facts.uuid, position.server_uuid
        )));
    }
    if !facts.gtid || position.at.gtid_set.is_none() {
        return Err(Error::job(format!(
            "another server ({}) answers at {lane} than the one whose binlog was read ({}), and \
             without GTIDs its binlog has no common position: connect to the first server, set \
             gtid_mode=ON on both before a switch, or start afresh into a new table",
            facts.uuid, position.server_uuid
        )));
    }
    tracing::warn!(server = lane, uuid = facts.uuid, "another server answers, going on by GTIDs");
    position.server_uuid.clone_from(&facts.uuid);
    position.at.offset.file.clear();
    position.at.offset.offset = 0;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::{BinlogOffset, Watermark};

    fn at(gtid_set: Option<&str>) -> Watermark {
        let offset = BinlogOffset { file: "binlog.000001".to_owned(), offset: 4 };
        Watermark { offset, gtid_set: gtid_set.map(str::to_owned) }
    }

    #[test]
    fn another_server_is_followed_by_gtids_only() {
        let facts = |gtid| ServerFacts::for_tests("new", gtid);
        let mut position = LanePosition::streaming("old".to_owned(), at(Some("u:1-5")));
        reconcile(&mut position, &facts(true), "db:3306").unwrap();
        assert_eq!((position.server_uuid.as_str(), position.at.offset.file.as_str()), ("new", ""));
        let mut position = LanePosition::streaming("old".to_owned(), at(None));
        let error = reconcile(&mut position, &facts(false), "db:3306").unwrap_err().to_string();
        assert!(error.contains("gtid_mode=ON"), "{error}");
        let mut position = LanePosition::initial("old".to_owned(), at(Some("u:1-5")));
        reconcile(&mut position, &facts(true), "db:3306").unwrap_err();
    }
}
