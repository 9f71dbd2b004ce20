//! Edges that say nothing new in a drawing.
//!
//! Owns: which edges are implied by longer chains of others. Does not know: how anything is drawn.

use petgraph::algo::kosaraju_scc;
use petgraph::graph::{DiGraph, NodeIndex};

use crate::graph::{Edge, RequirementLevel};

/// By edge: whether a chain of two or more required ones, of whatever kind, leads to the same package. Packages that need
/// each other to run are one link of such a chain, and the edges between them are never implied.
pub(super) fn implied(nodes: usize, edges: &[&Edge]) -> Vec<bool> {
    let mut di: DiGraph<(), ()> = DiGraph::with_capacity(nodes, edges.len());
    for _ in 0..nodes {
        di.add_node(());
    }
    let required = |edge: &&&Edge| edge.requirement_level == RequirementLevel::Required;
    for edge in edges.iter().filter(required) {
        di.add_edge(NodeIndex::new(edge.from), NodeIndex::new(edge.to), ());
    }
    let mut component = vec![0; nodes];
    let components = kosaraju_scc(&di);
    for (index, members) in components.iter().enumerate() {
        members.iter().for_each(|member| component[member.index()] = index);
    }
    // Of each component, those that it needs: all of them have lower indices.
    let mut needs: Vec<Vec<usize>> = vec![Vec::new(); components.len()];
    let mut leaving: Vec<Vec<usize>> = vec![Vec::new(); components.len()];
    for (index, edge) in edges.iter().enumerate() {
        let (from, to) = (component[edge.from], component[edge.to]);
        if from != to {
            leaving[from].push(index);
            if required(&edge) {
                needs[from].push(to);
            }
        }
    }
    let mut implied = vec![false; edges.len()];
    // The component on whose behalf each was last reached.
    let mut reached_for = vec![usize::MAX; components.len()];
    for (from, leaving) in leaving.iter().enumerate() {
        let to = |edge: usize| component[edges[edge].to];
        let Some(lowest) = leaving.iter().map(|edge| to(*edge)).min() else { continue };
        let mut stack: Vec<usize> = needs[from].iter().flat_map(|next| &needs[*next]).copied().collect();
        while let Some(at) = stack.pop() {
            if at >= lowest && reached_for[at] != from {
                reached_for[at] = from;
                stack.extend(&needs[at]);
            }
        }
        for edge in leaving {
            implied[*edge] = reached_for[to(*edge)] == from;
        }
    }
    implied
}
