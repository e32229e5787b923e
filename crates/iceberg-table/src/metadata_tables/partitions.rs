//! `$partitions`: what is in each partition. Deletes are counted, not applied.

use arrow::datatypes::{Int32Type, Int64Type};
use iceberg::spec::{DataContentType, Struct};
use indexmap::IndexMap;

use super::MetadataColumn;
use super::columns::{PartitionFields, instants, long, numbers, optional_numbers};
use crate::scan::plan::Entries;
use crate::{Error, Table};

#[derive(Default)]
struct Totals {
    records: u64,
    files: i32,
    bytes: u64,
    position_records: u64,
    position_files: i32,
    equality_records: u64,
    equality_files: i32,
    updated_at: Option<i64>,
    updated_by: Option<i64>,
}

pub(super) fn partitions(
    table: &Table,
    manifests: &[(i32, Entries)],
) -> Result<Vec<MetadataColumn>, Error> {
    let mut partitions: IndexMap<(i32, Struct), Totals> = IndexMap::new();
    for (spec_id, entries) in manifests {
        for entry in entries.iter().filter(|entry| entry.is_alive()) {
            let file = entry.data_file();
            let totals = partitions.entry((*spec_id, file.partition().clone())).or_default();
            match file.content_type() {
                DataContentType::Data => {
                    totals.records += file.record_count();
                    totals.files += 1;
                    totals.bytes += file.file_size_in_bytes();
                }
                DataContentType::PositionDeletes => {
                    totals.position_records += file.record_count();
                    totals.position_files += 1;
                }
                DataContentType::EqualityDeletes => {
                    totals.equality_records += file.record_count();
                    totals.equality_files += 1;
                }
            }
            let snapshot = entry.snapshot_id().and_then(|id| table.metadata().snapshot_by_id(id));
            if let Some(snapshot) = snapshot
                && totals.updated_at.is_none_or(|at| at < snapshot.timestamp_ms())
            {
                totals.updated_at = Some(snapshot.timestamp_ms());
                totals.updated_by = Some(snapshot.snapshot_id());
            }
        }
    }
    let fields = PartitionFields::of(table);
    let mut columns = Vec::new();
    if !fields.is_empty() {
        let keys: Vec<(i32, &Struct)> =
            partitions.keys().map(|(spec_id, partition)| (*spec_id, partition)).collect();
        columns.push(fields.column("partition", &keys)?);
        columns.push(numbers::<Int32Type>("spec_id", keys.iter().map(|(spec_id, _)| *spec_id)));
    }
    let rows = || partitions.values();
    columns.extend([
        numbers::<Int64Type>("record_count", rows().map(|row| long(row.records))),
        numbers::<Int32Type>("file_count", rows().map(|row| row.files)),
        numbers::<Int64Type>("total_data_file_size_in_bytes", rows().map(|row| long(row.bytes))),
        numbers::<Int64Type>(
            "position_delete_record_count",
            rows().map(|row| long(row.position_records)),
        ),
        numbers::<Int32Type>("position_delete_file_count", rows().map(|row| row.position_files)),
        numbers::<Int64Type>(
            "equality_delete_record_count",
            rows().map(|row| long(row.equality_records)),
        ),
        numbers::<Int32Type>("equality_delete_file_count", rows().map(|row| row.equality_files)),
        instants("last_updated_at", true, rows().map(|row| row.updated_at)),
        optional_numbers::<Int64Type>("last_updated_snapshot_id", rows().map(|row| row.updated_by)),
    ]);
    Ok(columns)
}
