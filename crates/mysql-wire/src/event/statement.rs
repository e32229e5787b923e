//! Statements in the binlog, and the prepare of an XA transaction.

use std::borrow::Cow;
use std::fmt::Write;

use crate::charset::Charset;
use crate::cursor::Cursor;
use crate::error::{Error, Result};
use crate::event::inflate;

/// A statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query<'a> {
    /// The connection that ran it.
    pub thread_id: u32,
    /// The error number with which it ended on the server; 0 is none.
    pub error_code: u16,
    /// The connection's default database, in UTF-8.
    pub database: &'a [u8],
    /// The statement, in the character set of [`Self::charset`].
    pub statement: Cow<'a, [u8]>,
    /// The statement's character set.
    pub charset: Charset,
}

impl<'a> Query<'a> {
    const CHARSET_VARIABLE: u8 = 4;

    pub(super) fn parse(body: &'a [u8]) -> Result<Self> {
        Self::parse_fields(body).ok_or_else(|| Error::short("query event"))
    }

    /// The form of MariaDB in which the statement is compressed.
    pub(super) fn parse_compressed(body: &'a [u8]) -> Result<Self> {
        let mut query = Self::parse(body)?;
        query.statement = Cow::Owned(inflate(&query.statement, "statement")?);
        Ok(query)
    }

    fn parse_fields(body: &'a [u8]) -> Option<Self> {
        let mut cursor = Cursor::new(body);
        let thread_id = cursor.u32()?;
        cursor.u32()?;
        let database_len = usize::from(cursor.u8()?);
        let error_code = cursor.u16()?;
        let variables_len = usize::from(cursor.u16()?);
        let variables = cursor.take(variables_len)?;
        let database = cursor.take(database_len)?;
        cursor.u8()?;
        let charset = client_charset(variables).unwrap_or(Charset::UTF8);
        let statement = Cow::Borrowed(cursor.rest());
        Some(Self { thread_id, error_code, database, statement, charset })
    }

    /// Whether it opens a transaction, as the server itself writes it.
    #[must_use]
    pub fn is_begin(&self) -> bool {
        *self.statement == *b"BEGIN"
    }

    /// The statement as text.
    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        match std::str::from_utf8(&self.statement) {
            Ok(text) if self.charset.is_utf8() || text.is_ascii() => Cow::Borrowed(text),
            _ => Cow::Owned(self.charset.to_text(&self.statement)),
        }
    }

    /// The default database as text.
    #[must_use]
    pub fn database_text(&self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.database)
    }
}

/// Looks the client's character set up in the status variables. They have no lengths, so the search ends at the
/// first unknown one; the character set comes early.
fn client_charset(variables: &[u8]) -> Option<Charset> {
    let mut cursor = Cursor::new(variables);
    while let Some(variable) = cursor.u8() {
        match variable {
            // Flags, SQL mode, catalogue (old form), automatic increments.
            0 => drop(cursor.take(4)?),
            1 => drop(cursor.take(8)?),
            2 => {
                let len = usize::from(cursor.u8()?);
                cursor.take(len + 1)?;
            }
            3 => drop(cursor.take(4)?),
            Query::CHARSET_VARIABLE => return cursor.u16().map(Charset::of_collation),
            // Time zone, catalogue.
            5 | 6 => {
                let len = usize::from(cursor.u8()?);
                cursor.take(len)?;
            }
            _ => return None,
        }
    }
    None
}

/// The end of the first half of an XA transaction. `XA COMMIT` or `XA ROLLBACK` comes later as a [`Query`] of
/// its own transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XaPrepare<'a> {
    /// Whether it is an `XA COMMIT … ONE PHASE`, after which nothing follows: the transaction has ended.
    pub one_phase: bool,
    /// The format number of its identifier.
    pub format_id: u32,
    /// The global part of its identifier.
    pub global_id: &'a [u8],
    /// The branch part of its identifier.
    pub branch_id: &'a [u8],
}

impl<'a> XaPrepare<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Result<Self> {
        Self::parse_fields(body).ok_or_else(|| Error::short("XA prepare event"))
    }

    fn parse_fields(body: &'a [u8]) -> Option<Self> {
        let mut cursor = Cursor::new(body);
        let one_phase = cursor.u8()? != 0;
        let format_id = cursor.u32()?;
        let global_len = usize::try_from(cursor.u32()?).ok()?;
        let branch_len = usize::try_from(cursor.u32()?).ok()?;
        let global_id = cursor.take(global_len)?;
        let branch_id = cursor.take(branch_len)?;
        Some(Self { one_phase, format_id, global_id, branch_id })
    }

    /// The identifier as the server writes it into `XA COMMIT` and `XA ROLLBACK`: `X'6131',X'',1`.
    #[must_use]
    pub fn identifier(&self) -> String {
        let mut text = String::new();
        for part in [self.global_id, self.branch_id] {
            text.push_str("X'");
            for byte in part {
                // Writing to a string does not fail.
                let _written = write!(text, "{byte:02x}");
            }
            text.push_str("',");
        }
        let _written = write!(text, "{}", self.format_id);
        text
    }
}
