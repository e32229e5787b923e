//! The SQL gateway: Flink's REST for SQL clients, in the versions 1 to 4.
//!
//! A client opens a session, submits statements as operations, and fetches the pages of their results.
//! What the paths answer is what a Flink 2.3 gateway answers; docs/api.md lists what differs.

mod columns;
mod complete;
mod operation;
mod page;
mod routes;
mod session;

pub(crate) use columns::column_from_json;
pub use complete::KEYWORDS;
pub(crate) use page::{RowFormat, kind_of_letter};
pub(crate) use routes::routes;
pub(crate) use session::{SessionLimits, Sessions};
