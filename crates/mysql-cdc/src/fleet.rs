//! What the lanes of one source know of each other.
//!
//! Lanes share nothing but two questions: does another server hold a table of the same name, whose rows the sink
//! could not tell apart, and is any lane left that can still read?

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;
use shardlake_change::TableId;
use shardlake_connector::Fault;

use crate::error::{Error, Result};

/// The lanes of a source.
pub(crate) struct Fleet {
    lane_count: usize,
    /// Whether rows of tables of the same name are told apart by their server.
    key_tells_server: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// For each table, the lane that reads it.
    owners: BTreeMap<TableId, String>,
    /// Lanes that cannot go on until a user mends something.
    failed: BTreeSet<String>,
}

impl Fleet {
    /// The lanes of a source. `key_tells_server`: the sink's key holds the server, or nothing is keyed.
    pub(crate) fn new(lane_count: usize, key_tells_server: bool) -> Self {
        Self { lane_count, key_tells_server, state: Mutex::new(State::default()) }
    }

    /// A lane reads these tables.
    ///
    /// # Errors
    /// Another lane reads a table of the same name, and the sink could not tell their rows apart.
    pub(crate) fn claim<'a>(
        &self,
        lane: &str,
        tables: impl IntoIterator<Item = &'a TableId>,
    ) -> Result<()> {
        if self.lane_count == 1 || self.key_tells_server {
            return Ok(());
        }
        let mut state = self.state.lock();
        for table in tables {
            match state.owners.get(table) {
                Some(owner) if owner != lane => return Err(conflict(table, owner, lane)),
                Some(_) => {}
                None => {
                    state.owners.insert(table.clone(), lane.to_owned());
                }
            }
        }
        Ok(())
    }

    /// A lane cannot go on until a user mends something. True if no other lane can.
    pub(crate) fn failed(&self, lane: &str) -> bool {
        let mut state = self.state.lock();
        state.failed.insert(lane.to_owned());
        state.failed.len() >= self.lane_count
    }

    /// A lane goes on.
    pub(crate) fn recovered(&self, lane: &str) {
        self.state.lock().failed.remove(lane);
    }
}

fn conflict(table: &TableId, first: &str, second: &str) -> Error {
    let message = format!(
        "the MySQL servers {first} and {second} both hold a table {table}, and the primary key of \
         the sink does not tell them apart, so rows of one would replace those of the other: \
         declare a column server_name STRING METADATA VIRTUAL in the source, select it, and make it \
         a part of the sink's primary key"
    );
    Error::Source { fault: Fault::Job, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_servers_with_one_table_need_a_key_that_tells_them_apart() {
        let (a, b) = (TableId::new("d", "a"), TableId::new("d", "b"));
        let fleet = Fleet::new(2, false);
        fleet.claim("one:3306", [&a]).unwrap();
        fleet.claim("one:3306", [&a]).unwrap();
        fleet.claim("two:3306", [&b]).unwrap();
        let error = fleet.claim("two:3306", [&a]).unwrap_err();
        insta::assert_snapshot!(error, @"the MySQL servers one:3306 and two:3306 both hold a table d.a, and the primary key of the sink does not tell them apart, so rows of one would replace those of the other: declare a column server_name STRING METADATA VIRTUAL in the source, select it, and make it a part of the sink's primary key");
        let fleet = Fleet::new(2, true);
        fleet.claim("one:3306", [&a]).unwrap();
        fleet.claim("two:3306", [&a]).unwrap();
    }

    #[test]
    fn a_source_fails_with_its_last_lane() {
        let fleet = Fleet::new(2, true);
        assert!(!fleet.failed("one:3306"));
        assert!(!fleet.failed("one:3306"));
        fleet.recovered("one:3306");
        assert!(!fleet.failed("two:3306"));
        assert!(fleet.failed("one:3306"));
    }
}
