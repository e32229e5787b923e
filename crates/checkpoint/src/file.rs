//! The checkpoint file: what a job was about to commit to several sinks.
//!
//! Layout (`docs/formats/checkpoint.md`): one line of text, `shardlake-checkpoint 1 <crc32> <length>`,
//! then `length` bytes of JSON, then the committables of all sinks, one after the other, in the order
//! in which the JSON lists their lengths. The checksum covers everything after the first line, so a
//! file that was cut or changed is never taken for a checkpoint.

use serde::{Deserialize, Serialize};
use shardlake_connector::{Error, Phase, Progress, WriteResult};

const MAGIC: &str = "shardlake-checkpoint 1";

/// An epoch that is to be committed to all sinks of a job.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// The job's name.
    pub job_name: String,
    /// The epoch, the positions, and the fingerprint.
    pub progress: Progress,
    /// Whether a source still copied existing rows.
    pub phase: Phase,
    /// When the newest transaction in the epoch was written at its source.
    pub event_time_ms: Option<u64>,
    /// For each sink what its writers made of the epoch.
    pub sinks: Vec<SinkResults>,
}

/// What the writers of one sink made of an epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SinkResults {
    /// The sink's table.
    pub name: String,
    /// The last epoch that was committed to the sink before, if it stores progress. A sink that says
    /// something else now is not the one that this was written for.
    pub before: Option<u64>,
    /// One result for each writer.
    pub results: Vec<WriteResult>,
}

#[derive(Serialize, Deserialize)]
struct Header {
    job_name: String,
    progress: Progress,
    snapshot_phase: bool,
    event_time_ms: Option<u64>,
    sinks: Vec<SinkHeader>,
}

#[derive(Serialize, Deserialize)]
struct SinkHeader {
    name: String,
    before: Option<u64>,
    results: Vec<ResultHeader>,
}

#[derive(Serialize, Deserialize)]
struct ResultHeader {
    row_count: u64,
    size_bytes: u64,
    committable_bytes: usize,
}

impl Checkpoint {
    /// The bytes of the file.
    ///
    /// # Errors
    /// If a position cannot be written as JSON, which is a bug.
    pub fn encode(&self) -> Result<Vec<u8>, Error> {
        let header = Header {
            job_name: self.job_name.clone(),
            progress: self.progress.clone(),
            snapshot_phase: self.phase == Phase::Snapshot,
            event_time_ms: self.event_time_ms,
            sinks: self.sinks.iter().map(SinkHeader::of).collect(),
        };
        let json = serde_json::to_vec(&header)
            .map_err(|error| Error::bug("a checkpoint cannot be written").caused_by(error))?;
        let mut checksum = crc32fast::Hasher::new();
        checksum.update(&json);
        let results = || self.sinks.iter().flat_map(|sink| &sink.results);
        for result in results() {
            checksum.update(&result.committable);
        }
        let line = format!("{MAGIC} {:08x} {}\n", checksum.finalize(), json.len());
        let mut bytes = line.into_bytes();
        bytes.extend_from_slice(&json);
        for result in results() {
            bytes.extend_from_slice(&result.committable);
        }
        Ok(bytes)
    }

    /// Reads the bytes of a file.
    ///
    /// # Errors
    /// What is wrong with them, for a sentence that names the file.
    pub fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        let line_end =
            bytes.iter().position(|byte| *byte == b'\n').ok_or("it has no first line")?;
        let (line, rest) = bytes.split_at(line_end);
        let body = rest.get(1..).unwrap_or_default();
        let line = str::from_utf8(line).map_err(|_| "its first line is no text")?;
        let fields = line.strip_prefix(MAGIC).ok_or("it is of another format or version")?;
        let (checksum, length) =
            fields.trim().split_once(' ').ok_or("its first line is incomplete")?;
        let checksum =
            u32::from_str_radix(checksum, 16).map_err(|_| "its checksum is no number")?;
        let length: usize = length.parse().map_err(|_| "its length is no number")?;
        if crc32fast::hash(body) != checksum {
            return Err("its checksum is wrong");
        }
        let (json, mut blobs) = body.split_at_checked(length).ok_or("it is too short")?;
        let header: Header = serde_json::from_slice(json).map_err(|_| "its JSON is malformed")?;
        let mut sinks = Vec::with_capacity(header.sinks.len());
        for sink in header.sinks {
            let mut results = Vec::with_capacity(sink.results.len());
            for result in sink.results {
                let (committable, after) =
                    blobs.split_at_checked(result.committable_bytes).ok_or("it is too short")?;
                blobs = after;
                results.push(WriteResult {
                    row_count: result.row_count,
                    size_bytes: result.size_bytes,
                    committable: committable.to_vec(),
                });
            }
            sinks.push(SinkResults { name: sink.name, before: sink.before, results });
        }
        if !blobs.is_empty() {
            return Err("it is too long");
        }
        let phase = if header.snapshot_phase { Phase::Snapshot } else { Phase::Streaming };
        Ok(Self {
            job_name: header.job_name,
            progress: header.progress,
            phase,
            event_time_ms: header.event_time_ms,
            sinks,
        })
    }
}

impl SinkHeader {
    fn of(sink: &SinkResults) -> Self {
        let results = sink.results.iter().map(|result| ResultHeader {
            row_count: result.row_count,
            size_bytes: result.size_bytes,
            committable_bytes: result.committable.len(),
        });
        Self { name: sink.name.clone(), before: sink.before, results: results.collect() }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    pub(crate) fn checkpoint(epoch: u64, committables: &[&[u8]]) -> Checkpoint {
        let lanes = BTreeMap::from([("db:3306".to_owned(), json!({"file": "b.1", "offset": 4}))]);
        let results = committables.iter().map(|bytes| WriteResult {
            row_count: 1,
            size_bytes: 2,
            committable: bytes.to_vec(),
        });
        Checkpoint {
            job_name: "orders".to_owned(),
            progress: Progress {
                epoch,
                position: BTreeMap::from([("c.d.orders".to_owned(), lanes)]),
                fingerprint: "f".to_owned(),
            },
            phase: Phase::Streaming,
            event_time_ms: Some(17),
            sinks: vec![
                SinkResults { name: "a".to_owned(), before: Some(2), results: results.collect() },
                SinkResults {
                    name: "b".to_owned(),
                    before: None,
                    results: vec![WriteResult::default()],
                },
            ],
        }
    }

    #[test]
    fn the_format_is_pinned() {
        let bytes = checkpoint(3, &[b"blob"]).encode().unwrap();
        let one_field_a_line = String::from_utf8_lossy(&bytes).replace(",\"", ",\n\"");
        insta::assert_snapshot!(one_field_a_line, @r#"
        shardlake-checkpoint 1 a8d022c9 359
        {"job_name":"orders",
        "progress":{"epoch":3,
        "position":{"c.d.orders":{"db:3306":{"file":"b.1",
        "offset":4}}},
        "fingerprint":"f"},
        "snapshot_phase":false,
        "event_time_ms":17,
        "sinks":[{"name":"a",
        "before":2,
        "results":[{"row_count":1,
        "size_bytes":2,
        "committable_bytes":4}]},{"name":"b",
        "before":null,
        "results":[{"row_count":0,
        "size_bytes":0,
        "committable_bytes":0}]}]}blob
        "#);
    }

    #[test]
    fn damaged_files_are_refused() {
        let bytes = checkpoint(3, &[b"blob"]).encode().unwrap();
        let cut = &bytes[..bytes.len() - 1];
        assert_eq!(Checkpoint::decode(cut).unwrap_err(), "its checksum is wrong");
        assert_eq!(Checkpoint::decode(b"").unwrap_err(), "it has no first line");
        let other = b"shardlake-checkpoint 2 00000000 0\n";
        assert!(Checkpoint::decode(other).is_err());
    }

    proptest! {
        #[test]
        fn files_are_read_as_they_were_written(
            epoch in any::<u64>(),
            blobs in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..5),
        ) {
            let blobs: Vec<&[u8]> = blobs.iter().map(Vec::as_slice).collect();
            let written = checkpoint(epoch, &blobs);
            prop_assert_eq!(Checkpoint::decode(&written.encode().unwrap()).unwrap(), written);
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Checkpoint::decode(&bytes).is_err());
        }

        #[test]
        fn one_changed_byte_is_noticed(at in 0..1_000_usize, flip in 1..=255_u8) {
            let mut bytes = checkpoint(9, &[b"one", b"two"]).encode().unwrap();
            let at = at % bytes.len();
            bytes[at] ^= flip;
            let read = Checkpoint::decode(&bytes);
            // A letter of the checksum may change its case without changing its value.
            prop_assert!(read.is_err() || read.unwrap() == checkpoint(9, &[b"one", b"two"]));
        }
    }
}
