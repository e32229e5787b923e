//! Where files are: a local disk, or an object store that speaks S3.
//!
//! A [`Storage`] is chosen by the scheme of each location as it stands in metadata (a plain
//! absolute path, `file:`, `s3:`, `s3a:`), so one table may have files in several places.
//! Credentials live here only: they are never part of a table, of an error or of a debug print.
//!
//! What is written with one call is there in full or not at all. On a local disk a file is durable
//! when its content *and* its entry in the folder are: [`FileWriter::finish`] and
//! [`Storage::file_io`] sync the content, [`Storage::sync_folder`] the entries, and all other calls
//! both. On an object store a finished file is durable.

mod disk;
mod file_io;
mod file_reader;
mod file_writer;
mod io_runtime;
mod objects;
mod s3;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
pub(crate) use disk::{create_dirs, local_path, publish, sync_dir, write_durably};
pub use file_reader::FileReader;
pub use file_writer::FileWriter;
use iceberg::io::{FileIO, FileIOBuilder};
pub(crate) use io_runtime::{pause, run as run_on_network, run_blocking};
use object_store::ObjectStore;
use objects::ObjectPlace;
pub(crate) use objects::no_exclusive_writes;
use parking_lot::Mutex;
use s3::S3Options;
pub(crate) use s3::{CredentialSource, S3Credentials};

use crate::Error;

/// A file that a listing found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredFile {
    /// Where it is, with the scheme of the location that was listed.
    pub location: String,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// When it was last written, in milliseconds since 1970.
    pub modified_ms: i64,
}

/// Reads and writes files by location. Cheap to clone; clones share connections.
///
/// The async methods may be awaited on any executor, `futures::executor::block_on` among them:
/// network work runs on threads of this module. Those on a local disk block for as long as the disk
/// takes.
#[derive(Clone)]
pub struct Storage {
    shared: Arc<Shared>,
}

struct Shared {
    s3: S3Options,
    /// Credentials that are renewed, in the place of those of the options.
    credentials: Option<Arc<dyn CredentialSource>>,
    /// One store for each bucket in use.
    stores: Mutex<BTreeMap<String, Arc<dyn ObjectStore>>>,
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Storage").finish_non_exhaustive()
    }
}

/// Where a location leads.
enum Place {
    Disk(PathBuf),
    Object(ObjectPlace),
}

impl Storage {
    /// A storage that reads the `s3.*` and `client.region` options of a catalog; without them, what
    /// the environment says (`AWS_ACCESS_KEY_ID`, `AWS_REGION`, … or the machine's role) is used
    /// for `s3:` locations. Does no I/O.
    ///
    /// # Errors
    /// [`Error::Invalid`] names the option that is wrong or not supported.
    pub fn from_options<'a>(
        options: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, Error> {
        Ok(Self::new(S3Options::default().overlaid(options)?, None))
    }

    /// A storage without options.
    #[must_use]
    pub fn local() -> Self {
        Self::new(S3Options::default(), None)
    }

    fn new(s3: S3Options, credentials: Option<Arc<dyn CredentialSource>>) -> Self {
        Self { shared: Arc::new(Shared { s3, credentials, stores: Mutex::default() }) }
    }

    /// The same storage with what a catalog says about one table.
    pub(crate) fn overlaid<'a>(
        &self,
        options: impl IntoIterator<Item = (&'a str, &'a str)>,
        credentials: Option<Arc<dyn CredentialSource>>,
    ) -> Result<Self, Error> {
        Ok(Self::new(self.shared.s3.clone().overlaid(options)?, credentials))
    }

    /// Puts a store of its own behind a bucket, for example one that fails on purpose.
    #[cfg(test)]
    pub(crate) fn with_bucket(self, bucket: &str, store: Arc<dyn ObjectStore>) -> Self {
        self.shared.stores.lock().insert(bucket.to_owned(), store);
        self
    }

    /// Whether an option of a catalog is one of storage, and so perhaps a secret.
    #[must_use]
    pub fn is_option(key: &str) -> bool {
        S3Options::knows(key)
    }

    /// The keys of these options.
    pub(crate) fn option_keys() -> impl Iterator<Item = &'static str> {
        s3::KEYS.into_iter()
    }

    /// Whether a location is in a place that is supported.
    ///
    /// # Errors
    /// [`Error::Invalid`] names the place.
    pub(crate) fn check(&self, location: &str) -> Result<(), Error> {
        self.place(location).map(drop)
    }

    fn place(&self, location: &str) -> Result<Place, Error> {
        let scheme = match location.split_once("://") {
            Some((scheme, _)) if !location.starts_with('/') => scheme,
            _ => return local_path(location).map(Place::Disk),
        };
        match scheme {
            "file" => local_path(location).map(Place::Disk),
            "s3" | "s3a" | "s3n" => self.object_place(location).map(Place::Object),
            "hdfs" | "viewfs" | "webhdfs" => Err(Error::Invalid(format!(
                "location '{location}' is on HDFS, which is not supported; use a local path, or \
                 object storage that speaks S3 (s3://bucket/…)"
            ))),
            _ => Err(Error::Invalid(format!(
                "location '{location}' has the scheme '{scheme}', which is not supported; use a local \
                 path, file:///… or s3://bucket/…"
            ))),
        }
    }

    fn object_place(&self, location: &str) -> Result<ObjectPlace, Error> {
        let (bucket, key) = objects::split(location)?;
        let mut stores = self.shared.stores.lock();
        let store = match stores.get(bucket) {
            Some(store) => Arc::clone(store),
            None => {
                let store = self.shared.s3.bucket(bucket, self.shared.credentials.as_ref())?;
                stores.insert(bucket.to_owned(), Arc::clone(&store));
                store
            }
        };
        ObjectPlace::new(store, location, key)
    }

    /// A whole file.
    ///
    /// # Errors
    /// [`Error::Storage`] names the file; [`Error::is_missing_file`] tells whether it is not there.
    pub async fn read(&self, location: &str) -> Result<Bytes, Error> {
        match self.place(location)? {
            Place::Disk(path) => disk::read(&path),
            Place::Object(place) => place.read().await,
        }
    }

    /// A part of a file. A range that ends behind the file's end is a failure.
    ///
    /// # Errors
    /// As of [`Self::read`].
    pub async fn read_range(&self, location: &str, range: Range<u64>) -> Result<Bytes, Error> {
        match self.place(location)? {
            Place::Disk(path) => disk::read_range(&path, range),
            Place::Object(place) => place.read_range(range).await,
        }
    }

    /// The size of a file in bytes; none if there is no such file.
    ///
    /// # Errors
    /// [`Error::Storage`] names the file.
    pub async fn size(&self, location: &str) -> Result<Option<u64>, Error> {
        match self.place(location)? {
            Place::Disk(path) => disk::size(&path),
            Place::Object(place) => place.size().await,
        }
    }

    /// Writes a file durably, in the place of one that is there.
    ///
    /// # Errors
    /// [`Error::Storage`] names the file; the old file is as it was, or replaced in full.
    pub async fn put(&self, location: &str, bytes: Bytes) -> Result<(), Error> {
        match self.place(location)? {
            Place::Disk(path) => disk::put(&path, &bytes),
            Place::Object(place) => place.put(bytes).await,
        }
    }

    /// Writes a new file; its content is durable, its entry in the folder not yet.
    pub(crate) async fn write_content(&self, location: &str, bytes: Bytes) -> Result<(), Error> {
        match self.place(location)? {
            Place::Disk(path) => disk::write_content(&path, &bytes),
            Place::Object(place) => place.put(bytes).await,
        }
    }

    /// Writes a file durably if there is none: of two that try, exactly one gets `true`. A file of
    /// exactly these bytes counts as ours, because an answer may have been lost; so let the bytes
    /// be unique.
    ///
    /// # Errors
    /// [`Error::Storage`] names the file, and it is not known whether it was written;
    /// [`Error::Invalid`] if the storage cannot do it exclusively.
    pub async fn put_if_absent(&self, location: &str, bytes: Bytes) -> Result<bool, Error> {
        match self.place(location)? {
            Place::Disk(path) => disk::put_if_absent(&path, &bytes),
            Place::Object(place) => place.put_if_absent(bytes).await,
        }
    }

    /// All files whose location is below the folder `prefix`, in no order. None is no failure.
    ///
    /// # Errors
    /// [`Error::Storage`] names the folder.
    pub async fn list(&self, prefix: &str) -> Result<Vec<StoredFile>, Error> {
        match self.place(prefix)? {
            Place::Disk(path) => disk::list(&path, prefix),
            Place::Object(place) => place.list().await,
        }
    }

    /// Whether there is any file below a folder. Object stores may show folders that have become
    /// empty.
    ///
    /// # Errors
    /// [`Error::Storage`] names the folder.
    pub async fn has_files(&self, folder: &str) -> Result<bool, Error> {
        match self.place(folder)? {
            Place::Disk(path) => Ok(!disk::list(&path, folder)?.is_empty()),
            Place::Object(place) => place.has_any().await,
        }
    }

    /// The names of the folders right below a folder, sorted, without hidden ones.
    ///
    /// # Errors
    /// [`Error::Storage`] names the folder.
    pub async fn list_folders(&self, folder: &str) -> Result<Vec<String>, Error> {
        match self.place(folder)? {
            Place::Disk(path) => disk::list_folders(&path),
            Place::Object(place) => place.list_folders().await,
        }
    }

    /// Removes files; those that are not there are no failure. All are tried.
    ///
    /// # Errors
    /// [`Error::Storage`] names the first that could not be removed.
    pub async fn delete(&self, locations: &[String]) -> Result<(), Error> {
        let mut places = Vec::new();
        let mut failure = None;
        for location in locations {
            match self.place(location)? {
                Place::Disk(path) => {
                    if let Err(error) = disk::delete(&path) {
                        failure.get_or_insert(error);
                    }
                }
                Place::Object(place) => places.push(place),
            }
        }
        if let Err(error) = objects::delete(places).await {
            failure.get_or_insert(error);
        }
        failure.map_or(Ok(()), Err)
    }

    /// Begins a new file that is written piece by piece, its folder made if it is missing. The name
    /// must be new: a file on disk is refused, an object may be replaced. Writing blocks, so it
    /// belongs on a thread of its own.
    ///
    /// # Errors
    /// [`Error::Storage`] if it cannot be made.
    pub fn create(&self, location: &str) -> Result<FileWriter, Error> {
        match self.place(location)? {
            Place::Disk(path) => FileWriter::on_disk(path),
            Place::Object(place) => Ok(FileWriter::in_store(place)),
        }
    }

    /// Opens a file for reading in pieces. It blocks while it is read, so it belongs on a thread of
    /// its own.
    ///
    /// # Errors
    /// As of [`Self::read`].
    pub fn open(&self, location: &str) -> Result<FileReader, Error> {
        match self.place(location)? {
            Place::Disk(path) => FileReader::on_disk(&path),
            Place::Object(place) => FileReader::in_store(place),
        }
    }

    /// Waits until the entries of a folder are on disk. Nothing is to be waited for on an object
    /// store.
    ///
    /// # Errors
    /// [`Error::Storage`] names the folder.
    pub fn sync_folder(&self, folder: &str) -> Result<(), Error> {
        match self.place(folder)? {
            Place::Disk(path) => sync_dir(&path),
            Place::Object(_) => Ok(()),
        }
    }

    /// The same storage for the `iceberg` crate's own reading and writing. The content of a file
    /// that it wrote is durable.
    #[must_use]
    pub fn file_io(&self) -> FileIO {
        FileIOBuilder::new(Arc::new(file_io::Factory(self.clone()))).build()
    }
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
pub(crate) mod tests;
