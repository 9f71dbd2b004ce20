//! The state of a run: what the records say, and nothing else.
//!
//! Owns: every transition. `apply` is the only way to change a state, live as in replay, so that a replayed
//! state equals the one that it replaces. Does not know: why something was decided (see `schedule`), slots,
//! timers, what is in flight.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::plan::{NodeId, PackageId, PhaseId, Plan, TaskId, TaskKind};

use super::message::{Have, Record, RunEnd, Time};

pub use super::life::{PACKAGE_STATES, PackageState, PhaseState, RunState, TASK_STATES, TaskState};

/// A task and its history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Task {
    /// Where it is.
    pub state: TaskState,
    /// Attempts begun.
    pub attempts: u32,
    /// Attempts failed.
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
    /// Packages whose files in the sysroot are not what they should be, and that are to be merged again.
    pub damaged: BTreeSet<PackageId>,
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
            damaged: BTreeSet::new(),
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
        let package =
            Package { state: PackageState::Pending, cursor: 0, degraded: false, check_failed: false };
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
        self.damaged.clear();
        self.waits.clone_from(&plan.wait_count);
        self.broken = vec![false; plan.wait_count.len()];
        self.degraded = vec![false; plan.wait_count.len()];
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
            PackageState::Skipped { unwanted } => unwanted && have != Have::Unselected,
            PackageState::Failed => false,
        }
    }

    /// One record, at its time. Packages that it lets begin something, or that can no longer be built, are
    /// added to `touched`. Records about what the plan does not have change nothing.
    pub fn apply(&mut self, plan: &Plan, at: Time, record: &Record, touched: &mut Vec<PackageId>) {
        match record {
            Record::RunStarted { build_id, digest, .. } => {
                self.run = RunState::Running;
                self.build_id = Arc::clone(build_id);
                self.digest = Arc::clone(digest);
                self.reset(plan);
            }
            Record::RunResumed { digest, afresh } => {
                self.run = RunState::Running;
                self.digest = Arc::clone(digest);
                if *afresh {
                    self.reset(plan);
                }
            }
            Record::RunPaused { .. } => self.run = RunState::Paused,
            Record::RunEnded { state, .. } => {
                self.run = match state {
                    RunEnd::Completed => RunState::Completed,
                    RunEnd::Error => RunState::Error,
                };
            }
            // What follows is about packages as this plan has them; a segment of the ledger that was made
            // with another plan is behind a `RunStarted` or `RunResumed` of its own.
            _ if self.digest != plan.digest => {}
            Record::Decided { reused, archived, skipped, degraded, failed_checks } => {
                for id in degraded.iter().filter_map(|name| plan.find(name)) {
                    self.packages[id.0 as usize].degraded = true;
                }
                for id in failed_checks.iter().filter_map(|name| plan.find(name)) {
                    self.packages[id.0 as usize].check_failed = true;
                }
                self.decide(plan, reused, archived, skipped, touched);
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
                    if self.package(id).state.is_final() {
                        self.damaged.remove(&id); // it is merged again
                    } else if plan.kind(task) != TaskKind::Fetch {
                        self.set_package(plan, id, PackageState::Running);
                    }
                }
            }
            Record::TaskFinished { package, task, .. } => {
                if let Some((id, task)) = find(plan, package, *task) {
                    self.tasks[task.0 as usize].done = true;
                    self.set_task(plan, task, TaskState::Completed);
                    if plan.kind(task) == TaskKind::Check {
                        self.packages[id.0 as usize].check_failed = false;
                    }
                    if !self.package(id).state.is_final() {
                        self.move_on(plan, id, touched);
                    }
                }
            }
            Record::TaskFailed { package, task, attempt, retry_at, tolerated, .. } => {
                if let Some((id, task)) = find(plan, package, *task) {
                    self.tasks[task.0 as usize].failures += 1;
                    if *tolerated {
                        self.set_task(plan, task, TaskState::Failed);
                        self.packages[id.0 as usize].check_failed = true;
                        self.move_on(plan, id, touched);
                    } else if let Some(until) = *retry_at {
                        self.set_task(plan, task, TaskState::Backoff { attempt: *attempt, until });
                        self.rewind(plan, id, task, touched);
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
            Record::PackageFailed { package, completed, .. } => {
                if let Some(id) = plan.find(package) {
                    self.damaged.remove(&id);
                    if *completed {
                        // Whoever waited has been told that it is there: `verify` tells those who come.
                        self.set_package(plan, id, PackageState::Failed);
                    } else {
                        self.give_up(plan, id, PackageState::Failed, touched);
                    }
                }
            }
            Record::PackageSkipped { package, .. } => {
                if let Some(id) = plan.find(package) {
                    self.give_up(plan, id, PackageState::Skipped { unwanted: false }, touched);
                }
            }
            Record::PackageKept { package } => {
                if let Some(id) = plan.find(package) {
                    self.kept.remove(&id);
                    self.reuse(plan, id);
                    self.settle(plan, id, true, touched);
                }
            }
            Record::PackageDamaged { package, .. } => self.damaged.extend(plan.find(package)),
            Record::RequirementUnmet { .. }
            | Record::Verified { .. }
            | Record::Undone { .. }
            | Record::PackageRemoved { .. } => {}
        }
    }

    /// The one place where a task's state changes.
    fn set_task(&mut self, plan: &Plan, id: TaskId, to: TaskState) {
        let phase = plan.package(plan.package_of(id)).phase;
        let counts = &mut self.counts[phase.0 as usize].tasks;
        let task = &mut self.tasks[id.0 as usize];
        counts[task.state.index()] -= 1;
        counts[to.index()] += 1;
        task.state = to;
    }

    /// The one place where a package's state changes.
    fn set_package(&mut self, plan: &Plan, id: PackageId, to: PackageState) {
        let counts = &mut self.counts[plan.package(id).phase.0 as usize].packages;
        let package = &mut self.packages[id.0 as usize];
        counts[package.state.index()] -= 1;
        counts[to.index()] += 1;
        package.state = to;
    }

    fn decide(
        &mut self,
        plan: &Plan,
        reused: &[Arc<str>],
        archived: &[Arc<str>],
        skipped: &[Arc<str>],
        touched: &mut Vec<PackageId>,
    ) {
        let ids = |names: &[Arc<str>]| names.iter().filter_map(|n| plan.find(n)).collect::<Vec<_>>();
        for &id in &ids(archived) {
            for task in plan.tasks_of(id).filter(|t| plan.kind(*t) != TaskKind::Merge) {
                self.set_task(plan, task, TaskState::Completed);
                self.packages[id.0 as usize].cursor += 1;
            }
        }
        let (reused, skipped) = (ids(reused), ids(skipped));
        for &id in &reused {
            self.reuse(plan, id);
        }
        for &id in &skipped {
            self.set_package(plan, id, PackageState::Skipped { unwanted: true });
            for task in plan.tasks_of(id) {
                self.set_task(plan, task, TaskState::Skipped);
            }
        }
        for &id in &reused {
            self.settle(plan, id, true, touched);
        }
        for &id in &skipped {
            self.settle(plan, id, false, touched);
        }
        for id in plan.package_ids() {
            self.make_ready(plan, id, touched);
        }
    }

    /// What there is of the package is good.
    fn reuse(&mut self, plan: &Plan, id: PackageId) {
        self.set_package(plan, id, PackageState::Completed { reused: true });
        for task in plan.tasks_of(id) {
            self.set_task(plan, task, TaskState::Completed);
        }
    }

    /// If the package's next task waits for nothing but a slot, it is ready.
    fn make_ready(&mut self, plan: &Plan, id: PackageId, touched: &mut Vec<PackageId>) {
        if self.package(id).state.is_final() {
            return;
        }
        if self.stands(id) {
            if self.waits[id.0 as usize] == 0 {
                self.kept.insert(id);
                touched.push(id);
            }
            return;
        }
        let Some(task) = self.next_task(plan, id) else { return };
        let ahead = plan.kind(task) == TaskKind::Fetch;
        let phase = plan.package(id).phase;
        let free = self.waits[id.0 as usize] == 0 && self.phase(phase) == PhaseState::Running;
        if ahead || free {
            if self.task(task).state == TaskState::Blocked {
                self.set_task(plan, task, TaskState::Ready);
            }
            touched.push(id);
        }
    }

    /// The package's current task is behind it.
    fn move_on(&mut self, plan: &Plan, id: PackageId, touched: &mut Vec<PackageId>) {
        loop {
            self.packages[id.0 as usize].cursor += 1;
            // A check that is behind the package, failed or not, is not done again for a restored directory.
            match self.next_task(plan, id).map(|t| self.task(t).state) {
                Some(TaskState::Completed | TaskState::Failed) => {}
                Some(
                    TaskState::Blocked
                    | TaskState::Ready
                    | TaskState::Running { .. }
                    | TaskState::Backoff { .. }
                    | TaskState::Skipped,
                ) => break,
                None => {
                    touched.push(id);
                    return;
                }
            }
        }
        self.make_ready(plan, id, touched);
    }

    /// The work directory can no longer be trusted before `task`: what made it is done again.
    fn rewind(&mut self, plan: &Plan, id: PackageId, task: TaskId, touched: &mut Vec<PackageId>) {
        if plan.kind(task).works() {
            let again: Vec<TaskId> =
                plan.tasks_of(id).filter(|t| *t <= task && plan.kind(*t).restores()).collect();
            for t in &again {
                match self.task(*t).state {
                    TaskState::Completed | TaskState::Ready => self.set_task(plan, *t, TaskState::Blocked),
                    TaskState::Blocked
                    | TaskState::Running { .. }
                    | TaskState::Backoff { .. }
                    | TaskState::Failed
                    | TaskState::Skipped => {}
                }
            }
            let first = again.first().copied().unwrap_or(task);
            // The failing task itself may have become ready before; it has to wait for those before it.
            if first != task && self.task(task).state == TaskState::Ready {
                self.set_task(plan, task, TaskState::Blocked);
            }
            self.packages[id.0 as usize].cursor = first.0 - plan.first_task[id.0 as usize];
        }
        self.make_ready(plan, id, touched);
    }

    /// The package ends without being complete.
    fn give_up(&mut self, plan: &Plan, id: PackageId, to: PackageState, touched: &mut Vec<PackageId>) {
        self.doomed.remove(&id);
        self.set_package(plan, id, to);
        for task in plan.tasks_of(id) {
            match self.task(task).state {
                TaskState::Blocked | TaskState::Ready | TaskState::Backoff { .. } => {
                    self.set_task(plan, task, TaskState::Skipped);
                }
                // A fetch may still be under way; what it says then changes no package.
                TaskState::Running { .. } | TaskState::Completed | TaskState::Failed | TaskState::Skipped => {
                }
            }
        }
        self.settle(plan, id, false, touched);
    }

    /// Tells all who wait for a package that the waiting is over, one way or the other.
    fn settle(&mut self, plan: &Plan, id: PackageId, good: bool, touched: &mut Vec<PackageId>) {
        let mut news = vec![(NodeId(id.0), good)];
        while let Some((node, good)) = news.pop() {
            let degraded = self.degraded[node.0 as usize];
            for waiter in &plan.waiters[node.0 as usize] {
                let at = waiter.node.0 as usize;
                self.waits[at] -= 1;
                self.degraded[at] |= degraded || !good;
                self.broken[at] |= !good && waiter.required;
                match plan.as_package(waiter.node) {
                    Some(package) if self.package(package).state.is_final() => {}
                    Some(package) if self.broken[at] && !self.package(package).degraded => {
                        self.doomed.entry(package).or_insert(id);
                        touched.push(package);
                    }
                    Some(package) => self.make_ready(plan, package, touched),
                    None if self.waits[at] == 0 => news.push((waiter.node, !self.broken[at])),
                    None => {}
                }
            }
        }
    }
}

fn find(plan: &Plan, package: &str, kind: TaskKind) -> Option<(PackageId, TaskId)> {
    let id = plan.find(package)?;
    Some((id, plan.task(id, kind)?))
}
