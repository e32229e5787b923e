//! Jobs whose lake is elsewhere: an object store, and a catalog that is not ours.

use shardlake_e2e::Scene;
use shardlake_testkit::{Reader, SeaweedServer, ServerOptions, or_skip};

const CHANGES: &str = "INSERT INTO shop.item VALUES (4, 'd'); UPDATE shop.item SET name = 'B' \
                       WHERE id = 2; DELETE FROM shop.item WHERE id = 3";
const EXPECTED: [&str; 3] = ["1|a", "2|B", "4|d"];

/// Options as they are written in SQL.
fn written(options: &[(String, String)]) -> String {
    let pairs: Vec<String> =
        options.iter().map(|(key, value)| format!("'{key}' = '{value}'")).collect();
    pairs.join(", ")
}

fn owned(options: &[(&str, &str)]) -> Vec<(String, String)> {
    options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// Runs a job into the table that these options name, and checks that it is complete, stays so over
/// a restart, and is the same for foreign readers.
fn run_job(scene: &Scene, name: &str, store: &SeaweedServer, catalog: Vec<(String, String)>) {
    let mut options = owned(&[("connector", "iceberg"), ("catalog-name", "lake")]);
    options.extend(catalog.clone());
    options.extend(store.s3_options());
    let columns = "(id INT NOT NULL, name STRING, PRIMARY KEY (id) NOT ENFORCED)";
    let lake = format!("CREATE TABLE {name} {columns} WITH ({});", written(&options));
    let source = format!(
        "CREATE TABLE item {columns} WITH ({});",
        scene.source_options("root", "", "shop", "item")
    );
    scene.server.execute("DROP DATABASE IF EXISTS shop").unwrap();
    scene.server.execute("CREATE DATABASE shop").unwrap();
    scene.server.execute("CREATE TABLE shop.item (id INT PRIMARY KEY, name TEXT)").unwrap();
    scene.server.execute("INSERT INTO shop.item VALUES (1, 'a'), (2, 'b'), (3, 'c')").unwrap();
    let script = format!(
        "SET 'execution.checkpointing.interval' = '300ms'; {source} {lake} SHOW CREATE TABLE {name};
         INSERT INTO {name} SELECT * FROM item;"
    );
    let query = format!("SELECT * FROM {name}");
    let mut job = scene.job(name, &script).unwrap();
    scene.await_rows(&mut job, &lake, &query, &["1|a", "2|b", "3|c"]).unwrap();
    assert!(!job.log().contains("sesame123"), "{}", job.log());
    assert_eq!(job.stop("KILL").unwrap().code(), None);
    for change in CHANGES.split("; ") {
        scene.server.execute(change).unwrap();
    }
    let mut job = scene.job(name, &script).unwrap();
    scene.await_rows(&mut job, &lake, &query, &EXPECTED).unwrap();
    assert_eq!(job.stop("TERM").unwrap().code(), Some(0));

    let mut of_reader = catalog;
    of_reader.extend(store.s3_options());
    let arguments: Vec<String> =
        of_reader.iter().map(|(key, value)| format!("{key}={value}")).collect();
    // DuckDB finds a table by its folder.
    let readers: &[&str] =
        if name == "in_hadoop" { &["pyiceberg", "duckdb"] } else { &["pyiceberg"] };
    for reader in readers {
        let mut all = vec![*reader, name];
        all.extend(arguments.iter().map(String::as_str));
        let rows = Reader::run_script("catalog_rows.py", &all).unwrap();
        assert_eq!(rows, EXPECTED, "{reader}");
    }
}

#[test]
fn a_lake_in_a_bucket() {
    let scene = or_skip!(Scene::start(ServerOptions::default()));
    let store = or_skip!(SeaweedServer::start());
    or_skip!(Reader::ensure_available());
    store.create_bucket("lake").unwrap();
    store.create_warehouse("tables").unwrap();
    let hadoop = [("catalog-type", "hadoop"), ("warehouse", "s3://lake/wh")];
    run_job(&scene, "in_hadoop", &store, owned(&hadoop));
    let (uri, credential) = (store.catalog_uri(), store.credential());
    let rest = [
        ("catalog-type", "rest"),
        ("uri", uri.as_str()),
        ("warehouse", "s3://tables/"),
        ("credential", credential.as_str()),
        ("scope", "catalog"),
    ];
    run_job(&scene, "in_rest", &store, owned(&rest));

    // Both as catalogs, with tables of the other kind of statement.
    let client = scene.client("catalogs");
    let setup = format!(
        "CREATE CATALOG far WITH ('type' = 'iceberg', {}, {});",
        written(&owned(&rest)),
        written(&store.s3_options())
    );
    let rows = client.select(&setup, "SELECT * FROM far.default_database.in_rest").unwrap();
    assert_eq!(rows.len(), 3);
    let statements = "CREATE DATABASE far.db; CREATE TABLE far.db.t (id INT, PRIMARY KEY (id) NOT ENFORCED);
         SHOW TABLES FROM far.db; SHOW CREATE TABLE far.db.t; ALTER TABLE far.db.t RENAME TO u; SHOW TABLES FROM far.db;
         DROP TABLE far.db.u; DROP DATABASE far.db; SHOW CREATE CATALOG far;";
    let answer = client.run_ok(&format!("{setup} {statements}")).unwrap();
    assert!(!answer.text().contains("sesame123"), "{}", answer.text());
}
