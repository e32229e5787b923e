//! INSERT: columns, casts, constraints, several sinks of one job.

use super::*;

async fn check(insert: &str, input: &str) -> String {
    let mut session = session(TABLES).await;
    let job = match job(&mut session, insert).await {
        Ok(job) => job,
        Err(told) => return told,
    };
    match sent(&job, &BTreeMap::from([("users", input)])) {
        Ok(text) => text,
        Err(error) => error.report(),
    }
}

#[tokio::test]
async fn only_the_needed_columns_are_read() {
    let mut session = session(TABLES).await;
    let job =
        job(&mut session, "INSERT INTO sink SELECT id, UPPER(name) FROM users").await.unwrap();
    assert_eq!(job.sources.len(), 1);
    assert_eq!(job.sources[0].columns, [1, 2]);
    assert_eq!(job.sinks[0].equality_key, [0]);
    assert_eq!(job.name, "insert-into_default_catalog.default_database.sink");
}

#[tokio::test]
async fn columns_are_matched_by_position_or_by_the_list() {
    let row = "+I db | 1 | ann | 3 | NULL";
    insta::assert_snapshot!(check("INSERT INTO sink SELECT id, name FROM users", row).await, @"+I 1 | ann");
    insta::assert_snapshot!(check("INSERT INTO sink (name, id) SELECT name, id FROM users", row).await, @"+I 1 | ann");
    insta::assert_snapshot!(check("INSERT INTO sink (id) SELECT id FROM users", row).await, @"+I 1 | NULL");
    insta::assert_snapshot!(check("INSERT INTO sink (name) SELECT name FROM users", row).await, @"
    SQL validation failed. Column 'id' has no default value and does not allow NULLs
    -- Add the column to the column list and to the query.
    ");
    insta::assert_snapshot!(check("INSERT INTO sink (id, nme) SELECT id, name FROM users", row).await, @"
    SQL validation failed. Unknown target column 'nme'
    -- Columns that can be written: id, name
    ");
    insta::assert_snapshot!(check("INSERT INTO sink (id, id) SELECT id, id FROM users", row).await, @"SQL validation failed. Target column 'id' is assigned more than once");
}

#[tokio::test]
async fn types_are_widened_and_never_narrowed() {
    let row = "+I db | 1 | ann | 3 | NULL";
    insta::assert_snapshot!(check("INSERT INTO sink SELECT age, name FROM users", row).await, @"+I 3 | ann");
    insta::assert_snapshot!(check("INSERT INTO sink SELECT id, age FROM users", row).await, @"
    Column types of query result and sink for 'default_catalog.default_database.sink' do not match.
    Cause: Incompatible types for sink column 'name' at position 1.

    Query schema: [id: DECIMAL(20, 0) NOT NULL, age: INT]
    Sink schema:  [id: DECIMAL(20, 0) NOT NULL, name: STRING]
    -- CAST the columns of the query to the types of the sink.
    ");
    insta::assert_snapshot!(check("INSERT INTO sink SELECT id FROM users", row).await, @"
    Column types of query result and sink for 'default_catalog.default_database.sink' do not match.
    Cause: Different number of columns.

    Query schema: [id: DECIMAL(20, 0) NOT NULL]
    Sink schema:  [id: DECIMAL(20, 0) NOT NULL, name: STRING]
    -- CAST the columns of the query to the types of the sink.
    ");
    insta::assert_snapshot!(check("INSERT INTO sink SELECT id, NULL FROM users", row).await, @"+I 1 | NULL");
}

#[tokio::test]
async fn values_are_computed_once() {
    insta::assert_snapshot!(check("INSERT INTO sink VALUES (1, 'one'), (2, 'two'), (3, NULL)", "").await, @"
    +I 1 | one
    +I 2 | two
    +I 3 | NULL
    ");
    insta::assert_snapshot!(check("INSERT INTO log SELECT CAST(1 AS DECIMAL(20,0)), 'x'", "").await, @"+I 1 | x");
    insta::assert_snapshot!(check("INSERT INTO sink VALUES (1, 2)", "").await, @"
    Column types of query result and sink for 'default_catalog.default_database.sink' do not match.
    Cause: Incompatible types for sink column 'name' at position 1.

    Query schema: [EXPR$0: INT NOT NULL, EXPR$1: INT NOT NULL]
    Sink schema:  [id: DECIMAL(20, 0) NOT NULL, name: STRING]
    -- CAST the columns of the query to the types of the sink.
    ");
}

#[tokio::test]
async fn null_is_kept_out_of_not_null_columns() {
    let rows = "+I db | 1 | ann | 3 | NULL\n+I db | 2 | bob | NULL | NULL\n\
                -U db | 1 | ann | 3 | NULL\n+U db | 1 | ann | NULL | NULL";
    let insert = "INSERT INTO sink SELECT age, name FROM users";
    insta::assert_snapshot!(check(insert, rows).await, @"Column 'id' is NOT NULL, however, a null value is being written into it. You can set job configuration 'table.exec.sink.not-null-enforcer'='DROP' to suppress this exception and drop such records silently.");
    let mut session = session(TABLES).await;
    session.execute("SET 'table.exec.sink.not-null-enforcer' = 'DROP'").await.unwrap();
    let job = job(&mut session, insert).await.unwrap();
    insta::assert_snapshot!(sent(&job, &BTreeMap::from([("users", rows)])).unwrap(), @"
    +I 3 | ann
    -D 3 | ann
    ");
}

#[tokio::test]
async fn a_sink_of_inserts_refuses_a_changelog() {
    insta::assert_snapshot!(check("INSERT INTO log SELECT id, name FROM users", "").await, @"
    Table sink 'default_catalog.default_database.log' doesn't support consuming update and delete changes which is produced by node TableSourceScan(table=[[default_catalog, default_database, users]], fields=[db, id, name, age, born])
    -- Declare a primary key on the sink: PRIMARY KEY (…) NOT ENFORCED.
    ");
}

#[tokio::test]
async fn a_statement_set_reads_a_shared_source_once() {
    let mut session = session(TABLES).await;
    session
        .execute("CREATE TABLE ages (id DECIMAL(20, 0), age BIGINT) WITH ('connector' = 'keep')")
        .await
        .unwrap();
    let set = "EXECUTE STATEMENT SET BEGIN
        INSERT INTO sink SELECT id, name FROM users;
        INSERT INTO ages SELECT id, age FROM users WHERE age > 5;
        END";
    let job = job(&mut session, set).await.unwrap();
    assert_eq!(job.sources.len(), 1);
    assert_eq!(job.sources[0].columns, [1, 2, 3]);
    let input = "+I db | 1 | ann | 3 | NULL\n+I db | 2 | bob | 9 | NULL";
    insta::assert_snapshot!(sent(&job, &BTreeMap::from([("users", input)])).unwrap(), @"
    sink:
    +I 1 | ann
    +I 2 | bob
    ages:
    +I 2 | 9
    ");
}

#[tokio::test]
async fn a_source_learns_which_of_its_columns_are_in_every_key() {
    let mut session = session(TABLES).await;
    let mut key =
        async |sql: &str| job(&mut session, sql).await.unwrap().sources[0].key_columns.clone();
    assert_eq!(key("INSERT INTO sink SELECT id, name FROM users").await, Some(vec![1]));
    assert_eq!(key("INSERT INTO sink SELECT id, db FROM users WHERE age > 1").await, Some(vec![1]));
    let view = "INSERT INTO sink SELECT i, n FROM (SELECT id AS i, db AS n FROM users)";
    assert_eq!(key(view).await, Some(vec![1]));
    assert_eq!(key("INSERT INTO sink SELECT id + 1, name FROM users").await, Some(vec![]));
    let union = "INSERT INTO sink SELECT id, name FROM users UNION ALL SELECT age, name FROM users";
    assert_eq!(key(union).await, Some(vec![]));
}

#[tokio::test]
async fn a_source_learns_where_its_rows_are_kept_unchanged() {
    let mut session = session(TABLES).await;
    let mut kept = async |sql: &str| {
        let kept = job(&mut session, sql).await.unwrap().sources[0].kept.clone();
        kept.map(|kept| (kept.sink, kept.columns))
    };
    assert_eq!(kept("INSERT INTO sink SELECT id, name FROM users").await, Some((0, vec![0, 1])));
    let view = "INSERT INTO sink SELECT i, n FROM (SELECT id AS i, db AS n FROM users)";
    assert_eq!(kept(view).await, Some((0, vec![1, 0])));
    assert_eq!(kept("INSERT INTO sink SELECT id, name FROM users WHERE age > 1").await, None);
    assert_eq!(kept("INSERT INTO sink SELECT id, UPPER(name) FROM users").await, None);
    let union = "INSERT INTO sink SELECT id, name FROM users UNION ALL SELECT id, db FROM users";
    assert_eq!(kept(union).await, None);
}

#[tokio::test]
async fn the_fingerprint_is_that_of_the_query_not_of_its_spelling() {
    let mut session = session(TABLES).await;
    let mut print = async |sql: &str| job(&mut session, sql).await.unwrap().fingerprint;
    let one = print("INSERT INTO sink SELECT id, name FROM users").await;
    assert_eq!(one, print("insert into sink  select id, name /* x */ from users").await);
    assert_ne!(one, print("INSERT INTO sink SELECT id, db FROM users").await);
    assert_ne!(one, print("INSERT INTO sink SELECT id, name FROM users WHERE id > 3").await);
}

#[tokio::test]
async fn a_bounded_aggregate_is_a_source_of_its_own() {
    let mut session = session(TABLES).await;
    session
        .execute(
            "CREATE TABLE few (a INT, b STRING) WITH ('connector' = 'bounded', \
             'rows' = '+I 1 | x\n+I 2 | x\n+I 3 | y')",
        )
        .await
        .unwrap();
    let insert = "INSERT INTO sink SELECT COUNT(*), b FROM few GROUP BY b ORDER BY b";
    let job = job(&mut session, insert).await.unwrap();
    insta::assert_snapshot!(sent(&job, &BTreeMap::new()).unwrap(), @"
    +I 2 | x
    +I 1 | y
    ");
}

#[tokio::test]
async fn a_job_that_runs_once_has_a_name_of_its_own() {
    let mut session = session(TABLES).await;
    let base = "insert-into_default_catalog.default_database.sink";
    let once = job(&mut session, "INSERT INTO sink VALUES (1, 'x')").await.unwrap();
    assert_eq!(once.name, format!("{base}-{}", once.fingerprint.split_at(8).0));
    session.execute("SET 'pipeline.name' = 'mine'").await.unwrap();
    let named = job(&mut session, "INSERT INTO sink VALUES (1, 'x')").await.unwrap();
    assert_eq!((named.name.as_str(), named.fingerprint), ("mine", once.fingerprint));
}
