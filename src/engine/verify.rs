//! Before a package's first script: are its strict dependencies what they should be?
//!
//! Owns: what is asked, and what follows from the answer. Does not know: how files are looked at.
//!
//! Nothing of ours changes the sysroot while it is looked at: the merges' only slot is taken. A dependency that is damaged
//! fails the attempt (`broken_dependency`) and is merged again from its archive or, where that is damaged, too, built again,
//! and whatever needs it waits for that; the next attempt looks again.

use std::borrow::Cow;
use std::sync::Arc;

use crate::failure::{Category, Failure};
use crate::plan::{PackageId, Strict, TaskId, TaskKind};
use crate::words::count;

use super::message::{Damaged, Effect, Findings, Record, Time, Usage};
use super::state::PackageState;
use super::{EndReason, Engine};

impl Engine {
    /// Whether something must be looked at before this task begins.
    pub(super) fn looks(&self, task: TaskId) -> bool {
        let mut strict = self.verified_before(task).into_iter().flat_map(|id| self.plan.each_strict(id));
        strict.any(|dependency| self.has_files(dependency.package))
    }

    /// The package whose dependencies must be verified before this task: its own, if it is the first script of that.
    fn verified_before(&self, task: TaskId) -> Option<PackageId> {
        let id = self.plan.package_of(task);
        let first = self.plan.package(id).tasks.iter().find(|kind| kind.is_script());
        (self.verifies && first == Some(&self.plan.kind(task))).then_some(id)
    }

    /// The dependencies that must be verified before this task.
    fn strict(&self, task: TaskId) -> Cow<'_, [Strict]> {
        self.verified_before(task).map_or_else(Cow::default, |id| self.plan.strict(id))
    }

    /// Whether the package is there, in the sysroot.
    pub(super) fn has_files(&self, id: PackageId) -> bool {
        let completed = matches!(self.state.package(id).state, PackageState::Completed { .. });
        completed && self.plan.task(id, TaskKind::Merge).is_some()
    }

    /// Begins to verify what a task depends on, if there is anything. False: nothing is in its way.
    pub(super) fn verify(&mut self, now: Time, task: TaskId, out: &mut Vec<Effect>) -> bool {
        if let Some(failure) = self.known_to_be_broken(task) {
            self.at_once += 1;
            self.give_back(now, task, failure, out);
            return true;
        }
        let strict = self.strict(task);
        let strict = strict.iter().map(|dependency| dependency.package);
        let packages: Vec<PackageId> = strict.filter(|id| self.has_files(*id)).collect();
        let Some(running) = self.running.get_mut(&task).filter(|_| !packages.is_empty()) else {
            return false;
        };
        running.verifying = true;
        self.queues.occupy_sysroot(&self.plan, task);
        out.push(Effect::Verify { task, packages });
        true
    }

    /// What need not be looked at.
    fn known_to_be_broken(&self, task: TaskId) -> Option<Failure> {
        let accepts = self.plan.package(self.plan.package_of(task)).accept_failed_check;
        for Strict { package, .. } in &*self.strict(task) {
            let dependency = self.state.package(*package);
            let name = self.name(*package);
            match dependency.state {
                PackageState::Completed { .. } if dependency.check_failed && !accepts => {
                    let text = format!("the `check` of `{name}`, which it needs at `strict`, failed");
                    let hint = format!(
                        "mend `{name}`, or say `accept_failed_check: true` in the recipe that needs it; `kiln run --force {name}` \
                         builds it again"
                    );
                    return Some(broken(text).hint(hint).pointless_to_retry());
                }
                PackageState::Completed { .. }
                | PackageState::Failed
                | PackageState::Pending
                | PackageState::Running
                | PackageState::Skipped(_) => {}
            }
        }
        None
    }

    /// What a task waited for has been looked at.
    pub(super) fn verified(
        &mut self,
        now: Time,
        task: TaskId,
        findings: Result<Findings, Failure>,
        out: &mut Vec<Effect>,
    ) {
        if self.looked_below(now, task, &findings, out) {
            return;
        }
        let Some(running) = self.running.get_mut(&task).filter(|running| running.verifying) else { return };
        running.verifying = false;
        let ending = running.ending;
        self.release_sysroot(now, task);
        let failure = match findings {
            Ok(findings) => {
                self.note_findings(now, &findings, out);
                self.damage(&findings.damaged)
            }
            Err(failure) => Some(failure),
        };
        match (ending, failure) {
            (Some(EndReason::Closing | EndReason::TooLong(_) | EndReason::Silent(_)), _) => {
                self.interrupted(now, task, out);
            }
            // A checkpoint has found something of it damaged meanwhile: it waits for that again.
            (None, None) if !self.state.is_next(self.plan.package_of(task)) => {
                self.interrupted(now, task, out);
            }
            (None, None) => self.launch(now, task, out),
            (None, Some(failure)) => self.give_back(now, task, failure, out),
        }
    }

    /// What was read is known to be right; what is damaged is not there any more.
    pub(super) fn note_findings(&mut self, now: Time, findings: &Findings, out: &mut Vec<Effect>) {
        if !findings.read.is_empty() {
            let packages = findings.read.iter().map(|id| self.name(*id)).collect();
            self.record(now, Record::Verified { packages, at: findings.at }, out);
        }
        // What a checkpoint has found damaged meanwhile is being put right.
        let known = |damaged: &&Damaged| self.has_files(damaged.package);
        let damaged: Vec<Damaged> = findings.damaged.iter().filter(known).cloned().collect();
        for damaged in &damaged {
            self.note_damage(now, damaged, out);
        }
    }

    /// A completed package is not there any more.
    pub(super) fn note_damage(&mut self, now: Time, damaged: &Damaged, out: &mut Vec<Effect>) {
        let id = damaged.package;
        let record = Record::PackageDamaged {
            phase: Arc::clone(&self.plan.phase(self.plan.package(id).phase).key),
            package: self.name(id),
            path: Arc::clone(&damaged.path),
            what: Arc::clone(&damaged.what),
            archive: damaged.archive,
        };
        self.record(now, record, out);
    }

    /// A task that was started, and cannot be run, has failed.
    fn give_back(&mut self, now: Time, task: TaskId, failure: Failure, out: &mut Vec<Effect>) {
        let Some(running) = self.running.remove(&task) else { return };
        self.release(now, task);
        self.failed(now, task, running, failure, Usage::default(), out);
    }

    fn damage(&self, damaged: &[Damaged]) -> Option<Failure> {
        let worst = damaged.iter().find(|damaged| !damaged.archive).or(damaged.first())?;
        let Damaged { package, path, what, others, archive } = worst;
        let name = self.name(*package);
        let more = if *others > 0 { format!(", and {}", count(*others, "more path")) } else { String::new() };
        let also = match damaged.len() - 1 {
            0 => String::new(),
            more => format!("; {} as well", count(more as u64, "other dependency")),
        };
        let archive_too = if *archive { "" } else { ", and its archive is damaged, too" };
        let text = format!(
            "`{name}`, which it needs, is damaged in the sysroot: `{path}` {what}{more}{archive_too}{also}"
        );
        let how = if *archive { "merged again from its archive" } else { "built again" };
        let hint = format!("`{name}` is {how}; nothing but kiln may write into the sysroot");
        Some(broken(text).hint(hint))
    }
}

fn broken(text: String) -> Failure {
    Failure::fact(Category::BrokenDependency, "kiln", text)
}
