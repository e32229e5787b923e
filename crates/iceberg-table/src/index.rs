//! The key index: which row of which data file holds a key now.
//!
//! With it a change of a key becomes a position delete of the old row, so that readers never join
//! against equality deletes. It holds no keys, only 106 bits of their hash: at a billion keys the
//! chance that any two of them are confused is below 10⁻¹⁴. It is never stored: it is rebuilt from the
//! key columns of the live data files ([`rebuild`]) whenever a writer starts.
//!
//! The index is cut into shards, each behind its own lock. A batch is applied shard by shard, so a
//! shard's slots are in the processor's cache while all of its keys are looked up; the order of the
//! changes of one key stays, because a key is in one shard.

mod rebuild;
mod shard;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
pub(crate) use rebuild::{read_deletes, rebuild};
pub(crate) use shard::Location;
use shard::{Shard, ShardKey};

use crate::Error;

/// The hash of an equality key. See [`crate::writer::KeyHasher`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct KeyHash(pub(crate) u128);

const SHARD_BITS: u32 = 10;
const SHARDS: usize = 1 << SHARD_BITS;

impl KeyHash {
    fn shard(self) -> usize {
        (self.0 >> (128 - SHARD_BITS)) as usize
    }

    #[expect(clippy::cast_possible_truncation, reason = "takes 32 bits at a time")]
    const fn in_shard(self) -> ShardKey {
        let rest = self.0 << SHARD_BITS;
        [(rest >> 96) as u32, (rest >> 64) as u32, (rest >> 32) as u32]
    }
}

/// A change of a key's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// The key's row is here.
    Put(Location),
    /// The key has no row any more.
    Remove,
}

/// Where the row of each key of a table is.
pub struct KeyIndex {
    shards: Box<[Mutex<Shard>]>,
    size_bytes: AtomicUsize,
    budget_bytes: usize,
    /// Seeds the hash, so that nobody can prepare keys that collide.
    seed: u64,
}

impl KeyIndex {
    /// An empty index that may take up to `budget_bytes`.
    #[must_use]
    pub fn new(budget_bytes: usize) -> Arc<Self> {
        #[expect(clippy::cast_possible_truncation, reason = "any 64 random bits will do")]
        let seed = uuid::Uuid::new_v4().as_u128() as u64;
        Self::with_seed(budget_bytes, seed)
    }

    /// An empty index for keys that are hashed with this seed.
    pub(crate) fn with_seed(budget_bytes: usize, seed: u64) -> Arc<Self> {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Arc::new(Self { shards, size_bytes: AtomicUsize::new(0), budget_bytes, seed })
    }

    pub(crate) const fn seed(&self) -> u64 {
        self.seed
    }

    /// How many keys it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    /// True if it holds no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The memory that it takes.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.size_bytes.load(Ordering::Relaxed)
    }

    /// Applies changes in order. Afterwards `former[i]` is where the key of change `i` was before it.
    ///
    /// # Errors
    /// [`Error::IndexMemory`] once the index is past its budget.
    pub(crate) fn apply(
        &self,
        changes: &[(KeyHash, Change)],
        former: &mut Vec<Option<Location>>,
    ) -> Result<(), Error> {
        former.clear();
        former.resize(changes.len(), None);
        self.for_each_by_shard(changes, |shard, at, (key, change)| {
            former[at] = match change {
                Change::Put(location) => shard.insert(key.in_shard(), *location),
                Change::Remove => shard.remove(key.in_shard()),
            };
        });
        self.check_budget()
    }

    /// Adds rows of `file` from row `first` on. Of two rows of one key the later one (by file number,
    /// then row) is kept; the other is pushed to `superseded`.
    pub(crate) fn add_existing(
        &self,
        file: u32,
        rows: &[(KeyHash, u32)],
        superseded: &mut Vec<Location>,
    ) -> Result<(), Error> {
        self.for_each_by_shard(rows, |shard, _, (key, row)| {
            let location = Location { file, row: *row };
            if let Some(other) = shard.insert(key.in_shard(), location) {
                if other > location {
                    shard.insert(key.in_shard(), other);
                }
                superseded.push(other.min(location));
            }
        });
        self.check_budget()
    }

    fn for_each_by_shard<T>(
        &self,
        changes: &[(KeyHash, T)],
        mut apply: impl FnMut(&mut Shard, usize, &(KeyHash, T)),
    ) {
        let order = ShardOrder::of(changes);
        for (shard, members) in self.shards.iter().zip(order.members()) {
            if members.is_empty() {
                continue;
            }
            let mut shard = shard.lock();
            let before = shard.size_bytes();
            for at in members {
                let at = *at as usize;
                apply(&mut shard, at, &changes[at]);
            }
            let after = shard.size_bytes();
            self.size_bytes.fetch_add(after, Ordering::Relaxed);
            self.size_bytes.fetch_sub(before, Ordering::Relaxed);
        }
    }

    fn check_budget(&self) -> Result<(), Error> {
        let needed_bytes = self.size_bytes();
        if needed_bytes > self.budget_bytes {
            let budget_bytes = self.budget_bytes;
            return Err(Error::IndexMemory { keys: self.len(), needed_bytes, budget_bytes });
        }
        Ok(())
    }
}

/// Which changes belong to which shard, by a counting sort that keeps their order.
struct ShardOrder {
    /// The numbers of the changes, shard after shard.
    order: Vec<u32>,
    /// Where in `order` each shard ends.
    ends: Box<[u32]>,
}

impl ShardOrder {
    fn of<T>(changes: &[(KeyHash, T)]) -> Self {
        let mut ends = vec![0u32; SHARDS].into_boxed_slice();
        for (key, _) in changes {
            ends[key.shard()] += 1;
        }
        let mut start = 0;
        for end in &mut ends {
            start += std::mem::replace(end, start);
        }
        let mut order = vec![0; changes.len()];
        for (at, (key, _)) in (0u32..).zip(changes) {
            let end = &mut ends[key.shard()];
            order[*end as usize] = at;
            *end += 1;
        }
        Self { order, ends }
    }

    fn members(&self) -> impl Iterator<Item = &[u32]> {
        let mut start = 0;
        self.ends.iter().map(move |end| {
            let end = *end as usize;
            let members = &self.order[start..end];
            start = end;
            members
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u128) -> KeyHash {
        KeyHash(xxhash_rust::xxh3::xxh3_128(&number.to_le_bytes()))
    }

    #[test]
    fn changes_of_one_key_are_applied_in_their_order() {
        let index = KeyIndex::new(usize::MAX);
        let mut former = Vec::new();
        let put = |row| Change::Put(Location { file: 7, row });
        let changes = [
            (key(1), put(0)),
            (key(2), put(1)),
            (key(1), put(2)),
            (key(1), Change::Remove),
            (key(1), Change::Remove),
            (key(1), put(3)),
        ];
        index.apply(&changes, &mut former).unwrap();
        let at = |row| Some(Location { file: 7, row });
        assert_eq!(former, [None, None, at(0), at(2), None, None]);
        assert_eq!(index.len(), 2);
    }

    #[test]
    fn of_existing_rows_with_one_key_the_newest_is_kept() {
        let index = KeyIndex::new(usize::MAX);
        let mut superseded = Vec::new();
        index.add_existing(2, &[(key(1), 5)], &mut superseded).unwrap();
        index.add_existing(1, &[(key(1), 9), (key(2), 1)], &mut superseded).unwrap();
        index.add_existing(3, &[(key(1), 0)], &mut superseded).unwrap();
        let gone = [Location { file: 1, row: 9 }, Location { file: 2, row: 5 }];
        assert_eq!(superseded, gone);
        assert_eq!(index.len(), 2);
    }

    #[test]
    fn past_its_budget_it_names_the_option() {
        let index = KeyIndex::new(1_000_000);
        let changes: Vec<(KeyHash, Change)> = (0..100_000)
            .map(|number| (key(number), Change::Put(Location { file: 0, row: 0 })))
            .collect();
        let error = index.apply(&changes, &mut Vec::new()).unwrap_err().to_string();
        assert!(error.contains("'shardlake.index.memory'"), "{error}");
    }
}
