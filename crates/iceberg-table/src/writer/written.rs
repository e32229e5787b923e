//! The files that a writer made durable and that are to be committed, in a form that outlives the process.

use iceberg::spec::{
    DataFile, FormatVersion, Schema, StructType, deserialize_data_file_from_json,
    serialize_data_file_to_json,
};
use serde::{Deserialize, Serialize};

use super::position_delete;
use crate::{Error, Table};

/// Durable files that are not committed yet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WrittenFiles {
    /// Data files.
    pub(crate) data: Vec<DataFile>,
    /// Position delete files; they refer to data files committed before or with them.
    pub(crate) deletes: Vec<DataFile>,
}

/// How files are encoded. The number is that of the encoding.
#[derive(Serialize, Deserialize)]
struct Encoded {
    version: u32,
    data: Vec<String>,
    deletes: Vec<String>,
}

const VERSION: u32 = 1;

impl WrittenFiles {
    /// True if there is nothing to commit.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.data.is_empty() && self.deletes.is_empty()
    }

    /// The size of all files in bytes.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.data.iter().chain(&self.deletes).map(DataFile::file_size_in_bytes).sum()
    }

    /// Adds the files of another writer.
    pub fn append(&mut self, mut other: Self) {
        self.data.append(&mut other.data);
        self.deletes.append(&mut other.deletes);
    }

    /// The files as bytes; empty if there are none.
    ///
    /// # Errors
    /// [`Error::Bug`] if a file cannot be encoded.
    pub fn encode(&self) -> Result<Vec<u8>, Error> {
        if self.is_empty() {
            return Ok(Vec::new());
        }
        let json = |files: &[DataFile]| {
            files
                .iter()
                .map(|file| {
                    let unpartitioned = StructType::new(Vec::new());
                    serialize_data_file_to_json(file.clone(), &unpartitioned, FormatVersion::V2)
                        .map_err(Error::bug)
                })
                .collect::<Result<Vec<_>, Error>>()
        };
        let encoded =
            Encoded { version: VERSION, data: json(&self.data)?, deletes: json(&self.deletes)? };
        serde_json::to_vec(&encoded).map_err(Error::bug)
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
        let encoded: Encoded =
            serde_json::from_slice(bytes).map_err(|error| corrupt(error.to_string()))?;
        if encoded.version != VERSION {
            return Err(corrupt(format!("it has version {}", encoded.version)));
        }
        let spec_id = table.metadata().default_partition_spec_id();
        let unpartitioned = StructType::new(Vec::new());
        let files = |json: &[String], schema: &Schema| {
            json.iter()
                .map(|file| {
                    deserialize_data_file_from_json(file, spec_id, &unpartitioned, schema)
                        .map_err(|error| corrupt(error.to_string()))
                })
                .collect::<Result<Vec<_>, Error>>()
        };
        Ok(Self {
            data: files(&encoded.data, table.schema())?,
            deletes: files(&encoded.deletes, &position_delete::schema()?)?,
        })
    }
}
