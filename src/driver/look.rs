//! What is there before a run: the ledger's past, and what the files say.
//!
//! Owns: the decision, per package, whether there is anything to do, and why. Changes nothing.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Serialize;

use crate::engine::message::{Aside, Have, Record, Time};
use crate::engine::state::{PackageState, RunState, Skip, State};
use crate::ledger::{Entry, Extent, Ledger};
use crate::plan::{PackageId, Plan, TaskKind, key};

use super::identity::wall_now;
use super::stage::verify::Directories;
use super::store::{InSysroot, Installed, Replaces, Store};
use super::{DriverError, Job, prepare};

/// What failed where something could not be read.
const LOOK: &str = "look at what is there (nothing is built again because of that: run it again when it can be read, or delete it)";

/// What the ledger says.
#[derive(Debug)]
pub(super) struct Past {
    pub(super) state: State,
    pub(super) installed: Installed,
    /// Running time of the last record.
    pub(super) last: Time,
    /// When it was written, nanoseconds since 1970.
    pub(super) wall: i64,
    /// Definition of the last run.
    pub(super) definition: Option<Arc<str>>,
    /// The machine's start in which the last run began or went on.
    boot: Arc<str>,
    /// Checkpoints that were taken, by number.
    pub(super) checkpoints: BTreeSet<u32>,
    /// A checkpoint that is to be restored, and whose files may not be there yet.
    restoring: Option<Restoring>,
}

/// What a `Restored` record says of files.
#[derive(Debug, Clone)]
pub(super) struct Restoring {
    pub(super) checkpoint: u32,
    pub(super) aside: Vec<Aside>,
    pub(super) place: Arc<str>,
}

impl Past {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            state: State::new(plan),
            installed: Installed::default(),
            last: Time::default(),
            wall: 0,
            definition: None,
            boot: "".into(),
            checkpoints: BTreeSet::new(),
            restoring: None,
        }
    }

    /// What a ledger that is open says of the job's definition; `each` sees every record.
    pub(super) fn read(
        job: &Job,
        ledger: &mut Ledger,
        mut each: impl FnMut(&Entry),
    ) -> Result<Self, DriverError> {
        let mut past = Self::new(&job.plan);
        ledger.replay(|entry| {
            past.fold(&job.plan, &entry);
            each(&entry);
        })?;
        past.must_be_of(job)?;
        Ok(past)
    }

    pub(super) fn fold(&mut self, plan: &Plan, entry: &Entry) {
        self.state.apply(plan, entry.at, &entry.record, &mut Vec::new());
        self.installed.fold(&entry.record, entry.wall);
        self.last = entry.at;
        self.wall = entry.wall;
        if let Record::RunStarted { definition, .. } = &entry.record {
            self.definition = Some(Arc::clone(definition));
        }
        if let Record::RunStarted { boot, .. } | Record::RunResumed { boot, .. } = &entry.record {
            self.boot = Arc::clone(boot);
        } else if let Record::CheckpointTaken { checkpoint, .. } = &entry.record {
            self.checkpoints.insert(*checkpoint);
        } else if let Record::Restored { checkpoint, aside, place, checkpoints, definition, .. } =
            &entry.record
        {
            self.checkpoints.extend(checkpoints);
            self.definition.get_or_insert_with(|| Arc::clone(definition));
            let (aside, place) = (aside.clone(), Arc::clone(place));
            self.restoring = Some(Restoring { checkpoint: *checkpoint, aside, place });
        } else if let Record::RestoreFinished { .. } = &entry.record {
            self.restoring = None;
        }
    }

    /// What is recorded while the run goes on, as far as somebody asks for it then; the engine has the state.
    pub(super) fn fold_live(&mut self, records: &[Record], wall: i64) {
        for record in records {
            self.installed.fold(record, wall);
        }
    }

    /// What has been begun to be restored.
    pub(super) fn restoring(&self) -> Option<&Restoring> {
        self.restoring.as_ref()
    }

    /// Whether the machine ended while a run was going on: what was recorded last may be lost. `boot` is its start now.
    pub(super) fn power_was_cut(&self, boot: &str) -> bool {
        self.state.run == RunState::Running && *self.boot != *boot
    }

    /// What is known of the sysroot, as far as it can be believed. By a clock that has been set back nobody can tell what
    /// was changed since.
    pub(super) fn trusted(&self, now: i64) -> Trust {
        if now < self.wall { Trust::Nothing } else { Trust::Covered }
    }

    /// Refuses the state of another definition: what that has installed is nothing that this one wants.
    pub(super) fn must_be_of(&self, job: &Job) -> Result<(), DriverError> {
        self.definition.as_ref().map_or(Ok(()), |theirs| job.must_be_of(theirs))
    }
}

/// Which packages' files need not be read where neither size nor times have changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trust {
    /// Those that a checkpoint covers.
    Covered,
    /// None.
    Nothing,
}

/// What there is of a package, and what that was concluded from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// For the engine.
    pub have: Have,
    /// What will be done.
    pub decision: Decision,
    /// For people.
    pub reason: Cow<'static, str>,
    /// How it stands with what was completed.
    pub verification: Verification,
    /// Its files were read for this, and are as they should be.
    pub(super) read: bool,
    /// Its `check` failed when what there is was built.
    pub(super) check_failed: bool,
}

/// The framework's `verification_status`: whether what was completed of a package is known to be as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verification {
    /// Nothing was completed.
    Unverified,
    /// The files in the sysroot have had the digests of the manifest, at the merge or later, and have not changed since; and
    /// `check`, if there is one, has not failed.
    Verified,
    /// One of that does not hold.
    Failed,
}

impl Verification {
    /// As the framework writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unverified => "unverified",
            Self::Verified => "verified",
            Self::Failed => "failed",
        }
    }
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
    fn new(have: Have, reason: impl Into<Cow<'static, str>>) -> Self {
        let decision = match have {
            Have::Nothing | Have::WorkDirectory => Decision::Build,
            Have::Archive | Have::Everything | Have::Degraded => Decision::Reuse,
            Have::Unselected => Decision::Skip,
        };
        Self {
            have,
            decision,
            reason: reason.into(),
            verification: Verification::Unverified,
            read: false,
            check_failed: false,
        }
    }

    /// What can be said when its files are like this.
    fn verified(self, found: InSysroot, check_failed: bool) -> Self {
        let verification = match found {
            InSysroot::Damaged => Verification::Failed,
            InSysroot::Unchanged | InSysroot::Read if check_failed => Verification::Failed,
            InSysroot::Unchanged | InSysroot::Read => Verification::Verified,
        };
        Self { verification, read: found == InSysroot::Read, check_failed, ..self }
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
    if let Some(mut ledger) = Ledger::open_to_read(&job.state.ledger(), Extent::Everything)? {
        ledger.replay(|entry| {
            past.fold(&job.plan, &entry);
            each(&entry);
        })?;
    }
    past.must_be_of(job)?;
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
        .map_err(prepare("open the sysroot"))?;
    let trust = past.trusted(wall_now());
    let mut facts = facts(job, &past.installed, &mut store, trust)?;
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
        if state.package(id).state == PackageState::Skipped(Skip::Waived) {
            fact.decision = Decision::Skip;
            fact.reason = "a person goes on without it, or without what it needs".into();
        }
        if fact.have == Have::Everything && !state.package(id).state.is_final() {
            fact.decision = Decision::Build;
            fact.reason = "the run that goes on builds it again".into();
        }
    }
}

fn selected(job: &Job, id: PackageId) -> bool {
    job.selection.as_ref().is_none_or(|selection| selection.binary_search(&id).is_ok())
}

/// What there is of each package. What cannot be read at the moment is an error, and no reason to build anything.
pub(super) fn facts(
    job: &Job,
    installed: &Installed,
    store: &mut Store,
    trust: Trust,
) -> Result<Vec<Fact>, DriverError> {
    let plan = &job.plan;
    let forced = with_dependents(plan, &job.forced);
    let mut directories = Directories::default();
    let fact = |id: PackageId| -> Result<Fact, DriverError> {
        let package = plan.package(id);
        let (name, key) = (&*package.name, &*package.key);
        let whole_key = key::stored(key, false);
        let installs = plan.task(id, TaskKind::Install).is_some();
        let known = installed.get(name).filter(|merged| *merged.key == *key);
        let complete = known.is_some_and(|merged| !merged.degraded && !merged.lost);
        let degraded = known.is_some_and(|merged| merged.degraded && !merged.begun && !merged.lost);
        // What became of what was completed with this key, whatever is to be done now.
        let found = known.filter(|merged| complete || degraded || merged.lost);
        let found = found.map(|merged| -> Result<_, DriverError> {
            let key = key::stored(key, merged.degraded);
            let found = if installs {
                // What no checkpoint covers may not be on disk as it was merged, whatever its size and times are.
                let trusted = trust == Trust::Covered && merged.covered.is_some();
                let verified = merged.verified.filter(|_| trusted);
                store.looks(name, &key, verified, &mut directories).map_err(prepare(LOOK))?
            } else {
                InSysroot::Unchanged
            };
            Ok((found, installed.check_failed(name, &key)))
        });
        let found = found.transpose()?;
        let is_whole = found.is_some_and(|(found, _)| found != InSysroot::Damaged);
        let have = |have, reason: Cow<'static, str>| {
            let fact = Fact::new(have, reason);
            match found {
                Some((found, check_failed)) => fact.verified(found, check_failed),
                None => fact,
            }
        };
        if forced[id.0 as usize] && selected(job, id) {
            return Ok(have(Have::Nothing, "forced".into()));
        }
        if complete && is_whole {
            let covered = known.and_then(|merged| merged.covered);
            return Ok(have(Have::Everything, why_whole(installs, covered)));
        }
        if !selected(job, id) {
            return Ok(have(Have::Unselected, "not selected".into()));
        }
        if installs && store.has_archive(name, &whole_key).map_err(prepare(LOOK))? {
            let reason = if complete {
                "merged again: its files in the sysroot are damaged, and its archive is intact"
            } else {
                "its archive is intact, only the merge is missing"
            };
            let check_failed = installed.check_failed(name, &whole_key);
            return Ok(Fact { check_failed, ..have(Have::Archive, reason.into()) });
        }
        if degraded && is_whole {
            let lacking = |id: &PackageId| !installed.has(&plan.package(*id).name, &plan.package(*id).key);
            let (decision, reason) = if package.depends_on.iter().any(lacking) {
                (Decision::Reuse, "complete, but for something optional that is still missing")
            } else {
                (Decision::Build, "was built without something optional that is there now")
            };
            return Ok(Fact { decision, ..have(Have::Degraded, reason.into()) });
        }
        let reason = match installed.get(name) {
            None => "never completed",
            Some(merged) if *merged.key != *key => {
                "its recipe, its sources or something that it needs changed"
            }
            Some(merged) if merged.lost && is_whole => "built again: its archive is damaged or gone",
            Some(merged) if merged.degraded => "was built without something optional that is there now",
            Some(_) => {
                "built again: its files in the sysroot are damaged, and its archive is damaged or gone"
            }
        };
        let work = job.state.work_of(name).is_dir();
        Ok(have(if work { Have::WorkDirectory } else { Have::Nothing }, reason.into()))
    };
    let mut facts = plan.package_ids().map(fact).collect::<Result<Vec<Fact>, _>>()?;
    verify_toolchain(plan, store, &mut facts);
    Ok(facts)
}

/// Why a package that is complete need not be done again.
fn why_whole(installs: bool, covered: Option<u32>) -> Cow<'static, str> {
    match covered {
        _ if !installs => "complete, and it installs nothing".into(),
        // What may have changed since was read, if there was any.
        Some(number) => format!("trusted: covered by checkpoint {number}, and unchanged").into(),
        None => "verified: no checkpoint covers it; its files were read, and are right".into(),
    }
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
            let Fact { verification, read, check_failed, .. } = *fact;
            let reason = "built again: its archive is damaged or gone, and a phase requires the toolchain";
            let rebuilt = Fact::new(Have::Nothing, reason);
            *fact = Fact { verification, read, check_failed, ..rebuilt };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::message::Escalation;
    use crate::engine::tests::sketch;

    const HOUR: i64 = 3_600_000_000_000;

    fn past(records: impl IntoIterator<Item = Record>) -> Past {
        let plan = sketch::plan("phase base\n a: build install");
        let mut past = Past::new(&plan);
        for (seq, record) in (1..).zip(records) {
            past.fold(&plan, &Entry { seq, at: Time::default(), wall: seq * HOUR, record });
        }
        past
    }

    fn started(boot: &str) -> Record {
        let text = |text: &str| text.into();
        Record::RunStarted {
            build_id: text("b"),
            definition: text("sketch"),
            digest: text("d"),
            kiln: text("1"),
            boot: text(boot),
            escalation: Escalation::default(),
        }
    }

    fn resumed(boot: &str) -> Record {
        let escalation = Escalation::default();
        Record::RunResumed { digest: "d".into(), afresh: false, boot: boot.into(), reason: None, escalation }
    }

    fn paused() -> Record {
        Record::RunPaused { reason: "stopped".into(), held: false }
    }

    fn completed(package: &str) -> Record {
        let (phase, version, key) = ("base".into(), "1".into(), "k".into());
        Record::PackageCompleted { phase, package: package.into(), version, key, degraded: false }
    }

    fn taken(checkpoint: u32, packages: &[&str]) -> Record {
        let packages = packages.iter().map(|name| (*name).into()).collect();
        let kind = crate::config::document::CheckpointType::Full;
        Record::CheckpointTaken { checkpoint, kind, phase: None, packages, verified: true, duration: 1 }
    }

    #[test]
    fn the_power_was_cut_where_a_run_did_not_end_and_the_machine_started_anew() {
        assert!(!past([started("one")]).power_was_cut("one"), "kiln was killed");
        assert!(past([started("one")]).power_was_cut("two"));
        assert!(!past([started("one"), paused()]).power_was_cut("two"), "it had ended");
        assert!(!past([started("one"), paused(), resumed("two")]).power_was_cut("two"));
        assert!(past([started("one"), paused(), resumed("two")]).power_was_cut("three"));
        assert!(past([started("")]).power_was_cut("one"), "nobody knows");
        assert!(!past([]).power_was_cut("one"));
    }

    #[test]
    fn nothing_is_trusted_by_a_clock_that_was_set_back() {
        let past = past([started("one"), completed("a")]);
        assert_eq!(past.trusted(2 * HOUR), Trust::Covered);
        assert_eq!(past.trusted(2 * HOUR - 1), Trust::Nothing);
    }

    #[test]
    fn what_covers_a_package_covers_nothing_that_comes_after() {
        let covered =
            |records: Vec<Record>| past(records).installed.get("a").and_then(|merged| merged.covered);
        let damaged = || Record::PackageDamaged {
            phase: "base".into(),
            package: "a".into(),
            path: "x".into(),
            what: "is missing".into(),
            archive: true,
        };
        assert_eq!(covered(vec![completed("a")]), None);
        assert_eq!(covered(vec![completed("a"), taken(1, &["a"])]), Some(1));
        assert_eq!(covered(vec![completed("a"), taken(1, &["a"]), taken(2, &["b"])]), Some(1));
        assert_eq!(covered(vec![completed("a"), taken(1, &["a"]), completed("a")]), None);
        assert_eq!(covered(vec![completed("a"), taken(1, &["a"]), damaged()]), None);
    }
}
