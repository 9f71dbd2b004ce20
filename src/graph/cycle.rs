//! Cycles: found, shown in their shortest form, or broken.
//!
//! A package waits for its build dependencies and the runtime closure of those, so a cycle stops a build
//! exactly when at least one of its edges is waited for; cycles of runtime edges alone are no problem
//! (design section 4). A cycle that an optional edge closes stops nothing: that edge is dropped. Does not know: what to do about one (`circular_handling` is the plan's).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use petgraph::algo::{greedy_feedback_arc_set, kosaraju_scc};
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef;

use super::{DependencyType, Edge, Graph, RequirementLevel};

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

/// Optional edges without which no cycle goes through one that is left, as ascending indices into `Graph::edges`. Few, but
/// not the fewest: packages are put into an order in which each follows what it requires; of those that could be next
/// that one is for which most others wait, less the optional ones that it would have to do without (the Eades-Lin-Smyth
/// heuristic again, with edges that must stay). Of equals the first of the definition is, or the last: what drops less.
pub fn optional_to_drop(graph: &Graph) -> Vec<usize> {
    let is_optional = |edge: &Edge| {
        edge.dependency_type == DependencyType::Optional
            && edge.requirement_level == RequirementLevel::Optional
    };
    if !graph.edges.iter().any(is_optional) {
        return Vec::new();
    }
    let components = components(graph, &directed(graph, &[]));
    if components.is_empty() {
        return Vec::new();
    }
    let optional: Vec<usize> =
        (0..graph.edges.len()).filter(|edge| is_optional(&graph.edges[*edge])).collect();
    // Packages that need each other anyway have one place in the order, by the first of them.
    let mut group: Vec<usize> = (0..graph.nodes.len()).collect();
    for members in kosaraju_scc(&directed(graph, &optional)) {
        let first = members.iter().map(|node| node.index()).min().unwrap_or_default();
        for node in members {
            group[node.index()] = first;
        }
    }
    let mut component_of = vec![None; graph.nodes.len()];
    for (index, members) in components.iter().enumerate() {
        for member in members {
            component_of[*member] = Some(index);
        }
    }
    let mut dropped = Vec::new();
    let mut orders = vec![Order::default(); components.len()];
    for (index, edge) in graph.edges.iter().enumerate() {
        let Some(component) =
            component_of[edge.from].filter(|_| component_of[edge.from] == component_of[edge.to])
        else {
            continue;
        };
        match (group[edge.from] == group[edge.to], is_optional(edge)) {
            (true, true) => dropped.push(index),
            (true, false) => {}
            (false, optional) => {
                orders[component].add(group[edge.from], group[edge.to], optional.then_some(index));
            }
        }
    }
    dropped.extend(orders.into_iter().flat_map(Order::broken_least));
    dropped.sort_unstable();
    dropped
}

/// Groups of packages that are to be put into an order.
#[derive(Clone, Default)]
struct Order {
    groups: BTreeMap<usize, Group>,
    /// Of equals, the last is next.
    last_first: bool,
}

#[derive(Clone, Default)]
struct Group {
    /// Required edges to groups that have no place yet.
    required: usize,
    /// Optional edges to groups that have no place yet, and those.
    optional: BTreeMap<usize, usize>,
    /// Who depends on it, and by which edge if that is optional.
    dependents: Vec<(usize, Option<usize>)>,
    /// Edges from groups that have no place yet.
    awaited: usize,
}

/// Of groups that could be next, the least is: whether anything is lost, how much, its position, its name.
type Rank = (bool, isize, isize, usize);

impl Order {
    fn add(&mut self, from: usize, to: usize, optional: Option<usize>) {
        let group = self.groups.entry(from).or_default();
        match optional {
            Some(edge) => _ = group.optional.insert(edge, to),
            None => group.required += 1,
        }
        let awaited = self.groups.entry(to).or_default();
        awaited.dependents.push((from, optional));
        awaited.awaited += 1;
    }

    fn rank(&self, name: usize, group: &Group) -> Rank {
        let loss = group.optional.len().cast_signed() - group.awaited.cast_signed();
        let position = if self.last_first { -name.cast_signed() } else { name.cast_signed() };
        (!group.optional.is_empty(), loss, position, name)
    }

    /// Changes a group, and its place among those that could be next. One that has its place in the order stays there.
    fn change(&mut self, ready: &mut BTreeSet<Rank>, name: usize, change: impl FnOnce(&mut Group)) {
        let Some(mut group) = self.groups.remove(&name) else { return };
        ready.remove(&self.rank(name, &group));
        change(&mut group);
        if group.required == 0 {
            ready.insert(self.rank(name, &group));
        }
        self.groups.insert(name, group);
    }

    fn broken_least(self) -> Vec<usize> {
        let other = Self { last_first: true, ..self.clone() };
        let (one, other) = (self.broken(), other.broken());
        if other.len() < one.len() { other } else { one }
    }

    /// The optional edges that go against the order.
    fn broken(mut self) -> Vec<usize> {
        let free = self.groups.iter().filter(|(_, group)| group.required == 0);
        let mut ready: BTreeSet<Rank> = free.map(|(name, group)| self.rank(*name, group)).collect();
        let mut broken = Vec::new();
        while let Some((.., name)) = ready.pop_first() {
            let Some(done) = self.groups.remove(&name) else { continue };
            for (edge, to) in done.optional {
                broken.push(edge);
                self.change(&mut ready, to, |group| group.awaited -= 1);
            }
            for (dependent, edge) in done.dependents {
                self.change(&mut ready, dependent, |group| match edge {
                    Some(edge) => _ = group.optional.remove(&edge),
                    None => group.required -= 1,
                });
            }
        }
        broken
    }
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
