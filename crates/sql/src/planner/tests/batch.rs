//! Batch queries over VALUES and bounded sources.

use arrow::util::pretty::pretty_format_batches;
use futures::TryStreamExt as _;

use super::*;

const BOUNDED: &str = "
    CREATE TABLE few (a INT, b STRING, v VARCHAR(10)) WITH ('connector' = 'bounded', 'rows' = '
        +I 1 | x | one
        +I 2 | x | two
        +I 3 | NULL | three')";

async fn check(query: &str) -> String {
    let mut session = session(BOUNDED).await;
    let planned = match session.execute(query).await {
        Ok(StatementOutcome::Query(planned)) => *planned,
        Ok(_) => panic!("{query} is no query"),
        Err(error) => return told(&error),
    };
    let PlannedQuery::Batch(batch) = planned else { panic!("{query} runs as a stream") };
    let stream = match batch.execute().await {
        Ok(stream) => stream,
        Err(error) => return told(&error),
    };
    match stream.try_collect::<Vec<_>>().await {
        Ok(batches) => {
            for found in &batches {
                for (field, column) in found.schema().fields().iter().zip(&batch.schema().columns) {
                    assert_eq!(field.data_type(), &column.data_type.to_arrow());
                }
            }
            let types: Vec<String> = batch
                .schema()
                .columns
                .iter()
                .map(|column| format!("{} {}", column.name, column.data_type))
                .collect();
            format!("{}\n{}", types.join(", "), pretty_format_batches(&batches).unwrap())
        }
        Err(error) => told(&BatchQuery::error(&error)),
    }
}

#[tokio::test]
async fn values_have_flinks_names_and_types() {
    insta::assert_snapshot!(check("VALUES (1, 'a', 2.50), (2, 'bcd', 10000000000.0)").await, @"
    EXPR$0 INT, EXPR$1 VARCHAR(3), EXPR$2 DECIMAL(13, 2)
    +--------+--------+----------------+
    | EXPR$0 | EXPR$1 | EXPR$2         |
    +--------+--------+----------------+
    | 1      | a      | 2.50           |
    | 2      | bcd    | 10000000000.00 |
    +--------+--------+----------------+
    ");
    insta::assert_snapshot!(check("SELECT 1, 10000000000, 1.5, 'x', TRUE, NULL").await, @"
    EXPR$0 INT, EXPR$1 BIGINT, EXPR$2 DECIMAL(2, 1), EXPR$3 CHAR(1), EXPR$4 BOOLEAN, EXPR$5 STRING
    +--------+-------------+--------+--------+--------+--------+
    | EXPR$0 | EXPR$1      | EXPR$2 | EXPR$3 | EXPR$4 | EXPR$5 |
    +--------+-------------+--------+--------+--------+--------+
    | 1      | 10000000000 | 1.5    | x      | true   |        |
    +--------+-------------+--------+--------+--------+--------+
    ");
    insta::assert_snapshot!(check("SELECT n, c FROM (VALUES (1, 'x'), (2, 'y')) AS t(n, c) WHERE n > 1").await, @"
    n INT, c CHAR(1)
    +---+---+
    | n | c |
    +---+---+
    | 2 | y |
    +---+---+
    ");
}

#[tokio::test]
async fn joins_aggregates_order_and_limits_run() {
    insta::assert_snapshot!(check("SELECT b, COUNT(*) AS n, SUM(a) AS s, AVG(a) FROM few GROUP BY b ORDER BY b").await, @"
    b STRING, n BIGINT, s BIGINT, EXPR$3 DOUBLE
    +---+---+---+--------+
    | b | n | s | EXPR$3 |
    +---+---+---+--------+
    |   | 1 | 3 | 3.0    |
    | x | 2 | 3 | 1.5    |
    +---+---+---+--------+
    ");
    insta::assert_snapshot!(check("SELECT l.a, r.v FROM few l JOIN few r ON l.a = r.a + 1 ORDER BY l.a").await, @"
    a INT, v VARCHAR(10)
    +---+-----+
    | a | v   |
    +---+-----+
    | 2 | one |
    | 3 | two |
    +---+-----+
    ");
    insta::assert_snapshot!(check("SELECT a, ROW_NUMBER() OVER (ORDER BY a DESC) AS r FROM few ORDER BY a LIMIT 2").await, @"
    a INT, r BIGINT
    +---+---+
    | a | r |
    +---+---+
    | 1 | 3 |
    | 2 | 2 |
    +---+---+
    ");
    insta::assert_snapshot!(check("SELECT a FROM few WHERE a IN (SELECT MAX(a) FROM few) UNION ALL SELECT 7").await, @"
    a INT
    +---+
    | a |
    +---+
    | 7 |
    | 3 |
    +---+
    ");
    insta::assert_snapshot!(check("SELECT DISTINCT b FROM few ORDER BY b OFFSET 1").await, @"
    b STRING
    +---+
    | b |
    +---+
    | x |
    +---+
    ");
}

#[tokio::test]
async fn collections_and_nested_fields_work() {
    insta::assert_snapshot!(check("SELECT ARRAY[1, 2][2], CARDINALITY(ARRAY[1, 2]), MAP['a', 1]['a'], ARRAY['x']").await, @"
    EXPR$0 INT, EXPR$1 BIGINT, EXPR$2 INT, EXPR$3 ARRAY<STRING>
    +--------+--------+--------+--------+
    | EXPR$0 | EXPR$1 | EXPR$2 | EXPR$3 |
    +--------+--------+--------+--------+
    | 2      | 2      | 1      | [x]    |
    +--------+--------+--------+--------+
    ");
    insta::assert_snapshot!(check("SELECT ROW(1, 'a')").await, @"
    EXPR$0 ROW<`c0` INT, `c1` STRING>
    +----------------+
    | EXPR$0         |
    +----------------+
    | {c0: 1, c1: a} |
    +----------------+
    ");
}

#[tokio::test]
async fn predicates_compare_as_flink_compares() {
    let query = "SELECT a FROM few WHERE v LIKE '%o%' AND a BETWEEN 1 AND 2 AND v NOT IN ('two') \
                 AND a = '1' AND b IS NOT NULL AND CAST(a AS DECIMAL(20, 0)) = '1'";
    insta::assert_snapshot!(check(query).await, @"
    a INT
    +---+
    | a |
    +---+
    | 1 |
    +---+
    ");
    insta::assert_snapshot!(check("SELECT a FROM few ORDER BY b, a DESC FETCH FIRST 2 ROWS ONLY").await, @"
    a INT
    +---+
    | a |
    +---+
    | 3 |
    | 2 |
    +---+
    ");
}

#[tokio::test]
async fn no_clause_is_passed_over() {
    insta::assert_snapshot!(check("SELECT a FROM few FOR UPDATE").await, @"FOR UPDATE is not supported yet.");
    insta::assert_snapshot!(check("SELECT a FROM few TABLESAMPLE (10 PERCENT)").await, @"TABLESAMPLE is not supported yet.");
    insta::assert_snapshot!(check("SELECT a FROM few FETCH FIRST 2 ROWS WITH TIES").await, @"SQL validation failed. FETCH clause is not supported yet");
    insta::assert_snapshot!(check("SELECT * FROM TABLE(TUMBLE(TABLE few, DESCRIPTOR(a), INTERVAL '1' DAY))").await, @"SQL parse failed. Expected: ), found: few.");
    insta::assert_snapshot!(check("SELECT a FROM few MATCH_RECOGNIZE (PATTERN (A) DEFINE A AS TRUE)").await, @"MATCH_RECOGNIZE is not supported yet.");
}

#[tokio::test]
async fn a_column_keeps_its_declared_type() {
    insta::assert_snapshot!(check("SELECT v, UPPER(v) AS u FROM few WHERE a = 1").await, @"
    v VARCHAR(10), u STRING
    +-----+-----+
    | v   | u   |
    +-----+-----+
    | one | ONE |
    +-----+-----+
    ");
}

#[tokio::test]
async fn a_cast_cuts_to_its_length_or_precision() {
    let query = "SELECT CAST('2024-01-02 03:04:05.678912' AS TIMESTAMP(3)) AS t, \
                 CAST('abcdef' AS VARCHAR(3)) AS v, CAST('ab' AS CHAR(4)) AS c, \
                 CAST(TIMESTAMP '1969-12-31 23:59:59.5' AS TIMESTAMP(0)) AS s";
    insta::assert_snapshot!(check(query).await, @"
    t TIMESTAMP(3), v VARCHAR(3), c CHAR(4), s TIMESTAMP(0)
    +-------------------------+-----+------+---------------------+
    | t                       | v   | c    | s                   |
    +-------------------------+-----+------+---------------------+
    | 2024-01-02T03:04:05.678 | abc | ab   | 1969-12-31T23:59:59 |
    +-------------------------+-----+------+---------------------+
    ");
}

#[tokio::test]
async fn a_column_selected_twice_gets_a_name_of_its_own() {
    insta::assert_snapshot!(check("SELECT a, a, a FROM few WHERE a = 1").await, @"
    a INT, a0 INT, a1 INT
    +---+----+----+
    | a | a0 | a1 |
    +---+----+----+
    | 1 | 1  | 1  |
    +---+----+----+
    ");
}

#[tokio::test]
async fn the_clock_stands_still_within_a_query() {
    let text =
        check("SELECT CURRENT_TIMESTAMP = NOW(), CURRENT_DATE = CAST(LOCALTIMESTAMP AS DATE)")
            .await;
    assert!(text.contains("| true") && !text.contains("false"), "{text}");
}

#[tokio::test]
async fn errors_hold_no_values() {
    insta::assert_snapshot!(check("SELECT CAST(v AS INT) FROM few").await, @"The query failed: a value cannot be cast to the type asked for; TRY_CAST gives NULL instead");
    insta::assert_snapshot!(check("SELECT a / 0 FROM few").await, @"The query failed: Division by zero");
}
