//! Packets of the binlog stream → events, without copying.
//!
//! Nothing is passed over silently: an event whose type is unknown and that may hold rows is an error; one that
//! a server marked as ignorable is reported as [`EventBody::Ignored`] with its number.

mod format;
mod gtid_event;
mod mariadb;
mod payload;
mod rows_event;
#[cfg(test)]
pub(crate) mod scribe;
mod statement;
mod table_map;

use crate::cursor::Cursor;
use crate::error::{Error, Result};
use crate::gtid::GtidSet;
use crate::reply::parse_error;

pub use format::{FormatDescription, Heartbeat, Rotate};
pub use gtid_event::GtidEvent;
pub(crate) use mariadb::{inflate, inflate_exactly};
pub use payload::{PayloadEvents, TransactionPayload};
pub use rows_event::{RowsEvent, RowsKind};
pub use statement::{Query, XaPrepare};
pub use table_map::{TableMap, TableMetadata};

/// Event type numbers.
pub(crate) mod code {
    pub(crate) const QUERY: u8 = 2;
    pub(crate) const STOP: u8 = 3;
    pub(crate) const ROTATE: u8 = 4;
    pub(crate) const INTVAR: u8 = 5;
    pub(crate) const RAND: u8 = 13;
    pub(crate) const USER_VAR: u8 = 14;
    pub(crate) const FORMAT_DESCRIPTION: u8 = 15;
    pub(crate) const XID: u8 = 16;
    pub(crate) const BEGIN_LOAD_QUERY: u8 = 17;
    pub(crate) const EXECUTE_LOAD_QUERY: u8 = 18;
    pub(crate) const TABLE_MAP: u8 = 19;
    pub(crate) const WRITE_ROWS_V1: u8 = 23;
    pub(crate) const UPDATE_ROWS_V1: u8 = 24;
    pub(crate) const DELETE_ROWS_V1: u8 = 25;
    pub(crate) const INCIDENT: u8 = 26;
    pub(crate) const HEARTBEAT: u8 = 27;
    pub(crate) const IGNORABLE: u8 = 28;
    pub(crate) const ROWS_QUERY: u8 = 29;
    pub(crate) const WRITE_ROWS: u8 = 30;
    pub(crate) const UPDATE_ROWS: u8 = 31;
    pub(crate) const DELETE_ROWS: u8 = 32;
    pub(crate) const GTID: u8 = 33;
    pub(crate) const ANONYMOUS_GTID: u8 = 34;
    pub(crate) const PREVIOUS_GTIDS: u8 = 35;
    pub(crate) const TRANSACTION_CONTEXT: u8 = 36;
    pub(crate) const VIEW_CHANGE: u8 = 37;
    pub(crate) const XA_PREPARE: u8 = 38;
    pub(crate) const PARTIAL_UPDATE_ROWS: u8 = 39;
    pub(crate) const TRANSACTION_PAYLOAD: u8 = 40;
    pub(crate) const HEARTBEAT_V2: u8 = 41;
    pub(crate) const TAGGED_GTID: u8 = 42;
    // Those of MariaDB.
    pub(crate) const ANNOTATE_ROWS: u8 = 160;
    pub(crate) const BINLOG_CHECKPOINT: u8 = 161;
    pub(crate) const MARIADB_GTID: u8 = 162;
    pub(crate) const GTID_LIST: u8 = 163;
    pub(crate) const START_ENCRYPTION: u8 = 164;
    pub(crate) const QUERY_COMPRESSED: u8 = 165;
    pub(crate) const WRITE_ROWS_COMPRESSED_V1: u8 = 166;
    pub(crate) const DELETE_ROWS_COMPRESSED: u8 = 171;
}

pub(crate) const HEADER_BYTES: usize = 19;
const CHECKSUM_BYTES: usize = 4;
/// The flag of an event that a reader may pass over if it does not know the type.
const IGNORABLE_FLAG: u16 = 0x80;
/// The flag of an event that the dump thread made up; it is in no file.
const ARTIFICIAL_FLAG: u16 = 0x20;

/// What every event begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventHeader {
    /// Seconds since 1970 when the statement began; 0 in events that the dump thread made up.
    pub timestamp: u32,
    /// The number of its type.
    pub type_code: u8,
    /// The server that wrote it first.
    pub server_id: u32,
    /// Its length with header and checksum.
    pub size: u32,
    /// Where it ends in its file. Wraps past 4 GB, and is 0 in events that are in no file and inside a
    /// [`TransactionPayload`].
    pub end_position: u32,
    /// Its flags.
    pub flags: u16,
}

impl EventHeader {
    /// Whether the dump thread made the event up: it is in no file and moves no position.
    #[must_use]
    pub const fn is_artificial(&self) -> bool {
        self.flags & ARTIFICIAL_FLAG != 0
    }
}

/// An event.
#[derive(Clone, Debug)]
pub struct Event<'a> {
    /// Its header.
    pub header: EventHeader,
    /// Its content.
    pub body: EventBody<'a>,
}

/// The content of an event, by its type.
#[derive(Clone, Debug)]
pub enum EventBody<'a> {
    /// Begins a file: the format of what follows.
    FormatDescription(FormatDescription<'a>),
    /// The next event is at this place.
    Rotate(Rotate<'a>),
    /// Begins a transaction, with or without a GTID.
    Gtid(GtidEvent),
    /// The transactions of all files before this one.
    PreviousGtids(PreviousGtids<'a>),
    /// A statement: `BEGIN`, `COMMIT`, DDL, XA commands, or a change in statement format.
    Query(Query<'a>),
    /// The end of a transaction, with its number in the storage engine.
    Xid(u64),
    /// The columns of a table whose rows follow.
    TableMap(TableMap<'a>),
    /// Changed rows of a table.
    Rows(RowsEvent<'a>),
    /// A whole transaction, compressed.
    Payload(TransactionPayload<'a>),
    /// The end of the first half of an XA transaction.
    XaPrepare(XaPrepare<'a>),
    /// The server is alive and has nothing new.
    Heartbeat(Heartbeat<'a>),
    /// A change in statement format by `LOAD DATA`.
    LoadStatement,
    /// Events are missing here: the server could not write them.
    Incident,
    /// The server was stopped after this.
    Stop,
    /// Nothing that matters for rows; the header has the type's number.
    Ignored,
}

/// The transactions of all files before one: what MySQL and MariaDB write at a file's beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreviousGtids<'a> {
    bytes: &'a [u8],
    mariadb: bool,
}

impl PreviousGtids<'_> {
    /// Reads the set.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the bytes are none.
    pub fn set(&self) -> Result<GtidSet> {
        if self.mariadb { GtidSet::decode_list(self.bytes) } else { GtidSet::decode(self.bytes) }
    }
}

/// Whether events carry checksums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Checksums {
    /// No format description has been read: try.
    Unknown,
    Off,
    Crc32,
}

/// Reads the events of one stream. It follows the stream's format, so a new stream needs a new reader.
#[derive(Clone, Debug)]
pub struct EventReader {
    checksums: Checksums,
    /// Table ids have 4 bytes in very old formats.
    short_table_ids: bool,
}

impl Default for EventReader {
    fn default() -> Self {
        Self::new()
    }
}

impl EventReader {
    /// A reader for the start of a stream.
    #[must_use]
    pub const fn new() -> Self {
        Self { checksums: Checksums::Unknown, short_table_ids: false }
    }

    /// A reader of events that are inside another one and have no checksums.
    const fn inside(&self) -> Self {
        Self { checksums: Checksums::Off, short_table_ids: self.short_table_ids }
    }

    /// Reads a packet of a dump; `None` is its end (only if it was asked not to block).
    ///
    /// # Errors
    /// [`Error::Server`] if the dump thread reports an error, and those of [`Self::parse`].
    #[inline]
    pub fn read<'a>(&mut self, packet: &'a [u8]) -> Result<Option<Event<'a>>> {
        match packet.split_first() {
            Some((0x00, event)) => self.parse(event).map(Some),
            Some((0xfe, _)) => Ok(None),
            Some((0xff, _)) => Err(parse_error(packet)),
            _ => Err(Error::malformed("binlog packet", "unknown first byte")),
        }
    }

    /// Reads an event as it is in a file.
    ///
    /// # Errors
    /// [`Error::Checksum`] if its bytes are damaged, [`Error::Malformed`] if they are no event,
    /// [`Error::Unsupported`] if its type is unknown and not ignorable.
    #[inline]
    pub fn parse<'a>(&mut self, event: &'a [u8]) -> Result<Event<'a>> {
        let header = parse_header(event).ok_or_else(|| Error::short("event header"))?;
        let body = if header.type_code == code::FORMAT_DESCRIPTION {
            return self.parse_format(event, header);
        } else {
            self.checked_body(event, &header)?
        };
        let body = self.parse_body(&header, body)?;
        Ok(Event { header, body })
    }

    fn parse_format<'a>(&mut self, event: &'a [u8], header: EventHeader) -> Result<Event<'a>> {
        let body = event.get(HEADER_BYTES..).unwrap_or_default();
        let format = FormatDescription::parse(body)?;
        self.checksums = if format.checksums { Checksums::Crc32 } else { Checksums::Off };
        self.short_table_ids = format.short_table_ids;
        if format.checksums {
            self.checked_body(event, &header)?;
        }
        Ok(Event { header, body: EventBody::FormatDescription(format) })
    }

    /// The body without the checksum, which is compared.
    #[inline]
    fn checked_body<'a>(&mut self, event: &'a [u8], header: &EventHeader) -> Result<&'a [u8]> {
        let whole = event.get(HEADER_BYTES..).unwrap_or_default();
        if self.checksums == Checksums::Off {
            return Ok(whole);
        }
        let split = event
            .split_last_chunk::<CHECKSUM_BYTES>()
            .filter(|(rest, _)| rest.len() >= HEADER_BYTES);
        let matching = split.is_some_and(|(content, checksum)| {
            crc32fast::hash(content) == u32::from_le_bytes(*checksum)
        });
        match (matching, self.checksums) {
            (true, _) => Ok(whole.get(..whole.len() - CHECKSUM_BYTES).unwrap_or_default()),
            (false, Checksums::Unknown) => Ok(whole),
            (false, _) => Err(Error::Checksum { end_position: header.end_position }),
        }
    }

    #[inline]
    fn parse_body<'a>(&self, header: &EventHeader, body: &'a [u8]) -> Result<EventBody<'a>> {
        match header.type_code {
            code::TABLE_MAP => TableMap::parse(body, self.short_table_ids).map(EventBody::TableMap),
            code::WRITE_ROWS
            | code::UPDATE_ROWS
            | code::DELETE_ROWS
            | code::WRITE_ROWS_V1
            | code::UPDATE_ROWS_V1
            | code::DELETE_ROWS_V1 => {
                RowsEvent::parse(header.type_code, body, self.short_table_ids).map(EventBody::Rows)
            }
            code::GTID | code::ANONYMOUS_GTID => {
                GtidEvent::parse(body, header.type_code == code::GTID).map(EventBody::Gtid)
            }
            code::XID => {
                let xid = Cursor::new(body).u64().ok_or_else(|| Error::short("XID event"))?;
                Ok(EventBody::Xid(xid))
            }
            code::QUERY => Query::parse(body).map(EventBody::Query),
            code::MARIADB_GTID => GtidEvent::parse_mariadb(body, header).map(EventBody::Gtid),
            code::WRITE_ROWS_COMPRESSED_V1..=code::DELETE_ROWS_COMPRESSED => {
                RowsEvent::parse(header.type_code, body, self.short_table_ids).map(EventBody::Rows)
            }
            _ => self.parse_rare(header, body),
        }
    }

    fn parse_rare<'a>(&self, header: &EventHeader, body: &'a [u8]) -> Result<EventBody<'a>> {
        match header.type_code {
            code::TAGGED_GTID => GtidEvent::parse_tagged(body).map(EventBody::Gtid),
            code::ROTATE => Rotate::parse(body).map(EventBody::Rotate),
            code::PREVIOUS_GTIDS | code::GTID_LIST => {
                let mariadb = header.type_code == code::GTID_LIST;
                Ok(EventBody::PreviousGtids(PreviousGtids { bytes: body, mariadb }))
            }
            code::QUERY_COMPRESSED => Query::parse_compressed(body).map(EventBody::Query),
            code::PARTIAL_UPDATE_ROWS => {
                RowsEvent::parse(header.type_code, body, self.short_table_ids).map(EventBody::Rows)
            }
            code::TRANSACTION_PAYLOAD => {
                TransactionPayload::parse(body, self.inside()).map(EventBody::Payload)
            }
            code::XA_PREPARE => XaPrepare::parse(body).map(EventBody::XaPrepare),
            code::HEARTBEAT => Ok(EventBody::Heartbeat(Heartbeat::parse(body, header))),
            code::HEARTBEAT_V2 => Heartbeat::parse_v2(body).map(EventBody::Heartbeat),
            code::BEGIN_LOAD_QUERY | code::EXECUTE_LOAD_QUERY => Ok(EventBody::LoadStatement),
            code::INCIDENT => Ok(EventBody::Incident),
            code::STOP => Ok(EventBody::Stop),
            code::INTVAR
            | code::RAND
            | code::USER_VAR
            | code::IGNORABLE
            | code::ROWS_QUERY
            | code::TRANSACTION_CONTEXT
            | code::VIEW_CHANGE
            | code::ANNOTATE_ROWS
            | code::BINLOG_CHECKPOINT => Ok(EventBody::Ignored),
            // A server that encrypts its files sends their events in the clear, and this one besides. Events that
            // came encrypted all the same would not have their checksums.
            code::START_ENCRYPTION => Ok(EventBody::Ignored),
            _ if header.flags & IGNORABLE_FLAG != 0 => Ok(EventBody::Ignored),
            unknown => Err(Error::Unsupported(format!(
                "the binlog holds an event of the unknown type {unknown}; \
                 rows might be lost if it were passed over"
            ))),
        }
    }
}

#[inline]
fn parse_header(event: &[u8]) -> Option<EventHeader> {
    let mut cursor = Cursor::new(event);
    Some(EventHeader {
        timestamp: cursor.u32()?,
        type_code: cursor.u8()?,
        server_id: cursor.u32()?,
        size: cursor.u32()?,
        end_position: cursor.u32()?,
        flags: cursor.u16()?,
    })
}

#[cfg(test)]
mod tests;
