//! The durable mark: up to which record the ledger is known to be on disk, in a small file beside it.
//!
//! Owns: the file. Does not know: how records get to the disk (`writer`).
//!
//! Two ask for it. Whoever shows a run from another process shows no record beyond it, since a power cut could take that
//! back. And a ledger that ends before it has been cut: `SQLite` takes a damaged end of its log for one that was never
//! written, and says nothing. It is written after records are on disk and needs no sync of its own: one that is late claims
//! less.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::chain::Link;

/// So often it is read until it is the same twice.
const AGAIN: usize = 5;

/// The file, open for writing.
#[derive(Debug)]
pub(super) struct Mark(File);

impl Mark {
    /// The file of a ledger.
    fn place(ledger: &Path) -> PathBuf {
        ledger.with_extension("durable")
    }

    /// Makes the file where there is none, so that from then on it is written in place: within one sector, which a power cut
    /// leaves as it was or as it becomes.
    pub(super) fn open(ledger: &Path) -> io::Result<Self> {
        let path = Self::place(ledger);
        let file = File::options().write(true).create(true).truncate(false).open(&path)?;
        if file.metadata()?.len() == 0 {
            let mark = Self(file);
            mark.set(Link::START)?;
            mark.0.sync_all()?;
            File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()?;
            return Ok(mark);
        }
        Ok(Self(file))
    }

    /// Another file in the place of the old one, for another ledger in the place of the old one.
    pub(super) fn replace(ledger: &Path, link: Link) -> io::Result<()> {
        let path = Self::place(ledger);
        let parent = path.parent().unwrap_or(Path::new("."));
        let file = tempfile::Builder::new().prefix("id").tempfile_in(parent)?;
        file.as_file().write_all_at(Self::text(link).as_bytes(), 0)?;
        file.as_file().sync_all()?;
        file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
        file.persist(&path)?;
        File::open(parent)?.sync_all()
    }

    fn text(link: Link) -> String {
        format!("{:020} {}\n", link.seq, link.hash.to_hex())
    }

    /// All up to here is on disk.
    pub(super) fn set(&self, link: Link) -> io::Result<()> {
        self.0.write_all_at(Self::text(link).as_bytes(), 0)
    }

    /// Whether the ledger has had records on disk, whatever there is of it now.
    pub(super) fn is_set(ledger: &Path) -> bool {
        Self::read(ledger).is_some_and(|mark| mark.seq > 0)
    }

    /// What the file of a ledger says. `None`: there is none (an older kiln's ledger), or it is not as `set` wrote it.
    pub(super) fn read(ledger: &Path) -> Option<Link> {
        let read = || std::fs::read_to_string(Self::place(ledger)).ok();
        let mut text = read()?;
        // It may be written at this moment.
        for again in std::iter::from_fn(read).take(AGAIN) {
            if again == text {
                break;
            }
            text = again;
        }
        let (seq, hash) = text.strip_suffix('\n')?.split_once(' ')?;
        Some(Link { seq: seq.parse().ok()?, hash: blake3::Hash::from_hex(hash).ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_last_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = dir.path().join("ledger.sqlite");
        assert_eq!(Mark::read(&ledger), None);
        let mark = Mark::open(&ledger).unwrap();
        assert_eq!(Mark::read(&ledger), Some(Link::START));
        let link = Link::START.next(1, 2, "a");
        mark.set(link).unwrap();
        drop(Mark::open(&ledger).unwrap());
        assert_eq!(Mark::read(&ledger), Some(link));
        std::fs::write(Mark::place(&ledger), "00000000000000000001 nonsense\n").unwrap();
        assert_eq!(Mark::read(&ledger), None);
    }
}
