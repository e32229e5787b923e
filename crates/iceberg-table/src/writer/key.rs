//! From the columns of an equality key to its hash.
//!
//! Keys are hashed in the Arrow types of the table's schema, whether they come from a changelog or
//! from a data file. Each value is encoded with a fixed width or with its length in front, so two
//! different keys never have the same bytes.

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, FixedSizeBinaryArray, PrimitiveArray,
    RecordBatch, StringArray,
};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Decimal128Type, Int32Type, Int64Type, Schema,
    Time64MicrosecondType, TimeUnit, TimestampMicrosecondType, TimestampNanosecondType,
    ToByteSlice,
};
use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::Error;
use crate::index::KeyHash;

/// Hashes the equality keys of batches that have one schema.
#[derive(Clone, Debug)]
pub(crate) struct KeyHasher {
    /// Where the key's columns are in a batch, in the order of the table's schema.
    columns: Vec<usize>,
    seed: u64,
}

impl KeyHasher {
    /// Hashes the columns at `columns` of batches with this schema.
    pub(crate) fn try_new(schema: &Schema, columns: Vec<usize>, seed: u64) -> Result<Self, Error> {
        for column in &columns {
            let field = schema.fields().get(*column).ok_or_else(|| Error::bug("no key column"))?;
            if !is_supported(field.data_type()) {
                return Err(Error::Invalid(format!(
                    "column '{}' of type {} cannot be part of the key",
                    field.name(),
                    field.data_type()
                )));
            }
        }
        Ok(Self { columns, seed })
    }

    /// The same hash for batches that have the key's columns elsewhere.
    pub(crate) const fn with_columns(&self, columns: Vec<usize>) -> Self {
        Self { columns, seed: self.seed }
    }

    /// Appends the hash of each row's key.
    pub(crate) fn hash(&self, batch: &RecordBatch, hashes: &mut Vec<KeyHash>) -> Result<(), Error> {
        let columns = self
            .columns
            .iter()
            .map(|index| {
                let column = batch.column(*index);
                if column.null_count() > 0 {
                    let schema = batch.schema();
                    let name = schema.field(*index).name();
                    return Err(Error::Invalid(format!(
                        "column '{name}' is part of the primary key, but is NULL in a row"
                    )));
                }
                KeyColumn::try_new(column)
            })
            .collect::<Result<Vec<_>, Error>>()?;
        hashes.reserve(batch.num_rows());
        let hash = |bytes: &[u8]| KeyHash(xxh3_128_with_seed(bytes, self.seed));
        match columns.as_slice() {
            [KeyColumn::Int64(values)] => {
                hashes.extend(values.values().iter().map(|value| hash(&value.to_le_bytes())));
            }
            columns => {
                let mut bytes = Vec::new();
                for row in 0..batch.num_rows() {
                    bytes.clear();
                    columns.iter().for_each(|column| column.encode(row, &mut bytes));
                    hashes.push(hash(&bytes));
                }
            }
        }
        Ok(())
    }
}

fn is_supported(data_type: &DataType) -> bool {
    KeyColumn::try_new(&arrow::array::new_empty_array(data_type)).is_ok()
}

enum KeyColumn<'a> {
    Boolean(&'a BooleanArray),
    Int32(&'a PrimitiveArray<Int32Type>),
    Int64(&'a PrimitiveArray<Int64Type>),
    Date(&'a PrimitiveArray<Date32Type>),
    Time(&'a PrimitiveArray<Time64MicrosecondType>),
    Micros(&'a PrimitiveArray<TimestampMicrosecondType>),
    Nanos(&'a PrimitiveArray<TimestampNanosecondType>),
    Decimal(&'a PrimitiveArray<Decimal128Type>),
    Text(&'a StringArray),
    Bytes(&'a BinaryArray),
    Fixed(&'a FixedSizeBinaryArray),
}

impl<'a> KeyColumn<'a> {
    fn try_new(column: &'a ArrayRef) -> Result<Self, Error> {
        Ok(match column.data_type() {
            DataType::Boolean => Self::Boolean(column.as_boolean()),
            DataType::Int32 => Self::Int32(column.as_primitive()),
            DataType::Int64 => Self::Int64(column.as_primitive()),
            DataType::Date32 => Self::Date(column.as_primitive()),
            DataType::Time64(TimeUnit::Microsecond) => Self::Time(column.as_primitive()),
            DataType::Timestamp(TimeUnit::Microsecond, _) => Self::Micros(column.as_primitive()),
            DataType::Timestamp(TimeUnit::Nanosecond, _) => Self::Nanos(column.as_primitive()),
            DataType::Decimal128(_, _) => Self::Decimal(column.as_primitive()),
            DataType::Utf8 => Self::Text(column.as_string()),
            DataType::Binary => Self::Bytes(column.as_binary()),
            DataType::FixedSizeBinary(_) => Self::Fixed(column.as_fixed_size_binary()),
            other => return Err(Error::bug(format!("a key column of type {other}"))),
        })
    }

    fn encode(&self, row: usize, bytes: &mut Vec<u8>) {
        match self {
            Self::Boolean(values) => bytes.push(u8::from(values.value(row))),
            Self::Int32(values) => push_value(values, row, bytes),
            Self::Int64(values) => push_value(values, row, bytes),
            Self::Date(values) => push_value(values, row, bytes),
            Self::Time(values) => push_value(values, row, bytes),
            Self::Micros(values) => push_value(values, row, bytes),
            Self::Nanos(values) => push_value(values, row, bytes),
            Self::Decimal(values) => push_value(values, row, bytes),
            Self::Text(values) => push_sized(values.value(row).as_bytes(), bytes),
            Self::Bytes(values) => push_sized(values.value(row), bytes),
            Self::Fixed(values) => bytes.extend_from_slice(values.value(row)),
        }
    }
}

fn push_value<T: ArrowPrimitiveType>(values: &PrimitiveArray<T>, row: usize, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(values.value(row).to_byte_slice());
}

fn push_sized(value: &[u8], bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&(value.len() as u64).to_le_bytes());
    bytes.extend_from_slice(value);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Decimal128Array, Int64Array};
    use arrow::datatypes::Field;

    use super::*;

    fn hashes(columns: Vec<ArrayRef>) -> Vec<KeyHash> {
        let fields: Vec<Field> = columns
            .iter()
            .map(|column| Field::new("k", column.data_type().clone(), true))
            .collect();
        let schema = Arc::new(Schema::new(fields));
        let hasher = KeyHasher::try_new(&schema, (0..columns.len()).collect(), 7).unwrap();
        let mut hashes = Vec::new();
        hasher.hash(&RecordBatch::try_new(schema, columns).unwrap(), &mut hashes).unwrap();
        hashes
    }

    #[test]
    fn neighbouring_text_does_not_run_together() {
        let left: ArrayRef = Arc::new(StringArray::from(vec!["ab", "a", "ab"]));
        let right: ArrayRef = Arc::new(StringArray::from(vec!["c", "bc", "c"]));
        let hashes = hashes(vec![left, right]);
        assert_ne!(hashes[0], hashes[1]);
        assert_eq!(hashes[0], hashes[2]);
    }

    #[test]
    fn every_row_has_its_own_hash() {
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..1000));
        let mut all = hashes(vec![ids]);
        let decimals = Decimal128Array::from_iter_values(0..1000);
        all.extend(hashes(vec![Arc::new(decimals.with_precision_and_scale(20, 0).unwrap())]));
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 2000);
    }

    #[test]
    fn a_null_key_is_refused_by_column() {
        let schema = Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, true)]));
        let hasher = KeyHasher::try_new(&schema, vec![0], 0).unwrap();
        let ids: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None]));
        let batch = RecordBatch::try_new(schema, vec![ids]).unwrap();
        let error = hasher.hash(&batch, &mut Vec::new()).unwrap_err().to_string();
        assert_eq!(error, "column 'id' is part of the primary key, but is NULL in a row");
    }
}
