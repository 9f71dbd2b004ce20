//! Work on files below a directory that no path can leave.
//!
//! Owns: walking to a file's directory without following a symlink. Does not know: what the files are for.
//!
//! A path is walked one component at a time, each opened relative to the last with `O_NOFOLLOW`; a `RelPath`
//! has no `..` and no leading slash, so there is no way out, whatever is in the tree. `openat2` with
//! `RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS` promises the same but is missing under older seccomp filters; and since
//! the open directories of the last path are kept, neighbours cost no call here at all.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::path::{RelPath, escape};

/// A directory, and the open directories on the way to the path used last.
pub struct Beneath {
    root: OwnedFd,
    stack: Vec<(Box<[u8]>, OwnedFd)>,
}

/// Why a path's directory cannot be reached.
#[derive(Debug, thiserror::Error)]
pub enum WalkError {
    /// A directory on the way is missing.
    #[error("`{0}` does not exist")]
    Missing(String),
    /// A component on the way is a symlink; it is not followed.
    #[error("`{0}` is a symlink")]
    Symlink(String),
    /// A component on the way is something else.
    #[error("`{0}` is not a directory")]
    NotDirectory(String),
    /// The kernel refused.
    #[error("cannot open `{path}`: {source}")]
    Io {
        /// The component.
        path: String,
        /// Its reason.
        source: io::Error,
    },
}

impl fmt::Debug for Beneath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Beneath").field("root", &self.root).finish_non_exhaustive()
    }
}

impl Beneath {
    /// `path` may have symlinks: whoever names the root is trusted.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self::new(rustix::fs::open(path, flags, Mode::empty())?))
    }

    /// A directory that others could have replaced: `path` itself is no symlink.
    pub fn open_real(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Self::new(rustix::fs::open(path, flags, Mode::empty())?))
    }

    /// Below a directory that is open already.
    pub fn new(root: OwnedFd) -> Self {
        Self { root, stack: Vec::new() }
    }

    /// The root itself.
    pub fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// The directory that `path` is in, and its name there.
    pub fn parent<'a, 'p>(&'a mut self, path: &'p RelPath) -> Result<(BorrowedFd<'a>, &'p [u8]), WalkError> {
        self.walk(path, false)
    }

    /// The same; what is missing on the way is made, with mode 0755.
    pub fn parent_or_create<'a, 'p>(
        &'a mut self,
        path: &'p RelPath,
    ) -> Result<(BorrowedFd<'a>, &'p [u8]), WalkError> {
        self.walk(path, true)
    }

    /// Closes what is open at or below `path`; needed once it has been removed or renamed.
    pub fn forget(&mut self, path: &RelPath) {
        let parts = path.as_bytes().split(|&byte| byte == b'/');
        let same = self.stack.iter().zip(parts).take_while(|((name, _), part)| **name == **part).count();
        if same == path.depth() {
            self.stack.truncate(same - 1);
        }
    }

    /// Metadata of `path`, links not followed; `None` when it or a directory on the way is missing.
    pub fn stat(&mut self, path: &RelPath) -> Result<Option<Stat>, WalkError> {
        let (directory, name) = match self.parent(path) {
            Err(WalkError::Missing(_)) => return Ok(None),
            other => other?,
        };
        match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(WalkError::Io { path: path.to_string(), source: error.into() }),
        }
    }

    fn walk<'a, 'p>(
        &'a mut self,
        path: &'p RelPath,
        create: bool,
    ) -> Result<(BorrowedFd<'a>, &'p [u8]), WalkError> {
        let (directory, name) = path.split();
        let parts = || directory.into_iter().flat_map(|bytes| bytes.split(|&byte| byte == b'/'));
        let same = self.stack.iter().zip(parts()).take_while(|((name, _), part)| **name == **part).count();
        self.stack.truncate(same);
        for part in parts().skip(same) {
            let above = self.stack.last().map_or(self.root.as_fd(), |(_, fd)| fd.as_fd());
            let fd = match open_directory(above, part) {
                Err(Errno::NOENT) if create => {
                    match rustix::fs::mkdirat(above, part, Mode::from_raw_mode(0o755)) {
                        Ok(()) | Err(Errno::EXIST) => open_directory(above, part),
                        Err(error) => Err(error),
                    }
                }
                other => other,
            };
            let fd = fd.map_err(|error| {
                let on_the_way = self.stack.iter().map(|(name, _)| &**name).chain([part]);
                let path = escape(&on_the_way.collect::<Vec<_>>().join(&b'/')).into_owned();
                match error {
                    Errno::NOENT => WalkError::Missing(path),
                    Errno::NOTDIR | Errno::LOOP if is_symlink(above, part) => WalkError::Symlink(path),
                    Errno::NOTDIR => WalkError::NotDirectory(path),
                    error => WalkError::Io { path, source: error.into() },
                }
            })?;
            self.stack.push((part.into(), fd));
        }
        let directory = self.stack.last().map_or(self.root.as_fd(), |(_, fd)| fd.as_fd());
        Ok((directory, name))
    }
}

/// `O_PATH`: walking through needs no permission to read.
fn open_directory(above: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(above, name, flags, Mode::empty())
}

fn is_symlink(above: BorrowedFd<'_>, name: &[u8]) -> bool {
    rustix::fs::statat(above, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink)
}

/// Calls `visit` for everything below `directory`, each directory before what is in it, in the order in which the
/// kernel lists them. Symlinks are not followed. Directories must be readable.
pub fn visit_tree<E: From<WalkError>>(
    directory: BorrowedFd<'_>,
    visit: &mut impl FnMut(RelPath, &Stat, BorrowedFd<'_>) -> Result<(), E>,
) -> Result<(), E> {
    visit_below(directory, None, visit)
}

fn visit_below<E: From<WalkError>>(
    directory: BorrowedFd<'_>,
    path: Option<&RelPath>,
    visit: &mut impl FnMut(RelPath, &Stat, BorrowedFd<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let fail = |source: io::Error| {
        E::from(WalkError::Io { path: path.map_or_else(|| ".".into(), ToString::to_string), source })
    };
    for name in names(directory).map_err(fail)? {
        let below = RelPath::join(path, &name).map_err(|error| fail(io::Error::other(error)))?;
        let fail = |error: Errno| E::from(WalkError::Io { path: below.to_string(), source: error.into() });
        let stat = rustix::fs::statat(directory, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW).map_err(fail)?;
        visit(below.clone(), &stat, directory)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let fd = rustix::fs::openat(directory, name.as_slice(), flags, Mode::empty()).map_err(fail)?;
            visit_below(fd.as_fd(), Some(&below), visit)?;
        }
    }
    Ok(())
}

/// Names in a directory, without `.` and `..`.
pub fn names(directory: BorrowedFd<'_>) -> io::Result<Vec<Vec<u8>>> {
    // `Dir::read_from` opens `.`, which an ordinary user cannot where a directory has no x.
    let mut listing = Dir::new(directory.try_clone_to_owned()?)?;
    listing.rewind();
    let mut names = Vec::new();
    while let Some(entry) = listing.read() {
        let entry = entry?;
        match entry.file_name().to_bytes() {
            b"." | b".." => {}
            name => names.push(name.to_vec()),
        }
    }
    Ok(names)
}

/// Removes `name` and everything below it; `Ok` when there is nothing.
pub fn remove_tree(directory: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    match rustix::fs::unlinkat(directory, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let below = rustix::fs::openat(directory, name, flags, Mode::empty())?;
    for name in names(below.as_fd())? {
        remove_tree(below.as_fd(), &name)?;
    }
    Ok(rustix::fs::unlinkat(directory, name, AtFlags::REMOVEDIR)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn path(text: &str) -> RelPath {
        RelPath::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_walk_follows_no_symlink_not_even_one_that_stays_inside() {
        let space = tempfile::tempdir().unwrap();
        fs::create_dir_all(space.path().join("a/b")).unwrap();
        std::os::unix::fs::symlink("a", space.path().join("inside")).unwrap();
        std::os::unix::fs::symlink("/", space.path().join("a/outside")).unwrap();
        fs::write(space.path().join("file"), "").unwrap();
        let mut beneath = Beneath::open(space.path()).unwrap();
        assert!(beneath.parent(&path("a/b/new")).is_ok());
        assert!(
            matches!(beneath.parent(&path("inside/b/new")), Err(WalkError::Symlink(at)) if at == "inside")
        );
        assert!(
            matches!(beneath.parent(&path("a/outside/x")), Err(WalkError::Symlink(at)) if at == "a/outside")
        );
        assert!(matches!(beneath.parent_or_create(&path("file/x/y")), Err(WalkError::NotDirectory(_))));
        assert!(matches!(beneath.parent(&path("none/x")), Err(WalkError::Missing(_))));
        assert!(beneath.parent_or_create(&path("none/x/y")).is_ok());
        assert!(space.path().join("none/x").is_dir());
    }

    #[test]
    fn a_removed_directory_is_not_used_once_it_is_forgotten() {
        let space = tempfile::tempdir().unwrap();
        let mut beneath = Beneath::open(space.path()).unwrap();
        beneath.parent_or_create(&path("a/b/c")).unwrap();
        fs::remove_dir_all(space.path().join("a/b")).unwrap();
        beneath.forget(&path("a/b"));
        assert!(beneath.stat(&path("a/b/c")).unwrap().is_none());
        beneath.parent_or_create(&path("a/b/c")).unwrap();
        assert!(space.path().join("a/b").is_dir());
    }

    #[test]
    fn removing_a_tree_follows_no_symlink() {
        let space = tempfile::tempdir().unwrap();
        fs::create_dir_all(space.path().join("tree/sub")).unwrap();
        fs::create_dir(space.path().join("kept")).unwrap();
        fs::write(space.path().join("kept/file"), "").unwrap();
        std::os::unix::fs::symlink("../../kept", space.path().join("tree/sub/link")).unwrap();
        let beneath = Beneath::open(space.path()).unwrap();
        remove_tree(beneath.root(), b"tree").unwrap();
        assert!(!space.path().join("tree").exists());
        assert!(space.path().join("kept/file").exists());
    }
}
