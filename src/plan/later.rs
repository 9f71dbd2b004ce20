//! Dependencies that come in a later phase.
//!
//! Owns: packages that are early enough themselves, and need something to run that is not. Does not know: what a package
//! needs itself (see `graph::resolve`, which reports that), what waits for what (`waits`).

use crate::config::diagnostic::Diagnostic;
use crate::config::load::Definition;
use crate::graph::components::{edges_from, first_edges};
use crate::graph::{Edge, Graph};
use crate::words::{count, listed};

use super::waits::Waits;

/// So many dependents are shown with the way: to find that takes a search for each.
const DEPENDENTS_MOST: usize = 50;
/// Of a way, and of what is late, so many packages are named.
const NAMED_MOST: usize = 8;

/// What comes too late for those that are built with it.
pub(super) fn check(definition: &Definition, graph: &Graph, waits: &Waits, order: &[u32]) -> Vec<Diagnostic> {
    let dependents = dependents(graph, waits, order);
    if dependents.is_empty() {
        return Vec::new();
    }
    let mut ways = Ways::new(graph);
    let mut found: Vec<Diagnostic> =
        dependents.iter().take(DEPENDENTS_MOST).filter_map(|node| ways.problem(definition, *node)).collect();
    if let Some(node) = dependents.get(DEPENDENTS_MOST) {
        let more = count(dependents.len() - DEPENDENTS_MOST, "more package");
        let message = format!(
            "{more} need something that needs a package of a later phase to run, `{}` for one",
            graph.nodes[*node].name
        );
        found.push(Diagnostic::error("later-phase", message));
    }
    found
}

/// Packages that wait, through closures, for one of a later phase; in the order of building.
fn dependents(graph: &Graph, waits: &Waits, order: &[u32]) -> Vec<usize> {
    let packages = graph.nodes.len();
    // Of each node: the latest phase that it is of, or waits for through closures.
    let mut latest: Vec<usize> = graph.nodes.iter().map(|node| node.phase).collect();
    latest.resize(waits.awaited.len(), 0);
    for closure in order.iter().map(|node| *node as usize).filter(|node| *node >= packages) {
        latest[closure] =
            waits.awaited[closure].iter().map(|on| latest[*on as usize]).max().unwrap_or_default();
    }
    let is_late = |node: &usize| waits.awaited[*node].iter().any(|on| latest[*on as usize] > latest[*node]);
    order.iter().map(|node| *node as usize).filter(|node| *node < packages).filter(is_late).collect()
}

/// Breadth-first searches along what is needed to run.
struct Ways<'g> {
    graph: &'g Graph,
    first: Vec<u32>,
    /// By node: the search in which it was last reached.
    reached_in: Vec<u32>,
    /// By node: the edge by which it was.
    came_by: Vec<Option<&'g Edge>>,
    search: u32,
}

impl<'g> Ways<'g> {
    fn new(graph: &'g Graph) -> Self {
        let nodes = graph.nodes.len();
        let first = first_edges(nodes, &graph.edges);
        Self { graph, first, reached_in: vec![0; nodes], came_by: vec![None; nodes], search: 0 }
    }

    /// All that is too late for a package, with a shortest way to the nearest of it.
    fn problem(&mut self, definition: &Definition, node: usize) -> Option<Diagnostic> {
        let graph = self.graph;
        let late = self.late(node);
        let nearest = *late.first()?;
        let (name, phase) = (|node: usize| &*graph.nodes[node].name, |node: usize| graph.nodes[node].phase);
        let mut way: Vec<&Edge> = Vec::new();
        let mut at = nearest;
        while let Some(edge) = self.came_by[at].filter(|_| at != node) {
            way.push(edge);
            at = edge.from;
        }
        way.reverse();
        let last = *way.last()?;
        let to_run = |edge: &Edge| if edge.waits() { "" } else { " to run" };
        let word = |edge: &&Edge| format!("`{}`{}", name(edge.to), to_run(edge));
        let mut words: Vec<String> = way.iter().map(word).collect();
        if words.len() > NAMED_MOST {
            let left_out = words.len() - NAMED_MOST;
            words.splice(NAMED_MOST / 2..NAMED_MOST / 2 + left_out, [format!("something ({left_out} more)")]);
        }
        let message = format!(
            "`{}` of phase `{}` needs {}, which is built later, in phase `{}`",
            name(node),
            graph.phases[phase(node)].key,
            words.join(", which needs "),
            graph.phases[phase(nearest)].key
        );
        let late: Vec<&str> = late.into_iter().map(name).collect();
        let hint = format!("name {} in a step of the same or an earlier phase", listed(&late, NAMED_MOST));
        Some(Diagnostic::error("later-phase", message).at(graph.place(definition, last)).hint(hint))
    }

    /// Packages of later phases that what a package is built with needs to run, the nearest first.
    fn late(&mut self, node: usize) -> Vec<usize> {
        self.search += 1;
        self.reached_in[node] = self.search;
        let mut reached = vec![node];
        let mut done = 0;
        while let Some(&at) = reached.get(done) {
            done += 1;
            let own = edges_from(&self.graph.edges, &self.first, at);
            // It is built with what it waits for; that, and so on, needs something to run.
            for edge in own.iter().filter(|edge| edge.waits() == (at == node)) {
                if std::mem::replace(&mut self.reached_in[edge.to], self.search) != self.search {
                    self.came_by[edge.to] = Some(edge);
                    reached.push(edge.to);
                }
            }
        }
        reached.retain(|at| self.graph.nodes[*at].phase > self.graph.nodes[node].phase);
        reached
    }
}
