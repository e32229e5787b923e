//! The wire layer against a real server: what is read from rows of the binary protocol and from row events must be
//! what the server itself prints. Skipped with a reason where MySQL cannot be had.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod charsets;
mod client;
mod gtids;
mod hostile;
mod login;
mod random;
mod types;
