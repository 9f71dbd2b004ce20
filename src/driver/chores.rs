//! Tasks that kiln does itself: fetch, unpack, merge, and the packing after `install`.
//!
//! Owns: what each of them does, on a thread of its own. Does not know: when (the engine), how files are moved
//! (`fetch`, `unpack`, `store`).

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::config::load::Definition;
use crate::config::recipe::{Mirror, Recipe, SourceFile};
use crate::engine::message::{Damaged, Findings, Outcome, Start, Usage};
use crate::failure::Failure;
use crate::ledger::place::StateDir;
use crate::observe::events::SYSROOT_LEFT;
use crate::plan::{PackageId, Plan, TaskKind, key};
use crate::words::count;
use parking_lot::{Mutex, MutexGuard};

use super::fetch::{self, FROM_CACHE, Fetched, Fetcher};
use super::identity::wall_now;
use super::spawn::User;
use super::stage::manifest::Identity;
use super::stage::plan::MergeError;
use super::stage::rules::{Accounts, StagingRules};
use super::stage::tree::Snapshot;
use super::stage::verify::Directories;
use super::store::{Staged, Store};
use super::work::Work;
use super::{unpack, verdict};

/// What all chores share.
#[derive(Debug)]
pub(super) struct Chores {
    pub(super) definition: Arc<Definition>,
    pub(super) plan: Arc<Plan>,
    pub(super) state: StateDir,
    pub(super) fetcher: Fetcher,
    pub(super) store: Mutex<Store>,
    pub(super) user: Option<User>,
    pub(super) build_id: Arc<str>,
}

impl Chores {
    pub(super) fn recipe(&self, start: &Start) -> &Recipe {
        &self.definition.recipes[self.plan.package(start.package).recipe].value
    }

    pub(super) fn store(&self) -> MutexGuard<'_, Store> {
        // A panic elsewhere ends kiln anyway; until then the files are as consistent as after a kill.
        self.store.lock()
    }

    /// Does a task that is not a script.
    pub(super) fn perform(&self, start: &Start, cancel: &AtomicBool) -> (Outcome, Usage) {
        let mut usage = Usage::default();
        let result = match start.kind {
            TaskKind::Fetch => self.fetch(start, cancel, &mut usage),
            TaskKind::Unpack => self.unpack(start, cancel, &mut usage),
            TaskKind::Merge => self.merge(start),
            TaskKind::Configure | TaskKind::Build | TaskKind::Check | TaskKind::Install => Ok(()),
        };
        (result.map_or_else(Outcome::Failure, |()| Outcome::Success), usage)
    }

    /// Gets all sources of a recipe into the cache.
    fn fetch(&self, start: &Start, cancel: &AtomicBool, usage: &mut Usage) -> Result<(), Failure> {
        let package = self.plan.package(start.package);
        let phase = &self.plan.phase(package.phase).key;
        for source in &self.recipe(start).sources {
            usage.cache_requests += 1;
            let fetched = self.get(source, cancel, usage)?;
            if fetched.from == FROM_CACHE {
                usage.cache_hits += 1;
            } else {
                for refused in &fetched.refused {
                    tracing::warn!(
                        BUILD_ID = &*self.build_id,
                        PHASE = &**phase,
                        PACKAGE = &*package.name,
                        TASK = start.kind.name(),
                        ATTEMPT = start.attempt,
                        "{}: source `{}`: {refused}",
                        package.name,
                        source.file
                    );
                }
                tracing::info!(
                    BUILD_ID = &*self.build_id,
                    PHASE = &**phase,
                    PACKAGE = &*package.name,
                    TASK = start.kind.name(),
                    ATTEMPT = start.attempt,
                    "{}: source `{}` came from {} ({} over the network)",
                    package.name,
                    source.file,
                    fetched.from,
                    count(fetched.bytes_fetched, "byte")
                );
            }
        }
        Ok(())
    }

    /// Counts what came even if it was in vain.
    fn get(&self, source: &SourceFile, cancel: &AtomicBool, usage: &mut Usage) -> Result<Fetched, Failure> {
        let came = Cell::new(0);
        let fetched = self.fetcher.fetch(&wanted(source), cancel, &|bytes| came.set(came.get() + bytes));
        usage.fetched += came.get();
        fetched.map_err(|error| verdict::fetch(&error))
    }

    /// Looks at the files of these packages in the sysroot; not at the rest once that is `cancel`led.
    pub(super) fn verify(&self, packages: &[PackageId], cancel: &AtomicBool) -> Result<Findings, Failure> {
        let mut store = self.store();
        let mut directories = Directories::default();
        let mut findings = Findings { at: wall_now(), ..Findings::default() };
        for &id in packages.iter().filter(|_| !cancel.load(Ordering::Relaxed)) {
            let name = &self.plan.package(id).name;
            let looked = store.verify(name, &mut directories).map_err(|error| verdict::look(&error))?;
            if let Some((first, others)) = looked.damage.split_first() {
                findings.damaged.push(Damaged {
                    package: id,
                    path: first.path.to_string().into(),
                    what: first.what.into(),
                    others: others.len() as u64,
                    archive: store.archives_verify([&**name]),
                });
            } else if looked.read > 0 {
                findings.read.push(id);
            }
        }
        Ok(findings)
    }

    fn unpack(&self, start: &Start, cancel: &AtomicBool, usage: &mut Usage) -> Result<(), Failure> {
        let recipe = self.recipe(start);
        let work = Work::of(&self.state, &recipe.package);
        let broken = |error: std::io::Error| {
            verdict::unpack(&unpack::UnpackError::Io { path: work.src(), source: error })
        };
        if start.fresh {
            work.renew(self.user.as_ref()).map_err(broken)?;
        }
        let mut sources = Vec::new();
        for source in &recipe.sources {
            // From the cache, where `fetch` has put it; a cache that was cleaned since is filled again.
            let fetched = self.get(source, cancel, usage)?;
            sources.push(unpack::Source { path: fetched.path, file: source.file.clone() });
        }
        let unpacked =
            unpack::unpack(&sources, &work.src(), cancel).map_err(|error| verdict::unpack(&error))?;
        if let Some(epoch) = unpacked.newest_mtime {
            work.remember_epoch(epoch).map_err(broken)?;
        }
        if let Some(user) = &self.user {
            unpack::give(&work.src(), user.uid, user.gid).map_err(|error| verdict::unpack(&error))?;
        }
        Ok(())
    }

    /// Packs what `install` has staged (or, for a `direct` package, changed since `before`).
    pub(super) fn pack(&self, start: &Start, before: Option<&Snapshot>) -> Result<(), Failure> {
        let recipe = self.recipe(start);
        let package = self.plan.package(start.package);
        let work = Work::of(&self.state, &recipe.package);
        let root_owned = true;
        let owners = recipe.owners.iter().map(|(path, owner)| (path.as_str(), owner.as_str()));
        let privileged = recipe.privileged.iter().map(String::as_str);
        let rules = StagingRules::new(owners, privileged, root_owned, Accounts::of_host)
            .map_err(|error| verdict::stage(&error))?;
        let staged = Staged {
            identity: Identity {
                package: package.name.to_string(),
                version: package.version.to_string(),
                key: key::stored(&package.key, start.degraded).to_string(),
            },
            dest: work.dest(),
            rules: &rules,
            epoch: work.epoch(recipe),
        };
        let dest = if recipe.direct { self.state.sysroot() } else { staged.dest.clone() };
        for path in &recipe.provides {
            if dest.join(path.trim_start_matches('/')).symlink_metadata().is_err() {
                return Err(verdict::not_provided(path));
            }
        }
        match before {
            Some(before) => self.store().capture(before, staged).map_err(|error| verdict::capture(&error))?,
            None => Store::pack(&self.state, staged).map_err(|error| verdict::stage(&error))?,
        };
        Ok(())
    }

    fn merge(&self, start: &Start) -> Result<(), Failure> {
        let package = self.plan.package(start.package);
        if start.restore {
            return self.store().put_right(&package.name).map_err(|error| verdict::merge(&error));
        }
        let key = key::stored(&package.key, start.degraded);
        self.store().merge(&package.name, &key).map_err(|unmerged| {
            if let Some(left) = unmerged.left {
                self.say_left(start, &left);
            }
            verdict::merge(&unmerged.error)
        })
    }

    /// Takes back what a direct install has done to the sysroot, where there is another failure to report; if that fails,
    /// the next start tries again.
    pub(super) fn undo_or_say(&self, start: &Start) {
        let undone = self.store().undo(&self.plan.package(start.package).name, None);
        if let Err(error) = undone {
            self.say_left(start, &error);
        }
    }

    fn say_left(&self, start: &Start, error: &MergeError) {
        let package = self.plan.package(start.package);
        tracing::error!(
            MESSAGE_ID = SYSROOT_LEFT,
            BUILD_ID = &*self.build_id,
            PHASE = &*self.plan.phase(package.phase).key,
            PACKAGE = &*package.name,
            TASK = start.kind.name(),
            ATTEMPT = start.attempt,
            "{}: cannot take back what it left in the sysroot: {error}",
            package.name
        );
    }
}

/// A recipe's source with the defaults of its mirrors filled in.
pub(super) fn wanted(source: &SourceFile) -> fetch::Source {
    let mirror = |mirror: &Mirror| match mirror {
        Mirror::Url(url) => fetch::Mirror {
            place: fetch::Place::Url(url.clone()),
            file: source.file.clone(),
            sha256: source.sha256.as_str().to_owned(),
        },
        Mirror::Entry(entry) => fetch::Mirror {
            place: match (&entry.apt, &entry.url) {
                (Some(name), _) => fetch::Place::Apt(name.clone()),
                (None, url) => fetch::Place::Url(url.clone().unwrap_or_default()),
            },
            file: entry.file.clone().unwrap_or_else(|| source.file.clone()),
            sha256: entry.sha256.as_ref().unwrap_or(&source.sha256).as_str().to_owned(),
        },
    };
    fetch::Source {
        file: source.file.clone(),
        sha256: source.sha256.as_str().to_owned(),
        mirrors: source.from.iter().map(mirror).collect(),
    }
}

/// Tells a chore to end.
pub(super) fn cancel(flag: &AtomicBool) {
    flag.store(true, Ordering::Relaxed);
}
