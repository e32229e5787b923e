//! Global transaction identifiers and sets of them.
//!
//! Invariant of [`GtidSet`]: the intervals of a source are sorted, do not touch and are not empty, and a
//! source without intervals is absent; so equal sets compare equal and print equally.
//!
//! MariaDB's identifiers are `domain-server-number`. Numbers grow within a domain whatever server writes, so the last
//! transaction of each domain says all: its set is a list of these, which holds all that came before them.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::cursor::Cursor;
use crate::error::{Error, Result};

const UUID_BYTES: usize = 16;
const TAG_BYTES: usize = 32;

/// Where transaction numbers come from: a server's UUID and, since MySQL 8.3, an optional tag; or a domain of MariaDB.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GtidSource(Origin);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Origin {
    Server {
        uuid: [u8; UUID_BYTES],
        /// The tag, filled up with zero bytes; all zero if there is none.
        tag: [u8; TAG_BYTES],
    },
    Domain {
        domain: u32,
        server: u32,
    },
}

impl GtidSource {
    /// The untagged source of a server.
    #[must_use]
    pub const fn new(uuid: [u8; UUID_BYTES]) -> Self {
        Self(Origin::Server { uuid, tag: [0; TAG_BYTES] })
    }

    /// A domain of MariaDB, and the server that wrote.
    #[must_use]
    pub const fn domain(domain: u32, server: u32) -> Self {
        Self(Origin::Domain { domain, server })
    }

    /// The same server's source of a tag; the empty tag is none.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the tag is not 1 to 32 of `a-z`, `_` and digits, or the source is a domain.
    pub fn with_tag(mut self, text: &[u8]) -> Result<Self> {
        let valid = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'_';
        let slot = match &mut self.0 {
            Origin::Server { tag, .. } => tag.get_mut(..text.len()),
            Origin::Domain { .. } => None,
        };
        let slot = slot.filter(|_| text.iter().all(valid));
        let Some(slot) = slot.filter(|_| !text.first().is_some_and(u8::is_ascii_digit)) else {
            return Err(Error::malformed("GTID", "its tag is not 1 to 32 of a-z, 0-9 and _"));
        };
        slot.copy_from_slice(text);
        Ok(self)
    }

    /// The server's UUID; all zero for a domain.
    #[must_use]
    pub const fn uuid(&self) -> &[u8; UUID_BYTES] {
        match &self.0 {
            Origin::Server { uuid, .. } => uuid,
            Origin::Domain { .. } => &[0; UUID_BYTES],
        }
    }

    /// The tag, or an empty string.
    #[must_use]
    pub fn tag(&self) -> &str {
        let Origin::Server { tag, .. } = &self.0 else { return "" };
        let len = tag.iter().position(|byte| *byte == 0).unwrap_or(TAG_BYTES);
        tag.get(..len).and_then(|tag| std::str::from_utf8(tag).ok()).unwrap_or_default()
    }
}

impl fmt::Display for GtidSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Origin::Domain { domain, server } => write!(f, "{domain}-{server}"),
            Origin::Server { uuid, .. } => {
                write_uuid(f, uuid)?;
                match self.tag() {
                    "" => Ok(()),
                    tag => write!(f, ":{tag}"),
                }
            }
        }
    }
}

impl fmt::Debug for GtidSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn write_uuid(f: &mut fmt::Formatter<'_>, uuid: &[u8; UUID_BYTES]) -> fmt::Result {
    for (index, byte) in uuid.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            f.write_str("-")?;
        }
        write!(f, "{byte:02x}")?;
    }
    Ok(())
}

fn parse_uuid(text: &str) -> Result<[u8; UUID_BYTES]> {
    let mut uuid = [0; UUID_BYTES];
    let mut digits = text.chars().filter(|character| *character != '-');
    for byte in &mut uuid {
        let pair = digits.next().zip(digits.next());
        let pair = pair.and_then(|(high, low)| high.to_digit(16).zip(low.to_digit(16)));
        let value = pair.and_then(|(high, low)| u8::try_from(high * 16 + low).ok());
        *byte = value.ok_or_else(|| Error::malformed("GTID", "no valid server UUID"))?;
    }
    match digits.next() {
        None => Ok(uuid),
        Some(_) => Err(Error::malformed("GTID", "no valid server UUID")),
    }
}

/// One transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Gtid {
    /// Where its number comes from.
    pub source: GtidSource,
    /// Its number, from 1.
    pub number: u64,
}

impl fmt::Display for Gtid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.source.0 {
            Origin::Server { .. } => write!(f, "{}:{}", self.source, self.number),
            Origin::Domain { .. } => write!(f, "{}-{}", self.source, self.number),
        }
    }
}

/// Numbers `first..=last` of one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GtidInterval {
    /// The first number.
    pub first: u64,
    /// The last number.
    pub last: u64,
}

/// A set of transactions, as `gtid_executed` of MySQL or `gtid_binlog_pos` of MariaDB holds it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GtidSet {
    sources: BTreeMap<GtidSource, Vec<GtidInterval>>,
    /// The last transaction of each domain of MariaDB: the server that wrote it, and its number.
    domains: BTreeMap<u32, (u32, u64)>,
}

impl GtidSet {
    /// The empty set.
    #[must_use]
    pub const fn new() -> Self {
        Self { sources: BTreeMap::new(), domains: BTreeMap::new() }
    }

    /// Whether it holds no transaction.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty() && self.domains.is_empty()
    }

    /// Whether it is a set of MariaDB's transactions.
    #[must_use]
    pub fn has_domains(&self) -> bool {
        !self.domains.is_empty()
    }

    /// The servers' sources in order, each with its intervals.
    pub fn iter(&self) -> impl Iterator<Item = (&GtidSource, &[GtidInterval])> {
        self.sources.iter().map(|(source, intervals)| (source, intervals.as_slice()))
    }

    /// The intervals of one source.
    #[must_use]
    pub fn intervals(&self, source: &GtidSource) -> &[GtidInterval] {
        self.sources.get(source).map_or(&[], Vec::as_slice)
    }

    /// Whether it holds a transaction.
    #[must_use]
    pub fn contains(&self, gtid: &Gtid) -> bool {
        match gtid.source.0 {
            Origin::Server { .. } => holds(self.intervals(&gtid.source), gtid.number, gtid.number),
            Origin::Domain { domain, .. } => {
                self.domains.get(&domain).is_some_and(|(_, last)| gtid.number <= *last)
            }
        }
    }

    /// Whether it holds every transaction of `other`.
    #[must_use]
    pub fn contains_set(&self, other: &Self) -> bool {
        let in_domains = other.domains.iter().all(|(domain, (_, number))| {
            self.domains.get(domain).is_some_and(|(_, last)| number <= last)
        });
        in_domains
            && other.iter().all(|(source, intervals)| {
                let own = self.intervals(source);
                intervals.iter().all(|interval| holds(own, interval.first, interval.last))
            })
    }

    /// Adds a transaction; one of a domain becomes its last.
    pub fn add(&mut self, gtid: &Gtid) {
        self.add_interval(gtid.source, GtidInterval { first: gtid.number, last: gtid.number });
    }

    /// Adds numbers of a source. An interval that ends before it begins adds nothing.
    pub fn add_interval(&mut self, source: GtidSource, interval: GtidInterval) {
        if interval.first > interval.last {
            return;
        }
        if let Origin::Domain { domain, server } = source.0 {
            self.domains.insert(domain, (server, interval.last));
            return;
        }
        let own = self.sources.entry(source).or_default();
        // The common case of a follower: the number after the last one.
        if let Some(tail) = own.last_mut()
            && interval.first.checked_sub(1) == Some(tail.last)
        {
            tail.last = interval.last;
            return;
        }
        let from = own.partition_point(|i| i.last.saturating_add(1) < interval.first);
        let to = own.partition_point(|i| i.first <= interval.last.saturating_add(1)).max(from);
        let mut merged = interval;
        if let Some(touched) = own.get(from..to) {
            for old in touched {
                merged.first = merged.first.min(old.first);
                merged.last = merged.last.max(old.last);
            }
        }
        own.splice(from..to, [merged]);
    }

    /// Adds every transaction of `other`.
    pub fn union(&mut self, other: &Self) {
        for (source, intervals) in other.iter() {
            for interval in intervals {
                self.add_interval(*source, *interval);
            }
        }
        for (domain, (server, number)) in &other.domains {
            if self.domains.get(domain).is_none_or(|(_, last)| last < number) {
                self.domains.insert(*domain, (*server, *number));
            }
        }
    }

    /// Removes every transaction of `other`. What is left of a domain keeps its end.
    pub fn subtract(&mut self, other: &Self) {
        self.domains.retain(|domain, (_, last)| {
            other.domains.get(domain).is_none_or(|(_, removed)| removed < last)
        });
        for (source, removed) in other.iter() {
            let Some(own) = self.sources.remove(source) else { continue };
            let mut left = own;
            for cut in removed {
                left = left.into_iter().flat_map(|interval| remainder(interval, *cut)).collect();
            }
            if !left.is_empty() {
                self.sources.insert(*source, left);
            }
        }
    }

    /// The binary form of `COM_BINLOG_DUMP_GTID`, which MariaDB does not know: the tagged form only if a tag
    /// occurs, because servers before 8.3 do not know it.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let tagged = self.sources.keys().any(|source| !source.tag().is_empty());
        let count = self.sources.len() as u64;
        let mut out = Vec::new();
        if tagged {
            let [a, b, c, d, e, f, ..] = count.to_le_bytes();
            out.extend([1, a, b, c, d, e, f, 1]);
        } else {
            out.extend(count.to_le_bytes());
        }
        for (source, intervals) in self.iter() {
            out.extend(source.uuid());
            if tagged {
                // A tag has at most 32 bytes, whose length is one byte of the serialization library.
                let tag = source.tag().as_bytes();
                out.extend((tag.len() as u64 * 2).to_le_bytes().first());
                out.extend_from_slice(tag);
            }
            out.extend((intervals.len() as u64).to_le_bytes());
            for interval in intervals {
                out.extend(interval.first.to_le_bytes());
                out.extend(interval.last.saturating_add(1).to_le_bytes());
            }
        }
        out
    }

    /// Reads the binary form, which is also the body of PREVIOUS_GTIDS.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the bytes are no set.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut cursor = Cursor::new(bytes);
        Self::decode_from(&mut cursor).ok_or_else(|| Error::short("GTID set"))?
    }

    fn decode_from(cursor: &mut Cursor<'_>) -> Option<Result<Self>> {
        let header: [u8; 8] = cursor.array()?;
        let [_, a, b, c, d, e, f, format] = header;
        let tagged = format == 1;
        let count = if tagged {
            u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
        } else {
            u64::from_le_bytes(header)
        };
        let mut set = Self::new();
        for _ in 0..count {
            let mut source = GtidSource::new(cursor.array()?);
            if tagged {
                let len = usize::try_from(cursor.varlen()?).ok()?;
                let tag = cursor.take(len)?;
                match source.with_tag(tag) {
                    Ok(tagged) => source = tagged,
                    Err(error) => return Some(Err(error)),
                }
            }
            for _ in 0..cursor.u64()? {
                let (first, end) = (cursor.u64()?, cursor.u64()?);
                if first == 0 || end <= first {
                    return Some(Err(Error::malformed("GTID set", "an interval is empty")));
                }
                set.add_interval(source, GtidInterval { first, last: end - 1 });
            }
        }
        Some(Ok(set))
    }
}

impl GtidSet {
    /// Reads the body of MariaDB's `GTID_LIST` event.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the bytes are no list.
    pub fn decode_list(bytes: &[u8]) -> Result<Self> {
        let mut cursor = Cursor::new(bytes);
        Self::decode_entries(&mut cursor).ok_or_else(|| Error::short("GTID list event"))
    }

    fn decode_entries(cursor: &mut Cursor<'_>) -> Option<Self> {
        /// The upper bits are flags.
        const COUNT: u32 = 0x0fff_ffff;
        let mut set = Self::new();
        for _ in 0..cursor.u32()? & COUNT {
            let source = GtidSource::domain(cursor.u32()?, cursor.u32()?);
            // A domain is listed once for each server, the server that wrote last at the end.
            set.add(&Gtid { source, number: cursor.u64()? });
        }
        Some(set)
    }
}

fn holds(intervals: &[GtidInterval], first: u64, last: u64) -> bool {
    let at = intervals.partition_point(|interval| interval.last < first);
    intervals.get(at).is_some_and(|interval| interval.first <= first && last <= interval.last)
}

/// What is left of `interval` without `cut`: up to two pieces.
fn remainder(interval: GtidInterval, cut: GtidInterval) -> impl Iterator<Item = GtidInterval> {
    let left = GtidInterval {
        first: interval.first,
        last: interval.last.min(cut.first.saturating_sub(1)),
    };
    let right =
        GtidInterval { first: interval.first.max(cut.last.saturating_add(1)), last: interval.last };
    let apart = cut.last < interval.first || interval.last < cut.first;
    let pieces = if apart { [Some(interval), None] } else { [Some(left), Some(right)] };
    pieces.into_iter().flatten().filter(|piece| piece.first <= piece.last)
}

impl fmt::Display for GtidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut uuid = None;
        for (source, intervals) in self.iter() {
            if uuid == Some(source.uuid()) {
                write!(f, ":{}", source.tag())?;
            } else {
                let comma = if uuid.is_some() { "," } else { "" };
                write!(f, "{comma}{source}")?;
                uuid = Some(source.uuid());
            }
            for GtidInterval { first, last } in intervals {
                if first == last {
                    write!(f, ":{first}")?;
                } else {
                    write!(f, ":{first}-{last}")?;
                }
            }
        }
        for (domain, (server, number)) in &self.domains {
            let comma = if uuid.is_some() { "," } else { "" };
            write!(f, "{comma}{domain}-{server}-{number}")?;
            uuid = Some(&[0; UUID_BYTES]);
        }
        Ok(())
    }
}

impl FromStr for GtidSet {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut set = Self::new();
        for entry in text.split(',') {
            let entry: String = entry.chars().filter(|c| !c.is_whitespace()).collect();
            if entry.is_empty() {
                continue;
            }
            if let Some(gtid) = parse_domain(&entry) {
                set.add(&gtid);
                continue;
            }
            let mut parts = entry.split(':');
            let mut source = GtidSource::new(parse_uuid(parts.next().unwrap_or_default())?);
            for part in parts {
                if part.starts_with(|c: char| c.is_ascii_digit()) {
                    set.add_interval(source, parse_interval(part)?);
                } else {
                    let tag = part.to_ascii_lowercase();
                    source = GtidSource::new(*source.uuid()).with_tag(tag.as_bytes())?;
                }
            }
        }
        if set.has_domains() && !set.sources.is_empty() {
            return Err(Error::malformed("GTID set", "it mixes GTIDs of MySQL and MariaDB"));
        }
        Ok(set)
    }
}

/// `domain-server-number` of MariaDB.
fn parse_domain(text: &str) -> Option<Gtid> {
    let mut parts = text.split('-');
    let (domain, server, number) = (parts.next()?, parts.next()?, parts.next()?);
    let source = GtidSource::domain(domain.parse().ok()?, server.parse().ok()?);
    let gtid = Gtid { source, number: number.parse().ok()? };
    parts.next().is_none().then_some(gtid)
}

impl FromStr for Gtid {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if let Some(gtid) = parse_domain(text.trim()) {
            return Ok(gtid);
        }
        let set: GtidSet = text.parse()?;
        let mut entries = set.iter();
        match (entries.next(), entries.next()) {
            (Some((source, [interval])), None) if interval.first == interval.last => {
                Ok(Self { source: *source, number: interval.first })
            }
            _ => Err(Error::malformed("GTID", "it does not name one transaction")),
        }
    }
}

fn parse_interval(text: &str) -> Result<GtidInterval> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let number = |text: &str| text.parse::<u64>().ok().filter(|number| *number > 0);
    match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => Ok(GtidInterval { first, last }),
        _ => Err(Error::malformed("GTID set", "an interval is not `n` or `n-m`")),
    }
}

/// Appends the set behind its length in four bytes, as the dump command wants it.
pub(crate) fn put_gtid_set(out: &mut Vec<u8>, set: &GtidSet) {
    let bytes = set.encode();
    out.extend((bytes.len() as u64).to_le_bytes().iter().take(4));
    out.extend(bytes);
}

#[cfg(test)]
mod tests;
