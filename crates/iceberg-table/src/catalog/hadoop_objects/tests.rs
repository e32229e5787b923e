use std::collections::BTreeMap;
use std::sync::Arc;

use futures::executor::block_on;
use object_store::memory::InMemory;
use proptest::prelude::*;
use shardlake_testkit::{SeaweedServer, or_skip};

use super::*;
use crate::catalog::open_catalog;
use crate::catalog::tests::{collide, live, users, write_and_go_on};
use crate::commit::Committer;
use crate::storage::testing::{Faulty, Forgetful, in_memory};
use crate::storage::tests::{check_files, check_large_file};
use crate::testing::{Run, changelog, rows_by_scan};
use crate::{DeltaWriter, DeltaWriterOptions, WriterShared};

#[test]
fn a_table_lives_in_memory() {
    let catalog = HadoopObjectCatalog::new("s3://lake/wh".into(), in_memory("lake"));
    block_on(live(&catalog, false));
    block_on(collide(&catalog));
}

#[test]
fn a_job_writes_and_goes_on() {
    let catalog = HadoopObjectCatalog::new("s3a://lake/wh".into(), in_memory("lake"));
    let catalog: Arc<dyn Catalog> = Arc::new(catalog);
    write_and_go_on(&catalog, &TableName::new("db", "users"));
}

#[test]
fn a_missing_or_old_hint_costs_nothing() {
    let storage = in_memory("lake");
    let catalog = HadoopObjectCatalog::new("s3://lake/wh".into(), storage.clone());
    let name = TableName::new("db", "users");
    block_on(async {
        catalog.create(&name, &users()).await.unwrap();
        for version in 2..5_u64 {
            let table = catalog.load(&name).await.unwrap();
            let built = table.metadata().clone().into_builder(None);
            let new = built.set_properties([("write.n".into(), version.to_string())].into());
            catalog.publish(&table, new.unwrap().build().unwrap()).await.unwrap();
        }
        let hint = "s3://lake/wh/db/users/metadata/version-hint.text";
        for text in ["1", "9", "noise", ""] {
            storage.put(hint, Bytes::from(text)).await.unwrap();
            let table = catalog.load(&name).await.unwrap();
            assert!(table.metadata_location().ends_with("/v4.metadata.json"), "{text}");
        }
        storage.delete(&[hint.to_owned()]).await.unwrap();
        assert_eq!(catalog.list_tables("db").await.unwrap(), std::slice::from_ref(&name));
    });
}

#[test]
fn a_store_without_conditional_writes_is_refused_before_anything_is_written() {
    let store = Arc::new(Forgetful::new(InMemory::new()));
    let storage = Storage::local().with_bucket("lake", store);
    let catalog = HadoopObjectCatalog::new("s3://lake/wh".into(), storage.clone());
    let error = block_on(catalog.create(&TableName::new("db", "users"), &users())).unwrap_err();
    insta::assert_snapshot!(error, @"the object store of 's3://lake/wh' has no conditional writes (If-None-Match), which a Hadoop catalog on an object store needs; use a REST or SQL catalog for this warehouse");
    assert_eq!(block_on(storage.list("s3://lake/wh")).unwrap(), []);
}

#[test]
fn a_real_store_is_a_warehouse() {
    let server = or_skip!(SeaweedServer::start());
    server.create_bucket("lake").unwrap();
    let mut options = server.s3_options();
    options.push(("warehouse".into(), "s3://lake/wh".into()));
    let options = options.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    let catalog = open_catalog("lake", options.clone()).unwrap();
    block_on(live(catalog.as_ref(), false));
    block_on(collide(catalog.as_ref()));
    write_and_go_on(&catalog, &TableName::new("jobs", "users"));
    let storage = Storage::from_options(options).unwrap();
    check_files(&storage, "s3://lake/files");
    check_large_file(&storage, "s3://lake/files");
}

/// One epoch of a job: its changes, and what the table holds after it.
struct Epoch {
    changes: String,
    rows: BTreeMap<i64, i64>,
}

/// Inserts, updates and deletes of a few keys.
fn epochs(choices: &[(i64, u8)]) -> Vec<Epoch> {
    let mut rows: BTreeMap<i64, i64> = BTreeMap::new();
    let mut epochs = Vec::new();
    for (number, chunk) in (1..).zip(choices.chunks(3)) {
        let mut changes = Vec::new();
        for (key, action) in chunk {
            match (rows.get(key).copied(), action % 3) {
                (Some(old), 0) => {
                    changes.push(format!("-D {key} | {old}"));
                    rows.remove(key);
                }
                (Some(old), _) => {
                    changes.push(format!("-U {key} | {old}\n+U {key} | {number}"));
                    rows.insert(*key, number);
                }
                (None, _) => {
                    changes.push(format!("+I {key} | {number}"));
                    rows.insert(*key, number);
                }
            }
        }
        epochs.push(Epoch { changes: changes.join("\n"), rows: rows.clone() });
    }
    epochs
}

/// Starts a run of the job and writes one epoch, unless an earlier run has.
fn try_epoch(
    catalog: &Arc<dyn Catalog>,
    name: &TableName,
    number: u64,
    changes: &str,
    open: &mut Option<Run>,
) -> Result<(), Error> {
    if open.is_none() {
        let committer = block_on(Committer::claim(Arc::clone(catalog), name, "job", "id"))?;
        let options = DeltaWriterOptions::default();
        let shared = block_on(WriterShared::load(committer.table(), options))?;
        *open = Some(Run { committer, writer: DeltaWriter::new(shared, 0) });
    }
    let run = open.as_mut().unwrap();
    if run.committer.progress().is_some_and(|progress| progress.epoch >= number) {
        return Ok(());
    }
    run.writer.write(number, changelog(changes))?;
    let files = run.writer.close_epoch(number)?;
    run.commit(number, files).map(drop)
}

/// How often an epoch is tried before the test gives up.
const TRIES: u32 = 2000;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    /// Whatever the store does to requests, a job that starts anew after each failure loses nothing
    /// and doubles nothing.
    #[test]
    fn faults_of_the_store_lose_and_double_nothing(
        seed in any::<u64>(),
        percent in 1_u64..12,
        choices in prop::collection::vec((0_i64..6, any::<u8>()), 6..18),
    ) {
        let store = Arc::new(InMemory::new());
        let faulty = Arc::new(Faulty::new(Arc::clone(&store), seed, percent));
        let storage = Storage::local().with_bucket("lake", faulty);
        let catalog: Arc<dyn Catalog> =
            Arc::new(HadoopObjectCatalog::new("s3://lake/wh".into(), storage));
        let clean = Storage::local().with_bucket("lake", store);
        let clean = HadoopObjectCatalog::new("s3://lake/wh".into(), clean);
        let name = TableName::new("db", "users");
        let mut tries = 0;
        while let Err(error) = block_on(catalog.create(&name, &users())) {
            if matches!(error, Error::AlreadyExists(_)) {
                break;
            }
            tries += 1;
            prop_assert!(tries < TRIES, "{error}");
        }
        let mut run = None;
        for (number, epoch) in (1..).zip(epochs(&choices)) {
            let mut tries = 0;
            while let Err(error) = try_epoch(&catalog, &name, number, &epoch.changes, &mut run) {
                run = None;
                tries += 1;
                prop_assert!(tries < TRIES, "{error}");
                prop_assert!(!matches!(error, Error::Bug(_) | Error::Corrupt { .. }), "{error}");
            }
            let table = block_on(clean.load(&name)).unwrap();
            let mut expected: Vec<String> =
                epoch.rows.iter().map(|(key, value)| format!("{key} | {value}")).collect();
            expected.sort();
            prop_assert_eq!(rows_by_scan(&table), expected);
        }
    }
}
