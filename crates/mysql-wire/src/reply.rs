//! Answers of a server to commands: OK, error, end of rows, result-set heads, prepared statements and the
//! cells of text rows. The connection speaks with `CLIENT_DEPRECATE_EOF`, so rows end with an OK packet.

use crate::cursor::Cursor;
use crate::error::{Error, Result, ServerError};

/// The status bit that tells of a further result set.
const MORE_RESULTS: u16 = 0x0008;
const MAX_PAYLOAD: usize = 0xff_ffff;

/// The server's "done".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Rows that the statement changed.
    pub affected_rows: u64,
    /// The last automatic number that it gave out.
    pub last_insert_id: u64,
    /// The server's status bits.
    pub status: u16,
    /// How many warnings there are.
    pub warnings: u16,
}

impl Done {
    /// Whether a further result set follows.
    #[must_use]
    pub const fn has_more_results(&self) -> bool {
        self.status & MORE_RESULTS != 0
    }
}

/// The first packet of the answer to a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// There are no rows.
    Done(Done),
    /// So many column definitions follow, then rows.
    Columns(u64),
}

/// A packet of a result set after the column definitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowPacket<'a> {
    /// A row.
    Row(&'a [u8]),
    /// The end of the rows.
    End(Done),
}

/// What `COM_STMT_PREPARE` answers. So many parameter definitions follow, then so many column definitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// Names the statement in later commands.
    pub statement_id: u32,
    /// How many columns its rows have.
    pub column_count: u16,
    /// How many `?` it has.
    pub parameter_count: u16,
}

/// Reads the first packet of the answer to `COM_QUERY` or `COM_STMT_EXECUTE`.
///
/// # Errors
/// [`Error::Server`] for an error packet, [`Error::Malformed`] if it is no answer.
pub fn parse_head(packet: &[u8]) -> Result<Head> {
    match packet.first() {
        Some(0x00) => parse_done(packet).map(Head::Done),
        Some(0xff) => Err(parse_error(packet)),
        Some(0xfb) => Err(Error::Unsupported("the server asks for a local file".into())),
        _ => match Cursor::new(packet).lenenc() {
            Some(count) => Ok(Head::Columns(count)),
            None => Err(Error::short("result set")),
        },
    }
}

/// Reads an OK packet, of either header.
///
/// # Errors
/// [`Error::Server`] for an error packet, [`Error::Malformed`] for anything else that is no OK.
pub fn parse_done(packet: &[u8]) -> Result<Done> {
    let mut cursor = Cursor::new(packet);
    match cursor.u8() {
        Some(0x00 | 0xfe) => {}
        Some(0xff) => return Err(parse_error(packet)),
        _ => return Err(Error::malformed("answer", "it is neither OK nor an error")),
    }
    let mut read = || {
        Some(Done {
            affected_rows: cursor.lenenc()?,
            last_insert_id: cursor.lenenc()?,
            status: cursor.u16()?,
            warnings: cursor.u16()?,
        })
    };
    read().ok_or_else(|| Error::short("OK packet"))
}

/// Reads a packet after the column definitions of binary rows.
///
/// # Errors
/// [`Error::Server`] for an error packet, [`Error::Malformed`] if it is no row.
#[inline]
pub fn parse_binary_row(packet: &[u8]) -> Result<RowPacket<'_>> {
    match packet.first() {
        Some(0x00) => Ok(RowPacket::Row(packet)),
        Some(0xfe) => parse_done(packet).map(RowPacket::End),
        Some(0xff) => Err(parse_error(packet)),
        _ => Err(Error::malformed("binary row", "unknown first byte")),
    }
}

/// Reads a packet after the column definitions of text rows.
///
/// # Errors
/// [`Error::Server`] for an error packet.
pub fn parse_text_row(packet: &[u8]) -> Result<RowPacket<'_>> {
    match packet.first() {
        Some(0xfe) if packet.len() < MAX_PAYLOAD => parse_done(packet).map(RowPacket::End),
        Some(0xff) => Err(parse_error(packet)),
        _ => Ok(RowPacket::Row(packet)),
    }
}

/// The cells of a text row; `None` is NULL.
///
/// # Errors
/// [`Error::Malformed`] if the row ends within a cell.
pub fn text_cells(row: &[u8]) -> Result<Vec<Option<&[u8]>>> {
    let mut cursor = Cursor::new(row);
    let mut cells = Vec::new();
    while let Some(first) = cursor.rest().first() {
        if *first == 0xfb {
            cursor.u8();
            cells.push(None);
        } else {
            cells.push(Some(cursor.lenenc_bytes().ok_or_else(|| Error::short("text row"))?));
        }
    }
    Ok(cells)
}

/// Reads the answer to `COM_STMT_PREPARE`.
///
/// # Errors
/// [`Error::Server`] for an error packet, [`Error::Malformed`] if it is no answer.
pub fn parse_prepared(packet: &[u8]) -> Result<Prepared> {
    let mut cursor = Cursor::new(packet);
    match cursor.u8() {
        Some(0x00) => {}
        Some(0xff) => return Err(parse_error(packet)),
        _ => return Err(Error::malformed("answer to PREPARE", "unknown first byte")),
    }
    let mut read = || {
        Some(Prepared {
            statement_id: cursor.u32()?,
            column_count: cursor.u16()?,
            parameter_count: cursor.u16()?,
        })
    };
    read().ok_or_else(|| Error::short("answer to PREPARE"))
}

/// Reads an error packet (first byte 0xff).
#[must_use]
pub fn parse_error(packet: &[u8]) -> Error {
    let mut cursor = Cursor::new(packet);
    let (Some(0xff), Some(code)) = (cursor.u8(), cursor.u16()) else {
        return Error::short("error packet");
    };
    let mut sql_state = String::new();
    if cursor.rest().first() == Some(&b'#') {
        cursor.u8();
        sql_state = String::from_utf8_lossy(cursor.take(5).unwrap_or_default()).into_owned();
    }
    let message = String::from_utf8_lossy(cursor.rest()).into_owned();
    Error::Server(ServerError { code, sql_state, message })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn answers_are_told_apart() {
        assert_eq!(
            parse_head(&[0, 3, 0xfc, 1, 1, 0x0a, 0, 2, 0]).unwrap(),
            Head::Done(Done { affected_rows: 3, last_insert_id: 257, status: 10, warnings: 2 })
        );
        assert_eq!(parse_head(&[7]).unwrap(), Head::Columns(7));
        let error = parse_head(b"\xff\x15\x04#28000Access denied").unwrap_err().to_string();
        assert_eq!(error, "Access denied (error 1045, state 28000)");
        assert!(matches!(parse_binary_row(&[0, 0, 1]).unwrap(), RowPacket::Row(_)));
        assert!(matches!(parse_binary_row(&[0xfe, 0, 0, 2, 0, 0, 0]).unwrap(), RowPacket::End(_)));
    }

    #[test]
    fn text_rows_tell_null_from_empty() {
        let cells = text_cells(b"\x01a\xfb\x00").unwrap();
        assert_eq!(cells, [Some(&b"a"[..]), None, Some(&b""[..])]);
        assert!(text_cells(b"\x05a").is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_answer_or_an_error(bytes: Vec<u8>) {
            drop(parse_head(&bytes));
            drop(parse_done(&bytes));
            drop(parse_prepared(&bytes));
            drop(parse_binary_row(&bytes));
            drop(parse_text_row(&bytes));
            drop(text_cells(&bytes));
        }
    }
}
