//! `kiln graph`: the dependency graph, for other programs.

use clap::{Args, ValueEnum};

use super::target::StateTarget;
use super::{Exit, output};
use crate::driver::look::{self, Seen};
use crate::engine::state::{PACKAGE_STATES, PackageState};
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
                let moving = is_moving(seen.state.run, RunnerLock::is_held(&job.state.lock()));
                let status: Vec<_> = job.plan.package_ids().map(|id| status(&seen, moving, id)).collect();
                output::answer_json(&export::json(&planned, &status))?;
            }
        }
        Ok(Exit::Completed)
    }
}

/// A package's state in the last run, and what is known of what was completed of it.
fn status(seen: &Seen, moving: bool, id: PackageId) -> NodeStatus {
    let build = match seen.state.package(id).state {
        // Of a run that does not go on, none is.
        PackageState::Running if !moving => PackageState::Pending,
        state @ (PackageState::Pending
        | PackageState::Running
        | PackageState::Completed { .. }
        | PackageState::Failed
        | PackageState::Skipped { .. }) => state,
    };
    let verification = seen.facts[id.0 as usize].verification.name();
    NodeStatus { build: PACKAGE_STATES[build.index()], verification }
}
