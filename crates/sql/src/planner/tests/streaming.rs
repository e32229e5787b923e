//! Streaming queries: what each stage makes of a changelog, and what is refused.

use super::*;

/// Runs `INSERT INTO out <query>` over `users`; the sink takes every column of the query.
async fn check(query: &str, input: &str) -> String {
    let mut session = session(TABLES).await;
    let planned = match session.execute(query).await {
        Ok(StatementOutcome::Query(planned)) => *planned,
        Ok(_) => panic!("{query} is no query"),
        Err(error) => return told(&error),
    };
    let PlannedQuery::Streaming(streaming) = planned else {
        panic!("{query} runs as a batch");
    };
    let job = match streaming.into_job(Arc::new(TestSink(ChangelogMode::All))) {
        Ok(job) => job,
        Err(error) => return told(&error),
    };
    match sent(&job, &BTreeMap::from([("users", input)])) {
        Ok(text) => text,
        Err(error) => error.report(),
    }
}

const INPUT: &str = "
    +I db1 | 1 | ann | 20 | 2024-01-01T00:00:00
    +I db2 | 2 | NULL | NULL | NULL
    -U db1 | 1 | ann | 20 | 2024-01-01T00:00:00
    +U db1 | 1 | bob | 40 | 2024-01-01T00:00:00
    -U db1 | 1 | bob | 40 | 2024-01-01T00:00:00
    +U db1 | 1 | bob | 41 | 2024-02-29T12:34:56.789
    -D db1 | 1 | bob | 41 | 2024-02-29T12:34:56.789
";

#[tokio::test]
async fn star_has_the_metadata_columns_in_their_place() {
    insta::assert_snapshot!(check("SELECT * FROM users", INPUT).await, @"
    +I db1 | 1 | ann | 20 | 2024-01-01T00:00:00
    +I db2 | 2 | NULL | NULL | NULL
    -U db1 | 1 | ann | 20 | 2024-01-01T00:00:00
    +U db1 | 1 | bob | 40 | 2024-01-01T00:00:00
    -U db1 | 1 | bob | 40 | 2024-01-01T00:00:00
    +U db1 | 1 | bob | 41 | 2024-02-29T12:34:56.789
    -D db1 | 1 | bob | 41 | 2024-02-29T12:34:56.789
    ");
}

#[tokio::test]
async fn a_projection_computes_each_row() {
    let query = "SELECT UPPER(name) AS n, age + 1, CAST(id AS STRING), 'x' FROM users";
    insta::assert_snapshot!(check(query, INPUT).await, @"
    +I ANN | 21 | 1 | x
    +I NULL | NULL | 2 | x
    -U ANN | 21 | 1 | x
    +U BOB | 41 | 1 | x
    -U BOB | 41 | 1 | x
    +U BOB | 42 | 1 | x
    -D BOB | 42 | 1 | x
    ");
}

#[tokio::test]
async fn an_update_that_starts_or_stops_matching_becomes_an_insert_or_a_delete() {
    insta::assert_snapshot!(check("SELECT id, age FROM users WHERE age > 30", INPUT).await, @"
    +I 1 | 40
    -U 1 | 40
    +U 1 | 41
    -D 1 | 41
    ");
    insta::assert_snapshot!(check("SELECT id, age FROM users WHERE age < 30", INPUT).await, @"
    +I 1 | 20
    -D 1 | 20
    ");
    insta::assert_snapshot!(check("SELECT id FROM users WHERE name IS NULL", INPUT).await, @"+I 2");
}

#[tokio::test]
async fn union_all_keeps_the_order_of_each_input() {
    let query = "SELECT id, name FROM users WHERE age = 20 UNION ALL SELECT id, db FROM users";
    insta::assert_snapshot!(check(query, "+I db1 | 1 | ann | 20 | NULL").await, @"
    +I 1 | ann
    +I 1 | db1
    ");
}

#[tokio::test]
async fn a_stream_can_be_joined_by_rows_that_are_computed_once() {
    let query = "SELECT id, name FROM users UNION ALL VALUES (CAST(7 AS DECIMAL(20, 0)), 'seven')";
    insta::assert_snapshot!(check(query, "+I db1 | 1 | ann | 20 | NULL").await, @"
    +I 1 | ann
    +I 7 | seven
    ");
}

#[tokio::test]
async fn subqueries_in_from_and_common_tables_are_flattened() {
    let query = "WITH grown AS (SELECT id, age FROM users WHERE age >= 40) \
                 SELECT g.id * 10 AS ten FROM (SELECT * FROM grown) AS g";
    insta::assert_snapshot!(check(query, INPUT).await, @"
    +I 10
    -U 10
    +U 10
    -D 10
    ");
}

#[tokio::test]
async fn casts_print_times_as_flink_prints_them() {
    let query = "SELECT CAST(born AS STRING), CAST(age > 30 AS STRING), DATE_FORMAT(born, 'yyyy/MM'), \
                 EXTRACT(YEAR FROM born) FROM users WHERE id = 1";
    insta::assert_snapshot!(check(query, INPUT).await, @"
    +I 2024-01-01 00:00:00.000 | FALSE | 2024/01 | 2024
    -U 2024-01-01 00:00:00.000 | FALSE | 2024/01 | 2024
    +U 2024-01-01 00:00:00.000 | TRUE | 2024/01 | 2024
    -U 2024-01-01 00:00:00.000 | TRUE | 2024/01 | 2024
    +U 2024-02-29 12:34:56.789 | TRUE | 2024/02 | 2024
    -D 2024-02-29 12:34:56.789 | TRUE | 2024/02 | 2024
    ");
}

#[tokio::test]
async fn an_expression_that_fails_names_the_column_and_no_value() {
    let query = "SELECT CAST(name AS INT) AS n FROM users";
    insta::assert_snapshot!(check(query, INPUT).await, @"cannot evaluate column 'n': a value cannot be cast to the type asked for; TRY_CAST gives NULL instead");
    insta::assert_snapshot!(check("SELECT TRY_CAST(name AS INT) FROM users", "+I a | 1 | x | 1 | NULL").await, @"+I NULL");
}

#[tokio::test]
async fn what_needs_state_is_refused_by_name() {
    let mut refusals = String::new();
    for query in [
        "SELECT COUNT(*) FROM users",
        "SELECT age, COUNT(*) FROM users GROUP BY age",
        "SELECT DISTINCT age FROM users",
        "SELECT * FROM users ORDER BY id",
        "SELECT * FROM users LIMIT 3",
        "SELECT a.id FROM users a JOIN users b ON a.id = b.id",
        "SELECT id FROM users UNION SELECT id FROM users",
        "SELECT id FROM users WHERE id IN (SELECT id FROM users)",
        "SELECT id FROM users WHERE age = (SELECT MAX(age) FROM users)",
        "SELECT id, ROW_NUMBER() OVER (ORDER BY id) FROM users",
        "SELECT UUID(), id FROM users",
        "SELECT id FROM users WHERE born < CURRENT_TIMESTAMP",
    ] {
        let told = check(query, "").await;
        let first = told.split(':').next().unwrap_or_default();
        refusals.push_str(first.lines().next().unwrap_or_default());
        refusals.push('\n');
    }
    insta::assert_snapshot!(refusals, @"
    An aggregate function over a table that changes is not supported yet.
    GROUP BY over a table that changes is not supported yet.
    SELECT DISTINCT over a table that changes is not supported yet.
    ORDER BY over a table that changes is not supported yet.
    LIMIT over a table that changes is not supported yet.
    JOIN over a table that changes is not supported yet.
    UNION without ALL over a table that changes is not supported yet.
    A subquery over a table that changes is not supported yet.
    A subquery over a table that changes is not supported yet.
    A window function (OVER) over a table that changes is not supported yet.
    The function UUID is not supported over a table that changes
    The function CURRENT_TIMESTAMP is not supported over a table that changes
    ");
    insta::assert_snapshot!(check("SELECT COUNT(*) FROM users", "").await, @"
    An aggregate function over a table that changes is not supported yet.
    -- Write the rows into an Iceberg table first and run the query on that table: a query whose tables are all bounded runs as a batch.
    ");
    insta::assert_snapshot!(check("SELECT UUID() FROM users", "").await, @"
    The function UUID is not supported over a table that changes: its value would be another one when the job is restarted, and the deletes of a row would not match its inserts.
    -- Use a column of the source instead; for the time of a change, declare a metadata column such as op_ts.
    ");
}

#[tokio::test]
async fn wrong_names_are_told_in_flinks_words() {
    insta::assert_snapshot!(check("SELECT nam FROM users", "").await, @"
    SQL validation failed. Column 'nam' not found in any table
    -- Available columns: db, id, name, age, born
    ");
    insta::assert_snapshot!(check("SELECT u.x FROM users AS u", "").await, @"
    SQL validation failed. Column 'x' not found in table 'u'
    -- Available columns: db, id, name, age, born
    ");
    insta::assert_snapshot!(check("SELECT * FROM nothing", "").await, @"
    SQL validation failed. Object 'nothing' not found
    -- SHOW TABLES; lists the tables of the current database.
    ");
    insta::assert_snapshot!(check("SELECT SUBSTRIN(name, 1) FROM users", "").await, @"
    SQL validation failed. No match found for function signature SUBSTRIN
    -- Functions with such a name: SUBSTRING, SUBSTR, BTRIM
    ");
    insta::assert_snapshot!(check("SELECT CHAR_LENGTH() FROM users", "").await, @"
    SQL validation failed. Cannot apply 'CHARACTER_LENGTH' to arguments of type 'CHARACTER_LENGTH()'
    -- Check the number of the arguments and CAST them to the types it takes.
    ");
    insta::assert_snapshot!(check("SELECT Name FROM users", "").await, @"
    SQL validation failed. Column 'Name' not found in any table
    -- Available columns: db, id, name, age, born
    ");
    insta::assert_snapshot!(check("SELECT * FROM users /*+ OPTIONS('sped' = '1') */", "").await, @"
    Unsupported options found for 'changes'.

    Unsupported options:

    sped

    Supported options:

    connector
    rows
    speed
    ");
}

#[tokio::test]
async fn a_mistake_is_marked_in_the_statement() {
    let mut session = session(TABLES).await;
    let mut marked = String::new();
    for statement in [
        "SELECT id, nam FROM users",
        "INSERT INTO sink\n  SELECT id,\n  UPPR(name) FROM users",
        "SELECT 'ü', x.id FROM users",
        "INSERT INTO sink SELECT * FROM\n\tnothing WHERE id > 3",
        "WITH a AS (SELECT ag FROM users) SELECT * FROM a",
        "SELECT * FROM users /*+ OPTIONS('speed' = '77') */",
    ] {
        let Err(error) = session.execute(statement).await else { panic!("{statement} is right") };
        marked.push_str(&format!("{}\n\n", error.excerpt(statement)));
    }
    insta::assert_snapshot!(marked, @"
    SELECT id, nam FROM users
               ^^^

      UPPR(name) FROM users
      ^^^^

    SELECT 'ü', x.id FROM users
                ^^^^

    	nothing WHERE id > 3
    	^^^^^^^

    WITH a AS (SELECT ag FROM users) SELECT * FROM a
                      ^^

    SELECT * FROM users /*+ OPTIONS('speed' = '77') */
                        ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
    ");
}

#[tokio::test]
async fn batch_mode_refuses_an_unbounded_table() {
    let mut session = session(TABLES).await;
    session.execute("SET 'execution.runtime-mode' = 'batch'").await.unwrap();
    let Err(error) = session.execute("SELECT * FROM users").await else { panic!("not refused") };
    insta::assert_snapshot!(told(&error), @"
    Querying an unbounded table 'default_catalog.default_database.users' in batch mode is not allowed. The table source is unbounded.
    -- SET 'execution.runtime-mode' = 'streaming';
    ");
}

#[tokio::test]
async fn computed_columns_and_views_are_expanded() {
    let mut session = session(
        "CREATE TABLE wide (a INT, twice AS a * 2, b STRING, c BOOLEAN) WITH ('connector' = 'changes');
         CREATE VIEW shown (x, y) AS SELECT twice, b FROM wide WHERE c;
         CREATE TABLE out (x INT, y STRING) WITH ('connector' = 'keep')",
    )
    .await;
    let job = job(&mut session, "INSERT INTO out SELECT * FROM shown").await.unwrap();
    let input =
        BTreeMap::from([("wide", "+I 1 | one | true\n+I 2 | two | false\n+I 3 | x | true")]);
    insta::assert_snapshot!(sent(&job, &input).unwrap(), @"
    +I 2 | one
    +I 6 | x
    ");
    let query = crate::parser::parse_query("SELECT * FROM wide").unwrap();
    let columns = query_columns(&session.planner_context(), &query).await.unwrap();
    let columns: Vec<String> =
        columns.iter().map(|c| format!("{} {}", c.name, c.data_type)).collect();
    assert_eq!(columns, ["a INT", "twice INT", "b STRING", "c BOOLEAN"]);
}

#[tokio::test]
async fn explain_shows_the_stages() {
    let session = session(TABLES).await;
    let explained = |sql: &'static str| {
        let context = session.planner_context();
        async move {
            let crate::statement::Statement::Explain(statement) =
                crate::parser::parse_statement(sql).unwrap()
            else {
                panic!("no EXPLAIN");
            };
            explain(&context, &statement).await.unwrap()
        }
    };
    insta::assert_snapshot!(explained("EXPLAIN SELECT UPPER(name) AS n FROM users WHERE age > 3").await, @"
        == Abstract Syntax Tree ==
        LogicalProject(n=[upper(name)])
        +- LogicalFilter(condition=[(age > 3)])
           +- LogicalTableScan(table=[[default_catalog, default_database, users]])

        == Optimized Physical Plan ==
        Calc(select=[upper(name) AS n], where=[(age > 3)])
        +- TableSourceScan(table=[[default_catalog, default_database, users]], fields=[name, age])

        == Optimized Execution Plan ==
        Calc(select=[upper(name) AS n], where=[(age > 3)])
        +- TableSourceScan(table=[[default_catalog, default_database, users]], fields=[name, age])
        ");
    insta::assert_snapshot!(explained("EXPLAIN CHANGELOG_MODE INSERT INTO sink SELECT id, name FROM users").await, @"
    == Abstract Syntax Tree ==
    LogicalSink(table=[default_catalog.default_database.sink])
    +- LogicalProject(id=[id], name=[name])
       +- LogicalProject(id=[id], name=[name])
          +- LogicalTableScan(table=[[default_catalog, default_database, users]])

    == Optimized Physical Plan ==
    Sink(table=[default_catalog.default_database.sink], fields=[id, name], changelogMode=[NONE])
    +- ConstraintEnforcer[NotNullEnforcer(fields=[id], ERROR)], changelogMode=[I,UB,UA,D]
       +- TableSourceScan(table=[[default_catalog, default_database, users]], fields=[id, name], changelogMode=[I,UB,UA,D])

    == Optimized Execution Plan ==
    Sink(table=[default_catalog.default_database.sink], fields=[id, name], changelogMode=[NONE])
    +- ConstraintEnforcer[NotNullEnforcer(fields=[id], ERROR)], changelogMode=[I,UB,UA,D]
       +- TableSourceScan(table=[[default_catalog, default_database, users]], fields=[id, name], changelogMode=[I,UB,UA,D])
    ");
}
