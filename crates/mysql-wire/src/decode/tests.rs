//! Cells of every type, read as every declared type.

use std::slice;

use arrow::array::{Array, AsArray};
use arrow::datatypes::TimestampMicrosecondType;
use proptest::prelude::*;
use shardlake_change::{LogicalType, changelog_text};

use super::*;
use crate::column::SourceType;
use crate::error::Problem;
use crate::value::temporal::Moment;

/// Reads one cell of the binary protocol as a declared type; `None` is NULL.
fn read(source: SourceType, declared: LogicalType, cell: Option<&[u8]>) -> Result<String> {
    read_into(source, Column::new("c", declared), cell).map(|(text, _)| text)
}

fn read_into(source: SourceType, declared: Column, cell: Option<&[u8]>) -> Result<(String, u64)> {
    let zone = ZoneOffset::new(|seconds| if seconds < 1_000_000_000 { 0 } else { 28_800 });
    let source = [SourceColumn::new("c", source)];
    let declared = [declared];
    let plan = ResultSetPlan::new(&source, &declared, &zone)?;
    let mut builder = BatchBuilder::new(&declared)?;
    let row = match cell {
        None => vec![0, 0b100],
        Some(cell) => [&[0, 0], cell].concat(),
    };
    plan.append(&row, &mut builder)?;
    let batch = builder.finish()?;
    let text = changelog_text(&[batch]).unwrap();
    Ok((text.trim_end().trim_start_matches("+I ").to_owned(), builder.zero_date_count()))
}

fn counted(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    [&[u8::try_from(bytes.len()).unwrap()], bytes].concat()
}

const fn integer(bytes: u8, unsigned: bool) -> SourceType {
    SourceType::Integer { bytes, unsigned }
}

const fn decimal(precision: u8, scale: u8) -> LogicalType {
    LogicalType::Decimal { precision, scale }
}

#[test]
fn numbers_read_as_declared() {
    let decimal_source = || SourceType::Decimal { precision: 65, scale: 1 };
    let max = u64::MAX.to_le_bytes();
    for (source, declared, cell, expected) in [
        (integer(8, true), decimal(20, 0), &max[..], "18446744073709551615"),
        (integer(8, true), LogicalType::String, &max, "18446744073709551615"),
        (integer(8, false), LogicalType::BigInt, &max, "-1"),
        (integer(8, false), LogicalType::Int, &max, "-1"),
        (integer(8, false), LogicalType::Double, &max, "-1.0"),
        (integer(3, false), LogicalType::Int, &[0xfe, 0xff, 0xff, 0xff], "-2"),
        (integer(4, true), LogicalType::BigInt, &[0xff; 4], "4294967295"),
        (integer(1, false), LogicalType::TinyInt, &[0x80], "-128"),
        (integer(1, true), LogicalType::SmallInt, &[0xff], "255"),
        (integer(1, false), LogicalType::Boolean, &[2], "true"),
        (integer(1, false), LogicalType::Boolean, &[0], "false"),
        (integer(4, false), decimal(20, 2), &[5, 0, 0, 0], "5.00"),
        (SourceType::Year, LogicalType::Int, &[0, 0], "0"),
        (SourceType::Year, LogicalType::String, &[0, 0], "0000"),
        (SourceType::Year, LogicalType::Int, &2024_u16.to_le_bytes(), "2024"),
        (SourceType::Float, LogicalType::Float, &1.234_567_9_f32.to_le_bytes(), "1.2345679"),
        (SourceType::Float, LogicalType::String, &16_777_216_f32.to_le_bytes(), "16777216"),
        (SourceType::Float, decimal(5, 1), &0.25_f32.to_le_bytes(), "0.3"),
        (SourceType::Double, LogicalType::Double, &0.1_f64.to_le_bytes(), "0.1"),
        (decimal_source(), decimal(5, 0), &counted("345.6"), "346"),
        (decimal_source(), decimal(5, 0), &counted("-345.5"), "-346"),
        (decimal_source(), decimal(5, 2), &counted("345.6"), "345.60"),
        (decimal_source(), LogicalType::Double, &counted("345.6"), "345.6"),
        (decimal_source(), LogicalType::String, &counted("345.6"), "345.6"),
        (SourceType::Bit { bits: 1 }, LogicalType::Boolean, &counted([1]), "true"),
        (SourceType::Bit { bits: 12 }, LogicalType::Bytes, &counted([1, 2]), "0201"),
        (SourceType::Bit { bits: 12 }, LogicalType::Binary(2), &counted([1, 2]), "0201"),
        (SourceType::Bit { bits: 12 }, LogicalType::Int, &counted([1, 2]), "258"),
    ] {
        let name = format!("{source} as {declared}");
        assert_eq!(read(source, declared, Some(cell)).unwrap(), expected, "{name}");
    }
}

#[test]
fn numbers_that_do_not_fit_are_errors_that_name_the_column() {
    for (source, declared, cell) in [
        (integer(8, true), LogicalType::BigInt, &u64::MAX.to_le_bytes()[..]),
        (integer(4, false), LogicalType::SmallInt, &40_000_i32.to_le_bytes()),
        (integer(4, false), decimal(4, 0), &10_000_i32.to_le_bytes()),
        (SourceType::Decimal { precision: 6, scale: 1 }, decimal(3, 0), &counted("999.5")),
        (SourceType::Time { fraction: 0 }, LogicalType::Time(0), &[8, 1, 0, 0, 0, 0, 1, 0, 0]),
        (SourceType::DateTime { fraction: 0 }, LogicalType::Timestamp(9), &[4, 0x0f, 0x27, 1, 1]),
        (SourceType::Bytes, LogicalType::Binary(1), &counted("ab")),
    ] {
        let error = read(source, declared.clone(), Some(cell)).unwrap_err();
        let expected = format!("a value of column `c` cannot be read as {declared}: it is out of");
        assert!(error.to_string().starts_with(&expected), "{error}");
    }
}

#[test]
fn times_read_as_declared() {
    let date = [4, 0xe8, 0x07, 2, 29];
    let moment = [11, 0xe8, 0x07, 2, 29, 13, 14, 15, 0x40, 0xe2, 0x01, 0];
    let time = [12, 0, 0, 0, 0, 0, 1, 2, 3, 0x40, 0xe2, 0x01, 0];
    let long_ago = [12, 1, 34, 0, 0, 0, 22, 59, 59, 0, 0, 0, 0];
    let (clock, instant) =
        (SourceType::DateTime { fraction: 6 }, SourceType::Timestamp { fraction: 6 });
    let of_day = SourceType::Time { fraction: 6 };
    for (source, declared, cell, expected) in [
        (SourceType::Date, LogicalType::Date, &date[..], "2024-02-29"),
        (SourceType::Date, LogicalType::String, &date, "2024-02-29"),
        (clock.clone(), LogicalType::Timestamp(6), &moment, "2024-02-29T13:14:15.123456"),
        (clock.clone(), LogicalType::Timestamp(3), &moment, "2024-02-29T13:14:15.123"),
        (clock.clone(), LogicalType::Timestamp(0), &moment, "2024-02-29T13:14:15"),
        (clock.clone(), LogicalType::Timestamp(9), &moment, "2024-02-29T13:14:15.123456"),
        (clock, LogicalType::String, &moment, "2024-02-29 13:14:15.123456"),
        (instant.clone(), LogicalType::TimestampLtz(6), &moment, "2024-02-29T13:14:15.123456Z"),
        (instant.clone(), LogicalType::Timestamp(6), &moment, "2024-02-29T21:14:15.123456"),
        (instant, LogicalType::String, &moment, "2024-02-29 21:14:15.123456"),
        (of_day.clone(), LogicalType::Time(3), &time, "01:02:03.123"),
        (of_day.clone(), LogicalType::String, &time, "01:02:03.123456"),
        (of_day, LogicalType::String, &long_ago, "-838:59:59.000000"),
        (SourceType::Time { fraction: 0 }, LogicalType::Time(0), &[0], "00:00:00"),
    ] {
        let name = format!("{source} as {declared}");
        assert_eq!(read(source, declared, Some(cell)).unwrap(), expected, "{name}");
    }
}

#[test]
fn zero_dates_are_null_where_that_is_allowed() {
    let clock = || SourceType::DateTime { fraction: 0 };
    let february = [4, 0xe8, 0x07, 2, 30];
    for cell in [&[0][..], &[4, 0xe8, 0x07, 0, 15], &february] {
        let (text, count) =
            read_into(clock(), Column::new("c", LogicalType::Timestamp(0)), Some(cell)).unwrap();
        assert_eq!((text.as_str(), count), ("NULL", 1));
        let required = Column::new("c", LogicalType::Timestamp(0)).not_null();
        let error = read_into(clock(), required, Some(cell)).unwrap_err();
        assert!(matches!(error, Error::Value { problem: Problem::ZeroDate, .. }), "{error}");
    }
    assert_eq!(read(clock(), LogicalType::String, Some(&february)).unwrap(), "2024-02-30 00:00:00");
    let stamp = SourceType::Timestamp { fraction: 0 };
    assert_eq!(read(stamp.clone(), LogicalType::TimestampLtz(0), Some(&[0])).unwrap(), "NULL");
    assert_eq!(read(stamp, LogicalType::String, Some(&[0])).unwrap(), "0000-00-00 00:00:00");
    assert_eq!(read(SourceType::Date, LogicalType::Date, Some(&[0])).unwrap(), "NULL");
}

#[test]
fn text_and_bytes_read_as_declared() {
    let text = |name| SourceType::Text(crate::Charset::named(name));
    let set = || SourceType::Set(None);
    let list = LogicalType::Array(Box::new(LogicalType::String));
    for (source, declared, cell, expected) in [
        (text("utf8mb4"), LogicalType::VarChar(1), counted("zoë"), "zoë"),
        (text("latin1"), LogicalType::String, counted(b"\x80 \xe4"), "€ ä"),
        (text("gbk"), LogicalType::String, counted(b"\xc4\xe3"), "你"),
        (SourceType::Binary { length: 3 }, LogicalType::Binary(3), counted([1]), "010000"),
        (SourceType::Binary { length: 2 }, LogicalType::Binary(3), counted([1, 2]), "010200"),
        (SourceType::Bytes, LogicalType::Bytes, counted([0xff, 0]), "ff00"),
        (SourceType::Bytes, LogicalType::String, counted("plain"), "plain"),
        (SourceType::Json, LogicalType::String, counted(r#"{"a": 1.0}"#), r#"{"a": 1.0}"#),
        (SourceType::Enum(None), LogicalType::String, counted("x"), "x"),
        (set(), LogicalType::String, counted("a,b"), "a,b"),
        (set(), list.clone(), counted("a,b"), "[a, b]"),
        (set(), list, counted(""), "[]"),
        (SourceType::Geometry, LogicalType::Bytes, counted([1]), "01"),
    ] {
        let name = format!("{source} as {declared}");
        assert_eq!(read(source, declared, Some(&cell)).unwrap(), expected, "{name}");
    }
}

#[test]
fn text_that_is_no_text_is_an_error() {
    let error = read(SourceType::Bytes, LogicalType::String, Some(&counted([0xff]))).unwrap_err();
    assert!(matches!(error, Error::Value { problem: Problem::Text, .. }), "{error}");
    // Valid as a whole, but cut within a character between two rows.
    let declared = [Column::new("c", LogicalType::String)];
    let source = [SourceColumn::new("c", SourceType::Bytes)];
    let plan = ResultSetPlan::new(&source, &declared, &ZoneOffset::utc()).unwrap();
    let mut builder = BatchBuilder::new(&declared).unwrap();
    for part in [&"ä".as_bytes()[..1], &"ä".as_bytes()[1..]] {
        plan.append(&[&[0, 0], &counted(part)[..]].concat(), &mut builder).unwrap();
    }
    let error = builder.finish().unwrap_err();
    assert!(matches!(error, Error::Value { problem: Problem::Text, .. }), "{error}");
    assert_eq!(builder.row_count(), 0);
}

#[test]
fn impossible_pairs_are_refused_when_the_plan_is_made() {
    for (source, declared) in [
        (SourceType::Text(crate::Charset::UTF8), LogicalType::Int),
        (SourceType::Text(crate::Charset::named("klingon")), LogicalType::String),
        (SourceType::DateTime { fraction: 0 }, LogicalType::TimestampLtz(3)),
        (SourceType::Decimal { precision: 5, scale: 1 }, LogicalType::Int),
        (SourceType::Geometry, LogicalType::Double),
        (SourceType::Vector, LogicalType::Array(Box::new(LogicalType::String))),
        (SourceType::Bit { bits: 2 }, LogicalType::Boolean),
        (SourceType::Date, LogicalType::Bytes),
        (SourceType::Json, LogicalType::Bytes),
    ] {
        let error = read(source, declared, None).unwrap_err();
        assert!(matches!(error, Error::Conversion { .. }), "{error}");
    }
    let clock = SourceType::DateTime { fraction: 0 };
    insta::assert_snapshot!(
        read(clock, LogicalType::TimestampLtz(3), None).unwrap_err(),
        @"column `c` has MySQL type DATETIME and cannot be read as TIMESTAMP_LTZ(3): declare it as TIMESTAMP, because a DATETIME has no time zone"
    );
}

#[test]
fn missing_columns_read_null_and_others_are_passed_over() {
    let declared = [
        Column::new("gone", LogicalType::Int).not_null(),
        Column::new("b", LogicalType::String),
        Column::new("a", LogicalType::Int).not_null(),
    ];
    let source = [
        SourceColumn::new("a", integer(4, false)),
        SourceColumn::new("extra", SourceType::Json),
        SourceColumn::new("b", SourceType::Text(crate::Charset::UTF8)),
    ];
    let plan = ResultSetPlan::new(&source, &declared, &ZoneOffset::utc()).unwrap();
    let mut builder = BatchBuilder::new(&declared).unwrap();
    plan.append(&[0, 0, 7, 0, 0, 0, 2, b'{', b'}', 1, b'x'], &mut builder).unwrap();
    plan.append(&[0, 0b1_1000, 8, 0, 0, 0], &mut builder).unwrap();
    assert_eq!(builder.row_count(), 2);
    let batch = builder.finish().unwrap();
    assert_eq!(
        changelog_text(slice::from_ref(&batch)).unwrap(),
        "+I NULL | x | 7\n+I NULL | NULL | 8\n"
    );
    // Only the field that has to hold NULL differs from the declaration.
    let nullable: Vec<bool> = batch.schema().fields().iter().map(|f| f.is_nullable()).collect();
    assert_eq!(nullable, [true, true, false]);
}

#[test]
fn damaged_rows_are_refused() {
    let declared = [Column::new("c", LogicalType::Int)];
    let source = [SourceColumn::new("c", integer(4, false))];
    let plan = ResultSetPlan::new(&source, &declared, &ZoneOffset::utc()).unwrap();
    for row in [&[0][..], &[0, 0, 1, 2, 3], &[0, 0, 1, 2, 3, 4, 5]] {
        let mut builder = BatchBuilder::new(&declared).unwrap();
        assert!(plan.append(row, &mut builder).is_err());
    }
}

#[test]
fn a_zone_that_changes_within_a_quarter_of_an_hour_is_followed() {
    let change = 1_000_000_123;
    let zone = ZoneOffset::new(move |seconds| if seconds < change { -2_670 } else { 0 });
    let declared = [Column::new("c", LogicalType::Timestamp(0))];
    let source = [SourceColumn::new("c", SourceType::Timestamp { fraction: 0 })];
    let plan = ResultSetPlan::new(&source, &declared, &zone).unwrap();
    let mut builder = BatchBuilder::new(&declared).unwrap();
    let times = [change - 5_000, change - 1, change, change - 2, change + 5_000];
    for seconds in times {
        let at = Moment::at(seconds, 0);
        let [low, high] = at.year.to_le_bytes();
        let row = [0, 0, 7, low, high, at.month, at.day, at.hour, at.minute, at.second];
        plan.append(&row, &mut builder).unwrap();
    }
    let batch = builder.finish().unwrap();
    let read = batch.rows().column(0).as_primitive::<TimestampMicrosecondType>().values().to_vec();
    let expected: Vec<i64> =
        times.iter().map(|at| (at + if *at < change { -2_670 } else { 0 }) * 1_000_000).collect();
    assert_eq!(read, expected);
}

#[test]
fn declared_types_that_nothing_reads_as_are_refused() {
    let column = Column::new("c", LogicalType::Row(Vec::new()));
    assert!(matches!(BatchBuilder::new(&[column]), Err(Error::Unsupported(_))));
}

fn any_source() -> impl Strategy<Value = SourceType> {
    prop::sample::select(vec![
        integer(1, false),
        integer(3, true),
        integer(8, true),
        SourceType::Float,
        SourceType::Double,
        SourceType::Decimal { precision: 65, scale: 30 },
        SourceType::Decimal { precision: 10, scale: 0 },
        SourceType::Bit { bits: 1 },
        SourceType::Year,
        SourceType::Date,
        SourceType::Time { fraction: 6 },
        SourceType::DateTime { fraction: 3 },
        SourceType::Timestamp { fraction: 6 },
        SourceType::Text(crate::Charset::UTF8),
        SourceType::Text(crate::Charset::named("sjis")),
        SourceType::Binary { length: 3 },
        SourceType::Bytes,
        SourceType::Enum(None),
        SourceType::Set(None),
        SourceType::Json,
        SourceType::Geometry,
    ])
}

fn any_declared() -> impl Strategy<Value = LogicalType> {
    prop::sample::select(vec![
        LogicalType::String,
        LogicalType::Boolean,
        LogicalType::TinyInt,
        LogicalType::Int,
        LogicalType::BigInt,
        decimal(38, 10),
        decimal(5, 0),
        LogicalType::Float,
        LogicalType::Double,
        LogicalType::Date,
        LogicalType::Time(3),
        LogicalType::Timestamp(9),
        LogicalType::Timestamp(3),
        LogicalType::TimestampLtz(6),
        LogicalType::Bytes,
        LogicalType::Binary(2),
        LogicalType::Array(Box::new(LogicalType::String)),
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_bytes_are_a_row_or_an_error(
        source in any_source(),
        declared in any_declared(),
        row in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let declared = [Column::new("c", declared)];
        let source = [SourceColumn::new("c", source)];
        if let Ok(plan) = ResultSetPlan::new(&source, &declared, &ZoneOffset::utc()) {
            let mut builder = BatchBuilder::new(&declared).unwrap();
            let row = [&[0, 0], &row[..]].concat();
            if plan.append(&row, &mut builder).is_ok()
                && let Ok(batch) = builder.finish()
            {
                let array = batch.rows().column(0);
                prop_assert_eq!(array.len(), 1);
                prop_assert_eq!(array.data_type(), &declared[0].data_type.to_arrow());
            }
        }
    }
}
