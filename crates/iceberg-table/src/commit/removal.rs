//! Which files a snapshot takes out of the table.

use std::collections::BTreeSet;

use iceberg::spec::{DataContentType, DataFile, ManifestContentType, ManifestFile};

/// Files to be removed, by what tells them apart: a Puffin file holds several deletion vectors, so a
/// path alone is not enough.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removal {
    data: BTreeSet<FileKey>,
    deletes: BTreeSet<FileKey>,
}

/// A path, and where in the file the content begins, if it is a part of the file.
type FileKey = (String, Option<i64>);

fn key_of(file: &DataFile) -> FileKey {
    (file.file_path().to_owned(), file.content_offset())
}

impl Removal {
    /// Adds a data file, delete file or deletion vector.
    pub(crate) fn add(&mut self, file: &DataFile) {
        self.of_content_mut(file.content_type()).insert(key_of(file));
    }

    /// Adds the files of another removal.
    pub(crate) fn append(&mut self, mut other: Self) {
        self.data.append(&mut other.data);
        self.deletes.append(&mut other.deletes);
    }

    /// True if nothing is removed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.data.is_empty() && self.deletes.is_empty()
    }

    /// Whether a manifest may list one of the files.
    pub(crate) fn may_be_in(&self, manifest: &ManifestFile) -> bool {
        match manifest.content {
            ManifestContentType::Data => !self.data.is_empty(),
            ManifestContentType::Deletes => !self.deletes.is_empty(),
        }
    }

    /// Strikes a file off. True if it was one of them.
    pub(crate) fn take(&mut self, file: &DataFile) -> bool {
        self.of_content_mut(file.content_type()).remove(&key_of(file))
    }

    const fn of_content_mut(&mut self, content: DataContentType) -> &mut BTreeSet<FileKey> {
        match content {
            DataContentType::Data => &mut self.data,
            DataContentType::PositionDeletes | DataContentType::EqualityDeletes => {
                &mut self.deletes
            }
        }
    }
}
