//! Functions through the planner: each expression is selected and printed.

use futures::TryStreamExt as _;

use crate::catalog::Connectors;
use crate::parser::parse_query;
use crate::planner::{PlannedQuery, plan_query};
use crate::session::{Configuration, Session};
use arrow::util::display::{ArrayFormatter, FormatOptions};

async fn eval_in(zone: &str, expression: &str) -> String {
    let settings = [("table.local-time-zone".to_owned(), zone.to_owned())];
    let session = Session::new(Connectors::default(), Configuration::new(settings).unwrap());
    let query = parse_query(&format!("SELECT {expression}")).unwrap();
    let query = match plan_query(&session.planner_context(), &query).await {
        Ok(PlannedQuery::Batch(query)) => query,
        Ok(PlannedQuery::Streaming(_)) => panic!("{expression} runs as a stream"),
        Err(error) => return format!("error: {error}"),
    };
    let stream = match query.execute().await {
        Ok(stream) => stream,
        Err(error) => return format!("error: {error}"),
    };
    let batches: Vec<_> = match stream.try_collect().await {
        Ok(batches) => batches,
        Err(error) => return format!("error: {}", crate::batch::BatchQuery::error(&error)),
    };
    let options = FormatOptions::default().with_null("NULL");
    let value = ArrayFormatter::try_new(batches[0].column(0).as_ref(), &options).unwrap();
    format!("{} {}", value.value(0), query.schema().columns[0].data_type)
}

/// Each line is an expression; the answer is its value and type.
async fn check(expressions: &str) -> String {
    let mut text = String::new();
    for expression in expressions.lines().map(str::trim).filter(|line| !line.is_empty()) {
        text.push_str(&format!("{expression} => {}\n", eval_in("UTC", expression).await));
    }
    text
}

#[tokio::test]
async fn text() {
    let expressions = "
        CHAR_LENGTH('héllo')
        UPPER('é') || LOWER('É')
        CONCAT('a', NULL, 'b')
        CONCAT('a', 1, 'b')
        CONCAT_WS('-', 'a', NULL, 'b')
        SUBSTRING('hello' FROM 2 FOR 3)
        SUBSTRING('hello', -3)
        SUBSTR('hello', 0, 2)
        TRIM('  x ')
        TRIM(LEADING 'x' FROM 'xxyx')
        TRIM(BOTH 'x' FROM 'xxyx')
        REPLACE('aXbX', 'X', '-')
        POSITION('l' IN 'hello')
        LOCATE('l', 'hello', 4)
        INSTR('hello', 'lo')
        SPLIT_INDEX('a,b,c', ',', 1)
        SPLIT_INDEX('a,b,c', ',', 5)
        LPAD('x', 3, '-')
        RPAD('hello', 2, '-')
        INITCAP('hello world')
        REVERSE('abc')
        REPEAT('ab', 2)
        ASCII('a')
        CHR(97)
        LEFT('hello', 2) || RIGHT('hello', 2)
        OVERLAY('hello' PLACING 'J' FROM 1 FOR 1)
        TRANSLATE('abc', 'ab', 'x')
        STARTSWITH('hello', 'he')
        'hello' LIKE 'h%o'
        CAST('abcdef' AS VARCHAR(3))
        CAST('ab' AS CHAR(4)) || '|'
        TYPEOF(1)";
    insta::assert_snapshot!(check(expressions).await, @"
    CHAR_LENGTH('héllo') => 5 INT
    UPPER('é') || LOWER('É') => Éé STRING
    CONCAT('a', NULL, 'b') => NULL STRING
    CONCAT('a', 1, 'b') => a1b STRING
    CONCAT_WS('-', 'a', NULL, 'b') => a-b STRING
    SUBSTRING('hello' FROM 2 FOR 3) => ell STRING
    SUBSTRING('hello', -3) => llo STRING
    SUBSTR('hello', 0, 2) => he STRING
    TRIM('  x ') => x STRING
    TRIM(LEADING 'x' FROM 'xxyx') => yx STRING
    TRIM(BOTH 'x' FROM 'xxyx') => y STRING
    REPLACE('aXbX', 'X', '-') => a-b- STRING
    POSITION('l' IN 'hello') => 3 INT
    LOCATE('l', 'hello', 4) => 4 INT
    INSTR('hello', 'lo') => 4 INT
    SPLIT_INDEX('a,b,c', ',', 1) => b STRING
    SPLIT_INDEX('a,b,c', ',', 5) => NULL STRING
    LPAD('x', 3, '-') => --x STRING
    RPAD('hello', 2, '-') => he STRING
    INITCAP('hello world') => Hello World STRING
    REVERSE('abc') => cba STRING
    REPEAT('ab', 2) => abab STRING
    ASCII('a') => 97 INT
    CHR(97) => a STRING
    LEFT('hello', 2) || RIGHT('hello', 2) => helo STRING
    OVERLAY('hello' PLACING 'J' FROM 1 FOR 1) => Jello STRING
    TRANSLATE('abc', 'ab', 'x') => xc STRING
    STARTSWITH('hello', 'he') => true BOOLEAN
    'hello' LIKE 'h%o' => true BOOLEAN
    CAST('abcdef' AS VARCHAR(3)) => abc VARCHAR(3)
    CAST('ab' AS CHAR(4)) || '|' => ab  | STRING
    TYPEOF(1) => INT STRING
    ");
}

#[tokio::test]
async fn regular_expressions() {
    let expressions = r"
        REGEXP('foobar', 'o+b')
        REGEXP_EXTRACT('foothebar', 'foo(.*?)(bar)', 2)
        REGEXP_EXTRACT('x', 'y')
        REGEXP_REPLACE('foobar', 'oo|ar', '')
        REGEXP_REPLACE('ab', '(a)(b)', '$2$1')
        REGEXP('user_1', '(?!user_2)user_[0-9]')
        REGEXP_COUNT('banana', 'an')
        REGEXP('a', '(')";
    insta::assert_snapshot!(check(expressions).await, @"
    REGEXP('foobar', 'o+b') => true BOOLEAN
    REGEXP_EXTRACT('foothebar', 'foo(.*?)(bar)', 2) => bar STRING
    REGEXP_EXTRACT('x', 'y') => NULL STRING
    REGEXP_REPLACE('foobar', 'oo|ar', '') => fb STRING
    REGEXP_REPLACE('ab', '(a)(b)', '$2$1') => ba STRING
    REGEXP('user_1', '(?!user_2)user_[0-9]') => true BOOLEAN
    REGEXP_COUNT('banana', 'an') => 2 INT
    REGEXP('a', '(') => error: invalid regular expression: Parsing error at position 1: Opening parenthesis without closing parenthesis
    ");
}

#[tokio::test]
async fn numbers() {
    let expressions = "
        ABS(-5)
        ABS(-1.5)
        CEIL(1.2)
        FLOOR(-1.2)
        CEIL(CAST(1.2 AS DOUBLE))
        ROUND(1.235, 2)
        ROUND(-1.5)
        ROUND(CAST(2.345 AS DOUBLE), 2)
        ROUND(1234, -2)
        TRUNCATE(1.239, 2)
        MOD(7, 3)
        MOD(-7, 3)
        7 / 2
        7 % 0
        POWER(2, 10)
        SQRT(16)
        SIGN(-2.5)
        LOG10(1000)
        LOG(2, 8)
        LN(1)
        PI()
        BIN(5)
        GREATEST(1, 3, 2)
        LEAST(1, NULL, 2)
        CAST(1.7 AS INT)
        CAST('12' AS BIGINT)
        CAST(300 AS TINYINT)
        1.5e3
        TRY_CAST('x' AS INT)
        CAST(1.005 AS DECIMAL(10, 2))";
    insta::assert_snapshot!(check(expressions).await, @"
    ABS(-5) => 5 INT
    ABS(-1.5) => 1.5 DECIMAL(2, 1)
    CEIL(1.2) => 2 DECIMAL(2, 0)
    FLOOR(-1.2) => -2 DECIMAL(2, 0)
    CEIL(CAST(1.2 AS DOUBLE)) => 2.0 DOUBLE
    ROUND(1.235, 2) => 1.24 DECIMAL(4, 2)
    ROUND(-1.5) => -2 DECIMAL(2, 0)
    ROUND(CAST(2.345 AS DOUBLE), 2) => 2.35 DOUBLE
    ROUND(1234, -2) => 1200 INT
    TRUNCATE(1.239, 2) => 1.23 DECIMAL(4, 2)
    MOD(7, 3) => 1 INT
    MOD(-7, 3) => -1 INT
    7 / 2 => 3 INT
    7 % 0 => error: The query failed: Division by zero
    POWER(2, 10) => 1024.0 DOUBLE
    SQRT(16) => 4.0 DOUBLE
    SIGN(-2.5) => -1.0 DECIMAL(2, 1)
    LOG10(1000) => 3.0 DOUBLE
    LOG(2, 8) => 3.0 DOUBLE
    LN(1) => 0.0 DOUBLE
    PI() => 3.141592653589793 DOUBLE
    BIN(5) => 101 STRING
    GREATEST(1, 3, 2) => 3 INT
    LEAST(1, NULL, 2) => NULL INT
    CAST(1.7 AS INT) => 1 INT
    CAST('12' AS BIGINT) => 12 BIGINT
    CAST(300 AS TINYINT) => error: The query failed: a value cannot be cast to the type asked for; TRY_CAST gives NULL instead
    1.5e3 => 1500.0 DOUBLE
    TRY_CAST('x' AS INT) => NULL INT
    CAST(1.005 AS DECIMAL(10, 2)) => 1.01 DECIMAL(10, 2)
    ");
}

#[tokio::test]
async fn conditions() {
    let expressions = "
        IF(1 > 2, 'a', 'b')
        IF(NULL, 1, 2)
        IFNULL(NULL, 'x')
        NULLIF(1, 1)
        COALESCE(NULL, 2, 3)
        CASE WHEN 1 = 2 THEN 'a' ELSE 'b' END
        CASE 2 WHEN 1 THEN 'a' WHEN 2 THEN 'b' END
        IS_DIGIT('12')
        IS_DECIMAL('1.5')
        1 IS DISTINCT FROM NULL
        CAST(TRUE AS STRING)";
    insta::assert_snapshot!(check(expressions).await, @"
    IF(1 > 2, 'a', 'b') => b STRING
    IF(NULL, 1, 2) => 2 INT
    IFNULL(NULL, 'x') => x STRING
    NULLIF(1, 1) => NULL INT
    COALESCE(NULL, 2, 3) => 2 INT
    CASE WHEN 1 = 2 THEN 'a' ELSE 'b' END => b STRING
    CASE 2 WHEN 1 THEN 'a' WHEN 2 THEN 'b' END => b STRING
    IS_DIGIT('12') => true BOOLEAN
    IS_DECIMAL('1.5') => true BOOLEAN
    1 IS DISTINCT FROM NULL => true BOOLEAN
    CAST(TRUE AS STRING) => TRUE STRING
    ");
}

#[tokio::test]
async fn times() {
    let expressions = "
        DATE_FORMAT(TIMESTAMP '2024-02-05 15:04:09', 'yyyy-MM-dd HH:mm')
        DATE_FORMAT('2024-02-05 15:04:09', 'HH')
        TO_DATE('2024-02-05')
        TO_DATE('05/02/2024', 'dd/MM/yyyy')
        TO_TIMESTAMP('2024-02-05 15:04:09')
        TO_TIMESTAMP('20240205', 'yyyyMMdd')
        TO_TIMESTAMP('nonsense', 'yyyyMMdd')
        TO_TIMESTAMP_LTZ(1000, 3)
        TO_TIMESTAMP_LTZ(1, 6)
        FROM_UNIXTIME(0)
        UNIX_TIMESTAMP('1970-01-02 00:00:00')
        YEAR(DATE '2024-02-05')
        QUARTER(DATE '2024-05-05')
        WEEK(DATE '2024-01-01')
        DAYOFWEEK(DATE '2024-02-04')
        DAYOFYEAR(DATE '2024-02-01')
        EXTRACT(HOUR FROM TIMESTAMP '2024-02-05 15:04:09')
        EXTRACT(EPOCH FROM TIMESTAMP '1970-01-01 00:01:00')
        TIMESTAMPDIFF(DAY, TIMESTAMP '2024-01-01 12:00:00', TIMESTAMP '2024-02-01 00:00:00')
        TIMESTAMPDIFF(MONTH, DATE '2024-01-31', DATE '2024-02-29')
        TIMESTAMPADD(MONTH, 1, TIMESTAMP '2024-01-31 00:00:00')
        FLOOR(TIMESTAMP '2024-02-05 15:04:09' TO HOUR)
        CEIL(TIMESTAMP '2024-02-05 15:04:09' TO MONTH)
        TIMESTAMP '2024-02-05 00:00:00' + INTERVAL '1' DAY
        CAST(TIMESTAMP '2024-02-05 15:04:09.123456' AS STRING)
        CAST(CAST('15:04:09' AS TIME) AS STRING)
        CAST('2024-02-05 15:04:09' AS TIMESTAMP(3))
        CAST('2024-02-05' AS DATE)
        CONVERT_TZ('1970-01-01 00:00:00', 'UTC', 'America/Los_Angeles')";
    insta::assert_snapshot!(check(expressions).await, @"
    DATE_FORMAT(TIMESTAMP '2024-02-05 15:04:09', 'yyyy-MM-dd HH:mm') => 2024-02-05 15:04 STRING
    DATE_FORMAT('2024-02-05 15:04:09', 'HH') => 15 STRING
    TO_DATE('2024-02-05') => 2024-02-05 DATE
    TO_DATE('05/02/2024', 'dd/MM/yyyy') => 2024-02-05 DATE
    TO_TIMESTAMP('2024-02-05 15:04:09') => 2024-02-05T15:04:09 TIMESTAMP(3)
    TO_TIMESTAMP('20240205', 'yyyyMMdd') => 2024-02-05T00:00:00 TIMESTAMP(3)
    TO_TIMESTAMP('nonsense', 'yyyyMMdd') => NULL TIMESTAMP(3)
    TO_TIMESTAMP_LTZ(1000, 3) => 1970-01-01T00:00:01Z TIMESTAMP_LTZ(3)
    TO_TIMESTAMP_LTZ(1, 6) => error: The precision value '6' for function TO_TIMESTAMP_LTZ(numeric, precision) is unsupported, the supported value is '0' for second or '3' for millisecond.
    FROM_UNIXTIME(0) => 1970-01-01 00:00:00 STRING
    UNIX_TIMESTAMP('1970-01-02 00:00:00') => 86400 BIGINT
    YEAR(DATE '2024-02-05') => 2024 BIGINT
    QUARTER(DATE '2024-05-05') => 2 BIGINT
    WEEK(DATE '2024-01-01') => 1 BIGINT
    DAYOFWEEK(DATE '2024-02-04') => 1 BIGINT
    DAYOFYEAR(DATE '2024-02-01') => 32 BIGINT
    EXTRACT(HOUR FROM TIMESTAMP '2024-02-05 15:04:09') => 15 BIGINT
    EXTRACT(EPOCH FROM TIMESTAMP '1970-01-01 00:01:00') => 60 BIGINT
    TIMESTAMPDIFF(DAY, TIMESTAMP '2024-01-01 12:00:00', TIMESTAMP '2024-02-01 00:00:00') => 30 INT
    TIMESTAMPDIFF(MONTH, DATE '2024-01-31', DATE '2024-02-29') => 0 INT
    TIMESTAMPADD(MONTH, 1, TIMESTAMP '2024-01-31 00:00:00') => 2024-02-29T00:00:00 TIMESTAMP(6)
    FLOOR(TIMESTAMP '2024-02-05 15:04:09' TO HOUR) => 2024-02-05T15:00:00 TIMESTAMP(6)
    CEIL(TIMESTAMP '2024-02-05 15:04:09' TO MONTH) => 2024-03-01T00:00:00 TIMESTAMP(6)
    TIMESTAMP '2024-02-05 00:00:00' + INTERVAL '1' DAY => 2024-02-06T00:00:00 TIMESTAMP(6)
    CAST(TIMESTAMP '2024-02-05 15:04:09.123456' AS STRING) => 2024-02-05 15:04:09.123456 STRING
    CAST(CAST('15:04:09' AS TIME) AS STRING) => 15:04:09 STRING
    CAST('2024-02-05 15:04:09' AS TIMESTAMP(3)) => 2024-02-05T15:04:09 TIMESTAMP(3)
    CAST('2024-02-05' AS DATE) => 2024-02-05 DATE
    CONVERT_TZ('1970-01-01 00:00:00', 'UTC', 'America/Los_Angeles') => 1969-12-31 16:00:00 STRING
    ");
}

#[tokio::test]
async fn instants_are_seen_in_the_sessions_zone() {
    let mut text = String::new();
    for expression in [
        "FROM_UNIXTIME(0)",
        "UNIX_TIMESTAMP('1970-01-01 08:00:00')",
        "DATE_FORMAT(TO_TIMESTAMP_LTZ(0, 3), 'yyyy-MM-dd HH:mm')",
        "CAST(TO_TIMESTAMP_LTZ(0, 3) AS TIMESTAMP(3))",
        "CAST(TO_TIMESTAMP_LTZ(0, 3) AS STRING)",
        "CAST(TIMESTAMP '1970-01-01 08:00:00' AS TIMESTAMP_LTZ(3))",
        "HOUR(TO_TIMESTAMP_LTZ(0, 3))",
    ] {
        text.push_str(&format!("{expression} => {}\n", eval_in("Asia/Shanghai", expression).await));
    }
    text.push_str(&eval_in("GMT+09:30", "FROM_UNIXTIME(0)").await);
    insta::assert_snapshot!(text, @"
    FROM_UNIXTIME(0) => 1970-01-01 08:00:00 STRING
    UNIX_TIMESTAMP('1970-01-01 08:00:00') => 0 BIGINT
    DATE_FORMAT(TO_TIMESTAMP_LTZ(0, 3), 'yyyy-MM-dd HH:mm') => 1970-01-01 08:00 STRING
    CAST(TO_TIMESTAMP_LTZ(0, 3) AS TIMESTAMP(3)) => 1970-01-01T08:00:00 TIMESTAMP(3)
    CAST(TO_TIMESTAMP_LTZ(0, 3) AS STRING) => 1970-01-01 08:00:00.000 STRING
    CAST(TIMESTAMP '1970-01-01 08:00:00' AS TIMESTAMP_LTZ(3)) => 1970-01-01T00:00:00Z TIMESTAMP_LTZ(3)
    HOUR(TO_TIMESTAMP_LTZ(0, 3)) => 8 BIGINT
    1970-01-01 09:30:00 STRING
    ");
}

#[tokio::test]
async fn encodings() {
    let expressions = r#"
        MD5('hello')
        SHA1('hello')
        SHA256('hello')
        SHA2('hello', 224)
        HEX(255)
        HEX('hi')
        TO_BASE64('hello')
        FROM_BASE64('aGVsbG8=')
        FROM_BASE64('!')
        DECODE(ENCODE('é', 'UTF-8'), 'UTF-8')
        JSON_VALUE('{"a": {"b": [1, "x"]}}', '$.a.b[1]')
        JSON_VALUE('{"a": 1}', '$.b')
        JSON_EXISTS('{"a": null}', '$.a')"#;
    insta::assert_snapshot!(check(expressions).await, @r#"
    MD5('hello') => 5d41402abc4b2a76b9719d911017c592 STRING
    SHA1('hello') => aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d STRING
    SHA256('hello') => 2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824 STRING
    SHA2('hello', 224) => ea09ae9cc6768c50fcee903ed054556e5bfc8347907f12598aa24193 STRING
    HEX(255) => FF STRING
    HEX('hi') => 6869 STRING
    TO_BASE64('hello') => aGVsbG8= STRING
    FROM_BASE64('aGVsbG8=') => hello STRING
    FROM_BASE64('!') => NULL STRING
    DECODE(ENCODE('é', 'UTF-8'), 'UTF-8') => é STRING
    JSON_VALUE('{"a": {"b": [1, "x"]}}', '$.a.b[1]') => x STRING
    JSON_VALUE('{"a": 1}', '$.b') => NULL STRING
    JSON_EXISTS('{"a": null}', '$.a') => true BOOLEAN
    "#);
}

#[test]
fn every_name_is_listed_once() {
    let names = super::FunctionRegistry::new().names();
    assert!(names.windows(2).all(|pair| pair[0] < pair[1]), "{names:?}");
    for (name, _) in super::SAME {
        assert!(names.contains(&name.to_uppercase()), "{name} is missing in DataFusion");
    }
    for (name, _) in super::AGGREGATES {
        assert!(names.contains(&name.to_uppercase()), "{name} is missing in DataFusion");
    }
}
