//! Edges that say nothing new in a drawing.
//!
//! Owns: which edges are implied by longer chains of others. Does not know: how anything is drawn.
//!
//! That is a transitive reduction, for which nobody knows a way in linear time: what is reached from where is found for some
//! hundred packages at a time, with a bit for each, by one pass over all edges. So many passes are made as the effort allows
//! (Debian needs a sixth of it); an edge to a package that is not looked at is drawn.

use petgraph::algo::kosaraju_scc;
use petgraph::graph::{DiGraph, NodeIndex};

use crate::graph::{Edge, RequirementLevel};

/// Packages of one pass: as many as the bits of a cache line.
const PASS: usize = 512;
type Bits = [u64; PASS / 64];

/// So many edges and packages may be gone through, all passes taken together.
const EFFORT: usize = 200_000_000;

/// By edge: whether a chain of two or more required ones leads to the same package; for one that is waited for, a chain
/// that begins with such a one, so that a drawing without it still says what waits for what. Packages that need each other
/// to run are one link of a chain, and the edges between them are never implied.
pub(super) fn implied(nodes: usize, edges: &[&Edge]) -> Vec<bool> {
    implied_within(nodes, edges, EFFORT)
}

fn implied_within(nodes: usize, edges: &[&Edge], effort: usize) -> Vec<bool> {
    let mut di: DiGraph<(), ()> = DiGraph::with_capacity(nodes, edges.len());
    for _ in 0..nodes {
        di.add_node(());
    }
    let is_required = |edge: &Edge| edge.requirement_level == RequirementLevel::Required;
    for edge in edges.iter().filter(|edge| is_required(edge)) {
        di.add_edge(NodeIndex::new(edge.from), NodeIndex::new(edge.to), ());
    }
    let mut link = vec![0; nodes];
    let components = kosaraju_scc(&di);
    for (index, members) in components.iter().enumerate() {
        for member in members {
            link[member.index()] = index;
        }
    }
    // Of each link, those that it needs: all of them have lower indices.
    let mut needs: Vec<Vec<usize>> = vec![Vec::new(); components.len()];
    let mut leaving: Vec<Vec<usize>> = vec![Vec::new(); nodes];
    for (index, edge) in edges.iter().enumerate() {
        if link[edge.from] != link[edge.to] {
            leaving[edge.from].push(index);
            if is_required(edge) {
                needs[link[edge.from]].push(link[edge.to]);
            }
        }
    }
    let mut implied = vec![false; edges.len()];
    let passes = effort / (nodes + edges.len()).max(1);
    // Of each link, which of the pass's are below it.
    let mut below: Vec<Bits> = vec![Bits::default(); components.len()];
    for pass in (0..components.len()).step_by(PASS).take(passes) {
        let bit = |link: usize| (link >= pass && link < pass + PASS).then(|| link - pass);
        for (at, needs) in needs.iter().enumerate().skip(pass) {
            let mut own = Bits::default();
            for &need in needs.iter().filter(|need| **need >= pass) {
                join(&mut own, &below[need]);
                if let Some(bit) = bit(need) {
                    own[bit / 64] |= 1 << (bit % 64);
                }
            }
            below[at] = own;
        }
        for leaving in &leaving {
            for waits in [true, false] {
                let about = leaving.iter().filter(|index| edges[**index].waits() == waits);
                let about = about.filter_map(|index| Some((*index, bit(link[edges[*index].to])?)));
                if about.clone().next().is_none() {
                    continue;
                }
                let begins =
                    |index: &&usize| is_required(edges[**index]) && (!waits || edges[**index].waits());
                let mut reached = Bits::default();
                for index in leaving.iter().filter(begins) {
                    // What is lower than the pass reaches nothing of it.
                    let first = link[edges[*index].to];
                    if first >= pass {
                        join(&mut reached, &below[first]);
                    }
                }
                for (index, bit) in about {
                    implied[index] = reached[bit / 64] & 1 << (bit % 64) != 0;
                }
            }
        }
    }
    implied
}

fn join(bits: &mut Bits, others: &Bits) {
    for (bits, others) in bits.iter_mut().zip(others) {
        *bits |= others;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::graph::DependencyType;

    fn edge(from: usize, to: usize, dependency_type: DependencyType) -> Edge {
        let requirement_level = match dependency_type {
            DependencyType::Optional => RequirementLevel::Optional,
            DependencyType::Build | DependencyType::Runtime => RequirementLevel::Required,
        };
        Edge { from, to, dependency_type, requirement_level, index: 0 }
    }

    fn left(edges: &[Edge]) -> Vec<Edge> {
        let all: Vec<&Edge> = edges.iter().collect();
        let implied = implied(1 + edges.iter().map(|e| e.from.max(e.to)).max().unwrap_or(0), &all);
        edges.iter().zip(implied).filter(|(_, implied)| !implied).map(|(edge, _)| edge.clone()).collect()
    }

    /// `0b1` is that 0 needs 1 to build; `r` to run, `o` optionally.
    #[track_caller]
    fn check(given: &str, expected: &str) {
        let edges: Vec<Edge> = given
            .split_whitespace()
            .map(|word| {
                let word = word.as_bytes();
                let node = |at: usize| usize::from(word[at] - b'0');
                let kind = match word[1] {
                    b'b' => DependencyType::Build,
                    b'r' => DependencyType::Runtime,
                    _ => DependencyType::Optional,
                };
                edge(node(0), node(2), kind)
            })
            .collect();
        let word = |edge: &Edge| format!("{}{}{}", edge.from, &edge.dependency_type.name()[..1], edge.to);
        assert_eq!(left(&edges).iter().map(word).collect::<Vec<_>>().join(" "), expected, "{given}");
    }

    #[test]
    fn what_a_longer_chain_says_is_left_out() {
        check("2b1 1b0 2b0", "2b1 1b0");
        check("3b2 2b1 1b0 3b0 3b1", "3b2 2b1 1b0");
        // To run is not to build: without `2b0` nothing says that 2 waits for 0.
        check("2r1 1b0 2b0", "2r1 1b0 2b0");
        check("2b1 1r0 2b0", "2b1 1r0");
        check("2b1 1b0 2r0", "2b1 1b0");
        // What is optional implies nothing, and is implied.
        check("2o1 1b0 2b0", "2o1 1b0 2b0");
        check("2b1 1b0 2o0", "2b1 1b0");
        check("2b1 1o0 2b0", "2b1 1o0 2b0");
    }

    #[test]
    fn packages_that_need_each_other_to_run_are_one_link() {
        check("1r0 0r1", "1r0 0r1");
        check("2b0 2b1 1r0 0r1", "2b0 2b1 1r0 0r1");
        check("3b2 2b0 3b0 3b1 1r0 0r1", "3b2 2b0 1r0 0r1");
        // What one of them waits for, the other does not.
        check("3r4 4r3 3b1 4b2 2b1", "3r4 4r3 3b1 4b2 2b1");
    }

    /// A chain in which each needs all that come before it, of more packages than a pass has.
    #[test]
    fn a_long_chain_is_gone_through_in_passes() {
        let count = 3 * PASS / 2;
        let build = |from: usize, to: usize| edge(from, to, DependencyType::Build);
        let mut edges: Vec<Edge> = (1..count).map(|at| build(at, at - 1)).collect();
        edges.extend((2..count).map(|at| build(at, 0)));
        edges.extend((PASS + 9..count).map(|at| build(at, PASS + 7)));
        let all: Vec<&Edge> = edges.iter().collect();
        let is_implied: Vec<bool> = (0..all.len()).map(|at| at >= count - 1).collect();
        assert_eq!(implied(count, &all), is_implied);
        // With an effort for one pass, what is in another one is drawn; with none, everything.
        let one = implied_within(count, &all, count + all.len());
        assert_eq!(one.iter().filter(|implied| **implied).count(), count - 2);
        assert!(!implied_within(count, &all, 0).contains(&true));
    }

    /// What is there before `node` begins: what it waits for, and what that needs.
    fn before(edges: &[Edge], node: usize) -> BTreeSet<usize> {
        let required = |e: &&Edge| e.requirement_level == RequirementLevel::Required;
        let begins = edges.iter().filter(required).filter(|e| e.from == node && e.waits());
        let mut stack: Vec<usize> = begins.map(|e| e.to).collect();
        let mut seen = BTreeSet::new();
        while let Some(at) = stack.pop() {
            if seen.insert(at) {
                stack.extend(edges.iter().filter(required).filter(|e| e.from == at).map(|e| e.to));
            }
        }
        seen
    }

    proptest! {
        /// Edges to lower nodes of any kind, and to higher ones to run; every edge is drawn or follows.
        #[test]
        fn a_drawing_says_who_waits_for_whom(
            pairs in prop::collection::vec((0_usize..9, 0_usize..9, 0..3), 0..40)
        ) {
            let mut seen = BTreeSet::new();
            let mut edges: Vec<Edge> = Vec::new();
            for (a, b, kind) in pairs {
                let kind = match kind {
                    0 => DependencyType::Build,
                    1 => DependencyType::Runtime,
                    _ => DependencyType::Optional,
                };
                let (low, high) = (a.min(b), a.max(b));
                // Cycles are of runtime edges alone, between 7 and 8, which nothing else leads to from below.
                if low != high && seen.insert((low, high, kind == DependencyType::Runtime)) {
                    edges.push(edge(high, low, kind));
                }
            }
            if edges.iter().all(|e| (e.from, e.to) != (8, 7) || !e.waits()) {
                edges.push(edge(7, 8, DependencyType::Runtime));
            }
            let drawn = left(&edges);
            for node in 0..9 {
                prop_assert_eq!(before(&edges, node), before(&drawn, node), "{}: {:?}", node, drawn);
            }
            prop_assert_eq!(left(&drawn).len(), drawn.len(), "twice says no more");
        }
    }
}
