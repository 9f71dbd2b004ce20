//! What a live runner says of itself that is in no record: how its ledger fares, what its tasks use now.
//!
//! Owns: these facts, as they are told from one process to another, and that counters among them never go back. Does not
//! know: how they are found out, or asked for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Channels whose notifications kiln counts itself, in the order in which they are counted.
pub const COUNTED_CHANNELS: [&str; 2] = ["system_log", "dashboard"];

/// What a live runner says of itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RunnerFacts {
    /// Names the process (when it began, nanoseconds since 1970): totals begin anew with each.
    pub id: i64,
    /// Job slots.
    pub jobs: u32,
    /// Simultaneous fetches.
    pub fetches: u32,
    /// Everything recorded until then is on disk, nanoseconds since 1970.
    pub durable: i64,
    /// Why nothing can be recorded, and so nothing is started.
    pub blocked: Option<String>,
    /// Memory of running tasks, bytes, by phase, those without one left out; `None` where tasks have no control groups.
    pub memory: Option<BTreeMap<String, u64>>,
    /// Which permissions it has, by `PERMISSIONS`; `None` where nobody has tried.
    pub permissions: Option<[bool; 5]>,
    /// What only grows while it runs.
    pub totals: Totals,
}

/// What only grows while a runner runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Failed tries to write or sync the ledger.
    pub ledger_failures: u64,
    /// Messages that nobody took in time.
    pub messages_dropped: u64,
    /// Notifications that a channel did not get, by `COUNTED_CHANNELS`.
    pub notification_failures: [u64; 2],
}

impl Totals {
    fn plus(self, other: Self) -> Self {
        let [log, dashboard] = self.notification_failures;
        let [more_log, more_dashboard] = other.notification_failures;
        Self {
            ledger_failures: self.ledger_failures + other.ledger_failures,
            messages_dropped: self.messages_dropped + other.messages_dropped,
            notification_failures: [log + more_log, dashboard + more_dashboard],
        }
    }
}

/// What is known of one runner after another.
#[derive(Debug, Default)]
pub(super) struct Sum {
    /// Of those that are gone.
    gone: Totals,
    /// Of the last one.
    id: i64,
    last: Totals,
    permissions: Option<[bool; 5]>,
}

impl Sum {
    /// What a runner says now.
    pub(super) fn hear(&mut self, facts: &RunnerFacts) {
        if facts.id != self.id {
            self.gone = self.total();
            self.id = facts.id;
        }
        self.last = facts.totals;
        self.permissions = facts.permissions.or(self.permissions);
    }

    /// Which permissions the last that told had.
    pub(super) fn permissions(&self) -> Option<[bool; 5]> {
        self.permissions
    }

    /// Of all of them, whether or not the last is still there.
    pub(super) fn total(&self) -> Totals {
        self.gone.plus(self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_of_one_runner_after_another_never_go_back() {
        let mut sum = Sum::default();
        let mut hear = |id, dropped| {
            let totals = Totals { messages_dropped: dropped, ..Totals::default() };
            sum.hear(&RunnerFacts { id, totals, ..RunnerFacts::default() });
            sum.total().messages_dropped
        };
        assert_eq!([hear(7, 0), hear(7, 3), hear(7, 5)], [0, 3, 5]);
        assert_eq!([hear(8, 0), hear(8, 2), hear(7, 1)], [5, 7, 8]);
    }
}
