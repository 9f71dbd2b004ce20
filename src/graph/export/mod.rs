//! The graph for others: json, and drawings as dot and mermaid.
//!
//! Owns: the shape of design section 12; which attributes are shown is `dependency_graph`'s. Does not know:
//! how statuses come about, how a drawing looks (see `draw`).

pub mod dot;
pub mod draw;
mod implied;
pub mod mermaid;

use serde::Serialize;
use serde::ser::{SerializeMap as _, SerializeStruct as _, Serializer};

use crate::config::document::{EdgeAttribute, NodeAttribute};
use crate::plan::build::Planned;

use super::Edge;
use super::part::Part;

/// What is known of a package from its runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeStatus {
    /// pending, running, completed, failed or skipped.
    pub build: &'static str,
    /// unverified, verified or failed.
    pub verification: &'static str,
}

/// A part of the graph as JSON: `kiln graph --format json`. It is written as it is gone through: a distribution has a
/// quarter of a million edges.
#[derive(Debug, Clone, Copy)]
pub struct Exported<'a> {
    /// The graph.
    pub planned: &'a Planned,
    /// What of it.
    pub part: &'a Part,
    /// By package id.
    pub status: &'a [NodeStatus],
}

impl Serialize for Exported<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut shape = serializer.serialize_struct("Exported", 2)?;
        shape.serialize_field("nodes", &Nodes(*self))?;
        shape.serialize_field("edges", &Edges(*self))?;
        shape.end()
    }
}

struct Nodes<'a>(Exported<'a>);
struct Edges<'a>(Exported<'a>);
struct NodeShape<'a>(&'a Exported<'a>, usize);
struct EdgeShape<'a>(&'a Exported<'a>, &'a Edge);

impl Serialize for Nodes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Exported { planned, part, .. } = self.0;
        serializer.collect_seq(in_build_order(planned, part).map(|node| NodeShape(&self.0, node)))
    }
}

impl Serialize for Edges<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Exported { planned, part, .. } = self.0;
        serializer.collect_seq(part.edges(&planned.graph).map(|edge| EdgeShape(&self.0, edge)))
    }
}

impl Serialize for NodeShape<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Exported { planned, status, .. } = self.0;
        let id = planned.package_of_node[self.1];
        let package = planned.plan.package(id);
        let status = status[id.0 as usize];
        let mut shape = serializer.serialize_map(None)?;
        for attribute in &planned.plan.document.dependency_graph.nodes {
            let (key, value) = match attribute {
                NodeAttribute::PackageName => ("package_name", &*package.name),
                NodeAttribute::Version => ("version", &*package.version),
                NodeAttribute::BuildStatus => ("build_status", status.build),
                NodeAttribute::VerificationStatus => ("verification_status", status.verification),
            };
            shape.serialize_entry(key, value)?;
        }
        shape.end()
    }
}

impl Serialize for EdgeShape<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (planned, edge) = (self.0.planned, self.1);
        let name = |node: usize| &*planned.graph.nodes[node].name;
        let mut shape = serializer.serialize_map(None)?;
        shape.serialize_entry("from", name(edge.from))?;
        shape.serialize_entry("to", name(edge.to))?;
        for attribute in &planned.plan.document.dependency_graph.edges {
            match attribute {
                EdgeAttribute::DependencyType => {
                    shape.serialize_entry("dependency_type", &edge.dependency_type)?;
                }
                EdgeAttribute::RequirementLevel => {
                    shape.serialize_entry("requirement_level", &edge.requirement_level)?;
                }
                EdgeAttribute::BuildOrder => {
                    shape.serialize_entry("build_order", &planned.package_of_node[edge.to].0)?;
                }
            }
        }
        shape.end()
    }
}

/// The nodes of a part, in build order.
fn in_build_order(planned: &Planned, part: &Part) -> impl Iterator<Item = usize> {
    let mut nodes: Vec<usize> = (0..planned.graph.nodes.len()).filter(|node| part.has(*node)).collect();
    nodes.sort_by_key(|node| planned.package_of_node[*node]);
    nodes.into_iter()
}
