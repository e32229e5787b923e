//! `'connector' = 'datagen'`: makes rows, at random or in sequence. Options as Flink's.
//!
//! The position of a stream is the number of rows made, so that sequences go on where they were.

mod field;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use serde_json::{Value, json};
use shardlake_change::ChangeBatch;
use shardlake_connector::{
    Boundary, ChangelogMode, Error, EventSender, MetadataColumn, OptionKind, OptionSpec, Phase,
    ReadRequest, RunningSource, Source, SourceEvent, SourceFactory, TableDefinition, event_channel,
};

use field::FieldGenerator;

const ROWS_PER_SECOND: OptionSpec = OptionSpec::new(
    "rows-per-second",
    OptionKind::Integer { min: 1, max: i64::MAX },
    "How many rows to make each second.",
)
.default_value("10000");
const NUMBER_OF_ROWS: OptionSpec = OptionSpec::new(
    "number-of-rows",
    OptionKind::Integer { min: 0, max: i64::MAX },
    "How many rows to make in all; without it, and without a sequence, rows are made forever.",
);
const FIELDS: OptionSpec = OptionSpec::new(
    "fields.*",
    OptionKind::Text,
    "For each column: kind (random, sequence), min, max, max-past, length, var-len, null-rate, start, end.",
);
const OPTIONS: &[OptionSpec] = &[ROWS_PER_SECOND, NUMBER_OF_ROWS, FIELDS];

/// The name of the one lane.
const LANE: &str = "datagen";
/// Rows in a batch at most.
const BATCH_ROWS: u64 = 8_192;
/// How often rows are sent when there are fewer than a batch's.
const TICK: Duration = Duration::from_millis(100);

/// Makes `datagen` sources.
pub struct DatagenFactory;

impl SourceFactory for DatagenFactory {
    fn connector(&self) -> &'static str {
        "datagen"
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn metadata_columns(&self) -> Vec<MetadataColumn> {
        Vec::new()
    }

    fn create(&self, table: &TableDefinition) -> Result<Arc<dyn Source>, Error> {
        table.options.validate(self.connector(), OPTIONS)?;
        let rows_per_second = table.options.integer(&ROWS_PER_SECOND)?.unwrap_or(10_000);
        let limit = table.options.integer(&NUMBER_OF_ROWS)?;
        let fields = field::generators(table)?;
        let sequence_end = fields.iter().filter_map(FieldGenerator::row_limit).min();
        let limit = limit.map(i64::unsigned_abs);
        Ok(Arc::new(Datagen {
            name: table.name.to_string(),
            schema: table.schema.to_arrow(),
            fields,
            rows_per_second: rows_per_second.unsigned_abs(),
            row_limit: match (limit, sequence_end) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            },
        }))
    }
}

struct Datagen {
    name: String,
    schema: SchemaRef,
    fields: Vec<FieldGenerator>,
    rows_per_second: u64,
    row_limit: Option<u64>,
}

impl Source for Datagen {
    fn changelog_mode(&self) -> ChangelogMode {
        ChangelogMode::InsertOnly
    }

    fn is_bounded(&self) -> bool {
        self.row_limit.is_some()
    }

    fn fingerprint(&self) -> String {
        format!("datagen {}", self.name)
    }

    fn start(&self, request: &ReadRequest) -> Result<RunningSource, Error> {
        let columns = request.columns.iter();
        let fields = columns.clone().filter_map(|column| self.fields.get(*column).cloned());
        let schema = columns.filter_map(|column| self.schema.fields().get(*column).cloned());
        let stored = request.position.as_ref().and_then(|lanes| lanes.get(LANE));
        let (sender, receiver) = event_channel(8);
        let mut generator = Generator {
            schema: Arc::new(Schema::new(schema.collect::<Vec<_>>())),
            fields: fields.collect(),
            rows_per_second: self.rows_per_second,
            row_limit: self.row_limit,
            made: stored.and_then(Value::as_u64).unwrap_or(0),
            random: SmallRng::from_os_rng(),
            sender,
        };
        thread::Builder::new()
            .name("datagen".to_owned())
            .spawn(move || generator.run())
            .map_err(|error| Error::transient("cannot start a thread").caused_by(error))?;
        Ok(RunningSource { lanes: vec![(LANE.to_owned(), receiver)], status: None })
    }
}

struct Generator {
    schema: SchemaRef,
    fields: Vec<FieldGenerator>,
    rows_per_second: u64,
    row_limit: Option<u64>,
    made: u64,
    random: SmallRng,
    sender: EventSender,
}

impl Generator {
    /// Makes rows until the limit is reached or nobody listens any more.
    fn run(&mut self) {
        let (_keep, never): (Sender<()>, Receiver<()>) = channel();
        let started = Instant::now();
        let first = self.made;
        while self.row_limit.is_none_or(|limit| self.made < limit) {
            let due = due_rows(self.rows_per_second, started.elapsed());
            let missing = due.saturating_sub(self.made - first).min(BATCH_ROWS);
            let left = self.row_limit.map_or(missing, |limit| missing.min(limit - self.made));
            if left > 0 && !self.send_rows(left) {
                return;
            }
            if left < BATCH_ROWS && never.recv_timeout(TICK) == Err(RecvTimeoutError::Disconnected)
            {
                return;
            }
        }
        // Nobody may be listening any more; then there is nobody to tell.
        self.sender.send(SourceEvent::End).unwrap_or_default();
    }

    /// Sends `rows` rows and a boundary; false if nobody listens any more.
    fn send_rows(&mut self, rows: u64) -> bool {
        let columns = self
            .fields
            .iter()
            .map(|field| field.generate(self.made, rows, &mut self.random))
            .collect::<Vec<_>>();
        let event = match RecordBatch::try_new(Arc::clone(&self.schema), columns) {
            Ok(batch) => SourceEvent::Rows(ChangeBatch::inserts(batch)),
            Err(error) => {
                let error = Error::bug("datagen made columns that do not fit").caused_by(error);
                self.sender.send(SourceEvent::Failed(error)).unwrap_or_default();
                return false;
            }
        };
        self.made += rows;
        let position = json!(self.made);
        let boundary = Boundary { position, phase: Phase::Streaming, event_time_ms: None };
        self.sender
            .send(event)
            .and_then(|()| self.sender.send(SourceEvent::Boundary(boundary)))
            .is_ok()
    }
}

/// Rows that should have been made after `elapsed`; the first tick's rows are due at once.
fn due_rows(rows_per_second: u64, elapsed: Duration) -> u64 {
    let ticks = elapsed.as_millis() / TICK.as_millis() + 1;
    let due = u128::from(rows_per_second) * ticks / 10;
    u64::try_from(due.max(1)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use shardlake_change::{Column, LogicalType, TableSchema, changelog_text};
    use shardlake_connector::{ObjectName, Options};

    fn definition(options: &[(&str, &str)]) -> TableDefinition {
        TableDefinition {
            name: ObjectName {
                catalog: "c".to_owned(),
                database: "d".to_owned(),
                object: "t".to_owned(),
            },
            schema: TableSchema {
                columns: vec![
                    Column::new("id", LogicalType::BigInt),
                    Column::new("name", LogicalType::String),
                ],
                primary_key: Vec::new(),
            },
            metadata: vec![None, None],
            options: options
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect::<Options>(),
            partitioned_by: Vec::new(),
            comment: None,
        }
    }

    fn request(columns: Vec<usize>, made: Option<u64>) -> ReadRequest {
        ReadRequest {
            columns,
            kept: None,
            key_columns: None,
            position: made.map(|made| [(LANE.to_owned(), json!(made))].into()),
            memory_bytes: 1 << 20,
            schema_change: None,
            spill_dir: std::env::temp_dir(),
        }
    }

    #[test]
    fn a_sequence_ends_and_goes_on_where_it_was() {
        let table = definition(&[
            ("fields.id.kind", "sequence"),
            ("fields.id.start", "5"),
            ("fields.id.end", "8"),
        ]);
        let source = DatagenFactory.create(&table).unwrap();
        assert!(source.is_bounded());
        let running = source.start(&request(vec![0], Some(2))).unwrap();
        let mut batches = Vec::new();
        let mut position = Value::Null;
        loop {
            match running.lanes[0].1.next() {
                SourceEvent::Rows(batch) | SourceEvent::Alone(batch) => batches.push(batch),
                SourceEvent::Boundary(boundary) => position = boundary.position,
                SourceEvent::End => break,
                SourceEvent::Failed(error) => panic!("{error}"),
            }
        }
        assert_eq!(changelog_text(&batches).unwrap(), "+I 7\n+I 8\n");
        assert_eq!(position, json!(4));
    }

    #[test]
    fn random_text_has_the_length_asked_for() {
        let table = definition(&[("number-of-rows", "3"), ("fields.name.length", "4")]);
        let source = DatagenFactory.create(&table).unwrap();
        let running = source.start(&request(vec![1], None)).unwrap();
        let SourceEvent::Rows(batch) = running.lanes[0].1.next() else { panic!("no rows") };
        let text = changelog_text(&[batch]).unwrap();
        assert_eq!(text.lines().map(str::len).collect::<Vec<_>>(), [7, 7, 7]);
    }

    #[test]
    fn mistakes_in_options_name_the_option() {
        let check = |options: &[(&str, &str)]| {
            DatagenFactory.create(&definition(options)).err().map(|error| error.to_string())
        };
        insta::assert_snapshot!(check(&[("fields.idd.min", "1")]).unwrap(), @"The option 'fields.idd.min' names no column of the table c.d.t. Its columns are: id, name");
        insta::assert_snapshot!(check(&[("fields.id.kind", "sequence")]).unwrap(), @"Could not find required property 'fields.id.start' for sequence generator.");
        insta::assert_snapshot!(check(&[("fields.id.colour", "red")]).unwrap(), @"Unknown option 'fields.id.colour' of datagen. A column takes: kind, min, max, max-past, length, var-len, null-rate, start, end");
    }
}
