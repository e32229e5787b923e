//! From rows that are gone to deletion vectors (format version 3).
//!
//! A data file has at most one vector in a snapshot. So a new one holds everything that was deleted of the
//! file before: its old vector, which it replaces in the same commit, and what position delete files of
//! format version 2 say, which readers leave aside once there is a vector. Position delete files that
//! were written before the table was upgraded, but are not committed yet, become vectors too.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use iceberg::spec::{
    DataContentType, DataFile, DataFileFormat, Datum, FormatVersion, PrimitiveLiteral,
};
use roaring::RoaringBitmap;
use uuid::Uuid;

use super::manifests::Manifests;
use super::removal::Removal;
use super::snapshot::PendingSnapshot;
use crate::index::read_deletes;
use crate::scan::deletion_vector;
use crate::writer::partition::Partition;
use crate::writer::{NewFile, RowDeletes, data_location, position_delete, puffin};
use crate::{Error, Table};

/// What position delete files of format version 2 say, which never changes: by delete file, the rows by
/// data file.
#[derive(Default)]
pub(crate) struct KnownDeletes(HashMap<String, RowsByFile>);

type RowsByFile = Arc<Vec<(Arc<str>, RoaringBitmap)>>;

impl KnownDeletes {
    fn read(&mut self, table: &Table, file: &DataFile) -> Result<RowsByFile, Error> {
        if let Some(known) = self.0.get(file.file_path()) {
            return Ok(Arc::clone(known));
        }
        let rows = read_deletes(table.storage(), file)?;
        let rows = rows.into_iter().map(|(location, rows)| (location, rows.into_iter().collect()));
        let rows = Arc::new(rows.collect());
        self.0.insert(file.file_path().to_owned(), Arc::clone(&rows));
        Ok(rows)
    }
}

/// Replaces the rows that `pending` deletes by deletion vectors on top of `table`. Can be called again for a newer
/// version of the table.
///
/// # Errors
/// [`Error::Storage`] or [`Error::Corrupt`], naming the file.
pub(crate) async fn resolve(
    table: &Table,
    manifests: &mut Manifests,
    known: &mut KnownDeletes,
    pending: &mut PendingSnapshot,
) -> Result<(), Error> {
    pending.vectors.clear();
    pending.replaced = Removal::default();
    if table.metadata().format_version() < FormatVersion::V3 {
        return Ok(());
    }
    let mut deletes = new_deletes(table, pending)?;
    if deletes.is_empty() {
        return Ok(());
    }
    for entry in manifests.deletes(table).await?.iter().flat_map(|entries| entries.iter()) {
        take_over(table, &entry.file, known, &mut deletes, &mut pending.replaced)?;
    }
    let deletes: Vec<RowDeletes> = deletes.into_values().collect();
    let folder = data_location(table);
    let location = format!("{folder}/{}-deletes.puffin", Uuid::new_v4());
    pending.vectors = puffin::write(table.storage(), &location, &deletes)?;
    table.storage().sync_folder(&folder)?;
    // Those of an attempt before this one say something else.
    pending.forget_manifests();
    Ok(())
}

/// Adds to `deletes` what a delete file of the table says about the same data files, and to `replaced` the
/// file, if nothing of it is left.
fn take_over(
    table: &Table,
    file: &DataFile,
    known: &mut KnownDeletes,
    deletes: &mut BTreeMap<Arc<str>, RowDeletes>,
    replaced: &mut Removal,
) -> Result<(), Error> {
    match (file.content_type(), file.file_format()) {
        (DataContentType::PositionDeletes, DataFileFormat::Puffin) => {
            let of = file.referenced_data_file().unwrap_or_default();
            let Some(deletes) = deletes.get_mut(of.as_str()) else { return Ok(()) };
            for (high, rows) in deletion_vector::read(table.storage(), file)?.bitmaps() {
                if high > 0 {
                    return Err(too_large(file.file_path()));
                }
                deletes.rows |= rows;
            }
            replaced.add(file);
        }
        (DataContentType::PositionDeletes, _) if may_name(file, deletes) => {
            let of_file = known.read(table, file)?;
            for (location, rows) in of_file.iter() {
                if let Some(deletes) = deletes.get_mut(location) {
                    deletes.rows |= rows;
                }
            }
            if of_file.iter().all(|(location, _)| deletes.contains_key(location)) {
                replaced.add(file);
            }
        }
        _ => {}
    }
    Ok(())
}

fn too_large(path: &str) -> Error {
    Error::corrupt(path, "a position is larger than a data file of this table can have")
}

/// The rows that `pending` deletes, by data file. Its position delete files are taken out.
fn new_deletes(
    table: &Table,
    pending: &mut PendingSnapshot,
) -> Result<BTreeMap<Arc<str>, RowDeletes>, Error> {
    let files = &mut pending.delta.files;
    let (positions, others): (Vec<NewFile>, Vec<NewFile>) = std::mem::take(&mut files.deletes)
        .into_iter()
        .partition(|file| file.content_type() == DataContentType::PositionDeletes);
    files.deletes = others;
    for NewFile { spec_id, file } in positions {
        let partition = Arc::new(Partition { spec_id, values: file.partition().clone() });
        for (location, rows) in read_deletes(table.storage(), &file)? {
            files.row_deletes.push(RowDeletes {
                location,
                partition: Arc::clone(&partition),
                rows: rows.into_iter().collect(),
            });
        }
    }
    let mut deletes: BTreeMap<Arc<str>, RowDeletes> = BTreeMap::new();
    for new in &files.row_deletes {
        match deletes.get_mut(&new.location) {
            Some(known) => known.rows |= &new.rows,
            None => {
                deletes.insert(Arc::clone(&new.location), new.clone());
            }
        }
    }
    Ok(deletes)
}

/// Whether the bounds of a position delete file admit that it names one of the data files.
fn may_name(file: &DataFile, deletes: &BTreeMap<Arc<str>, RowDeletes>) -> bool {
    let bound = |bounds: &HashMap<i32, Datum>| match bounds
        .get(&position_delete::PATH_ID)
        .map(Datum::literal)
    {
        Some(PrimitiveLiteral::String(text)) => Some(text.clone()),
        _ => None,
    };
    let (lower, upper) = (bound(file.lower_bounds()), bound(file.upper_bounds()));
    deletes.keys().any(|location| {
        lower.as_ref().is_none_or(|lower| lower.as_str() <= &**location)
            && upper.as_ref().is_none_or(|upper| upper.as_str() >= &**location)
    })
}
