//! End to end: the real binary, a real MySQL, foreign readers.
//!
//! Nothing here is about timing: tests wait for a state, with a patience after which something is broken.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail here and now")]

mod catalogs;
mod crash;
mod evolution;
mod input;
mod jobs_outlive;
mod lake_sql;
mod names;
mod outages;
mod page;
mod processes;
mod secrets;
mod servers;
mod tutorial;
mod verify;
