//! A part of a graph, for those who cannot look at all of it.
//!
//! Owns: which packages are near others, and the shortest chain from one to another. Does not know: what names mean (see
//! `resolve`), how anything is shown.

use std::collections::VecDeque;

use super::components::{edges_from, first_edges};
use super::lists::Lists;
use super::{Edge, Graph, RequirementLevel};

/// Some of a graph's packages, and all edges between them.
#[derive(Debug, Clone)]
pub struct Part {
    /// By node.
    shown: Vec<bool>,
    /// By node: whether the part is what is around it.
    focus: Vec<bool>,
}

impl Part {
    /// The whole graph.
    pub fn whole(graph: &Graph) -> Self {
        Self { shown: vec![true; graph.nodes.len()], focus: vec![false; graph.nodes.len()] }
    }

    /// These packages, what they need, and what needs them: as far as `depth` edges lead, each way.
    pub fn around(graph: &Graph, focus: &[usize], depth: u32) -> Self {
        let mut shown = vec![false; graph.nodes.len()];
        for forwards in [true, false] {
            let next = Lists::new(graph.nodes.len(), || {
                let way = |edge: &Edge| if forwards { (edge.from, edge.to) } else { (edge.to, edge.from) };
                graph.edges.iter().map(way)
            });
            let mut seen = vec![false; graph.nodes.len()];
            let mut queue: VecDeque<(usize, u32)> = focus.iter().map(|node| (*node, 0)).collect();
            while let Some((node, steps)) = queue.pop_front() {
                if std::mem::replace(&mut seen[node], true) {
                    continue;
                }
                shown[node] = true;
                if steps < depth {
                    queue.extend(next[node].iter().map(|other| (*other, steps + 1)));
                }
            }
        }
        Self { shown, focus: among(graph, focus) }
    }

    /// Whether it has this node.
    pub fn has(&self, node: usize) -> bool {
        self.shown[node]
    }

    /// Whether it is what is around this node.
    pub fn is_around(&self, node: usize) -> bool {
        self.focus[node]
    }

    /// Its edges, in the graph's order.
    pub fn edges<'g>(&self, graph: &'g Graph) -> impl Iterator<Item = &'g Edge> {
        graph.edges.iter().filter(|edge| self.has(edge.from) && self.has(edge.to))
    }
}

/// A shortest chain of dependencies from one of `from` to one of `to`: each edge begins where the last one ends. It is one
/// of required edges if there is any, be it longer than others; empty where there is none at all. From a package to itself
/// it is a cycle.
pub fn chain<'g>(graph: &'g Graph, from: &[usize], to: &[usize]) -> Vec<&'g Edge> {
    let required = shortest(graph, from, to, |edge| edge.requirement_level == RequirementLevel::Required);
    if required.is_empty() { shortest(graph, from, to, |_| true) } else { required }
}

fn shortest<'g>(
    graph: &'g Graph,
    from: &[usize],
    to: &[usize],
    counts: impl Fn(&Edge) -> bool,
) -> Vec<&'g Edge> {
    let first = first_edges(graph.nodes.len(), &graph.edges);
    let (wanted, mut seen) = (among(graph, to), among(graph, from));
    let mut came_by: Vec<Option<&Edge>> = vec![None; graph.nodes.len()];
    let mut queue: VecDeque<usize> = from.iter().copied().collect();
    while let Some(node) = queue.pop_front() {
        for edge in edges_from(&graph.edges, &first, node).iter().filter(|edge| counts(edge)) {
            if wanted[edge.to] {
                let mut chain = vec![edge];
                while let Some(edge) = came_by[chain[chain.len() - 1].from] {
                    chain.push(edge);
                }
                chain.reverse();
                return chain;
            }
            if !std::mem::replace(&mut seen[edge.to], true) {
                came_by[edge.to] = Some(edge);
                queue.push_back(edge.to);
            }
        }
    }
    Vec::new()
}

/// By node: whether it is one of these.
fn among(graph: &Graph, nodes: &[usize]) -> Vec<bool> {
    let mut among = vec![false; graph.nodes.len()];
    for node in nodes {
        among[*node] = true;
    }
    among
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::graph::{DependencyType, Node};

    /// `0-1` is that 0 needs 1, `0~1` that it can do without.
    fn graph(edges: &str) -> Graph {
        let edges = edges.split_whitespace().map(|word| {
            let node = |at: usize| usize::from(word.as_bytes()[at] - b'0');
            let (dependency_type, requirement_level) = match &word[1..2] {
                "-" => (DependencyType::Build, RequirementLevel::Required),
                _ => (DependencyType::Optional, RequirementLevel::Optional),
            };
            Edge { from: node(0), to: node(2), dependency_type, requirement_level, index: 0 }
        });
        let node = |name: usize| Node {
            name: name.to_string().into(),
            version: "1".into(),
            recipe: name,
            phase: 0,
            step: "s".into(),
        };
        let nodes = (0..10).map(node).collect();
        let mut edges: Vec<Edge> = edges.collect();
        edges.sort_by_key(|edge| edge.from);
        Graph { phases: Vec::new(), nodes, edges }
    }

    #[track_caller]
    fn check_chain(edges: &str, from: &[usize], to: &[usize], expected: &str) {
        let graph = graph(edges);
        let chain = chain(&graph, from, to);
        let words = chain.iter().map(|edge| format!("{}{}", edge.from, edge.to)).collect::<Vec<_>>();
        assert_eq!(words.join(" "), expected, "{edges} {from:?} {to:?}");
    }

    #[test]
    fn a_chain_is_short_and_of_what_is_required_if_it_can_be() {
        check_chain("0-1 1-2 2-3 0-2", &[0], &[3], "02 23");
        check_chain("0-1 1-2 0~2", &[0], &[2], "01 12");
        check_chain("0-1 1~2", &[0], &[2], "01 12");
        check_chain("0-1 1-2", &[2], &[0], "");
        check_chain("0-1", &[0], &[0], "");
        // To itself, all around; to another, not.
        check_chain("0-1 1-0 0-2 2-3", &[0], &[0], "01 10");
        check_chain("0-1 1-0 0-2 2-3", &[0], &[3], "02 23");
        // From any of several to any of several.
        check_chain("0-1 1-2 2-3 4-3", &[0, 4], &[2, 3], "43");
    }

    #[test]
    fn a_part_is_what_few_edges_lead_to_each_way() {
        let graph = graph("0-1 1-2 2-3 4-2 4-5 6~2");
        let around = |focus: &[usize], depth| {
            let part = Part::around(&graph, focus, depth);
            let nodes: Vec<usize> = (0..graph.nodes.len()).filter(|node| part.has(*node)).collect();
            (nodes, part.edges(&graph).count())
        };
        assert_eq!(around(&[2], 0), (vec![2], 0));
        assert_eq!(around(&[2], 1), (vec![1, 2, 3, 4, 6], 4));
        // 5 is needed by what needs 2, which is another way round.
        assert_eq!(around(&[2], 9), (vec![0, 1, 2, 3, 4, 6], 5));
        assert_eq!(around(&[0, 5], 1), (vec![0, 1, 4, 5], 2));
        assert_eq!(Part::whole(&graph).edges(&graph).count(), 6);
    }
}
