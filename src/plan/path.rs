//! Critical paths.
//!
//! Owns: the longest way from a package to the end of its phase. Does not know: where durations come from.

use super::{PackageId, Plan};

/// By package: the expected time from its start to the end of its phase, if nothing had to wait for a slot;
/// in the unit of `expected`, which is by package as well.
pub fn ways(plan: &Plan, expected: &[u64]) -> Vec<u64> {
    let mut way = vec![0_u64; plan.wait_count.len()];
    for node in plan.node_order.iter().rev() {
        let at = node.0 as usize;
        let package = plan.as_package(*node);
        let own = package.map_or(0, |p| expected.get(p.0 as usize).copied().unwrap_or(0));
        let phase = package.map(|p| plan.package(p).phase);
        let behind = plan.waiters[at].iter().filter_map(|w| {
            let other = plan.as_package(w.node).map(|p| plan.package(p).phase);
            (phase.is_none() || other.is_none() || phase == other).then_some(way[w.node.0 as usize])
        });
        way[at] = own.saturating_add(behind.max().unwrap_or(0));
    }
    way.truncate(plan.packages.len());
    way
}

/// The packages that decide how long the whole takes: of each phase, one after another, the longest chain of
/// what waits for each other.
pub fn critical_path(plan: &Plan, expected: &[u64]) -> Vec<PackageId> {
    let way = ways(plan, expected);
    let longest = |ids: &mut dyn Iterator<Item = PackageId>| {
        ids.filter(|id| way[id.0 as usize] > 0).max_by_key(|id| (way[id.0 as usize], std::cmp::Reverse(*id)))
    };
    let mut path = Vec::new();
    for phase in &plan.phases {
        let mut next = longest(&mut phase.packages.iter().copied());
        while let Some(at) = next {
            path.push(at);
            let phase = plan.package(at).phase;
            let mut waiting = plan.dependents(at).into_iter().filter(|id| plan.package(*id).phase == phase);
            next = longest(&mut waiting);
        }
    }
    path
}
