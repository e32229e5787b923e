//! Object stores that misbehave.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
    UploadPart,
};
use parking_lot::Mutex;

use super::Storage;

/// A storage with a bucket in memory.
pub(crate) fn in_memory(bucket: &str) -> Storage {
    Storage::local().with_bucket(bucket, Arc::new(InMemory::new()))
}

/// A store that ignores `If-None-Match`, as old ones do.
#[derive(Debug)]
pub(crate) struct Forgetful(InMemory);

impl Forgetful {
    pub(crate) fn new(store: InMemory) -> Self {
        Self(store)
    }
}

/// What goes wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// It is refused: the store has too much to do.
    Throttled,
    /// It breaks off on the way, and nothing is stored.
    Torn,
    /// It is done, and the answer is lost.
    AnswerLost,
}

/// A store whose requests fail as a script says, one fault for each.
pub(crate) struct Faulty {
    store: Arc<InMemory>,
    script: Arc<Mutex<Script>>,
}

/// Faults by a small generator of numbers, so that a seed tells the whole story.
pub(crate) struct Script {
    state: u64,
    /// How many of a hundred requests fail.
    percent: u64,
}

impl Script {
    fn next(&mut self) -> Fault {
        // Xorshift; any spread of bits will do.
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        if self.state % 100 >= self.percent {
            return Fault::None;
        }
        match (self.state >> 32) % 3 {
            0 => Fault::Throttled,
            1 => Fault::Torn,
            _ => Fault::AnswerLost,
        }
    }
}

impl Faulty {
    /// A store over `store` that fails `percent` of a hundred requests.
    pub(crate) fn new(store: Arc<InMemory>, seed: u64, percent: u64) -> Self {
        let state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        Self { store, script: Arc::new(Mutex::new(Script { state, percent })) }
    }

    fn fault(&self) -> Fault {
        self.script.lock().next()
    }
}

fn failed(fault: Fault) -> Error {
    Error::Generic { store: "faulty", source: format!("{fault:?}").into() }
}

/// Runs a request with a fault.
macro_rules! with_fault {
    ($fault:expr, $request:expr) => {
        match $fault {
            Fault::None => $request,
            Fault::AnswerLost => {
                drop($request);
                Err(failed(Fault::AnswerLost))
            }
            fault => Err(failed(fault)),
        }
    };
}

impl fmt::Debug for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faulty")
    }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faulty")
    }
}

impl fmt::Display for Forgetful {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Forgetful")
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(
        &self,
        path: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        with_fault!(self.fault(), self.store.put_opts(path, payload, options).await)
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let upload = with_fault!(self.fault(), self.store.put_multipart_opts(path, options).await)?;
        Ok(Box::new(FaultyUpload { upload, script: Arc::clone(&self.script) }))
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        with_fault!(self.fault(), self.store.get_opts(path, options).await)
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        match self.fault() {
            Fault::None => self.store.delete_stream(paths),
            fault => futures::stream::iter([Err(failed(fault))]).boxed(),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.fault() {
            Fault::None => self.store.list(prefix),
            fault => futures::stream::iter([Err(failed(fault))]).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        with_fault!(self.fault(), self.store.list_with_delimiter(prefix).await)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        with_fault!(self.fault(), self.store.copy_opts(from, to, options).await)
    }
}

#[derive(Debug)]
struct FaultyUpload {
    upload: Box<dyn MultipartUpload>,
    script: Arc<Mutex<Script>>,
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Script")
    }
}

#[async_trait]
impl MultipartUpload for FaultyUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let fault = self.script.lock().next();
        let part = self.upload.put_part(data);
        Box::pin(async move { with_fault!(fault, part.await) })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let fault = self.script.lock().next();
        with_fault!(fault, self.upload.complete().await)
    }

    async fn abort(&mut self) -> Result<()> {
        self.upload.abort().await
    }
}

#[async_trait]
impl ObjectStore for Forgetful {
    async fn put_opts(
        &self,
        path: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let options = PutOptions { mode: PutMode::Overwrite, ..options };
        self.0.put_opts(path, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.0.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.0.get_opts(path, options).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.0.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.0.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.0.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.0.copy_opts(from, to, options).await
    }
}
