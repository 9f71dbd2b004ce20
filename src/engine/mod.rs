#![deny(clippy::disallowed_types, clippy::disallowed_methods)]
//! The engine: what to do next, and what that means for the run.
//!
//! Owns: every decision about scheduling, retries, phases and the end of a run. It is pure: it is told what
//! happens and when, and says what to record and what to do. No clock, no I/O, no randomness, no hash order
//! (lints hold it to that), so a run can be replayed, simulated and cloned.
//! Does not know: how a task is run, where records are kept, who watches.
//!
//! **Invariant**: `State` changes only through `State::apply`, and `apply` is only called with records that
//! are also handed out as `Effect::Record`, in the same order. Everything else in `Engine` is derived from
//! the state, or about what is in flight and would not survive kiln's end anyway.
//!
//! Reading order: `message`, `record`, `state`, `schedule`, `verify`, `recovery`, `gate`, `checkpoint`, `memory`, then `estimate`.

pub mod checkpoint;
pub mod command;
pub mod estimate;
pub mod gate;
mod life;
mod memory;
pub mod message;
pub mod record;
pub mod recovery;
mod schedule;
pub mod state;
mod timers;
mod verify;

#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::config::document::AutomaticRecovery;
use crate::failure::{Category, Failure};
use crate::plan::{PackageId, PhaseId, Plan, TaskId, TaskKind};

use checkpoint::Checkpoints;
use memory::Memory;
use message::{
    Damaged, Effect, Ending, Escalation, Event, Facts, Have, Outcome, Record, Requirement, Resources, Time,
    Usage,
};
use recovery::Acting;
use schedule::Queues;
use state::{PackageState, PhaseState, RunState, Skip, State, TaskState};
use timers::{Timer, Timers};

/// What the host allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Tasks at once, fetches and merges not counted.
    pub jobs: u32,
    /// Fetches at once.
    pub fetches: u32,
    /// From TERM to KILL.
    pub grace: Duration,
}

/// Who and what a new run is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunInfo {
    /// Id of a new run.
    pub build_id: Arc<str>,
    /// Version of kiln.
    pub kiln: Arc<str>,
    /// Names the machine's start; another after each.
    pub boot: Arc<str>,
}

/// The engine of one run.
#[derive(Debug, Clone)]
pub struct Engine {
    plan: Arc<Plan>,
    limits: Limits,
    info: RunInfo,
    state: State,
    queues: Queues,
    running: BTreeMap<TaskId, Running>,
    timers: Timers,
    /// A measurement is under way.
    measuring: Option<PhaseId>,
    /// What is being done about failures.
    acting: BTreeMap<PackageId, Acting>,
    checkpoints: Checkpoints,
    /// When only a person can go on the run does not end.
    waits: bool,
    /// Nothing more is started; the run ends like this once nothing is running.
    closing: Option<Ending>,
    /// Who wanted the end, where that was said.
    stopped: Option<command::Said>,
    ended: bool,
    memory: Memory,
    /// How many tasks ended as soon as they were started.
    at_once: u64,
    /// Strict dependencies are looked at. Not by an engine that only estimates.
    verifies: bool,
}

/// A task in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Running {
    attempt: u32,
    restore: bool,
    /// It may use so many.
    jobs: u32,
    since: Time,
    ending: Option<EndReason>,
    /// It is not under way yet: what it depends on is being looked at.
    verifying: bool,
}

/// Why a running task was told to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EndReason {
    /// The run ends.
    Closing,
    /// It took longer than its `timeout`.
    TooLong(Duration),
    /// It printed nothing for longer than its `silent_timeout`.
    Silent(Duration),
}

impl Engine {
    /// An engine that goes on from `state`, which is new or replayed from a ledger. `expected`: what a
    /// package's tasks are expected to take together, in nanoseconds, by package.
    pub fn new(plan: Arc<Plan>, limits: Limits, info: RunInfo, state: State, expected: &[u64]) -> Self {
        let queues = Queues::new(&plan, expected, limits);
        Self {
            plan,
            limits,
            info,
            state,
            queues,
            running: BTreeMap::new(),
            timers: Timers::default(),
            measuring: None,
            acting: BTreeMap::new(),
            checkpoints: Checkpoints::default(),
            waits: false,
            closing: None,
            stopped: None,
            ended: false,
            memory: Memory::default(),
            at_once: 0,
            verifies: true,
        }
    }

    /// A run that only a person can go on with does not end, but waits for the answer.
    #[must_use]
    pub fn waiting(mut self) -> Self {
        self.waits = true;
        self
    }

    /// The state so far.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The plan.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// Something happened at `now`: what to record and do, in this order.
    #[must_use]
    pub fn handle(&mut self, now: Time, event: Event) -> Vec<Effect> {
        let mut out = Vec::new();
        if self.ended {
            return out;
        }
        match event {
            Event::Begin(facts) => self.begin(now, &facts, &mut out),
            Event::Tick => self.tick(now, &mut out),
            Event::Finished { task, outcome, usage } => self.finished(now, task, outcome, usage, &mut out),
            Event::Measured { phase, resources } => self.measured(now, phase, resources, &mut out),
            Event::Memory { available } => self.measured_memory(available),
            Event::Verified { task, findings } => self.verified(now, task, findings, &mut out),
            Event::Output { task, last } => self.output(now, task, last, &mut out),
            Event::Acted { package, acted } => self.acted(now, package, acted, &mut out),
            Event::Checkpointed { number, result } => self.checkpointed(now, number, result, &mut out),
            Event::Answered(answered) => self.answered(now, answered, &mut out),
            Event::Pause(said) => self.hold(now, &said, &mut out),
            Event::Resume(said) => self.resume(now, &said, &mut out),
            Event::TakeCheckpoint => self.ask_for_checkpoint(now, &mut out),
            Event::Stop => self.stop(now, &mut out),
            Event::StopFor(said) => {
                self.stopped.get_or_insert(said);
                self.stop(now, &mut out);
            }
        }
        self.advance(now, &mut out);
        self.forget_memory();
        out
    }

    /// When the engine wants an `Event::Tick`, if nothing happens before.
    pub fn next_wakeup(&self) -> Option<Time> {
        self.timers.next()
    }

    /// The one way in which the state changes and a record leaves.
    fn record(&mut self, now: Time, record: Record, out: &mut Vec<Effect>) {
        let mut touched = Vec::new();
        self.state.apply(&self.plan, now, &record, &mut touched);
        // Earlier ones may be open again.
        if let Record::PackageDamaged { .. } | Record::GateAnswered { .. } = record {
            self.queues.look_from_the_first();
        }
        self.note_for_checkpoints(&record);
        out.push(Effect::Record(record));
        for package in touched {
            self.enqueue(now, package);
        }
    }

    fn name(&self, id: PackageId) -> Arc<str> {
        Arc::clone(&self.plan.package(id).name)
    }

    fn begin(&mut self, now: Time, facts: &Facts, out: &mut Vec<Effect>) {
        let have = |id: PackageId| facts.have(id);
        match self.state.run {
            RunState::Idle | RunState::Completed | RunState::Error => {
                // A part of the definition is a run of its own, whatever a paused run asks.
                for gate in self.state.gates.keys().copied().collect::<Vec<_>>() {
                    self.record(now, Record::GateClosed { gate }, out);
                }
                let record = Record::RunStarted {
                    build_id: Arc::clone(&self.info.build_id),
                    definition: Arc::clone(&self.plan.definition),
                    digest: Arc::clone(&self.plan.digest),
                    kiln: Arc::clone(&self.info.kiln),
                    boot: Arc::clone(&self.info.boot),
                    escalation: Escalation::of(&self.plan.document.error_recovery),
                };
                self.record(now, record, out);
                self.decide(now, facts, out);
            }
            RunState::Running | RunState::Paused => {
                let waived =
                    |id: &PackageId| self.state.package(*id).state == PackageState::Skipped(Skip::Waived);
                let afresh = *self.state.digest() != *self.plan.digest
                    || facts.forced.iter().any(waived)
                    || self.plan.package_ids().any(|id| self.state.is_gone(&self.plan, id, have(id)));
                let held = self.state.held;
                self.go_on(now, None, afresh, out);
                if held {
                    // Somebody has killed it, or the power was cut: that does not say that it should go on.
                    let reason = "it was paused when kiln ended; `kiln resume` goes on".into();
                    self.record(now, Record::RunPaused { reason, held }, out);
                }
                if afresh {
                    self.close_moot_gates(now, facts, out);
                    self.decide(now, facts, out);
                } else {
                    self.pick_up(now, have, out);
                }
            }
        }
    }

    fn decide(&mut self, now: Time, facts: &Facts, out: &mut Vec<Effect>) {
        let names = |what: Have| {
            self.plan.package_ids().filter(|id| facts.have(*id) == what).map(|id| self.name(id)).collect()
        };
        let record = Record::Decided {
            reused: names(Have::Everything),
            archived: names(Have::Archive),
            skipped: names(Have::Unselected),
            degraded: names(Have::Degraded),
            failed_checks: facts.failed_checks.iter().map(|id| self.name(*id)).collect(),
            forced: facts.forced.iter().map(|id| self.name(*id)).collect(),
            packages: self.plan.packages.len() as u64,
        };
        self.record(now, record, out);
    }

    /// After kiln's end in the middle of a run: what was in flight is interrupted, the rest goes on.
    fn pick_up(&mut self, now: Time, have: impl Fn(PackageId) -> Have, out: &mut Vec<Effect>) {
        for id in self.plan.package_ids() {
            let mut interrupted = false;
            for task in self.plan.tasks_of(id) {
                if let TaskState::Running { attempt, .. } = self.state.task(task).state {
                    interrupted = true;
                    let record = Record::TaskInterrupted {
                        package: self.name(id),
                        task: self.plan.kind(task),
                        attempt,
                    };
                    self.record(now, record, out);
                }
            }
            if self.state.package(id).state == PackageState::Running
                && !interrupted
                && have(id) != Have::WorkDirectory
            {
                self.record(now, Record::WorkLost { package: self.name(id) }, out);
            }
            // A ledger that ends between a last task's end and this has been cut; it must not hang us.
            self.complete(now, id, out);
            self.enqueue(now, id);
        }
    }

    fn tick(&mut self, now: Time, out: &mut Vec<Effect>) {
        while let Some(timer) = self.timers.pop(now) {
            match timer {
                Timer::Retry(package) => self.enqueue(now, package),
                // What waits for memory is looked at after every event.
                Timer::Memory => {}
                Timer::Timeout(task) => {
                    let limit = self.plan.package(self.plan.package_of(task)).timeout;
                    self.end_task(now, task, EndReason::TooLong(limit.unwrap_or_default()), out);
                }
                Timer::Silence(task) => {
                    if self.running.contains_key(&task) {
                        out.push(Effect::WatchOutput { task });
                    }
                }
                Timer::Grace(task) => {
                    if self.running.contains_key(&task) {
                        out.push(Effect::Kill { task, at_once: true });
                    }
                }
            }
        }
    }

    fn output(&mut self, now: Time, task: TaskId, last: Time, out: &mut Vec<Effect>) {
        let Some(limit) = self.plan.package(self.plan.package_of(task)).silent_timeout else { return };
        let Some(running) = self.running.get(&task) else { return };
        let due = last.max(running.since) + limit;
        if due <= now {
            self.end_task(now, task, EndReason::Silent(limit), out);
        } else {
            self.timers.set(due, Timer::Silence(task));
        }
    }

    /// Tells a running task to end, unless it has been told already.
    fn end_task(&mut self, now: Time, task: TaskId, reason: EndReason, out: &mut Vec<Effect>) {
        let Some(running) = self.running.get_mut(&task) else { return };
        if running.ending.is_none() {
            running.ending = Some(reason);
            self.timers.set(now + self.limits.grace, Timer::Grace(task));
            out.push(Effect::Kill { task, at_once: false });
        }
    }

    fn finished(&mut self, now: Time, task: TaskId, outcome: Outcome, usage: Usage, out: &mut Vec<Effect>) {
        let Some(running) = self.running.remove(&task) else { return };
        self.timers.forget(task);
        let kind = self.plan.kind(task);
        let id = self.plan.package_of(task);
        self.release(now, task);
        let (package, attempt, restore) = (self.name(id), running.attempt, running.restore);
        let failure = match (outcome, running.ending) {
            (Outcome::Success, _) => {
                self.record(now, Record::TaskFinished { package, task: kind, attempt, restore, usage }, out);
                self.complete(now, id, out);
                return;
            }
            (Outcome::Failure(_), Some(EndReason::Closing)) => {
                self.record(now, Record::TaskInterrupted { package, task: kind, attempt }, out);
                return;
            }
            (Outcome::Failure(_), Some(EndReason::TooLong(limit))) => Failure::fact(
                Category::ResourceExhaustion,
                "kiln",
                format!("ran longer than its timeout of {limit:?} and was ended"),
            )
            .hint("raise `timeout` in the recipe, or give it more jobs"),
            (Outcome::Failure(_), Some(EndReason::Silent(limit))) => Failure::fact(
                Category::ResourceExhaustion,
                "kiln",
                format!("printed nothing for its silent_timeout of {limit:?} and was ended"),
            )
            .hint("raise `silent_timeout` in the recipe, or look for what it waits for"),
            (Outcome::Failure(failure), None) => failure,
        };
        self.failed(now, task, running, failure, usage, out);
    }

    fn failed(
        &mut self,
        now: Time,
        task: TaskId,
        running: Running,
        failure: Failure,
        usage: Usage,
        out: &mut Vec<Effect>,
    ) {
        let (id, kind) = (self.plan.package_of(task), self.plan.kind(task));
        let over = self.state.package(id).state.is_final();
        let tolerated = kind == TaskKind::Check && !self.plan.package(id).check_required;
        let rule: &AutomaticRecovery = &self.plan.document.error_recovery.automatic_recovery;
        let failures = self.state.task(task).failures + 1;
        let same = rule.stop_on_same_failure
            && self.state.evidence.get(&task).is_some_and(|last| *last == failure.fingerprint());
        let may = rule.enabled && failures < rule.max_attempts && failure.retryable && !same;
        let retry_at = (may && !tolerated && !over).then(|| now + self.pause(&failure, failures));
        let jobs = retry_at.and(recovery::fewer_jobs(&failure, running.jobs));
        let category = failure.category;
        let package = self.name(id);
        let record = Record::TaskFailed {
            package: Arc::clone(&package),
            task: kind,
            attempt: running.attempt,
            restore: running.restore,
            failure,
            retry_at,
            tolerated,
            jobs,
            usage,
        };
        self.record(now, record, out);
        if tolerated {
            self.complete(now, id, out);
        } else if retry_at.is_some() || over {
            // It is tried again; or nobody waits for it any more.
        } else if running.restore && kind == TaskKind::Merge {
            let (path, what) = ("its archive".into(), "could not be merged again".into());
            let damaged = Damaged { package: id, path, what, others: 0, archive: false };
            self.note_damage(now, &damaged, out);
        } else {
            self.give_up(now, id, kind, category, false, out);
        }
    }

    /// A task that was cut off, or had not begun.
    fn interrupted(&mut self, now: Time, task: TaskId, out: &mut Vec<Effect>) {
        let Some(Running { attempt, .. }) = self.running.remove(&task) else { return };
        self.timers.forget(task);
        self.release(now, task);
        let (package, task) = (self.name(self.plan.package_of(task)), self.plan.kind(task));
        self.record(now, Record::TaskInterrupted { package, task, attempt }, out);
    }

    /// If that was the package's last task, the package is complete.
    fn complete(&mut self, now: Time, id: PackageId, out: &mut Vec<Effect>) {
        let package = self.plan.package(id);
        if self.state.next_task(&self.plan, id).is_none() && !self.state.package(id).state.is_final() {
            let record = Record::PackageCompleted {
                phase: Arc::clone(&self.plan.phase(package.phase).key),
                package: Arc::clone(&package.name),
                version: Arc::clone(&package.version),
                key: Arc::clone(&package.key),
                degraded: self.state.is_degraded(id),
            };
            self.record(now, record, out);
        }
    }

    fn stop(&mut self, now: Time, out: &mut Vec<Effect>) {
        let again = self.closing == Some(Ending::Stopped);
        self.close(now, Ending::Stopped, out);
        if again {
            // Without its record it is none, and the next start deletes what there is of it.
            self.checkpoints.abandon();
            out.extend(self.running.keys().map(|task| Effect::Kill { task: *task, at_once: true }));
        }
    }

    /// Nothing more is started, and what runs is told to end.
    fn close(&mut self, now: Time, ending: Ending, out: &mut Vec<Effect>) {
        self.closing = Some(ending);
        let tasks: Vec<TaskId> = self.running.keys().copied().collect();
        for task in tasks {
            self.end_task(now, task, EndReason::Closing, out);
        }
        out.extend(self.acting.keys().map(|package| Effect::CancelAct { package: *package }));
    }

    fn measured(&mut self, now: Time, phase: PhaseId, there: Resources, out: &mut Vec<Effect>) {
        if self.measuring != Some(phase) {
            return;
        }
        self.measuring = None;
        // Whoever goes on asks again.
        if self.closing.is_some() || self.state.run != RunState::Running {
            return;
        }
        let plan = Arc::clone(&self.plan);
        let wanted = plan.phase(phase);
        let complete = there.toolchain_verified
            && plan.find_phase("toolchain").is_some_and(|t| {
                self.state.phase(t) == PhaseState::Finished(message::PhaseOutcome::Completed)
            });
        let unmet = [
            (Requirement::DiskSpace, wanted.disk_space, there.disk),
            (Requirement::Memory, wanted.memory, there.memory),
            (Requirement::Toolchain, wanted.toolchain.then_some(1), u64::from(complete)),
        ];
        let mut met = true;
        for (requirement, required, available) in unmet {
            let Some(required) = required.filter(|r| *r > available) else { continue };
            met = false;
            let phase = Arc::clone(&wanted.key);
            self.record(now, Record::RequirementUnmet { phase, requirement, required, available }, out);
        }
        if met {
            self.record(now, Record::PhaseStarted { phase: Arc::clone(&wanted.key) }, out);
        } else if !self.ask_for_phase(now, phase, out) {
            self.close(now, Ending::Requirements, out);
        }
    }
}
