//! The server: JobManager REST, SQL gateway and the page, over HTTP.
//!
//! Beside them it owns the [`Engine`] that they and the embedded client share, and the client of the
//! gateway. No handler blocks: what waits for a job or a disk runs elsewhere.

mod app;
mod client;
mod collect;
mod engine;
mod error;
mod failure;
mod gateway;
mod listener;
mod respond;
mod secrecy;
mod server;

pub use client::GatewayClient;
pub use collect::Delivery;
pub use engine::{Answer, Engine, EngineSession, QueryResult, job_failed};
pub use error::Error;
pub use gateway::KEYWORDS;
pub use secrecy::hide_secrets;
pub use server::{Server, ServerOptions};
