//! What a record changes, package by package.
//!
//! Owns: each transition of packages and tasks, and what it means for those that wait. Does not know: records (`apply`).

use std::sync::Arc;

use crate::plan::{NodeId, PackageId, Plan, TaskId, TaskKind};

use super::super::gate::Gate;
use super::super::message::{Answer, Kept};
use super::{PackageState, PhaseState, RunState, Skip, State, TaskState};

impl State {
    /// The one place where a task's state changes.
    pub(super) fn set_task(&mut self, plan: &Plan, id: TaskId, to: TaskState) {
        let phase = plan.package(plan.package_of(id)).phase;
        let counts = &mut self.counts[phase.0 as usize].tasks;
        let task = &mut self.tasks[id.0 as usize];
        counts[task.state.index()] -= 1;
        counts[to.index()] += 1;
        task.state = to;
    }

    /// The one place where a package's state changes.
    pub(super) fn set_package(&mut self, plan: &Plan, id: PackageId, to: PackageState) {
        let counts = &mut self.counts[plan.package(id).phase.0 as usize].packages;
        let package = &mut self.packages[id.0 as usize];
        counts[package.state.index()] -= 1;
        counts[to.index()] += 1;
        package.state = to;
    }

    pub(super) fn decide(
        &mut self,
        plan: &Plan,
        reused: &[Arc<str>],
        archived: &[Arc<str>],
        skipped: &[Arc<str>],
        touched: &mut Vec<PackageId>,
    ) {
        let ids = |names: &[Arc<str>]| names.iter().filter_map(|n| plan.find(n)).collect::<Vec<_>>();
        for &id in &ids(archived) {
            for task in plan.tasks_of(id).filter(|t| plan.kind(*t) != TaskKind::Merge) {
                self.set_task(plan, task, TaskState::Completed);
                self.packages[id.0 as usize].cursor += 1;
            }
        }
        let (reused, skipped) = (ids(reused), ids(skipped));
        for &id in &reused {
            self.reuse(plan, id);
        }
        for &id in &skipped {
            self.set_package(plan, id, PackageState::Skipped(Skip::Unwanted));
            for task in plan.tasks_of(id) {
                self.set_task(plan, task, TaskState::Skipped);
            }
        }
        for &id in &reused {
            self.settle(plan, id, true, touched);
        }
        for &id in &skipped {
            self.settle(plan, id, false, touched);
        }
        for id in plan.package_ids() {
            self.make_ready(plan, id, touched);
        }
    }

    /// The run goes on from a checkpoint: these packages are there, and nothing else has been done.
    pub(super) fn restore(
        &mut self,
        plan: &Plan,
        build_id: &Arc<str>,
        packages: &[Kept],
        touched: &mut Vec<PackageId>,
    ) {
        self.run = RunState::Paused;
        if self.build_id.is_empty() {
            self.build_id = Arc::clone(build_id);
        }
        self.gates.clear();
        (self.aborted, self.held) = (false, false);
        if *self.digest != *plan.digest {
            return; // whoever goes on decides anew
        }
        self.reset(plan);
        let same = |kept: &&Kept| plan.find(&kept.package).is_some_and(|id| plan.package(id).key == kept.key);
        let (degraded, whole): (Vec<&Kept>, Vec<&Kept>) =
            packages.iter().filter(same).partition(|kept| kept.degraded);
        for id in degraded.iter().filter_map(|kept| plan.find(&kept.package)) {
            self.packages[id.0 as usize].degraded = true;
        }
        let whole: Vec<Arc<str>> = whole.iter().map(|kept| Arc::clone(&kept.package)).collect();
        self.decide(plan, &whole, &[], &[], touched);
    }

    /// What there is of the package is good.
    pub(super) fn reuse(&mut self, plan: &Plan, id: PackageId) {
        self.set_package(plan, id, PackageState::Completed { reused: true });
        for task in plan.tasks_of(id) {
            self.set_task(plan, task, TaskState::Completed);
        }
    }

    /// If the package's next task waits for nothing but a slot, it is ready.
    pub(super) fn make_ready(&mut self, plan: &Plan, id: PackageId, touched: &mut Vec<PackageId>) {
        if self.package(id).state.is_final() {
            return;
        }
        if self.stands(id) {
            if self.waits[id.0 as usize] == 0 {
                self.kept.insert(id);
                touched.push(id);
            }
            return;
        }
        let Some(task) = self.next_task(plan, id) else { return };
        if plan.kind(task) == TaskKind::Fetch || self.waits_for_nothing(plan, id) {
            if self.task(task).state == TaskState::Blocked {
                self.set_task(plan, task, TaskState::Ready);
            }
            touched.push(id);
        }
    }

    /// The package's current task is behind it.
    pub(super) fn move_on(&mut self, plan: &Plan, id: PackageId, touched: &mut Vec<PackageId>) {
        loop {
            self.packages[id.0 as usize].cursor += 1;
            // A check that is behind the package, failed or not, is not done again for a restored directory.
            match self.next_task(plan, id).map(|t| self.task(t).state) {
                Some(TaskState::Completed | TaskState::Failed) => {}
                Some(
                    TaskState::Blocked
                    | TaskState::Ready
                    | TaskState::Running { .. }
                    | TaskState::Backoff { .. }
                    | TaskState::Skipped,
                ) => break,
                None => {
                    touched.push(id);
                    return;
                }
            }
        }
        self.make_ready(plan, id, touched);
    }

    /// The work directory can no longer be trusted before `task`: what made it is done again.
    pub(super) fn rewind(&mut self, plan: &Plan, id: PackageId, task: TaskId, touched: &mut Vec<PackageId>) {
        if plan.kind(task).works() {
            let again: Vec<TaskId> =
                plan.tasks_of(id).filter(|t| *t <= task && plan.kind(*t).restores()).collect();
            for t in &again {
                match self.task(*t).state {
                    TaskState::Completed | TaskState::Ready => self.set_task(plan, *t, TaskState::Blocked),
                    TaskState::Blocked
                    | TaskState::Running { .. }
                    | TaskState::Backoff { .. }
                    | TaskState::Failed
                    | TaskState::Skipped => {}
                }
            }
            let first = again.first().copied().unwrap_or(task);
            // The failing task itself may have become ready before; it has to wait for those before it.
            if first != task && self.task(task).state == TaskState::Ready {
                self.set_task(plan, task, TaskState::Blocked);
            }
            self.packages[id.0 as usize].cursor = first.0 - plan.first_task[id.0 as usize];
        }
        self.make_ready(plan, id, touched);
    }

    /// A completed package is not there any more: what waits for it waits again.
    pub(super) fn reopen(&mut self, plan: &Plan, id: PackageId, archive: bool, touched: &mut Vec<PackageId>) {
        let completed = matches!(self.package(id).state, PackageState::Completed { .. });
        self.set_package(plan, id, PackageState::Pending);
        // What was kept without something optional cannot just be kept again.
        self.packages[id.0 as usize].degraded = false;
        for (index, task) in (0..).zip(plan.tasks_of(id)) {
            let merge = plan.kind(task) == TaskKind::Merge;
            if archive && !merge {
                continue;
            }
            if archive {
                self.packages[id.0 as usize].cursor = index;
            }
            // Merging again what was merged is no attempt of its own, building it again is.
            self.tasks[task.0 as usize].done = archive;
            self.tasks[task.0 as usize].failures = 0;
            self.set_task(plan, task, TaskState::Blocked);
        }
        if !archive {
            self.packages[id.0 as usize].cursor = 0;
        }
        let phase = &mut self.phases[plan.package(id).phase.0 as usize];
        if let PhaseState::Finished(_) = phase {
            *phase = PhaseState::Running;
        }
        if completed {
            self.unsettle(plan, id);
        }
        self.make_ready(plan, id, touched);
    }

    /// A person is needed before anything goes on here; those that wait go on waiting.
    pub(super) fn hold(&mut self, plan: &Plan, gate: u32) {
        let Some((id, task)) = self.gates.get(&gate).and_then(|gate| gate.subject(plan)) else { return };
        if !self.package(id).state.is_final() {
            self.recoveries.remove(&id);
            self.set_task(plan, task, TaskState::Failed);
            self.set_package(plan, id, PackageState::Failed);
        }
    }

    /// What a person goes on without, is not asked about again.
    pub(super) fn waive(&mut self, plan: &Plan, touched: &mut Vec<PackageId>) {
        let same =
            |(name, trial): (&Arc<str>, &u64)| plan.find(name).filter(|id| plan.package(*id).trial == *trial);
        let waived: Vec<PackageId> = self.waived.iter().filter_map(same).collect();
        for id in waived {
            if !self.package(id).state.is_final() {
                self.give_up(plan, id, PackageState::Skipped(Skip::Waived), touched);
            }
        }
    }

    /// What a person's answer changes.
    pub(super) fn answer(
        &mut self,
        plan: &Plan,
        gate: &Gate,
        answer: Answer,
        jobs: Option<u32>,
        touched: &mut Vec<PackageId>,
    ) {
        self.aborted |= answer == Answer::Abort;
        if answer == Answer::Skip {
            self.waived.extend(gate.package.clone().map(|package| (package, gate.trial)));
        }
        if self.digest != plan.digest {
            return;
        }
        let subject = gate.subject(plan).filter(|(id, _)| self.package(*id).state == PackageState::Failed);
        let skipped = PackageState::Skipped(Skip::Waived);
        match (answer, subject) {
            (Answer::Retry, Some((id, task))) => {
                self.packages[id.0 as usize].jobs_most = jobs.or(self.package(id).jobs_most);
                for task in plan.tasks_of(id) {
                    self.tasks[task.0 as usize].failures = 0;
                    self.evidence.remove(&task);
                }
                self.set_package(plan, id, PackageState::Pending);
                self.set_task(plan, task, TaskState::Blocked);
                if self.broken[id.0 as usize] {
                    // What it needs has failed since it was asked about.
                    let over = |other: &PackageId| {
                        matches!(self.package(*other).state, PackageState::Failed | PackageState::Skipped(_))
                    };
                    let because = plan.package(id).depends_on.iter().copied().find(over);
                    self.doomed.insert(id, because.unwrap_or(id));
                    touched.push(id);
                } else {
                    self.rewind(plan, id, task, touched);
                }
            }
            (Answer::Skip, Some((id, _))) => self.give_up(plan, id, skipped, touched),
            (Answer::Skip, None) if gate.package.is_none() => {
                let phase = plan.find_phase(&gate.phase);
                let packages = phase.map(|phase| plan.phase(phase).packages.clone());
                for id in packages.into_iter().flatten() {
                    if !self.package(id).state.is_final() {
                        let package = plan.package(id);
                        self.waived.insert(Arc::clone(&package.name), package.trial);
                        self.give_up(plan, id, skipped, touched);
                    }
                }
            }
            (Answer::Retry | Answer::Skip | Answer::Abort, _) => {}
        }
    }

    /// The package ends without being complete.
    pub(super) fn give_up(
        &mut self,
        plan: &Plan,
        id: PackageId,
        to: PackageState,
        touched: &mut Vec<PackageId>,
    ) {
        self.doomed.remove(&id);
        self.recoveries.remove(&id);
        self.set_package(plan, id, to);
        for task in plan.tasks_of(id) {
            match self.task(task).state {
                TaskState::Blocked | TaskState::Ready | TaskState::Backoff { .. } => {
                    self.set_task(plan, task, TaskState::Skipped);
                }
                // A fetch may still be under way; what it says then changes no package.
                TaskState::Running { .. } | TaskState::Completed | TaskState::Failed | TaskState::Skipped => {
                }
            }
        }
        self.settle(plan, id, false, touched);
    }

    /// Who was told that the waiting for a package is over waits again, unless it has ended.
    pub(super) fn unsettle(&mut self, plan: &Plan, id: PackageId) {
        let mut news = vec![NodeId(id.0)];
        while let Some(node) = news.pop() {
            for waiter in &plan.waiters[node.0 as usize] {
                let waits = &mut self.waits[waiter.node.0 as usize];
                *waits += 1;
                let first = *waits == 1;
                match plan.as_package(waiter.node) {
                    Some(package) => self.hold_back(plan, package),
                    None if first => news.push(waiter.node),
                    None => {}
                }
            }
        }
    }

    /// What was ready has to wait again.
    pub(super) fn hold_back(&mut self, plan: &Plan, id: PackageId) {
        if let Some(task) = self.next_task(plan, id)
            && plan.kind(task) != TaskKind::Fetch
            && self.task(task).state == TaskState::Ready
        {
            self.set_task(plan, task, TaskState::Blocked);
        }
    }

    /// Tells all who wait for a package that the waiting is over, one way or the other.
    pub(super) fn settle(&mut self, plan: &Plan, id: PackageId, good: bool, touched: &mut Vec<PackageId>) {
        let mut news = vec![(NodeId(id.0), good)];
        while let Some((node, good)) = news.pop() {
            let degraded = self.degraded[node.0 as usize];
            for waiter in &plan.waiters[node.0 as usize] {
                let at = waiter.node.0 as usize;
                self.waits[at] -= 1;
                self.degraded[at] |= degraded || !good;
                self.broken[at] |= !good && waiter.required;
                match plan.as_package(waiter.node) {
                    Some(package) if self.package(package).state.is_final() => {}
                    Some(package) if self.broken[at] && !self.package(package).degraded => {
                        self.doomed.entry(package).or_insert(id);
                        touched.push(package);
                    }
                    Some(package) => self.make_ready(plan, package, touched),
                    None if self.waits[at] == 0 => news.push((waiter.node, !self.broken[at])),
                    None => {}
                }
            }
        }
    }
}
