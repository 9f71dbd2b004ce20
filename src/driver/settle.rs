//! Before a run begins or goes on: the sysroot is put right, and what there is is told to the engine.
//!
//! Owns: which changes of earlier runs are taken back. Does not know: how (`store`), what there is of a package (`look`).

use std::sync::Arc;

use crate::engine::message::{Facts, Record};
use crate::plan::{PackageId, TaskKind};

use super::Job;
use super::identity::wall_now;
use super::look::{self, Fact};
use super::stage::plan::MergeError;
use super::store::{Installed, Store};

/// Takes back what did not end well, and takes out what is no longer wanted. What cannot be done is said and left:
/// whatever it is in the way of will fail as a task. `lost`: packages of which nobody can tell what they have.
pub(super) fn put_right(
    job: &Job,
    installed: &Installed,
    store: &mut Store,
    lost: &[Arc<str>],
) -> Vec<Record> {
    let mut records = Vec::new();
    let mut settled =
        |package: &Arc<str>, result: Result<(), MergeError>, record: fn(Arc<str>) -> Record| match result {
            Ok(()) => records.push(record(Arc::clone(package))),
            Err(error) => tracing::error!(package = &**package, "cannot put the sysroot right: {error}"),
        };
    let removed = |package| Record::PackageRemoved { package };
    for (package, key) in installed.unfinished() {
        settled(package, store.undo(package, key.as_deref()), |package| Record::Undone { package });
    }
    for package in lost {
        settled(package, store.undo(package, None), removed);
    }
    let plan = &job.plan;
    let installs = |name: &str| {
        plan.find(name)
            .is_some_and(|id| plan.task(id, TaskKind::Install).is_some() || !store.has_files_of(name))
    };
    let unwanted: Vec<_> = installed.names().filter(|name| !installs(name)).collect();
    for package in unwanted.into_iter().filter(|name| !lost.contains(name)) {
        settled(package, store.remove(package), removed);
    }
    records
}

/// What there is; and what was read for that, so that the next start need not read it again.
pub(super) fn facts(job: &Job, installed: &Installed, store: &mut Store) -> (Facts, Option<Record>) {
    let at = wall_now();
    let facts = look::facts(job, installed, store);
    let which = |wanted: &dyn Fn(&Fact) -> bool| -> Vec<PackageId> {
        job.plan.package_ids().filter(|id| wanted(&facts[id.0 as usize])).collect()
    };
    let packages = look::names(&job.plan, &which(&|fact| fact.read));
    let verified = (!packages.is_empty()).then_some(Record::Verified { packages, at });
    let failed_checks = which(&|fact| fact.check_failed && !fact.have.is_new());
    let packages = facts.iter().map(|fact| fact.have).collect();
    (Facts { packages, failed_checks }, verified)
}
