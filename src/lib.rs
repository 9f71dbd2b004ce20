//! kiln
pub mod driver;
