use super::*;

fn every_type() -> TableSchema {
    let types = [
        ("tiny", LogicalType::TinyInt),
        ("small", LogicalType::SmallInt),
        ("int", LogicalType::Int),
        ("big", LogicalType::BigInt),
        ("float", LogicalType::Float),
        ("double", LogicalType::Double),
        ("decimal", LogicalType::Decimal { precision: 12, scale: 2 }),
        ("char", LogicalType::Char(3)),
        ("varchar", LogicalType::VarChar(30)),
        ("string", LogicalType::String),
        ("binary", LogicalType::Binary(16)),
        ("bytes", LogicalType::Bytes),
        ("boolean", LogicalType::Boolean),
        ("date", LogicalType::Date),
        ("time", LogicalType::Time(0)),
        ("timestamp", LogicalType::Timestamp(6)),
        ("instant", LogicalType::TimestampLtz(3)),
        ("list", LogicalType::Array(Box::new(LogicalType::Int))),
        ("map", LogicalType::Map(Box::new(LogicalType::String), Box::new(LogicalType::BigInt))),
        (
            "row",
            LogicalType::Row(vec![
                ("a".into(), LogicalType::Int),
                ("b".into(), LogicalType::String),
            ]),
        ),
    ];
    TableSchema {
        columns: types.into_iter().map(|(name, kind)| Column::new(name, kind)).collect(),
        primary_key: vec!["big".into()],
    }
}

fn two_columns(first: LogicalType, key: &[&str]) -> TableSchema {
    TableSchema {
        columns: vec![
            Column::new("id", first).not_null(),
            Column::new("name", LogicalType::String),
        ],
        primary_key: key.iter().map(|name| (*name).to_owned()).collect(),
    }
}

#[test]
fn every_type_has_its_iceberg_and_arrow_form_and_ids_run_level_by_level() {
    let schema = to_iceberg(&every_type()).unwrap();
    let arrow = to_arrow(&schema).unwrap();
    let mut lines = String::new();
    for (field, column) in schema.as_struct().fields().iter().zip(arrow.fields()) {
        let required = if field.required { " required" } else { "" };
        lines.push_str(&format!(
            "{} {}: {}{required} | {}\n",
            field.id,
            field.name,
            type_text(&field.field_type),
            column.data_type()
        ));
        assert_eq!(column.metadata()[PARQUET_FIELD_ID_META_KEY], field.id.to_string());
    }
    insta::assert_snapshot!(lines, @r#"
    1 tiny: int | Int32
    2 small: int | Int32
    3 int: int | Int32
    4 big: long required | Int64
    5 float: float | Float32
    6 double: double | Float64
    7 decimal: decimal(12, 2) | Decimal128(12, 2)
    8 char: string | Utf8
    9 varchar: string | Utf8
    10 string: string | Utf8
    11 binary: fixed(16) | FixedSizeBinary(16)
    12 bytes: binary | Binary
    13 boolean: boolean | Boolean
    14 date: date | Date32
    15 time: time | Time64(µs)
    16 timestamp: timestamp | Timestamp(µs)
    17 instant: timestamptz | Timestamp(µs, "+00:00")
    18 list: list<int> | List(Int32, field: 'element', metadata: {"PARQUET:field_id": "21"})
    19 map: map<string, long> | Map("key_value": non-null Struct("key": non-null Utf8, metadata: {"PARQUET:field_id": "22"}, "value": Int64, metadata: {"PARQUET:field_id": "23"}), unsorted)
    20 row: struct<a: int, b: string> | Struct("a": Int32, metadata: {"PARQUET:field_id": "24"}, "b": Utf8, metadata: {"PARQUET:field_id": "25"})
    "#);
    assert_eq!(schema.identifier_field_ids().collect::<Vec<_>>(), [4]);
    assert_eq!(key_indices(&schema), [3]);
    let ids: Vec<i32> = schema.field_id_to_name_map().keys().copied().collect();
    assert_eq!(ids.len(), 25);
    assert_eq!(schema.name_by_field_id(21), Some("list.element"));
    assert_eq!(schema.name_by_field_id(23), Some("map.value"));
    assert_eq!(schema.name_by_field_id(25), Some("row.b"));
}

#[test]
fn what_iceberg_cannot_hold_is_refused_by_column() {
    let error = |schema: &TableSchema| to_iceberg(schema).unwrap_err().to_string();
    let float_key = two_columns(LogicalType::Double, &["id"]);
    insta::assert_snapshot!(error(&float_key), @"column 'id' of type double cannot be part of the primary key of an Iceberg table");
}

#[test]
fn a_table_that_differs_from_its_declaration_is_refused_by_column() {
    let table = to_iceberg(&two_columns(LogicalType::BigInt, &["id"])).unwrap();
    check_matches(&table, &two_columns(LogicalType::BigInt, &["id"])).unwrap();
    let error = |declared: &TableSchema| check_matches(&table, declared).unwrap_err().to_string();

    insta::assert_snapshot!(error(&two_columns(LogicalType::SmallInt, &["id"])), @"column 'id' is declared as int, but the Iceberg table has it as long");
    insta::assert_snapshot!(error(&two_columns(LogicalType::BigInt, &[])), @"the declared primary key (none) differs from the identifier fields of the Iceberg table (id)");
    let mut more = two_columns(LogicalType::BigInt, &["id"]);
    more.columns.push(Column::new("city", LogicalType::String));
    insta::assert_snapshot!(error(&more), @"column 'city' is declared but the Iceberg table has no such column; remove it from the declaration or write to another table");
    let mut fewer = two_columns(LogicalType::BigInt, &["id"]);
    fewer.columns.pop();
    insta::assert_snapshot!(error(&fewer), @"the Iceberg table has column 'name', which is not declared; declare it as string");
}

#[test]
fn the_order_of_columns_and_the_kind_of_integer_do_not_matter() {
    let table = to_iceberg(&two_columns(LogicalType::Int, &["id"])).unwrap();
    let mut declared = two_columns(LogicalType::TinyInt, &["id"]);
    declared.columns.reverse();
    check_matches(&table, &declared).unwrap();
}
