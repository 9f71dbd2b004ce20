//! The graph for others: json, and drawings as dot and mermaid.
//!
//! Owns: the shape of design section 12; which attributes are shown is `dependency_graph`'s. Does not know:
//! how statuses come about, how a drawing looks (see `draw`).

pub mod dot;
pub mod draw;
mod implied;
pub mod mermaid;

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::config::document::{EdgeAttribute, NodeAttribute};
use crate::plan::build::Planned;

use super::part::Part;

/// What is known of a package from its runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeStatus {
    /// pending, running, completed, failed or skipped.
    pub build: &'static str,
    /// unverified, verified or failed.
    pub verification: &'static str,
}

/// `kiln graph --format json`.
#[derive(Debug, Serialize)]
pub struct Exported {
    nodes: Vec<Value>,
    edges: Vec<Value>,
}

/// A part of the graph as JSON, nodes in build order; `status` is by package id.
pub fn json(planned: &Planned, part: &Part, status: &[NodeStatus]) -> Exported {
    let shown = &planned.plan.document.dependency_graph;
    let name = |node: usize| &*planned.graph.nodes[node].name;
    let nodes = in_build_order(planned, part).map(|node| {
        let id = planned.package_of_node[node];
        let package = planned.plan.package(id);
        let mut shape = Map::new();
        for attribute in &shown.nodes {
            let (key, value) = match attribute {
                NodeAttribute::PackageName => ("package_name", &*package.name),
                NodeAttribute::Version => ("version", &*package.version),
                NodeAttribute::BuildStatus => ("build_status", status[id.0 as usize].build),
                NodeAttribute::VerificationStatus => {
                    ("verification_status", status[id.0 as usize].verification)
                }
            };
            shape.insert(key.into(), value.into());
        }
        Value::Object(shape)
    });
    let edges = part.edges(&planned.graph).map(|edge| {
        let mut shape = Map::new();
        shape.insert("from".into(), name(edge.from).into());
        shape.insert("to".into(), name(edge.to).into());
        for attribute in &shown.edges {
            let (key, value) = match attribute {
                EdgeAttribute::DependencyType => ("dependency_type", json!(edge.dependency_type)),
                EdgeAttribute::RequirementLevel => ("requirement_level", json!(edge.requirement_level)),
                EdgeAttribute::BuildOrder => ("build_order", json!(planned.package_of_node[edge.to].0)),
            };
            shape.insert(key.into(), value);
        }
        Value::Object(shape)
    });
    Exported { nodes: nodes.collect(), edges: edges.collect() }
}

/// The nodes of a part, in build order.
fn in_build_order(planned: &Planned, part: &Part) -> impl Iterator<Item = usize> {
    let mut nodes: Vec<usize> = (0..planned.graph.nodes.len()).filter(|node| part.has(*node)).collect();
    nodes.sort_by_key(|node| planned.package_of_node[*node]);
    nodes.into_iter()
}
