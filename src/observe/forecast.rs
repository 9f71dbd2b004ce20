//! How much of a run is done, and how long the rest will take.
//!
//! Owns: when to look ahead again, and what was seen. Does not know: how tasks are scheduled (the engine is
//! asked, by simulation), what a task takes (see `durations`).
//!
//! P50 is the simulated end with every task taking what is expected. P90 is P50 times one plus the spread of
//! the expectations, averaged over the work that is left, by time: a tenth where every task has a history,
//! three quarters and more where weights or other packages are all there is, less as more is measured.

use std::sync::Arc;
use std::time::Duration;

use crate::engine::message::Time;
use crate::engine::state::{PackageState, RunState, Skip, State, TaskState};
use crate::engine::{Limits, estimate};
use crate::plan::{Plan, TaskId, TaskKind};

use super::durations::{Expectations, History};
use super::human;

/// From now to the end of the run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Estimate {
    /// As likely too short as too long.
    pub p50: Duration,
    /// Long enough nine times out of ten.
    pub p90: Duration,
}

/// All that is needed to look ahead, apart from whoever folds records meanwhile.
#[derive(Debug)]
pub struct Forecast {
    pub(super) plan: Arc<Plan>,
    pub(super) limits: Limits,
    /// None if the run is one of another definition: nothing can be said about it.
    pub(super) state: Option<State>,
    pub(super) history: History,
    /// Running time of the run.
    pub(super) time: Time,
    /// The same moment, nanoseconds since 1970.
    pub(super) now: i64,
}

/// What was seen.
#[derive(Debug, Clone)]
pub struct View {
    pub(super) expectations: Arc<Expectations>,
    estimate: Option<Estimate>,
    /// Work that is done, and that is wanted, in the units of the expectations.
    done: u64,
    wanted: u64,
    now: i64,
    /// The clock goes on as the run does.
    moving: bool,
}

/// What was seen last, and when to look again.
#[derive(Debug, Clone, Default)]
pub(super) struct Outlook {
    view: Option<View>,
    begun: Option<i64>,
}

impl Forecast {
    /// Looks ahead. A hundred thousand tasks take about a second.
    pub fn compute(self) -> View {
        let expectations = Arc::new(Expectations::new(&self.plan, &self.history));
        let mut view = View {
            expectations: Arc::clone(&expectations),
            estimate: None,
            done: 0,
            wanted: 0,
            now: self.now,
            moving: false,
        };
        let Some(mut state) = self.state else { return view };
        let mut unsure = 0.0;
        let mut left = 0.0;
        for id in self.plan.package_ids() {
            if state.package(id).state == (PackageState::Skipped(Skip::Unwanted)) {
                continue;
            }
            for task in self.plan.tasks_of(id) {
                let expected = expectations.task(task);
                view.wanted = view.wanted.saturating_add(expected.nanoseconds);
                // What is done again only to restore a work directory stays done.
                if state.task(task).done || state.task(task).state == TaskState::Completed {
                    view.done = view.done.saturating_add(expected.nanoseconds);
                    continue;
                }
                match state.task(task).state {
                    TaskState::Blocked
                    | TaskState::Ready
                    | TaskState::Running { .. }
                    | TaskState::Backoff { .. } => {
                        left += expected.nanoseconds as f64;
                        unsure += expected.nanoseconds as f64 * expected.spread;
                    }
                    TaskState::Completed | TaskState::Failed | TaskState::Skipped => {}
                }
            }
        }
        view.moving = state.run == RunState::Running;
        match state.run {
            RunState::Idle => {}
            RunState::Completed | RunState::Error => view.estimate = Some(Estimate::default()),
            RunState::Running | RunState::Paused if !expectations.known() => {}
            RunState::Running | RunState::Paused => {
                state.run = RunState::Running; // as if it went on now
                let expected = |task| expectations.task(task).nanoseconds;
                // As likely too short as too long: half of what nine of ten stay within.
                let overrun = |task| expectations.task(task).spread / 2.0;
                let p50 = estimate::remaining(&self.plan, self.limits, &state, self.time, expected, overrun);
                let spread = if left > 0.0 { unsure / left } else { 0.0 };
                view.estimate = Some(Estimate { p50, p90: p50.mul_f64(1.0 + spread) });
            }
        }
        view
    }
}

impl Outlook {
    /// Nanoseconds between two looks: a second, and more where plans are so large that looking each second
    /// would cost more than a hundredth of a core.
    pub(super) fn interval(plan: &Plan) -> i64 {
        let tasks = i64::try_from(plan.task_count()).unwrap_or(i64::MAX);
        tasks.saturating_mul(1_000_000).max(1_000_000_000)
    }

    pub(super) fn is_due(&self, plan: &Plan, now: i64) -> bool {
        // A clock that was set back must not stop it.
        self.begun.is_none_or(|begun| now < begun || now - begun >= Self::interval(plan))
    }

    pub(super) fn begin(&mut self, now: i64) {
        self.begun = Some(now);
    }

    pub(super) fn keep(&mut self, view: View) {
        self.view = Some(view);
    }

    /// What was seen is no longer so, whatever the time.
    pub(super) fn invalidate(&mut self) {
        self.begun = None;
    }

    /// A task of the plan succeeded for the first time.
    pub(super) fn done(&mut self, plan: &Plan, package: &str, task: TaskKind) {
        let id = plan.find(package).and_then(|id| plan.task(id, task));
        if let (Some(view), Some(id)) = (&mut self.view, id) {
            view.done = view.done.saturating_add(view.expectations.task(id).nanoseconds).min(view.wanted);
        }
    }

    /// What was seen, with the time that has passed since.
    pub(super) fn estimate(&self, now: i64) -> Option<Estimate> {
        let view = self.view.as_ref()?;
        let since = if view.moving { human::between(view.now, now) } else { Duration::ZERO };
        let later = |span: Duration| span.saturating_sub(since);
        view.estimate.map(|seen| Estimate { p50: later(seen.p50), p90: later(seen.p90) })
    }

    pub(super) fn expectations(&self) -> Option<&Arc<Expectations>> {
        self.view.as_ref().map(|view| &view.expectations)
    }

    /// Work that is done, as a part of all that is wanted; running tasks have done `running`, by task the
    /// time that each has taken.
    pub(super) fn ratio(&self, running: &[(TaskId, Duration)]) -> Option<f64> {
        let view = self.view.as_ref().filter(|view| view.wanted > 0)?;
        let mut done = view.done as f64;
        if view.expectations.known() {
            for (task, elapsed) in running {
                // One that takes longer than expected is nearly done until it says that it is.
                let expected = view.expectations.task(*task).nanoseconds as f64;
                done += (elapsed.as_nanos() as f64).min(expected * 0.95);
            }
        }
        Some((done / view.wanted as f64).clamp(0.0, 1.0))
    }
}
