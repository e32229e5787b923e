//! One part of the key index: a hash table whose entries stay sorted by hash.
//!
//! Linear probing over a table of any size (not only powers of two), in which a key's home slot
//! grows with its hash. Two invariants make it work: every slot from a key's home to its entry is
//! taken, and the entries of the table ascend by hash. So a search ends at the first greater hash,
//! and growing is one sequential copy. Growing by an eighth keeps the table between 80 % and 90 %
//! full: at 20 bytes an entry that is about 24 bytes a key. (Tables that double are 65 % full on average.)

/// A row of a data file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Location {
    /// The number of the data file; see `FileRegistry`.
    pub(crate) file: u32,
    /// Which row of it, from 0.
    pub(crate) row: u32,
}

/// What a shard knows of a key: 96 bits of its hash, highest first.
pub(crate) type ShardKey = [u32; 3];

/// The file of a slot that is free.
const FREE: u32 = u32::MAX;
const FREE_SLOT: Slot = Slot { key: [0; 3], location: Location { file: FREE, row: 0 } };

#[derive(Clone, Copy)]
struct Slot {
    key: ShardKey,
    location: Location,
}

impl Slot {
    const fn is_free(&self) -> bool {
        self.location.file == FREE
    }
}

/// A table of keys and where their rows are.
#[derive(Default)]
pub(crate) struct Shard {
    /// Home slots, and behind them room for entries that the last homes push out.
    slots: Vec<Slot>,
    /// How many slots are homes.
    homes: usize,
    len: usize,
}

impl Shard {
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) const fn size_bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Slot>()
    }

    /// All keys, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (ShardKey, Location)> {
        self.slots.iter().filter(|slot| !slot.is_free()).map(|slot| (slot.key, slot.location))
    }

    #[cfg(test)]
    pub(crate) fn get(&self, key: ShardKey) -> Option<Location> {
        self.find(key).ok().map(|at| self.slots[at].location)
    }

    /// Sets a key's location and returns the former one.
    pub(crate) fn insert(&mut self, key: ShardKey, location: Location) -> Option<Location> {
        match self.find(key) {
            Ok(at) => Some(std::mem::replace(&mut self.slots[at].location, location)),
            Err(at) => {
                self.insert_at(at, Slot { key, location });
                None
            }
        }
    }

    /// Forgets a key and returns its location.
    pub(crate) fn remove(&mut self, key: ShardKey) -> Option<Location> {
        let at = self.find(key).ok()?;
        let removed = self.slots[at].location;
        // Entries behind it that are not at home move one slot towards home.
        let mut end = at + 1;
        while end < self.slots.len()
            && !self.slots[end].is_free()
            && self.home(self.slots[end].key) < end
        {
            end += 1;
        }
        self.slots.copy_within(at + 1..end, at);
        self.slots[end - 1] = FREE_SLOT;
        self.len -= 1;
        Some(removed)
    }

    /// Where the key is, or else where it would have to be put.
    fn find(&self, key: ShardKey) -> Result<usize, usize> {
        let mut at = self.home(key);
        while let Some(slot) = self.slots.get(at) {
            if slot.is_free() || slot.key > key {
                break;
            }
            if slot.key == key {
                return Ok(at);
            }
            at += 1;
        }
        Err(at)
    }

    fn home(&self, key: ShardKey) -> usize {
        // The share of the hash range that lies before the key, as a share of the homes.
        ((u64::from(key[0]) * self.homes as u64) >> 32) as usize
    }

    fn insert_at(&mut self, at: usize, slot: Slot) {
        let is_full = self.len >= self.homes - self.homes / 10;
        let free = self.slots[at.min(self.slots.len())..].iter().position(Slot::is_free);
        match free {
            Some(distance) if !is_full => {
                self.slots.copy_within(at..at + distance, at + 1);
                self.slots[at] = slot;
                self.len += 1;
            }
            Some(_) | None => {
                self.grow();
                let at = self.find(slot.key).unwrap_or_else(|at| at);
                self.insert_at(at, slot);
            }
        }
    }

    fn grow(&mut self) {
        let old = std::mem::take(&mut self.slots);
        self.homes = (self.homes + self.homes / 8).max(8);
        let mut tail = 16 + self.homes / 64;
        while !self.fill_from(&old, tail) {
            tail *= 2;
        }
    }

    /// Puts the entries of `old` into new slots, in order. False if the tail is too short.
    fn fill_from(&mut self, old: &[Slot], tail: usize) -> bool {
        let mut slots = Vec::new();
        slots.reserve_exact(self.homes + tail);
        slots.resize(self.homes + tail, FREE_SLOT);
        let mut next = 0;
        for slot in old.iter().filter(|slot| !slot.is_free()) {
            let at = next.max(self.home(slot.key));
            // One slot stays free, so that the insertion that made the table grow succeeds.
            if at + 1 >= slots.len() {
                return false;
            }
            slots[at] = *slot;
            next = at + 1;
        }
        self.slots = slots;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn location(row: u32) -> Location {
        Location { file: 0, row }
    }

    /// Asserts the two invariants of the table.
    fn check(shard: &Shard) {
        let entries: Vec<(usize, &Slot)> =
            shard.slots.iter().enumerate().filter(|(_, slot)| !slot.is_free()).collect();
        assert_eq!(entries.len(), shard.len());
        assert!(entries.windows(2).all(|pair| pair[0].1.key < pair[1].1.key));
        for (at, slot) in entries {
            let home = shard.home(slot.key);
            assert!(home <= at);
            assert!(shard.slots[home..=at].iter().all(|slot| !slot.is_free()));
        }
    }

    proptest! {
        #[test]
        fn it_holds_what_a_map_holds(
            // Few different high words, so that homes collide, also at the end of the table.
            ops in prop::collection::vec((any::<bool>(), 0u32..40, 0u32..3), 0..400)
        ) {
            let mut shard = Shard::default();
            let mut model = BTreeMap::new();
            for (number, (is_insert, high, low)) in ops.into_iter().enumerate() {
                let key = [high.wrapping_mul(0x0666_6666), 0, low];
                let row = u32::try_from(number).unwrap();
                if is_insert {
                    prop_assert_eq!(
                        shard.insert(key, location(row)),
                        model.insert(key, location(row))
                    );
                } else {
                    prop_assert_eq!(shard.remove(key), model.remove(&key));
                }
                check(&shard);
            }
            for (key, at) in model {
                prop_assert_eq!(shard.get(key), Some(at));
            }
        }
    }

    #[test]
    fn a_key_takes_about_24_bytes_at_every_size() {
        let mut shard = Shard::default();
        let mut state = 1u64;
        let mut worst = 0.0_f64;
        for row in 0..100_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let high = u32::try_from(state >> 32).unwrap();
            shard.insert([high, row, 0], location(row));
            if row > 2_000 {
                let bytes = f64::from(u32::try_from(shard.size_bytes()).unwrap());
                worst = worst.max(bytes / f64::from(row + 1));
            }
        }
        check(&shard);
        assert!(worst < 26.5, "{worst} bytes a key");
    }
}
