//! Opening data files for DataFusion's Parquet scan: footers from the cache, errors with names.

use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{ParquetFileMetrics, ParquetFileReaderFactory};
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures::FutureExt;
use futures::future::BoxFuture;
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};

use super::FileCache;
use super::parquet_schema::ReadSchema;
use crate::storage::local_path;
use crate::{Error, Storage, TableName};

/// The location of a data file as the manifest has it. Attached to each `PartitionedFile`, whose own
/// path is normalised and may not lead to the file.
#[derive(Clone, Debug)]
pub(crate) struct Location(pub(crate) Arc<str>);

/// Opens the data files of one scan.
#[derive(Clone)]
pub(crate) struct DataFileOpener {
    pub(crate) storage: Storage,
    pub(crate) schema: Arc<ReadSchema>,
    pub(crate) table: TableName,
    pub(crate) snapshot_id: i64,
}

impl fmt::Debug for DataFileOpener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DataFileOpener").field("table", &self.table).finish_non_exhaustive()
    }
}

impl ParquetFileReaderFactory for DataFileOpener {
    fn create_reader(
        &self,
        partition_index: usize,
        file: PartitionedFile,
        _metadata_size_hint: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> DataFusionResult<Box<dyn AsyncFileReader + Send>> {
        let Some(location) = file.extension::<Location>() else {
            return Err(DataFusionError::Internal("a data file without location".to_owned()));
        };
        let location = Arc::clone(&location.0);
        Ok(Box::new(DataFileReader {
            metrics: ParquetFileMetrics::new(partition_index, &location, metrics),
            location,
            size: file.object_meta.size,
            opener: self.clone(),
            source: None,
        }))
    }
}

/// Reads one data file.
struct DataFileReader {
    opener: DataFileOpener,
    location: Arc<str>,
    size: u64,
    source: Option<Source>,
    metrics: ParquetFileMetrics,
}

enum Source {
    Local(File),
    Remote(Storage),
}

impl DataFileReader {
    async fn read(&mut self, range: Range<u64>) -> ParquetResult<Bytes> {
        if self.source.is_none() {
            self.source = Some(self.open()?);
        }
        let Some(source) = &self.source else {
            return Err(self.fail(Error::bug("a data file that is not open")));
        };
        let length = usize::try_from(range.end.saturating_sub(range.start))?;
        let read = match source {
            // The page cache answers in less time than a hand-over to another thread takes.
            Source::Local(file) => {
                let mut buffer = vec![0; length];
                file.read_exact_at(&mut buffer, range.start)
                    .map(|()| Bytes::from(buffer))
                    .map_err(|error| self.io(error))
            }
            Source::Remote(storage) => {
                storage.read_range(&self.location, range).await.map_err(|error| {
                    if error.is_missing_file() {
                        return Error::NotFound(format!("{} is missing", self.name()));
                    }
                    error
                })
            }
        };
        self.metrics.bytes_scanned.add(length);
        read.map_err(|error| self.fail(error))
    }

    fn open(&self) -> ParquetResult<Source> {
        match local_path(&self.location) {
            Ok(path) => match File::open(&path) {
                Ok(file) => Ok(Source::Local(file)),
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    Err(self.fail(Error::NotFound(format!("{} is missing", self.name()))))
                }
                Err(error) => Err(self.fail(Error::io("open", &path, error))),
            },
            Err(_) => Ok(Source::Remote(self.opener.storage.clone())),
        }
    }

    fn io(&self, error: io::Error) -> Error {
        if error.kind() == ErrorKind::UnexpectedEof {
            return Error::corrupt(self.name(), "the file is shorter than the manifest says");
        }
        Error::io("read", self.location.as_ref().as_ref(), error)
    }

    fn name(&self) -> String {
        let Self { opener, location, .. } = self;
        format!("data file {location} of snapshot {} of table {}", opener.snapshot_id, opener.table)
    }

    fn fail(&self, error: Error) -> ParquetError {
        ParquetError::External(Box::new(error))
    }

    async fn footer(&mut self) -> ParquetResult<Arc<ParquetMetaData>> {
        const WHAT: &str = "parquet footer";
        /// Footers of small files are read in one go.
        const FIRST_READ: usize = 64 * 1024;
        /// Files of which parts are worth to be skipped by page.
        const PAGE_INDEX_FROM: u64 = 4 * 1024 * 1024;
        let location = Arc::clone(&self.location);
        if let Some(cached) = FileCache::global().get(&location, self.size, WHAT) {
            return Ok(cached);
        }
        let size = self.size;
        let policy =
            if size >= PAGE_INDEX_FROM { PageIndexPolicy::Optional } else { PageIndexPolicy::Skip };
        let footer = ParquetMetaDataReader::new()
            .with_prefetch_hint(Some(FIRST_READ))
            .with_page_index_policy(policy)
            .load_and_finish(&mut *self, size)
            .await
            .map_err(|error| self.damaged(error))?;
        let footer = Arc::new(footer);
        let entry = (Arc::clone(&footer), footer.memory_size());
        FileCache::global().put(&location, size, WHAT, entry);
        Ok(footer)
    }

    fn damaged(&self, error: ParquetError) -> ParquetError {
        match error {
            ParquetError::External(_) => error,
            error => self.fail(Error::corrupt(self.name(), error)),
        }
    }
}

impl AsyncFileReader for DataFileReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, ParquetResult<Bytes>> {
        self.read(range).boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        _options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, ParquetResult<Arc<ParquetMetaData>>> {
        async move {
            let footer = self.footer().await?;
            let schema = Arc::clone(&self.opener.schema);
            let renamed = schema.apply(&footer).map_err(|error| self.damaged(error))?;
            Ok(Arc::new(renamed))
        }
        .boxed()
    }
}
