use shardlake_change::LogicalType;

use super::*;
use crate::provider::tests::fixture::{Fixture, query, texts};
use crate::{AsOf, HadoopCatalog, IcebergTableProvider, TableCreation};

async fn keyed() -> Fixture {
    let columns = [("id", LogicalType::Int), ("name", LogicalType::String)];
    let mut fixture = Fixture::keyed(&columns, &["id"]).await;
    let file = fixture.data(&[
        (1, "id", std::sync::Arc::new(arrow::array::Int32Array::from(vec![1, 2]))),
        (2, "name", texts([Some("a"), None])),
    ]);
    fixture.commit(vec![file]).await;
    fixture
}

fn add(name: &str, data_type: LogicalType, place: Option<ColumnPlace>) -> TableChange {
    TableChange::AddColumn { column: Column::new(name, data_type), place }
}

fn modify(column: Column, place: Option<ColumnPlace>) -> TableChange {
    TableChange::ModifyColumn { column, place }
}

/// The columns of the table: `id name type [NOT NULL] [comment]`, joined by `; `.
fn columns(table: &Table) -> String {
    let fields = table.schema().as_struct().fields().iter().map(|field| {
        let required = if field.required { " NOT NULL" } else { "" };
        let doc = field.doc.as_ref().map(|doc| format!(" '{doc}'")).unwrap_or_default();
        format!("{} {} {}{required}{doc}", field.id, field.name, field.field_type)
    });
    fields.collect::<Vec<_>>().join("; ")
}

#[tokio::test]
async fn columns_change_and_rows_stay() {
    let mut fixture = keyed().await;
    fixture
        .alter(&[
            add("age", LogicalType::Int, Some(ColumnPlace::First)),
            add("tags", LogicalType::Array(Box::new(LogicalType::String)), None),
            TableChange::RenameColumn { from: "name".into(), to: "label".into() },
            modify(Column::new("id", LogicalType::BigInt).not_null(), None),
        ])
        .await
        .unwrap();
    assert_eq!(
        columns(&fixture.table),
        "3 age int; 1 id long NOT NULL; 2 label string; 4 tags list"
    );
    insta::assert_snapshot!(fixture.query("SELECT id, label, age FROM t ORDER BY id").await, @r"
    +----+-------+-----+
    | id | label | age |
    +----+-------+-----+
    | 1  | a     |     |
    | 2  |       |     |
    +----+-------+-----+
    ");
    // A dropped column's id, and those inside of it, are never given again.
    fixture.alter(&[TableChange::DropColumn("tags".into())]).await.unwrap();
    let mut label = Column::new("label", LogicalType::String);
    label.comment = Some("what it is called".into());
    fixture
        .alter(&[
            add("tags", LogicalType::String, Some(ColumnPlace::After("id".into()))),
            modify(label, Some(ColumnPlace::First)),
        ])
        .await
        .unwrap();
    assert_eq!(
        columns(&fixture.table),
        "2 label string 'what it is called'; 3 age int; 1 id long NOT NULL; 6 tags string"
    );
    // A past snapshot has the columns of its time.
    let past = IcebergTableProvider::new(fixture.table.clone(), &AsOf::SnapshotId(1)).unwrap();
    let rows = query(past, "SELECT * FROM t WHERE id = 1").await.unwrap();
    assert!(rows.contains("| id | name |"), "{rows}");
}

#[tokio::test]
async fn refusals_name_the_column_and_the_reason() {
    let mut fixture = keyed().await;
    for (change, expected) in [
        (
            TableChange::AddColumn {
                column: Column::new("x", LogicalType::Int).not_null(),
                place: None,
            },
            "column 'x' cannot be added as NOT NULL: existing rows have no value for it",
        ),
        (add("id", LogicalType::Int, None), "Column `id` already exists in the table."),
        (
            modify(Column::new("name", LogicalType::Int), None),
            "Cannot change column type: name: string -> int. Possible are int to long, float to \
             double, and a greater precision of a decimal",
        ),
        (
            modify(Column::new("name", LogicalType::String).not_null(), None),
            "Cannot change column nullability: name: optional -> required",
        ),
        (
            TableChange::DropColumn("id".into()),
            "column 'id' cannot be dropped: it is part of the primary key",
        ),
        (
            TableChange::RenameColumn { from: "nobody".into(), to: "x".into() },
            "The column `nobody` doesn't exist; the table has: id, name",
        ),
        (
            TableChange::SetPrimaryKey(vec!["name".into()]),
            "column 'name' cannot be part of the primary key: it may hold NULL",
        ),
    ] {
        assert_eq!(fixture.alter(&[change]).await.unwrap_err().to_string(), expected);
    }
    // All changes of one call, or none.
    let before = columns(&fixture.table);
    let changes = [add("x", LogicalType::Int, None), TableChange::DropColumn("id".into())];
    fixture.alter(&changes).await.unwrap_err();
    assert_eq!(columns(&fixture.reloaded().await), before);
}

fn set(
    kind: ReferenceKind,
    name: &str,
    snapshot_id: Option<i64>,
    existing: Existing,
) -> TableChange {
    TableChange::Reference(ReferenceChange::Set {
        kind,
        name: name.to_owned(),
        snapshot_id,
        retention: Retention { max_reference_age_ms: Some(1_000), ..Retention::default() },
        existing,
    })
}

fn drop_reference(kind: ReferenceKind, name: &str, if_exists: bool) -> TableChange {
    TableChange::Reference(ReferenceChange::Drop { kind, name: name.to_owned(), if_exists })
}

#[tokio::test]
async fn branches_and_tags_come_move_and_go() {
    use ReferenceKind::{Branch, Tag};
    let mut fixture = keyed().await;
    let file = fixture.data(&[
        (1, "id", std::sync::Arc::new(arrow::array::Int32Array::from(vec![3]))),
        (2, "name", texts([Some("c")])),
    ]);
    fixture.commit(vec![file]).await;
    fixture.alter(&[set(Tag, "old", Some(1), Existing::Refuse)]).await.unwrap();
    fixture.alter(&[set(Branch, "b", None, Existing::Refuse)]).await.unwrap();
    let at = |fixture: &Fixture, name: &str| {
        fixture.table.metadata().snapshot_for_ref(name).map(|snapshot| snapshot.snapshot_id())
    };
    assert_eq!((at(&fixture, "old"), at(&fixture, "b")), (Some(1), Some(2)));
    fixture.alter(&[set(Branch, "b", Some(1), Existing::Keep)]).await.unwrap();
    assert_eq!(at(&fixture, "b"), Some(2));
    fixture.alter(&[set(Branch, "b", Some(1), Existing::Require)]).await.unwrap();
    assert_eq!(at(&fixture, "b"), Some(1));
    for (change, expected) in [
        (set(Tag, "old", None, Existing::Refuse), "Ref old already exists"),
        (set(Branch, "old", None, Existing::Replace), "Ref old is a TAG"),
        (set(Tag, "none", None, Existing::Require), "Tag does not exist: none"),
        (drop_reference(Branch, "none", false), "Branch does not exist: none"),
        (drop_reference(Branch, "main", false), "Cannot remove main branch"),
    ] {
        assert_eq!(fixture.alter(&[change]).await.unwrap_err().to_string(), expected);
    }
    fixture.alter(&[drop_reference(Branch, "none", true)]).await.unwrap();
    fixture.alter(&[drop_reference(Branch, "b", false)]).await.unwrap();
    assert_eq!(at(&fixture, "b"), None);
}

#[tokio::test]
async fn a_column_that_the_table_is_partitioned_by_stays() {
    let dir = tempfile::TempDir::new().unwrap();
    let catalog = HadoopCatalog::new(dir.path().to_str().unwrap()).unwrap();
    let name = TableName::new("db", "t");
    let columns =
        vec![Column::new("id", LogicalType::Int), Column::new("name", LogicalType::String)];
    let schema = shardlake_change::TableSchema { columns, primary_key: vec![] };
    catalog.create(&name, &TableCreation { schema, ..TableCreation::default() }).await.unwrap();
    let table = catalog.load(&name).await.unwrap();
    let spec = iceberg::spec::UnboundPartitionSpec::builder()
        .add_partition_field(2, "name", iceberg::spec::Transform::Identity)
        .unwrap()
        .build();
    let built = table.metadata().clone().into_builder(None);
    let built = built.add_default_partition_spec(spec).unwrap().build().unwrap();
    catalog.publish(&table, built).await.unwrap();
    let error = alter(&catalog, &name, &[TableChange::DropColumn("name".into())]).await;
    assert_eq!(
        error.unwrap_err().to_string(),
        "column 'name' cannot be dropped: the table is partitioned or sorted by it"
    );
}
