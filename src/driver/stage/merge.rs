//! Putting a package's files into the sysroot, and taking them out.
//!
//! Owns: the order of the steps, and that each can be repeated. Does not know: who owns what (`plan`), when anything
//! is synced (the checkpoint syncs the whole filesystem), what is recorded.
//!
//! Files are written in a directory at the top of the sysroot and renamed into place, so that a file is there whole
//! or not at all, and what a killed merge left is in one place, which the next one empties. One merge at a time, hence
//! `&mut Sysroot`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dev, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use super::super::beneath::{Beneath, WalkError, remove_tree};
use super::super::path::RelPath;
use super::archive::{ReadError, read_files};
use super::manifest::{Entry, Kind, Manifest};
use super::ownership::{Attributes, Ownership};
use super::plan::{MergeError, MergePlan, Removal, removals};
use super::scan::{BUFFER_BYTES, CopyError, copy_hashed};
use super::verify::{Depth, Expected, difference};

/// Where files are written first; no package may have it.
pub(super) const WORK: &[u8] = b".kiln-merge";

/// The tree that archives are merged into.
#[derive(Debug)]
pub struct Sysroot {
    pub(super) tree: Beneath,
    /// Owners can be set, and so are compared.
    pub(super) is_root: bool,
    path: PathBuf,
}

/// One step of a merge was done; whoever is told may end it there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'a> {
    /// What was in the way is gone.
    Cleared(&'a RelPath),
    /// The directory is there.
    Directory(&'a RelPath),
    /// The file is written, under another name.
    Written(&'a RelPath),
    /// It has its name.
    Placed(&'a RelPath),
    /// A path of the old version is gone.
    Removed(&'a RelPath),
}

/// A function for `apply` that never ends it.
pub fn to_the_end(_: Step<'_>) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

impl Sysroot {
    /// Opens the tree, which is made if it is missing.
    pub fn open(path: &Path) -> Result<Self, MergeError> {
        let fail = |source| MergeError::Io { path: path.display().to_string(), source };
        std::fs::create_dir_all(path).map_err(fail)?;
        let tree = Beneath::open(path).map_err(fail)?;
        Ok(Self { tree, is_root: rustix::process::geteuid().is_root(), path: path.to_owned() })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Carries out a plan. `archive` is the plan's manifest's; it is read only as far as something is missing. Killed at any
/// moment and called again with the same plan it ends in the same tree; `step` is told of each step. What is right
/// already is left alone (its metadata first, then its digest): a repeated merge writes nothing, and what runs from the
/// sysroot keeps its inodes. As an ordinary user owners are left as they come.
pub fn apply(
    sysroot: &mut Sysroot,
    plan: &MergePlan,
    archive: &Path,
    step: &mut dyn FnMut(Step<'_>) -> ControlFlow<()>,
) -> Result<(), MergeError> {
    remove_tree(sysroot.tree.root(), WORK).map_err(io_at(WORK))?;
    let mut merge = Merge { sysroot, plan, step, work: None, temporaries: 0, buffer: vec![0; BUFFER_BYTES] };
    for removal in &plan.clear {
        if merge.sysroot.take_away(removal)? == Gone::NotEmpty {
            return Err(blocked(&removal.path));
        }
        merge.step(Step::Cleared(&removal.path))?;
    }
    for (path, attributes) in &plan.directories {
        merge.directory(path, *attributes)?;
        merge.step(Step::Directory(path))?;
    }
    merge.files(archive)?;
    merge.others()?;
    for removal in &plan.remove {
        merge.sysroot.take_away(removal)?;
        merge.step(Step::Removed(&removal.path))?;
    }
    merge.settle_directories()?;
    if merge.work.is_some() {
        rustix::fs::unlinkat(sysroot.tree.root(), WORK, AtFlags::REMOVEDIR)
            .map_err(|error| io_at(WORK)(error.into()))?;
    }
    Ok(())
}

/// Takes a package's files out, except what others have, too. Packages that must be repaired afterwards, since this one
/// had taken paths over from them, are returned. It can be repeated like `apply`.
pub fn remove(
    sysroot: &mut Sysroot,
    ownership: &Ownership,
    package: &str,
    step: &mut dyn FnMut(Step<'_>) -> ControlFlow<()>,
) -> Result<BTreeSet<String>, MergeError> {
    let mut exposed = BTreeSet::new();
    for removal in removals(ownership, package, |_| true, &mut exposed) {
        sysroot.take_away(&removal)?;
        if step(Step::Removed(&removal.path)).is_break() {
            return Err(MergeError::Interrupted);
        }
    }
    Ok(exposed)
}

#[derive(PartialEq, Eq)]
pub(super) enum Gone {
    Yes,
    NotEmpty,
}

impl Sysroot {
    /// Removes a path unless it has become something else in the meantime: then an earlier try went further.
    pub(super) fn take_away(&mut self, removal: &Removal) -> Result<Gone, MergeError> {
        let path = &removal.path;
        let (parent, name) = match self.tree.parent(path) {
            Ok(found) => found,
            Err(WalkError::Missing(_) | WalkError::NotDirectory(_) | WalkError::Symlink(_)) => {
                return Ok(Gone::Yes);
            }
            Err(error) => return Err(error.into()),
        };
        let flags = if removal.directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        match rustix::fs::unlinkat(parent, name, flags) {
            Ok(()) => {
                if removal.directory {
                    self.tree.forget(path);
                }
                Ok(Gone::Yes)
            }
            Err(Errno::NOENT) => Ok(Gone::Yes),
            Err(Errno::NOTDIR) if removal.directory => Ok(Gone::Yes),
            Err(Errno::ISDIR) if !removal.directory => Ok(Gone::Yes),
            Err(Errno::NOTEMPTY | Errno::EXIST) if removal.directory => Ok(Gone::NotEmpty),
            Err(error) => Err(io_at(path.as_bytes())(error.into())),
        }
    }
}

struct Merge<'a> {
    sysroot: &'a mut Sysroot,
    plan: &'a MergePlan,
    step: &'a mut dyn FnMut(Step<'_>) -> ControlFlow<()>,
    work: Option<OwnedFd>,
    temporaries: u64,
    buffer: Vec<u8>,
}

impl Merge<'_> {
    fn step(&mut self, step: Step<'_>) -> Result<(), MergeError> {
        match (self.step)(step) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(MergeError::Interrupted),
        }
    }

    /// An ordinary user must be able to write into it until `settle_directories`.
    fn directory(&mut self, path: &RelPath, attributes: Attributes) -> Result<(), MergeError> {
        let mode = if self.sysroot.is_root { attributes.mode } else { attributes.mode | 0o700 };
        let is_root = self.sysroot.is_root;
        let fail = |error: Errno| io_at(path.as_bytes())(error.into());
        let (parent, name) = self.sysroot.tree.parent(path)?;
        let make = || rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(mode & 0o777));
        let look = || rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW);
        let mut stat = match make() {
            Ok(()) | Err(Errno::EXIST) => look().map_err(fail)?,
            Err(error) => return Err(fail(error)),
        };
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            // No package has it (`plan` would have cleared it or refused), so it may go.
            rustix::fs::unlinkat(parent, name, AtFlags::empty()).map_err(fail)?;
            make().map_err(fail)?;
            stat = look().map_err(fail)?;
        }
        if is_root && (stat.st_uid, stat.st_gid) != (attributes.uid, attributes.gid) {
            let (uid, gid) = (Uid::from_raw(attributes.uid), Gid::from_raw(attributes.gid));
            rustix::fs::chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
                .map_err(fail)?;
        }
        if stat.st_mode & 0o7777 != mode {
            rustix::fs::chmodat(parent, name, Mode::from_raw_mode(mode), AtFlags::empty()).map_err(fail)?;
        }
        Ok(())
    }

    fn settle_directories(&mut self) -> Result<(), MergeError> {
        if self.sysroot.is_root {
            return Ok(());
        }
        for (path, attributes) in self.plan.directories.iter().rev() {
            if attributes.mode & 0o700 != 0o700 {
                let (parent, name) = self.sysroot.tree.parent(path)?;
                rustix::fs::chmodat(parent, name, Mode::from_raw_mode(attributes.mode), AtFlags::empty())
                    .map_err(|error| io_at(path.as_bytes())(error.into()))?;
            }
        }
        Ok(())
    }

    /// Regular files: those that are not right, with all names of each.
    fn files(&mut self, archive: &Path) -> Result<(), MergeError> {
        let plan = self.plan;
        let missing = self.missing_files()?;
        let Some((&last, _)) = missing.last_key_value() else { return Ok(()) };
        let read =
            read_files(archive, &plan.manifest.contents, last + 1, |at, data| match missing.get(&at) {
                Some(names) => self.file(archive, names, data),
                None => Ok(()),
            });
        read.map_err(|error| match error {
            ReadError::Visit(error) => error,
            ReadError::Damaged(reason) => MergeError::Damaged { archive: archive.to_owned(), reason },
            ReadError::Io(source) => MergeError::Io { path: archive.display().to_string(), source },
        })
    }

    /// Files to write, by the entry that has the data in the archive, each with the entries that are names of it. If one
    /// name is wrong all are made anew.
    fn missing_files(&mut self) -> Result<BTreeMap<usize, Vec<usize>>, MergeError> {
        let contents = &self.plan.manifest.contents;
        let entries = contents.entries();
        let mut files: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for &at in &self.plan.place {
            if let Kind::File { link, .. } = &entries[at].kind {
                let data = link
                    .as_ref()
                    .and_then(|first| entries.binary_search_by(|entry| entry.path.cmp(first)).ok());
                files.entry(data.unwrap_or(at)).or_default().push(at);
            }
        }
        let mut missing = BTreeMap::new();
        for (data, names) in files {
            if !self.are_right(&names)? {
                missing.insert(data, names);
            }
        }
        Ok(missing)
    }

    /// Whether all these names are one file, and that is as the manifest says.
    fn are_right(&mut self, names: &[usize]) -> Result<bool, MergeError> {
        let mut inode = None;
        for &at in names {
            let entry = &self.plan.manifest.contents.entries()[at];
            let depth = if inode.is_none() { Depth::Digest } else { Depth::Stat };
            if self.difference(entry, depth)?.is_some() {
                return Ok(false);
            }
            let found = self.sysroot.tree.stat(&entry.path)?.map(|stat| (stat.st_dev, stat.st_ino));
            if found != *inode.get_or_insert(found) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn difference(&mut self, entry: &Entry, depth: Depth) -> Result<Option<&'static str>, MergeError> {
        let expected = Expected {
            entry,
            attributes: Attributes::of(entry),
            mtime: self.plan.manifest.source_date_epoch,
        };
        difference(&mut self.sysroot.tree, &expected, self.sysroot.is_root, depth, &mut self.buffer, &mut 0)
    }

    /// Writes one file and gives it its names.
    fn file(&mut self, archive: &Path, names: &[usize], data: &mut dyn Read) -> Result<(), MergeError> {
        let plan = self.plan;
        let entries = plan.manifest.contents.entries();
        let Some(&first) = names.first() else { return Ok(()) };
        let entry = &entries[first];
        let Kind::File { size, digest, .. } = &entry.kind else { return Ok(()) };
        let fail = |error: io::Error| io_at(entry.path.as_bytes())(error);
        let temporary = self.temporary()?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(self.work()?, temporary.as_str(), flags, Mode::RUSR | Mode::WUSR);
        let mut file = File::from(file.map_err(|error| fail(error.into()))?);
        let damaged = |reason: String| MergeError::Damaged { archive: archive.to_owned(), reason };
        match copy_hashed(data, *size, &mut self.buffer, |data| file.write_all(data)) {
            Ok(Some(found)) if found == *digest => {}
            Ok(_) => return Err(damaged(format!("`{}` in it is not what the manifest says", entry.path))),
            Err(CopyError::Write(error)) => return Err(fail(error)),
            Err(CopyError::Read(error)) if error.raw_os_error().is_some() => {
                return Err(MergeError::Io { path: archive.display().to_string(), source: error });
            }
            Err(CopyError::Read(error)) => return Err(damaged(error.to_string())),
        }
        let finish = || {
            if self.sysroot.is_root {
                rustix::fs::fchown(&file, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)))?;
            }
            // After the owner: changing that drops setuid.
            rustix::fs::fchmod(&file, Mode::from_raw_mode(entry.mode))?;
            rustix::fs::futimens(&file, &times(&plan.manifest))
        };
        finish().map_err(|error| fail(error.into()))?;
        drop(file);
        let mut temporaries = vec![temporary];
        for _ in names.iter().skip(1) {
            let more = self.temporary()?;
            let work = self.work()?;
            rustix::fs::linkat(work, temporaries[0].as_str(), work, more.as_str(), AtFlags::empty())
                .map_err(|error| fail(error.into()))?;
            temporaries.push(more);
        }
        self.step(Step::Written(&entry.path))?;
        for (&at, temporary) in names.iter().zip(&temporaries) {
            self.put(&entries[at].path, temporary)?;
        }
        Ok(())
    }

    /// Symlinks, fifos and device nodes.
    fn others(&mut self) -> Result<(), MergeError> {
        let plan = self.plan;
        for &at in &plan.place {
            let entry = &plan.manifest.contents.entries()[at];
            if matches!(entry.kind, Kind::File { .. } | Kind::Directory)
                || self.difference(entry, Depth::Digest)?.is_none()
            {
                continue;
            }
            let temporary = self.temporary()?;
            let is_root = self.sysroot.is_root;
            let work = self.work()?;
            let name = temporary.as_str();
            let node = |kind, device| {
                rustix::fs::mknodat(work, name, kind, Mode::RUSR | Mode::WUSR, device)?;
                Ok(true)
            };
            let make = || {
                let has_mode = match &entry.kind {
                    Kind::File { .. } | Kind::Directory => return Ok(()),
                    Kind::Symlink { target } => {
                        rustix::fs::symlinkat(target.as_slice(), work, name)?;
                        false
                    }
                    Kind::Fifo => node(FileType::Fifo, 0)?,
                    Kind::Device { block, major, minor } => {
                        let kind = if *block { FileType::BlockDevice } else { FileType::CharacterDevice };
                        let device: Dev = rustix::fs::makedev(*major, *minor);
                        node(kind, device)?
                    }
                };
                if is_root {
                    let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
                    rustix::fs::chownat(work, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
                }
                if has_mode {
                    rustix::fs::chmodat(work, name, Mode::from_raw_mode(entry.mode), AtFlags::empty())?;
                }
                rustix::fs::utimensat(work, name, &times(&plan.manifest), AtFlags::SYMLINK_NOFOLLOW)
            };
            make().map_err(|error: Errno| io_at(entry.path.as_bytes())(error.into()))?;
            self.step(Step::Written(&entry.path))?;
            self.put(&entry.path, &temporary)?;
        }
        Ok(())
    }

    /// Gives a file that is written its name.
    fn put(&mut self, path: &RelPath, temporary: &str) -> Result<(), MergeError> {
        let work = self.work()?.try_clone_to_owned().map_err(io_at(WORK))?;
        let (parent, name) = self.sysroot.tree.parent(path)?;
        let rename = || rustix::fs::renameat(&work, temporary, parent, name);
        match rename() {
            // A directory that no package has; only if there is nothing in it may it go.
            Err(Errno::ISDIR) => match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
                Ok(()) => rename(),
                Err(Errno::NOTEMPTY | Errno::EXIST) => return Err(blocked(path)),
                Err(error) => Err(error),
            },
            other => other,
        }
        .map_err(|error| io_at(path.as_bytes())(error.into()))?;
        self.step(Step::Placed(path))
    }

    fn temporary(&mut self) -> Result<String, MergeError> {
        if self.work.is_none() {
            let root = self.sysroot.tree.root();
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let open = || {
                rustix::fs::mkdirat(root, WORK, Mode::RWXU)?;
                rustix::fs::openat(root, WORK, flags, Mode::empty())
            };
            self.work = Some(open().map_err(|error| io_at(WORK)(error.into()))?);
        }
        self.temporaries += 1;
        Ok(self.temporaries.to_string())
    }

    /// The directory that `temporary` made.
    fn work(&self) -> Result<BorrowedFd<'_>, MergeError> {
        let work = self.work.as_ref().map(AsFd::as_fd);
        work.ok_or_else(|| io_at(WORK)(io::ErrorKind::NotFound.into()))
    }
}

fn blocked(path: &RelPath) -> MergeError {
    MergeError::Blocked { path: path.to_string(), what: "a directory with files that no package owns" }
}

fn times(manifest: &Manifest) -> Timestamps {
    let seconds = i64::try_from(manifest.source_date_epoch).unwrap_or(i64::MAX);
    let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
    Timestamps { last_access: time, last_modification: time }
}

pub(super) fn io_at(path: &[u8]) -> impl Fn(io::Error) -> MergeError {
    let path = super::super::path::escape(path).into_owned();
    move |source| MergeError::Io { path: path.clone(), source }
}

impl From<WalkError> for MergeError {
    fn from(error: WalkError) -> Self {
        match error {
            WalkError::Symlink(path) => {
                Self::SecurityViolation { path, what: "is a symlink where the package has a directory" }
            }
            WalkError::Missing(path) => Self::Io { path, source: io::ErrorKind::NotFound.into() },
            WalkError::NotDirectory(path) => Self::Io { path, source: io::ErrorKind::NotADirectory.into() },
            WalkError::Io { path, source } => Self::Io { path, source },
        }
    }
}
