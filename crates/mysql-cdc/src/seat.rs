//! The thread of one lane: it reaches the server, begins, and goes on through whatever happens to it.
//!
//! A lane that loses its server connects again by itself, while the other lanes go on; its last boundary stays
//! valid meanwhile. What only a user can mend ends the job if there is no other lane; otherwise the lane alone
//! stands still, says so, and looks from time to time whether it has been mended.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use shardlake_connector::{Error as ConnectorError, Fault, ReadPhase, SourceEvent};
use uuid::Uuid;

use crate::binlog::Prepared;
use crate::checks::check_server;
use crate::connection::{Connection, Target};
use crate::error::{Error, Result};
use crate::evolution;
use crate::lane::{Emitter, Lane, Shared};
use crate::position::LanePosition;
use crate::start;
use crate::status::StatusBoard;

const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(10);
/// How often a lane that cannot go on looks whether it has been mended.
const MENDED_RETRY: Duration = Duration::from_secs(30);
/// How often what cannot be read is asked for.
const UNREADABLE_ATTEMPTS: u32 = 4;
/// How often a waiting lane looks whether its job has ended.
const RETRY_POLL: Duration = Duration::from_millis(50);

/// A lane before and while it reads.
pub(crate) struct Seat {
    pub(crate) shared: Arc<Shared>,
    pub(crate) target: Arc<Target>,
    pub(crate) emitter: Emitter,
    pub(crate) status: Arc<StatusBoard>,
    /// The id under which the binlog is read, if the user chose it.
    pub(crate) server_id: u32,
    /// How often in a row what the server sent could not be read, without any progress in between.
    pub(crate) unreadable: u32,
    /// Where an earlier run stood.
    pub(crate) stored: Option<LanePosition>,
    /// The lane, once its server has answered, and the connection over which it did.
    pub(crate) begun: Option<(Lane, Option<Connection>)>,
}

impl Seat {
    /// Reaches the server for the first time, and finds out where to begin.
    pub(crate) fn begin(&mut self) -> Result<()> {
        let mut connection = Connection::open(&self.target, self.emitter.stop_check())?;
        let facts = check_server(&mut connection, &self.shared.options.zone)?;
        let stored = self.stored.clone();
        let mut begun = start::begin(&self.shared, &self.target, &facts, stored, &mut connection)?;
        let shared = evolution::begin(&self.shared, &mut begun.position, &begun.tables)?;
        let lane = self.target.lane();
        self.shared.fleet.claim(lane, begun.names.iter().map(AsRef::as_ref))?;
        self.status.tables_found(&begun.names);
        begun.position.stopped_tables().for_each(|table| self.status.table_failed(&table));
        let lane = Lane {
            shared,
            target: Arc::clone(&self.target),
            facts,
            tables: begun.tables,
            position: begun.position,
            prepared: Prepared::default(),
            status: Arc::clone(&self.status),
            emitter: self.emitter.clone(),
            replica_uuid: Uuid::new_v4().to_string(),
            server_id: self.server_id,
        };
        self.begun = Some((lane, Some(connection)));
        Ok(())
    }

    /// Reaches the server for the first time; tries again a few times if it does not answer.
    pub(crate) fn begin_patiently(&mut self, max_retries: u32) -> Result<()> {
        let mut delay = FIRST_RETRY;
        for _ in 0..max_retries {
            match self.begin() {
                Err(error) if error.fault() == Fault::Transient => {
                    let error = ConnectorError::from(error).report();
                    tracing::warn!(server = self.target.lane(), error, "connecting again");
                    thread::park_timeout(delay);
                    delay = (delay * 2).min(LAST_RETRY);
                }
                outcome => return outcome,
            }
        }
        self.begin()
    }

    /// Starts the lane's thread. It ends with the receiver of its events.
    pub(crate) fn spawn(self) -> std::result::Result<(), ConnectorError> {
        thread::Builder::new()
            .name(self.target.thread_name())
            .spawn(move || self.run())
            .map(drop)
            .map_err(|error| {
                ConnectorError::transient("cannot start a thread that reads MySQL").caused_by(error)
            })
    }

    fn position(&self) -> Option<LanePosition> {
        self.begun.as_ref().map(|(lane, _)| lane.position.clone())
    }

    fn run(mut self) {
        // Epochs close right after a boundary, so one comes before anything is read.
        let first = self.position().or_else(|| self.stored.clone());
        if first.is_some_and(|position| self.emitter.boundary(&position, None).is_err()) {
            return;
        }
        let mut delay = FIRST_RETRY;
        loop {
            let before = self.position();
            let error = match self.attempt() {
                Ok(()) => {
                    self.status.set_phase(ReadPhase::Finished);
                    return self.emitter.last(SourceEvent::End);
                }
                Err(error) => error,
            };
            if matches!(error, Error::Ended) || self.emitter.is_closed() {
                return;
            }
            if self.position() != before {
                delay = FIRST_RETRY;
                self.unreadable = 0;
                self.shared.fleet.recovered(self.target.lane());
            }
            let Some(wait) = self.weigh(error, delay) else { return };
            if !self.wait(wait) {
                return;
            }
            delay = (delay * 2).min(LAST_RETRY);
        }
    }

    /// Reads until the end of a bounded source, or until something fails.
    fn attempt(&mut self) -> Result<()> {
        if self.begun.is_none() {
            self.begin()?;
            if let (Some((lane, _)), None) = (&self.begun, &self.stored) {
                self.emitter.boundary(&lane.position, None)?;
            }
        }
        match &mut self.begun {
            Some((lane, connection)) => lane.attempt(connection.take()),
            None => Err(Error::Bug("a lane that has begun is not there".to_owned())),
        }
    }

    /// What comes of a failure: how long to wait before another attempt, or `None` if there is none.
    ///
    /// Bytes that make no sense may have been damaged on the way, so they are asked for again; if that does not help,
    /// the server cannot be read.
    fn weigh(&mut self, error: Error, delay: Duration) -> Option<Duration> {
        let mut fault = error.fault();
        if let Error::Source { .. } = error {
            let error = ConnectorError::from(error);
            self.status.failed(ReadPhase::Failed, &error.report());
            self.emitter.last(SourceEvent::Failed(error));
            return None;
        }
        let is_unreadable = matches!(error, Error::Unreadable { .. });
        if is_unreadable && fault == Fault::Bug {
            self.unreadable += 1;
            fault = if self.unreadable < UNREADABLE_ATTEMPTS { Fault::Transient } else { fault };
        }
        let lane = self.target.lane();
        let ends_all = fault == Fault::Bug && !is_unreadable;
        let error = ConnectorError::from(error);
        let report = error.report();
        if fault == Fault::Transient {
            tracing::warn!(server = lane, error = report, "connecting again");
            self.status.failed(ReadPhase::Retrying, &report);
            return Some(delay);
        }
        self.status.failed(ReadPhase::Failed, &report);
        if ends_all || self.shared.fleet.failed(lane) {
            self.emitter.last(SourceEvent::Failed(error));
            return None;
        }
        tracing::error!(server = lane, error = report, "a server cannot be read, others go on");
        Some(MENDED_RETRY)
    }

    /// Waits; false if the job has ended.
    fn wait(&self, delay: Duration) -> bool {
        let mut waited = Duration::ZERO;
        while waited < delay {
            thread::park_timeout(RETRY_POLL);
            waited += RETRY_POLL;
            if self.emitter.is_closed() {
                return false;
            }
        }
        true
    }
}
