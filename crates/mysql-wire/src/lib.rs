//! MySQL's wire formats: bytes → Arrow, and commands → bytes.
//!
//! Pure: no socket, no statement of its own, no thread. What is read may come from anyone, so no parser
//! panics and none allocates by a length that it has only been told.

#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

pub mod command;
mod cursor;
mod error;
pub mod gtid;
pub mod handshake;
pub mod packet;
pub mod reply;

pub use error::{Error, Problem, Result, ServerError};
