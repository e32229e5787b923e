//! Files of older schemas.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Date32Array, Decimal128Array, Float32Array, Int32Array, LargeStringArray,
    StructArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field};
use iceberg::spec::{Literal, NestedField, PrimitiveType, StructType, Type};
use shardlake_change::{Column, LogicalType, TableSchema};

use super::ALL;
use super::fixture::{Fixture, longs, query, texts};

fn optional(id: i32, name: &str, kind: PrimitiveType) -> Arc<NestedField> {
    NestedField::optional(id, name, Type::Primitive(kind)).into()
}

fn ints(values: &[i32]) -> ArrayRef {
    Arc::new(Int32Array::from(values.to_vec()))
}

#[tokio::test]
async fn columns_are_found_by_id_when_names_are_swapped_and_reused() {
    let mut fixture = Fixture::new(&[
        ("id", LogicalType::BigInt),
        ("a", LogicalType::String),
        ("b", LogicalType::String),
        ("gone", LogicalType::Bytes),
    ])
    .await;
    let file = fixture.data(&[
        (1, "id", longs([Some(1)])),
        (2, "a", texts([Some("was a")])),
        (3, "b", texts([Some("was b")])),
        (4, "gone", Arc::new(arrow::array::BinaryArray::from(vec![b"\xff\xfe".as_ref()]))),
    ]);
    fixture.commit(vec![file]).await;
    fixture
        .evolve(vec![
            optional(5, "gone", PrimitiveType::String),
            optional(3, "a", PrimitiveType::String),
            optional(2, "b", PrimitiveType::String),
            optional(1, "key", PrimitiveType::Long),
        ])
        .await;
    insta::assert_snapshot!(fixture.query("SELECT * FROM t").await, @"
    +------+-------+-------+-----+
    | gone | a     | b     | key |
    +------+-------+-------+-----+
    |      | was b | was a | 1   |
    +------+-------+-------+-----+
    ");
    insta::assert_snapshot!(fixture.query("SELECT key FROM t WHERE a = 'was b' AND gone IS NULL").await, @"
    +-----+
    | key |
    +-----+
    | 1   |
    +-----+
    ");
    insta::assert_snapshot!(fixture.query("SELECT count(*) AS n FROM t WHERE a = 'was a'").await, @"
    +---+
    | n |
    +---+
    | 0 |
    +---+
    ");
}

#[tokio::test]
async fn types_are_widened_and_filters_see_the_wide_value() {
    let mut fixture = Fixture::new(&[
        ("id", LogicalType::Int),
        ("f", LogicalType::Float),
        ("d", LogicalType::Decimal { precision: 9, scale: 2 }),
    ])
    .await;
    let decimals = Decimal128Array::from(vec![150, -1]).with_precision_and_scale(9, 2).unwrap();
    let file = fixture.data(&[
        (1, "id", ints(&[7, 77])),
        (2, "f", Arc::new(Float32Array::from(vec![1.5, 0.1]))),
        (3, "d", Arc::new(decimals)),
    ]);
    fixture.commit(vec![file]).await;
    fixture
        .evolve(vec![
            optional(1, "id", PrimitiveType::Long),
            optional(2, "f", PrimitiveType::Double),
            optional(3, "d", PrimitiveType::Decimal { precision: 18, scale: 2 }),
        ])
        .await;
    let wide = Decimal128Array::from(vec![12_345_678_901]).with_precision_and_scale(18, 2).unwrap();
    let file = fixture.data(&[
        (1, "id", longs([Some(1 << 40)])),
        (2, "f", Arc::new(arrow::array::Float64Array::from(vec![0.1]))),
        (3, "d", Arc::new(wide)),
    ]);
    fixture.commit(vec![file]).await;
    insta::assert_snapshot!(fixture.query("SELECT * FROM t ORDER BY id").await, @"
    +---------------+---------------------+--------------+
    | id            | f                   | d            |
    +---------------+---------------------+--------------+
    | 7             | 1.5                 | 1.50         |
    | 77            | 0.10000000149011612 | -0.01        |
    | 1099511627776 | 0.1                 | 123456789.01 |
    +---------------+---------------------+--------------+
    ");
    insta::assert_snapshot!(fixture.query("SELECT id FROM t WHERE f = 0.1").await, @"
    +---------------+
    | id            |
    +---------------+
    | 1099511627776 |
    +---------------+
    ");
    insta::assert_snapshot!(fixture.query("SELECT id FROM t WHERE id < 1099511627776 AND d > -1").await, @"
    +----+
    | id |
    +----+
    | 7  |
    | 77 |
    +----+
    ");
    // B2b of other readers: a deleted key that the old type cannot hold.
    let deletes = fixture.equality_deletes(&[(1, "id", longs([Some(1 << 40), Some(77)]))]);
    fixture.commit(vec![deletes]).await;
    insta::assert_snapshot!(fixture.query("SELECT id FROM t ORDER BY id").await, @"
    +----+
    | id |
    +----+
    | 7  |
    +----+
    ");
    // Deletes of the old type apply to files of both types.
    let deletes = fixture.equality_deletes(&[(1, "id", ints(&[7]))]);
    fixture.commit(vec![deletes]).await;
    insta::assert_snapshot!(fixture.query("SELECT count(*) AS n FROM t").await, @"
    +---+
    | n |
    +---+
    | 0 |
    +---+
    ");
}

#[tokio::test]
async fn a_key_column_that_a_file_lacks_is_null_there() {
    let mut fixture = Fixture::id_name().await;
    let old = fixture.data(&[(1, "id", longs([Some(1), Some(2)]))]);
    fixture.commit(vec![old]).await;
    let new = fixture.rows(&[(3, "x"), (4, "y")]);
    fixture.commit(vec![new]).await;
    let deletes = fixture.equality_deletes(&[(2, "name", texts([Some("x")]))]);
    fixture.commit(vec![deletes]).await;
    insta::assert_snapshot!(fixture.query(ALL).await, @"
    +----+------+
    | id | name |
    +----+------+
    | 1  |      |
    | 2  |      |
    | 4  | y    |
    +----+------+
    ");
    // The key column is dropped; its deletes still hold.
    fixture.evolve(vec![optional(1, "id", PrimitiveType::Long)]).await;
    insta::assert_snapshot!(fixture.query("SELECT * FROM t ORDER BY id").await, @"
    +----+
    | id |
    +----+
    | 1  |
    | 2  |
    | 4  |
    +----+
    ");
}

#[tokio::test]
async fn a_column_with_a_default_reads_as_it_in_older_files() {
    let mut fixture = Fixture::id_name().await;
    let old = fixture.rows(&[(1, "a"), (2, "b")]);
    fixture.commit(vec![old]).await;
    let level = NestedField::required(3, "level", Type::Primitive(PrimitiveType::Int))
        .with_initial_default(Literal::int(5))
        .with_write_default(Literal::int(9));
    fixture
        .evolve(vec![
            optional(1, "id", PrimitiveType::Long),
            level.into(),
            optional(2, "name", PrimitiveType::String),
        ])
        .await;
    let new = fixture.data(&[(3, "level", ints(&[6])), (1, "id", longs([Some(3)]))]);
    fixture.commit(vec![new]).await;
    insta::assert_snapshot!(fixture.query("SELECT * FROM t ORDER BY id").await, @"
    +----+-------+------+
    | id | level | name |
    +----+-------+------+
    | 1  | 5     | a    |
    | 2  | 5     | b    |
    | 3  | 6     |      |
    +----+-------+------+
    ");
    insta::assert_snapshot!(fixture.query("SELECT id FROM t WHERE level = 5 ORDER BY id").await, @"
    +----+
    | id |
    +----+
    | 1  |
    | 2  |
    +----+
    ");
}

#[tokio::test]
async fn fields_of_structs_evolve_too() {
    let mut fixture = Fixture::id_name().await;
    let field = |id: i32, name: &str, kind: DataType| {
        let key = parquet::arrow::PARQUET_FIELD_ID_META_KEY.to_owned();
        Field::new(name, kind, true).with_metadata([(key, id.to_string())].into())
    };
    let inner: ArrayRef = Arc::new(StructArray::from(vec![
        (Arc::new(field(11, "x", DataType::Int32)), ints(&[1])),
        (Arc::new(field(12, "y", DataType::Int32)), ints(&[2])),
    ]));
    let file = fixture.data(&[(1, "id", longs([Some(1)])), (10, "point", inner)]);
    fixture.commit(vec![file]).await;
    let point = StructType::new(vec![
        optional(13, "z", PrimitiveType::String),
        optional(12, "x", PrimitiveType::Long),
        optional(11, "renamed", PrimitiveType::Int),
    ]);
    fixture
        .evolve(vec![
            optional(1, "id", PrimitiveType::Long),
            NestedField::optional(10, "p", Type::Struct(point)).into(),
        ])
        .await;
    insta::assert_snapshot!(fixture.query("SELECT id, p FROM t").await, @"
    +----+-------------------------+
    | id | p                       |
    +----+-------------------------+
    | 1  | {z: , x: 2, renamed: 1} |
    +----+-------------------------+
    ");
    insta::assert_snapshot!(fixture.query("SELECT id FROM t WHERE p['x'] = 2 AND p['renamed'] = 1").await, @"
    +----+
    | id |
    +----+
    | 1  |
    +----+
    ");
    insta::assert_snapshot!(fixture.query("SELECT count(*) AS n FROM t WHERE p['x'] = 1").await, @"
    +---+
    | n |
    +---+
    | 0 |
    +---+
    ");
}

#[tokio::test]
async fn foreign_arrow_types_read_as_ours() {
    let mut fixture = Fixture::new(&[
        ("id", LogicalType::BigInt),
        ("name", LogicalType::String),
        ("at", LogicalType::TimestampLtz(6)),
        ("day", LogicalType::Date),
    ])
    .await;
    let at = TimestampMicrosecondArray::from(vec![0, 1_000_000]).with_timezone("UTC");
    let file = fixture.data(&[
        (1, "id", longs([Some(1), Some(2)])),
        (2, "name", Arc::new(LargeStringArray::from(vec!["a", "b"]))),
        (3, "at", Arc::new(at)),
        (4, "day", Arc::new(Date32Array::from(vec![0, 1]))),
    ]);
    fixture.commit(vec![file]).await;
    insta::assert_snapshot!(fixture.query("SELECT * FROM t ORDER BY id").await, @"
    +----+------+----------------------+------------+
    | id | name | at                   | day        |
    +----+------+----------------------+------------+
    | 1  | a    | 1970-01-01T00:00:00Z | 1970-01-01 |
    | 2  | b    | 1970-01-01T00:00:01Z | 1970-01-02 |
    +----+------+----------------------+------------+
    ");
    insta::assert_snapshot!(
        fixture.query("SELECT id FROM t WHERE at > TIMESTAMP '1970-01-01 00:00:00.5'").await, @"
    +----+
    | id |
    +----+
    | 2  |
    +----+
    ");
}

#[tokio::test]
async fn files_without_ids_need_a_name_mapping() {
    let mut fixture = Fixture::id_name().await;
    let file = fixture.data(&[(0, "ID", longs([Some(1)])), (0, "name", texts([Some("a")]))]);
    fixture.commit(vec![file.clone()]).await;
    let error = fixture.query_error(ALL).await.replace(file.file_path(), "<data>");
    insta::assert_snapshot!(error, @"Parquet error: External: data file <data> of snapshot 1 of table db.t is damaged or not supported: Parquet error: its columns carry no field ids, and the table has no 'schema.name-mapping.default'");
    let mapping = r#"[{"field-id":1,"names":["id","ID"]},{"field-id":2,"names":["name"]}]"#;
    fixture.set_properties(&[("schema.name-mapping.default", mapping)]).await;
    insta::assert_snapshot!(fixture.query(ALL).await, @"
    +----+------+
    | id | name |
    +----+------+
    | 1  | a    |
    +----+------+
    ");
}

#[tokio::test]
async fn declared_columns_are_read_as_declared() {
    let mut fixture = Fixture::new(&[
        ("id", LogicalType::BigInt),
        ("tiny", LogicalType::TinyInt),
        ("small", LogicalType::SmallInt),
    ])
    .await;
    let file = fixture.data(&[
        (1, "id", longs([Some(1), Some(2)])),
        (2, "tiny", ints(&[-128, 127])),
        (3, "small", ints(&[-32_768, 5])),
    ]);
    fixture.commit(vec![file]).await;
    let declared = |tiny: LogicalType| TableSchema {
        columns: vec![
            Column::new("small", LogicalType::SmallInt),
            Column::new("tiny", tiny),
            Column::new("id", LogicalType::BigInt).not_null(),
        ],
        primary_key: Vec::new(),
    };
    let provider = fixture.provider().with_declared(&declared(LogicalType::TinyInt)).unwrap();
    assert_eq!(
        datafusion::catalog::TableProvider::schema(&provider),
        declared(LogicalType::TinyInt).to_arrow()
    );
    let sql = "SELECT *, arrow_typeof(tiny) AS t FROM t WHERE tiny > 0 OR small < 0 ORDER BY id";
    insta::assert_snapshot!(query(provider, sql).await.unwrap(), @"
    +--------+------+----+------+
    | small  | tiny | id | t    |
    +--------+------+----+------+
    | -32768 | -128 | 1  | Int8 |
    | 5      | 127  | 2  | Int8 |
    +--------+------+----+------+
    ");
    let error = fixture.provider().with_declared(&declared(LogicalType::String)).unwrap_err();
    insta::assert_snapshot!(error.to_string(), @"column 'tiny' is declared as STRING but table db.t has it as int");
}

#[tokio::test]
async fn an_older_state_is_read_with_its_schema() {
    let mut fixture = Fixture::id_name().await;
    let file = fixture.rows(&[(1, "a")]);
    let first = fixture.commit(vec![file]).await;
    fixture
        .evolve(vec![
            optional(1, "id", PrimitiveType::Long),
            optional(2, "renamed", PrimitiveType::String),
        ])
        .await;
    let as_of = crate::AsOf::SnapshotId(first);
    let provider = crate::IcebergTableProvider::new(fixture.table.clone(), &as_of).unwrap();
    insta::assert_snapshot!(query(provider, "SELECT * FROM t").await.unwrap(), @"
    +----+------+
    | id | name |
    +----+------+
    | 1  | a    |
    +----+------+
    ");
    insta::assert_snapshot!(fixture.query("SELECT * FROM t").await, @"
    +----+---------+
    | id | renamed |
    +----+---------+
    | 1  | a       |
    +----+---------+
    ");
}
