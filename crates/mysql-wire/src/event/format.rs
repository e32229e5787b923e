//! Events about the stream itself: a file's format, the next file, signs of life.

use super::EventHeader;
use crate::cursor::Cursor;
use crate::error::{Error, Result};

/// The first event of every file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FormatDescription<'a> {
    /// The version of the server that wrote the file.
    pub server_version: &'a str,
    /// Whether its events have checksums.
    pub checksums: bool,
    pub(super) short_table_ids: bool,
}

impl<'a> FormatDescription<'a> {
    const VERSION_BYTES: usize = 50;
    /// Where the length of a TABLE_MAP's fixed part is in the list of those lengths.
    const TABLE_MAP_INDEX: usize = 18;

    pub(super) fn parse(body: &'a [u8]) -> Result<Self> {
        Self::parse_fields(body).ok_or_else(|| Error::short("format description event"))?
    }

    fn parse_fields(body: &'a [u8]) -> Option<Result<Self>> {
        let mut cursor = Cursor::new(body);
        let format = cursor.u16()?;
        let version = cursor.take(Self::VERSION_BYTES)?;
        cursor.u32()?;
        if format != 4 || usize::from(cursor.u8()?) != super::HEADER_BYTES {
            let text = "the binlog is older than version 4: use MySQL 5.7 or later";
            return Some(Err(Error::Unsupported(text.into())));
        }
        let end = version.iter().position(|byte| *byte == 0).unwrap_or(version.len());
        let server_version = std::str::from_utf8(version.get(..end)?).unwrap_or_default();
        let mut numbers = server_version.split(|c: char| !c.is_ascii_digit());
        let mut next = || numbers.next().and_then(|n| n.parse::<u32>().ok()).unwrap_or(0);
        let has_algorithm = (next(), next(), next()) >= (5, 6, 1);
        let (lengths, algorithm) = if has_algorithm {
            let (rest, _checksum) = cursor.rest().split_last_chunk::<4>()?;
            let (algorithm, lengths) = rest.split_last()?;
            (lengths, *algorithm)
        } else {
            (cursor.rest(), 0)
        };
        if algorithm > 1 {
            let text = format!("the binlog uses checksum algorithm {algorithm}, which is unknown");
            return Some(Err(Error::Unsupported(text)));
        }
        let short_table_ids = lengths.get(Self::TABLE_MAP_INDEX) == Some(&6);
        Some(Ok(Self { server_version, checksums: algorithm == 1, short_table_ids }))
    }
}

/// Names the place of the next event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotate<'a> {
    /// The position in the file.
    pub position: u64,
    /// The file.
    pub file: &'a str,
}

impl<'a> Rotate<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Result<Self> {
        let mut cursor = Cursor::new(body);
        let position = cursor.u64().ok_or_else(|| Error::short("rotate event"))?;
        let file = std::str::from_utf8(cursor.rest())
            .map_err(|_| Error::malformed("rotate event", "the file's name is no text"))?;
        Ok(Self { position, file })
    }
}

/// Where the dump thread is, told while there is nothing new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat<'a> {
    /// The file.
    pub file: &'a [u8],
    /// The position in it. Wraps past 4 GB in the first form of this event.
    pub position: u64,
}

impl<'a> Heartbeat<'a> {
    pub(super) fn parse(body: &'a [u8], header: &EventHeader) -> Self {
        Self { file: body, position: u64::from(header.end_position) }
    }

    pub(super) fn parse_v2(body: &'a [u8]) -> Result<Self> {
        Self::parse_fields(body).ok_or_else(|| Error::short("heartbeat event"))
    }

    fn parse_fields(body: &'a [u8]) -> Option<Self> {
        let mut cursor = Cursor::new(body);
        let mut heartbeat = Self { file: &[], position: 0 };
        while !cursor.is_empty() {
            match cursor.lenenc()? {
                0 => break,
                1 => heartbeat.file = cursor.lenenc_bytes()?,
                2 => heartbeat.position = Cursor::new(cursor.lenenc_bytes()?).lenenc()?,
                _ => drop(cursor.lenenc_bytes()?),
            }
        }
        Some(heartbeat)
    }
}
