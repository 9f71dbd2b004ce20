//! Bringing the sysroot back to a checkpoint.
//!
//! Owns: what can be brought back, and the order of the steps. Does not know: how a checkpoint is taken (`checkpoint`), how
//! files get into the sysroot (`store`).
//!
//! The record comes first: it says which packages are there from then on, and what is set aside. What follows makes it so and
//! can be done again: killed at any moment the next `kiln run` or `kiln checkpoint restore` finishes it. Archives that are
//! younger than the checkpoint are moved to `STATE/aside`, so that they are neither lost nor used; a ledger that is damaged
//! goes there, too, and one with what could be read of it takes its place.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::engine::message::{Aside, Kept, Record};
use crate::ledger::lock::{Role, RunnerLock};
use crate::ledger::place::StateDir;
use crate::ledger::salvage::Salvaged;
use crate::ledger::{Entry, Ledger};
use crate::parallel::parallel;
use crate::plan::key;

use super::checkpoint::document::{Document, DocumentError, Package};
use super::checkpoint::{self, is_intact, keep};
use super::identity::{stamp, wall_now};
use super::look::Past;
use super::store::{Replaces, Store};
use super::tidy::{children, name};
use super::{DriverError, Job, prepare};

/// What has been brought back.
#[derive(Debug)]
pub struct Restored {
    /// Packages that are in the sysroot.
    pub packages: Vec<Arc<str>>,
    /// Packages of which something was set aside.
    pub aside: Vec<Arc<str>>,
    /// Where that is.
    pub place: PathBuf,
    /// What was wrong with the ledger, and how many records could be read.
    pub damage: Option<(String, usize)>,
}

/// Why a checkpoint cannot be brought back.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// There is none with this number.
    #[error("there is no checkpoint {number}: {}", which_are_kept(.known))]
    Unknown {
        /// What was asked for.
        number: u32,
        /// What there is.
        known: Vec<u32>,
    },
    /// There has been no run.
    #[error("`{}` has no run yet", .path.display())]
    NothingThere {
        /// The state directory.
        path: PathBuf,
    },
    /// What it says cannot be read.
    #[error("checkpoint {number} cannot be restored")]
    Document {
        /// Which.
        number: u32,
        /// Why.
        source: DocumentError,
    },
    /// Archives that it needs are not what they were.
    #[error("checkpoint {number} cannot be restored: {}", .damaged.join("; "))]
    Archives {
        /// Which.
        number: u32,
        /// Each with its path.
        damaged: Vec<String>,
    },
    /// Another definition's.
    #[error("checkpoint {number} is of the definition `{theirs}`")]
    OtherDefinition {
        /// Which.
        number: u32,
        /// Whose.
        theirs: Arc<str>,
    },
    /// Everything else.
    #[error(transparent)]
    Driver(#[from] DriverError),
}

fn which_are_kept(numbers: &[u32]) -> String {
    let all: Vec<String> = numbers.iter().map(ToString::to_string).collect();
    match all.as_slice() {
        [] => "none is kept; 0 is an empty sysroot".to_owned(),
        all => format!("kept are {}, and 0 is an empty sysroot", all.join(", ")),
    }
}

/// What the ledger says, as far as it can be read; and what is wrong with it.
pub fn salvage(job: &Job) -> Result<Salvaged, DriverError> {
    Ok(Salvaged::read(&job.state.ledger())?)
}

/// Brings the sysroot back to the checkpoint with this number; 0 is the empty one that everything begins with. `by`: who wants
/// it.
pub fn restore(job: &Job, number: u32, by: Arc<str>) -> Result<Restored, RestoreError> {
    let state = &job.state;
    // Whatever else is there is nothing of ours, and stays.
    let kept = keep::numbers(state).map_err(|source| RestoreError::Document { number, source })?;
    if kept.is_empty() && !state.ledger().with_extension("durable").exists() && !state.ledger().exists() {
        return Err(RestoreError::NothingThere { path: state.root().to_owned() });
    }
    let _lock = RunnerLock::take(Role::Command, state.root(), &state.lock()).map_err(DriverError::from)?;
    state.create().map_err(state_error(state.root()))?;
    let saved = salvage(job)?;
    let mut past = Past::new(&job.plan);
    for entry in &saved.entries {
        past.fold(&job.plan, entry);
    }
    past.must_be_of(job)?;
    let document = document(job, number)?;
    check_archives(state, number, &document.packages)?;
    // What a ledger knows is not forgotten; of one that knows nothing any more, those count that this one may build on.
    let checkpoints =
        kept.into_iter().filter(|kept| *kept <= number || past.checkpoints.contains(kept)).collect();

    let known = older(&saved.entries, number, &document.packages);
    let place = fresh(&state.aside(), &stamp()).map_err(state_error(&state.aside()))?;
    let aside = younger(state, known, &document.packages)?;
    let record = Record::Restored {
        checkpoint: number,
        build_id: Arc::clone(&document.build_id),
        definition: Arc::clone(&document.definition),
        packages: in_order(&saved.entries, &document.packages),
        aside,
        place: name(&place).into(),
        checkpoints,
        by,
    };
    let seq = saved.entries.last().map_or(0, |entry| entry.seq) + 1;
    let entry = Entry { seq, at: past.last, wall: wall_now(), record };
    past.fold(&job.plan, &entry);
    let records = saved.entries.len();
    let mut ledger = write(state, &place, saved.entries, saved.damage.is_some(), entry)?;
    if let Some(finished) = finish(job, &past)? {
        ledger.append(past.last, wall_now(), &[finished]).map_err(DriverError::from)?;
        ledger.sync().map_err(DriverError::from)?;
    }

    let aside = past.restoring().into_iter().flat_map(|restoring| &restoring.aside);
    let aside: BTreeSet<Arc<str>> = aside.map(|aside| Arc::clone(&aside.package)).collect();
    // Nothing was set aside: nothing is left to look at.
    let _ = fs::remove_dir(&place);
    Ok(Restored {
        packages: document.packages.iter().map(|package| Arc::clone(&package.package)).collect(),
        aside: aside.into_iter().collect(),
        place,
        damage: saved.damage.map(|damage| (damage, records)),
    })
}

/// Records it: in the ledger or, where that is damaged, in one that takes its place and has it from the first.
fn write(
    state: &StateDir,
    place: &Path,
    mut entries: Vec<Entry>,
    damaged: bool,
    entry: Entry,
) -> Result<Ledger, DriverError> {
    let path = state.ledger();
    if damaged {
        entries.push(entry);
        return Ok(Ledger::replace(&path, place, &entries)?);
    }
    let mut ledger = Ledger::open(&path)?;
    ledger.append(entry.at, entry.wall, &[entry.record])?;
    ledger.sync()?;
    Ok(ledger)
}

/// Makes the files what the last `Restored` says, if that has not been done. What is to be recorded then.
pub(super) fn finish(job: &Job, past: &Past) -> Result<Option<Record>, DriverError> {
    let state = &job.state;
    let Some(restoring) = past.restoring() else { return Ok(None) };
    let place = state.aside().join(&*restoring.place);
    let number = restoring.checkpoint;
    let failed = state_error(state.root());
    for Aside { package, key } in &restoring.aside {
        move_aside(state, &place, package, key).map_err(&failed)?;
    }
    let document = document(job, number).map_err(prepare("read the checkpoint that is being restored"))?;
    for package in &document.packages {
        bring_back(state, &place, package).map_err(&failed)?;
    }
    let (mut store, lost) = Store::open(state, &past.installed, Replaces::of(&job.definition))
        .map_err(prepare("open the sysroot"))?;
    if let Some(package) = lost.first() {
        let source = io::Error::other(format!("the manifest of `{package}` cannot be read"));
        return Err(state_error(&state.packages())(source));
    }
    // All that no package has goes, and all that is not as it should be comes back.
    store.undo("", None).map_err(prepare("bring the sysroot back"))?;
    checkpoint::sync(&[&state.sysroot(), &state.packages(), &state.aside()])
        .map_err(prepare("sync the sysroot"))?;
    Ok(Some(Record::RestoreFinished { checkpoint: number }))
}

fn document(job: &Job, number: u32) -> Result<Document, RestoreError> {
    if number == 0 {
        return Ok(Document::of_nothing(&job.plan.definition));
    }
    let wrap = |source| RestoreError::Document { number, source };
    let known = keep::numbers(&job.state).map_err(wrap)?;
    if !known.contains(&number) {
        return Err(RestoreError::Unknown { number, known });
    }
    let document = keep::covered(&job.state, number).map_err(wrap)?;
    if document.definition != job.plan.definition {
        return Err(RestoreError::OtherDefinition { number, theirs: document.definition });
    }
    Ok(document)
}

/// Where an intact archive with this digest is, and its manifest: beside the checkpoint, or where it was merged from.
fn intact(state: &StateDir, package: &Package, digest: &str) -> Option<(PathBuf, PathBuf)> {
    let Package { package: name, key, .. } = package;
    let places = [
        (state.kept_archive(name, key, digest), state.kept_manifest(name, key, digest)),
        (state.archive(name, key), state.manifest(name, key)),
    ];
    places.into_iter().find(|(archive, manifest)| is_intact(archive, manifest, package))
}

fn check_archives(state: &StateDir, number: u32, packages: &[Package]) -> Result<(), RestoreError> {
    let check = |package: &Package| {
        let digest = package.archive_digest.as_deref()?;
        let path = state.kept_archive(&package.package, &package.key, digest);
        let damaged =
            || format!("the archive of `{}` is damaged or gone (`{}`)", package.package, path.display());
        intact(state, package, digest).is_none().then(damaged)
    };
    let bytes = usize::MAX; // there may be gigabytes
    let damaged: Vec<String> = parallel(packages, bytes, check).into_iter().flatten().collect();
    if damaged.is_empty() { Ok(()) } else { Err(RestoreError::Archives { number, damaged }) }
}

/// Archives that are older than what the checkpoint covers: by package, the keys that they are stored under. Where the ledger does
/// not know the checkpoint any more, all that it knows of come before it. What was completed while it was taken is not covered,
/// and so is younger.
fn older(entries: &[Entry], number: u32, covered: &[Package]) -> BTreeSet<(Arc<str>, Arc<str>)> {
    let mut known = BTreeSet::new();
    let mut last = BTreeMap::new();
    for entry in entries.iter().filter(|_| number > 0) {
        if let Record::PackageCompleted { package, key, degraded, .. } = &entry.record {
            let key = key::stored(key, *degraded);
            known.insert((Arc::clone(package), Arc::clone(&key)));
            last.insert(Arc::clone(package), key);
        } else if let Record::PackageRemoved { package } = &entry.record {
            last.remove(package);
        } else if let Record::CheckpointTaken { checkpoint, .. } = &entry.record
            && *checkpoint == number
        {
            break;
        }
    }
    let covered: BTreeSet<_> = covered.iter().map(|package| (&package.package, &package.key)).collect();
    for younger in last {
        if !covered.contains(&(&younger.0, &younger.1)) {
            known.remove(&younger);
        }
    }
    known
}

/// The document's packages as the ledger has them, in the order in which they were completed as far as that is known: who
/// had a path last has it.
fn in_order(entries: &[Entry], packages: &[Package]) -> Vec<Kept> {
    let mut order = BTreeMap::new();
    for entry in entries {
        if let Record::PackageCompleted { package, .. } = &entry.record {
            order.insert(Arc::clone(package), entry.seq);
        }
    }
    let mut packages: Vec<&Package> = packages.iter().collect();
    packages.sort_by_key(|package| order.get(&package.package));
    let kept = packages.into_iter().map(|package| Kept {
        package: Arc::clone(&package.package),
        version: Arc::clone(&package.version),
        phase: Arc::clone(&package.phase),
        key: key::plain(&package.key, package.degraded),
        degraded: package.degraded,
    });
    kept.collect()
}

/// Archives that are neither older than the checkpoint nor its own.
fn younger(
    state: &StateDir,
    mut known: BTreeSet<(Arc<str>, Arc<str>)>,
    packages: &[Package],
) -> Result<Vec<Aside>, DriverError> {
    known.extend(packages.iter().map(|package| (Arc::clone(&package.package), Arc::clone(&package.key))));
    let mut younger = BTreeSet::new();
    for dir in children(&state.packages())? {
        let package: Arc<str> = name(&dir).into();
        for path in children(&dir)? {
            let file = name(&path);
            let key = file.strip_suffix(".tar.zst").or_else(|| file.strip_suffix(".manifest"));
            let pair = key.map(|key| (Arc::clone(&package), Arc::from(key)));
            younger.extend(pair.filter(|pair| !known.contains(pair)));
        }
    }
    Ok(younger.into_iter().map(|(package, key)| Aside { package, key }).collect())
}

/// Moves an archive and its manifest, as far as they are there. What is aside already is what was to be set aside: here is half of
/// what should come in its place, from a try that was cut off.
fn move_aside(state: &StateDir, place: &Path, package: &str, key: &str) -> io::Result<()> {
    let to = place.join(package);
    for from in [state.archive(package, key), state.manifest(package, key)] {
        let there = to.join(from.file_name().unwrap_or_default());
        if !from.exists() {
            continue;
        }
        if there.exists() {
            fs::remove_file(&from)?;
            continue;
        }
        fs::create_dir_all(&to)?;
        fs::rename(&from, there)?;
    }
    Ok(())
}

/// Puts the checkpoint's archive where archives are merged from. Another one with the same key is a younger build.
fn bring_back(state: &StateDir, place: &Path, package: &Package) -> io::Result<()> {
    let Package { package: name, key, archive_digest: Some(digest), .. } = package else { return Ok(()) };
    let (archive, manifest) = (state.archive(name, key), state.manifest(name, key));
    if is_intact(&archive, &manifest, package) {
        return Ok(());
    }
    move_aside(state, place, name, key)?;
    let Some((kept, list)) = intact(state, package, digest) else {
        return Err(io::Error::other(format!("the archive of `{name}` is damaged or gone")));
    };
    fs::create_dir_all(archive.parent().unwrap_or(state.root()))?;
    keep::link(&kept, &archive)?;
    keep::link(&list, &manifest)
}

/// A directory of this name, or with a number behind it, that was not there.
fn fresh(above: &Path, name: &str) -> io::Result<PathBuf> {
    fs::create_dir_all(above)?;
    for number in 1.. {
        let path = above.join(if number == 1 { name.to_owned() } else { format!("{name}-{number}") });
        match fs::create_dir(&path) {
            Ok(()) => {
                fs::File::open(above)?.sync_all()?;
                return Ok(path);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

fn state_error(path: &Path) -> impl Fn(io::Error) -> DriverError {
    let path = path.to_owned();
    move |source| DriverError::State { path: path.clone(), source }
}

#[cfg(test)]
mod tests {
    use crate::config::document::CheckpointType;
    use crate::engine::message::Time;

    use super::*;

    fn completed(package: &str, key: &str) -> Record {
        Record::PackageCompleted {
            phase: "base".into(),
            package: package.into(),
            version: "1".into(),
            key: key.into(),
            degraded: false,
        }
    }

    #[test]
    fn what_was_completed_while_a_checkpoint_was_taken_is_younger_and_older_versions_are_not() {
        let taken = Record::CheckpointTaken {
            checkpoint: 1,
            kind: CheckpointType::Full,
            phase: None,
            packages: vec!["a".into(), "b".into()],
            verified: true,
            duration: 0,
        };
        let records = [
            completed("a", "a1"),
            completed("a", "a2"),
            completed("b", "b1"),
            completed("gone", "g1"),
            Record::PackageRemoved { package: "gone".into() },
            completed("b", "b2"),
            completed("c", "c1"),
            taken,
            completed("d", "d1"),
        ];
        let entries: Vec<Entry> =
            (1..).zip(records).map(|(seq, record)| Entry { seq, at: Time(0), wall: 0, record }).collect();
        let package = |name: &str, key: &str| Package {
            package: name.into(),
            version: "1".into(),
            phase: "base".into(),
            key: key.into(),
            degraded: false,
            archive_digest: None,
            manifest_digest: None,
        };
        let covered = [package("a", "a2"), package("b", "b1")];
        let keys = |number| -> Vec<String> {
            older(&entries, number, &covered).into_iter().map(|(_, key)| key.to_string()).collect()
        };
        assert_eq!(keys(1), ["a1", "a2", "b1", "g1"]);
        assert_eq!(keys(7), ["a1", "a2", "b1", "g1"], "of a checkpoint that the ledger does not know");
        assert!(keys(0).is_empty());
    }
}
