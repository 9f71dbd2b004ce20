//! What the engine wants to be woken for, and when.
//!
//! Owns: at most one time per timer. Does not know: what is done then.

use std::collections::{BTreeMap, BTreeSet};

use crate::plan::{PackageId, TaskId};

use super::message::Time;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// A package may try again.
    Retry(PackageId),
    /// There may be more memory than there was.
    Memory,
    /// A task has run for its `timeout`.
    Timeout(TaskId),
    /// A task may have been silent for its `silent_timeout`.
    Silence(TaskId),
    /// A task was asked politely for long enough.
    Grace(TaskId),
}

/// Deadlines of running tasks, and ends of back-offs.
#[derive(Debug, Clone, Default)]
pub(super) struct Timers {
    by_time: BTreeSet<(Time, Timer)>,
    by_timer: BTreeMap<Timer, Time>,
}

impl Timers {
    /// From now on `timer` is due at `at`, and at no other time.
    pub(super) fn set(&mut self, at: Time, timer: Timer) {
        if let Some(before) = self.by_timer.insert(timer, at) {
            self.by_time.remove(&(before, timer));
        }
        self.by_time.insert((at, timer));
    }

    /// A task has ended. What others wait for is not looked at: there may be thousands of them.
    pub(super) fn forget(&mut self, task: TaskId) {
        for timer in [Timer::Timeout(task), Timer::Silence(task), Timer::Grace(task)] {
            if let Some(at) = self.by_timer.remove(&timer) {
                self.by_time.remove(&(at, timer));
            }
        }
    }

    /// When the first of them is due.
    pub(super) fn next(&self) -> Option<Time> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Packages that are to try again.
    pub(super) fn retries(&self) -> impl Iterator<Item = PackageId> {
        self.by_timer.keys().filter_map(|timer| match timer {
            Timer::Retry(package) => Some(*package),
            Timer::Memory | Timer::Timeout(_) | Timer::Silence(_) | Timer::Grace(_) => None,
        })
    }

    /// Takes out the first that is due.
    pub(super) fn pop(&mut self, now: Time) -> Option<Timer> {
        let (_, timer) = self.by_time.first().copied().filter(|(at, _)| *at <= now)?;
        self.by_time.pop_first();
        self.by_timer.remove(&timer);
        Some(timer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_timer_has_one_time_and_a_task_that_ended_has_none() {
        let at = |seconds| Time::default() + Duration::from_secs(seconds);
        let (one, other) = (TaskId(1), TaskId(2));
        let mut timers = Timers::default();
        timers.set(at(1), Timer::Silence(one));
        timers.set(at(5), Timer::Silence(one));
        timers.set(at(3), Timer::Timeout(one));
        timers.set(at(4), Timer::Silence(other));
        timers.set(at(4), Timer::Retry(PackageId(1)));
        assert_eq!((timers.next(), timers.pop(at(2))), (Some(at(3)), None));
        timers.forget(one);
        assert_eq!(timers.next(), Some(at(4)));
        assert_eq!(timers.pop(at(9)), Some(Timer::Retry(PackageId(1))));
        assert_eq!(timers.pop(at(9)), Some(Timer::Silence(other)));
        assert_eq!((timers.pop(at(9)), timers.next()), (None, None));
        assert!(timers.by_timer.is_empty());
    }
}
