//! The event that begins every transaction since MySQL 5.7, and in MariaDB.

use crate::cursor::Cursor;
use crate::error::{Error, Result};
use crate::gtid::{Gtid, GtidSource};

/// Begins a transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GtidEvent {
    /// The transaction's identifier, or `None` with `gtid_mode=OFF`.
    pub gtid: Option<Gtid>,
    /// Its bit 0 says that the transaction may hold changes in statement format.
    pub flags: u8,
    /// Orders transactions within a file: this one's number.
    pub sequence_number: u64,
    /// Orders transactions within a file: all up to this number had ended before this one's prepare.
    pub last_committed: u64,
    /// Microseconds since 1970 when it ended on the server that sends it; 0 if unknown.
    pub immediate_commit_us: u64,
    /// Microseconds since 1970 when it ended on the server where it was made; 0 if unknown.
    pub original_commit_us: u64,
    /// Bytes of the whole transaction in the binlog, this event included; 0 if unknown.
    pub transaction_length: u64,
    /// It stands for `BEGIN` too: no statement opens the transaction. Only MariaDB writes such.
    pub opens_transaction: bool,
    /// With [`Self::opens_transaction`]: it stands for `XA START`.
    pub prepares_xa: bool,
}

impl GtidEvent {
    const LOGICAL_CLOCK: u8 = 2;
    const ORIGINAL_FOLLOWS: u64 = 1 << 55;
    /// Version 1 in the serialization library's form.
    const TAGGED_VERSION: u8 = 2;

    pub(super) fn parse(body: &[u8], named: bool) -> Result<Self> {
        let mut cursor = Cursor::new(body);
        let mut event =
            Self::parse_start(&mut cursor, named).ok_or_else(|| Error::short("GTID event"))?;
        // Servers of different age end the event at different fields; what is missing stays 0.
        if cursor.rest().first() == Some(&Self::LOGICAL_CLOCK) {
            let _complete = event.parse_rest(&mut cursor);
        }
        Ok(event)
    }

    fn parse_start(cursor: &mut Cursor<'_>, named: bool) -> Option<Self> {
        let flags = cursor.u8()?;
        let source = GtidSource::new(cursor.array()?);
        let number = cursor.u64()?;
        let gtid = named.then_some(Gtid { source, number });
        Some(Self { gtid, flags, ..Self::default() })
    }

    fn parse_rest(&mut self, cursor: &mut Cursor<'_>) -> Option<()> {
        cursor.u8()?;
        self.last_committed = cursor.u64()?;
        self.sequence_number = cursor.u64()?;
        let immediate = cursor.uint(7)?;
        self.immediate_commit_us = immediate & !Self::ORIGINAL_FOLLOWS;
        self.original_commit_us = if immediate & Self::ORIGINAL_FOLLOWS == 0 {
            self.immediate_commit_us
        } else {
            cursor.uint(7)?
        };
        self.transaction_length = cursor.lenenc()?;
        Some(())
    }

    pub(super) fn parse_tagged(body: &[u8]) -> Result<Self> {
        if body.first() != Some(&Self::TAGGED_VERSION) {
            let text = "the binlog holds a tagged GTID event of an unknown version";
            return Err(Error::Unsupported(text.into()));
        }
        Self::parse_tagged_fields(body).ok_or_else(|| Error::short("tagged GTID event"))?
    }

    fn parse_tagged_fields(body: &[u8]) -> Option<Result<Self>> {
        let mut cursor = Cursor::new(body);
        cursor.u8()?;
        let size = usize::try_from(cursor.varlen()?).ok()?;
        let last_needed = cursor.varlen()?;
        // The size counts everything from the version on.
        let left = size.checked_sub(body.len() - cursor.len())?;
        let mut fields = Cursor::new(cursor.take(left)?);
        let mut event = Self::default();
        let (mut uuid, mut tag, mut number, mut original) = ([0; 16], &[][..], 0, None);
        while !fields.is_empty() {
            match fields.varlen()? {
                0 => event.flags = u8::try_from(fields.varlen()?).ok()?,
                1 => {
                    for byte in &mut uuid {
                        *byte = u8::try_from(fields.varlen()?).ok()?;
                    }
                }
                2 => number = u64::try_from(fields.varlen_signed()?).ok()?,
                3 => {
                    let len = usize::try_from(fields.varlen()?).ok()?;
                    tag = fields.take(len)?;
                }
                4 => event.last_committed = u64::try_from(fields.varlen_signed()?).ok()?,
                5 => event.sequence_number = u64::try_from(fields.varlen_signed()?).ok()?,
                6 => event.immediate_commit_us = fields.varlen()?,
                7 => original = Some(fields.varlen()?),
                8 => event.transaction_length = fields.varlen()?,
                9..=11 => drop(fields.varlen()?),
                unknown if unknown <= last_needed => {
                    let text = "the binlog holds a tagged GTID event with an unknown field";
                    return Some(Err(Error::Unsupported(text.into())));
                }
                // Unknown fields come last and may be ignored.
                _ => break,
            }
        }
        event.original_commit_us = original.unwrap_or(event.immediate_commit_us);
        let source = GtidSource::new(uuid).with_tag(tag);
        Some(source.map(|source| {
            event.gtid = Some(Gtid { source, number });
            event
        }))
    }
}
