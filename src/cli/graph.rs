//! `kiln graph`: the dependency graph, for other programs.

use clap::{Args, ValueEnum};

use super::target::StateTarget;
use super::{Exit, output};
use crate::driver::look;
use crate::engine::state::{PACKAGE_STATES, PackageState, State};
use crate::graph::export::{self, NodeStatus};
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
        let (job, planned) = match self.target.job(Vec::new()) {
            Ok(job) => job,
            Err(exit) => return Ok(exit),
        };
        match if self.json { Format::Json } else { self.format } {
            Format::Dot => output::answer(&export::dot(&planned)),
            Format::Json => {
                let seen = look::look(&job, |_| {})?;
                let status: Vec<_> = job.plan.package_ids().map(|id| status(&seen.state, id)).collect();
                output::answer_json(&export::json(&planned, &status))?;
            }
        }
        Ok(Exit::Completed)
    }
}

/// A package's statuses in the last run. Verified: completed, and its `check` did not fail.
fn status(state: &State, id: PackageId) -> NodeStatus {
    let package = state.package(id);
    let verification = match package.state {
        _ if package.check_failed => "failed",
        PackageState::Completed { .. } => "verified",
        PackageState::Pending
        | PackageState::Running
        | PackageState::Failed
        | PackageState::Skipped { .. } => "unverified",
    };
    NodeStatus { build: PACKAGE_STATES[package.state.index()], verification }
}
