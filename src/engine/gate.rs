//! Gates: what only a person can decide.
//!
//! Owns: when one opens, what an answer means, when the run waits for nothing else. Does not know: how a person hears of it
//! or answers (`web`, `cli`).
//!
//! A package whose gate is open counts as failed, and what needs it waits; all the rest goes on. When nothing else can, the
//! run is paused. Gates are numbered through all runs of a state directory, so that an answer never meets another one's
//! question. They outlive a changed definition as long as the package's recipe (all of it, and what it waits for) is the same: a
//! failure that was mended there is no question any more.

use std::sync::Arc;

use thiserror::Error;

use crate::config::document::GateReason;
use crate::failure::Category;
use crate::plan::{PackageId, Phase, PhaseId, Plan, TaskId, TaskKind};

use super::Engine;
use super::message::{Answer, Answered, Effect, Ending, Facts, Record, RunEnd, Time};
use super::state::{RunState, State};

/// One that is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gate {
    /// Why.
    pub reason: GateReason,
    /// Of the package; or the one that cannot start.
    pub phase: Arc<str>,
    /// What failed; `None`: the phase's requirements are not met.
    pub package: Option<Arc<str>>,
    /// Which of its tasks.
    pub task: Option<TaskKind>,
    /// Of the package; of a phase, what it requires.
    pub trial: u64,
    /// Since when.
    pub since: Time,
}

/// What a person or a program says to a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// A gate, by number or by what it is about; `None`: the only one.
    pub gate: Option<String>,
    /// What to do.
    pub answer: Answer,
    /// For `retry`: jobs that a task may use from now on.
    pub jobs: Option<u32>,
    /// Who says so.
    pub by: String,
    /// Why.
    pub note: String,
}

/// What is said to whoever speaks to a run that is being ended.
pub const ENDING: &str = "the run is ending: say it once it has";

/// Why what a person says is not done.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// There is no such gate.
    #[error("no gate `{asked}` is open{}", open_ones(.open))]
    NoSuch {
        /// What was asked for.
        asked: String,
        /// What is open.
        open: Vec<String>,
    },
    /// The run is being ended.
    #[error("{ENDING}")]
    Ending,
    /// The run hears nothing.
    #[error("nothing can be recorded at this moment, so nothing is done: try again when it can")]
    Unheard,
    /// It was heard, and is not on disk yet.
    #[error(
        "it is heard, but nothing can be recorded at this moment: it is done as soon as it can, if the run gets that far"
    )]
    Unsettled,
    /// It cannot be paused twice.
    #[error("the run is paused already")]
    Paused,
    /// Nobody has paused it.
    #[error("the run is not paused")]
    NotPaused,
    /// It waits for answers.
    #[error("nobody has paused the run: it waits for an answer to a gate")]
    Asks,
    /// One checkpoint at a time.
    #[error("a checkpoint is being taken")]
    Taking,
    /// There is nothing that a checkpoint would cover.
    #[error("no package has been completed that the last checkpoint does not cover")]
    Covered,
    /// It was not said which, and not exactly one is open.
    #[error("{}", which(.open))]
    Which {
        /// What is open.
        open: Vec<String>,
    },
}

impl Gate {
    /// The gate that a record opens.
    pub(super) fn of(at: Time, record: &Record) -> Option<Self> {
        let Record::GateOpened { reason, phase, package, task, trial, .. } = record else { return None };
        let (phase, package) = (Arc::clone(phase), package.clone());
        Some(Self { reason: *reason, phase, package, task: *task, trial: *trial, since: at })
    }

    /// What failed, as this plan has it.
    pub(super) fn subject(&self, plan: &Plan) -> Option<(PackageId, TaskId)> {
        let id = plan.find(self.package.as_deref()?)?;
        Some((id, plan.task(id, self.task?)?))
    }

    /// What it is about: a package or a phase.
    pub fn about(&self) -> &str {
        self.package.as_deref().unwrap_or(&self.phase)
    }
}

impl State {
    /// The open gate that is meant by its number, or by the package or phase that it is about; `None`: the only one.
    pub fn gate(&self, asked: Option<&str>) -> Result<u32, Refusal> {
        let open =
            || self.gates.iter().map(|(number, gate)| format!("{number} ({})", gate.about())).collect();
        let Some(asked) = asked else {
            let mut numbers = self.gates.keys();
            return match (numbers.next(), numbers.next()) {
                (Some(only), None) => Ok(*only),
                _ => Err(Refusal::Which { open: open() }),
            };
        };
        let by_number = asked.parse().ok().filter(|number| self.gates.contains_key(number));
        let mut named = self.gates.iter().filter(|(_, gate)| gate.about() == asked);
        let found = by_number.or_else(|| named.next().map(|(number, _)| *number));
        found.ok_or_else(|| Refusal::NoSuch { asked: asked.to_owned(), open: open() })
    }

    /// The gate that is open for a package.
    pub fn gate_of(&self, package: &str) -> Option<(u32, &Gate)> {
        let mut gates = self.gates.iter().map(|(number, gate)| (*number, gate));
        gates.find(|(_, gate)| gate.package.as_deref() == Some(package))
    }

    /// Which gate a request answers.
    pub fn take(&self, request: Request) -> Result<Answered, Refusal> {
        let gate = self.gate(request.gate.as_deref())?;
        let Request { answer, jobs, by, note, .. } = request;
        Ok(Answered { gate, answer, jobs, by: by.into(), note: note.into() })
    }

    /// What is to be recorded for an answer while no engine runs: with `abort` the run is over.
    pub fn answer_at_rest(&self, plan: &Plan, answered: Answered) -> Vec<Record> {
        let over = answered.answer == Answer::Abort && self.run.goes_on();
        let ended = over.then(|| {
            if self.digest() == &*plan.digest {
                return self.ended_in_error(plan);
            }
            // Of another definition's run only this is known of what is missing.
            let missing = self.gates.values().filter_map(|gate| gate.package.clone()).collect();
            Record::RunEnded { state: RunEnd::Error, missing }
        });
        std::iter::once(record(answered)).chain(ended).collect()
    }
}

/// Tells what a phase requires from what it required before it was edited.
fn requires(phase: &Phase) -> u64 {
    let [disk, memory] = [phase.disk_space, phase.memory].map(|bytes| bytes.map_or(0, |bytes| bytes.max(1)));
    disk.rotate_left(32) ^ memory ^ u64::from(phase.toolchain)
}

fn record(Answered { gate, answer, jobs, by, note }: Answered) -> Record {
    Record::GateAnswered { gate, answer, jobs, by, note }
}

fn open_ones(open: &[String]) -> String {
    if open.is_empty() { String::new() } else { format!("; open: {}", open.join(", ")) }
}

fn which(open: &[String]) -> String {
    if open.is_empty() {
        "no gate is open".to_owned()
    } else {
        format!("say which of the open gates is meant: {}", open.join(", "))
    }
}

impl Engine {
    /// There is no further attempt: a person is asked, or the package has failed.
    pub(super) fn give_up(
        &mut self,
        now: Time,
        id: PackageId,
        task: TaskKind,
        category: Category,
        person: bool,
        out: &mut Vec<Effect>,
    ) {
        let plan = Arc::clone(&self.plan);
        let package = plan.package(id);
        let phase = plan.phase(package.phase);
        let reason = if category == Category::SecurityViolation {
            Some(GateReason::SecurityViolation)
        } else if person || category == Category::DiskSpace {
            // What could be freed has been freed before the last attempt.
            Some(GateReason::SystemResourceExhaustion)
        } else {
            phase.critical.then_some(GateReason::CriticalBuildFailure)
        };
        let record = match reason.filter(|reason| self.asks_for(*reason)) {
            Some(reason) => Record::GateOpened {
                gate: self.state.gates_opened + 1,
                reason,
                phase: Arc::clone(&phase.key),
                package: Some(Arc::clone(&package.name)),
                task: Some(task),
                trial: package.trial,
            },
            None => Record::PackageFailed { package: Arc::clone(&package.name), task },
        };
        self.record(now, record, out);
    }

    /// A later phase's requirements are not met. False: nobody is to be asked.
    pub(super) fn ask_for_phase(&mut self, now: Time, id: PhaseId, out: &mut Vec<Effect>) -> bool {
        let reason = GateReason::SystemResourceExhaustion;
        if !self.asks_for(reason) || id == PhaseId(0) {
            return false;
        }
        let phase = Arc::clone(&self.plan.phase(id).key);
        let gate = self.state.gates_opened + 1;
        let trial = requires(self.plan.phase(id));
        let record = Record::GateOpened { gate, reason, phase, package: None, task: None, trial };
        self.record(now, record, out);
        true
    }

    fn asks_for(&self, reason: GateReason) -> bool {
        self.plan.document.error_recovery.manual_intervention.required_for.contains(&reason)
    }

    /// A person has answered.
    pub(super) fn answered(&mut self, now: Time, answered: Answered, out: &mut Vec<Effect>) {
        if !self.state.gates.contains_key(&answered.gate) || self.closing.is_some() {
            return;
        }
        if self.state.run == RunState::Paused && !self.state.held {
            self.go_on(now, None, false, out);
        }
        self.record(now, record(answered), out);
    }

    /// The definition has changed: what was asked about something that has changed with it is not asked any more.
    pub(super) fn close_moot_gates(&mut self, now: Time, facts: &Facts, out: &mut Vec<Effect>) {
        let stands = |gate: &Gate| {
            if !self.asks_for(gate.reason) {
                return false;
            }
            if gate.package.is_none() {
                let phase = self.plan.find_phase(&gate.phase).map(|id| self.plan.phase(id));
                return phase.is_some_and(|phase| requires(phase) == gate.trial);
            }
            gate.subject(&self.plan).is_some_and(|(id, _)| {
                let package = self.plan.package(id);
                let critical = gate.reason != GateReason::CriticalBuildFailure
                    || self.plan.phase(package.phase).critical;
                critical && facts.have(id).is_work() && gate.trial == package.trial
            })
        };
        let moot: Vec<u32> =
            self.state.gates.iter().filter(|(_, gate)| !stands(gate)).map(|(number, _)| *number).collect();
        for gate in moot {
            self.record(now, Record::GateClosed { gate }, out);
        }
    }

    /// Whether nothing happens any more unless a person says something.
    fn waits_for_a_person(&self) -> bool {
        let idle = self.running.is_empty()
            && self.acting.is_empty()
            && self.checkpoints.are_idle()
            && self.measuring.is_none()
            && self.queues.are_empty()
            && !self.timers.retries().any(|id| !self.state.package(id).state.is_final());
        idle && !self.state.gates.is_empty()
    }

    /// If so, the run is paused; it ends, unless it is to wait.
    pub(super) fn pause_for_a_person(&mut self, now: Time, out: &mut Vec<Effect>) {
        if self.state.run != RunState::Running || !self.waits_for_a_person() {
            return;
        }
        self.record(now, Record::RunPaused { reason: "a person is needed".into(), held: false }, out);
        if !self.waits {
            out.push(Effect::End(Ending::Gates));
            self.ended = true;
        }
    }
}
