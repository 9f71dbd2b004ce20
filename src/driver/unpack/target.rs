//! The directory that an archive is unpacked into.
//!
//! Owns: making files, links and directories so that nothing outside is touched. Does not know: archive formats.
//!
//! `tar::Entry::unpack_in` is not used: it skips an entry with `..` without a word, follows symlinks that an earlier
//! entry made as long as they end up inside, writes device nodes as empty files, and `zip`'s own extraction differs
//! from it in each of these. Here one set of rules serves both formats: directories are reached without following
//! any link, files are made anew (`O_EXCL`) after removing what had the name, directories are never removed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timespec};
use rustix::io::Errno;

use super::super::beneath::{Beneath, WalkError};
use super::super::path::{PathError, RelPath, escape};
use super::{Source, UnpackError, times};

const BUFFER_BYTES: usize = 128 * 1024;

/// Why an entry was not unpacked; `report` adds which.
#[derive(Debug)]
pub(super) enum Fault {
    Escape(&'static str),
    Damaged(String),
    /// Reading the source: its own fault unless the system gave the error.
    Read(io::Error),
    /// Writing.
    Io {
        path: String,
        source: io::Error,
    },
    Cancelled,
}

impl Fault {
    pub(super) fn io(path: &[u8]) -> impl Fn(io::Error) -> Self {
        let path = escape(path).into_owned();
        move |source| Self::Io { path: path.clone(), source }
    }

    pub(super) fn report(
        self,
        file: &str,
        entry: &str,
        source: &Source,
        src: &Path,
        cancel: &AtomicBool,
    ) -> UnpackError {
        let file = file.to_owned();
        match self {
            _ if cancel.load(Ordering::Relaxed) => UnpackError::Cancelled,
            Self::Cancelled => UnpackError::Cancelled,
            Self::Escape(what) => UnpackError::Escape { file, entry: entry.to_owned(), what },
            Self::Damaged(reason) => UnpackError::Damaged { file, reason },
            Self::Read(error) if error.raw_os_error().is_some() => {
                UnpackError::Io { path: source.path.clone(), source: error }
            }
            Self::Read(error) => UnpackError::Damaged { file, reason: error.to_string() },
            Self::Io { path, source } => UnpackError::Io { path: src.join(path), source },
        }
    }
}

impl From<WalkError> for Fault {
    fn from(error: WalkError) -> Self {
        match error {
            WalkError::Symlink(_) => Self::Escape("would be written through a symlink"),
            WalkError::Missing(path) => Self::Damaged(format!("`{path}` is missing")),
            WalkError::NotDirectory(path) => {
                Self::Damaged(format!("`{path}` is a file, and a directory of another entry"))
            }
            WalkError::Io { path, source } => Self::Io { path, source },
        }
    }
}

impl From<PathError> for Fault {
    fn from(error: PathError) -> Self {
        match error {
            PathError::Absolute => Self::Escape("has an absolute path"),
            PathError::Parent => Self::Escape("has a `..` in its path"),
            PathError::Empty | PathError::Nul | PathError::Deep => {
                Self::Damaged(format!("an entry's path {error}"))
            }
        }
    }
}

/// A directory to unpack into, and what is left to do at the end.
pub(super) struct Target<'a> {
    tree: Beneath,
    cancel: &'a AtomicBool,
    /// Mode and mtime of directories, set at the end: files are still to be written into them.
    directories: BTreeMap<RelPath, (u32, Option<Timespec>)>,
    newest: Option<u64>,
    buffer: Vec<u8>,
}

impl<'a> Target<'a> {
    pub(super) fn new(tree: Beneath, cancel: &'a AtomicBool) -> Self {
        Self { tree, cancel, directories: BTreeMap::new(), newest: None, buffer: vec![0; BUFFER_BYTES] }
    }

    pub(super) fn check_cancel(&self) -> Result<(), Fault> {
        if self.cancel.load(Ordering::Relaxed) { Err(Fault::Cancelled) } else { Ok(()) }
    }

    pub(super) fn directory(
        &mut self,
        path: RelPath,
        mode: u32,
        mtime: Option<Timespec>,
    ) -> Result<(), Fault> {
        let (parent, name) = self.tree.parent_or_create(&path)?;
        match rustix::fs::mkdirat(parent, name, Mode::RWXU) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW);
                match stat.map(|stat| FileType::from_raw_mode(stat.st_mode)) {
                    Ok(FileType::Directory) => {}
                    Ok(FileType::Symlink) => return Err(WalkError::Symlink(path.to_string()).into()),
                    Ok(_) => return Err(WalkError::NotDirectory(path.to_string()).into()),
                    Err(error) => return Err(Fault::io(path.as_bytes())(error.into())),
                }
            }
            Err(error) => return Err(Fault::io(path.as_bytes())(error.into())),
        }
        self.directories.insert(path, (mode, mtime));
        Ok(())
    }

    /// `size` bytes of `reader`; with `holes`, runs of zeros become holes.
    pub(super) fn file(
        &mut self,
        path: &RelPath,
        mode: u32,
        mtime: Option<Timespec>,
        size: u64,
        reader: &mut dyn Read,
        holes: bool,
    ) -> Result<(), Fault> {
        let (parent, name) = self.tree.parent_or_create(path)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let create = || rustix::fs::openat(parent, name, flags, Mode::RUSR | Mode::WUSR);
        let fail = |error: io::Error| Fault::io(path.as_bytes())(error);
        let file = match create() {
            Err(Errno::EXIST) => {
                make_room(&mut self.tree, path)?;
                let (parent, name) = self.tree.parent_or_create(path)?;
                rustix::fs::openat(parent, name, flags, Mode::RUSR | Mode::WUSR)
            }
            other => other,
        };
        let mut file = File::from(file.map_err(|error| fail(error.into()))?);
        let mut left = size;
        while left > 0 {
            self.check_cancel()?;
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len());
            let count = match reader.read(&mut self.buffer[..most]) {
                Ok(0) => return Err(Fault::Damaged(format!("`{path}` is cut short"))),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Fault::Read(error)),
            };
            let data = &self.buffer[..count];
            if holes && data.iter().all(|&byte| byte == 0) {
                file.seek(SeekFrom::Current(i64::try_from(count).unwrap_or(i64::MAX))).map_err(fail)?;
            } else {
                file.write_all(data).map_err(fail)?;
            }
            left -= count as u64;
        }
        if holes {
            file.set_len(size).map_err(fail)?;
        }
        rustix::fs::fchmod(&file, Mode::from_raw_mode(mode & 0o755)).map_err(|error| fail(error.into()))?;
        if let Some(mtime) = mtime {
            rustix::fs::futimens(&file, &times(mtime)).map_err(|error| fail(error.into()))?;
            self.newest = self.newest.max(u64::try_from(mtime.tv_sec).ok());
        }
        Ok(())
    }

    /// The link may point anywhere: nothing is ever written through it.
    pub(super) fn symlink(
        &mut self,
        path: &RelPath,
        to: &[u8],
        mtime: Option<Timespec>,
    ) -> Result<(), Fault> {
        if to.is_empty() || to.contains(&0) {
            return Err(Fault::Damaged(format!("the symlink `{path}` points to no file name")));
        }
        make_room(&mut self.tree, path)?;
        let (parent, name) = self.tree.parent_or_create(path)?;
        let fail = |error: Errno| Fault::io(path.as_bytes())(error.into());
        rustix::fs::symlinkat(to, parent, name).map_err(fail)?;
        match mtime {
            Some(mtime) => {
                rustix::fs::utimensat(parent, name, &times(mtime), AtFlags::SYMLINK_NOFOLLOW).map_err(fail)
            }
            None => Ok(()),
        }
    }

    pub(super) fn hard_link(&mut self, path: &RelPath, to: &RelPath) -> Result<(), Fault> {
        if path == to {
            return Ok(());
        }
        let fail = |error: io::Error| Fault::io(path.as_bytes())(error);
        let (from, from_name) = match self.tree.parent(to) {
            Ok((fd, name)) => (fd.try_clone_to_owned().map_err(fail)?, name),
            Err(WalkError::Symlink(_)) => return Err(Fault::Escape("is a hard link through a symlink")),
            Err(error) => return Err(error.into()),
        };
        match rustix::fs::statat(&from, from_name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                return Err(Fault::Damaged(format!("`{path}` is a hard link to the directory `{to}`")));
            }
            Ok(_) => {}
            Err(Errno::NOENT) => {
                return Err(Fault::Damaged(format!("`{path}` is a hard link to the missing `{to}`")));
            }
            Err(error) => return Err(fail(error.into())),
        }
        make_room(&mut self.tree, path)?;
        let (parent, name) = self.tree.parent_or_create(path)?;
        // Without AT_SYMLINK_FOLLOW a link to a symlink is one more name of the symlink.
        rustix::fs::linkat(&from, from_name, parent, name, AtFlags::empty())
            .map_err(|error| fail(error.into()))
    }

    /// Settles the directories; the newest mtime of a regular file.
    pub(super) fn finish(mut self) -> Result<Option<u64>, Fault> {
        for (path, (mode, mtime)) in self.directories.into_iter().rev() {
            let (parent, name) = self.tree.parent(&path)?;
            let fail = |error: Errno| Fault::io(path.as_bytes())(error.into());
            // Ours to write and to clean up, whatever the archive says.
            let mode = Mode::from_raw_mode(mode & 0o755 | 0o700);
            rustix::fs::chmodat(parent, name, mode, AtFlags::empty()).map_err(fail)?;
            if let Some(mtime) = mtime {
                rustix::fs::utimensat(parent, name, &times(mtime), AtFlags::SYMLINK_NOFOLLOW)
                    .map_err(fail)?;
            }
        }
        Ok(self.newest)
    }
}

/// Removes what has the name, unless it is a directory: an entry that occurs twice counts the last time.
fn make_room(tree: &mut Beneath, path: &RelPath) -> Result<(), Fault> {
    let (parent, name) = tree.parent_or_create(path)?;
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {
            Err(Fault::Damaged(format!("`{path}` is a directory, and a file of another entry")))
        }
        Err(error) => Err(Fault::io(path.as_bytes())(error.into())),
    }
}
