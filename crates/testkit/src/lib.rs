//! What tests of several crates share: real database servers, foreign readers of the lake, and skipping with a reason.
//!
//! The invariant: nothing here touches the machine outside the workspace's `.cache` folder and temporary folders, and
//! every process that is started here is gone when its owner is dropped or the test process ends, however it ends.

mod browser;
mod error;
mod memory_sink;
mod mysql_server;
mod package;
mod postgres_server;
mod readers;
mod script_source;
mod scripted_server;
mod seaweed_server;
mod server_process;
mod session;
mod skip;
mod tcp_proxy;

pub use browser::Browser;
pub use error::Error;
pub use memory_sink::{MemoryCommit, MemorySink, SinkFailure};
pub use mysql_server::{Flavor, MysqlServer, ServerOptions};
pub use package::{Package, workspace_root};
pub use postgres_server::PostgresServer;
pub use readers::Reader;
pub use script_source::{ScriptSource, Transaction};
pub use scripted_server::{Act, ScriptedServer};
pub use seaweed_server::SeaweedServer;
pub use session::Session;
pub use skip::{report_skipped, say};
pub use tcp_proxy::{Spoil, TcpProxy};
