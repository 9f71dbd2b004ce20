//! A run at one moment: what metrics, documents, updates and the page are made of.
//!
//! Owns: what each of them may look at. Does not know: how it is shown, the host (see `live`).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::config::document::{GateReason, NotificationChannel, ProgressTracking};
use crate::engine::gate::Gate;
use crate::engine::message::{Escalation, PhaseOutcome, Time};
use crate::engine::state::{Counts, PackageState, PhaseState, RunState, TaskState};
use crate::failure::Category;
use crate::plan::{PhaseId, TaskId, TaskKind};

use super::counters::Counters;
use super::facts::{RunnerFacts, Totals};
use super::failures::FailedPackage;
use super::forecast::Estimate;
use super::human;
use super::progress::{CheckpointTimes, PhaseSeen, Progress, mean};

/// Failed packages that a snapshot tells of one by one.
pub const FAILED_MOST: usize = 100;

/// A run at one moment. Times are nanoseconds since 1970.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The moment.
    pub now: i64,
    /// Whether a runner is there. Without one, no task or package that the records call running is.
    pub alive: bool,
    /// The current run, or the last.
    pub run: RunView,
    /// Phases of the plan, in order; of a run of another definition those that its records name, as they came.
    pub phases: Vec<PhaseView>,
    /// Packages wanted, and what became of them.
    pub packages: Packages,
    /// Running tasks, the longest running first.
    pub running: Vec<RunningTask>,
    /// Packages in which something failed in this run, recovered ones too; of more than `FAILED_MOST` those whose level is highest.
    pub failed: Vec<FailedPackage>,
    /// Highest escalation level of any package.
    pub level: u8,
    /// The definition's directory; empty for one that kiln ships.
    pub directory: Arc<str>,
    /// The state directory.
    pub state_directory: Arc<str>,
    /// Gates that are open, the oldest first.
    pub gates: Vec<GateView>,
    /// Counters of the ledger's life.
    pub counters: Counters,
    /// When checkpoints were taken.
    pub checkpoints: CheckpointTimes,
    /// Packages that were completed and that none covers.
    pub uncovered: u64,
    /// Job slots.
    pub slots: u32,
    /// Job slots in use.
    pub slots_in_use: u32,
    /// How a person hears of things.
    pub channels: Vec<NotificationChannel>,
    /// What a status update says.
    pub tracking: ProgressTracking,
    /// What the runner says of itself, if it is there and answers.
    pub runner: Option<RunnerFacts>,
    /// What this and earlier runners of whoever looks have counted themselves.
    pub totals: Totals,
    /// Which permissions the runner has, or the last one had; `None`: none has told.
    pub permissions: Option<[bool; 5]>,
    /// How long the parts of this took.
    pub collected: Vec<Collected>,
}

/// How long it took to find something out, and whether it could be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Collected {
    /// What.
    pub name: &'static str,
    /// How long.
    pub took: Duration,
    /// Whether.
    pub worked: bool,
}

/// The current run, or the last.
#[derive(Debug, Clone)]
pub struct RunView {
    /// Where it is, as far as records tell.
    pub state: RunState,
    /// Its id; empty before the first.
    pub build_id: Arc<str>,
    /// Name of the definition.
    pub definition: Arc<str>,
    /// Digest of the definition.
    pub digest: Arc<str>,
    /// When it started.
    pub started: Option<i64>,
    /// When something last succeeded.
    pub last_progress: Option<i64>,
    /// When it ended.
    pub ended: Option<i64>,
    /// Why it is paused, if it is.
    pub paused: Option<Arc<str>>,
    /// The phase that started last; the first one before that, as far as it is known.
    pub phase: Arc<str>,
    /// Part of the wanted work that is done, 0 to 1.
    pub ratio: f64,
    /// How long the rest takes; nothing after the end, `None` while unknown.
    pub remaining: Option<Estimate>,
    /// Counted attempts.
    pub attempts: u64,
    /// Those that failed.
    pub failed_attempts: u64,
    /// Those that came after a failed one.
    pub retries: u64,
    /// What a package took that was built in this run, one task after another; zero while there is none.
    pub average_package_time: Duration,
    /// CPU time of its executions.
    pub cpu: Duration,
    /// Once it has ended: packages that were wanted and are not there.
    pub missing: Vec<Arc<str>>,
}

/// What became of the packages of this run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Packages {
    /// Wanted.
    pub total: u64,
    /// Built or reused.
    pub completed: u64,
    /// They have spent their attempts.
    pub failed: u64,
    /// They could not be built because of others.
    pub skipped: u64,
}

/// A phase.
#[derive(Debug, Clone)]
pub struct PhaseView {
    /// Its key.
    pub key: Arc<str>,
    /// For people.
    pub title: Arc<str>,
    /// Where it is.
    pub state: PhaseState,
    /// Its packages and tasks, by state; `None` of a run of another definition than is at hand.
    pub counts: Option<Counts>,
    /// When it started in this run.
    pub started: Option<i64>,
    /// When it finished in this run.
    pub finished: Option<i64>,
    /// Bytes of disk that it requires.
    pub disk: Option<u64>,
    /// Bytes of memory that it requires.
    pub memory: Option<u64>,
}

/// A gate that is open.
#[derive(Debug, Clone, PartialEq)]
pub struct GateView {
    /// Its number.
    pub number: u32,
    /// Why.
    pub reason: GateReason,
    /// Of the package; or the one that cannot start.
    pub phase: Arc<str>,
    /// What failed; `None`: the phase's requirements are not met.
    pub package: Option<Arc<str>>,
    /// Which of its tasks.
    pub task: Option<TaskKind>,
    /// What kind of failure that was.
    pub category: Option<Category>,
    /// Since when, nanoseconds since 1970.
    pub opened: i64,
    /// Which requirements are not met.
    pub why: Option<String>,
}

/// A running task.
#[derive(Debug, Clone, PartialEq)]
pub struct RunningTask {
    /// Which; `None` if the plan at hand does not have it.
    pub id: Option<TaskId>,
    /// Its phase.
    pub phase: Arc<str>,
    /// Its package.
    pub package: Arc<str>,
    /// What it does.
    pub task: TaskKind,
    /// Which attempt, 1-based.
    pub attempt: u32,
    /// It runs again only to restore a work directory.
    pub restore: bool,
    /// When it began, nanoseconds since 1970.
    pub since: i64,
    /// How long it takes, if that is known.
    pub expected: Option<Duration>,
}

impl Progress {
    /// The run at `now`, nanoseconds since 1970. Cheap: looks ahead only as far as `estimate` already has.
    pub fn snapshot(&self, now: i64, alive: bool) -> Snapshot {
        // Where no runner is, time stands still at its last record.
        let clock = if alive { now } else { self.last.wall };
        let moving = self.state.has_tasks(alive);
        let lost = self.state.run == RunState::Running && !alive;
        let running = self.running_tasks(moving);
        let elapsed: Vec<(TaskId, Duration)> =
            running.iter().filter_map(|task| Some((task.id?, human::between(task.since, clock)))).collect();
        let ratio = self.outlook.ratio(&elapsed).unwrap_or(0.0);
        let slots_in_use = running.iter().filter(|task| self.takes_slot(task)).count();
        let foreign = self.is_foreign();
        let first_phase = || {
            let first = self.plan.phases.first().filter(|_| !foreign);
            first.map(|phase| Arc::clone(&phase.key)).unwrap_or_default()
        };
        let run = RunView {
            state: self.state.run,
            build_id: Arc::clone(&self.state.build_id),
            definition: Arc::clone(self.definition()),
            digest: self.state.digest().into(),
            started: self.run.started,
            last_progress: self.run.last_progress,
            ended: self.run.ended,
            paused: self.run.paused.clone(),
            phase: self.run.phase.clone().unwrap_or_else(first_phase),
            // What another definition's run did cannot be weighed; its packages can be counted.
            ratio: if foreign { self.counted_ratio() } else { ratio },
            // A person takes as long as a person takes, and so does a run that nobody goes on with.
            remaining: self.outlook.estimate(clock).filter(|_| !self.waits_for_a_person() && !lost),
            attempts: self.run.attempts,
            failed_attempts: self.run.failed_attempts,
            retries: self.run.retries,
            average_package_time: mean(self.run.built.1, self.run.built.0),
            cpu: Duration::from_nanos(self.run.cpu),
            missing: self.run.missing.clone(),
        };
        let own = Escalation::of(&self.plan.document.error_recovery);
        Snapshot {
            now,
            alive,
            run,
            phases: if foreign {
                self.recorded_phases()
            } else {
                self.plan.phase_ids().map(|id| self.phase_view(id, moving)).collect()
            },
            packages: Packages {
                total: self.wanted(),
                completed: self.run.completed,
                failed: self.run.failed,
                skipped: self.run.skipped,
            },
            running,
            failed: self.failed_packages(),
            level: self.run.failures.level(),
            directory: "".into(),
            state_directory: "".into(),
            gates: self.gates(),
            counters: self.counters.clone(),
            checkpoints: self.checkpoints,
            uncovered: self.state.coverage.uncovered.len() as u64,
            slots: self.limits.jobs,
            slots_in_use: u32::try_from(slots_in_use).unwrap_or(u32::MAX),
            channels: if foreign { self.escalation.channels.clone() } else { own.channels },
            tracking: self.plan.document.progress_tracking.clone(),
            runner: None,
            totals: Totals::default(),
            permissions: None,
            collected: Vec::new(),
        }
    }

    /// Name of the definition that the last run is of; of the one at hand where none was.
    pub fn definition(&self) -> &Arc<str> {
        if self.run.definition.is_empty() { &self.plan.definition } else { &self.run.definition }
    }

    /// The first of them; where there are too many, those that matter most.
    fn failed_packages(&self) -> Vec<FailedPackage> {
        let all = self.run.failures.list();
        let mut failed: Vec<&FailedPackage> = all.iter().collect();
        if failed.len() > FAILED_MOST {
            failed.sort_by_key(|failed| std::cmp::Reverse(failed.level));
        }
        failed.into_iter().take(FAILED_MOST).cloned().collect()
    }

    fn waits_for_a_person(&self) -> bool {
        self.state.run == RunState::Paused && !self.state.gates.is_empty()
    }

    fn gates(&self) -> Vec<GateView> {
        let view = |(number, gate): (&u32, &Gate)| GateView {
            number: *number,
            reason: gate.reason,
            phase: Arc::clone(&gate.phase),
            package: gate.package.clone(),
            task: gate.task,
            category: gate
                .package
                .as_ref()
                .and_then(|package| Some(self.run.failures.find(package)?.category())),
            opened: self.run.asked.get(number).map_or(self.last.wall, |asked| asked.wall),
            why: self.run.asked.get(number).and_then(|asked| asked.why.clone()),
        };
        self.state.gates.iter().map(view).collect()
    }

    /// Tasks that run, if a runner is there.
    pub(super) fn running_now(&self) -> Vec<RunningTask> {
        self.running_tasks(self.state.has_tasks(true))
    }

    fn running_tasks(&self, moving: bool) -> Vec<RunningTask> {
        let mut running: Vec<RunningTask> = self
            .open
            .iter()
            .filter(|_| moving)
            .map(|((package, task), open)| RunningTask {
                id: self.plan.find(package).and_then(|id| self.plan.task(id, *task)),
                phase: Arc::clone(&open.phase),
                package: Arc::clone(package),
                task: *task,
                attempt: open.attempt,
                restore: open.restore,
                since: open.wall,
                expected: None,
            })
            .collect();
        for task in &mut running {
            task.expected = self.outlook.expectations().zip(task.id).and_then(|(all, id)| all.time(id));
        }
        running.sort_by_key(|task| task.since); // stable: then by name
        running
    }

    /// Fetches and what writes the sysroot do not compete for job slots.
    fn takes_slot(&self, task: &RunningTask) -> bool {
        match task.task {
            TaskKind::Fetch | TaskKind::Merge => false,
            TaskKind::Install => self.plan.find(&task.package).is_none_or(|id| !self.plan.package(id).direct),
            TaskKind::Unpack | TaskKind::Configure | TaskKind::Build | TaskKind::Check => true,
        }
    }

    fn counted_ratio(&self) -> f64 {
        let total = self.wanted();
        if total == 0 { 0.0 } else { (self.run.completed as f64 / total as f64).min(1.0) }
    }

    fn phase_view(&self, id: PhaseId, moving: bool) -> PhaseView {
        let phase = self.plan.phase(id);
        let seen = self.run.phases.get(&phase.key).copied().unwrap_or_default();
        let counts = self.state.counts[id.0 as usize];
        PhaseView {
            key: Arc::clone(&phase.key),
            title: Arc::clone(&phase.title),
            state: self.state.phase(id),
            counts: Some(if moving { counts } else { at_rest(counts) }),
            started: seen.started,
            finished: seen.finished,
            disk: phase.disk_space,
            memory: phase.memory,
        }
    }

    /// Phases of a run of another definition, as far as its records tell.
    fn recorded_phases(&self) -> Vec<PhaseView> {
        let view = |(key, seen): (&Arc<str>, &PhaseSeen)| PhaseView {
            key: Arc::clone(key),
            title: Arc::clone(key),
            state: seen.state,
            counts: None,
            started: seen.started,
            finished: seen.finished,
            disk: None,
            memory: None,
        };
        let mut phases: Vec<PhaseView> = self.run.phases.iter().map(view).collect();
        phases.sort_by_key(|phase| phase.started.or(phase.finished));
        phases
    }
}

/// What was running when the run stopped waits to be run again.
fn at_rest(mut counts: Counts) -> Counts {
    let packages = &mut counts.packages;
    packages[PackageState::Pending.index()] += std::mem::take(&mut packages[PackageState::Running.index()]);
    let tasks = &mut counts.tasks;
    let running = TaskState::Running { attempt: 1, since: Time::default() };
    tasks[TaskState::Ready.index()] += std::mem::take(&mut tasks[running.index()]);
    counts
}

impl Snapshot {
    /// The run is not going on: it has ended, or was stopped.
    pub fn is_final(&self) -> bool {
        match self.run.state {
            RunState::Paused | RunState::Completed | RunState::Error => true,
            RunState::Idle | RunState::Running => false,
        }
    }

    /// When the run will end or has ended, nanoseconds since 1970: as likely before as after, and at the
    /// latest nine times out of ten. `None` while unknown, or while it does not go on.
    pub fn completion(&self) -> Option<(i64, i64)> {
        if let Some(ended) = self.run.ended {
            return Some((ended, ended));
        }
        let moving = self.alive && self.run.state == RunState::Running;
        let remaining = self.run.remaining.filter(|_| moving)?;
        let at = |span: Duration| self.now.saturating_add(i64::try_from(span.as_nanos()).unwrap_or(i64::MAX));
        Some((at(remaining.p50), at(remaining.p90)))
    }

    /// Why nothing can be recorded, and so nothing is started.
    pub fn blocked(&self) -> Option<&str> {
        self.runner.as_ref()?.blocked.as_deref().filter(|_| self.run.state.goes_on())
    }

    /// Packages that are being worked on.
    pub fn packages_running(&self) -> usize {
        let counted: Option<u32> =
            self.phases.iter().map(|phase| Some(phase.counts?.packages[PackageState::Running.index()])).sum();
        counted.map_or_else(
            || {
                let busy = self.running.iter().filter(|task| task.task != TaskKind::Fetch);
                busy.map(|task| &task.package).collect::<BTreeSet<_>>().len()
            },
            |count| count as usize,
        )
    }

    /// The state of the run in one word; a run that should go on, but has no runner or no ledger that can be written, is
    /// paused.
    pub fn state(&self) -> RunState {
        match self.run.state {
            RunState::Running if !self.alive || self.blocked().is_some() => RunState::Paused,
            state @ (RunState::Idle
            | RunState::Running
            | RunState::Paused
            | RunState::Completed
            | RunState::Error) => state,
        }
    }
}

/// Names of run states, in the order of `run_state_index`.
pub const RUN_STATES: [&str; 5] = ["idle", "running", "paused", "completed", "error"];

/// Names of phase states, in the order of `phase_state_index`.
pub const PHASE_STATES: [&str; 5] = ["pending", "running", "completed", "failed", "skipped"];

/// Position in `RUN_STATES`.
pub fn run_state_index(state: RunState) -> usize {
    match state {
        RunState::Idle => 0,
        RunState::Running => 1,
        RunState::Paused => 2,
        RunState::Completed => 3,
        RunState::Error => 4,
    }
}

/// Position in `PHASE_STATES`.
pub fn phase_state_index(state: PhaseState) -> usize {
    match state {
        PhaseState::Pending => 0,
        PhaseState::Running => 1,
        PhaseState::Finished(PhaseOutcome::Completed) => 2,
        PhaseState::Finished(PhaseOutcome::Failed) => 3,
        PhaseState::Finished(PhaseOutcome::Skipped) => 4,
    }
}
