//! Everything that can be said to the engine and by it: `Event`, `Effect`; and what it records, `Record`.

use std::fmt;
use std::ops::Add;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::document::{CheckpointType, RecoveryAction};
use crate::failure::{Category, Failure};
use crate::plan::{PackageId, PhaseId, TaskId, TaskKind};

pub use super::command::Said;
pub use super::record::{Aside, Escalation, Kept, PhaseOutcome, Record, Requirement, RunEnd};

/// Nanoseconds since the run started; time in which no kiln ran is not counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Time(pub u64);

/// What happens to the engine.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A run begins or goes on. Comes once, first.
    Begin(Facts),
    /// The time that `next_wakeup` named has come.
    Tick,
    /// A task that was started has ended.
    Finished {
        /// Which.
        task: TaskId,
        /// How.
        outcome: Outcome,
        /// What it used.
        usage: Usage,
    },
    /// The answer to `Effect::Measure`.
    Measured {
        /// The phase that wants to start.
        phase: PhaseId,
        /// What there is.
        resources: Resources,
    },
    /// The answer to `Effect::MeasureMemory`.
    Memory {
        /// Bytes, capped by the cgroup's limit.
        available: u64,
    },
    /// The answer to `Effect::Verify`: what was found, or why nothing could be.
    Verified {
        /// The task that waits for it, or whose failure is being recovered from.
        task: TaskId,
        /// What was found.
        findings: Result<Findings, Failure>,
    },
    /// The answer to `Effect::WatchOutput`: when the task last printed something.
    Output {
        /// Which.
        task: TaskId,
        /// When.
        last: Time,
    },
    /// The answer to `Effect::Act`.
    Acted {
        /// Whose failure is being recovered from.
        package: PackageId,
        /// What came of it.
        acted: Acted,
    },
    /// The answer to `Effect::Checkpoint`: what it covers, or why it could not be taken.
    Checkpointed {
        /// Which.
        number: u32,
        /// How it ended.
        result: Result<Covered, Arc<str>>,
    },
    /// A person answers a gate. What `Engine::hear` refuses must not come here; nor in the next three.
    Answered(Answered),
    /// A person pauses the run.
    Pause(Said),
    /// A person lets it go on.
    Resume(Said),
    /// A person wants a checkpoint.
    TakeCheckpoint,
    /// A person or the system wants the run to end; the second time, at once.
    Stop,
    /// The same, and who wants it is known.
    StopFor(Said),
}

/// A person's answer to a gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// Which gate.
    pub gate: u32,
    /// What to do.
    pub answer: Answer,
    /// For `retry`: jobs that a task may use from now on.
    pub jobs: Option<u32>,
    /// Who says so.
    pub by: Arc<str>,
    /// Why.
    pub note: Arc<str>,
}

/// What a person can answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Try again, `max_attempts` times more.
    Retry,
    /// Go on without it.
    Skip,
    /// End the run in error.
    Abort,
}

/// All answers.
pub const ANSWERS: [Answer; 3] = [Answer::Retry, Answer::Skip, Answer::Abort];

/// What came of a recovery action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acted {
    /// In a word.
    pub result: ActionResult,
    /// What was looked at and done, for people.
    pub examined: Arc<str>,
    /// What follows.
    pub then: Then,
}

/// What came of a recovery action, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionResult {
    /// It changed something, or found that all is well where that is what it is for.
    Done,
    /// There was nothing to do.
    NothingToDo,
    /// It could not do what it should.
    Failed,
}

/// What follows from a recovery action.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Then {
    /// The procedure goes on, then the task is tried again.
    #[default]
    GoOn,
    /// Trying again would give the same: there is no further attempt.
    Pointless,
    /// What is needed cannot be had without a person.
    Person,
}

/// What is there when a run begins or goes on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Of each package of the plan, by its id.
    pub packages: Vec<Have>,
    /// Packages whose `check` failed, which their recipes allow, when what there is of them was built.
    pub failed_checks: Vec<PackageId>,
    /// Packages that are to be built whatever was said of them before.
    pub forced: Vec<PackageId>,
}

impl Facts {
    pub(super) fn have(&self, id: PackageId) -> Have {
        self.packages.get(id.0 as usize).copied().unwrap_or_default()
    }
}

/// What a look at packages' files in the sysroot found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// When it began, nanoseconds since 1970: what was changed later was not seen.
    pub at: i64,
    /// Packages whose files were read, and have the digests that their manifests say.
    pub read: Vec<PackageId>,
    /// Packages that are not as they should be.
    pub damaged: Vec<Damaged>,
}

/// A package whose files in the sysroot are not what its manifest says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damaged {
    /// Which.
    pub package: PackageId,
    /// The first path that is wrong.
    pub path: Arc<str>,
    /// How: `is missing`, `has other bytes`, …
    pub what: Arc<str>,
    /// How many more are.
    pub others: u64,
    /// Its archive is intact.
    pub archive: bool,
}

/// What a checkpoint covers, if nothing is damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Covered {
    /// What it is: full where there was nothing to build on, whatever was asked for.
    pub kind: CheckpointType,
    /// By name.
    pub packages: Vec<Arc<str>>,
    /// All of it was read back.
    pub verified: bool,
    /// What was found damaged then.
    pub damaged: Vec<Damaged>,
}

/// What there is of a package.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Have {
    /// Nothing that can be used.
    #[default]
    Nothing,
    /// The work directory, as the ledger's last record about it says.
    WorkDirectory,
    /// An intact archive with the right key, not in the sysroot.
    Archive,
    /// All that a completed package leaves behind.
    Everything,
    /// The same of one that was built without something optional: built again if that can be had now.
    Degraded,
    /// Not wanted in this run.
    Unselected,
}

impl Have {
    /// Whether nothing that was built before is used.
    pub fn is_new(self) -> bool {
        match self {
            Self::Nothing | Self::WorkDirectory | Self::Unselected => true,
            Self::Archive | Self::Everything | Self::Degraded => false,
        }
    }

    /// Whether something is to be done for the package in a run that is decided by this.
    pub fn is_work(self) -> bool {
        match self {
            Self::Nothing | Self::WorkDirectory | Self::Archive => true,
            Self::Everything | Self::Degraded | Self::Unselected => false,
        }
    }
}

/// How a task ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It did what it should.
    Success,
    /// It did not.
    Failure(Failure),
}

/// What an attempt used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// CPU time in user and system mode, nanoseconds; without a control group of descendants only where they were waited
    /// for.
    pub cpu: u64,
    /// Peak memory of the control group, page cache included; without one the peak resident set of the largest single
    /// process. Bytes.
    pub peak_memory: u64,
    /// Bytes that came over the network.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub fetched: u64,
    /// Sources that were asked for, and those that the cache had.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cache_requests: u64,
    /// Sources that the cache had.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cache_hits: u64,
}

/// What there is of what a phase may require.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Resources {
    /// Free bytes where the state is.
    pub disk: u64,
    /// Available bytes of memory, capped by the cgroup's limit.
    pub memory: u64,
    /// Whether the archives of the toolchain verify. Looked at only where that is required.
    pub toolchain_verified: bool,
}

/// What the engine wants done. Records first: nothing is done before the record that says so is written.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Write this.
    Record(Record),
    /// Start this task; `Event::Finished` answers.
    Start(Start),
    /// End this task: politely, or at once.
    Kill {
        /// Which.
        task: TaskId,
        /// With KILL instead of TERM.
        at_once: bool,
    },
    /// Tell what there is; `Event::Measured` answers.
    Measure {
        /// For this phase.
        phase: PhaseId,
    },
    /// Tell how much memory is available; `Event::Memory` answers.
    MeasureMemory,
    /// Tell whether the files of these packages in the sysroot are what they should be; `Event::Verified` answers. Until
    /// then nothing of ours changes the sysroot.
    Verify {
        /// The task that waits for it, or whose failure is being recovered from.
        task: TaskId,
        /// What its package depends on.
        packages: Vec<PackageId>,
    },
    /// Do this to recover from a failure; `Event::Acted` answers.
    Act(Act),
    /// Whatever is being done to recover from this package's failures is not wanted any more.
    CancelAct {
        /// Whose.
        package: PackageId,
    },
    /// Tell when this task last printed; `Event::Output` answers.
    WatchOutput {
        /// Which.
        task: TaskId,
    },
    /// Take a checkpoint; `Event::Checkpointed` answers. It is not cancelled.
    Checkpoint {
        /// Which.
        number: u32,
        /// Of what kind.
        kind: CheckpointType,
        /// The phase because of whose end it is taken.
        phase: Option<Arc<str>>,
        /// What it covers.
        packages: Vec<Arc<str>>,
    },
    /// Nothing is left to do.
    End(Ending),
}

/// One execution of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// Which.
    pub task: TaskId,
    /// Of which package.
    pub package: PackageId,
    /// What it does.
    pub kind: TaskKind,
    /// 1-based.
    pub attempt: u32,
    /// It has been done before, and is done again only to restore a work directory.
    pub restore: bool,
    /// The work directory is to be made anew first.
    pub fresh: bool,
    /// Jobs that it may use.
    pub jobs: u32,
    /// Something optional is missing below it: its archive must not be taken for a whole one.
    pub degraded: bool,
}

/// One step of a recovery procedure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Act {
    /// Whose failure it is.
    pub package: PackageId,
    /// The task that failed.
    pub task: TaskKind,
    /// Which attempt of it.
    pub attempt: u32,
    /// Of what kind the failure was.
    pub category: Category,
    /// What to do.
    pub action: RecoveryAction,
}

/// Why a run of the engine ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Everything is done that could be.
    Completed,
    /// A critical phase failed.
    Error,
    /// A phase's requirements are not met.
    Requirements,
    /// It was told to stop.
    Stopped,
    /// Nothing can go on without a person.
    Gates,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

impl Answer {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Skip => "skip",
            Self::Abort => "abort",
        }
    }
}

impl ActionResult {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::NothingToDo => "nothing_to_do",
            Self::Failed => "failed",
        }
    }
}

impl Time {
    /// This many seconds after the start.
    pub fn from_secs(seconds: u64) -> Self {
        Self(seconds * 1_000_000_000)
    }

    /// The span since `earlier`; nothing if that is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}s", self.0 as f64 / 1e9)
    }
}
