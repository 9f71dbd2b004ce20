//! The simulation's own books: what records say of packages and tasks, reckoned apart from the engine.
//!
//! Does not know: what the engine decides; it is held against this.

use crate::config::document::Method;
use crate::engine::message::Record;
use crate::engine::state::{State, TaskState};
use crate::plan::{TaskId, TaskKind};

use super::World;

impl World {
    pub(super) fn observe(&mut self, record: &Record) {
        self.observe_checkpoint(record);
        if let Record::RunStarted { .. } | Record::RunResumed { afresh: true, .. } = record {
            self.begun.clear();
            self.succeeded.clear();
            self.told.clear();
        } else if let Record::PackageCompleted { package, degraded, .. } = record {
            // What was built without something optional is not taken for the whole thing later.
            let kind = if *degraded { &mut self.degraded } else { &mut self.completed };
            kind.insert(self.plan.find(package).unwrap());
        } else if let Record::PackageKept { package } = record {
            let id = self.plan.find(package).unwrap();
            assert!(self.degraded.contains(&id), "{package} is kept, but was never completed");
        } else if let Record::TaskFinished { package, task, .. } = record {
            let id = self.plan.find(package).unwrap();
            if *task == TaskKind::Merge {
                self.told.remove(&id);
            }
            self.succeeded.insert(self.plan.task(id, *task).unwrap());
            if *task == TaskKind::Check {
                self.failed_checks.remove(&id);
            }
        } else if let Record::TaskFailed { package, tolerated: true, .. } = record {
            self.failed_checks.insert(self.plan.find(package).unwrap());
        } else if let Record::PackageDamaged { package, archive: true, .. } = record {
            self.told.insert(self.plan.find(package).unwrap());
        } else if let Record::PackageDamaged { package, .. } = record {
            // It is built again, whole.
            let id = self.plan.find(package).unwrap();
            self.told.remove(&id);
            for task in self.plan.tasks_of(id) {
                self.succeeded.remove(&task);
            }
        } else if let Record::TaskStarted { package, task: TaskKind::Merge, restore: true, .. } = record {
            let id = self.plan.find(package).unwrap();
            assert!(self.told.contains(&id), "{package} is merged again although it is not damaged");
        } else if let Record::TaskStarted { package, task, attempt, restore, .. } = record {
            let id = self.plan.find(package).unwrap();
            if task.works() {
                self.degraded.remove(&id); // it is being built again
            }
            let task = self.plan.task(id, *task).unwrap();
            if self.plan.document.dependency_tracking.dependency_resolution.method == Method::Dynamic
                && !self.refolding
            {
                self.check_memory(task);
            }
            assert!(*restore || self.begun.insert((task, *attempt)), "attempt {attempt} of {task:?} twice");
            assert_eq!(
                *restore,
                self.succeeded.contains(&task),
                "{package}: a task runs twice exactly to restore a work directory"
            );
        }
    }

    /// Nothing begins beside others for which there is no memory. (Those that began before are in the replayed state.)
    fn check_memory(&self, task: TaskId) {
        let (expected, state) = (&self.memory, &self.replayed);
        let needed = expected[task.0 as usize];
        let runs = |id: &TaskId| matches!(state.task(*id).state, TaskState::Running { .. });
        let all = (0..u32::try_from(expected.len()).unwrap()).map(TaskId);
        let beside: Vec<u64> = all
            .filter(|id| runs(id) && self.plan.kind(*id).works())
            .map(|id| expected[id.0 as usize])
            .collect();
        if needed > 0 && !beside.is_empty() {
            let promised: u64 = beside.iter().sum();
            assert!(needed + promised <= self.most, "{needed} and {promised} of {}", self.most);
            assert!(
                self.available.is_some_and(|available| needed <= available),
                "{needed}: {:?}",
                self.available
            );
        }
    }

    /// The power is cut: of what was recorded since the ledger was last synced only a beginning is there, of what was packed
    /// and not recorded perhaps nothing, and of what was merged since the last checkpoint perhaps nothing that is right.
    pub(super) fn cut_power(&mut self) {
        let left = usize::try_from(self.random.below(self.commits.len() as u64)).unwrap();
        self.commits.truncate(left + 1);
        let lost = self.ledger.len() - self.commits[left];
        self.ledger.truncate(self.commits[left]);
        self.trace.push(format!("{} power cut: {lost} records lost", self.now));
        self.completed.clear();
        self.degraded.clear();
        self.failed_checks.clear();
        self.begun.clear();
        self.succeeded.clear();
        self.told.clear();
        self.uncovered.clear();
        self.replayed = State::new(&self.plan);
        self.refolding = true;
        for (at, record) in self.ledger.clone() {
            self.observe(&record);
            self.replayed.apply(&self.plan, at, &record, &mut Vec::new());
        }
        self.refolding = false;
        for id in self.plan.package_ids() {
            let name = &self.plan.package(id).name;
            let recorded = self.completed.contains(&id) || self.degraded.contains(&id);
            if !recorded && self.random.chance(50) {
                self.archives.remove(&id);
                self.merged.remove(&id);
            }
            let covered = recorded && !self.replayed.coverage.uncovered.contains(name);
            if !covered && self.merged.contains(&id) && self.random.chance(50) {
                self.damaged.insert(id);
            }
        }
        // Nobody can say what of the tasks of whose records was done in them.
        self.work.clear();
    }
}
