//! Columns that a file does not have.
//!
//! They read as the column's initial default, or NULL if it has none (DataFusion's own adapter does
//! that, and casts columns of old files to the type of today). Values of identity partitions take
//! precedence; they come as statistics of the file, see [`super::statistics`].

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr_adapter::{
    DefaultPhysicalExprAdapterFactory, PhysicalExprAdapter, PhysicalExprAdapterFactory,
    replace_columns_with_literals,
};
use iceberg::spec::{Literal, Type};

use super::scalar;
use crate::scan::parquet_schema::ReadColumn;

/// Adapts expressions over the table to a file.
#[derive(Debug)]
pub(crate) struct DefaultsAdapterFactory {
    defaults: HashMap<String, ScalarValue>,
}

/// The adapter for a scan of these columns.
///
/// # Errors
/// DataFusion's, if a default does not fit its column.
pub(crate) fn adapter(
    columns: &[ReadColumn],
    schema: &SchemaRef,
) -> Result<DefaultsAdapterFactory> {
    let mut defaults = HashMap::new();
    for (column, field) in columns.iter().zip(schema.fields()) {
        let Type::Primitive(kind) = column.field.field_type.as_ref() else { continue };
        let Some(Literal::Primitive(literal)) = &column.field.initial_default else { continue };
        if let Some(value) = scalar::from_iceberg(literal, kind) {
            defaults.insert(column.name.clone(), value.cast_to(field.data_type())?);
        }
    }
    Ok(DefaultsAdapterFactory { defaults })
}

impl PhysicalExprAdapterFactory for DefaultsAdapterFactory {
    fn create(
        &self,
        logical_file_schema: SchemaRef,
        physical_file_schema: SchemaRef,
    ) -> Result<Arc<dyn PhysicalExprAdapter>> {
        let missing = self
            .defaults
            .iter()
            .filter(|(name, _)| physical_file_schema.index_of(name).is_err())
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        let inner =
            DefaultPhysicalExprAdapterFactory.create(logical_file_schema, physical_file_schema)?;
        Ok(Arc::new(DefaultsAdapter { missing, inner }))
    }
}

#[derive(Debug)]
struct DefaultsAdapter {
    missing: HashMap<String, ScalarValue>,
    inner: Arc<dyn PhysicalExprAdapter>,
}

impl PhysicalExprAdapter for DefaultsAdapter {
    fn rewrite(&self, expr: Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
        let expr = if self.missing.is_empty() {
            expr
        } else {
            replace_columns_with_literals(expr, &self.missing)?
        };
        self.inner.rewrite(expr)
    }
}
