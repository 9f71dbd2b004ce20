//! Who waits for what, and the order that follows.
//!
//! Owns: closures, the build order. Does not know: recipes, cycles: there are none that anything waits in.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::graph::components::{components, number};
use crate::graph::lists::Lists;
use crate::graph::{Graph, RequirementLevel};

use super::{NodeId, PackageId, Waiter};

/// Nodes are the packages (as in the graph), then closures: one for each set of packages that need each other to run and
/// something besides. A package waits for the closure of what it depends on, so that everything which that needs to run is
/// there: one edge instead of one for each.
pub(super) struct Waits {
    /// For each node, the nodes that it waits for.
    pub(super) awaited: Lists<u32>,
    /// For each node, who waits for it, and whether it can do without.
    waiters: Lists<(u32, bool)>,
}

impl Waits {
    pub(super) fn new(graph: &Graph) -> Self {
        let packages = graph.nodes.len();
        // Nothing circular is left: what is in a component needs each other to run, and no more.
        let components = components(packages, &graph.edges, |_| true);
        let component = |node: usize| components.of[node] as usize;
        let mut closure_of = vec![None; components.count];
        let mut nodes = packages;
        for edge in graph.edges.iter().filter(|edge| !edge.waits()) {
            closure_of[component(edge.from)].get_or_insert_with(|| {
                nodes += 1;
                nodes - 1
            });
        }
        let usable: Vec<u32> =
            (0..packages).map(|node| number(closure_of[component(node)].unwrap_or(node))).collect();
        // Who, for what, and whether it must be there.
        let waits = || {
            let closures = usable.iter().zip(0..).map(|(closure, node)| (*closure, node, true));
            let edges = graph.edges.iter().map(|edge| {
                let from = if edge.waits() { number(edge.from) } else { usable[edge.from] };
                (from, usable[edge.to], edge.requirement_level == RequirementLevel::Required)
            });
            // A closure does not wait for itself, nor a package that has none.
            closures.chain(edges).filter(|(node, on, _)| node != on)
        };
        Self {
            awaited: Lists::new(nodes, || waits().map(|(node, on, _)| (node as usize, on))),
            waiters: Lists::new(nodes, || {
                waits().map(|(node, on, required)| (on as usize, (node, required)))
            }),
        }
    }

    /// All nodes, each after those that it waits for; packages by phase, then in definition order as far
    /// as dependencies allow (Kahn's algorithm).
    pub(super) fn order(&self, graph: &Graph) -> Vec<u32> {
        let nodes = self.awaited.len();
        let mut missing: Vec<usize> = (0..nodes).map(|node| self.awaited[node].len()).collect();
        // Closures come as soon as they can: they cost nothing, and packages wait for them.
        let rank = |node: usize| Reverse((graph.nodes.get(node).map(|node| node.phase), number(node)));
        let mut ready: BinaryHeap<_> = (0..nodes).filter(|node| missing[*node] == 0).map(rank).collect();
        let mut order = Vec::with_capacity(nodes);
        while let Some(Reverse((_, node))) = ready.pop() {
            order.push(node);
            for &(waiter, _) in &self.waiters[node as usize] {
                missing[waiter as usize] -= 1;
                if missing[waiter as usize] == 0 {
                    ready.push(rank(waiter as usize));
                }
            }
        }
        debug_assert_eq!(order.len(), nodes, "a graph without circles has an order");
        order
    }

    /// The waiters and how many each waits for, in terms of the plan's ids.
    pub(super) fn numbered(self, id_of: &[PackageId]) -> (Lists<Waiter>, Vec<u32>) {
        let nodes = self.awaited.len();
        let waiters = Lists::new(nodes, || {
            (0..nodes).flat_map(|node| {
                let at = node_id(id_of, number(node)).0 as usize;
                let waiters = self.waiters[node].iter();
                waiters.map(move |&(node, required)| (at, Waiter { node: node_id(id_of, node), required }))
            })
        });
        let mut wait_count = vec![0; nodes];
        for node in 0..nodes {
            wait_count[node_id(id_of, number(node)).0 as usize] = number(self.awaited[node].len());
        }
        (waiters, wait_count)
    }
}

/// The plan's id of a node: packages are renumbered, closures stay behind them.
pub(super) fn node_id(id_of: &[PackageId], node: u32) -> NodeId {
    NodeId(id_of.get(node as usize).map_or(node, |id| id.0))
}
