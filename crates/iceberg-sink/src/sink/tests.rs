use std::collections::BTreeMap;

use futures::executor::block_on;
use shardlake_change::{ChangeBatch, Column, LogicalType, TableSchema, parse_changelog};
use shardlake_connector::{
    CommitOutcome, CommitRequest, Fault, ObjectName, Options, Phase, Progress, WriteResult,
};
use tempfile::TempDir;

use super::*;

fn schema() -> TableSchema {
    TableSchema {
        columns: vec![
            Column::new("id", LogicalType::SmallInt).not_null(),
            Column::new("name", LogicalType::VarChar(20)),
        ],
        primary_key: vec!["id".into()],
    }
}

fn definition(warehouse: &str, more: &[(&str, &str)]) -> TableDefinition {
    let mut options = Options::default();
    for (key, value) in [("catalog-name", "lake"), ("catalog-type", "hadoop")] {
        options.set(key, value);
    }
    options.set("warehouse", warehouse);
    more.iter().for_each(|(key, value)| options.set(*key, *value));
    TableDefinition {
        name: ObjectName {
            catalog: "default_catalog".into(),
            database: "default_database".into(),
            object: "users_sink".into(),
        },
        schema: schema(),
        metadata: vec![None, None],
        options,
        partitioned_by: vec![],
        comment: None,
    }
}

fn create(definition: &TableDefinition) -> Result<Arc<dyn Sink>, Error> {
    IcebergSinkFactory.create(definition)
}

fn refusal(definition: &TableDefinition) -> String {
    create(definition).err().unwrap().report()
}

fn job() -> JobIdentity {
    JobIdentity { name: "job".into(), id: "0123".into(), fingerprint: "f".into() }
}

fn changes(text: &str) -> ChangeBatch {
    parse_changelog(&schema().to_arrow(), text).unwrap()
}

fn request(epoch: u64, offset: u64, results: Vec<WriteResult>) -> CommitRequest {
    let lanes = BTreeMap::from([("host:3306".to_owned(), serde_json::json!(offset))]);
    let position = BTreeMap::from([("users_source".to_owned(), lanes)]);
    CommitRequest {
        progress: Progress { epoch, position, fingerprint: "f".into() },
        phase: Phase::Streaming,
        event_time_ms: Some(1_700_000_000_000),
        results,
        recovered: false,
    }
}

#[test]
fn a_job_writes_commits_and_goes_on() {
    let dir = TempDir::new().unwrap();
    let warehouse = format!("file://{}", dir.path().display());
    let sink = create(&definition(&warehouse, &[])).unwrap();
    let first = block_on(sink.open(&job())).unwrap();
    assert_eq!((first.generation, &first.progress), (1, &None));
    let mut writer = first.sink.writer(0, 1).unwrap();
    let mut committer = first.sink.committer().unwrap();
    writer.write(1, changes("+I 1 | a\n+I 2 | b")).unwrap();
    let result = writer.close_epoch(1).unwrap();
    assert_eq!(result.row_count, 2);
    let committed = request(1, 10, vec![result]);
    assert!(matches!(committer.commit(&committed).unwrap(), CommitOutcome::Committed(_)));
    // Nothing was written, so nothing is committed.
    let empty = writer.close_epoch(2).unwrap();
    assert_eq!(empty, WriteResult::default());
    assert_eq!(committer.commit(&request(2, 20, vec![empty])).unwrap(), CommitOutcome::Empty);

    let second = block_on(sink.open(&job())).unwrap();
    assert_eq!((second.generation, second.progress.unwrap()), (2, committed.progress.clone()));
    let mut committer = second.sink.committer().unwrap();
    let again = CommitRequest { recovered: true, ..committed };
    assert_eq!(committer.commit(&again).unwrap(), CommitOutcome::AlreadyCommitted);
    assert!(dir.path().join("default_database/users_sink/metadata/version-hint.text").exists());
}

#[test]
fn committed_rows_are_read_back_by_their_columns() {
    let dir = TempDir::new().unwrap();
    let sink = create(&definition(&format!("file://{}", dir.path().display()), &[])).unwrap();
    let claim = block_on(sink.open(&job())).unwrap();
    let (mut writer, mut committer) =
        (claim.sink.writer(0, 1).unwrap(), claim.sink.committer().unwrap());
    writer.write(1, changes("+I 1 | a\n+I 2 | b\n+I 3 | b\n-D 3 | b")).unwrap();
    let result = writer.close_epoch(1).unwrap();
    committer.commit(&request(1, 10, vec![result])).unwrap();
    // Written, and not committed.
    writer.write(2, changes("+I 4 | b")).unwrap();
    let kept = KeptRequest { columns: vec![1, 0], equal: vec![(1, "b".to_owned())] };
    let mut batches = Vec::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut take = |batch| {
        batches.push(batch);
        true
    };
    runtime.block_on(sink.kept_rows(&kept, &mut take)).unwrap();
    let text = shardlake_change::changelog_text(&batches).unwrap();
    insta::assert_snapshot!(text, @"+I b | 2");
}

#[test]
fn an_older_run_is_told_who_took_over() {
    let dir = TempDir::new().unwrap();
    let sink = create(&definition(dir.path().to_str().unwrap(), &[])).unwrap();
    let old = block_on(sink.open(&job())).unwrap();
    let mut writer = old.sink.writer(0, 1).unwrap();
    writer.write(1, changes("+I 1 | a")).unwrap();
    let result = writer.close_epoch(1).unwrap();
    block_on(sink.open(&job())).unwrap();
    let error = old.sink.committer().unwrap().commit(&request(1, 1, vec![result])).unwrap_err();
    assert_eq!(error.fault(), Fault::Job);
    assert!(error.report().contains("was fenced"), "{}", error.report());
}

#[test]
fn a_position_that_moves_alone_is_committed_when_the_interval_has_passed() {
    let dir = TempDir::new().unwrap();
    let options = [("shardlake.position-commit-interval", "0 ms")];
    let sink = create(&definition(dir.path().to_str().unwrap(), &options)).unwrap();
    let claim = block_on(sink.open(&job())).unwrap();
    let mut committer = claim.sink.committer().unwrap();
    let outcome = |committer: &mut dyn SinkCommitter, request: &CommitRequest| {
        matches!(committer.commit(request).unwrap(), CommitOutcome::Committed(_))
    };
    assert!(outcome(committer.as_mut(), &request(1, 5, vec![])));
    assert!(!outcome(committer.as_mut(), &request(2, 5, vec![])));
    assert!(outcome(committer.as_mut(), &request(3, 6, vec![])));
}

#[test]
fn a_job_that_dies_between_writing_and_committing_commits_what_was_recovered() {
    let dir = TempDir::new().unwrap();
    let sink = create(&definition(dir.path().to_str().unwrap(), &[])).unwrap();
    let claim = block_on(sink.open(&job())).unwrap();
    let mut writer = claim.sink.writer(0, 1).unwrap();
    writer.write(1, changes("+I 1 | a")).unwrap();
    let results = vec![writer.close_epoch(1).unwrap()];
    drop((claim, writer));
    let claim = block_on(sink.open(&job())).unwrap();
    let recovered = CommitRequest { recovered: true, ..request(1, 1, results) };
    let outcome = claim.sink.committer().unwrap().commit(&recovered).unwrap();
    assert!(matches!(outcome, CommitOutcome::Committed(_)));
    let claim = block_on(sink.open(&job())).unwrap();
    assert_eq!(claim.progress, Some(recovered.progress));
}

#[test]
fn what_is_wrong_with_the_options_is_said_by_name() {
    let mut nameless = definition("/lake", &[]);
    nameless.options.remove("catalog-name");
    insta::assert_snapshot!(refusal(&nameless), @"Invalid catalog name: null. Set catalog-name create table option.");
    let mut homeless = definition("/lake", &[]);
    homeless.options.remove("warehouse");
    insta::assert_snapshot!(refusal(&homeless), @"Cannot initialize HadoopCatalog because warehousePath must not be null or empty: set the 'warehouse' option");
    insta::assert_snapshot!(refusal(&definition("/lake", &[("catalog-type", "hive")])), @"catalog type 'hive' is not supported; use 'rest' (for example Hive's own Iceberg REST endpoint, Lakekeeper or Polaris), 'sql' or 'hadoop', and register the tables there");
    insta::assert_snapshot!(refusal(&definition("/lake", &[("uri", "thrift://x")])), @"'uri' means nothing to a catalog of type 'hadoop'; leave it out, or name another 'catalog-type'");
    insta::assert_snapshot!(refusal(&definition("hdfs://lake", &[])), @"location 'hdfs://lake' is on HDFS, which is not supported; use a local path, or object storage that speaks S3 (s3://bucket/…)");
    let mut partitioned = definition("/lake", &[]);
    partitioned.partitioned_by = vec!["day(name)".into()];
    insta::assert_snapshot!(refusal(&partitioned), @"the table cannot be divided or sorted by day(name): column 'name' has type string");
    assert!(refusal(&definition("/lake", &[("no-such", "x")])).contains("no-such"));
}

#[test]
fn an_existing_table_with_another_schema_is_refused_by_column() {
    let dir = TempDir::new().unwrap();
    let mut definition = definition(dir.path().to_str().unwrap(), &[("write.a", "b")]);
    block_on(create(&definition).unwrap().prepare()).unwrap();
    block_on(create(&definition).unwrap().prepare()).unwrap();
    definition.schema.columns[1].data_type = LogicalType::Date;
    let error = block_on(create(&definition).unwrap().prepare()).unwrap_err();
    assert_eq!(error.fault(), Fault::Job);
    insta::assert_snapshot!(error.report(), @"Iceberg table default_database.users_sink does not fit its declaration: column 'name' is declared as date, but the Iceberg table has it as string");
}

#[test]
fn a_table_without_a_key_takes_inserts_only() {
    let mut keyless = definition("/lake", &[]);
    assert_eq!(create(&keyless).unwrap().changelog_mode(), ChangelogMode::All);
    keyless.schema.primary_key.clear();
    assert_eq!(create(&keyless).unwrap().changelog_mode(), ChangelogMode::InsertOnly);
}

/// Names of the table's columns and how many rows have a name.
fn lake(dir: &TempDir, name: &str) -> (String, usize) {
    let catalog =
        shardlake_iceberg_table::HadoopCatalog::new(dir.path().to_str().unwrap()).unwrap();
    let table_name = shardlake_iceberg_table::TableName::new("default_database", "users_sink");
    let table = block_on(shardlake_iceberg_table::Catalog::load(&catalog, &table_name)).unwrap();
    let schema = table.arrow_schema();
    let columns = schema.fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>();
    let mut count = 0;
    let any_of = [vec![("name".to_owned(), name.to_owned())]];
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    runtime
        .block_on(shardlake_iceberg_table::rows_where(&table, &any_of, &mut |rows| {
            count += rows.num_rows();
            Ok(())
        }))
        .unwrap();
    (columns.join(","), count)
}

#[test]
fn a_table_follows_the_columns_that_any_writer_brings() {
    let dir = TempDir::new().unwrap();
    let definition = definition(dir.path().to_str().unwrap(), &[("schema.evolution", "true")]);
    let sink = create(&definition).unwrap();
    assert_eq!(sink.schema_change(), Some(SchemaChangeBehavior::Lenient));
    let claim = block_on(sink.open(&job())).unwrap();
    let (mut first, mut second) =
        (claim.sink.writer(0, 2).unwrap(), claim.sink.writer(1, 2).unwrap());
    let mut committer = claim.sink.committer().unwrap();
    let mut wide = schema();
    wide.columns.push(Column::new("age", LogicalType::Int));
    let mut wider = wide.clone();
    wider.columns[2].data_type = LogicalType::BigInt;
    wider.columns.push(Column::new("tags", LogicalType::Array(Box::new(LogicalType::String))));
    let of = |schema: &TableSchema, text: &str| parse_changelog(&schema.to_arrow(), text).unwrap();
    first.write(1, changes("+I 1 | a\n+I 2 | b")).unwrap();
    second.write(1, of(&wide, "+I 3 | a | 7")).unwrap();
    // The first one does not know of it yet, and brings a row of the second one's key space along.
    first.write(1, changes("-U 2 | b\n+U 2 | a")).unwrap();
    second.write(1, of(&wider, "")).unwrap();
    second.write(1, of(&wide, "-U 3 | a | 7\n+U 3 | a | 8")).unwrap();
    let results = vec![first.close_epoch(1).unwrap(), second.close_epoch(1).unwrap()];
    committer.commit(&request(1, 1, results)).unwrap();
    assert_eq!(lake(&dir, "a"), ("id,name,age,tags".to_owned(), 3));
    // Whoever has fewer columns goes on; a row of before is deleted whatever schema it was written with.
    second.write(2, changes("-D 1 | a\n+I 4 | c")).unwrap();
    let results = vec![WriteResult::default(), second.close_epoch(2).unwrap()];
    committer.commit(&request(2, 2, results)).unwrap();
    assert_eq!(lake(&dir, "a").1, 2);
    // Rows are removed by their values.
    let removal =
        shardlake_connector::RowRemoval { any_of: vec![vec![("name".into(), "a".into())]] };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let context = runtime.enter();
    first.write(3, removal.to_batch(&wider.to_arrow())).unwrap();
    let result = first.close_epoch(3).unwrap();
    assert_eq!(result.row_count, 2);
    committer.commit(&request(3, 3, vec![result, WriteResult::default()])).unwrap();
    drop(context);
    assert_eq!((lake(&dir, "a").1, lake(&dir, "c").1), (0, 1));
    // The declaration still fits; a run that starts again finds the columns.
    let claim = block_on(sink.open(&job())).unwrap();
    let mut writer = claim.sink.writer(0, 1).unwrap();
    writer.write(4, of(&wider, "+I 9 | c | 5000000000 | NULL")).unwrap();
    let result = writer.close_epoch(4).unwrap();
    claim.sink.committer().unwrap().commit(&request(4, 4, vec![result])).unwrap();
    assert_eq!(lake(&dir, "c").1, 2);
    // Without following, a table with more columns than declared is refused.
    let plain = self::definition(dir.path().to_str().unwrap(), &[]);
    let error = block_on(create(&plain).unwrap().prepare()).unwrap_err().report();
    assert!(error.contains("'age'"), "{error}");
}
