//! What is in a staged tree.
//!
//! Owns: turning files into entries, and refusing what a package may not install. Does not know: archives.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use blake3::{Hash, Hasher};
use rustix::fs::{FileType, Mode, OFlags, Stat};

use super::super::beneath::{Beneath, visit_tree};
use super::super::path::RelPath;
use super::StageError;
use super::manifest::{Contents, Entry, Kind};
use super::merge::WORK;
use super::rules::StagingRules;

pub(super) const BUFFER_BYTES: usize = 128 * 1024;

/// A digest that has not been taken yet: files are read once, while they are packed.
pub(super) const PENDING: Hash = Hash::from_bytes([0; 32]);

/// Every entry below the root of `tree`, sorted, files without their digest.
pub(super) fn walk(tree: &mut Beneath, root: &Path, rules: &StagingRules) -> Result<Vec<Entry>, StageError> {
    let mut found = Vec::new();
    let directory = tree.root().try_clone_to_owned().map_err(StageError::io(root))?;
    visit_tree(directory.as_fd(), &mut |path, stat, _| {
        if path.as_bytes() == WORK {
            return Err(StageError::Path { path: path.to_string(), reason: "is a name that kiln reserves" });
        }
        found.push((path, *stat));
        Ok(())
    })?;
    for path in rules.owned_paths() {
        if !found.iter().any(|(found, _)| found == path) {
            let reason = "has an owner in the recipe, but was not installed".into();
            return Err(StageError::Rule { path: path.to_string(), reason });
        }
    }
    describe(tree, root, found, rules)
}

/// Entries for what was found, sorted.
pub(super) fn describe(
    tree: &mut Beneath,
    root: &Path,
    mut found: Vec<(RelPath, Stat)>,
    rules: &StagingRules,
) -> Result<Vec<Entry>, StageError> {
    found.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    let mut first_names: BTreeMap<(u64, u64, u32, u32), RelPath> = BTreeMap::new();
    let mut entries = Vec::with_capacity(found.len());
    for (path, stat) in found {
        let (uid, gid) = rules.owner(&path, (stat.st_uid, stat.st_gid));
        let privileged = rules.is_privileged(&path);
        let mut mode = stat.st_mode & 0o7777;
        let refuse = |what| Err(StageError::SecurityViolation { path: path.to_string(), what });
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Kind::Directory,
            FileType::RegularFile => {
                match mode & 0o6000 {
                    0 => {}
                    _ if privileged => {}
                    0o4000 => return refuse("is setuid"),
                    0o2000 => return refuse("is setgid"),
                    _ => return refuse("is setuid and setgid"),
                }
                let mut link = None;
                if stat.st_nlink > 1 {
                    // Two names with different owners cannot be one file.
                    let file = (stat.st_dev, stat.st_ino, uid, gid);
                    match first_names.get(&file) {
                        Some(first) => link = Some(first.clone()),
                        None => drop(first_names.insert(file, path.clone())),
                    }
                }
                let size = u64::try_from(stat.st_size).unwrap_or(0);
                Kind::File { size, digest: PENDING, link }
            }
            FileType::Symlink => {
                mode = 0o777;
                let (directory, name) = tree.parent(&path)?;
                let target = rustix::fs::readlinkat(directory, name, Vec::new())
                    .map_err(StageError::errno(root.join(path.to_string())))?;
                Kind::Symlink { target: target.into_bytes() }
            }
            FileType::Fifo => Kind::Fifo,
            kind @ (FileType::CharacterDevice | FileType::BlockDevice) => {
                if !privileged {
                    return refuse("is a device node");
                }
                let (major, minor) = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
                Kind::Device { block: kind == FileType::BlockDevice, major, minor }
            }
            FileType::Socket => return Err(StageError::Socket { path: path.to_string() }),
            FileType::Unknown => {
                return Err(StageError::Path { path: path.to_string(), reason: "is of no known type" });
            }
        };
        entries.push(Entry { path, mode, uid, gid, kind });
    }
    Ok(entries)
}

pub(super) fn finish(root: &Path, entries: Vec<Entry>) -> Result<Contents, StageError> {
    Contents::new(entries).map_err(|reason| StageError::Damaged { path: root.to_owned(), reason })
}

/// Opens a file whose size must still be `size`.
pub(super) fn open_file(
    tree: &mut Beneath,
    root: &Path,
    path: &RelPath,
    size: u64,
) -> Result<File, StageError> {
    let at: PathBuf = root.join(path.to_string());
    let (directory, name) = tree.parent(path)?;
    // Without NONBLOCK a file that became a fifo would block us.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = rustix::fs::openat(directory, name, flags, Mode::empty()).map_err(StageError::errno(&at))?;
    let stat = rustix::fs::fstat(&file).map_err(StageError::errno(&at))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile
        || u64::try_from(stat.st_size) != Ok(size)
    {
        return Err(StageError::Changed { path: path.to_string() });
    }
    Ok(File::from(file))
}

/// Which side of a copy failed.
pub(super) enum CopyError {
    Read(io::Error),
    Write(io::Error),
}

/// Hands `size` bytes on and takes their digest; `None` when there are more or fewer.
pub(super) fn copy_hashed(
    mut from: impl Read,
    size: u64,
    buffer: &mut [u8],
    mut to: impl FnMut(&[u8]) -> io::Result<()>,
) -> Result<Option<Hash>, CopyError> {
    let mut hasher = Hasher::new();
    let mut left = size;
    loop {
        match from.read(buffer) {
            Ok(0) => return Ok((left == 0).then(|| hasher.finalize())),
            Ok(count) if count as u64 > left => return Ok(None),
            Ok(count) => {
                hasher.update(&buffer[..count]);
                to(&buffer[..count]).map_err(CopyError::Write)?;
                left -= count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(CopyError::Read(error)),
        }
    }
}

/// The digest of a file of `size` bytes; `None` when it has more or fewer.
pub(super) fn digest(file: File, size: u64, buffer: &mut [u8]) -> io::Result<Option<Hash>> {
    copy_hashed(file, size, buffer, |_| Ok(())).map_err(|error| match error {
        CopyError::Read(error) | CopyError::Write(error) => error,
    })
}
