//! The server as its clients see it: over HTTP, in this process.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail here and now")]

mod access;
mod durable;
mod harness;
mod hostile;
mod load;
mod recorded;
mod rest;
mod sql_client;
