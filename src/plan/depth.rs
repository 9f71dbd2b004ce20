//! `max_depth`: how long chains of dependencies may be.
//!
//! Owns: the longest chain of a phase. Does not know: the order of building, and so does not depend on it.
//!
//! A chain goes along required edges, build and runtime, between packages of one phase, and its length is counted in
//! packages. Packages that need each other to run are one link of it, in which each of them counts once: none of a
//! chain's packages is counted twice, and one more dependency never makes a graph less deep.

use petgraph::algo::kosaraju_scc;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef;

use crate::config::diagnostic::Diagnostic;
use crate::config::load::Definition;
use crate::graph::{Edge, Graph, RequirementLevel};

/// Of a chain, at most this many links are printed, and of a link this many names.
const LINKS_MAX: usize = 40;
const NAMES_MAX: usize = 5;

/// Packages that need each other, or one package.
struct Link<'a> {
    /// Ascending.
    members: Vec<usize>,
    /// Packages in the longest chain that begins here.
    depth: usize,
    /// The edge along which that chain goes on.
    next: Option<&'a Edge>,
}

/// What is wrong with the longest chain, if it is longer than `max_depth`.
pub(super) fn check(definition: &Definition, graph: &Graph) -> Option<Diagnostic> {
    let max_depth = definition.document.dependency_tracking.dependency_resolution.max_depth;
    let (links, link_of) = links(graph);
    // Of several that are as long, the one that begins first in the definition.
    let deepest = (0..graph.nodes.len()).rev().max_by_key(|node| links[link_of[*node]].depth)?;
    let first = &links[link_of[deepest]];
    if u32::try_from(first.depth).is_ok_and(|depth| depth <= max_depth) {
        return None;
    }
    let mut chain = vec![names(graph, first)];
    let mut at = first;
    while let Some(edge) = at.next {
        at = &links[link_of[edge.to]];
        chain.push(names(graph, at));
    }
    if chain.len() > LINKS_MAX {
        let left_out = chain.len() - LINKS_MAX / 2;
        chain.splice(LINKS_MAX / 4..chain.len() - LINKS_MAX / 4, [format!("({left_out} more)")]);
    }
    let diagnostic = Diagnostic::error(
        "max-depth",
        format!(
            "a chain of {} dependencies in phase `{}` exceeds max_depth {max_depth}: {}",
            first.depth,
            graph.phases[graph.nodes[deepest].phase].key,
            chain.join(" -> ")
        ),
    )
    .hint(format!("set dependency_tracking.dependency_resolution.max_depth: {}", first.depth));
    // A chain that is one link has no edge that leaves it.
    let edge = first.next.or_else(|| graph.edges.iter().find(|e| e.from == deepest && counts(graph, e)));
    Some(match edge {
        Some(edge) => diagnostic.at(graph.place(definition, edge)),
        None => diagnostic,
    })
}

fn counts(graph: &Graph, edge: &Edge) -> bool {
    edge.requirement_level == RequirementLevel::Required
        && graph.nodes[edge.from].phase == graph.nodes[edge.to].phase
}

/// All links, each after those that it depends on, and the link of each node.
fn links(graph: &Graph) -> (Vec<Link<'_>>, Vec<usize>) {
    let mut di: DiGraph<(), &Edge> = DiGraph::with_capacity(graph.nodes.len(), graph.edges.len());
    for _ in &graph.nodes {
        di.add_node(());
    }
    for edge in graph.edges.iter().filter(|edge| counts(graph, edge)) {
        di.add_edge(NodeIndex::new(edge.from), NodeIndex::new(edge.to), edge);
    }
    let mut link_of = vec![0; graph.nodes.len()];
    let mut links: Vec<Link<'_>> = Vec::new();
    for component in kosaraju_scc(&di) {
        let mut members: Vec<usize> = component.iter().map(|node| node.index()).collect();
        members.sort_unstable();
        for member in &members {
            link_of[*member] = links.len();
        }
        let leaving = members.iter().flat_map(|member| di.edges(NodeIndex::new(*member)));
        let leaving = leaving.filter(|edge| link_of[edge.target().index()] != links.len());
        let below = |edge: &Edge| links[link_of[edge.to]].depth;
        // The deepest; of several the one that is written first.
        let next = leaving
            .map(|edge| *edge.weight())
            .min_by_key(|edge| (std::cmp::Reverse(below(edge)), edge.from, edge.dependency_type, edge.index));
        let depth = members.len() + next.map_or(0, below);
        links.push(Link { members, depth, next });
    }
    (links, link_of)
}

fn names(graph: &Graph, link: &Link<'_>) -> String {
    let names = link.members.iter().take(NAMES_MAX).map(|node| &*graph.nodes[*node].name);
    let mut names = names.collect::<Vec<_>>().join(" + ");
    if link.members.len() > NAMES_MAX {
        names.push_str(&format!(" + ({} more)", link.members.len() - NAMES_MAX));
    }
    names
}
