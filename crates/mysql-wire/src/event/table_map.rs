//! The event that describes a table's columns before its rows.
//!
//! With `binlog_row_metadata=MINIMAL` (the default) it has types and signs, but no names and no members of
//! ENUM and SET: those must come from `information_schema`.

use std::sync::Arc;

use crate::charset::Charset;
use crate::column::code;
use crate::cursor::Cursor;
use crate::error::{Error, Result};

/// The columns of a table whose rows follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableMap<'a> {
    /// The number by which row events name the table.
    pub table_id: u64,
    /// The database, in UTF-8.
    pub database: &'a [u8],
    /// The table, in UTF-8.
    pub table: &'a [u8],
    /// The type number of each column.
    pub(crate) types: &'a [u8],
    /// What the types need besides, one after the other.
    pub(crate) type_metadata: &'a [u8],
    optional: &'a [u8],
    /// The whole event body, to notice a change.
    pub(crate) body: &'a [u8],
}

/// What a TABLE_MAP may tell besides the types.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TableMetadata {
    /// Whether each numeric column is unsigned.
    pub(crate) unsigned: Option<Vec<bool>>,
    /// The character set of each text column.
    pub(crate) text_charsets: Charsets,
    /// The character set of each ENUM and SET column.
    pub(crate) member_charsets: Charsets,
    /// The names of all columns.
    pub names: Option<Vec<String>>,
    /// The members of each ENUM column, as bytes of its character set.
    pub(crate) enum_members: Option<Vec<Vec<Vec<u8>>>>,
    /// The members of each SET column.
    pub(crate) set_members: Option<Vec<Vec<Vec<u8>>>>,
    /// The places of the primary key's columns.
    pub primary_key: Option<Vec<usize>>,
}

/// The character sets of some columns.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Charsets {
    #[default]
    Unknown,
    /// One for all but some.
    Default(Charset, Vec<(usize, Charset)>),
    /// One each.
    Each(Vec<Charset>),
}

impl Charsets {
    pub(crate) fn get(&self, index: usize) -> Option<Charset> {
        match self {
            Self::Unknown => None,
            Self::Default(usual, others) => {
                let other = others.iter().find(|(at, _)| *at == index);
                Some(other.map_or(*usual, |(_, charset)| *charset))
            }
            Self::Each(all) => all.get(index).copied(),
        }
    }
}

impl<'a> TableMap<'a> {
    #[inline]
    pub(super) fn parse(body: &'a [u8], short_table_ids: bool) -> Result<Self> {
        Self::parse_fields(body, short_table_ids).ok_or_else(|| Error::short("table map event"))
    }

    #[inline]
    fn parse_fields(body: &'a [u8], short_table_ids: bool) -> Option<Self> {
        let mut cursor = Cursor::new(body);
        let table_id = if short_table_ids { u64::from(cursor.u32()?) } else { cursor.u48()? };
        cursor.u16()?;
        let database_len = usize::from(cursor.u8()?);
        let database = cursor.take(database_len)?;
        cursor.u8()?;
        let table_len = usize::from(cursor.u8()?);
        let table = cursor.take(table_len)?;
        cursor.u8()?;
        let column_count = usize::try_from(cursor.lenenc()?).ok()?;
        let types = cursor.take(column_count)?;
        let type_metadata = cursor.lenenc_bytes()?;
        cursor.take(column_count.div_ceil(8))?;
        let optional = cursor.rest();
        Some(Self { table_id, database, table, types, type_metadata, optional, body })
    }

    /// How many columns the rows have.
    #[must_use]
    pub const fn column_count(&self) -> usize {
        self.types.len()
    }

    /// `database.table`, for messages.
    #[must_use]
    pub fn display_name(&self) -> String {
        let (database, table) = (self.database, self.table);
        format!("{}.{}", String::from_utf8_lossy(database), String::from_utf8_lossy(table))
    }

    /// Reads what the event tells besides the types.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it is damaged.
    pub fn metadata(&self) -> Result<TableMetadata> {
        self.parse_metadata().ok_or_else(|| Error::short("metadata of a table map event"))
    }

    fn parse_metadata(&self) -> Option<TableMetadata> {
        let mut cursor = Cursor::new(self.optional);
        let mut found = TableMetadata::default();
        while !cursor.is_empty() {
            let field = cursor.u8()?;
            let mut value = Cursor::new(cursor.lenenc_bytes()?);
            match field {
                1 => found.unsigned = Some(bits(value.rest())),
                2 => found.text_charsets = default_charsets(&mut value)?,
                3 => found.text_charsets = Charsets::Each(charsets(&mut value)?),
                4 => found.names = Some(names(&mut value)?),
                5 => found.set_members = Some(members(&mut value)?),
                6 => found.enum_members = Some(members(&mut value)?),
                8 => found.primary_key = Some(indices(&mut value, false)?),
                9 => found.primary_key = Some(indices(&mut value, true)?),
                10 => found.member_charsets = default_charsets(&mut value)?,
                11 => found.member_charsets = Charsets::Each(charsets(&mut value)?),
                // Geometry types, visibility and dimensions change nothing in how rows are read.
                _ => {}
            }
        }
        Some(found)
    }
}

/// The bits of a bitmap, the highest first.
fn bits(bitmap: &[u8]) -> Vec<bool> {
    bitmap.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1)).collect()
}

fn collation(cursor: &mut Cursor<'_>) -> Option<Charset> {
    // Numbers past 16 bits do not exist.
    Some(Charset::of_collation(u16::try_from(cursor.lenenc()?).unwrap_or(0)))
}

fn default_charsets(cursor: &mut Cursor<'_>) -> Option<Charsets> {
    let usual = collation(cursor)?;
    let mut others = Vec::new();
    while !cursor.is_empty() {
        others.push((usize::try_from(cursor.lenenc()?).ok()?, collation(cursor)?));
    }
    Some(Charsets::Default(usual, others))
}

fn charsets(cursor: &mut Cursor<'_>) -> Option<Vec<Charset>> {
    let mut all = Vec::new();
    while !cursor.is_empty() {
        all.push(collation(cursor)?);
    }
    Some(all)
}

fn names(cursor: &mut Cursor<'_>) -> Option<Vec<String>> {
    let mut all = Vec::new();
    while !cursor.is_empty() {
        all.push(String::from_utf8_lossy(cursor.lenenc_bytes()?).into_owned());
    }
    Some(all)
}

fn members(cursor: &mut Cursor<'_>) -> Option<Vec<Vec<Vec<u8>>>> {
    let mut all = Vec::new();
    while !cursor.is_empty() {
        let mut list = Vec::new();
        for _ in 0..cursor.lenenc()? {
            list.push(cursor.lenenc_bytes()?.to_vec());
        }
        all.push(list);
    }
    Some(all)
}

fn indices(cursor: &mut Cursor<'_>, with_prefix: bool) -> Option<Vec<usize>> {
    let mut all = Vec::new();
    while !cursor.is_empty() {
        all.push(usize::try_from(cursor.lenenc()?).ok()?);
        if with_prefix {
            cursor.lenenc()?;
        }
    }
    Some(all)
}

impl TableMetadata {
    /// The members of the ENUM or SET with this place among those of its kind.
    pub(crate) fn members(
        &self,
        type_code: u8,
        index: usize,
        charset: Charset,
    ) -> Option<Arc<[String]>> {
        let all = if type_code == code::ENUM { &self.enum_members } else { &self.set_members };
        let list = all.as_ref()?.get(index)?;
        Some(list.iter().map(|member| charset.to_text(member)).collect())
    }
}
