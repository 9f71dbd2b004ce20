//! `kiln why`: why a package is built or not, what it needs, and who needs it.

use clap::Args;
use serde::Serialize;

use super::target::{self, StateTarget};
use super::{Exit, output};
use crate::driver::look::{self, Decision};
use crate::plan::DroppedEdge;

/// Arguments.
#[derive(Debug, Args)]
pub(super) struct Why {
    /// The package
    package: String,
    #[command(flatten)]
    target: StateTarget,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Answer<'a> {
    package: &'a str,
    version: &'a str,
    phase: &'a str,
    step: &'a str,
    key: &'a str,
    decision: Decision,
    reason: &'static str,
    needs: Vec<&'a str>,
    needed_by: Vec<&'a str>,
    /// What it needs and does not wait for, so that nothing is circular.
    dropped_edges: Vec<&'a DroppedEdge>,
}

impl Why {
    pub(super) fn run(self) -> anyhow::Result<Exit> {
        let (job, _) = match self.target.job(Vec::new()) {
            Ok(job) => job,
            Err(exit) => return Ok(exit),
        };
        let id = match target::package(&job, &self.package) {
            Ok(id) => id,
            Err(exit) => return Ok(exit),
        };
        let seen = look::look(&job, |_| {})?;
        let plan = &job.plan;
        let package = plan.package(id);
        let fact = seen.facts[id.0 as usize];
        let needed_by = plan.package_ids().filter(|other| plan.package(*other).depends_on.contains(&id));
        let name = |id: crate::plan::PackageId| &*plan.package(id).name;
        let answer = Answer {
            package: &package.name,
            version: &package.version,
            phase: &plan.phase(package.phase).key,
            step: &package.step,
            key: &package.key,
            decision: fact.decision,
            reason: fact.reason,
            needs: package.depends_on.iter().map(|id| name(*id)).collect(),
            needed_by: needed_by.map(name).collect(),
            dropped_edges: plan.dropped_edges.iter().filter(|edge| edge.from == package.name).collect(),
        };
        if self.json {
            output::answer_json(&answer)?;
            return Ok(Exit::Completed);
        }
        let list = |names: &[&str]| if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
        let dropped =
            answer.dropped_edges.iter().map(|DroppedEdge { to, dependency_type, reason, .. }| {
                let list = dependency_type.list();
                format!("  dropped   {to} ({list}): it is not waited for, because that {reason}\n")
            });
        output::answer(&format!(
            "{} {}: {} ({})\n  phase     {}, by step {}\n  needs     {}\n{}  needed by {}\n  key       {}\n",
            answer.package,
            answer.version,
            answer.decision.name(),
            answer.reason,
            answer.phase,
            answer.step,
            list(&answer.needs),
            dropped.collect::<String>(),
            list(&answer.needed_by),
            answer.key
        ));
        Ok(Exit::Completed)
    }
}
