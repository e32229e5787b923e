//! Files as objects of a bucket.
//!
//! The client retries what failed for a moment (5xx, throttling, broken connections). What it
//! cannot retry by itself is an exclusive write whose answer was lost; here the object is read back
//! and its bytes tell whose it is.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    Error as StoreError, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload,
};

use super::{StoredFile, io_runtime};
use crate::Error;

/// How often an exclusive write is tried.
const PUT_ATTEMPTS: u32 = 5;

/// The bucket and the key of a location with a scheme.
pub(super) fn split(location: &str) -> Result<(&str, &str), Error> {
    let rest = location.split_once("://").map_or(location, |(_, rest)| rest);
    let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() {
        return Err(Error::Invalid(format!("location '{location}' names no bucket")));
    }
    Ok((bucket, key))
}

/// A key in a bucket.
#[derive(Clone)]
pub(super) struct ObjectPlace {
    store: Arc<dyn ObjectStore>,
    path: Path,
    location: Arc<str>,
}

impl fmt::Debug for ObjectPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ObjectPlace").field(&self.location).finish()
    }
}

impl ObjectPlace {
    pub(super) fn new(
        store: Arc<dyn ObjectStore>,
        location: &str,
        key: &str,
    ) -> Result<Self, Error> {
        let path = Path::parse(key).map_err(|error| {
            Error::Invalid(format!(
                "location '{location}' has a key that is not supported: {error}"
            ))
        })?;
        Ok(Self { store, path, location: location.into() })
    }

    pub(super) fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    pub(super) const fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn location(&self) -> &str {
        &self.location
    }

    pub(super) fn error(&self, action: &'static str, error: StoreError) -> Error {
        Error::Storage { action, path: self.location.as_ref().into(), source: error.into() }
    }

    /// Does `work` on the network threads.
    async fn with<T: Send + 'static, F>(
        &self,
        action: &'static str,
        work: impl FnOnce(Arc<dyn ObjectStore>, Path) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        io_runtime::run(work(Arc::clone(&self.store), self.path.clone()))
            .await?
            .map_err(|error| self.error(action, error))
    }

    pub(super) async fn read(&self) -> Result<Bytes, Error> {
        self.with("read", |store, path| async move { store.get(&path).await?.bytes().await }).await
    }

    pub(super) async fn read_range(&self, range: Range<u64>) -> Result<Bytes, Error> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let wanted = range.end - range.start;
        let bytes = self
            .with("read", |store, path| async move { store.get_range(&path, range).await })
            .await?;
        if bytes.len() as u64 == wanted {
            return Ok(bytes);
        }
        Err(Error::corrupt(self.location(), "the file is shorter than it should be"))
    }

    pub(super) async fn size(&self) -> Result<Option<u64>, Error> {
        let found = self.with("look at", |store, path| async move {
            match store.head(&path).await {
                Ok(meta) => Ok(Some(meta.size)),
                Err(StoreError::NotFound { .. }) => Ok(None),
                Err(error) => Err(error),
            }
        });
        found.await
    }

    pub(super) async fn put(&self, bytes: Bytes) -> Result<(), Error> {
        let write = |store: Arc<dyn ObjectStore>, path: Path| async move {
            store.put(&path, PutPayload::from_bytes(bytes)).await.map(drop)
        };
        self.with("write", write).await
    }

    pub(super) async fn put_if_absent(&self, bytes: Bytes) -> Result<bool, Error> {
        let place = self.clone();
        io_runtime::run(async move { place.try_put_if_absent(&bytes).await }).await?
    }

    async fn try_put_if_absent(&self, bytes: &Bytes) -> Result<bool, Error> {
        let mut attempt = 1;
        loop {
            let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
            let payload = PutPayload::from_bytes(bytes.clone());
            let failure = match self.store.put_opts(&self.path, payload, options).await {
                Ok(_) => return Ok(true),
                Err(StoreError::NotImplemented { .. } | StoreError::NotSupported { .. }) => {
                    return Err(no_exclusive_writes(&self.location));
                }
                Err(error) => error,
            };
            // Whatever the answer was: what is there now tells who has made it.
            match self.store.get(&self.path).await {
                Ok(found) => {
                    let found = found.bytes().await.map_err(|error| self.error("read", error))?;
                    return Ok(found == *bytes);
                }
                Err(StoreError::NotFound { .. }) if attempt < PUT_ATTEMPTS => {
                    tracing::debug!(location = %self.location, error = %failure, "trying once more");
                }
                Err(_) => return Err(self.error("write", failure)),
            }
            tokio::time::sleep(Duration::from_millis(25) * 2_u32.pow(attempt)).await;
            attempt += 1;
        }
    }

    pub(super) async fn list(&self) -> Result<Vec<StoredFile>, Error> {
        let found = self
            .with("list", |store, path| async move {
                let prefix = Some(path).filter(|path| *path != Path::ROOT);
                store.list(prefix.as_ref()).try_collect::<Vec<_>>().await
            })
            .await?;
        let root = self.root();
        let file = |meta: object_store::ObjectMeta| StoredFile {
            location: format!("{root}{}", meta.location),
            size_bytes: meta.size,
            modified_ms: meta.last_modified.timestamp_millis(),
        };
        Ok(found.into_iter().map(file).collect())
    }

    /// Whether there is an object below this key.
    pub(super) async fn has_any(&self) -> Result<bool, Error> {
        self.with("list", |store, path| async move {
            let first = store.list(Some(&path)).try_next().await?;
            Ok(first.is_some())
        })
        .await
    }

    pub(super) async fn list_folders(&self) -> Result<Vec<String>, Error> {
        let found = self
            .with("list", |store, path| async move {
                let prefix = Some(path).filter(|path| *path != Path::ROOT);
                store.list_with_delimiter(prefix.as_ref()).await
            })
            .await?;
        let names = found.common_prefixes.iter().filter_map(Path::filename).map(str::to_owned);
        let mut names: Vec<String> = names.filter(|name| !name.starts_with('.')).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// The location up to the key.
    fn root(&self) -> &str {
        let scheme = self.location.find("://").map_or(0, |at| at + 3);
        let bucket = self.location.get(scheme..).and_then(|rest| rest.find('/'));
        let end = bucket.map_or(self.location.len(), |at| scheme + at + 1);
        self.location.get(..end).unwrap_or_default()
    }
}

/// The refusal of a store that overwrites where it should not.
pub(crate) fn no_exclusive_writes(location: &str) -> Error {
    Error::Invalid(format!(
        "the object store of '{location}' has no conditional writes (If-None-Match), which a Hadoop \
         catalog on an object store needs; use a REST or SQL catalog for this warehouse"
    ))
}

/// Removes objects, a thousand with each request; missing ones are no failure.
pub(super) async fn delete(places: Vec<ObjectPlace>) -> Result<(), Error> {
    let mut by_store: Vec<(Arc<dyn ObjectStore>, Vec<ObjectPlace>)> = Vec::new();
    for place in places {
        match by_store.iter_mut().find(|(store, _)| Arc::ptr_eq(store, &place.store)) {
            Some((_, places)) => places.push(place),
            None => by_store.push((Arc::clone(&place.store), vec![place])),
        }
    }
    let mut failure = None;
    for (store, places) in by_store {
        let Some(first) = places.first().cloned() else { continue };
        let paths: Vec<Path> = places.into_iter().map(|place| place.path).collect();
        let removed = io_runtime::run(async move {
            let paths = futures::stream::iter(paths.into_iter().map(Ok)).boxed();
            let mut results = store.delete_stream(paths);
            let mut failure = None;
            while let Some(result) = results.next().await {
                match result {
                    Ok(_) | Err(StoreError::NotFound { .. }) => {}
                    Err(error) => {
                        failure.get_or_insert(error);
                    }
                }
            }
            failure
        });
        if let Some(error) = removed.await? {
            failure.get_or_insert(first.error("remove", error));
        }
    }
    failure.map_or(Ok(()), Err)
}
