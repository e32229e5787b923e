use std::io::Write;

use futures::executor::block_on;
use tempfile::TempDir;

use super::*;
use crate::catalog::tests::{touched, users};

fn catalog(dir: &TempDir) -> HadoopCatalog {
    HadoopCatalog::new(dir.path().to_str().unwrap()).unwrap()
}

fn files(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_table_is_created_found_changed_and_purged() {
    let dir = TempDir::new().unwrap();
    let catalog = catalog(&dir);
    let name = TableName::new("db-1.x", "users ü");
    block_on(async {
        assert!(catalog.list_namespaces().await.unwrap().is_empty());
        let table = catalog.create(&name, &users()).await.unwrap();
        assert!(matches!(catalog.create(&name, &users()).await, Err(Error::AlreadyExists(_))));
        let next = catalog.publish(&table, touched(&table, "write.a")).await.unwrap();
        assert_eq!(catalog.list_namespaces().await.unwrap(), ["db-1.x"]);
        assert_eq!(catalog.list_tables("db-1.x").await.unwrap(), std::slice::from_ref(&name));
        let loaded = catalog.load(&name).await.unwrap();
        assert_eq!(loaded.metadata(), next.metadata());
        let metadata = dir.path().join("db-1.x/users ü/metadata");
        assert_eq!(files(&metadata), ["v1.metadata.json", "v2.metadata.json", "version-hint.text"]);
        assert_eq!(fs::read_to_string(metadata.join(HINT)).unwrap(), "2");
        catalog.purge(&name).await.unwrap();
        assert!(!catalog.table_exists(&name).await.unwrap());
        assert!(matches!(catalog.load(&name).await, Err(Error::NotFound(_))));
        assert!(files(&dir.path().join("db-1.x")).is_empty());
    });
}

#[test]
fn of_two_writers_with_one_base_the_second_conflicts() {
    let dir = TempDir::new().unwrap();
    let catalog = catalog(&dir);
    let name = TableName::new("db", "t");
    block_on(async {
        let base = catalog.create(&name, &users()).await.unwrap();
        let won = catalog.publish(&base, touched(&base, "write.a")).await.unwrap();
        let lost = catalog.publish(&base, touched(&base, "write.b")).await;
        assert!(matches!(lost, Err(Error::Conflict { version: 2, .. })));
        assert_eq!(catalog.load(&name).await.unwrap().metadata(), won.metadata());
    });
}

#[test]
fn a_writer_whose_versions_were_deleted_meanwhile_conflicts() {
    let dir = TempDir::new().unwrap();
    let catalog = catalog(&dir);
    let name = TableName::new("db", "t");
    block_on(async {
        let base = catalog.create(&name, &users()).await.unwrap();
        let second = catalog.publish(&base, touched(&base, "write.a")).await.unwrap();
        catalog.publish(&second, touched(&second, "write.b")).await.unwrap();
        let metadata = dir.path().join("db/t/metadata");
        fs::remove_file(metadata.join("v2.metadata.json")).unwrap();
        let lost = catalog.publish(&base, touched(&base, "write.c")).await;
        assert!(matches!(lost, Err(Error::Conflict { .. })));
        assert!(!metadata.join("v2.metadata.json").exists());
    });
}

#[test]
fn the_newest_version_is_found_with_any_hint() {
    let dir = TempDir::new().unwrap();
    let catalog = catalog(&dir);
    let name = TableName::new("db", "t");
    block_on(async {
        let mut table = catalog.create(&name, &users()).await.unwrap();
        for _ in 0..3 {
            table = catalog.publish(&table, touched(&table, "write.a")).await.unwrap();
        }
        let hint = dir.path().join("db/t/metadata").join(HINT);
        for text in ["1", "4", "99", "no number"] {
            fs::write(&hint, text).unwrap();
            let location = catalog.load(&name).await.unwrap().metadata_location().to_owned();
            assert!(location.ends_with("/v4.metadata.json"), "hint {text}: {location}");
        }
        fs::remove_file(&hint).unwrap();
        assert!(
            catalog.load(&name).await.unwrap().metadata_location().ends_with("v4.metadata.json")
        );
    });
}

#[test]
fn compressed_metadata_of_other_writers_is_read() {
    let dir = TempDir::new().unwrap();
    let catalog = catalog(&dir);
    let name = TableName::new("db", "t");
    block_on(async {
        let table = catalog.create(&name, &users()).await.unwrap();
        let metadata = dir.path().join("db/t/metadata");
        let plain = fs::read(metadata.join("v1.metadata.json")).unwrap();
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&plain).unwrap();
        fs::write(metadata.join("v2.gz.metadata.json"), encoder.finish().unwrap()).unwrap();
        let loaded = catalog.load(&name).await.unwrap();
        assert!(loaded.metadata_location().ends_with("v2.gz.metadata.json"));
        assert_eq!(loaded.metadata(), table.metadata());
        let third = catalog.publish(&loaded, touched(&loaded, "write.a")).await.unwrap();
        assert!(third.metadata_location().ends_with("v3.metadata.json"));
    });
}

#[test]
fn old_metadata_is_deleted_when_the_table_asks_for_it() {
    let dir = TempDir::new().unwrap();
    let catalog = catalog(&dir);
    let name = TableName::new("db", "t");
    let mut creation = users();
    creation.properties = [
        ("write.metadata.delete-after-commit.enabled".to_owned(), "true".to_owned()),
        ("write.metadata.previous-versions-max".to_owned(), "2".to_owned()),
    ]
    .into();
    block_on(async {
        let mut table = catalog.create(&name, &creation).await.unwrap();
        for _ in 0..5 {
            table = catalog.publish(&table, touched(&table, "write.a")).await.unwrap();
        }
    });
    insta::assert_debug_snapshot!(files(&dir.path().join("db/t/metadata")), @r#"
    [
        "v4.metadata.json",
        "v5.metadata.json",
        "v6.metadata.json",
        "version-hint.text",
    ]
    "#);
}

#[test]
fn what_cannot_be_written_is_a_storage_error_and_nothing_is_committed() {
    let dir = TempDir::new().unwrap();
    let catalog = catalog(&dir);
    let name = TableName::new("db", "t");
    // A file stands where the namespace should be.
    fs::write(dir.path().join("db"), "").unwrap();
    let failed = block_on(catalog.create(&name, &users()));
    assert!(matches!(failed, Err(Error::Storage { .. })), "{failed:?}");
    fs::remove_file(dir.path().join("db")).unwrap();
    block_on(catalog.create(&name, &users())).unwrap();
}

#[test]
fn a_warehouse_is_a_path_or_a_file_uri() {
    let path = |warehouse: &str| match HadoopCatalog::new(warehouse) {
        Ok(catalog) => catalog.warehouse().display().to_string(),
        Err(error) => error.to_string(),
    };
    assert_eq!(path("/lake/a b%20c"), "/lake/a b%20c");
    assert_eq!(path("file:///lake/a%20b/%C3%BC/"), "/lake/a b/ü/");
    assert_eq!(path("file:/lake"), "/lake");
    assert_eq!(path("file://localhost/lake"), "/lake");
    insta::assert_snapshot!(path("file://lake/x"), @"warehouse 'file://lake/x' names a host; a local path needs three slashes: file:///…");
    insta::assert_snapshot!(path("hdfs://host/lake"), @"warehouse 'hdfs://host/lake' is not on a local disk; only paths and file: URIs are supported");
    insta::assert_snapshot!(path("file:///a%zz"), @"warehouse 'file:///a%zz' is not valid percent-encoded UTF-8");
}

#[test]
fn a_name_that_cannot_be_a_folder_is_refused() {
    let dir = TempDir::new().unwrap();
    for name in ["", "..", "a/b", ".hidden"] {
        let created = block_on(catalog(&dir).create(&TableName::new("db", name), &users()));
        assert!(matches!(created, Err(Error::Invalid(_))), "{name}");
    }
}
