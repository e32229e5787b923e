//! Columns under construction, and the batch that they become.
//!
//! Invariant: between rows every column has as many values as there are row kinds.

use std::mem;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, FixedSizeBinaryArray, ListArray, PrimitiveArray,
    RecordBatch, RecordBatchOptions, StringArray,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Decimal128Type, Field, Float32Type, Float64Type,
    Int8Type, Int16Type, Int32Type, Int64Type, Schema, SchemaRef, Time64MicrosecondType, TimeUnit,
    TimestampMicrosecondType, TimestampNanosecondType,
};
use shardlake_change::{ChangeBatch, Column, LogicalType, RowKind, RowKinds};

use super::ZeroDates;
use crate::error::{Error, Problem, Result};
use crate::value::temporal::Moment;

/// What a new batch reserves for a column at most.
const MAX_RESERVED_ROWS: usize = 1 << 16;
const MAX_RESERVED_BYTES: usize = 1 << 21;

/// Rows that several plans may append to, one after the other.
#[derive(Debug)]
pub struct BatchBuilder {
    schema: SchemaRef,
    columns: Vec<ColumnBuilder>,
    kinds: Kinds,
    rows: usize,
}

/// The values of one column.
#[derive(Debug)]
pub(crate) struct ColumnBuilder {
    name: String,
    pub(crate) declared: LogicalType,
    nullable: bool,
    pub(crate) values: Values,
    /// A set bit is a NULL. Shorter than the column while its tail has none.
    nulls: Vec<u8>,
    null_count: usize,
    len: usize,
    zero_dates: u64,
    zero_date_policy: ZeroDates,
    pub(crate) replaced_texts: u64,
    /// A quarter of an hour and the zone's offset in it.
    pub(crate) zone_memory: (i64, i64),
}

/// The values of a column in their Arrow form.
#[derive(Debug)]
pub(crate) enum Values {
    I8(Vec<i8>),
    I16(Vec<i16>),
    I32(Vec<i32>),
    I64(Vec<i64>),
    I128(Vec<i128>),
    F32(Vec<f32>),
    F64(Vec<f64>),
    Bool(Vec<bool>),
    Text(Runs),
    Bytes(Runs),
    Fixed { bytes: Vec<u8>, width: usize },
    List { offsets: Vec<i32>, items: Runs },
    Floats { offsets: Vec<i32>, items: Vec<f32> },
}

/// Byte strings one after the other.
#[derive(Debug)]
pub(crate) struct Runs {
    pub(crate) bytes: Vec<u8>,
    offsets: Vec<i32>,
}

impl Runs {
    fn new(rows: usize, size: usize) -> Self {
        let mut offsets = Vec::with_capacity(rows + 1);
        offsets.push(0);
        Self { bytes: Vec::with_capacity(size), offsets }
    }

    #[inline]
    pub(crate) fn push(&mut self, bytes: &[u8]) -> std::result::Result<(), Problem> {
        self.bytes.extend_from_slice(bytes);
        self.end_value()
    }

    /// Ends the value whose bytes have been appended.
    #[inline]
    pub(crate) fn end_value(&mut self) -> std::result::Result<(), Problem> {
        let end = i32::try_from(self.bytes.len()).map_err(|_| Problem::BatchFull)?;
        self.offsets.push(end);
        Ok(())
    }

    fn len(&self) -> usize {
        self.offsets.len() - 1
    }
}

/// What happened to each row, one entry while all are alike.
#[derive(Debug)]
enum Kinds {
    Uniform(RowKind),
    Mixed(Vec<RowKind>),
}

impl BatchBuilder {
    /// An empty builder for the declared columns.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if a column has a type that no MySQL column reads as.
    pub fn new(columns: &[Column]) -> Result<Self> {
        let fields: Vec<Field> = columns.iter().map(Column::to_arrow).collect();
        let columns = columns.iter().map(ColumnBuilder::new).collect::<Result<_>>()?;
        let schema = Arc::new(Schema::new(fields));
        Ok(Self { schema, columns, kinds: Kinds::Uniform(RowKind::Insert), rows: 0 })
    }

    /// The schema of the batches. A batch whose NOT NULL column holds a NULL has that field nullable instead.
    #[must_use]
    pub const fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// How many rows there are.
    #[must_use]
    pub const fn row_count(&self) -> usize {
        self.rows
    }

    /// How many bytes the values take. It looks at each column, so ask once in a while, not after each row.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.columns.iter().map(ColumnBuilder::size_bytes).sum()
    }

    /// Decides what becomes of dates that do not exist.
    #[must_use]
    pub fn with_zero_dates(mut self, policy: ZeroDates) -> Self {
        self.columns.iter_mut().for_each(|column| column.zero_date_policy = policy);
        self
    }

    /// How many zero or impossible dates became NULL, or were rounded, since the builder was made.
    #[must_use]
    pub fn zero_date_count(&self) -> u64 {
        self.columns.iter().map(|column| column.zero_dates).sum()
    }

    /// How many texts had bytes that mean nothing in their character set and became `?`.
    #[must_use]
    pub fn replaced_text_count(&self) -> u64 {
        self.columns.iter().map(|column| column.replaced_texts).sum()
    }

    /// Drops all rows, complete or not.
    pub fn clear(&mut self) {
        for column in &mut self.columns {
            drop(column.take());
        }
        self.kinds = Kinds::Uniform(RowKind::Insert);
        self.rows = 0;
    }

    /// The rows so far; the builder is empty afterwards.
    ///
    /// # Errors
    /// [`Error::Value`] if text is no UTF-8, [`Error::Arrow`] if a row is incomplete because an append failed.
    pub fn finish(&mut self) -> Result<ChangeBatch> {
        let rows = mem::take(&mut self.rows);
        let kinds = mem::replace(&mut self.kinds, Kinds::Uniform(RowKind::Insert));
        let arrays: Result<Vec<ArrayRef>> =
            self.columns.iter_mut().map(ColumnBuilder::finish).collect();
        let arrays = match arrays {
            Ok(arrays) => arrays,
            Err(error) => {
                self.clear();
                return Err(error);
            }
        };
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch =
            RecordBatch::try_new_with_options(self.fitting_schema(&arrays), arrays, &options)?;
        let kinds = match kinds {
            Kinds::Uniform(kind) => RowKinds::uniform(kind, rows),
            Kinds::Mixed(kinds) => RowKinds::Mixed(kinds),
        };
        ChangeBatch::try_new(batch, kinds)
            .map_err(|error| Error::malformed("batch", error.to_string()))
    }

    fn fitting_schema(&self, arrays: &[ArrayRef]) -> SchemaRef {
        let fields = self.schema.fields();
        let breaks = |(field, array): (&Arc<Field>, &ArrayRef)| {
            !field.is_nullable() && array.null_count() > 0
        };
        if !fields.iter().zip(arrays).any(breaks) {
            return Arc::clone(&self.schema);
        }
        let fields = fields.iter().zip(arrays).map(|(field, array)| {
            if breaks((field, array)) {
                Arc::new(field.as_ref().clone().with_nullable(true))
            } else {
                Arc::clone(field)
            }
        });
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    #[inline]
    pub(crate) fn column(&mut self, index: usize) -> Option<&mut ColumnBuilder> {
        self.columns.get_mut(index)
    }

    /// Completes a row: NULL for the columns that its source lacks.
    #[inline]
    pub(crate) fn end_row(&mut self, missing: &[usize], kind: RowKind) {
        for index in missing {
            if let Some(column) = self.columns.get_mut(*index) {
                column.push_null();
            }
        }
        match &mut self.kinds {
            Kinds::Mixed(kinds) => kinds.push(kind),
            Kinds::Uniform(uniform) if self.rows == 0 => *uniform = kind,
            Kinds::Uniform(uniform) if *uniform == kind => {}
            Kinds::Uniform(uniform) => {
                let mut kinds = vec![*uniform; self.rows];
                kinds.push(kind);
                self.kinds = Kinds::Mixed(kinds);
            }
        }
        self.rows += 1;
    }
}

impl ColumnBuilder {
    fn new(column: &Column) -> Result<Self> {
        Ok(Self {
            name: column.name.clone(),
            declared: column.data_type.clone(),
            nullable: column.nullable,
            values: Values::new(&column.data_type, 0, 0).ok_or_else(|| {
                Error::Unsupported(format!(
                    "column `{}` is declared as {}, which no MySQL column reads as",
                    column.name, column.data_type
                ))
            })?,
            nulls: Vec::new(),
            null_count: 0,
            len: 0,
            zero_dates: 0,
            zero_date_policy: ZeroDates::default(),
            replaced_texts: 0,
            zone_memory: (i64::MIN, 0),
        })
    }

    /// A value has been pushed into [`Self::values`].
    #[inline]
    pub(crate) const fn end_value(&mut self) {
        self.len += 1;
    }

    /// A date that does not exist: what is to be appended instead of it, or `None` if NULL has been.
    #[cold]
    pub(crate) fn impossible(
        &mut self,
        moment: &Moment,
    ) -> std::result::Result<Option<Moment>, Problem> {
        match self.zero_date_policy {
            ZeroDates::Null if self.nullable => {
                self.zero_dates += 1;
                self.push_null();
                Ok(None)
            }
            ZeroDates::Round => {
                self.zero_dates += 1;
                Ok(Some(moment.rounded()))
            }
            ZeroDates::Null => Err(Problem::ZeroDate),
            ZeroDates::Refuse => Err(Problem::RefusedDate),
        }
    }

    pub(crate) fn push_null(&mut self) {
        let byte = self.len / 8;
        if self.nulls.len() <= byte {
            self.nulls.resize(byte + 1, 0);
        }
        if let Some(byte) = self.nulls.get_mut(byte) {
            *byte |= 1 << (self.len % 8);
        }
        self.null_count += 1;
        self.values.push_default();
        self.len += 1;
    }

    fn size_bytes(&self) -> usize {
        self.values.size_bytes() + self.nulls.len()
    }

    fn take(&mut self) -> (Values, Option<NullBuffer>, usize) {
        // As much room again as this batch took, within reason.
        let rows = self.len.min(MAX_RESERVED_ROWS);
        let size = self.values.content_bytes().min(MAX_RESERVED_BYTES);
        let fresh = Values::new(&self.declared, rows, size);
        let fresh = fresh.unwrap_or_else(|| Values::Bool(Vec::new()));
        let values = mem::replace(&mut self.values, fresh);
        let len = mem::take(&mut self.len);
        let mut nulls = mem::take(&mut self.nulls);
        let nulls = (mem::take(&mut self.null_count) > 0).then(|| {
            nulls.resize(len.div_ceil(8), 0);
            nulls.iter_mut().for_each(|byte| *byte = !*byte);
            NullBuffer::new(BooleanBuffer::new(Buffer::from_vec(nulls), 0, len))
        });
        (values, nulls, len)
    }

    fn finish(&mut self) -> Result<ArrayRef> {
        let (values, nulls, len) = self.take();
        if values.len() != len {
            return Err(Error::malformed("batch", "a row was appended in part"));
        }
        let text_error = |problem| Error::Value {
            column: self.name.clone(),
            declared: self.declared.to_string(),
            problem,
        };
        Ok(match values {
            Values::I8(values) => primitive::<Int8Type>(values, nulls),
            Values::I16(values) => primitive::<Int16Type>(values, nulls),
            Values::I32(values) if self.declared == LogicalType::Date => {
                primitive::<Date32Type>(values, nulls)
            }
            Values::I32(values) => primitive::<Int32Type>(values, nulls),
            Values::I64(values) => long(&self.declared, values, nulls),
            Values::I128(values) => {
                let array = PrimitiveArray::<Decimal128Type>::new(values.into(), nulls);
                Arc::new(array.with_data_type(self.declared.to_arrow()))
            }
            Values::F32(values) => primitive::<Float32Type>(values, nulls),
            Values::F64(values) => primitive::<Float64Type>(values, nulls),
            Values::Bool(values) => Arc::new(BooleanArray::new(values.into(), nulls)),
            Values::Text(runs) => Arc::new(text(runs, nulls).map_err(text_error)?),
            Values::Bytes(runs) => {
                Arc::new(BinaryArray::try_new(offsets(runs.offsets), runs.bytes.into(), nulls)?)
            }
            Values::Fixed { bytes, width } => {
                let width = i32::try_from(width).unwrap_or(i32::MAX);
                Arc::new(FixedSizeBinaryArray::try_new(width, bytes.into(), nulls)?)
            }
            Values::Floats { offsets: list_offsets, items } => {
                let DataType::List(field) = self.declared.to_arrow() else {
                    return Err(text_error(Problem::Malformed));
                };
                let items = primitive::<Float32Type>(items, None);
                Arc::new(ListArray::try_new(field, offsets(list_offsets), items, nulls)?)
            }
            Values::List { offsets: list_offsets, items } => {
                let items = text(items, None).map_err(text_error)?;
                let DataType::List(field) = self.declared.to_arrow() else {
                    return Err(text_error(Problem::Malformed));
                };
                Arc::new(ListArray::try_new(field, offsets(list_offsets), Arc::new(items), nulls)?)
            }
        })
    }
}

impl Values {
    fn new(declared: &LogicalType, rows: usize, size: usize) -> Option<Self> {
        Some(match declared {
            LogicalType::TinyInt => Self::I8(Vec::with_capacity(rows)),
            LogicalType::SmallInt => Self::I16(Vec::with_capacity(rows)),
            LogicalType::Int | LogicalType::Date => Self::I32(Vec::with_capacity(rows)),
            LogicalType::BigInt
            | LogicalType::Time(_)
            | LogicalType::Timestamp(_)
            | LogicalType::TimestampLtz(_) => Self::I64(Vec::with_capacity(rows)),
            LogicalType::Decimal { .. } => Self::I128(Vec::with_capacity(rows)),
            LogicalType::Float => Self::F32(Vec::with_capacity(rows)),
            LogicalType::Double => Self::F64(Vec::with_capacity(rows)),
            LogicalType::Boolean => Self::Bool(Vec::with_capacity(rows)),
            LogicalType::Char(_) | LogicalType::VarChar(_) | LogicalType::String => {
                Self::Text(Runs::new(rows, size))
            }
            LogicalType::VarBinary(_) | LogicalType::Bytes => Self::Bytes(Runs::new(rows, size)),
            LogicalType::Binary(width) => Self::Fixed {
                bytes: Vec::with_capacity(size),
                width: usize::try_from(*width).ok()?,
            },
            LogicalType::Array(element) => {
                let mut offsets = Vec::with_capacity(rows + 1);
                offsets.push(0);
                match element.as_ref() {
                    LogicalType::Float => Self::Floats { offsets, items: Vec::new() },
                    text if text.is_text() => Self::List { offsets, items: Runs::new(rows, size) },
                    _ => return None,
                }
            }
            LogicalType::Map(..) | LogicalType::Row(_) => return None,
        })
    }

    fn push_default(&mut self) {
        match self {
            Self::I8(values) => values.push(0),
            Self::I16(values) => values.push(0),
            Self::I32(values) => values.push(0),
            Self::I64(values) => values.push(0),
            Self::I128(values) => values.push(0),
            Self::F32(values) => values.push(0.0),
            Self::F64(values) => values.push(0.0),
            Self::Bool(values) => values.push(false),
            Self::Text(runs) | Self::Bytes(runs) => {
                let end = runs.offsets.last().copied().unwrap_or(0);
                runs.offsets.push(end);
            }
            Self::Fixed { bytes, width } => bytes.resize(bytes.len() + *width, 0),
            Self::List { offsets, .. } | Self::Floats { offsets, .. } => {
                offsets.push(offsets.last().copied().unwrap_or(0));
            }
        }
    }

    /// Ends a list whose items have been pushed.
    pub(crate) fn end_list(&mut self) -> std::result::Result<(), Problem> {
        let (offsets, len) = match self {
            Self::List { offsets, items } => (offsets, items.len()),
            Self::Floats { offsets, items } => (offsets, items.len()),
            _ => return Ok(()),
        };
        offsets.push(i32::try_from(len).map_err(|_| Problem::BatchFull)?);
        Ok(())
    }

    fn len(&self) -> usize {
        match self {
            Self::I8(values) => values.len(),
            Self::I16(values) => values.len(),
            Self::I32(values) => values.len(),
            Self::I64(values) => values.len(),
            Self::I128(values) => values.len(),
            Self::F32(values) => values.len(),
            Self::F64(values) => values.len(),
            Self::Bool(values) => values.len(),
            Self::Text(runs) | Self::Bytes(runs) => runs.len(),
            Self::Fixed { bytes, width } => bytes.len() / (*width).max(1),
            Self::List { offsets, .. } | Self::Floats { offsets, .. } => offsets.len() - 1,
        }
    }

    /// The bytes of values of varying length.
    const fn content_bytes(&self) -> usize {
        match self {
            Self::Text(runs) | Self::Bytes(runs) | Self::List { items: runs, .. } => {
                runs.bytes.len()
            }
            Self::Fixed { bytes, .. } => bytes.len(),
            Self::Floats { items, .. } => items.len() * 4,
            _ => 0,
        }
    }

    fn size_bytes(&self) -> usize {
        let each = match self {
            Self::I8(_) | Self::Bool(_) => 1,
            Self::I16(_) => 2,
            Self::I32(_)
            | Self::F32(_)
            | Self::Text(_)
            | Self::Bytes(_)
            | Self::List { .. }
            | Self::Floats { .. } => 4,
            Self::I64(_) | Self::F64(_) => 8,
            Self::I128(_) => 16,
            Self::Fixed { .. } => 0,
        };
        let items = if let Self::List { items, .. } = self { items.len() * 4 } else { 0 };
        self.len() * each + self.content_bytes() + items
    }
}

fn primitive<T: ArrowPrimitiveType>(values: Vec<T::Native>, nulls: Option<NullBuffer>) -> ArrayRef {
    Arc::new(PrimitiveArray::<T>::new(ScalarBuffer::from(values), nulls))
}

fn long(declared: &LogicalType, values: Vec<i64>, nulls: Option<NullBuffer>) -> ArrayRef {
    match declared.to_arrow() {
        DataType::Time64(_) => primitive::<Time64MicrosecondType>(values, nulls),
        DataType::Timestamp(TimeUnit::Nanosecond, zone) => Arc::new(
            PrimitiveArray::<TimestampNanosecondType>::new(values.into(), nulls)
                .with_timezone_opt(zone),
        ),
        DataType::Timestamp(_, zone) => Arc::new(
            PrimitiveArray::<TimestampMicrosecondType>::new(values.into(), nulls)
                .with_timezone_opt(zone),
        ),
        _ => primitive::<Int64Type>(values, nulls),
    }
}

fn offsets(offsets: Vec<i32>) -> OffsetBuffer<i32> {
    OffsetBuffer::new(ScalarBuffer::from(offsets))
}

/// A text column, checked once as a whole: valid UTF-8, and no value ends within a character.
fn text(runs: Runs, nulls: Option<NullBuffer>) -> std::result::Result<StringArray, Problem> {
    let all = simdutf8::basic::from_utf8(&runs.bytes).map_err(|_| Problem::Text)?;
    let whole = runs
        .offsets
        .iter()
        .all(|offset| usize::try_from(*offset).is_ok_and(|offset| all.is_char_boundary(offset)));
    if !whole {
        return Err(Problem::Text);
    }
    let offsets = offsets(runs.offsets);
    #[expect(
        unsafe_code,
        reason = "arrow's own check of what was just checked would take as long again"
    )]
    // SAFETY: the bytes are valid UTF-8 and every offset is at a character's boundary, both checked above; the
    // offsets ascend and end at the bytes' end, because `Runs` makes each from the length so far; there are as
    // many NULL bits as values, because both have the builder's length.
    Ok(unsafe { StringArray::new_unchecked(offsets, runs.bytes.into(), nulls) })
}
