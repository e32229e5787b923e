//! The data files that locations in the key index refer to, by number.

use std::sync::Arc;

use parking_lot::RwLock;

use super::partition::Partition;
use crate::Error;
use crate::index::Location;
use crate::maintenance::Relocations;

/// A data file, committed or being written.
#[derive(Clone, Debug)]
pub(crate) struct RegisteredFile {
    /// Where it is.
    pub(crate) location: Arc<str>,
    /// The partition that it belongs to.
    pub(crate) partition: Arc<Partition>,
}

/// All data files of one run. A number is given once and never again; of a file that was rewritten it
/// leads to where the rows are now.
#[derive(Default)]
pub(crate) struct FileRegistry {
    files: RwLock<Vec<RegisteredFile>>,
    relocations: Arc<Relocations>,
}

impl FileRegistry {
    /// Numbers a file.
    pub(crate) fn add(&self, file: RegisteredFile) -> Result<u32, Error> {
        let mut files = self.files.write();
        let number = u32::try_from(files.len()).ok().filter(|number| *number < u32::MAX);
        files.push(file);
        number.ok_or_else(|| Error::bug("more than 2^32 data files"))
    }

    /// The file and row where the row of a location is now; none if it is gone.
    pub(crate) fn resolve(&self, at: Location) -> Result<Option<(RegisteredFile, u32)>, Error> {
        let files = self.files.read();
        let file = files.get(at.file as usize).ok_or_else(|| Error::bug("an unknown file"))?;
        if self.relocations.is_empty() {
            return Ok(Some((file.clone(), at.row)));
        }
        let place = self.relocations.resolve(Arc::clone(&file.location), at.row.into());
        let Some((location, row)) = place else { return Ok(None) };
        let partition = Arc::clone(&file.partition);
        let row = u32::try_from(row).map_err(Error::bug)?;
        Ok(Some((RegisteredFile { location, partition }, row)))
    }

    /// The rewrites that it knows of.
    pub(crate) const fn relocations(&self) -> &Arc<Relocations> {
        &self.relocations
    }
}
