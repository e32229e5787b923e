//! Events with changed rows. The rows themselves are read by [`crate::rows`].

use super::code;
use crate::cursor::Cursor;
use crate::error::{Error, Result};

/// What happened to the rows of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowsKind {
    /// They are new.
    Insert,
    /// They changed; each row comes as it was and as it is.
    Update,
    /// They are gone.
    Delete,
}

/// Changed rows of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowsEvent<'a> {
    /// The table, as the last TABLE_MAP with this number describes it.
    pub table_id: u64,
    /// What happened.
    pub kind: RowsKind,
    /// How many columns the table has.
    pub column_count: usize,
    /// Whether this is the last event of its statement: table numbers are forgotten after it.
    pub ends_statement: bool,
    /// Whether every image holds all columns.
    pub(crate) full_images: bool,
    /// The rows' bytes.
    pub(crate) rows: &'a [u8],
    /// MariaDB has compressed them.
    pub(crate) compressed: bool,
    /// The JSON columns of the images after an update may hold differences only.
    pub(crate) partial: bool,
}

impl<'a> RowsEvent<'a> {
    const STATEMENT_END: u16 = 1;

    #[inline]
    pub(super) fn parse(type_code: u8, body: &'a [u8], short_table_ids: bool) -> Result<Self> {
        Self::parse_fields(type_code, body, short_table_ids)
            .ok_or_else(|| Error::short("rows event"))
    }

    #[inline]
    fn parse_fields(type_code: u8, body: &'a [u8], short_table_ids: bool) -> Option<Self> {
        // The compressed forms of MariaDB are in the order of the plain ones.
        const COMPRESSED: u8 = code::WRITE_ROWS_COMPRESSED_V1;
        let compressed = type_code >= COMPRESSED;
        let type_code = match type_code.checked_sub(COMPRESSED) {
            Some(index @ 0..=2) => code::WRITE_ROWS_V1 + index,
            Some(index) => code::WRITE_ROWS + (index - 3),
            None => type_code,
        };
        let mut cursor = Cursor::new(body);
        let table_id = if short_table_ids { u64::from(cursor.u32()?) } else { cursor.u48()? };
        let flags = cursor.u16()?;
        let (kind, has_extra) = match type_code {
            code::WRITE_ROWS => (RowsKind::Insert, true),
            code::UPDATE_ROWS | code::PARTIAL_UPDATE_ROWS => (RowsKind::Update, true),
            code::DELETE_ROWS => (RowsKind::Delete, true),
            code::WRITE_ROWS_V1 => (RowsKind::Insert, false),
            code::UPDATE_ROWS_V1 => (RowsKind::Update, false),
            _ => (RowsKind::Delete, false),
        };
        if has_extra {
            // The length counts itself.
            let extra = usize::from(cursor.u16()?).checked_sub(2)?;
            cursor.take(extra)?;
        }
        let column_count = usize::try_from(cursor.lenenc()?).ok()?;
        let bitmap_len = column_count.div_ceil(8);
        let mut full_images = all_set(cursor.take(bitmap_len)?, column_count);
        if kind == RowsKind::Update {
            full_images &= all_set(cursor.take(bitmap_len)?, column_count);
        }
        let ends_statement = flags & Self::STATEMENT_END != 0;
        Some(Self {
            table_id,
            kind,
            column_count,
            ends_statement,
            full_images,
            rows: cursor.rest(),
            compressed,
            partial: type_code == code::PARTIAL_UPDATE_ROWS,
        })
    }
}

/// Whether the first `count` bits are all set.
#[inline]
fn all_set(bitmap: &[u8], count: usize) -> bool {
    let Some((last, full)) = bitmap.split_last() else { return count == 0 };
    let mask = match count % 8 {
        0 => 0xff,
        bits => (1_u8 << bits) - 1,
    };
    last & mask == mask && full.iter().all(|byte| *byte == 0xff)
}
