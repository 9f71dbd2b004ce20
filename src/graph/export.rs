//! The graph for others: json, dot.
//!
//! Owns: the shapes of design section 12; which attributes are shown is `dependency_graph`'s. Does not know:
//! how statuses come about.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::config::document::{EdgeAttribute, NodeAttribute};
use crate::plan::build::Planned;

use super::{DependencyType, RequirementLevel};

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

/// The graph as JSON; `status` is by package id.
pub fn json(planned: &Planned, status: &[NodeStatus]) -> Exported {
    let shown = &planned.plan.document.dependency_graph;
    let name = |node: usize| &*planned.graph.nodes[node].name;
    let nodes = planned.plan.package_ids().map(|id| {
        let package = planned.plan.package(id);
        let mut node = Map::new();
        for attribute in &shown.nodes {
            let (key, value) = match attribute {
                NodeAttribute::PackageName => ("package_name", &*package.name),
                NodeAttribute::Version => ("version", &*package.version),
                NodeAttribute::BuildStatus => ("build_status", status[id.0 as usize].build),
                NodeAttribute::VerificationStatus => {
                    ("verification_status", status[id.0 as usize].verification)
                }
            };
            node.insert(key.into(), value.into());
        }
        Value::Object(node)
    });
    let edges = planned.graph.edges.iter().map(|edge| {
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

/// The graph for graphviz: one cluster a phase, arrows from a package to what it needs; dashed ones are for
/// running, dotted ones optional.
pub fn dot(planned: &Planned) -> String {
    let (plan, graph) = (&planned.plan, &planned.graph);
    let mut out = String::from("digraph kiln {\n");
    out.push_str("  rankdir=RL;\n  node [shape=box, style=rounded, fontname=\"sans-serif\"];\n");
    for (index, phase) in plan.phases.iter().enumerate() {
        let _ = writeln!(out, "  subgraph cluster_{index} {{\n    label={};", quoted(&phase.title));
        for id in &phase.packages {
            let package = plan.package(*id);
            let label = format!("{} {}", package.name, package.version);
            let _ = writeln!(out, "    {} [label={}];", quoted(&package.name), quoted(&label));
        }
        out.push_str("  }\n");
    }
    for edge in &graph.edges {
        let style = match (edge.dependency_type, edge.requirement_level) {
            (_, RequirementLevel::Optional) | (DependencyType::Optional, _) => " [style=dotted]",
            (DependencyType::Runtime, RequirementLevel::Required) => " [style=dashed]",
            (DependencyType::Build, RequirementLevel::Required) => "",
        };
        let (from, to) = (&graph.nodes[edge.from].name, &graph.nodes[edge.to].name);
        let _ = writeln!(out, "  {} -> {}{style};", quoted(from), quoted(to));
    }
    out.push_str("}\n");
    out
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
