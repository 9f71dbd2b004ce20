//! The fold: a run as its records tell it.
//!
//! Owns: which record changes which figure. Does not know: how figures are shown, the clock (whoever asks
//! says what time it is), the host.
//!
//! An attempt counts when it has ended by itself. One that kiln's own end cut off counts nowhere, so a figure
//! never has to be taken back; nor does what is run again only to restore a work directory. A retry is an
//! attempt that comes after a counted, failed one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::engine::Limits;
use crate::engine::message::{Answer, Escalation, Record, RunEnd, Time, Usage};
use crate::engine::state::{PackageState, PhaseState, RunState, Skip, State};
use crate::failure::{Category, Failure};
use crate::ledger::Entry;
use crate::plan::{PackageId, Plan, TaskKind};

use super::counters::Counters;
use super::durations::{Expectations, History};
use super::failures::{Failed, Failures};
use super::forecast::{Estimate, Forecast, Outlook, View};
use super::human;

/// A task of a package, by names: records may be of another plan.
pub(super) type Work = (Arc<str>, TaskKind);

/// What the records so far say.
#[derive(Debug, Clone)]
pub struct Progress {
    pub(super) plan: Arc<Plan>,
    pub(super) limits: Limits,
    pub(super) state: State,
    pub(super) counters: Counters,
    pub(super) run: Run,
    /// Of the current run, by whose counts nothing may depend on the plan at hand.
    pub(super) escalation: Escalation,
    pub(super) open: BTreeMap<Work, Open>,
    pub(super) last: Last,
    pub(super) checkpoints: CheckpointTimes,
    pub(super) outlook: Outlook,
    history: History,
    /// By package: since when its next task could run, where the records alone tell.
    ready: BTreeMap<Arc<str>, Time>,
    touched: Vec<PackageId>,
}

/// The last record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Last {
    pub(super) seq: i64,
    pub(super) at: Time,
    pub(super) wall: i64,
}

/// When the last checkpoint was taken, and the last that was read back; nanoseconds since 1970.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CheckpointTimes {
    /// Whether or not it was read back.
    pub last: Option<i64>,
    /// Read back.
    pub verified: Option<i64>,
}

/// The current run, or the last. Times are nanoseconds since 1970.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Run {
    pub(super) definition: Arc<str>,
    pub(super) started: Option<i64>,
    pub(super) last_progress: Option<i64>,
    pub(super) ended: Option<i64>,
    /// Why it is paused.
    pub(super) paused: Option<Arc<str>>,
    /// The phase that started last.
    pub(super) phase: Option<Arc<str>>,
    pub(super) phases: BTreeMap<Arc<str>, PhaseSeen>,
    pub(super) attempts: u64,
    pub(super) failed_attempts: u64,
    pub(super) retries: u64,
    /// Packages built or reused.
    pub(super) completed: u64,
    pub(super) failed: u64,
    /// Skipped because of others.
    pub(super) skipped: u64,
    pub(super) unwanted: u64,
    /// Packages of its definition; 0 where that is not known.
    planned: u64,
    /// Once it has ended: packages that were wanted and are not there.
    pub(super) missing: Vec<Arc<str>>,
    /// Packages built, and the nanoseconds that their tasks ran.
    pub(super) built: (u64, u64),
    pub(super) failures: Failures,
    /// Packages that were completed, were damaged since and are being merged again.
    mending: BTreeSet<Arc<str>>,
    /// Gates of this run.
    pub(super) asked: BTreeMap<u32, Asked>,
    /// By phase: what it requires and is not there.
    unmet: BTreeMap<Arc<str>, String>,
    /// CPU time, nanoseconds.
    pub(super) cpu: u64,
    /// By package that is not complete: nanoseconds that its tasks ran.
    spent: BTreeMap<Arc<str>, u64>,
    /// Counted failures of tasks.
    tried: BTreeMap<Work, u32>,
    decided: Time,
}

/// What a person is or was asked.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Asked {
    /// When, nanoseconds since 1970.
    pub(super) wall: i64,
    /// Whose requirements are not met, if it is about that.
    phase: Option<Arc<str>>,
    /// Which, in words.
    pub(super) why: Option<String>,
}

/// What the records say of a phase of the current run, whether or not the plan at hand has it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct PhaseSeen {
    pub(super) state: PhaseState,
    pub(super) started: Option<i64>,
    pub(super) finished: Option<i64>,
}

/// A task that was started and has not ended.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Open {
    pub(super) phase: Arc<str>,
    pub(super) attempt: u32,
    pub(super) restore: bool,
    pub(super) at: Time,
    pub(super) wall: i64,
}

impl Progress {
    /// Before the first record.
    pub fn new(plan: Arc<Plan>, limits: Limits) -> Self {
        let state = State::new(&plan);
        Self {
            plan,
            limits,
            state,
            counters: Counters::default(),
            run: Run::default(),
            escalation: Escalation::default(),
            open: BTreeMap::new(),
            last: Last::default(),
            checkpoints: CheckpointTimes::default(),
            outlook: Outlook::default(),
            history: History::default(),
            ready: BTreeMap::new(),
            touched: Vec::new(),
        }
    }

    /// One record more. One that has been folded before changes nothing.
    pub fn fold(&mut self, entry: &Entry) {
        if entry.seq <= self.last.seq {
            return;
        }
        self.last = Last { seq: entry.seq, at: entry.at, wall: entry.wall };
        self.counters.records += 1;
        self.state.apply(&self.plan, entry.at, &entry.record, &mut self.touched);
        self.touched.clear();
        self.count(entry);
    }

    /// The plan.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// What the host allows, as far as estimates are concerned.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// So many tasks and fetches may run at once.
    pub fn limit(&mut self, jobs: u32, fetches: u32) {
        self.limits = Limits { jobs, fetches, ..self.limits };
    }

    /// The state of the run, as the plan at hand sees it.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Counters of the ledger's life.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Packages in which something failed in this run.
    pub fn failures(&self) -> &Failures {
        &self.run.failures
    }

    /// Phase of a running task, and when it began.
    pub(super) fn running(&self, package: &Arc<str>, task: TaskKind) -> Option<&Open> {
        self.open.get(&(Arc::clone(package), task))
    }

    /// How long the tasks of a package that is not complete have run.
    pub(super) fn spent_on(&self, package: &str) -> Duration {
        Duration::from_nanos(self.run.spent.get(package).copied().unwrap_or(0))
    }

    /// Whether the last run is one of another definition than the plan.
    pub fn is_foreign(&self) -> bool {
        self.state.run != RunState::Idle && *self.state.digest() != *self.plan.digest
    }

    /// What each package's tasks are expected to take together, for the engine's critical path: nanoseconds,
    /// or, while nothing is known, thousandths of a unit of weight.
    pub fn expected(&self) -> Vec<u64> {
        self.expectations().packages().to_vec()
    }

    /// What each task is expected to need of memory, bytes, by `TaskId`; 0 where nobody knows.
    pub fn expected_memory(&self) -> Vec<u64> {
        self.history.memory(&self.plan)
    }

    /// What each task is expected to take.
    pub fn expectations(&self) -> Expectations {
        Expectations::new(&self.plan, &self.history)
    }

    /// How long the rest of the run will take, as of `now` (nanoseconds since 1970). `None` while nothing is
    /// known; nothing once the run has ended. Simulates at most once in `Outlook::interval`.
    pub fn estimate(&mut self, now: i64) -> Option<Estimate> {
        if let Some(forecast) = self.take_forecast(now) {
            let view = forecast.compute();
            self.keep(view);
        }
        self.outlook.estimate(now)
    }

    /// What is needed to look ahead, if it is time to do so again. Looking takes long where plans are large:
    /// `Forecast::compute` it without holding a lock on this, then `keep` the outcome.
    pub fn take_forecast(&mut self, now: i64) -> Option<Forecast> {
        if !self.outlook.is_due(&self.plan, now) {
            return None;
        }
        self.outlook.begin(now);
        Some(Forecast {
            plan: Arc::clone(&self.plan),
            limits: self.limits,
            state: (!self.is_foreign()).then(|| self.state.clone()),
            history: self.history.clone(),
            time: self.time(now),
            now,
        })
    }

    /// What came out of a forecast.
    pub fn keep(&mut self, view: View) {
        self.outlook.keep(view);
    }

    /// Running time of the run at `now`.
    pub(super) fn time(&self, now: i64) -> Time {
        match self.state.run {
            RunState::Running => self.last.at + human::between(self.last.wall, now),
            RunState::Idle | RunState::Paused | RunState::Completed | RunState::Error => self.last.at,
        }
    }

    /// Packages wanted in this run, whether or not they will be there.
    pub(super) fn wanted(&self) -> u64 {
        let mine = self.plan.packages.len() as u64;
        let planned = |all: u64| all.saturating_sub(self.run.unwanted);
        match (self.is_foreign(), self.run.ended) {
            (false, _) => planned(mine),
            (true, _) if self.run.planned > 0 => planned(self.run.planned),
            // Where its records do not say what another definition wanted, its end does.
            (true, Some(_)) => self.run.completed + self.run.missing.len() as u64,
            (true, None) => planned(mine).max(self.run.completed),
        }
    }

    fn count(&mut self, entry: &Entry) {
        let (at, wall) = (entry.at, entry.wall);
        match &entry.record {
            Record::RunStarted { definition, escalation, .. } => {
                self.escalation.clone_from(escalation);
                self.run = Run { definition: Arc::clone(definition), started: Some(wall), ..Run::default() };
                self.forget_flying();
            }
            Record::RunResumed { afresh, escalation, .. } => {
                self.escalation.clone_from(escalation);
                self.run.paused = None;
                self.outlook.invalidate();
                if *afresh {
                    self.run.phases.clear();
                    self.run.tried.clear();
                    self.run.failures.afresh(wall);
                    self.forget_flying();
                }
            }
            Record::Decided { reused, skipped, packages, .. } => {
                self.run.planned = *packages;
                self.run.completed = reused.len() as u64;
                self.run.unwanted = skipped.len() as u64;
                // What a person is asked about stays failed.
                let asked = self.state.gates.values().filter(|gate| gate.package.is_some()).count();
                (self.run.failed, self.run.skipped) = (asked as u64, self.waived(None));
                self.run.mending.clear();
                self.run.decided = at;
                self.outlook.invalidate();
            }
            Record::PhaseStarted { phase } => {
                self.run.phase = Some(Arc::clone(phase));
                let seen = self.run.phases.entry(Arc::clone(phase)).or_default();
                (seen.state, seen.started) = (PhaseState::Running, Some(wall));
                self.counters.phase(phase);
            }
            Record::PhaseFinished { phase, outcome } => {
                let seen = self.run.phases.entry(Arc::clone(phase)).or_default();
                (seen.state, seen.finished) = (PhaseState::Finished(*outcome), Some(wall));
            }
            Record::TaskStarted { phase, package, task, attempt, restore, .. } => {
                let phase = Arc::clone(phase);
                self.waited(package, *task, *restore, at);
                let open = Open { phase, attempt: *attempt, restore: *restore, at, wall };
                self.open.insert((Arc::clone(package), *task), open);
            }
            Record::TaskFinished { package, task, usage, .. } => {
                self.run.last_progress = Some(wall);
                self.run.failures.succeeded(package, *task, wall);
                if let Some(open) = self.ended(package, *task, at, None, usage)
                    && !open.restore
                {
                    self.history.learn(package, *task, nanoseconds(open.at, at), usage.peak_memory);
                    self.outlook.done(&self.plan, package, *task);
                }
                // The task after a fetch may have to wait for its phase and for other packages.
                if *task == TaskKind::Fetch {
                    self.ready.remove(package);
                } else {
                    self.ready.insert(Arc::clone(package), at);
                }
            }
            Record::TaskFailed { package, task, attempt, failure, retry_at, tolerated, usage, .. } => {
                if let Some(open) = self.ended(package, *task, at, Some(failure), usage)
                    && !*tolerated
                {
                    let phase = &open.phase;
                    let failed = Failed { phase, package, task: *task, attempt: *attempt, failure };
                    self.failed(&failed, wall);
                }
                match retry_at {
                    Some(retry_at) => self.ready.insert(Arc::clone(package), *retry_at),
                    None if *tolerated => self.ready.insert(Arc::clone(package), at),
                    None => self.ready.remove(package),
                };
            }
            Record::TaskInterrupted { package, task, .. } => {
                self.open.remove(&(Arc::clone(package), *task));
                self.ready.insert(Arc::clone(package), at);
            }
            Record::PackageCompleted { phase, package, .. } => {
                self.run.completed += 1;
                self.run.last_progress = Some(wall);
                // What was merged again was not built again.
                if !self.run.mending.remove(package) {
                    self.counters.phase(phase).packages_completed += 1;
                    self.run.built.0 += 1;
                    self.run.built.1 += self.run.spent.remove(package).unwrap_or(0);
                }
                self.run.failures.completed(package, wall);
                self.ready.remove(package);
            }
            Record::PackageFailed { package, .. } => {
                self.run.failed += 1;
                let risen = self.run.failures.spent(package, wall);
                self.escalated(risen);
                self.ready.remove(package);
            }
            Record::ActionFinished { action, result, .. } => self.counters.acted(*action, *result),
            Record::GateOpened { gate, reason, phase, package, task, .. } => {
                let of_phase = package.is_none().then(|| Arc::clone(phase));
                let why = self.run.unmet.remove(phase).filter(|_| of_phase.is_some());
                self.run.asked.insert(*gate, Asked { wall, phase: of_phase, why });
                let Some(package) = package else { return };
                self.run.failed += 1;
                let (gate, task) = ((*gate, *reason), task.unwrap_or(TaskKind::Build));
                self.run.failures.gate_opened(phase, package, task, gate, wall);
                self.escalated(Some(3));
                self.ready.remove(package);
            }
            Record::GateAnswered { gate, answer, .. } => {
                if let Some(phase) = self.run.asked.get(gate).and_then(|asked| asked.phase.clone())
                    && *answer == Answer::Skip
                {
                    self.run.skipped += self.waived(Some(&phase));
                }
                if let Some(package) = self.run.failures.gate_ended(*gate, wall) {
                    self.run.failed = self.run.failed.saturating_sub(u64::from(*answer != Answer::Abort));
                    match answer {
                        Answer::Retry => {
                            self.ready.insert(package, at);
                        }
                        Answer::Skip => {
                            self.run.skipped += 1;
                            self.run.failures.completed(&package, wall);
                        }
                        Answer::Abort => {
                            self.run.failures.spent(&package, wall);
                        }
                    }
                }
                self.outlook.invalidate();
            }
            Record::GateClosed { gate } => {
                if let Some(package) = self.run.failures.gate_ended(*gate, wall) {
                    self.run.failures.completed(&package, wall);
                }
            }
            Record::PackageDamaged { phase, package, path, what, archive } => {
                self.run.completed = self.run.completed.saturating_sub(1);
                if *archive {
                    self.run.mending.insert(Arc::clone(package));
                } else {
                    self.run.mending.remove(package);
                }
                self.outlook.invalidate();
                // Until it is there again, something is wrong with the package; no attempt has failed.
                let phase = &if phase.is_empty() { self.planned_phase(package) } else { Arc::clone(phase) };
                if let Some(seen @ PhaseSeen { state: PhaseState::Finished(_), .. }) =
                    self.run.phases.get_mut(phase)
                {
                    seen.state = PhaseState::Running;
                }
                let text = format!("damaged in the sysroot: `{path}` {what}");
                let failure = &Failure::fact(Category::BrokenDependency, "kiln", text);
                let failed = Failed { phase, package, task: TaskKind::Merge, attempt: 1, failure };
                self.failed(&failed, wall);
            }
            Record::PackageSkipped { package, .. } => {
                self.run.skipped += 1;
                // What it could not be built without is what failed.
                self.run.failures.completed(package, wall);
                self.ready.remove(package);
            }
            Record::PackageKept { .. } => self.run.completed += 1,
            Record::RunPaused { reason, .. } => {
                self.run.paused = Some(Arc::clone(reason));
                self.outlook.invalidate();
            }
            Record::RunEnded { state, missing } => {
                match state {
                    RunEnd::Completed => self.counters.runs_completed += 1,
                    RunEnd::Error => self.counters.runs_error += 1,
                }
                self.run.failures.end_gates(wall);
                self.run.ended = Some(wall);
                self.run.paused = None;
                self.run.missing.clone_from(missing);
                self.outlook.invalidate();
            }
            Record::RequirementUnmet { phase, requirement, required, available } => {
                let text = human::unmet(phase, *requirement, *required, *available);
                let all = self.run.unmet.entry(Arc::clone(phase)).or_default();
                let and = if all.is_empty() { "" } else { "; " };
                all.push_str(&format!("{and}{text}"));
            }
            Record::CheckpointTaken { verified, .. } => {
                self.counters.checkpoints += 1;
                self.checkpoints.last = Some(wall);
                if *verified {
                    self.checkpoints.verified = Some(wall);
                }
            }
            Record::CheckpointFailed { .. } => self.counters.failed_checkpoints += 1,
            Record::Restored { packages, definition, .. } => {
                let run = &mut self.run;
                if run.definition.is_empty() {
                    run.definition = Arc::clone(definition);
                }
                run.completed = packages.len() as u64;
                (run.failed, run.skipped, run.unwanted) = (0, 0, 0);
                run.ended = None;
                run.paused = None;
                run.missing.clear();
                run.mending.clear();
                run.phases.clear();
                run.tried.clear();
                run.asked.clear();
                run.failures.end_gates(wall);
                run.failures.afresh(wall);
                self.forget_flying();
            }
            Record::WorkLost { .. }
            | Record::Verified { .. }
            | Record::RestoreFinished { .. }
            | Record::Undone { .. }
            | Record::PackageRemoved { .. } => {}
        }
    }

    /// Packages, of a phase or all, that a person goes on without and that were not reported as skipped one by one.
    fn waived(&self, phase: Option<&str>) -> u64 {
        let of_phase = |id: &PackageId| {
            phase.is_none_or(|phase| *self.plan.phase(self.plan.package(*id).phase).key == *phase)
        };
        let waived = |id: &PackageId| self.state.package(*id).state == PackageState::Skipped(Skip::Waived);
        self.plan.package_ids().filter(|id| waived(id) && of_phase(id)).count() as u64
    }

    /// The phase that the plan at hand has a package in; empty where it has no such package.
    fn planned_phase(&self, package: &str) -> Arc<str> {
        let id = self.plan.find(package);
        id.map(|id| Arc::clone(&self.plan.phase(self.plan.package(id).phase).key)).unwrap_or_default()
    }

    fn failed(&mut self, failed: &Failed<'_>, wall: i64) {
        let risen = self.run.failures.failed(failed, self.escalation.threshold, wall);
        self.escalated(risen);
    }

    /// Whoever is to be told of a package's escalation has been: by the record's own entry, and by the metrics.
    fn escalated(&mut self, risen: Option<u8>) {
        if let Some(level) = risen {
            self.counters.escalated(level, &self.escalation.channels);
        }
    }

    /// How long a task that starts now could have run before. Not known of a package's first own task: when
    /// the packages that it waits for were there is for the plan to say, and plans change.
    fn waited(&mut self, package: &Arc<str>, task: TaskKind, restore: bool, now: Time) {
        let ready = self.ready.remove(package);
        let since = if task == TaskKind::Fetch { ready.or(Some(self.run.decided)) } else { ready };
        if let Some(since) = since.filter(|_| !restore) {
            self.counters.queued[task as usize].observe(now.since(since).as_secs_f64());
        }
    }

    /// A task ended by itself. Returns what was started.
    fn ended(
        &mut self,
        package: &Arc<str>,
        task: TaskKind,
        at: Time,
        failure: Option<&Failure>,
        usage: &Usage,
    ) -> Option<Open> {
        let work = (Arc::clone(package), task);
        let open = self.open.remove(&work)?;
        let took = nanoseconds(open.at, at);
        self.counters.usage(&open.phase, usage);
        self.run.cpu += usage.cpu;
        *self.run.spent.entry(Arc::clone(package)).or_default() += took;
        if !open.restore {
            let retry = self.run.tried.contains_key(&work);
            let category = failure.map(|failure| failure.category);
            self.counters.attempt(&open.phase, task, took, retry, category, usage);
            self.run.attempts += 1;
            self.run.retries += u64::from(retry);
            if failure.is_some() {
                self.run.failed_attempts += 1;
                *self.run.tried.entry(work).or_default() += 1;
            }
        }
        Some(open)
    }

    /// What was in flight in a run that does not go on is gone.
    fn forget_flying(&mut self) {
        self.open.clear();
        self.ready.clear();
        self.outlook.invalidate();
    }
}

fn nanoseconds(from: Time, to: Time) -> u64 {
    u64::try_from(to.since(from).as_nanos()).unwrap_or(u64::MAX)
}

/// Of a span, for sums.
pub(super) fn mean(total: u64, count: u64) -> Duration {
    total.checked_div(count).map_or(Duration::ZERO, Duration::from_nanos)
}
