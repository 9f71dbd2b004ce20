//! The driver: what touches the world.

pub mod fetch;
