//! Values of all types as text and as JSON.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, FixedSizeBinaryArray,
    Float32Array, Float64Array, Int64Array, ListArray, MapBuilder, StringArray, StringBuilder,
    StructArray, Time64MicrosecondArray, TimestampMicrosecondArray, TimestampNanosecondArray,
};
use arrow::array::{Int32Array, Int32Builder, MapFieldNames};
use arrow::datatypes::{Field, Fields};

use super::*;

fn shown(data_type: &LogicalType, column: ArrayRef) -> String {
    let zone = SessionZone::Named(chrono_tz::Asia::Shanghai);
    let format = CellFormat::new(zone);
    let mut lines = Vec::new();
    for row in 0..column.len() {
        let text = format.text(data_type, column.as_ref(), row).unwrap_or_else(|| "<NULL>".into());
        let mut json = String::new();
        format.write_json(&mut json, data_type, column.as_ref(), row);
        assert!(json.parse::<Value>().is_ok(), "{json} is no JSON");
        lines.push(format!("{text} | {json}"));
    }
    lines.join("\n")
}

#[test]
fn numbers() {
    let column = Decimal128Array::from(vec![Some(110), Some(-5), Some(0), None])
        .with_precision_and_scale(10, 2)
        .unwrap();
    let decimal = LogicalType::Decimal { precision: 10, scale: 2 };
    insta::assert_snapshot!(shown(&decimal, Arc::new(column)), @"
    1.10 | 1.10
    -0.05 | -0.05
    0.00 | 0.00
    <NULL> | null
    ");
    let column =
        Decimal128Array::from(vec![i128::from(u64::MAX)]).with_precision_and_scale(20, 0).unwrap();
    let decimal = LogicalType::Decimal { precision: 20, scale: 0 };
    insta::assert_snapshot!(shown(&decimal, Arc::new(column)), @"18446744073709551615 | 18446744073709551615");
    let column = Int64Array::from(vec![i64::MIN, 7]);
    insta::assert_snapshot!(shown(&LogicalType::BigInt, Arc::new(column)), @"
    -9223372036854775808 | -9223372036854775808
    7 | 7
    ");
}

#[test]
fn floats_print_as_in_java() {
    let values = vec![
        1.5,
        0.0,
        -0.0,
        100.0,
        1e7,
        12_345_678.9,
        9_999_999.0,
        0.001,
        0.000_1,
        -1.25e-7,
        1e10,
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
    ];
    let column = Float64Array::from(values);
    insta::assert_snapshot!(shown(&LogicalType::Double, Arc::new(column)), @r#"
    1.5 | 1.5
    0.0 | 0.0
    -0.0 | -0.0
    100.0 | 100.0
    1.0E7 | 10000000.0
    1.23456789E7 | 12345678.9
    9999999.0 | 9999999.0
    0.001 | 0.001
    1.0E-4 | 0.0001
    -1.25E-7 | -1.25e-7
    1.0E10 | 10000000000.0
    NaN | "NaN"
    Infinity | "Infinity"
    -Infinity | "-Infinity"
    "#);
    let column = Float32Array::from(vec![0.1, 1e10, 16_777_216.0]);
    insta::assert_snapshot!(shown(&LogicalType::Float, Arc::new(column)), @"
    0.1 | 0.1
    1.0E10 | 10000000000.0
    1.6777216E7 | 16777216.0
    ");
}

#[test]
fn text_bytes_and_truth() {
    let column = StringArray::from(vec![Some("ab"), Some("a\"\n"), None]);
    insta::assert_snapshot!(shown(&LogicalType::Char(4), Arc::new(column)), @r#"
    ab   | "ab  "
    a"
      | "a\"\n "
    <NULL> | null
    "#);
    let column = BinaryArray::from(vec![b"\x0a\xff".as_slice(), b""]);
    insta::assert_snapshot!(shown(&LogicalType::Bytes, Arc::new(column)), @r#"
    x'0aff' | "Cv8="
    x'' | ""
    "#);
    let column = FixedSizeBinaryArray::try_from_iter([[1_u8, 2]].iter()).unwrap();
    insta::assert_snapshot!(shown(&LogicalType::Binary(2), Arc::new(column)), @r#"x'0102' | "AQI=""#);
    let column = BooleanArray::from(vec![true, false]);
    insta::assert_snapshot!(shown(&LogicalType::Boolean, Arc::new(column)), @"
    TRUE | true
    FALSE | false
    ");
}

#[test]
fn dates_and_times() {
    let column = Date32Array::from(vec![19_782, -1, -719_162]);
    insta::assert_snapshot!(shown(&LogicalType::Date, Arc::new(column)), @r#"
    2024-02-29 | "2024-02-29"
    1969-12-31 | "1969-12-31"
    0001-01-01 | "0001-01-01"
    "#);
    let column = Time64MicrosecondArray::from(vec![3_723_000_000, 1]);
    insta::assert_snapshot!(shown(&LogicalType::Time(0), Arc::new(column)), @r#"
    01:02:03 | "01:02:03"
    00:00:00.000001 | "00:00:00.000001"
    "#);
    let column = TimestampMicrosecondArray::from(vec![1_704_067_200_123_456, -1, 0]);
    insta::assert_snapshot!(shown(&LogicalType::Timestamp(6), Arc::new(column)), @r#"
    2024-01-01 00:00:00.123456 | "2024-01-01T00:00:00.123456"
    1969-12-31 23:59:59.999999 | "1969-12-31T23:59:59.999999"
    1970-01-01 00:00:00.000000 | "1970-01-01T00:00:00.000000"
    "#);
    let column =
        TimestampMicrosecondArray::from(vec![1_704_067_200_123_000]).with_timezone("+00:00");
    insta::assert_snapshot!(shown(&LogicalType::TimestampLtz(3), Arc::new(column)), @r#"2024-01-01 08:00:00.123 | "2024-01-01T00:00:00.123Z""#);
    let column = TimestampNanosecondArray::from(vec![-1]);
    insta::assert_snapshot!(shown(&LogicalType::Timestamp(9), Arc::new(column)), @r#"1969-12-31 23:59:59.999999999 | "1969-12-31T23:59:59.999999999""#);
    let column = TimestampMicrosecondArray::from(vec![1_704_067_200_000_000]);
    insta::assert_snapshot!(shown(&LogicalType::Timestamp(0), Arc::new(column)), @r#"2024-01-01 00:00:00 | "2024-01-01T00:00:00""#);
}

#[test]
fn nested_values() {
    let column = ListArray::from_iter_primitive::<Int32Type, _, _>(vec![
        Some(vec![Some(1), None]),
        Some(vec![]),
        None,
    ]);
    let kind = LogicalType::Array(Box::new(LogicalType::Int));
    insta::assert_snapshot!(shown(&kind, Arc::new(column)), @"
    [1, NULL] | [1,null]
    [] | []
    <NULL> | null
    ");

    let names = MapFieldNames { entry: "e".into(), key: "k".into(), value: "v".into() };
    let mut map = MapBuilder::new(Some(names), StringBuilder::new(), Int32Builder::new());
    map.keys().append_value("k");
    map.values().append_value(1);
    map.append(true).unwrap();
    let kind = LogicalType::Map(Box::new(LogicalType::String), Box::new(LogicalType::Int));
    insta::assert_snapshot!(shown(&kind, Arc::new(map.finish())), @r#"{k=1} | {"k":1}"#);

    let fields = Fields::from(vec![
        Field::new("a", DataType::Int32, true),
        Field::new("b", DataType::Utf8, true),
    ]);
    let columns: Vec<ArrayRef> =
        vec![Arc::new(Int32Array::from(vec![1])), Arc::new(StringArray::from(vec![Some("z")]))];
    let column = StructArray::new(fields, columns, None);
    let kind = LogicalType::Row(vec![
        ("a".to_owned(), LogicalType::Int),
        ("b".to_owned(), LogicalType::String),
    ]);
    insta::assert_snapshot!(shown(&kind, Arc::new(column)), @r#"(1, z) | {"a":1,"b":"z"}"#);
}
