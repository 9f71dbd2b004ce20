//! Packages in which something failed during the current run.
//!
//! Owns: the escalation level of each: 0 recovered, 1 after the first failure, 2 when failed attempts reach
//! `escalation_threshold` or none is left, 3 while a gate is open. When a person has answered `retry` it is 1 and attempts count
//! anew: somebody knows of it, and has done something.
//!
//! A failed `check` that its recipe allows is counted as an error, and escalates nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::document::GateReason;
use crate::failure::{Category, Failure};
use crate::plan::TaskKind;

/// A package in which something failed.
#[derive(Debug, Clone, PartialEq)]
pub struct FailedPackage {
    /// Its phase.
    pub phase: Arc<str>,
    /// The package.
    pub package: Arc<str>,
    /// The task that failed last.
    pub task: TaskKind,
    /// Its last attempt, 1-based.
    pub attempt: u32,
    /// The last failure.
    pub failure: Failure,
    /// Failed attempts since the package was last well.
    pub failures: u32,
    /// Those of them that a person has answered.
    pub answered: u32,
    /// 0 none or recovered, 1, 2, 3.
    pub level: u8,
    /// The gate that is open for it, and why.
    pub gate: Option<(u32, GateReason)>,
    /// When it failed first in this run, nanoseconds since 1970.
    pub since: i64,
    /// When the level last changed, nanoseconds since 1970.
    pub changed: i64,
    /// It has spent its attempts.
    pub over: bool,
}

/// All of them, in the order in which they failed first.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Failures {
    list: Vec<FailedPackage>,
    by_name: BTreeMap<Arc<str>, usize>,
}

/// A failed attempt.
#[derive(Debug)]
pub struct Failed<'a> {
    /// Phase of the package.
    pub phase: &'a Arc<str>,
    /// The package.
    pub package: &'a Arc<str>,
    /// The task.
    pub task: TaskKind,
    /// Which attempt.
    pub attempt: u32,
    /// Why.
    pub failure: &'a Failure,
}

impl Failures {
    /// In the order in which they failed first.
    pub fn list(&self) -> &[FailedPackage] {
        &self.list
    }

    /// The one of this name.
    pub fn find(&self, package: &str) -> Option<&FailedPackage> {
        self.by_name.get(package).map(|at| &self.list[*at])
    }

    /// Highest level of any.
    pub fn level(&self) -> u8 {
        self.list.iter().map(|failed| failed.level).max().unwrap_or(0)
    }

    /// An attempt failed. Returns the package's level if that has risen.
    pub fn failed(&mut self, failed: &Failed<'_>, threshold: u32, wall: i64) -> Option<u8> {
        let at = *self.by_name.entry(Arc::clone(failed.package)).or_insert_with(|| {
            self.list.push(FailedPackage {
                phase: Arc::clone(failed.phase),
                package: Arc::clone(failed.package),
                task: failed.task,
                attempt: failed.attempt,
                failure: failed.failure.clone(),
                failures: 0,
                answered: 0,
                level: 0,
                gate: None,
                since: wall,
                changed: wall,
                over: false,
            });
            self.list.len() - 1
        });
        let entry = &mut self.list[at];
        entry.task = failed.task;
        entry.attempt = failed.attempt;
        entry.failure = failed.failure.clone();
        entry.failures += 1;
        let level = if entry.failures - entry.answered >= threshold { 2 } else { 1 };
        entry.set_level(level, wall).then_some(level)
    }

    /// A task succeeded; if it is the one that had failed, its package is well again.
    pub fn succeeded(&mut self, package: &str, task: TaskKind, wall: i64) {
        if let Some(entry) = self.find_mut(package).filter(|entry| entry.task == task) {
            entry.recover(wall);
        }
    }

    /// A package is complete.
    pub fn completed(&mut self, package: &str, wall: i64) {
        if let Some(entry) = self.find_mut(package) {
            entry.recover(wall);
        }
    }

    /// A package is given up: its attempts are spent, or a person has said so. Returns its level if that has risen.
    pub fn spent(&mut self, package: &str, wall: i64) -> Option<u8> {
        let entry = self.find_mut(package)?;
        entry.over = true;
        entry.set_level(2, wall).then_some(2)
    }

    /// A person is asked. What failed in an earlier run of the ledger may not be known here.
    pub fn gate_opened(
        &mut self,
        phase: &Arc<str>,
        package: &Arc<str>,
        task: TaskKind,
        gate: (u32, GateReason),
        wall: i64,
    ) {
        if self.find(package).is_none() {
            let failure = &Failure::fact(Category::CompilationFailure, "kiln", "a person is needed");
            self.failed(&Failed { phase, package, task, attempt: 1, failure }, u32::MAX, wall);
        }
        if let Some(entry) = self.find_mut(package) {
            entry.gate = Some(gate);
            entry.over = true;
            entry.set_level(3, wall);
        }
    }

    /// A gate is answered or has closed; the package that it was about.
    pub fn gate_ended(&mut self, gate: u32, wall: i64) -> Option<Arc<str>> {
        let entry =
            self.list.iter_mut().find(|entry| entry.gate.is_some_and(|(number, _)| number == gate))?;
        entry.gate = None;
        entry.over = false;
        entry.answered = entry.failures;
        entry.set_level(1, wall);
        Some(Arc::clone(&entry.package))
    }

    /// The run is over: nobody is asked any more.
    pub fn end_gates(&mut self, wall: i64) {
        for entry in self.list.iter_mut().filter(|entry| entry.gate.is_some()) {
            entry.gate = None;
            entry.set_level(2, wall);
        }
    }

    /// Packages are decided again, and have all their attempts again; what a person is asked stays asked.
    pub fn afresh(&mut self, wall: i64) {
        for entry in self.list.iter_mut().filter(|entry| entry.gate.is_none()) {
            entry.recover(wall);
        }
    }

    fn find_mut(&mut self, package: &str) -> Option<&mut FailedPackage> {
        self.by_name.get(package).map(|at| &mut self.list[*at])
    }
}

impl FailedPackage {
    /// What went wrong last.
    pub fn category(&self) -> Category {
        self.failure.category
    }

    fn recover(&mut self, wall: i64) {
        (self.failures, self.answered) = (0, 0);
        self.over = false;
        self.set_level(0, wall);
    }

    /// Whether that is a higher one than before.
    fn set_level(&mut self, level: u8, wall: i64) -> bool {
        let before = std::mem::replace(&mut self.level, level);
        if before != level {
            self.changed = wall;
        }
        before < level
    }
}
