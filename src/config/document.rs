//! The framework's document, `kiln.yaml`, as types.
//!
//! Owns: every key, its default (the framework's own value, leaf by leaf) and its range.
//! Does not know: where in a file a value stands (see `place`), what a recipe is.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::bounds::at_least_one;
use super::map::UniqueMap;
use super::name::Name;
use super::scalar::Size;
use super::settings::DefinitionSettings;

mod recovery;

pub use recovery::{
    AutomaticRecovery, ErrorRecovery, GATE_REASONS, GateReason, ManualIntervention, NotificationChannel,
    RECOVERY_ACTIONS, RecoveryAction, RecoveryProcedures,
};

/// `kiln.yaml`: the framework's six documents, and `name`, `settings`, `recovery_actions`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// Name of the definition; the directory's name when absent.
    #[serde(default)]
    pub name: Option<Name>,
    /// Host settings that a definition may suggest; the host's own layers are stronger.
    #[serde(default)]
    pub settings: DefinitionSettings,
    /// The phases, by key.
    pub build_phases: UniqueMap<Phase, Name>,
    /// How dependencies are checked and ordered.
    #[serde(default)]
    pub dependency_tracking: DependencyTracking,
    /// What an exported graph shows and how a plan is validated.
    #[serde(default)]
    pub dependency_graph: DependencyGraph,
    /// What is reported, and when.
    #[serde(default)]
    pub progress_tracking: ProgressTracking,
    /// What happens after a failure.
    #[serde(default)]
    pub error_recovery: ErrorRecovery,
    /// The actions per class of failure, in order.
    #[serde(default)]
    pub recovery_procedures: RecoveryProcedures,
    /// Scripts that replace a recovery action.
    #[serde(default)]
    pub recovery_actions: UniqueMap<String, RecoveryAction>,
}

/// One phase: steps built together, after all phases of a lower `order`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Phase {
    /// For people; the phase's key when absent.
    #[serde(default)]
    pub name: Option<String>,
    /// Position; unique among the phases.
    pub order: u32,
    /// Whether a failed package ends the run in error.
    #[serde(default = "yes")]
    pub critical: bool,
    /// What must hold when the phase starts.
    #[serde(default)]
    pub requirements: Requirements,
    /// Packages or groups.
    #[serde(deserialize_with = "at_least_one")]
    #[schemars(length(min = 1))]
    pub steps: Vec<Name>,
}

/// What a phase needs of the host; nothing where absent or null.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Requirements {
    /// Free bytes where the state directory is.
    pub disk_space: Option<Size>,
    /// Available memory, capped by the cgroup's limit.
    pub memory: Option<Size>,
    /// `complete`: the phase named `toolchain` has completed.
    pub toolchain: Option<ToolchainRequirement>,
}

/// The only requirement on the toolchain that the framework knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ToolchainRequirement {
    /// The phase named `toolchain` completed and its archives verify.
    Complete,
}

/// `dependency_tracking`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DependencyTracking {
    /// Per type of dependency: must it be there, and how closely is it looked at.
    pub package_types: PackageTypes,
    /// In which order packages are built.
    pub dependency_resolution: DependencyResolution,
}

/// `dependency_tracking.package_types`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PackageTypes {
    /// `build_deps` of recipes.
    #[serde(deserialize_with = "with_defaults::build_deps")]
    #[schemars(with = "with_defaults::Partial")]
    pub build_deps: PackageType,
    /// `runtime_deps` of recipes.
    #[serde(deserialize_with = "with_defaults::runtime_deps")]
    #[schemars(with = "with_defaults::Partial")]
    pub runtime_deps: PackageType,
    /// `optional_deps` of recipes.
    #[serde(deserialize_with = "with_defaults::optional_deps")]
    #[schemars(with = "with_defaults::Partial")]
    pub optional_deps: PackageType,
}

/// How one type of dependency is treated: whether it must be there, and what must hold of one that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PackageType {
    /// Whether a missing one is an error; otherwise the dependent is built without it.
    pub required: bool,
    /// How closely it is looked at.
    pub verification: Verification,
}

/// What must hold of a dependency that is there, before a dependent's first script.
// The strongest first: the order is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verification {
    /// Its version fits, its files in the sysroot have the digests of its manifest, its `check` has not failed.
    Strict,
    /// Its version fits.
    Normal,
    /// Nothing: what does not fit is told, and it is used all the same.
    Relaxed,
}

/// `dependency_tracking.dependency_resolution`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DependencyResolution {
    /// One at a time, as many as there are slots, or as many as there is memory for.
    pub method: Method,
    /// Longest chain of required dependencies within one phase, in packages.
    /// Packages that need each other to run all count.
    #[serde(deserialize_with = "at_least_one")]
    #[schemars(range(min = 1))]
    pub max_depth: u32,
    /// What a cycle of required dependencies means; optional ones that close a cycle are dropped in any case.
    pub circular_handling: CircularHandling,
}

/// In which order, and how many at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// One package at a time, in a stable order.
    Topological,
    /// As many as there are slots, by critical path.
    Parallel,
    /// `parallel`, and a start waits for the memory that it is expected to need.
    Dynamic,
}

/// What a cycle of dependencies means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CircularHandling {
    /// The definition is invalid.
    Error,
    /// Broken by dropping edges, which are printed.
    Warn,
    /// Broken by dropping edges.
    Ignore,
}

/// `dependency_graph`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DependencyGraph {
    /// Node attributes that `kiln graph` exports.
    pub nodes: Vec<NodeAttribute>,
    /// Edge attributes that `kiln graph` exports.
    pub edges: Vec<EdgeAttribute>,
    /// Checks of the finished plan.
    pub validation: Validation,
}

/// An attribute of an exported node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NodeAttribute {
    /// The package.
    PackageName,
    /// Its version.
    Version,
    /// pending, running, completed, failed or skipped.
    BuildStatus,
    /// unverified, verified or failed.
    VerificationStatus,
}

/// An attribute of an exported edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EdgeAttribute {
    /// build, runtime or optional.
    DependencyType,
    /// required or optional.
    RequirementLevel,
    /// Plan position of the dependency.
    BuildOrder,
}

/// `dependency_graph.validation`; a switch that is off does nothing.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Validation {
    /// Report cycles as `circular_handling` says; when off, one is broken without a word.
    pub cycle_detection: bool,
    /// Check every version constraint.
    pub version_compatibility: bool,
    /// Hold the finished plan against the edges.
    pub build_order_verification: bool,
}

/// `progress_tracking`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ProgressTracking {
    /// Fields of each status update.
    pub metrics: Vec<ProgressMetric>,
    /// When and how checkpoints are made.
    pub checkpoints: Checkpoints,
    /// When and how much is reported.
    pub status_updates: StatusUpdates,
}

/// A field of a status update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProgressMetric {
    /// Packages finished in this run.
    PackagesCompleted,
    /// The phase that is running.
    CurrentPhase,
    /// Time to the end of the run.
    EstimatedRemaining,
    /// Failed attempts.
    ErrorCount,
    /// Attempts after the first.
    RetryCount,
}

/// `progress_tracking.checkpoints`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Checkpoints {
    /// Packages between two checkpoints.
    #[serde(deserialize_with = "at_least_one")]
    #[schemars(range(min = 1))]
    pub frequency: u32,
    /// What a checkpoint covers.
    #[serde(rename = "type")]
    pub kind: CheckpointType,
    /// Read back and verify digests.
    pub verification: bool,
}

/// What a checkpoint covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CheckpointType {
    /// What came since the last.
    Incremental,
    /// Everything.
    Full,
}

/// `progress_tracking.status_updates`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StatusUpdates {
    /// Seconds between two updates.
    #[serde(deserialize_with = "at_least_one")]
    #[schemars(range(min = 1))]
    pub frequency: u32,
    /// How much an update says.
    pub detail_level: DetailLevel,
}

/// How much a status update says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DetailLevel {
    /// Phase and counts.
    Low,
    /// Also running tasks and the estimate.
    Normal,
    /// Also attempts and resources.
    High,
}

fn yes() -> bool {
    true
}

impl Default for PackageTypes {
    fn default() -> Self {
        Self {
            build_deps: PackageType { required: true, verification: Verification::Strict },
            runtime_deps: PackageType { required: true, verification: Verification::Normal },
            optional_deps: PackageType { required: false, verification: Verification::Relaxed },
        }
    }
}

impl Document {
    /// What a cycle means when `cycle_detection` has its say: when it is off, what is unavoidable is done without a word.
    pub fn circular_handling(&self) -> CircularHandling {
        if self.dependency_graph.validation.cycle_detection {
            self.dependency_tracking.dependency_resolution.circular_handling
        } else {
            CircularHandling::Ignore
        }
    }
}

impl Default for DependencyResolution {
    fn default() -> Self {
        Self { method: Method::Topological, max_depth: 10, circular_handling: CircularHandling::Error }
    }
}

impl Default for DependencyGraph {
    fn default() -> Self {
        use {EdgeAttribute as E, NodeAttribute as N};
        Self {
            nodes: vec![N::PackageName, N::Version, N::BuildStatus, N::VerificationStatus],
            edges: vec![E::DependencyType, E::RequirementLevel, E::BuildOrder],
            validation: Validation::default(),
        }
    }
}

impl Default for Validation {
    fn default() -> Self {
        Self { cycle_detection: true, version_compatibility: true, build_order_verification: true }
    }
}

impl Default for ProgressTracking {
    fn default() -> Self {
        use ProgressMetric as M;
        Self {
            metrics: vec![
                M::PackagesCompleted,
                M::CurrentPhase,
                M::EstimatedRemaining,
                M::ErrorCount,
                M::RetryCount,
            ],
            checkpoints: Checkpoints::default(),
            status_updates: StatusUpdates::default(),
        }
    }
}

impl Default for Checkpoints {
    fn default() -> Self {
        Self { frequency: 10, kind: CheckpointType::Incremental, verification: true }
    }
}

impl Default for StatusUpdates {
    fn default() -> Self {
        Self { frequency: 60, detail_level: DetailLevel::High }
    }
}

/// A `package_types` entry that names only one of its two keys keeps the framework's value of its own
/// type for the other: serde's field defaults cannot tell the three apart.
mod with_defaults {
    use schemars::JsonSchema;
    use serde::{Deserialize, Deserializer};

    use super::{PackageType, PackageTypes, Verification};

    /// How one type of dependency is treated: whether it must be there, and what must hold of one that is.
    #[derive(Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    #[schemars(rename = "PackageType")]
    pub(super) struct Partial {
        /// Whether a missing one is an error; otherwise the dependent is built without it.
        required: Option<bool>,
        /// How closely it is looked at.
        verification: Option<Verification>,
    }

    fn fill<'de, D: Deserializer<'de>>(from: D, rest: PackageType) -> Result<PackageType, D::Error> {
        let part = Partial::deserialize(from)?;
        Ok(PackageType {
            required: part.required.unwrap_or(rest.required),
            verification: part.verification.unwrap_or(rest.verification),
        })
    }

    pub(super) fn build_deps<'de, D: Deserializer<'de>>(from: D) -> Result<PackageType, D::Error> {
        fill(from, PackageTypes::default().build_deps)
    }

    pub(super) fn runtime_deps<'de, D: Deserializer<'de>>(from: D) -> Result<PackageType, D::Error> {
        fill(from, PackageTypes::default().runtime_deps)
    }

    pub(super) fn optional_deps<'de, D: Deserializer<'de>>(from: D) -> Result<PackageType, D::Error> {
        fill(from, PackageTypes::default().optional_deps)
    }
}
