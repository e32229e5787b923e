//! A transaction that the server compressed as one event. It is inflated as its events are read, so a large
//! transaction never lies inflated in memory.

use std::io::Read;

use zstd::stream::read::Decoder;

use super::{Event, EventReader, HEADER_BYTES};
use crate::cursor::Cursor;
use crate::error::{Error, Result};
use crate::window::Window;

/// The inflated part of a transaction that is held at a time.
const WINDOW_BYTES: usize = 1 << 18;
/// MySQL's own upper bound of an event.
const MAX_EVENT_BYTES: u32 = 1 << 30;

/// A compressed transaction: `BEGIN` up to its end, without the GTID event.
#[derive(Clone, Debug)]
pub struct TransactionPayload<'a> {
    /// Its size when it is inflated, as the server says.
    pub inflated_bytes: u64,
    compressed: bool,
    bytes: &'a [u8],
    reader: EventReader,
}

impl<'a> TransactionPayload<'a> {
    const ZSTD: u64 = 0;
    const NONE: u64 = 255;

    pub(super) fn parse(body: &'a [u8], reader: EventReader) -> Result<Self> {
        Self::parse_fields(body, reader).ok_or_else(|| Error::short("transaction payload event"))?
    }

    fn parse_fields(body: &'a [u8], reader: EventReader) -> Option<Result<Self>> {
        let mut cursor = Cursor::new(body);
        let (mut algorithm, mut inflated_bytes, mut size) = (Self::NONE, 0, None);
        loop {
            let field = cursor.lenenc()?;
            if field == 0 {
                break;
            }
            let value = cursor.lenenc_bytes()?;
            let number = || Cursor::new(value).lenenc();
            match field {
                1 => size = Some(number()?),
                2 => algorithm = number()?,
                3 => inflated_bytes = number()?,
                _ => {}
            }
        }
        let bytes = match size {
            Some(size) => cursor.take(usize::try_from(size).ok()?)?,
            None => cursor.rest(),
        };
        let compressed = match algorithm {
            Self::ZSTD => true,
            Self::NONE => false,
            unknown => {
                let text = format!(
                    "a transaction is compressed with algorithm {unknown}, which is unknown"
                );
                return Some(Err(Error::Unsupported(text)));
            }
        };
        Some(Ok(Self { inflated_bytes, compressed, bytes, reader }))
    }

    /// Starts to read its events.
    ///
    /// # Errors
    /// [`Error::Io`] if the decompressor cannot be made.
    pub fn events(&self) -> Result<PayloadEvents<'a>> {
        let stream = if self.compressed {
            Inflater::Zstd(Box::new(Decoder::with_buffer(self.bytes)?))
        } else {
            Inflater::None(self.bytes)
        };
        let expected = usize::try_from(self.inflated_bytes).unwrap_or(WINDOW_BYTES);
        let window_bytes = expected.clamp(HEADER_BYTES, WINDOW_BYTES);
        Ok(PayloadEvents {
            window: Window::new(stream, window_bytes),
            reader: self.reader.clone(),
            finished: false,
        })
    }
}

enum Inflater<'a> {
    Zstd(Box<Decoder<'static, &'a [u8]>>),
    None(&'a [u8]),
}

impl Read for Inflater<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Zstd(decoder) => decoder.read(buffer),
            Self::None(bytes) => bytes.read(buffer),
        }
    }
}

/// The events of a compressed transaction.
pub struct PayloadEvents<'a> {
    window: Window<Inflater<'a>>,
    reader: EventReader,
    finished: bool,
}

impl PayloadEvents<'_> {
    /// The next event, valid until the next call; `None` at the end.
    ///
    /// # Errors
    /// Those of [`EventReader::parse`], and [`Error::Malformed`] if the compression is damaged.
    #[expect(clippy::should_implement_trait, reason = "the item borrows from the reader")]
    pub fn next(&mut self) -> Result<Option<Event<'_>>> {
        if self.finished || !self.has_more()? {
            self.finished = true;
            return Ok(None);
        }
        self.window.fill(HEADER_BYTES).map_err(damaged)?;
        let mut cursor = Cursor::new(self.window.bytes());
        let size = cursor.take(9).and_then(|_| cursor.u32()).unwrap_or_default();
        if size > MAX_EVENT_BYTES {
            let (size, limit) = (u64::from(size), u64::from(MAX_EVENT_BYTES));
            return Err(Error::TooLarge { what: "a binlog event", size, limit });
        }
        let size = size as usize;
        if size < HEADER_BYTES {
            return Err(Error::malformed(
                "transaction payload",
                "an event is shorter than its header",
            ));
        }
        self.window.fill(size).map_err(damaged)?;
        self.window.consume(size);
        self.reader.parse(self.window.consumed(size)).map(Some)
    }

    fn has_more(&mut self) -> Result<bool> {
        match self.window.fill(1) {
            Ok(()) => Ok(true),
            Err(Error::Io(error)) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(damaged(error)),
        }
    }
}

/// The stream is a slice in memory, so a failure to read it is damage, not a lost connection.
fn damaged(error: Error) -> Error {
    match error {
        Error::Io(error) => Error::malformed("transaction payload", error.to_string()),
        other => other,
    }
}

#[cfg(test)]
impl TransactionPayload<'_> {
    /// Cuts the compressed bytes.
    pub(super) fn bytes_for_tests(&mut self, len: usize) {
        self.bytes = &self.bytes[..len];
    }
}
