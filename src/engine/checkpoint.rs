//! When a checkpoint is taken, and what follows from it.
//!
//! Owns: what no checkpoint covers, when the next one is due, what its answer means. Does not know: how it is taken
//! (`driver::checkpoint`).
//!
//! Nothing waits for a checkpoint but the end of the run: tasks go on beside it, and what becomes due meanwhile is taken as one
//! when it has ended. What was completed, merged or damaged again while it was taken is not covered by it.
//!
//! Damage that is read back makes a package's files be merged again, or the package be built again; its completion makes the next
//! checkpoint due. A disk that damages everything would have that go on for ever: a package that was found damaged
//! `max_attempts` times calls for no further checkpoint in this run once one has failed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::config::document::CheckpointType;
use crate::plan::{PackageId, TaskKind};

use super::Engine;
use super::message::{Covered, Damaged, Effect, Record, Time};
use super::state::{PackageState, RunState};

/// What checkpoints cover, as the records of all runs say. Not reset by a new run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Packages that were completed and that no checkpoint covers yet. One that was damaged is among them, too: whatever covered
    /// it says nothing of what will be there.
    pub uncovered: BTreeSet<Arc<str>>,
    /// Number of the last one, taken or failed.
    pub last: u32,
    /// Number of the last one that was taken.
    pub taken: Option<u32>,
}

impl Coverage {
    /// One record more.
    pub(super) fn fold(&mut self, record: &Record) {
        if let Record::PackageCompleted { package, .. } | Record::PackageDamaged { package, .. } = record {
            self.uncovered.insert(Arc::clone(package));
        } else if let Record::PackageRemoved { package } = record {
            self.uncovered.remove(package);
        } else if let Record::Restored { checkpoint, .. } = record {
            self.uncovered.clear();
            self.last = self.last.max(*checkpoint);
            self.taken = (*checkpoint > 0).then_some(*checkpoint);
        } else if let Record::CheckpointFailed { checkpoint, .. } = record {
            self.last = *checkpoint;
        } else if let Record::CheckpointTaken { checkpoint, packages, .. } = record {
            self.last = *checkpoint;
            self.taken = Some(*checkpoint);
            for package in packages {
                self.uncovered.remove(package);
            }
        }
    }
}

/// One that is under way.
#[derive(Debug, Clone)]
struct Taking {
    number: u32,
    since: Time,
    phase: Option<Arc<str>>,
    /// How many packages that no other covers it is about.
    count: usize,
    /// Completed again or damaged since it began.
    changed: BTreeSet<Arc<str>>,
    /// A package has written into the sysroot itself meanwhile: what was read there may be half of something.
    disturbed: bool,
}

/// What the engine knows of checkpoints beyond the records.
#[derive(Debug, Clone, Default)]
pub(super) struct Checkpoints {
    taking: Option<Taking>,
    due: bool,
    /// The phase that has ended since the last.
    phase: Option<Arc<str>>,
    /// A checkpoint of all that is uncovered has begun; if it failed, the next is due when there is more.
    tried: bool,
    /// The last one failed.
    failed: bool,
    /// How often packages were found damaged.
    damaged: BTreeMap<PackageId, u32>,
}

impl Checkpoints {
    /// None is under way.
    pub(super) fn are_idle(&self) -> bool {
        self.taking.is_none()
    }

    /// Nobody waits for the one that is under way.
    pub(super) fn abandon(&mut self) {
        self.taking = None;
    }

    /// A package begins to write into the sysroot itself.
    pub(super) fn disturb(&mut self) {
        if let Some(taking) = &mut self.taking {
            taking.disturbed = true;
        }
    }
}

impl Engine {
    /// What a record that has just been applied means for checkpoints.
    pub(super) fn note_for_checkpoints(&mut self, record: &Record) {
        if let Record::PackageCompleted { package, .. } | Record::PackageDamaged { package, .. } = record
            && let Some(taking) = &mut self.checkpoints.taking
        {
            taking.changed.insert(Arc::clone(package));
        }
        if let Record::PackageCompleted { package, .. } = record {
            let times = self.plan.find(package).and_then(|id| self.checkpoints.damaged.get(&id).copied());
            let most = self.plan.document.error_recovery.automatic_recovery.max_attempts;
            if !self.checkpoints.failed || times.is_none_or(|times| times < most) {
                self.checkpoints.tried = false;
                let under_way = self.checkpoints.taking.as_ref().map_or(0, |taking| taking.count);
                let new = self.state.coverage.uncovered.len().saturating_sub(under_way);
                let frequency = self.plan.document.progress_tracking.checkpoints.frequency as usize;
                self.checkpoints.due |= new >= frequency;
            }
        } else if let Record::PackageKept { .. } = record {
            // It was completed by an earlier run, and may not have been covered by that.
            self.checkpoints.tried = false;
        } else if let Record::PhaseFinished { phase, .. } = record {
            self.checkpoints.due = true;
            self.checkpoints.phase = Some(Arc::clone(phase));
        }
    }

    /// Begins a checkpoint if one is due, there is something to cover, and none is under way.
    pub(super) fn take_checkpoint(&mut self, now: Time, out: &mut Vec<Effect>) {
        if !self.checkpoints.due || !self.checkpoints.are_idle() || self.state.run != RunState::Running {
            return;
        }
        self.begin_checkpoint(now, out);
    }

    /// A person wants one, whether or not the run is paused.
    pub(super) fn ask_for_checkpoint(&mut self, now: Time, out: &mut Vec<Effect>) {
        if self.checkpoints.are_idle() && self.closing.is_none() {
            // Whoever asks may know why the last one failed.
            self.checkpoints.tried = false;
            self.begin_checkpoint(now, out);
        }
    }

    fn begin_checkpoint(&mut self, now: Time, out: &mut Vec<Effect>) {
        self.checkpoints.due = false;
        let phase = self.checkpoints.phase.take();
        if !self.has_uncovered() {
            return;
        }
        let rule = &self.plan.document.progress_tracking.checkpoints;
        // There is nothing that the first could be the increment of.
        let kind = if self.state.coverage.taken.is_some() { rule.kind } else { CheckpointType::Full };
        let number = self.state.coverage.last + 1;
        let complete = |name: &&Arc<str>| self.plan.find(name).is_some_and(|id| self.is_complete(id));
        let uncovered: Vec<_> =
            self.state.coverage.uncovered.iter().filter(complete).map(Arc::clone).collect();
        let count = uncovered.len();
        let packages = match kind {
            CheckpointType::Incremental => uncovered,
            CheckpointType::Full => {
                let complete = self.plan.package_ids().filter(|id| self.is_complete(*id));
                complete.map(|id| self.name(id)).collect()
            }
        };
        let writes = |task| {
            self.plan.kind(task) == TaskKind::Install && self.plan.package(self.plan.package_of(task)).direct
        };
        let disturbed = self.running.keys().any(|task| writes(*task));
        self.checkpoints.tried = true;
        let changed = BTreeSet::new();
        self.checkpoints.taking =
            Some(Taking { number, since: now, phase: phase.clone(), count, changed, disturbed });
        out.push(Effect::Checkpoint { number, kind, phase, packages });
    }

    /// Whether nothing of checkpoints is in the way of the run's end. If something is to be covered still, that is begun.
    pub(super) fn is_covered(&mut self, now: Time, out: &mut Vec<Effect>) -> bool {
        if self.checkpoints.are_idle() && self.has_uncovered() {
            self.begin_checkpoint(now, out);
        }
        self.checkpoints.are_idle()
    }

    /// Whether there is something to cover that has not been tried in vain.
    fn has_uncovered(&self) -> bool {
        // Who only estimates takes none: nobody waits for it, but for the last.
        self.verifies && !self.checkpoints.tried && self.could_cover()
    }

    /// Whether there is something to cover.
    pub(super) fn could_cover(&self) -> bool {
        let complete = |name: &Arc<str>| self.plan.find(name).is_some_and(|id| self.is_complete(id));
        self.state.coverage.uncovered.iter().any(complete)
    }

    fn is_complete(&self, id: PackageId) -> bool {
        matches!(self.state.package(id).state, PackageState::Completed { .. })
    }

    /// A checkpoint has ended.
    pub(super) fn checkpointed(
        &mut self,
        now: Time,
        number: u32,
        result: Result<Covered, Arc<str>>,
        out: &mut Vec<Effect>,
    ) {
        let Some(taking) = self.checkpoints.taking.take_if(|taking| taking.number == number) else { return };
        let Taking { since, phase, changed, disturbed, .. } = taking;
        let duration = u64::try_from(now.since(since).as_nanos()).unwrap_or(u64::MAX);
        self.checkpoints.failed = true;
        let failed = |reason| Record::CheckpointFailed { checkpoint: number, reason, duration };
        let covered = match result {
            Ok(covered) => covered,
            Err(reason) => return self.record(now, failed(reason), out),
        };
        let still = |name: &Arc<str>| {
            let complete = self.plan.find(name).is_none_or(|id| self.is_complete(id));
            complete && !changed.contains(name)
        };
        let Covered { kind, packages, verified, damaged } = covered;
        let is_good = damaged.is_empty();
        let known = |damaged: &Damaged| still(&self.name(damaged.package));
        let damaged: Vec<Damaged> = damaged.into_iter().filter(known).collect();
        let Some(first) = damaged.first() else {
            if !is_good {
                let reason = "what was read back damaged is being put right".into();
                return self.record(now, failed(reason), out);
            }
            let packages = packages.into_iter().filter(still).collect();
            self.checkpoints.failed = false;
            self.checkpoints.tried &= changed.is_empty();
            let record =
                Record::CheckpointTaken { checkpoint: number, kind, phase, packages, verified, duration };
            return self.record(now, record, out);
        };
        let Damaged { package, path, what, .. } = first;
        let reason = format!("`{}` is damaged: `{path}` {what}", self.name(*package));
        if disturbed {
            let reason =
                format!("{reason}; that was read while another package wrote into the sysroot itself");
            return self.record(now, failed(reason.into()), out);
        }
        for damaged in &damaged {
            *self.checkpoints.damaged.entry(damaged.package).or_default() += 1;
            self.note_damage(now, damaged, out);
        }
        self.record(now, failed(reason.into()), out);
    }
}
