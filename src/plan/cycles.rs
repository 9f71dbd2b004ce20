//! What is done about cycles, and what is said of them.
//!
//! Owns: `circular_handling`, `cycle_detection`, the words for a cycle. Does not know: how cycles are found and broken
//! (`graph::cycle`).
//!
//! Optional edges are never worth an error: those that close a cycle are dropped whatever the definition says.
//! `cycle_detection: false` is `ignore`, even where `circular_handling` says `error`: nobody is told, but there is no
//! order to build in as long as a cycle is whole, so it is broken all the same, and `dropped_edges` says where.

use std::sync::Arc;

use crate::config::diagnostic::Diagnostic;
use crate::config::document::CircularHandling;
use crate::config::load::Definition;
use crate::graph::cycle::{Circle, circles};
use crate::graph::{Edge, Graph};

use super::DroppedEdge;

/// A circle with at most this many edges to drop is shown cycle by cycle, a larger one as a whole, with that many edges.
const CYCLES_MAX: usize = 10;

/// Of a cycle at most this many names are printed.
const NAMES_MAX: usize = 12;

/// Breaks all cycles, and reports them as the definition says: what was dropped is returned, and gone from the graph. Where
/// that is an error, what else is wrong can be found all the same.
pub(super) fn handle(
    definition: &Definition,
    graph: &mut Graph,
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<(Edge, DroppedEdge)> {
    let mut found = circles(graph, |_| true);
    if found.is_empty() {
        return Vec::new();
    }
    let handling = definition.document.circular_handling();
    if handling == CircularHandling::Error {
        let required = circles(graph, |edge| !edge.is_optional());
        diagnostics.extend(required.iter().flat_map(|circle| errors_of(definition, graph, circle)));
        if required.is_empty() {
            for circle in &mut found {
                circle.spare_required(graph);
            }
        }
    }
    let is_told = |circle: &Circle| match handling {
        CircularHandling::Warn => true,
        CircularHandling::Ignore => false,
        // Others were told as errors.
        CircularHandling::Error => circle.dropped.iter().all(|edge| graph.edges[*edge].is_optional()),
    };
    let mut dropped: Vec<(usize, DroppedEdge, bool)> = Vec::new();
    for circle in &found {
        let told = is_told(circle);
        dropped.extend(dropped_of(graph, circle).map(|(edge, dropped)| (edge, dropped, told)));
    }
    dropped.sort_unstable_by_key(|(edge, ..)| *edge);
    let told = dropped.iter().filter(|(.., told)| *told);
    diagnostics.extend(told.map(|(edge, dropped, _)| warning(definition, graph, *edge, dropped)));
    let mut gone = dropped.into_iter().map(|(edge, dropped, _)| (edge, dropped)).peekable();
    let mut out = Vec::new();
    let mut index = 0;
    graph.edges.retain(|edge| {
        let own = gone.next_if(|(gone, _)| *gone == index);
        index += 1;
        let stays = own.is_none();
        out.extend(own.map(|(_, dropped)| (edge.clone(), dropped)));
        stays
    });
    out
}

/// The edges that a circle is broken by, with the cycle that each closes.
pub fn dropped_of<'a>(
    graph: &'a Graph,
    circle: &'a Circle,
) -> impl Iterator<Item = (usize, DroppedEdge)> + 'a {
    let name = |node: usize| Arc::clone(&graph.nodes[node].name);
    circle.dropped.iter().zip(circle.cycles()).map(move |(index, cycle)| {
        let edge = &graph.edges[*index];
        let dropped = DroppedEdge {
            from: name(edge.from),
            to: name(edge.to),
            dependency_type: edge.dependency_type,
            reason: match cycle {
                Some(cycle) => format!("closes the cycle {}", names(graph, &cycle)),
                None => format!("closes a cycle among {} packages", circle.members.len()),
            },
        };
        (*index, dropped)
    })
}

/// `a -> b -> a`.
pub fn names(graph: &Graph, cycle: &[usize]) -> String {
    let mut names: Vec<&str> = cycle.iter().map(|edge| &*graph.nodes[graph.edges[*edge].from].name).collect();
    let left_out = names.len().saturating_sub(NAMES_MAX);
    let more = format!("({left_out} more)");
    if left_out > 0 {
        names.splice(NAMES_MAX / 2..names.len() - NAMES_MAX / 2, [&*more]);
    }
    names.extend(names.first().copied());
    names.join(" -> ")
}

fn warning(definition: &Definition, graph: &Graph, edge: usize, dropped: &DroppedEdge) -> Diagnostic {
    let edge = &graph.edges[edge];
    let DroppedEdge { from, to, reason, .. } = dropped;
    let what = if edge.waits() { "is built" } else { "may be used" };
    let message = format!("`{from}` {what} without waiting for `{to}`: this edge {reason}");
    Diagnostic::warning("dropped-edge", message).at(graph.place(definition, edge))
}

/// Of a circle that a few edges break, every cycle that is left when the others are gone; of a larger one its size, a
/// shortest cycle and what would break it.
fn errors_of(definition: &Definition, graph: &Graph, circle: &Circle) -> Vec<Diagnostic> {
    let members = circle.members.len();
    let error = |message: String, cycle: &[usize], hint: String| {
        let error = Diagnostic::error("circular-dependency", message).hint(hint);
        match cycle.first() {
            Some(edge) => error.at(graph.place(definition, &graph.edges[*edge])),
            None => error,
        }
    };
    let several = circle.dropped.len();
    if several > CYCLES_MAX {
        let cycle = circle.shortest();
        let message = format!(
            "circular dependency: {members} packages need each other; a shortest cycle: {}",
            names(graph, &cycle)
        );
        let hint = format!(
            "{}; all cycles are broken without these {several} edges: {} and {} more, which `kiln graph --cycles` lists; \
             take them out, or set circular_handling: warn",
            edges(definition, graph, &cycle),
            edges(definition, graph, &circle.dropped[..CYCLES_MAX]),
            several - CYCLES_MAX
        );
        return vec![error(message, &cycle, hint)];
    }
    let path = |cycle: &[usize]| cycle.iter().map(|edge| graph.edges[*edge].from).collect::<Vec<_>>();
    let mut cycles: Vec<Vec<usize>> = Vec::new();
    for mut cycle in circle.cycles().into_iter().flatten() {
        let first = (0..cycle.len()).min_by_key(|at| graph.edges[cycle[*at]].from).unwrap_or(0);
        cycle.rotate_left(first);
        // A package that needs another in two ways is shown with both.
        if cycles.iter().all(|other| path(other) != path(&cycle)) {
            cycles.push(cycle);
        }
    }
    let number = cycles.len();
    let cycles = cycles.into_iter().map(|cycle| {
        let mut message = format!("circular dependency: {}", names(graph, &cycle));
        if number > 1 {
            message = format!("{message} (one of {number} cycles among {members} packages)");
        } else if members > cycle.len() {
            message = format!("{message} (a shortest one among {members} packages)");
        }
        let hint =
            format!("{}; take one out, or set circular_handling: warn", edges(definition, graph, &cycle));
        error(message, &cycle, hint)
    });
    cycles.collect()
}

/// Each edge (of many, the first) with its file and line, and those of the other lists in which the same package stands.
fn edges(definition: &Definition, graph: &Graph, edges: &[usize]) -> String {
    let place = |edge: &Edge| {
        let place = definition.files.locate(&graph.place(definition, edge).into());
        format!("{}, {place}", edge.dependency_type.list())
    };
    let words = |index: &usize| {
        let edge = &graph.edges[*index];
        let (from, to) = (&graph.nodes[edge.from].name, &graph.nodes[edge.to].name);
        let own = graph.edges.partition_point(|other| other.from < edge.from);
        let same = graph.edges[own..].iter().take_while(|other| other.from == edge.from);
        let same: Vec<String> = same.filter(|other| other.to == edge.to).map(place).collect();
        format!("`{from}` needs `{to}` ({})", same.join("; "))
    };
    let mut all: Vec<String> = Vec::new();
    for words in edges.iter().take(NAMES_MAX).map(words) {
        if !all.contains(&words) {
            all.push(words);
        }
    }
    if edges.len() > NAMES_MAX {
        all.push(format!("{} more, which `kiln graph --cycles` lists", edges.len() - NAMES_MAX));
    }
    all.join(", ")
}
