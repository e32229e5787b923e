//! Random histories against a model.

use std::collections::BTreeMap;

use iceberg::spec::{DataFile, FormatVersion};
use proptest::prelude::*;

use super::fixture::{Fixture, longs, query, texts};

/// What one snapshot does.
#[derive(Clone, Debug)]
struct Step {
    rows: Vec<(i64, Option<u8>)>,
    /// Deletes by position: (which file, which row), both modulo what there is.
    positions: Vec<(usize, usize)>,
    /// Deletes by the value of `id`.
    ids: Vec<i64>,
    /// Deletes by the value of `name`.
    names: Vec<Option<u8>>,
}

fn step() -> impl Strategy<Value = Step> {
    let name = || proptest::option::of(0_u8..4);
    (
        proptest::collection::vec((0_i64..12, name()), 0..8),
        proptest::collection::vec((0_usize..8, 0_usize..8), 0..4),
        proptest::collection::vec(0_i64..12, 0..3),
        proptest::collection::vec(name(), 0..2),
    )
        .prop_map(|(rows, positions, ids, names)| Step { rows, positions, ids, names })
}

fn name_text(name: Option<u8>) -> Option<String> {
    name.map(|letter| char::from(b'a' + letter).to_string())
}

/// The rows of each file; a deleted row is none.
type Model = Vec<Vec<Option<(i64, Option<u8>)>>>;

async fn apply(fixture: &mut Fixture, files: &mut Vec<DataFile>, model: &mut Model, step: &Step) {
    let vectors = fixture.table.metadata().format_version() == FormatVersion::V3;
    let mut added = Vec::new();
    // Equality deletes hit what was there before this snapshot.
    for row in model.iter_mut().flatten() {
        if row.is_some_and(|(id, name)| step.ids.contains(&id) || step.names.contains(&name)) {
            *row = None;
        }
    }
    if !step.ids.is_empty() {
        let ids = longs(step.ids.iter().map(|id| Some(*id)));
        added.push(fixture.equality_deletes(&[(1, "id", ids)]));
    }
    if !step.names.is_empty() {
        let names: Vec<Option<String>> = step.names.iter().map(|name| name_text(*name)).collect();
        let names = texts(names.iter().map(Option::as_deref));
        added.push(fixture.equality_deletes(&[(2, "name", names)]));
    }
    if !step.rows.is_empty() {
        let names: Vec<Option<String>> =
            step.rows.iter().map(|(_, name)| name_text(*name)).collect();
        let file = fixture.data(&[
            (1, "id", longs(step.rows.iter().map(|(id, _)| Some(*id)))),
            (2, "name", texts(names.iter().map(Option::as_deref))),
        ]);
        files.push(file.clone());
        added.push(file);
        model.push(step.rows.iter().copied().map(Some).collect());
    }
    let mut deleted: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (file, row) in &step.positions {
        if let (Some(file), false) = (file.checked_rem(model.len()), model.is_empty()) {
            let row = row % model[file].len();
            model[file][row] = None;
            deleted.entry(file).or_default().push(row);
        }
    }
    if vectors {
        for file in deleted.keys() {
            // A vector holds all deletes of its file; what equality deletes took may be among them.
            let gone: Vec<u64> = (0_u64..)
                .zip(&model[*file])
                .filter(|(_, row)| row.is_none())
                .map(|(position, _)| position)
                .collect();
            let data = files[*file].clone();
            added.push(fixture.deletion_vector(&data, &gone));
        }
    } else if !deleted.is_empty() {
        let rows: Vec<(&DataFile, i64)> = deleted
            .iter()
            .flat_map(|(file, rows)| {
                rows.iter().map(|row| (&files[*file], i64::try_from(*row).unwrap()))
            })
            .collect();
        added.push(fixture.position_deletes(&rows));
    }
    if !added.is_empty() {
        fixture.commit(added).await;
    }
}

fn expected(model: &Model, keep: impl Fn(i64, Option<u8>) -> bool) -> Vec<String> {
    let mut rows: Vec<String> = model
        .iter()
        .flatten()
        .flatten()
        .filter(|(id, name)| keep(*id, *name))
        .map(|(id, name)| format!("{id} {}", name_text(*name).as_deref().unwrap_or("-")))
        .collect();
    rows.sort();
    rows
}

async fn read(fixture: &Fixture, condition: &str) -> Vec<String> {
    let sql = format!("SELECT concat(id, ' ', coalesce(name, '-')) AS r FROM t {condition}");
    let text = query(fixture.provider(), &sql).await.unwrap();
    let mut rows: Vec<String> = text
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| r "))
        .map(|line| line.trim_matches(['|', ' ']).to_owned())
        .collect();
    rows.sort();
    rows
}

async fn check(version: FormatVersion, steps: Vec<Step>) {
    let mut fixture = Fixture::id_name().await;
    if version == FormatVersion::V3 {
        fixture.upgrade(version).await;
    }
    let mut files = Vec::new();
    let mut model = Model::new();
    for step in &steps {
        apply(&mut fixture, &mut files, &mut model, step).await;
    }
    assert_eq!(read(&fixture, "").await, expected(&model, |_, _| true));
    assert_eq!(
        read(&fixture, "WHERE id BETWEEN 3 AND 7").await,
        expected(&model, |id, _| (3..=7).contains(&id))
    );
    assert_eq!(
        read(&fixture, "WHERE NOT (name = 'b' OR id < 2)").await,
        expected(&model, |id, name| name.is_some_and(|name| name != 1) && id >= 2)
    );
    assert_eq!(
        read(&fixture, "WHERE name IS NULL").await,
        expected(&model, |_, name| name.is_none())
    );
    let count = query(fixture.provider(), "SELECT count(*) AS n FROM t").await.unwrap();
    let rows = expected(&model, |_, _| true).len();
    assert!(count.contains(&format!("| {rows} ")), "{count} but {rows} rows");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn every_history_reads_as_the_model_says(
        steps in proptest::collection::vec(step(), 0..6),
        vectors in any::<bool>(),
    ) {
        let version = if vectors { FormatVersion::V3 } else { FormatVersion::V2 };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(check(version, steps));
    }
}
