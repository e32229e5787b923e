//! Threads that encode rows into data files, so that encoding runs beside the key index.
//!
//! An encoder may have several files open, one for each partition. Its queue is short and counts batches
//! of a window, and the rows that its open files hold together are bounded, so the memory in flight is too.
//! After a failure it accepts nothing more, and the failure is what [`Encoder::result`] gives next.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::NewFile;
use super::data::{DataFileWriter, FileFormat, FileTarget};
use crate::Error;
use arrow::array::RecordBatch;
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

/// How many windows may wait for an encoder. One keeps it busy; each more is memory.
const QUEUE_LEN: usize = 1;

enum Job {
    /// Append rows to a file, which is made if it is not open.
    Rows { file: EncodedFile, rows: Vec<RecordBatch> },
    /// Finish the file with this number.
    Finish { number: u32, is_sorted: bool },
}

/// A file that an encoder is to write.
#[derive(Clone, Debug)]
pub(crate) struct EncodedFile {
    /// Its number among the files of the run.
    pub(crate) number: u32,
    target: FileTarget,
    /// About how large it is so far.
    size_bytes: Arc<AtomicU64>,
}

impl EncodedFile {
    pub(crate) fn new(number: u32, target: FileTarget) -> Self {
        Self { number, target, size_bytes: Arc::default() }
    }

    /// Where it is made.
    pub(crate) const fn target(&self) -> &FileTarget {
        &self.target
    }

    /// About how large it is so far; rows that wait to be encoded do not count yet.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.size_bytes.load(Ordering::Relaxed)
    }
}

/// A thread that encodes, seen from the writer.
pub(crate) struct Encoder {
    jobs: Sender<Job>,
    results: Receiver<Result<NewFile, Error>>,
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

    /// Hands over rows of `file`. Waits while the queue is full.
    pub(crate) fn write(&self, file: &EncodedFile, rows: Vec<RecordBatch>) -> Result<(), Error> {
        self.send(Job::Rows { file: file.clone(), rows })
    }

    /// Has a file finished that has rows; [`Self::result`] then gives it. `is_sorted` says whether its
    /// rows are in the table's sort order.
    pub(crate) fn finish(&self, number: u32, is_sorted: bool) -> Result<(), Error> {
        self.send(Job::Finish { number, is_sorted })
    }

    /// Waits for the next finished file.
    pub(crate) fn result(&self) -> Result<NewFile, Error> {
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

fn run(format: &Arc<FileFormat>, jobs: &Receiver<Job>, finished: &Sender<Result<NewFile, Error>>) {
    let mut open = HashMap::new();
    for job in jobs {
        let result = match job {
            Job::Rows { file, rows } => write(format, &mut open, &file, &rows).map(|()| None),
            Job::Finish { number, is_sorted } => match open.remove(&number) {
                Some(writer) => DataFileWriter::finish(writer, is_sorted).map(Some),
                None => Err(Error::bug("a file that is not open is finished")),
            },
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
    open: &mut HashMap<u32, DataFileWriter>,
    file: &EncodedFile,
    rows: &[RecordBatch],
) -> Result<(), Error> {
    let writer = match open.get_mut(&file.number) {
        Some(writer) => writer,
        None => {
            let writer = DataFileWriter::create(Arc::clone(format), file.target.clone())?;
            open.entry(file.number).or_insert(writer)
        }
    };
    for batch in rows {
        writer.write(batch)?;
    }
    file.size_bytes.store(writer.size_bytes(), Ordering::Relaxed);
    if open.len() > 1 {
        bound_memory(format, open)?;
    }
    Ok(())
}

/// Ends row groups, the largest first, until all open files together hold no more than one full row
/// group and a half.
fn bound_memory(format: &FileFormat, open: &mut HashMap<u32, DataFileWriter>) -> Result<(), Error> {
    let limit = format.row_group_bytes.saturating_add(format.row_group_bytes / 2);
    let mut held: usize = open.values().map(DataFileWriter::buffered_bytes).sum();
    while held > limit {
        let Some(largest) = open.values_mut().max_by_key(|writer| writer.buffered_bytes()) else {
            return Ok(());
        };
        held -= largest.buffered_bytes();
        largest.flush()?;
    }
    Ok(())
}
