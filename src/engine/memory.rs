//! `dynamic`: a start waits until the memory that it is expected to need is available.
//!
//! Owns: the rule. Does not know: where expectations come from (`observe` has them from recipes and history), how memory is
//! measured.
//!
//! What is available is asked for at every start, and the expectations of all tasks that run must fit into what was there
//! when none did: a task that has just begun has not taken its memory yet. Whoever does not fit is waited for, and what
//! comes after it in the queue waits as well: so it begins at the latest when nothing else runs. What others do to the
//! host's memory meanwhile (pressure, freezing tasks) comes with the speed work.

use std::time::Duration;

use crate::config::document::Method;
use crate::plan::TaskId;

use super::Engine;
use super::message::{Effect, Time};
use super::timers::Timer;

/// How long to wait before asking again, if no task ends before.
const AGAIN: Duration = Duration::from_secs(1);

/// Memory, as far as starts have to wait for it; bytes.
#[derive(Debug, Clone, Default)]
pub(super) struct Memory {
    /// By `TaskId`: what it is expected to need. 0, and beyond the end: nobody knows.
    expected: Vec<u64>,
    /// The most that is known to be there for all of our tasks together.
    most: u64,
    /// What is available at this moment, without what was promised since it was measured.
    now: Option<u64>,
}

impl Engine {
    /// What each task is expected to need, bytes, by `TaskId`; 0 where nobody knows.
    #[must_use]
    pub fn expecting_memory(mut self, expected: Vec<u64>) -> Self {
        self.memory.expected = expected;
        self
    }

    fn memory_of(&self, task: TaskId) -> u64 {
        self.memory.expected.get(task.0 as usize).copied().unwrap_or(0)
    }

    /// Whether there is memory for this task, which is the first in the queue of work; `busy`: others run. If that is not known it
    /// is asked for.
    pub(super) fn has_memory_for(
        &mut self,
        now: Time,
        task: TaskId,
        busy: bool,
        out: &mut Vec<Effect>,
    ) -> bool {
        let needed = self.memory_of(task);
        if self.plan.document.dependency_tracking.dependency_resolution.method != Method::Dynamic
            || needed == 0
        {
            return true;
        }
        let Some(available) = self.memory.now else {
            out.push(Effect::MeasureMemory);
            return false;
        };
        if !busy {
            self.memory.most = available;
        }
        let promised = self.running.keys().map(|task| self.memory_of(*task)).fold(0, u64::saturating_add);
        if busy && (needed > available || needed.saturating_add(promised) > self.memory.most) {
            self.timers.set(now + AGAIN, Timer::Memory);
            return false;
        }
        self.memory.now = Some(available.saturating_sub(needed));
        true
    }

    /// So much is available.
    pub(super) fn measured_memory(&mut self, available: u64) {
        self.memory.most = self.memory.most.max(available);
        self.memory.now = Some(available);
    }

    /// What was measured is of yesterday.
    pub(super) fn forget_memory(&mut self) {
        self.memory.now = None;
    }
}
