//! Bytes → packets: a reader with one large buffer that hands packets out as slices of it.
//!
//! Invariant: a failed read changes nothing but what is buffered and `parts`, so after a timeout the same
//! call can be repeated.

use std::io::{Read, Write};

use crate::error::{Error, Result};
use crate::window::Window;

/// The buffer of a reader. One read fills it, so a bulk transfer needs few system calls.
const BUFFER_BYTES: usize = 1 << 20;
const HEADER_BYTES: usize = 4;
/// A payload of this length is continued in the next packet.
const MAX_PAYLOAD: usize = 0xff_ffff;
/// What `next` accepts unless told otherwise: MySQL's own upper bound of a packet.
const DEFAULT_LIMIT: usize = 1 << 30;

/// Reads packets from a stream, and writes them if the stream can.
#[derive(Debug)]
pub struct PacketReader<R> {
    window: Window<R>,
    /// The sequence number that the next packet must have, in either direction.
    sequence: u8,
    limit: usize,
    /// Payloads of a packet whose last part has not been read.
    parts: Vec<u8>,
    in_parts: bool,
}

impl<R> PacketReader<R> {
    /// A reader of a fresh connection.
    pub fn new(stream: R) -> Self {
        Self {
            window: Window::new(stream, BUFFER_BYTES),
            sequence: 0,
            limit: DEFAULT_LIMIT,
            parts: Vec::new(),
            in_parts: false,
        }
    }

    /// The same reader, refusing packets of more than `limit` bytes.
    #[must_use]
    pub fn with_limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// The stream.
    pub const fn stream(&self) -> &R {
        &self.window.stream
    }

    /// The stream, for its settings; reading from it loses packets.
    pub const fn stream_mut(&mut self) -> &mut R {
        &mut self.window.stream
    }

    /// Whether a further packet, or a part of one, has already been read from the stream.
    #[must_use]
    pub const fn has_buffered(&self) -> bool {
        !self.window.is_empty() || self.in_parts
    }

    /// Exchanges the stream for one that wraps it, as TLS does. Sequence numbers go on.
    ///
    /// # Errors
    /// [`Error::Malformed`] if bytes were read that belong to the old stream (they would have been sent in
    /// the clear although encryption was agreed on), or what `wrap` returns.
    pub fn wrap_stream<W>(
        self,
        wrap: impl FnOnce(R) -> std::io::Result<W>,
    ) -> Result<PacketReader<W>> {
        if self.has_buffered() {
            return Err(Error::malformed("packet", "bytes follow where encryption must begin"));
        }
        let Self { window, sequence, limit, parts, in_parts } = self;
        let window = window.wrap_stream(wrap)?;
        Ok(PacketReader { window, sequence, limit, parts, in_parts })
    }

    /// The stream alone.
    ///
    /// # Errors
    /// [`Error::Malformed`] if bytes of a further packet were already read from it.
    pub fn into_inner(self) -> Result<R> {
        if self.has_buffered() {
            return Err(Error::malformed("packet", "unread bytes are left in the buffer"));
        }
        Ok(self.window.stream)
    }
}

impl<R: Read> PacketReader<R> {
    /// The payload of the next packet, joined if it came in several. The slice is valid until the next call.
    ///
    /// # Errors
    /// [`Error::Io`] if the stream fails or ends; after a timeout the call may be repeated.
    /// [`Error::TooLarge`] past the limit, [`Error::Malformed`] if packets are out of order.
    #[inline]
    #[expect(clippy::should_implement_trait, reason = "the item borrows from the reader")]
    pub fn next(&mut self) -> Result<&[u8]> {
        loop {
            self.window.fill(HEADER_BYTES)?;
            let Some([a, b, c, sequence]) = self.window.bytes().first_chunk::<HEADER_BYTES>()
            else {
                return Err(Error::short("packet"));
            };
            let sequence = *sequence;
            let len = usize::from(*a) | usize::from(*b) << 8 | usize::from(*c) << 16;
            self.check_size(len)?;
            self.window.fill(HEADER_BYTES + len)?;
            if sequence != self.sequence {
                self.check_order()?;
            }
            self.sequence = sequence.wrapping_add(1);
            self.window.consume(HEADER_BYTES + len);
            if len < MAX_PAYLOAD && !self.in_parts {
                return Ok(self.window.consumed(len));
            }
            if !self.in_parts {
                self.parts.clear();
                self.parts.shrink_to(BUFFER_BYTES);
                self.in_parts = true;
            }
            self.parts.extend_from_slice(self.window.consumed(len));
            if len < MAX_PAYLOAD {
                self.in_parts = false;
                return Ok(&self.parts);
            }
        }
    }

    /// Only an error may come out of order: the server sends it whenever it ends a connection.
    fn check_order(&self) -> Result<()> {
        if !self.in_parts && self.window.bytes().get(HEADER_BYTES) == Some(&0xff) {
            return Ok(());
        }
        Err(Error::malformed("packet", "packets are out of order"))
    }

    fn check_size(&self, len: usize) -> Result<()> {
        let size = if self.in_parts { self.parts.len() + len } else { len };
        if size > self.limit {
            let (size, limit) = (size as u64, self.limit as u64);
            return Err(Error::TooLarge { what: "a packet", size, limit });
        }
        Ok(())
    }
}

impl<S: Write> PacketReader<S> {
    /// Starts a command: sends a payload with sequence number 0.
    ///
    /// # Errors
    /// [`Error::Io`] if the stream fails.
    pub fn send_command(&mut self, payload: &[u8]) -> Result<()> {
        self.sequence = 0;
        self.send(payload)
    }

    /// Sends a payload as the answer to the last packet.
    ///
    /// # Errors
    /// [`Error::Io`] if the stream fails.
    pub fn send(&mut self, payload: &[u8]) -> Result<()> {
        write_packet(&mut self.window.stream, &mut self.sequence, payload)
    }
}

/// Writes a payload as one packet, or as several if it has 16 MB or more, and flushes. `sequence` is the
/// number of the first and is moved past the last.
///
/// # Errors
/// [`Error::Io`] if the stream fails.
pub fn write_packet<W: Write>(stream: &mut W, sequence: &mut u8, payload: &[u8]) -> Result<()> {
    let mut rest = payload;
    loop {
        let (part, left) = rest.split_at(rest.len().min(MAX_PAYLOAD));
        let [a, b, c, ..] = (part.len() as u64).to_le_bytes();
        let mut bytes = Vec::with_capacity(HEADER_BYTES + part.len());
        bytes.extend([a, b, c, *sequence]);
        bytes.extend_from_slice(part);
        stream.write_all(&bytes)?;
        *sequence = sequence.wrapping_add(1);
        if part.len() < MAX_PAYLOAD {
            stream.flush()?;
            return Ok(());
        }
        rest = left;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{self, ErrorKind};

    /// Hands bytes out in portions of `step`, with a timeout before each.
    struct Slow {
        bytes: Vec<u8>,
        at: usize,
        step: usize,
        timed_out: bool,
    }

    impl Read for Slow {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.timed_out = !self.timed_out;
            if self.timed_out {
                return Err(ErrorKind::WouldBlock.into());
            }
            let count = self.step.min(buffer.len()).min(self.bytes.len() - self.at);
            buffer[..count].copy_from_slice(&self.bytes[self.at..self.at + count]);
            self.at += count;
            Ok(count)
        }
    }

    fn read_all(bytes: Vec<u8>, step: usize) -> Vec<Vec<u8>> {
        let mut reader = PacketReader::new(Slow { bytes, at: 0, step, timed_out: false });
        let mut packets = Vec::new();
        loop {
            match reader.next() {
                Ok(packet) => packets.push(packet.to_vec()),
                Err(error) if error.is_timeout() => {}
                Err(Error::Io(error)) if error.kind() == ErrorKind::UnexpectedEof => {
                    return packets;
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    #[test]
    fn packets_are_read_as_they_were_written_over_any_portions_and_timeouts() {
        let mut payloads: Vec<Vec<u8>> =
            [0, 1, 5, 70_000, 1_100_000].iter().map(|len| vec![3; *len]).collect();
        payloads.push(vec![7; MAX_PAYLOAD]);
        payloads.push(vec![8; MAX_PAYLOAD + 10]);
        payloads.push(vec![9; 3]);
        let mut bytes = Vec::new();
        let mut sequence = 0;
        for payload in &payloads {
            write_packet(&mut bytes, &mut sequence, payload).unwrap();
        }
        for step in [999, 65_536, usize::MAX] {
            assert!(read_all(bytes.clone(), step) == payloads, "portions of {step}");
        }
    }

    #[test]
    fn an_oversized_packet_is_refused_before_it_is_read() {
        let mut bytes = Vec::new();
        write_packet(&mut bytes, &mut 0, &[0; 100]).unwrap();
        let error = PacketReader::new(&bytes[..]).with_limit(99).next().unwrap_err().to_string();
        assert_eq!(error, "a packet of 100 bytes is larger than the limit of 99 bytes");
    }

    #[test]
    fn bytes_before_encryption_are_refused() {
        let mut bytes = Vec::new();
        write_packet(&mut bytes, &mut 0, b"greeting").unwrap();
        write_packet(&mut bytes, &mut 1, b"injected").unwrap();
        let mut reader = PacketReader::new(&bytes[..]);
        reader.next().unwrap();
        assert!(matches!(reader.wrap_stream(Ok), Err(Error::Malformed { .. })));
    }

    #[test]
    fn a_lost_packet_is_noticed() {
        let mut bytes = Vec::new();
        write_packet(&mut bytes, &mut 3, b"x").unwrap();
        assert!(matches!(PacketReader::new(&bytes[..]).next(), Err(Error::Malformed { .. })));
    }
}
