//! A graph that grows edge by edge, and never has a circular cycle.
//!
//! Owns: which edges are dropped. Does not know: graphs, definitions.
//!
//! The packages are kept in an order that all kept edges agree with (Pearce and Kelly's algorithm: an edge that agrees
//! costs nothing, for one that does not only what lies between its ends is looked at). Packages that need each other to run
//! have one place in it, as a group: a runtime edge that closes a cycle of runtime edges makes one of its packages.
//! Whether an edge closes a circular cycle is looked for from both ends at once, since most of the cycles are short.

use super::super::components::number;
use super::Link;

/// How often an edge may be looked at in a circle of so many: so that it stays linear, whatever the circle is. Debian's
/// needs a third of it.
pub(super) fn effort(links: usize) -> usize {
    4_000_000 + 16 * links
}

/// Decides which links are dropped; `at` is the place of each package in an order that few contradict. When `effort` is
/// used up, those that are not decided yet are dropped unless they agree with the order: right, though more than need be.
pub(super) fn drop(links: &mut [Link], at: Vec<u32>, effort: usize) {
    let agrees = |link: &Link| at[link.from as usize] > at[link.to as usize];
    let mut turns: Vec<usize> = (0..links.len()).collect();
    turns.sort_by_key(|turn| (links[*turn].kind, !agrees(&links[*turn])));
    let mut kept = Kept::new(at, effort);
    for turn in turns {
        let link = &mut links[turn];
        link.dropped = !kept.add(link.from, link.to, link.waits);
    }
}

/// What is known of a group while an edge is looked at.
const BELOW: u8 = 1; // the edge's `to` depends on it
const ABOVE: u8 = 2; // it depends on the edge's `from`
const BETWEEN: u8 = BELOW | ABOVE; // it would be on a cycle with the edge

struct Kept {
    /// The place of each group: after those of all that it depends on.
    at: Vec<u32>,
    /// A package's group is the end of this chain.
    group: Vec<u32>,
    /// By group: what it depends on and who depends on it, and whether that edge waits.
    needs: Vec<Vec<(u32, bool)>>,
    needed_by: Vec<Vec<(u32, bool)>>,
    mark: Vec<u8>,
    effort: usize,
}

impl Kept {
    fn new(at: Vec<u32>, effort: usize) -> Self {
        let nodes = at.len();
        Self {
            at,
            group: (0..number(nodes)).collect(),
            needs: vec![Vec::new(); nodes],
            needed_by: vec![Vec::new(); nodes],
            mark: vec![0; nodes],
            effort,
        }
    }

    fn group(&mut self, mut node: u32) -> u32 {
        while self.group[node as usize] != node {
            let next = self.group[node as usize];
            self.group[node as usize] = self.group[next as usize];
            node = next;
        }
        node
    }

    /// Adds an edge, unless it closes a circular cycle.
    fn add(&mut self, from: u32, to: u32, waits: bool) -> bool {
        let (mut from, mut to) = (self.group(from), self.group(to));
        if from == to {
            return !waits;
        }
        if self.at[from as usize] < self.at[to as usize] {
            let (mut below, mut above) = (vec![to], vec![from]);
            let fits = self.look(&mut below, &mut above, waits);
            if fits {
                self.make_room(&below, &above);
            }
            for node in below.into_iter().chain(above) {
                self.mark[node as usize] = 0;
            }
            if !fits {
                return false;
            }
            (from, to) = (self.group(from), self.group(to));
        }
        if from != to {
            self.needs[from as usize].push((to, waits));
            self.needed_by[to as usize].push((from, waits));
        }
        true
    }

    /// Finds, between the two ends of an edge that does not agree with the order, what depends on it and what it
    /// depends on, and marks that. `false` if the edge would close a circular cycle, or there is no effort left.
    fn look(&mut self, below: &mut Vec<u32>, above: &mut Vec<u32>, waits: bool) -> bool {
        let (to, from) = (below[0] as usize, above[0] as usize);
        let (low, high) = (self.at[from], self.at[to]);
        self.mark[to] = BELOW;
        self.mark[from] = ABOVE;
        let (mut below_done, mut above_done) = (0, 0);
        let (mut below_cost, mut above_cost) = (0, 0);
        while below_done < below.len() || above_done < above.len() {
            // What has cost less so far goes on.
            let down = above_done == above.len() || (below_done < below.len() && below_cost <= above_cost);
            let (list, done, cost, own, other) = if down {
                (&mut *below, &mut below_done, &mut below_cost, BELOW, ABOVE)
            } else {
                (&mut *above, &mut above_done, &mut above_cost, ABOVE, BELOW)
            };
            let node = list[*done] as usize;
            *done += 1;
            let edges = if down { self.needs[node].len() } else { self.needed_by[node].len() };
            *cost += edges;
            let Some(left) = self.effort.checked_sub(edges) else { return false };
            self.effort = left;
            for edge in 0..edges {
                let (next, edge_waits) =
                    if down { self.needs[node][edge] } else { self.needed_by[node][edge] };
                let next = self.group(next);
                if !(low..=high).contains(&self.at[next as usize]) {
                    continue;
                }
                let mark = &mut self.mark[next as usize];
                // They meet: something waits on that cycle, or a runtime edge closes one of runtime edges. Each edge between
                // them is looked at from both sides, so that none that waits escapes.
                if *mark & other != 0 && (waits || edge_waits) {
                    return false;
                }
                if *mark & own == 0 {
                    *mark |= own;
                    list.push(next);
                }
            }
        }
        true
    }

    fn is_between(&self, node: usize) -> bool {
        self.mark[node] & BETWEEN == BETWEEN
    }

    /// Puts what an edge's `to` depends on before what depends on its `from`, in the places that they had; what lies
    /// between the two becomes one group.
    fn make_room(&mut self, below: &[u32], above: &[u32]) {
        let (mut group, mut first): (Vec<u32>, Vec<u32>) =
            below.iter().partition(|node| self.is_between(**node as usize));
        let mut last: Vec<u32> = above.to_vec();
        last.retain(|node| !self.is_between(*node as usize));
        let at = &mut self.at;
        let mut places: Vec<u32> = below.iter().chain(&last).map(|node| at[*node as usize]).collect();
        places.sort_unstable();
        first.sort_unstable_by_key(|node| at[*node as usize]);
        last.sort_unstable_by_key(|node| at[*node as usize]);
        for (node, place) in first.iter().zip(&places) {
            at[*node as usize] = *place;
        }
        for (node, place) in last.iter().rev().zip(places.iter().rev()) {
            at[*node as usize] = *place;
        }
        // The group with most edges takes the others in.
        let edges = |node: &u32| self.needs[*node as usize].len() + self.needed_by[*node as usize].len();
        let Some(whole) = group.iter().copied().max_by_key(edges) else { return };
        at[whole as usize] = places[first.len()];
        group.retain(|node| *node != whole);
        for node in group {
            self.group[node as usize] = whole;
            for edges in [&mut self.needs, &mut self.needed_by] {
                let taken = std::mem::take(&mut edges[node as usize]);
                edges[whole as usize].extend(taken);
            }
        }
    }
}
