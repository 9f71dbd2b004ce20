//! What is recorded of a run, and lasts.
//!
//! Owns: every kind of record, as the ledger keeps it. Does not know: what each changes (`state`), how it is told.
//!
//! Records name packages and phases, not indices: a ledger outlives the definition that it was made with.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::config::document::{
    CheckpointType, ErrorRecovery, GateReason, NotificationChannel, RecoveryAction,
};
use crate::failure::Failure;
use crate::plan::TaskKind;

use super::message::{ActionResult, Answer, Then, Time, Usage};

/// One durable fact about a run. See `State::apply` for what each means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
#[expect(missing_docs, reason = "fields are named by the words of design section 1")]
pub enum Record {
    /// A new run. `boot` names the machine's start that it began in; empty in records of a kiln that did not say.
    /// `escalation`: the rules from here on, whatever a later definition says.
    RunStarted {
        build_id: Arc<str>,
        definition: Arc<str>,
        digest: Arc<str>,
        kiln: Arc<str>,
        #[serde(default, skip_serializing_if = "str::is_empty")]
        boot: Arc<str>,
        #[serde(default)]
        escalation: Escalation,
    },
    /// The run goes on after a pause or a crash; `reason`: a person has said so. `afresh`: its packages are decided again, since the
    /// definition changed or something that was completed is gone.
    RunResumed {
        digest: Arc<str>,
        #[serde(default, skip_serializing_if = "is_false")]
        afresh: bool,
        #[serde(default, skip_serializing_if = "str::is_empty")]
        boot: Arc<str>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<Arc<str>>,
        #[serde(default)]
        escalation: Escalation,
    },
    /// What need not be built: `reused` are there, `archived` only have to be merged, `skipped` are not wanted.
    /// `degraded` were built without something optional: built again if that can be had now, else kept. Of all these
    /// `failed_checks` are those whose `check` had failed. `forced` are built whatever a person said of them before. `packages`:
    /// how many there are in all; 0 in records of a kiln that did not say.
    Decided {
        reused: Vec<Arc<str>>,
        archived: Vec<Arc<str>>,
        skipped: Vec<Arc<str>>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        degraded: Vec<Arc<str>>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        failed_checks: Vec<Arc<str>>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        forced: Vec<Arc<str>>,
        #[serde(default)]
        packages: u64,
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
        /// From now on its tasks use at most so many jobs.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        jobs: Option<u32>,
        usage: Usage,
    },
    /// A step of the recovery procedure between two attempts.
    ActionFinished {
        package: Arc<str>,
        task: TaskKind,
        attempt: u32,
        action: RecoveryAction,
        result: ActionResult,
        examined: Arc<str>,
        #[serde(default, skip_serializing_if = "goes_on")]
        then: Then,
        /// Nanoseconds.
        duration: u64,
    },
    /// A person is needed: for a package's failure (`trial` says of which recipe), or for what a phase requires (of which
    /// `trial` says what that was).
    GateOpened {
        gate: u32,
        reason: GateReason,
        phase: Arc<str>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        package: Option<Arc<str>>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        task: Option<TaskKind>,
        trial: u64,
    },
    /// A person's answer.
    GateAnswered {
        gate: u32,
        answer: Answer,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        jobs: Option<u32>,
        by: Arc<str>,
        note: Arc<str>,
    },
    /// What a gate was about is not there any more: the definition has changed, or another run begins.
    GateClosed { gate: u32 },
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
    /// A package has spent its attempts.
    PackageFailed { package: Arc<str>, task: TaskKind },
    /// The files of these packages in the sysroot were read and have the digests of their manifests; what was changed
    /// after `at` (nanoseconds since 1970) was not seen.
    Verified { packages: Vec<Arc<str>>, at: i64 },
    /// A completed package's files in the sysroot are not what its manifest says: it is merged again or, where the archive is
    /// not good either, built again. Who has not begun yet waits for it again.
    PackageDamaged {
        /// Empty in records of a kiln that did not say.
        #[serde(default, skip_serializing_if = "str::is_empty")]
        phase: Arc<str>,
        package: Arc<str>,
        path: Arc<str>,
        what: Arc<str>,
        #[serde(default = "yes", skip_serializing_if = "is_true")]
        archive: bool,
    },
    /// A checkpoint: what was merged of these packages is on disk, and their archives are kept beside. `phase`: it was taken
    /// because that had ended. `verified`: all of it was read back. A `full` one is about everything that was complete, an
    /// incremental one about what none before covers.
    CheckpointTaken {
        checkpoint: u32,
        kind: CheckpointType,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        phase: Option<Arc<str>>,
        packages: Vec<Arc<str>>,
        verified: bool,
        /// Nanoseconds.
        duration: u64,
    },
    /// A checkpoint could not be taken; nothing is covered by it.
    CheckpointFailed {
        checkpoint: u32,
        reason: Arc<str>,
        /// Nanoseconds.
        duration: u64,
    },
    /// Between runs: a person brings the sysroot back to a checkpoint. These packages are there from then on and no others, and
    /// the run can go on from there. What is younger is set `aside`, in the directory `place`. Where the ledger was damaged,
    /// this is what its new one begins with, after what could be read: hence the run's id and definition. `checkpoints` are those
    /// that are known from then on, whatever the ledger said.
    Restored {
        checkpoint: u32,
        build_id: Arc<str>,
        definition: Arc<str>,
        packages: Vec<Kept>,
        aside: Vec<Aside>,
        place: Arc<str>,
        checkpoints: Vec<u32>,
        by: Arc<str>,
    },
    /// The files are as the last `Restored` says.
    RestoreFinished { checkpoint: u32 },
    /// A package cannot be built because of another.
    PackageSkipped { package: Arc<str>, because: Arc<str> },
    /// A package that was built without something optional stays as it is: that is still missing.
    PackageKept { package: Arc<str> },
    /// The run is over for now; or, where it is `held`, nothing more is started until a person says so.
    RunPaused {
        reason: Arc<str>,
        #[serde(default, skip_serializing_if = "is_false")]
        held: bool,
    },
    /// The run is over.
    RunEnded { state: RunEnd, missing: Vec<Arc<str>> },
    /// Between runs: a merge or a direct `install` had not ended well, and nothing of it is left in the sysroot.
    Undone { package: Arc<str> },
    /// Between runs: a package was taken out of the sysroot, because it is no longer in the definition, or because
    /// nobody can tell any more what it has there.
    PackageRemoved { package: Arc<str> },
}

/// When a package's failure is escalated, and who hears of it. Of records of a kiln that did not say, nobody knows: the
/// framework's defaults, so that counts do not depend on who counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "fields are named by the words of the definition")]
pub struct Escalation {
    pub threshold: u32,
    pub channels: Vec<NotificationChannel>,
}

impl Escalation {
    /// As a definition has it.
    pub fn of(recovery: &ErrorRecovery) -> Self {
        Self {
            threshold: recovery.automatic_recovery.escalation_threshold,
            channels: recovery.manual_intervention.notification_channels.clone(),
        }
    }
}

impl Default for Escalation {
    fn default() -> Self {
        Self::of(&ErrorRecovery::default())
    }
}

/// A package that is in the sysroot once a checkpoint is restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "fields are named by the words of design section 1")]
pub struct Kept {
    pub package: Arc<str>,
    pub version: Arc<str>,
    pub phase: Arc<str>,
    pub key: Arc<str>,
    #[serde(default, skip_serializing_if = "is_false")]
    pub degraded: bool,
}

/// An archive that is set aside, by the key that it is stored under.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "fields are named by the words of design section 1")]
pub struct Aside {
    pub package: Arc<str>,
    pub key: Arc<str>,
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

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_true(value: &bool) -> bool {
    *value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn goes_on(then: &Then) -> bool {
    *then == Then::GoOn
}
