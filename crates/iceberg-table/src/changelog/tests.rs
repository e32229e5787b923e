use std::collections::BTreeMap;
use std::sync::Arc;

use futures::TryStreamExt;
use iceberg::spec::{DataContentType, DataFile, FormatVersion, Literal, Transform};
use proptest::prelude::*;
use shardlake_change::{Column, LogicalType, RowKind, TableSchema, changelog_text};

use super::*;
use crate::DeltaWriterOptions;
use crate::provider::tests::fixture::{Change, Fixture, longs, partition, texts};
use crate::testing::{Lake, Run};

fn declared(key: &[&str]) -> TableSchema {
    TableSchema {
        columns: vec![
            Column::new("id", LogicalType::BigInt).not_null(),
            Column::new("name", LogicalType::String),
        ],
        primary_key: key.iter().map(|name| (*name).to_owned()).collect(),
    }
}

fn reader(table: &Table, wanted: Vec<usize>, memory_bytes: u64) -> ChangelogReader {
    ChangelogReader::try_new(table, &declared(&["id"]), wanted, memory_bytes).unwrap()
}

/// The changes of a snapshot, one a line; sorted, because their order among keys is free.
async fn changes_of(reader: &ChangelogReader, table: &Table, snapshot: i64) -> String {
    let batches: Vec<ChangeBatch> =
        reader.changes(table, snapshot).await.unwrap().try_collect().await.unwrap();
    sorted(&changelog_text(&batches).unwrap())
}

fn sorted(text: &str) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable_by_key(|line| {
        let (kind, row) = line.split_once(' ').unwrap();
        (row.split(" | ").next().unwrap().to_owned(), kind.to_owned())
    });
    lines.join("\n")
}

async fn changes(fixture: &Fixture, snapshot: i64) -> String {
    let reader = reader(&fixture.table, vec![0, 1], u64::MAX);
    changes_of(&reader, &fixture.table, snapshot).await
}

async fn keyed() -> Fixture {
    let fixture =
        Fixture::keyed(&[("id", LogicalType::BigInt), ("name", LogicalType::String)], &["id"]);
    fixture.await
}

#[tokio::test]
async fn added_rows_are_inserts_and_positions_that_go_are_deletes() {
    let mut fixture = keyed().await;
    let first = fixture.rows(&[(1, "a"), (2, "b"), (3, "c")]);
    let appended = fixture.commit(vec![first.clone()]).await;
    let second = fixture.rows(&[(2, "b2"), (4, "d"), (5, "e")]);
    // Row 5 comes and goes in one snapshot.
    let deletes = fixture.position_deletes(&[(&first, 1), (&first, 2), (&second, 2)]);
    let changed = fixture.commit(vec![second, deletes]).await;
    insta::assert_snapshot!(changes(&fixture, appended).await, @r"
    +I 1 | a
    +I 2 | b
    +I 3 | c
    ");
    insta::assert_snapshot!(changes(&fixture, changed).await, @r"
    +U 2 | b2
    -U 2 | b
    -D 3 | c
    +I 4 | d
    ");
    // The key is read even if nobody asked for it.
    let names = reader(&fixture.table, vec![1], 1);
    insta::assert_snapshot!(changes_of(&names, &fixture.table, changed).await, @r"
    -U b
    +U b2
    -D c
    +I d
    ");
}

#[tokio::test]
async fn equality_deletes_hit_the_rows_that_were_there() {
    let mut fixture = keyed().await;
    let first = fixture.rows(&[(1, "a"), (2, "b"), (3, "c"), (4, "d")]);
    fixture.commit(vec![first.clone()]).await;
    let gone = fixture.equality_deletes(&[(1, "id", longs([Some(1)]))]);
    let deleted = fixture.commit(vec![gone]).await;
    // As an upsert writer does it: the key is deleted whether it was there or not. Row 1 is gone
    // already, row 3 is deleted in two ways.
    let upserts = fixture.rows(&[(2, "b2"), (9, "z")]);
    let keys = longs([Some(1), Some(2), Some(3), Some(9)]);
    let equality = fixture.equality_deletes(&[(1, "id", keys)]);
    let positions = fixture.position_deletes(&[(&first, 2), (&first, 3)]);
    let upserted = fixture.commit(vec![upserts, equality, positions]).await;
    insta::assert_snapshot!(changes(&fixture, deleted).await, @"-D 1 | a");
    insta::assert_snapshot!(changes(&fixture, upserted).await, @r"
    +U 2 | b2
    -U 2 | b
    -D 3 | c
    -D 4 | d
    +I 9 | z
    ");
}

#[tokio::test]
async fn a_new_deletion_vector_deletes_what_the_old_one_did_not() {
    let mut fixture = keyed().await;
    let file = fixture.rows(&[(1, "a"), (2, "b"), (3, "c")]);
    let deletes = fixture.position_deletes(&[(&file, 0)]);
    fixture.commit(vec![file.clone(), deletes]).await;
    fixture.upgrade(FormatVersion::V3).await;
    let vector = fixture.deletion_vector(&file, &[0, 2]);
    let first = fixture.commit(vec![vector]).await;
    insta::assert_snapshot!(changes(&fixture, first).await, @"-D 3 | c");
}

#[tokio::test]
async fn rewritten_rows_are_not_sent() {
    let mut fixture = keyed().await;
    let first = fixture.rows(&[(1, "a"), (2, "b"), (3, "c")]);
    fixture.commit(vec![first.clone()]).await;
    // Copy-on-write: the file is replaced by one without row 2 and with another row 3.
    let second = fixture.rows(&[(1, "a"), (3, "c2")]);
    let replace = vec![Change::Remove(first, 1), Change::Add(second.clone())];
    let rewritten = fixture.commit_changes(replace).await;
    insta::assert_snapshot!(changes(&fixture, rewritten).await, @r"
    -D 2 | b
    +U 3 | c2
    -U 3 | c
    ");
    let third = fixture.rows(&[(3, "c2"), (1, "a")]);
    let compacted = fixture
        .commit_as(Operation::Replace, vec![Change::Remove(second, 2), Change::Add(third)])
        .await;
    assert_eq!(changes(&fixture, compacted).await, "");
}

use iceberg::spec::Operation;

#[tokio::test]
async fn without_a_key_rows_can_only_be_added() {
    let mut fixture = Fixture::id_name().await;
    let declared = declared(&[]);
    let reader = ChangelogReader::try_new(&fixture.table, &declared, vec![0, 1], u64::MAX).unwrap();
    assert!(!reader.has_key());
    let first = fixture.rows(&[(1, "a"), (1, "a"), (2, "b")]);
    fixture.commit(vec![first.clone()]).await;
    let second = fixture.rows(&[(1, "a"), (2, "b"), (1, "a"), (1, "a")]);
    let replace = vec![Change::Remove(first, 1), Change::Add(second.clone())];
    let rewritten = fixture.commit_changes(replace).await;
    assert_eq!(changes_of(&reader, &fixture.table, rewritten).await, "+I 1 | a");
    let deletes = fixture.position_deletes(&[(&second, 0)]);
    let deleted = fixture.commit(vec![deletes]).await;
    let error = reader.changes(&fixture.table, deleted).await.unwrap();
    let error = error.try_collect::<Vec<_>>().await.unwrap_err().to_string();
    assert!(error.contains("without a primary key"), "{error}");
}

#[tokio::test]
async fn partitions_and_existing_rows_are_read_in_fixed_steps() {
    let mut fixture = keyed().await;
    fixture.partition_by(2, "name", Transform::Identity).await;
    let mut files: Vec<DataFile> = Vec::new();
    for name in ["a", "b"] {
        let written = fixture.parquet(&[
            (1, "id", longs([Some(1), Some(2)])),
            (2, "name", texts([Some(name), Some(name)])),
        ]);
        let file = fixture
            .file(DataContentType::Data, written)
            .partition(partition(Some(Literal::string(name))))
            .build()
            .unwrap();
        files.push(file);
    }
    let snapshot = fixture.commit(files).await;
    let reader = reader(&fixture.table, vec![0, 1], u64::MAX);
    let existing = reader.existing(&fixture.table, snapshot).await.unwrap();
    assert_eq!(existing.step_count(), 1);
    let rows: Vec<ChangeBatch> = existing.read(0).await.unwrap().try_collect().await.unwrap();
    assert_eq!(rows.iter().map(ChangeBatch::row_count).sum::<usize>(), 4);
    let none: Vec<ChangeBatch> = existing.read(1).await.unwrap().try_collect().await.unwrap();
    assert!(none.is_empty());
}

#[tokio::test]
async fn places_in_the_history_are_found_or_named() {
    let mut fixture = keyed().await;
    let start = |fixture: &Fixture, point: StartingPoint| point.find(&fixture.table, None);
    assert_eq!(
        start(&fixture, StartingPoint::TableScan).unwrap(),
        ChangelogStart::After(None),
        "an empty table has nothing to scan"
    );
    let mut ids = Vec::new();
    for id in 1..=3 {
        let file = fixture.rows(&[(id, "a")]);
        ids.push(fixture.commit(vec![file]).await);
    }
    let [one, two, three] = ids.as_slice() else { panic!("three snapshots") };
    let found = |point| start(&fixture, point).unwrap();
    assert_eq!(found(StartingPoint::TableScan), ChangelogStart::Existing(*three));
    assert_eq!(found(StartingPoint::Latest), ChangelogStart::After(Some(*two)));
    assert_eq!(found(StartingPoint::AfterLatest), ChangelogStart::After(Some(*three)));
    assert_eq!(found(StartingPoint::Earliest), ChangelogStart::After(None));
    assert_eq!(found(StartingPoint::Snapshot(*two)), ChangelogStart::After(Some(*one)));
    assert_eq!(found(StartingPoint::AfterSnapshot(*two)), ChangelogStart::After(Some(*two)));
    let time = fixture.table.metadata().snapshot_by_id(*two).unwrap().timestamp_ms();
    assert_eq!(found(StartingPoint::TimestampMs(time)), ChangelogStart::After(Some(*one)));
    assert_eq!(found(StartingPoint::TimestampMs(time + 1)), ChangelogStart::After(Some(*two)));
    let error = start(&fixture, StartingPoint::Snapshot(77)).unwrap_err().to_string();
    assert_eq!(
        error,
        "Start snapshot id not found in history: 77. Table db.t has 3 snapshot(s), from 1 to 3"
    );
    assert_eq!(snapshots_after(&fixture.table, None, None).unwrap(), ids);
    assert_eq!(snapshots_after(&fixture.table, None, Some(*two)).unwrap(), [*three]);
    assert_eq!(snapshots_after(&fixture.table, None, Some(*three)).unwrap(), Vec::<i64>::new());
    let error = snapshots_after(&fixture.table, None, Some(77)).unwrap_err().to_string();
    assert!(error.contains("snapshot 77 has expired; the table has 3 snapshot(s)"), "{error}");
    fixture.expire(&[*one]).await;
    assert_eq!(snapshots_after(&fixture.table, None, Some(*one)).unwrap(), [*two, *three]);
    let error = snapshots_after(&fixture.table, None, None).unwrap_err().to_string();
    assert!(error.contains("its first snapshots have expired"), "{error}");
}

/// Applies changes to rows, each of which must fit.
fn apply(rows: &mut BTreeMap<i64, String>, batches: &[ChangeBatch]) {
    for line in changelog_text(batches).unwrap().lines() {
        let (kind, row) = line.split_once(' ').unwrap();
        let (id, name) = row.split_once(" | ").unwrap();
        let id: i64 = id.parse().unwrap();
        match RowKind::parse(kind).unwrap() {
            RowKind::Insert => assert!(rows.insert(id, name.to_owned()).is_none(), "{line}"),
            RowKind::UpdateBefore | RowKind::Delete => {
                assert_eq!(rows.remove(&id).as_deref(), Some(name), "{line}");
            }
            RowKind::UpdateAfter => assert!(rows.insert(id, name.to_owned()).is_none(), "{line}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Whatever a job writes, the changes of its snapshots lead from each state to the next.
    #[test]
    fn changes_of_snapshots_lead_from_state_to_state(
        epochs in proptest::collection::vec(
            proptest::collection::vec((0_i64..12, proptest::option::of(0_u8..4)), 1..15), 1..8),
        passes in 1_u64..4,
    ) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let lake = Lake::new();
        let mut run = Run::start(&lake, DeltaWriterOptions::default());
        let mut model: BTreeMap<i64, String> = BTreeMap::new();
        let mut states = Vec::new();
        for (epoch, changes) in (1..).zip(&epochs) {
            let mut text = String::new();
            for (id, name) in changes {
                if let Some(old) = model.remove(id) {
                    let kind = if name.is_some() { "-U" } else { "-D" };
                    text.push_str(&format!("{kind} {id} | {old}\n"));
                    if let Some(name) = name {
                        text.push_str(&format!("+U {id} | n{name}\n"));
                    }
                } else if let Some(name) = name {
                    text.push_str(&format!("+I {id} | n{name}\n"));
                }
                if let Some(name) = name {
                    model.insert(*id, format!("n{name}"));
                }
            }
            if !text.is_empty() {
                run.epoch(epoch, &text);
                states.push((lake.table().metadata().current_snapshot_id().unwrap(), model.clone()));
            }
        }
        let table = lake.table();
        let memory = if passes == 1 { u64::MAX } else { 400 / passes };
        let reader = reader(&table, vec![0, 1], memory);
        let mut rows = BTreeMap::new();
        let mut states = states.into_iter().peekable();
        for snapshot in snapshots_after(&table, None, None).unwrap() {
            let batches: Vec<ChangeBatch> = runtime.block_on(async {
                reader.changes(&table, snapshot).await.unwrap().try_collect().await.unwrap()
            });
            apply(&mut rows, &batches);
            if let Some((_, state)) = states.next_if(|(id, _)| *id == snapshot) {
                prop_assert_eq!(&rows, &state);
            }
        }
        prop_assert!(states.next().is_none());
        drop(Arc::clone(&lake.catalog));
    }
}
