//! The lake by SQL alone: tables of queries, changed rows, changed columns, changes that are read, and
//! states of the past. No server of any kind is needed.

use std::path::Path;

use shardlake_e2e::{Client, Job, wait_until};
use shardlake_testkit::{Reader, or_skip};
use std::time::Duration;
use tempfile::TempDir;

struct Lake {
    folder: TempDir,
}

impl Lake {
    fn new() -> Self {
        Self { folder: TempDir::new().unwrap() }
    }

    fn catalog(&self) -> String {
        format!(
            "CREATE CATALOG lake WITH ('type' = 'iceberg', 'catalog-type' = 'hadoop', \
             'warehouse' = 'file://{}');
             CREATE DATABASE IF NOT EXISTS lake.db; USE lake.db;
             SET 'table.dml-sync' = 'true'; SET 'execution.checkpointing.interval' = '100ms';",
            self.warehouse().display()
        )
    }

    fn warehouse(&self) -> std::path::PathBuf {
        self.folder.path().join("warehouse")
    }

    fn client(&self, name: &str) -> Client {
        Client::new(&self.folder.path().join(name))
    }

    fn run(&self, statements: &str) -> String {
        self.client("writer").run_ok(&format!("{}{statements}", self.catalog())).unwrap().text()
    }

    fn refusal(&self, statements: &str) -> String {
        let answer = self.client("writer").run(&format!("{}{statements}", self.catalog())).unwrap();
        assert_ne!(answer.status, Some(0), "{}", answer.text());
        answer.text()
    }

    fn rows(&self, query: &str) -> Vec<String> {
        self.client("reader").select(&self.catalog(), query).unwrap()
    }

    fn table(&self, name: &str) -> std::path::PathBuf {
        self.warehouse().join("db").join(name)
    }
}

#[test]
fn a_lake_is_made_changed_and_read_by_sql_alone() {
    let lake = Lake::new();
    lake.run(
        "CREATE TABLE a (PRIMARY KEY (id) NOT ENFORCED, id BIGINT NOT NULL)
           AS SELECT CAST(id AS BIGINT) AS id, name FROM (VALUES (1, 'a'), (2, 'b'), (3, 'c')) AS v (id, name);
         ALTER TABLE a CREATE TAG first;
         INSERT INTO a VALUES (2, 'B'), (4, 'd');",
    );
    assert_eq!(lake.rows("SELECT * FROM a ORDER BY id"), ["1|a", "2|B", "3|c", "4|d"]);
    let batch = "SET 'execution.runtime-mode' = 'batch';";
    let counted = lake.run(&format!(
        "{batch} DELETE FROM a WHERE id = (SELECT MAX(id) FROM a);
         UPDATE a SET name = UPPER(name) WHERE name < 'b' OR id = 3;"
    ));
    assert!(counted.contains("rows affected"), "{counted}");
    assert_eq!(lake.rows("SELECT * FROM a ORDER BY id"), ["1|A", "2|B", "3|C"]);
    assert_eq!(
        lake.rows("SELECT * FROM a FOR SYSTEM_VERSION AS OF 'first' ORDER BY id"),
        ["1|a", "2|b", "3|c"]
    );
    let refused = lake.refusal("DELETE FROM a WHERE id = 1;");
    assert!(refused.contains("DELETE statement is not supported for streaming mode now."));

    // All changes of the table, from its first snapshot on, make the same table again.
    lake.run(
        "CREATE TABLE b (id BIGINT NOT NULL, name STRING, PRIMARY KEY (id) NOT ENFORCED);
         INSERT INTO b SELECT * FROM a /*+ OPTIONS('start-snapshot-timestamp' = '0') */;",
    );
    assert_eq!(lake.rows("SELECT * FROM b ORDER BY id"), ["1|A", "2|B", "3|C"]);
    or_skip!(Reader::ensure_available());
    for table in ["a", "b"] {
        let rows = Reader::DuckDb.rows(&lake.table(table)).unwrap();
        assert_eq!(rows, Reader::PyIceberg.rows(&lake.table(table)).unwrap());
        assert_eq!(rows.len(), 3, "{table}: {rows:?}");
    }
}

#[test]
fn columns_change_under_a_table_and_other_readers_see_it() {
    let lake = Lake::new();
    lake.run(
        "CREATE TABLE t (id INT NOT NULL, name STRING, PRIMARY KEY (id) NOT ENFORCED);
         INSERT INTO t VALUES (1, 'a');
         ALTER TABLE t ADD (age INT FIRST, tags ARRAY<STRING>);
         ALTER TABLE t MODIFY id BIGINT NOT NULL;
         ALTER TABLE t RENAME name TO label;
         INSERT INTO t VALUES (7, 5000000000, 'b', ARRAY['x']);
         ALTER TABLE t DROP tags;",
    );
    assert_eq!(lake.rows("SELECT * FROM t ORDER BY id"), ["NULL|1|a", "7|5000000000|b"]);
    or_skip!(Reader::ensure_available());
    let expected =
        [r#"{"age":7,"id":5000000000,"label":"b"}"#, r#"{"age":null,"id":1,"label":"a"}"#];
    let mut rows = Reader::DuckDb.rows(&lake.table("t")).unwrap();
    rows.sort_unstable();
    assert_eq!(rows, expected);
}

#[test]
fn a_stream_follows_a_table_through_a_crash() {
    let lake = Lake::new();
    lake.run(
        "CREATE TABLE a (id BIGINT NOT NULL, name STRING, PRIMARY KEY (id) NOT ENFORCED);
         CREATE TABLE b (id BIGINT NOT NULL, name STRING, PRIMARY KEY (id) NOT ENFORCED);
         INSERT INTO a VALUES (1, 'a'), (2, 'b');",
    );
    let script = lake.folder.path().join("stream.sql");
    let hint = "/*+ OPTIONS('streaming' = 'true', 'monitor-interval' = '50ms',
                   'starting-strategy' = 'TABLE_SCAN_THEN_INCREMENTAL') */";
    let text = format!("{}INSERT INTO b SELECT * FROM a {hint};", lake.catalog());
    std::fs::write(&script, text.replace("SET 'table.dml-sync' = 'true';", "")).unwrap();
    let start = |log: &str| {
        let client = lake.client("stream");
        Job::start(&client, Path::new(&script), &lake.folder.path().join(log)).unwrap()
    };
    let expect = |job: &mut Job, wanted: &[&str]| {
        wait_until("the rows of b", Duration::from_secs(60), || {
            job.ensure_running()?;
            let rows = lake.rows("SELECT * FROM b ORDER BY id");
            Ok((rows == wanted, rows))
        })
        .unwrap();
    };
    let mut job = start("first.log");
    expect(&mut job, &["1|a", "2|b"]);
    lake.run("SET 'execution.runtime-mode' = 'batch'; UPDATE a SET name = 'B' WHERE id = 2;");
    expect(&mut job, &["1|a", "2|B"]);
    job.kill_dash_nine().unwrap();
    lake.run("SET 'execution.runtime-mode' = 'batch'; DELETE FROM a WHERE id = 1;");
    lake.run("INSERT INTO a VALUES (3, 'c');");
    let mut job = start("second.log");
    expect(&mut job, &["2|B", "3|c"]);
    job.stop("TERM").unwrap();
    assert_eq!(lake.rows("SELECT * FROM b ORDER BY id"), ["2|B", "3|c"]);
}
