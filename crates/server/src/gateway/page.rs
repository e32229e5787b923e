//! One page of a result, as JSON.

use std::fmt::Write as _;

use arrow::array::RecordBatch;
use arrow::ipc::writer::StreamWriter;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use shardlake_change::{ChangeBatch, Column, RowKind};
use shardlake_sql::print::CellFormat;
use shardlake_sql::session::Layout;

use super::columns::column_to_json;

/// How the values of rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowFormat {
    /// As JSON values of their types.
    Json,
    /// As the texts that Flink's client prints.
    PlainText,
    /// As an Arrow stream in base64: for clients of ours, which print as embedded mode does.
    Arrow,
}

impl RowFormat {
    /// The format of this name, in any case.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        [Self::Json, Self::PlainText, Self::Arrow]
            .into_iter()
            .find(|format| format.name().eq_ignore_ascii_case(name))
    }

    /// Its name in paths and answers.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Json => "JSON",
            Self::PlainText => "PLAIN_TEXT",
            Self::Arrow => "ARROW",
        }
    }
}

/// What all pages of a result have in common.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    /// The columns.
    pub(crate) columns: Vec<Column>,
    /// Whether the rows are those of a query.
    pub(crate) is_query: bool,
    /// Whether the rows say more than that the statement was run.
    pub(crate) has_content: bool,
    /// The job that the statement started.
    pub(crate) job: Option<String>,
    /// How values become text.
    pub(crate) cells: CellFormat,
    /// What a client of ours shows instead of the rows.
    pub(crate) lines: Option<Vec<String>>,
    /// How a client of ours shows the rows.
    pub(crate) layout: Layout,
    /// Whether a client of ours shows the kinds of changes.
    pub(crate) shows_op: bool,
}

/// A page as the client gets it.
pub(crate) struct Page<'a> {
    pub(crate) shape: &'a Shape,
    pub(crate) rows: Option<&'a ChangeBatch>,
    pub(crate) format: RowFormat,
    /// Where the next page is; none at the end.
    pub(crate) next: Option<String>,
}

impl Page<'_> {
    /// The whole answer.
    pub(crate) fn to_json(&self) -> String {
        let shape = self.shape;
        let columns: Vec<Value> = shape.columns.iter().map(column_to_json).collect();
        let mut out = String::with_capacity(512);
        let kind = if self.next.is_some() { "PAYLOAD" } else { "EOS" };
        // Writing to a string cannot fail.
        let _ = write!(out, r#"{{"resultType":"{kind}","isQueryResult":{}"#, shape.is_query);
        if let Some(job) = &shape.job {
            let _ = write!(out, r#","jobID":{}"#, json!(job));
        }
        let content = if shape.has_content { "SUCCESS_WITH_CONTENT" } else { "SUCCESS" };
        let format = self.format.name();
        let _ = write!(
            out,
            r#","resultKind":"{content}","results":{{"columns":{},"rowFormat":"{format}","data":"#,
            Value::Array(columns)
        );
        self.write_rows(&mut out);
        out.push('}');
        if self.format == RowFormat::Arrow {
            let layout = match shape.layout {
                Layout::Table => "TABLE",
                Layout::Text => "TEXT",
            };
            let extra = json!({
                "lines": shape.lines, "layout": layout, "showsOp": shape.shows_op,
            });
            let _ = write!(out, r#","shardlake":{extra}"#);
        }
        if let Some(next) = &self.next {
            let _ = write!(out, r#","nextResultUri":{}"#, json!(next));
        }
        out.push('}');
        out
    }

    fn write_rows(&self, out: &mut String) {
        let Some(batch) = self.rows else { return out.push_str("[]") };
        if self.format == RowFormat::Arrow {
            let kinds: String = batch.kinds().iter().map(kind_letter).collect();
            let stream = arrow_stream(batch.rows()).unwrap_or_default();
            let _ = write!(out, r#"{{"kinds":"{kinds}","stream":"{}"}}"#, BASE64.encode(stream));
            return;
        }
        out.push('[');
        for (row, kind) in batch.kinds().iter().enumerate() {
            let comma = if row == 0 { "" } else { "," };
            let _ = write!(out, r#"{comma}{{"kind":"{}","fields":["#, kind_name(kind));
            for (index, (column, array)) in
                self.shape.columns.iter().zip(batch.rows().columns()).enumerate()
            {
                if index > 0 {
                    out.push(',');
                }
                if self.format == RowFormat::Json {
                    self.shape.cells.write_json(out, &column.data_type, array.as_ref(), row);
                } else {
                    let text = self.shape.cells.text(&column.data_type, array.as_ref(), row);
                    let _ = write!(out, "{}", json!(text));
                }
            }
            out.push_str("]}");
        }
        out.push(']');
    }
}

/// Flink's name of a kind of change.
const fn kind_name(kind: RowKind) -> &'static str {
    match kind {
        RowKind::Insert => "INSERT",
        RowKind::UpdateBefore => "UPDATE_BEFORE",
        RowKind::UpdateAfter => "UPDATE_AFTER",
        RowKind::Delete => "DELETE",
    }
}

/// A kind of change in the Arrow format; [`kind_of_letter`] reads it.
const fn kind_letter(kind: RowKind) -> char {
    match kind {
        RowKind::Insert => 'I',
        RowKind::UpdateBefore => 'B',
        RowKind::UpdateAfter => 'A',
        RowKind::Delete => 'D',
    }
}

/// The kind of change that a letter of the Arrow format stands for.
pub(crate) const fn kind_of_letter(letter: char) -> Option<RowKind> {
    match letter {
        'I' => Some(RowKind::Insert),
        'B' => Some(RowKind::UpdateBefore),
        'A' => Some(RowKind::UpdateAfter),
        'D' => Some(RowKind::Delete),
        _ => None,
    }
}

fn arrow_stream(rows: &RecordBatch) -> Result<Vec<u8>, arrow::error::ArrowError> {
    let mut writer = StreamWriter::try_new(Vec::new(), &rows.schema())?;
    writer.write(rows)?;
    writer.into_inner()
}
