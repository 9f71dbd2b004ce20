//! Whether a package's files are still in the sysroot as its manifest says.
//!
//! Owns: comparing an entry with the file. Does not know: what to do about a difference (`plan::repair`).

use std::collections::BTreeMap;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::super::beneath::{Beneath, WalkError};
use super::super::path::RelPath;
use super::manifest::{Entry, Kind, Manifest};
use super::merge::{Sysroot, io_at};
use super::ownership::{Attributes, ClaimKind, Ownership};
use super::plan::MergeError;
use super::scan::{BUFFER_BYTES, digest};

/// How closely to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Type, mode, owner, size, mtime, link target.
    Stat,
    /// The bytes of files, too.
    Digest,
    /// The bytes of files that may have changed since then (nanoseconds since 1970), when they were right.
    Since(i64),
}

/// A file whose inode has changed this shortly before a moment may have changed after it: the kernel's clock for files is
/// up to 10 ms late, and some file systems know whole seconds only.
const GRAIN: i64 = 20_000_000;
const GRAIN_OF_SECONDS: i64 = 1_000_000_000 + GRAIN;

/// A path that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Where.
    pub path: RelPath,
    /// What is wrong: `is missing`, `has another mode`, …
    pub what: &'static str,
}

/// What a look found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Looked {
    /// What is wrong, by path.
    pub damage: Vec<Damage>,
    /// How many files were read.
    pub read: u64,
}

/// Directories of a sysroot that have been compared, with what is wrong with each. What a directory should be does not depend
/// on which of its owners asks, so one look at each is enough for all packages, as long as nobody changes anything.
#[derive(Debug, Default)]
pub struct Directories(BTreeMap<RelPath, Option<&'static str>>);

/// What is wrong with a package in the sysroot. Paths that others took over are not looked at; shared directories
/// must have the mode and owner that all their owners together want. Owners are compared when we are root only.
///
/// `Depth::Since` trusts a file whose size and mtime are right and whose inode has not changed since then. Whatever writes
/// to a file changes its ctime, which nobody can set; so it sees all but what happens while the clock has been set back.
pub fn verify_merged(
    sysroot: &mut Sysroot,
    ownership: &Ownership,
    manifest: &Manifest,
    depth: Depth,
    directories: &mut Directories,
) -> Result<Looked, MergeError> {
    let package = manifest.identity.package.as_str();
    let mut buffer = Vec::new();
    let mut looked = Looked::default();
    for entry in manifest.contents.entries() {
        if !ownership.is_owner(&entry.path, package) {
            continue;
        }
        let mut look = |attributes| {
            let expected = Expected { entry, attributes, mtime: manifest.source_date_epoch };
            difference(&mut sysroot.tree, &expected, sysroot.is_root, depth, &mut buffer, &mut looked.read)
        };
        let what = match ClaimKind::of(entry) {
            ClaimKind::Directory(own) => match directories.0.get(&entry.path) {
                Some(known) => *known,
                None => {
                    let what = look(ownership.attributes(&entry.path, package, own))?;
                    directories.0.insert(entry.path.clone(), what);
                    what
                }
            },
            ClaimKind::Symlink | ClaimKind::File => look(Attributes::of(entry))?,
        };
        if let Some(what) = what {
            looked.damage.push(Damage { path: entry.path.clone(), what });
        }
    }
    Ok(looked)
}

/// An entry as it should be found.
pub(super) struct Expected<'a> {
    pub entry: &'a Entry,
    /// Instead of the entry's own.
    pub attributes: Attributes,
    /// Of regular files; seconds since 1970.
    pub mtime: u64,
}

/// The first difference, if there is one. Of a file that is read, bytes go through `buffer`, and `read` is one more.
pub(super) fn difference(
    tree: &mut Beneath,
    expected: &Expected<'_>,
    compare_owner: bool,
    depth: Depth,
    buffer: &mut Vec<u8>,
    read: &mut u64,
) -> Result<Option<&'static str>, MergeError> {
    let Expected { entry, attributes, mtime } = expected;
    let path = &entry.path;
    let fail = |error: Errno| io_at(path.as_bytes())(error.into());
    let (parent, name) = match tree.parent(path) {
        Ok(found) => found,
        Err(WalkError::Missing(_) | WalkError::NotDirectory(_)) => return Ok(Some("is missing")),
        Err(WalkError::Symlink(_)) => return Ok(Some("is behind a symlink")),
        Err(error @ WalkError::Io { .. }) => return Err(error.into()),
    };
    let stat = match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(Some("is missing")),
        Err(error) => return Err(fail(error)),
    };
    let found = FileType::from_raw_mode(stat.st_mode);
    let device = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
    let right_type = match &entry.kind {
        Kind::Directory => found == FileType::Directory,
        Kind::File { .. } => found == FileType::RegularFile,
        Kind::Symlink { .. } => found == FileType::Symlink,
        Kind::Fifo => found == FileType::Fifo,
        Kind::Device { block: true, .. } => found == FileType::BlockDevice,
        Kind::Device { block: false, .. } => found == FileType::CharacterDevice,
    };
    if !right_type {
        return Ok(Some("is of another type"));
    }
    if compare_owner && (stat.st_uid, stat.st_gid) != (attributes.uid, attributes.gid) {
        return Ok(Some("has another owner"));
    }
    match &entry.kind {
        Kind::Symlink { target } => {
            let found = rustix::fs::readlinkat(parent, name, Vec::new()).map_err(fail)?;
            return Ok((found.as_bytes() != target).then_some("points elsewhere"));
        }
        Kind::Device { major, minor, .. } if device != (*major, *minor) => {
            return Ok(Some("is another device"));
        }
        Kind::Directory | Kind::File { .. } | Kind::Fifo | Kind::Device { .. } => {}
    }
    if stat.st_mode & 0o7777 != attributes.mode {
        return Ok(Some("has another mode"));
    }
    let Kind::File { size, digest: wanted, .. } = &entry.kind else { return Ok(None) };
    if u64::try_from(stat.st_size) != Ok(*size) {
        return Ok(Some("has another size"));
    }
    if u64::try_from(stat.st_mtime) != Ok(*mtime) {
        return Ok(Some("has another mtime"));
    }
    let is_trusted = match depth {
        Depth::Stat => true,
        Depth::Digest => false,
        Depth::Since(moment) => {
            let nanoseconds = i64::try_from(stat.st_ctime_nsec).unwrap_or(0);
            let changed = stat.st_ctime.saturating_mul(1_000_000_000).saturating_add(nanoseconds);
            let grain = if nanoseconds == 0 { GRAIN_OF_SECONDS } else { GRAIN };
            changed.saturating_add(grain) < moment
        }
    };
    if is_trusted {
        return Ok(None);
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = rustix::fs::openat(parent, name, flags, Mode::empty()).map_err(fail)?;
    *read += 1;
    // Only now: mostly nothing is read.
    buffer.resize(BUFFER_BYTES, 0);
    let found = digest(file.into(), *size, buffer).map_err(io_at(path.as_bytes()))?;
    Ok((found != Some(*wanted)).then_some("has other bytes"))
}
