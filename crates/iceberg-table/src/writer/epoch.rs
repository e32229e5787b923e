//! The files of one epoch: data files by partition, and what is deleted.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arrow::array::RecordBatch;
use arrow::row::OwnedRow;
use roaring::RoaringBitmap;
use shardlake_change::RowKinds;

use super::data::FileTarget;
use super::encoder::{EncodedFile, Encoder};
use super::equality_delete::{self, KeyColumns};
use super::fold::{Additions, Folded, Folding, Group, Window};
use super::mode::{DeleteForm, Granularity};
use super::partition::{Partition, Partitions};
use super::sort::SortKeys;
use super::{NewFile, RegisteredFile, RowDeletes, WriterShared, WrittenFiles, position_delete};
use crate::index::{KeyHash, Location};
use crate::{Error, KeyIndex};

/// How many bytes a window holds before it is written.
const WINDOW_BYTES: usize = 8 * 1024 * 1024;
/// How many deletes are collected before they are written.
const DELETES_MAX: usize = 4 * 1024 * 1024;

/// A data file that takes rows now.
struct OpenFile {
    encoded: EncodedFile,
    lane: usize,
    rows: u32,
    /// The window that last had rows for it.
    window: u64,
    /// Whether its rows are in the table's sort order so far, and the last of them.
    is_sorted: bool,
    last_key: Option<OwnedRow>,
}

/// An encoder, once it is needed.
#[derive(Default)]
struct Lane {
    encoder: Option<Encoder>,
    /// Files whose result has not been taken.
    finishing: usize,
    open: usize,
}

/// Writes the files of one epoch.
pub(super) struct EpochWriter {
    shared: Arc<WriterShared>,
    form: DeleteForm,
    worker: usize,
    lanes: Vec<Lane>,
    /// The partitions that rows are in; only the first one if the table has none.
    partitions: Partitions,
    /// Open files by partition and lane.
    open: BTreeMap<(u32, usize), OpenFile>,
    /// The numbers of its data files.
    files: Vec<u32>,
    window: Window,
    window_count: u64,
    deletes: Vec<Location>,
    by_key: Option<ByKey>,
    /// The folders that have new entries.
    folders: BTreeSet<String>,
    written: WrittenFiles,
    rows_sent: u64,
    file_count: Arc<AtomicU32>,
}

/// What an epoch needs whose old rows are deleted by key.
struct ByKey {
    /// Where the epoch's own rows are.
    index: Arc<KeyIndex>,
    columns: KeyColumns,
    /// Keys that are deleted already: once is enough.
    seen: HashSet<KeyHash>,
    /// The keys to be deleted, by partition.
    keys: BTreeMap<u32, Vec<RecordBatch>>,
}

impl EpochWriter {
    pub(super) fn new(
        shared: Arc<WriterShared>,
        worker: usize,
        file_count: Arc<AtomicU32>,
        encoders: &mut Vec<Encoder>,
    ) -> Self {
        let lanes = (0..shared.options.encoder_count.max(1))
            .map(|_| Lane { encoder: encoders.pop(), ..Lane::default() })
            .collect();
        let deletes = std::mem::take(&mut *shared.superseded.lock());
        let form = *shared.form.lock();
        let by_key = (form.by_key && shared.key.is_some()).then(|| ByKey {
            index: KeyIndex::with_seed(shared.options.index_memory_bytes, shared.index.seed()),
            columns: KeyColumns::of(&shared.format),
            seen: HashSet::new(),
            keys: BTreeMap::new(),
        });
        let mut partitions = Partitions::new();
        if shared.format.partitioner.is_none() {
            partitions.insert(Box::default(), Arc::new(shared.format.unpartitioned()));
        }
        let written = WrittenFiles {
            partition_types: shared.format.partition_types.clone(),
            ..WrittenFiles::default()
        };
        Self {
            shared,
            form,
            worker,
            lanes,
            partitions,
            open: BTreeMap::new(),
            files: Vec::new(),
            window: Window::default(),
            window_count: 0,
            deletes,
            by_key,
            folders: BTreeSet::new(),
            written,
            rows_sent: 0,
            file_count,
        }
    }

    /// The numbers of its data files.
    pub(super) fn files(&self) -> &[u32] {
        &self.files
    }

    /// The threads, for the next epoch.
    pub(super) fn into_encoders(self) -> impl Iterator<Item = Encoder> {
        self.lanes.into_iter().filter_map(|lane| lane.encoder)
    }

    /// Adds changes to the window. True if it is full.
    pub(super) fn push(&mut self, rows: RecordBatch, kinds: RowKinds) -> bool {
        self.window.push(rows, kinds);
        self.window.row_count >= self.shared.options.window_rows
            || self.window.size_bytes() >= WINDOW_BYTES
    }

    pub(super) fn close(&mut self) -> Result<WrittenFiles, Error> {
        let open: Vec<(u32, usize)> = self.open.keys().copied().collect();
        for key in open {
            self.finish_file(key)?;
        }
        for lane in &mut self.lanes {
            let Some(encoder) = &lane.encoder else { continue };
            while lane.finishing > 0 {
                lane.finishing -= 1;
                self.written.data.push(encoder.result()?);
            }
        }
        self.flush_deletes()?;
        self.flush_keys()?;
        let written = std::mem::take(&mut self.written);
        let row_count: u64 = written.data.iter().map(|file| file.record_count()).sum();
        assert_eq!(row_count, self.rows_sent, "the files must hold the rows that were sent");
        for folder in &self.folders {
            self.shared.format.storage.sync_folder(folder)?;
        }
        Ok(written)
    }

    /// Writes the window. `later` are the files of later epochs.
    pub(super) fn flush_window(&mut self, later: &BTreeSet<u32>) -> Result<(), Error> {
        let window = std::mem::take(&mut self.window);
        if window.row_count == 0 {
            return Ok(());
        }
        self.window_count += 1;
        let partitions = self.number_partitions(&window)?;
        let additions = self.additions(&window, &partitions)?;
        let sorter = self.shared.format.sorter.as_ref();
        let sort = sorter.map(|sorter| sorter.keys(window.batches())).transpose()?;
        let shared = Arc::clone(&self.shared);
        let folding = shared.key.as_ref().map(|key| Folding {
            key,
            index: self.by_key.as_ref().map_or(&shared.index, |by_key| &by_key.index),
            by_key: self.form.by_key,
            upserts: self.form.upserts,
        });
        let Some(folding) = folding else {
            let is_gone = vec![false; additions.rows.len()];
            let kept = additions.kept(&is_gone, sort.as_ref());
            return self.send_all(window, &additions, &is_gone, kept, sort.as_ref());
        };
        let folded = folding.fold(&window, &additions)?;
        if folded.deletes.iter().any(|delete| later.contains(&delete.file)) {
            return Err(self.out_of_order());
        }
        let kept = additions.kept(&folded.is_gone, sort.as_ref());
        if sort.is_some() || folded.is_gone.contains(&true) {
            folding.move_rows(&window, &additions, &kept)?;
        }
        self.take_deletes(&window, &folded, &partitions)?;
        self.send_all(window, &additions, &folded.is_gone, kept, sort.as_ref())
    }

    /// The number of each row's partition; empty if the table has none.
    fn number_partitions(&mut self, window: &Window) -> Result<Vec<u32>, Error> {
        let mut numbers = Vec::new();
        if let Some(partitioner) = &self.shared.format.partitioner {
            for rows in window.batches() {
                partitioner.number(rows, &mut self.partitions, &mut numbers)?;
            }
        }
        Ok(numbers)
    }

    /// The added rows with the files that take them.
    fn additions(&mut self, window: &Window, partitions: &[u32]) -> Result<Additions, Error> {
        let rows = window.added_rows();
        if partitions.is_empty() {
            let group = self.open_file(0, rows.len())?;
            return Ok(Additions { rows, group_of: Vec::new(), groups: vec![group] });
        }
        let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
        for row in &rows {
            *counts.entry(partitions[*row as usize]).or_default() += 1;
        }
        let mut groups = Vec::with_capacity(counts.len());
        let mut numbers: BTreeMap<u32, u32> = BTreeMap::new();
        for (number, (partition, count)) in (0..).zip(counts) {
            groups.push(self.open_file(partition, count)?);
            numbers.insert(partition, number);
        }
        let group_of = rows.iter().map(|row| numbers[&partitions[*row as usize]]).collect();
        Ok(Additions { rows, group_of, groups })
    }

    /// Notes the rows elsewhere that a window deletes.
    fn take_deletes(
        &mut self,
        window: &Window,
        folded: &Folded,
        partitions: &[u32],
    ) -> Result<(), Error> {
        self.deletes.extend_from_slice(&folded.deletes);
        if self.deletes.len() >= DELETES_MAX {
            self.flush_deletes()?;
        }
        let Some(by_key) = &mut self.by_key else { return Ok(()) };
        let mut of_partition: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for (hash, row) in &folded.unknown {
            let partition = partitions.get(*row as usize).copied().unwrap_or(0);
            // A key may have old rows in several partitions: each needs a delete of its own.
            let of_key = KeyHash(hash.0 ^ u128::from(partition));
            if by_key.seen.insert(of_key) {
                of_partition.entry(partition).or_default().push(*row);
            }
        }
        for (partition, rows) in of_partition {
            let keys = by_key.columns.project(&window.gather(&rows)?)?;
            by_key.keys.entry(partition).or_default().push(keys);
        }
        Ok(())
    }

    /// The file of a partition with room for `rows` more rows.
    fn open_file(&mut self, partition: u32, rows: usize) -> Result<Group, Error> {
        let lane = self.choose_lane(partition);
        let target = self.shared.format.target_size_bytes;
        let is_full = self.open.get(&(partition, lane)).is_some_and(|open| {
            open.encoded.size_bytes() >= target || open.rows as usize + rows >= u32::MAX as usize
        });
        if is_full {
            self.finish_file((partition, lane))?;
        }
        if let Some(open) = self.open.get_mut(&(partition, lane)) {
            open.window = self.window_count;
            return Ok(Group { partition, file: open.encoded.number, base: open.rows });
        }
        let name = self.next_name(lane);
        let target = self.target(partition, &name)?;
        let number = self.shared.files.add(RegisteredFile {
            location: self.location(&target).into(),
            partition: Arc::clone(&target.partition),
        })?;
        self.files.push(number);
        self.lanes[lane].open += 1;
        let open = OpenFile {
            encoded: EncodedFile::new(number, target),
            lane,
            rows: 0,
            window: self.window_count,
            is_sorted: true,
            last_key: None,
        };
        self.open.insert((partition, lane), open);
        Ok(Group { partition, file: number, base: 0 })
    }

    /// The lane for the next rows of a partition. Of a table without partitions: the first encoder that
    /// is not busy, so that small epochs make one file. Otherwise the one that has a file of the
    /// partition open, or has the fewest files open.
    fn choose_lane(&self, partition: u32) -> usize {
        let is_busy = |lane: &Lane| lane.encoder.as_ref().is_some_and(Encoder::is_busy);
        if self.shared.format.partitioner.is_none() {
            return self.lanes.iter().position(|lane| !is_busy(lane)).unwrap_or(0);
        }
        let open = self.open.range((partition, 0)..=(partition, usize::MAX)).next();
        open.map(|((_, lane), _)| *lane).unwrap_or_else(|| {
            let fewest = self.lanes.iter().enumerate().min_by_key(|(_, lane)| lane.open);
            fewest.map_or(0, |(number, _)| number)
        })
    }

    /// Hands the rows that stay to the encoders.
    fn send_all(
        &mut self,
        window: Window,
        additions: &Additions,
        is_gone: &[bool],
        kept: Vec<Vec<u32>>,
        sort: Option<&SortKeys>,
    ) -> Result<(), Error> {
        if let ([group], None) = (additions.groups.as_slice(), sort) {
            let rows = window.keep(is_gone)?;
            self.send(*group, rows)?;
            return self.close_oldest();
        }
        for (group, mut kept) in additions.groups.iter().zip(kept) {
            if kept.is_empty() {
                continue;
            }
            kept.iter_mut().for_each(|addition| *addition = additions.rows[*addition as usize]);
            if let Some(keys) = sort {
                self.note_order(*group, keys, &kept);
            }
            self.send(*group, vec![window.gather(&kept)?])?;
            // So that it may be closed before the window is sent.
            let before = self.window_count - 1;
            if let Some(open) = self.open_of(*group) {
                open.window = before;
            }
            self.close_oldest()?;
        }
        Ok(())
    }

    fn open_of(&mut self, group: Group) -> Option<&mut OpenFile> {
        self.open
            .range_mut((group.partition, 0)..=(group.partition, usize::MAX))
            .map(|(_, open)| open)
            .find(|open| open.encoded.number == group.file)
    }

    /// Notes whether a file stays sorted with the rows that follow.
    fn note_order(&mut self, group: Group, keys: &SortKeys, rows: &[u32]) {
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return };
        let Some(open) = self.open_of(group) else { return };
        open.is_sorted &= keys.follows(*first as usize, open.last_key.as_ref());
        open.last_key = Some(keys.key(*last as usize));
    }

    fn send(&mut self, group: Group, rows: Vec<RecordBatch>) -> Result<(), Error> {
        let count: usize = rows.iter().map(RecordBatch::num_rows).sum();
        if count == 0 {
            return Ok(());
        }
        let open = self.open_of(group).ok_or_else(|| Error::bug("no open data file"))?;
        open.rows += u32::try_from(count).map_err(Error::bug)?;
        let (lane, encoded) = (open.lane, open.encoded.clone());
        self.note_folder(encoded.target());
        let lane = &mut self.lanes[lane];
        let encoder = match &lane.encoder {
            Some(encoder) => encoder,
            None => lane.encoder.insert(Encoder::start(Arc::clone(&self.shared.format))?),
        };
        encoder.write(&encoded, rows)?;
        self.rows_sent += count as u64;
        Ok(())
    }

    /// Closes files until no more than allowed are open, those first that had rows least recently.
    fn close_oldest(&mut self) -> Result<(), Error> {
        while self.open.len() > self.shared.open_files {
            let oldest = self
                .open
                .iter()
                .filter(|(_, open)| open.window < self.window_count)
                .min_by_key(|(_, open)| (open.window, open.encoded.number))
                .map(|(key, _)| *key);
            let Some(oldest) = oldest else { return Ok(()) };
            self.finish_file(oldest)?;
        }
        Ok(())
    }

    fn finish_file(&mut self, key: (u32, usize)) -> Result<(), Error> {
        let Some(open) = self.open.remove(&key) else { return Ok(()) };
        let lane = &mut self.lanes[open.lane];
        lane.open -= 1;
        if let (Some(encoder), true) = (&lane.encoder, open.rows > 0) {
            encoder.finish(open.encoded.number, open.is_sorted)?;
            lane.finishing += 1;
        }
        Ok(())
    }

    /// Deletes rows of files that were committed before.
    pub(super) fn delete(&mut self, rows: impl IntoIterator<Item = Location>) -> Result<(), Error> {
        self.deletes.extend(rows);
        if self.deletes.len() >= DELETES_MAX { self.flush_deletes() } else { Ok(()) }
    }

    fn flush_deletes(&mut self) -> Result<(), Error> {
        let mut by_number: BTreeMap<u32, RoaringBitmap> = BTreeMap::new();
        for delete in std::mem::take(&mut self.deletes) {
            by_number.entry(delete.file).or_default().insert(delete.row);
        }
        let mut by_file: BTreeMap<Arc<str>, (Arc<Partition>, RoaringBitmap)> = BTreeMap::new();
        for (file, rows) in by_number {
            for row in rows {
                let place = self.shared.files.resolve(Location { file, row })?;
                let Some((RegisteredFile { location, partition }, row)) = place else { continue };
                by_file
                    .entry(location)
                    .or_insert_with(|| (partition, RoaringBitmap::new()))
                    .1
                    .insert(row);
            }
        }
        if self.form.by_commit {
            let deletes = by_file.into_iter().map(|(location, (partition, rows))| RowDeletes {
                location,
                partition,
                rows,
            });
            self.written.row_deletes.extend(deletes);
            return Ok(());
        }
        let mut by_partition: BTreeMap<(Vec<u8>, usize), _> = BTreeMap::new();
        let mut known: indexmap::IndexMap<Arc<Partition>, usize> = indexmap::IndexMap::new();
        for (location, (partition, rows)) in by_file {
            let count = known.len();
            let number = *known.entry(Arc::clone(&partition)).or_insert(count);
            let file = match self.form.granularity {
                Granularity::Partition => Vec::new(),
                Granularity::File => location.as_bytes().to_vec(),
            };
            let entry =
                by_partition.entry((file, number)).or_insert_with(|| (partition, Vec::new()));
            entry.1.push((location, rows));
        }
        for (partition, deletes) in by_partition.into_values() {
            let target = self.target_of(partition, &self.next_name(0));
            self.note_folder(&target);
            let file = position_delete::write(&self.shared.format, &target, &deletes)?;
            self.written.deletes.push(file);
        }
        Ok(())
    }

    /// Writes the keys that are deleted.
    fn flush_keys(&mut self) -> Result<(), Error> {
        let Some(by_key) = &mut self.by_key else { return Ok(()) };
        for (partition, keys) in std::mem::take(&mut by_key.keys) {
            let target = self.target(partition, &self.next_name(0))?;
            self.note_folder(&target);
            let Some(by_key) = &self.by_key else { return Ok(()) };
            let columns = &by_key.columns;
            let file: NewFile =
                equality_delete::write(&self.shared.format, &target, columns, &keys)?;
            self.written.deletes.push(file);
        }
        Ok(())
    }

    /// A new file of a partition of this epoch.
    fn target(&mut self, partition: u32, name: &str) -> Result<FileTarget, Error> {
        let known = self.partitions.get_index(partition as usize);
        let (_, partition) = known.ok_or_else(|| Error::bug("an unknown partition"))?;
        Ok(self.target_of(Arc::clone(partition), name))
    }

    fn target_of(&self, partition: Arc<Partition>, name: &str) -> FileTarget {
        let path = self.shared.format.relative_path(&partition, name).into();
        FileTarget { path, partition }
    }

    fn note_folder(&mut self, target: &FileTarget) {
        let location = self.location(target);
        if let Some((folder, _)) = location.rsplit_once('/')
            && !self.folders.contains(folder)
        {
            self.folders.insert(folder.to_owned());
        }
    }

    fn location(&self, target: &FileTarget) -> String {
        format!("{}/{}", self.shared.format.folder_location, target.path)
    }

    /// A file name as Flink gives it: worker, attempt (here the encoder), run, and a counter.
    fn next_name(&self, lane: usize) -> String {
        let count = self.file_count.fetch_add(1, Ordering::Relaxed) + 1;
        format!("{:05}-{lane}-{}-{count:05}.parquet", self.worker, self.shared.run)
    }

    fn out_of_order(&self) -> Error {
        Error::Storage {
            action: "write",
            path: self.shared.format.folder_location.as_str().into(),
            source: "changes of one key came from two sources in the wrong order of epochs; \
                     they are in order after a restart from the last commit"
                .into(),
        }
    }
}
