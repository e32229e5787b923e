//! Our storage behind the `iceberg` crate's own reading and writing of manifests.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use futures::stream::BoxStream;
use iceberg::io::{
    FileMetadata, FileRead, FileWrite, InputFile, OutputFile, Storage as IcebergStorage,
    StorageConfig, StorageFactory,
};
use iceberg::{Error as IcebergError, ErrorKind, Result};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Storage;
use crate::Error;

/// Hands out one storage.
#[derive(Clone, Debug)]
pub(super) struct Factory(pub(super) Storage);

/// A storage as the `iceberg` crate wants it.
#[derive(Clone, Debug)]
struct Adapter(Storage);

/// The trait asks for these two, to send a storage elsewhere. Ours holds credentials, so it
/// refuses.
macro_rules! never_serialized {
    ($name:ident) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, _: S) -> std::result::Result<S::Ok, S::Error> {
                Err(serde::ser::Error::custom("a storage with credentials is not written anywhere"))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(_: D) -> std::result::Result<Self, D::Error> {
                Err(serde::de::Error::custom(
                    "a storage with credentials is not read from anywhere",
                ))
            }
        }
    };
}

never_serialized!(Factory);
never_serialized!(Adapter);

fn foreign(error: Error) -> IcebergError {
    IcebergError::new(ErrorKind::Unexpected, error.to_string()).with_source(error)
}

#[typetag::serde(name = "ShardlakeStorageFactory")]
impl StorageFactory for Factory {
    fn build(&self, _: &StorageConfig) -> Result<Arc<dyn IcebergStorage>> {
        Ok(Arc::new(Adapter(self.0.clone())))
    }
}

#[async_trait]
#[typetag::serde(name = "ShardlakeStorage")]
impl IcebergStorage for Adapter {
    async fn exists(&self, path: &str) -> Result<bool> {
        Ok(self.0.size(path).await.map_err(foreign)?.is_some())
    }

    async fn metadata(&self, path: &str) -> Result<FileMetadata> {
        match self.0.size(path).await.map_err(foreign)? {
            Some(size) => Ok(FileMetadata { size }),
            None => Err(IcebergError::new(ErrorKind::DataInvalid, format!("{path} is missing"))),
        }
    }

    async fn read(&self, path: &str) -> Result<Bytes> {
        self.0.read(path).await.map_err(foreign)
    }

    async fn reader(&self, path: &str) -> Result<Box<dyn FileRead>> {
        Ok(Box::new(Reader { storage: self.0.clone(), path: path.to_owned() }))
    }

    async fn write(&self, path: &str, bytes: Bytes) -> Result<()> {
        self.0.put(path, bytes).await.map_err(foreign)
    }

    async fn writer(&self, path: &str) -> Result<Box<dyn FileWrite>> {
        let storage = self.0.clone();
        Ok(Box::new(Writer { storage, path: path.to_owned(), content: Some(BytesMut::new()) }))
    }

    async fn delete(&self, path: &str) -> Result<()> {
        self.0.delete(&[path.to_owned()]).await.map_err(foreign)
    }

    async fn delete_prefix(&self, path: &str) -> Result<()> {
        let files = self.0.list(path).await.map_err(foreign)?;
        let files: Vec<String> = files.into_iter().map(|file| file.location).collect();
        self.0.delete(&files).await.map_err(foreign)
    }

    async fn delete_stream(&self, paths: BoxStream<'static, String>) -> Result<()> {
        self.0.delete(&paths.collect::<Vec<_>>().await).await.map_err(foreign)
    }

    fn new_input(&self, path: &str) -> Result<InputFile> {
        Ok(InputFile::new(Arc::new(self.clone()), path.to_owned()))
    }

    fn new_output(&self, path: &str) -> Result<OutputFile> {
        Ok(OutputFile::new(Arc::new(self.clone()), path.to_owned()))
    }
}

struct Reader {
    storage: Storage,
    path: String,
}

#[async_trait]
impl FileRead for Reader {
    async fn read(&self, range: Range<u64>) -> Result<Bytes> {
        self.storage.read_range(&self.path, range).await.map_err(foreign)
    }
}

/// Manifests and lists are small: they are collected and written with one call.
struct Writer {
    storage: Storage,
    path: String,
    /// None once the file is closed.
    content: Option<BytesMut>,
}

#[async_trait]
impl FileWrite for Writer {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        match &mut self.content {
            Some(content) => content.extend_from_slice(&bytes),
            None => return Err(closed(&self.path)),
        }
        Ok(())
    }

    async fn close(&mut self) -> Result<()> {
        let content = self.content.take().ok_or_else(|| closed(&self.path))?;
        self.storage.write_content(&self.path, content.freeze()).await.map_err(foreign)
    }
}

fn closed(path: &str) -> IcebergError {
    IcebergError::new(ErrorKind::Unexpected, format!("{path} is closed already"))
}
