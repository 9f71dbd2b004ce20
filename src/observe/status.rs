//! The framework's documents about a run: Build Status and Monitoring Integration.
//!
//! Owns: their keys, in the framework's order, and how each is reckoned. Does not know: how they are asked
//! for.

use serde::Serialize;

use crate::engine::state::RunState;

use super::human;
use super::snapshot::Snapshot;

/// The Build Status document: `kiln status --json`, `GET /api/v1/status`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BuildStatus {
    /// Id of the run.
    pub build_id: String,
    /// Key of the phase that started last.
    pub phase: String,
    /// Where the run is.
    pub status: Status,
    /// How far it is.
    pub progress: ProgressPart,
    /// How it fares.
    pub metrics: MetricsPart,
}

/// Where a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Status {
    /// A runner is at it.
    Running,
    /// It can go on: it was stopped, or its runner is gone.
    Paused,
    /// It is over, and nothing critical is missing.
    Completed,
    /// It is over, and something critical is missing.
    Error,
}

/// How far a run is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ProgressPart {
    /// The package whose task has been running longest; empty while none runs.
    pub current_package: String,
    /// Built or reused.
    pub packages_completed: u64,
    /// Wanted in this run.
    pub packages_total: u64,
    /// RFC 3339, UTC; null while unknown; once the run has ended, when it did.
    pub estimated_completion: Option<String>,
}

impl Status {
    /// As in the document.
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Paused => "PAUSED",
            Self::Completed => "COMPLETED",
            Self::Error => "ERROR",
        }
    }
}

/// How a run fares.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MetricsPart {
    /// completed / (completed + failed) packages; 1 while there are none.
    pub success_rate: f64,
    /// failed / all attempts; 0 while there are none.
    pub error_rate: f64,
    /// Seconds that a package took that was built in this run, its tasks one after another; 0 while none was.
    pub average_package_time: f64,
}

/// The Monitoring Integration document: `GET /api/v1/monitoring`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Monitoring {
    /// Always `BUILD_PROCESS`.
    pub component: &'static str,
    /// How the run is.
    pub metrics: MonitoringMetrics,
}

/// How a run is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MonitoringMetrics {
    /// Part of the wanted work that is done, 0 to 1.
    pub build_progress: f64,
    /// Failed attempts in this run.
    pub error_count: u64,
    /// Key of the phase that started last.
    pub current_phase: String,
    /// In one word.
    pub health_status: Health,
}

/// How a run is, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Nothing that failed is still wrong.
    Healthy,
    /// A package is at escalation level 1 or 2.
    Degraded,
    /// A gate is open, or nothing can be recorded.
    Attention,
    /// The run should be going on, and no runner is there.
    Down,
}

impl BuildStatus {
    /// Of a run; `None` if there has been none.
    pub fn of(snapshot: &Snapshot) -> Option<Self> {
        let status = match snapshot.state() {
            RunState::Idle => return None,
            RunState::Running => Status::Running,
            RunState::Paused => Status::Paused,
            RunState::Completed => Status::Completed,
            RunState::Error => Status::Error,
        };
        let (run, packages) = (&snapshot.run, &snapshot.packages);
        let current = snapshot.running.first();
        Some(Self {
            build_id: run.build_id.to_string(),
            phase: run.phase.to_string(),
            status,
            progress: ProgressPart {
                current_package: current.map(|task| task.package.to_string()).unwrap_or_default(),
                packages_completed: packages.completed,
                packages_total: packages.total,
                estimated_completion: snapshot.completion().map(|(p50, _)| human::timestamp(p50)),
            },
            metrics: MetricsPart {
                success_rate: share(packages.completed, packages.completed + packages.failed).unwrap_or(1.0),
                error_rate: share(run.failed_attempts, run.attempts).unwrap_or(0.0),
                average_package_time: run.average_package_time.as_secs_f64(),
            },
        })
    }
}

impl Monitoring {
    /// Of a run, or of its absence.
    pub fn of(snapshot: &Snapshot) -> Self {
        let run = &snapshot.run;
        let health_status = if run.state == RunState::Running && !snapshot.alive {
            Health::Down
        } else if !snapshot.gates.is_empty() || snapshot.blocked().is_some() {
            Health::Attention
        } else if snapshot.level > 0 {
            Health::Degraded
        } else {
            Health::Healthy
        };
        Self {
            component: "BUILD_PROCESS",
            metrics: MonitoringMetrics {
                build_progress: run.ratio,
                error_count: run.failed_attempts,
                current_phase: run.phase.to_string(),
                health_status,
            },
        }
    }
}

fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}
