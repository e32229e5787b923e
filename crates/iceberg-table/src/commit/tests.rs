use std::fs;

use futures::executor::block_on;
use iceberg::spec::ManifestContentType;

use super::*;
use crate::testing::{Lake, Run, changelog, progress};
use crate::{DeltaWriterOptions, WriterShared};

fn run(lake: &Lake) -> Run {
    Run::start(lake, DeltaWriterOptions::default())
}

/// The summary of the current snapshot, without what differs each time.
fn summary(table: &Table) -> String {
    let snapshot = table.current_snapshot().unwrap();
    let summary = snapshot.summary();
    let mut lines: Vec<String> = summary
        .additional_properties
        .iter()
        .filter(|(key, _)| !key.contains("size"))
        .map(|(key, value)| format!("{key} = {value}"))
        .collect();
    lines.sort();
    format!("{}\n{}", summary.operation.as_str(), lines.join("\n"))
}

#[test]
fn a_snapshot_tells_the_job_and_the_counts() {
    let lake = Lake::new();
    let mut run = run(&lake);
    run.epoch(1, "+I 1 | a\n+I 2 | b");
    insta::assert_snapshot!(summary(&lake.table()), @r#"
    append
    added-data-files = 1
    added-records = 2
    shardlake.epoch = 1
    shardlake.fingerprint = f
    shardlake.generation = 1
    shardlake.job-id = id
    shardlake.job-name = job
    shardlake.phase = streaming
    shardlake.position = {"users":{"lane":1}}
    total-data-files = 1
    total-delete-files = 0
    total-equality-deletes = 0
    total-position-deletes = 0
    total-records = 2
    "#);
    run.epoch(2, "-U 1 | a\n+U 1 | c");
    insta::assert_snapshot!(summary(&lake.table()), @r#"
    overwrite
    added-data-files = 1
    added-delete-files = 1
    added-position-delete-files = 1
    added-position-deletes = 1
    added-records = 1
    shardlake.epoch = 2
    shardlake.fingerprint = f
    shardlake.generation = 1
    shardlake.job-id = id
    shardlake.job-name = job
    shardlake.phase = streaming
    shardlake.position = {"users":{"lane":2}}
    total-data-files = 2
    total-delete-files = 1
    total-equality-deletes = 0
    total-position-deletes = 1
    total-records = 3
    "#);
    run.epoch(3, "-D 2 | b");
    insta::assert_snapshot!(summary(&lake.table()), @r#"
    delete
    added-delete-files = 1
    added-position-delete-files = 1
    added-position-deletes = 1
    shardlake.epoch = 3
    shardlake.fingerprint = f
    shardlake.generation = 1
    shardlake.job-id = id
    shardlake.job-name = job
    shardlake.phase = streaming
    shardlake.position = {"users":{"lane":3}}
    total-data-files = 2
    total-delete-files = 2
    total-equality-deletes = 0
    total-position-deletes = 2
    total-records = 3
    "#);
}

#[test]
fn a_run_goes_on_where_the_last_one_stopped() {
    let lake = Lake::new();
    let first = run(&lake);
    assert_eq!((first.committer.writer().generation, first.committer.progress()), (1, None));
    let mut second = run(&lake);
    second.epoch(1, "+I 1 | a");
    let third = run(&lake);
    assert_eq!(third.committer.writer().generation, 3);
    assert_eq!(third.committer.progress(), Some(&progress(1)));
    // The claim repeats the progress, so it is found even if all earlier snapshots are expired.
    let found = progress::of_job(&lake.table(), "job").unwrap();
    assert_eq!(found, JobProgress { generation: 3, progress: Some(progress(1)) });
    assert_eq!(progress::of_job(&lake.table(), "other").unwrap(), JobProgress::default());
}

#[test]
fn an_older_run_is_fenced() {
    let lake = Lake::new();
    let mut old = run(&lake);
    old.epoch(1, "+I 1 | a");
    old.writer.write(2, changelog("+I 2 | zombie")).unwrap();
    let late = old.writer.close_epoch(2).unwrap();
    let mut new = run(&lake);
    new.epoch(2, "+I 2 | b");
    let error = old.commit(2, late).unwrap_err();
    assert!(matches!(&error, Error::Fenced { generation: 2, ours: 1, .. }), "{error}");
    insta::assert_snapshot!(error, @"job 'job' was fenced on table db.users: generation 2 (job id id) has taken over from generation 1; stop one of the two");
    assert_eq!(lake.rows(), ["1 | a", "2 | b"]);
}

#[test]
fn snapshots_of_other_jobs_stay() {
    let lake = Lake::with(&[], &[]);
    let mut ours = run(&lake);
    ours.epoch(1, "+I 1 | a");
    let mut other = run_of(&lake, "other");
    other.epoch(7, "+I 5 | other");
    ours.epoch(2, "+I 2 | b");
    other.epoch(8, "+I 6 | other");
    assert_eq!(lake.rows(), ["1 | a", "2 | b", "5 | other", "6 | other"]);
    assert_eq!(progress::of_job(&lake.table(), "job").unwrap().progress, Some(progress(2)));
    assert_eq!(progress::of_job(&lake.table(), "other").unwrap().progress, Some(progress(8)));
}

fn run_of(lake: &Lake, job: &str) -> Run {
    let committer = lake.claim(job);
    let shared = block_on(WriterShared::load(committer.table(), DeltaWriterOptions::default()));
    Run { committer, writer: crate::DeltaWriter::new(shared.unwrap(), 0) }
}

#[test]
fn manifests_are_merged_and_nothing_is_lost() {
    let lake = Lake::new();
    let mut run = run(&lake);
    let mut expected = Vec::new();
    let mut most = 0;
    for id in 0..40u64 {
        let mut changes = format!("+I {id} | v{id}");
        if id > 0 {
            changes.push_str(&format!("\n-U 0 | x\n+U 0 | at {id}"));
        }
        run.epoch(id + 1, &changes);
        if id == 20 {
            // The next run has nothing in memory.
            run = Run::start(&lake, DeltaWriterOptions::default());
        }
        let table = lake.table();
        let count = block_on(table.manifests(table.current_snapshot().unwrap())).unwrap().len();
        most = most.max(count);
        expected.push(if id == 0 { "0 | at 39".to_owned() } else { format!("{id} | v{id}") });
    }
    expected.sort();
    assert_eq!(lake.rows(), expected);
    assert!(most <= 20, "{most} manifests");
    let table = lake.table();
    let total = &table.current_snapshot().unwrap().summary().additional_properties;
    assert_eq!(total["total-data-files"], "40");
}

/// Removes all snapshots but the current one, as another engine's expiry does.
fn expire(lake: &Lake, keep: Option<i64>) {
    let table = lake.table();
    let old: Vec<i64> = table
        .metadata()
        .snapshots()
        .map(|snapshot| snapshot.snapshot_id())
        .filter(|id| Some(*id) != keep && Some(*id) != table.metadata().current_snapshot_id())
        .collect();
    let built = table
        .metadata()
        .clone()
        .into_builder(Some(table.metadata_location().to_owned()))
        .remove_snapshots(&old)
        .build()
        .unwrap();
    block_on(lake.catalog.publish(&table, built)).unwrap();
}

#[test]
fn progress_survives_the_expiry_of_every_snapshot_of_the_job() {
    let lake = Lake::with(&[], &[]);
    run(&lake).epoch(1, "+I 1 | a");
    run_of(&lake, "other").epoch(4, "+I 2 | b");
    expire(&lake, None);
    let found = progress::of_job(&lake.table(), "job").unwrap();
    assert_eq!(found, JobProgress { generation: 1, progress: Some(progress(1)) });
    assert_eq!(run(&lake).committer.writer().generation, 2);
}

#[test]
fn a_table_that_was_rolled_back_past_the_job_is_refused() {
    let lake = Lake::with(&[], &[]);
    let mut other = run_of(&lake, "other");
    other.epoch(1, "+I 1 | a");
    let before = lake.table().metadata().current_snapshot_id().unwrap();
    run(&lake).epoch(1, "+I 2 | b");
    let table = lake.table();
    let reference = iceberg::spec::SnapshotReference::new(
        before,
        iceberg::spec::SnapshotRetention::branch(None, None, None),
    );
    let built = table
        .metadata()
        .clone()
        .into_builder(Some(table.metadata_location().to_owned()))
        .set_ref("main", reference)
        .and_then(TableMetadataBuilder::build);
    block_on(lake.catalog.publish(&table, built.unwrap())).unwrap();
    let error = progress::of_job(&lake.table(), "job").unwrap_err().to_string();
    insta::assert_snapshot!(error, @"table db.users was rolled back to before the first commit of job 'job'; to start the job from the beginning, remove the table property 'shardlake.progress.job'");
}

#[test]
fn a_foreign_snapshot_that_removed_files_makes_the_run_end() {
    let lake = Lake::new();
    let mut ours = run(&lake);
    ours.epoch(1, "+I 1 | a\n+I 2 | b");
    remove_all_data(&lake);
    ours.writer.write(2, changelog("-D 1 | a")).unwrap();
    let files = ours.writer.close_epoch(2).unwrap();
    let error = ours.commit(2, files).unwrap_err();
    assert!(matches!(error, Error::FilesRemoved { .. }), "{error}");
    // After a restart the index knows that the rows are gone.
    let mut again = run(&lake);
    again.epoch(2, "+I 1 | again");
    assert_eq!(lake.rows(), ["1 | again"]);
}

#[test]
fn a_branch_begins_at_main_and_leaves_it_alone() {
    let lake = Lake::new();
    run(&lake).epoch(1, "+I 1 | a\n+I 2 | b");
    let branch: Arc<dyn Catalog> =
        Arc::new(crate::BranchCatalog::new(Arc::clone(&lake.catalog), "audit"));
    let on_branch = || block_on(branch.load(&lake.name)).unwrap();
    let start = || {
        let claim = Committer::claim(Arc::clone(&branch), &lake.name, "auditor", "id");
        let committer = block_on(claim).unwrap();
        let shared = block_on(WriterShared::load(committer.table(), DeltaWriterOptions::default()));
        Run { committer, writer: crate::DeltaWriter::new(shared.unwrap(), 0) }
    };
    let mut audit = start();
    audit.epoch(1, "-U 1 | a\n+U 1 | c\n+I 3 | d");
    assert_eq!(crate::testing::rows(&on_branch()), ["1 | c", "2 | b", "3 | d"]);
    assert_eq!(lake.rows(), ["1 | a", "2 | b"]);
    // Both go on, each on its own.
    run(&lake).epoch(2, "-D 2 | b");
    audit.epoch(2, "-D 3 | d");
    assert_eq!(lake.rows(), ["1 | a"]);
    assert_eq!(crate::testing::rows(&on_branch()), ["1 | c", "2 | b"]);
    assert_eq!(start().committer.progress(), Some(&progress(2)));
}

/// Raises the format version of the table, as another writer does.
fn upgrade(lake: &Lake) {
    let table = lake.table();
    let built = table
        .metadata()
        .clone()
        .into_builder(Some(table.metadata_location().to_owned()))
        .upgrade_format_version(iceberg::spec::FormatVersion::V3)
        .and_then(TableMetadataBuilder::build);
    block_on(lake.catalog.publish(&table, built.unwrap())).unwrap();
}

#[test]
fn a_vector_replaces_the_old_one_and_the_position_deletes_from_before_an_upgrade() {
    let lake = Lake::new();
    let mut run = run(&lake);
    run.epoch(1, "+I 1 | a\n+I 2 | b\n+I 3 | c\n+I 4 | d");
    run.epoch(2, "-D 1 | a");
    // Written for version 2, committed to version 3.
    run.writer.write(3, changelog("-D 2 | b")).unwrap();
    let before = run.writer.close_epoch(3).unwrap();
    assert_eq!(before.deletes.len(), 1);
    upgrade(&lake);
    run.commit(3, before).unwrap();
    let deletes = || crate::testing::files(&lake.table()).1;
    let [(_, vector)] = deletes().try_into().unwrap();
    assert_eq!(vector.file_format(), iceberg::spec::DataFileFormat::Puffin);
    assert_eq!(vector.record_count(), 2);
    assert_eq!(lake.rows(), ["3 | c", "4 | d"]);
    run.writer.shared().refresh(run.committer.table()).unwrap();
    let third = run.epoch(4, "-D 3 | c\n-U 4 | d\n+U 4 | e");
    assert!(third.deletes.is_empty());
    let [(_, vector)] = deletes().try_into().unwrap();
    assert_eq!(vector.record_count(), 4);
    assert_eq!(lake.rows(), ["4 | e"]);
    let table = lake.table();
    let summary = &table.current_snapshot().unwrap().summary().additional_properties;
    assert_eq!(summary["total-delete-files"], "1");
    assert_eq!(summary["total-position-deletes"], "4");
}

#[test]
fn row_ids_are_given_once_and_kept() {
    let lake = Lake::made_of(&[("commit.manifest.min-count-to-merge", "2")], &["id"], |creation| {
        creation.format_version = 3;
    });
    let mut run = run(&lake);
    let mut known: HashMap<String, i64> = HashMap::new();
    for epoch in 1..8u64 {
        run.epoch(epoch, &format!("+I {epoch} | a\n+I 1{epoch} | b\n+I 0 | x\n-D 0 | x"));
        if epoch == 4 {
            run = Run::start(&lake, DeltaWriterOptions::default());
        }
        let table = lake.table();
        let mut ids = Vec::new();
        for manifest in block_on(table.manifests(table.current_snapshot().unwrap())).unwrap() {
            for entry in block_on(manifests::live_entries(&table, &manifest)).unwrap() {
                let id = entry.file.first_row_id().unwrap();
                let path = entry.file.file_path().to_owned();
                assert_eq!(*known.entry(path).or_insert(id), id);
                ids.push(id..id + i64::try_from(entry.file.record_count()).unwrap());
            }
        }
        ids.sort_by_key(|range| range.start);
        assert!(ids.windows(2).all(|pair| pair[0].end <= pair[1].start), "{ids:?}");
        let next = i64::try_from(table.metadata().next_row_id()).unwrap();
        assert!(ids.last().unwrap().end <= next);
    }
    // Merging gave no ids away.
    assert_eq!(lake.table().metadata().next_row_id(), 14);
}

/// Commits a foreign `delete` snapshot without any data file.
fn remove_all_data(lake: &Lake) {
    let table = lake.table();
    let mut pending = PendingSnapshot::new(RowDelta::default());
    let mut writer =
        manifests::writer(&table, pending.snapshot_id, ManifestContentType::Data, 0).unwrap();
    for (sequence_number, file) in crate::testing::files(&table).0 {
        writer.add_delete_file(file, sequence_number, Some(sequence_number)).unwrap();
    }
    let manifest = block_on(manifests::write(&table, writer)).unwrap();
    let list = block_on(pending.write_manifest_list(&table, &mut [manifest])).unwrap();
    let time = table.metadata().last_updated_ms() + 1;
    let snapshot = pending.snapshot(&table, list, &[], (time, HashMap::new())).unwrap();
    let mut json = serde_json::to_value(snapshot_json(&snapshot)).unwrap();
    json["summary"]["operation"] = "delete".into();
    publish_snapshot(lake, &table, from_json(json));
}

/// Makes a snapshot of another writer the current one.
fn publish_snapshot(lake: &Lake, table: &Table, snapshot: iceberg::spec::Snapshot) {
    let built = table
        .metadata()
        .clone()
        .into_builder(Some(table.metadata_location().to_owned()))
        .set_branch_snapshot(snapshot, "main")
        .and_then(TableMetadataBuilder::build);
    block_on(lake.catalog.publish(table, built.unwrap())).unwrap();
}

fn snapshot_json(snapshot: &iceberg::spec::Snapshot) -> serde_json::Value {
    let update = iceberg::TableUpdate::AddSnapshot { snapshot: snapshot.clone() };
    serde_json::to_value(update).unwrap()["snapshot"].take()
}

fn from_json(json: serde_json::Value) -> iceberg::spec::Snapshot {
    let update = serde_json::json!({"action": "add-snapshot", "snapshot": json});
    match serde_json::from_value(update).unwrap() {
        iceberg::TableUpdate::AddSnapshot { snapshot } => snapshot,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_clock_that_steps_back_does_not_stop_commits() {
    let lake = Lake::new();
    run(&lake).epoch(1, "+I 1 | a");
    let table = lake.table();
    let mut pending = PendingSnapshot::new(RowDelta::default());
    let mut all = block_on(table.manifests(table.current_snapshot().unwrap())).unwrap();
    let list = block_on(pending.write_manifest_list(&table, &mut all)).unwrap();
    let in_an_hour = now_ms() + 3_600_000;
    let snapshot = pending.snapshot(&table, list, &[], (in_an_hour, HashMap::new())).unwrap();
    publish_snapshot(&lake, &table, snapshot);
    let mut later = run(&lake);
    later.epoch(2, "+I 2 | b");
    assert_eq!(lake.rows(), ["1 | a", "2 | b"]);
    let time = lake.table().current_snapshot().unwrap().timestamp_ms();
    assert_eq!(time, in_an_hour + 2, "one claim and one epoch after the foreign snapshot");
}

/// A catalog that commits but says that it did not.
struct LosesAnswers(Arc<dyn Catalog>);

#[async_trait::async_trait]
impl Catalog for LosesAnswers {
    async fn list_namespaces(&self) -> Result<Vec<String>, Error> {
        self.0.list_namespaces().await
    }

    async fn create_namespace(&self, namespace: &str) -> Result<(), Error> {
        self.0.create_namespace(namespace).await
    }

    async fn namespace_exists(&self, namespace: &str) -> Result<bool, Error> {
        self.0.namespace_exists(namespace).await
    }

    async fn list_tables(&self, namespace: &str) -> Result<Vec<TableName>, Error> {
        self.0.list_tables(namespace).await
    }

    async fn table_exists(&self, name: &TableName) -> Result<bool, Error> {
        self.0.table_exists(name).await
    }

    async fn load(&self, name: &TableName) -> Result<Table, Error> {
        self.0.load(name).await
    }

    async fn create(&self, name: &TableName, new: &crate::TableCreation) -> Result<Table, Error> {
        self.0.create(name, new).await
    }

    async fn purge(&self, name: &TableName) -> Result<(), Error> {
        self.0.purge(name).await
    }

    async fn publish(
        &self,
        base: &Table,
        new: iceberg::spec::TableMetadataBuildResult,
    ) -> Result<Table, Error> {
        self.0.publish(base, new).await?;
        Err(Error::Conflict { table: base.name().clone(), version: 0 })
    }
}

#[test]
fn a_commit_whose_answer_was_lost_is_not_repeated() {
    let lake = Lake::new();
    let mut run = run(&lake);
    run.committer.catalog = Arc::new(LosesAnswers(Arc::clone(&lake.catalog)));
    run.epoch(1, "+I 1 | a");
    run.epoch(2, "+I 2 | b\n-U 1 | a\n+U 1 | c");
    assert_eq!(lake.rows(), ["1 | c", "2 | b"]);
    assert_eq!(lake.table().metadata().snapshots().len(), 3);
    assert_eq!(run.committer.progress(), Some(&progress(2)));
}

#[test]
fn a_full_or_read_only_disk_is_transient_and_the_table_stays() {
    let lake = Lake::new();
    let mut first = run(&lake);
    first.epoch(1, "+I 1 | a");
    first.writer.write(2, changelog("+I 2 | b")).unwrap();
    let files = first.writer.close_epoch(2).unwrap();
    // A file stands where the folder of metadata should be, so nothing can be written in it.
    let folder = lake.dir.path().join("db/users/metadata");
    let aside = lake.dir.path().join("aside");
    fs::rename(&folder, &aside).unwrap();
    fs::write(&folder, "").unwrap();
    let error = first.commit(2, files.clone()).unwrap_err();
    assert!(matches!(error, Error::Storage { .. }), "{error}");
    fs::remove_file(&folder).unwrap();
    fs::rename(&aside, &folder).unwrap();
    first.commit(2, files).unwrap();
    assert_eq!(lake.rows(), ["1 | a", "2 | b"]);
}
