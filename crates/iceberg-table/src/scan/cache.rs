//! What was read of immutable files before, by path.
//!
//! Files of an Iceberg table never change once they are written, so their content is kept across
//! queries until the budget is used up; then what was used longest ago goes. Each entry carries the
//! size of the file as the caller knows it, so that a file that was replaced is read again.

use std::any::Any;
use std::sync::{Arc, LazyLock};

use hashbrown::HashMap;
use parking_lot::Mutex;

/// A bounded map of what was made from files.
#[derive(Debug)]
pub(crate) struct FileCache {
    state: Mutex<State>,
    budget_bytes: usize,
}

#[derive(Debug, Default)]
struct State {
    entries: HashMap<Key, Entry>,
    used_bytes: usize,
    clock: u64,
}

/// Path, size of the file, and what of it is kept (several things may be made of one file).
type Key = (String, u64, &'static str);

#[derive(Debug)]
struct Entry {
    content: Arc<dyn Any + Send + Sync>,
    size_bytes: usize,
    used_at: u64,
}

const DEFAULT_BUDGET_BYTES: usize = 128 * 1024 * 1024;

impl FileCache {
    /// The cache of this process.
    pub(crate) fn global() -> &'static Self {
        static GLOBAL: LazyLock<FileCache> = LazyLock::new(|| FileCache::new(DEFAULT_BUDGET_BYTES));
        &GLOBAL
    }

    fn new(budget_bytes: usize) -> Self {
        Self { state: Mutex::default(), budget_bytes }
    }

    /// What was put for this file.
    pub(crate) fn get<T: Any + Send + Sync>(
        &self,
        path: &str,
        file_size: u64,
        what: &'static str,
    ) -> Option<Arc<T>> {
        let mut state = self.state.lock();
        state.clock += 1;
        let now = state.clock;
        let entry = state.entries.get_mut(&(path.to_owned(), file_size, what))?;
        entry.used_at = now;
        Arc::clone(&entry.content).downcast().ok()
    }

    /// Keeps something that was made of a file and takes `size_bytes` of memory.
    pub(crate) fn put<T: Any + Send + Sync>(
        &self,
        path: &str,
        file_size: u64,
        what: &'static str,
        (content, size_bytes): (Arc<T>, usize),
    ) {
        if size_bytes > self.budget_bytes / 4 {
            return;
        }
        let mut state = self.state.lock();
        state.clock += 1;
        let entry = Entry { content, size_bytes, used_at: state.clock };
        state.used_bytes += size_bytes;
        if let Some(old) = state.entries.insert((path.to_owned(), file_size, what), entry) {
            state.used_bytes -= old.size_bytes;
        }
        if state.used_bytes > self.budget_bytes {
            state.make_room(self.budget_bytes / 4 * 3);
        }
    }
}

impl State {
    fn make_room(&mut self, wanted_bytes: usize) {
        let mut ages: Vec<u64> = self.entries.values().map(|entry| entry.used_at).collect();
        ages.sort_unstable();
        // Ages are distinct; a quarter of the entries goes at a time until there is room.
        for chunk in ages.chunks(ages.len().div_ceil(4).max(1)) {
            if self.used_bytes <= wanted_bytes {
                return;
            }
            let Some(newest) = chunk.last() else { return };
            let mut freed = 0;
            self.entries.retain(|_, entry| {
                let keep = entry.used_at > *newest;
                if !keep {
                    freed += entry.size_bytes;
                }
                keep
            });
            self.used_bytes -= freed;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_longest_ago_makes_room() {
        let cache = FileCache::new(100);
        for path in ["a", "b", "c", "d"] {
            cache.put(path, 1, "text", (Arc::new(path.to_owned()), 20));
        }
        assert_eq!(cache.get::<String>("a", 1, "text").as_deref(), Some(&"a".to_owned()));
        cache.put("e", 1, "text", (Arc::new("e".to_owned()), 25));
        assert!(cache.get::<String>("b", 1, "text").is_none());
        assert!(cache.get::<String>("a", 1, "text").is_some());
        assert!(cache.get::<String>("e", 1, "text").is_some());
        assert!(cache.state.lock().used_bytes <= 75);
    }

    #[test]
    fn size_and_kind_are_part_of_the_key() {
        let cache = FileCache::new(100);
        cache.put("a", 1, "text", (Arc::new(1_u8), 1));
        assert!(cache.get::<u8>("a", 2, "text").is_none());
        assert!(cache.get::<u8>("a", 1, "other").is_none());
        assert!(cache.get::<u16>("a", 1, "text").is_none());
        assert!(cache.get::<u8>("a", 1, "text").is_some());
    }
}
