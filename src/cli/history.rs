//! `kiln history`: what happened, in the order in which it did.

use std::sync::Arc;

use clap::Args;
use serde::Serialize;

use super::target::{self, StateTarget};
use super::{Exit, output};
use crate::engine::message::Record;
use crate::ledger::{Entry, Extent, Ledger};
use crate::observe::Progress;
use crate::observe::{events, human};

/// Arguments.
#[derive(Debug, Args)]
pub(super) struct History {
    #[command(flatten)]
    target: StateTarget,
    /// Only gates: what was asked, who answered what, and why
    #[arg(long)]
    gates: bool,
    /// Also every task
    #[arg(long, conflicts_with = "gates")]
    all: bool,
    /// Answer in JSON, a line for each event: `{"at", "build_id", "text", "event": {"record", …}}`, the last being what was recorded
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Line<'a> {
    at: String,
    build_id: &'a str,
    text: &'a str,
    event: &'a Record,
}

impl History {
    pub(super) fn run(self) -> anyhow::Result<Exit> {
        let (job, _) = match self.target.job(Vec::new()) {
            Ok(job) => job,
            Err(exit) => return Ok(exit),
        };
        let Some(mut ledger) = Ledger::open_to_read(&job.state.ledger(), Extent::Durable)? else {
            return Ok(target::no_run(&job));
        };
        let mut progress = Progress::new(Arc::clone(&job.plan), job.limits());
        let mut failed = None;
        ledger.replay(|entry| {
            if failed.is_none() && self.tells(&entry) {
                failed = self.tell(&entry, &progress).err();
            }
            progress.fold(&entry);
        })?;
        failed.map_or(Ok(Exit::Completed), Err)
    }

    fn tells(&self, entry: &Entry) -> bool {
        let record = &entry.record;
        let of_gates = matches!(
            record,
            Record::GateOpened { .. } | Record::GateAnswered { .. } | Record::GateClosed { .. }
        );
        of_gates || !self.gates && (self.all || !events::is_detail(record))
    }

    fn tell(&self, entry: &Entry, before: &Progress) -> anyhow::Result<()> {
        let told = events::tell(entry, before);
        let at = human::timestamp(entry.wall);
        if self.json {
            let line = Line { at, build_id: &told.build_id, text: &told.text, event: &entry.record };
            output::answer(&format!("{}\n", serde_json::to_string(&line)?));
        } else {
            output::answer(&format!("{at}  {}\n", told.text));
        }
        Ok(())
    }
}
