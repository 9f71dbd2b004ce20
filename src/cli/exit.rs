//! Exit codes.

use std::process::ExitCode;

/// How a command ended; design section 10.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done; of a run: completed.
    Completed = 0,
    /// A run ended in error, or a command failed.
    Error = 1,
    /// Wrong usage, or nothing to show.
    Usage = 2,
    /// The definition is invalid.
    Invalid = 3,
    /// Only a person can go on: a gate is open.
    Person = 4,
    /// Requirements or permissions are not met.
    Requirements = 5,
    /// Another runner holds the state.
    Held = 6,
    /// Interrupted; `kiln run` goes on from there.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
