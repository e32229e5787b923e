//! Flink SQL: from text to a validated job plan, and batch queries over the lake.
//!
//! The way of a statement: [`script`] splits, [`parser`] parses to a [`statement`], [`session`] runs it
//! against the [`catalog`], and queries and inserts go through [`planner`] to a [`plan`]. [`print`] makes
//! text of what comes back; [`diagnostic`] is what a user is told when something is wrong.

pub mod batch;
pub mod catalog;
pub mod diagnostic;
mod dialect;
mod expression;
mod functions;
pub mod parser;
pub mod plan;
pub mod planner;
pub mod print;
pub mod script;
pub mod session;
pub mod statement;
pub mod verify;
