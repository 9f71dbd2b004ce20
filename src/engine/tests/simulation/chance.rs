//! What happens to a random run by chance: damage, failures, what is found, what a person answers.
//!
//! Does not know: what the engine should make of it (`simulation`).

use std::collections::BTreeSet;

use crate::engine::message::{
    ANSWERS, Acted, ActionResult, Answer, Answered, Damaged, Event, Findings, Outcome, Record, Start, Then,
};
use crate::engine::state::PackageState;
use crate::failure::{Category, Failure};
use crate::plan::{PackageId, TaskKind};

use super::World;

impl World {
    /// One package, and everything that it needs or may use.
    pub(super) fn select(&mut self) {
        let mut selection = BTreeSet::new();
        let all = u64::try_from(self.plan.packages.len()).unwrap();
        let mut stack = vec![PackageId(u32::try_from(self.random.below(all)).unwrap())];
        while let Some(id) = stack.pop() {
            if selection.insert(id) {
                stack.extend(&self.plan.package(id).depends_on);
            }
        }
        self.selection = Some(selection);
    }

    /// Sometimes something is gone at the next start.
    pub(super) fn damage(&mut self) {
        if self.random.chance(20) {
            self.work.clear();
        }
        if self.random.chance(10)
            && let Some(id) = self.archives.pop_first()
        {
            self.merged.remove(&id);
        }
    }

    /// Sometimes somebody writes into the sysroot, and seldom into the archive as well.
    pub(super) fn intrude(&mut self) {
        if self.damage_left == 0 || !self.random.chance(10) || self.merged.is_empty() {
            return;
        }
        let which = usize::try_from(self.random.below(self.merged.len() as u64)).unwrap();
        let id = *self.merged.iter().nth(which).unwrap();
        self.damage_left -= 1;
        self.damaged.insert(id);
        // An archive that is about to be merged is looked at by the merge, which is no matter of the engine's.
        let completed = matches!(self.engine.state().package(id).state, PackageState::Completed { .. });
        let idle = completed && !self.told.contains(&id);
        if idle && self.random.chance(20) {
            self.archives.remove(&id);
        }
        self.trace.push(format!("{} damaged: {}", self.now, self.plan.package(id).name));
    }

    pub(super) fn findings(&mut self, packages: &[PackageId]) -> Result<Findings, Failure> {
        if self.failures_left > 0 && self.random.chance(3) {
            self.failures_left -= 1;
            return Err(Failure::fact(Category::DiskSpace, "test", "it cannot be read"));
        }
        let mut findings = Findings::default();
        for &package in packages {
            assert!(self.merged.contains(&package), "what is not there is looked at");
            if self.damaged.contains(&package) {
                let archive = self.archives.contains(&package);
                let (path, what) = ("x".into(), "is missing".into());
                findings.damaged.push(Damaged { package, path, what, others: 0, archive });
            } else if self.random.chance(50) {
                findings.read.push(package);
            }
        }
        Ok(findings)
    }

    pub(super) fn answered(&mut self, gate: u32) -> Answered {
        // Without failures to come, whoever says `retry` is done with it.
        let answer = if self.random.chance(70) {
            Answer::Retry
        } else {
            ANSWERS[usize::try_from(self.random.below(3)).unwrap()]
        };
        let jobs = self.random.chance(20).then_some(1);
        Answered { gate, answer, jobs, by: "ann".into(), note: "".into() }
    }

    /// A person answers while no kiln runs, or starts it again without an answer.
    pub(super) fn answer_at_rest(&mut self) {
        let gate = *self.replayed.gates.first_key_value().unwrap().0;
        if self.random.chance(80) {
            let answered = self.answered(gate);
            for record in self.replayed.answer_at_rest(&self.plan, answered) {
                self.trace.push(format!("{} at rest: {record:?}", self.now));
                self.observe(&record);
                self.ledger.push((self.now, record));
            }
        }
    }

    pub(super) fn acted(&mut self) -> Acted {
        let result = [ActionResult::Done, ActionResult::NothingToDo, ActionResult::Failed]
            [usize::try_from(self.random.below(3)).unwrap()];
        let then = match self.random.below(20) {
            0 => Then::Pointless,
            1 => Then::Person,
            _ => Then::GoOn,
        };
        Acted { result, examined: "it".into(), then }
    }

    pub(super) fn outcome(&mut self, start: Start) -> Outcome {
        if self.failures_left > 0 && self.random.chance(25) {
            self.failures_left -= 1;
            let category = [Category::CompilationFailure, Category::SecurityViolation]
                [usize::from(self.random.chance(10))];
            return Outcome::Failure(Failure::fact(category, "test", "it broke"));
        }
        if start.kind.works() {
            let tasks = &self.plan.package(start.package).tasks;
            let position = tasks.iter().filter(|k| k.works()).position(|k| *k == start.kind).unwrap();
            self.work.insert(start.package, position + 1);
        }
        if start.kind == TaskKind::Install && !start.degraded {
            self.archives.insert(start.package);
        }
        if start.kind == TaskKind::Install && start.degraded {
            self.archives.insert(start.package); // under a name of its own; good for this run's merge
        }
        if start.kind == TaskKind::Merge {
            self.merged.insert(start.package);
            self.damaged.remove(&start.package);
        }
        Outcome::Success
    }

    /// A checkpoint ends: it may fail, or find what somebody has damaged.
    pub(super) fn end_checkpoint(&mut self) {
        let Some((number, mut covered, end)) = self.checkpoint.take() else { return };
        self.now = self.now.max(end);
        if self.failures_left > 0 && self.random.chance(10) {
            self.failures_left -= 1;
            return self.turn(Event::Checkpointed { number, result: Err("the disk is full".into()) });
        }
        for name in &covered.packages {
            let package = self.plan.find(name).unwrap();
            // What is being merged anew is left out.
            if self.damaged.contains(&package) && self.merged.contains(&package) {
                let archive = self.archives.contains(&package);
                let (path, what) = ("x".into(), "is missing".into());
                covered.damaged.push(Damaged { package, path, what, others: 0, archive });
            }
        }
        self.turn(Event::Checkpointed { number, result: Ok(covered) });
    }

    pub(super) fn observe_checkpoint(&mut self, record: &Record) {
        if let Record::PackageCompleted { package, .. } | Record::PackageDamaged { package, .. } = record {
            self.uncovered.insert(self.plan.find(package).unwrap());
        } else if let Record::CheckpointFailed { .. } = record {
            self.last_failed = true;
        } else if let Record::CheckpointTaken { packages, .. } = record {
            self.last_failed = false;
            for id in packages.iter().map(|name| self.plan.find(name).unwrap()) {
                let completed = matches!(self.replayed.package(id).state, PackageState::Completed { .. });
                assert!(self.refolding || completed, "{id:?} is covered, and is not complete");
                self.uncovered.remove(&id);
            }
        }
    }
}
