//! What is known about the values of one column in a file, or in all files of a manifest.

use iceberg::spec::{DataFile, PrimitiveType, Schema, Type};

use super::value::Value;

/// Knowledge about a column. A row that contradicts it is not there.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ColumnBounds {
    /// The column.
    pub(crate) field_id: i32,
    /// Where its values are.
    pub(crate) values: Known,
    /// Whether a NULL may be among them.
    pub(crate) may_be_null: bool,
    /// Whether a value that is not NULL may be among them.
    pub(crate) may_be_value: bool,
    /// Whether a NaN may be among them; bounds never cover NaN.
    pub(crate) may_be_nan: bool,
}

/// What is known about values that are neither NULL nor NaN.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Known {
    /// They lie between these, both included; none is unknown.
    Range {
        /// The least value, or less.
        lower: Option<Value>,
        /// The greatest value, or more.
        upper: Option<Value>,
    },
    /// Their hash modulo `count` lies between these, both included.
    Buckets {
        /// How many buckets there are.
        count: u32,
        /// The least bucket.
        lower: i128,
        /// The greatest bucket.
        upper: i128,
    },
}

/// The bounds that the manifest states for a data file. Columns inside of structs are left out.
pub(crate) fn of_data_file(file: &DataFile, schema: &Schema) -> Vec<ColumnBounds> {
    let mut found = Vec::new();
    for field in schema.as_struct().fields() {
        let Type::Primitive(kind) = field.field_type.as_ref() else { continue };
        let id = field.id;
        let nulls = file.null_value_counts().get(&id).copied();
        let values = file.value_counts().get(&id).copied();
        let lower = bound(file, id, true);
        let upper = bound(file, id, false);
        if nulls.is_none() && lower.is_none() && upper.is_none() {
            continue;
        }
        found.push(ColumnBounds {
            field_id: id,
            values: Known::Range { lower, upper },
            may_be_null: nulls != Some(0),
            may_be_value: match (nulls, values) {
                (Some(nulls), Some(values)) => nulls < values,
                _ => true,
            },
            may_be_nan: is_float(kind) && file.nan_value_counts().get(&id) != Some(&0),
        });
    }
    found
}

/// Whether a type has NaN.
pub(crate) const fn is_float(kind: &PrimitiveType) -> bool {
    matches!(kind, PrimitiveType::Float | PrimitiveType::Double)
}

fn bound(file: &DataFile, id: i32, lower: bool) -> Option<Value> {
    let bounds = if lower { file.lower_bounds() } else { file.upper_bounds() };
    let datum = bounds.get(&id)?;
    Value::from_iceberg(datum.literal(), datum.data_type())
}
