//! The dependency graph of a definition: packages, and who needs whom in which way.
//!
//! Owns: nodes and edges as resolved from steps, groups and recipes. Does not know: the order of building
//! (see `plan`), whether anything has been built.

pub mod components;
pub mod cycle;
pub mod export;
pub mod groups;
pub mod lists;
mod names;
pub mod part;
pub mod resolve;
mod versions;

use std::sync::Arc;

use serde::Serialize;

use crate::config::diagnostic::Place;
use crate::config::document::{PackageType, PackageTypes};
use crate::config::load::Definition;
use crate::config::recipe::Recipe;
use crate::config::version::Dependency;

/// A definition's dependency graph. Nodes are dense: a `usize` index into `nodes`.
#[derive(Debug, Clone)]
pub struct Graph {
    /// The phases, by `order`.
    pub phases: Vec<PhaseNode>,
    /// Packages, in definition order: phases by `order`, steps as listed, what a step pulls in before it.
    pub nodes: Vec<Node>,
    /// Dependencies, grouped by `from`, ascending, each package's in the order of its recipe.
    pub edges: Vec<Edge>,
}

/// A phase, as far as the graph needs it.
#[derive(Debug, Clone)]
pub struct PhaseNode {
    /// Its key in `build_phases`.
    pub key: Arc<str>,
}

/// A package that is part of the build.
#[derive(Debug, Clone)]
pub struct Node {
    /// Its name.
    pub name: Arc<str>,
    /// Its version, as written.
    pub version: Arc<str>,
    /// Index into the definition's recipes.
    pub recipe: usize,
    /// Index into `phases`.
    pub phase: usize,
    /// The step that names it, or that pulled it in.
    pub step: Arc<str>,
}

/// `from` depends on `to`.
#[derive(Debug, Clone)]
pub struct Edge {
    /// The dependent.
    pub from: usize,
    /// The dependency.
    pub to: usize,
    /// In which list of the recipe it stands.
    pub dependency_type: DependencyType,
    /// Whether the dependent can be built without it.
    pub requirement_level: RequirementLevel,
    /// Where in that list, from 0.
    pub index: u32,
}

/// In which list of the recipe a dependency stands. Weakest last: cycles are broken from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DependencyType {
    /// `build_deps`
    Build,
    /// `runtime_deps`
    Runtime,
    /// `optional_deps`
    Optional,
}

/// Whether the dependent can do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RequirementLevel {
    /// It cannot.
    Required,
    /// It can.
    Optional,
}

impl DependencyType {
    /// How dependencies of this type are treated.
    pub fn treated(self, types: &PackageTypes) -> PackageType {
        match self {
            Self::Build => types.build_deps,
            Self::Runtime => types.runtime_deps,
            Self::Optional => types.optional_deps,
        }
    }

    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Build => "build",
            Self::Runtime => "runtime",
            Self::Optional => "optional",
        }
    }

    /// The list of the recipe, as it is written there.
    pub fn list(self) -> &'static str {
        match self {
            Self::Build => "build_deps",
            Self::Runtime => "runtime_deps",
            Self::Optional => "optional_deps",
        }
    }
}

impl RequirementLevel {
    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::Optional => "optional",
        }
    }
}

impl Edge {
    /// Whether the dependent's first task waits for this edge's package itself (and what that needs to run).
    pub fn waits(&self) -> bool {
        match self.dependency_type {
            DependencyType::Build | DependencyType::Optional => true,
            DependencyType::Runtime => false,
        }
    }

    /// Whether a cycle that it closes is never an error: the dependent can be built as if it were not there.
    pub fn is_optional(&self) -> bool {
        self.dependency_type == DependencyType::Optional
            && self.requirement_level == RequirementLevel::Optional
    }
}

impl Graph {
    /// The node of this name. Looks at one after another: who asks for many has a map.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.nodes.iter().position(|node| *node.name == *name)
    }
    /// Where an edge is written. Not kept in the edge: a distribution has a quarter of a million.
    pub fn place(&self, definition: &Definition, edge: &Edge) -> Place {
        place(definition, self.nodes[edge.from].recipe, edge.dependency_type, edge.index)
    }
}

/// Where a dependency is written: in this recipe, in this list, at this index of it.
fn place(definition: &Definition, recipe: usize, kind: DependencyType, index: u32) -> Place {
    definition.recipes[recipe].place.clone().key(kind.list()).index(index as usize)
}

/// The three lists of a recipe; the index of each is its `DependencyType as usize`.
fn lists(recipe: &Recipe) -> [(DependencyType, &[Dependency]); 3] {
    [
        (DependencyType::Build, recipe.build_deps.as_slice()),
        (DependencyType::Runtime, recipe.runtime_deps.as_slice()),
        (DependencyType::Optional, recipe.optional_deps.as_slice()),
    ]
}

/// A dependency of a recipe: in this list, at this index of it.
fn dependency(recipe: &Recipe, kind: DependencyType, index: u32) -> &Dependency {
    let (_, list) = lists(recipe)[kind as usize];
    &list[index as usize]
}
