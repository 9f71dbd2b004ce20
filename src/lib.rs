//! kiln

pub mod driver;
