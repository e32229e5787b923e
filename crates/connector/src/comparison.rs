//! Comparing a source with a copy of it, without carrying all of its rows over.
//!
//! Both sides turn each row into the same text (docs/formats/verification.md), and the source itself
//! computes sums over the hashes of these texts. Only where the sums differ are keys looked at.

use std::collections::BTreeMap;

use shardlake_change::TableSchema;

use crate::Error;

/// A row as text, column by column; NULL is `None`.
pub type RowText = Vec<Option<String>>;

/// What is known of all rows of one bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BucketSum {
    /// How many there are.
    pub row_count: u64,
    /// The hashes of the rows, combined by exclusive or.
    pub sum: u128,
}

impl BucketSum {
    /// Adds other rows.
    pub const fn add(&mut self, other: Self) {
        self.row_count += other.row_count;
        self.sum ^= other.sum;
    }
}

/// The key of a row, and the hash of the row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyedHash {
    /// The key's columns as text.
    pub key: RowText,
    /// The hash of the row's text.
    pub hash: u128,
}

/// What is compared.
#[derive(Clone, Debug)]
pub struct ComparedColumns {
    /// The columns, with the types in which the copy holds them.
    pub schema: TableSchema,
    /// Where the key's columns are among them.
    pub key: Vec<usize>,
    /// How many buckets the keys are spread over.
    pub bucket_count: u32,
}

/// A source that computes sums of its rows.
pub trait ComparableSource: Send + Sync {
    /// The columns that cannot be compared because the source cannot say them as text; by name.
    fn incomparable(&self) -> Vec<String>;

    /// Leaves out the columns that cannot be compared. Called once, before anything is read.
    ///
    /// # Errors
    /// A column of the key is among them.
    fn prepare(&mut self, columns: &ComparedColumns) -> Result<(), Error>;

    /// Everything that has been executed until now, in the words of
    /// [`crate::SourceFactory::has_reached`]. What is read afterwards holds at least that.
    ///
    /// # Errors
    /// The source cannot be asked, or keeps no such record.
    fn executed(&mut self) -> Result<String, Error>;

    /// The sums of all buckets that have rows.
    ///
    /// # Errors
    /// The source cannot be read.
    fn sums(&mut self) -> Result<BTreeMap<u32, BucketSum>, Error>;

    /// The keys and hashes of all rows of some buckets.
    ///
    /// # Errors
    /// The source cannot be read.
    fn keys(&mut self, buckets: &[u32]) -> Result<Vec<KeyedHash>, Error>;

    /// The rows that have these keys, all compared columns as text.
    ///
    /// # Errors
    /// The source cannot be read.
    fn rows(&mut self, keys: &[RowText]) -> Result<Vec<RowText>, Error>;
}
