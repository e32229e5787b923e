use std::collections::BTreeSet;

use futures::executor::block_on;
use iceberg::spec::{SnapshotReference, SnapshotRetention, TableMetadataBuilder};

use super::*;
use crate::testing::{Lake, Run};
use crate::{DeltaWriter, DeltaWriterOptions, WriterShared};

mod interleavings;

/// A lake whose snapshots expire soon, and whose manifests are merged soon.
fn lake() -> Lake {
    let properties = [
        ("commit.manifest.min-count-to-merge", "3"),
        ("history.expire.min-snapshots-to-keep", "4"),
        ("shardlake.table.max-snapshots", "6"),
        ("write.metadata.previous-versions-max", "5"),
    ];
    Lake::with(&properties, &["id"])
}

fn run(lake: &Lake) -> Run {
    Run::start(lake, DeltaWriterOptions::default())
}

/// All files of the table, by folder.
fn stored(lake: &Lake) -> BTreeSet<String> {
    let table = lake.table();
    let files = block_on(table.storage().list(table.location())).unwrap();
    files.into_iter().map(|file| file.location).collect()
}

/// Every file that a retained snapshot leads to.
fn referenced(lake: &Lake) -> BTreeSet<String> {
    let table = lake.table();
    let mut found = BTreeSet::from([table.metadata_location().to_owned()]);
    let log = table.metadata().metadata_log();
    found.extend(log.iter().map(|entry| entry.metadata_file.clone()));
    for snapshot in table.metadata().snapshots() {
        found.insert(snapshot.manifest_list().to_owned());
        for manifest in block_on(table.manifests(snapshot)).unwrap() {
            for entry in block_on(table.load_manifest(&manifest)).unwrap().entries() {
                if entry.is_alive() {
                    found.insert(entry.file_path().to_owned());
                }
            }
            found.insert(manifest.manifest_path);
        }
    }
    found
}

fn clean_up(run: &mut Run) -> UnusedFiles {
    let expired = run.committer.take_expired();
    block_on(remove_expired(run.committer.table(), &expired)).unwrap()
}

#[test]
fn metadata_stays_as_small_as_it_is_however_many_commits_follow() {
    let lake = lake();
    let mut run = run(&lake);
    let mut sizes = Vec::new();
    for epoch in 1..=60u64 {
        run.epoch(epoch, &format!("+I {epoch} | a\n-U 1 | a\n+U 1 | at {epoch}"));
        clean_up(&mut run);
        let table = lake.table();
        sizes.push(table.metadata().snapshots().len());
        assert!(table.metadata().metadata_log().len() <= 5);
        let missing: Vec<String> = referenced(&lake).difference(&stored(&lake)).cloned().collect();
        assert_eq!(missing, Vec::<String>::new(), "after epoch {epoch}");
    }
    assert!(sizes.iter().all(|count| *count <= 7), "{sizes:?}");
    // Nothing else is left but the hint, and the files of the one expiry that is not due yet.
    let unused: Vec<String> = stored(&lake).difference(&referenced(&lake)).cloned().collect();
    assert!(unused.len() <= 2, "{unused:?}");
    // The run that goes on knows where it stood although its first snapshots are gone.
    let again = self::run(&lake);
    assert_eq!(again.committer.progress().unwrap().epoch, 60);
}

fn set_reference(lake: &Lake, name: &str, snapshot_id: i64, retention: SnapshotRetention) {
    let table = lake.table();
    let built = table
        .metadata()
        .clone()
        .into_builder(Some(table.metadata_location().to_owned()))
        .set_ref(name, SnapshotReference::new(snapshot_id, retention))
        .and_then(TableMetadataBuilder::build)
        .unwrap();
    block_on(lake.catalog.publish(&table, built)).unwrap();
}

#[test]
fn what_a_tag_or_branch_refers_to_stays() {
    let lake = lake();
    let mut run = run(&lake);
    run.epoch(1, "+I 1 | a\n+I 2 | b");
    let first = lake.table().metadata().current_snapshot_id().unwrap();
    set_reference(&lake, "first", first, SnapshotRetention::Tag { max_ref_age_ms: None });
    run.epoch(2, "-D 1 | a\n-U 2 | b\n+U 2 | c");
    let second = lake.table().metadata().current_snapshot_id().unwrap();
    set_reference(&lake, "side", second, SnapshotRetention::branch(Some(1), None, None));
    for epoch in 3..=30u64 {
        run.epoch(epoch, &format!("+I {epoch} | a"));
        clean_up(&mut run);
    }
    let table = lake.table();
    assert!(table.metadata().snapshots().len() <= 10);
    assert!(table.metadata().snapshot_by_id(first).is_some());
    assert!(table.metadata().snapshot_by_id(second).is_some());
    assert!(referenced(&lake).is_subset(&stored(&lake)));
}

#[test]
fn nothing_expires_where_garbage_collection_is_off() {
    let properties = [("gc.enabled", "false"), ("shardlake.table.max-snapshots", "1")];
    let lake = Lake::with(&properties, &["id"]);
    let mut run = run(&lake);
    for epoch in 1..=10u64 {
        run.epoch(epoch, &format!("+I {epoch} | a"));
    }
    assert!(run.committer.take_expired().is_empty());
    assert_eq!(lake.table().metadata().snapshots().len(), 11);
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn plan(table: &Table, scope: Scope) -> Option<CompactionPlan> {
    let options = CompactionOptions { scope, min_input_files: 3, ..Default::default() };
    runtime().block_on(plan_compaction(table, &options)).unwrap()
}

fn rewrite_next(plan: &mut CompactionPlan) -> Option<Rewritten> {
    runtime().block_on(plan.rewrite_next(&mut Throttle::none())).unwrap()
}

#[test]
fn rows_that_are_deleted_while_files_are_rewritten_stay_deleted() {
    let lake = Lake::new();
    let mut run = run(&lake);
    for epoch in 1..=4u64 {
        run.epoch(epoch, &format!("+I {epoch} | a\n+I {} | b", epoch + 10));
    }
    let mut plan = plan(&lake.table(), Scope::AllUntidy).unwrap();
    // Written before the plan is carried out, committed before the rewrite is.
    run.epoch(5, "-D 1 | a\n-U 2 | a\n+U 2 | new");
    // Written before the rewrite is committed, committed after it.
    run.writer.write(6, crate::testing::changelog("-D 3 | a\n-U 12 | b\n+U 12 | new")).unwrap();
    let late = run.writer.close_epoch(6).unwrap();
    let rewritten = rewrite_next(&mut plan).unwrap();
    assert!(rewrite_next(&mut plan).is_none());
    block_on(run.committer.commit_rewrite(&rewritten)).unwrap();
    let before = ["11 | b", "12 | b", "13 | b", "14 | b", "2 | new", "3 | a", "4 | a"];
    assert_eq!(lake.rows(), before);
    let summary = lake.table().current_snapshot().unwrap().summary().clone();
    assert_eq!(summary.operation.as_str(), "replace");
    assert_eq!(summary.additional_properties["shardlake.epoch"], "5");
    run.commit(6, late).unwrap();
    // Written after it: the index names rows by their old places still.
    run.epoch(7, "-D 4 | a\n-U 13 | b\n+U 13 | newer");
    assert_eq!(lake.rows(), ["11 | b", "12 | new", "13 | newer", "14 | b", "2 | new"]);
    let again = self::run(&lake);
    assert_eq!(again.committer.progress().unwrap().epoch, 7);
    assert_eq!(again.writer.shared().index().len(), 5);
}

#[test]
fn a_job_follows_a_compaction_of_another_process() {
    let lake = Lake::new();
    let mut run = run(&lake);
    for epoch in 1..=4u64 {
        run.epoch(epoch, &format!("+I {epoch} | a"));
    }
    let mut other = block_on(crate::commit::Committer::beside(
        std::sync::Arc::clone(&lake.catalog),
        &lake.name,
    ))
    .unwrap();
    let mut plan = plan(other.table(), Scope::All).unwrap();
    let rewritten = rewrite_next(&mut plan).unwrap();
    run.epoch(5, "-D 1 | a");
    block_on(other.commit_rewrite(&rewritten)).unwrap();
    run.epoch(6, "-D 2 | a\n-U 3 | a\n+U 3 | c");
    assert_eq!(lake.rows(), ["3 | c", "4 | a"]);
    assert_eq!(self::run(&lake).committer.progress().unwrap().epoch, 6);
}

#[test]
fn delete_files_are_merged_and_those_of_gone_files_are_dropped() {
    let lake = Lake::new();
    let mut run = run(&lake);
    run.epoch(1, "+I 1 | a\n+I 2 | b\n+I 3 | c\n+I 4 | d\n+I 5 | e");
    for epoch in 2..=4u64 {
        run.epoch(epoch, &format!("-D {epoch} | x"));
    }
    let merged = runtime().block_on(merge_position_deletes(&lake.table(), 3)).unwrap().unwrap();
    run.epoch(5, "-D 5 | e");
    block_on(run.committer.commit_rewrite(&merged)).unwrap();
    assert_eq!(lake.rows(), ["1 | a"]);
    assert_eq!(file_counts(&lake.table()), Some((1, 2)));
    let mut plan = plan(&lake.table(), Scope::Needed).unwrap();
    let rewritten = rewrite_next(&mut plan).unwrap();
    block_on(run.committer.commit_rewrite(&rewritten)).unwrap();
    assert_eq!(lake.rows(), ["1 | a"]);
    assert_eq!(file_counts(&lake.table()), Some((1, 0)));
}

#[test]
fn a_rewrite_whose_files_are_gone_is_refused_and_leaves_nothing() {
    let lake = Lake::new();
    let mut run = run(&lake);
    run.epoch(1, "+I 1 | a");
    run.epoch(2, "+I 2 | b");
    let rewrite = || rewrite_next(&mut plan(&lake.table(), Scope::All).unwrap()).unwrap();
    let (first, second) = (rewrite(), rewrite());
    block_on(run.committer.commit_rewrite(&first)).unwrap();
    let error = block_on(run.committer.commit_rewrite(&second)).unwrap_err();
    assert!(matches!(error, crate::Error::FilesRemoved { .. }), "{error}");
    block_on(second.discard());
    assert_eq!(lake.rows(), ["1 | a", "2 | b"]);
    let unused: Vec<String> = stored(&lake).difference(&referenced(&lake)).cloned().collect();
    let data = unused.iter().filter(|location| location.contains("/data/"));
    assert_eq!(data.count(), 0, "{unused:?}");
}

#[test]
fn orphans_are_what_nothing_refers_to_and_young_files_are_never_orphans() {
    let lake = lake();
    let mut run = run(&lake);
    for epoch in 1..=20u64 {
        run.epoch(epoch, &format!("+I {epoch} | a\n-U 1 | a\n+U 1 | at {epoch}"));
    }
    let table = lake.table();
    let left = format!("{}/data/left-behind.parquet", table.location());
    block_on(table.storage().put(&left, bytes::Bytes::from_static(b"x"))).unwrap();
    let now = crate::commit::now_ms();
    let error = block_on(find_orphans(lake.catalog.as_ref(), &lake.name, now)).unwrap_err();
    insta::assert_snapshot!(error, @"files younger than an hour may belong to a writer that is at work, so they are no orphans; name a time that is at least an hour ago");
    let day = 24 * 3_600_000;
    let find = |older_than| {
        block_on(orphans::find_orphans_unchecked(lake.catalog.as_ref(), &lake.name, older_than))
            .unwrap()
    };
    assert_eq!(find(now - day), []);
    let orphans = find(now + day);
    let locations: BTreeSet<String> = orphans.iter().map(|file| file.location.clone()).collect();
    assert!(locations.contains(&left));
    assert!(locations.is_disjoint(&referenced(&lake)), "{locations:?}");
    block_on(remove_orphans(&table, &orphans)).unwrap();
    assert_eq!(find(now + day), []);
    assert!(referenced(&lake).is_subset(&stored(&lake)));
    assert_eq!(lake.rows().len(), 20);
}

#[test]
fn rows_of_another_writer_are_known_at_once_and_ours_win() {
    let lake = Lake::new();
    let mut ours = run(&lake);
    ours.epoch(1, "+I 1 | a\n+I 2 | b");
    // As a writer without an index: it adds rows only.
    let mut other = lake.claim("other");
    let shared = block_on(WriterShared::load(other.table(), DeltaWriterOptions::default()));
    let mut writer = DeltaWriter::new(shared.unwrap(), 0);
    let rows = "+I 2 | theirs\n+I 3 | theirs\n+I 4 | theirs";
    writer.write(1, crate::testing::changelog(rows)).unwrap();
    let mut files = writer.close_epoch(1).unwrap();
    files.deletes.clear();
    let delta = crate::commit::RowDelta { files, ..Default::default() };
    block_on(other.commit(delta)).unwrap();

    ours.epoch(2, "+U 1 | c");
    let foreign = ours.committer.take_foreign();
    let known = ours.writer.shared().absorb(ours.committer.table(), &foreign).unwrap();
    assert_eq!(known, 1, "the row with key 2");
    ours.epoch(3, "-D 3 | x\n+U 4 | ours");
    assert_eq!(lake.rows(), ["1 | c", "2 | b", "4 | ours"]);
}
