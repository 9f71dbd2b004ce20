//! What only grows: counters over the ledger's whole life.
//!
//! Owns: the figures. Does not know: when to count (see `progress`), how they are shown.
//!
//! Phases are keyed by name, those of earlier definitions included: a series that a scrape has seen stays.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::document::{NotificationChannel, RECOVERY_ACTIONS, RecoveryAction};
use crate::engine::message::{ActionResult, Usage};
use crate::failure::{CATEGORIES, Category};
use crate::plan::{TASK_KINDS, TaskKind};

use super::histogram::{DURATION_SECONDS, Histogram, MEMORY_BYTES, QUEUE_SECONDS};

/// By `TaskKind`, in its order.
pub type ByTask<T> = [T; TASK_KINDS.len()];

/// Counters of the ledger's life.
#[derive(Debug, Clone, PartialEq)]
pub struct Counters {
    /// Records written.
    pub records: u64,
    /// Runs that ended completed.
    pub runs_completed: u64,
    /// Runs that ended in error.
    pub runs_error: u64,
    /// By phase, of any definition.
    pub phases: BTreeMap<Arc<str>, PhaseCounters>,
    /// Failed attempts, by `Category` in its order.
    pub errors: [u64; CATEGORIES.len()],
    /// Recovery actions that ended, by `RecoveryAction` in its order.
    pub actions: [u64; RECOVERY_ACTIONS.len()],
    /// Of these, those that failed.
    pub failed_actions: [u64; RECOVERY_ACTIONS.len()],
    /// How often a channel was told of a higher escalation level: `system_log`, `dashboard`.
    pub notifications: [u64; 2],
    /// Seconds that counted attempts took.
    pub durations: ByTask<Histogram>,
    /// Seconds that tasks could have run and did not.
    pub queued: ByTask<Histogram>,
    /// Checkpoints that were taken.
    pub checkpoints: u64,
    /// Those that could not be.
    pub failed_checkpoints: u64,
    /// Bytes that came over the network.
    pub fetched: u64,
    /// Sources asked for.
    pub cache_requests: u64,
    /// Sources that the cache had.
    pub cache_hits: u64,
}

/// Counters of a phase.
#[derive(Debug, Clone, PartialEq)]
pub struct PhaseCounters {
    /// Packages built; reused ones are not among them.
    pub packages_completed: u64,
    /// Attempts that ended by themselves.
    pub attempts: ByTask<u64>,
    /// Those that failed.
    pub failures: ByTask<u64>,
    /// Those that came after a failed one.
    pub retries: ByTask<u64>,
    /// CPU time, nanoseconds.
    pub cpu: u64,
    /// Bytes, of attempts that ran a process.
    pub peak_memory: Histogram,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            records: 0,
            runs_completed: 0,
            runs_error: 0,
            phases: BTreeMap::new(),
            errors: [0; CATEGORIES.len()],
            actions: [0; RECOVERY_ACTIONS.len()],
            failed_actions: [0; RECOVERY_ACTIONS.len()],
            notifications: [0; 2],
            durations: std::array::from_fn(|_| Histogram::new(DURATION_SECONDS)),
            queued: std::array::from_fn(|_| Histogram::new(QUEUE_SECONDS)),
            checkpoints: 0,
            failed_checkpoints: 0,
            fetched: 0,
            cache_requests: 0,
            cache_hits: 0,
        }
    }
}

impl Default for PhaseCounters {
    fn default() -> Self {
        Self {
            packages_completed: 0,
            attempts: ByTask::default(),
            failures: ByTask::default(),
            retries: ByTask::default(),
            cpu: 0,
            peak_memory: Histogram::new(MEMORY_BYTES),
        }
    }
}

impl Counters {
    /// Those of a phase.
    pub fn phase(&mut self, phase: &Arc<str>) -> &mut PhaseCounters {
        self.phases.entry(Arc::clone(phase)).or_default()
    }

    /// An attempt ended by itself after `nanoseconds`, the first or, as a retry, one after a failed one.
    pub fn attempt(
        &mut self,
        phase: &Arc<str>,
        task: TaskKind,
        nanoseconds: u64,
        retry: bool,
        failed: Option<Category>,
        usage: &Usage,
    ) {
        let at = task as usize;
        self.durations[at].observe(nanoseconds as f64 / 1e9);
        if let Some(category) = failed {
            self.errors[category as usize] += 1;
        }
        let counters = self.phase(phase);
        counters.attempts[at] += 1;
        counters.failures[at] += u64::from(failed.is_some());
        counters.retries[at] += u64::from(retry);
        if usage.peak_memory > 0 {
            counters.peak_memory.observe(usage.peak_memory as f64);
        }
    }

    /// A recovery action ended.
    pub fn acted(&mut self, action: RecoveryAction, result: ActionResult) {
        self.actions[action as usize] += 1;
        self.failed_actions[action as usize] += u64::from(result == ActionResult::Failed);
    }

    /// A package's escalation level has risen to this. The log has an entry of it from 2 on; the dashboard shows every one.
    pub fn escalated(&mut self, level: u8, channels: &[NotificationChannel]) {
        let told =
            |channel: NotificationChannel, from: u8| u64::from(level >= from && channels.contains(&channel));
        self.notifications[0] += told(NotificationChannel::SystemLog, 2);
        self.notifications[1] += told(NotificationChannel::Dashboard, 1);
    }

    /// What an execution used, whether or not it counts as an attempt.
    pub fn usage(&mut self, phase: &Arc<str>, usage: &Usage) {
        self.fetched += usage.fetched;
        self.cache_requests += usage.cache_requests;
        self.cache_hits += usage.cache_hits;
        self.phase(phase).cpu += usage.cpu;
    }
}
