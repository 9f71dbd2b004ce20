//! The driver's file side: sources into work directories, staged trees into archives, archives into the sysroot.
//!
//! Owns: the list of its modules. Does not know: the engine.

pub mod beneath;
pub mod path;
pub mod stage;
pub mod unpack;
