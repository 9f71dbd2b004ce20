//! What is there before a run: the ledger's past, and what the files say.
//!
//! Owns: the decision, per package, whether there is anything to do, and why. Changes nothing.

use std::sync::Arc;

use serde::Serialize;

use crate::engine::message::{Have, Record, Time};
use crate::engine::state::State;
use crate::ledger::{Entry, Ledger};
use crate::plan::{PackageId, Plan, TaskKind, key};

use super::stage::verify::Directories;
use super::store::{Installed, Replaces, Store};
use super::{DriverError, Job};

/// What the ledger says.
#[derive(Debug)]
pub(super) struct Past {
    pub(super) state: State,
    pub(super) installed: Installed,
    /// Running time of the last record.
    pub(super) last: Time,
    /// Definition of the last run.
    pub(super) definition: Option<Arc<str>>,
}

impl Past {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            state: State::new(plan),
            installed: Installed::default(),
            last: Time::default(),
            definition: None,
        }
    }

    pub(super) fn fold(&mut self, plan: &Plan, entry: &Entry) {
        self.state.apply(plan, entry.at, &entry.record, &mut Vec::new());
        self.installed.fold(&entry.record);
        self.last = entry.at;
        if let Record::RunStarted { definition, .. } = &entry.record {
            self.definition = Some(Arc::clone(definition));
        }
    }

    /// Refuses the state of another definition: what that has installed is nothing that this one wants.
    pub(super) fn must_be_of(&self, job: &Job) -> Result<(), DriverError> {
        match &self.definition {
            Some(theirs) if *theirs != job.plan.definition => Err(DriverError::OtherDefinition {
                path: job.state.root().to_owned(),
                theirs: Arc::clone(theirs),
                ours: Arc::clone(&job.plan.definition),
            }),
            Some(_) | None => Ok(()),
        }
    }
}

/// What there is of a package, and what that was concluded from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fact {
    /// For the engine.
    pub have: Have,
    /// What will be done.
    pub decision: Decision,
    /// For people.
    pub reason: &'static str,
}

/// What a plan says of a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Its tasks run.
    Build,
    /// It is there, or its archive is.
    Reuse,
    /// It is not wanted.
    Skip,
}

impl Decision {
    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Build => "build",
            Self::Reuse => "reuse",
            Self::Skip => "skip",
        }
    }
}

impl Fact {
    fn new(have: Have, reason: &'static str) -> Self {
        let decision = match have {
            Have::Nothing | Have::WorkDirectory => Decision::Build,
            Have::Archive | Have::Everything | Have::Degraded => Decision::Reuse,
            Have::Unselected => Decision::Skip,
        };
        Self { have, decision, reason }
    }
}

/// What a definition's state directory holds.
#[derive(Debug)]
pub struct Seen {
    /// By package id.
    pub facts: Vec<Fact>,
    /// Of the last run.
    pub state: State,
}

/// Looks at a definition's state directory without touching it; `each` sees every record.
pub fn look(job: &Job, mut each: impl FnMut(&Entry)) -> Result<Seen, DriverError> {
    let mut past = Past::new(&job.plan);
    if let Some(ledger) = Ledger::open_to_read(&job.state.ledger())? {
        ledger.replay(0, |entry| {
            past.fold(&job.plan, &entry);
            each(&entry);
        })?;
    }
    if !job.state.sysroot().is_dir() {
        let fact = |id| {
            if selected(job, id) {
                Fact::new(Have::Nothing, "never completed")
            } else {
                Fact::new(Have::Unselected, "not selected")
            }
        };
        return Ok(Seen { facts: job.plan.package_ids().map(fact).collect(), state: past.state });
    }
    let (mut store, _) = Store::open(&job.state, &past.installed, Replaces::of(&job.definition))
        .map_err(|source| DriverError::Prepare { what: "open the sysroot", source: Box::new(source) })?;
    let mut facts = facts(job, &past.installed, &mut store);
    what_goes_on(job, &past.state, &mut facts);
    Ok(Seen { facts, state: past.state })
}

/// A run that goes on does what it had decided, even of packages that are whole (`--force`).
fn what_goes_on(job: &Job, state: &State, facts: &mut [Fact]) {
    let goes_on = state.run.goes_on() && *state.digest() == *job.plan.digest;
    let have = |id: PackageId| facts[id.0 as usize].have;
    if !goes_on || job.plan.package_ids().any(|id| state.is_gone(&job.plan, id, have(id))) {
        return;
    }
    for id in job.plan.package_ids() {
        let fact = &mut facts[id.0 as usize];
        if fact.have == Have::Everything && !state.package(id).state.is_final() {
            fact.decision = Decision::Build;
            fact.reason = "the run that goes on builds it again";
        }
    }
}

fn selected(job: &Job, id: PackageId) -> bool {
    job.selection.as_ref().is_none_or(|selection| selection.binary_search(&id).is_ok())
}

/// What there is of each package.
pub(super) fn facts(job: &Job, installed: &Installed, store: &mut Store) -> Vec<Fact> {
    let plan = &job.plan;
    let forced = with_dependents(plan, &job.forced);
    let mut directories = Directories::default();
    let fact = |id: PackageId| {
        let package = plan.package(id);
        let (name, key) = (&*package.name, &*package.key);
        let installs = plan.task(id, TaskKind::Install).is_some();
        let known = installed.get(name);
        let complete = installed.has(name, key);
        if forced[id.0 as usize] && selected(job, id) {
            return Fact::new(Have::Nothing, "forced");
        }
        if complete && (!installs || store.is_merged(name, key, &mut directories)) {
            return Fact::new(Have::Everything, "complete and unchanged");
        }
        if !selected(job, id) {
            return Fact::new(Have::Unselected, "not selected");
        }
        if installs && store.has_archive(name, &key::stored(key, false)) {
            let reason = if complete {
                "its files in the sysroot are damaged: merged again from its archive"
            } else {
                "its archive is intact, only the merge is missing"
            };
            return Fact::new(Have::Archive, reason);
        }
        if known.is_some_and(|merged| *merged.key == *key && merged.degraded && !merged.begun)
            && (!installs || store.is_merged(name, &key::stored(key, true), &mut directories))
        {
            let lacking = |id: &PackageId| !installed.has(&plan.package(*id).name, &plan.package(*id).key);
            let (decision, reason) = if package.depends_on.iter().any(lacking) {
                (Decision::Reuse, "complete, but for something optional that is still missing")
            } else {
                (Decision::Build, "was built without something optional that is there now")
            };
            return Fact { have: Have::Degraded, decision, reason };
        }
        let reason = match known {
            None => "never completed",
            Some(merged) if *merged.key != *key => {
                "its recipe, its sources or something that it needs changed"
            }
            Some(merged) if merged.degraded => "was built without something optional that is there now",
            Some(_) => "its archive is damaged or gone",
        };
        let have = if job.state.work_of(name).is_dir() { Have::WorkDirectory } else { Have::Nothing };
        Fact::new(have, reason)
    };
    let mut facts: Vec<Fact> = plan.package_ids().map(fact).collect();
    verify_toolchain(plan, store, &mut facts);
    facts
}

/// A phase that requires the toolchain is refused when an archive of it is damaged. Looked at here as well, where
/// something can be done about it, and only where such a phase has work: reading archives takes time.
fn verify_toolchain(plan: &Plan, store: &Store, facts: &mut [Fact]) {
    let Some(toolchain) = plan.find_phase("toolchain") else { return };
    let needed = plan.phases.iter().filter(|phase| phase.toolchain).flat_map(|phase| &phase.packages);
    if !needed.into_iter().any(|id| facts[id.0 as usize].have.is_work()) {
        return;
    }
    for id in &plan.phase(toolchain).packages {
        let fact = &mut facts[id.0 as usize];
        if fact.have == Have::Everything && !store.archives_verify([&*plan.package(*id).name]) {
            *fact = Fact::new(Have::Nothing, "its archive is damaged or gone");
        }
    }
}

/// Which packages are among these, or depend on one of them.
fn with_dependents(plan: &Plan, packages: &[PackageId]) -> Vec<bool> {
    let mut out = vec![false; plan.packages.len()];
    let mut stack = packages.to_vec();
    while let Some(id) = stack.pop() {
        if !std::mem::replace(&mut out[id.0 as usize], true) {
            stack.extend(plan.dependents(id));
        }
    }
    out
}

/// These packages and everything that must be there before them, ascending; of phases that require the
/// toolchain, all of that.
pub fn with_dependencies(plan: &Plan, packages: &[PackageId]) -> Vec<PackageId> {
    let mut wanted = vec![false; plan.packages.len()];
    let mut stack = packages.to_vec();
    while let Some(id) = stack.pop() {
        if std::mem::replace(&mut wanted[id.0 as usize], true) {
            continue;
        }
        stack.extend(&plan.package(id).depends_on);
        if plan.phase(plan.package(id).phase).toolchain
            && let Some(toolchain) = plan.find_phase("toolchain")
        {
            stack.extend(&plan.phase(toolchain).packages);
        }
    }
    plan.package_ids().filter(|id| wanted[id.0 as usize]).collect()
}

/// Names of packages, for messages.
pub fn names(plan: &Plan, packages: &[PackageId]) -> Vec<Arc<str>> {
    packages.iter().map(|id| Arc::clone(&plan.package(*id).name)).collect()
}
