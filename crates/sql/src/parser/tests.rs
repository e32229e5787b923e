//! Statements, refusals and the places of mistakes.

use shardlake_iceberg_table::{ColumnPlace, Existing, ReferenceChange, ReferenceKind, Retention};

use super::*;
use crate::catalog::ColumnKind;
use crate::statement::{
    AlterAction, AlterTable, CreateTable, Explain, ExplainDetail, LikeFeature, LikeRule,
    RowChangeKind, SchemaChange, Show, TimeTravel,
};

fn parse(text: &str) -> Statement {
    parse_statement(text).unwrap_or_else(|error| panic!("{text}: {error:?}"))
}

/// The message of a mistake, with the text that it marks in brackets.
fn mistake(text: &str) -> String {
    match parse_statement(text) {
        Ok(statement) => format!("{statement:?}"),
        Err(error) => {
            let marked = error.span.map_or("", |span| span.slice(text));
            format!("{} {} [{marked}]", error.code, error.message)
        }
    }
}

fn create(text: &str) -> CreateTable {
    match parse(text) {
        Statement::CreateTable(create) => create,
        other => panic!("{other:?}"),
    }
}

const TUTORIAL_SOURCE: &str = "
    CREATE TABLE user_source (
        db_name STRING METADATA FROM 'database_name' VIRTUAL,
        table_name STRING METADATA VIRTUAL,
        `id` DECIMAL(20, 0) NOT NULL,
        name STRING, address STRING, phone_number STRING, email STRING,
        primary key (`id`) not enforced
      ) WITH (
        'connector' = 'mysql-cdc', 'hostname' = 'mysql', 'port' = '3306',
        'username' = 'root', 'password' = '123456',
        'database-name' = 'user_db_[0-9]+', 'table-name' = 'user_table_[0-9]+'
      );";

#[test]
fn the_tutorials_source() {
    let table = create(TUTORIAL_SOURCE);
    assert_eq!(table.name.parts, ["user_source"]);
    assert_eq!(
        table.columns[0].kind,
        ColumnKind::Metadata {
            data_type: LogicalType::String,
            nullable: true,
            key: Some("database_name".into()),
            is_virtual: true
        }
    );
    assert_eq!(
        table.columns[2].kind,
        ColumnKind::Physical {
            data_type: LogicalType::Decimal { precision: 20, scale: 0 },
            nullable: false
        }
    );
    assert_eq!(table.primary_key.unwrap().columns, ["id"]);
    assert_eq!(table.options.get("table-name"), Some("user_table_[0-9]+"));
}

#[test]
fn every_clause_of_create_table() {
    let table = create(
        "CREATE TEMPORARY TABLE IF NOT EXISTS `my-cat`.`d.b`.`tä``ble` (
           a INT NOT NULL COMMENT 'it''s', `b c` AS (a + 1) * 2 COMMENT 'sum',
           op TIMESTAMP_LTZ(3) NOT NULL METADATA, k BIGINT PRIMARY KEY NOT ENFORCED
         ) COMMENT 'all' PARTITIONED BY (a) WITH ('connector' = 'x', 'empty' = '', 'q' = 'a;''b')
         LIKE base (INCLUDING ALL EXCLUDING OPTIONS OVERWRITING GENERATED)",
    );
    assert!(table.temporary && table.if_not_exists);
    assert_eq!(table.name.parts, ["my-cat", "d.b", "tä`ble"]);
    assert_eq!(table.columns[0].comment.as_deref(), Some("it's"));
    assert_eq!(table.columns[1].kind, ColumnKind::Computed { expression: "(a + 1) * 2".into() });
    assert_eq!(table.columns[1].comment.as_deref(), Some("sum"));
    assert_eq!(table.primary_key.unwrap().columns, ["k"]);
    assert_eq!(table.comment.as_deref(), Some("all"));
    assert_eq!(table.partitioned_by, ["a"]);
    assert_eq!(table.options.get("empty"), Some(""));
    assert_eq!(table.options.get("q"), Some("a;'b"));
    let like = table.like.unwrap();
    assert_eq!(like.base.parts, ["base"]);
    assert_eq!(
        like.rules,
        [
            (LikeFeature::All, LikeRule::Including),
            (LikeFeature::Options, LikeRule::Excluding),
            (LikeFeature::Generated, LikeRule::Overwriting)
        ]
    );
}

#[test]
fn types_print_as_they_are_written() {
    for (written, printed) in [
        ("char", "CHAR(1)"),
        ("CHARACTER VARYING(5)", "VARCHAR(5)"),
        ("VARCHAR(2147483647)", "STRING"),
        ("VARBINARY(2147483647)", "BYTES"),
        ("binary(3)", "BINARY(3)"),
        ("NUMERIC", "DECIMAL(10, 0)"),
        ("DEC(5)", "DECIMAL(5, 0)"),
        ("INTEGER", "INT"),
        ("DOUBLE PRECISION", "DOUBLE"),
        ("TIME", "TIME(0)"),
        ("TIME(3) WITHOUT TIME ZONE", "TIME(3)"),
        ("TIMESTAMP", "TIMESTAMP(6)"),
        ("TIMESTAMP(3) WITH LOCAL TIME ZONE", "TIMESTAMP_LTZ(3)"),
        ("ARRAY<MAP<STRING,ARRAY<INT>>>", "ARRAY<MAP<STRING, ARRAY<INT>>>"),
        ("INT ARRAY", "ARRAY<INT>"),
        ("ROW<`a b` INT, c ROW<d STRING>>", "ROW<`a b` INT, `c` ROW<`d` STRING>>"),
        ("ROW(a INT)", "ROW<`a` INT>"),
    ] {
        assert_eq!(parse_logical_type(written).unwrap().to_string(), printed);
    }
}

#[test]
fn refused_types_and_wrong_lengths() {
    let refusals: Vec<String> = [
        "CREATE TABLE t (a DECIMAL(39, 2))",
        "CREATE TABLE t (a VARCHAR(0))",
        "CREATE TABLE t (a TIMESTAMP(10))",
        "CREATE TABLE t (a MULTISET<INT>)",
        "CREATE TABLE t (a TIMESTAMP(3) WITH TIME ZONE)",
        "CREATE TABLE t (a TEXT)",
    ]
    .map(mistake)
    .to_vec();
    insta::assert_snapshot!(refusals.join("\n"), @"
    SL0001 SQL parse failed. Decimal precision must be between 1 and 38 (both inclusive), and its scale between 0 and the precision. [(]
    SL0001 SQL parse failed. A length must be between 1 and 2147483647. [0]
    SL0001 SQL parse failed. Timestamp precision must be between 0 and 9 (both inclusive). [10]
    SL0002 Data type MULTISET is not supported yet. [MULTISET]
    SL0002 Data type TIMESTAMP WITH TIME ZONE is not supported yet. [TIMESTAMP(3) WITH TIME ZONE]
    SL0001 SQL parse failed. 'TEXT' is no data type. [TEXT]
    ");
}

#[test]
fn what_flink_has_and_we_have_not_is_refused_by_name() {
    let refusals: Vec<String> = [
        "CREATE TABLE t (a INT UNIQUE)",
        "CREATE TABLE t (a INT) DISTRIBUTED INTO 3 BUCKETS",
        "CREATE OR REPLACE TABLE t (a INT)",
        "CREATE FUNCTION f AS 'x.Y'",
        "INSERT OVERWRITE t SELECT 1",
        "INSERT INTO t PARTITION (a = 1) SELECT 1",
        "ALTER TABLE t ADD PARTITION (a = 1)",
        "ADD JAR 'x.jar'",
        "TRUNCATE TABLE t",
        "ANALYZE TABLE t COMPUTE STATISTICS",
        "USE MODULES core",
        "SHOW PARTITIONS t",
        "SELECT /*+ BROADCAST(t) */ * FROM t",
        "SELECT * FROM t /*+ LOOKUP('a'='b') */",
        "SELECT * FROM a JOIN b FOR SYSTEM_TIME AS OF a.proctime ON a.id = b.id",
    ]
    .map(mistake)
    .to_vec();
    insta::assert_snapshot!(refusals.join("\n"), @"
    SL0002 UNIQUE on a column is not supported yet. [UNIQUE]
    SL0002 DISTRIBUTED is not supported yet. [DISTRIBUTED]
    SL0002 CREATE OR REPLACE / CREATE OR ALTER is not supported yet. [CREATE OR]
    SL0002 CREATE FUNCTION is not supported yet. [CREATE FUNCTION]
    SL0002 INSERT OVERWRITE is not supported yet. [INSERT OVERWRITE]
    SL0002 INSERT INTO … PARTITION is not supported yet. [PARTITION]
    SL0002 ALTER TABLE … ADD PARTITION is not supported yet. [ADD PARTITION]
    SL0002 ADD JAR / REMOVE JAR is not supported yet. [ADD]
    SL0002 TRUNCATE TABLE is not supported yet. [TRUNCATE]
    SL0002 ANALYZE TABLE is not supported yet. [ANALYZE]
    SL0002 USE MODULES is not supported yet. [USE]
    SL0002 SHOW PARTITIONS is not supported yet. [SHOW PARTITIONS]
    SL0002 A hint that does not follow a table name is not supported yet. [/*+ BROADCAST(t) */]
    SL0002 Hint LOOKUP is not supported yet. [LOOKUP]
    SL0002 FOR SYSTEM_TIME AS OF with an expression (temporal join) is not supported yet. [FOR SYSTEM_TIME AS OF a]
    ");
}

#[test]
fn mistakes_are_marked() {
    let mistakes: Vec<String> = [
        "",
        "SELEC 1",
        "SELECT FROM t",
        "SELECT a FROM t WHERE",
        "SELECT a FROM t GROUP x",
        "SELECT a FROM t; SELECT b",
        "CREATE TABLE t (a INT, a STRING)",
        "CREATE TABLE t (a INT PRIMARY KEY)",
        "CREATE TABLE t (a INT, PRIMARY KEY (a) ENFORCED)",
        "CREATE TABLE t (a INT, PRIMARY KEY (a) NOT ENFORCED, PRIMARY KEY (a) NOT ENFORCED)",
        "CREATE TABLE t (a INT",
        "CREATE TABLE t (a INT) WITH ('a' = 'b' 'c' = 'd')",
        "CREATE TABLE t (a INT) WITH ('a' = 'b', 'a' = 'c')",
        "CREATE TABLE t (a INT, b AS a +)",
        "CREATE TABLE t ()",
        "DROP TABLE",
        "SHOW TABELS",
        "STOP JOB 'a' WITH DRAIN",
        "EXECUTE STATEMENT SET BEGIN END",
        "SELECT a /*+ OPTIONS('k'='v') */ FROM t",
        "SELECT * FROM t /*+ OPTIONS(k=v) */",
        "SELECT \"a\" FROM t",
    ]
    .map(mistake)
    .to_vec();
    insta::assert_snapshot!(mistakes.join("\n"), @r#"
    SL0001 SQL parse failed. Encountered "<EOF>". Was expecting: a statement. []
    SL0001 SQL parse failed. Non-query expression encountered in illegal context [SELEC]
    SL0001 SQL parse failed. Expected an expression, found: FROM. [t]
    SL0001 SQL parse failed. Expected: an expression, found: EOF. []
    SL0001 SQL parse failed. Encountered "GROUP". Was expecting: the end of the query. [GROUP]
    SL0001 SQL parse failed. only single statement supported [SELECT]
    SL0009 A column named 'a' already exists in the table. [a]
    SL0009 Flink doesn't support ENFORCED mode for PRIMARY KEY constraint. ENFORCED/NOT ENFORCED controls if the constraint checks are performed on the incoming/outgoing data. Flink does not own the data therefore the only supported mode is the NOT ENFORCED mode [a]
    SL0009 Flink doesn't support ENFORCED mode for PRIMARY KEY constraint. ENFORCED/NOT ENFORCED controls if the constraint checks are performed on the incoming/outgoing data. Flink does not own the data therefore the only supported mode is the NOT ENFORCED mode [PRIMARY]
    SL0001 SQL parse failed. Duplicate primary key definition [PRIMARY]
    SL0001 SQL parse failed. Encountered "<EOF>". Was expecting: ). []
    SL0001 SQL parse failed. Encountered "'c'". Was expecting: ). ['c']
    SL0001 SQL parse failed. Option 'a' is given twice. ['a']
    SL0001 SQL parse failed. Expected: an expression, found: EOF. []
    SL0001 SQL parse failed. Encountered "<EOF>". Was expecting: at least one column. []
    SL0001 SQL parse failed. Encountered "<EOF>". Was expecting: an identifier. []
    SL0001 SQL parse failed. Encountered "TABELS". Was expecting: CATALOGS, DATABASES, TABLES, VIEWS, COLUMNS, FUNCTIONS, MODULES, JARS, JOBS, SPLITS, CREATE or CURRENT. [TABELS]
    SL0001 SQL parse failed. WITH DRAIN could only be used after WITH SAVEPOINT. []
    SL0001 SQL parse failed. A statement set needs at least one INSERT. []
    SL0001 SQL parse failed. A hint or FOR SYSTEM_TIME can only follow the name of a table. [a]
    SL0001 SQL parse failed. Encountered "k". Was expecting: a string in single quotes. [k]
    SL0001 SQL parse failed. Double quotes are not possible here. ["a"]
    "#);
}

#[test]
fn hints_and_time_travel_leave_the_query() {
    let text = "SELECT u.id, t.* FROM c.d.t /*+ OPTIONS('a'='1', 'b'='x''y') */
                JOIN `u v` FOR SYSTEM_TIME AS OF TIMESTAMP '2024-01-01 00:00:00' AS u ON u.id = t.id
                JOIN w FOR SYSTEM_VERSION AS OF 42 /*+ OPTIONS('c'='2') */ ON TRUE";
    let Statement::Query(query) = parse(text) else { panic!("no query") };
    assert_eq!(query.text, text);
    insta::assert_snapshot!(query.body, @"SELECT u.id, t.* FROM `t#0` AS `t` JOIN `u v#1` AS u ON u.id = t.id JOIN `w#2` AS `w` ON true");
    let scans: Vec<String> = query
        .scans
        .iter()
        .map(|(generated, scan)| {
            let options: Vec<String> =
                scan.options.iter().map(|(key, value)| format!("{key}={value}")).collect();
            format!("{generated}: {} {options:?} {:?}", scan.name.parts.join("."), scan.time_travel)
        })
        .collect();
    insta::assert_snapshot!(scans.join("\n"), @r#"
    t#0: c.d.t ["a=1", "b=x'y"] None
    u v#1: u v [] Some(Timestamp("2024-01-01 00:00:00"))
    w#2: w ["c=2"] Some(Snapshot(42))
    "#);
}

#[test]
fn versions_are_ids_names_and_positions() {
    for (written, expected) in [
        ("7", TimeTravel::Snapshot(7)),
        ("'release'", TimeTravel::Reference("release".into())),
        (
            "GTID '3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5'",
            TimeTravel::Gtid("3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5".into()),
        ),
    ] {
        let text = format!("SELECT * FROM t FOR SYSTEM_VERSION AS OF {written}");
        let Statement::Query(query) = parse(&text) else { panic!("no query") };
        let found = query.scans.values().next().and_then(|scan| scan.time_travel.clone());
        assert_eq!(found, Some(expected));
    }
}

/// The change of `ALTER TABLE t …`.
fn alter(change: &str) -> AlterAction {
    match parse(&format!("ALTER TABLE t {change}")) {
        Statement::AlterTable(AlterTable { action, .. }) => action,
        other => panic!("{other:?}"),
    }
}

#[test]
fn columns_keys_and_watermarks_are_altered() {
    let schema = |change: &str| match alter(change) {
        AlterAction::Schema(changes) => changes,
        other => panic!("{other:?}"),
    };
    assert!(matches!(&schema("ADD a INT")[..], [SchemaChange::AddColumn(column, None)]
        if column.name == "a"));
    let added = schema(
        "ADD (a INT COMMENT 'x' FIRST, b AS a + 1 AFTER a, PRIMARY KEY (a) NOT ENFORCED,
           WATERMARK FOR ts AS ts - INTERVAL '5' SECOND)",
    );
    let [
        SchemaChange::AddColumn(first, Some(ColumnPlace::First)),
        SchemaChange::AddColumn(second, Some(ColumnPlace::After(after))),
        SchemaChange::AddPrimaryKey(key),
        SchemaChange::AddWatermark(watermark),
    ] = &added[..]
    else {
        panic!("{added:?}")
    };
    assert_eq!((first.comment.as_deref(), after.as_str()), (Some("x"), "a"));
    assert_eq!(second.kind, ColumnKind::Computed { expression: "a + 1".into() });
    assert_eq!(key.columns, ["a"]);
    assert_eq!(watermark.expression, "ts - INTERVAL '5' SECOND");
    assert!(matches!(
        &schema("MODIFY (a BIGINT NOT NULL AFTER b, WATERMARK FOR ts AS ts)")[..],
        [SchemaChange::ModifyColumn(_, Some(_)), SchemaChange::ModifyWatermark(_)]
    ));
    for (change, expected) in [
        ("RENAME a TO `b c`", SchemaChange::RenameColumn { from: "a".into(), to: "b c".into() }),
        ("DROP tag", SchemaChange::DropColumn("tag".into())),
        ("DROP PRIMARY KEY", SchemaChange::DropPrimaryKey(None)),
        ("DROP CONSTRAINT pk", SchemaChange::DropPrimaryKey(Some("pk".into()))),
        ("DROP WATERMARK", SchemaChange::DropWatermark),
    ] {
        assert_eq!(schema(change), [expected]);
    }
    assert_eq!(schema("DROP (a, b)").len(), 2);
}

#[test]
fn branches_and_tags_are_altered() {
    let set = |kind, name: &str, snapshot_id, retention, existing| {
        let name = name.to_owned();
        AlterAction::Reference(ReferenceChange::Set {
            kind,
            name,
            snapshot_id,
            retention,
            existing,
        })
    };
    let none = Retention::default();
    let (branch, tag) = (ReferenceKind::Branch, ReferenceKind::Tag);
    assert_eq!(alter("CREATE BRANCH b"), set(branch, "b", None, none, Existing::Refuse));
    let retention = Retention {
        max_reference_age_ms: Some(172_800_000),
        min_snapshots_to_keep: Some(3),
        max_snapshot_age_ms: Some(14_400_000),
    };
    assert_eq!(
        alter(
            "CREATE OR REPLACE BRANCH b AS OF VERSION 7 RETAIN 2 DAYS \
             WITH SNAPSHOT RETENTION 3 SNAPSHOTS 4 HOURS"
        ),
        set(branch, "b", Some(7), retention, Existing::Replace)
    );
    let half_an_hour = Retention { max_reference_age_ms: Some(1_800_000), ..none };
    assert_eq!(
        alter("CREATE TAG IF NOT EXISTS t RETAIN 30 MINUTES"),
        set(tag, "t", None, half_an_hour, Existing::Keep)
    );
    assert_eq!(
        alter("REPLACE TAG t AS OF VERSION 9"),
        set(tag, "t", Some(9), none, Existing::Require)
    );
    let drop = |kind, name: &str, if_exists| {
        AlterAction::Reference(ReferenceChange::Drop { kind, name: name.to_owned(), if_exists })
    };
    assert_eq!(alter("DROP BRANCH IF EXISTS b"), drop(branch, "b", true));
    assert_eq!(alter("DROP TAG t"), drop(tag, "t", false));
    assert_eq!(
        mistake("ALTER TABLE t CREATE TAG x RETAIN 3 WEEKS"),
        "SL0001 SQL parse failed. Encountered \"WEEKS\". Was expecting: DAYS, HOURS or MINUTES. [WEEKS]"
    );
}

#[test]
fn rows_are_deleted_and_updated() {
    let change = |text: &str| match parse(text) {
        Statement::ChangeRows(change) => change,
        other => panic!("{other:?}"),
    };
    let delete = change("DELETE FROM c.d.t WHERE id IN (SELECT id FROM u WHERE x = ';');");
    assert_eq!(delete.target.name.parts, ["c", "d", "t"]);
    assert_eq!(delete.kind, RowChangeKind::Delete);
    assert_eq!(delete.condition.as_deref(), Some("id IN (SELECT id FROM u WHERE x = ';')"));
    assert_eq!(change("DELETE FROM t").condition, None);
    let update =
        change("UPDATE t SET a = CONCAT(b, ','), `c d` = (SELECT 1 WHERE TRUE) WHERE a > 1");
    let assignment = |column: &str, value: &str| (column.to_owned(), value.to_owned());
    assert_eq!(
        update.kind,
        RowChangeKind::Update(vec![
            assignment("a", "CONCAT(b, ',')"),
            assignment("c d", "(SELECT 1 WHERE TRUE)"),
        ])
    );
    assert_eq!(update.condition.as_deref(), Some("a > 1"));
}

#[test]
fn tables_of_queries_with_transforms_and_watermarks() {
    let table = create(
        "CREATE TABLE t (PRIMARY KEY (id) NOT ENFORCED)
         PARTITIONED BY (day, bucket(16, id), DAYS(`a b`)) WITH ('k' = 'v')
         AS SELECT id, day FROM s",
    );
    assert_eq!(table.partitioned_by, ["day", "bucket(16, id)", "days(a b)"]);
    assert_eq!(table.query.unwrap().text, "SELECT id, day FROM s");
    let table = create(
        "CREATE TABLE t (ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '5' SECOND, id INT)",
    );
    let watermark = table.watermark.unwrap();
    assert_eq!(watermark.column, "ts");
    assert_eq!(watermark.expression, "ts - INTERVAL '5' SECOND");
}

#[test]
fn inserts() {
    let text = "INSERT INTO a.t /*+ OPTIONS('k'='v') */ (x, `y z`) SELECT 1, 2";
    let Statement::Insert(insert) = parse(text) else { panic!("no insert") };
    assert_eq!(insert.target.name.parts, ["a", "t"]);
    assert_eq!(insert.target.options.get("k"), Some("v"));
    assert_eq!(insert.columns, ["x", "y z"]);
    assert_eq!(insert.query.text, "SELECT 1, 2");
    for text in ["INSERT INTO t VALUES (1, 'a'), (2, NULL)", "INSERT INTO t (SELECT 1)"] {
        let Statement::Insert(insert) = parse(text) else { panic!("no insert") };
        assert!(insert.columns.is_empty(), "{text}");
    }
    let set = "EXECUTE STATEMENT SET BEGIN INSERT INTO a SELECT 1; INSERT INTO b SELECT ';'; END;";
    let Statement::StatementSet(inserts) = parse(set) else { panic!("no set") };
    assert_eq!(inserts[1].query.text, "SELECT ';'");
    assert_eq!(set.get(inserts[1].query.offset..set.len() - 6), Some("SELECT ';'"));
    assert!(matches!(parse("EXECUTE INSERT INTO a SELECT 1"), Statement::Insert(_)));
    assert_eq!(parse("BEGIN STATEMENT SET;"), Statement::BeginStatementSet);
    assert_eq!(parse("END;"), Statement::EndStatementSet);
}

#[test]
fn small_statements() {
    assert!(matches!(
        parse("alter table if exists t rename to u"),
        Statement::AlterTable(AlterTable { if_exists: true, action: AlterAction::Rename(_), .. })
    ));
    assert!(matches!(
        parse("ALTER TABLE t RESET ('a', 'b')"),
        Statement::AlterTable(AlterTable { action: AlterAction::Reset(keys), .. }) if keys.len() == 2
    ));
    assert_eq!(
        parse("SHOW TABLES FROM `d` NOT ILIKE 'a%'"),
        Statement::Show(Show::Tables {
            from: Some(Name { parts: vec!["d".into()], span: Span { start: 17, end: 20 } }),
            pattern: Some(crate::statement::Pattern {
                text: "a%".into(),
                negated: true,
                case_insensitive: true
            }),
        })
    );
    assert!(matches!(parse("USE CATALOG c"), Statement::UseCatalog(_)));
    assert!(matches!(parse("USE c.d"), Statement::UseDatabase(name) if name.parts == ["c", "d"]));
    assert!(matches!(parse("DESC `a.b`"), Statement::Describe(name) if name.parts == ["a.b"]));
    assert!(matches!(parse("DESCRIBE JOB 'x'"), Statement::DescribeJob(id) if id == "x"));
    assert!(matches!(parse("SHOW SPLITS FOR JOB 'x'"), Statement::ShowSplits(id) if id == "x"));
    assert!(matches!(
        parse("DROP DATABASE IF EXISTS d CASCADE"),
        Statement::Drop(Drop { kind: ObjectKind::Database, if_exists: true, cascade: true, .. })
    ));
    assert_eq!(
        parse("STOP JOB 'a' WITH SAVEPOINT WITH DRAIN"),
        Statement::StopJob(StopJob { id: "a".into(), savepoint: true, drain: true })
    );
    assert!(matches!(
        parse("EXPLAIN CHANGELOG_MODE, PLAN_ADVICE INSERT INTO a SELECT 1"),
        Statement::Explain(Explain { details, target: ExplainTarget::Inserts(_) })
            if details == [ExplainDetail::ChangelogMode, ExplainDetail::PlanAdvice]
    ));
    assert!(matches!(parse("/* c */ quit ;"), Statement::Quit));
}

#[test]
fn time_travel_keeps_its_literals() {
    let Statement::Query(query) = parse("SELECT * FROM t FOR SYSTEM_TIME AS OF '2024-01-01'")
    else {
        panic!("no query")
    };
    let scan = query.scans.values().next().unwrap();
    assert_eq!(scan.time_travel, Some(TimeTravel::Timestamp("2024-01-01".into())));
}

#[test]
fn flinks_expressions_are_parsed() {
    for text in [
        "SELECT MAP['k', 1], ARRAY[1, 2], ROW(1, 'z'), X'0aff', INTERVAL '1' DAY",
        "SELECT CAST(a AS TIMESTAMP_LTZ(3)), CAST(b AS STRING), TRY_CAST(c AS INT) FROM t",
        "SELECT COUNT(*) FILTER (WHERE a > 1), a IS NOT DISTINCT FROM b FROM t$snapshots",
        "SELECT * FROM (VALUES (1, 'a')) AS t(x, y) UNION ALL SELECT 1, DATE '2024-01-01'",
        "WITH q AS (SELECT 1) SELECT * FROM q WHERE a LIKE 'x%' AND b BETWEEN 1 AND 2",
        "SELECT EXTRACT(YEAR FROM a), TRIM(BOTH ' ' FROM b), CASE WHEN a THEN 1 END FROM t",
        "SELECT a FROM t ORDER BY a LIMIT 3 OFFSET 1",
        "VALUES (1), (2)",
    ] {
        assert!(matches!(parse(text), Statement::Query(_)), "{text}");
    }
    assert!(parse_expression("a + 1").is_ok());
    assert!(parse_expression("a + 1, b").is_err());
}

#[test]
fn deep_nesting_is_refused_and_does_not_overflow() {
    let text = format!("SELECT {}1{}", "(".repeat(5_000), ")".repeat(5_000));
    assert!(mistake(&text).contains("nested too deeply"));
    let text = format!("CREATE TABLE t (a {}INT{})", "ARRAY<".repeat(20_000), ">".repeat(20_000));
    assert!(mistake(&text).contains("nested too deeply"));
}

/// Words and signs from which statements, and things that look like statements, are made.
const WORDS: [&str; 40] = [
    "CREATE",
    "TABLE",
    "VIEW",
    "t",
    "`a;b`",
    "(",
    ")",
    "INT",
    "ARRAY",
    "<",
    ">",
    ">>",
    "ROW",
    "NOT",
    "NULL",
    "METADATA",
    "FROM",
    "'k'",
    "'ü''",
    "=",
    ",",
    ".",
    ";",
    "AS",
    "SELECT",
    "*",
    "1",
    "PRIMARY",
    "KEY",
    "WITH",
    "LIKE",
    "INSERT",
    "INTO",
    "SET",
    "/*+ OPTIONS('a'='b') */",
    "/*",
    "--",
    "\n",
    "FOR SYSTEM_TIME AS OF",
    "END",
];

proptest::proptest! {
    #[test]
    fn no_text_brings_the_parser_down(
        words in proptest::collection::vec(proptest::sample::select(&WORDS[..]), 0..25)
    ) {
        let text = words.join(" ");
        if let Err(error) = parse_statement(&text)
            && let Some(span) = error.span
        {
            assert!(text.get(span.start..span.end).is_some(), "{text:?}: {span:?}");
            assert!(error.line_and_column(&text).is_some());
        }
    }

    #[test]
    fn no_text_brings_the_splitter_down(text in "[a-z;'`*/ü -]{0,60}") {
        let script = crate::script::Script::split(&text);
        for span in script.statements.iter().chain(&script.rest) {
            let statement = span.slice(&text);
            assert!(!statement.trim().is_empty() && statement.len() == span.end - span.start);
        }
        assert!(script.statements.windows(2).all(|pair| pair[0].end < pair[1].start));
    }
}
