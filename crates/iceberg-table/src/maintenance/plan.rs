//! Which data files are worth to be rewritten.
//!
//! Small files: sorted by size, each file should be larger than all smaller ones together. The files that
//! are not, once there are enough of them, become one. So a table has about as many small files
//! as its size has binary digits, and a row is rewritten about as often.
//!
//! Deleted rows: a file of which a tenth is deleted is written anew without them, if that is a noticeable part of the
//! table.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::FutureExt as _;
use iceberg::spec::{DataContentType, DataFileFormat, FormatVersion, SnapshotRef};
use roaring::RoaringTreemap;

use crate::commit::Removal;
use crate::scan::equality_deletes::{self, EqualityDeletes};
use crate::scan::plan::{self, ListedFile, PlannedFile};
use crate::scan::position_deletes::{self, DeletedPositions};
use crate::scan::predicate::Predicate;
use crate::writer::partition::Partition;
use crate::{Error, Table, properties};

/// What a compaction is to do.
#[derive(Clone, Debug)]
pub struct CompactionOptions {
    /// How many small files make a rewrite worth it.
    pub min_input_files: usize,
    /// Which share of a file's rows may be deleted.
    pub delete_ratio: f64,
    /// How many bytes of data files are rewritten in one commit.
    pub max_group_bytes: u64,
    /// Which files are looked at.
    pub scope: Scope,
}

/// Which files a compaction takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Those that are worth it.
    Needed,
    /// All that are small or have deletes.
    AllUntidy,
    /// All.
    All,
}

impl Default for CompactionOptions {
    fn default() -> Self {
        Self {
            min_input_files: 10,
            delete_ratio: 0.1,
            max_group_bytes: 512 * 1024 * 1024,
            scope: Scope::Needed,
        }
    }
}

/// Files that are rewritten together: all of one partition.
pub(crate) struct Group {
    pub(crate) partition: Arc<Partition>,
    pub(crate) files: Vec<GroupFile>,
    /// Delete files that apply to nothing once the files are rewritten.
    pub(crate) useless_deletes: Removal,
}

/// A file of a group.
pub(crate) struct GroupFile {
    pub(crate) planned: PlannedFile,
    pub(crate) deleted: RoaringTreemap,
    /// Its group of equality deletes.
    pub(crate) equality: Option<usize>,
}

/// What is to be rewritten of one snapshot.
pub struct CompactionPlan {
    pub(crate) table: Table,
    pub(crate) snapshot: SnapshotRef,
    pub(crate) equality: Arc<EqualityDeletes>,
    pub(crate) groups: Vec<Group>,
}

impl std::fmt::Debug for CompactionPlan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CompactionPlan").field("groups", &self.groups.len()).finish_non_exhaustive()
    }
}

impl CompactionPlan {
    /// How many rewrites there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.groups.len()
    }

    /// True if nothing is worth it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }
}

/// Plans the compaction of the current snapshot; none if the table has no snapshot. To be called on a
/// tokio runtime.
///
/// # Errors
/// [`Error::Invalid`] if the table has a format version whose files cannot be rewritten; what reading
/// manifests and delete files reports.
pub async fn plan_compaction(
    table: &Table,
    options: &CompactionOptions,
) -> Result<Option<CompactionPlan>, Error> {
    if table.metadata().format_version() >= FormatVersion::V3 {
        return Err(Error::Invalid(format!(
            "table {} has format version 3, whose rows have ids that this version cannot carry over \
             when it rewrites data files; compact it with another engine",
            table.name()
        )));
    }
    let trivial = Predicate::from_filters(&[], &Default::default());
    let snapshot = table.current_snapshot().cloned();
    let scan = plan::plan(table, snapshot, table.schema(), &trivial).boxed().await?;
    let Some(snapshot) = scan.snapshot else { return Ok(None) };
    let deleted = position_deletes::load(table, &snapshot, &scan.files).boxed().await?;
    let equality = equality_deletes::load(table, &snapshot, &scan.files).boxed().await?;
    let (equality, equality_groups) = equality;
    let target_bytes = properties::TARGET_FILE_SIZE.read(table.metadata().properties())?;
    let mut partitions: BTreeMap<(i32, String), Vec<usize>> = BTreeMap::new();
    for (number, planned) in scan.files.iter().enumerate() {
        let partition = format!("{:?}", planned.listed.file().partition());
        partitions.entry((planned.listed.spec_id, partition)).or_default().push(number);
    }
    let mut chosen = Vec::new();
    for numbers in partitions.into_values() {
        let candidates: Vec<Candidate> = numbers
            .iter()
            .filter_map(|number| Some((*number, scan.files.get(*number)?)))
            .map(|(number, planned)| Candidate::of(number, planned, &deleted))
            .collect();
        chosen.extend(choose(candidates, options, target_bytes));
    }
    let inventory = delete_files(table, &snapshot).await?;
    let groups = chosen
        .into_iter()
        .map(|numbers| {
            let useless_deletes = useless(&scan.files, &numbers, &inventory);
            group(&scan.files, &numbers, (&deleted, &equality_groups), useless_deletes)
        })
        .collect();
    let equality = Arc::new(equality);
    Ok(Some(CompactionPlan { table: table.clone(), snapshot, equality, groups }))
}

fn group(
    files: &[PlannedFile],
    numbers: &[usize],
    (deleted, equality): (&DeletedPositions, &[Option<usize>]),
    useless_deletes: Removal,
) -> Group {
    let files: Vec<GroupFile> = numbers
        .iter()
        .filter_map(|number| Some((*number, files.get(*number)?)))
        .map(|(number, planned)| GroupFile {
            planned: planned.clone(),
            deleted: deleted.get(planned.listed.path()).cloned().unwrap_or_default(),
            equality: equality.get(number).copied().flatten(),
        })
        .collect();
    let partition = files.first().map(|file| Partition {
        spec_id: file.planned.listed.spec_id,
        values: file.planned.listed.file().partition().clone(),
    });
    let partition = partition
        .unwrap_or_else(|| Partition { spec_id: 0, values: iceberg::spec::Struct::empty() });
    Group { partition: Arc::new(partition), files, useless_deletes }
}

/// The live delete files of a snapshot.
async fn delete_files(table: &Table, snapshot: &SnapshotRef) -> Result<Vec<ListedFile>, Error> {
    let manifests = plan::manifest_list(table, snapshot).await?;
    let of_deletes = manifests
        .iter()
        .filter(|manifest| manifest.content == iceberg::spec::ManifestContentType::Deletes)
        .cloned()
        .collect();
    let mut found = Vec::new();
    for (manifest, entries) in plan::load_manifests(table, snapshot, of_deletes).boxed().await? {
        let alive = entries.iter().filter(|entry| entry.is_alive());
        found.extend(alive.map(|entry| ListedFile::of(&manifest, entry)));
    }
    Ok(found)
}

/// Equality delete files that apply to none but the files to be rewritten, and position deletes that name
/// one of them alone.
fn useless(files: &[PlannedFile], numbers: &[usize], inventory: &[ListedFile]) -> Removal {
    let mut removal = Removal::default();
    let is_source = |number: usize| numbers.contains(&number);
    let still_used: std::collections::BTreeSet<&str> = files
        .iter()
        .enumerate()
        .filter(|(number, _)| !is_source(*number))
        .flat_map(|(_, planned)| &planned.equality_deletes)
        .map(ListedFile::path)
        .collect();
    let sources: std::collections::BTreeSet<&str> = numbers
        .iter()
        .filter_map(|number| files.get(*number))
        .map(|planned| planned.listed.path())
        .collect();
    for listed in inventory {
        let file = listed.file();
        let is_useless = match file.content_type() {
            DataContentType::EqualityDeletes => !still_used.contains(listed.path()),
            DataContentType::PositionDeletes => {
                plan::referenced_file(file).is_some_and(|of| sources.contains(of.as_str()))
            }
            DataContentType::Data => false,
        };
        if is_useless {
            removal.add_if_there(file);
        }
    }
    removal
}

/// What choosing needs to know of a file.
#[derive(Clone, Debug)]
struct Candidate {
    number: usize,
    size_bytes: u64,
    row_count: u64,
    deleted_count: u64,
    equality_count: usize,
}

impl Candidate {
    fn of(number: usize, planned: &PlannedFile, deleted: &DeletedPositions) -> Self {
        let file = planned.listed.file();
        let deleted_count = deleted.get(planned.listed.path()).map_or(0, RoaringTreemap::len);
        Self {
            number,
            size_bytes: if file.file_format() == DataFileFormat::Parquet {
                file.file_size_in_bytes()
            } else {
                u64::MAX
            },
            row_count: file.record_count(),
            deleted_count: deleted_count.min(file.record_count()),
            equality_count: planned.equality_deletes.len(),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a share of rows need not be exact")]
    fn deleted_share(&self) -> f64 {
        if self.row_count == 0 { 1.0 } else { self.deleted_count as f64 / self.row_count as f64 }
    }

    /// About how large it would be without its deleted rows.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "a guess"
    )]
    fn live_bytes(&self) -> u64 {
        (self.size_bytes as f64 * (1.0 - self.deleted_share())) as u64
    }
}

/// How many equality delete files a data file may have.
const EQUALITY_DELETES_MAX: usize = 4;

/// The groups of files of one partition that are rewritten, by number.
fn choose(
    mut files: Vec<Candidate>,
    options: &CompactionOptions,
    target_bytes: u64,
) -> Vec<Vec<usize>> {
    files.sort_by_key(|file| (file.live_bytes(), file.number));
    let total: u64 = files.iter().map(Candidate::live_bytes).fold(0, u64::saturating_add);
    let is_small = |file: &Candidate| file.live_bytes() < target_bytes / 4 * 3;
    let has_deletes = |file: &Candidate| match options.scope {
        Scope::Needed => {
            let dead_bytes = file.size_bytes - file.live_bytes();
            file.deleted_share() >= 1.0
                || (file.deleted_share() >= options.delete_ratio && dead_bytes >= total / 50)
                || file.equality_count > EQUALITY_DELETES_MAX
        }
        Scope::AllUntidy | Scope::All => file.deleted_count > 0 || file.equality_count > 0,
    };
    let small_count = files.iter().take_while(|file| is_small(file)).count();
    let rolled = match options.scope {
        Scope::Needed => rolled_up(files.get(..small_count).unwrap_or_default(), options),
        Scope::AllUntidy | Scope::All => small_count,
    };
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut open: (u64, Vec<usize>, bool) = (0, Vec::new(), false);
    for (place, file) in files.iter().enumerate() {
        if !(place < rolled || has_deletes(file) || options.scope == Scope::All) {
            continue;
        }
        if open.0 > 0 && open.0.saturating_add(file.live_bytes()) > options.max_group_bytes {
            groups.extend(finished(&mut open, options));
        }
        open.0 = open.0.saturating_add(file.live_bytes());
        open.1.push(file.number);
        open.2 |= has_deletes(file);
    }
    groups.extend(finished(&mut open, options));
    groups
}

/// The group, if rewriting it changes anything.
fn finished(open: &mut (u64, Vec<usize>, bool), options: &CompactionOptions) -> Option<Vec<usize>> {
    let (_, numbers, has_deletes) = std::mem::take(open);
    let is_worth_it = numbers.len() > 1 || has_deletes || options.scope == Scope::All;
    (is_worth_it && !numbers.is_empty()).then_some(numbers)
}

/// How many of the smallest files, which are sorted by size, become one.
fn rolled_up(files: &[Candidate], options: &CompactionOptions) -> usize {
    let mut smaller = 0_u64;
    let mut rolled = 0;
    for (place, file) in files.iter().enumerate() {
        if place > 0 && file.live_bytes() <= smaller {
            rolled = place + 1;
        }
        smaller = smaller.saturating_add(file.live_bytes());
    }
    if rolled >= options.min_input_files.max(2) { rolled } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(sizes_and_deleted: &[(u64, u64)], scope: Scope) -> String {
        let files = sizes_and_deleted.iter().enumerate().map(|(number, (size, deleted))| {
            let (size_bytes, deleted_count) = (*size, *deleted);
            Candidate { number, size_bytes, row_count: 100, deleted_count, equality_count: 0 }
        });
        let options = CompactionOptions {
            min_input_files: 3,
            scope,
            max_group_bytes: 2_000,
            ..Default::default()
        };
        let groups = choose(files.collect(), &options, 1_000);
        groups.iter().map(|group| format!("{group:?}")).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn small_files_are_rolled_up_when_there_are_enough() {
        insta::assert_snapshot!(chosen(&[(10, 0), (10, 0)], Scope::Needed), @"");
        insta::assert_snapshot!(chosen(&[(10, 0), (11, 0), (12, 0), (200, 0)], Scope::Needed), @"[0, 1, 2]");
        insta::assert_snapshot!(chosen(&[(10, 0), (11, 0), (12, 0), (33, 0), (900, 0)], Scope::Needed), @"[0, 1, 2, 3]");
    }

    #[test]
    fn files_with_many_deletes_are_rewritten_if_it_is_noticeable() {
        insta::assert_snapshot!(chosen(&[(1_000, 9), (1_000, 10)], Scope::Needed), @"[1]");
        insta::assert_snapshot!(chosen(&[(10, 50), (1_000, 0)], Scope::Needed), @"");
        insta::assert_snapshot!(chosen(&[(10, 100), (1_000, 0)], Scope::Needed), @"[0]");
    }

    #[test]
    fn a_statement_takes_all_that_is_untidy_or_all() {
        insta::assert_snapshot!(chosen(&[(10, 0), (900, 0), (900, 1)], Scope::AllUntidy), @"[0, 2]");
        insta::assert_snapshot!(chosen(&[(900, 0)], Scope::AllUntidy), @"");
        insta::assert_snapshot!(chosen(&[(900, 0), (900, 0), (900, 0)], Scope::All), @"[0, 1] [2]");
    }
}
