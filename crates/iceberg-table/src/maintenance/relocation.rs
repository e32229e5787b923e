//! Where the rows of rewritten files are now.
//!
//! Rewriting takes the rows of some files, without those that were deleted when it was planned, and
//! puts them into other files. A row's place follows from counting: it is the number of rows that
//! were kept before it. So the map takes a few bits a row at most, unless rows were sorted.
//!
//! A row that was deleted when the rewrite was planned has no new place. So a delete that names it
//! may be mapped twice or late, and means nothing then.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::RwLock;
use roaring::RoaringTreemap;
use serde::{Deserialize, Serialize};

use crate::Error;

/// A row of a data file: the file's location and the row's number in it.
pub(crate) type Place = (Arc<str>, u64);

/// The map from old places to new ones.
#[derive(Debug, Default)]
pub(crate) struct Relocation {
    sources: BTreeMap<Arc<str>, Source>,
    /// New files, with the number of the first kept row in each.
    outputs: Vec<(u64, Arc<str>)>,
    /// How many rows were kept.
    row_count: u64,
    /// Where each kept row went, if their order was changed.
    order: Option<Vec<u32>>,
}

#[derive(Debug)]
struct Source {
    /// How many rows were kept of the files before it.
    first: u64,
    row_count: u64,
    deleted: RoaringTreemap,
}

/// What became of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Whereabouts {
    /// Its file was not rewritten.
    NotMoved,
    /// It was deleted before its file was rewritten.
    Gone,
    /// It is here now.
    Moved(Place),
}

impl Relocation {
    /// Adds the next file that is rewritten; `deleted` are its rows that are not kept.
    pub(crate) fn add_source(
        &mut self,
        location: Arc<str>,
        row_count: u64,
        mut deleted: RoaringTreemap,
    ) {
        // Positions behind the end of the file delete nothing.
        deleted.remove_range(row_count..);
        let first = self.row_count;
        self.row_count += row_count - deleted.len();
        self.sources.insert(location, Source { first, row_count, deleted });
    }

    /// Adds the next new file. `row_count` kept rows follow in it.
    pub(crate) fn add_output(&mut self, location: Arc<str>, first: u64) {
        self.outputs.push((first, location));
    }

    /// Says that kept row `i` went to place `order[i]`.
    pub(crate) fn set_order(&mut self, order: Vec<u32>) {
        self.order = Some(order);
    }

    /// How many rows were kept.
    pub(crate) const fn row_count(&self) -> u64 {
        self.row_count
    }

    /// Whether a file was rewritten.
    pub(crate) fn is_source(&self, location: &str) -> bool {
        self.sources.contains_key(location)
    }

    /// The files that were rewritten.
    pub(crate) fn sources(&self) -> impl Iterator<Item = &Arc<str>> {
        self.sources.keys()
    }

    /// What became of a row of a file.
    pub(crate) fn locate(&self, location: &str, row: u64) -> Whereabouts {
        let Some(source) = self.sources.get(location) else { return Whereabouts::NotMoved };
        if row >= source.row_count || source.deleted.contains(row) {
            return Whereabouts::Gone;
        }
        let kept = source.first + row - source.deleted.rank(row);
        self.place_of(kept).map_or(Whereabouts::Gone, Whereabouts::Moved)
    }

    /// Where a row of a rewritten file is now; none if it was deleted before.
    pub(crate) fn moved(&self, location: &str, row: u64) -> Option<Place> {
        match self.locate(location, row) {
            Whereabouts::Moved(place) => Some(place),
            Whereabouts::Gone | Whereabouts::NotMoved => None,
        }
    }

    /// The place of a kept row.
    fn place_of(&self, kept: u64) -> Option<Place> {
        let at = match &self.order {
            None => kept,
            Some(order) => u64::from(*order.get(usize::try_from(kept).ok()?)?),
        };
        let file = self.outputs.partition_point(|(first, _)| *first <= at).checked_sub(1)?;
        let (first, location) = self.outputs.get(file)?;
        Some((Arc::clone(location), at - first))
    }

    /// The map as bytes. See `docs/formats/relocation.md`.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, Error> {
        let mut bitmaps = Vec::new();
        let mut sources = Vec::with_capacity(self.sources.len());
        for (location, source) in &self.sources {
            sources.push(EncodedSource {
                location: location.to_string(),
                first: source.first,
                row_count: source.row_count,
                deleted_bytes: source.deleted.serialized_size(),
            });
            source.deleted.serialize_into(&mut bitmaps).map_err(Error::bug)?;
        }
        let outputs = self.outputs.iter().map(|(first, to)| (to.to_string(), *first)).collect();
        let is_sorted = self.order.is_some();
        let row_count = self.row_count;
        let header = Encoded { version: VERSION, row_count, is_sorted, sources, outputs };
        let header = serde_json::to_vec(&header).map_err(Error::bug)?;
        let length = u32::try_from(header.len()).map_err(Error::bug)?;
        let mut bytes = length.to_le_bytes().to_vec();
        bytes.extend_from_slice(&header);
        bytes.extend_from_slice(&bitmaps);
        bytes.extend(self.order.iter().flatten().flat_map(|place| place.to_le_bytes()));
        Ok(bytes)
    }

    /// Reads what [`Self::encode`] made.
    pub(crate) fn decode(location: &str, bytes: &[u8]) -> Result<Self, Error> {
        let cut = || Error::corrupt(location, "it is cut short");
        let (length, rest) = bytes.split_first_chunk::<4>().ok_or_else(cut)?;
        let length = usize::try_from(u32::from_le_bytes(*length)).map_err(Error::bug)?;
        let (header, mut rest) = rest.split_at_checked(length).ok_or_else(cut)?;
        let encoded: Encoded =
            serde_json::from_slice(header).map_err(|error| Error::corrupt(location, error))?;
        if encoded.version != VERSION {
            return Err(Error::corrupt(location, format!("it has version {}", encoded.version)));
        }
        let mut relocation = Self { row_count: encoded.row_count, ..Self::default() };
        for source in encoded.sources {
            let EncodedSource { location: of, first, row_count, deleted_bytes } = source;
            let (bitmap, after) = rest.split_at_checked(deleted_bytes).ok_or_else(cut)?;
            rest = after;
            let deleted = RoaringTreemap::deserialize_from(bitmap)
                .map_err(|error| Error::corrupt(location, error))?;
            relocation.sources.insert(of.into(), Source { first, row_count, deleted });
        }
        relocation.outputs =
            encoded.outputs.into_iter().map(|(to, first)| (first, to.into())).collect();
        if encoded.is_sorted {
            let (places, _) = rest.as_chunks::<4>();
            relocation.order =
                Some(places.iter().map(|place| u32::from_le_bytes(*place)).collect());
        }
        Ok(relocation)
    }
}

const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Encoded {
    version: u32,
    row_count: u64,
    is_sorted: bool,
    sources: Vec<EncodedSource>,
    outputs: Vec<(String, u64)>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct EncodedSource {
    location: String,
    first: u64,
    row_count: u64,
    deleted_bytes: usize,
}

/// All rewrites that a run of a job knows of. Its key index goes on naming rows by the places where it
/// knew them first; whoever writes a delete asks here where they are now.
#[derive(Default)]
pub struct Relocations(RwLock<BTreeMap<Arc<str>, Arc<Relocation>>>);

impl fmt::Debug for Relocations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relocations").field("files", &self.0.read().len()).finish()
    }
}

impl Relocations {
    /// Takes note of a rewrite that is committed.
    pub(crate) fn add(&self, relocation: &Arc<Relocation>) {
        let mut known = self.0.write();
        for source in relocation.sources() {
            known.insert(Arc::clone(source), Arc::clone(relocation));
        }
    }

    /// Whether no rewrite is known.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.read().is_empty()
    }

    /// Whether a file was rewritten.
    pub(crate) fn is_source(&self, location: &str) -> bool {
        self.0.read().contains_key(location)
    }

    /// Where a row is now; none if it was deleted before its file was rewritten.
    pub(crate) fn resolve(&self, location: Arc<str>, row: u64) -> Option<Place> {
        let known = self.0.read();
        let mut place = (location, row);
        // Each rewrite makes new files, so the chain ends.
        while let Some(relocation) = known.get(&place.0) {
            match relocation.locate(&place.0, place.1) {
                Whereabouts::Moved(next) => place = next,
                Whereabouts::Gone => return None,
                Whereabouts::NotMoved => break,
            }
        }
        Some(place)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn relocation(sources: &[(&str, u64, &[u64])], outputs: &[(&str, u64)]) -> Relocation {
        let mut relocation = Relocation::default();
        for (location, row_count, deleted) in sources {
            let deleted = deleted.iter().copied().collect();
            relocation.add_source((*location).into(), *row_count, deleted);
        }
        for (location, first) in outputs {
            relocation.add_output((*location).into(), *first);
        }
        relocation
    }

    fn moved(location: &str, row: u64) -> Whereabouts {
        Whereabouts::Moved((location.into(), row))
    }

    #[test]
    fn rows_are_counted_over_files_without_the_deleted_ones() {
        let map = relocation(&[("a", 4, &[1, 9]), ("b", 3, &[0])], &[("x", 0), ("y", 4)]);
        assert_eq!(map.row_count(), 5);
        assert_eq!(map.locate("a", 0), moved("x", 0));
        assert_eq!(map.locate("a", 1), Whereabouts::Gone);
        assert_eq!(map.locate("a", 3), moved("x", 2));
        assert_eq!(map.locate("a", 9), Whereabouts::Gone);
        assert_eq!(map.locate("b", 1), moved("x", 3));
        assert_eq!(map.locate("b", 2), moved("y", 0));
        assert_eq!(map.locate("c", 0), Whereabouts::NotMoved);
    }

    proptest! {
        #[test]
        fn each_kept_row_has_a_place_of_its_own(
            files in prop::collection::vec((1u64..20, prop::collection::btree_set(0u64..20, 0..20)), 1..5),
            sorted in any::<bool>(),
        ) {
            let mut map = Relocation::default();
            for (number, (row_count, deleted)) in files.iter().enumerate() {
                let location = number.to_string().into();
                map.add_source(location, *row_count, deleted.iter().copied().collect());
            }
            map.add_output("x".into(), 0);
            map.add_output("y".into(), map.row_count() / 2);
            if sorted {
                let rows = u32::try_from(map.row_count()).unwrap();
                map.set_order((0..rows).rev().collect());
            }
            let mut seen = std::collections::BTreeSet::new();
            for (number, (row_count, deleted)) in files.iter().enumerate() {
                let location = number.to_string();
                for row in 0..*row_count {
                    match map.locate(&location, row) {
                        Whereabouts::Moved(place) => {
                            prop_assert!(!deleted.contains(&row));
                            // No two rows come to one place.
                            prop_assert!(seen.insert(place));
                        }
                        other => {
                            prop_assert_eq!(other, Whereabouts::Gone);
                            prop_assert!(deleted.contains(&row));
                        }
                    }
                }
            }
            prop_assert_eq!(seen.len() as u64, map.row_count());
            let bytes = map.encode().unwrap();
            let decoded = Relocation::decode("x", &bytes).unwrap();
            prop_assert_eq!(decoded.encode().unwrap(), bytes);
            prop_assert_eq!(decoded.locate("0", 0), map.locate("0", 0));
        }
    }
}
