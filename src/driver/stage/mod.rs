//! From a package's staged files to the sysroot: `scan` what `install` left, pack it (`archive`) with a list
//! (`manifest`), check that list against what other packages own (`ownership`, `plan`), put the files into the
//! sysroot (`merge`), and look later whether they are still there (`verify`). `tree` does the same for the packages
//! that write into the sysroot themselves; `undo` takes back what did not end well.
//!
//! Owns: the order of these. Does not know: recipes, the ledger, the engine.
//!
//! **Invariant**: nothing outside the sysroot is touched, whatever a manifest, an archive or the tree says.
//! **Invariant**: a merge that was killed at any moment and is done again with the same plan ends in the same tree.
//! **Invariant**: no file of the sysroot is ever seen half written.

pub mod archive;
pub mod manifest;
pub mod merge;
pub mod ownership;
pub mod plan;
pub mod rules;
mod scan;
pub mod tree;
pub mod undo;
pub mod verify;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;

use super::beneath::WalkError;

/// Why staged files could not become an archive and a manifest.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// Something that only a recipe that says so may install: a security violation.
    #[error("`{path}` {what}, which the recipe does not declare under `privileged`")]
    SecurityViolation {
        /// The path in the tree.
        path: String,
        /// What it is.
        what: &'static str,
    },
    /// `DESTDIR` is a symlink: what it points to is not what was staged. A security violation.
    #[error("DESTDIR was replaced by a symlink")]
    Replaced,
    /// A file that no archive can hold: a configuration error.
    #[error("`{path}` is a socket")]
    Socket {
        /// The path in the tree.
        path: String,
    },
    /// A rule of the recipe that cannot be applied: a configuration error.
    #[error("`{path}`: {reason}")]
    Rule {
        /// The path in the rule.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// Something went on writing while the tree was read.
    #[error("`{path}` changed while it was packed")]
    Changed {
        /// The path in the tree.
        path: String,
    },
    /// A path in the tree that cannot be recorded.
    #[error("`{path}` {reason}")]
    Path {
        /// The path in the tree.
        path: String,
        /// Why not.
        reason: &'static str,
    },
    /// The manifest or archive on disk is not what was written.
    #[error("`{}` is damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The system refused.
    #[error("cannot read or write `{}`: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

impl StageError {
    fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }

    fn errno(path: impl Into<PathBuf>) -> impl FnOnce(rustix::io::Errno) -> Self {
        let path = path.into();
        move |error| Self::Io { path, source: error.into() }
    }
}

impl StageError {
    /// Whether it says nothing of the file but that it could not be read: it may be as it should. A file that is missing is not.
    pub fn is_unreadable(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() != io::ErrorKind::NotFound)
    }
}

impl From<WalkError> for StageError {
    fn from(error: WalkError) -> Self {
        match error {
            WalkError::Symlink(path) | WalkError::Missing(path) | WalkError::NotDirectory(path) => {
                Self::Changed { path }
            }
            WalkError::Io { path, source } => Self::Io { path: path.into(), source },
        }
    }
}
