//! The `mysql-cdc` source: existing rows of many MySQL tables, then every change of them.
//!
//! One lane a server. Its path: `start` and `seat` check the server and find the tables, `seat` keeps
//! reading through lost connections, `lane` goes from one phase to the next, `snapshot` reads existing
//! rows in chunks (`chunk`, `decode`), `binlog` follows the changes (`dump`, `transaction`), `position`
//! says where a lane stands and why nothing is lost or doubled between the two.
//!
//! Invariant: a boundary is sent only when all rows before its position, and none after it, have been
//! sent. No cell's value and no password reaches a log or an error.

mod binlog;
mod checks;
mod chunk;
mod chunk_key;
mod compare;
mod connection;
mod ddl;
mod debezium;
mod decode;
mod discovery;
mod dump;
mod error;
mod evolution;
mod filter;
mod fleet;
mod jdbc;
mod kept;
mod lane;
mod layouts;
mod matching;
mod options;
mod output;
mod pace;
mod position;
mod purge;
mod seat;
mod servers;
mod snapshot;
mod socket;
mod source;
mod spill;
mod start;
mod status;
mod tls;
mod transaction;
mod zone;

pub use source::MysqlCdcFactory;
