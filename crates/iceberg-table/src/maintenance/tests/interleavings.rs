//! Random interleavings of a writer, compactions, expiry, clean-up, another process and crashes, against a model.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use futures::executor::block_on;
use proptest::prelude::*;

use super::*;
use crate::commit::Committer;
use crate::testing::{changelog, rows_at};
use crate::{Error, WrittenFiles};

type Rows = BTreeMap<u8, u8>;

/// What happens next.
#[derive(Clone, Debug)]
enum Step {
    /// The writer closes an epoch with these changes: a key, and its new value or none.
    Write(Vec<(u8, Option<u8>)>),
    /// The oldest epoch that waits is committed.
    Commit,
    /// A compaction is planned and carried out.
    Rewrite(Scope),
    /// Delete files are merged.
    MergeDeletes,
    /// What the last compaction made is committed by the job.
    CommitRewrite,
    /// Another process compacts the whole table.
    OtherProcess,
    /// The files of expired snapshots are deleted.
    CleanUp,
    /// The process dies and another begins; epochs that wait are lost, or the first is recovered.
    Crash { recovers: bool },
    /// Everything that nobody refers to is removed while nothing is being written.
    RemoveOrphans,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let change = (0u8..12, prop::option::weighted(0.7, 0u8..100));
    let scope = prop_oneof![Just(Scope::Needed), Just(Scope::AllUntidy), Just(Scope::All)];
    prop::collection::vec(
        prop_oneof![
            8 => prop::collection::vec(change, 1..6).prop_map(Step::Write),
            8 => Just(Step::Commit),
            3 => scope.prop_map(Step::Rewrite),
            1 => Just(Step::MergeDeletes),
            3 => Just(Step::CommitRewrite),
            1 => Just(Step::OtherProcess),
            2 => Just(Step::CleanUp),
            1 => any::<bool>().prop_map(|recovers| Step::Crash { recovers }),
            1 => Just(Step::RemoveOrphans),
        ],
        5..40,
    )
}

struct World {
    lake: Lake,
    run: Run,
    next_epoch: u64,
    /// Epochs that are closed and not committed, with the rows that the table has with them.
    waiting: VecDeque<(u64, WrittenFiles, Rows)>,
    written: Rows,
    committed: Rows,
    rewritten: Option<Rewritten>,
    /// The rows of each snapshot.
    history: BTreeMap<i64, Rows>,
}

impl World {
    fn new() -> Self {
        let lake = lake();
        let run = run(&lake);
        let mut world = Self {
            lake,
            run,
            next_epoch: 1,
            waiting: VecDeque::new(),
            written: Rows::new(),
            committed: Rows::new(),
            rewritten: None,
            history: BTreeMap::new(),
        };
        world.check();
        world
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Write(changes) => self.write(&changes),
            Step::Commit => self.commit(),
            Step::Rewrite(scope) => {
                let plan = plan(&self.lake.table(), scope);
                self.keep(plan.and_then(|mut plan| rewrite_next(&mut plan)));
            }
            Step::MergeDeletes => {
                let table = self.lake.table();
                let merged = merge_position_deletes(&table, 2);
                let merged = runtime().block_on(merged).unwrap();
                self.keep(merged);
            }
            Step::CommitRewrite => {
                let Some(rewritten) = self.rewritten.take() else { return };
                match block_on(self.run.committer.commit_rewrite(&rewritten)) {
                    Ok(_) => self.check(),
                    Err(Error::FilesRemoved { .. }) => block_on(rewritten.discard()),
                    Err(error) => panic!("{error}"),
                }
            }
            Step::OtherProcess => self.compact_elsewhere(),
            Step::CleanUp => drop(clean_up(&mut self.run)),
            Step::Crash { recovers } => self.crash(recovers),
            Step::RemoveOrphans => self.remove_orphans(),
        }
    }

    fn write(&mut self, changes: &[(u8, Option<u8>)]) {
        let mut lines = Vec::new();
        for (key, value) in changes {
            lines.push(match value {
                Some(value) => format!("+U {key} | {value}"),
                None => format!("-D {key} | x"),
            });
            match value {
                Some(value) => drop(self.written.insert(*key, *value)),
                None => drop(self.written.remove(key)),
            }
        }
        let epoch = self.next_epoch;
        self.next_epoch += 1;
        self.run.writer.write(epoch, changelog(&lines.join("\n"))).unwrap();
        let files = self.run.writer.close_epoch(epoch).unwrap();
        self.waiting.push_back((epoch, files, self.written.clone()));
    }

    fn commit(&mut self) {
        let Some((epoch, files, rows)) = self.waiting.pop_front() else { return };
        self.run.commit(epoch, files).unwrap();
        self.committed = rows;
        self.check();
    }

    fn keep(&mut self, rewritten: Option<Rewritten>) {
        if let Some(old) = std::mem::replace(&mut self.rewritten, rewritten) {
            block_on(old.discard());
        }
    }

    fn compact_elsewhere(&mut self) {
        let catalog = Arc::clone(&self.lake.catalog);
        let mut other = block_on(Committer::beside(catalog, &self.lake.name)).unwrap();
        let Some(mut plan) = plan(other.table(), Scope::All) else { return };
        if let Some(rewritten) = rewrite_next(&mut plan) {
            block_on(other.commit_rewrite(&rewritten)).unwrap();
            self.check();
        }
    }

    fn crash(&mut self, recovers: bool) {
        self.rewritten = None;
        let first = self.waiting.pop_front().filter(|_| recovers);
        self.waiting.clear();
        if let Some((epoch, files, rows)) = first {
            let mut recovering = run(&self.lake);
            self.history.insert(current(&self.lake), self.committed.clone());
            block_on(recovering.committer.follow_past_rewrites()).unwrap();
            recovering.commit(epoch, files).unwrap();
            self.committed = rows;
            self.check();
            self.next_epoch = epoch + 1;
        }
        self.run = run(&self.lake);
        let progress = self.run.committer.progress().map(|progress| progress.epoch);
        self.next_epoch = progress.unwrap_or(0) + 1;
        self.written = self.committed.clone();
        self.check();
        assert_eq!(self.run.writer.shared().index().len(), self.committed.len());
    }

    fn remove_orphans(&mut self) {
        if !self.waiting.is_empty() || self.rewritten.is_some() {
            return;
        }
        let (catalog, name) = (self.lake.catalog.as_ref(), &self.lake.name);
        let orphans = block_on(orphans::find_orphans_unchecked(catalog, name, i64::MAX)).unwrap();
        block_on(remove_orphans(&self.lake.table(), &orphans)).unwrap();
        self.check();
    }

    /// The current snapshot has the rows that it should have, and so has every other one.
    fn check(&mut self) {
        let table = self.lake.table();
        self.history.insert(current(&self.lake), self.committed.clone());
        for snapshot in table.metadata().snapshots() {
            let Some(rows) = self.history.get(&snapshot.snapshot_id()) else { continue };
            let mut expected: Vec<String> =
                rows.iter().map(|(key, value)| format!("{key} | {value}")).collect();
            expected.sort();
            assert_eq!(rows_at(&table, snapshot), expected);
        }
    }
}

fn current(lake: &Lake) -> i64 {
    lake.table().metadata().current_snapshot_id().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("SHARDLAKE_INTERLEAVINGS").ok().and_then(|n| n.parse().ok()).unwrap_or(12),
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_interleaving_loses_or_doubles_a_row(steps in steps()) {
        let mut world = World::new();
        for step in steps {
            world.take(step);
        }
        while !world.waiting.is_empty() {
            world.commit();
        }
        prop_assert!(referenced(&world.lake).is_subset(&stored(&world.lake)));
    }
}
