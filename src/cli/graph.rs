//! `kiln graph`: the dependency graph, to be read by programs and looked at by people.

mod cycles;
mod focus;
mod name;
mod path;
mod written;

use clap::{Args, ValueEnum};

use super::target::StateTarget;
use super::{Exit, output};
use crate::driver::look::{self, Seen};
use crate::engine::state::{PACKAGE_STATES, PackageState};
use crate::graph::export::draw::Drawing;
use crate::graph::export::{Exported, NodeStatus, dot, mermaid};
use crate::ledger::lock::RunnerLock;
use crate::plan::PackageId;

/// Arguments.
#[derive(Debug, Args)]
pub(super) struct GraphCommand {
    #[command(flatten)]
    target: StateTarget,
    /// Shape of the answer
    #[arg(long, value_enum, default_value_t = Format::Json)]
    format: Format,
    /// The same as --format json; with --path, that answer in JSON
    #[arg(long, conflicts_with = "format")]
    json: bool,
    #[command(flatten)]
    focus: focus::Focus,
    /// Draw all edges, also those that follow from others; json always has all
    #[arg(long)]
    all_edges: bool,
    #[command(flatten)]
    path: path::Path,
    /// Show what needs each other to be built, and the edges without which it does not
    ///
    /// For each set of packages that need each other: how many they are, a shortest cycle, and each edge that is
    /// dropped (or would be, if `circular_handling` were `warn`) with its file and line and a cycle that it closes.
    #[arg(long, conflicts_with_all = ["format", "package", "depth", "all_edges", "names"])]
    cycles: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Nodes and edges with the attributes that `dependency_graph` names
    Json,
    /// For graphviz: `kiln graph --format dot | dot -Tsvg > graph.svg`
    Dot,
    /// For pages that draw mermaid, such as Markdown on code hosts
    Mermaid,
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
        if let Some(path) = self.path.answer(&job.definition, &planned, self.json) {
            return path;
        }
        let part = match self.focus.part(&job.definition, &planned) {
            Ok(part) => part,
            Err(exit) => return Ok(exit),
        };
        let seen = look::look(&job, |_| {})?;
        let moving = seen.state.has_tasks(RunnerLock::is_held(&job.state.lock()));
        let status: Vec<_> = job.plan.package_ids().map(|id| status(&seen, moving, id)).collect();
        let drawing = || Drawing::new(&planned, &part, &status, self.all_edges);
        match if self.json { Format::Json } else { self.format } {
            Format::Json => {
                output::answer_json(&Exported { planned: &planned, part: &part, status: &status })?;
            }
            Format::Dot => output::answer(&dot::dot(&drawing())),
            Format::Mermaid => {
                let drawing = drawing();
                let text = mermaid::mermaid(&drawing);
                if let Some(warning) = mermaid::warning(&drawing, &text) {
                    output::say(&format!("kiln: {warning}"));
                }
                output::answer(&text);
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
