//! A file that is read in pieces, for Parquet's blocking reader.
//!
//! Pieces of an object are read in blocks, of which the last few are kept: pages of a column follow
//! one another, and a request costs more than its bytes.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use parking_lot::Mutex;
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::reader::{ChunkReader, Length};

use super::objects::ObjectPlace;
use super::{disk, io_runtime};
use crate::{Cause, Error};

const BLOCK_BYTES: u64 = 4 * 1024 * 1024;
const KEPT_BLOCKS: usize = 4;

/// Reads one file. Clones share the blocks that are kept.
#[derive(Clone, Debug)]
pub struct FileReader {
    source: Arc<Source>,
    size_bytes: u64,
    /// The last failure of storage; Parquet hands on its words only.
    failure: Arc<Mutex<Option<Error>>>,
}

#[derive(Debug)]
enum Source {
    Disk { file: File, path: PathBuf },
    Store { place: ObjectPlace, blocks: Mutex<VecDeque<(u64, Bytes)>> },
}

impl FileReader {
    pub(super) fn on_disk(path: &Path) -> Result<Self, Error> {
        let file = File::open(path).map_err(|error| Error::io("open", path, error))?;
        let metadata = file.metadata().map_err(|error| Error::io("look at", path, error))?;
        let source = Arc::new(Source::Disk { file, path: path.to_owned() });
        Ok(Self { source, size_bytes: metadata.len(), failure: Arc::default() })
    }

    pub(super) fn in_store(place: ObjectPlace) -> Result<Self, Error> {
        let of_size = place.clone();
        let size_bytes = io_runtime::wait(async move { of_size.size().await })??;
        let size_bytes = size_bytes.ok_or_else(|| Error::Storage {
            action: "open",
            path: place.location().into(),
            source: io::Error::from(io::ErrorKind::NotFound).into(),
        })?;
        let source = Arc::new(Source::Store { place, blocks: Mutex::default() });
        Ok(Self { source, size_bytes, failure: Arc::default() })
    }

    /// What a failure to make sense of this file really was: of storage, which may pass, or of the
    /// file itself.
    pub(crate) fn explain(&self, error: impl Into<Cause>) -> Error {
        let of_storage = self.failure.lock().take();
        of_storage.unwrap_or_else(|| Error::corrupt(self.name(), error))
    }

    fn name(&self) -> String {
        match self.source.as_ref() {
            Source::Disk { path, .. } => path.display().to_string(),
            Source::Store { place, .. } => place.location().to_owned(),
        }
    }

    /// The size of the file in bytes.
    #[must_use]
    pub const fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// A part of the file.
    ///
    /// # Errors
    /// [`Error::Storage`] names the file.
    pub fn read_at(&self, start: u64, length: usize) -> Result<Bytes, Error> {
        let end = start.saturating_add(length as u64);
        match self.source.as_ref() {
            Source::Disk { file, path } => disk::read_at(file, path, start..end),
            Source::Store { place, .. } if end > self.size_bytes => {
                Err(Error::corrupt(place.location(), "the file is shorter than it should be"))
            }
            Source::Store { place, blocks } => {
                let (first, last) = (start / BLOCK_BYTES, end.saturating_sub(1) / BLOCK_BYTES);
                if length as u64 >= BLOCK_BYTES {
                    return fetch(place, start..end);
                }
                let mut found = BytesMut::with_capacity(length);
                for number in first..=last.max(first) {
                    let block = self.block(place, blocks, number)?;
                    let at = number * BLOCK_BYTES;
                    let from = usize::try_from(start.saturating_sub(at)).map_err(Error::bug)?;
                    let to = usize::try_from(end - at).map_err(Error::bug)?.min(block.len());
                    found.extend_from_slice(block.get(from..to).unwrap_or_default());
                }
                Ok(found.freeze())
            }
        }
    }

    fn block(
        &self,
        place: &ObjectPlace,
        blocks: &Mutex<VecDeque<(u64, Bytes)>>,
        number: u64,
    ) -> Result<Bytes, Error> {
        let kept = blocks.lock().iter().find(|(kept, _)| *kept == number).cloned();
        if let Some((_, block)) = kept {
            return Ok(block);
        }
        let start = number * BLOCK_BYTES;
        let end = (start + BLOCK_BYTES).min(self.size_bytes);
        let block = fetch(place, start..end)?;
        let mut blocks = blocks.lock();
        if blocks.len() == KEPT_BLOCKS {
            blocks.pop_front();
        }
        blocks.push_back((number, block.clone()));
        Ok(block)
    }
}

fn fetch(place: &ObjectPlace, range: Range<u64>) -> Result<Bytes, Error> {
    let place = place.clone();
    io_runtime::wait(async move { place.read_range(range).await })?
}

impl Length for FileReader {
    fn len(&self) -> u64 {
        self.size_bytes
    }
}

impl ChunkReader for FileReader {
    type T = SequentialReader;

    fn get_read(&self, start: u64) -> ParquetResult<Self::T> {
        Ok(SequentialReader { file: self.clone(), at: start, buffer: Bytes::new() })
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        self.read_at(start, length).map_err(|error| {
            let words = error.to_string();
            self.failure.lock().replace(error);
            ParquetError::General(words)
        })
    }
}

/// Reads a file from a position on.
#[derive(Debug)]
pub struct SequentialReader {
    file: FileReader,
    at: u64,
    buffer: Bytes,
}

impl Read for SequentialReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        /// Headers of pages are small.
        const AHEAD_BYTES: u64 = 8 * 1024;
        if self.buffer.is_empty() {
            let left = self.file.size_bytes.saturating_sub(self.at);
            let length = usize::try_from(left.min(AHEAD_BYTES)).map_err(io::Error::other)?;
            self.buffer = self.file.read_at(self.at, length).map_err(|error| {
                let words = error.to_string();
                self.file.failure.lock().replace(error);
                io::Error::other(words)
            })?;
            self.at += length as u64;
        }
        let count = into.len().min(self.buffer.len());
        if let Some(into) = into.get_mut(..count) {
            self.buffer.copy_to_slice(into);
        }
        Ok(count)
    }
}
