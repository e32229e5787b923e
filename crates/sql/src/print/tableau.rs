//! Results as a table of characters, as Flink's result mode `tableau` prints them.
//!
//! A batch result is printed when all of it is there, so its columns are as wide as their content; a
//! stream is printed as it comes, so its columns are as wide as their types allow.

use std::time::Duration;

use arrow::array::RecordBatch;
use shardlake_change::{ChangeBatch, Column, LogicalType};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::CellFormat;

/// How NULL is shown.
const NULL: &str = "<NULL>";
/// What stands for the part of a text that does not fit.
const CUT: &str = "...";
/// The column of row kinds in a stream.
const OP: &str = "op";

/// A table of characters.
#[derive(Clone, Debug)]
pub struct Tableau {
    columns: Vec<Column>,
    format: CellFormat,
    /// The width of each column, the one of row kinds first if there is one.
    widths: Vec<usize>,
    has_op: bool,
}

impl Tableau {
    /// The table of a stream. `max_width` is `table.display.max-column-width`.
    #[must_use]
    pub fn streaming(columns: &[Column], format: CellFormat, max_width: usize) -> Self {
        let widths = std::iter::once(OP.len())
            .chain(columns.iter().map(|column| {
                let by_type = width_of_type(&column.data_type, max_width);
                // NULL has to fit as well.
                let least = if column.nullable { NULL.len() } else { 0 };
                let name = cut_width(&column.name, &column.data_type, max_width);
                by_type.max(least).max(name)
            }))
            .collect();
        Self { columns: columns.to_vec(), format, widths, has_op: true }
    }

    /// A complete table of rows that are all there, with its header and borders. Empty for no rows:
    /// then only [`footer`] is printed.
    #[must_use]
    pub fn batch(
        columns: &[Column],
        rows: &[RecordBatch],
        format: CellFormat,
        max_width: usize,
    ) -> String {
        let cells: Vec<Vec<String>> = rows
            .iter()
            .flat_map(|batch| (0..batch.num_rows()).map(move |row| (batch, row)))
            .map(|(batch, row)| cells(&format, columns, batch, row))
            .collect();
        if cells.is_empty() {
            return String::new();
        }
        let widths = columns
            .iter()
            .enumerate()
            .map(|(index, column)| {
                let content = cells.iter().filter_map(|row| row.get(index));
                let widest = content.map(|cell| cell.width()).max().unwrap_or(0);
                let wanted = widest.max(column.name.width());
                if has_fixed_width(&column.data_type) { wanted } else { wanted.min(max_width) }
            })
            .collect();
        let table = Self { columns: columns.to_vec(), format, widths, has_op: false };
        let mut text = table.header();
        for row in &cells {
            table.push_line(&mut text, row.iter().map(String::as_str));
        }
        text.push_str(&table.border());
        text
    }

    /// The border, the names of the columns, and the border again.
    #[must_use]
    pub fn header(&self) -> String {
        let op = self.has_op.then_some(OP);
        let names = op.into_iter().chain(self.columns.iter().map(|column| column.name.as_str()));
        let mut text = self.border();
        self.push_line(&mut text, names);
        text.push_str(&self.border());
        text
    }

    /// One line for each change.
    #[must_use]
    pub fn changes(&self, batch: &ChangeBatch) -> String {
        let mut text = String::new();
        for (row, kind) in batch.kinds().iter().enumerate() {
            let cells = cells(&self.format, &self.columns, batch.rows(), row);
            let op = self.has_op.then_some(kind.as_str());
            self.push_line(&mut text, op.into_iter().chain(cells.iter().map(String::as_str)));
        }
        text
    }

    /// The line that closes the table.
    #[must_use]
    pub fn border(&self) -> String {
        let mut text = String::from("+");
        for width in &self.widths {
            text.push_str(&"-".repeat(width + 2));
            text.push('+');
        }
        text.push('\n');
        text
    }

    fn push_line<'a>(&self, text: &mut String, cells: impl Iterator<Item = &'a str>) {
        text.push('|');
        for (cell, width) in cells.zip(&self.widths) {
            let cell = cut(cell, *width);
            text.push(' ');
            text.push_str(&" ".repeat(width.saturating_sub(cell.width())));
            text.push_str(&cell);
            text.push_str(" |");
        }
        text.push('\n');
    }
}

/// What is printed below a result: `Empty set`, `2 rows in set`, or for a stream `Received a total of 2
/// rows`. With the time that it took if that is wanted.
#[must_use]
pub fn footer(row_count: u64, is_batch: bool, elapsed: Option<Duration>) -> String {
    let rows = row_count_text(row_count);
    let text = match (is_batch, row_count) {
        (true, 0) => "Empty set".to_owned(),
        (true, _) => format!("{rows} in set"),
        (false, _) => format!("Received a total of {rows}"),
    };
    match elapsed {
        Some(elapsed) => format!("{text} ({:.2} seconds)", elapsed.as_secs_f64()),
        None => text,
    }
}

/// `1 row`, `2 rows`; Flink counts `0 row`.
#[must_use]
pub fn row_count_text(row_count: u64) -> String {
    format!("{row_count} {}", if row_count > 1 { "rows" } else { "row" })
}

fn cells(format: &CellFormat, columns: &[Column], rows: &RecordBatch, row: usize) -> Vec<String> {
    columns
        .iter()
        .zip(rows.columns())
        .map(|(column, array)| {
            format.text(&column.data_type, array.as_ref(), row).unwrap_or_else(|| NULL.to_owned())
        })
        .collect()
}

/// Whether values of this type are never cut.
const fn has_fixed_width(data_type: &LogicalType) -> bool {
    matches!(
        data_type,
        LogicalType::Boolean
            | LogicalType::TinyInt
            | LogicalType::SmallInt
            | LogicalType::Int
            | LogicalType::BigInt
            | LogicalType::Decimal { .. }
            | LogicalType::Date
            | LogicalType::Time(_)
            | LogicalType::Timestamp(_)
            | LogicalType::TimestampLtz(_)
    )
}

/// The width of the longest value; of types without one, the greatest width that a column may have.
fn width_of_type(data_type: &LogicalType, max_width: usize) -> usize {
    let with_fraction = |width: usize, precision: u8| match precision {
        0 => width,
        digits => width + 1 + usize::from(digits),
    };
    match data_type {
        LogicalType::Boolean => "FALSE".len(),
        LogicalType::TinyInt => "-128".len(),
        LogicalType::SmallInt => "-32768".len(),
        LogicalType::Int => "-2147483648".len(),
        LogicalType::BigInt => "-9223372036854775808".len(),
        // A sign and a point.
        LogicalType::Decimal { precision, .. } => usize::from(*precision) + 2,
        LogicalType::Date => "2024-02-29".len(),
        LogicalType::Time(precision) => with_fraction("01:02:03".len(), *precision),
        LogicalType::Timestamp(precision) | LogicalType::TimestampLtz(precision) => {
            with_fraction("2024-02-29 01:02:03".len(), *precision)
        }
        LogicalType::Char(_)
        | LogicalType::VarChar(_)
        | LogicalType::String
        | LogicalType::Binary(_)
        | LogicalType::VarBinary(_)
        | LogicalType::Bytes
        | LogicalType::Float
        | LogicalType::Double
        | LogicalType::Array(_)
        | LogicalType::Map(_, _)
        | LogicalType::Row(_) => max_width,
    }
}

fn cut_width(name: &str, data_type: &LogicalType, max_width: usize) -> usize {
    if has_fixed_width(data_type) { name.width() } else { name.width().min(max_width) }
}

/// The text, or its beginning and `...` if it is wider than `width`. Full-width characters count 2.
fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let room = width.saturating_sub(CUT.len());
    let mut used = 0;
    let mut shown = String::new();
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used > room {
            break;
        }
        shown.push(c);
    }
    shown.push_str(CUT.get(..CUT.len().min(width)).unwrap_or_default());
    shown
}

#[cfg(test)]
mod tests;
