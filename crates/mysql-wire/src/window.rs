//! A buffer that slides over a stream: bytes are read ahead in bulk and handed out as slices.
//!
//! Invariant: `start <= end <= buffer.len()`; bytes outside `start..end` mean nothing. A read that fails
//! changes nothing but `end`, so after a timeout it can be repeated. The buffer grows only as bytes arrive.

use std::io::{ErrorKind, Read};

use crate::error::{Error, Result};

#[derive(Debug)]
pub(crate) struct Window<R> {
    pub(crate) stream: R,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    usual_len: usize,
}

impl<R> Window<R> {
    /// A window whose buffer has `usual_len` bytes, except while something larger is in it.
    pub(crate) fn new(stream: R, usual_len: usize) -> Self {
        Self { stream, buffer: vec![0; usual_len], start: 0, end: 0, usual_len }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Exchanges the stream of an empty window.
    pub(crate) fn wrap_stream<W>(
        self,
        wrap: impl FnOnce(R) -> std::io::Result<W>,
    ) -> Result<Window<W>> {
        let Self { stream, buffer, start, end, usual_len } = self;
        Ok(Window { stream: wrap(stream)?, buffer, start, end, usual_len })
    }

    /// What has been read and not consumed.
    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    /// The `len` bytes before what has not been consumed.
    #[inline]
    pub(crate) fn consumed(&self, len: usize) -> &[u8] {
        self.buffer.get(self.start.saturating_sub(len)..self.start).unwrap_or_default()
    }

    /// Gives up the first `len` bytes; they stay readable through [`Self::consumed`] until the next read.
    #[inline]
    pub(crate) fn consume(&mut self, len: usize) {
        self.start = (self.start + len).min(self.end);
    }
}

impl<R: Read> Window<R> {
    /// Makes at least `need` bytes readable.
    #[inline]
    pub(crate) fn fill(&mut self, need: usize) -> Result<()> {
        if self.end - self.start >= need { Ok(()) } else { self.fill_slowly(need) }
    }

    #[inline(never)]
    fn fill_slowly(&mut self, need: usize) -> Result<()> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            if self.buffer.len() > self.usual_len && need <= self.usual_len {
                self.buffer.truncate(self.usual_len);
                self.buffer.shrink_to_fit();
            }
        }
        while self.end - self.start < need {
            if self.start + need > self.buffer.len() && self.start > 0 {
                self.buffer.copy_within(self.start..self.end, 0);
                self.end -= self.start;
                self.start = 0;
            }
            if self.end == self.buffer.len() {
                let larger = self.buffer.len().saturating_mul(2).max(64).min(need);
                self.buffer.resize(larger.max(self.end + 1), 0);
            }
            let free = self.buffer.get_mut(self.end..).unwrap_or_default();
            match self.stream.read(free) {
                Ok(0) => return Err(Error::Io(ErrorKind::UnexpectedEof.into())),
                Ok(count) => self.end = (self.end + count).min(self.buffer.len()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::Io(error)),
            }
        }
        Ok(())
    }
}
