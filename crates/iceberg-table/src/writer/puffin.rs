//! Puffin files with deletion vectors (Puffin specification, blob type `deletion-vector-v1`).
//!
//! A file: the magic `PFA1`, the blobs, and a footer: the magic, the description of the blobs as JSON, its length as
//! four bytes (little endian), four bytes of flags, and the magic again.

use std::io::Write;

use iceberg::spec::{DataContentType, DataFileBuilder, DataFileFormat};
use roaring::{RoaringBitmap, RoaringTreemap};
use serde_json::json;

use super::{NewFile, RowDeletes};
use crate::scan::deletion_vector;
use crate::{Error, Storage};

const MAGIC: [u8; 4] = *b"PFA1";
/// The field that a deletion vector is about: the position of a row.
const ROW_POSITION_ID: i32 = 2_147_483_645;

/// Writes a file with one deletion vector for each data file, and returns the vectors' entries.
///
/// # Errors
/// [`Error::Storage`], naming the file.
pub(crate) fn write(
    storage: &Storage,
    location: &str,
    deletes: &[RowDeletes],
) -> Result<Vec<NewFile>, Error> {
    let failed = |error: std::io::Error| Error::Storage {
        action: "write",
        path: location.into(),
        source: error.into(),
    };
    let mut file = storage.create(location)?;
    file.write_all(&MAGIC).map_err(failed)?;
    let mut offset = MAGIC.len();
    let mut described = Vec::with_capacity(deletes.len());
    let mut places = Vec::with_capacity(deletes.len());
    for RowDeletes { location: data_file, rows, .. } in deletes {
        let blob = deletion_vector::encode(&widened(rows))?;
        file.write_all(&blob).map_err(failed)?;
        described.push(json!({
            "type": "deletion-vector-v1",
            "fields": [ROW_POSITION_ID],
            // Both are inherited from the manifest.
            "snapshot-id": -1,
            "sequence-number": -1,
            "offset": offset,
            "length": blob.len(),
            "properties": {
                "referenced-data-file": &**data_file,
                "cardinality": rows.len().to_string(),
            },
        }));
        places.push((offset, blob.len()));
        offset += blob.len();
    }
    let created_by = concat!("shardlake ", env!("CARGO_PKG_VERSION"));
    let footer = json!({ "blobs": described, "properties": { "created-by": created_by } });
    let footer = serde_json::to_vec(&footer).map_err(Error::bug)?;
    let length = u32::try_from(footer.len()).map_err(Error::bug)?;
    let mut end = MAGIC.to_vec();
    end.extend_from_slice(&footer);
    end.extend_from_slice(&length.to_le_bytes());
    end.extend_from_slice(&[0; 4]);
    end.extend_from_slice(&MAGIC);
    file.write_all(&end).map_err(failed)?;
    let size_bytes = file.finish()?;
    deletes
        .iter()
        .zip(places)
        .map(|(deletes, (offset, length))| {
            let RowDeletes { location: data_file, partition, rows } = deletes;
            let place = |value: usize| i64::try_from(value).map(Some).map_err(Error::bug);
            let file = DataFileBuilder::default()
                .content(DataContentType::PositionDeletes)
                .file_path(location.to_owned())
                .file_format(DataFileFormat::Puffin)
                .partition_spec_id(partition.spec_id)
                .partition(partition.values.clone())
                .record_count(rows.len())
                .file_size_in_bytes(size_bytes)
                .referenced_data_file(Some(data_file.to_string()))
                .content_offset(place(offset)?)
                .content_size_in_bytes(place(length)?)
                .build()
                .map_err(Error::bug)?;
            Ok(NewFile { spec_id: partition.spec_id, file })
        })
        .collect()
}

fn widened(rows: &RoaringBitmap) -> RoaringTreemap {
    RoaringTreemap::from_bitmaps([(0, rows.clone())])
}
