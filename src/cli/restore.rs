//! `kiln checkpoint restore`: brings the sysroot back to a checkpoint, or says which there are.

use std::sync::Arc;

use clap::Args;
use serde::Serialize;

use super::target::StateTarget;
use super::{Exit, output};
use crate::driver::Job;
use crate::driver::checkpoint::keep;
use crate::driver::restore::{self, RestoreError, Restored};
use crate::web::control;
use crate::words::count;

/// Arguments.
#[derive(Debug, Args)]
pub(super) struct Restore {
    /// The checkpoint's number; 0 is the empty sysroot before the first. Without it: what can be restored
    number: Option<String>,
    #[command(flatten)]
    target: StateTarget,
    /// Answer in JSON: `{"checkpoint", "packages", "set_aside", "aside", "ledger_damage"}`; without a number
    /// `{"ledger_damage", "records", "checkpoints": [{"checkpoint", "packages", "taken_at", "phase", "error"}]}`
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Answer<'a> {
    checkpoint: u32,
    packages: &'a [Arc<str>],
    set_aside: &'a [Arc<str>],
    aside: Option<String>,
    ledger_damage: Option<&'a str>,
}

#[derive(Serialize)]
struct Offer {
    ledger_damage: Option<String>,
    records: usize,
    checkpoints: Vec<Offered>,
}

#[derive(Serialize)]
struct Offered {
    checkpoint: u32,
    packages: Vec<Arc<str>>,
    taken_at: Option<String>,
    phase: Option<Arc<str>>,
    /// Why it cannot be restored.
    error: Option<String>,
}

impl Offered {
    fn of(job: &Job, checkpoint: u32) -> Self {
        match keep::covered(&job.state, checkpoint) {
            Ok(document) => Self {
                checkpoint,
                packages: document.packages.iter().map(|package| Arc::clone(&package.package)).collect(),
                taken_at: Some(document.taken_at),
                phase: document.phase,
                error: None,
            },
            Err(error) => Self {
                checkpoint,
                packages: Vec::new(),
                taken_at: None,
                phase: None,
                error: Some(error.to_string()),
            },
        }
    }

    fn line(&self) -> String {
        if let Some(error) = &self.error {
            return format!("cannot be restored: {error}");
        }
        let packages = count(self.packages.len(), "package");
        let at =
            self.phase.as_ref().map_or_else(String::new, |phase| format!(", at the end of phase {phase}"));
        format!("{packages}, taken {}{at}", self.taken_at.as_deref().unwrap_or("at some time"))
    }
}

impl Restore {
    pub(super) fn run(mut self) -> anyhow::Result<Exit> {
        let number = match self.number.as_deref().map(str::parse::<u32>) {
            // The definition's directory, and no number.
            Some(Err(_)) if self.target.target.dir.is_none() => {
                self.target.target.dir = self.number.take().map(Into::into);
                None
            }
            Some(Err(_)) => {
                output::say("kiln: a checkpoint is named by its number");
                return Ok(Exit::Usage);
            }
            Some(Ok(number)) => Some(number),
            None => None,
        };
        let (job, _) = match self.target.job(Vec::new()) {
            Ok(job) => job,
            Err(exit) => return Ok(exit),
        };
        let Some(number) = number else { return self.offer(&job) };
        let by = control::name(rustix::process::getuid().as_raw()).into();
        match restore::restore(&job, number, by) {
            Ok(restored) => self.tell(number, &restored)?,
            Err(
                error @ (RestoreError::Unknown { .. }
                | RestoreError::NothingThere { .. }
                | RestoreError::OtherDefinition { .. }),
            ) => {
                output::say(&format!("kiln: {error}"));
                return Ok(Exit::Usage);
            }
            Err(RestoreError::Driver(error)) => return Err(error.into()),
            Err(error @ (RestoreError::Document { .. } | RestoreError::Archives { .. })) => {
                return Err(error.into());
            }
        }
        Ok(Exit::Completed)
    }

    /// Says what can be restored; nothing was asked for that could be done.
    fn offer(&self, job: &Job) -> anyhow::Result<Exit> {
        let saved = restore::salvage(job)?;
        let numbers = keep::numbers(&job.state)?;
        let checkpoints: Vec<Offered> =
            numbers.iter().rev().map(|number| Offered::of(job, *number)).collect();
        let records = saved.entries.len();
        if self.json {
            output::answer_json(&Offer { ledger_damage: saved.damage, records, checkpoints })?;
            return Ok(Exit::Usage);
        }
        match &saved.damage {
            Some(damage) => {
                let records = count(records, "record");
                output::say(&format!(
                    "kiln: the ledger is damaged: {damage}; {records} before that can be read"
                ));
            }
            None => output::say("kiln: say which checkpoint"),
        }
        for offered in &checkpoints {
            let number = offered.checkpoint.to_string();
            let command = self.target.command("checkpoint restore", &[&number]);
            output::say(&format!("  {number}: {}: {command}", offered.line()));
        }
        let command = self.target.command("checkpoint restore", &["0"]);
        output::say(&format!("  0: an empty sysroot, everything is built again: {command}"));
        Ok(Exit::Usage)
    }

    fn tell(&self, number: u32, restored: &Restored) -> anyhow::Result<()> {
        let Restored { packages, aside, place, damage } = restored;
        let is_aside = place.is_dir();
        if self.json {
            return output::answer_json(&Answer {
                checkpoint: number,
                packages,
                set_aside: aside,
                aside: is_aside.then(|| place.display().to_string()),
                ledger_damage: damage.as_ref().map(|(damage, _)| &**damage),
            });
        }
        let there = count(packages.len(), "package");
        let mut text = format!("checkpoint {number} is restored: {there} in the sysroot\n");
        if let Some((damage, records)) = damage {
            let kept = count(*records, "record");
            text.push_str(&format!("the ledger was damaged ({damage}); {kept} of it are kept\n"));
        }
        if !aside.is_empty() {
            text.push_str(&format!("set aside: {}\n", aside.join(", ")));
        }
        if is_aside {
            text.push_str(&format!("what is set aside is in {}\n", place.display()));
        }
        text.push_str(&format!("`{}` goes on from there\n", self.target.command("run", &[])));
        output::answer(&text);
        Ok(())
    }
}
