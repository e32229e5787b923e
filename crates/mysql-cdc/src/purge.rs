//! Whether a server still has the binlog that is to be read.

use crate::checks::ServerFacts;
use crate::chunk::quote_text;
use crate::connection::Connection;
use crate::error::Result;
use crate::position::LanePosition;

/// Whether the binlog behind a position has been purged, in whole or in part. If only the file that the position names
/// is gone, and GTIDs tell that everything in it has been read, the position no longer names it.
pub(crate) fn is_purged(
    connection: &mut Connection,
    facts: &ServerFacts,
    position: &mut LanePosition,
) -> Result<bool> {
    let files = connection.query("SHOW BINARY LOGS", "listing binlog files")?;
    let file = &position.at.offset.file;
    let has_file = file.is_empty() || files.iter().any(|row| row.text(0) == file);
    let set = position.at.gtid_set.as_ref().filter(|_| facts.gtid && !facts.mariadb);
    let Some(set) = set else { return Ok(!has_file) };
    let sql = format!("SELECT GTID_SUBSET(@@GLOBAL.gtid_purged, {})", quote_text(set));
    let rows = connection.query(&sql, "comparing purged transactions")?;
    let has_all = rows.first().is_some_and(|row| row.text(0) == "1");
    if has_all && !has_file {
        position.at.offset.file.clear();
        position.at.offset.offset = 0;
    }
    Ok(!has_all)
}
