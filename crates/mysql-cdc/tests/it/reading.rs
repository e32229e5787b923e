//! A job that reads a source: it applies changes to a map and remembers boundaries.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::util::display::{ArrayFormatter, FormatOptions};
use serde_json::Value;
use shardlake_change::{ChangeBatch, Column, LogicalType, RowKind, TableSchema};
use shardlake_connector::{
    Boundary, Error, EventReceiver, KeptRows, LaneStatus, ObjectName, Phase, ReadRequest,
    RowRemoval, RunningSource, SchemaChangeBehavior, SourceEvent, SourceFactory, SourceStatus,
    SplitStatus, TableDefinition,
};
use shardlake_mysql_cdc::MysqlCdcFactory;
use shardlake_testkit::MysqlServer;
use tempfile::TempDir;

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(60);

/// A table's definition under construction.
pub(crate) struct Definition {
    columns: Vec<Column>,
    metadata: Vec<Option<String>>,
    options: BTreeMap<String, String>,
    key: Vec<String>,
    key_columns: Option<Vec<usize>>,
    kept: Option<Arc<dyn KeptRows>>,
    schema_change: Option<SchemaChangeBehavior>,
}

impl Definition {
    /// A definition over a server's tables, read as root.
    pub(crate) fn new(server: &MysqlServer, database: &str, table: &str) -> Self {
        Self::at(server.port(), database, table)
    }

    /// A definition over the tables of whatever listens at a port of this machine.
    pub(crate) fn at(port: u16, database: &str, table: &str) -> Self {
        let options = [
            ("hostname", "127.0.0.1".to_owned()),
            ("port", port.to_string()),
            ("username", "root".to_owned()),
            ("password", String::new()),
            ("database-name", database.to_owned()),
            ("table-name", table.to_owned()),
            ("server-time-zone", "UTC".to_owned()),
        ];
        Self {
            columns: Vec::new(),
            metadata: Vec::new(),
            options: options.map(|(key, value)| (key.to_owned(), value)).into(),
            key: vec!["id".to_owned()],
            key_columns: None,
            kept: None,
            schema_change: None,
        }
    }

    /// Has the source follow the columns of its tables.
    pub(crate) fn follow(mut self, behavior: SchemaChangeBehavior) -> Self {
        self.schema_change = Some(behavior);
        self
    }

    pub(crate) fn column(mut self, name: &str, data_type: LogicalType) -> Self {
        self.columns.push(Column::new(name, data_type));
        self.metadata.push(None);
        self
    }

    pub(crate) fn metadata(mut self, name: &str, key: &str, data_type: LogicalType) -> Self {
        self.columns.push(Column::new(name, data_type).not_null());
        self.metadata.push(Some(key.to_owned()));
        self
    }

    pub(crate) fn option(mut self, key: &str, value: &str) -> Self {
        self.options.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Reads several servers.
    pub(crate) fn servers(self, servers: &[&MysqlServer]) -> Self {
        let entries: Vec<String> =
            servers.iter().map(|server| format!("127.0.0.1:{}", server.port())).collect();
        self.option("hostname", &entries.join(", "))
    }

    /// Says which columns the sinks have in their keys.
    pub(crate) fn key_columns(mut self, columns: &[usize]) -> Self {
        self.key_columns = Some(columns.to_vec());
        self
    }

    /// Gives the source a way back to what was committed.
    pub(crate) fn kept(mut self, kept: Arc<dyn KeptRows>) -> Self {
        self.kept = Some(kept);
        self
    }

    pub(crate) fn build(&self) -> TableDefinition {
        TableDefinition {
            name: ObjectName {
                catalog: "default_catalog".to_owned(),
                database: "default_database".to_owned(),
                object: "source".to_owned(),
            },
            schema: TableSchema { columns: self.columns.clone(), primary_key: self.key.clone() },
            metadata: self.metadata.clone(),
            options: self.options.clone().into_iter().collect(),
            partitioned_by: Vec::new(),
            comment: None,
        }
    }

    /// Starts reading all columns.
    pub(crate) fn read(&self, position: Option<BTreeMap<String, Value>>) -> Result<Job, Error> {
        self.read_within(position, 64 << 20)
    }

    /// Starts reading with little memory.
    pub(crate) fn read_within(
        &self,
        position: Option<BTreeMap<String, Value>>,
        memory_bytes: usize,
    ) -> Result<Job, Error> {
        let mut jobs = self.read_lanes(position, memory_bytes)?;
        assert_eq!(jobs.len(), 1);
        Ok(jobs.remove(0))
    }

    /// Starts reading; one reader for each lane.
    pub(crate) fn read_lanes(
        &self,
        position: Option<BTreeMap<String, Value>>,
        memory_bytes: usize,
    ) -> Result<Vec<Job>, Error> {
        let source = MysqlCdcFactory.create(&self.build())?;
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let request = ReadRequest {
            columns: (0..self.columns.len()).collect(),
            kept: self.kept.clone(),
            key_columns: self.key_columns.clone(),
            position,
            memory_bytes,
            schema_change: self.schema_change,
            spill_dir: folder.path().to_owned(),
        };
        let RunningSource { lanes, status } = source.start(&request)?;
        let status = status.unwrap();
        let job = |(lane, receiver)| Job {
            lane,
            receiver,
            status: Arc::clone(&status),
            key: (0..self.columns.len())
                .filter(|&index| {
                    self.metadata[index].as_deref().is_some_and(|key| key.ends_with("_name"))
                        || self.key.contains(&self.columns[index].name)
                })
                .collect(),
            rows: BTreeMap::new(),
            pending: Vec::new(),
            columns: String::new(),
            boundary: None,
            batches: Vec::new(),
            changes: 0,
            kinds: String::new(),
            _folder: Arc::clone(&folder),
        };
        Ok(lanes.into_iter().map(job).collect())
    }
}

/// A running job.
pub(crate) struct Job {
    lane: String,
    receiver: EventReceiver,
    status: Arc<dyn SourceStatus>,
    key: Vec<usize>,
    /// The rows as of the last boundary, by key.
    pub(crate) rows: BTreeMap<Vec<String>, Vec<String>>,
    pending: Vec<ChangeBatch>,
    /// Names and types of the newest batch's columns.
    pub(crate) columns: String,
    pub(crate) boundary: Option<Boundary>,
    /// Everything that was applied.
    pub(crate) batches: Vec<ChangeBatch>,
    /// Changes that were applied.
    pub(crate) changes: usize,
    /// The kinds of all changes in order.
    pub(crate) kinds: String,
    _folder: Arc<TempDir>,
}

/// What a job came to.
#[derive(Debug)]
pub(crate) enum Step {
    Rows,
    Boundary,
    Ended,
    Failed(Error),
}

impl Job {
    /// Takes the next event, waiting for it.
    pub(crate) fn step(&mut self) -> Step {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.receiver.try_next() {
                Some(event) => return self.take(event),
                None if Instant::now() > deadline => panic!("nothing came from the source"),
                None => std::thread::park_timeout(Duration::from_millis(1)),
            }
        }
    }

    fn take(&mut self, event: SourceEvent) -> Step {
        match event {
            SourceEvent::Rows(batch) => {
                let schema = batch.schema();
                let columns = schema.fields().iter();
                let columns =
                    columns.map(|field| format!("{} {}", field.name(), field.data_type()));
                self.columns = columns.collect::<Vec<_>>().join(", ");
                self.pending.push(batch);
                Step::Rows
            }
            SourceEvent::Alone(batch) => {
                assert!(self.pending.is_empty(), "it stands behind a boundary");
                let removal = RowRemoval::of_batch(&batch).unwrap();
                let values = |row: &Vec<(String, String)>| {
                    row.iter().map(|(_, value)| value.clone()).collect::<Vec<_>>()
                };
                let gone: Vec<Vec<String>> = removal.any_of.iter().map(values).collect();
                self.rows.retain(|key, _| !gone.iter().any(|gone| key.starts_with(gone)));
                Step::Rows
            }
            SourceEvent::Boundary(boundary) => {
                for batch in std::mem::take(&mut self.pending) {
                    self.apply(&batch);
                }
                self.boundary = Some(boundary);
                Step::Boundary
            }
            SourceEvent::End => Step::Ended,
            SourceEvent::Failed(error) => Step::Failed(error),
        }
    }

    fn apply(&mut self, batch: &ChangeBatch) {
        self.batches.push(batch.clone());
        for (kind, row) in rows_of(batch) {
            self.changes += 1;
            self.kinds.push_str(kind.as_str());
            let key = self.key.iter().map(|&column| row[column].clone()).collect();
            if kind.is_addition() {
                self.rows.insert(key, row);
            } else {
                self.rows.remove(&key);
            }
        }
    }

    /// Goes on until a condition holds at a boundary.
    pub(crate) fn until(&mut self, mut holds: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.step() {
                Step::Rows => {}
                Step::Boundary if holds(self) => return,
                Step::Boundary => {
                    assert!(Instant::now() < deadline, "never came: {:?}", self.boundary);
                }
                other => panic!("{other:?}"),
            }
        }
    }

    /// Goes on until the snapshot phase has ended.
    pub(crate) fn until_streaming(&mut self) {
        self.until(|job| job.phase() == Some(Phase::Streaming));
    }

    pub(crate) fn phase(&self) -> Option<Phase> {
        self.boundary.as_ref().map(|boundary| boundary.phase)
    }

    /// What is being done with a table, `database.table`.
    pub(crate) fn phase_of(&self, table: &str) -> Option<&'static str> {
        let splits = self.status.splits();
        splits.iter().find(|split| split.split == table).map(|split| split.phase.as_str())
    }

    /// How many changes of a table were passed over.
    pub(crate) fn passed_over(&self, table: &str) -> u64 {
        let splits = self.status.splits();
        splits.iter().find(|split| split.split == table).map_or(0, |split| split.errors_skipped)
    }

    /// Where the job stands, as a committed epoch would store it.
    pub(crate) fn position(&self) -> Option<BTreeMap<String, Value>> {
        let boundary = self.boundary.as_ref()?;
        Some(BTreeMap::from([(self.lane.clone(), boundary.position.clone())]))
    }

    /// How far the job's lane is.
    pub(crate) fn lane_status(&self) -> LaneStatus {
        let lanes = self.status.lanes();
        lanes.into_iter().find(|status| status.lane == self.lane).unwrap()
    }

    /// How far the tables of the job's lane are.
    pub(crate) fn split_status(&self) -> Vec<SplitStatus> {
        let splits = self.status.splits();
        splits.into_iter().filter(|status| status.lane == self.lane).collect()
    }

    /// The rows as text, one a line.
    pub(crate) fn text(&self) -> String {
        self.rows.values().map(|row| row.join(" | ") + "\n").collect()
    }

    /// Ends the job and hands its rows to the one that follows.
    pub(crate) fn into_rows(self) -> BTreeMap<Vec<String>, Vec<String>> {
        self.rows
    }
}

/// The rows of a batch as text.
pub(crate) fn rows_of(batch: &ChangeBatch) -> Vec<(RowKind, Vec<String>)> {
    let options = FormatOptions::default().with_null("NULL");
    let columns: Vec<_> = batch
        .rows()
        .columns()
        .iter()
        .map(|column| ArrayFormatter::try_new(column.as_ref(), &options).unwrap())
        .collect();
    let row = |index: usize| columns.iter().map(|column| column.value(index).to_string()).collect();
    batch.kinds().iter().enumerate().map(|(index, kind)| (kind, row(index))).collect()
}

/// The rows of a server's tables in the same form, for comparison.
pub(crate) fn server_rows(
    server: &MysqlServer,
    sql: &str,
    key: &[usize],
) -> BTreeMap<Vec<String>, Vec<String>> {
    server
        .query(sql)
        .unwrap()
        .into_iter()
        .map(|row| (key.iter().map(|&column| row[column].clone()).collect(), row))
        .collect()
}
