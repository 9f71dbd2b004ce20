//! `kiln plan`: what would be built, in which order, and why.

use std::borrow::Cow;
use std::sync::Arc;

use clap::Args;
use serde::Serialize;

use super::target::StateTarget;
use super::{Exit, output};
use crate::driver::look::{self, Decision};
use crate::observe::Progress;
use crate::plan::{DroppedEdge, path};

/// Arguments.
#[derive(Debug, Args)]
pub(super) struct PlanCommand {
    #[command(flatten)]
    target: StateTarget,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Answer<'a> {
    definition: &'a str,
    digest: &'a str,
    packages: Vec<Row<'a>>,
    critical_path: Vec<&'a str>,
    dropped_edges: &'a [DroppedEdge],
}

#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    version: &'a str,
    phase: &'a str,
    step: &'a str,
    order: usize,
    depends_on: Vec<&'a str>,
    expected_seconds: Option<f64>,
    decision: Decision,
    reason: &'a str,
}

impl PlanCommand {
    pub(super) fn run(self) -> anyhow::Result<Exit> {
        let (job, _) = match self.target.job(Vec::new()) {
            Ok(job) => job,
            Err(exit) => return Ok(exit),
        };
        let mut progress = Progress::new(Arc::clone(&job.plan), job.limits());
        let facts = look::look(&job, |entry| progress.fold(entry))?.facts;
        let plan = &job.plan;
        let expectations = progress.expectations();
        let rows: Vec<Row<'_>> = plan
            .package_ids()
            .map(|id| {
                let package = plan.package(id);
                let at = id.0 as usize;
                Row {
                    name: &package.name,
                    version: &package.version,
                    phase: &plan.phase(package.phase).key,
                    step: &package.step,
                    order: at,
                    depends_on: package.depends_on.iter().map(|d| &*plan.package(*d).name).collect(),
                    expected_seconds: expectations.package_time(id).map(|span| span.as_secs_f64()),
                    decision: facts[at].decision,
                    reason: &facts[at].reason,
                }
            })
            .collect();
        let critical_path = look::names(plan, &path::critical_path(plan, expectations.packages()));
        if self.json {
            output::answer_json(&Answer {
                definition: &plan.definition,
                digest: &plan.digest,
                packages: rows,
                critical_path: critical_path.iter().map(|n| &**n).collect(),
                dropped_edges: &plan.dropped_edges,
            })?;
            return Ok(Exit::Completed);
        }
        let cells = rows.iter().map(|row| {
            let expected = row.expected_seconds.map_or(Cow::from("-"), |s| format!("{s:.1}").into());
            [
                Cow::from(row.order.to_string()),
                row.name.into(),
                row.version.into(),
                row.phase.into(),
                expected,
                row.decision.name().into(),
                row.reason.into(),
            ]
        });
        let head = ["order", "package", "version", "phase", "seconds", "decision", "reason"];
        output::answer(&output::table(head, cells));
        if !critical_path.is_empty() {
            let path: Vec<&str> = critical_path.iter().map(|n| &**n).collect();
            output::answer(&format!("\ncritical path: {}\n", path.join(" -> ")));
        }
        let dropped = plan.dropped_edges.iter().map(|edge| {
            let DroppedEdge { from, to, dependency_type, reason } = edge;
            format!("dropped: {from} needs {to} ({}): {reason}\n", dependency_type.list())
        });
        output::answer(&dropped.collect::<String>());
        Ok(Exit::Completed)
    }
}
