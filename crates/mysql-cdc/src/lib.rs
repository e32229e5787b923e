//! The `mysql-cdc` source: existing rows of many MySQL tables, then every change of them.

mod checks;
mod chunk;
mod connection;
mod ddl;
mod discovery;
mod error;
mod jdbc;
mod matching;
mod options;
mod output;
mod position;
mod socket;
mod source;
mod spill;
mod start;
mod status;
mod tls;
mod zone;

pub use source::MysqlCdcFactory;
