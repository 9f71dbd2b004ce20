//! `kiln checkpoint`: what is kept to fall back on, and whether all of it is as it was.

use std::collections::BTreeSet;
use std::sync::Arc;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::target::{self, StateTarget};
use super::{Exit, output, restore};
use crate::config::document::CheckpointType;
use crate::driver::checkpoint::audit::{self, Action, Audit, Found};
use crate::driver::checkpoint::keep;
use crate::engine::message::Record;
use crate::ledger::{Extent, Ledger};
use crate::observe::human::{self, plain};
use crate::words::count;

/// Arguments.
#[derive(Debug, Args)]
pub(super) struct Checkpoint {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Show all checkpoints, and which are kept
    List(List),
    /// Read everything that was completed back from the disk, and repair what is damaged
    ///
    /// Reads each kept checkpoint, and each completed package's archive and files in the sysroot, by digest. Damaged files are
    /// restored from the archive; what cannot be restored is built again by the next `kiln run`, and then this exits 1.
    Verify(Verify),
    /// Bring the sysroot back to a checkpoint
    ///
    /// What was completed later is set aside: nothing is deleted. A ledger that is damaged is set aside, too; what can be read
    /// of it is kept. Without a number it says what can be restored.
    Restore(restore::Restore),
}

/// Arguments of `kiln checkpoint list`.
#[derive(Debug, Args)]
struct List {
    #[command(flatten)]
    target: StateTarget,
    /// Answer in JSON: `[{"checkpoint", "taken_at", "kind", "phase", "packages", "verified", "kept"}]`
    #[arg(long)]
    json: bool,
}

/// Arguments of `kiln checkpoint verify`.
#[derive(Debug, Args)]
struct Verify {
    #[command(flatten)]
    target: StateTarget,
    /// Answer in JSON: `{"checkpoints", "packages", "archives", "damage": [{"package", "checkpoint", "path", "what", "action"}]}`, action
    /// being repaired, rebuild or dropped
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Row {
    checkpoint: u32,
    taken_at: String,
    kind: CheckpointType,
    phase: Option<Arc<str>>,
    packages: Vec<Arc<str>>,
    verified: bool,
    kept: bool,
}

#[derive(Serialize)]
struct Answer<'a> {
    checkpoints: usize,
    packages: usize,
    archives: usize,
    damage: Vec<Damage<'a>>,
}

#[derive(Serialize)]
struct Damage<'a> {
    package: Option<&'a str>,
    checkpoint: Option<u32>,
    path: &'a str,
    what: &'a str,
    action: &'static str,
}

impl Checkpoint {
    pub(super) fn run(self) -> anyhow::Result<Exit> {
        match self.what {
            What::List(list) => list.run(),
            What::Verify(verify) => verify.run(),
            What::Restore(restore) => restore.run(),
        }
    }
}

impl List {
    fn run(self) -> anyhow::Result<Exit> {
        let (job, _) = match self.target.job(Vec::new()) {
            Ok(job) => job,
            Err(exit) => return Ok(exit),
        };
        let Some(mut ledger) = Ledger::open_to_read(&job.state.ledger(), Extent::Durable)? else {
            return Ok(target::no_run(&job));
        };
        let there: BTreeSet<u32> = keep::numbers(&job.state)?.into_iter().collect();
        let mut rows = Vec::new();
        ledger.replay(|entry| {
            if let Record::CheckpointTaken { checkpoint, kind, phase, packages, verified, .. } = entry.record
            {
                let (taken_at, kept) = (human::timestamp(entry.wall), there.contains(&checkpoint));
                rows.push(Row { checkpoint, taken_at, kind, phase, packages, verified, kept });
            }
        })?;
        if self.json {
            output::answer_json(&rows)?;
        } else if rows.is_empty() {
            output::answer("no checkpoint was taken yet\n");
        } else {
            let head = ["checkpoint", "taken at", "kind", "phase", "packages", "read back", "kept"];
            output::answer(&output::table(head, rows.iter().map(Row::cells)));
        }
        Ok(Exit::Completed)
    }
}

impl Row {
    fn cells(&self) -> [String; 7] {
        let yes = |is: bool| if is { "yes" } else { "no" }.to_owned();
        let kind = match self.kind {
            CheckpointType::Incremental => "incremental",
            CheckpointType::Full => "full",
        };
        [
            self.checkpoint.to_string(),
            self.taken_at.clone(),
            kind.to_owned(),
            self.phase.as_deref().unwrap_or("-").to_owned(),
            self.packages.len().to_string(),
            yes(self.verified),
            if self.kept { "kept" } else { "pruned" }.to_owned(),
        ]
    }
}

impl Verify {
    fn run(self) -> anyhow::Result<Exit> {
        let job = match self.target.job_that_ran() {
            Ok(job) => job,
            Err(exit) => return Ok(exit),
        };
        let audit = audit::audit(&job)?;
        if self.json {
            output::answer_json(&Answer::of(&audit))?;
        } else {
            output::answer(&text(&audit, &self.target));
        }
        let rebuild = audit.found.iter().any(|found| found.action == Action::Rebuild);
        Ok(if rebuild { Exit::Error } else { Exit::Completed })
    }
}

impl<'a> Answer<'a> {
    fn of(audit: &'a Audit) -> Self {
        let damage = audit.found.iter().map(|found| Damage {
            package: found.package.as_deref(),
            checkpoint: found.checkpoint,
            path: &found.path,
            what: &found.what,
            action: found.action.name(),
        });
        Self {
            checkpoints: audit.checkpoints,
            packages: audit.packages,
            archives: audit.archives,
            damage: damage.collect(),
        }
    }
}

fn text(audit: &Audit, target: &StateTarget) -> String {
    let mut text = String::new();
    for Found { package, checkpoint, path, what, action } in &audit.found {
        let about = match (package, checkpoint) {
            (Some(package), Some(checkpoint)) => format!("{package} of checkpoint {checkpoint}"),
            (Some(package), None) => package.to_string(),
            (None, Some(checkpoint)) => format!("checkpoint {checkpoint}"),
            (None, None) => String::new(),
        };
        let then = match action {
            Action::Repaired => "repaired".to_owned(),
            Action::Rebuild => format!("built again by {}", target.command("run", &[])),
            Action::Dropped => {
                "taken away: what is built does not need it, going back to that does".to_owned()
            }
        };
        text.push_str(&format!("{about}: {} {}: {then}\n", plain(path), plain(what)));
    }
    let damage = match audit.found.len() {
        0 => "nothing is damaged".to_owned(),
        damaged => format!("{} found", count(damaged, "damage")),
    };
    text.push_str(&format!(
        "{}, {} and {} read: {damage}\n",
        count(audit.checkpoints, "checkpoint"),
        count(audit.archives, "archive"),
        count(audit.packages, "package"),
    ));
    text
}
