//! `verification: strict`: which dependencies must be verified before a package's first script.
//!
//! Owns: what the levels mean for the plan. Does not know: how something is verified (`driver::store`), when (`engine`).
//!
//! `required` says whether a dependency must be there, `verification` what must hold of one that is: `strict`, that its
//! version fits, that its files in the sysroot have the digests of its manifest, and that its `check` has not failed;
//! `normal`, that its version fits; `relaxed`, nothing. A runtime dependency is looked at where it is needed: with what
//! depends on the package that needs it to run.

use std::collections::BTreeSet;

use crate::config::document::{PackageTypes, Verification};
use crate::graph::{DependencyType, Graph, RequirementLevel};

use super::{PackageId, Strict};

/// By node of the graph, ascending, each once.
pub(super) fn dependencies(types: &PackageTypes, graph: &Graph, id_of: &[PackageId]) -> Vec<Vec<Strict>> {
    let is_strict = |kind: DependencyType| kind.treated(types).verification == Verification::Strict;
    let mut strict = vec![Vec::new(); graph.nodes.len()];
    let required = |level: RequirementLevel| level == RequirementLevel::Required;
    for edge in graph.edges.iter().filter(|edge| edge.waits() && is_strict(edge.dependency_type)) {
        strict[edge.from]
            .push(Strict { package: id_of[edge.to], required: required(edge.requirement_level) });
    }
    if is_strict(DependencyType::Runtime) {
        add_closures(graph, id_of, &mut strict);
    }
    for dependencies in &mut strict {
        // Of one that is there twice the required one comes last.
        dependencies.sort_unstable();
        dependencies.reverse();
        dependencies.dedup_by_key(|dependency| dependency.package);
        dependencies.reverse();
    }
    strict
}

/// What each package's dependencies need to run, at any distance.
fn add_closures(graph: &Graph, id_of: &[PackageId], strict: &mut [Vec<Strict>]) {
    let mut runs_with = vec![Vec::new(); graph.nodes.len()];
    let mut uses = vec![Vec::new(); graph.nodes.len()];
    for edge in &graph.edges {
        let required = edge.requirement_level == RequirementLevel::Required;
        let of = if edge.waits() { &mut uses } else { &mut runs_with };
        of[edge.from].push((edge.to, required));
    }
    for (node, uses) in uses.iter().enumerate() {
        // The required ones first: what is reached through them is required.
        for with in [true, false] {
            let mut stack: Vec<usize> = uses.iter().filter(|(_, r)| *r == with).map(|(to, _)| *to).collect();
            let mut seen: BTreeSet<usize> = stack.iter().copied().collect();
            while let Some(at) = stack.pop() {
                for &(to, required) in &runs_with[at] {
                    if to != node {
                        strict[node].push(Strict { package: id_of[to], required: with && required });
                    }
                    if seen.insert(to) {
                        stack.push(to);
                    }
                }
            }
        }
    }
}
