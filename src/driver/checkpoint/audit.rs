//! `kiln checkpoint verify`: reads back everything that was completed, and puts right what can be.
//!
//! Owns: what is compared with what, and what is done about each damage. Does not know: how it is shown.
//!
//! Files of the sysroot are restored from the package's archive. A damaged archive is restored from the copy that a checkpoint keeps,
//! and the other way round; mostly the two are one file, with two names, and then there is nothing to restore it from: it is moved
//! away, so that nobody takes it for whole, and the next run builds the package again. A checkpoint whose document is damaged, or
//! that builds on one, cannot be restored any more and is deleted; the last one is written anew, from what is there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::document::CheckpointType;
use crate::engine::message::Record;
use crate::ledger::Ledger;
use crate::ledger::lock::{Role, RunnerLock};
use crate::ledger::place::StateDir;
use crate::parallel::parallel;
use crate::plan::key;

use super::super::identity::{wall_now, written_now};
use super::super::look::Past;
use super::super::stage::StageError;
use super::super::stage::manifest::{Manifest, write_atomically};
use super::super::stage::plan::MergeError;
use super::super::stage::verify::Looked;
use super::super::store::{Replaces, Store};
use super::super::work::remove_file;
use super::super::{DriverError, Job, prepare, restore, verdict};
use super::document::{Document, DocumentError, FORMAT, Package};
use super::{archive_damage, keep, manifest_digest, package, sync};

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Whose it is.
    pub package: Option<Arc<str>>,
    /// The checkpoint that it is of.
    pub checkpoint: Option<u32>,
    /// Where.
    pub path: String,
    /// What is wrong.
    pub what: String,
    /// What was done.
    pub action: Action,
}

/// What was done about a damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It is as it was.
    Repaired,
    /// The next run builds the package again.
    Rebuild,
    /// It is not there any more: no run needs it, but nobody can go back to it.
    Dropped,
}

impl Action {
    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Repaired => "repaired",
            Self::Rebuild => "rebuild",
            Self::Dropped => "dropped",
        }
    }
}

/// What was read, and what was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Audit {
    /// Checkpoints whose documents were read.
    pub checkpoints: usize,
    /// Completed packages whose files were read.
    pub packages: usize,
    /// Archives that were read, kept older ones among them.
    pub archives: usize,
    /// What is wrong.
    pub found: Vec<Found>,
}

/// A package that is complete and has files.
struct Item {
    name: Arc<str>,
    manifest: Arc<Manifest>,
    /// Whether its archive is to be read.
    archive: PathBuf,
    /// What checkpoints keep of the same archive.
    kept: PathBuf,
}

/// What a look at one found.
struct Seen {
    archive: Option<String>,
    /// What checkpoints keep is a file of its own.
    apart: bool,
    /// Of that.
    kept: Option<String>,
    sysroot: Result<Looked, MergeError>,
}

/// Reads everything, repairs and records. An error that is a `LockError`: a runner is at work.
pub fn audit(job: &Job) -> Result<Audit, DriverError> {
    let state = &job.state;
    if !state.ledger().exists() {
        return Ok(Audit::default());
    }
    let _lock = RunnerLock::take(Role::Command, state.root(), &state.lock())?;
    let mut ledger = Ledger::open(&state.ledger())?;
    let past = Past::read(job, &mut ledger, |_| ())?;
    // Killed while a checkpoint was being restored.
    if let Some(finished) = restore::finish(job, &past)? {
        ledger.append(past.last, wall_now(), &[finished])?;
        ledger.sync()?;
    }
    let at = wall_now();
    let mut audit = Audit::default();
    audit.manifests(&past, state)?;
    let (mut store, lost) = Store::open(state, &past.installed, Replaces::of(&job.definition))
        .map_err(prepare("open the sysroot"))?;
    // What nobody can tell any more what it has in the sysroot, the next run takes out of there and builds again.
    let told = |name: &&Arc<str>| !audit.found.iter().any(|found| found.package.as_ref() == Some(*name));
    let untold: Vec<&Arc<str>> = lost.iter().filter(told).collect();
    for name in untold {
        let merged = past.installed.get(name);
        let key = merged.map(|merged| key::stored(&merged.key, merged.degraded)).unwrap_or_default();
        let path = state.manifest(name, &key).display().to_string();
        audit.found.push(Found {
            package: Some(Arc::clone(name)),
            checkpoint: None,
            path,
            what: "is damaged or gone".into(),
            action: Action::Rebuild,
        });
    }
    let items = items(&past, &store, state);
    let bytes: u64 = items.iter().map(|item| item.manifest.archive_bytes).sum();
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    let seen = parallel(&items, bytes, |item| look(item, &store));
    // What cannot be read may be as it was: nothing is said of it, and nothing changed.
    let seen = seen.into_iter().collect::<Result<Vec<Seen>, _>>().map_err(prepare("read everything"))?;
    audit.packages = items.len();
    audit.archives = items.len();
    let (mut right, mut rebuilt) = (Vec::new(), Vec::new());
    for (item, seen) in items.iter().zip(seen) {
        match audit.put_right(item, seen, &mut store)? {
            None => right.push(Arc::clone(&item.name)),
            Some((path, what)) => rebuilt.push((Arc::clone(&item.name), path, what)),
        }
    }
    let broken: BTreeSet<Arc<str>> = rebuilt.iter().map(|(name, ..)| Arc::clone(name)).collect();
    audit.checkpoints(job, &past, &store, &broken)?;
    if !audit.found.is_empty() {
        let places = [state.sysroot(), state.packages(), state.checkpoints()];
        let places: Vec<&Path> = places.iter().map(PathBuf::as_path).filter(|path| path.is_dir()).collect();
        sync(&places).map_err(prepare("sync what was repaired"))?;
    }
    let mut records = Vec::new();
    if !right.is_empty() {
        records.push(Record::Verified { packages: right, at });
    }
    for (package, path, what) in rebuilt {
        let (path, what) = (path.into(), what.into());
        let phase = past.installed.get(&package).map(|merged| Arc::clone(&merged.phase)).unwrap_or_default();
        records.push(Record::PackageDamaged { phase, package, path, what, archive: false });
    }
    if !records.is_empty() {
        ledger.append(past.last, wall_now(), &records)?;
        ledger.sync()?;
    }
    Ok(audit)
}

fn items(past: &Past, store: &Store, state: &StateDir) -> Vec<Item> {
    let complete = past.installed.names().filter_map(|name| {
        let manifest = store.manifest(name)?;
        let key = &manifest.identity.key;
        let archive = state.archive(name, key);
        let kept = state.kept_archive(name, key, &manifest.archive_digest.to_hex());
        Some(Item { name: Arc::clone(name), archive, kept, manifest })
    });
    complete.collect()
}

fn look(item: &Item, store: &Store) -> Result<Seen, StageError> {
    let archive = archive_damage(&item.archive, &item.manifest)?;
    let apart = item.kept.exists() && !keep::are_one(&item.archive, &item.kept);
    let kept = if apart { archive_damage(&item.kept, &item.manifest)? } else { None };
    let sysroot = match store.look(&item.manifest) {
        Err(MergeError::Io { path, source }) => return Err(StageError::Io { path: path.into(), source }),
        looked => looked,
    };
    Ok(Seen { archive, apart, kept, sysroot })
}

impl Audit {
    /// Checkpoints know what manifests said. One that says something else now is taken away, unless there is another; the rest
    /// goes by manifests, and would go wrong by this one.
    fn manifests(&mut self, past: &Past, state: &StateDir) -> Result<(), DriverError> {
        let numbers = keep::numbers(state).map_err(prepare("read the checkpoints"))?;
        let documents: Vec<Document> =
            numbers.iter().filter_map(|number| Document::load(&state.checkpoint(*number)).ok()).collect();
        for package in documents.iter().flat_map(|document| &document.packages) {
            let Package { package: name, key: stored, archive_digest: Some(digest), .. } = package else {
                continue;
            };
            let current = past.installed.get(name);
            if current.is_none_or(|merged| key::stored(&merged.key, merged.degraded) != *stored) {
                continue;
            }
            let (own, kept) = (state.manifest(name, stored), state.kept_manifest(name, stored, digest));
            let of_another =
                Manifest::load(&own).is_ok_and(|own| own.archive_digest.to_hex().as_str() != digest);
            if of_another || manifest_digest(&own) == package.manifest_digest {
                continue; // built again with the same key; or right
            }
            let good = manifest_digest(&kept) == package.manifest_digest;
            let action = if good {
                set(Some(&kept), &own)?;
                Action::Repaired
            } else {
                move_away(&own)?;
                Action::Rebuild
            };
            self.found.push(Found {
                package: Some(Arc::clone(name)),
                checkpoint: None,
                path: own.display().to_string(),
                what: "is not what it was when a checkpoint was taken".into(),
                action,
            });
        }
        Ok(())
    }

    fn say(&mut self, item: &Item, path: &Path, what: &str, action: Action) {
        self.found.push(Found {
            package: Some(Arc::clone(&item.name)),
            checkpoint: None,
            path: path.display().to_string(),
            what: what.to_owned(),
            action,
        });
    }

    /// What is wrong with a package is repaired, or it is said why it must be built again: a path and what is wrong with it.
    fn put_right(
        &mut self,
        item: &Item,
        seen: Seen,
        store: &mut Store,
    ) -> Result<Option<(String, String)>, DriverError> {
        if let Some(what) = &seen.kept {
            // Not as the other: it is made anew from that, or is of no use.
            let good = seen.archive.is_none();
            set(if good { Some(&item.archive) } else { None }, &item.kept)?;
            self.say(item, &item.kept, what, if good { Action::Repaired } else { Action::Dropped });
        }
        let mut lost = None;
        if let Some(what) = &seen.archive {
            let good = seen.apart && seen.kept.is_none();
            if good {
                set(Some(&item.kept), &item.archive)?;
            } else {
                move_away(&item.archive)?;
                set(None, &item.kept)?;
                lost = Some((item.archive.display().to_string(), what.clone()));
            }
            self.say(item, &item.archive, what, if good { Action::Repaired } else { Action::Rebuild });
        }
        let looked = match seen.sysroot {
            Ok(looked) => looked,
            Err(error) => {
                let what = format!("cannot be read: {}", verdict::chain(&error));
                self.say(item, store.sysroot(), &what, Action::Rebuild);
                return Ok(Some(lost.unwrap_or_else(|| (store.sysroot().display().to_string(), what))));
            }
        };
        if looked.damage.is_empty() {
            return Ok(lost);
        }
        let mended = lost.is_none()
            && store.put_right(&item.name).is_ok()
            && store.read(&item.name).is_ok_and(|again| again.damage.is_empty());
        for damage in &looked.damage {
            let path = store.sysroot().join(damage.path.to_string());
            self.say(item, &path, damage.what, if mended { Action::Repaired } else { Action::Rebuild });
        }
        let first = looked.damage.first().filter(|_| !mended && lost.is_none());
        Ok(first.map(|damage| (damage.path.to_string(), damage.what.to_owned())).or(lost))
    }

    /// The documents, and what they keep of packages that are not as they were any more.
    fn checkpoints(
        &mut self,
        job: &Job,
        past: &Past,
        store: &Store,
        broken: &BTreeSet<Arc<str>>,
    ) -> Result<(), DriverError> {
        let state = &job.state;
        keep::sweep_documents(state, &past.checkpoints).map_err(prepare("read the checkpoints"))?;
        let numbers = keep::numbers(state).map_err(prepare("read the checkpoints"))?;
        self.checkpoints = numbers.len();
        let last = past.checkpoints.last().copied();
        // The oldest first: what builds on one that is gone has lost its base.
        let mut whole = BTreeMap::new();
        for number in numbers {
            match keep::covered(state, number) {
                Ok(document) => {
                    whole.insert(number, document);
                }
                // What cannot be read now may be another time, and by another kiln.
                Err(error @ DocumentError::Newer { .. }) => {
                    return Err(prepare("read a checkpoint")(error));
                }
                Err(DocumentError::Io { path, source }) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(DriverError::State { path, source });
                }
                Err(error) => {
                    let path = state.checkpoint(number);
                    fs::remove_file(&path).map_err(prepare("delete a damaged checkpoint"))?;
                    let action = if Some(number) == last { Action::Repaired } else { Action::Dropped };
                    let (path, what) = (path.display().to_string(), verdict::chain(&error));
                    self.found.push(Found { package: None, checkpoint: Some(number), path, what, action });
                }
            }
        }
        if let Some(last) = last.filter(|last| !whole.contains_key(last)) {
            if !self.found.iter().any(|found| found.checkpoint == Some(last)) {
                let path = state.checkpoint(last).display().to_string();
                let what = "is missing".into();
                let action = Action::Repaired;
                self.found.push(Found { package: None, checkpoint: Some(last), path, what, action });
            }
            let document = anew(job, past, store, broken, last);
            for package in &document.packages {
                keep::keep(state, package).map_err(prepare("write a checkpoint anew"))?;
            }
            document.store(state).map_err(prepare("write a checkpoint anew"))?;
            whole.insert(last, document);
        }
        self.older_archives(state, store, &whole)
    }

    /// What checkpoints keep of versions that are not in the sysroot.
    fn older_archives(
        &mut self,
        state: &StateDir,
        store: &Store,
        whole: &BTreeMap<u32, Document>,
    ) -> Result<(), DriverError> {
        let mut older: BTreeMap<PathBuf, (u32, &Package)> = BTreeMap::new();
        for (number, document) in whole {
            for package in &document.packages {
                let Package { package: name, key, archive_digest: Some(digest), .. } = package else {
                    continue;
                };
                let is_there = store.manifest(name).is_some_and(|manifest| {
                    *manifest.identity.key == **key
                        && manifest.archive_digest.to_hex().as_str() == digest.as_str()
                });
                let kept = state.kept_archive(name, key, digest);
                if is_there && !kept.exists() && state.archive(name, key).exists() {
                    keep::keep(state, package).map_err(prepare("keep an archive"))?;
                } else if !is_there {
                    older.insert(kept, (*number, package));
                }
            }
        }
        let older: Vec<_> = older.into_iter().collect();
        let damage = |(path, (_, package)): &(PathBuf, (u32, &Package))| {
            let digest = package.archive_digest.as_deref().unwrap_or_default();
            let manifest = Manifest::load(&state.kept_manifest(&package.package, &package.key, digest));
            match manifest {
                Ok(manifest) if manifest.archive_digest.to_hex().as_str() == digest => {
                    archive_damage(path, &manifest)
                }
                Ok(_) => Ok(Some("has another digest than the checkpoint says".to_owned())),
                Err(error) if error.is_unreadable() => Err(error),
                Err(error) => Ok(Some(verdict::chain(&error))),
            }
        };
        self.archives += older.len();
        let damage = parallel(&older, usize::MAX, damage);
        let damage = damage.into_iter().collect::<Result<Vec<_>, _>>().map_err(prepare("read everything"))?;
        for ((path, (number, package)), damage) in older.iter().zip(damage) {
            let Some(what) = damage else { continue };
            set(None, path)?;
            without(state, package).map_err(prepare("write a checkpoint anew"))?;
            self.found.push(Found {
                package: Some(Arc::clone(&package.package)),
                checkpoint: Some(*number),
                path: path.display().to_string(),
                what,
                action: Action::Dropped,
            });
        }
        Ok(())
    }
}

/// The last checkpoint, from what it covers and is still there.
fn anew(job: &Job, past: &Past, store: &Store, broken: &BTreeSet<Arc<str>>, number: u32) -> Document {
    let covered = past.installed.names().filter_map(|name| {
        let merged = past.installed.get(name)?;
        merged.covered.filter(|_| !broken.contains(name))?;
        Some(package(&job.state, name, merged, store.manifest(name).as_deref()))
    });
    Document {
        format: FORMAT,
        number,
        build_id: Arc::clone(&past.state.build_id),
        definition: Arc::clone(&job.plan.definition),
        kind: CheckpointType::Full,
        base: None,
        phase: None,
        taken_at: written_now(),
        packages: covered.collect(),
        removed: Vec::new(),
    }
}

/// No checkpoint covers this any more: who goes back to one of these builds it again.
fn without(state: &StateDir, package: &Package) -> Result<(), DocumentError> {
    for number in keep::numbers(state)? {
        let mut document = Document::load(&state.checkpoint(number))?;
        if document.packages.contains(package) {
            document.packages.retain(|other| other != package);
            // Nor does an older one that is below it.
            if document.base.is_some() {
                document.removed.push(Arc::clone(&package.package));
                document.removed.sort();
            }
            document.store(state)?;
        }
    }
    Ok(())
}

/// Makes a file what another is, or takes it away.
fn set(from: Option<&Path>, to: &Path) -> Result<(), DriverError> {
    let fail = |source: io::Error| DriverError::State { path: to.to_owned(), source };
    match from {
        Some(from) => {
            write_atomically(to, |file| io::copy(&mut File::open(from)?, file).map(drop)).map_err(fail)
        }
        None => remove_file(to).map_err(fail),
    }
}

/// So that nobody takes it for whole; `kiln clean` deletes it.
fn move_away(archive: &Path) -> Result<(), DriverError> {
    let mut away = archive.as_os_str().to_owned();
    away.push(".damaged");
    match fs::rename(archive, &away) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(DriverError::State { path: archive.to_owned(), source: error })
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
