//! The plan: a definition's packages in build order, with all that the engine needs to know of them.
//!
//! Owns: the immutable DAG and the rules that apply to it. Does not know: what has been built, the time,
//! where anything is on disk.
//!
//! **Invariant**: a package's index is its position in the build order; everything that it waits for has a
//! lower one.

pub mod build;
pub mod cycles;
mod depth;
pub mod key;
mod later;
pub mod path;
pub mod strict;
#[cfg(test)]
mod tests;
mod verify;
mod waits;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::document::Document;
use crate::config::recipe::Jobs;
use crate::graph::DependencyType;
use crate::graph::lists::Lists;

/// Index of a phase, in the order in which phases run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PhaseId(pub u32);

/// Index of a package, which is its position in the build order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct PackageId(pub u32);

/// What can be waited for: a package (the first ids), or the runtime closure of one (the ids after those).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u32);

/// Index of a task: a package's tasks are consecutive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(pub u32);

/// What a task does. The order is the order within a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskKind {
    /// Gets the sources into the cache.
    Fetch,
    /// Unpacks them into the work directory.
    Unpack,
    /// The recipe's script.
    Configure,
    /// The recipe's script.
    Build,
    /// The recipe's script.
    Check,
    /// The recipe's script, and packing what it staged.
    Install,
    /// Puts the archive into the sysroot.
    Merge,
}

/// An ordered, validated definition.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Name of the definition.
    pub definition: Arc<str>,
    /// Digest of all that decides what is built and how: hexadecimal blake3.
    pub digest: Arc<str>,
    /// Phases, in the order in which they run.
    pub phases: Vec<Phase>,
    /// Packages, in build order.
    pub packages: Vec<Package>,
    /// Package by name.
    pub by_name: BTreeMap<Arc<str>, PackageId>,
    /// First task of each package, and at the end the number of tasks.
    pub first_task: Vec<u32>,
    /// All nodes, each after those that it waits for.
    pub node_order: Vec<NodeId>,
    /// For each node (packages, then closures) who waits for it.
    pub waiters: Lists<Waiter>,
    /// For each node how many nodes it waits for.
    pub wait_count: Vec<u32>,
    /// Which dependencies must be verified ([`Plan::strict`]).
    pub verified: strict::Verified,
    /// Edges that were dropped to break cycles.
    pub dropped_edges: Vec<DroppedEdge>,
    /// The framework's document, for the rules that apply to a run.
    pub document: Arc<Document>,
}

/// A phase of the plan.
#[derive(Debug, Clone)]
pub struct Phase {
    /// Its key in `build_phases`.
    pub key: Arc<str>,
    /// For people.
    pub title: Arc<str>,
    /// Whether a failed package ends the run in error.
    pub critical: bool,
    /// Free bytes that must be there when it starts.
    pub disk_space: Option<u64>,
    /// Available bytes of memory that must be there when it starts.
    pub memory: Option<u64>,
    /// Whether the phase named `toolchain` must have completed.
    pub toolchain: bool,
    /// Its packages, in build order.
    pub packages: Vec<PackageId>,
}

/// A package of the plan.
#[derive(Debug, Clone)]
pub struct Package {
    /// Its name.
    pub name: Arc<str>,
    /// Its version, as written.
    pub version: Arc<str>,
    /// Its phase.
    pub phase: PhaseId,
    /// The step that names it, or that pulled it in.
    pub step: Arc<str>,
    /// Index into the definition's recipes.
    pub recipe: usize,
    /// Its tasks, in order; never empty.
    pub tasks: Vec<TaskKind>,
    /// `install` writes into the sysroot itself.
    pub direct: bool,
    /// Whether a failed `check` fails the package.
    pub check_required: bool,
    /// Bytes of memory that it is expected to need.
    pub memory: Option<u64>,
    /// Relative cost.
    pub weight: Option<f64>,
    /// How many jobs a task may use.
    pub jobs: Jobs,
    /// Longest time of one attempt.
    pub timeout: Option<Duration>,
    /// Longest time without output.
    pub silent_timeout: Option<Duration>,
    /// Direct dependencies in the plan, ascending, each once.
    pub depends_on: Vec<PackageId>,
    /// A strict dependency's `check` may have failed.
    pub accept_failed_check: bool,
    /// Digest of everything that goes into it: hexadecimal blake3.
    pub key: Arc<str>,
    /// Differs where another attempt may come out otherwise: the key and the rest of the recipe.
    pub trial: u64,
}

/// A dependency at `verification: strict`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Strict {
    /// Which.
    pub package: PackageId,
    /// The dependent cannot do without.
    pub required: bool,
}

/// One who waits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Waiter {
    /// The node that waits.
    pub node: NodeId,
    /// Whether it can do without.
    pub required: bool,
}

/// An edge that was dropped to break a cycle.
#[derive(Debug, Clone, Serialize)]
pub struct DroppedEdge {
    /// The dependent.
    pub from: Arc<str>,
    /// The dependency.
    pub to: Arc<str>,
    /// Its kind.
    pub dependency_type: DependencyType,
    /// Why: the cycle that it closes.
    pub reason: String,
}

/// All kinds of task, in order.
pub const TASK_KINDS: [TaskKind; 7] = [
    TaskKind::Fetch,
    TaskKind::Unpack,
    TaskKind::Configure,
    TaskKind::Build,
    TaskKind::Check,
    TaskKind::Install,
    TaskKind::Merge,
];

impl TaskKind {
    /// Whether it is a script of the recipe's, which may print something.
    pub fn is_script(self) -> bool {
        match self {
            Self::Configure | Self::Build | Self::Check | Self::Install => true,
            Self::Fetch | Self::Unpack | Self::Merge => false,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fetch => "fetch",
            Self::Unpack => "unpack",
            Self::Configure => "configure",
            Self::Build => "build",
            Self::Check => "check",
            Self::Install => "install",
            Self::Merge => "merge",
        }
    }
}

impl Plan {
    /// A package.
    pub fn package(&self, id: PackageId) -> &Package {
        &self.packages[id.0 as usize]
    }

    /// A phase.
    pub fn phase(&self, id: PhaseId) -> &Phase {
        &self.phases[id.0 as usize]
    }

    /// All package ids, in build order.
    pub fn package_ids(&self) -> impl DoubleEndedIterator<Item = PackageId> + use<> {
        (0..u32::try_from(self.packages.len()).unwrap_or(u32::MAX)).map(PackageId)
    }

    /// All phase ids, in order.
    pub fn phase_ids(&self) -> impl DoubleEndedIterator<Item = PhaseId> + use<> {
        (0..u32::try_from(self.phases.len()).unwrap_or(u32::MAX)).map(PhaseId)
    }

    /// Number of tasks.
    pub fn task_count(&self) -> usize {
        self.first_task.last().map_or(0, |n| *n as usize)
    }

    /// The tasks of a package.
    pub fn tasks_of(&self, id: PackageId) -> impl DoubleEndedIterator<Item = TaskId> + use<> {
        (self.first_task[id.0 as usize]..self.first_task[id.0 as usize + 1]).map(TaskId)
    }

    /// The task of this kind, if the package has one.
    pub fn task(&self, id: PackageId, kind: TaskKind) -> Option<TaskId> {
        let index = self.package(id).tasks.iter().position(|k| *k == kind)?;
        Some(TaskId(self.first_task[id.0 as usize] + u32::try_from(index).ok()?))
    }

    /// The package of a task.
    pub fn package_of(&self, task: TaskId) -> PackageId {
        let after = self.first_task.partition_point(|first| *first <= task.0);
        PackageId(u32::try_from(after - 1).unwrap_or(u32::MAX))
    }

    /// The kind of a task.
    pub fn kind(&self, task: TaskId) -> TaskKind {
        let package = self.package_of(task);
        self.package(package).tasks[(task.0 - self.first_task[package.0 as usize]) as usize]
    }

    /// The package of this name.
    pub fn find(&self, name: &str) -> Option<PackageId> {
        self.by_name.get(name).copied()
    }

    /// The phase of this key.
    pub fn find_phase(&self, key: &str) -> Option<PhaseId> {
        self.phase_ids().find(|id| &*self.phase(*id).key == key)
    }

    /// The packages that wait for this one, itself or for what needs it to run; ascending.
    pub fn dependents(&self, id: PackageId) -> Vec<PackageId> {
        let mut out = Vec::new();
        let mut seen = BTreeSet::new();
        let mut stack = vec![NodeId(id.0)];
        while let Some(node) = stack.pop() {
            for waiter in &self.waiters[node.0 as usize] {
                if !seen.insert(waiter.node) {
                    continue;
                }
                match self.as_package(waiter.node) {
                    Some(package) => out.push(package),
                    None => stack.push(waiter.node),
                }
            }
        }
        out.sort_unstable();
        out
    }

    /// What a package needs, directly or not; not itself, though runtime dependencies may come back to it.
    pub fn below(&self, id: PackageId) -> BTreeSet<PackageId> {
        let mut seen = BTreeSet::new();
        let mut stack = vec![id];
        while let Some(package) = stack.pop() {
            let below = &self.package(package).depends_on;
            stack.extend(below.iter().filter(|dependency| seen.insert(**dependency)));
        }
        seen.remove(&id);
        seen
    }

    /// The package that a node is, unless it is a closure.
    pub fn as_package(&self, node: NodeId) -> Option<PackageId> {
        ((node.0 as usize) < self.packages.len()).then_some(PackageId(node.0))
    }
}
