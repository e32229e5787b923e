//! Results for programs: one JSON object a line, or CSV.
//!
//! JSON keys are the columns' names in their order; a stream has the row kind first, under `op`. Numbers
//! are numbers: a DECIMAL keeps all its digits, so a reader that turns numbers into floating point may
//! round it. CSV begins with a line of names; NULL is an empty field, an empty text is `""`.

use arrow::array::RecordBatch;
use shardlake_change::{ChangeBatch, Column, RowKind, RowKinds};

use super::CellFormat;
use super::cell::push_json_text;

const OP: &str = "op";

/// Rows as JSON objects, one a line.
#[derive(Clone, Debug)]
pub struct JsonLines {
    columns: Vec<Column>,
    /// Each column's name, quoted, with its colon.
    keys: Vec<String>,
    format: CellFormat,
}

impl JsonLines {
    /// Rows with these columns.
    #[must_use]
    pub fn new(columns: &[Column], format: CellFormat) -> Self {
        let key = |column: &Column| {
            let mut key = String::new();
            push_json_text(&mut key, &column.name);
            key.push(':');
            key
        };
        Self { columns: columns.to_vec(), keys: columns.iter().map(key).collect(), format }
    }

    /// The lines of rows without row kinds.
    #[must_use]
    pub fn rows(&self, rows: &RecordBatch) -> String {
        let mut text = String::new();
        for row in 0..rows.num_rows() {
            self.push_line(&mut text, None, rows, row);
        }
        text
    }

    /// The lines of changes.
    #[must_use]
    pub fn changes(&self, batch: &ChangeBatch) -> String {
        let mut text = String::new();
        for (row, kind) in batch.kinds().iter().enumerate() {
            self.push_line(&mut text, Some(kind), batch.rows(), row);
        }
        text
    }

    fn push_line(&self, text: &mut String, kind: Option<RowKind>, rows: &RecordBatch, row: usize) {
        text.push('{');
        let mut separator = "";
        if let Some(kind) = kind {
            push_json_text(text, OP);
            text.push(':');
            push_json_text(text, kind.as_str());
            separator = ",";
        }
        for ((column, key), array) in self.columns.iter().zip(&self.keys).zip(rows.columns()) {
            text.push_str(separator);
            text.push_str(key);
            self.format.write_json(text, &column.data_type, array.as_ref(), row);
            separator = ",";
        }
        text.push_str("}\n");
    }
}

/// Rows as CSV (RFC 4180, lines end with a line feed).
#[derive(Clone, Debug)]
pub struct Csv {
    columns: Vec<Column>,
    format: CellFormat,
}

impl Csv {
    /// Rows with these columns.
    #[must_use]
    pub fn new(columns: &[Column], format: CellFormat) -> Self {
        Self { columns: columns.to_vec(), format }
    }

    /// The line of names, with `op` first for a stream.
    #[must_use]
    pub fn header(&self, with_op: bool) -> String {
        let op = with_op.then_some(OP);
        let names = op.into_iter().chain(self.columns.iter().map(|column| column.name.as_str()));
        let mut text = names.map(field).collect::<Vec<_>>().join(",");
        text.push('\n');
        text
    }

    /// The lines of rows without row kinds.
    #[must_use]
    pub fn rows(&self, rows: &RecordBatch) -> String {
        self.lines(rows, None)
    }

    /// The lines of changes.
    #[must_use]
    pub fn changes(&self, batch: &ChangeBatch) -> String {
        self.lines(batch.rows(), Some(batch.kinds()))
    }

    fn lines(&self, rows: &RecordBatch, kinds: Option<&RowKinds>) -> String {
        let mut text = String::new();
        for row in 0..rows.num_rows() {
            let op = kinds.and_then(|kinds| kinds.get(row)).map(|kind| kind.as_str().to_owned());
            let cells = self.columns.iter().zip(rows.columns()).map(|(column, array)| {
                self.format
                    .text(&column.data_type, array.as_ref(), row)
                    .map(|text| field(&text))
                    .unwrap_or_default()
            });
            let line: Vec<String> = op.into_iter().chain(cells).collect();
            text.push_str(&line.join(","));
            text.push('\n');
        }
        text
    }
}

fn field(text: &str) -> String {
    let is_plain = !text.is_empty() && !text.contains([',', '"', '\n', '\r']);
    if is_plain { text.to_owned() } else { format!("\"{}\"", text.replace('"', "\"\"")) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringArray};
    use shardlake_change::{LogicalType, TableSchema};

    use super::*;
    use crate::session::SessionZone;

    fn sample() -> (Vec<Column>, ChangeBatch, CellFormat) {
        let columns = vec![
            Column::new("id", LogicalType::BigInt),
            Column::new("na\"me", LogicalType::String),
        ];
        let schema = TableSchema { columns: columns.clone(), primary_key: vec![] }.to_arrow();
        let names = StringArray::from(vec![Some("a,b"), Some(""), None, Some("say \"x\"\n")]);
        let arrays: Vec<ArrayRef> =
            vec![Arc::new(Int64Array::from(vec![1, 2, 3, 4])), Arc::new(names)];
        let rows = RecordBatch::try_new(schema, arrays).unwrap();
        let kinds = [RowKind::Insert, RowKind::UpdateBefore, RowKind::UpdateAfter, RowKind::Delete];
        let batch = ChangeBatch::try_new(rows, kinds.into_iter().collect()).unwrap();
        (columns, batch, CellFormat::new(SessionZone::Named(chrono_tz::Tz::UTC)))
    }

    #[test]
    fn json_has_an_object_a_line() {
        let (columns, batch, format) = sample();
        let json = JsonLines::new(&columns, format);
        insta::assert_snapshot!(json.changes(&batch), @r#"
        {"op":"+I","id":1,"na\"me":"a,b"}
        {"op":"-U","id":2,"na\"me":""}
        {"op":"+U","id":3,"na\"me":null}
        {"op":"-D","id":4,"na\"me":"say \"x\"\n"}
        "#);
        insta::assert_snapshot!(json.rows(&batch.rows().slice(0, 1)), @r#"{"id":1,"na\"me":"a,b"}"#);
    }

    #[test]
    fn csv_quotes_where_it_must() {
        let (columns, batch, format) = sample();
        let csv = Csv::new(&columns, format);
        insta::assert_snapshot!(format!("{}{}", csv.header(true), csv.changes(&batch)), @r#"
        op,id,"na""me"
        +I,1,"a,b"
        -U,2,""
        +U,3,
        -D,4,"say ""x""
        "
        "#);
        insta::assert_snapshot!(csv.header(false), @r#"id,"na""me""#);
    }
}
