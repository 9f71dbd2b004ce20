//! Shortest circular cycles.
//!
//! Owns: breadth-first search from both ends of an edge. Does not know: which edges are dropped, and why.
//!
//! A cycle is circular when something on it waits, so a package is looked at in two states: reached without anything that
//! waits, and with. A state's number is twice the package's, plus one with.

use std::collections::HashMap;

use super::super::components::number;
use super::super::lists::Lists;
use super::{Link, keep};

pub(super) struct Ways<'a> {
    links: &'a [Link],
    /// By package: links from it, links to it.
    out: Lists<u32>,
    back: Lists<u32>,
    /// By state: from the edge's `to`, and back from its `from`, the link by which it was reached and the state before.
    ahead: Vec<Option<Step>>,
    behind: Vec<Option<Step>>,
    effort: usize,
}

#[derive(Clone, Copy)]
struct Step {
    /// `None` where the search begins.
    by: Option<u32>,
    before: u32,
}

impl<'a> Ways<'a> {
    pub(super) fn new(links: &'a [Link], nodes: usize) -> Self {
        let numbered = || (0..number(links.len())).zip(links);
        let out = Lists::new(nodes, || numbered().map(|(at, link)| (link.from as usize, at)));
        let back = Lists::new(nodes, || numbered().map(|(at, link)| (link.to as usize, at)));
        let states = vec![None; 2 * nodes];
        Self {
            links,
            out,
            back,
            ahead: states.clone(),
            behind: states,
            effort: keep::effort(links.len()) / 4,
        }
    }

    /// A shortest circular cycle through a link, which comes first; of at most so many links; along those that are not
    /// dropped, or `all`. Through all of them a cycle that passes a package twice is cut down to its circular part, which
    /// may leave the link out. `None` if there is none, or when finding it takes too long.
    pub(super) fn cycle(&mut self, link: usize, at_most: usize, all: bool) -> Option<Vec<usize>> {
        let Link { from, to, waits, .. } = self.links[link];
        let mut ahead = vec![2 * to + u32::from(waits)];
        let mut behind = vec![2 * from + 1];
        self.ahead[ahead[0] as usize] = Some(Step { by: None, before: 0 });
        self.behind[behind[0] as usize] = Some(Step { by: None, before: 0 });
        let met = self.meet(&mut ahead, &mut behind, at_most, all);
        let cycle = met.map(|met| {
            let mut cycle = path(&self.ahead, met);
            cycle.push(link);
            cycle.reverse();
            cycle.extend(path(&self.behind, met));
            self.circular_part(cycle)
        });
        for state in ahead {
            self.ahead[state as usize] = None;
        }
        for state in behind {
            self.behind[state as usize] = None;
        }
        cycle
    }

    /// The state in which the searches meet. Each goes on by whole levels, so that the first meeting is on a shortest way.
    fn meet(
        &mut self,
        ahead: &mut Vec<u32>,
        behind: &mut Vec<u32>,
        at_most: usize,
        all: bool,
    ) -> Option<u32> {
        let (mut ahead_done, mut behind_done) = (0, 0);
        for _ in 1..at_most {
            let level = |list: &[u32], done| list.len() - done;
            let forward = level(ahead, ahead_done) <= level(behind, behind_done);
            let (list, done, seen, others, links) = if forward {
                (&mut *ahead, &mut ahead_done, &mut self.ahead, &self.behind, &self.out)
            } else {
                (&mut *behind, &mut behind_done, &mut self.behind, &self.ahead, &self.back)
            };
            let end = list.len();
            if *done == end {
                return None;
            }
            for at in *done..end {
                let state = list[at];
                let (node, waited) = (state / 2, state % 2 == 1);
                let by = &links[node as usize];
                self.effort = self.effort.checked_sub(by.len())?;
                for by in by {
                    let link = &self.links[*by as usize];
                    if link.dropped && !all {
                        continue;
                    }
                    let next = 2 * if forward { link.to } else { link.from };
                    // Ahead, what has waited has waited. Behind, what is to have waited may have before, or does here.
                    let (without, with) = match (forward, waited) {
                        (true, _) => (!waited && !link.waits, waited || link.waits),
                        (false, true) => (link.waits, true),
                        (false, false) => (!link.waits, false),
                    };
                    for (next, reached) in [(next, without), (next + 1, with)] {
                        if !reached || seen[next as usize].is_some() {
                            continue;
                        }
                        seen[next as usize] = Some(Step { by: Some(*by), before: state });
                        list.push(next);
                        if others[next as usize].is_some() {
                            return Some(next);
                        }
                    }
                }
            }
            *done = end;
        }
        None
    }

    /// The first part of a closed walk that is a circular cycle.
    fn circular_part(&self, walk: Vec<usize>) -> Vec<usize> {
        let mut path: Vec<usize> = Vec::new();
        let mut left_at: HashMap<u32, usize> = HashMap::new();
        for at in walk {
            left_at.insert(self.links[at].from, path.len());
            path.push(at);
            let Some(&start) = left_at.get(&self.links[at].to) else { continue };
            let cycle = path.split_off(start);
            if cycle.iter().any(|at| self.links[*at].waits) {
                return cycle;
            }
            for at in cycle {
                left_at.remove(&self.links[at].from);
            }
        }
        path
    }
}

/// Links back to where a search began.
fn path(seen: &[Option<Step>], mut state: u32) -> Vec<usize> {
    let mut path = Vec::new();
    while let Some(Step { by: Some(by), before }) = seen[state as usize] {
        path.push(by as usize);
        state = before;
    }
    path
}
