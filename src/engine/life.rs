//! The states that a run, a phase, a package and a task can be in.
//!
//! Does not know: how one becomes another (`state`).

use crate::plan::TaskKind;

use super::message::{PhaseOutcome, Time};

/// Of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunState {
    /// There has been none.
    Idle,
    /// It is running, or was when kiln ended.
    Running,
    /// It can go on.
    Paused,
    /// It is over, and nothing critical is missing.
    Completed,
    /// It is over, and something critical is missing.
    Error,
}

/// Of a phase.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PhaseState {
    /// Earlier ones are not finished, or its requirements have not been looked at.
    #[default]
    Pending,
    /// Its tasks may run.
    Running,
    /// Nothing is left to do.
    Finished(PhaseOutcome),
}

/// Of a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PackageState {
    /// No task but perhaps its fetch has begun.
    Pending,
    /// A task of its own has begun.
    Running,
    /// It is in the sysroot, or wherever its tasks put it.
    Completed {
        /// Nothing had to be built.
        reused: bool,
    },
    /// It has spent its attempts. While a gate is open for it those that need it wait.
    Failed,
    /// It will not be built.
    Skipped(Skip),
}

/// Why a package is skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skip {
    /// It was not wanted in this run.
    Unwanted,
    /// A person goes on without it, or without what it needs.
    Waived,
    /// What it needs could not be built.
    Doomed,
}

/// Of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskState {
    /// Something must happen first.
    Blocked,
    /// It waits for a slot only.
    Ready,
    /// An attempt is under way.
    Running {
        /// Which, 1-based.
        attempt: u32,
        /// When it began.
        since: Time,
    },
    /// An attempt failed, the next comes.
    Backoff {
        /// The one that failed.
        attempt: u32,
        /// When the next may begin.
        until: Time,
    },
    /// It is done.
    Completed,
    /// It has spent its attempts, or failed where that is allowed.
    Failed,
    /// Its package ended without it.
    Skipped,
}

/// Package states in the order of `PackageState::index`.
pub const PACKAGE_STATES: [&str; 5] = ["pending", "running", "completed", "failed", "skipped"];
/// Task states in the order of `TaskState::index`.
pub const TASK_STATES: [&str; 7] =
    ["blocked", "ready", "running", "backoff", "completed", "failed", "skipped"];

impl RunState {
    /// Whether the next start goes on with it.
    pub fn goes_on(self) -> bool {
        match self {
            Self::Running | Self::Paused => true,
            Self::Idle | Self::Completed | Self::Error => false,
        }
    }
}

impl PackageState {
    /// Position in `PACKAGE_STATES`.
    pub fn index(self) -> usize {
        match self {
            Self::Pending => 0,
            Self::Running => 1,
            Self::Completed { .. } => 2,
            Self::Failed => 3,
            Self::Skipped(_) => 4,
        }
    }

    /// Nothing more will be done for it in this run.
    pub fn is_final(self) -> bool {
        match self {
            Self::Pending | Self::Running => false,
            Self::Completed { .. } | Self::Failed | Self::Skipped(_) => true,
        }
    }
}

impl TaskState {
    /// Position in `TASK_STATES`.
    pub fn index(self) -> usize {
        match self {
            Self::Blocked => 0,
            Self::Ready => 1,
            Self::Running { .. } => 2,
            Self::Backoff { .. } => 3,
            Self::Completed => 4,
            Self::Failed => 5,
            Self::Skipped => 6,
        }
    }
}

impl TaskKind {
    /// Whether it works in the work directory, and so must find it as its predecessors left it.
    pub fn works(self) -> bool {
        match self {
            Self::Unpack | Self::Configure | Self::Build | Self::Check | Self::Install => true,
            Self::Fetch | Self::Merge => false,
        }
    }

    /// Whether it must be done again in order to restore a lost work directory.
    pub(super) fn restores(self) -> bool {
        match self {
            Self::Unpack | Self::Configure | Self::Build => true,
            Self::Fetch | Self::Check | Self::Install | Self::Merge => false,
        }
    }
}
