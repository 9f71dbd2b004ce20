//! Between a failed attempt and the next: the procedure of its class, step by step.
//!
//! Owns: which actions, in which order, and what follows from what came of them. Does not know: how an action is done
//! (`driver::recover`).
//!
//! The sysroot is looked at for `verify_dependencies` and `rebuild_dependencies` as for strict dependencies (`verify`):
//! nothing of ours changes it meanwhile, and what is found damaged is merged or built again before whatever needs it begins.

use std::time::Duration;

use crate::config::document::{Document, RecoveryAction};
use crate::failure::{Category, Class, Failure};
use crate::plan::{PackageId, TaskId, TaskKind};
use crate::words::count;

use super::Engine;
use super::message::{Act, Acted, ActionResult, Damaged, Effect, Findings, Record, Then, Time};

/// So many packages' failures are looked into at once: when the network is gone, a hundred may have failed.
const AT_ONCE_MOST: usize = 4;

/// What is being done about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recovery {
    /// The task that failed.
    pub task: TaskKind,
    /// Which attempt of it.
    pub attempt: u32,
    /// Of what kind.
    pub category: Category,
    /// How many actions of the procedure are behind it.
    pub step: u32,
}

/// The actions that a failure of this category asks for. A violation of security asks for a person.
pub fn procedure(document: &Document, category: Category) -> &[RecoveryAction] {
    let procedures = &document.recovery_procedures;
    match category.class() {
        Class::Build => &procedures.build_failure,
        Class::Dependency => &procedures.dependency_failure,
        Class::System => &procedures.system_failure,
        Class::Security => &[],
    }
}

impl Recovery {
    /// The action that comes next.
    pub fn next(&self, document: &Document) -> Option<RecoveryAction> {
        procedure(document, self.category).get(self.step as usize).copied()
    }
}

/// An action that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Acting {
    since: Time,
    /// The files of what it depends on are being looked at, for this task.
    looking: Option<TaskId>,
}

impl Engine {
    /// Begins what can be begun of what is to be done about failures.
    pub(super) fn recover(&mut self, now: Time, out: &mut Vec<Effect>) {
        let mut waiting: Vec<PackageId> = self.state.recoveries.keys().copied().collect();
        waiting.retain(|id| !self.acting.contains_key(id));
        for id in waiting {
            while self.acting.len() < AT_ONCE_MOST && self.act(now, id, out) {}
        }
    }

    /// Begins the next action for a package; true if it has ended already.
    fn act(&mut self, now: Time, id: PackageId, out: &mut Vec<Effect>) -> bool {
        use RecoveryAction as A;
        let Some(recovery) = self.state.recoveries.get(&id).copied() else { return false };
        let Some(action) = recovery.next(&self.plan.document) else { return false };
        let at_once =
            |result, examined: String| Acted { result, examined: examined.into(), then: Then::GoOn };
        let replaced = self.plan.document.recovery_actions.contains_key(&action);
        let acted = if !self.verifies {
            // Who only estimates takes it that nothing is wrong.
            at_once(ActionResult::NothingToDo, String::new())
        } else if !replaced && action == A::RetryBuild {
            at_once(ActionResult::Done, self.next_attempt(now, id, recovery))
        } else if !replaced && [A::VerifyDependencies, A::RebuildDependencies].contains(&action) {
            let packages = self.there_below(id);
            if !packages.is_empty() {
                self.look_below(now, id, recovery, packages, out);
                return false;
            }
            at_once(ActionResult::NothingToDo, "nothing that it needs is in the sysroot".to_owned())
        } else {
            self.acting.insert(id, Acting { since: now, looking: None });
            let Recovery { task, attempt, category, .. } = recovery;
            out.push(Effect::Act(Act { package: id, task, attempt, category, action }));
            return false;
        };
        self.note(now, id, acted, now, out);
        true
    }

    fn next_attempt(&self, now: Time, id: PackageId, recovery: Recovery) -> String {
        let most = self.plan.document.error_recovery.automatic_recovery.max_attempts;
        let in_ = self.state.held_until(&self.plan, id).map_or(Duration::ZERO, |until| until.since(now));
        let failures =
            self.plan.task(id, recovery.task).map_or(recovery.attempt, |task| self.state.task(task).failures);
        let jobs = match self.state.package(id).jobs_most {
            Some(jobs) => format!(", with at most {}", count(u64::from(jobs), "job")),
            None => String::new(),
        };
        let left = most.saturating_sub(failures);
        format!("it is tried again in {} s, {} left{jobs}", in_.as_secs(), count(left, "attempt"))
    }

    /// What a package needs, directly or not, that is in the sysroot.
    fn there_below(&self, id: PackageId) -> Vec<PackageId> {
        self.plan.below(id).into_iter().filter(|package| self.has_files(*package)).collect()
    }

    fn look_below(
        &mut self,
        now: Time,
        id: PackageId,
        recovery: Recovery,
        packages: Vec<PackageId>,
        out: &mut Vec<Effect>,
    ) {
        // Somebody changes or looks at the sysroot: when that has ended, this is tried again.
        if self.queues.sysroot_is_busy() {
            return;
        }
        let Some(task) = self.plan.task(id, recovery.task) else { return };
        self.queues.hold_sysroot();
        self.acting.insert(id, Acting { since: now, looking: Some(task) });
        out.push(Effect::Verify { task, packages });
    }

    /// What a recovery action waited for has been looked at. False: it was not for one.
    pub(super) fn looked_below(
        &mut self,
        now: Time,
        task: TaskId,
        findings: &Result<Findings, Failure>,
        out: &mut Vec<Effect>,
    ) -> bool {
        let id = self.plan.package_of(task);
        let Some(Acting { since, looking }) = self.acting.get(&id).copied() else { return false };
        if looking != Some(task) {
            return false;
        }
        self.acting.remove(&id);
        self.queues.leave_sysroot();
        self.release_held(now);
        if self.closing.is_some() {
            return true;
        }
        let acted = match findings {
            Ok(findings) => {
                self.note_findings(now, findings, out);
                self.said_of(findings)
            }
            Err(failure) => Acted {
                result: ActionResult::Failed,
                examined: failure.evidence.text.as_str().into(),
                then: Then::GoOn,
            },
        };
        self.note(now, id, acted, since, out);
        true
    }

    fn said_of(&self, findings: &Findings) -> Acted {
        let again = |damaged: &Damaged| {
            let Damaged { package, path, what, archive, .. } = damaged;
            let how = if *archive { "merged again" } else { "its archive is damaged, too: built again" };
            format!("`{}`: `{path}` {what}; {how}", self.name(*package))
        };
        let (result, examined) = if findings.damaged.is_empty() {
            let text = "what it needs is in the sysroot as the manifests say".to_owned();
            (ActionResult::NothingToDo, text)
        } else {
            (ActionResult::Done, findings.damaged.iter().map(again).collect::<Vec<_>>().join("; "))
        };
        Acted { result, examined: examined.into(), then: Then::GoOn }
    }

    /// An action has ended.
    pub(super) fn acted(&mut self, now: Time, id: PackageId, acted: Acted, out: &mut Vec<Effect>) {
        let Some(Acting { since, .. }) = self.acting.remove(&id) else { return };
        // What was cut off is done again by whoever goes on with the run.
        if self.closing.is_none() {
            self.note(now, id, acted, since, out);
        }
    }

    fn note(&mut self, now: Time, id: PackageId, acted: Acted, since: Time, out: &mut Vec<Effect>) {
        // The package may have been skipped meanwhile.
        let Some(recovery) = self.state.recoveries.get(&id).copied() else { return };
        let Some(action) = recovery.next(&self.plan.document) else { return };
        let Recovery { task, attempt, category, .. } = recovery;
        let Acted { result, examined, then } = acted;
        let duration = u64::try_from(now.since(since).as_nanos()).unwrap_or(u64::MAX);
        let package = self.name(id);
        let record =
            Record::ActionFinished { package, task, attempt, action, result, examined, then, duration };
        self.record(now, record, out);
        match then {
            Then::GoOn => {}
            Then::Pointless | Then::Person => {
                self.give_up(now, id, task, category, then == Then::Person, out);
            }
        }
    }

    /// How long to wait before the next attempt: a network that was gone may be gone for a while.
    pub(super) fn pause(&self, failure: &Failure, failures: u32) -> Duration {
        let delay = self.plan.document.error_recovery.automatic_recovery.delay_between_attempts.0;
        let again = i32::try_from(failures).unwrap_or(i32::MAX).min(20) - 1;
        let times = if failure.category == Category::NetworkIssues { 2_f64.powi(again) } else { 1.0 };
        Duration::from_secs_f64((delay * times).min(1e9))
    }
}

/// With how many jobs the next attempt may run, if with fewer than this one had. Of what takes too long fewer jobs would make
/// more.
pub(super) fn fewer_jobs(failure: &Failure, jobs: u32) -> Option<u32> {
    let wants = [Category::MemoryAllocation, Category::ProcessLimits, Category::ResourceExhaustion];
    let for_want = wants.contains(&failure.category) && !failure.took_too_long();
    for_want.then(|| (jobs / 2).max(1))
}
