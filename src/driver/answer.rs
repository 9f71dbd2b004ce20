//! Answering a gate while no runner is there, and the environment of what failed.
//!
//! Owns: writing the answer into the ledger, under the runner's lock. Does not know: how a live runner is reached (`web`).

use std::path::PathBuf;

use crate::engine::gate::Request;
use crate::engine::state::State;
use crate::ledger::Ledger;
use crate::ledger::lock::{Role, RunnerLock};
use crate::plan::{PackageId, TaskKind};

use super::identity::wall_now;
use super::look::Past;
use super::run::Reply;
use super::script::Scripts;
use super::spawn::User;
use super::{DriverError, Job};

/// Answers a gate of a run that is paused. An error that is a `LockError`: a runner is there, and is to be asked.
pub fn answer(job: &Job, request: Request) -> Result<Reply, DriverError> {
    let state = &job.state;
    if !state.ledger().exists() {
        return Ok(State::new(&job.plan).take(request).map(|answered| Some(answered.gate)));
    }
    let _lock = RunnerLock::take(Role::Command, state.root(), &state.lock())?;
    let mut ledger = Ledger::open(&state.ledger())?;
    let past = Past::read(job, &mut ledger, |_| ())?;
    let answered = match past.state.take(request) {
        Ok(answered) => answered,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let gate = answered.gate;
    let records = past.state.answer_at_rest(&job.plan, answered);
    ledger.append(past.last, wall_now(), &records)?;
    ledger.sync()?;
    Ok(Ok(Some(gate)))
}

/// Where and how a task runs.
#[derive(Debug)]
pub struct Environment {
    /// Its directory.
    pub directory: PathBuf,
    /// Its variables; there are no others.
    pub variables: Vec<(std::ffi::OsString, std::ffi::OsString)>,
    /// Its script.
    pub script: String,
    /// Who it runs as, where that is not whoever runs kiln.
    pub user: Option<(u32, u32)>,
}

/// The environment of a task's last attempt in the run that `state` is of.
pub fn environment(
    job: &Job,
    state: &State,
    package: PackageId,
    kind: TaskKind,
) -> Result<Environment, DriverError> {
    let recipe = &job.definition.recipes[job.plan.package(package).recipe].value;
    let user = job.build_user()?;
    let scripts =
        Scripts { state: job.state.clone(), build_id: state.build_id.to_string(), user: user.clone() };
    let task = job.plan.task(package, kind);
    let attempt = task.map_or(1, |task| state.last_attempt(&job.plan, task).max(1));
    let jobs = state.package(package).jobs_most.unwrap_or(job.jobs);
    let (directory, variables) = scripts.place(recipe, attempt, jobs);
    let script = Scripts::script(recipe, kind).to_owned();
    let user = user.map(|User { uid, gid, .. }| (uid, gid));
    Ok(Environment { directory, variables, script, user })
}
