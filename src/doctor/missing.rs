//! What could not be done, why, and what mends it.
//!
//! Owns: telling that from an error. Does not know: what was tried.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::driver::chain;

/// What could not be done.
#[derive(Debug, Clone)]
pub(super) struct Missing {
    /// What the system said.
    pub(super) why: String,
    pub(super) grant: Grant,
    /// Trying again does not help.
    pub(super) refused: bool,
}

/// What grants it.
#[derive(Debug, Clone)]
pub(super) enum Grant {
    /// What the table says.
    OfTable,
    /// This, or what the table says of units.
    OrUnit(String),
    /// This alone.
    Only(String),
}

pub(super) type Done = Result<(), Missing>;

impl Missing {
    /// For another reason than a refusal of the system's.
    pub(super) fn because(why: impl Into<String>) -> Self {
        Self { why: why.into(), grant: Grant::OfTable, refused: true }
    }

    fn of(what: &str, path: &Path, error: &io::Error) -> Self {
        let read_only = error.kind() == io::ErrorKind::ReadOnlyFilesystem;
        let unsupported = [Errno::OPNOTSUPP, Errno::NOSYS].map(|errno| Some(errno.raw_os_error()));
        let grant = if read_only {
            Grant::OrUnit(format!("mount -o remount,rw {}", mount_of(path).display()))
        } else if is_full(error) {
            Grant::space(path)
        } else {
            Grant::OfTable
        };
        Self {
            why: format!("cannot {what} in `{}`: {error}", path.display()),
            grant,
            refused: read_only
                || error.kind() == io::ErrorKind::PermissionDenied
                || unsupported.contains(&error.raw_os_error()),
        }
    }

    /// For a reason that may be the lack of space where `path` is.
    pub(super) fn from_error(error: &(dyn Error + 'static), path: &Path) -> Self {
        let mut sources =
            std::iter::successors(Some(error), |error: &&(dyn Error + 'static)| (*error).source());
        let is_full = sources.any(|error| {
            let by_system = error.downcast_ref().is_some_and(is_full);
            let code = error.downcast_ref().and_then(rusqlite::Error::sqlite_error_code);
            by_system || code == Some(rusqlite::ErrorCode::DiskFull)
        });
        let missing = Self::because(chain(error));
        if is_full { Self { grant: Grant::space(path), refused: false, ..missing } } else { missing }
    }
}

impl Grant {
    fn space(path: &Path) -> Self {
        Self::Only(format!(
            "free space (or inodes) on `{}` (`kiln clean` deletes what it does not need); or --state DIR names another disk",
            mount_of(path).display()
        ))
    }
}

fn is_full(error: &io::Error) -> bool {
    [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded].contains(&error.kind())
}

/// Names what was being done, and where.
pub(super) fn doing<T, E: Into<io::Error>>(
    what: &str,
    path: &Path,
    result: impl FnOnce() -> Result<T, E>,
) -> Result<T, Missing> {
    result().map_err(|error| Missing::of(what, path, &error.into()))
}

/// Where the file system of a path is mounted; `/` where nobody knows.
pub(super) fn mount_of(path: &Path) -> PathBuf {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mounts = procfs::process::Process::myself().and_then(|own| own.mountinfo());
    let points = mounts.into_iter().flatten().map(|mount| mount.mount_point);
    // Of several at one point the last covers the others.
    points
        .filter(|point| path.starts_with(point))
        .max_by_key(|point| point.components().count())
        .unwrap_or_else(|| PathBuf::from("/"))
}
