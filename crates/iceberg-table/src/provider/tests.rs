mod evolution;
pub(crate) mod fixture;
mod foreign;
mod model;

use iceberg::spec::{DataContentType, FormatVersion, Literal, Transform};

use self::fixture::{Change, Fixture, longs, partition, query, texts};
use crate::{AsOf, IcebergTableProvider};

const ALL: &str = "SELECT id, name FROM t ORDER BY id, name";

#[tokio::test]
async fn an_empty_table_has_columns_and_no_rows() {
    let fixture = Fixture::id_name().await;
    insta::assert_snapshot!(fixture.query("SELECT count(*) AS n FROM t").await, @"
    +---+
    | n |
    +---+
    | 0 |
    +---+
    ");
    insta::assert_snapshot!(fixture.query(ALL).await, @"
    ++
    ++
    ");
}

#[tokio::test]
async fn position_deletes_count_for_files_that_are_not_newer() {
    let mut fixture = Fixture::id_name().await;
    let first = fixture.rows(&[(1, "a"), (2, "b"), (3, "c")]);
    fixture.commit(vec![first.clone()]).await;
    // In one snapshot: a file, and deletes of it and of the older file.
    let second = fixture.rows(&[(4, "d"), (5, "e")]);
    let deletes = fixture.position_deletes(&[(&first, 1), (&second, 0)]);
    fixture.commit(vec![second, deletes]).await;
    insta::assert_snapshot!(fixture.query(ALL).await, @"
    +----+------+
    | id | name |
    +----+------+
    | 1  | a    |
    | 3  | c    |
    | 5  | e    |
    +----+------+
    ");
    insta::assert_snapshot!(fixture.query("SELECT count(*) AS n FROM t").await, @"
    +---+
    | n |
    +---+
    | 3 |
    +---+
    ");
    insta::assert_snapshot!(fixture.query("SELECT name FROM t WHERE id >= 2 ORDER BY id").await, @"
    +------+
    | name |
    +------+
    | c    |
    | e    |
    +------+
    ");
}

#[tokio::test]
async fn a_file_that_was_added_again_later_is_not_hit_by_older_position_deletes() {
    let mut fixture = Fixture::id_name().await;
    let file = fixture.rows(&[(1, "a"), (2, "b")]);
    let deletes = fixture.position_deletes(&[(&file, 0)]);
    fixture.commit(vec![deletes]).await;
    fixture.commit(vec![file]).await;
    insta::assert_snapshot!(fixture.query(ALL).await, @"
    +----+------+
    | id | name |
    +----+------+
    | 1  | a    |
    | 2  | b    |
    +----+------+
    ");
}

#[tokio::test]
async fn a_deletion_vector_replaces_the_position_deletes_of_its_file() {
    let mut fixture = Fixture::id_name().await;
    let file = fixture.rows(&[(1, "a"), (2, "b"), (3, "c")]);
    let other = fixture.rows(&[(4, "d"), (5, "e")]);
    let old = fixture.position_deletes(&[(&file, 0), (&other, 0)]);
    fixture.commit(vec![file.clone(), other, old]).await;
    fixture.upgrade(FormatVersion::V3).await;
    // A vector holds all deletes of its file, so row 1 is back: this writer left it out on purpose.
    let vector = fixture.deletion_vector(&file, &[2]);
    fixture.commit(vec![vector]).await;
    // The state before the upgrade is in the older format.
    let before = IcebergTableProvider::new(fixture.table.clone(), &AsOf::SnapshotId(1)).unwrap();
    let rows = query(before, "SELECT count(id) AS n FROM t").await.unwrap();
    assert!(rows.contains("| 3 |"), "{rows}");
    insta::assert_snapshot!(fixture.query(ALL).await, @"
    +----+------+
    | id | name |
    +----+------+
    | 1  | a    |
    | 2  | b    |
    | 5  | e    |
    +----+------+
    ");
    insta::assert_snapshot!(fixture.query("SELECT count(*) AS n FROM t").await, @"
    +---+
    | n |
    +---+
    | 3 |
    +---+
    ");
}

#[tokio::test]
async fn equality_deletes_count_for_older_files_only() {
    let mut fixture = Fixture::id_name().await;
    let old = fixture.rows(&[(1, "a"), (2, "b"), (3, "c")]);
    fixture.commit(vec![old]).await;
    let deletes = fixture.equality_deletes(&[(1, "id", longs([Some(1), Some(3)]))]);
    let new = fixture.rows(&[(3, "c2")]);
    fixture.commit(vec![new, deletes]).await;
    insta::assert_snapshot!(fixture.query(ALL).await, @"
    +----+------+
    | id | name |
    +----+------+
    | 2  | b    |
    | 3  | c2   |
    +----+------+
    ");
    // The key is not among the columns of the query.
    insta::assert_snapshot!(fixture.query("SELECT name FROM t ORDER BY name").await, @"
    +------+
    | name |
    +------+
    | b    |
    | c2   |
    +------+
    ");
    insta::assert_snapshot!(fixture.query("SELECT count(*) AS n FROM t").await, @"
    +---+
    | n |
    +---+
    | 2 |
    +---+
    ");
    insta::assert_snapshot!(fixture.query("SELECT id FROM t WHERE name > 'b' LIMIT 5").await, @"
    +----+
    | id |
    +----+
    | 3  |
    +----+
    ");
    // A compaction may keep the sequence number of what it rewrote.
    let again = fixture.rows(&[(1, "a"), (9, "z")]);
    fixture.commit_changes(vec![Change::AddAt(again, 1)]).await;
    insta::assert_snapshot!(fixture.query(ALL).await, @"
    +----+------+
    | id | name |
    +----+------+
    | 2  | b    |
    | 3  | c2   |
    | 9  | z    |
    +----+------+
    ");
}

#[tokio::test]
async fn null_in_a_key_equals_null_and_nothing_else() {
    let mut fixture = Fixture::id_name().await;
    let file = fixture.data(&[
        (1, "id", longs([Some(1), Some(2), Some(3), Some(4)])),
        (2, "name", texts([Some("a"), None, Some("b"), None])),
    ]);
    fixture.commit(vec![file]).await;
    // B2 of other readers: rows with NULL vanish when another value is deleted.
    let deletes = fixture.equality_deletes(&[(2, "name", texts([Some("a")]))]);
    fixture.commit(vec![deletes]).await;
    insta::assert_snapshot!(fixture.query(ALL).await, @"
    +----+------+
    | id | name |
    +----+------+
    | 2  |      |
    | 3  | b    |
    | 4  |      |
    +----+------+
    ");
    let deletes = fixture.equality_deletes(&[
        (2, "name", texts([None, Some("b")])),
        (1, "id", longs([Some(4), Some(7)])),
    ]);
    fixture.commit(vec![deletes]).await;
    insta::assert_snapshot!(fixture.query(ALL).await, @"
    +----+------+
    | id | name |
    +----+------+
    | 2  |      |
    | 3  | b    |
    +----+------+
    ");
}

#[tokio::test]
async fn equality_deletes_of_a_partition_stay_in_it() {
    let mut fixture = Fixture::id_name().await;
    fixture.partition_by(2, "name", Transform::Identity).await;
    let mut files = Vec::new();
    for name in ["a", "b"] {
        let written = fixture.parquet(&[
            (1, "id", longs([Some(1), Some(2)])),
            (2, "name", texts([Some(name), Some(name)])),
        ]);
        let file = fixture
            .file(DataContentType::Data, written)
            .partition(partition(Some(Literal::string(name))))
            .build()
            .unwrap();
        files.push(file);
    }
    fixture.commit(files).await;
    let written = fixture.parquet(&[(1, "id", longs([Some(1)]))]);
    let deletes = fixture
        .file(DataContentType::EqualityDeletes, written)
        .equality_ids(Some(vec![1]))
        .partition(partition(Some(Literal::string("b"))))
        .build()
        .unwrap();
    fixture.commit(vec![deletes]).await;
    insta::assert_snapshot!(fixture.query(ALL).await, @"
    +----+------+
    | id | name |
    +----+------+
    | 1  | a    |
    | 2  | a    |
    | 2  | b    |
    +----+------+
    ");
}

#[tokio::test]
async fn a_file_without_the_partition_column_reads_the_value_of_its_partition() {
    let mut fixture = Fixture::id_name().await;
    fixture.partition_by(2, "name", Transform::Identity).await;
    let mut files = Vec::new();
    for (id, name) in [(1, Some("x")), (2, None)] {
        let written = fixture.parquet(&[(1, "id", longs([Some(id)]))]);
        let file = fixture
            .file(DataContentType::Data, written)
            .partition(partition(name.map(Literal::string)))
            .build()
            .unwrap();
        files.push(file);
    }
    fixture.commit(files).await;
    insta::assert_snapshot!(fixture.query(ALL).await, @"
    +----+------+
    | id | name |
    +----+------+
    | 1  | x    |
    | 2  |      |
    +----+------+
    ");
    insta::assert_snapshot!(fixture.query("SELECT id FROM t WHERE name = 'x'").await, @"
    +----+
    | id |
    +----+
    | 1  |
    +----+
    ");
    insta::assert_snapshot!(fixture.query("SELECT id FROM t WHERE name IS NULL").await, @"
    +----+
    | id |
    +----+
    | 2  |
    +----+
    ");
}

#[tokio::test]
async fn states_are_found_by_snapshot_time_and_name() {
    let mut fixture = Fixture::id_name().await;
    let mut ids = Vec::new();
    for row in [(1, "a"), (2, "b"), (3, "c")] {
        let file = fixture.rows(&[row]);
        ids.push(fixture.commit(vec![file]).await);
    }
    let time = |id: i64| fixture.table.metadata().snapshot_by_id(id).unwrap().timestamp_ms();
    let (first, last) = (time(ids[0]), time(ids[2]));
    let rows = async |as_of: AsOf| {
        let provider = IcebergTableProvider::new(fixture.table.clone(), &as_of).unwrap();
        query(provider, "SELECT id FROM t").await.unwrap().matches("|").count() / 2 - 1
    };
    assert_eq!(rows(AsOf::SnapshotId(ids[1])).await, 2);
    assert_eq!(rows(AsOf::TimestampMs(first)).await, 1);
    assert_eq!(rows(AsOf::TimestampMs(last - 1)).await, 2);
    assert_eq!(rows(AsOf::TimestampMs(last)).await, 3);
    assert_eq!(rows(AsOf::Reference("main".to_owned())).await, 3);
    let error = |as_of: AsOf| {
        IcebergTableProvider::new(fixture.table.clone(), &as_of).unwrap_err().to_string()
    };
    for (as_of, expected) in [
        (AsOf::SnapshotId(77), "table db.t has no snapshot 77; it has 3 snapshots, from 1 of 20"),
        (
            AsOf::TimestampMs(0),
            "table db.t had no snapshot at time 1970-01-01 00:00:00 UTC (0 ms); it has 3 snapshots",
        ),
        (
            AsOf::Reference("audit".to_owned()),
            "table db.t has no branch or tag 'audit'; it has: 'main'",
        ),
    ] {
        let error = error(as_of);
        assert!(error.starts_with(expected), "{error}");
    }
}

#[tokio::test]
async fn missing_and_damaged_files_are_named() {
    let mut fixture = Fixture::id_name().await;
    let file = fixture.rows(&[(1, "a"), (2, "b")]);
    let deletes = fixture.position_deletes(&[(&file, 0)]);
    let snapshot = fixture.commit(vec![file.clone(), deletes.clone()]).await;
    let hide = |text: String| {
        text.replace(file.file_path(), "<data>").replace(deletes.file_path(), "<deletes>")
    };
    assert_eq!(snapshot, 1);
    let saved = std::fs::read(deletes.file_path()).unwrap();
    std::fs::write(deletes.file_path(), b"PAR1 and noise").unwrap();
    insta::assert_snapshot!(hide(fixture.query_error(ALL).await), @"External error: <deletes> is damaged or not supported: Parquet error: Invalid Parquet file. Corrupt footer");
    std::fs::remove_file(deletes.file_path()).unwrap();
    insta::assert_snapshot!(hide(fixture.query_error(ALL).await), @"External error: file <deletes> of snapshot 1 of table db.t is missing");
    std::fs::write(deletes.file_path(), saved).unwrap();
    std::fs::write(file.file_path(), b"noise").unwrap();
    insta::assert_snapshot!(hide(fixture.query_error(ALL).await), @"Parquet error: External: data file <data> of snapshot 1 of table db.t is damaged or not supported: the file is shorter than the manifest says");
    std::fs::remove_file(file.file_path()).unwrap();
    insta::assert_snapshot!(hide(fixture.query_error(ALL).await), @"Parquet error: External: data file <data> of snapshot 1 of table db.t is missing");
}

#[tokio::test]
async fn a_missing_manifest_is_named() {
    let mut fixture = Fixture::id_name().await;
    let file = fixture.rows(&[(1, "a")]);
    fixture.commit(vec![file]).await;
    let snapshot = fixture.table.current_snapshot().unwrap();
    let manifests = fixture.table.manifests(snapshot).await.unwrap();
    let path = manifests[0].manifest_path.clone();
    std::fs::remove_file(&path).unwrap();
    let error = fixture.query_error(ALL).await.replace(&path, "<manifest>");
    insta::assert_snapshot!(error, @"External error: file <manifest> of snapshot 1 of table db.t is missing");
}

#[tokio::test]
async fn a_wrong_deletion_vector_is_an_error() {
    let mut fixture = Fixture::id_name().await;
    fixture.upgrade(FormatVersion::V3).await;
    let file = fixture.rows(&[(1, "a"), (2, "b")]);
    let vector = fixture.deletion_vector(&file, &[1]);
    let mut bytes = std::fs::read(vector.file_path()).unwrap();
    bytes[10] ^= 0xff;
    std::fs::write(vector.file_path(), bytes).unwrap();
    fixture.commit(vec![file, vector.clone()]).await;
    let error = fixture.query_error(ALL).await.replace(vector.file_path(), "<vector>");
    insta::assert_snapshot!(error, @"External error: <vector> is damaged or not supported: the checksum of the deletion vector is wrong");
}

#[tokio::test]
async fn a_data_file_that_has_other_rows_than_the_manifest_says_is_refused() {
    let mut fixture = Fixture::id_name().await;
    let (path, size, _) = fixture.parquet(&[(1, "id", longs([Some(1), Some(2)]))]);
    let file = fixture.file(DataContentType::Data, (path, size, 5)).build().unwrap();
    let deletes = fixture.position_deletes(&[(&file, 0)]);
    fixture.commit(vec![file, deletes]).await;
    let error = fixture.query_error(ALL).await;
    assert!(error.contains("selection"), "{error}");
}

#[tokio::test]
async fn a_large_file_is_cut_and_its_deletes_are_kept() {
    use parquet::file::properties::WriterProperties;
    let mut fixture = Fixture::id_name().await;
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(100)).build();
    let columns =
        [(1, "id", longs((0..1_000).map(Some))), (2, "name", texts((0..1_000).map(|_| Some("x"))))];
    let written = fixture.parquet_with(&columns, properties);
    let offsets = row_group_offsets(&written.0);
    assert_eq!(offsets.len(), 10);
    let file =
        fixture.file(DataContentType::Data, written).split_offsets(Some(offsets)).build().unwrap();
    let deletes = fixture.position_deletes(&[(&file, 99), (&file, 100), (&file, 555)]);
    fixture.commit(vec![file, deletes]).await;
    let sums = "SELECT count(id) AS n, sum(id) AS s, min(id) AS lo, max(id) AS hi FROM t";
    insta::assert_snapshot!(fixture.query(sums).await, @"
    +-----+--------+----+-----+
    | n   | s      | lo | hi  |
    +-----+--------+----+-----+
    | 997 | 498746 | 0  | 999 |
    +-----+--------+----+-----+
    ");
    let plan = fixture.query("EXPLAIN SELECT id FROM t WHERE id > 5").await;
    assert!(plan.contains("2 groups"), "{plan}");
}

fn row_group_offsets(path: &str) -> Vec<i64> {
    use parquet::file::reader::{FileReader, SerializedFileReader};
    let reader = SerializedFileReader::new(std::fs::File::open(path).unwrap()).unwrap();
    let groups = reader.metadata().row_groups();
    groups.iter().map(|group| group.column(0).byte_range().0.try_into().unwrap()).collect()
}
