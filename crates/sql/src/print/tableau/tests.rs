//! Tables as they are printed.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int64Array, StringArray};
use shardlake_change::{RowKind, TableSchema};

use super::*;
use crate::session::SessionZone;

fn format() -> CellFormat {
    CellFormat::new(SessionZone::Named(chrono_tz::Tz::UTC))
}

fn columns() -> Vec<Column> {
    vec![
        Column::new("id", LogicalType::BigInt).not_null(),
        Column::new("name", LogicalType::String),
        Column::new("ok", LogicalType::Boolean),
    ]
}

fn rows(names: &[Option<&str>]) -> RecordBatch {
    let schema = TableSchema { columns: columns(), primary_key: vec![] }.to_arrow();
    let ids = Int64Array::from_iter_values((1..).take(names.len()));
    let flags: BooleanArray = names.iter().map(|name| name.map(|name| name.len() > 3)).collect();
    let arrays: Vec<ArrayRef> =
        vec![Arc::new(ids), Arc::new(StringArray::from(names.to_vec())), Arc::new(flags)];
    RecordBatch::try_new(schema, arrays).unwrap()
}

#[test]
fn a_batch_is_as_wide_as_its_content() {
    let names =
        [Some("ab"), None, Some("a text that is longer than thirty characters"), Some("数据湖")];
    let rows = rows(&names);
    let (first, second) = (rows.slice(0, 2), rows.slice(2, 2));
    insta::assert_snapshot!(Tableau::batch(&columns(), &[first, second], format(), 30), @"
    +----+--------------------------------+--------+
    | id |                           name |     ok |
    +----+--------------------------------+--------+
    |  1 |                             ab |  FALSE |
    |  2 |                         <NULL> | <NULL> |
    |  3 | a text that is longer than ... |   TRUE |
    |  4 |                         数据湖 |   TRUE |
    +----+--------------------------------+--------+
    ");
    assert_eq!(Tableau::batch(&columns(), &[], format(), 30), "");
}

#[test]
fn a_stream_is_as_wide_as_its_types() {
    let tableau = Tableau::streaming(&columns(), format(), 10);
    let kinds = [RowKind::Insert, RowKind::UpdateBefore, RowKind::UpdateAfter, RowKind::Delete];
    let names = [Some("ab"), Some("数据湖数据湖"), None, Some("ten signs!")];
    let batch = ChangeBatch::try_new(rows(&names), kinds.into_iter().collect()).unwrap();
    let text = format!("{}{}{}", tableau.header(), tableau.changes(&batch), tableau.border());
    insta::assert_snapshot!(text, @"
    +----+----------------------+------------+--------+
    | op |                   id |       name |     ok |
    +----+----------------------+------------+--------+
    | +I |                    1 |         ab |  FALSE |
    | -U |                    2 |  数据湖... |   TRUE |
    | +U |                    3 |     <NULL> | <NULL> |
    | -D |                    4 | ten signs! |   TRUE |
    +----+----------------------+------------+--------+
    ");
}

#[test]
fn footers() {
    assert_eq!(footer(0, true, None), "Empty set");
    assert_eq!(footer(1, true, None), "1 row in set");
    assert_eq!(footer(2, true, Some(Duration::from_millis(1234))), "2 rows in set (1.23 seconds)");
    assert_eq!(footer(0, false, None), "Received a total of 0 row");
    assert_eq!(footer(15, false, None), "Received a total of 15 rows");
}
