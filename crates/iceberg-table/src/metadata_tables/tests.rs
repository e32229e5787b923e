use std::sync::Arc;

use arrow::util::pretty::pretty_format_batches;
use datafusion::prelude::SessionContext;
use iceberg::spec::{DataContentType, Literal, Transform};

use super::MetadataTable;
use crate::AsOf;
use crate::provider::tests::fixture::{Fixture, longs, partition, texts};

/// A table of two partitions, an append and a delete.
async fn fixture() -> Fixture {
    let mut fixture = Fixture::id_name().await;
    fixture.partition_by(2, "letter", Transform::Truncate(1)).await;
    let mut files = Vec::new();
    for (id, name) in [(1, "ab"), (2, "cd")] {
        let written = fixture.parquet(&[
            (1, "id", longs([Some(id), Some(id + 10)])),
            (2, "name", texts([Some(name), Some(name)])),
        ]);
        let letter: String = name.chars().take(1).collect();
        let file = fixture
            .file(DataContentType::Data, written)
            .partition(partition(Some(Literal::string(letter))))
            .build()
            .unwrap();
        files.push(file);
    }
    fixture.commit(files.clone()).await;
    let mut deletes = fixture.position_deletes(&[(&files[0], 1)]);
    deletes = fixture
        .file(
            DataContentType::PositionDeletes,
            (deletes.file_path().to_owned(), deletes.file_size_in_bytes(), 1),
        )
        .partition(partition(Some(Literal::string("a"))))
        .build()
        .unwrap();
    fixture.commit(vec![deletes]).await;
    fixture
}

async fn query(fixture: &Fixture, kind: MetadataTable, as_of: &AsOf, sql: &str) -> String {
    let context = SessionContext::new();
    let provider = kind.load(&fixture.table, as_of).await.unwrap();
    context.register_table("m", Arc::clone(&provider)).unwrap();
    let batches = context.sql(sql).await.unwrap().collect().await.unwrap();
    pretty_format_batches(&batches).unwrap().to_string()
}

#[tokio::test]
async fn every_kind_has_the_documented_columns() {
    let fixture = fixture().await;
    let mut text = String::new();
    for kind in MetadataTable::ALL {
        assert_eq!(MetadataTable::parse(kind.name()), Some(kind));
        let provider = kind.load(&fixture.table, &AsOf::Current).await.unwrap();
        let schema = provider.schema();
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        text.push_str(&format!("{}: {}\n", kind.name(), names.join(" ")));
    }
    assert_eq!(MetadataTable::parse("nothing"), None);
    insta::assert_snapshot!(text, @"
    history: made_current_at snapshot_id parent_id is_current_ancestor
    metadata_log_entries: timestamp file latest_snapshot_id latest_schema_id latest_sequence_number
    snapshots: committed_at snapshot_id parent_id operation manifest_list summary
    refs: name type snapshot_id max_reference_age_in_ms min_snapshots_to_keep max_snapshot_age_in_ms
    manifests: content path length partition_spec_id added_snapshot_id added_data_files_count existing_data_files_count deleted_data_files_count added_delete_files_count existing_delete_files_count deleted_delete_files_count partition_summaries key_metadata
    entries: status snapshot_id sequence_number file_sequence_number data_file
    files: content file_path file_format spec_id partition record_count file_size_in_bytes column_sizes value_counts null_value_counts nan_value_counts lower_bounds upper_bounds key_metadata split_offsets equality_ids sort_order_id first_row_id referenced_data_file content_offset content_size_in_bytes
    data_files: content file_path file_format spec_id partition record_count file_size_in_bytes column_sizes value_counts null_value_counts nan_value_counts lower_bounds upper_bounds key_metadata split_offsets equality_ids sort_order_id first_row_id referenced_data_file content_offset content_size_in_bytes
    delete_files: content file_path file_format spec_id partition record_count file_size_in_bytes column_sizes value_counts null_value_counts nan_value_counts lower_bounds upper_bounds key_metadata split_offsets equality_ids sort_order_id first_row_id referenced_data_file content_offset content_size_in_bytes
    partitions: partition spec_id record_count file_count total_data_file_size_in_bytes position_delete_record_count position_delete_file_count equality_delete_record_count equality_delete_file_count last_updated_at last_updated_snapshot_id
    ");
}

#[tokio::test]
async fn files_are_those_of_the_snapshot() {
    let fixture = fixture().await;
    let sql = "SELECT content, file_format, partition, record_count FROM m ORDER BY 1, 3";
    let current = query(&fixture, MetadataTable::Files, &AsOf::Current, sql).await;
    insta::assert_snapshot!(current, @"
    +---------+-------------+-------------+--------------+
    | content | file_format | partition   | record_count |
    +---------+-------------+-------------+--------------+
    | 0       | PARQUET     | {letter: a} | 2            |
    | 0       | PARQUET     | {letter: c} | 2            |
    | 1       | PARQUET     | {letter: a} | 1            |
    +---------+-------------+-------------+--------------+
    ");
    let first = query(&fixture, MetadataTable::Files, &AsOf::SnapshotId(1), sql).await;
    insta::assert_snapshot!(first, @"
    +---------+-------------+-------------+--------------+
    | content | file_format | partition   | record_count |
    +---------+-------------+-------------+--------------+
    | 0       | PARQUET     | {letter: a} | 2            |
    | 0       | PARQUET     | {letter: c} | 2            |
    +---------+-------------+-------------+--------------+
    ");
    let count = "SELECT count(*) AS n FROM m";
    let deletes = query(&fixture, MetadataTable::DeleteFiles, &AsOf::Current, count).await;
    insta::assert_snapshot!(deletes, @"
    +---+
    | n |
    +---+
    | 1 |
    +---+
    ");
}

#[tokio::test]
async fn history_and_snapshots_name_parents() {
    let fixture = fixture().await;
    let sql = "SELECT snapshot_id, parent_id, is_current_ancestor FROM m ORDER BY 1";
    insta::assert_snapshot!(query(&fixture, MetadataTable::History, &AsOf::Current, sql).await, @"
    +-------------+-----------+---------------------+
    | snapshot_id | parent_id | is_current_ancestor |
    +-------------+-----------+---------------------+
    | 1           |           | true                |
    | 2           | 1         | true                |
    +-------------+-----------+---------------------+
    ");
    let sql = "SELECT snapshot_id, parent_id, operation, summary FROM m ORDER BY 1";
    insta::assert_snapshot!(query(&fixture, MetadataTable::Snapshots, &AsOf::Current, sql).await, @"
    +-------------+-----------+-----------+---------+
    | snapshot_id | parent_id | operation | summary |
    +-------------+-----------+-----------+---------+
    | 1           |           | append    | {}      |
    | 2           | 1         | append    | {}      |
    +-------------+-----------+-----------+---------+
    ");
    let sql = "SELECT name, type, snapshot_id FROM m";
    insta::assert_snapshot!(query(&fixture, MetadataTable::Refs, &AsOf::Current, sql).await, @"
    +------+--------+-------------+
    | name | type   | snapshot_id |
    +------+--------+-------------+
    | main | BRANCH | 2           |
    +------+--------+-------------+
    ");
    let sql = "SELECT latest_snapshot_id, latest_sequence_number FROM m ORDER BY 1 NULLS FIRST";
    insta::assert_snapshot!(
        query(&fixture, MetadataTable::MetadataLogEntries, &AsOf::Current, sql).await, @"
    +--------------------+------------------------+
    | latest_snapshot_id | latest_sequence_number |
    +--------------------+------------------------+
    |                    |                        |
    | 1                  | 1                      |
    | 2                  | 2                      |
    +--------------------+------------------------+
    ");
}

#[tokio::test]
async fn manifests_and_partitions_sum_up() {
    let fixture = fixture().await;
    let sql = "SELECT content, added_data_files_count AS data, added_delete_files_count AS del, \
               partition_summaries FROM m ORDER BY content";
    insta::assert_snapshot!(query(&fixture, MetadataTable::Manifests, &AsOf::Current, sql).await, @"
    +---------+------+-----+-------------------------------------------------------------------------------+
    | content | data | del | partition_summaries                                                           |
    +---------+------+-----+-------------------------------------------------------------------------------+
    | 0       | 2    | 0   | [{contains_null: false, contains_nan: false, lower_bound: a, upper_bound: c}] |
    | 1       | 0    | 1   | [{contains_null: false, contains_nan: false, lower_bound: a, upper_bound: a}] |
    +---------+------+-----+-------------------------------------------------------------------------------+
    ");
    let sql = "SELECT partition, record_count, file_count, position_delete_record_count AS deleted, \
               last_updated_snapshot_id AS by FROM m ORDER BY partition";
    insta::assert_snapshot!(query(&fixture, MetadataTable::Partitions, &AsOf::Current, sql).await, @"
    +-------------+--------------+------------+---------+----+
    | partition   | record_count | file_count | deleted | by |
    +-------------+--------------+------------+---------+----+
    | {letter: a} | 2            | 1          | 1       | 2  |
    | {letter: c} | 2            | 1          | 0       | 1  |
    +-------------+--------------+------------+---------+----+
    ");
    let sql =
        "SELECT status, sequence_number, data_file['content'] AS content FROM m ORDER BY 2, 3";
    insta::assert_snapshot!(query(&fixture, MetadataTable::Entries, &AsOf::Current, sql).await, @"
        +--------+-----------------+---------+
        | status | sequence_number | content |
        +--------+-----------------+---------+
        | 1      | 1               | 0       |
        | 1      | 1               | 0       |
        | 1      | 2               | 1       |
        +--------+-----------------+---------+
        ");
}

#[tokio::test]
async fn a_table_without_snapshots_has_empty_metadata_tables() {
    let fixture = Fixture::id_name().await;
    for kind in MetadataTable::ALL {
        let rows = query(&fixture, kind, &AsOf::Current, "SELECT count(*) AS n FROM m").await;
        let expected = if kind == MetadataTable::MetadataLogEntries { "| 1 |" } else { "| 0 |" };
        assert!(rows.contains(expected), "{}: {rows}", kind.name());
    }
}
