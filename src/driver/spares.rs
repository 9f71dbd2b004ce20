//! What was made for a task and is as it was made, kept for the next one.
//!
//! Owns: spare work directories and output files, below `STATE/work`. Does not know: tasks.
//!
//! To make and delete an inode costs several times a rename, and ext4 looks ever longer for a free one while thousands
//! have just been deleted. Names begin as those of what is to be deleted: the next start deletes what a kill left.

use std::fs;
use std::path::{Path, PathBuf};

use super::discard::TRASH;
use super::identity::wall_now;
use super::spawn::User;
use super::work::Work;

/// More are of no use: tasks take and give one each.
const MOST: usize = 64;

/// Spare directories and files.
#[derive(Debug)]
pub(super) struct Spares {
    /// `STATE/work`.
    work: PathBuf,
    /// Tells its names from those of other starts, which may be being deleted.
    since: i64,
    directories: Vec<PathBuf>,
    files: Vec<PathBuf>,
    count: u64,
}

impl Spares {
    pub(super) fn new(work: PathBuf) -> Self {
        Self { work, since: wall_now(), directories: Vec::new(), files: Vec::new(), count: 0 }
    }

    /// Keeps a package's work directory if no script has left anything in it, and says whether it is gone. If not, what
    /// is left of it is of no use to a script.
    pub(super) fn keep_directory(&mut self, work: &Work, user: Option<&User>) -> bool {
        if self.directories.len() >= MOST || !work.is_new(user) {
            return false;
        }
        let spare = self.name();
        let kept = fs::rename(work.root(), &spare).is_ok();
        self.directories.extend(kept.then_some(spare));
        kept
    }

    /// A new work directory at `path`, where there is nothing, if there is a spare one.
    pub(super) fn take_directory(&mut self, path: &Path) -> bool {
        self.directories.pop().is_some_and(|spare| fs::rename(spare, path).is_ok())
    }

    /// Keeps an output file, which is empty.
    pub(super) fn keep_file(&mut self, path: &Path) {
        let spare = self.name();
        if self.files.len() < MOST && fs::rename(path, &spare).is_ok() {
            self.files.push(spare);
        } else {
            // An empty file more is no harm.
            let _ = fs::remove_file(path);
        }
    }

    /// An empty file at `path`, where there is none, if there is a spare one.
    pub(super) fn take_file(&mut self, path: &Path) -> bool {
        self.files.pop().is_some_and(|spare| fs::rename(spare, path).is_ok())
    }

    fn name(&mut self) -> PathBuf {
        self.count += 1;
        self.work.join(format!("{TRASH}spare.{}.{}", self.since, self.count))
    }
}

impl Drop for Spares {
    fn drop(&mut self) {
        // What cannot be deleted now is at the next start.
        for directory in &self.directories {
            let _ = fs::remove_dir_all(directory);
        }
        for file in &self.files {
            let _ = fs::remove_file(file);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    use super::*;
    use crate::ledger::place::StateDir;

    fn work(space: &tempfile::TempDir, package: &str) -> Work {
        fs::create_dir_all(space.path().join("work")).unwrap();
        Work::of(&StateDir::new(space.path()), package)
    }

    #[test]
    fn a_work_directory_that_nothing_was_left_in_is_the_next_ones() {
        let space = tempfile::tempdir().unwrap();
        let mut spares = Spares::new(space.path().join("work"));
        let [first, second] = ["zlib", "bash"].map(|name| work(&space, name));
        first.renew(None).unwrap();
        fs::write(first.src().join("file"), "").unwrap();
        fs::remove_file(first.src().join("file")).unwrap();
        let inode = |work: &Work| fs::metadata(work.src()).unwrap().ino();
        let made = inode(&first);
        assert!(spares.keep_directory(&first, None));
        assert!(!first.root().exists());
        assert!(spares.take_directory(second.root()));
        assert!(second.is_new(None) && inode(&second) == made);
        assert!(!spares.take_directory(first.root()), "there is but one");
        assert!(spares.keep_directory(&second, None));
        drop(spares);
        assert_eq!(fs::read_dir(space.path().join("work")).unwrap().count(), 0);
    }

    #[test]
    fn a_work_directory_that_a_script_has_changed_is_nobodys() {
        let changes: [fn(&Work); 5] = [
            |work| fs::write(work.src().join("zlib.c"), "").unwrap(),
            |work| fs::write(work.tmp().join(".cache"), "").unwrap(),
            |work| fs::write(work.root().join("epoch"), "").unwrap(),
            |work| fs::set_permissions(work.src(), fs::Permissions::from_mode(0o700)).unwrap(),
            |work| {
                fs::remove_dir(work.src()).unwrap();
                std::os::unix::fs::symlink("/tmp", work.src()).unwrap();
            },
        ];
        for (at, change) in changes.into_iter().enumerate() {
            let space = tempfile::tempdir().unwrap();
            let work = work(&space, "zlib");
            work.renew(None).unwrap();
            change(&work);
            assert!(!Spares::new(space.path().join("work")).keep_directory(&work, None), "change {at}");
            assert!(work.root().exists());
        }
    }
}
