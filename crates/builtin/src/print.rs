//! `'connector' = 'print'`: writes each change to standard output or standard error, as Flink's print
//! sink does: `+I[1, ann]`, with the identifier and the subtask in front where there are any.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::sync::Arc;

use arrow::util::display::{ArrayFormatter, FormatOptions};
use async_trait::async_trait;
use shardlake_change::ChangeBatch;
use shardlake_connector::{
    ChangelogMode, Claim, Error, JobIdentity, OptionKind, OptionSpec, Sink, SinkFactory,
    SinkWriter, TableDefinition, WriteResult,
};

use crate::forgetful::forgetful_claim;

const IDENTIFIER: OptionSpec = OptionSpec::new(
    "print-identifier",
    OptionKind::Text,
    "Written in front of each row, to tell several print sinks apart.",
);
const STANDARD_ERROR: OptionSpec = OptionSpec::new(
    "standard-error",
    OptionKind::Boolean,
    "Whether to write to standard error instead of standard output.",
)
.default_value("false");
const OPTIONS: &[OptionSpec] = &[IDENTIFIER, STANDARD_ERROR];

/// Makes `print` sinks.
pub struct PrintFactory;

impl SinkFactory for PrintFactory {
    fn connector(&self) -> &'static str {
        "print"
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn create(&self, table: &TableDefinition) -> Result<Arc<dyn Sink>, Error> {
        table.options.validate(self.connector(), OPTIONS)?;
        Ok(Arc::new(Print {
            identifier: table.options.text(&IDENTIFIER).unwrap_or_default().to_owned(),
            standard_error: table.options.boolean(&STANDARD_ERROR)?,
        }))
    }
}

struct Print {
    identifier: String,
    standard_error: bool,
}

/// What stands in front of each row (Flink: `PrintSinkOutputWriter`).
fn prefix(identifier: &str, worker: usize, worker_count: usize) -> String {
    match (identifier.is_empty(), worker_count > 1) {
        (true, false) => String::new(),
        (true, true) => format!("{}> ", worker + 1),
        (false, false) => format!("{identifier}> "),
        (false, true) => format!("{identifier}:{}> ", worker + 1),
    }
}

#[async_trait]
impl Sink for Print {
    fn changelog_mode(&self) -> ChangelogMode {
        ChangelogMode::All
    }

    fn stores_progress(&self) -> bool {
        false
    }

    async fn prepare(&self) -> Result<(), Error> {
        Ok(())
    }

    async fn open(&self, _job: &JobIdentity) -> Result<Claim, Error> {
        let (identifier, standard_error) = (self.identifier.clone(), self.standard_error);
        Ok(forgetful_claim(move |worker, worker_count| {
            let prefix = prefix(&identifier, worker, worker_count);
            Box::new(PrintRows { prefix, standard_error, row_count: 0 })
        }))
    }
}

struct PrintRows {
    prefix: String,
    standard_error: bool,
    row_count: u64,
}

impl SinkWriter for PrintRows {
    fn write(&mut self, _epoch: u64, batch: ChangeBatch) -> Result<(), Error> {
        let text = row_text(&self.prefix, &batch)?;
        let written = if self.standard_error {
            io::stderr().lock().write_all(text.as_bytes())
        } else {
            let mut out = io::stdout().lock();
            out.write_all(text.as_bytes()).and_then(|()| out.flush())
        };
        self.row_count += batch.row_count() as u64;
        written.map_err(|error| Error::job("cannot print: the output is closed").caused_by(error))
    }

    fn close_epoch(&mut self, _epoch: u64) -> Result<WriteResult, Error> {
        let row_count = std::mem::take(&mut self.row_count);
        Ok(WriteResult { row_count, ..WriteResult::default() })
    }
}

/// One line a row.
fn row_text(prefix: &str, batch: &ChangeBatch) -> Result<String, Error> {
    let options = FormatOptions::default()
        .with_null("null")
        .with_timestamp_format(Some("%Y-%m-%dT%H:%M:%S%.f"))
        .with_timestamp_tz_format(Some("%Y-%m-%dT%H:%M:%S%.fZ"));
    let fail = |error| Error::job("cannot print a column of this type").caused_by(error);
    let columns = batch
        .rows()
        .columns()
        .iter()
        .map(|column| ArrayFormatter::try_new(column.as_ref(), &options))
        .collect::<Result<Vec<_>, _>>()
        .map_err(fail)?;
    let mut text = String::new();
    for (row, kind) in batch.kinds().iter().enumerate() {
        text.push_str(prefix);
        text.push_str(kind.as_str());
        text.push('[');
        for (index, column) in columns.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            // Writing to a String cannot fail; a cell that cannot be shown shows its error instead.
            write!(text, "{comma}{}", column.value(row)).unwrap_or_default();
        }
        text.push_str("]\n");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::{DataType, Field, Schema};
    use shardlake_change::parse_changelog;

    #[test]
    fn rows_print_as_flink_prints_them() {
        let schema = Arc::new(Schema::new(vec![
            Field::new("id", DataType::Int64, false),
            Field::new("name", DataType::Utf8, true),
        ]));
        let batch = parse_changelog(&schema, "+I 1 | ann\n-D 2 | NULL").unwrap();
        insta::assert_snapshot!(row_text(&prefix("out", 1, 2), &batch).unwrap(), @"
        out:2> +I[1, ann]
        out:2> -D[2, null]
        ");
        insta::assert_snapshot!(row_text(&prefix("", 0, 1), &batch.slice(0, 1)).unwrap(), @"+I[1, ann]");
    }
}
