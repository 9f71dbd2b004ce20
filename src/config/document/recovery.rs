//! `error_recovery` and `recovery_procedures`: what is tried again, what is done before that, and when a person is asked.
//!
//! Does not know: what an action does (`driver::recover`).

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::bounds::at_least_one;
use super::super::scalar::Seconds;

/// `error_recovery`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ErrorRecovery {
    /// Retries.
    pub automatic_recovery: AutomaticRecovery,
    /// When a person is asked, and how they hear of it.
    pub manual_intervention: ManualIntervention,
}

/// `error_recovery.automatic_recovery`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AutomaticRecovery {
    /// Whether a failed task is tried again.
    pub enabled: bool,
    /// Attempts of a task, the first included.
    #[serde(deserialize_with = "at_least_one")]
    #[schemars(range(min = 1))]
    pub max_attempts: u32,
    /// Seconds from a failure to the next attempt.
    pub delay_between_attempts: Seconds,
    /// Failed attempts at which a package's failure is escalated to level 2.
    #[serde(deserialize_with = "at_least_one")]
    #[schemars(range(min = 1))]
    pub escalation_threshold: u32,
    /// Ours: end the attempts after two with the same evidence.
    pub stop_on_same_failure: bool,
}

/// `error_recovery.manual_intervention`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ManualIntervention {
    /// Reasons for which a gate opens.
    pub required_for: Vec<GateReason>,
    /// How a person hears of it.
    pub notification_channels: Vec<NotificationChannel>,
}

/// Why a person is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GateReason {
    /// A critical phase's package has spent its attempts.
    CriticalBuildFailure,
    /// Recovery could not free what is needed.
    SystemResourceExhaustion,
    /// A digest mismatch, a path escape, a sandbox denial.
    SecurityViolation,
}

/// All reasons.
pub const GATE_REASONS: [GateReason; 3] =
    [GateReason::CriticalBuildFailure, GateReason::SystemResourceExhaustion, GateReason::SecurityViolation];

impl GateReason {
    /// As the framework writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CriticalBuildFailure => "critical_build_failure",
            Self::SystemResourceExhaustion => "system_resource_exhaustion",
            Self::SecurityViolation => "security_violation",
        }
    }
}

impl fmt::Display for GateReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a person hears of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NotificationChannel {
    /// journald.
    SystemLog,
    /// Mail, through Alertmanager.
    Email,
    /// Grafana.
    Dashboard,
}

/// `recovery_procedures`: the actions per class of failure, in order.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RecoveryProcedures {
    /// After a build error.
    pub build_failure: Vec<RecoveryAction>,
    /// After a dependency error.
    pub dependency_failure: Vec<RecoveryAction>,
    /// After a system error.
    pub system_failure: Vec<RecoveryAction>,
}

/// The framework's twelve recovery actions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are the framework's; design section 7 says what each does")]
pub enum RecoveryAction {
    CleanupFailedBuild,
    VerifyDependencies,
    CheckResources,
    RetryBuild,
    VerifyPackageAvailability,
    CheckAlternativeSources,
    ValidateVersions,
    RebuildDependencies,
    FreeResources,
    CleanupTemporaryFiles,
    ResetBuildEnvironment,
    VerifySystemHealth,
}

/// All actions, in the framework's order.
pub const RECOVERY_ACTIONS: [RecoveryAction; 12] = [
    RecoveryAction::CleanupFailedBuild,
    RecoveryAction::VerifyDependencies,
    RecoveryAction::CheckResources,
    RecoveryAction::RetryBuild,
    RecoveryAction::VerifyPackageAvailability,
    RecoveryAction::CheckAlternativeSources,
    RecoveryAction::ValidateVersions,
    RecoveryAction::RebuildDependencies,
    RecoveryAction::FreeResources,
    RecoveryAction::CleanupTemporaryFiles,
    RecoveryAction::ResetBuildEnvironment,
    RecoveryAction::VerifySystemHealth,
];

impl RecoveryAction {
    /// As the framework writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CleanupFailedBuild => "cleanup_failed_build",
            Self::VerifyDependencies => "verify_dependencies",
            Self::CheckResources => "check_resources",
            Self::RetryBuild => "retry_build",
            Self::VerifyPackageAvailability => "verify_package_availability",
            Self::CheckAlternativeSources => "check_alternative_sources",
            Self::ValidateVersions => "validate_versions",
            Self::RebuildDependencies => "rebuild_dependencies",
            Self::FreeResources => "free_resources",
            Self::CleanupTemporaryFiles => "cleanup_temporary_files",
            Self::ResetBuildEnvironment => "reset_build_environment",
            Self::VerifySystemHealth => "verify_system_health",
        }
    }
}

impl fmt::Display for RecoveryAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Default for AutomaticRecovery {
    fn default() -> Self {
        Self {
            enabled: true,
            max_attempts: 3,
            delay_between_attempts: Seconds(60.0),
            escalation_threshold: 3,
            stop_on_same_failure: false,
        }
    }
}

impl Default for ManualIntervention {
    fn default() -> Self {
        Self {
            required_for: vec![
                GateReason::CriticalBuildFailure,
                GateReason::SystemResourceExhaustion,
                GateReason::SecurityViolation,
            ],
            notification_channels: vec![
                NotificationChannel::SystemLog,
                NotificationChannel::Email,
                NotificationChannel::Dashboard,
            ],
        }
    }
}

impl Default for RecoveryProcedures {
    fn default() -> Self {
        use RecoveryAction as A;
        Self {
            build_failure: vec![
                A::CleanupFailedBuild,
                A::VerifyDependencies,
                A::CheckResources,
                A::RetryBuild,
            ],
            dependency_failure: vec![
                A::VerifyPackageAvailability,
                A::CheckAlternativeSources,
                A::ValidateVersions,
                A::RebuildDependencies,
            ],
            system_failure: vec![
                A::FreeResources,
                A::CleanupTemporaryFiles,
                A::ResetBuildEnvironment,
                A::VerifySystemHealth,
            ],
        }
    }
}
