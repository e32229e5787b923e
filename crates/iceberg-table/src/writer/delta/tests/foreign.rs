//! What readers that are not ours see in the tables of every layout and delete mode.

use shardlake_testkit::{Reader, or_skip};

use super::*;

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
