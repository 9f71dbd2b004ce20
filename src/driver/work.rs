//! The directories of one package's work.
//!
//! Owns: what a script finds there, and making it anew. Does not know: when that is.
//!
//! A package's work directory `work/NAME` holds `src` (`SRC`), `dest` (`DESTDIR`, made for `install`), `tmp`
//! (`HOME` and `TMPDIR`) and `epoch`, where sources have one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::config::recipe::Recipe;
use crate::ledger::place::StateDir;

use super::spawn::User;

/// 1980-01-01: the oldest time that every archive format knows.
const OLDEST_EPOCH: u64 = 315_532_800;

/// The directories of one package's work.
#[derive(Debug, Clone)]
pub(super) struct Work {
    root: PathBuf,
}

impl Work {
    pub(super) fn of(state: &StateDir, package: &str) -> Self {
        Self { root: state.work_of(package) }
    }

    pub(super) fn src(&self) -> PathBuf {
        self.root.join("src")
    }

    pub(super) fn dest(&self) -> PathBuf {
        self.root.join("dest")
    }

    pub(super) fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }

    fn epoch_file(&self) -> PathBuf {
        self.root.join("epoch")
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Whether it is as `renew` makes it.
    pub(super) fn is_new(&self, user: Option<&User>) -> bool {
        use std::os::unix::fs::MetadataExt as _;
        let names = |dir: &Path| fs::read_dir(dir).map_or(3, |entries| entries.take(3).count());
        let owner = user.map(|user| (user.uid, user.gid));
        let new = |dir: PathBuf| {
            dir.symlink_metadata().is_ok_and(|meta| {
                let as_made = meta.is_dir() && meta.mode() & 0o7777 == 0o755;
                as_made && owner.is_none_or(|owner| owner == (meta.uid(), meta.gid()))
            }) && names(&dir) == 0
        };
        names(&self.root) == 2 && new(self.src()) && new(self.tmp())
    }

    /// Makes the directory anew: empty, but for the directories that every script finds.
    pub(super) fn renew(&self, user: Option<&User>) -> io::Result<()> {
        match fs::create_dir(&self.root) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                remove_tree(&self.root)?;
                fs::create_dir(&self.root)?;
            }
            Err(error) => return Err(error),
        }
        for dir in [self.src(), self.tmp()] {
            fs::create_dir(&dir)?;
            give(&dir, user)?;
        }
        Ok(())
    }

    /// An empty `DESTDIR`.
    pub(super) fn renew_dest(&self, user: Option<&User>) -> io::Result<()> {
        let dest = self.dest();
        match fs::create_dir(&dest) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                remove_tree(&dest)?;
                fs::create_dir(&dest)?;
            }
            Err(error) => return Err(error),
        }
        give(&dest, user)
    }

    pub(super) fn remember_epoch(&self, epoch: u64) -> io::Result<()> {
        fs::write(self.epoch_file(), epoch.to_string())
    }

    /// `SOURCE_DATE_EPOCH`: the newest mtime in the sources, else the recipe's value.
    pub(super) fn epoch(&self, recipe: &Recipe) -> u64 {
        let remembered = if recipe.sources.is_empty() {
            None
        } else {
            fs::read_to_string(self.epoch_file()).ok().and_then(|text| text.trim().parse().ok())
        };
        remembered.or(recipe.source_date_epoch).unwrap_or(OLDEST_EPOCH)
    }
}

fn give(dir: &Path, user: Option<&User>) -> io::Result<()> {
    match user {
        Some(user) => std::os::unix::fs::chown(dir, Some(user.uid), Some(user.gid)),
        None => Ok(()),
    }
}

/// Like `rm -f`.
pub(super) fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Like `rm -rf`, read-only directories included, which some builds leave behind.
pub(super) fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            for entry in walkdir::WalkDir::new(path).into_iter().flatten().filter(|e| e.file_type().is_dir())
            {
                use std::os::unix::fs::PermissionsExt as _;
                fs::set_permissions(entry.path(), fs::Permissions::from_mode(0o700))?;
            }
            fs::remove_dir_all(path)
        }
        result => result,
    }
}
