//! Threads that encode rows into data files, so that encoding runs beside the key index.
//!
//! Each encoder has at most one file open. Its queue is short and counts batches of a window, so the memory
//! in flight is bounded. After a failure it accepts nothing more, and the failure is what
//! [`Encoder::result`] gives next.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use arrow::array::RecordBatch;
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use iceberg::spec::DataFile;

use super::data::{DataFileWriter, FileFormat};
use crate::Error;

/// How many windows may wait for an encoder. One keeps it busy; each more is memory.
const QUEUE_LEN: usize = 1;

enum Job {
    /// Append rows to the open file, or to a new one.
    Rows { file: EncodedFile, rows: Vec<RecordBatch> },
    /// Finish the open file.
    Finish,
}

/// The file that an encoder is to write.
#[derive(Clone, Debug)]
pub(crate) struct EncodedFile {
    /// Its name in the data folder.
    pub(crate) name: Arc<str>,
    /// About how large it is so far.
    size_bytes: Arc<AtomicU64>,
}

impl EncodedFile {
    pub(crate) fn new(name: Arc<str>) -> Self {
        Self { name, size_bytes: Arc::default() }
    }

    /// About how large it is so far; rows that wait to be encoded do not count yet.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.size_bytes.load(Ordering::Relaxed)
    }
}

/// A thread that encodes, seen from the writer.
pub(crate) struct Encoder {
    jobs: Sender<Job>,
    results: Receiver<Result<DataFile, Error>>,
}

impl Encoder {
    /// Starts the thread. It ends when the encoder is dropped, and removes its unfinished file.
    pub(crate) fn start(format: Arc<FileFormat>) -> Result<Self, Error> {
        let (jobs, received) = bounded(QUEUE_LEN);
        let (finished, results) = unbounded();
        thread::Builder::new()
            .name("lake-encoder".to_owned())
            .spawn(move || run(&format, &received, &finished))
            .map_err(|error| Error::bug(format!("cannot start an encoder thread: {error}")))?;
        Ok(Self { jobs, results })
    }

    /// Whether rows sent now would wait for others to be encoded.
    pub(crate) fn is_busy(&self) -> bool {
        self.jobs.is_full()
    }

    /// Hands over rows of `file`, which is the open file or, if none is open, a new one. Waits while
    /// the queue is full.
    pub(crate) fn write(&self, file: &EncodedFile, rows: Vec<RecordBatch>) -> Result<(), Error> {
        self.send(Job::Rows { file: file.clone(), rows })
    }

    /// Has the open file finished; [`Self::result`] then gives it.
    pub(crate) fn finish(&self) -> Result<(), Error> {
        self.send(Job::Finish)
    }

    /// Waits for the next finished file.
    pub(crate) fn result(&self) -> Result<DataFile, Error> {
        self.results.recv().unwrap_or_else(|_| Err(Error::bug("an encoder thread ended")))
    }

    fn send(&self, job: Job) -> Result<(), Error> {
        if self.jobs.send(job).is_ok() {
            return Ok(());
        }
        // The thread is gone, so its failure is the last of its results.
        let failure = self.results.try_iter().find_map(Result::err);
        Err(failure.unwrap_or_else(|| Error::bug("an encoder thread ended")))
    }
}

fn run(format: &Arc<FileFormat>, jobs: &Receiver<Job>, finished: &Sender<Result<DataFile, Error>>) {
    let mut open = None;
    for job in jobs {
        let result = match job {
            Job::Rows { file, rows } => write(format, &mut open, &file, &rows).map(|()| None),
            Job::Finish => open.take().map(DataFileWriter::finish).transpose(),
        };
        let Some(result) = result.transpose() else { continue };
        let is_failure = result.is_err();
        if finished.send(result).is_err() || is_failure {
            return;
        }
    }
}

fn write(
    format: &Arc<FileFormat>,
    open: &mut Option<DataFileWriter>,
    file: &EncodedFile,
    rows: &[RecordBatch],
) -> Result<(), Error> {
    let writer = match open {
        Some(writer) => writer,
        None => open.insert(DataFileWriter::create(Arc::clone(format), &file.name)?),
    };
    for batch in rows {
        writer.write(batch)?;
    }
    file.size_bytes.store(writer.size_bytes(), Ordering::Relaxed);
    Ok(())
}
