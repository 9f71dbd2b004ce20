//! What a checkpoint says of itself on disk: `checkpoints/N.json`.
//!
//! Owns: the shape, writing it durably, knowing a damaged one. Does not know: archives (`keep`), when one is taken.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::config::document::CheckpointType;
use crate::ledger::place::StateDir;

use super::super::stage::manifest::write_atomically;

/// Version of the format that this code writes, and the only one that it reads.
pub const FORMAT: u32 = 1;

/// A checkpoint's document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// Version of this format.
    pub format: u32,
    /// Of the checkpoint.
    pub number: u32,
    /// Run that it was taken in.
    pub build_id: Arc<str>,
    /// Name of the definition.
    pub definition: Arc<str>,
    /// `full`: there is no `base`.
    pub kind: CheckpointType,
    /// The checkpoint that this one adds to.
    pub base: Option<u32>,
    /// The phase because of whose end it was taken.
    pub phase: Option<Arc<str>>,
    /// When; RFC 3339.
    pub taken_at: String,
    /// What it covers, by name; of what `base` covers, too, this is newer.
    pub packages: Vec<Package>,
    /// Covered by `base`, and not in the sysroot any more.
    pub removed: Vec<Arc<str>>,
}

/// A package that a checkpoint covers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// Its name.
    pub package: Arc<str>,
    /// Its version.
    pub version: Arc<str>,
    /// Its phase.
    pub phase: Arc<str>,
    /// Of its archive, as it is stored.
    pub key: Arc<str>,
    /// It was built without something optional.
    pub degraded: bool,
    /// Of its archive; none where there is no `install`.
    pub archive_digest: Option<String>,
    /// Of the archive's manifest.
    pub manifest_digest: Option<String>,
}

/// The file: the document with its own digest, so that a flipped bit is seen.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    digest: String,
    checkpoint: Document,
}

/// Why a document cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// It cannot be read or written.
    #[error("`{}`", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A kiln of the future wrote it.
    #[error("`{}` has format {found}, this kiln knows {FORMAT}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// It is not what was written.
    #[error("`{}` is damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

impl Document {
    /// Before the first checkpoint: nothing is covered.
    pub fn of_nothing(definition: &Arc<str>) -> Self {
        Self {
            format: FORMAT,
            number: 0,
            build_id: "".into(),
            definition: Arc::clone(definition),
            kind: CheckpointType::Full,
            base: None,
            phase: None,
            taken_at: String::new(),
            packages: Vec::new(),
            removed: Vec::new(),
        }
    }

    /// Reads one, and sees to it that it is whole.
    pub fn load(path: &Path) -> Result<Self, DocumentError> {
        let damaged = |reason: String| DocumentError::Damaged { path: path.to_owned(), reason };
        let bytes =
            std::fs::read(path).map_err(|source| DocumentError::Io { path: path.to_owned(), source })?;
        let sealed: Sealed = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        if sealed.digest != sealed.checkpoint.digest().map_err(|error| damaged(error.to_string()))? {
            return Err(damaged("its digest is another".into()));
        }
        if sealed.checkpoint.format != FORMAT {
            return Err(DocumentError::Newer { path: path.to_owned(), found: sealed.checkpoint.format });
        }
        Ok(sealed.checkpoint)
    }

    /// Writes it, so that after a power cut it is there whole or not at all.
    pub fn store(&self, state: &StateDir) -> Result<(), DocumentError> {
        let path = state.checkpoint(self.number);
        let write = |file: &mut File| {
            let sealed = Sealed { digest: self.digest()?, checkpoint: self.clone() };
            let mut bytes = serde_json::to_vec(&sealed)?;
            bytes.push(b'\n');
            file.write_all(&bytes)
        };
        write_atomically(&path, write)
            .and_then(|()| File::open(state.checkpoints())?.sync_all())
            .map_err(|source| DocumentError::Io { path, source })
    }

    /// Over the compact form of what it says, which reading and writing does not change.
    fn digest(&self) -> serde_json::Result<String> {
        Ok(blake3::hash(&serde_json::to_vec(self)?).to_hex().to_string())
    }

    /// What this one and the one that it builds on cover together.
    #[must_use]
    pub fn over(mut self, base: Self) -> Self {
        let mut packages = self.packages;
        let is_gone = |package: &Package, removed: &[Arc<str>]| removed.contains(&package.package);
        let is_newer = |package: &Package, packages: &[Package]| {
            packages.binary_search_by(|newer| newer.package.cmp(&package.package)).is_ok()
        };
        let left: Vec<Package> = base
            .packages
            .into_iter()
            .filter(|package| !is_newer(package, &packages) && !is_gone(package, &self.removed))
            .collect();
        packages.extend(left);
        packages.sort_by(|a, b| a.package.cmp(&b.package));
        self.removed.extend(base.removed);
        self.removed.retain(|name| packages.binary_search_by(|package| package.package.cmp(name)).is_err());
        self.removed.sort();
        self.removed.dedup();
        self.base = base.base;
        if self.base.is_none() {
            self.kind = CheckpointType::Full;
            self.removed.clear();
        }
        self.packages = packages;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, key: &str) -> Package {
        Package {
            package: name.into(),
            version: "1".into(),
            phase: "base".into(),
            key: key.into(),
            degraded: false,
            archive_digest: Some("00".into()),
            manifest_digest: Some("11".into()),
        }
    }

    fn document(number: u32, base: Option<u32>, packages: &[Package], removed: &[&str]) -> Document {
        Document {
            format: FORMAT,
            number,
            build_id: "b".into(),
            definition: "d".into(),
            kind: if base.is_some() { CheckpointType::Incremental } else { CheckpointType::Full },
            base,
            phase: None,
            taken_at: "2026-11-26T00:00:00Z".into(),
            packages: packages.to_vec(),
            removed: removed.iter().map(|name| (*name).into()).collect(),
        }
    }

    #[test]
    fn a_flipped_bit_is_seen_in_every_byte() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::new(dir.path());
        std::fs::create_dir_all(state.checkpoints()).unwrap();
        let written = document(3, Some(2), &[package("zlib", "k")], &["old"]);
        written.store(&state).unwrap();
        let path = state.checkpoint(3);
        assert_eq!(Document::load(&path).unwrap(), written);
        let whole = std::fs::read(&path).unwrap();
        // All but the newline at the end, which may become another blank.
        for at in 0..whole.len() - 1 {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            std::fs::write(&path, &bytes).unwrap();
            assert!(Document::load(&path).is_err(), "byte {at}: {}", String::from_utf8_lossy(&bytes));
        }
        std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        assert!(Document::load(&path).is_err());
    }

    #[test]
    fn the_newer_of_two_says_what_both_cover() {
        let first = document(1, None, &[package("a", "1"), package("b", "1"), package("c", "1")], &[]);
        let second = document(2, Some(1), &[package("b", "2"), package("d", "1")], &["a"]);
        let third = document(3, Some(2), &[package("a", "3")], &["d"]);
        let all = third.clone().over(second.clone().over(first));
        assert_eq!(all, document(3, None, &[package("a", "3"), package("b", "2"), package("c", "1")], &[]));
        // Between two increments it has to be remembered what is not there any more.
        let two = third.over(second);
        assert_eq!(two, document(3, Some(1), &[package("a", "3"), package("b", "2")], &["d"]));
    }
}
