//! A part of a graph, for those who cannot look at all of it.
//!
//! Owns: which packages are near others, and the shortest chain from one to another. Does not know: what names mean (see
//! `resolve`), how anything is shown.

use std::collections::VecDeque;

use super::{Edge, Graph, RequirementLevel};

/// Some of a graph's packages, and all edges between them.
#[derive(Debug, Clone)]
pub struct Part {
    /// By node.
    shown: Vec<bool>,
    /// The nodes that it is about; none where it is the whole.
    pub focus: Vec<usize>,
}

impl Part {
    /// The whole graph.
    pub fn whole(graph: &Graph) -> Self {
        Self { shown: vec![true; graph.nodes.len()], focus: Vec::new() }
    }

    /// These packages, what they need, and what needs them: as far as `depth` edges lead, each way.
    pub fn around(graph: &Graph, focus: Vec<usize>, depth: u32) -> Self {
        let mut shown = vec![false; graph.nodes.len()];
        for forwards in [true, false] {
            let mut next = vec![Vec::new(); graph.nodes.len()];
            for edge in &graph.edges {
                let (from, to) = if forwards { (edge.from, edge.to) } else { (edge.to, edge.from) };
                next[from].push(to);
            }
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
        Self { shown, focus }
    }

    /// Whether it has this node.
    pub fn has(&self, node: usize) -> bool {
        self.shown[node]
    }

    /// Whether it is about one of this edge's packages.
    pub fn is_about(&self, edge: &Edge) -> bool {
        self.focus.contains(&edge.from) || self.focus.contains(&edge.to)
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
    let mut leaving: Vec<Vec<&Edge>> = vec![Vec::new(); graph.nodes.len()];
    for edge in graph.edges.iter().filter(|edge| counts(edge)) {
        leaving[edge.from].push(edge);
    }
    let among = |nodes: &[usize]| {
        let mut among = vec![false; graph.nodes.len()];
        nodes.iter().for_each(|node| among[*node] = true);
        among
    };
    let (wanted, mut seen) = (among(to), among(from));
    let mut came_by: Vec<Option<&Edge>> = vec![None; graph.nodes.len()];
    let mut queue: VecDeque<usize> = from.iter().copied().collect();
    while let Some(node) = queue.pop_front() {
        for edge in &leaving[node] {
            if wanted[edge.to] {
                let mut chain = vec![*edge];
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
