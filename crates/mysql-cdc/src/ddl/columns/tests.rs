use proptest::prelude::*;

use super::*;
use crate::ddl::{Created, Statement, TableChange, read_statement};

/// The columns of a table as text.
fn text(layout: Option<&Layout>) -> String {
    let Some(layout) = layout else { return "?".to_owned() };
    let columns = layout.columns.iter().map(|column| {
        let charset = column.charset.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
        format!("{} {}{charset}", column.name, column.column_type)
    });
    columns.collect::<Vec<_>>().join(", ")
}

fn changes(sql: &str) -> TableChange {
    match read_statement(sql, "db") {
        Statement::Tables(mut statements) => statements.remove(0).change,
        other => panic!("{other:?}"),
    }
}

fn created(sql: &str) -> Option<Layout> {
    match changes(sql) {
        TableChange::Created { columns: Created::Listed(layout), .. } => Some(layout),
        _ => None,
    }
}

fn altered(before: &Layout, sql: &str) -> Option<Layout> {
    match changes(sql) {
        TableChange::Altered(changes) => before.altered(&changes?),
        other => panic!("{other:?}"),
    }
}

#[test]
fn created_columns_are_read() {
    for (sql, expected) in [
        (
            "CREATE TABLE t (id INT PRIMARY KEY, n VARCHAR(10) NOT NULL DEFAULT 'a,b)' COMMENT \"x\")",
            "id int, n varchar(10)",
        ),
        (
            "create table if not exists `db`.`t` (`a``b` integer unsigned, PRIMARY KEY (`a``b`), \
          KEY k (b(10) DESC), `key` ENUM('x','it''s', \"y\") CHARSET latin1) ENGINE=InnoDB \
          DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_0900_ai_ci COMMENT='a AS b'",
            "a`b int unsigned, key enum('x','it''s','y') latin1",
        ),
        (
            "CREATE TABLE t (a BOOL, b DEC(10 , 2), c DOUBLE PRECISION, d FLOAT(30), e REAL, \
          f NATIONAL VARCHAR(3), g CHARACTER VARYING(9), h LONG VARCHAR, i SERIAL, j TEXT(300), \
          k TEXT(20000), l CHAR(3) CHARACTER SET binary, m TIMESTAMP(3) NULL ON UPDATE NOW(3), \
          n INT GENERATED ALWAYS AS (a + b * (1)) STORED, o TEXT COLLATE latin1_bin)",
            "a tinyint(1), b decimal(10,2), c double, d double(30), e double, f varchar(3) utf8mb3, \
          g varchar(9), h mediumtext, i bigint unsigned, j text, k mediumtext, l binary(3), \
          m timestamp(3), n int, o text latin1",
        ),
        (
            "CREATE TABLE t (a TEXT, b TEXT CHARSET gbk) DEFAULT CHARACTER SET = sjis",
            "a text sjis, b text gbk",
        ),
        (
            "CREATE TABLE `t` (`id` int NOT NULL, `c` varchar(5) /*!80023 INVISIBLE */) START TRANSACTION",
            "id int, c varchar(5)",
        ),
        (
            "CREATE TABLE t (a INT, CHECK (a > 0), b INT CHECK (b < 5) REFERENCES u (first))",
            "a int, b int",
        ),
        // Not told for certain.
        ("CREATE TABLE t (a INT) SELECT 1 AS b", "?"),
        ("CREATE TABLE t AS SELECT 1 AS b", "?"),
        ("CREATE TABLE t (a ENUM('x\\'y'))", "?"),
        ("CREATE TABLE t (a HYPERLOGLOG)", "?"),
        ("CREATE TABLE t (a INT, A INT)", "?"),
        ("CREATE TABLE t (a INT COMMENT 'it\\'s, b INT')", "?"),
        ("CREATE TABLE t (a INT", "?"),
    ] {
        assert_eq!(text(created(sql).as_ref()), expected, "{sql}");
    }
}

#[test]
fn altered_columns_are_told_as_the_server_does_it() {
    let before =
        created("CREATE TABLE t (a INT, b INT, c INT, d VARCHAR(9)) CHARSET latin1").unwrap();
    for (sql, expected) in [
        ("ADD e BIGINT", "a int, b int, c int, d varchar(9) latin1, e bigint"),
        (
            "ADD COLUMN e INT FIRST, ADD f INT AFTER a, ADD (g INT, h TEXT)",
            "e int, a int, f int, b int, c int, d varchar(9) latin1, g int, h text latin1",
        ),
        (
            "ADD COLUMN e INT AFTER b, ADD COLUMN f INT AFTER e",
            "a int, b int, e int, f int, c int, d varchar(9) latin1",
        ),
        ("DROP B, DROP COLUMN c", "a int, d varchar(9) latin1"),
        ("DROP a, ADD a BIGINT", "b int, c int, d varchar(9) latin1, a bigint"),
        ("RENAME COLUMN a TO b, RENAME COLUMN b TO a", "b int, a int, c int, d varchar(9) latin1"),
        (
            "CHANGE a z BIGINT, MODIFY b SMALLINT FIRST",
            "b smallint, z bigint, c int, d varchar(9) latin1",
        ),
        ("MODIFY a INT AFTER c, MODIFY c INT AFTER a", "?"),
        ("MODIFY c INT FIRST, MODIFY a INT AFTER c", "c int, a int, b int, d varchar(9) latin1"),
        (
            "ADD INDEX i (a, b), DROP PRIMARY KEY, ADD CONSTRAINT x FOREIGN KEY (a) REFERENCES u (b), \
          ALTER a SET DEFAULT (1, 2), ALGORITHM=INPLACE, LOCK=NONE, COMMENT='drop x, add y int'",
            "a int, b int, c int, d varchar(9) latin1",
        ),
        (
            "CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_bin, ADD e TEXT",
            "a int, b int, c int, d varchar(9) utf8mb4, e text utf8mb4",
        ),
        ("DEFAULT CHARSET gbk, ADD e TEXT", "a int, b int, c int, d varchar(9) latin1, e text gbk"),
        (
            "ADD COLUMN IF NOT EXISTS b INT, DROP COLUMN IF EXISTS z",
            "a int, b int, c int, d varchar(9) latin1",
        ),
        ("ENGINE=InnoDB ROW_FORMAT=DYNAMIC", "a int, b int, c int, d varchar(9) latin1"),
        (
            "PARTITION BY RANGE (a) (PARTITION p0 VALUES LESS THAN (5), PARTITION p1 VALUES LESS THAN (9))",
            "a int, b int, c int, d varchar(9) latin1",
        ),
        ("FORCE", "a int, b int, c int, d varchar(9) latin1"),
        // Not told for certain, or not for these columns.
        ("ADD b INT", "?"),
        ("DROP z", "?"),
        ("CHANGE z y INT", "?"),
        ("ADD e INT AFTER z", "?"),
        ("ORDER BY a, b", "?"),
        ("DO SOMETHING NEW", "?"),
        ("CONVERT TO CHARACTER SET DEFAULT", "?"),
    ] {
        let sql = format!("ALTER TABLE t {sql}");
        assert_eq!(text(altered(&before, &sql).as_ref()), expected, "{sql}");
    }
}

proptest! {
    #[test]
    fn any_text_is_read_without_a_panic(
        sql in "(ALTER TABLE t |CREATE TABLE t \\()(ADD |DROP |MODIFY |RENAME |)[ -~`'\"/*#é(),]{0,60}",
    ) {
        let _statement = read_statement(&sql, "db");
    }
}
