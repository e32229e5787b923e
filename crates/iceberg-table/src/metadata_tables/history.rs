//! Tables about the versions of a table: they need the metadata alone.

use std::collections::HashSet;

use arrow::datatypes::{Int32Type, Int64Type};
use iceberg::spec::SnapshotRef;

use super::MetadataColumn;
use super::columns::{
    booleans, instants, numbers, optional_numbers, optional_texts, text_maps, texts,
};
use crate::time_travel::{ancestors, references};
use crate::{Error, Table};

pub(super) fn history(table: &Table) -> Vec<MetadataColumn> {
    let metadata = table.metadata();
    let log = metadata.history();
    let ancestors: HashSet<i64> =
        ancestors(table).iter().map(|snapshot| snapshot.snapshot_id()).collect();
    let parent = |id: i64| metadata.snapshot_by_id(id).and_then(|s| s.parent_snapshot_id());
    vec![
        instants("made_current_at", false, log.iter().map(|entry| Some(entry.timestamp_ms()))),
        numbers::<Int64Type>("snapshot_id", log.iter().map(|entry| entry.snapshot_id)),
        optional_numbers::<Int64Type>("parent_id", log.iter().map(|e| parent(e.snapshot_id))),
        booleans(
            "is_current_ancestor",
            log.iter().map(|entry| ancestors.contains(&entry.snapshot_id)),
        ),
    ]
}

pub(super) fn metadata_log_entries(table: &Table) -> Vec<MetadataColumn> {
    let metadata = table.metadata();
    let current = (metadata.last_updated_ms(), table.metadata_location());
    let entries: Vec<(i64, &str)> = metadata
        .metadata_log()
        .iter()
        .map(|entry| (entry.timestamp_ms, entry.metadata_file.as_str()))
        .chain([current])
        .collect();
    // What was the newest snapshot when each file was written.
    let snapshots: Vec<Option<&SnapshotRef>> = entries
        .iter()
        .map(|(timestamp, _)| {
            let log = metadata.history().iter();
            let newest = log.rev().find(|entry| entry.timestamp_ms() <= *timestamp)?;
            metadata.snapshot_by_id(newest.snapshot_id)
        })
        .collect();
    let of_snapshot = |value: fn(&SnapshotRef) -> Option<i64>| {
        snapshots.iter().map(move |snapshot| snapshot.and_then(value)).collect::<Vec<_>>()
    };
    let schema_ids = snapshots.iter().map(|snapshot| snapshot.and_then(|s| s.schema_id()));
    vec![
        instants("timestamp", false, entries.iter().map(|(timestamp, _)| Some(*timestamp))),
        texts("file", entries.iter().map(|(_, file)| *file)),
        optional_numbers::<Int64Type>(
            "latest_snapshot_id",
            of_snapshot(|snapshot| Some(snapshot.snapshot_id())),
        ),
        optional_numbers::<Int32Type>("latest_schema_id", schema_ids),
        optional_numbers::<Int64Type>(
            "latest_sequence_number",
            of_snapshot(|snapshot| Some(snapshot.sequence_number())),
        ),
    ]
}

pub(super) fn snapshots(table: &Table) -> Result<Vec<MetadataColumn>, Error> {
    let mut snapshots: Vec<&SnapshotRef> = table.metadata().snapshots().collect();
    snapshots.sort_by_key(|snapshot| (snapshot.sequence_number(), snapshot.timestamp_ms()));
    let rows = || snapshots.iter();
    Ok(vec![
        instants("committed_at", false, rows().map(|snapshot| Some(snapshot.timestamp_ms()))),
        numbers::<Int64Type>("snapshot_id", rows().map(|snapshot| snapshot.snapshot_id())),
        optional_numbers::<Int64Type>("parent_id", rows().map(|s| s.parent_snapshot_id())),
        optional_texts(
            "operation",
            rows().map(|snapshot| Some(snapshot.summary().operation.as_str())),
        ),
        optional_texts("manifest_list", rows().map(|snapshot| Some(snapshot.manifest_list()))),
        text_maps("summary", rows().map(|snapshot| &snapshot.summary().additional_properties))?,
    ])
}

pub(super) fn refs(table: &Table) -> Result<Vec<MetadataColumn>, Error> {
    let references = references(table)?;
    let rows = || references.iter();
    Ok(vec![
        texts("name", rows().map(|reference| &reference.name)),
        texts("type", rows().map(|reference| &reference.kind)),
        numbers::<Int64Type>("snapshot_id", rows().map(|reference| reference.snapshot_id)),
        optional_numbers::<Int64Type>(
            "max_reference_age_in_ms",
            rows().map(|reference| reference.max_reference_age_ms),
        ),
        optional_numbers::<Int32Type>(
            "min_snapshots_to_keep",
            rows().map(|reference| reference.min_snapshots_to_keep),
        ),
        optional_numbers::<Int64Type>(
            "max_snapshot_age_in_ms",
            rows().map(|reference| reference.max_snapshot_age_ms),
        ),
    ])
}
