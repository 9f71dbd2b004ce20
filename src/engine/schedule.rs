//! What may start, in which order, and what follows when nothing may.
//!
//! Owns: queues per pool, their order, phases, the end of a run. Does not know: retries (they come back as
//! ready tasks), why a task failed.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::config::document::Method;
use crate::config::recipe::Jobs;
use crate::plan::{PackageId, PhaseId, Plan, TaskId, TaskKind, key, path};

use super::message::{Effect, Ending, PhaseOutcome, Record, RunEnd, Start, Time};
use super::state::{PackageState, PhaseState, RunState, Skip, TaskState};
use super::timers::Timer;
use super::{Engine, Limits, Running};

/// Tasks of a pool compete for its slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pool {
    /// Everything that computes.
    Work,
    /// Waits for the network.
    Fetch,
    /// Writes the sysroot, one at a time.
    Merge,
}

const POOLS: [Pool; 3] = [Pool::Merge, Pool::Work, Pool::Fetch]; // first what lets others begin

/// Before others: lower phases, then longer ways to the end of the phase, then the order of the plan.
type Rank = (u32, Reverse<u64>, TaskId);

/// What is ready, by pool.
#[derive(Debug, Clone)]
pub(super) struct Queues {
    ready: [BTreeSet<Rank>; 3],
    in_use: [u32; 3],
    slots: [u32; 3],
    /// Packages that could begin but for the sysroot, which somebody changes or looks at.
    held: Vec<PackageId>,
    /// By package: expected time from its start to the end of its phase, nanoseconds.
    way: Vec<u64>,
    /// By phase: for one package at a time, the first of its packages (by position) that is not final.
    first_open: Vec<usize>,
}

impl Pool {
    fn of(plan: &Plan, task: TaskId) -> Self {
        // What writes the sysroot does so alone.
        let writes_alone = || plan.package(plan.package_of(task)).direct;
        match plan.kind(task) {
            TaskKind::Fetch => Self::Fetch,
            TaskKind::Merge => Self::Merge,
            TaskKind::Install if writes_alone() => Self::Merge,
            TaskKind::Unpack
            | TaskKind::Configure
            | TaskKind::Build
            | TaskKind::Check
            | TaskKind::Install => Self::Work,
        }
    }
}

impl Queues {
    pub(super) fn new(plan: &Plan, expected: &[u64], limits: Limits) -> Self {
        Self {
            ready: Default::default(),
            in_use: [0; 3],
            slots: [limits.jobs.max(1), limits.fetches.max(1), 1],
            held: Vec::new(),
            way: path::ways(plan, expected),
            first_open: vec![0; plan.phases.len()],
        }
    }

    pub(super) fn occupy(&mut self, plan: &Plan, task: TaskId) {
        self.in_use[Pool::of(plan, task) as usize] += 1;
    }

    fn release(&mut self, plan: &Plan, task: TaskId) {
        self.in_use[Pool::of(plan, task) as usize] -= 1;
    }

    /// Packages that were final may be open again.
    pub(super) fn look_from_the_first(&mut self) {
        self.first_open.fill(0);
    }

    /// Nobody waits for a slot.
    pub(super) fn are_empty(&self) -> bool {
        self.held.is_empty() && self.ready.iter().all(BTreeSet::is_empty)
    }

    pub(super) fn sysroot_is_busy(&self) -> bool {
        self.in_use[Pool::Merge as usize] > 0
    }

    /// It is looked at, for no task.
    pub(super) fn hold_sysroot(&mut self) {
        self.in_use[Pool::Merge as usize] += 1;
    }

    /// That is over.
    pub(super) fn leave_sysroot(&mut self) {
        self.in_use[Pool::Merge as usize] -= 1;
    }

    /// Who looks at the sysroot for this task has it alone, as who changes it has.
    pub(super) fn occupy_sysroot(&mut self, plan: &Plan, task: TaskId) {
        // A task that changes it has it anyway.
        self.in_use[Pool::Merge as usize] += u32::from(Pool::of(plan, task) != Pool::Merge);
    }

    fn release_sysroot(&mut self, plan: &Plan, task: TaskId) {
        self.in_use[Pool::Merge as usize] -= u32::from(Pool::of(plan, task) != Pool::Merge);
    }

    fn rank(&self, plan: &Plan, task: TaskId) -> Rank {
        let package = plan.package_of(task);
        let way = match plan.document.dependency_tracking.dependency_resolution.method {
            Method::Topological => 0,
            Method::Parallel | Method::Dynamic => self.way[package.0 as usize],
        };
        (plan.package(package).phase.0, Reverse(way), task)
    }
}

impl Engine {
    /// A task has ended, and its slot is free.
    pub(super) fn release(&mut self, now: Time, task: TaskId) {
        self.queues.release(&self.plan, task);
        self.release_held(now);
    }

    /// The sysroot has been looked at for a task.
    pub(super) fn release_sysroot(&mut self, now: Time, task: TaskId) {
        self.queues.release_sysroot(&self.plan, task);
        self.release_held(now);
    }

    pub(super) fn release_held(&mut self, now: Time) {
        if !self.queues.sysroot_is_busy() {
            for package in std::mem::take(&mut self.queues.held) {
                self.enqueue(now, package);
            }
        }
    }

    /// Puts the package's next task where it belongs now: into a queue, behind a timer, or nowhere.
    pub(super) fn enqueue(&mut self, now: Time, id: PackageId) {
        if self.state.package(id).state.is_final() || self.state.doomed.contains_key(&id) {
            return;
        }
        let Some(task) = self.state.next_task(&self.plan, id) else { return };
        match self.state.task(task).state {
            TaskState::Ready | TaskState::Backoff { .. } => {}
            TaskState::Blocked
            | TaskState::Running { .. }
            | TaskState::Completed
            | TaskState::Failed
            | TaskState::Skipped => return,
        }
        if !self.state.is_free(&self.plan, id) {
            return;
        }
        if let Some(until) = self.state.held_until(&self.plan, id).filter(|until| *until > now) {
            self.timers.set(until, Timer::Retry(id));
            return;
        }
        let rank = self.queues.rank(&self.plan, task);
        self.queues.ready[Pool::of(&self.plan, task) as usize].insert(rank);
    }

    /// Goes on as far as possible: packages that cannot be built or need not be, phases, tasks, the end.
    pub(super) fn advance(&mut self, now: Time, out: &mut Vec<Effect>) {
        loop {
            let ended = self.at_once;
            self.step(now, out);
            if self.at_once == ended {
                return;
            }
        }
    }

    fn step(&mut self, now: Time, out: &mut Vec<Effect>) {
        loop {
            let record = if let Some((doomed, because)) = self.state.doomed.first_key_value() {
                Record::PackageSkipped { package: self.name(*doomed), because: self.name(*because) }
            } else if let Some(kept) = self.state.kept.first() {
                Record::PackageKept { package: self.name(*kept) }
            } else {
                break;
            };
            self.record(now, record, out);
        }
        if self.state.aborted && self.closing.is_none() {
            self.close(now, Ending::Error, out);
        }
        if self.state.run == RunState::Running && self.closing.is_none() {
            self.advance_phases(now, out);
        }
        if self.closing.is_none() {
            self.take_checkpoint(now, out);
        }
        if self.state.run == RunState::Running && self.closing.is_none() {
            self.recover(now, out);
            for pool in POOLS {
                self.start_ready(now, pool, out);
            }
        }
        self.end_if_done(now, out);
    }

    fn advance_phases(&mut self, now: Time, out: &mut Vec<Effect>) {
        let plan = Arc::clone(&self.plan);
        let mut finished = true;
        for phase in plan.phase_ids() {
            match self.state.phase(phase) {
                PhaseState::Finished(outcome) => {
                    // Here too, not only when it finishes: kiln may have ended before it could say so.
                    if self.ends_run(phase, outcome) {
                        return self.close(now, Ending::Error, out);
                    }
                    continue;
                }
                PhaseState::Running => {}
                PhaseState::Pending if self.state.requirements_are_asked(&plan, phase) => return,
                PhaseState::Pending if self.has_work(phase) => {
                    if self.measuring != Some(phase) {
                        self.measuring = Some(phase);
                        out.push(Effect::Measure { phase });
                    }
                    return;
                }
                // Nothing to build needs nothing to build it with.
                PhaseState::Pending => {
                    let phase = Arc::clone(&plan.phase(phase).key);
                    self.record(now, Record::PhaseStarted { phase }, out);
                }
            }
            if self.has_work(phase) || self.state.has_open_gate(&plan, phase) {
                if plan.phase(phase).critical || !self.waits_for_answers_only(phase) {
                    return;
                }
                // What is not critical holds nobody up.
                finished = false;
                continue;
            }
            let outcome = self.outcome(phase);
            let key = Arc::clone(&plan.phase(phase).key);
            self.record(now, Record::PhaseFinished { phase: key, outcome }, out);
            if self.ends_run(phase, outcome) {
                return self.close(now, Ending::Error, out);
            }
        }
        if finished && self.is_covered(now, out) {
            self.close(now, Ending::Completed, out);
        }
    }

    /// Whether nothing happens in a phase before a person answers.
    fn waits_for_answers_only(&self, phase: PhaseId) -> bool {
        let mut packages = self.plan.phase(phase).packages.iter();
        let moves = |id: &PackageId| !self.state.package(*id).state.is_final() && self.state.is_next(*id);
        self.state.has_open_gate(&self.plan, phase) && !packages.any(moves)
    }

    fn ends_run(&self, phase: PhaseId, outcome: PhaseOutcome) -> bool {
        outcome == PhaseOutcome::Failed && self.plan.phase(phase).critical
    }

    fn has_work(&self, phase: PhaseId) -> bool {
        let counts = &self.state.counts[phase.0 as usize].packages;
        counts[PackageState::Pending.index()] + counts[PackageState::Running.index()] > 0
    }

    fn outcome(&self, phase: PhaseId) -> PhaseOutcome {
        let mut outcome = PhaseOutcome::Completed;
        for &id in &self.plan.phase(phase).packages {
            match self.state.package(id).state {
                PackageState::Failed | PackageState::Skipped(Skip::Doomed) => return PhaseOutcome::Failed,
                PackageState::Skipped(Skip::Unwanted | Skip::Waived) => outcome = PhaseOutcome::Skipped,
                PackageState::Pending | PackageState::Running | PackageState::Completed { .. } => {}
            }
        }
        outcome
    }

    /// Starts what is ready, as long as the pool has slots.
    fn start_ready(&mut self, now: Time, pool: Pool, out: &mut Vec<Effect>) {
        let method = self.plan.document.dependency_tracking.dependency_resolution.method;
        let one_at_a_time = method == Method::Topological && pool != Pool::Fetch;
        while self.queues.in_use[pool as usize] < self.queues.slots[pool as usize] {
            let Some(&rank) = self.queues.ready[pool as usize].first() else { return };
            let task = rank.2;
            let id = self.plan.package_of(task);
            // It may have been skipped, or thrown back, since it was put here.
            let current = self.state.next_task(&self.plan, id) == Some(task);
            let startable = match self.state.task(task).state {
                TaskState::Ready | TaskState::Backoff { .. } => true,
                TaskState::Blocked
                | TaskState::Running { .. }
                | TaskState::Completed
                | TaskState::Failed
                | TaskState::Skipped => false,
            };
            let free = self.state.is_free(&self.plan, id);
            if !current || !startable || !free || self.state.package(id).state.is_final() {
                self.queues.ready[pool as usize].pop_first();
                continue;
            }
            if one_at_a_time && !self.is_its_turn(id) {
                return; // it comes when those before it are done
            }
            let busy = self.queues.in_use[pool as usize] > 0;
            if pool == Pool::Work && !self.has_memory_for(now, task, busy, out) {
                return; // and so do those behind it
            }
            self.queues.ready[pool as usize].pop_first();
            if pool != Pool::Merge && self.queues.in_use[Pool::Merge as usize] > 0 && self.looks(task) {
                self.queues.held.push(id);
            } else {
                self.start(now, id, task, out);
            }
        }
    }

    /// Whether no other package is being built, nor should be before this one.
    fn is_its_turn(&mut self, id: PackageId) -> bool {
        let others = self.running.keys().filter(|task| self.plan.package_of(**task) != id);
        let alone = others.into_iter().all(|task| self.plan.kind(*task) == TaskKind::Fetch);
        alone && self.first_open(self.plan.package(id).phase) == Some(id)
    }

    /// The first package of a phase, in plan order, that is not final. Those that wait for a person to answer let others pass.
    fn first_open(&mut self, phase: PhaseId) -> Option<PackageId> {
        let packages = &self.plan.phase(phase).packages;
        let first = &mut self.queues.first_open[phase.0 as usize];
        while packages.get(*first).is_some_and(|id| self.state.package(*id).state.is_final()) {
            *first += 1;
        }
        let packages = packages.get(*first..).unwrap_or_default();
        let waits = |id: &PackageId| self.state.package(*id).state.is_final() || !self.state.is_next(*id);
        packages.iter().copied().find(|id| !waits(id))
    }

    fn start(&mut self, now: Time, id: PackageId, task: TaskId, out: &mut Vec<Effect>) {
        let kind = self.plan.kind(task);
        let history = *self.state.task(task);
        let restore = history.done;
        let last = self.state.last_attempt(&self.plan, task);
        let attempt = if restore { history.attempts.max(1) } else { last + 1 };
        self.queues.occupy(&self.plan, task);
        let plan = Arc::clone(&self.plan);
        let package = plan.package(id);
        let record = Record::TaskStarted {
            phase: Arc::clone(&plan.phase(package.phase).key),
            package: Arc::clone(&package.name),
            task: kind,
            attempt,
            restore,
            key: (kind == TaskKind::Merge || kind == TaskKind::Check && !package.check_required)
                .then(|| key::stored(&package.key, self.state.is_degraded(id))),
            direct: kind == TaskKind::Install && package.direct,
        };
        if kind == TaskKind::Install && package.direct {
            self.checkpoints.disturb();
        }
        self.record(now, record, out);
        let running = Running { attempt, restore, jobs: 1, since: now, ending: None, verifying: false };
        self.running.insert(task, running);
        if !self.verify(now, task, out) {
            self.launch(now, task, out);
        }
    }

    /// Nothing stands in the way of a task that has been started.
    pub(super) fn launch(&mut self, now: Time, task: TaskId, out: &mut Vec<Effect>) {
        let Some(&Running { attempt, restore, .. }) = self.running.get(&task) else { return };
        let (kind, id) = (self.plan.kind(task), self.plan.package_of(task));
        let package = self.plan.package(id);
        if kind.is_script() {
            if let Some(limit) = package.timeout {
                self.timers.set(now + limit, Timer::Timeout(task));
            }
            if let Some(limit) = package.silent_timeout {
                self.timers.set(now + limit, Timer::Silence(task));
            }
        }
        // Until there is a jobserver, slots are shared out between the tasks that run.
        let busy = self.queues.in_use[Pool::Work as usize].max(1);
        let share = (self.limits.jobs / busy).max(1);
        let jobs = match package.jobs {
            Jobs::All => share,
            Jobs::Most(most) => share.min(most).max(1),
        };
        let jobs = jobs.min(self.state.package(id).jobs_most.unwrap_or(jobs)).max(1);
        if let Some(running) = self.running.get_mut(&task) {
            running.jobs = jobs;
        }
        let first_in_work_directory =
            package.tasks.iter().find(|k| k.works()).is_some_and(|first| *first == kind);
        out.push(Effect::Start(Start {
            task,
            package: id,
            kind,
            attempt,
            restore,
            fresh: first_in_work_directory,
            jobs,
            degraded: self.state.is_degraded(id),
        }));
    }

    fn end_if_done(&mut self, now: Time, out: &mut Vec<Effect>) {
        let Some(ending) = self.closing else { return self.pause_for_a_person(now, out) };
        if !self.running.is_empty() || !self.acting.is_empty() {
            return;
        }
        // Who is told to stop waits for what is under way, and begins nothing.
        let is_covered = match ending {
            Ending::Stopped | Ending::Gates => self.checkpoints.are_idle(),
            Ending::Completed | Ending::Error | Ending::Requirements => self.is_covered(now, out),
        };
        if !is_covered {
            return;
        }
        let record = match ending {
            Ending::Stopped | Ending::Gates => {
                let who = self.stopped.as_ref().map(|said| format!(" {}", said.words())).unwrap_or_default();
                Record::RunPaused { reason: format!("stopped{who}").into(), held: false }
            }
            Ending::Completed => {
                Record::RunEnded { state: RunEnd::Completed, missing: self.state.missing(&self.plan) }
            }
            Ending::Error | Ending::Requirements => self.state.ended_in_error(&self.plan),
        };
        self.record(now, record, out);
        out.push(Effect::End(ending));
        self.ended = true;
    }
}
