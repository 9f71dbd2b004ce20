//! Taking a checkpoint.
//!
//! Owns: the order in which it is made, so that what it says is on disk before it says so. Does not know: when one is taken
//! (the engine), what of it is kept for how long (`keep`).
//!
//! In this order: links to the archives; the filesystems of the sysroot and of the links are synced, so that everything that was
//! merged before is on disk; the document, synced under another name and renamed; then all of it is read back. Only when that is
//! right does the engine record it: a document that the ledger does not know is deleted at the next start.

pub mod audit;
pub mod document;
pub mod keep;

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::Advice;

use crate::config::document::CheckpointType;
use crate::engine::message::{Covered, Damaged};
use crate::ledger::place::StateDir;
use crate::parallel::parallel;
use crate::plan::key;

use super::chores::Chores;
use super::stage::StageError;
use super::stage::archive;
use super::stage::manifest::Manifest;
use super::stage::plan::MergeError;
use super::store::{Installed, Merged};
use document::{Document, DocumentError, FORMAT, Package};

/// What is wanted.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) number: u32,
    pub(super) kind: CheckpointType,
    pub(super) phase: Option<Arc<str>>,
    /// What it is to cover.
    pub(super) packages: Vec<Arc<str>>,
    pub(super) build_id: Arc<str>,
    /// RFC 3339.
    pub(super) taken_at: String,
    /// Everything that was completed when this was ordered.
    pub(super) installed: Installed,
    /// The last that was taken.
    pub(super) base: Option<u32>,
    /// It is to be read back.
    pub(super) verify: bool,
}

/// Why a checkpoint could not be taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum CheckpointError {
    #[error(transparent)]
    Document(#[from] DocumentError),
    #[error("cannot sync `{path}`")]
    Sync { path: String, source: io::Error },
    #[error("what was written is not what is read back from `{path}`")]
    ReadBack { path: String },
    #[error("`{package}` was completed, but its manifest is gone")]
    NoManifest { package: Arc<str> },
    #[error("cannot read the sysroot")]
    Sysroot(#[from] MergeError),
    #[error(transparent)]
    Archive(#[from] StageError),
}

/// A package that is covered, and its manifest where it has files.
struct Item {
    package: Package,
    manifest: Option<Arc<Manifest>>,
}

/// Takes a checkpoint. What is not taken in the end leaves nothing.
pub(super) fn take(chores: &Chores, order: &Order) -> Result<Covered, CheckpointError> {
    let state = &chores.state;
    let taken = write_and_read(chores, order);
    if !matches!(&taken, Ok(covered) if covered.damaged.is_empty()) {
        if let Err(error) = keep::discard(state, order.number) {
            tracing::warn!("cannot delete what checkpoint {} has left: {error}", order.number);
        }
        return taken;
    }
    let phases: Vec<Arc<str>> = chores.plan.phases.iter().map(|phase| Arc::clone(&phase.key)).collect();
    // Older ones: this one is good whether or not they can be dropped.
    if let Err(error) = keep::prune(state, &phases) {
        tracing::warn!("cannot drop checkpoints that are not kept: {error}");
    }
    taken
}

fn write_and_read(chores: &Chores, order: &Order) -> Result<Covered, CheckpointError> {
    let state = &chores.state;
    keep::begin(state, order.number)?;
    let base = usable_base(state, order);
    let kind = if base.is_some() { CheckpointType::Incremental } else { CheckpointType::Full };
    let wanted = match (order.kind, base.is_some()) {
        (CheckpointType::Incremental, true) => order.packages.clone(),
        // Whatever is in the sysroot, of earlier runs and other recipes too; or what it should have added to is gone.
        (CheckpointType::Full, _) | (CheckpointType::Incremental, false) => order.installed.complete(),
    };
    let items = items(chores, order, &wanted)?;
    let mut damaged = Vec::new();
    for item in &items {
        match (keep::keep(state, &item.package), chores.plan.find(&item.package.package)) {
            (Err(DocumentError::Io { source, .. }), Some(package))
                if source.kind() == io::ErrorKind::NotFound =>
            {
                let (path, what) = ("its archive".into(), "is missing".into());
                damaged.push(Damaged { package, path, what, others: 0, archive: false });
            }
            (kept, _) => kept?,
        }
    }
    if !damaged.is_empty() {
        return Ok(Covered { kind, packages: Vec::new(), verified: false, damaged });
    }
    sync(&[&state.sysroot(), &state.checkpoints()])?;
    let gone = |name: &Arc<str>| order.installed.get(name).is_none();
    let removed = base.iter().flat_map(|base| base.packages.iter().map(|package| &package.package));
    let document = Document {
        format: FORMAT,
        number: order.number,
        build_id: Arc::clone(&order.build_id),
        definition: Arc::clone(&chores.plan.definition),
        kind,
        base: base.as_ref().and(order.base),
        phase: order.phase.clone(),
        taken_at: order.taken_at.clone(),
        packages: items.iter().map(|item| item.package.clone()).collect(),
        removed: removed.filter(|name| gone(name)).cloned().collect(),
    };
    document.store(state)?;
    if order.verify {
        let path = state.checkpoint(order.number);
        forget_pages(&path).map_err(|source| DocumentError::Io { path: path.clone(), source })?;
        if Document::load(&path)? != document {
            return Err(CheckpointError::ReadBack { path: path.display().to_string() });
        }
        let bytes = items.iter().filter_map(|item| Some(item.manifest.as_ref()?.archive_bytes)).sum::<u64>();
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        for found in parallel(&items, bytes, |item| read_back(chores, item)) {
            damaged.extend(found?);
        }
    }
    let packages = items.into_iter().map(|item| item.package.package).collect();
    Ok(Covered { kind, packages, verified: order.verify, damaged })
}

/// What an incremental one adds to, if all of it can be read.
fn usable_base(state: &StateDir, order: &Order) -> Option<Document> {
    let number = order.base.filter(|_| order.kind == CheckpointType::Incremental)?;
    match keep::covered(state, number) {
        Ok(base) => Some(base),
        Err(error) => {
            tracing::warn!("checkpoint {number} cannot be built on, the next is a full one: {error}");
            None
        }
    }
}

/// These packages as they are in the sysroot now, by name.
fn items(chores: &Chores, order: &Order, wanted: &[Arc<str>]) -> Result<Vec<Item>, CheckpointError> {
    let store = chores.store();
    let wanted: BTreeSet<&Arc<str>> = wanted.iter().collect();
    let known = wanted.into_iter().filter_map(|name| Some((name, order.installed.get(name)?)));
    let mut items = Vec::new();
    for (name, merged) in known {
        let manifest = store.manifest(name);
        let package = package(&chores.state, name, merged, manifest.as_deref());
        // It is being merged anew at this moment: the engine does not take it for covered.
        if manifest.as_ref().is_some_and(|manifest| *manifest.identity.key != *package.key) {
            continue;
        }
        if manifest.is_some() && package.manifest_digest.is_none()
            || manifest.is_none() && chores.state.archive(name, &package.key).exists()
        {
            return Err(CheckpointError::NoManifest { package: Arc::clone(name) });
        }
        items.push(Item { package, manifest });
    }
    Ok(items)
}

/// A package as a checkpoint has it, with what it has in the sysroot.
fn package(state: &StateDir, name: &Arc<str>, merged: &Merged, manifest: Option<&Manifest>) -> Package {
    let key = key::stored(&merged.key, merged.degraded);
    Package {
        package: Arc::clone(name),
        version: Arc::clone(&merged.version),
        phase: Arc::clone(&merged.phase),
        degraded: merged.degraded,
        archive_digest: manifest.map(|manifest| manifest.archive_digest.to_hex().to_string()),
        manifest_digest: manifest.and_then(|_| manifest_digest(&state.manifest(name, &key))),
        key,
    }
}

/// Syncs the filesystems that these are on, each once.
pub(super) fn sync(directories: &[&Path]) -> Result<(), CheckpointError> {
    let mut synced = BTreeSet::new();
    for directory in directories {
        let fail = |source| CheckpointError::Sync { path: directory.display().to_string(), source };
        let file = File::open(directory).map_err(fail)?;
        if synced.insert(file.metadata().map_err(fail)?.dev()) {
            rustix::fs::syncfs(&file).map_err(|error| fail(error.into()))?;
        }
    }
    Ok(())
}

/// What is on disk already is read from there again, not out of memory.
pub(super) fn forget_pages(path: &Path) -> io::Result<()> {
    Ok(rustix::fs::fadvise(File::open(path)?, 0, None, Advice::DontNeed)?)
}

/// Reads a package's kept archive and its files in the sysroot. The store is held for one package at a time, so that merges
/// wait for no more than that.
fn read_back(chores: &Chores, item: &Item) -> Result<Option<Damaged>, CheckpointError> {
    let Some(manifest) = &item.manifest else { return Ok(None) };
    let Package { package: name, key, archive_digest: Some(digest), .. } = &item.package else {
        return Ok(None);
    };
    let Some(id) = chores.plan.find(name) else { return Ok(None) };
    let path = chores.state.kept_archive(name, key, digest);
    let listed = chores.state.kept_manifest(name, key, digest);
    let fail = |source| DocumentError::Io { path: listed.clone(), source };
    forget_pages(&listed).map_err(fail)?;
    if manifest_digest(&listed) != item.package.manifest_digest {
        return Err(CheckpointError::ReadBack { path: listed.display().to_string() });
    }
    let damage = archive_damage(&path, manifest)?;
    let looked = {
        let mut store = chores.store();
        if store.manifest(name).is_none_or(|now| !Arc::ptr_eq(&now, manifest)) {
            return Ok(None); // merged anew meanwhile
        }
        store.read(name)?
    };
    let archive = damage.is_none();
    if let Some((first, others)) = looked.damage.split_first() {
        return Ok(Some(Damaged {
            package: id,
            path: first.path.to_string().into(),
            what: first.what.into(),
            others: others.len() as u64,
            archive,
        }));
    }
    Ok(damage.map(|what| Damaged {
        package: id,
        path: "its archive".into(),
        what: what.into(),
        others: 0,
        archive,
    }))
}

/// The digest of a manifest's file, if it can be read.
pub(super) fn manifest_digest(path: &Path) -> Option<String> {
    std::fs::read(path).ok().map(|bytes| blake3::hash(&bytes).to_hex().to_string())
}

/// Whether these are the archive and the manifest that a checkpoint has of a package. The manifest's digest covers the archive's.
pub(super) fn is_intact(archive: &Path, manifest: &Path, package: &Package) -> bool {
    let right = manifest_digest(manifest) == package.manifest_digest;
    right && Manifest::load(manifest).is_ok_and(|manifest| archive::verify(archive, &manifest).is_ok())
}

/// What is wrong with an archive on disk.
pub(super) fn archive_damage(path: &Path, manifest: &Manifest) -> Result<Option<String>, StageError> {
    let read = forget_pages(path)
        .map_err(|source| StageError::Io { path: path.to_owned(), source })
        .and_then(|()| archive::verify(path, manifest));
    match read {
        Ok(()) => Ok(None),
        Err(StageError::Damaged { reason, .. }) => Ok(Some(format!("is damaged: {reason}"))),
        Err(error) if error.is_unreadable() => Err(error),
        Err(StageError::Io { .. }) => Ok(Some("is missing".into())),
        Err(error) => Ok(Some(format!("cannot be read: {error}"))),
    }
}
