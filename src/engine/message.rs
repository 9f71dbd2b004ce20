//! Everything that can be said to the engine, by it, and about a run: `Event`, `Effect`, `Record`.
//!
//! Records name packages and phases, not indices: a ledger outlives the definition that it was made with.

use std::fmt;
use std::ops::Add;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::plan::{PackageId, PhaseId, TaskId, TaskKind};

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
        /// The task that waits for it.
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
    /// A person or the system wants the run to end; the second time, at once.
    Stop,
}

/// What is there when a run begins or goes on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Of each package of the plan, by its id.
    pub packages: Vec<Have>,
    /// Packages whose `check` failed, which their recipes allow, when what there is of them was built.
    pub failed_checks: Vec<PackageId>,
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
        /// The task that waits for it.
        task: TaskId,
        /// Its package's strict dependencies.
        packages: Vec<PackageId>,
    },
    /// Tell when this task last printed; `Event::Output` answers.
    WatchOutput {
        /// Which.
        task: TaskId,
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
}

/// One durable fact about a run. See `State::apply` for what each means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
#[expect(missing_docs, reason = "fields are named by the words of design section 1")]
pub enum Record {
    /// A new run.
    RunStarted { build_id: Arc<str>, definition: Arc<str>, digest: Arc<str>, kiln: Arc<str> },
    /// The run goes on after a pause or a crash. `afresh`: its packages are decided again, since the
    /// definition changed or something that was completed is gone.
    RunResumed {
        digest: Arc<str>,
        #[serde(default, skip_serializing_if = "is_false")]
        afresh: bool,
    },
    /// What need not be built: `reused` are there, `archived` only have to be merged, `skipped` are not wanted.
    /// `degraded` were built without something optional: built again if that can be had now, else kept. Of all these
    /// `failed_checks` are those whose `check` had failed.
    Decided {
        reused: Vec<Arc<str>>,
        archived: Vec<Arc<str>>,
        skipped: Vec<Arc<str>>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        degraded: Vec<Arc<str>>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        failed_checks: Vec<Arc<str>>,
    },
    /// A phase's requirements hold, and it starts.
    PhaseStarted { phase: Arc<str> },
    /// Nothing is left to do in a phase.
    PhaseFinished { phase: Arc<str>, outcome: PhaseOutcome },
    /// A phase cannot start.
    RequirementUnmet { phase: Arc<str>, requirement: Requirement, required: u64, available: u64 },
    /// An attempt begins. A merge names the archive's `key`, and an `install` says whether it is `direct`: so what
    /// does not end well can be taken back by whoever comes next, with whatever definition. A `check` that may fail names
    /// the key as well: what is built with it is known to have failed.
    TaskStarted {
        phase: Arc<str>,
        package: Arc<str>,
        task: TaskKind,
        attempt: u32,
        #[serde(default, skip_serializing_if = "is_false")]
        restore: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<Arc<str>>,
        #[serde(default, skip_serializing_if = "is_false")]
        direct: bool,
    },
    /// An attempt succeeded.
    TaskFinished {
        package: Arc<str>,
        task: TaskKind,
        attempt: u32,
        #[serde(default, skip_serializing_if = "is_false")]
        restore: bool,
        usage: Usage,
    },
    /// An attempt failed; `retry_at` says when the next may begin, if there is one.
    TaskFailed {
        package: Arc<str>,
        task: TaskKind,
        attempt: u32,
        #[serde(default, skip_serializing_if = "is_false")]
        restore: bool,
        failure: Failure,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_at: Option<Time>,
        /// The package goes on without it (`required: false`).
        #[serde(default, skip_serializing_if = "is_false")]
        tolerated: bool,
        usage: Usage,
    },
    /// An attempt was cut off by kiln's own end. It counts as nothing.
    TaskInterrupted { package: Arc<str>, task: TaskKind, attempt: u32 },
    /// A work directory is gone: its tasks are done again, and count in no figure.
    WorkLost { package: Arc<str> },
    /// A package is done; its archive and manifest are on disk, and merged.
    PackageCompleted {
        phase: Arc<str>,
        package: Arc<str>,
        version: Arc<str>,
        key: Arc<str>,
        #[serde(default, skip_serializing_if = "is_false")]
        degraded: bool,
    },
    /// A package has spent its attempts. Or it had been `completed`, was damaged since, and cannot be put right.
    PackageFailed {
        package: Arc<str>,
        task: TaskKind,
        #[serde(default, skip_serializing_if = "is_false")]
        completed: bool,
    },
    /// The files of these packages in the sysroot were read and have the digests of their manifests; what was changed
    /// after `at` (nanoseconds since 1970) was not seen.
    Verified { packages: Vec<Arc<str>>, at: i64 },
    /// A package's files in the sysroot are not what its manifest says: it is merged again.
    PackageDamaged { package: Arc<str>, path: Arc<str>, what: Arc<str> },
    /// A package cannot be built because of another.
    PackageSkipped { package: Arc<str>, because: Arc<str> },
    /// A package that was built without something optional stays as it is: that is still missing.
    PackageKept { package: Arc<str> },
    /// The run is over for now.
    RunPaused { reason: Arc<str> },
    /// The run is over.
    RunEnded { state: RunEnd, missing: Vec<Arc<str>> },
    /// Between runs: a merge or a direct `install` had not ended well, and nothing of it is left in the sysroot.
    Undone { package: Arc<str> },
    /// Between runs: a package was taken out of the sysroot, because it is no longer in the definition, or because
    /// nobody can tell any more what it has there.
    PackageRemoved { package: Arc<str> },
}

/// How a phase ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PhaseOutcome {
    /// All its packages are completed.
    Completed,
    /// At least one failed, or could not be built because of one that did.
    Failed,
    /// Some were not wanted.
    Skipped,
}

/// What a phase can require.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Requirement {
    /// `disk_space`, bytes.
    DiskSpace,
    /// `memory`, bytes.
    Memory,
    /// `toolchain: complete`; required and available are 1 and 0.
    Toolchain,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunEnd {
    /// What is missing is not critical.
    Completed,
    /// A critical phase failed, or could not start.
    Error,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_false(value: &bool) -> bool {
    !value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(value: &u64) -> bool {
    *value == 0
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
