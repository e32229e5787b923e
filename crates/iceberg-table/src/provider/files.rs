//! The files of a scan, spread over partitions.

use std::sync::Arc;

use datafusion::common::{ScalarValue, Statistics};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::FileGroup;
use datafusion::datasource::physical_plan::parquet::ParquetRowSelection;
use datafusion::datasource::table_schema::TableSchema;

use super::Prepared;
use super::statistics::{self, Scanned};
use crate::scan::position_deletes::remaining_rows;
use crate::scan::reader::Location;

/// The files that have rows left.
pub(crate) struct ScanFiles {
    files: Vec<ScanFile>,
    statistics: Vec<(Arc<Statistics>, bool)>,
    rows: usize,
}

struct ScanFile {
    file: PartitionedFile,
    /// Where row groups start, if the manifest tells.
    split_offsets: Vec<i64>,
}

/// The group of files without equality deletes.
const NO_GROUP: i64 = -1;

impl ScanFiles {
    /// The planned files, as many as are needed for `limit` rows.
    pub(crate) fn of(prepared: &Prepared, scanned: &Scanned<'_>, limit: Option<usize>) -> Self {
        let mut found = Self { files: Vec::new(), statistics: Vec::new(), rows: 0 };
        let has_equality = !prepared.equality.columns.is_empty();
        for (index, planned) in prepared.plan.files.iter().enumerate() {
            if limit.is_some_and(|limit| found.rows >= limit) {
                break;
            }
            let listed = &planned.listed;
            let row_count = listed.file().record_count();
            let deleted = prepared.deleted.get(listed.path());
            // Positions behind the end of the file delete nothing.
            let deleted_count = deleted.map_or(0, |deleted| match row_count.checked_sub(1) {
                Some(last) => deleted.rank(last),
                None => 0,
            });
            let left = row_count.saturating_sub(deleted_count);
            if left == 0 {
                continue;
            }
            found.rows = found.rows.saturating_add(usize::try_from(left).unwrap_or(usize::MAX));
            let size = listed.file().file_size_in_bytes();
            let mut file = PartitionedFile::new(listed.path(), size)
                .with_extension(Location(Arc::from(listed.path())));
            let group = prepared.groups.get(index).copied().flatten();
            if has_equality {
                let group = group.and_then(|group| i64::try_from(group).ok()).unwrap_or(NO_GROUP);
                file = file.with_partition_values(vec![ScalarValue::Int64(Some(group))]);
            }
            let has_deletes = deleted_count > 0 || group.is_some();
            let file_statistics = Arc::new(scanned.of_file(listed));
            found.statistics.push((Arc::clone(&file_statistics), has_deletes));
            file = file.with_statistics(file_statistics);
            if let (Some(deleted), 1..) = (deleted, deleted_count) {
                let selection = remaining_rows(deleted, row_count);
                file = file.with_extension(ParquetRowSelection::new(selection));
            }
            let split_offsets = listed.file().split_offsets().unwrap_or_default().to_vec();
            found.files.push(ScanFile { file, split_offsets });
        }
        found
    }

    /// What is known of the rows of all files.
    pub(crate) fn statistics(&self, schema: &TableSchema, has_equality: bool) -> Statistics {
        let rows = (!has_equality).then_some(self.rows);
        statistics::of_all(&self.statistics, rows, schema.table_schema().fields().len())
    }

    /// The files in about `target` groups of about the same size; large files are cut at row groups.
    pub(crate) fn into_groups(self, target: usize) -> Vec<FileGroup> {
        let total: u64 = self.files.iter().map(|scan| scan.file.object_meta.size).sum();
        let share = total.div_ceil(u64::try_from(target.max(1)).unwrap_or(1)).max(1);
        let mut pieces: Vec<PartitionedFile> =
            self.files.into_iter().flat_map(|scan| scan.pieces(share)).collect();
        // The largest first, each to the group that has least.
        pieces.sort_by_key(|piece| std::cmp::Reverse(piece.effective_size()));
        let count = target.max(1).min(pieces.len().max(1));
        let mut groups: Vec<(u64, Vec<PartitionedFile>)> = vec![(0, Vec::new()); count];
        for piece in pieces {
            // Opening a file costs about as much as reading this much.
            const OPEN_COST_BYTES: u64 = 64 * 1024;
            if let Some((size, group)) = groups.iter_mut().min_by_key(|(size, _)| *size) {
                *size += piece.effective_size() + OPEN_COST_BYTES;
                group.push(piece);
            }
        }
        groups.into_iter().map(|(_, files)| FileGroup::new(files)).collect()
    }
}

impl ScanFile {
    /// The file in pieces of about `share` bytes, each of whole row groups.
    fn pieces(self, share: u64) -> Vec<PartitionedFile> {
        let size = i64::try_from(self.file.object_meta.size).unwrap_or(i64::MAX);
        let share = i64::try_from(share).unwrap_or(i64::MAX);
        let valid = self.split_offsets.is_sorted()
            && self.split_offsets.iter().all(|offset| (0..size).contains(offset));
        if size <= share || self.split_offsets.len() < 2 || !valid {
            return vec![self.file];
        }
        let mut pieces = Vec::new();
        let mut start = 0;
        for offset in self.split_offsets.iter().skip(1) {
            if *offset - start >= share {
                pieces.push(self.file.clone().with_range(start, *offset));
                start = *offset;
            }
        }
        if pieces.is_empty() {
            return vec![self.file];
        }
        pieces.push(self.file.with_range(start, size));
        pieces
    }
}
