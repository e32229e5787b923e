//! A file that is written piece by piece.
//!
//! In a store, pieces are collected into parts and sent while the next ones are made; at most
//! [`PARTS_IN_FLIGHT`] are in memory. Nothing is visible before [`FileWriter::finish`]. A writer
//! that is dropped earlier removes what it has written.

use std::collections::VecDeque;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use bytes::{Bytes, BytesMut};
use object_store::{Error as StoreError, MultipartUpload, ObjectStoreExt, PutPayload};

use super::objects::ObjectPlace;
use super::{disk, io_runtime};
use crate::Error;

/// Parts are of this size, except the last. A file of up to this size is one request.
const PART_BYTES: usize = 16 * 1024 * 1024;
/// How many parts may be on their way.
const PARTS_IN_FLIGHT: usize = 3;

/// Writes one new file.
#[derive(Debug)]
pub struct FileWriter {
    target: Target,
    written_bytes: u64,
    is_finished: bool,
}

#[derive(Debug)]
enum Target {
    Disk { file: File, path: PathBuf },
    Store(Upload),
}

impl FileWriter {
    pub(super) fn on_disk(path: PathBuf) -> Result<Self, Error> {
        let file = disk::create_new(&path)?;
        Ok(Self { target: Target::Disk { file, path }, written_bytes: 0, is_finished: false })
    }

    pub(super) fn in_store(place: ObjectPlace) -> Self {
        let upload =
            Upload { place, pending: BytesMut::new(), multipart: None, in_flight: VecDeque::new() };
        Self { target: Target::Store(upload), written_bytes: 0, is_finished: false }
    }

    /// Ends the file, waits until its content is durable, and returns its size in bytes. On a local
    /// disk its entry in the folder is not durable yet; see [`super::Storage::sync_folder`].
    ///
    /// # Errors
    /// [`Error::Storage`] names the file, which is removed when the writer is dropped.
    pub fn finish(&mut self) -> Result<u64, Error> {
        match &mut self.target {
            Target::Disk { file, path } => {
                file.sync_all().map_err(|error| Error::io("sync", path, error))?;
            }
            Target::Store(upload) => upload.finish(self.written_bytes)?,
        }
        self.is_finished = true;
        Ok(self.written_bytes)
    }
}

impl Write for FileWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = match &mut self.target {
            Target::Disk { file, .. } => file.write(bytes)?,
            Target::Store(upload) => {
                upload.write(bytes).map_err(io::Error::other)?;
                bytes.len()
            }
        };
        self.written_bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for FileWriter {
    fn drop(&mut self) {
        if self.is_finished {
            return;
        }
        match &mut self.target {
            Target::Disk { path, .. } => {
                if let Err(error) = fs::remove_file(&path) {
                    tracing::debug!(path = %path.display(), %error, "unfinished file stays behind");
                }
            }
            Target::Store(upload) => upload.abort(),
        }
    }
}

/// A file on its way into a store.
struct Upload {
    place: ObjectPlace,
    /// Less than a part.
    pending: BytesMut,
    /// Present from the first full part on.
    multipart: Option<Box<dyn MultipartUpload>>,
    in_flight: VecDeque<Receiver<Result<(), StoreError>>>,
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Upload").field(&self.place).finish()
    }
}

impl Upload {
    fn write(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            let room = PART_BYTES - self.pending.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.pending.extend_from_slice(now);
            bytes = later;
            if self.pending.len() == PART_BYTES {
                self.send_part()?;
            }
        }
        Ok(())
    }

    fn send_part(&mut self) -> Result<(), Error> {
        while self.in_flight.len() >= PARTS_IN_FLIGHT {
            self.await_part()?;
        }
        let multipart = match &mut self.multipart {
            Some(multipart) => multipart,
            None => {
                let (store, path) = (Arc::clone(self.place.store()), self.place.path().clone());
                let begun = io_runtime::wait(async move { store.put_multipart(&path).await })?;
                let begun = begun.map_err(|error| self.place.error("begin to write", error))?;
                self.multipart.insert(begun)
            }
        };
        let part = PutPayload::from_bytes(self.pending.split().freeze());
        let sending = multipart.put_part(part);
        let (done, receiver) = channel();
        io_runtime::start(async move {
            // Nobody waits any more if the file was given up.
            drop(done.send(sending.await));
        })?;
        self.in_flight.push_back(receiver);
        Ok(())
    }

    fn await_part(&mut self) -> Result<(), Error> {
        let Some(part) = self.in_flight.pop_front() else { return Ok(()) };
        part.recv().map_err(Error::bug)?.map_err(|error| self.place.error("write", error))
    }

    fn finish(&mut self, size_bytes: u64) -> Result<(), Error> {
        if self.multipart.is_none() {
            let (place, bytes) = (self.place.clone(), Bytes::from(self.pending.split()));
            return io_runtime::wait(async move { place.put(bytes).await })?;
        }
        if !self.pending.is_empty() {
            self.send_part()?;
        }
        while !self.in_flight.is_empty() {
            self.await_part()?;
        }
        let Some(multipart) = self.multipart.take() else {
            return Err(Error::bug("no upload to finish"));
        };
        let place = self.place.clone();
        io_runtime::wait(async move { complete(&place, multipart, size_bytes).await })?
    }

    fn abort(&mut self) {
        let Some(mut multipart) = self.multipart.take() else { return };
        let location = self.place.location().to_owned();
        let started = io_runtime::start(async move {
            if let Err(error) = multipart.abort().await {
                tracing::debug!(%location, %error, "unfinished upload stays behind");
            }
        });
        if let Err(error) = started {
            tracing::debug!(%error, "unfinished upload stays behind");
        }
    }
}

/// Makes a file of the parts. The file's name is new, so whatever is there afterwards is this file:
/// then only an answer was lost.
async fn complete(
    place: &ObjectPlace,
    mut multipart: Box<dyn MultipartUpload>,
    size_bytes: u64,
) -> Result<(), Error> {
    let Err(failure) = multipart.complete().await else { return Ok(()) };
    let found = place.store().head(place.path()).await;
    if found.is_ok_and(|meta| meta.size == size_bytes) {
        return Ok(());
    }
    if let Err(error) = multipart.abort().await {
        tracing::debug!(location = place.location(), %error, "unfinished upload stays behind");
    }
    Err(place.error("write", failure))
}
