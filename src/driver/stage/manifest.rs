//! A package's manifest: every path of its archive, and the archive's digest.
//!
//! Owns: the shape on disk (`packages/NAME/KEY.manifest`, JSON), when two are identical, writing it durably. Does not
//! know: where the files came from or go to.

mod document;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use blake3::Hash;
use serde::{Deserialize, Serialize};

use super::super::path::RelPath;
use super::super::work::remove_file;
use super::StageError;
use document::{Document, Line};

/// Version of the format that this code writes, and the only one that it reads.
pub const FORMAT: u32 = 1;

/// What a manifest is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The package's name.
    pub package: String,
    /// Its version.
    pub version: String,
    /// Digest of everything that went into it.
    pub key: String,
}

/// A package's list of files. Paths are relative to `DESTDIR`, which is to say to the sysroot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Document", into = "Document")]
pub struct Manifest {
    /// What this is of.
    pub identity: Identity,
    /// Digest of the archive's bytes.
    pub archive_digest: Hash,
    /// Bytes of the archive.
    pub archive_bytes: u64,
    /// mtime of every file in the archive, and so in the sysroot; seconds since 1970.
    pub source_date_epoch: u64,
    /// The files.
    pub contents: Contents,
}

/// Entries in the order of their paths, each path once, each with its directory before it. Only `new` makes it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Contents(Vec<Entry>);

/// One path.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Line", into = "Line")]
pub struct Entry {
    /// Where it is.
    pub path: RelPath,
    /// Permission bits with setuid, setgid and sticky; 0o777 for a symlink.
    pub mode: u32,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// What it is.
    pub kind: Kind,
}

/// What a path is.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// Bytes.
        size: u64,
        /// Digest of the bytes.
        digest: Hash,
        /// The first path of this package that is the same file, unless that is this one. A convenience for disks: it
        /// makes no difference to whether two manifests are identical.
        link: Option<RelPath>,
    },
    /// A symlink and what it says.
    Symlink {
        /// Its bytes.
        target: Vec<u8>,
    },
    /// A named pipe.
    Fifo,
    /// A device node.
    Device {
        /// Character or block.
        block: bool,
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
}

impl Kind {
    /// Whether this is a directory.
    pub fn is_directory(&self) -> bool {
        matches!(self, Self::Directory)
    }
}

impl Contents {
    /// Sorts the entries and checks what every list promises.
    pub fn new(mut entries: Vec<Entry>) -> Result<Self, String> {
        entries.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        let mut open: Vec<&RelPath> = Vec::new();
        let mut files = BTreeSet::new();
        let mut last: Option<&RelPath> = None;
        for entry in &entries {
            let path = &entry.path;
            if last == Some(path) {
                return Err(format!("`{path}` is there twice"));
            }
            last = Some(path);
            open.retain(|directory| path.as_bytes().starts_with(directory.as_bytes()));
            let (parent, _) = path.split();
            if parent.is_some_and(|parent| !open.iter().any(|directory| directory.as_bytes() == parent)) {
                return Err(format!("`{path}` is in no directory of the list"));
            }
            match &entry.kind {
                Kind::Directory => open.push(path),
                Kind::File { link: Some(first), .. } if !files.contains(first) => {
                    return Err(format!("`{path}` is a link to `{first}`, which is not before it"));
                }
                Kind::File { link: None, .. } => {
                    files.insert(path);
                }
                Kind::Symlink { target } if target.is_empty() || target.contains(&0) => {
                    return Err(format!("`{path}` points to no file name"));
                }
                Kind::File { link: Some(_), .. }
                | Kind::Symlink { .. }
                | Kind::Fifo
                | Kind::Device { .. } => {}
            }
            if entry.mode & !0o7777 != 0 {
                return Err(format!("`{path}` has the impossible mode {:o}", entry.mode));
            }
        }
        Ok(Self(entries))
    }

    /// The entries, in the order of their paths.
    pub fn entries(&self) -> &[Entry] {
        &self.0
    }

    /// The entry of a path.
    pub fn get(&self, path: &RelPath) -> Option<&Entry> {
        self.0.binary_search_by(|entry| entry.path.cmp(path)).ok().map(|at| &self.0[at])
    }

    /// Bytes of all files; hard links count once.
    pub fn installed_bytes(&self) -> u64 {
        let bytes = self.0.iter().map(|entry| match &entry.kind {
            Kind::File { size, link: None, .. } => *size,
            Kind::File { link: Some(_), .. }
            | Kind::Directory
            | Kind::Symlink { .. }
            | Kind::Fifo
            | Kind::Device { .. } => 0,
        });
        bytes.sum()
    }

    /// Number of paths that are no directories.
    pub fn file_count(&self) -> usize {
        self.0.iter().filter(|entry| !entry.kind.is_directory()).count()
    }
}

impl Manifest {
    /// Writes it to `path` so that after a power cut it is there whole or not at all: a file beside it is synced, renamed,
    /// and the directory synced, which makes an archive beside it that was renamed before durable, too.
    pub fn store(&self, path: &Path) -> Result<(), StageError> {
        write_atomically(path, |file| {
            let mut writer = BufWriter::new(file);
            serde_json::to_writer(&mut writer, self)?;
            writer.write_all(b"\n")?;
            writer.flush()
        })
        .and_then(|()| File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all())
        .map_err(StageError::io(path))
    }

    /// Reads what `store` wrote. Every path in it is checked.
    pub fn load(path: &Path) -> Result<Self, StageError> {
        let bytes = std::fs::read(path).map_err(StageError::io(path))?;
        serde_json::from_slice(&bytes)
            .map_err(|error| StageError::Damaged { path: path.to_owned(), reason: error.to_string() })
    }
}

/// Writes `path.tmp`, syncs it, renames it. The directory is not synced.
pub(in super::super) fn write_atomically<T>(
    path: &Path,
    write: impl FnOnce(&mut File) -> io::Result<T>,
) -> io::Result<T> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let result = (|| {
        // What an earlier try left may be another name of a file that is needed.
        remove_file(Path::new(&temporary))?;
        let mut file = File::create_new(&temporary)?;
        let value = write(&mut file)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        Ok(value)
    })();
    if result.is_err() {
        // Best effort: a full disk is not helped by what could not be written.
        let _ = std::fs::remove_file(&temporary);
    }
    result
}
