//! What readers that are not ours see in the tables of every layout and delete mode.

use std::fs::File;

use arrow::array::{
    ArrayRef, Int32Array, Int32Builder, ListBuilder, MapBuilder, StringBuilder, StructArray,
    TimestampNanosecondArray,
};
use parquet::file::reader::{FileReader, SerializedFileReader};
use shardlake_testkit::{Reader, or_skip};
use tempfile::TempDir;

use super::*;
use crate::commit::Committer;

/// Inserts, updates that move rows to other partitions, and deletes, in several epochs.
const EPOCHS: [&str; 4] = [
    "+I 1 | apple\n+I 2 | bread\n+I 3 | cheese\n+I 4 | dates\n+I 5 | NULL",
    "-U 1 | apple\n+U 1 | zucchini\n-D 2 | bread\n+I 6 | a b/c=d",
    "-U 3 | cheese\n+U 3 | apple\n-U 3 | apple\n+U 3 | bread\n+I 7 | x\n-D 7 | x",
    "-U 5 | NULL\n+U 5 | elder\n-D 4 | dates\n-U 6 | a b/c=d\n+U 9 | a b/c=d",
];

#[test]
fn foreign_readers_see_the_rows_in_every_layout_and_mode() {
    or_skip!(Reader::ensure_available());
    let expected = [
        r#"{"id":1,"name":"zucchini"}"#,
        r#"{"id":3,"name":"bread"}"#,
        r#"{"id":5,"name":"elder"}"#,
        r#"{"id":9,"name":"a b/c=d"}"#,
    ];
    let modes = [(None, 2), (None, 3), (Some(DeleteMode::Equality), 2)];
    for (mode, format_version) in modes {
        for partitioned in [false, true] {
            let layout =
                Layout { mode, format_version, partitioned, sorted: partitioned, by_file: false };
            let lake = layout.lake();
            let options = DeltaWriterOptions { delete_mode: mode, ..small_windows(3) };
            let mut run = Run::start(&lake, options);
            for (number, changes) in (1..).zip(EPOCHS) {
                // DuckDB 1.5.5 fails on a partition of NULL with deletes.
                let changes = if partitioned { &changes.replace("NULL", "egg") } else { changes };
                run.epoch(number, changes);
            }
            let folder = lake.dir.path().join("db/users");
            let duckdb = Reader::DuckDb.rows(&folder).unwrap_or_else(|e| panic!("{layout:?}: {e}"));
            assert_eq!(duckdb, expected, "DuckDB, {layout:?}");
            if mode != Some(DeleteMode::Equality) {
                let pyiceberg = Reader::PyIceberg.rows(&folder).unwrap();
                assert_eq!(pyiceberg, expected, "pyiceberg, {layout:?}");
            }
        }
    }
}

/// A table of format version 3 with nested columns and nanoseconds, and two rows for it.
fn nested(dir: &TempDir) -> (Arc<dyn Catalog>, TableName, RecordBatch) {
    let catalog: Arc<dyn Catalog> =
        Arc::new(HadoopCatalog::new(dir.path().to_str().unwrap()).unwrap());
    let name = TableName::new("db", "nested");
    let address =
        vec![("city".to_owned(), LogicalType::String), ("zip".to_owned(), LogicalType::Int)];
    let map = LogicalType::Map(Box::new(LogicalType::String), Box::new(LogicalType::Int));
    let columns = vec![
        Column::new("id", LogicalType::BigInt).not_null(),
        Column::new("tags", LogicalType::Array(Box::new(LogicalType::String))),
        Column::new("counts", map),
        Column::new("address", LogicalType::Row(address)),
        Column::new("at", LogicalType::Timestamp(9)),
    ];
    let creation = TableCreation {
        schema: TableSchema { columns, primary_key: vec!["id".to_owned()] },
        format_version: 3,
        ..TableCreation::default()
    };
    block_on(catalog.create(&name, &creation)).unwrap();
    let mut tags = ListBuilder::new(StringBuilder::new());
    tags.append_value([Some("a"), None]);
    tags.append_null();
    let mut counts = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
    counts.keys().append_value("k");
    counts.values().append_value(7);
    counts.append(true).unwrap();
    counts.append(true).unwrap();
    let field = |name: &str, kind| Arc::new(Field::new(name, kind, true));
    let cities: ArrayRef = Arc::new(StringArray::from(vec![Some("Bonn"), None]));
    let zips: ArrayRef = Arc::new(Int32Array::from(vec![Some(53_111), None]));
    let address = StructArray::from(vec![
        (field("city", DataType::Utf8), cities),
        (field("zip", DataType::Int32), zips),
    ]);
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
    let times: ArrayRef =
        Arc::new(TimestampNanosecondArray::from(vec![Some(1_510_871_468_123_456_789), None]));
    let rows = RecordBatch::try_from_iter_with_nullable([
        ("id", ids, false),
        ("tags", Arc::new(tags.finish()) as ArrayRef, true),
        ("counts", Arc::new(counts.finish()) as ArrayRef, true),
        ("address", Arc::new(address) as ArrayRef, true),
        ("at", times, true),
    ]);
    (catalog, name, rows.unwrap())
}

#[test]
fn nested_columns_and_nanoseconds_are_written_with_their_field_ids() {
    let dir = TempDir::new().unwrap();
    let (catalog, name, rows) = nested(&dir);
    let committer = block_on(Committer::claim(catalog, &name, "job", "id")).unwrap();
    let shared = block_on(WriterShared::load(committer.table(), DeltaWriterOptions::default()));
    let mut run = Run { committer, writer: DeltaWriter::new(shared.unwrap(), 0) };
    run.writer.write(1, ChangeBatch::inserts(rows)).unwrap();
    let files = run.writer.close_epoch(1).unwrap();
    let file = &files.data[0];
    let opened = File::open(file.file_path()).unwrap();
    let reader = SerializedFileReader::new(opened).unwrap();
    let leaves = reader.metadata().file_metadata().schema_descr().columns().to_vec();
    let ids: Vec<String> = leaves
        .iter()
        .map(|leaf| format!("{} {}", leaf.path().string(), leaf.self_type().get_basic_info().id()))
        .collect();
    assert_eq!(
        ids,
        [
            "id 1",
            "tags.list.element 6",
            "counts.key_value.key 7",
            "counts.key_value.value 8",
            "address.city 9",
            "address.zip 10",
            "at 5"
        ]
    );
    // Columns in structs have bounds, those in lists and maps do not.
    let bounded: BTreeSet<i32> = file.lower_bounds().keys().copied().collect();
    assert_eq!(bounded, BTreeSet::from([1, 5, 9, 10]));
    run.commit(1, files).unwrap();
    or_skip!(Reader::ensure_available());
    let rows = Reader::DuckDb.rows(&dir.path().join("db/nested")).unwrap();
    assert_eq!(rows.len(), 2);
    assert!(rows[0].contains(r#""tags":["a",null]"#), "{}", rows[0]);
    assert!(rows[0].contains(r#""city":"Bonn""#), "{}", rows[0]);
}
