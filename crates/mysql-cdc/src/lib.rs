//! The `mysql-cdc` source: existing rows of many MySQL tables, then every change of them.

mod binlog;
mod checks;
mod chunk;
mod connection;
mod ddl;
mod decode;
mod discovery;
mod dump;
mod error;
mod filter;
mod jdbc;
mod lane;
mod matching;
mod options;
mod output;
mod position;
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
