use std::collections::BTreeMap;
use std::path::PathBuf;

use futures::executor::block_on;
use shardlake_change::{
    ChangeBatch, Column, LogicalType, TableSchema, changelog_text, parse_changelog,
};
use shardlake_connector::{
    CommitRequest, EventReceiver, JobIdentity, ObjectName, Options, Phase, Progress, SinkFactory,
    SourceEvent,
};
use tempfile::TempDir;

use super::*;
use crate::IcebergSinkFactory;

struct Scene {
    dir: TempDir,
}

impl Scene {
    fn new() -> Self {
        Self { dir: TempDir::new().unwrap() }
    }

    fn definition(&self, more: &[(&str, &str)]) -> TableDefinition {
        let mut options = Options::default();
        options.set("catalog-name", "lake");
        options.set("warehouse", self.dir.path().to_str().unwrap());
        more.iter().for_each(|(key, value)| options.set(*key, *value));
        TableDefinition {
            name: ObjectName {
                catalog: "default_catalog".into(),
                database: "db".into(),
                object: "users".into(),
            },
            schema: schema(),
            metadata: vec![None, None],
            options,
            partitioned_by: vec![],
            comment: None,
        }
    }

    /// Commits each text as an epoch of one job.
    fn write(&self, first_epoch: u64, epochs: &[&str]) {
        let sink = IcebergSinkFactory.create(&self.definition(&[])).unwrap();
        let job = JobIdentity { name: "job".into(), id: "0".into(), fingerprint: "f".into() };
        let claim = block_on(sink.open(&job)).unwrap();
        let mut writer = claim.sink.writer(0, 1).unwrap();
        let mut committer = claim.sink.committer().unwrap();
        for (epoch, text) in (first_epoch..).zip(epochs) {
            writer.write(epoch, parse_changelog(&schema().to_arrow(), text).unwrap()).unwrap();
            let results = vec![writer.close_epoch(epoch).unwrap()];
            let progress =
                Progress { epoch, position: BTreeMap::new(), fingerprint: "f".to_owned() };
            committer
                .commit(&CommitRequest {
                    progress,
                    phase: Phase::Streaming,
                    event_time_ms: None,
                    results,
                    recovered: false,
                })
                .unwrap();
        }
    }

    fn source(&self, more: &[(&str, &str)]) -> Arc<dyn Source> {
        IcebergSourceFactory.create(&self.definition(more)).unwrap()
    }

    fn start(&self, more: &[(&str, &str)], position: Option<&Value>) -> Lane {
        let position =
            position.map(|position| BTreeMap::from([(LANE.to_owned(), position.clone())]));
        let request = ReadRequest {
            columns: vec![0, 1],
            key_columns: None,
            kept: None,
            schema_change: None,
            position,
            memory_bytes: 1 << 20,
            spill_dir: PathBuf::new(),
        };
        let mut running = self.source(more).start(&request).unwrap();
        Lane { receiver: running.lanes.remove(0).1 }
    }
}

fn schema() -> TableSchema {
    TableSchema {
        columns: vec![
            Column::new("id", LogicalType::SmallInt).not_null(),
            Column::new("name", LogicalType::VarChar(20)),
        ],
        primary_key: vec!["id".into()],
    }
}

struct Lane {
    receiver: EventReceiver,
}

impl Lane {
    /// The rows up to the next boundary, and its position and phase.
    fn next(&self) -> (String, Value, Phase) {
        let mut batches: Vec<ChangeBatch> = Vec::new();
        loop {
            match self.receiver.next() {
                SourceEvent::Rows(batch) => batches.push(batch),
                SourceEvent::Boundary(boundary) => {
                    let text = changelog_text(&batches).unwrap();
                    return (text.trim_end().to_owned(), boundary.position, boundary.phase);
                }
                other => panic!("{other:?}"),
            }
        }
    }

    /// The rows of the next snapshot that has any.
    fn rows(&self) -> (String, Value) {
        loop {
            let (rows, position, _) = self.next();
            if !rows.is_empty() {
                return (rows, position);
            }
        }
    }

    fn failure(&self) -> String {
        loop {
            match self.receiver.next() {
                SourceEvent::Failed(error) => return error.report(),
                SourceEvent::Boundary(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

const STREAMING: (&str, &str) = ("streaming", "true");
const QUICK: (&str, &str) = ("monitor-interval", "10ms");

#[test]
fn a_stream_scans_the_table_and_follows_its_snapshots() {
    let scene = Scene::new();
    scene.write(1, &["+I 1 | a\n+I 2 | b", "-U 2 | b\n+U 2 | c"]);
    let scan = ("starting-strategy", "TABLE_SCAN_THEN_INCREMENTAL");
    let lane = scene.start(&[STREAMING, QUICK, scan], None);
    let (none, _, phase) = lane.next();
    assert_eq!((none.as_str(), phase), ("", Phase::Snapshot));
    let (rows, first, phase) = lane.next();
    let mut rows: Vec<&str> = rows.lines().collect();
    rows.sort_unstable();
    assert_eq!((rows, phase), (vec!["+I 1 | a", "+I 2 | c"], Phase::Streaming));
    scene.write(3, &["-D 1 | a", "+I 3 | x\n-U 2 | c\n+U 2 | d"]);
    let (rows, second) = lane.rows();
    assert_eq!(rows, "-D 1 | a");
    let (rows, third) = lane.rows();
    assert_eq!(rows, "+I 3 | x\n-U 2 | c\n+U 2 | d");
    drop(lane);
    // Each stored position leads to exactly what was not sent.
    for (position, expected) in [(&first, "-D 1 | a"), (&second, "+I 3 | x\n-U 2 | c\n+U 2 | d")] {
        let again = scene.start(&[STREAMING, QUICK, scan], Some(position));
        assert_eq!(again.rows().0, expected);
    }
    let again = scene.start(&[STREAMING, QUICK, scan], Some(&third));
    scene.write(5, &["+I 9 | new"]);
    assert_eq!(again.rows().0, "+I 9 | new");
}

#[test]
fn strategies_begin_where_they_say() {
    let scene = Scene::new();
    scene.write(1, &["+I 1 | a", "+I 2 | b", "+I 3 | c"]);
    let first = |more: &[(&str, &str)]| {
        let options: Vec<(&str, &str)> = [STREAMING, QUICK].iter().chain(more).copied().collect();
        scene.start(&options, None).rows()
    };
    assert_eq!(first(&[]).0, "+I 3 | c");
    let (rows, position) = first(&[("starting-strategy", "incremental_from_earliest_snapshot")]);
    assert_eq!(rows, "+I 1 | a");
    let id = position["snapshot-id"].to_string();
    // With the strategy the snapshot is read, without it reading begins behind it, as Flink has it.
    let strategy = ("starting-strategy", "INCREMENTAL_FROM_SNAPSHOT_ID");
    assert_eq!(first(&[("start-snapshot-id", &id), strategy]).0, "+I 1 | a");
    assert_eq!(first(&[("start-snapshot-id", &id)]).0, "+I 2 | b");
    assert_eq!(first(&[("start-snapshot-timestamp", "1000")]).0, "+I 1 | a");
    let lost = scene.start(&[STREAMING, ("start-snapshot-id", "42")], None);
    let failure = lost.failure();
    assert!(failure.starts_with("Start snapshot id not found in history: 42."), "{failure}");
}

#[test]
fn without_streaming_changes_end_at_the_newest_or_named_snapshot() {
    let scene = Scene::new();
    scene.write(1, &["+I 1 | a", "+I 2 | b", "-D 1 | a"]);
    let strategy = ("starting-strategy", "INCREMENTAL_FROM_EARLIEST_SNAPSHOT");
    let lane = scene.start(&[STREAMING, QUICK, strategy], None);
    let ids: Vec<String> = (0..3).map(|_| lane.rows().1["snapshot-id"].to_string()).collect();
    let read = |more: &[(&str, &str)]| {
        let source = scene.source(more);
        assert!(source.is_bounded());
        let lane = scene.start(more, None);
        let mut rows = Vec::new();
        loop {
            match lane.receiver.next() {
                SourceEvent::Rows(batch) | SourceEvent::Alone(batch) => rows.push(batch),
                SourceEvent::Boundary(_) => {}
                SourceEvent::End => return changelog_text(&rows).unwrap(),
                SourceEvent::Failed(error) => panic!("{}", error.report()),
            }
        }
    };
    assert_eq!(read(&[("start-snapshot-id", &ids[0])]), "+I 2 | b\n-D 1 | a\n");
    let between = [("start-snapshot-id", ids[0].as_str()), ("end-snapshot-id", ids[1].as_str())];
    assert_eq!(read(&between), "+I 2 | b\n");
    let wrong = [("start-snapshot-id", ids[1].as_str()), ("end-snapshot-id", ids[0].as_str())];
    let failure = scene.start(&wrong, None).failure();
    assert!(failure.contains("does not follow the start"), "{failure}");
}

#[test]
fn a_table_that_was_made_anew_is_refused() {
    let scene = Scene::new();
    scene.write(1, &["+I 1 | a"]);
    let (_, position) = scene.start(&[STREAMING], None).rows();
    std::fs::remove_dir_all(scene.dir.path().join("db/users")).unwrap();
    scene.write(1, &["+I 1 | a"]);
    let failure = scene.start(&[STREAMING], Some(&position)).failure();
    assert!(failure.contains("was dropped and made anew"), "{failure}");
}

#[test]
fn options_are_refused_in_flinks_words() {
    let scene = Scene::new();
    let refusal = |more: &[(&str, &str)]| {
        let error = IcebergSourceFactory.create(&scene.definition(more)).err().unwrap();
        error.report()
    };
    let by_id = ("starting-strategy", "INCREMENTAL_FROM_SNAPSHOT_ID");
    for (options, expected) in [
        (
            vec![STREAMING, by_id],
            "Invalid starting snapshot id for INCREMENTAL_FROM_SNAPSHOT_ID strategy: null",
        ),
        (
            vec![STREAMING, by_id, ("start-snapshot-id", "1"), ("start-snapshot-timestamp", "1")],
            "Invalid starting snapshot timestamp for INCREMENTAL_FROM_SNAPSHOT_ID strategy: not null",
        ),
        (
            vec![STREAMING, ("start-snapshot-id", "1"), ("start-tag", "t")],
            "START_SNAPSHOT_ID and START_TAG cannot both be set.",
        ),
        (
            vec![STREAMING, ("snapshot-id", "1")],
            "Cannot set snapshot-id option for streaming reader",
        ),
        (vec![STREAMING, ("end-tag", "t")], "Cannot set end-tag option for streaming reader"),
    ] {
        assert_eq!(refusal(&options), expected);
    }
    let unknown = refusal(&[STREAMING, ("monitor-intervall", "1s")]);
    assert!(unknown.contains("Unsupported options:"), "{unknown}");
}
