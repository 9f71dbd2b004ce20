//! Before the loop: the sysroot is put right and looked at, and it is said what tasks will be confined by.
//!
//! Owns: what is done between the last run's end and this one's beginning. Does not know: the engine.

use std::sync::Arc;

use crate::engine::message::{Facts, Record};
use crate::observe::events::SYSROOT_LEFT;
use crate::plan::{PackageId, TaskKind};

use super::super::DriverError;
use super::super::checkpoint::keep;
use super::super::identity::wall_now;
use super::super::look::{self, Fact};
use super::super::spawn::Control;
use super::super::stage::plan::MergeError;
use super::super::store::Store;
use super::Driver;

impl Driver {
    /// Takes back what did not end well, and takes out what is no longer wanted. What cannot be done is said and left:
    /// whatever it is in the way of will fail as a task.
    pub(super) fn settle_sysroot(
        &self,
        store: &mut Store,
        lost: &[Arc<str>],
        power_was_cut: bool,
    ) -> Vec<Record> {
        if let Err(error) = keep::sweep(&self.job.state, &self.past.checkpoints) {
            tracing::warn!("cannot delete what is left of a checkpoint that was being taken: {error}");
        }
        let mut records = Vec::new();
        let mut settled = |package: &Arc<str>,
                           result: Result<(), MergeError>,
                           record: fn(Arc<str>) -> Record| match result {
            Ok(()) => records.push(record(Arc::clone(package))),
            Err(error) => {
                let plan = &self.job.plan;
                let phase = plan.find(package).map(|id| &*plan.phase(plan.package(id).phase).key);
                tracing::error!(
                    MESSAGE_ID = SYSROOT_LEFT,
                    BUILD_ID = Some(&*self.past.state.build_id).filter(|id| !id.is_empty()),
                    PHASE = phase,
                    PACKAGE = &**package,
                    "{package}: cannot put the sysroot right: {error}"
                );
            }
        };
        let removed = |package| Record::PackageRemoved { package };
        for (package, key) in self.past.installed.unfinished() {
            settled(package, store.undo(package, key.as_deref()), |package| Record::Undone { package });
        }
        for package in lost {
            settled(package, store.undo(package, None), removed);
        }
        let plan = &self.job.plan;
        let installs = |name: &str| {
            plan.find(name)
                .is_some_and(|id| plan.task(id, TaskKind::Install).is_some() || !store.has_files_of(name))
        };
        let unwanted: Vec<_> = self.past.installed.names().filter(|name| !installs(name)).collect();
        for package in unwanted.into_iter().filter(|name| !lost.contains(name)) {
            settled(package, store.remove(package), removed);
        }
        if power_was_cut && let Err(error) = store.sweep() {
            tracing::error!(
                MESSAGE_ID = SYSROOT_LEFT,
                "cannot take out of the sysroot what no package owns: {error}"
            );
        }
        records
    }

    /// What there is; and what was read for that, so that the next start need not read it again.
    pub(super) fn facts(&self, store: &mut Store) -> Result<(Facts, Option<Record>), DriverError> {
        let at = wall_now();
        let plan = &self.job.plan;
        let facts = look::facts(&self.job, &self.past.installed, store, self.past.trusted(at))?;
        let which = |wanted: &dyn Fn(&Fact) -> bool| -> Vec<PackageId> {
            plan.package_ids().filter(|id| wanted(&facts[id.0 as usize])).collect()
        };
        let packages = look::names(plan, &which(&|fact| fact.read));
        let verified = (!packages.is_empty()).then_some(Record::Verified { packages, at });
        let failed_checks = which(&|fact| fact.check_failed && !fact.have.is_new());
        let packages = facts.iter().map(|fact| fact.have).collect();
        Ok((Facts { packages, failed_checks, forced: self.job.forced.clone() }, verified))
    }

    /// Which control groups tasks get, and what that means for `limits`.
    pub(super) fn say_control(&self, control: &Control) {
        let recipes = || self.job.definition.recipes.iter().map(|recipe| &recipe.value.limits);
        let (memory, pids) = match control {
            Control::V2 => {
                tracing::info!("tasks have control groups (version 2)");
                return;
            }
            Control::V1 { memory, pids } => {
                tracing::info!("tasks have control groups (version 1)");
                (*memory, *pids)
            }
            Control::Neither { reason } => {
                tracing::info!("tasks have no control groups ({reason})");
                (false, false)
            }
        };
        let warn = |key| tracing::warn!("`{key}` is not enforced: there is no control group to do it");
        if !memory && recipes().any(|limits| limits.memory.is_some()) {
            warn("limits.memory");
        }
        if !pids && recipes().any(|limits| limits.pids.is_some()) {
            warn("limits.pids");
        }
    }
}
