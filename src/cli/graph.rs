//! `kiln graph`: the dependency graph, for other programs.

use clap::{Args, ValueEnum};

use super::target::StateTarget;
use super::{Exit, cycles, output};
use crate::driver::look;
use crate::engine::state::{PACKAGE_STATES, PackageState, State};
use crate::graph::export::{self, NodeStatus};
use crate::ledger::lock::RunnerLock;
use crate::observe::snapshot::is_moving;
use crate::plan::PackageId;

/// Arguments.
#[derive(Debug, Args)]
pub(super) struct GraphCommand {
    #[command(flatten)]
    target: StateTarget,
    /// Shape of the answer
    #[arg(long, value_enum, default_value_t = Format::Json)]
    format: Format,
    /// The same as --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// Show what needs each other to be built, and the edges without which it does not
    ///
    /// For each set of packages that need each other: how many they are, a shortest cycle, and each edge that is
    /// dropped (or would be, if `circular_handling` were `warn`) with its file and line and a cycle that it closes.
    #[arg(long, conflicts_with = "format")]
    cycles: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Nodes and edges with the attributes that `dependency_graph` names
    Json,
    /// For graphviz
    Dot,
}

impl GraphCommand {
    pub(super) fn run(self) -> anyhow::Result<Exit> {
        if self.cycles {
            return cycles::run(&self.target.target, self.json);
        }
        let (job, planned) = match self.target.job(Vec::new()) {
            Ok(job) => job,
            Err(exit) => return Ok(exit),
        };
        match if self.json { Format::Json } else { self.format } {
            Format::Dot => output::answer(&export::dot(&planned)),
            Format::Json => {
                let seen = look::look(&job, |_| {})?;
                let moving = is_moving(seen.state.run, RunnerLock::is_held(&job.state.lock()));
                let status: Vec<_> =
                    job.plan.package_ids().map(|id| status(&seen.state, moving, id)).collect();
                output::answer_json(&export::json(&planned, &status))?;
            }
        }
        Ok(Exit::Completed)
    }
}

/// A package's statuses in the last run. Verified: completed, and its `check` did not fail.
fn status(state: &State, moving: bool, id: PackageId) -> NodeStatus {
    let package = state.package(id);
    let verification = match package.state {
        _ if package.check_failed => "failed",
        PackageState::Completed { .. } => "verified",
        PackageState::Pending
        | PackageState::Running
        | PackageState::Failed
        | PackageState::Skipped { .. } => "unverified",
    };
    let build = match package.state {
        // Of a run that does not go on, none is.
        PackageState::Running if !moving => PackageState::Pending,
        state @ (PackageState::Pending
        | PackageState::Running
        | PackageState::Completed { .. }
        | PackageState::Failed
        | PackageState::Skipped { .. }) => state,
    };
    NodeStatus { build: PACKAGE_STATES[build.index()], verification }
}
