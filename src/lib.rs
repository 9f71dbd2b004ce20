//! kiln
pub mod config;
pub mod driver;
pub mod engine;
pub mod failure;
pub mod graph;
pub mod ledger;
pub mod observe;
pub mod plan;
pub mod web;
