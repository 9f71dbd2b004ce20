//! Strongly connected components, and an order in which dependencies come first.
//!
//! Owns: Tarjan's algorithm, without recursion: a chain may be as long as a distribution is deep, and petgraph's
//! version recurses (its `kosaraju_scc` does not, but wants a copy of the graph that takes longer to make than this takes
//! in all). Does not know: what an edge means.

use super::Edge;

/// What a depth-first search finds.
#[derive(Debug, Clone)]
pub struct Components {
    /// Component of each node. A component has a higher number than those that it depends on.
    pub of: Vec<u32>,
    /// All nodes, dependencies first as far as cycles allow.
    pub order: Vec<u32>,
    /// Number of components.
    pub count: usize,
}

/// For each node, its first edge; at the end the number of edges. `edges` are grouped by `from`, ascending.
pub fn first_edges(nodes: usize, edges: &[Edge]) -> Vec<u32> {
    let mut first = vec![0_u32; nodes + 1];
    for edge in edges {
        first[edge.from + 1] += 1;
    }
    for node in 0..nodes {
        first[node + 1] += first[node];
    }
    first
}

/// The edges of a node; `first` as [`first_edges`] has it of these.
pub fn edges_from<'e>(edges: &'e [Edge], first: &[u32], node: usize) -> &'e [Edge] {
    &edges[first[node] as usize..first[node + 1] as usize]
}

const NONE: u32 = u32::MAX;

/// The components of a graph, as far as edges count. `edges` as in [`first_edges`].
pub fn components(nodes: usize, edges: &[Edge], counts: impl Fn(&Edge) -> bool) -> Components {
    let first = first_edges(nodes, edges);
    let mut next = first.clone();
    let mut found = Components { of: vec![NONE; nodes], order: Vec::with_capacity(nodes), count: 0 };
    // Of each node: when it was entered, then the earliest entered one that is known to be reached from it.
    let mut low = vec![NONE; nodes];
    let mut entered = 0;
    let mut open: Vec<u32> = Vec::new();
    let mut path: Vec<(usize, u32)> = Vec::new();
    for root in 0..nodes {
        if low[root] != NONE {
            continue;
        }
        path.push((root, entered));
        low[root] = entered;
        open.push(number(root));
        entered += 1;
        while let Some(&(node, own)) = path.last() {
            if next[node] < first[node + 1] {
                let edge = &edges[next[node] as usize];
                next[node] += 1;
                if !counts(edge) {
                } else if low[edge.to] == NONE {
                    path.push((edge.to, entered));
                    low[edge.to] = entered;
                    open.push(number(edge.to));
                    entered += 1;
                } else if found.of[edge.to] == NONE {
                    low[node] = low[node].min(low[edge.to]);
                }
                continue;
            }
            path.pop();
            found.order.push(number(node));
            if let Some(&(parent, _)) = path.last() {
                low[parent] = low[parent].min(low[node]);
            }
            if low[node] == own {
                while let Some(member) = open.pop() {
                    found.of[member as usize] = number(found.count);
                    if member as usize == node {
                        break;
                    }
                }
                found.count += 1;
            }
        }
    }
    found
}

/// Graphs of 2^32 nodes or edges fit in no memory.
pub fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(NONE)
}
