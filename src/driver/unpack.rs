//! Sources into a work directory: archives unpacked, other files copied.
//!
//! Owns: where each source goes, and the errors. Does not know: where sources come from, who will own the
//! files (`give` hands them over), what a recipe is.

mod format;
mod tarball;
mod target;
#[cfg(test)]
mod tests;
mod zipfile;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timestamps, Uid};
use rustix::io::Errno;

use super::beneath::{Beneath, WalkError, names, remove_tree, visit_tree};
use super::path::{RelPath, escape};
use format::Content;
use target::{Fault, Target};

/// Archives are unpacked here first: only their end tells whether they have a single top directory.
const WORK: &[u8] = b".kiln-unpack";

/// A source that was fetched.
#[derive(Debug, Clone)]
pub struct Source {
    /// Where its bytes are; the name there says nothing.
    pub path: PathBuf,
    /// The recipe's name for it.
    pub file: String,
}

/// What unpacking found out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// The newest mtime of a regular file in an archive, in seconds since 1970: `SOURCE_DATE_EPOCH`. `None`
    /// when there was no archive.
    pub newest_mtime: Option<u64>,
}

/// Why a source could not be unpacked. `src` is then in an unknown state, but nothing outside it was touched.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The source tries what no source may: a security violation.
    #[error("`{file}`: entry `{entry}` {what}")]
    Escape {
        /// The source.
        file: String,
        /// The entry's name in it.
        entry: String,
        /// What it tries.
        what: &'static str,
    },
    /// The source is truncated, corrupt, contradicts itself or uses a feature that is not supported.
    #[error("`{file}` is damaged: {reason}")]
    Damaged {
        /// The source.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The system refused: a full disk, for instance.
    #[error("cannot unpack into or read `{}`: {source}", path.display())]
    Io {
        /// What was being written or read.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// `cancel` was set.
    #[error("cancelled")]
    Cancelled,
}

/// Unpacks `sources` in their order into the directory `src`, which is made if it is missing. The first archive
/// loses its top directory if everything in it is below a single one; a later one goes below its top directory's
/// name, or without one below its own name without extensions. What is no archive (by its first bytes, whatever
/// its name) is copied, `x.gz` of something that is no tar included. Files belong to us, modes lose umask 022
/// and setuid, setgid and sticky bits; mtimes are kept.
pub fn unpack(sources: &[Source], src: &Path, cancel: &AtomicBool) -> Result<Unpacked, UnpackError> {
    let io_at = |path: &Path| {
        let path = path.to_owned();
        move |source| UnpackError::Io { path, source }
    };
    std::fs::create_dir_all(src).map_err(io_at(src))?;
    let top = Beneath::open(src).map_err(io_at(src))?;
    let mut newest = None;
    let mut first_archive = true;
    let mut copied = Vec::new();
    for source in sources {
        let (file, entry) = (source.file.as_str(), source.file.as_str());
        let report = |fault: Fault| fault.report(file, entry, source, src, cancel);
        let path = match RelPath::parse(file.as_bytes()) {
            Ok(path) if path.depth() == 1 && path.as_bytes() != WORK => path,
            Ok(_) | Err(_) => return Err(report(Fault::Escape("is no file name"))),
        };
        match format::open(&source.path, file, cancel).map_err(report)? {
            Content::Plain(mut reader) => {
                let mut target = Target::new(reopen(&top, src)?, cancel);
                let size = std::fs::metadata(&source.path).map_err(io_at(&source.path))?.len();
                target.file(&path, 0o644, None, size, &mut reader, false).map_err(report)?;
                copied.push(path);
            }
            content @ (Content::Tar(_) | Content::Zip(_)) => {
                let work = work_directory(top.root()).map_err(io_at(&src.join(".kiln-unpack")))?;
                let mut target = Target::new(Beneath::new(work), cancel);
                let done = match content {
                    Content::Tar(reader) => tarball::unpack(reader, &mut target),
                    Content::Zip(reader) => zipfile::unpack(reader, &mut target),
                    Content::Plain(_) => Ok(()),
                };
                done.map_err(|(entry, fault)| fault.report(file, &entry, source, src, cancel))?;
                newest = newest.max(target.finish().map_err(report)?);
                place(top.root(), file, first_archive).map_err(report)?;
                first_archive = false;
            }
        }
    }
    if let Some(newest) = newest {
        for path in copied {
            let times = times(timespec(newest));
            // Only for tidiness; a source that a later archive replaced by a directory is left alone.
            let _ = rustix::fs::utimensat(top.root(), path.as_bytes(), &times, AtFlags::SYMLINK_NOFOLLOW);
        }
    }
    Ok(Unpacked { newest_mtime: newest })
}

/// Gives `src` and everything in it to another user; symlinks themselves, not what they point to.
pub fn give(src: &Path, uid: u32, gid: u32) -> Result<(), UnpackError> {
    let fail = |path: PathBuf, source: io::Error| UnpackError::Io { path, source };
    let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    let top = Beneath::open(src).map_err(|error| fail(src.to_owned(), error))?;
    rustix::fs::fchown(top.root(), uid, gid).map_err(|error| fail(src.to_owned(), error.into()))?;
    visit_tree(top.root(), &mut |path, _, directory| {
        rustix::fs::chownat(directory, path.name(), uid, gid, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| WalkError::Io { path: path.to_string(), source: error.into() })
    })
    .map_err(|error| fail(src.to_owned(), io::Error::other(error)))
}

fn reopen(top: &Beneath, src: &Path) -> Result<Beneath, UnpackError> {
    let fd = top.root().try_clone_to_owned();
    Ok(Beneath::new(fd.map_err(|source| UnpackError::Io { path: src.to_owned(), source })?))
}

/// An empty `WORK` below `top`.
fn work_directory(top: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    remove_tree(top, WORK)?;
    rustix::fs::mkdirat(top, WORK, Mode::RWXU)?;
    open_directory(top, WORK)
}

/// Moves what is in `WORK` to its place.
fn place(top: BorrowedFd<'_>, file: &str, first: bool) -> Result<(), Fault> {
    let work = open_directory(top, WORK).map_err(Fault::io(WORK))?;
    let found = names(work.as_fd()).map_err(Fault::io(WORK))?;
    let single = match found.as_slice() {
        [name] if is_directory(work.as_fd(), name).map_err(Fault::io(name))? => Some(name),
        _ => None,
    };
    match single {
        Some(name) if first => {
            let inside = open_directory(work.as_fd(), name).map_err(Fault::io(name))?;
            move_all(inside.as_fd(), top)?;
        }
        None if !first => {
            let name = stem(file).as_bytes();
            match rustix::fs::mkdirat(top, name, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(Fault::io(name)(error.into())),
            }
            if !is_directory(top, name).map_err(Fault::io(name))? {
                return Err(clash(name));
            }
            let below = open_directory(top, name).map_err(Fault::io(name))?;
            move_all(work.as_fd(), below.as_fd())?;
        }
        Some(_) | None => move_all(work.as_fd(), top)?,
    }
    remove_tree(top, WORK).map_err(Fault::io(WORK))
}

/// Moves everything from one directory into another; directories that both have are merged, files replaced.
fn move_all(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<(), Fault> {
    for name in names(from).map_err(Fault::io(b"."))? {
        let bytes = name.as_slice();
        if bytes == WORK {
            return Err(Fault::Damaged(format!("has an entry with the reserved name `{}`", escape(WORK))));
        }
        let kind = |directory| match rustix::fs::statat(directory, bytes, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(Fault::io(bytes)(error.into())),
        };
        match (kind(from)?, kind(to)?) {
            (Some(FileType::Directory), Some(FileType::Directory)) => {
                let from = open_directory(from, bytes).map_err(Fault::io(bytes))?;
                let to = open_directory(to, bytes).map_err(Fault::io(bytes))?;
                move_all(from.as_fd(), to.as_fd())?;
            }
            (Some(FileType::Directory), Some(_)) | (Some(_), Some(FileType::Directory)) => {
                return Err(clash(bytes));
            }
            _ => rustix::fs::renameat(from, bytes, to, bytes)
                .map_err(|error| Fault::io(bytes)(error.into()))?,
        }
    }
    Ok(())
}

fn clash(name: &[u8]) -> Fault {
    Fault::Damaged(format!("`{}` is a directory here and a file in another source", escape(name)))
}

fn is_directory(directory: BorrowedFd<'_>, name: &[u8]) -> io::Result<bool> {
    let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

fn open_directory(directory: BorrowedFd<'_>, name: &[u8]) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(directory, name, flags, Mode::empty())?)
}

/// A file's name without the extensions of archives: `gmp-6.3.0.tar.xz` is `gmp-6.3.0`.
fn stem(file: &str) -> &str {
    const EXTENSIONS: [&str; 16] = [
        ".gz", ".bz2", ".xz", ".zst", ".lz", ".lzma", ".tgz", ".tbz", ".tbz2", ".txz", ".tzst", ".tar",
        ".zip", ".jar", ".whl", ".crate",
    ];
    let mut stem = file;
    while let Some(shorter) = EXTENSIONS.iter().find_map(|extension| stem.strip_suffix(extension))
        && !shorter.is_empty()
    {
        stem = shorter;
    }
    stem
}

fn timespec(seconds: u64) -> rustix::fs::Timespec {
    rustix::fs::Timespec { tv_sec: i64::try_from(seconds).unwrap_or(i64::MAX), tv_nsec: 0 }
}

fn times(mtime: rustix::fs::Timespec) -> Timestamps {
    Timestamps { last_access: mtime, last_modification: mtime }
}

/// A file that says `cancelled` at the next read once it is.
struct Input<'a> {
    file: File,
    cancel: &'a AtomicBool,
}

impl io::Read for Input<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.cancel.load(Ordering::Relaxed) {
            return Err(io::Error::other("cancelled"));
        }
        self.file.read(buffer)
    }
}

impl io::Seek for Input<'_> {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}
