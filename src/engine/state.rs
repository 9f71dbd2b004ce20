//! The state of a run: what the records say, and nothing else.
//!
//! Owns: every transition. `apply` is the only way to change a state, live as in replay, so that a replayed
//! state equals the one that it replaces. Does not know: why something was decided (see `schedule`), slots,
//! timers, what is in flight.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::plan::{PackageId, PhaseId, Plan, TaskId, TaskKind};

mod change;

use super::checkpoint::Coverage;
use super::gate::Gate;
use super::message::{Have, Record, RunEnd, Then, Time};
use super::recovery::{self, Recovery};

pub use super::life::{PACKAGE_STATES, PackageState, PhaseState, RunState, Skip, TASK_STATES, TaskState};

/// A task and its history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Task {
    /// Where it is.
    pub state: TaskState,
    /// Attempts begun.
    pub attempts: u32,
    /// Attempts failed, since a person said `retry` if one has.
    pub failures: u32,
    /// It has succeeded before; if it runs again, then to restore a work directory.
    pub done: bool,
}

/// A package and where in its tasks it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Package {
    /// Where it is.
    pub state: PackageState,
    /// Index, among its tasks, of the next one to be done.
    pub cursor: u32,
    /// An earlier run built it without something optional.
    pub degraded: bool,
    /// Its `check` failed when what there is of it was built, which its recipe allows.
    pub check_failed: bool,
    /// Its tasks use at most so many jobs: for want of memory or processes, or because a person says so.
    pub jobs_most: Option<u32>,
}

/// How many of a phase's packages and tasks are in each state; indices from `PackageState::index` and
/// `TaskState::index`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// pending, running, completed, failed, skipped
    pub packages: [u32; 5],
    /// blocked, ready, running, backoff, completed, failed, skipped
    pub tasks: [u32; 7],
}

/// The state of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Of the run.
    pub run: RunState,
    /// Id of the run; empty before the first.
    pub build_id: Arc<str>,
    /// By `PhaseId`.
    pub phases: Vec<PhaseState>,
    /// By `PackageId`.
    pub packages: Vec<Package>,
    /// By `TaskId`.
    pub tasks: Vec<Task>,
    /// By `PhaseId`.
    pub counts: Vec<Counts>,
    /// Packages that cannot be built any more, and the package because of which.
    pub doomed: BTreeMap<PackageId, PackageId>,
    /// Packages that an earlier run built without something optional, which is still missing.
    pub kept: BTreeSet<PackageId>,
    /// What is being done about failures before the next attempts.
    pub recoveries: BTreeMap<PackageId, Recovery>,
    /// Fingerprints of the evidence of tasks' last failures.
    pub evidence: BTreeMap<TaskId, Arc<str>>,
    /// Numbers of the last attempts that did not succeed, of any definition of this run: their output is kept.
    vain: BTreeMap<(Arc<str>, TaskKind), u32>,
    /// Gates that are open, by number.
    pub gates: BTreeMap<u32, Gate>,
    /// Packages that a person goes on without, by name, with their `trial`s: of another recipe that says nothing.
    pub waived: BTreeMap<Arc<str>, u64>,
    /// How many have been opened, in all runs.
    pub gates_opened: u32,
    /// What checkpoints cover, of all runs.
    pub coverage: Coverage,
    /// A person has said so: the run ends.
    pub aborted: bool,
    /// A person has paused the run.
    pub held: bool,
    /// Digest of the plan that the records at hand belong to.
    digest: Arc<str>,
    /// By `NodeId`: how many nodes it still waits for.
    waits: Vec<u32>,
    /// By `NodeId`: a required node failed; for closures.
    broken: Vec<bool>,
    /// By `NodeId`: something optional is missing below it.
    degraded: Vec<bool>,
}

impl State {
    /// Before the first run.
    pub fn new(plan: &Plan) -> Self {
        let mut state = Self {
            run: RunState::Idle,
            build_id: "".into(),
            phases: Vec::new(),
            packages: Vec::new(),
            tasks: Vec::new(),
            counts: Vec::new(),
            doomed: BTreeMap::new(),
            kept: BTreeSet::new(),
            recoveries: BTreeMap::new(),
            evidence: BTreeMap::new(),
            vain: BTreeMap::new(),
            gates: BTreeMap::new(),
            waived: BTreeMap::new(),
            gates_opened: 0,
            coverage: Coverage::default(),
            aborted: false,
            held: false,
            digest: "".into(),
            waits: Vec::new(),
            broken: Vec::new(),
            degraded: Vec::new(),
        };
        state.reset(plan);
        state
    }

    fn reset(&mut self, plan: &Plan) {
        let task = Task { state: TaskState::Blocked, attempts: 0, failures: 0, done: false };
        let package = Package {
            state: PackageState::Pending,
            cursor: 0,
            degraded: false,
            check_failed: false,
            jobs_most: None,
        };
        self.phases = vec![PhaseState::Pending; plan.phases.len()];
        self.packages = vec![package; plan.packages.len()];
        self.tasks = vec![task; plan.task_count()];
        self.counts = vec![Counts::default(); plan.phases.len()];
        for package in &plan.packages {
            let counts = &mut self.counts[package.phase.0 as usize];
            counts.packages[PackageState::Pending.index()] += 1;
            counts.tasks[TaskState::Blocked.index()] += u32::try_from(package.tasks.len()).unwrap_or(0);
        }
        self.doomed.clear();
        self.kept.clear();
        self.recoveries.clear();
        self.evidence.clear();
        self.waits.clone_from(&plan.wait_count);
        self.broken = vec![false; plan.wait_count.len()];
        self.degraded = vec![false; plan.wait_count.len()];
    }

    /// Whether what the records call running does run, if a runner is there: what a person has paused goes on to its end.
    pub fn has_tasks(&self, runner: bool) -> bool {
        runner && (self.run == RunState::Running || self.held)
    }

    /// Digest of the plan that the last records belong to; empty before the first run.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// A package.
    pub fn package(&self, id: PackageId) -> &Package {
        &self.packages[id.0 as usize]
    }

    /// A task.
    pub fn task(&self, id: TaskId) -> &Task {
        &self.tasks[id.0 as usize]
    }

    /// A phase.
    pub fn phase(&self, id: PhaseId) -> PhaseState {
        self.phases[id.0 as usize]
    }

    /// The next task of a package, unless all are done.
    pub fn next_task(&self, plan: &Plan, id: PackageId) -> Option<TaskId> {
        let cursor = self.package(id).cursor;
        ((cursor as usize) < plan.package(id).tasks.len())
            .then(|| TaskId(plan.first_task[id.0 as usize] + cursor))
    }

    /// Whether neither what it needs nor its phase nor recovery is in the way of a package's next task.
    pub fn is_free(&self, plan: &Plan, id: PackageId) -> bool {
        let ahead = self.next_task(plan, id).is_some_and(|task| plan.kind(task) == TaskKind::Fetch);
        !self.recoveries.contains_key(&id) && (ahead || self.waits_for_nothing(plan, id))
    }

    fn waits_for_nothing(&self, plan: &Plan, id: PackageId) -> bool {
        self.is_next(id) && self.phase(plan.package(id).phase) == PhaseState::Running
    }

    /// Whether all that a package needs is settled.
    pub fn is_next(&self, id: PackageId) -> bool {
        self.waits[id.0 as usize] == 0
    }

    /// When the package's next task may begin, as far as failures have a say in it.
    pub fn held_until(&self, plan: &Plan, id: PackageId) -> Option<Time> {
        let until = plan.tasks_of(id).filter_map(|t| match self.task(t).state {
            TaskState::Backoff { until, .. } => Some(until),
            TaskState::Blocked
            | TaskState::Ready
            | TaskState::Running { .. }
            | TaskState::Completed
            | TaskState::Failed
            | TaskState::Skipped => None,
        });
        until.max()
    }

    /// Whether something optional is missing below a package.
    pub fn is_degraded(&self, id: PackageId) -> bool {
        self.degraded[id.0 as usize]
    }

    /// Whether what an earlier run built, without something optional, is all there is of the package: what is
    /// missing has not come yet, or will not.
    pub fn stands(&self, id: PackageId) -> bool {
        let at = id.0 as usize;
        self.packages[at].degraded && (self.waits[at] > 0 || self.degraded[at])
    }

    /// Whether a person is asked about this phase or one of its packages.
    pub(super) fn has_open_gate(&self, plan: &Plan, phase: PhaseId) -> bool {
        self.gates.values().any(|gate| match gate.package.as_ref().and_then(|name| plan.find(name)) {
            Some(package) => plan.package(package).phase == phase,
            None => gate.phase == plan.phase(phase).key,
        })
    }

    /// Whether a person is asked because this phase's requirements are not met.
    pub(super) fn requirements_are_asked(&self, plan: &Plan, phase: PhaseId) -> bool {
        let of_phase = |gate: &Gate| gate.package.is_none() && gate.phase == plan.phase(phase).key;
        self.gates.values().any(of_phase)
    }

    /// Packages that were wanted and are not there.
    pub(super) fn missing(&self, plan: &Plan) -> Vec<Arc<str>> {
        let missing = plan.package_ids().filter(|id| match self.package(*id).state {
            PackageState::Failed
            | PackageState::Skipped(Skip::Doomed | Skip::Waived)
            | PackageState::Pending
            | PackageState::Running => true,
            PackageState::Completed { .. } | PackageState::Skipped(Skip::Unwanted) => false,
        });
        missing.map(|id| Arc::clone(&plan.package(id).name)).collect()
    }

    /// What is recorded when it ends in error now.
    pub(super) fn ended_in_error(&self, plan: &Plan) -> Record {
        Record::RunEnded { state: RunEnd::Error, missing: self.missing(plan) }
    }

    /// Whether what it says is there of a package, is not: then its run cannot just go on.
    pub fn is_gone(&self, plan: &Plan, id: PackageId, have: Have) -> bool {
        let at_merge = || {
            let next = self.next_task(plan, id);
            next.is_some_and(|t| plan.kind(t) == TaskKind::Merge)
        };
        match self.package(id).state {
            PackageState::Completed { .. } => !matches!(have, Have::Everything | Have::Degraded),
            PackageState::Pending if self.stands(id) => have != Have::Degraded,
            PackageState::Pending | PackageState::Running => {
                have == Have::Unselected || at_merge() && !matches!(have, Have::Archive | Have::Everything)
            }
            // Wanted now, or to be given up for another reason than before.
            PackageState::Skipped(skip) => skip == Skip::Unwanted && have != Have::Unselected,
            // A person may yet say `retry`.
            PackageState::Failed => {
                let asked = self.gate_of(&plan.package(id).name).is_some();
                asked && at_merge() && !matches!(have, Have::Archive | Have::Everything)
            }
        }
    }

    /// The number of the last attempt of a task in this run; 0 before the first.
    pub fn last_attempt(&self, plan: &Plan, id: TaskId) -> u32 {
        let attempts = self.task(id).attempts;
        if self.vain.is_empty() {
            return attempts;
        }
        let name = Arc::clone(&plan.package(plan.package_of(id)).name);
        self.vain.get(&(name, plan.kind(id))).copied().unwrap_or(0).max(attempts)
    }

    /// One record, at its time. Packages that it lets begin something, or that can no longer be built, are
    /// added to `touched`. Records about what the plan does not have change nothing.
    pub fn apply(&mut self, plan: &Plan, at: Time, record: &Record, touched: &mut Vec<PackageId>) {
        if let Record::TaskFailed { package, task, attempt, .. }
        | Record::TaskInterrupted { package, task, attempt } = record
        {
            self.vain.insert((Arc::clone(package), *task), *attempt);
        }
        self.coverage.fold(record);
        match record {
            Record::RunStarted { build_id, digest, .. } => {
                self.run = RunState::Running;
                self.build_id = Arc::clone(build_id);
                self.digest = Arc::clone(digest);
                self.vain.clear();
                self.gates.clear();
                self.waived.clear();
                self.aborted = false;
                self.held = false;
                self.reset(plan);
            }
            Record::RunResumed { digest, afresh, .. } => {
                self.run = RunState::Running;
                self.held = false;
                self.digest = Arc::clone(digest);
                if *afresh {
                    self.reset(plan);
                }
            }
            Record::RunPaused { held, .. } => {
                self.run = RunState::Paused;
                self.held = *held;
            }
            Record::RunEnded { state, .. } => {
                self.held = false;
                self.gates.clear(); // nobody waits for an answer any more
                self.run = match state {
                    RunEnd::Completed => RunState::Completed,
                    RunEnd::Error => RunState::Error,
                };
            }
            Record::GateOpened { gate, .. } => {
                self.gates_opened = self.gates_opened.max(*gate);
                self.gates.extend(Gate::of(at, record).map(|opened| (*gate, opened)));
                if self.digest == plan.digest {
                    self.hold(plan, *gate);
                }
            }
            Record::GateAnswered { gate, answer, jobs, .. } => {
                if let Some(gate) = self.gates.remove(gate) {
                    self.answer(plan, &gate, *answer, *jobs, touched);
                }
            }
            Record::GateClosed { gate } => {
                self.gates.remove(gate);
            }
            Record::Restored { build_id, packages, .. } => self.restore(plan, build_id, packages, touched),
            // What follows is about packages as this plan has them; a segment of the ledger that was made
            // with another plan is behind a `RunStarted` or `RunResumed` of its own.
            _ if self.digest != plan.digest => {}
            Record::Decided { reused, archived, skipped, degraded, failed_checks, forced, .. } => {
                for id in degraded.iter().filter_map(|name| plan.find(name)) {
                    self.packages[id.0 as usize].degraded = true;
                }
                for id in failed_checks.iter().filter_map(|name| plan.find(name)) {
                    self.packages[id.0 as usize].check_failed = true;
                }
                self.decide(plan, reused, archived, skipped, touched);
                // The definition has changed, and what these are about has not.
                for gate in self.gates.keys().copied().collect::<Vec<_>>() {
                    self.hold(plan, gate);
                }
                for name in forced {
                    self.waived.remove(name);
                }
                self.waive(plan, touched);
            }
            Record::PhaseStarted { phase } => {
                if let Some(id) = plan.find_phase(phase) {
                    self.phases[id.0 as usize] = PhaseState::Running;
                    for &package in &plan.phase(id).packages {
                        self.make_ready(plan, package, touched);
                    }
                }
            }
            Record::PhaseFinished { phase, outcome } => {
                if let Some(id) = plan.find_phase(phase) {
                    self.phases[id.0 as usize] = PhaseState::Finished(*outcome);
                }
            }
            Record::TaskStarted { package, task, attempt, .. } => {
                if let Some((id, task)) = find(plan, package, *task) {
                    self.tasks[task.0 as usize].attempts = *attempt;
                    self.set_task(plan, task, TaskState::Running { attempt: *attempt, since: at });
                    if !self.package(id).state.is_final() && plan.kind(task) != TaskKind::Fetch {
                        self.set_package(plan, id, PackageState::Running);
                    }
                }
            }
            Record::TaskFinished { package, task, .. } => {
                if let Some((id, task)) = find(plan, package, *task) {
                    self.tasks[task.0 as usize].done = true;
                    self.evidence.remove(&task);
                    self.set_task(plan, task, TaskState::Completed);
                    if plan.kind(task) == TaskKind::Check {
                        self.packages[id.0 as usize].check_failed = false;
                    }
                    if !self.package(id).state.is_final() {
                        self.move_on(plan, id, touched);
                    }
                }
            }
            Record::TaskFailed { package, task, attempt, retry_at, tolerated, failure, jobs, .. } => {
                if let Some((id, task)) = find(plan, package, *task) {
                    self.tasks[task.0 as usize].failures += 1;
                    self.evidence.insert(task, failure.fingerprint());
                    self.packages[id.0 as usize].jobs_most = jobs.or(self.package(id).jobs_most);
                    if *tolerated {
                        self.set_task(plan, task, TaskState::Failed);
                        self.packages[id.0 as usize].check_failed = true;
                        self.move_on(plan, id, touched);
                    } else if let Some(until) = *retry_at {
                        self.set_task(plan, task, TaskState::Backoff { attempt: *attempt, until });
                        self.rewind(plan, id, task, touched);
                        if !recovery::procedure(&plan.document, failure.category).is_empty() {
                            let kind = plan.kind(task);
                            let category = failure.category;
                            let recovery = Recovery { task: kind, attempt: *attempt, category, step: 0 };
                            self.recoveries.insert(id, recovery);
                        }
                    } else {
                        self.set_task(plan, task, TaskState::Failed);
                    }
                }
            }
            Record::TaskInterrupted { package, task, .. } => {
                if let Some((id, task)) = find(plan, package, *task) {
                    self.set_task(plan, task, TaskState::Blocked);
                    self.rewind(plan, id, task, touched);
                }
            }
            Record::WorkLost { package } => {
                if let Some(id) = plan.find(package)
                    && let Some(next) = self.next_task(plan, id)
                {
                    self.rewind(plan, id, next, touched);
                }
            }
            Record::PackageCompleted { package, degraded, .. } => {
                if let Some(id) = plan.find(package) {
                    self.degraded[id.0 as usize] |= degraded;
                    self.set_package(plan, id, PackageState::Completed { reused: false });
                    self.settle(plan, id, true, touched);
                }
            }
            Record::ActionFinished { package, then, .. } => {
                if let Some(id) = plan.find(package)
                    && let Some(recovery) = self.recoveries.get_mut(&id)
                {
                    recovery.step += 1;
                    if *then != Then::GoOn || recovery.next(&plan.document).is_none() {
                        self.recoveries.remove(&id);
                        touched.push(id);
                    }
                }
            }
            Record::PackageFailed { package, task } => {
                if let Some((id, task)) = find(plan, package, *task) {
                    self.set_task(plan, task, TaskState::Failed);
                    self.give_up(plan, id, PackageState::Failed, touched);
                }
            }
            Record::PackageSkipped { package, because } => {
                if let Some(id) = plan.find(package) {
                    let waived = |id| self.package(id).state == PackageState::Skipped(Skip::Waived);
                    let skip =
                        if plan.find(because).is_some_and(waived) { Skip::Waived } else { Skip::Doomed };
                    self.give_up(plan, id, PackageState::Skipped(skip), touched);
                }
            }
            Record::PackageKept { package } => {
                if let Some(id) = plan.find(package) {
                    self.kept.remove(&id);
                    self.reuse(plan, id);
                    self.settle(plan, id, true, touched);
                }
            }
            Record::PackageDamaged { package, archive, .. } => {
                if let Some(id) = plan.find(package) {
                    self.reopen(plan, id, *archive, touched);
                }
            }
            Record::RequirementUnmet { .. }
            | Record::Verified { .. }
            | Record::CheckpointTaken { .. }
            | Record::CheckpointFailed { .. }
            | Record::RestoreFinished { .. }
            | Record::Undone { .. }
            | Record::PackageRemoved { .. } => {}
        }
    }
}

fn find(plan: &Plan, package: &str, kind: TaskKind) -> Option<(PackageId, TaskId)> {
    let id = plan.find(package)?;
    Some((id, plan.task(id, kind)?))
}
