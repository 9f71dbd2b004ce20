//! Critical paths.
//!
//! Owns: the longest way from a package to the end of its phase. Does not know: where durations come from.

use std::cmp::Reverse;

use super::{PackageId, PhaseId, Plan};

/// The longest way from a node to the end of the phase that it completes in.
#[derive(Debug, Clone, Copy, Default)]
struct Way {
    length: u64,
    /// The first package on it, behind the node; of several the first of the plan.
    next: Option<PackageId>,
}

/// By package: the expected time from its start to the end of its phase, if nothing had to wait for a slot;
/// in the unit of `expected`, which is by package as well.
pub fn ways(plan: &Plan, expected: &[u64]) -> Vec<u64> {
    let mut ways: Vec<u64> = ways_of_nodes(plan, expected).into_iter().map(|way| way.length).collect();
    ways.truncate(plan.packages.len());
    ways
}

fn ways_of_nodes(plan: &Plan, expected: &[u64]) -> Vec<Way> {
    // A closure completes with the last of its packages.
    let mut phase = vec![PhaseId(0); plan.wait_count.len()];
    for node in &plan.node_order {
        let at = node.0 as usize;
        if let Some(package) = plan.packages.get(at) {
            phase[at] = package.phase;
        }
        for waiter in &plan.waiters[at] {
            phase[waiter.node.0 as usize] = phase[waiter.node.0 as usize].max(phase[at]);
        }
    }
    let mut ways = vec![Way::default(); phase.len()];
    for node in plan.node_order.iter().rev() {
        let at = node.0 as usize;
        let behind = plan.waiters[at].iter().filter(|waiter| phase[waiter.node.0 as usize] == phase[at]);
        let behind = behind.filter_map(|waiter| {
            let way = ways[waiter.node.0 as usize];
            Some((way.length, Reverse(plan.as_package(waiter.node).or(way.next)?)))
        });
        let (length, next) = match behind.max() {
            Some((length, Reverse(next))) if length > 0 => (length, Some(next)),
            Some(_) | None => (0, None),
        };
        let own = if at < plan.packages.len() { expected.get(at).copied().unwrap_or(0) } else { 0 };
        ways[at] = Way { length: own.saturating_add(length), next };
    }
    ways
}

/// The packages that decide how long the whole takes: of each phase, one after another, the longest chain of
/// what waits for each other.
pub fn critical_path(plan: &Plan, expected: &[u64]) -> Vec<PackageId> {
    let ways = ways_of_nodes(plan, expected);
    let way = |id: PackageId| ways[id.0 as usize];
    let mut path = Vec::new();
    for phase in &plan.phases {
        let longest = phase.packages.iter().copied().max_by_key(|id| (way(*id).length, Reverse(*id)));
        let mut next = longest.filter(|id| way(*id).length > 0);
        while let Some(at) = next {
            path.push(at);
            next = way(at).next;
        }
    }
    path
}
