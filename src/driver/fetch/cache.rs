//! The cache: files by the SHA-256 of their content.
//!
//! Owns: `CACHE/sha256/ab/abcd…` (whole, verified, read-only files), `CACHE/partial/DIGEST` (what came so far,
//! locked while somebody writes it) and the way from one to the other. Does not know: mirrors.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::error::{FetchError, Reason, Stop};
use super::turns::{self, Turns};

/// Bytes read at once: large enough for the disk, small enough to notice a cancellation.
const CHUNK: usize = 256 * 1024;

/// The cache of one directory.
#[derive(Debug)]
pub(super) struct Cache {
    root: PathBuf,
    /// Files verified by this process, as they were then.
    verified: Mutex<BTreeMap<String, Stamp>>,
}

/// What changes when a file is written to or replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    dev: u64,
    ino: u64,
    mtime: (i64, i64),
    size: u64,
}

/// What the cache has under a digest.
#[derive(Debug)]
pub(super) enum Found {
    /// Nothing.
    Absent,
    /// The file, verified.
    Intact(PathBuf),
    /// A file whose content had another digest; it is gone now.
    Damaged {
        /// That digest.
        got: String,
    },
}

/// What is known of the response that a partial file came from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Origin {
    /// Where it came from.
    pub(super) url: String,
    /// A strong `ETag`, or `Last-Modified`.
    pub(super) validator: Option<String>,
    /// Bytes of the whole.
    pub(super) total: Option<u64>,
}

impl Cache {
    /// A cache below `root`, which is made when missing.
    pub(super) fn open(root: &Path) -> Result<Self, FetchError> {
        for name in ["sha256", "partial"] {
            let dir = root.join(name);
            fs::create_dir_all(&dir).map_err(FetchError::io(&dir))?;
        }
        Ok(Self { root: root.to_owned(), verified: Mutex::default() })
    }

    /// Where the file with this digest is or will be. `digest` is 64 lower-case hexadecimal digits.
    pub(super) fn path(&self, digest: &str) -> PathBuf {
        let (shard, _) = digest.split_at(2);
        self.root.join("sha256").join(shard).join(digest)
    }

    /// The file with this digest. It is read through, but for one that this process has read before and that is
    /// still as it was; a damaged one is removed.
    pub(super) fn find(&self, digest: &str, cancel: &AtomicBool) -> Result<Found, FetchError> {
        let path = self.path(digest);
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Absent),
            Err(error) => return Err(FetchError::io(&path)(error)),
        };
        let stamp = Stamp::of(&file, &path)?;
        if self.verified.lock().get(digest) == Some(&stamp) {
            return Ok(Found::Intact(path));
        }
        let mut hasher = Sha256::new();
        read_through(&mut file, &path, cancel, |bytes| hasher.update(bytes))?;
        let got = hex(hasher);
        if got == digest {
            self.verified.lock().insert(digest.to_owned(), stamp);
            return Ok(Found::Intact(path));
        }
        // Only if it is still the file that was read: another process may have put a good one there.
        if fs::metadata(&path).is_ok_and(|now| (now.dev(), now.ino()) == (stamp.dev, stamp.ino)) {
            fs::remove_file(&path).map_err(FetchError::io(&path))?;
        }
        Ok(Found::Damaged { got })
    }

    /// What came so far of this digest, locked against other processes.
    pub(super) fn partial(
        &self,
        digest: &str,
        turns: &Turns,
        cancel: &AtomicBool,
    ) -> Result<Partial, FetchError> {
        let path = self.root.join("partial").join(digest);
        loop {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path)
                .map_err(FetchError::io(&path))?;
            turns.lock_file(&file, &path, cancel)?;
            // Who had the lock before may have moved the file into the cache.
            let ours = Stamp::of(&file, &path)?;
            if fs::metadata(&path).is_ok_and(|now| (now.dev(), now.ino()) == (ours.dev, ours.ino)) {
                return Ok(Partial { file, path, hasher: Sha256::new(), len: 0 });
            }
        }
    }

    /// Makes a partial file, whose digest the caller has checked, the file with this digest: synced, read-only, in
    /// its place.
    pub(super) fn adopt(&self, partial: Partial, digest: &str) -> Result<PathBuf, FetchError> {
        let path = self.path(digest);
        let shard = path.parent().unwrap_or(&self.root);
        fs::create_dir_all(shard).map_err(FetchError::io(shard))?;
        let origin = partial.origin_path();
        let Partial { file, path: from, .. } = partial;
        file.set_permissions(Permissions::from_mode(0o444))
            .and_then(|()| file.sync_all())
            .and_then(|()| fs::rename(&from, &path))
            .map_err(FetchError::io(&from))?;
        for dir in [shard, &self.root.join("sha256")] {
            File::open(dir).and_then(|dir| dir.sync_all()).map_err(FetchError::io(dir))?;
        }
        // Only a hint for continuing, of no use to anybody now.
        drop(fs::remove_file(origin));
        let stamp = Stamp::of(&file, &path)?;
        self.verified.lock().insert(digest.to_owned(), stamp);
        Ok(path)
    }
}

/// What came so far of a file, with a digest that follows every write.
#[derive(Debug)]
pub(super) struct Partial {
    file: File,
    path: PathBuf,
    hasher: Sha256,
    len: u64,
}

impl Partial {
    /// Reads what is there from an earlier time. Until then the partial file counts as empty.
    pub(super) fn resume(&mut self, cancel: &AtomicBool) -> Result<(), FetchError> {
        self.file.seek(SeekFrom::Start(0)).map_err(FetchError::io(&self.path))?;
        let mut hasher = Sha256::new();
        self.len = read_through(&mut self.file, &self.path, cancel, |bytes| hasher.update(bytes))?;
        self.hasher = hasher;
        Ok(())
    }

    /// Empties it.
    pub(super) fn restart(&mut self) -> Result<(), FetchError> {
        self.file
            .set_len(0)
            .and_then(|()| self.file.seek(SeekFrom::Start(0)))
            .map_err(FetchError::io(&self.path))?;
        self.hasher = Sha256::new();
        self.len = 0;
        Ok(())
    }

    /// Appends.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), FetchError> {
        self.file.write_all(bytes).map_err(FetchError::io(&self.path))?;
        self.hasher.update(bytes);
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Makes it a copy of `from`: its blocks are shared where the filesystem can.
    pub(super) fn copy(&mut self, from: &mut File, cancel: &AtomicBool) -> Result<(), Stop> {
        self.restart()?;
        if rustix::fs::ioctl_ficlone(&self.file, &*from).is_ok() {
            return Ok(self.resume(cancel)?);
        }
        let mut buffer = vec![0; CHUNK];
        loop {
            turns::check(cancel)?;
            match from.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => self.write(&buffer[..count])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Reason::Unreadable(error.to_string()).into()),
            }
        }
    }

    /// Lets go of it: what came stays for the next time, an empty file does not.
    pub(super) fn release(self) {
        if self.file.metadata().is_ok_and(|meta| meta.len() == 0) {
            self.discard();
        }
    }

    /// Removes it. What cannot be removed is overwritten the next time.
    pub(super) fn discard(self) {
        drop(fs::remove_file(&self.path));
        drop(fs::remove_file(self.origin_path()));
    }

    /// Bytes so far.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// SHA-256 of the bytes so far, in lower-case hexadecimal.
    pub(super) fn digest(&self) -> String {
        hex(self.hasher.clone())
    }

    /// Where the bytes came from, when that is known.
    pub(super) fn origin(&self) -> Option<Origin> {
        serde_json::from_slice(&fs::read(self.origin_path()).ok()?).ok()
    }

    /// Remembers where the bytes come from.
    pub(super) fn set_origin(&self, origin: &Origin) -> Result<(), FetchError> {
        let path = self.origin_path();
        serde_json::to_vec(origin)
            .map_err(io::Error::from)
            .and_then(|text| fs::write(&path, text))
            .map_err(FetchError::io(&path))
    }

    fn origin_path(&self) -> PathBuf {
        self.path.with_extension("origin")
    }
}

impl Stamp {
    fn of(file: &File, path: &Path) -> Result<Self, FetchError> {
        let meta = file.metadata().map_err(FetchError::io(path))?;
        Ok(Self {
            dev: meta.dev(),
            ino: meta.ino(),
            mtime: (meta.mtime(), meta.mtime_nsec()),
            size: meta.size(),
        })
    }
}

fn read_through(
    file: &mut File,
    path: &Path,
    cancel: &AtomicBool,
    mut each: impl FnMut(&[u8]),
) -> Result<u64, FetchError> {
    let mut buffer = vec![0; CHUNK];
    let mut total = 0;
    loop {
        turns::check(cancel)?;
        match file.read(&mut buffer) {
            Ok(0) => return Ok(total),
            Ok(count) => {
                each(&buffer[..count]);
                total += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(FetchError::io(path)(error)),
        }
    }
}

/// Lower-case hexadecimal.
pub(super) fn hex(hasher: Sha256) -> String {
    hasher.finalize().iter().fold(String::with_capacity(64), |mut text, byte| {
        text.extend([byte >> 4, byte & 15].map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)])));
        text
    })
}
