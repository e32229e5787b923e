//! The order of rows inside data files, by a table's sort order.
//!
//! The rows of a window are sorted. A file says that it is sorted only if its windows, one after
//! another, happen to be in order too.

use arrow::array::RecordBatch;
use arrow::compute::SortOptions;
use arrow::datatypes::Schema as ArrowSchema;
use arrow::row::{OwnedRow, RowConverter, Rows, SortField};
use iceberg::spec::{NullOrder, Schema, SortDirection, SortOrder, Transform, Type};

use super::transform::transform;
use crate::{Error, schema};

/// Sorts rows by one sort order.
#[derive(Debug)]
pub(crate) struct Sorter {
    order_id: i32,
    fields: Vec<(usize, Transform)>,
    converter: RowConverter,
}

impl Sorter {
    /// For tables with this schema; none if the order is unsorted, or is of columns inside others.
    pub(crate) fn try_new(
        order: &SortOrder,
        schema: &Schema,
        arrow: &ArrowSchema,
    ) -> Result<Option<Self>, Error> {
        if order.is_unsorted() {
            return Ok(None);
        }
        let mut fields = Vec::new();
        let mut sort_fields = Vec::new();
        for field in &order.fields {
            let columns = schema.as_struct().fields();
            let column = columns.iter().position(|column| column.id == field.source_id);
            let Some(column) = column else {
                tracing::debug!(order = order.order_id, "rows are not sorted: a column is nested");
                return Ok(None);
            };
            let kind = match field.transform {
                Transform::Identity => Some(arrow.field(column).data_type().clone()),
                Transform::Day => schema::arrow_primitive(&iceberg::spec::PrimitiveType::Int),
                other => match other.result_type(&columns[column].field_type) {
                    Ok(Type::Primitive(kind)) => schema::arrow_primitive(&kind),
                    Ok(_) | Err(_) => None,
                },
            };
            let kind = kind.ok_or_else(|| Error::bug("a sort field without a type"))?;
            let options = SortOptions {
                descending: field.direction == SortDirection::Descending,
                nulls_first: field.null_order == NullOrder::First,
            };
            sort_fields.push(SortField::new_with_options(kind, options));
            fields.push((column, field.transform));
        }
        let converter = RowConverter::new(sort_fields).map_err(Error::bug)?;
        let order_id = i32::try_from(order.order_id).map_err(Error::bug)?;
        Ok(Some(Self { order_id, fields, converter }))
    }

    /// The id of the sort order.
    pub(crate) const fn order_id(&self) -> i32 {
        self.order_id
    }

    /// What the rows of batches are compared by, one batch after another.
    pub(crate) fn keys<'a>(
        &self,
        batches: impl Iterator<Item = &'a RecordBatch>,
    ) -> Result<SortKeys, Error> {
        let mut keys = self.converter.empty_rows(0, 0);
        for batch in batches {
            let columns = self
                .fields
                .iter()
                .map(|(column, by)| transform(*by, batch.column(*column)))
                .collect::<Result<Vec<_>, Error>>()?;
            self.converter.append(&mut keys, &columns).map_err(Error::bug)?;
        }
        Ok(SortKeys(keys))
    }
}

/// What the rows of a window are compared by.
pub(crate) struct SortKeys(Rows);

impl SortKeys {
    /// Sorts rows, given by their numbers in the window.
    pub(crate) fn sort<T>(&self, rows: &mut [T], number: impl Fn(&T) -> usize) {
        rows.sort_by(|left, right| self.0.row(number(left)).cmp(&self.0.row(number(right))));
    }

    /// Whether row `number` may follow a row with this key.
    pub(crate) fn follows(&self, number: usize, last: Option<&OwnedRow>) -> bool {
        last.is_none_or(|last| last.row() <= self.0.row(number))
    }

    pub(crate) fn key(&self, number: usize) -> OwnedRow {
        self.0.row(number).owned()
    }
}
