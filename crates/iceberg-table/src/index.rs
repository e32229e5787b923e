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
//!
//! Past its memory budget, shards move to an embedded store on disk, one after another ([`spill`]); those
//! that are left in memory stay as fast as they were.

mod rebuild;
mod shard;
mod spill;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
pub(crate) use rebuild::{absorb, read_deletes, rebuild};
pub(crate) use shard::Location;
use shard::{Shard, ShardKey};
use spill::{Spill, SpilledShard};

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
    shards: Box<[Mutex<Place>]>,
    /// What the shards in memory take.
    size_bytes: AtomicUsize,
    budget_bytes: usize,
    spill: OnceLock<Spill>,
    /// Held while shards move to disk.
    spilling: Mutex<()>,
    /// Seeds the hash, so that nobody can prepare keys that collide.
    seed: u64,
}

/// Where a shard is.
enum Place {
    Memory(Shard),
    /// On disk, with so many keys.
    Disk(usize),
}

impl Default for Place {
    fn default() -> Self {
        Self::Memory(Shard::default())
    }
}

/// Access to a shard wherever it is.
enum Access<'a> {
    Memory(&'a mut Shard),
    Disk(SpilledShard<'a>, &'a mut usize),
}

impl Access<'_> {
    /// Sets or removes a key's location and returns the former one.
    fn change(
        &mut self,
        key: ShardKey,
        location: Option<Location>,
    ) -> Result<Option<Location>, Error> {
        match (self, location) {
            (Self::Memory(shard), Some(location)) => Ok(shard.insert(key, location)),
            (Self::Memory(shard), None) => Ok(shard.remove(key)),
            (Self::Disk(shard, len), location) => {
                let former = shard.change(key, location)?;
                match (former, location) {
                    (None, Some(_)) => **len += 1,
                    (Some(_), None) => **len -= 1,
                    (None, None) | (Some(_), Some(_)) => {}
                }
                Ok(former)
            }
        }
    }
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
        Arc::new(Self {
            shards,
            size_bytes: AtomicUsize::new(0),
            budget_bytes,
            spill: OnceLock::new(),
            spilling: Mutex::new(()),
            seed,
        })
    }

    pub(crate) const fn seed(&self) -> u64 {
        self.seed
    }

    /// How many keys it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        let len = |place: &Mutex<Place>| match &*place.lock() {
            Place::Memory(shard) => shard.len(),
            Place::Disk(len) => *len,
        };
        self.shards.iter().map(len).sum()
    }

    /// True if it holds no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The memory that it takes, what is set aside for the part on disk included.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        let of_disk = self.spill.get().map_or(0, |_| spill::memory_of(self.budget_bytes));
        self.size_bytes.load(Ordering::Relaxed) + of_disk
    }

    /// Applies changes in order. Afterwards `former[i]` is where the key of change `i` was before it.
    ///
    /// # Errors
    /// [`Error::Storage`] if the part on disk cannot be used.
    pub(crate) fn apply(
        &self,
        changes: &[(KeyHash, Change)],
        former: &mut Vec<Option<Location>>,
    ) -> Result<(), Error> {
        former.clear();
        former.resize(changes.len(), None);
        self.for_each_by_shard(changes, |shard, at, (key, change)| {
            let location = match change {
                Change::Put(location) => Some(*location),
                Change::Remove => None,
            };
            former[at] = shard.change(key.in_shard(), location)?;
            Ok(())
        })?;
        self.keep_budget()
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
            if let Some(other) = shard.change(key.in_shard(), Some(location))? {
                if other > location {
                    shard.change(key.in_shard(), Some(other))?;
                }
                superseded.push(other.min(location));
            }
            Ok(())
        })?;
        self.keep_budget()
    }

    /// Adds rows of `file` that another writer committed. A row whose key is there already is pushed to
    /// `superseded`, and the key stays where it is.
    pub(crate) fn add_foreign(
        &self,
        file: u32,
        rows: &[(KeyHash, u32)],
        superseded: &mut Vec<Location>,
    ) -> Result<(), Error> {
        self.for_each_by_shard(rows, |shard, _, (key, row)| {
            let location = Location { file, row: *row };
            if let Some(ours) = shard.change(key.in_shard(), Some(location))? {
                shard.change(key.in_shard(), Some(ours))?;
                superseded.push(location);
            }
            Ok(())
        })?;
        self.keep_budget()
    }

    fn for_each_by_shard<T>(
        &self,
        changes: &[(KeyHash, T)],
        mut apply: impl FnMut(&mut Access<'_>, usize, &(KeyHash, T)) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let order = ShardOrder::of(changes);
        for (number, (place, members)) in self.shards.iter().zip(order.members()).enumerate() {
            if members.is_empty() {
                continue;
            }
            let mut place = place.lock();
            let before = place.size_bytes();
            let mut access = match &mut *place {
                Place::Memory(shard) => Access::Memory(shard),
                Place::Disk(len) => Access::Disk(self.spill()?.shard(number), len),
            };
            for at in members {
                let at = *at as usize;
                apply(&mut access, at, &changes[at])?;
            }
            if let Access::Disk(shard, _) = access {
                shard.finish()?;
            }
            let after = place.size_bytes();
            self.size_bytes.fetch_add(after, Ordering::Relaxed);
            self.size_bytes.fetch_sub(before, Ordering::Relaxed);
        }
        Ok(())
    }

    fn spill(&self) -> Result<&Spill, Error> {
        self.spill.get().ok_or_else(|| Error::bug("a shard on a disk that is not there"))
    }

    /// Moves shards to disk until the others fit into memory.
    fn keep_budget(&self) -> Result<(), Error> {
        if self.size_bytes() <= self.budget_bytes {
            return Ok(());
        }
        let _alone = self.spilling.lock();
        if self.spill.get().is_none() {
            let opened = Spill::open(spill::memory_of(self.budget_bytes))?;
            // Only one thread comes here at a time.
            drop(self.spill.set(opened));
        }
        let spill = self.spill()?;
        for (number, place) in self.shards.iter().enumerate() {
            if self.size_bytes() <= self.budget_bytes {
                return Ok(());
            }
            let mut place = place.lock();
            let Place::Memory(shard) = &*place else { continue };
            spill.take_in(number, shard)?;
            self.size_bytes.fetch_sub(shard.size_bytes(), Ordering::Relaxed);
            *place = Place::Disk(shard.len());
        }
        Ok(())
    }
}

impl Place {
    fn size_bytes(&self) -> usize {
        match self {
            Self::Memory(shard) => shard.size_bytes(),
            Self::Disk(_) => 0,
        }
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
    fn past_its_budget_it_goes_on_on_disk() {
        // All shards on disk, and some of them.
        for budget in [0, 1_000_000] {
            let index = KeyIndex::new(budget);
            let mut model = std::collections::HashMap::new();
            let mut former = Vec::new();
            let mut state = 1_u64;
            for round in 0..40_u32 {
                let changes: Vec<(KeyHash, Change)> = (0..2_000_u32)
                    .map(|row| {
                        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                        let key = key(u128::from((state >> 33) % 60_000));
                        let location = Location { file: round, row };
                        let is_put = state >> 60 > 3;
                        (key, if is_put { Change::Put(location) } else { Change::Remove })
                    })
                    .collect();
                index.apply(&changes, &mut former).unwrap();
                for ((key, change), former) in changes.iter().zip(&former) {
                    let expected = match change {
                        Change::Put(location) => model.insert(*key, *location),
                        Change::Remove => model.remove(key),
                    };
                    assert_eq!(*former, expected);
                }
                assert_eq!(index.len(), model.len());
            }
            assert!(index.spill.get().is_some());
            assert!(index.size_bytes() <= budget);
            let in_memory = index.shards.iter().filter(|place| place.lock().size_bytes() > 0);
            assert_eq!(in_memory.count() > 0, budget > 0);
        }
    }
}
