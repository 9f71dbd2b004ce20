//! Where everything of a state directory is.
//!
//! Owns: the layout. Nothing else in kiln joins a path to the state directory.

use std::io;
use std::path::{Path, PathBuf};

use crate::plan::TaskKind;

/// The state directory of a definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateDir {
    root: PathBuf,
}

impl StateDir {
    /// At this path, which need not exist.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Makes it and what is always in it.
    pub fn create(&self) -> io::Result<()> {
        for dir in [self.sources(), self.work(), self.packages(), self.sysroot(), self.logs()] {
            std::fs::create_dir_all(dir)?;
        }
        Ok(())
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The ledger.
    pub fn ledger(&self) -> PathBuf {
        self.root.join("ledger.sqlite")
    }

    /// The runner's lock.
    pub fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    /// Whether it is this directory itself.
    pub fn is_at(&self, dir: &Path) -> bool {
        let real = |path: &Path| std::fs::canonicalize(path).ok();
        real(&self.root).is_some_and(|root| Some(root) == real(dir))
    }

    /// Everything that kiln makes in it, but for the lock. The ledger last: as long as it is there, this is a state
    /// directory.
    pub fn everything(&self) -> Vec<PathBuf> {
        let mut all =
            vec![self.work(), self.packages(), self.sysroot(), self.logs(), self.sources(), self.id()];
        all.extend(["-wal", "-shm", ""].map(|end| self.root.join(format!("ledger.sqlite{end}"))));
        all
    }

    /// The directory's own id.
    pub fn id(&self) -> PathBuf {
        self.root.join("id")
    }

    /// The source cache.
    pub fn sources(&self) -> PathBuf {
        self.root.join("sources")
    }

    /// Locked by every `kiln fetch` that is at work.
    pub fn fetch_lock(&self) -> PathBuf {
        self.sources().join("lock")
    }

    /// All work directories.
    pub fn work(&self) -> PathBuf {
        self.root.join("work")
    }

    /// The work directory of a package.
    pub fn work_of(&self, package: &str) -> PathBuf {
        self.work().join(package)
    }

    /// All archives.
    pub fn packages(&self) -> PathBuf {
        self.root.join("packages")
    }

    /// The archive of a package with this key.
    pub fn archive(&self, package: &str, key: &str) -> PathBuf {
        self.packages().join(package).join(format!("{key}.tar.zst"))
    }

    /// Its manifest.
    pub fn manifest(&self, package: &str, key: &str) -> PathBuf {
        self.packages().join(package).join(format!("{key}.manifest"))
    }

    /// The tree that archives are merged into.
    pub fn sysroot(&self) -> PathBuf {
        self.root.join("sysroot")
    }

    /// All output.
    pub fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// The output of one attempt.
    pub fn log(&self, build_id: &str, package: &str, task: TaskKind, attempt: u32) -> PathBuf {
        self.logs().join(build_id).join(format!("{package}.{}.{attempt}.log", task.name()))
    }
}
