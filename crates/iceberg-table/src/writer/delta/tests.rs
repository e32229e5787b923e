mod foreign;

use std::collections::BTreeMap;

use arrow::array::{Float64Array, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use futures::executor::block_on;
use iceberg::spec::Datum;
use proptest::prelude::*;
use shardlake_change::{Column, LogicalType, TableSchema};

use super::*;
use crate::testing::{Lake, Run, changelog, files, read};
use crate::writer::position_delete;
use crate::{
    Catalog, DeleteMode, DeltaWriterOptions, HadoopCatalog, PartitionField, SortField,
    TableCreation, TableName,
};

fn small_windows(window_rows: usize) -> DeltaWriterOptions {
    DeltaWriterOptions { window_rows, encoder_count: 2, ..DeltaWriterOptions::default() }
}

#[test]
fn only_the_last_state_of_a_key_is_written() {
    let lake = Lake::new();
    let mut run = Run::start(&lake, DeltaWriterOptions::default());
    let files = run.epoch(
        1,
        "+I 1 | a\n+I 2 | b\n-U 1 | a\n+U 1 | c\n+I 3 | d\n-D 2 | b\n+U 3 | e\n-D 9 | x\n+I 2 | f",
    );
    assert_eq!(lake.rows(), ["1 | c", "2 | f", "3 | e"]);
    assert_eq!(files.data.iter().map(|file| file.record_count()).sum::<u64>(), 3);
    assert!(files.deletes.is_empty());
}

#[test]
fn rows_of_earlier_epochs_are_deleted_by_position_committed_or_not() {
    let lake = Lake::new();
    let mut run = Run::start(&lake, DeltaWriterOptions::default());
    run.epoch(1, "+I 1 | a\n+I 2 | b\n+I 3 | c");
    run.writer.write(2, changelog("+I 4 | d\n-U 1 | a\n+U 1 | e")).unwrap();
    let second = run.writer.close_epoch(2).unwrap();
    run.writer.write(3, changelog("-D 4 | d\n-U 2 | b\n+U 9 | b\n-D 1 | e")).unwrap();
    let third = run.writer.close_epoch(3).unwrap();
    run.commit(2, second).unwrap();
    assert_eq!(lake.rows(), ["1 | e", "2 | b", "3 | c", "4 | d"]);
    // One delete file for rows of several data files.
    assert_eq!(third.deletes.len(), 1);
    assert_eq!(third.deletes[0].record_count(), 3);
    assert_eq!(third.deletes[0].referenced_data_file(), None);
    run.commit(3, third).unwrap();
    assert_eq!(lake.rows(), ["3 | c", "9 | b"]);
}

#[test]
fn epochs_may_overlap() {
    let lake = Lake::new();
    let mut run = Run::start(&lake, DeltaWriterOptions::default());
    run.writer.write(2, changelog("+I 1 | a\n+I 2 | b")).unwrap();
    run.writer.write(3, changelog("-D 1 | a\n+I 3 | c")).unwrap();
    run.writer.write(2, changelog("+I 5 | e")).unwrap();
    let second = run.writer.close_epoch(2).unwrap();
    run.commit(2, second).unwrap();
    assert_eq!(lake.rows(), ["1 | a", "2 | b", "5 | e"]);
    let third = run.writer.close_epoch(3).unwrap();
    run.commit(3, third).unwrap();
    assert_eq!(lake.rows(), ["2 | b", "3 | c", "5 | e"]);
}

#[test]
fn writers_of_several_workers_share_one_index() {
    let lake = Lake::new();
    let mut first = Run::start(&lake, DeltaWriterOptions::default());
    let mut second = DeltaWriter::new(Arc::clone(first.writer.shared()), 1);
    first.writer.write(1, changelog("+I 1 | a\n+I 3 | c")).unwrap();
    second.write(1, changelog("+I 2 | b\n+I 4 | d")).unwrap();
    let mut files = first.writer.close_epoch(1).unwrap();
    files.append(second.close_epoch(1).unwrap());
    first.commit(1, files).unwrap();
    // Which worker a key comes to may change from one epoch to the next.
    second.write(2, changelog("-U 1 | a\n+U 1 | e")).unwrap();
    first.writer.write(2, changelog("-D 4 | d")).unwrap();
    let mut files = first.writer.close_epoch(2).unwrap();
    files.append(second.close_epoch(2).unwrap());
    first.commit(2, files).unwrap();
    assert_eq!(lake.rows(), ["1 | e", "2 | b", "3 | c"]);
}

#[test]
fn a_key_whose_changes_come_in_the_wrong_order_of_epochs_is_refused() {
    let lake = Lake::new();
    let mut run = Run::start(&lake, DeltaWriterOptions::default());
    run.writer.write(3, changelog("+I 1 | new")).unwrap();
    run.writer.write(2, changelog("+I 1 | old")).unwrap();
    assert!(run.writer.close_epoch(2).is_err());
}

#[test]
fn without_a_key_rows_are_appended_and_changes_refused() {
    let lake = Lake::with(&[], &[]);
    let mut run = Run::start(&lake, DeltaWriterOptions::default());
    run.epoch(1, "+I 1 | a\n+I 1 | a");
    assert_eq!(lake.rows(), ["1 | a", "1 | a"]);
    let error = run.writer.write(2, changelog("-D 1 | a")).unwrap_err().to_string();
    assert_eq!(error, "a table without a primary key takes inserts only; declare a primary key");
}

#[test]
fn a_table_of_format_version_1_takes_inserts_only() {
    let lake = Lake::made_of(&[], &["id"], |creation| creation.format_version = 1);
    let mut run = Run::start(&lake, DeltaWriterOptions::default());
    run.epoch(1, "+I 1 | a");
    run.epoch(2, "+I 2 | b");
    assert_eq!(lake.rows(), ["1 | a", "2 | b"]);
    let error = run.writer.write(3, changelog("-D 1 | a")).unwrap_err().to_string();
    assert!(error.starts_with("a table of format version 1 has no deletes"), "{error}");
}

#[test]
fn files_are_in_the_folder_of_their_partition_and_few_are_open() {
    let properties = [("shardlake.table.open-files", "2")];
    let lake = Lake::made_of(&properties, &["id"], |creation| {
        creation.partitioned_by = vec![PartitionField::identity("name")];
    });
    let mut run = Run::start(&lake, DeltaWriterOptions::default());
    let changes: Vec<String> = (0..12).map(|id| format!("+I {id} | p{}", id % 6)).collect();
    let written = run.epoch(1, &changes.join("\n"));
    assert_eq!(written.data.len(), 6);
    for file in &written.data {
        let folder = lake.dir.path().join("db/users/data");
        let path = file.file_path().strip_prefix(folder.to_str().unwrap()).unwrap();
        assert!(path.starts_with("/name=p"), "{path}");
        assert_eq!(file.record_count(), 2);
    }
    // The row of a key that moves to another partition is deleted in the old one.
    let moved = run.epoch(2, "-U 0 | p0\n+U 0 | p1");
    assert_eq!(moved.deletes[0].partition(), written.data[0].partition());
    assert_ne!(moved.deletes[0].partition(), moved.data[0].partition());
    assert_eq!(lake.rows().len(), 12);
}

#[test]
fn deletes_share_a_file_as_the_table_says() {
    for (granularity, count) in [("partition", 1), ("file", 3)] {
        let lake = Lake::with(&[("write.delete.granularity", granularity)], &["id"]);
        let mut run = Run::start(&lake, DeltaWriterOptions::default());
        (1..=3).for_each(|id| drop(run.epoch(id, &format!("+I {id} | a"))));
        let files = run.epoch(4, "-D 1 | a\n-D 2 | a\n-D 3 | a");
        assert_eq!(files.deletes.len(), count);
        assert_eq!(files.deletes[0].referenced_data_file().is_some(), granularity == "file");
        assert!(lake.rows().is_empty());
    }
}

#[test]
fn a_file_says_that_it_is_sorted_only_if_it_is() {
    let lake = Lake::made_of(&[], &["id"], |creation| {
        creation.sorted_by = SortField::parse_list("name desc").unwrap();
    });
    let mut run = Run::start(&lake, DeltaWriterOptions { encoder_count: 1, ..small_windows(2) });
    let names = |file: &iceberg::spec::DataFile| -> Vec<String> {
        let batches = read(file);
        let names = batches.iter().flat_map(|batch| {
            batch.column(1).as_any().downcast_ref::<StringArray>().unwrap().iter().flatten()
        });
        names.map(str::to_owned).collect()
    };
    let sorted = run.epoch(1, "+I 1 | a\n+I 2 | b");
    assert_eq!(names(&sorted.data[0]), ["b", "a"]);
    assert_eq!(sorted.data[0].sort_order_id(), Some(1));
    run.writer.write(2, changelog("+I 3 | a\n+I 4 | b")).unwrap();
    run.writer.write(2, changelog("+I 5 | c")).unwrap();
    let files = run.writer.close_epoch(2).unwrap();
    assert_eq!(names(&files.data[0]), ["b", "a", "c"]);
    assert_eq!(files.data[0].sort_order_id(), None);
}

#[test]
fn equality_deletes_hold_keys_once_and_hit_older_rows_only() {
    let lake = Lake::new();
    let options =
        DeltaWriterOptions { delete_mode: Some(DeleteMode::Equality), ..small_windows(3) };
    let mut run = Run::start(&lake, options);
    run.epoch(1, "+I 1 | a\n+I 2 | b");
    run.writer.write(2, changelog("-U 1 | a\n+U 1 | c")).unwrap();
    run.writer.write(2, changelog("-U 1 | c\n+U 1 | d\n+I 3 | e\n-D 3 | e")).unwrap();
    let files = run.writer.close_epoch(2).unwrap();
    let equality = files.deletes.iter().find(|file| file.equality_ids().is_some()).unwrap();
    assert_eq!(equality.record_count(), 1);
    run.commit(2, files).unwrap();
    assert_eq!(lake.rows(), ["1 | d", "2 | b"]);
    // A writer with a key index goes on from there.
    let mut run = Run::start(&lake, DeltaWriterOptions::default());
    run.epoch(3, "-D 2 | b\n-U 1 | d\n+U 1 | f");
    assert_eq!(lake.rows(), ["1 | f"]);
}

#[test]
fn a_null_in_a_required_column_is_refused_by_column() {
    let lake = Lake::new();
    let mut run = Run::start(&lake, DeltaWriterOptions::default());
    let schema = Arc::new(Schema::new(vec![
        Field::new("name", DataType::Utf8, true),
        Field::new("id", DataType::Int64, true),
    ]));
    let rows = RecordBatch::try_new(
        schema,
        vec![Arc::new(StringArray::from(vec!["a"])), Arc::new(Int64Array::from(vec![None]))],
    );
    let error = run.writer.write(1, ChangeBatch::inserts(rows.unwrap())).unwrap_err().to_string();
    assert_eq!(error, "column 'id' is NOT NULL, but a row has NULL in it");
}

#[test]
fn files_are_rolled_at_their_target_size() {
    let lake = Lake::with(&[("write.target-file-size-bytes", "2000")], &["id"]);
    let mut run = Run::start(&lake, small_windows(50));
    for first in (0..2000).step_by(50) {
        let lines: Vec<String> =
            (first..first + 50).map(|id| format!("+I {id} | name {id}")).collect();
        run.writer.write(1, changelog(&lines.join("\n"))).unwrap();
    }
    let files = run.writer.close_epoch(1).unwrap();
    assert!(files.data.len() > 3, "{} files", files.data.len());
    run.commit(1, files).unwrap();
    assert_eq!(lake.rows().len(), 2000);
}

#[test]
fn files_that_were_not_closed_are_removed() {
    let lake = Lake::new();
    let mut run = Run::start(&lake, small_windows(1));
    run.epoch(1, "+I 1 | a");
    let folder = lake.dir.path().join("db/users/data");
    let count = || std::fs::read_dir(&folder).unwrap().count();
    run.writer.write(2, changelog("+I 2 | b")).unwrap();
    drop(run);
    // The encoder removes the file when it notices.
    for _ in 0..1000 {
        if count() == 1 {
            return;
        }
        std::thread::park_timeout(std::time::Duration::from_millis(5));
    }
    panic!("{} files", count());
}

#[test]
fn rows_of_other_writers_with_known_keys_are_superseded_at_the_next_start() {
    let lake = Lake::new();
    Run::start(&lake, DeltaWriterOptions::default()).epoch(1, "+I 1 | a\n+I 2 | b");
    // Another writer that knows no key appends key 1 again.
    let mut foreign = Run::start(&lake, DeltaWriterOptions::default());
    let shared =
        block_on(WriterShared::load(foreign.committer.table(), DeltaWriterOptions::default()));
    let mut shared = Arc::into_inner(shared.unwrap()).unwrap();
    shared.key = None;
    foreign.writer = DeltaWriter::new(Arc::new(shared), 0);
    foreign.epoch(2, "+I 1 | again");
    assert_eq!(lake.rows(), ["1 | a", "1 | again", "2 | b"]);
    Run::start(&lake, DeltaWriterOptions::default()).epoch(3, "+I 3 | c");
    assert_eq!(lake.rows(), ["1 | again", "2 | b", "3 | c"]);
}

/// One change of the model.
#[derive(Clone, Debug)]
enum Op {
    Upsert(i64, u8),
    Delete(i64),
    /// The key itself changes.
    Move(i64, i64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..12i64, any::<u8>()).prop_map(|(key, value)| Op::Upsert(key, value)),
        2 => (0..12i64).prop_map(Op::Delete),
        1 => (0..12i64, 0..12i64).prop_map(|(from, to)| Op::Move(from, to)),
    ]
}

/// Applies a change and prints it as a changelog.
fn apply(model: &mut BTreeMap<i64, u8>, op: &Op, text: &mut String) {
    let mut line = |kind: &str, key: i64, value: u8| {
        text.push_str(&format!("{kind} {key} | v{value}\n"));
    };
    match op {
        Op::Upsert(key, value) => match model.insert(*key, *value) {
            Some(old) => {
                line("-U", *key, old);
                line("+U", *key, *value);
            }
            None => line("+I", *key, *value),
        },
        Op::Delete(key) => {
            if let Some(old) = model.remove(key) {
                line("-D", *key, old);
            }
        }
        Op::Move(from, to) if from != to && !model.contains_key(to) => {
            if let Some(value) = model.remove(from) {
                line("-U", *from, value);
                line("+U", *to, value);
                model.insert(*to, value);
            }
        }
        Op::Move(..) => {}
    }
}

#[derive(Clone, Debug)]
struct Epoch {
    batches: Vec<Vec<Op>>,
    /// How many batches are written before the process dies and the epoch is tried again.
    dies_after: Option<usize>,
}

fn epoch() -> impl Strategy<Value = Epoch> {
    let batches = prop::collection::vec(prop::collection::vec(op(), 0..8), 0..6);
    (batches, prop::option::weighted(0.3, 0..7usize))
        .prop_map(|(batches, dies_after)| Epoch { batches, dies_after })
}

/// How the table of a test is laid out and deleted from.
#[derive(Clone, Copy, Debug)]
struct Layout {
    mode: Option<DeleteMode>,
    format_version: u8,
    partitioned: bool,
    sorted: bool,
    by_file: bool,
}

fn layout() -> impl Strategy<Value = Layout> {
    let modes = prop_oneof![
        Just((None, 2)),
        Just((None, 3)),
        Just((Some(DeleteMode::Equality), 2)),
        Just((Some(DeleteMode::Equality), 3)),
    ];
    (modes, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |((mode, format_version), partitioned, sorted, by_file)| Layout {
            mode,
            format_version,
            partitioned,
            sorted,
            by_file,
        },
    )
}

impl Layout {
    fn lake(self) -> Lake {
        let granularity = if self.by_file { "file" } else { "partition" };
        let properties = [
            ("commit.manifest.min-count-to-merge", "3"),
            ("write.delete.granularity", granularity),
            ("shardlake.table.open-files", "2"),
        ];
        Lake::made_of(&properties, &["id"], |creation| {
            creation.format_version = self.format_version;
            if self.partitioned {
                // By the value, so that an update moves a row to another partition.
                creation.partitioned_by = vec![PartitionField::parse("truncate(2, name)").unwrap()];
            }
            if self.sorted {
                creation.sorted_by = SortField::parse_list("name desc, id").unwrap();
            }
        })
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn the_table_equals_the_model_after_every_epoch(
        epochs in prop::collection::vec(epoch(), 1..8),
        window_rows in 1..20usize,
        layout in layout(),
    ) {
        let lake = layout.lake();
        let options = DeltaWriterOptions { delete_mode: layout.mode, ..small_windows(window_rows) };
        let mut run = Run::start(&lake, options);
        let mut model = BTreeMap::new();
        for (number, epoch) in (1..).zip(&epochs) {
            let mut batches = Vec::new();
            for ops in &epoch.batches {
                let mut text = String::new();
                ops.iter().for_each(|op| apply(&mut model, op, &mut text));
                batches.push(changelog(&text));
            }
            if let Some(count) = epoch.dies_after {
                for batch in batches.iter().take(count) {
                    run.writer.write(number, batch.clone()).unwrap();
                }
                if count > batches.len() {
                    run.writer.close_epoch(number).unwrap();
                }
                run = Run::start(&lake, options);
                let committed = run.committer.progress().map_or(0, |progress| progress.epoch);
                prop_assert_eq!(committed + 1, number);
            }
            for batch in batches {
                run.writer.write(number, batch).unwrap();
            }
            let files = run.writer.close_epoch(number).unwrap();
            run.commit(number, files).unwrap();
            let mut expected: Vec<String> =
                model.iter().map(|(key, value)| format!("{key} | v{value}")).collect();
            expected.sort();
            prop_assert_eq!(lake.rows(), expected);
        }
    }
}

#[test]
fn bounds_hold_for_long_text_in_several_row_groups() {
    // One row group whose text is cut in the statistics, and one whose text is not.
    let lake = Lake::with(&[("write.parquet.row-group-size-bytes", "1")], &["id"]);
    let mut run = Run::start(&lake, small_windows(1));
    let long = "z".repeat(100);
    run.writer.write(1, changelog(&format!("+I 1 | {long}"))).unwrap();
    run.writer.write(1, changelog("+I 2 | b")).unwrap();
    let files = run.writer.close_epoch(1).unwrap();
    let groups: usize = files.data.iter().map(|file| file.split_offsets().unwrap().len()).sum();
    assert_eq!(groups, 2);
    let covers = |file: &iceberg::spec::DataFile, name: &str| {
        let name = Datum::string(name);
        file.lower_bounds().get(&2).is_none_or(|bound| *bound <= name)
            && file.upper_bounds().get(&2).is_none_or(|bound| *bound >= name)
    };
    for file in &files.data {
        for batch in read(file) {
            let names: &StringArray = batch.column(1).as_any().downcast_ref().unwrap();
            assert!(names.iter().flatten().all(|name| covers(file, name)));
            assert!(file.upper_bounds()[&2].to_bytes().unwrap().len() <= 16);
        }
    }
}

#[test]
fn counts_and_bounds_of_all_types_are_those_of_the_rows() {
    let dir = tempfile::TempDir::new().unwrap();
    let catalog = HadoopCatalog::new(dir.path().to_str().unwrap()).unwrap();
    let columns = vec![
        Column::new("d", LogicalType::Double),
        Column::new("small", LogicalType::Decimal { precision: 9, scale: 2 }),
        Column::new("middle", LogicalType::Decimal { precision: 18, scale: 2 }),
        Column::new("large", LogicalType::Decimal { precision: 38, scale: 2 }),
        Column::new("text", LogicalType::String),
    ];
    let schema = TableSchema { columns, primary_key: vec![] };
    let arrow = schema.to_arrow();
    let creation = TableCreation { schema, ..TableCreation::default() };
    let table = block_on(catalog.create(&TableName::new("db", "t"), &creation)).unwrap();
    let shared = block_on(WriterShared::load(&table, DeltaWriterOptions::default())).unwrap();
    let mut writer = DeltaWriter::new(shared, 0);
    let number = |index: usize| {
        let numbers = Int64Array::from(vec![Some(-5), None, Some(7)]);
        cast(&numbers, arrow.field(index).data_type()).unwrap()
    };
    let rows = RecordBatch::try_new(
        Arc::clone(&arrow),
        vec![
            Arc::new(Float64Array::from(vec![Some(1.5), Some(f64::NAN), Some(-0.5)])),
            number(1),
            number(2),
            number(3),
            Arc::new(StringArray::from(vec![None::<&str>, None, None])),
        ],
    );
    writer.write(1, ChangeBatch::inserts(rows.unwrap())).unwrap();
    let written = writer.close_epoch(1).unwrap();
    let file = &written.data[0];
    let mut text = String::new();
    for id in 1..=5 {
        text.push_str(&format!(
            "{id}: values {}, nulls {}, nan {:?}, {:?} to {:?}\n",
            file.value_counts()[&id],
            file.null_value_counts()[&id],
            file.nan_value_counts().get(&id),
            file.lower_bounds().get(&id).map(ToString::to_string),
            file.upper_bounds().get(&id).map(ToString::to_string),
        ));
    }
    insta::assert_snapshot!(text, @r#"
    1: values 3, nulls 0, nan Some(1), Some("-0.5") to Some("1.5")
    2: values 3, nulls 1, nan None, Some("-5.00") to Some("7.00")
    3: values 3, nulls 1, nan None, Some("-5.00") to Some("7.00")
    4: values 3, nulls 1, nan None, Some("-5.00") to Some("7.00")
    5: values 3, nulls 3, nan None, None to None
    "#);
}

#[test]
fn a_delete_file_of_one_data_file_names_it_and_its_bounds_are_whole() {
    let lake = Lake::new();
    let mut run = Run::start(&lake, DeltaWriterOptions::default());
    let first = run.epoch(1, "+I 1 | a\n+I 2 | b\n+I 3 | c");
    let second = run.epoch(2, "-D 3 | c\n-D 1 | a");
    let path = first.data[0].file_path().to_owned();
    let file = &second.deletes[0];
    assert_eq!(file.referenced_data_file().as_ref(), Some(&path));
    let id = position_delete::PATH_ID;
    assert_eq!(file.lower_bounds()[&id], Datum::string(&path));
    assert_eq!(file.upper_bounds()[&id], Datum::string(&path));
    let text = format!("{:?}", read(file));
    assert!(text.contains("file_path") && text.contains("pos"));
    // Also after they have travelled as bytes.
    let again = WrittenFiles::decode(&second.encode().unwrap(), run.committer.table()).unwrap();
    assert_eq!(again, second);
    assert_eq!(files(&lake.table()).1.len(), 1);
}
