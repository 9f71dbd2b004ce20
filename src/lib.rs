//! kiln

pub mod config;
