//! `$files`, `$entries` and their like: what manifests list.

use std::collections::{BTreeMap, HashMap};

use arrow::array::{ArrayRef, StructArray};
use arrow::datatypes::{Field, Fields, Int32Type, Int64Type};
use iceberg::spec::{DataContentType, DataFile, Datum, ManifestEntryRef};
use std::sync::Arc;

use super::MetadataColumn;
use super::columns::{
    PartitionFields, byte_maps, column, count_maps, int_lists, long, long_lists, numbers,
    optional_bytes, optional_numbers, optional_texts, texts,
};
use crate::scan::plan::Entries;
use crate::{Error, Table};

/// An entry with the partition spec of its manifest.
type Listed<'a> = (i32, &'a ManifestEntryRef);

fn listed(manifests: &[(i32, Entries)]) -> impl Iterator<Item = Listed<'_>> {
    manifests.iter().flat_map(|(spec_id, list)| list.iter().map(|entry| (*spec_id, entry)))
}

/// The files that are there; `wanted` is asked whether data files (true) and delete files (false)
/// are.
pub(super) fn files(
    table: &Table,
    manifests: &[(i32, Entries)],
    wanted: impl Fn(bool) -> bool,
) -> Result<Vec<MetadataColumn>, Error> {
    let files: Vec<(i32, &DataFile)> = listed(manifests)
        .filter(|(_, entry)| entry.is_alive())
        .map(|(spec_id, entry)| (spec_id, entry.data_file()))
        .filter(|(_, file)| wanted(file.content_type() == DataContentType::Data))
        .collect();
    file_columns(table, &files)
}

pub(super) fn entries(
    table: &Table,
    manifests: &[(i32, Entries)],
) -> Result<Vec<MetadataColumn>, Error> {
    let entries: Vec<Listed<'_>> = listed(manifests).collect();
    let files: Vec<(i32, &DataFile)> =
        entries.iter().map(|(spec_id, entry)| (*spec_id, entry.data_file())).collect();
    let (fields, arrays): (Vec<Field>, Vec<ArrayRef>) =
        file_columns(table, &files)?.into_iter().unzip();
    let data_file = StructArray::try_new(Fields::from(fields), arrays, None).map_err(Error::bug)?;
    let rows = || entries.iter().map(|(_, entry)| entry);
    Ok(vec![
        numbers::<Int32Type>("status", rows().map(|entry| entry.status() as i32)),
        optional_numbers::<Int64Type>("snapshot_id", rows().map(|entry| entry.snapshot_id())),
        optional_numbers::<Int64Type>(
            "sequence_number",
            rows().map(|entry| entry.sequence_number()),
        ),
        optional_numbers::<Int64Type>(
            "file_sequence_number",
            rows().map(|entry| entry.file_sequence_number),
        ),
        column("data_file", false, Arc::new(data_file)),
    ])
}

fn file_columns(table: &Table, files: &[(i32, &DataFile)]) -> Result<Vec<MetadataColumn>, Error> {
    let rows = || files.iter().map(|(_, file)| *file);
    let mut columns = vec![
        numbers::<Int32Type>("content", rows().map(|file| file.content_type() as i32)),
        texts("file_path", rows().map(DataFile::file_path)),
        texts("file_format", rows().map(|file| file.file_format().to_string().to_uppercase())),
        numbers::<Int32Type>("spec_id", files.iter().map(|(spec_id, _)| *spec_id)),
    ];
    let partition_fields = PartitionFields::of(table);
    if !partition_fields.is_empty() {
        let partitions: Vec<_> =
            files.iter().map(|(spec_id, file)| (*spec_id, file.partition())).collect();
        columns.push(partition_fields.column("partition", &partitions)?);
    }
    let first_row_id = rows().map(DataFile::first_row_id);
    columns.extend([
        numbers::<Int64Type>("record_count", rows().map(|file| long(file.record_count()))),
        numbers::<Int64Type>(
            "file_size_in_bytes",
            rows().map(|file| long(file.file_size_in_bytes())),
        ),
        count_maps("column_sizes", rows().map(DataFile::column_sizes))?,
        count_maps("value_counts", rows().map(DataFile::value_counts))?,
        count_maps("null_value_counts", rows().map(DataFile::null_value_counts))?,
        count_maps("nan_value_counts", rows().map(DataFile::nan_value_counts))?,
        byte_maps("lower_bounds", rows().map(|file| bytes(file.lower_bounds())))?,
        byte_maps("upper_bounds", rows().map(|file| bytes(file.upper_bounds())))?,
        optional_bytes("key_metadata", rows().map(DataFile::key_metadata)),
        long_lists("split_offsets", rows().map(DataFile::split_offsets)),
        int_lists("equality_ids", rows().map(DataFile::equality_ids)),
        optional_numbers::<Int32Type>("sort_order_id", rows().map(DataFile::sort_order_id)),
        optional_numbers::<Int64Type>("first_row_id", first_row_id),
        optional_texts("referenced_data_file", rows().map(DataFile::referenced_data_file)),
        optional_numbers::<Int64Type>("content_offset", rows().map(DataFile::content_offset)),
        optional_numbers::<Int64Type>(
            "content_size_in_bytes",
            rows().map(DataFile::content_size_in_bytes),
        ),
    ]);
    Ok(columns)
}

/// Bounds in Iceberg's binary form.
fn bytes(bounds: &HashMap<i32, Datum>) -> BTreeMap<i32, Vec<u8>> {
    bounds.iter().filter_map(|(id, datum)| Some((*id, datum.to_bytes().ok()?.into_vec()))).collect()
}
