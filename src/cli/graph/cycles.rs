//! `kiln graph --cycles`: every circle of a definition, and what breaks it.
//!
//! Owns: the answer, whatever `circular_handling` says: it is wanted most when that is `error`. Does not know: how circles
//! are found (`graph::cycle`), the words for a cycle (`plan::cycles`).

use std::cmp::Reverse;

use serde::Serialize;

use super::written::Written;
use crate::cli::target::{self, Target};
use crate::cli::{Exit, output};
use crate::config::diagnostic::Severity;
use crate::config::document::CircularHandling;
use crate::config::load::{Definition, load};
use crate::graph::cycle::{Circle, circles};
use crate::graph::resolve::resolve;
use crate::graph::{DependencyType, Graph};
use crate::plan::cycles::{dropped_of, names};
use crate::words::count;

/// The answer as JSON.
#[derive(Serialize)]
struct Answer<'a> {
    /// What the definition does about them.
    circular_handling: CircularHandling,
    /// The largest first.
    components: Vec<Component<'a>>,
}

/// Packages that need each other.
#[derive(Serialize)]
struct Component<'a> {
    size: usize,
    packages: Vec<&'a str>,
    shortest_cycle: Vec<Edge<'a>>,
    /// What is dropped, or would be if `circular_handling` were `warn`.
    dropped_edges: Vec<Edge<'a>>,
    #[serde(skip)]
    path: String,
}

#[derive(Serialize)]
struct Edge<'a> {
    from: &'a str,
    to: &'a str,
    dependency_type: DependencyType,
    #[serde(flatten)]
    written: Written<'a>,
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
    // Cycles may be what other mistakes lead to, and are shown beside them.
    let (graph, problems) = resolve(&definition);
    target::show(&definition.files, &problems);
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
    let wrong = problems.iter().any(|problem| problem.severity == Severity::Error);
    Ok(if wrong { Exit::Invalid } else { Exit::Completed })
}

fn component<'a>(definition: &'a Definition, graph: &'a Graph, circle: &Circle) -> Component<'a> {
    let name = |node: usize| &*graph.nodes[node].name;
    let edge = |index: usize, reason: Option<String>| {
        let edge = &graph.edges[index];
        Edge {
            from: name(edge.from),
            to: name(edge.to),
            dependency_type: edge.dependency_type,
            written: Written::of(definition, graph, edge),
            reason,
        }
    };
    let shortest = circle.shortest();
    Component {
        size: circle.members.len(),
        packages: circle.members.iter().map(|node| name(*node)).collect(),
        path: names(graph, &shortest),
        shortest_cycle: shortest.into_iter().map(|index| edge(index, None)).collect(),
        dropped_edges: dropped_of(graph, circle)
            .map(|(index, dropped)| edge(index, Some(dropped.reason)))
            .collect(),
    }
}

fn text(answer: &Answer<'_>) -> String {
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
    let all: Vec<&Edge<'_>> = all.collect();
    let components = count(answer.components.len(), "component");
    lines.push(format!("in all {} in {components}\n", kinds(&all)));
    lines.join("\n")
}

fn line(edge: &Edge<'_>) -> String {
    let Edge { from, to, dependency_type, written, reason } = edge;
    let Written { file, line, .. } = written;
    let place = line.map_or_else(|| (*file).to_owned(), |line| format!("{file}:{line}"));
    let reason = reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
    format!("    `{from}` needs `{to}` ({}, {place}){reason}", dependency_type.list())
}

/// `5 edges (3 build_deps, 2 runtime_deps)`.
fn kinds(edges: &[&Edge<'_>]) -> String {
    let of = |kind: DependencyType| {
        let number = edges.iter().filter(|edge| edge.dependency_type == kind).count();
        (number > 0).then(|| format!("{number} {}", kind.list()))
    };
    let kinds = [DependencyType::Build, DependencyType::Runtime, DependencyType::Optional].map(of);
    let kinds: Vec<String> = kinds.into_iter().flatten().collect();
    format!("{} ({})", count(edges.len(), "edge"), kinds.join(", "))
}
