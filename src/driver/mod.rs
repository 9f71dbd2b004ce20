//! The side of kiln that touches processes, files and the kernel.

pub mod fetch;
pub mod leftover;
pub mod spawn;
mod sys;
