//! One window of changes: which of its rows are written, where, and which rows elsewhere are gone.
//!
//! Rows that are added are numbered as if all of them were written, in their order. If some fall away
//! those behind them move up, and if the table is sorted all of them move; then the index is told a
//! second time.

use std::collections::HashMap;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::{filter_record_batch, interleave_record_batch};
use shardlake_change::{RowKind, RowKinds};

use super::KeyHasher;
use super::sort::SortKeys;
use crate::index::{Change, KeyHash, Location};
use crate::{Error, KeyIndex};

/// Changes that are folded together.
#[derive(Default)]
pub(super) struct Window {
    batches: Vec<(RecordBatch, RowKinds)>,
    pub(super) row_count: usize,
    size_bytes: usize,
}

impl Window {
    pub(super) fn push(&mut self, rows: RecordBatch, kinds: RowKinds) {
        self.row_count += rows.num_rows();
        self.size_bytes += rows
            .columns()
            .iter()
            .map(|column| column.to_data().get_slice_memory_size().unwrap_or(0))
            .sum::<usize>();
        self.batches.push((rows, kinds));
    }

    pub(super) const fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    pub(super) fn batches(&self) -> impl Iterator<Item = &RecordBatch> {
        self.batches.iter().map(|(rows, _)| rows)
    }

    /// The rows that are added, by their numbers in the window.
    pub(super) fn added_rows(&self) -> Vec<u32> {
        let kinds = self.batches.iter().flat_map(|(_, kinds)| kinds.iter());
        (0..).zip(kinds).filter(|(_, kind)| kind.is_addition()).map(|(row, _)| row).collect()
    }

    /// Rows in a given order.
    pub(super) fn gather(&self, rows: &[u32]) -> Result<RecordBatch, Error> {
        let batches: Vec<&RecordBatch> = self.batches().collect();
        let ends: Vec<usize> = batches
            .iter()
            .scan(0, |end, rows| {
                *end += rows.num_rows();
                Some(*end)
            })
            .collect();
        let places: Vec<(usize, usize)> = rows
            .iter()
            .map(|row| {
                let row = *row as usize;
                let batch = ends.partition_point(|end| *end <= row);
                let start = batch.checked_sub(1).map_or(0, |before| ends[before]);
                (batch, row - start)
            })
            .collect();
        interleave_record_batch(&batches, &places).map_err(Error::bug)
    }

    /// All rows that are added and not gone, in their order; `is_gone` is by added row.
    pub(super) fn keep(self, is_gone: &[bool]) -> Result<Vec<RecordBatch>, Error> {
        let is_complete = !is_gone.contains(&true);
        let mut is_gone = is_gone.iter();
        let mut kept = Vec::with_capacity(self.batches.len());
        for (rows, kinds) in self.batches {
            if is_complete && kinds.is_insert_only() {
                is_gone.by_ref().take(rows.num_rows()).for_each(drop);
                kept.push(rows);
                continue;
            }
            let mask: BooleanArray = kinds
                .iter()
                .map(|kind| Some(kind.is_addition() && is_gone.next() == Some(&false)))
                .collect();
            kept.push(filter_record_batch(&rows, &mask).map_err(Error::bug)?);
        }
        Ok(kept)
    }
}

/// The file that takes the added rows of one partition.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group {
    /// The partition.
    pub(super) partition: u32,
    /// The file.
    pub(super) file: u32,
    /// The number of its next row.
    pub(super) base: u32,
}

/// Added rows of a window, each with the group that it belongs to.
pub(super) struct Additions {
    /// Their numbers in the window.
    pub(super) rows: Vec<u32>,
    /// The groups' numbers; empty if there is only one group.
    pub(super) group_of: Vec<u32>,
    pub(super) groups: Vec<Group>,
}

impl Additions {
    fn group(&self, addition: usize) -> usize {
        self.group_of.get(addition).map_or(0, |group| *group as usize)
    }

    /// Where each addition goes if none falls away.
    fn places(&self) -> Vec<Location> {
        let mut next: Vec<u32> = self.groups.iter().map(|group| group.base).collect();
        (0..self.rows.len())
            .map(|addition| {
                let group = self.group(addition);
                next[group] += 1;
                Location { file: self.groups[group].file, row: next[group] - 1 }
            })
            .collect()
    }

    /// The additions that stay, by group, in the order in which they are written.
    pub(super) fn kept(&self, is_gone: &[bool], sort: Option<&SortKeys>) -> Vec<Vec<u32>> {
        let mut kept = vec![Vec::new(); self.groups.len()];
        for (addition, is_gone) in (0_u32..).zip(is_gone) {
            if !is_gone {
                kept[self.group(addition as usize)].push(addition);
            }
        }
        if let Some(keys) = sort {
            for group in &mut kept {
                keys.sort(group, |addition| self.rows[*addition as usize] as usize);
            }
        }
        kept
    }
}

/// What became of a window.
pub(super) struct Folded {
    /// For each added row, in order, whether a later change of the window replaced or deleted it.
    pub(super) is_gone: Vec<bool>,
    /// Rows outside the window that are gone.
    pub(super) deletes: Vec<Location>,
    /// Rows of the window whose key has to be deleted, because the index does not know its row.
    pub(super) unknown: Vec<(KeyHash, u32)>,
}

/// How changes are told to the index.
#[derive(Clone, Copy)]
pub(super) struct Folding<'a> {
    pub(super) key: &'a KeyHasher,
    pub(super) index: &'a KeyIndex,
    /// Whether the index holds only the rows of the epoch, so that a key it does not know may have an
    /// older row.
    pub(super) by_key: bool,
    /// Whether additions replace such rows.
    pub(super) upserts: bool,
}

impl Folding<'_> {
    /// Applies the changes of a window to the index.
    pub(super) fn fold(self, window: &Window, additions: &Additions) -> Result<Folded, Error> {
        let places = additions.places();
        let changes = self.changes(window, &places)?;
        let mut former = Vec::new();
        self.index.apply(&changes.list, &mut former)?;
        let mut is_gone = vec![false; places.len()];
        let mut deletes = Vec::new();
        let in_window = InWindow::new(additions, &places);
        for location in former.iter().flatten() {
            match in_window.addition(*location) {
                Some(addition) => is_gone[addition] = true,
                None => deletes.push(*location),
            }
        }
        let mut unknown = Vec::new();
        if self.by_key {
            for (at, (hash, change)) in changes.list.iter().enumerate() {
                let deletes_older = match change {
                    Change::Put(_) => self.upserts,
                    Change::Remove => true,
                };
                if deletes_older && former[at].is_none() {
                    unknown.push((*hash, changes.rows[at]));
                }
            }
        }
        Ok(Folded { is_gone, deletes, unknown })
    }

    /// Tells the index where the additions are that did not stay where they were numbered.
    pub(super) fn move_rows(
        self,
        window: &Window,
        additions: &Additions,
        kept: &[Vec<u32>],
    ) -> Result<(), Error> {
        let places = additions.places();
        let mut moved = HashMap::new();
        for (group, kept) in additions.groups.iter().zip(kept) {
            for (row, addition) in (group.base..).zip(kept) {
                if places[*addition as usize].row != row {
                    moved.insert(*addition, Location { file: group.file, row });
                }
            }
        }
        if moved.is_empty() {
            return Ok(());
        }
        let changes = self.changes(window, &places)?;
        let mut addition = 0;
        let mut list = Vec::with_capacity(moved.len());
        for (hash, change) in changes.list {
            if matches!(change, Change::Put(_)) {
                if let Some(place) = moved.get(&addition) {
                    list.push((hash, Change::Put(*place)));
                }
                addition += 1;
            }
        }
        self.index.apply(&list, &mut Vec::new())
    }

    fn changes(self, window: &Window, places: &[Location]) -> Result<Changes, Error> {
        let mut changes = Changes::default();
        let mut hashes = Vec::new();
        let mut places = places.iter();
        let mut first = 0;
        for (rows, kinds) in &window.batches {
            hashes.clear();
            self.key.hash(rows, &mut hashes)?;
            changes.list.reserve(hashes.len());
            for (row, (hash, kind)) in hashes.iter().zip(kinds.iter()).enumerate() {
                let change = match kind {
                    RowKind::Insert | RowKind::UpdateAfter => {
                        let place = places.next().ok_or_else(|| Error::bug("no place"))?;
                        Change::Put(*place)
                    }
                    // The addition that follows replaces the row anyway.
                    RowKind::UpdateBefore
                        if (!self.by_key || self.upserts)
                            && hashes.get(row + 1) == Some(hash)
                            && kinds.get(row + 1) == Some(RowKind::UpdateAfter) =>
                    {
                        continue;
                    }
                    RowKind::UpdateBefore | RowKind::Delete => Change::Remove,
                };
                changes.list.push((*hash, change));
                if self.by_key {
                    changes.rows.push(first + u32::try_from(row).map_err(Error::bug)?);
                }
            }
            first += u32::try_from(rows.num_rows()).map_err(Error::bug)?;
        }
        Ok(changes)
    }
}

#[derive(Default)]
struct Changes {
    list: Vec<(KeyHash, Change)>,
    /// The rows of the window that they come from; kept only where old rows are named by key.
    rows: Vec<u32>,
}

/// Tells rows of the window from those elsewhere.
enum InWindow {
    One { file: u32, base: u32 },
    Many(HashMap<Location, usize>),
}

impl InWindow {
    fn new(additions: &Additions, places: &[Location]) -> Self {
        match additions.groups.as_slice() {
            [group] => Self::One { file: group.file, base: group.base },
            _ => Self::Many(places.iter().enumerate().map(|(at, place)| (*place, at)).collect()),
        }
    }

    fn addition(&self, location: Location) -> Option<usize> {
        match self {
            Self::One { file, base } if *file == location.file => {
                location.row.checked_sub(*base).map(|row| row as usize)
            }
            Self::One { .. } => None,
            Self::Many(places) => places.get(&location).copied(),
        }
    }
}
