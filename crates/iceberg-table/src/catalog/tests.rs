//! What every catalog must do.

use std::sync::Arc;

use futures::executor::block_on;
use shardlake_change::{Column, LogicalType, TableSchema};

use super::*;
use crate::commit::Committer;
use crate::testing::{Run, rows_by_scan};
use crate::{DeltaWriter, DeltaWriterOptions, WriterShared};

/// A table of ids and names.
pub(super) fn users() -> TableCreation {
    let schema = TableSchema {
        columns: vec![
            Column::new("id", LogicalType::BigInt).not_null(),
            Column::new("name", LogicalType::String),
        ],
        primary_key: vec!["id".into()],
    };
    TableCreation { schema, ..TableCreation::default() }
}

/// The same table with one more property, as a following version.
pub(super) fn touched(table: &Table, key: &str) -> TableMetadataBuildResult {
    table
        .metadata()
        .clone()
        .into_builder(Some(table.metadata_location().to_owned()))
        .set_properties([(key.to_owned(), "x".to_owned())].into())
        .unwrap()
        .build()
        .unwrap()
}

/// Goes through the life of a table. `renames` says whether the catalog can rename.
pub(super) async fn live(catalog: &dyn Catalog, renames: bool) {
    let name = TableName::new("db", "users");
    assert!(!catalog.table_exists(&name).await.unwrap());
    assert!(matches!(catalog.load(&name).await, Err(Error::NotFound(_))));
    assert!(matches!(catalog.list_tables("db").await, Err(Error::NotFound(_))));
    catalog.create_namespace("db").await.unwrap();
    catalog.create_namespace("db").await.unwrap();
    assert!(catalog.namespace_exists("db").await.unwrap());
    assert!(!catalog.namespace_exists("d").await.unwrap());
    let table = catalog.create(&name, &users()).await.unwrap();
    assert!(matches!(catalog.create(&name, &users()).await, Err(Error::AlreadyExists(_))));
    assert_eq!(catalog.list_tables("db").await.unwrap(), std::slice::from_ref(&name));
    assert!(catalog.list_namespaces().await.unwrap().contains(&"db".to_owned()));
    let next = catalog.publish(&table, touched(&table, "write.a")).await.unwrap();
    let loaded = catalog.load(&name).await.unwrap();
    assert_eq!(loaded.metadata().properties()["write.a"], "x");
    assert_eq!(loaded.metadata_location(), next.metadata_location());
    assert!(catalog.drop_namespace("db").await.unwrap_err().to_string().contains("not empty"));
    let mut last = name.clone();
    if renames {
        last = TableName::new("db", "people");
        catalog.rename(&name, &last).await.unwrap();
        assert!(matches!(catalog.load(&name).await, Err(Error::NotFound(_))));
        assert!(matches!(
            catalog.rename(&name, &last).await,
            Err(Error::NotFound(_) | Error::AlreadyExists(_))
        ));
        let renamed = catalog.load(&last).await.unwrap();
        assert_eq!(renamed.metadata().uuid(), table.metadata().uuid());
    }
    catalog.purge(&last).await.unwrap();
    assert!(matches!(catalog.purge(&last).await, Err(Error::NotFound(_))));
    assert!(catalog.list_tables("db").await.unwrap_or_default().is_empty());
    catalog.drop_namespace("db").await.unwrap();
    assert!(!catalog.namespace_exists("db").await.unwrap());
}

/// Two writers on one base: the second is told.
pub(super) async fn collide(catalog: &dyn Catalog) {
    let name = TableName::new("db", "contended");
    let base = catalog.create(&name, &users()).await.unwrap();
    let snapshots = async |key: &str| catalog.publish(&base, touched(&base, key)).await;
    snapshots("write.a").await.unwrap();
    assert!(matches!(snapshots("write.b").await, Err(Error::Conflict { .. })));
    let loaded = catalog.load(&name).await.unwrap();
    assert!(loaded.metadata().properties().contains_key("write.a"));
    assert!(!loaded.metadata().properties().contains_key("write.b"));
}

/// A run of a job on a table of `users`.
pub(super) fn run(catalog: &Arc<dyn Catalog>, name: &TableName) -> Run {
    let committer = block_on(Committer::claim(Arc::clone(catalog), name, "job", "id")).unwrap();
    let options = DeltaWriterOptions::default();
    let shared = block_on(WriterShared::load(committer.table(), options)).unwrap();
    Run { committer, writer: DeltaWriter::new(shared, 0) }
}

/// A job writes, is started anew and goes on; a fenced run and a fresh reader see what they must.
pub(super) fn write_and_go_on(catalog: &Arc<dyn Catalog>, name: &TableName) {
    block_on(catalog.create(name, &users())).unwrap();
    let mut first = run(catalog, name);
    first.epoch(1, "+I 1 | a\n+I 2 | b\n+I 3 | c");
    first.epoch(2, "-U 2 | b\n+U 2 | B\n-D 3 | c");
    let mut second = run(catalog, name);
    assert_eq!(second.committer.progress().unwrap().epoch, 2);
    let fenced = first.commit(3, crate::WrittenFiles::default());
    assert!(matches!(fenced, Err(Error::Fenced { .. })), "{fenced:?}");
    second.epoch(3, "-U 2 | B\n+U 2 | bb\n+I 4 | d");
    let table = block_on(catalog.load(name)).unwrap();
    assert_eq!(rows_by_scan(&table), ["1 | a", "2 | bb", "4 | d"]);
}
