//! The files that a writer made durable and that are to be committed, in a form that outlives the process.
//!
//! The form: four bytes with the length of a JSON text (little endian), the text, and the bitmaps that it
//! names, one after another. See `docs/formats/written-files.md`.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Deref;
use std::sync::Arc;

use iceberg::spec::{
    DataContentType, DataFile, FormatVersion, Literal, Schema, StructType, Type,
    deserialize_data_file_from_json, serialize_data_file_to_json,
};
use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};

use super::partition::Partition;
use super::position_delete;
use crate::{Error, Table};

/// A file that is not committed yet, and the partition spec by which it was written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NewFile {
    pub(crate) spec_id: i32,
    pub(crate) file: DataFile,
}

impl Deref for NewFile {
    type Target = DataFile;

    fn deref(&self) -> &DataFile {
        &self.file
    }
}

/// Rows of one data file that are gone.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RowDeletes {
    /// The data file, committed before or with the deletes.
    pub(crate) location: Arc<str>,
    pub(crate) partition: Arc<Partition>,
    pub(crate) rows: RoaringBitmap,
}

/// Durable files that are not committed yet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WrittenFiles {
    /// Data files.
    pub(crate) data: Vec<NewFile>,
    /// Position and equality delete files.
    pub(crate) deletes: Vec<NewFile>,
    /// Rows that are gone and for which no delete file was written: the commit makes deletion vectors
    /// of them.
    pub(crate) row_deletes: Vec<RowDeletes>,
    /// The types of partition values, by partition spec.
    pub(crate) partition_types: BTreeMap<i32, StructType>,
}

/// How files are encoded. The number is that of the encoding.
#[derive(Serialize, Deserialize)]
struct Encoded {
    version: u32,
    data: Vec<EncodedFile>,
    deletes: Vec<EncodedFile>,
    row_deletes: Vec<EncodedRowDeletes>,
}

#[derive(Serialize, Deserialize)]
struct EncodedFile {
    spec: i32,
    /// Whether its columns are those of a position delete file.
    of_positions: bool,
    file: String,
}

#[derive(Serialize, Deserialize)]
struct EncodedRowDeletes {
    location: String,
    spec: i32,
    partition: serde_json::Value,
    size: usize,
}

const VERSION: u32 = 2;

impl WrittenFiles {
    /// True if there is nothing to commit.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.data.is_empty() && self.deletes.is_empty() && self.row_deletes.is_empty()
    }

    /// The size of all files in bytes.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.data.iter().chain(&self.deletes).map(|file| file.file_size_in_bytes()).sum()
    }

    /// Adds the files of another writer.
    pub fn append(&mut self, mut other: Self) {
        self.data.append(&mut other.data);
        self.deletes.append(&mut other.deletes);
        self.row_deletes.append(&mut other.row_deletes);
        self.partition_types.append(&mut other.partition_types);
    }

    fn partition_type(&self, spec_id: i32) -> Result<&StructType, Error> {
        self.partition_types.get(&spec_id).ok_or_else(|| Error::bug("no type of a partition"))
    }

    /// The files as bytes; empty if there are none.
    ///
    /// # Errors
    /// [`Error::Bug`] if a file cannot be encoded.
    pub fn encode(&self) -> Result<Vec<u8>, Error> {
        if self.is_empty() {
            return Ok(Vec::new());
        }
        let files = |files: &[NewFile]| {
            files
                .iter()
                .map(|NewFile { spec_id, file }| {
                    let kind = self.partition_type(*spec_id)?;
                    let of_positions = file.content_type() == DataContentType::PositionDeletes;
                    let file = serialize_data_file_to_json(file.clone(), kind, FormatVersion::V2)
                        .map_err(Error::bug)?;
                    Ok(EncodedFile { spec: *spec_id, of_positions, file })
                })
                .collect::<Result<Vec<_>, Error>>()
        };
        let mut bitmaps = Vec::new();
        let mut row_deletes = Vec::with_capacity(self.row_deletes.len());
        for RowDeletes { location, partition, rows } in &self.row_deletes {
            let kind = Type::Struct(self.partition_type(partition.spec_id)?.clone());
            let values = Literal::Struct(partition.values.clone());
            row_deletes.push(EncodedRowDeletes {
                location: location.to_string(),
                spec: partition.spec_id,
                partition: values.try_into_json(&kind).map_err(Error::bug)?,
                size: rows.serialized_size(),
            });
            rows.serialize_into(&mut bitmaps).map_err(Error::bug)?;
        }
        let header = serde_json::to_vec(&Encoded {
            version: VERSION,
            data: files(&self.data)?,
            deletes: files(&self.deletes)?,
            row_deletes,
        })
        .map_err(Error::bug)?;
        let length = u32::try_from(header.len()).map_err(Error::bug)?;
        let mut bytes = length.to_le_bytes().to_vec();
        bytes.extend_from_slice(&header);
        bytes.extend_from_slice(&bitmaps);
        Ok(bytes)
    }

    /// Reads what [`Self::encode`] made for `table`.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it was not made by this version for this table.
    pub fn decode(bytes: &[u8], table: &Table) -> Result<Self, Error> {
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        let corrupt = |reason: String| Error::corrupt("the list of files to commit", reason);
        let cut = || corrupt("it is cut short".to_owned());
        let (length, rest) = bytes.split_first_chunk::<4>().ok_or_else(cut)?;
        let length = usize::try_from(u32::from_le_bytes(*length)).map_err(Error::bug)?;
        let (header, mut bitmaps) = rest.split_at_checked(length).ok_or_else(cut)?;
        let encoded: Encoded =
            serde_json::from_slice(header).map_err(|error| corrupt(error.to_string()))?;
        if encoded.version != VERSION {
            return Err(corrupt(format!("it has version {}", encoded.version)));
        }
        let mut written = Self::default();
        let specs = encoded.data.iter().chain(&encoded.deletes).map(|file| file.spec);
        for spec_id in specs.chain(encoded.row_deletes.iter().map(|deletes| deletes.spec)) {
            if let Entry::Vacant(vacant) = written.partition_types.entry(spec_id) {
                vacant.insert(partition_type(table, spec_id)?);
            }
        }
        written.data = written.decode_files(&encoded.data, table.schema())?;
        written.deletes = written.decode_files(&encoded.deletes, table.schema())?;
        for deletes in encoded.row_deletes {
            let (bitmap, rest) = bitmaps.split_at_checked(deletes.size).ok_or_else(cut)?;
            bitmaps = rest;
            let rows = RoaringBitmap::deserialize_from(bitmap)
                .map_err(|error| corrupt(error.to_string()))?;
            let kind = Type::Struct(written.partition_type(deletes.spec)?.clone());
            let values = Literal::try_from_json(deletes.partition, &kind);
            let Ok(Some(Literal::Struct(values))) = values else {
                return Err(corrupt("a partition does not fit its spec".to_owned()));
            };
            let partition = Arc::new(Partition { spec_id: deletes.spec, values });
            let location = deletes.location.into();
            written.row_deletes.push(RowDeletes { location, partition, rows });
        }
        Ok(written)
    }

    fn decode_files(&self, files: &[EncodedFile], schema: &Schema) -> Result<Vec<NewFile>, Error> {
        let positions = position_delete::schema()?;
        files
            .iter()
            .map(|EncodedFile { spec, of_positions, file }| {
                let kind = self.partition_type(*spec)?;
                let schema = if *of_positions { &positions } else { schema };
                let file = deserialize_data_file_from_json(file, *spec, kind, schema)
                    .map_err(|error| Error::corrupt("the list of files to commit", error))?;
                Ok(NewFile { spec_id: *spec, file })
            })
            .collect()
    }
}

/// The type of the partitions of one partition spec of a table.
pub(crate) fn partition_type(table: &Table, spec_id: i32) -> Result<StructType, Error> {
    let spec = table.metadata().partition_spec_by_id(spec_id).ok_or_else(|| {
        Error::corrupt(table.metadata_location(), format!("there is no partition spec {spec_id}"))
    })?;
    spec.partition_type(table.schema()).map_err(Error::bug)
}
