//! Which files a snapshot takes out of the table.

use std::collections::BTreeSet;

use iceberg::spec::{DataContentType, DataFile, ManifestContentType, ManifestFile};

/// Files to be removed, by what tells them apart: a Puffin file holds several deletion vectors, so a
/// path alone is not enough.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removal {
    data: BTreeSet<FileKey>,
    deletes: BTreeSet<FileKey>,
    /// Delete files that may be gone already.
    if_there: BTreeSet<FileKey>,
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

    /// Adds a delete file that others may have removed already.
    pub(crate) fn add_if_there(&mut self, file: &DataFile) {
        self.if_there.insert(key_of(file));
    }

    /// Adds the files of another removal.
    pub(crate) fn append(&mut self, mut other: Self) {
        self.if_there.append(&mut other.if_there);
        self.data.append(&mut other.data);
        self.deletes.append(&mut other.deletes);
    }

    /// True if nothing has to be removed any more.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.data.is_empty() && self.deletes.is_empty()
    }

    /// Whether a manifest may list one of the files.
    pub(crate) fn may_be_in(&self, manifest: &ManifestFile) -> bool {
        match manifest.content {
            ManifestContentType::Data => !self.data.is_empty(),
            ManifestContentType::Deletes => !self.deletes.is_empty() || !self.if_there.is_empty(),
        }
    }

    /// Strikes a file off. True if it was one of them.
    pub(crate) fn take(&mut self, file: &DataFile) -> bool {
        let key = key_of(file);
        let is_optional =
            file.content_type() != DataContentType::Data && self.if_there.remove(&key);
        self.of_content_mut(file.content_type()).remove(&key) || is_optional
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
