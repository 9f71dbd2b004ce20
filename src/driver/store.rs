//! Archives, their manifests, and the sysroot that they are merged into.
//!
//! Owns: which package of which key is in the sysroot as far as files go, and every change to it.
//! Does not know: the engine. The ledger says what was merged (`Installed`); this makes it so.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::load::Definition;
use crate::engine::message::{Kept, Record};
use crate::ledger::place::StateDir;
use crate::plan::{TaskKind, key};

use super::identity::wall_now;
use super::stage::StageError;
use super::stage::archive;
use super::stage::manifest::{Identity, Manifest};
use super::stage::merge::{self, Sysroot, to_the_end};
use super::stage::ownership::Ownership;
use super::stage::plan::{self, Claimant, MergeError};
use super::stage::rules::StagingRules;
use super::stage::tree::{self, CaptureError, Snapshot};
use super::stage::undo;
use super::stage::verify::{Depth, Directories, Looked, verify_merged};

/// What the ledger says is in the sysroot: a fold over records.
#[derive(Debug, Clone, Default)]
pub(super) struct Installed {
    packages: BTreeMap<Arc<str>, Merged>,
    /// What has begun to change the sysroot and is not known to have ended well: merges, with the archive's key,
    /// and direct installs.
    unfinished: BTreeMap<Arc<str>, Option<Arc<str>>>,
    /// By package the keys with which its `check` failed, which its recipe allowed.
    failed_checks: BTreeMap<Arc<str>, BTreeSet<Arc<str>>>,
    /// The key of the `check` that began last, of those that may fail.
    checking: BTreeMap<Arc<str>, Arc<str>>,
    /// Merged again because they were damaged, and not yet said to be complete.
    put_right: BTreeSet<Arc<str>>,
    count: u64,
}

/// A package that was completed.
#[derive(Debug, Clone)]
pub(super) struct Merged {
    pub(super) version: Arc<str>,
    pub(super) phase: Arc<str>,
    pub(super) key: Arc<str>,
    pub(super) degraded: bool,
    /// It has begun to be built again since.
    pub(super) begun: bool,
    /// When its files in the sysroot last had the digests of its manifest, nanoseconds since 1970. `None`: they have been
    /// damaged since.
    pub(super) verified: Option<i64>,
    /// The last checkpoint that covers it.
    pub(super) covered: Option<u32>,
    /// It is to be built again, whatever is there: it was damaged, and so was its archive.
    pub(super) lost: bool,
    /// Position in the order in which packages were completed.
    order: u64,
}

impl Installed {
    /// One record more, which was written at `wall`, nanoseconds since 1970.
    pub(super) fn fold(&mut self, record: &Record, wall: i64) {
        self.count += 1;
        if let Record::TaskStarted { package, task: TaskKind::Check, key: Some(key), .. } = record {
            self.checking.insert(Arc::clone(package), Arc::clone(key));
        } else if let Record::TaskFailed { package, task: TaskKind::Check, tolerated: true, .. } = record {
            if let Some(key) = self.checking.remove(package) {
                self.failed_checks.entry(Arc::clone(package)).or_default().insert(key);
            }
        } else if let Record::TaskFinished { package, task: TaskKind::Check, .. } = record {
            if let (Some(key), Some(failed)) =
                (self.checking.remove(package), self.failed_checks.get_mut(package))
            {
                failed.remove(&key);
            }
        } else if let Record::TaskFinished { package, task: TaskKind::Merge, restore: true, .. } = record {
            // What was damaged is right again; whose files are whose has not changed.
            self.unfinished.remove(package);
            self.put_right.insert(Arc::clone(package));
        } else if let Record::Verified { packages, at } = record {
            for package in packages {
                if let Some(merged) = self.packages.get_mut(package) {
                    merged.verified = Some(*at);
                }
            }
        } else if let Record::PackageDamaged { package, archive, .. } = record
            && let Some(merged) = self.packages.get_mut(package)
        {
            merged.verified = None;
            merged.covered = None;
            merged.lost |= !archive;
        } else if let Record::CheckpointTaken { checkpoint, packages, .. } = record {
            for package in packages {
                if let Some(merged) = self.packages.get_mut(package) {
                    merged.covered = Some(*checkpoint);
                }
            }
        }
        if let Record::TaskStarted { package, task, key, direct, .. } = record {
            if *task == TaskKind::Merge || *direct {
                self.unfinished.insert(Arc::clone(package), key.clone());
            }
            if let Some(merged) = self.packages.get_mut(package).filter(|_| task.works()) {
                merged.begun = true;
            }
        } else if let Record::PackageCompleted { package, version, phase, key, degraded } = record {
            self.unfinished.remove(package);
            if self.put_right.remove(package)
                && let Some(merged) = self.packages.get_mut(package)
            {
                merged.verified = Some(wall);
                merged.covered = None;
                merged.lost = false;
                return;
            }
            let merged = Merged {
                version: Arc::clone(version),
                phase: Arc::clone(phase),
                key: Arc::clone(key),
                degraded: *degraded,
                begun: false,
                verified: Some(wall),
                covered: None,
                lost: false,
                order: self.count,
            };
            self.packages.insert(Arc::clone(package), merged);
        } else if let Record::Restored { checkpoint, packages, .. } = record {
            self.restore(*checkpoint, packages);
        } else if let Record::Undone { package } = record {
            self.unfinished.remove(package);
        } else if let Record::PackageRemoved { package } = record {
            self.packages.remove(package);
        }
    }

    /// The sysroot is what it was at a checkpoint; whether its files are, has to be seen.
    fn restore(&mut self, checkpoint: u32, packages: &[Kept]) {
        self.unfinished.clear();
        self.put_right.clear();
        let merged = (0..).zip(packages).map(|(order, kept)| {
            let merged = Merged {
                key: Arc::clone(&kept.key),
                version: Arc::clone(&kept.version),
                phase: Arc::clone(&kept.phase),
                degraded: kept.degraded,
                begun: false,
                verified: None,
                covered: Some(checkpoint),
                lost: false,
                order,
            };
            (Arc::clone(&kept.package), merged)
        });
        self.packages = merged.collect();
    }

    /// What was completed of a package.
    pub(super) fn get(&self, package: &str) -> Option<&Merged> {
        self.packages.get(package)
    }

    /// Whether this very package is complete, with nothing optional missing.
    pub(super) fn has(&self, package: &str, key: &str) -> bool {
        self.packages.get(package).is_some_and(|m| *m.key == *key && !m.degraded)
    }

    /// Whether the package's `check` failed when what has this key was built.
    pub(super) fn check_failed(&self, package: &str, key: &str) -> bool {
        self.failed_checks.get(package).is_some_and(|failed| failed.contains(key))
    }

    /// Names of all that are in the sysroot as they were completed, whether or not they are being built again.
    pub(super) fn complete(&self) -> Vec<Arc<str>> {
        let complete = self.packages.keys().filter(|name| !self.unfinished.contains_key(*name));
        complete.map(Arc::clone).collect()
    }

    /// All packages, in the order in which they were completed.
    fn in_order(&self) -> Vec<(&Arc<str>, &Merged)> {
        let mut all: Vec<_> = self.packages.iter().collect();
        all.sort_by_key(|(_, merged)| merged.order);
        all
    }

    /// Names of all packages.
    pub(super) fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.packages.keys()
    }

    /// What has begun to change the sysroot and is not known to have ended well: a merge of the archive with this
    /// key, or a direct install.
    pub(super) fn unfinished(&self) -> &BTreeMap<Arc<str>, Option<Arc<str>>> {
        &self.unfinished
    }
}

/// The files.
#[derive(Debug)]
pub(super) struct Store {
    state: StateDir,
    sysroot: Sysroot,
    ownership: Ownership,
    /// Of what is merged, by package.
    manifests: BTreeMap<String, Arc<Manifest>>,
    replaces: Replaces,
    /// Packages that will be merged in this run, and have not been yet.
    pending: BTreeSet<Arc<str>>,
    /// When a look at a package's files began that read all of them in this process, or those that had changed since the
    /// last; nanoseconds since 1970.
    verified: BTreeMap<String, i64>,
}

/// How a merged package's files are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InSysroot {
    /// Not as they should be.
    Damaged,
    /// As they were when they were right.
    Unchanged,
    /// Right, which is known from reading some or all of them.
    Read,
}

/// Which packages may take over whose paths, by the definition.
#[derive(Debug, Clone, Default)]
pub(super) struct Replaces {
    /// By package, whose.
    replaced: BTreeMap<String, Vec<String>>,
    /// The other way round.
    replacers: BTreeMap<String, Vec<String>>,
}

impl Replaces {
    pub(super) fn of(definition: &Definition) -> Self {
        let mut replaces = Self::default();
        for recipe in definition.recipes.iter().map(|recipe| &recipe.value) {
            for replaced in &recipe.replaces {
                let (one, other) = (recipe.package.to_string(), replaced.to_string());
                replaces.replacers.entry(other.clone()).or_default().push(one.clone());
                replaces.replaced.entry(one).or_default().push(other);
            }
        }
        replaces
    }

    /// Who may take over its paths, or those of one who may.
    fn above(&self, package: &str) -> BTreeSet<&str> {
        let mut above = BTreeSet::new();
        let mut stack = vec![package];
        while let Some(replaced) = stack.pop() {
            for replacer in self.replacers.get(replaced).into_iter().flatten() {
                if replacer != package && above.insert(replacer.as_str()) {
                    stack.push(replacer);
                }
            }
        }
        above
    }

    fn replaced_by(&self, package: &str) -> &[String] {
        self.replaced.get(package).map_or(&[], Vec::as_slice)
    }

    fn may_take(&self, package: &str, from: &str) -> bool {
        self.replaced_by(package).iter().any(|name| name == from)
    }
}

/// What `install` left is to be packed.
#[derive(Debug)]
pub(super) struct Staged<'a> {
    pub(super) identity: Identity,
    pub(super) dest: PathBuf,
    pub(super) rules: &'a StagingRules,
    pub(super) epoch: u64,
}

/// A merge that failed.
#[derive(Debug)]
pub(super) struct Unmerged {
    pub(super) error: MergeError,
    /// Why what it has done could not be taken back; the next start tries again.
    pub(super) left: Option<MergeError>,
}

impl From<MergeError> for Unmerged {
    fn from(error: MergeError) -> Self {
        Self { error, left: None }
    }
}

impl Store {
    /// With everything that is in the sysroot according to `installed`. A package whose manifest cannot be
    /// read is as good as not merged; it is left out, and named.
    pub(super) fn open(
        state: &StateDir,
        installed: &Installed,
        replaces: Replaces,
    ) -> Result<(Self, Vec<Arc<str>>), MergeError> {
        let mut store = Self {
            replaces,
            pending: BTreeSet::new(),
            verified: BTreeMap::new(),
            state: state.clone(),
            sysroot: Sysroot::open(&state.sysroot())?,
            ownership: Ownership::default(),
            manifests: BTreeMap::new(),
        };
        let mut lost = Vec::new();
        for (package, merged) in installed.in_order() {
            let key = key::stored(&merged.key, merged.degraded);
            let path = state.manifest(package, &key);
            let there = |path: &Path| {
                let there = path.try_exists();
                there.map_err(|source| MergeError::Io { path: path.display().to_string(), source })
            };
            if !there(&path)? && !there(&state.archive(package, &key))? {
                continue; // a package without `install` leaves none
            }
            match Manifest::load(&path) {
                Ok(manifest) => store.record(manifest),
                Err(error) if error.is_unreadable() => return Err(not_loaded(&path, error)),
                Err(_) => lost.push(Arc::clone(package)),
            }
        }
        Ok((store, lost))
    }

    fn record(&mut self, manifest: Manifest) {
        let above = self.replaces.above(&manifest.identity.package);
        self.ownership.record(&manifest, above);
        self.manifests.insert(manifest.identity.package.clone(), Arc::new(manifest));
    }

    /// Whether it is a package that has something in the sysroot.
    pub(super) fn has_files_of(&self, package: &str) -> bool {
        self.manifests.contains_key(package)
    }

    /// What a package has in the sysroot, if it has something there.
    pub(super) fn manifest(&self, package: &str) -> Option<Arc<Manifest>> {
        self.manifests.get(package).map(Arc::clone)
    }

    /// The version of a package that is in the sysroot.
    pub(super) fn version(&self, package: &str) -> Option<&str> {
        self.manifests.get(package).map(|manifest| &*manifest.identity.version)
    }

    /// Whether there is an archive of this key with the digest that its manifest says.
    /// One that cannot be read at the moment is an error: it is not built again because of that.
    pub(super) fn has_archive(&self, package: &str, key: &str) -> Result<bool, StageError> {
        let verified = Manifest::load(&self.state.manifest(package, key))
            .and_then(|manifest| archive::verify(&self.state.archive(package, key), &manifest));
        match verified {
            Ok(()) => Ok(true),
            Err(error) if error.is_unreadable() => Err(error),
            Err(_) => Ok(false),
        }
    }

    /// Whether the sysroot has all files of the package that was merged with this key. `verified`: when they last had the
    /// right digests; what may have changed since is read. `directories`: the same for all packages that are looked at
    /// together.
    pub(super) fn looks(
        &mut self,
        package: &str,
        key: &str,
        verified: Option<i64>,
        directories: &mut Directories,
    ) -> Result<InSysroot, MergeError> {
        let Some(manifest) = self.manifests.get(package).filter(|m| m.identity.key == key) else {
            return Ok(InSysroot::Damaged);
        };
        let manifest = Arc::clone(manifest);
        let depth = verified.map_or(Depth::Digest, Depth::Since);
        match verify_merged(&mut self.sysroot, &self.ownership, &manifest, depth, directories) {
            Ok(looked) if looked.damage.is_empty() && looked.read == 0 => Ok(InSysroot::Unchanged),
            Ok(looked) if looked.damage.is_empty() => Ok(InSysroot::Read),
            Err(error @ MergeError::Io { .. }) => Err(error),
            Ok(_) | Err(_) => Ok(InSysroot::Damaged),
        }
    }

    /// Reads all of a merged package's files.
    pub(super) fn read(&mut self, package: &str) -> Result<Looked, MergeError> {
        self.verified.remove(package);
        self.verify(package, &mut Directories::default())
    }

    /// Looks at a merged package's files: reads all the first time since kiln started, then those that have changed since
    /// the last look. `directories`: the same for all packages that are looked at together.
    pub(super) fn verify(
        &mut self,
        package: &str,
        directories: &mut Directories,
    ) -> Result<Looked, MergeError> {
        let Some(manifest) = self.manifests.get(package).map(Arc::clone) else {
            return Ok(Looked::default());
        };
        let depth = self.verified.remove(package).map_or(Depth::Digest, Depth::Since);
        let now = wall_now();
        let looked = verify_merged(&mut self.sysroot, &self.ownership, &manifest, depth, directories)?;
        if looked.damage.is_empty() {
            self.verified.insert(package.to_owned(), now);
        }
        Ok(looked)
    }

    /// Reads all of these files of a merged package. Unlike `read` for any number of packages at once.
    pub(super) fn look(&self, manifest: &Manifest) -> Result<Looked, MergeError> {
        let mut sysroot = Sysroot::open(self.sysroot.path())?;
        verify_merged(&mut sysroot, &self.ownership, manifest, Depth::Digest, &mut Directories::default())
    }

    /// Where everything is merged to.
    pub(super) fn sysroot(&self) -> &Path {
        self.sysroot.path()
    }

    /// Puts back what of a merged package is not as it should be.
    pub(super) fn put_right(&mut self, package: &str) -> Result<(), MergeError> {
        self.repair(&BTreeSet::from([package.to_owned()]))
    }

    /// Whether the archives of these packages have the digests that their manifests say.
    pub(super) fn archives_verify<'a>(&self, packages: impl IntoIterator<Item = &'a str>) -> bool {
        packages.into_iter().all(|package| match self.manifests.get(package) {
            Some(manifest) => {
                archive::verify(&self.state.archive(package, &manifest.identity.key), manifest).is_ok()
            }
            None => true, // nothing to install
        })
    }

    /// Packs a `DESTDIR`.
    pub(super) fn pack(state: &StateDir, staged: Staged<'_>) -> Result<Manifest, StageError> {
        let Staged { identity, dest, rules, epoch } = staged;
        let archive = make_place(state, &identity)?;
        let path = state.manifest(&identity.package, &identity.key);
        let manifest = archive::pack(&dest, identity, rules, epoch, &archive)?;
        manifest.store(&path)?;
        Ok(manifest)
    }

    /// The sysroot as it is, for a `direct` package to be compared with.
    pub(super) fn snapshot(&self) -> Result<Snapshot, StageError> {
        Snapshot::take(&self.sysroot)
    }

    /// Packs what a `direct` package changed in the sysroot.
    pub(super) fn capture(
        &mut self,
        before: &Snapshot,
        staged: Staged<'_>,
    ) -> Result<Manifest, CaptureError> {
        let Staged { identity, rules, epoch, .. } = staged;
        let archive = make_place(&self.state, &identity)?;
        let path = self.state.manifest(&identity.package, &identity.key);
        let replaces = self.replaces.replaced_by(&identity.package);
        let sysroot = &mut self.sysroot;
        let manifest =
            tree::capture(sysroot, before, &self.ownership, identity, rules, replaces, epoch, &archive)?;
        manifest.store(&path)?;
        Ok(manifest)
    }

    /// These will be merged, in whatever order.
    pub(super) fn expect(&mut self, packages: impl IntoIterator<Item = Arc<str>>) {
        self.pending = packages.into_iter().collect();
    }

    /// What a package is to the owner of a path that it wants.
    fn against(&self, package: &str, owner: &str) -> Claimant {
        // What an owner has that will be merged again is from an older version of it: if that still wants the path, it
        // takes it back or clashes then, as it would in an empty sysroot.
        if self.replaces.may_take(package, owner) || self.pending.contains(owner) {
            Claimant::Takes
        } else if self.replaces.may_take(owner, package) {
            Claimant::Yields
        } else {
            Claimant::Stranger
        }
    }

    /// Merges an archive. When that fails, nothing of it is left in the sysroot.
    pub(super) fn merge(&mut self, package: &str, key: &str) -> Result<(), Unmerged> {
        let manifest = Arc::new(self.load(package, key)?);
        let todo = plan::check(&self.ownership, &manifest, &|owner| self.against(package, owner))?;
        let archive = self.state.archive(package, key);
        if let Err(error) = merge::apply(&mut self.sysroot, &todo, &archive, &mut to_the_end) {
            return Err(Unmerged { error, left: self.undo(package, Some(key)).err() });
        }
        let pending = &self.pending;
        let above = self.replaces.above(package);
        self.ownership.record(&manifest, above.into_iter().filter(|replacer| !pending.contains(*replacer)));
        self.manifests.insert(package.to_owned(), manifest);
        self.pending.remove(package);
        Ok(self.repair(&todo.exposed)?)
    }

    /// Takes back what a merge of the archive with this key, or a direct install, has done to the sysroot without
    /// ending well. Where the manifest is gone, too, everything that no package has is taken for a part of it.
    pub(super) fn undo(&mut self, package: &str, key: Option<&str>) -> Result<(), MergeError> {
        let left = key.and_then(|key| self.load(package, key).ok());
        let archive = |m: &Manifest| self.state.archive(&m.identity.package, &m.identity.key);
        let merged: Vec<_> = self.manifests.values().map(|m| (Arc::clone(m), archive(m))).collect();
        undo::undo(&mut self.sysroot, &self.ownership, left.as_ref(), &merged)
    }

    /// Takes out of the sysroot whatever no package owns: after a power cut not even the record of a merge that had begun
    /// may be there. What was written over is found by whoever looks at the packages' files next.
    pub(super) fn sweep(&mut self) -> Result<(), MergeError> {
        undo::sweep(&mut self.sysroot, &self.ownership)
    }

    /// Takes a package out of the sysroot.
    pub(super) fn remove(&mut self, package: &str) -> Result<(), MergeError> {
        let exposed = merge::remove(&mut self.sysroot, &self.ownership, package, &mut to_the_end)?;
        self.ownership.forget(package);
        self.manifests.remove(package);
        self.repair(&exposed)
    }

    /// Puts back what others had had before it was taken over.
    fn repair(&mut self, exposed: &BTreeSet<String>) -> Result<(), MergeError> {
        for package in exposed {
            let Some(manifest) = self.manifests.get(package).map(Arc::clone) else { continue };
            let todo = plan::repair(&self.ownership, &manifest);
            let archive = self.state.archive(package, &manifest.identity.key);
            merge::apply(&mut self.sysroot, &todo, &archive, &mut to_the_end)?;
        }
        Ok(())
    }

    fn load(&self, package: &str, key: &str) -> Result<Manifest, MergeError> {
        let path = self.state.manifest(package, key);
        Manifest::load(&path).map_err(|error| not_loaded(&path, error))
    }
}

/// A manifest that is needed could not be had.
fn not_loaded(path: &Path, error: StageError) -> MergeError {
    let path = path.display().to_string();
    if let StageError::Io { source, .. } = error {
        return MergeError::Io { path, source };
    }
    MergeError::Io { path, source: std::io::Error::other(error) }
}

fn make_place(state: &StateDir, identity: &Identity) -> Result<PathBuf, StageError> {
    let archive = state.archive(&identity.package, &identity.key);
    if let Some(dir) = archive.parent().filter(|dir| !dir.is_dir()) {
        let made = std::fs::create_dir_all(dir);
        // What is in it is synced with it; that it is there has to be, too.
        let made = made.and_then(|()| File::open(state.packages())?.sync_all());
        made.map_err(|source| StageError::Io { path: dir.to_owned(), source })?;
    }
    Ok(archive)
}
