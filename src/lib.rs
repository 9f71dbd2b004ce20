//! kiln
pub mod cli;
pub mod config;
pub mod driver;
pub mod engine;
pub mod failure;
pub mod graph;
pub mod ledger;
pub mod plan;
