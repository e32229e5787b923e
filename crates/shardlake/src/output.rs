//! Results on standard output in one of the formats: a table for people, JSON lines or CSV for scripts.

use std::io::{self, Write};
use std::time::Instant;

use arrow::array::RecordBatch;
use shardlake_change::Column;
use shardlake_server::QueryResult;
use shardlake_sql::diagnostic::Diagnostic;
use shardlake_sql::print::{CellFormat, Csv, JsonLines, Tableau, footer, row_count_text};
use shardlake_sql::session::{Configuration, Layout, ResultTable};

use crate::signals::Signals;

/// How results are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Tables, as Flink's client prints them.
    Tableau,
    /// One JSON object a line; its keys are the columns' names.
    Json,
    /// Comma-separated values with a line of names.
    Csv,
}

/// Why a result was not written whole.
pub(crate) enum Unwritten {
    /// The query failed.
    Query(Diagnostic),
    /// Standard output is closed.
    Output(io::Error),
}

impl From<io::Error> for Unwritten {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// Writes to standard output, at once.
///
/// # Errors
/// Standard output is closed.
pub(crate) fn put(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// What the settings of a session say about printing.
#[derive(Clone, Copy)]
pub(crate) struct Style {
    format: Format,
    cells: CellFormat,
    max_width: usize,
    shows_time: bool,
}

impl Style {
    /// The style of a session.
    pub(crate) fn of(configuration: &Configuration, format: Format) -> Self {
        let width = configuration.get("table.display.max-column-width");
        Self {
            format,
            cells: CellFormat::new(configuration.time_zone()),
            max_width: width.and_then(|width| width.trim().parse().ok()).unwrap_or(30),
            shows_time: configuration.is_true("sql-client.display.print-time-cost"),
        }
    }

    /// How single cells are shown.
    pub(crate) const fn cells(&self) -> CellFormat {
        self.cells
    }

    /// Shows the answer of a statement such as `SHOW`.
    ///
    /// # Errors
    /// Standard output is closed.
    pub(crate) fn table(&self, table: &ResultTable) -> io::Result<()> {
        match (self.format, table.layout) {
            (Format::Json, _) => put(&JsonLines::new(&table.columns, self.cells).rows(&table.rows)),
            (Format::Csv, _) => {
                let csv = Csv::new(&table.columns, self.cells);
                put(&(csv.header(false) + &csv.rows(&table.rows)))
            }
            (Format::Tableau, Layout::Text) => {
                let mut text = String::new();
                for (column, array) in table.columns.iter().zip(table.rows.columns()) {
                    for row in 0..table.rows.num_rows() {
                        let cell = self.cells.text(&column.data_type, array.as_ref(), row);
                        text.push_str(cell.unwrap_or_default().trim_end());
                        text.push('\n');
                    }
                }
                put(&text)
            }
            (Format::Tableau, Layout::Table) => {
                let rows = std::slice::from_ref(&table.rows);
                // Names are shown whole: they are what the user asked for.
                let text = Tableau::batch(&table.columns, rows, self.cells, usize::MAX);
                let count = table.rows.num_rows() as u64;
                put(&format!("{text}{}\n", footer(count, true, None)))
            }
        }
    }

    /// Writes the rows of a query as they come, until it ends or the user interrupts it.
    ///
    /// # Errors
    /// The query failed, or standard output is closed.
    pub(crate) async fn rows(
        &self,
        mut result: QueryResult,
        signals: &mut Signals,
    ) -> Result<(), Unwritten> {
        let started = Instant::now();
        if self.format == Format::Tableau && !result.shows_op {
            return self.batch_table(result, signals, started).await;
        }
        let printer = Printer::new(self, &result.columns, result.shows_op);
        put(&printer.header())?;
        let mut row_count = 0;
        loop {
            let delivery = tokio::select! {
                delivery = result.next() => delivery,
                () = signals.interrupt() => {
                    return self.interrupted(row_count, started);
                }
            };
            let Some(delivery) = delivery else { break };
            let batch = delivery.map_err(Unwritten::Query)?;
            row_count += batch.row_count() as u64;
            put(&printer.changes(&batch))?;
        }
        if self.format == Format::Tableau {
            put(&self.closing(&printer, row_count, started))?;
        }
        Ok(())
    }

    fn closing(&self, printer: &Printer, row_count: u64, started: Instant) -> String {
        let border = match printer {
            Printer::Tableau(tableau) if row_count > 0 => tableau.border(),
            _ => String::new(),
        };
        let elapsed = self.shows_time.then(|| started.elapsed());
        format!("{border}{}\n", footer(row_count, false, elapsed))
    }

    /// A batch result is collected first: its columns are as wide as their content.
    async fn batch_table(
        &self,
        mut result: QueryResult,
        signals: &mut Signals,
        started: Instant,
    ) -> Result<(), Unwritten> {
        let mut batches: Vec<RecordBatch> = Vec::new();
        loop {
            let delivery = tokio::select! {
                delivery = result.next() => delivery,
                () = signals.interrupt() => return self.interrupted(0, started),
            };
            let Some(delivery) = delivery else { break };
            batches.push(delivery.map_err(Unwritten::Query)?.into_parts().0);
        }
        let row_count = batches.iter().map(|batch| batch.num_rows() as u64).sum();
        let text = Tableau::batch(&result.columns, &batches, self.cells, self.max_width);
        let elapsed = self.shows_time.then(|| started.elapsed());
        put(&format!("{text}{}\n", footer(row_count, true, elapsed)))?;
        Ok(())
    }

    fn interrupted(&self, row_count: u64, started: Instant) -> Result<(), Unwritten> {
        if self.format == Format::Tableau {
            let rows = row_count_text(row_count);
            let seconds = started.elapsed().as_secs_f64();
            put(&format!("Query terminated, received a total of {rows} ({seconds:.2} seconds)\n"))?;
        }
        Ok(())
    }
}

/// Writes batch after batch in one format.
enum Printer {
    Tableau(Tableau),
    Json(JsonLines, bool),
    Csv(Csv, bool),
}

impl Printer {
    fn new(style: &Style, columns: &[Column], shows_op: bool) -> Self {
        match style.format {
            Format::Tableau => {
                Self::Tableau(Tableau::streaming(columns, style.cells, style.max_width))
            }
            Format::Json => Self::Json(JsonLines::new(columns, style.cells), shows_op),
            Format::Csv => Self::Csv(Csv::new(columns, style.cells), shows_op),
        }
    }

    fn header(&self) -> String {
        match self {
            Self::Tableau(tableau) => tableau.header(),
            Self::Json(..) => String::new(),
            Self::Csv(csv, shows_op) => csv.header(*shows_op),
        }
    }

    fn changes(&self, batch: &shardlake_change::ChangeBatch) -> String {
        match self {
            Self::Tableau(tableau) => tableau.changes(batch),
            Self::Json(json, true) => json.changes(batch),
            Self::Json(json, false) => json.rows(batch.rows()),
            Self::Csv(csv, true) => csv.changes(batch),
            Self::Csv(csv, false) => csv.rows(batch.rows()),
        }
    }
}
