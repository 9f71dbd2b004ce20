//! Where everything of a state directory is.
//!
//! Owns: the layout. Nothing else in kiln joins a path to the state directory.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::plan::TaskKind;

/// With this begin names that last for a moment only; left by a kill, they make nobody take the directory for somebody else's.
pub const SCRATCH: &str = "id";

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

    /// Makes it and what is always in it. A directory with files of somebody else is not made one, since
    /// `kiln clean` deletes whatever it finds under the names below: that is `AlreadyExists`.
    pub fn create(&self) -> io::Result<()> {
        std::fs::create_dir_all(&self.root).map_err(|error| match self.root.metadata() {
            // A directory that cannot be looked at is taken for something else by whoever makes it.
            Err(why) if error.kind() == io::ErrorKind::AlreadyExists => why,
            Ok(_) | Err(_) => error,
        })?;
        self.must_not_be_strange()?;
        if !self.has_id() {
            self.make_id()?;
        }
        for dir in [self.sources(), self.work(), self.packages(), self.sysroot(), self.logs()] {
            std::fs::create_dir_all(dir)?;
        }
        Ok(())
    }

    fn has_id(&self) -> bool {
        std::fs::read_to_string(self.id()).is_ok_and(|id| !id.trim().is_empty())
    }

    /// A directory with files of somebody else is an error.
    pub fn must_not_be_strange(&self) -> io::Result<()> {
        if !self.has_id() && !self.ledger().exists() && self.has_strangers()? {
            let reason = "it is not empty, and no state directory of kiln's";
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, reason));
        }
        Ok(())
    }

    /// The nearest of it and the directories above it that is there.
    pub fn nearest(&self) -> Option<&Path> {
        self.root.ancestors().find(|path| path.try_exists().unwrap_or(true))
    }

    /// Unique: processes of its runs carry it.
    fn make_id(&self) -> io::Result<()> {
        let id = std::fs::read_to_string("/proc/sys/kernel/random/uuid")?.trim().replace('-', "");
        let mut file = tempfile::Builder::new().prefix(SCRATCH).tempfile_in(&self.root)?;
        file.write_all(id.as_bytes())?;
        file.as_file().sync_all()?;
        // A power cut may have left it empty. And a `kiln fetch` may be making it at this moment: whoever is first
        // names it.
        let empty = self.id().exists();
        let placed = if empty { file.persist(self.id()) } else { file.persist_noclobber(self.id()) };
        match placed {
            Err(error) if error.error.kind() != io::ErrorKind::AlreadyExists => Err(error.error),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    fn has_strangers(&self) -> io::Result<bool> {
        for entry in std::fs::read_dir(&self.root)? {
            let name = entry?.file_name();
            // What an empty filesystem has, and what `create` and `kiln clean --all` can leave alone.
            let name = name.to_string_lossy();
            let known = ["lost+found", "lock", "sidecar.lock", "sidecar.sock"];
            if !known.contains(&&*name) && !name.starts_with(SCRATCH) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Directories that a run uses all the time: without them nothing can go well.
    pub fn in_use(&self) -> Vec<PathBuf> {
        vec![self.root.clone(), self.work(), self.packages(), self.sysroot(), self.logs()]
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

    /// The sidecar's lock.
    pub fn sidecar_lock(&self) -> PathBuf {
        self.root.join("sidecar.lock")
    }

    /// Whether it is this directory itself.
    pub fn is_at(&self, dir: &Path) -> bool {
        let real = |path: &Path| std::fs::canonicalize(path).ok();
        real(&self.root).is_some_and(|root| Some(root) == real(dir))
    }

    /// Everything that kiln makes in it, but for the lock. The ledger last: as long as it is there, this is a state
    /// directory.
    pub fn everything(&self) -> Vec<PathBuf> {
        let mut all = vec![self.work(), self.checkpoints(), self.packages(), self.sysroot()];
        all.extend([self.aside(), self.logs(), self.sources(), self.ledger().with_extension("new")]);
        all.extend([self.control(), self.sidecar_control(), self.id()]);
        all.extend(super::FILES.iter().rev().map(|end| self.ledger().with_extension(end)));
        all
    }

    /// The directory's own id.
    pub fn id(&self) -> PathBuf {
        self.root.join("id")
    }

    /// The runner's control socket, where there is no better place for it.
    pub fn control(&self) -> PathBuf {
        self.root.join("control.sock")
    }

    /// The sidecar's control socket, where there is no better place for it.
    pub fn sidecar_control(&self) -> PathBuf {
        self.root.join("sidecar.sock")
    }

    /// The source cache.
    pub fn sources(&self) -> PathBuf {
        self.root.join("sources")
    }

    /// The cached source with this SHA-256.
    pub fn source(&self, digest: &str) -> PathBuf {
        let digest = digest.to_ascii_lowercase();
        self.sources().join("sha256").join(digest.get(..2).unwrap_or_default()).join(&digest)
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

    /// What checkpoints cover.
    pub fn checkpoints(&self) -> PathBuf {
        self.root.join("checkpoints")
    }

    /// What the checkpoint with this number covers.
    pub fn checkpoint(&self, number: u32) -> PathBuf {
        self.checkpoints().join(format!("{number}.json"))
    }

    /// What restoring a checkpoint has set aside.
    pub fn aside(&self) -> PathBuf {
        self.root.join("aside")
    }

    /// Archives that checkpoints keep.
    pub fn kept(&self) -> PathBuf {
        self.checkpoints().join("archives")
    }

    /// An archive that checkpoints keep: that of a package with this key which has this digest, since the same key built
    /// again may give other bytes.
    pub fn kept_archive(&self, package: &str, key: &str, digest: &str) -> PathBuf {
        self.kept().join(package).join(format!("{key}.{digest}.tar.zst"))
    }

    /// Its manifest.
    pub fn kept_manifest(&self, package: &str, key: &str, digest: &str) -> PathBuf {
        self.kept().join(package).join(format!("{key}.{digest}.manifest"))
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
