//! What of checkpoints is kept on disk, and for how long.
//!
//! Owns: the archives that checkpoints keep, which documents stay, and what goes when. Does not know: what is covered.
//!
//! `checkpoints/N.json` says what checkpoint N covers; `checkpoints/archives` has a hard link to the archive and the manifest of
//! each package that a kept checkpoint covers, so that neither `kiln clean` nor another build takes them away. The links are
//! not in a directory of each checkpoint: an older checkpoint can so be folded into the next by rewriting one document, and
//! nothing has to be moved, however much both cover.
//!
//! **Policy**: kept are the newest `NEWEST`, and the last one at the end of each phase of the plan. An older one is folded into the
//! next that is kept and builds on it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::ledger::place::StateDir;

use super::super::tidy;
use super::super::work::remove_file;
use super::document::{Document, DocumentError, Package};
use super::{is_intact, manifest_digest};

/// So many are kept whatever they were taken for.
pub const NEWEST: usize = 8;

/// Ends the name of what is being written.
const UNFINISHED: &str = "json.tmp";

fn at(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> DocumentError {
    let path = path.into();
    move |source| DocumentError::Io { path, source }
}

/// Numbers of the checkpoints that have a document, ascending.
pub fn numbers(state: &StateDir) -> Result<Vec<u32>, DocumentError> {
    let files = children(&state.checkpoints())?;
    let number = |path: &PathBuf| path.file_name()?.to_str()?.strip_suffix(".json")?.parse::<u32>().ok();
    let mut numbers: Vec<u32> = files.iter().filter_map(number).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Everything that a checkpoint covers, from its document and those that it builds on.
pub fn covered(state: &StateDir, number: u32) -> Result<Document, DocumentError> {
    let mut all = Document::load(&state.checkpoint(number))?;
    while let Some(base) = all.base.filter(|base| *base < all.number) {
        all = all.over(Document::load(&state.checkpoint(base))?);
    }
    Ok(all)
}

/// Says that a checkpoint is being taken: whatever is found beside this at a start may be half of one.
pub(super) fn begin(state: &StateDir, number: u32) -> Result<(), DocumentError> {
    let kept = state.kept();
    if !kept.is_dir() {
        fs::create_dir_all(&kept).map_err(at(&kept))?;
        File::open(state.root()).and_then(|dir| dir.sync_all()).map_err(at(state.root()))?;
    }
    let path = state.checkpoints().join(format!("{number}.{UNFINISHED}"));
    File::create(&path).map(drop).map_err(at(path))
}

/// Keeps a package's archive and manifest beside. Not synced.
pub(super) fn keep(state: &StateDir, package: &Package) -> Result<(), DocumentError> {
    let Package { package: name, key, archive_digest: Some(digest), .. } = package else { return Ok(()) };
    let (archive, kept_archive) = (state.archive(name, key), state.kept_archive(name, key, digest));
    let (manifest, kept_manifest) = (state.manifest(name, key), state.kept_manifest(name, key, digest));
    if !are_one(&archive, &kept_archive) && !is_intact(&kept_archive, &kept_manifest, package) {
        replace(&archive, &kept_archive)?;
    }
    if !are_one(&manifest, &kept_manifest) && manifest_digest(&kept_manifest) != package.manifest_digest {
        replace(&manifest, &kept_manifest)?;
    }
    Ok(())
}

/// Links a file in the place of one that is damaged, or not there. They are not one: a rename between two names of one file
/// does nothing, and would leave the other.
fn replace(from: &Path, to: &Path) -> Result<(), DocumentError> {
    if let Some(dir) = to.parent() {
        fs::create_dir_all(dir).map_err(at(dir))?;
    }
    let mut new = to.as_os_str().to_owned();
    new.push(".tmp");
    remove(Path::new(&new))?;
    link(from, Path::new(&new)).map_err(at(from))?;
    fs::rename(&new, to).map_err(at(to))
}

/// The same file under another name too, unless that is there.
pub(in super::super) fn link(from: &Path, to: &Path) -> io::Result<()> {
    match fs::hard_link(from, to) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        // Another filesystem, too many links, or none allowed. A copy shares its blocks where the filesystem can do that.
        Err(error) if cannot_link(&error) => fs::copy(from, to).map(drop),
        linked => linked,
    }
}

fn cannot_link(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let refused = [Errno::XDEV, Errno::MLINK, Errno::PERM, Errno::NOSYS, Errno::OPNOTSUPP];
    error.raw_os_error().is_some_and(|code| refused.iter().any(|errno| errno.raw_os_error() == code))
}

/// Whether both are one file.
pub(super) fn are_one(a: &Path, b: &Path) -> bool {
    let id = |path: &Path| path.symlink_metadata().map(|meta| (meta.dev(), meta.ino())).ok();
    id(a).is_some_and(|a| Some(a) == id(b))
}

/// Which of these documents stay; ascending.
fn stay(documents: &BTreeMap<u32, Document>, phases: &[Arc<str>]) -> BTreeSet<u32> {
    let mut stay: BTreeSet<u32> = documents.keys().rev().take(NEWEST).copied().collect();
    for phase in phases {
        let of_phase = |document: &&Document| document.phase.as_ref() == Some(phase);
        stay.extend(documents.values().rev().find(of_phase).map(|document| document.number));
    }
    stay
}

/// Drops what the policy does not keep. Killed at any moment nothing that stays is lost: first the next that stays says
/// alone what both did, then the older one goes.
pub(super) fn prune(state: &StateDir, phases: &[Arc<str>]) -> Result<(), DocumentError> {
    let numbers = numbers(state)?;
    if numbers.len() <= NEWEST {
        return Ok(()); // whatever they say
    }
    let mut documents = BTreeMap::new();
    for number in numbers {
        documents.insert(number, Document::load(&state.checkpoint(number))?);
    }
    let stay = stay(&documents, phases);
    let drop: Vec<u32> = documents.keys().filter(|number| !stay.contains(number)).copied().collect();
    if drop.is_empty() {
        return Ok(());
    }
    let mut gone = Vec::new();
    for number in drop {
        let Some(old) = documents.remove(&number) else { continue };
        gone.extend(old.packages.iter().cloned());
        // More than one, where an older one was restored and others were taken from there.
        for next in documents.values_mut().filter(|document| document.base == Some(number)) {
            *next = next.clone().over(old.clone());
            next.store(state)?;
        }
        let path = state.checkpoint(number);
        fs::remove_file(&path).map_err(at(path))?;
    }
    let named: BTreeSet<PathBuf> = documents.values().flat_map(|document| files(state, document)).collect();
    for path in gone.iter().flat_map(|package| files_of(state, package)).filter(|path| !named.contains(path))
    {
        remove(&path)?;
    }
    Ok(())
}

fn files(state: &StateDir, document: &Document) -> Vec<PathBuf> {
    document.packages.iter().flat_map(|package| files_of(state, package)).collect()
}

fn files_of(state: &StateDir, package: &Package) -> Vec<PathBuf> {
    let Package { package: name, key, archive_digest: Some(digest), .. } = package else { return Vec::new() };
    vec![state.kept_archive(name, key, digest), state.kept_manifest(name, key, digest)]
}

fn remove(path: &Path) -> Result<(), DocumentError> {
    remove_file(path).map_err(at(path))
}

/// Deletes the checkpoint with this number, which was not taken after all, and whatever no other keeps.
pub(super) fn discard(state: &StateDir, number: u32) -> Result<(), DocumentError> {
    remove(&state.checkpoint(number))?;
    remove(&state.checkpoints().join(format!("{number}.{UNFINISHED}")))?;
    forget_unnamed(state)
}

/// Deletes what kiln's end has left of a checkpoint that was being taken: documents that are not `taken` according to the
/// ledger, unfinished ones, and archives that only they named. Nothing is read where there is none.
pub fn sweep(state: &StateDir, taken: &BTreeSet<u32>) -> Result<(), DocumentError> {
    if sweep_documents(state, taken)? { forget_unnamed(state) } else { Ok(()) }
}

/// The same without the archives: those of a document that cannot be read are not known. Whether there was anything.
pub(super) fn sweep_documents(state: &StateDir, taken: &BTreeSet<u32>) -> Result<bool, DocumentError> {
    let mut left: Vec<PathBuf> = numbers(state)?
        .into_iter()
        .filter(|number| !taken.contains(number))
        .map(|number| state.checkpoint(number))
        .collect();
    let unfinished = children(&state.checkpoints())?.into_iter();
    left.extend(unfinished.filter(|path| path.to_string_lossy().ends_with(UNFINISHED)));
    for path in &left {
        remove(path)?;
    }
    Ok(!left.is_empty())
}

/// Deletes kept archives that no document names. Not while a document cannot be read: nobody knows what that names.
fn forget_unnamed(state: &StateDir) -> Result<(), DocumentError> {
    let mut named = BTreeSet::new();
    for number in numbers(state)? {
        named.extend(files(state, &Document::load(&state.checkpoint(number))?));
    }
    for dir in children(&state.kept())? {
        for path in children(&dir)?.into_iter().filter(|path| !named.contains(path)) {
            remove(&path)?;
        }
    }
    Ok(())
}

fn children(dir: &Path) -> Result<Vec<PathBuf>, DocumentError> {
    tidy::list(dir).map_err(at(dir))
}
