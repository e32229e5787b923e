//! Drives the real binary against a real MySQL, as a user does: scripts in, rows out.
//!
//! Every process belongs to a value that ends it when dropped.

mod client;
mod job;
mod scene;
mod server;
mod statement_server;
mod tutorial;

pub use client::{Answer, Client, Row, binary};
pub use job::Job;
pub use scene::{Scene, pause, wait_until};
pub use server::Server;
pub use statement_server::StatementServer;
pub use tutorial::tutorial_script;
