//! Row events → rows of a builder.
//!
//! A [`RowsPlan`] is made from a TABLE_MAP and kept by [`PlanCache`] for as long as the TABLE_MAPs of that number
//! have equal bytes: numbers are used again after a restart of the server, so the number alone proves nothing.

mod partial;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::mem::discriminant;

use shardlake_change::{Column, RowKind};

use crate::charset::Charset;
use crate::column::{SourceColumn, SourceType, code, integer_bytes};
use crate::cursor::Cursor;
use crate::decode::{
    BatchBuilder, ColumnPlan, EventType, Value, Wire, ZoneOffset, append_cells, bind, is_null,
};
use crate::error::{Error, Result};
use crate::event::{RowsEvent, RowsKind, TableMap, TableMetadata, inflate};

/// Which images of an update become rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UpdateImages {
    /// Both: `-U`, then `+U`.
    #[default]
    Both,
    /// Only `+U`, unless the key changed: then both. Cheaper, for consumers that upsert by the key.
    AfterUnlessKeyChanged,
}

/// A key column's value, as far as it helps to compare keys of one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyValue<'a> {
    /// NULL.
    Null,
    /// A value of an integer type or a YEAR.
    Integer(i128),
    /// The bytes of any other value, in the form of the binlog.
    Bytes(&'a [u8]),
}

/// How rows of one table become rows of a builder.
#[derive(Clone, Debug)]
pub struct RowsPlan {
    table: String,
    columns: Vec<ColumnPlan>,
    missing: Vec<usize>,
    /// For each key column in the key's order, its place in the rows.
    key: Vec<usize>,
    /// How many columns have to be walked over to have seen the whole key.
    key_end: usize,
}

impl RowsPlan {
    /// A plan for a table's rows.
    ///
    /// `known` are the table's columns as `information_schema` has them, by ordinal position; they are needed
    /// unless the server has `binlog_row_metadata=FULL`. `key` names the columns whose values a filter sees and
    /// that tell whether an update changed the key.
    ///
    /// # Errors
    /// [`Error::Conversion`] if a column cannot be read as it is declared, [`Error::Unsupported`] if the
    /// columns' names cannot be told or a key column does not exist, [`Error::Malformed`] if the TABLE_MAP is
    /// damaged.
    pub fn new(
        map: &TableMap<'_>,
        known: &[SourceColumn],
        declared: &[Column],
        key: &[String],
        zone: &ZoneOffset,
    ) -> Result<Self> {
        let (source, wires) = describe(map, known)?;
        let (columns, missing) = bind(&source, wires, declared, zone)?;
        let place = |name: &String| {
            source.iter().position(|column| column.name == *name).ok_or_else(|| {
                let table = map.display_name();
                Error::Unsupported(format!(
                    "key column `{name}` is missing in rows of table {table}"
                ))
            })
        };
        let key = key.iter().map(place).collect::<Result<Vec<_>>>()?;
        let key_end = key.iter().max().map_or(0, |last| last + 1);
        Ok(Self { table: map.display_name(), columns, missing, key, key_end })
    }

    /// Appends all rows of an event; returns how many rows the builder got. After an error the builder's rows
    /// are lost: clear it.
    ///
    /// # Errors
    /// [`Error::RowImage`] if the event does not hold whole rows, [`Error::Value`] if a cell does not fit its
    /// declared type, [`Error::Malformed`] if the event is damaged.
    pub fn append(
        &self,
        event: &RowsEvent<'_>,
        builder: &mut BatchBuilder,
        images: UpdateImages,
    ) -> Result<usize> {
        let before = builder.row_count();
        let bytes = self.row_bytes(event)?;
        let mut rows = self.rows(event, &bytes)?;
        while !rows.is_empty() {
            match event.kind {
                RowsKind::Insert => self.append_image(&mut rows, builder, RowKind::Insert)?,
                RowsKind::Delete => self.append_image(&mut rows, builder, RowKind::Delete)?,
                RowsKind::Update => {
                    if images == UpdateImages::Both || self.key_changes(rows)? {
                        self.append_image(&mut rows, builder, RowKind::UpdateBefore)?;
                    } else {
                        self.skip_image(&mut rows)?;
                    }
                    self.append_image(&mut rows, builder, RowKind::UpdateAfter)?;
                }
            }
        }
        Ok(builder.row_count() - before)
    }

    /// Appends the images whose key `keep` accepts. It is asked for every image: for both of an update, whose keys
    /// may differ (then one may be kept without the other), in the order in which they would be appended.
    /// The values are those of the key columns, in the key's order.
    ///
    /// # Errors
    /// Those of [`Self::append`].
    pub fn append_filtered(
        &self,
        event: &RowsEvent<'_>,
        builder: &mut BatchBuilder,
        images: UpdateImages,
        mut keep: impl FnMut(RowKind, &[KeyValue<'_>]) -> bool,
    ) -> Result<usize> {
        let before = builder.row_count();
        let bytes = self.row_bytes(event)?;
        let mut rows = self.rows(event, &bytes)?;
        let mut key = Vec::with_capacity(self.key.len());
        while !rows.is_empty() {
            let (first, second) = match event.kind {
                RowsKind::Insert => (RowKind::Insert, None),
                RowsKind::Delete => (RowKind::Delete, None),
                RowsKind::Update => (RowKind::UpdateBefore, Some(RowKind::UpdateAfter)),
            };
            let passed_over = second.is_some()
                && images == UpdateImages::AfterUnlessKeyChanged
                && !self.key_changes(rows)?;
            for kind in [Some(first), second].into_iter().flatten() {
                let skipped = passed_over && kind == RowKind::UpdateBefore;
                self.read_key(rows, &mut key)?;
                if !skipped && keep(kind, &key) {
                    self.append_image(&mut rows, builder, kind)?;
                } else {
                    self.skip_image(&mut rows)?;
                }
            }
        }
        Ok(builder.row_count() - before)
    }

    /// The rows' bytes: inflated if MariaDB compressed them, with whole values if there are differences only.
    fn row_bytes<'a>(&self, event: &RowsEvent<'a>) -> Result<Cow<'a, [u8]>> {
        if event.compressed {
            return inflate(event.rows, "rows event").map(Cow::Owned);
        }
        if event.partial && event.full_images && event.column_count == self.columns.len() {
            return self.complete(event.rows).map(Cow::Owned);
        }
        Ok(Cow::Borrowed(event.rows))
    }

    /// The rows' bytes, if they are whole rows of this table.
    fn rows<'a>(&self, event: &RowsEvent<'_>, bytes: &'a [u8]) -> Result<Cursor<'a>> {
        let rows = Cursor::new(bytes);
        if rows.is_empty() {
            return Ok(rows);
        }
        if event.column_count != self.columns.len() || self.columns.is_empty() {
            return Err(Error::malformed(
                "rows event",
                "it has another number of columns than its table",
            ));
        }
        if !event.full_images {
            return Err(Error::RowImage { table: self.table.clone() });
        }
        Ok(rows)
    }

    #[inline]
    fn nulls<'a>(&self, rows: &mut Cursor<'a>) -> Result<&'a [u8]> {
        rows.take(self.columns.len().div_ceil(8)).ok_or_else(|| Error::short("row image"))
    }

    #[inline]
    fn append_image(
        &self,
        rows: &mut Cursor<'_>,
        builder: &mut BatchBuilder,
        kind: RowKind,
    ) -> Result<()> {
        let nulls = self.nulls(rows)?;
        append_cells(&self.columns, nulls, 0, rows, builder)?;
        builder.end_row(&self.missing, kind);
        Ok(())
    }

    #[inline]
    fn skip_image(&self, rows: &mut Cursor<'_>) -> Result<()> {
        let nulls = self.nulls(rows)?;
        for (index, plan) in self.columns.iter().enumerate() {
            if !is_null(nulls, index) {
                plan.wire.skip(rows).ok_or_else(|| Error::short("row image"))?;
            }
        }
        Ok(())
    }

    /// Whether the two images at the front have different keys. Without key columns every update may.
    #[inline]
    fn key_changes(&self, rows: Cursor<'_>) -> Result<bool> {
        let Some(first) = self.key.first() else { return Ok(true) };
        let mut after = rows;
        self.skip_image(&mut after)?;
        if self.key.len() == 1 {
            return Ok(self.cell(rows, *first)? != self.cell(after, *first)?);
        }
        for index in &self.key {
            if self.cell(rows, *index)? != self.cell(after, *index)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The bytes of one cell of the image at the front; `None` is NULL.
    #[inline]
    fn cell<'a>(&self, mut rows: Cursor<'a>, wanted: usize) -> Result<Option<&'a [u8]>> {
        let nulls = self.nulls(&mut rows)?;
        for (index, plan) in self.columns.iter().enumerate().take(wanted + 1) {
            let cell = if is_null(nulls, index) {
                None
            } else {
                Some(plan.wire.cell(&mut rows).ok_or_else(|| Error::short("row image"))?)
            };
            if index == wanted {
                return Ok(cell);
            }
        }
        Err(Error::short("row image"))
    }

    /// Reads the key of the image at the front.
    fn read_key<'a>(&self, mut rows: Cursor<'a>, key: &mut Vec<KeyValue<'a>>) -> Result<()> {
        key.clear();
        key.resize(self.key.len(), KeyValue::Null);
        let nulls = self.nulls(&mut rows)?;
        for (index, plan) in self.columns.iter().enumerate().take(self.key_end) {
            if is_null(nulls, index) {
                continue;
            }
            let value = key_value(plan, &mut rows).ok_or_else(|| Error::short("row image"))?;
            for (slot, place) in key.iter_mut().zip(&self.key) {
                if *place == index {
                    *slot = value;
                }
            }
        }
        Ok(())
    }
}

fn key_value<'a>(plan: &ColumnPlan, rows: &mut Cursor<'a>) -> Option<KeyValue<'a>> {
    match plan.wire {
        Wire::Integer(_) | Wire::Year => match plan.read(rows)? {
            Value::Signed(number) => Some(KeyValue::Integer(i128::from(number))),
            Value::Unsigned(number) => Some(KeyValue::Integer(i128::from(number))),
            _ => None,
        },
        _ => plan.wire.cell(rows).map(KeyValue::Bytes),
    }
}

/// The columns that the rows of a table have, in their order: what the TABLE_MAP tells, completed by `known`.
///
/// # Errors
/// [`Error::Unsupported`] if the columns' names cannot be told, [`Error::Malformed`] if the TABLE_MAP is damaged.
pub fn source_columns(map: &TableMap<'_>, known: &[SourceColumn]) -> Result<Vec<SourceColumn>> {
    describe(map, known).map(|(columns, _)| columns)
}

fn describe(map: &TableMap<'_>, known: &[SourceColumn]) -> Result<(Vec<SourceColumn>, Vec<Wire>)> {
    let metadata = map.metadata()?;
    let mut types = Cursor::new(map.type_metadata);
    let mut places = Places::default();
    let (mut columns, mut wires) = (Vec::new(), Vec::new());
    for (index, type_code) in map.types.iter().enumerate() {
        let (mut wire, event_type) = Wire::of_event(*type_code, &mut types).ok_or_else(|| {
            let table = map.display_name();
            Error::Unsupported(format!(
                "table {table} has a column of the unknown type {type_code}"
            ))
        })?;
        let named = metadata.names.as_ref().and_then(|names| names.get(index));
        let known = match named {
            Some(name) => known.iter().find(|column| column.name == *name),
            None if known.len() == map.types.len() => known.get(index),
            None => None,
        };
        let data_type = data_type(&event_type, &metadata, &mut places, known);
        if let SourceType::Time { fraction: digits @ 1.. }
        | SourceType::DateTime { fraction: digits @ 1.. }
        | SourceType::Timestamp { fraction: digits @ 1.. } = &data_type
        {
            wire = wire.with_fraction(*digits);
        }
        let name = match (named, known) {
            (Some(name), _) => name.clone(),
            (None, Some(known)) if fits(&data_type, &known.data_type) => known.name.clone(),
            (None, known) => {
                let known = known.map(|column| (column.name.as_str(), &column.data_type));
                return Err(changed(map, index, &data_type, known));
            }
        };
        columns.push(SourceColumn { name, data_type });
        wires.push(wire);
    }
    Ok((columns, wires))
}

fn changed(
    map: &TableMap<'_>,
    index: usize,
    here: &SourceType,
    known: Option<(&str, &SourceType)>,
) -> Error {
    let now = match known {
        Some((name, kind)) => format!("`{name}` of type {kind}"),
        None => "unknown".to_owned(),
    };
    Error::Unsupported(format!(
        "rows of table {} have other columns than the table has now, so their names cannot be told \
         (column {} is of type {here} there, and {now} now): set binlog_row_metadata=FULL on the \
         server before tables are altered",
        map.display_name(),
        index + 1,
    ))
}

/// Whether a column of the binlog may be the known column of the same position.
fn fits(event: &SourceType, known: &SourceType) -> bool {
    discriminant(event) == discriminant(known)
}

/// Places among the columns that a kind of metadata tells of.
#[derive(Default)]
struct Places {
    numeric: usize,
    text: usize,
    member: usize,
    enums: usize,
    sets: usize,
}

impl Places {
    fn next(place: &mut usize) -> usize {
        *place += 1;
        *place - 1
    }
}

fn data_type(
    event: &EventType,
    metadata: &TableMetadata,
    places: &mut Places,
    known: Option<&SourceColumn>,
) -> SourceType {
    let known = known.map(|column| &column.data_type);
    let mut unsigned = false;
    if matches!(
        event.type_code,
        code::TINY
            | code::SHORT
            | code::INT24
            | code::LONG
            | code::LONGLONG
            | code::NEWDECIMAL
            | code::FLOAT
            | code::DOUBLE
            | code::YEAR
    ) {
        let place = Places::next(&mut places.numeric);
        let told = metadata.unsigned.as_ref().and_then(|all| all.get(place).copied());
        let assumed = matches!(known, Some(SourceType::Integer { unsigned: true, .. }));
        unsigned = told.unwrap_or(assumed);
    }
    // The older forms of MariaDB (mysql56_temporal_format=OFF) do not tell their fraction.
    let fraction = match known {
        Some(
            SourceType::Time { fraction }
            | SourceType::DateTime { fraction }
            | SourceType::Timestamp { fraction },
        ) if matches!(event.type_code, code::TIME | code::DATETIME | code::TIMESTAMP) => *fraction,
        _ => event.fraction,
    };
    match event.type_code {
        code::FLOAT => SourceType::Float,
        code::DOUBLE => SourceType::Double,
        code::NEWDECIMAL => {
            SourceType::Decimal { precision: event.decimal.0, scale: event.decimal.1 }
        }
        code::BIT => SourceType::Bit { bits: u8::try_from(event.max_bytes).unwrap_or(64) },
        code::YEAR => SourceType::Year,
        code::DATE | code::NEWDATE => SourceType::Date,
        code::TIME | code::TIME2 => SourceType::Time { fraction },
        code::DATETIME | code::DATETIME2 => SourceType::DateTime { fraction },
        code::TIMESTAMP | code::TIMESTAMP2 => SourceType::Timestamp { fraction },
        code::JSON => SourceType::Json,
        code::GEOMETRY => SourceType::Geometry,
        code::VECTOR => {
            // The metadata counts it among the texts.
            Places::next(&mut places.text);
            SourceType::Vector
        }
        code::ENUM | code::SET => members(event.type_code, metadata, places, known),
        code::VARCHAR
        | code::VAR_STRING
        | code::STRING
        | code::TINY_BLOB..=code::BLOB
        | code::BLOB_COMPRESSED
        | code::VARCHAR_COMPRESSED => text_type(event, metadata, places, known),
        _ => SourceType::Integer { bytes: integer_bytes(event.type_code).unwrap_or(8), unsigned },
    }
}

/// CHAR, VARCHAR, TEXT and their likes, with a character set or without.
fn text_type(
    event: &EventType,
    metadata: &TableMetadata,
    places: &mut Places,
    known: Option<&SourceType>,
) -> SourceType {
    let compressed = matches!(event.type_code, code::BLOB_COMPRESSED | code::VARCHAR_COMPRESSED);
    let assumed = match known {
        Some(SourceType::Text(charset)) => *charset,
        Some(SourceType::Binary { .. } | SourceType::Bytes | SourceType::Vector) => Charset::BINARY,
        _ => Charset::UTF8,
    };
    // The metadata passes over compressed columns.
    let place = (!compressed).then(|| Places::next(&mut places.text));
    let told = place.and_then(|place| metadata.text_charsets.get(place));
    let told = told.filter(|charset| charset.is_supported());
    let charset = told.unwrap_or(assumed);
    if let (Some(kind), code::STRING) = (known, event.type_code)
        && matches!(kind, SourceType::Uuid | SourceType::Inet4 | SourceType::Inet6)
    {
        return kind.clone();
    }
    // In MariaDB a VECTOR is bytes.
    if known == Some(&SourceType::Vector) && charset.is_binary() {
        return SourceType::Vector;
    }
    match (charset.is_binary(), event.type_code) {
        (true, code::STRING) => SourceType::Binary { length: event.max_bytes },
        (true, _) => SourceType::Bytes,
        (false, _) => SourceType::Text(charset),
    }
}

fn members(
    type_code: u8,
    metadata: &TableMetadata,
    places: &mut Places,
    known: Option<&SourceType>,
) -> SourceType {
    let place = Places::next(&mut places.member);
    let charset = metadata.member_charsets.get(place).unwrap_or(Charset::UTF8);
    let is_enum = type_code == code::ENUM;
    let place = Places::next(if is_enum { &mut places.enums } else { &mut places.sets });
    let told = metadata.members(type_code, place, charset);
    match (is_enum, known) {
        (true, Some(SourceType::Enum(known))) => SourceType::Enum(told.or_else(|| known.clone())),
        (true, _) => SourceType::Enum(told),
        (false, Some(SourceType::Set(known))) => SourceType::Set(told.or_else(|| known.clone())),
        (false, _) => SourceType::Set(told),
    }
}

/// What a caller keeps for each table of the binlog, by the number that row events have.
///
/// A value stays only while TABLE_MAPs of its number have equal bytes. With `binlog_row_metadata=MINIMAL` those
/// bytes hold no names, so call [`Self::clear`] after every DDL and on every new binlog file.
#[derive(Debug)]
pub struct PlanCache<T> {
    tables: BTreeMap<u64, CachedTable<T>>,
}

#[derive(Debug)]
struct CachedTable<T> {
    body: Box<[u8]>,
    value: Option<T>,
}

/// What a cache knows of a table number.
#[derive(Debug, PartialEq, Eq)]
pub enum Lookup<'a, T> {
    /// The table is read.
    Wanted(&'a mut T),
    /// The table is not read: its rows can be passed over without a look at them.
    Unwanted,
    /// No TABLE_MAP told of it.
    Unknown,
}

impl<T> Default for PlanCache<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> PlanCache<T> {
    /// An empty cache.
    #[must_use]
    pub const fn new() -> Self {
        Self { tables: BTreeMap::new() }
    }

    /// Takes a TABLE_MAP. If it is new, or differs from the last of its number, `bind` decides what is kept:
    /// `None` if the table is not read.
    ///
    /// # Errors
    /// What `bind` returns.
    #[inline]
    pub fn observe<E>(
        &mut self,
        map: &TableMap<'_>,
        bind: impl FnOnce(&TableMap<'_>) -> std::result::Result<Option<T>, E>,
    ) -> std::result::Result<(), E> {
        if self.tables.get(&map.table_id).is_some_and(|cached| *cached.body == *map.body) {
            return Ok(());
        }
        let value = bind(map)?;
        self.tables.insert(map.table_id, CachedTable { body: map.body.into(), value });
        Ok(())
    }

    /// What is kept for a table number.
    #[inline]
    pub fn get(&mut self, table_id: u64) -> Lookup<'_, T> {
        match self.tables.get_mut(&table_id) {
            Some(CachedTable { value: Some(value), .. }) => Lookup::Wanted(value),
            Some(_) => Lookup::Unwanted,
            None => Lookup::Unknown,
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.tables.clear();
    }
}

#[cfg(test)]
mod tests;
