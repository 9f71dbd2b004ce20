//! Cycles: found, broken, and shown in their shortest form.
//!
//! Owns: which cycles stop a build, and which edges are taken out so that none is left. Does not know: whether they are
//! taken out (`circular_handling` is the plan's), how a cycle is worded.
//!
//! **Which.** A package waits for its build dependencies and the runtime closure of those, so a cycle is circular exactly
//! when at least one of its edges waits; cycles of runtime edges alone are no problem (design section 4).
//!
//! **Broken how.** An edge is dropped only if it closes a circular cycle with edges that stay and are of its own kind or a
//! stronger one: a build edge only for a cycle of build edges alone, a runtime edge only for one without optional edges.
//! So optional edges go before runtime edges before build edges, and a cycle that an optional edge closes costs nothing
//! else. None can be put back: each closes such a cycle. (That is the order of kinds to the letter: a hundred runtime edges
//! may go where one build edge would do. Weights that prefer the one edge save a twentieth of Debian's, and cost the rule.)
//! To drop few (the fewest is NP-hard):
//!
//! 1. Only strongly connected components with an edge inside that waits matter ([`circles`]); each by itself.
//! 2. Its packages are put into an order that few edges contradict ([`order`]).
//! 3. The edges come back one by one into a graph without circular cycles ([`keep`]): build edges, then runtime, then
//!    optional ones, of each kind first those that agree with the order. What would close a circular cycle is dropped.
//!
//! Step 3 makes it right whatever the order is, step 2 makes it few. Of Debian's 404,534 edges (302,978 pairs) 2,042 go,
//! 1,170 of them build edges; the Eades-Lin-Smyth heuristic drops 2,772 pairs, 2,052 for the build edges alone, a
//! depth-first search 20,432 of those. Dropping what is weaker as a whole, and not edge by edge, took 24,693.
//! All steps take linear time, but for sorting. Where step 3 would take longer (no distribution comes near) it gives up
//! what it has not looked at: that is still right, but neither few nor by kind.
//! Nothing here depends on anything but the order of the definition: it is the same on every machine.

mod keep;
mod order;
#[cfg(test)]
mod tests;
mod ways;

use super::components::{components, number};
use super::{DependencyType, Edge, Graph};

/// A strongly connected component that cannot be built as it is.
#[derive(Debug, Clone)]
pub struct Circle {
    /// Its packages, ascending.
    pub members: Vec<usize>,
    /// Edges without which nothing in it is circular, as ascending indices into `Graph::edges`; each closes a circular
    /// cycle with those that stay.
    pub dropped: Vec<usize>,
    links: Vec<Link>,
}

/// An edge inside of a circle.
#[derive(Debug, Clone, Copy)]
struct Link {
    /// Indices into the circle's members.
    from: u32,
    to: u32,
    kind: DependencyType,
    waits: bool,
    dropped: bool,
    /// Index into `Graph::edges`.
    edge: usize,
}

/// Every circle of the edges that count, by its first package.
pub fn circles(graph: &Graph, counts: impl Fn(&Edge) -> bool) -> Vec<Circle> {
    let found = components(graph.nodes.len(), &graph.edges, &counts);
    let inside = |edge: &Edge| found.of[edge.from] == found.of[edge.to] && counts(edge);
    let mut circular = vec![false; found.count];
    for edge in graph.edges.iter().filter(|edge| edge.waits() && inside(edge)) {
        circular[found.of[edge.from] as usize] = true;
    }
    if !circular.contains(&true) {
        return Vec::new();
    }
    let mut circles: Vec<Circle> = Vec::new();
    let mut circle_of: Vec<Option<usize>> = vec![None; found.count];
    let mut local = vec![0; graph.nodes.len()];
    for (node, local) in local.iter_mut().enumerate() {
        let component = found.of[node] as usize;
        if !circular[component] {
            continue;
        }
        let at = *circle_of[component].get_or_insert_with(|| {
            circles.push(Circle { members: Vec::new(), dropped: Vec::new(), links: Vec::new() });
            circles.len() - 1
        });
        *local = number(circles[at].members.len());
        circles[at].members.push(node);
    }
    for (index, edge) in graph.edges.iter().enumerate() {
        if let Some(at) = circle_of[found.of[edge.from] as usize]
            && inside(edge)
        {
            circles[at].links.push(Link {
                from: local[edge.from],
                to: local[edge.to],
                kind: edge.dependency_type,
                waits: edge.waits(),
                dropped: false,
                edge: index,
            });
        }
    }
    let mut orders: Vec<Vec<u32>> = vec![Vec::new(); circles.len()];
    for node in found.order {
        if let Some(at) = circle_of[found.of[node as usize] as usize] {
            orders[at].push(local[node as usize]);
        }
    }
    for (circle, start) in circles.iter_mut().zip(orders) {
        let order = order::order(&circle.links, start);
        let effort = keep::effort(circle.links.len());
        keep::drop(&mut circle.links, order, effort);
        circle.dropped = circle.links.iter().filter(|link| link.dropped).map(|link| link.edge).collect();
    }
    circles
}

impl Circle {
    /// For each edge of `dropped` a shortest circular cycle that it closes with edges that stay, beginning with it; each
    /// edge begins where the last ends. `None` where finding it would take too long.
    pub fn cycles(&self) -> Vec<Option<Vec<usize>>> {
        let mut ways = ways::Ways::new(&self.links, self.members.len());
        let dropped = (0..self.links.len()).filter(|at| self.links[*at].dropped);
        dropped.map(|at| ways.cycle(at, usize::MAX, false).map(|cycle| self.edges(cycle))).collect()
    }

    /// A shortest circular cycle of all of its edges, begun at its first package: each circular cycle has an edge that was
    /// dropped, so a shortest one through each of those is looked for.
    pub fn shortest(&self) -> Vec<usize> {
        let mut ways = ways::Ways::new(&self.links, self.members.len());
        let mut best: Vec<usize> = Vec::new();
        for at in (0..self.links.len()).filter(|at| self.links[*at].dropped) {
            let shorter = if best.is_empty() { usize::MAX } else { best.len() - 1 };
            // Nothing is shorter than two: no package needs itself.
            if shorter < 2 {
                break;
            }
            if let Some(cycle) = ways.cycle(at, shorter, true) {
                best = cycle;
            }
        }
        let first = (0..best.len()).min_by_key(|at| self.links[best[*at]].from).unwrap_or(0);
        best.rotate_left(first);
        self.edges(best)
    }

    /// Where the edges that are not optional have no circle among them, drops optional ones alone. That is so anyway unless the
    /// effort did not suffice; then those go that contradict the order of the others.
    pub fn spare_required(&mut self, graph: &Graph) {
        if self.dropped.iter().all(|edge| graph.edges[*edge].is_optional()) {
            return;
        }
        let of = components(graph.nodes.len(), &graph.edges, |edge| !edge.is_optional()).of;
        let goes = |edge: &Edge| edge.is_optional() && of[edge.to] >= of[edge.from];
        for link in &mut self.links {
            link.dropped = goes(&graph.edges[link.edge]);
        }
        self.dropped = self.links.iter().filter(|link| link.dropped).map(|link| link.edge).collect();
    }

    fn edges(&self, links: Vec<usize>) -> Vec<usize> {
        links.into_iter().map(|at| self.links[at].edge).collect()
    }
}
