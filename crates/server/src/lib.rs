//! The server: JobManager REST, SQL gateway and the page, over HTTP.
//!
//! Beside them it owns the [`Engine`] that they and the embedded client share, and the client of the
//! gateway. No handler blocks: what waits for a job or a disk runs elsewhere.

mod api;
mod app;
mod client;
mod collect;
mod config_file;
mod directory;
mod engine;
mod error;
mod failure;
mod gateway;
mod guard;
mod listener;
mod live;
mod metrics;
mod openapi;
mod page;
mod parameters;
mod respond;
mod rest;
mod seal;
mod secrecy;
mod server;
mod store;
mod tables;
mod tls;

pub use client::{Credentials, GatewayClient};
pub use collect::Delivery;
pub use config_file::parse_config;
pub use directory::JobView;
pub use engine::{Answer, Engine, EngineSession, QueryResult, job_failed};
pub use error::Error;
pub use gateway::KEYWORDS;
pub use guard::{Access, Role};
pub use secrecy::hide_secrets;
pub use server::{Server, ServerOptions};
pub use tls::TlsFiles;
