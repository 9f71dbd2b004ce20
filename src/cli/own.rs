//! What this process says of itself as a runner.
//!
//! Owns: where each of these facts is found. Does not know: who asks.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use crate::driver::spawn::MemoryGauge;
use crate::engine::Limits;
use crate::ledger::writer::Health;
use crate::observe::facts::{RunnerFacts, Totals};
use crate::observe::observer::now;
use crate::observe::snapshot::RunningTask;

/// Where they are found.
pub(super) struct Own {
    pub(super) limits: Limits,
    pub(super) health: Arc<Health>,
    pub(super) memory: Arc<OnceLock<MemoryGauge>>,
}

impl Own {
    /// While these tasks run.
    pub(super) fn facts(&self, running: &[RunningTask]) -> RunnerFacts {
        let facts = RunnerFacts {
            pid: std::process::id(),
            jobs: self.limits.jobs,
            fetches: self.limits.fetches,
            memory: self.memory.get().map(|gauge| by_phase(gauge, running)),
            totals: Totals::default(),
            ..RunnerFacts::default()
        };
        facts.with_ledger(&self.health, now())
    }
}

fn by_phase(gauge: &MemoryGauge, running: &[RunningTask]) -> BTreeMap<String, u64> {
    let mut memory = BTreeMap::new();
    for task in running {
        // One that has ended meanwhile uses none.
        let bytes = task.id.and_then(|id| gauge.read(u64::from(id.0))).unwrap_or(0);
        *memory.entry(task.phase.to_string()).or_default() += bytes;
    }
    memory
}
