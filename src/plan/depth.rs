//! `max_depth`: how long chains of dependencies may be.
//!
//! Owns: the longest chain of a phase. Does not know: the order of building, and so does not depend on it.
//!
//! A chain goes along required edges, build and runtime, between packages of one phase, and its length is counted in
//! packages. Packages that need each other to run are one link of it, in which each of them counts once: none of a
//! chain's packages is counted twice, and one more dependency never makes a graph less deep.

use std::cmp::Reverse;

use crate::config::diagnostic::Diagnostic;
use crate::config::load::Definition;
use crate::graph::components::{Components, components, edges_from, first_edges};
use crate::graph::lists::Lists;
use crate::graph::{Edge, Graph, RequirementLevel};

/// Of a chain, at most this many links are printed, and of a link this many names.
const LINKS_MAX: usize = 40;
const NAMES_MAX: usize = 5;

/// Links, each behind those that it depends on.
struct Links<'a> {
    /// The packages of each, ascending: those that need each other, or one.
    members: Lists<usize>,
    /// Of each, the packages in the longest chain that begins there.
    depth: Vec<usize>,
    /// Of each, the edge along which that chain goes on.
    next: Vec<Option<&'a Edge>>,
    /// The link of each package.
    of: Vec<u32>,
}

/// What is wrong with the longest chain, if it is longer than `max_depth`.
pub(super) fn check(definition: &Definition, graph: &Graph) -> Option<Diagnostic> {
    let max_depth = definition.document.dependency_tracking.dependency_resolution.max_depth;
    let links = links(graph);
    let link_of = |node: usize| links.of[node] as usize;
    // Of several that are as long, the one that begins first in the definition.
    let deepest = (0..graph.nodes.len()).rev().max_by_key(|node| links.depth[link_of(*node)])?;
    let first = link_of(deepest);
    let deep = links.depth[first];
    if u32::try_from(deep).is_ok_and(|depth| depth <= max_depth) {
        return None;
    }
    let mut chain = vec![names(graph, &links.members[first])];
    let mut at = first;
    while let Some(edge) = links.next[at] {
        at = link_of(edge.to);
        chain.push(names(graph, &links.members[at]));
    }
    if chain.len() > LINKS_MAX {
        let left_out = chain.len() - LINKS_MAX / 2;
        chain.splice(LINKS_MAX / 4..chain.len() - LINKS_MAX / 4, [format!("({left_out} more)")]);
    }
    let diagnostic = Diagnostic::error(
        "max-depth",
        format!(
            "a chain of {} packages in phase `{}` exceeds max_depth {max_depth}: {}",
            deep,
            graph.phases[graph.nodes[deepest].phase].key,
            chain.join(" -> ")
        ),
    )
    .hint(format!("set dependency_tracking.dependency_resolution.max_depth: {deep}"));
    // A chain that is one link has no edge that leaves it.
    let edge =
        links.next[first].or_else(|| graph.edges.iter().find(|e| e.from == deepest && counts(graph, e)));
    Some(match edge {
        Some(edge) => diagnostic.at(graph.place(definition, edge)),
        None => diagnostic,
    })
}

fn counts(graph: &Graph, edge: &Edge) -> bool {
    edge.requirement_level == RequirementLevel::Required
        && graph.nodes[edge.from].phase == graph.nodes[edge.to].phase
}

fn links(graph: &Graph) -> Links<'_> {
    let nodes = graph.nodes.len();
    let Components { of, count, .. } = components(nodes, &graph.edges, |edge| counts(graph, edge));
    let members = Lists::new(count, || of.iter().zip(0..nodes).map(|(link, node)| (*link as usize, node)));
    let first = first_edges(nodes, &graph.edges);
    let (mut depth, mut next): (Vec<usize>, Vec<Option<&Edge>>) = (Vec::new(), Vec::new());
    for link in 0..count {
        let leaving = members[link].iter().flat_map(|member| {
            let own = edges_from(&graph.edges, &first, *member).iter();
            own.filter(|edge| of[edge.to] as usize != link && counts(graph, edge))
        });
        let below = |edge: &Edge| depth[of[edge.to] as usize];
        // The deepest; of several the one that is written first.
        let deepest =
            leaving.min_by_key(|edge| (Reverse(below(edge)), edge.from, edge.dependency_type, edge.index));
        depth.push(members[link].len() + deepest.map_or(0, below));
        next.push(deepest);
    }
    Links { members, depth, next, of }
}

fn names(graph: &Graph, members: &[usize]) -> String {
    let names = members.iter().take(NAMES_MAX).map(|node| &*graph.nodes[*node].name);
    let mut names = names.collect::<Vec<_>>().join(" + ");
    if members.len() > NAMES_MAX {
        names.push_str(&format!(" + ({} more)", members.len() - NAMES_MAX));
    }
    names
}
