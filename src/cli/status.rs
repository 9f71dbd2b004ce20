//! `kiln status`: how far the run is, from the ledger, whether a runner is alive or not.

use clap::Args;

use super::target::{self, StateTarget};
use super::{Exit, output, serve};
use crate::observe::status::BuildStatus;
use crate::observe::updates::Update;
use crate::observe::{human, observer};

/// Arguments.
#[derive(Debug, Args)]
pub(super) struct StatusCommand {
    #[command(flatten)]
    target: StateTarget,
    /// Answer with the framework's Build Status document
    #[arg(long)]
    json: bool,
}

impl StatusCommand {
    pub(super) fn run(self) -> anyhow::Result<Exit> {
        let (job, _) = match self.target.job(Vec::new()) {
            Ok(job) => job,
            Err(exit) => return Ok(exit),
        };
        let observer = serve::observer(&job, self.target.clone());
        // What is wrong with the ledger ends this; it does not end who serves.
        observer.read()?;
        let snapshot = observer.snapshot(observer::now());
        let Some(status) = BuildStatus::of(&snapshot) else {
            return Ok(target::no_run(&job));
        };
        job.must_be_of(&snapshot.run.definition)?;
        if self.json {
            output::answer_json(&status)?;
        } else {
            let runner = if snapshot.alive { "" } else { " (no runner)" };
            output::answer(&format!("{} {}{runner}\n", status.build_id, status.status.name()));
            output::answer(&format!("{}\n", Update::of(&snapshot, &observer.sample())));
            if let Some(why) = snapshot.blocked().or(snapshot.run.paused.as_deref()) {
                output::answer(&format!("paused: {}\n", human::plain(why)));
            }
            for gate in &snapshot.gates {
                let about = gate.package.as_ref().unwrap_or(&gate.phase);
                let more = self.target.command("gates", &[]);
                output::answer(&format!("gate {} ({}): {about}: {more}\n", gate.number, gate.reason));
            }
            for failed in &snapshot.failed {
                output::answer(&format!(
                    "failed: {} {} ({})\n",
                    failed.package,
                    failed.task.name(),
                    failed.category().name()
                ));
            }
        }
        Ok(Exit::Completed)
    }
}
