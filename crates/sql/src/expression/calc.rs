//! Keeps the rows for which a predicate is true and computes the columns of a query.
//!
//! An update whose row starts or stops matching becomes an insert or a delete.

use std::sync::Arc;

use arrow::array::{AsArray as _, RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use datafusion::physical_expr::PhysicalExpr;
use shardlake_change::ChangeBatch;
use shardlake_connector::Error;

use super::{change_error, expression_error, keep};
use crate::plan::Transform;

/// A column that is computed.
pub(crate) struct OutputColumn {
    /// How.
    pub(crate) expression: Arc<dyn PhysicalExpr>,
    /// How, as plans show it.
    pub(crate) text: String,
}

/// A filter and a projection.
pub(crate) struct Calc {
    predicate: Option<OutputColumn>,
    columns: Vec<OutputColumn>,
    schema: SchemaRef,
}

impl Calc {
    /// Filters by the predicate and then computes `columns`, which `schema` describes.
    pub(crate) fn new(
        predicate: Option<OutputColumn>,
        columns: Vec<OutputColumn>,
        schema: SchemaRef,
    ) -> Self {
        debug_assert_eq!(columns.len(), schema.fields().len(), "one column for each field");
        Self { predicate, columns, schema }
    }

    fn select(&self, batch: &ChangeBatch) -> Result<ChangeBatch, Error> {
        let Some(predicate) = &self.predicate else { return Ok(batch.clone()) };
        let what = || format!("the condition {}", predicate.text);
        let mask = predicate
            .expression
            .evaluate(batch.rows())
            .and_then(|value| value.into_array(batch.row_count()))
            .map_err(|error| expression_error(&what(), &error))?;
        let Some(mask) = mask.as_boolean_opt() else {
            return Err(Error::bug(format!("{} is not BOOLEAN", what())));
        };
        keep(batch, mask)
    }
}

impl Transform for Calc {
    fn describe(&self) -> String {
        let columns: Vec<String> = self
            .columns
            .iter()
            .zip(self.schema.fields())
            .map(|(column, field)| {
                if &column.text == field.name() {
                    column.text.clone()
                } else {
                    format!("{} AS {}", column.text, field.name())
                }
            })
            .collect();
        let select = format!("select=[{}]", columns.join(", "));
        match &self.predicate {
            Some(predicate) => format!("Calc({select}, where=[{}])", predicate.text),
            None => format!("Calc({select})"),
        }
    }

    fn apply(&self, batch: &ChangeBatch) -> Result<ChangeBatch, Error> {
        let kept = self.select(batch)?;
        let row_count = kept.row_count();
        let (rows, kinds) = kept.into_parts();
        let mut columns = Vec::with_capacity(self.columns.len());
        for (column, field) in self.columns.iter().zip(self.schema.fields()) {
            let values = column
                .expression
                .evaluate(&rows)
                .and_then(|value| value.into_array(row_count))
                .map_err(|error| expression_error(&format!("column '{}'", field.name()), &error))?;
            columns.push(values);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(row_count));
        let rows = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
            .map_err(|error| change_error(error.into()))?;
        ChangeBatch::try_new(rows, kinds).map_err(change_error)
    }
}
