//! The framework's Command System document: what it says, and what comes back.
//!
//! Owns: the document, its operations, which of them need what. Does not know: sockets (`control`), what an operation does
//! (`engine::command`, `engine::gate`).
//!
//! | operation | what it does |
//! | --- | --- |
//! | `build_phase` | builds `phase`, too; without a runner the sidecar starts one for it |
//! | `pause`, `resume` | starts nothing more, goes on |
//! | `stop` | ends the run, which can be gone on with |
//! | `retry`, `skip`, `abort` | answer the gate `gate_id`, or the only one; `jobs` goes with `retry` |
//! | `checkpoint` | takes one now |
//! | `status` | changes nothing |

use std::sync::Arc;

use hyper::StatusCode;
use serde::{Deserialize, Serialize};

use crate::engine::command::{self, Said};
use crate::engine::gate::{self, Refusal};
use crate::engine::message::{ANSWERS, Answer, PhaseOutcome};
use crate::engine::state::{PackageState, PhaseState, Skip};
use crate::observe::observer::now;
use crate::observe::status::{BuildStatus, Status};
use crate::observe::{Observer, Progress, Snapshot};

/// The framework's name of what is spoken to.
pub const COMPONENT: &str = "BUILD_PROCESS";
/// What a refused command comes back with.
const REJECTED: &str = "REJECTED";
/// And one of which nobody knows yet.
const UNSETTLED: &str = "UNSETTLED";

/// The framework's Command System document.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// Always `BUILD_PROCESS`.
    pub component: String,
    /// What to do.
    pub operation: String,
    /// For `build_phase`, which; for an answer, the phase that the gate is in.
    #[serde(default)]
    pub phase: String,
    /// Of the run.
    #[serde(default)]
    pub status: String,
    /// Part of the wanted work that is done.
    #[serde(default)]
    pub progress: f64,
    /// Ours: which gate; where there is one only it may be left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate_id: Option<String>,
    /// Ours: with how many jobs it is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jobs: Option<u32>,
    /// Ours: why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Ours: why it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What a command asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Build a phase, too.
    BuildPhase,
    /// Start nothing more.
    Pause,
    /// Go on.
    Resume,
    /// End the run.
    Stop,
    /// Answer a gate.
    Answer(Answer),
    /// Take a checkpoint.
    Checkpoint,
    /// Say how the run is.
    Status,
}

/// All of them.
const OPERATIONS: [Operation; 9] = [
    Operation::BuildPhase,
    Operation::Pause,
    Operation::Resume,
    Operation::Stop,
    Operation::Answer(ANSWERS[0]),
    Operation::Answer(ANSWERS[1]),
    Operation::Answer(ANSWERS[2]),
    Operation::Checkpoint,
    Operation::Status,
];

/// Why a command is not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// It cannot be understood, or never be done.
    #[error("{0}")]
    Wrong(String),
    /// Not now.
    #[error("{0}")]
    NotNow(String),
    /// It may be done, or be done later: nobody knows.
    #[error("{0}")]
    Unsettled(String),
}

impl Operation {
    /// As in the document.
    pub fn name(self) -> &'static str {
        match self {
            Self::BuildPhase => "build_phase",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Stop => "stop",
            Self::Answer(answer) => answer.name(),
            Self::Checkpoint => "checkpoint",
            Self::Status => "status",
        }
    }

    /// Where the run is once it is done. What the operation has changed may not be seen yet.
    fn status(self, before: Status, snapshot: &Snapshot, held: bool) -> Status {
        match self {
            Self::Answer(Answer::Retry | Answer::Skip) if snapshot.alive && !held => Status::Running,
            Self::Pause | Self::Stop => Status::Paused,
            // What is paused builds it once it is resumed.
            Self::BuildPhase | Self::Resume if self == Self::Resume || before != Status::Paused => {
                Status::Running
            }
            Self::Answer(Answer::Abort) => Status::Error,
            Self::BuildPhase
            | Self::Resume
            | Self::Answer(Answer::Retry | Answer::Skip)
            | Self::Checkpoint
            | Self::Status => before,
        }
    }
}

impl Command {
    /// Asks for something.
    pub fn new(operation: Operation) -> Self {
        Self { component: COMPONENT.into(), operation: operation.name().into(), ..Self::default() }
    }

    /// What is said of a document that cannot be read.
    pub(super) fn nothing() -> Self {
        Self { component: COMPONENT.into(), ..Self::default() }
    }

    /// Reads the document.
    pub(super) fn read(body: &[u8]) -> Result<Self, Rejection> {
        let wrong = |why: String| Rejection::Wrong(format!("no Command System document: {why}"));
        // serde takes a list of all values for a document, too.
        if body.trim_ascii_start().first() != Some(&b'{') {
            return Err(wrong("it is no JSON object".to_owned()));
        }
        let read = serde_json::from_slice(body).map_err(|error| wrong(error.to_string()))?;
        Ok(Self { error: None, ..read })
    }

    /// What it asks for, if that can be asked for.
    pub fn operation(&self) -> Result<Operation, Rejection> {
        let wrong = |text| Err(Rejection::Wrong(text));
        if self.component != COMPONENT {
            return wrong(format!("component `{}` is not here: this is {COMPONENT}", self.component));
        }
        let known = OPERATIONS.into_iter().find(|operation| operation.name() == self.operation);
        let Some(operation) = known else {
            let names = OPERATIONS.map(Operation::name).join(", ");
            return wrong(format!("operation `{}` is none of {names}", self.operation));
        };
        let answers = matches!(operation, Operation::Answer(_));
        if self.jobs == Some(0) || self.jobs.is_some() && operation != Operation::Answer(Answer::Retry) {
            return wrong("`jobs` is at least 1, and goes with `retry`".to_owned());
        }
        if self.gate_id.is_some() && !answers {
            return wrong("`gate_id` goes with `retry`, `skip` and `abort`".to_owned());
        }
        if self.phase.is_empty() && operation == Operation::BuildPhase {
            return wrong("`build_phase` needs `phase`".to_owned());
        }
        Ok(operation)
    }

    /// The answer to a gate that it is.
    pub fn answer(&self, answer: Answer, by: &str) -> gate::Request {
        gate::Request {
            gate: self.gate_id.clone(),
            answer,
            jobs: self.jobs,
            by: by.to_owned(),
            note: self.note.clone().unwrap_or_default(),
        }
    }

    /// What it says to a runner; `None`: that is not for the runner's engine.
    pub fn to_engine(&self, operation: Operation, by: &str) -> Option<command::Command> {
        let said = || Said { by: by.into(), note: self.note.as_deref().unwrap_or_default().into() };
        match operation {
            Operation::Pause => Some(command::Command::Pause(said())),
            Operation::Resume => Some(command::Command::Resume(said())),
            Operation::Stop => Some(command::Command::Stop(said())),
            Operation::Answer(answer) => Some(command::Command::Answer(self.answer(answer, by))),
            Operation::Checkpoint => Some(command::Command::Checkpoint),
            Operation::BuildPhase | Operation::Status => None,
        }
    }

    /// What comes back once it is done; `gate`: the one that was answered.
    pub(super) fn done(
        self,
        operation: Operation,
        observer: &Observer,
        gate: Option<(u32, Arc<str>)>,
    ) -> Self {
        let snapshot = observer.snapshot(now());
        let status = BuildStatus::of(&snapshot);
        let before = status.as_ref().map_or(Status::Running, |status| status.status);
        let (gate_id, of_gate) = gate.map(|(number, phase)| (number.to_string(), phase.to_string())).unzip();
        let of_run = || status.map(|status| status.phase).unwrap_or_default();
        let phase = match operation {
            Operation::BuildPhase => self.phase,
            Operation::Pause
            | Operation::Resume
            | Operation::Stop
            | Operation::Answer(_)
            | Operation::Checkpoint
            | Operation::Status => of_gate.unwrap_or_else(of_run),
        };
        let held = observer.with(|progress| progress.state().held);
        let status = operation.status(before, &snapshot, held).name().to_owned();
        Self { phase, status, progress: snapshot.run.ratio, gate_id, ..self }
    }

    /// What comes back when it is not.
    pub(super) fn rejected(self, rejection: &Rejection) -> (StatusCode, Self) {
        let (status, word) = match rejection {
            Rejection::Wrong(_) => (StatusCode::BAD_REQUEST, REJECTED),
            Rejection::NotNow(_) => (StatusCode::CONFLICT, REJECTED),
            Rejection::Unsettled(_) => (StatusCode::ACCEPTED, UNSETTLED),
        };
        (status, Self { status: word.into(), error: Some(rejection.to_string()), ..self })
    }

    /// The gate that it would answer, if that can be told; an error if that is not of the phase that it names.
    pub(super) fn gate(&self, progress: &Progress) -> Result<Option<(u32, Arc<str>)>, Rejection> {
        let state = progress.state();
        let Ok(number) = state.gate(self.gate_id.as_deref()) else { return Ok(None) };
        let phase = &state.gates[&number].phase;
        if !self.phase.is_empty() && *self.phase != **phase {
            return Err(Rejection::NotNow(format!("gate {number} is of phase `{phase}`")));
        }
        Ok(Some((number, Arc::clone(phase))))
    }
}

impl From<Refusal> for Rejection {
    fn from(refusal: Refusal) -> Self {
        let text = refusal.to_string();
        if matches!(refusal, Refusal::Unsettled) { Self::Unsettled(text) } else { Self::NotNow(text) }
    }
}

/// Whether a phase that somebody wants built has to be added to what the run builds. Of a phase that is not there, or that is
/// finished, an error.
pub fn is_new(progress: &Progress, phase: &str) -> Result<bool, Rejection> {
    let plan = progress.plan();
    let Some(id) = plan.find_phase(phase) else {
        let keys: Vec<&str> = plan.phases.iter().map(|phase| &*phase.key).collect();
        return Err(Rejection::Wrong(format!("`{phase}` is no phase: one of {}", keys.join(", "))));
    };
    let state = progress.state();
    let unwanted = |id| state.package(id).state == PackageState::Skipped(Skip::Unwanted);
    if plan.phase(id).packages.iter().any(|id| unwanted(*id)) {
        return Ok(true);
    }
    match state.phase(id) {
        PhaseState::Finished(PhaseOutcome::Completed | PhaseOutcome::Failed | PhaseOutcome::Skipped) => {
            Err(Rejection::NotNow(format!("phase `{phase}` is finished")))
        }
        PhaseState::Pending | PhaseState::Running => Ok(false),
    }
}
