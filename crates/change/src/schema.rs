//! The columns of a table.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use serde::{Deserialize, Serialize};

use crate::LogicalType;

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// Its name; names are compared with case.
    pub name: String,
    /// Its type.
    pub data_type: LogicalType,
    /// Whether it may hold NULL.
    pub nullable: bool,
    /// The user's remark on it.
    pub comment: Option<String>,
}

impl Column {
    /// A nullable column without a comment.
    pub fn new(name: impl Into<String>, data_type: LogicalType) -> Self {
        Self { name: name.into(), data_type, nullable: true, comment: None }
    }

    /// The same column, NOT NULL.
    #[must_use]
    pub fn not_null(mut self) -> Self {
        self.nullable = false;
        self
    }

    /// The Arrow field of the column.
    #[must_use]
    pub fn to_arrow(&self) -> Field {
        Field::new(&self.name, self.data_type.to_arrow(), self.nullable)
    }
}

/// The columns of a table and its primary key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableSchema {
    /// The columns in their order.
    pub columns: Vec<Column>,
    /// The names of the key's columns, in the key's order; empty if the table has no primary key.
    pub primary_key: Vec<String>,
}

impl TableSchema {
    /// The Arrow schema of the columns.
    #[must_use]
    pub fn to_arrow(&self) -> SchemaRef {
        Arc::new(Schema::new(self.columns.iter().map(Column::to_arrow).collect::<Vec<_>>()))
    }

    /// Where the column of this name is.
    #[must_use]
    pub fn index_of(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    /// Where the columns of the primary key are, in the key's order. Names that are no column are left out.
    #[must_use]
    pub fn key_indices(&self) -> Vec<usize> {
        self.primary_key.iter().filter_map(|name| self.index_of(name)).collect()
    }
}
