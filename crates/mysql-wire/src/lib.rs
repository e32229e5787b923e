//! MySQL's wire formats: bytes → Arrow, and commands → bytes.
//!
//! Pure: no socket, no statement of its own, no thread. What is read may come from anyone, so no parser
//! panics and none allocates by a length that it has only been told.

#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod charset;
mod column;
pub mod command;
mod cursor;
pub mod decode;
mod error;
pub mod event;
pub mod gtid;
pub mod handshake;
pub mod packet;
pub mod reply;
pub mod rows;
mod value;
mod window;

pub use charset::Charset;
pub use column::{SourceColumn, SourceType};
pub use error::{Error, Problem, Result, ServerError};
