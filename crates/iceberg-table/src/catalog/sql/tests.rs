use std::process::Stdio;
use std::sync::Arc;

use futures::executor::block_on;
use rusqlite::Connection;
use shardlake_testkit::{PostgresServer, Reader, or_skip};
use tempfile::TempDir;

use super::*;
use crate::catalog::tests::{collide, live, run, users, write_and_go_on};
use crate::testing::rows_by_scan;

/// A catalog in a folder; the folder is also its warehouse.
fn catalog(dir: &TempDir) -> SqlCatalog {
    let connection = SqlConnection {
        uri: format!("sqlite:///{}/catalog.db", dir.path().display()),
        ..SqlConnection::default()
    };
    let warehouse = dir.path().to_str().unwrap();
    SqlCatalog::new("lake", &connection, Some(warehouse), Storage::local()).unwrap()
}

#[test]
fn a_table_lives_in_sqlite() {
    let dir = TempDir::new().unwrap();
    let catalog = catalog(&dir);
    block_on(live(&catalog, true));
    block_on(collide(&catalog));
}

#[test]
fn a_job_writes_and_goes_on() {
    let dir = TempDir::new().unwrap();
    let catalog: Arc<dyn Catalog> = Arc::new(catalog(&dir));
    write_and_go_on(&catalog, &TableName::new("a.b", "users"));
    // Namespaces have levels, and those above exist with those below.
    assert!(block_on(catalog.namespace_exists("a")).unwrap());
    assert!(dir.path().join("a.b/users/metadata").is_dir());
}

#[test]
fn metadata_of_the_loser_is_removed_and_files_are_numbered() {
    let dir = TempDir::new().unwrap();
    let catalog = catalog(&dir);
    block_on(collide(&catalog));
    let folder = dir.path().join("db/contended/metadata");
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let shown: Vec<&str> = names.iter().map(|name| name.split('-').next().unwrap()).collect();
    assert_eq!(shown, ["00000", "00001"]);
}

/// The layout before views were added, as older clients made it.
#[test]
fn a_database_without_a_column_for_views_is_used_as_it_is() {
    let dir = TempDir::new().unwrap();
    let database = Connection::open(dir.path().join("catalog.db")).unwrap();
    for statement in CREATE_TABLES {
        let old = statement.replace(", iceberg_type VARCHAR(5)", "");
        database.execute(&old, []).unwrap();
    }
    let catalog = catalog(&dir);
    block_on(live(&catalog, true));
}

#[test]
fn a_view_is_no_table() {
    let dir = TempDir::new().unwrap();
    let catalog = catalog(&dir);
    let name = TableName::new("db", "users");
    block_on(catalog.create(&name, &users())).unwrap();
    let database = Connection::open(dir.path().join("catalog.db")).unwrap();
    database.execute("UPDATE iceberg_tables SET iceberg_type = 'VIEW'", []).unwrap();
    assert!(!block_on(catalog.table_exists(&name)).unwrap());
    assert!(block_on(catalog.list_tables("db")).unwrap().is_empty());
}

#[test]
fn addresses_are_refused_without_being_shown() {
    let refusal = |uri: &str| {
        let connection = SqlConnection { uri: uri.to_owned(), ..SqlConnection::default() };
        SqlCatalog::new("lake", &connection, None, Storage::local()).unwrap_err().to_string()
    };
    insta::assert_snapshot!(refusal("jdbc:mysql://u:sesame@host/db"), @"'uri' of an SQL catalog begins with 'mysql:', which is not supported; use sqlite:///path/of/catalog.db or postgresql://host:5432/database");
    insta::assert_snapshot!(refusal("sqlite:///:memory:"), @"'uri' of an SQL catalog must name a file: sqlite:///path/of/catalog.db");
    insta::assert_snapshot!(refusal("postgresql://u:sesame@host:port/db"), @"'uri' of an SQL catalog is no valid address: write postgresql://host:5432/database");
    insta::assert_snapshot!(refusal("postgresql://u:sesame@host/db"), @"'uri' of an SQL catalog holds a password, which would be shown; use 'jdbc.password'");
    insta::assert_snapshot!(refusal("postgresql://u@host/db?sslmode=require"), @"'uri' of an SQL catalog asks for TLS (sslmode), which is not supported; use a tunnel, or a REST catalog");
}

/// pyiceberg's own SQL catalog on the same database, in both directions and at the same time.
#[test]
fn pyiceberg_shares_the_catalog() {
    or_skip!(Reader::ensure_available());
    let dir = TempDir::new().unwrap();
    let folder = dir.path().to_str().unwrap();
    let catalog: Arc<dyn Catalog> = Arc::new(catalog(&dir));
    // Theirs, read and written by us.
    Reader::run_script("sql_catalog.py", &[folder, "create", "db.theirs"]).unwrap();
    let theirs = TableName::new("db", "theirs");
    assert_eq!(block_on(catalog.list_tables("db")).unwrap(), std::slice::from_ref(&theirs));
    let mut ours = run(&catalog, &theirs);
    ours.epoch(1, "+I 100 | ours\n-U 1 | one\n+U 1 | ONE");
    let rows = Reader::run_script("sql_catalog.py", &[folder, "rows", "db.theirs"]).unwrap();
    assert_eq!(rows, ["1 | ONE", "100 | ours", "2 | two"]);
    // Ours, while they append to it.
    let name = TableName::new("db", "ours");
    block_on(catalog.create(&name, &users())).unwrap();
    let mut job = run(&catalog, &name);
    let mut appending =
        Reader::script_command("sql_catalog.py", &[folder, "append", "db.ours", "5"])
            .unwrap()
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
    let mut expected = Vec::new();
    for epoch in 1.. {
        job.epoch(epoch, &format!("+I {epoch} | mine"));
        expected.push(format!("{epoch} | mine"));
        if epoch >= 5 && appending.try_wait().unwrap().is_some() {
            break;
        }
        if epoch > 20 {
            // The other writer needs a gap now and then, or it never comes first.
            std::thread::park_timeout(Duration::from_millis(150));
        }
    }
    assert!(appending.wait().unwrap().success());
    expected.extend((0..5).map(|number| format!("{} | appended", 1_000_000 + number)));
    expected.sort();
    assert_eq!(rows_by_scan(&block_on(catalog.load(&name)).unwrap()), expected);
    let rows = Reader::run_script("sql_catalog.py", &[folder, "rows", "db.ours"]).unwrap();
    assert_eq!(rows, expected);
}

#[test]
fn a_real_postgresql_keeps_tables() {
    let server = or_skip!(PostgresServer::start());
    let dir = TempDir::new().unwrap();
    let connection = SqlConnection {
        uri: format!("jdbc:{}", server.uri()),
        user: Some(server.user().to_owned()),
        password: Some(server.password().to_owned()),
    };
    let warehouse = dir.path().to_str();
    let open = || SqlCatalog::new("lake", &connection, warehouse, Storage::local()).unwrap();
    block_on(live(&open(), true));
    block_on(collide(&open()));
    let catalog: Arc<dyn Catalog> = Arc::new(open());
    write_and_go_on(&catalog, &TableName::new("jobs", "users"));
    let wrong = SqlConnection { password: Some("wrong".to_owned()), ..connection.clone() };
    let wrong = SqlCatalog::new("lake", &wrong, warehouse, Storage::local()).unwrap();
    let error = block_on(wrong.list_namespaces()).unwrap_err();
    assert!(matches!(error, Error::Storage { .. }));
    assert!(!format!("{error:?}").contains("sesame") && !format!("{error:?}").contains("wrong\""));
}
