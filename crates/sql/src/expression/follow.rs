//! Hands all columns of a source to a sink that follows them.
//!
//! The columns that were planned get the names and types of the sink's; those behind them, which the source's
//! tables have got since, pass as they are. A planned column whose type has widened at the source keeps the
//! wider type where the sink's cannot hold it.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use shardlake_change::ChangeBatch;
use shardlake_connector::{Error, RowRemoval};

use super::{arrow_reason, change_error};
use crate::plan::Transform;

/// The way from all columns of a source to those of a sink, one by one.
pub(crate) struct Follow {
    /// The planned types at the source.
    source: Vec<DataType>,
    /// The planned columns of the sink.
    sink: SchemaRef,
}

impl Follow {
    /// From columns of these types to those of the sink.
    pub(crate) const fn new(source: Vec<DataType>, sink: SchemaRef) -> Self {
        Self { source, sink }
    }

    fn column(&self, index: usize, field: &Field, column: &ArrayRef) -> Result<ArrayRef, Error> {
        let Some(target) = self.sink.fields().get(index) else { return Ok(Arc::clone(column)) };
        let actual = field.data_type();
        let is_planned = self.source.get(index) == Some(actual);
        if target.data_type() == actual || !(is_planned || holds(target.data_type(), actual)) {
            return Ok(Arc::clone(column));
        }
        cast(column, target.data_type()).map_err(|error| {
            let (name, reason) = (target.name(), arrow_reason(&error));
            Error::job(format!("cannot write column '{name}': {reason}"))
        })
    }

    fn name<'a>(&'a self, index: usize, name: &'a str) -> &'a str {
        self.sink.fields().get(index).map_or(name, |field| field.name())
    }
}

/// Whether a type holds all values of another one.
fn holds(wide: &DataType, narrow: &DataType) -> bool {
    use DataType as D;
    let digits = match narrow {
        D::Int8 => 3,
        D::Int16 => 5,
        D::Int32 => 10,
        D::Int64 => 19,
        _ => 0,
    };
    match wide {
        D::Decimal128(precision, scale) => match narrow {
            D::Decimal128(narrow_precision, narrow_scale) => {
                scale >= narrow_scale
                    && i16::from(*precision) - i16::from(*scale)
                        >= i16::from(*narrow_precision) - i16::from(*narrow_scale)
            }
            _ => digits > 0 && i16::from(*precision) - i16::from(*scale) >= digits,
        },
        D::Int64 => digits > 0,
        D::Int32 => (1..=10).contains(&digits),
        D::Float64 => matches!(narrow, D::Float32) || (1..=10).contains(&digits),
        _ => false,
    }
}

impl Transform for Follow {
    fn describe(&self) -> String {
        "Follow(columns=[*])".to_owned()
    }

    fn apply(&self, batch: &ChangeBatch) -> Result<ChangeBatch, Error> {
        let rows = batch.rows();
        let schema = rows.schema();
        let (mut fields, mut columns) = (Vec::new(), Vec::new());
        for (index, (field, column)) in schema.fields().iter().zip(rows.columns()).enumerate() {
            let column = self.column(index, field, column)?;
            let name = self.name(index, field.name());
            fields.push(Field::new(name, column.data_type().clone(), field.is_nullable()));
            columns.push(column);
        }
        let planned = Schema::new(fields);
        if let Some(mut removal) = RowRemoval::of_batch(batch) {
            for (name, _) in removal.any_of.iter_mut().flatten() {
                if let Some(index) = schema.fields().iter().position(|field| field.name() == name) {
                    *name = self.name(index, name).to_owned();
                }
            }
            return Ok(removal.to_batch(&planned));
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        let rows = RecordBatch::try_new_with_options(Arc::new(planned), columns, &options)
            .map_err(|error| change_error(error.into()))?;
        ChangeBatch::try_new(rows, batch.kinds().clone()).map_err(change_error)
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int32Array, Int64Array, StringArray};
    use shardlake_change::changelog_text;

    use super::*;

    fn follow() -> Follow {
        let sink = Schema::new(vec![
            Field::new("t", DataType::Utf8, false),
            Field::new("key", DataType::Decimal128(20, 0), false),
            Field::new("n", DataType::Int32, true),
        ]);
        Follow::new(vec![DataType::Utf8, DataType::Int32, DataType::Int32], Arc::new(sink))
    }

    fn applied(columns: Vec<(&str, ArrayRef)>) -> String {
        let batch = ChangeBatch::inserts(RecordBatch::try_from_iter(columns).unwrap());
        let followed = follow().apply(&batch).unwrap();
        let schema = followed.schema();
        let fields =
            schema.fields().iter().map(|field| format!("{} {}", field.name(), field.data_type()));
        let fields: Vec<String> = fields.collect();
        format!("{}\n{}", fields.join(", "), changelog_text(&[followed]).unwrap())
    }

    #[test]
    fn new_columns_pass_and_planned_ones_become_the_sinks() {
        let t = || -> ArrayRef { Arc::new(StringArray::from(vec!["a"])) };
        let int = || -> ArrayRef { Arc::new(Int32Array::from(vec![7])) };
        let long = || -> ArrayRef { Arc::new(Int64Array::from(vec![7])) };
        insta::assert_snapshot!(applied(vec![("tab", t()), ("id", int()), ("n", int()), ("x", t())]), @"
        t Utf8, key Decimal128(20, 0), n Int32, x Utf8
        +I a | 7 | 7 | a
        ");
        insta::assert_snapshot!(applied(vec![("tab", t()), ("id", long()), ("n", long())]), @"
        t Utf8, key Decimal128(20, 0), n Int64
        +I a | 7 | 7
        ");
    }

    #[test]
    fn a_removal_names_the_sinks_columns() {
        let schema = Schema::new(vec![
            Field::new("tab", DataType::Utf8, false),
            Field::new("id", DataType::Int32, false),
            Field::new("n", DataType::Int32, true),
        ]);
        let removal = RowRemoval { any_of: vec![vec![("tab".to_owned(), "a".to_owned())]] };
        let batch = follow().apply(&removal.to_batch(&schema)).unwrap();
        let removal = RowRemoval::of_batch(&batch).unwrap();
        assert_eq!(removal.any_of, [[("t".to_owned(), "a".to_owned())]]);
    }
}
