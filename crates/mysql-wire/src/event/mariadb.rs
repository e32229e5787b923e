//! What MariaDB writes into its binlog in forms of its own: the event that begins a transaction, and compressed bytes.
//!
//! A compressed part begins with a byte (0x80, the algorithm in bits 4 to 6, in the lower bits how many bytes the
//! length has), the inflated length with its highest byte first, and then a zlib stream. Rows and statements are
//! inflated only where they are read.

use std::io::Read;

use flate2::read::ZlibDecoder;

use super::{EventHeader, GtidEvent};
use crate::cursor::Cursor;
use crate::error::{Error, Result};
use crate::gtid::{Gtid, GtidSource};

/// zlib makes at most about so many bytes of one.
const MOST_INFLATION: usize = 1_040;

impl GtidEvent {
    /// A group without an end of its own: one statement.
    const STANDALONE: u8 = 1;
    /// A number for the transactions that were written together follows.
    const GROUP_COMMIT: u8 = 2;
    /// The first half of an XA transaction.
    const PREPARED_XA: u8 = 64;

    /// `GTID_EVENT` of MariaDB. Unlike MySQL's it stands for `BEGIN` too.
    pub(super) fn parse_mariadb(body: &[u8], header: &EventHeader) -> Result<Self> {
        Self::parse_mariadb_fields(body, header).ok_or_else(|| Error::short("GTID event"))
    }

    fn parse_mariadb_fields(body: &[u8], header: &EventHeader) -> Option<Self> {
        let mut cursor = Cursor::new(body);
        let number = cursor.u64()?;
        let domain = cursor.u32()?;
        let flags = cursor.u8()?;
        if flags & Self::GROUP_COMMIT != 0 {
            cursor.u64()?;
        }
        Some(Self {
            gtid: Some(Gtid { source: GtidSource::domain(domain, header.server_id), number }),
            opens_transaction: flags & Self::STANDALONE == 0,
            prepares_xa: flags & Self::PREPARED_XA != 0,
            ..Self::default()
        })
    }
}

/// Inflates what MariaDB compressed.
pub(crate) fn inflate(packed: &[u8], what: &'static str) -> Result<Vec<u8>> {
    let mut cursor = Cursor::new(packed);
    let head = cursor.u8().ok_or_else(|| Error::short(what))?;
    let algorithm = head >> 4 & 7;
    if head & 0x80 == 0 || algorithm != 0 {
        return Err(Error::Unsupported(format!(
            "a {what} is compressed with algorithm {algorithm}, which is unknown"
        )));
    }
    let length = cursor.take(usize::from(head & 7)).ok_or_else(|| Error::short(what))?;
    let length = length.iter().fold(0_usize, |length, byte| length << 8 | usize::from(*byte));
    let stream = cursor.rest();
    inflate_exactly(ZlibDecoder::new(stream), length, stream.len())
        .ok_or_else(|| Error::malformed(what, "its compressed bytes are damaged"))
}

/// Reads a stream that has to have `length` bytes and is made of `packed` bytes.
pub(crate) fn inflate_exactly(stream: impl Read, length: usize, packed: usize) -> Option<Vec<u8>> {
    if length > packed.saturating_mul(MOST_INFLATION) {
        return None;
    }
    let mut out = Vec::with_capacity(length);
    // One byte more would be one too many.
    stream.take(length as u64 + 1).read_to_end(&mut out).ok()?;
    (out.len() == length).then_some(out)
}
