//! How many bytes of the binlog are still to be read.
//!
//! An idle server tells by its heartbeats that there are none. While it is busy, its files are listed from
//! time to time.

use std::time::{Duration, Instant};

use super::BinlogReader;
use crate::error::Result;
use crate::position::BinlogOffset;

/// How often the end of a busy server's binlog is asked for.
const MEASURE_INTERVAL: Duration = Duration::from_secs(10);

impl BinlogReader<'_> {
    /// Notes the distance to the end of the binlog, if it has not been measured for a while.
    pub(super) fn measure_lag(&mut self) -> Result<()> {
        if self.report.measured.elapsed() < MEASURE_INTERVAL || self.ended.file.is_empty() {
            return Ok(());
        }
        self.report.measured = Instant::now();
        let files = self.tables.binlog_sizes()?;
        self.lane.status.bytes_left(bytes_after(&self.ended, &files));
        Ok(())
    }
}

/// The bytes behind an offset, in files with their sizes.
fn bytes_after(offset: &BinlogOffset, files: &[(String, u64)]) -> u64 {
    let later = files.iter().skip_while(|(file, _)| *file != offset.file);
    later.map(|(_, size)| size).sum::<u64>().saturating_sub(offset.offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_counted_over_all_later_files() {
        let files = [("b.1".to_owned(), 100), ("b.2".to_owned(), 200), ("b.3".to_owned(), 50)];
        let at = |file: &str, offset| BinlogOffset { file: file.to_owned(), offset };
        assert_eq!(bytes_after(&at("b.2", 150), &files), 100);
        assert_eq!(bytes_after(&at("b.3", 50), &files), 0);
        assert_eq!(bytes_after(&at("b.0", 50), &files), 0);
    }
}
