//! Savepoints: where a job stood, kept in a folder of its own until somebody removes it.
//!
//! Layout (`docs/formats/savepoint.md`): the folder `savepoint-<start of the job's id>-<random>` with
//! one file `_metadata`, which is one line of text, `shardlake-savepoint 1 <crc32> <length>`, and then
//! `length` bytes of JSON. A savepoint holds positions only: the rows up to there are committed in
//! the tables of the job's sinks.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use shardlake_connector::{Error, Progress};

const MAGIC: &str = "shardlake-savepoint 1";
const FILE: &str = "_metadata";

/// Where a job stood.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Savepoint {
    /// The job's name.
    pub job_name: String,
    /// The job's id.
    pub job_id: String,
    /// When it was made, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// The last epoch that all sinks had, and where the sources stood then.
    pub progress: Progress,
    /// For each source of the job what its positions belong to.
    pub sources: BTreeMap<String, String>,
    /// The tables of the sinks.
    pub sinks: Vec<String>,
}

impl Savepoint {
    /// Writes the savepoint into a new folder below `folder`; answers with the new folder. It is durable then.
    ///
    /// # Errors
    /// Transient if the folder cannot be written.
    pub fn write(&self, folder: &Path, random: u64) -> Result<PathBuf, Error> {
        let start: String = self.job_id.chars().take(6).collect();
        let name = format!("savepoint-{start}-{:012x}", random & 0xffff_ffff_ffff);
        let path = folder.join(name);
        let failed = |error: io::Error| {
            Error::transient(format!("failed to write the savepoint {}", path.display()))
                .caused_by(error)
        };
        let bytes = self.encode()?;
        fs::create_dir_all(&path).map_err(failed)?;
        let beside = path.join("_metadata.tmp");
        let written = File::create(&beside).and_then(|mut file| {
            file.write_all(&bytes)?;
            file.sync_all()?;
            fs::rename(&beside, path.join(FILE))?;
            File::open(&path)?.sync_all()?;
            File::open(folder)?.sync_all()
        });
        written.map_err(failed)?;
        Ok(path)
    }

    /// Reads a savepoint, given its folder or its file.
    ///
    /// # Errors
    /// For a user to mend: there is none, or it is damaged.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let file = if path.is_dir() { path.join(FILE) } else { path.to_owned() };
        let bytes = fs::read(&file).map_err(|error| {
            Error::job(format!("there is no savepoint that can be read at {}", path.display()))
                .caused_by(error)
        })?;
        Self::decode(&bytes).map_err(|reason| {
            Error::job(format!("the savepoint {} cannot be used: {reason}", path.display()))
        })
    }

    fn encode(&self) -> Result<Vec<u8>, Error> {
        let json = serde_json::to_vec(self)
            .map_err(|error| Error::bug("a savepoint cannot be written").caused_by(error))?;
        let line = format!("{MAGIC} {:08x} {}\n", crc32fast::hash(&json), json.len());
        let mut bytes = line.into_bytes();
        bytes.extend_from_slice(&json);
        Ok(bytes)
    }

    fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        let line_end =
            bytes.iter().position(|byte| *byte == b'\n').ok_or("it has no first line")?;
        let (line, rest) = bytes.split_at(line_end);
        let json = rest.get(1..).unwrap_or_default();
        let line = str::from_utf8(line).map_err(|_| "its first line is no text")?;
        let fields = line
            .strip_prefix(MAGIC)
            .ok_or("it is no savepoint of Shardlake, or one of a later version")?;
        let (checksum, length) =
            fields.trim().split_once(' ').ok_or("its first line is incomplete")?;
        if length.parse() != Ok(json.len()) {
            return Err("it is cut short, or something follows it");
        }
        if u32::from_str_radix(checksum, 16) != Ok(crc32fast::hash(json)) {
            return Err("its checksum is wrong");
        }
        serde_json::from_slice(json).map_err(|_| "its JSON is malformed")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn savepoint() -> Savepoint {
        let lanes = BTreeMap::from([("db:3306".to_owned(), json!({ "gtid": "a:1-5" }))]);
        Savepoint {
            job_name: "insert-into_a".to_owned(),
            job_id: "0123456789abcdef0123456789abcdef".to_owned(),
            created_at_ms: 5,
            progress: Progress {
                epoch: 7,
                position: BTreeMap::from([("c.d.users".to_owned(), lanes)]),
                fingerprint: "f".to_owned(),
            },
            sources: BTreeMap::from([("c.d.users".to_owned(), "mysql".to_owned())]),
            sinks: vec!["c.d.all_users".to_owned()],
        }
    }

    #[test]
    fn what_is_written_is_read_by_folder_and_by_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = savepoint().write(folder.path(), 0xabc).unwrap();
        assert!(path.ends_with("savepoint-012345-000000000abc"));
        assert_eq!(Savepoint::read(&path).unwrap(), savepoint());
        assert_eq!(Savepoint::read(&path.join("_metadata")).unwrap(), savepoint());
    }

    #[test]
    fn every_cut_and_every_changed_byte_is_noticed() {
        let bytes = savepoint().encode().unwrap();
        for cut in 0..bytes.len() {
            assert!(Savepoint::decode(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        for place in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[place] ^= 0x20;
            // The case of a hexadecimal digit does not matter.
            let same = Savepoint::decode(&changed).is_ok_and(|read| read == savepoint());
            assert!(Savepoint::decode(&changed).is_err() || same, "changed at {place}");
        }
    }
}
