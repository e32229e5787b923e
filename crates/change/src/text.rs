//! The text form of a changelog, for tests: one line a row, the kind first, columns separated by ` | `.
//!
//! ```text
//! +I 1 | ann
//! -U 1 | ann
//! +U 1 | NULL
//! ```

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use crate::{ChangeBatch, Error, RowKind, RowKinds};

/// The changelog of `batches` as text.
///
/// # Errors
/// [`Error::Arrow`] if a column cannot be printed.
pub fn changelog_text(batches: &[ChangeBatch]) -> Result<String, Error> {
    let options = FormatOptions::default().with_null("NULL");
    let mut text = String::new();
    for batch in batches {
        let columns = batch
            .rows()
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column.as_ref(), &options))
            .collect::<Result<Vec<_>, _>>()?;
        for (row, kind) in batch.kinds().iter().enumerate() {
            let cells: Vec<String> = columns.iter().map(|c| c.value(row).to_string()).collect();
            text.push_str(&format!("{kind} {}\n", cells.join(" | ")));
        }
    }
    Ok(text)
}

/// The batch that [`changelog_text`] prints as `text`. Blank lines are passed over.
///
/// # Errors
/// [`Error::Text`] if a line has no kind or another number of columns, [`Error::Arrow`] if a cell
/// is not of its column's type.
pub fn parse_changelog(schema: &SchemaRef, text: &str) -> Result<ChangeBatch, Error> {
    let width = schema.fields().len();
    let mut kinds = Vec::new();
    let mut columns: Vec<Vec<Option<String>>> = vec![Vec::new(); width];
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        let fail = |reason: String| Error::Text { line: number + 1, reason };
        let (kind, cells) = line.split_once(' ').unwrap_or((line, ""));
        kinds.push(RowKind::parse(kind).ok_or_else(|| fail(format!("no row kind `{kind}`")))?);
        let cells: Vec<&str> = cells.split(" | ").map(str::trim).collect();
        if cells.len() != width {
            return Err(fail(format!("{} columns, expected {width}", cells.len())));
        }
        for (column, cell) in columns.iter_mut().zip(cells) {
            column.push((cell != "NULL").then(|| cell.to_owned()));
        }
    }
    let arrays = columns
        .into_iter()
        .zip(schema.fields())
        .map(|(cells, field)| {
            let text: ArrayRef = Arc::new(StringArray::from(cells));
            if field.data_type() == &DataType::Utf8 {
                Ok(text)
            } else {
                cast(&text, field.data_type())
            }
        })
        .collect::<Result<Vec<_>, _>>()?;
    ChangeBatch::try_new(
        RecordBatch::try_new(Arc::clone(schema), arrays)?,
        RowKinds::from_iter(kinds),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::BooleanArray;
    use arrow::datatypes::{Field, Schema};

    fn batch(text: &str) -> ChangeBatch {
        let schema = Arc::new(Schema::new(vec![
            Field::new("id", DataType::Int64, false),
            Field::new("name", DataType::Utf8, true),
        ]));
        parse_changelog(&schema, text).unwrap()
    }

    #[test]
    fn text_is_read_as_it_is_printed() {
        let text = "+I 1 | ann\n-U 1 | ann\n+U 1 | NULL\n-D 1 | NULL\n";
        assert_eq!(changelog_text(&[batch(text)]).unwrap(), text);
    }

    #[test]
    fn filter_take_slice_and_concat_keep_kinds_beside_their_rows() {
        let all = batch("+I 1 | a\n-U 1 | a\n+U 1 | b\n-D 2 | c");
        let kept = all.filter(&BooleanArray::from(vec![true, false, true, true])).unwrap();
        insta::assert_snapshot!(changelog_text(&[kept]).unwrap(), @"
        +I 1 | a
        +U 1 | b
        -D 2 | c
        ");
        let taken = all.take(&vec![3, 0].into()).unwrap();
        insta::assert_snapshot!(changelog_text(&[taken.slice(1, 9), taken]).unwrap(), @"
        +I 1 | a
        -D 2 | c
        +I 1 | a
        ");
        let again =
            ChangeBatch::concat(&all.schema(), &[all.slice(0, 2), all.slice(2, 2)]).unwrap();
        assert_eq!(again, all);
    }

    #[test]
    fn a_line_without_a_kind_is_refused() {
        let schema = Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, false)]));
        let error = parse_changelog(&schema, "+I 1\n1").unwrap_err().to_string();
        assert_eq!(error, "line 2 of the changelog: no row kind `1`");
    }
}
