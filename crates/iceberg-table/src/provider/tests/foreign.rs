//! Tables that pyiceberg wrote, with what they should say.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use serde::Deserialize;
use shardlake_testkit::{Reader, or_skip};
use tempfile::TempDir;

use super::fixture::batches;
use crate::{AsOf, Catalog, HadoopCatalog, IcebergTableProvider, TableName};

#[derive(Deserialize)]
struct Expectation {
    warehouse: String,
    table: String,
    sql: String,
    rows: Vec<Vec<Option<String>>>,
}

#[tokio::test]
async fn tables_of_pyiceberg_say_what_pyiceberg_says() {
    let dir = TempDir::new().unwrap();
    let folder = dir.path().to_str().unwrap();
    let lines = or_skip!(Reader::run_script("make_foreign.py", &[folder]));
    assert!(lines.len() > 60, "{} expectations", lines.len());
    for line in lines {
        let expected: Expectation = serde_json::from_str(&line).unwrap();
        let catalog = HadoopCatalog::new(&expected.warehouse).unwrap();
        let name = TableName::new("db", &expected.table);
        let table = catalog.load(&name).await.unwrap();
        let provider = IcebergTableProvider::new(table, &AsOf::Current).unwrap();
        let batches = batches(provider, &expected.sql)
            .await
            .unwrap_or_else(|error| panic!("{} of {}: {error}", expected.sql, expected.table));
        let mut rows: Vec<Vec<Option<String>>> = batches.iter().flat_map(texts).collect();
        let mut wanted = expected.rows;
        rows.sort();
        wanted.sort();
        assert_eq!(rows, wanted, "{} of {}", expected.sql, expected.table);
    }
}

fn texts(batch: &RecordBatch) -> Vec<Vec<Option<String>>> {
    let columns: Vec<_> =
        batch.columns().iter().map(|column| cast(column, &DataType::Utf8).unwrap()).collect();
    (0..batch.num_rows())
        .map(|row| {
            columns
                .iter()
                .map(|column| {
                    let column = column.as_string::<i32>();
                    column.is_valid(row).then(|| column.value(row).to_owned())
                })
                .collect()
        })
        .collect()
}
