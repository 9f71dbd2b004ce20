//! `kiln graph --cycles`: every circle of a definition, and what breaks it.
//!
//! Owns: the answer, whatever `circular_handling` says: it is wanted most when that is `error`. Does not know: how circles
//! are found (`graph::cycle`), the words for a cycle (`plan::cycles`).

use std::cmp::Reverse;

use serde::Serialize;

use super::target::{self, Target};
use super::{Exit, output};
use crate::config::document::CircularHandling;
use crate::config::load::{Definition, load};
use crate::graph::cycle::{Circle, circles};
use crate::graph::resolve::resolve;
use crate::graph::{DependencyType, Graph};
use crate::plan::cycles::{dropped_of, names};
use crate::words::count;

/// The answer as JSON.
#[derive(Serialize)]
struct Answer {
    /// What the definition does about them.
    circular_handling: CircularHandling,
    /// The largest first.
    components: Vec<Component>,
}

/// Packages that need each other.
#[derive(Serialize)]
struct Component {
    size: usize,
    packages: Vec<String>,
    shortest_cycle: Vec<Edge>,
    /// What is dropped, or would be if `circular_handling` were `warn`.
    dropped_edges: Vec<Edge>,
    #[serde(skip)]
    path: String,
}

#[derive(Serialize)]
struct Edge {
    from: String,
    to: String,
    dependency_type: DependencyType,
    file: String,
    line: Option<usize>,
    column: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Prints the circles of a definition.
pub(super) fn run(target: &Target, json: bool) -> anyhow::Result<Exit> {
    let (definition, warnings) = match load(target.root()) {
        Ok(loaded) => loaded,
        Err(problems) => {
            let problems = target::with_names(problems);
            target::show(&problems.files, &problems.diagnostics);
            return Ok(Exit::Invalid);
        }
    };
    target::show(&definition.files, &warnings);
    let graph = match resolve(&definition) {
        Ok((graph, warnings)) => {
            target::show(&definition.files, &warnings);
            graph
        }
        Err(problems) => {
            target::show(&definition.files, &problems);
            return Ok(Exit::Invalid);
        }
    };
    let mut circles = circles(&graph, |_| true);
    circles.sort_by_key(|circle| Reverse(circle.members.len()));
    let components = circles.iter().map(|circle| component(&definition, &graph, circle));
    let answer = Answer {
        circular_handling: definition.document.circular_handling(),
        components: components.collect(),
    };
    if json {
        output::answer_json(&answer)?;
    } else {
        output::answer(&text(&answer));
    }
    Ok(Exit::Completed)
}

fn component(definition: &Definition, graph: &Graph, circle: &Circle) -> Component {
    let edge = |index: usize, reason: Option<String>| {
        let edge = &graph.edges[index];
        let place = graph.place(definition, edge);
        let position = definition.files.position(&place);
        Edge {
            from: graph.nodes[edge.from].name.to_string(),
            to: graph.nodes[edge.to].name.to_string(),
            dependency_type: edge.dependency_type,
            file: definition.files.get(place.file).name.clone(),
            line: position.map(|position| position.line),
            column: position.map(|position| position.column),
            reason,
        }
    };
    let shortest = circle.shortest();
    Component {
        size: circle.members.len(),
        packages: circle.members.iter().map(|node| graph.nodes[*node].name.to_string()).collect(),
        path: names(graph, &shortest),
        shortest_cycle: shortest.into_iter().map(|index| edge(index, None)).collect(),
        dropped_edges: dropped_of(graph, circle)
            .map(|(index, dropped)| edge(index, Some(dropped.reason)))
            .collect(),
    }
}

fn text(answer: &Answer) -> String {
    if answer.components.is_empty() {
        return "no cycles\n".to_owned();
    }
    let mut lines: Vec<String> = Vec::new();
    for component in &answer.components {
        let Component { size, path, dropped_edges, shortest_cycle, .. } = component;
        lines.push(format!("{} need each other; a shortest cycle: {path}", count(*size, "package")));
        lines.extend(shortest_cycle.iter().map(line));
        let verb = match answer.circular_handling {
            CircularHandling::Error => "without these nothing is circular",
            CircularHandling::Warn | CircularHandling::Ignore => "dropped, so that nothing is circular",
        };
        lines.push(format!("  {verb}: {}", kinds(&dropped_edges.iter().collect::<Vec<_>>())));
        lines.extend(dropped_edges.iter().map(line));
        lines.push(String::new());
    }
    let all = answer.components.iter().flat_map(|component| &component.dropped_edges);
    let all: Vec<&Edge> = all.collect();
    let components = count(answer.components.len(), "component");
    lines.push(format!("in all {} in {components}\n", kinds(&all)));
    lines.join("\n")
}

fn line(edge: &Edge) -> String {
    let Edge { from, to, dependency_type, file, line, reason, .. } = edge;
    let place = line.map_or_else(|| file.clone(), |line| format!("{file}:{line}"));
    let reason = reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
    format!("    `{from}` needs `{to}` ({}, {place}){reason}", dependency_type.list())
}

/// `5 edges (3 build_deps, 2 runtime_deps)`.
fn kinds(edges: &[&Edge]) -> String {
    let of = |kind: DependencyType| {
        let number = edges.iter().filter(|edge| edge.dependency_type == kind).count();
        (number > 0).then(|| format!("{number} {}", kind.list()))
    };
    let kinds = [DependencyType::Build, DependencyType::Runtime, DependencyType::Optional].map(of);
    let kinds: Vec<String> = kinds.into_iter().flatten().collect();
    format!("{} ({})", count(edges.len(), "edge"), kinds.join(", "))
}
