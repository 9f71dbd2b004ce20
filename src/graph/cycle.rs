//! Cycles: found, shown in their shortest form, or broken.
//!
//! A package waits for its build dependencies and the runtime closure of those, so a cycle stops a build
//! exactly when at least one of its edges is waited for; cycles of runtime edges alone are no problem
//! (design section 4). Does not know: what to do about one (`circular_handling` is the plan's).

use std::collections::VecDeque;

use petgraph::algo::{greedy_feedback_arc_set, kosaraju_scc};
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef;

use super::{DependencyType, Graph};

/// A strongly connected component that cannot be built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Circle {
    /// Its packages, ascending.
    pub members: Vec<usize>,
    /// A shortest cycle through it, as indices into `Graph::edges`; each edge begins where the last ends.
    pub shortest: Vec<usize>,
}

type Di = DiGraph<(), usize>;

/// Edges tried as the beginning of a shortest cycle, per component: a component of thousands has cycles
/// that are as short as any close to each of its members.
const STARTS_TRIED: usize = 64;

/// Every component that cannot be built, by its first package.
pub fn circles(graph: &Graph) -> Vec<Circle> {
    let di = directed(graph, &[]);
    let mut circles: Vec<_> = components(graph, &di)
        .into_iter()
        .map(|members| Circle { shortest: shortest(graph, &di, &members), members })
        .collect();
    circles.sort_by(|a, b| a.members.cmp(&b.members));
    circles
}

/// Edges whose removal leaves nothing circular, as ascending indices into `Graph::edges`: optional ones
/// before runtime ones before build ones, within a kind by the Eades-Lin-Smyth heuristic.
pub fn edges_to_drop(graph: &Graph) -> Vec<usize> {
    let mut dropped: Vec<usize> = Vec::new();
    for kind in [DependencyType::Optional, DependencyType::Runtime, DependencyType::Build] {
        dropped.sort_unstable();
        let di = directed(graph, &dropped);
        for members in components(graph, &di) {
            let inside = |edge: &usize| {
                let e = &graph.edges[*edge];
                members.binary_search(&e.from).is_ok() && members.binary_search(&e.to).is_ok()
            };
            let edges: Vec<usize> = di.edge_weights().copied().filter(inside).collect();
            if kind == DependencyType::Build {
                // All that is left are build edges, or runtime edges that close a cycle with one: whatever
                // the heuristic picks breaks them.
                let mut local = Di::new();
                let nodes: Vec<_> = members.iter().map(|_| local.add_node(())).collect();
                let at = |node: &usize| nodes[members.binary_search(node).unwrap_or_default()];
                for edge in edges {
                    local.add_edge(at(&graph.edges[edge].from), at(&graph.edges[edge].to), edge);
                }
                dropped.extend(greedy_feedback_arc_set(&local).map(|e| *e.weight()));
            } else {
                dropped.extend(edges.into_iter().filter(|e| graph.edges[*e].dependency_type == kind));
            }
        }
    }
    dropped.sort_unstable();
    dropped
}

fn directed(graph: &Graph, without: &[usize]) -> Di {
    let mut di = Di::with_capacity(graph.nodes.len(), graph.edges.len());
    for _ in &graph.nodes {
        di.add_node(());
    }
    for (index, edge) in graph.edges.iter().enumerate() {
        if without.binary_search(&index).is_err() {
            di.add_edge(NodeIndex::new(edge.from), NodeIndex::new(edge.to), index);
        }
    }
    di
}

/// Components with an edge inside that is waited for; each ascending.
fn components(graph: &Graph, di: &Di) -> Vec<Vec<usize>> {
    let mut out: Vec<Vec<usize>> = Vec::new();
    for component in kosaraju_scc(di) {
        let mut members: Vec<usize> = component.iter().map(|n| n.index()).collect();
        members.sort_unstable();
        let waits = members.iter().any(|&from| {
            di.edges(NodeIndex::new(from)).any(|e| {
                graph.edges[*e.weight()].waits() && members.binary_search(&e.target().index()).is_ok()
            })
        });
        if waits {
            out.push(members);
        }
    }
    out.sort_unstable();
    out
}

fn shortest(graph: &Graph, di: &Di, members: &[usize]) -> Vec<usize> {
    let inside = |node: usize| members.binary_search(&node).is_ok();
    let starts = members
        .iter()
        .flat_map(|&from| di.edges(NodeIndex::new(from)))
        .filter(|e| graph.edges[*e.weight()].waits() && inside(e.target().index()));
    let mut best: Vec<usize> = Vec::new();
    for start in starts.take(STARTS_TRIED) {
        let (from, to) = (start.source().index(), start.target().index());
        // Breadth first from the edge's target back to its source.
        let mut came_by: Vec<Option<usize>> = vec![None; graph.nodes.len()];
        let mut queue = VecDeque::from([to]);
        while let Some(at) = queue.pop_front() {
            if at == from {
                break;
            }
            for edge in di.edges(NodeIndex::new(at)) {
                let next = edge.target().index();
                if next != to && inside(next) && came_by[next].is_none() {
                    came_by[next] = Some(*edge.weight());
                    queue.push_back(next);
                }
            }
        }
        let mut cycle = Vec::new();
        let mut at = from;
        while at != to {
            let Some(edge) = came_by[at] else { break };
            cycle.push(edge);
            at = graph.edges[edge].from;
        }
        cycle.push(*start.weight());
        cycle.reverse();
        if best.is_empty() || cycle.len() < best.len() {
            best = cycle;
        }
    }
    best
}
