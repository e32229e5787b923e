//! What happened to a row.

use std::fmt;

use arrow::array::UInt32Array;

/// What a row of a changelog means. The numbers are Flink's (`RowKind.toByteValue`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum RowKind {
    /// `+I`: the row is new.
    Insert = 0,
    /// `-U`: the row as it was before an update.
    UpdateBefore = 1,
    /// `+U`: the row as it is after an update.
    UpdateAfter = 2,
    /// `-D`: the row is gone; the columns are those of the deleted row.
    Delete = 3,
}

impl RowKind {
    /// The kind that has this number.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Insert),
            1 => Some(Self::UpdateBefore),
            2 => Some(Self::UpdateAfter),
            3 => Some(Self::Delete),
            _ => None,
        }
    }

    /// `+I`, `-U`, `+U` or `-D`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Insert => "+I",
            Self::UpdateBefore => "-U",
            Self::UpdateAfter => "+U",
            Self::Delete => "-D",
        }
    }

    /// The kind that prints as `text`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Insert, Self::UpdateBefore, Self::UpdateAfter, Self::Delete]
            .into_iter()
            .find(|kind| kind.as_str() == text)
    }

    /// True for `+I` and `+U`: after this change the row exists.
    #[must_use]
    pub const fn is_addition(self) -> bool {
        matches!(self, Self::Insert | Self::UpdateAfter)
    }
}

impl fmt::Display for RowKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The kinds of all rows of a batch. A snapshot's rows are all `+I`, so that case takes no memory.
#[derive(Clone, Debug)]
pub enum RowKinds {
    /// Every one of `len` rows has the same kind.
    Uniform {
        /// The kind of each row.
        kind: RowKind,
        /// How many rows there are.
        len: usize,
    },
    /// One kind a row.
    Mixed(Vec<RowKind>),
}

impl RowKinds {
    /// `len` rows of one kind.
    #[must_use]
    pub const fn uniform(kind: RowKind, len: usize) -> Self {
        Self::Uniform { kind, len }
    }

    /// How many rows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Uniform { len, .. } => *len,
            Self::Mixed(kinds) => kinds.len(),
        }
    }

    /// True if there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The kind of row `row`, or `None` past the end.
    #[must_use]
    pub fn get(&self, row: usize) -> Option<RowKind> {
        match self {
            Self::Uniform { kind, len } => (row < *len).then_some(*kind),
            Self::Mixed(kinds) => kinds.get(row).copied(),
        }
    }

    /// The kinds in row order.
    pub fn iter(&self) -> impl Iterator<Item = RowKind> + '_ {
        (0..self.len()).filter_map(|row| self.get(row))
    }

    /// True if every row is `+I`.
    #[must_use]
    pub fn is_insert_only(&self) -> bool {
        match self {
            Self::Uniform { kind, len } => *len == 0 || *kind == RowKind::Insert,
            Self::Mixed(kinds) => kinds.iter().all(|kind| *kind == RowKind::Insert),
        }
    }

    /// The kinds of rows `offset .. offset + len`, cut at the end.
    #[must_use]
    pub fn slice(&self, offset: usize, len: usize) -> Self {
        match self {
            Self::Uniform { kind, len: all } => {
                Self::Uniform { kind: *kind, len: len.min(all.saturating_sub(offset)) }
            }
            Self::Mixed(kinds) => {
                Self::Mixed(kinds.iter().skip(offset).take(len).copied().collect())
            }
        }
    }

    /// The kinds of the named rows, in the order of `rows`; rows past the end are left out.
    #[must_use]
    pub fn take(&self, rows: &UInt32Array) -> Self {
        match self {
            Self::Uniform { kind, .. } => Self::Uniform { kind: *kind, len: rows.values().len() },
            Self::Mixed(kinds) => Self::Mixed(
                rows.values().iter().filter_map(|row| kinds.get(*row as usize).copied()).collect(),
            ),
        }
    }
}

impl FromIterator<RowKind> for RowKinds {
    fn from_iter<T: IntoIterator<Item = RowKind>>(kinds: T) -> Self {
        Self::Mixed(kinds.into_iter().collect())
    }
}

impl PartialEq for RowKinds {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}
