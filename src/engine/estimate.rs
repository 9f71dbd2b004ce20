//! How long the rest of a run will take: the engine itself, run ahead in virtual time.
//!
//! Owns: the simulation. Does not know: where expected durations come from (`observe` learns them).

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use crate::plan::{Plan, TaskId};

use super::message::{Effect, Event, Outcome, Resources, Time, Usage};
use super::state::{State, TaskState};
use super::{Engine, Limits, RunInfo, Running};

/// From `now` to the end of the run, if every task that is left takes what `expected` says (nanoseconds) and
/// none fails, and none has to wait for memory. A running task that has already taken longer takes `overrun` times what it has taken from now on: whoever
/// knows little about a task should not say that it ends any moment.
pub fn remaining(
    plan: &Arc<Plan>,
    limits: Limits,
    state: &State,
    now: Time,
    expected: impl Fn(TaskId) -> u64,
    overrun: impl Fn(TaskId) -> f64,
) -> Duration {
    let by_package: Vec<u64> =
        plan.package_ids().map(|id| plan.tasks_of(id).map(&expected).fold(0, u64::saturating_add)).collect();
    let info = RunInfo { build_id: "".into(), kiln: "".into(), boot: "".into() };
    let mut engine = Engine::new(Arc::clone(plan), limits, info, state.clone(), &by_package);
    // Looking at files takes a moment.
    engine.verifies = false;
    let mut ends: BinaryHeap<Reverse<(Time, TaskId)>> = BinaryHeap::new();
    for index in 0..plan.task_count() {
        let task = TaskId(u32::try_from(index).unwrap_or(u32::MAX));
        if let TaskState::Running { attempt, since } = state.task(task).state {
            engine.adopt(
                task,
                Running {
                    attempt,
                    restore: state.task(task).done,
                    jobs: 1,
                    since,
                    ending: None,
                    verifying: false,
                },
            );
            let end = since + Duration::from_nanos(expected(task));
            let later = now + now.since(since).mul_f64(overrun(task));
            ends.push(Reverse((if end > now { end } else { later }, task)));
        }
    }
    for id in plan.package_ids() {
        engine.enqueue(now, id);
    }
    let mut effects = engine.handle(now, Event::Tick);
    let mut at = now;
    loop {
        let mut answers = Vec::new();
        for effect in effects {
            match effect {
                Effect::Start(start) => {
                    ends.push(Reverse((at + Duration::from_nanos(expected(start.task)), start.task)));
                }
                Effect::Measure { phase } => answers.push(phase),
                Effect::End(_) => return at.since(now),
                Effect::Kill { .. }
                | Effect::MeasureMemory
                | Effect::Verify { .. }
                | Effect::Act(_)
                | Effect::CancelAct { .. }
                | Effect::WatchOutput { .. }
                | Effect::Checkpoint { .. }
                | Effect::Record(_) => {}
            }
        }
        let end = ends.peek().map(|Reverse((end, _))| *end);
        let wakeup = engine.next_wakeup();
        effects = if let Some(phase) = answers.pop() {
            let resources = Resources { disk: u64::MAX, memory: u64::MAX, toolchain_verified: true };
            engine.handle(at, Event::Measured { phase, resources })
        } else if let Some(end) = end.filter(|end| wakeup.is_none_or(|w| *end <= w)) {
            let Some(Reverse((_, task))) = ends.pop() else { return at.since(now) };
            at = at.max(end);
            engine.handle(at, Event::Finished { task, outcome: Outcome::Success, usage: Usage::default() })
        } else if let Some(wakeup) = wakeup {
            at = at.max(wakeup);
            engine.handle(at, Event::Tick)
        } else {
            return at.since(now); // nothing runs and nothing will: a run that cannot end by itself
        };
    }
}

impl Engine {
    /// A task that is already in flight.
    fn adopt(&mut self, task: TaskId, running: Running) {
        self.queues.occupy(&self.plan, task);
        self.running.insert(task, running);
    }
}
