//! `kiln clean`: deletes what is not needed any more.

use clap::Args;
use serde::Serialize;

use super::target::StateTarget;
use super::{Exit, output};
use crate::driver::tidy::{self, What};

/// Arguments. Without options: work directories, and archives that are not in the sysroot.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub(super) struct Clean {
    #[command(flatten)]
    target: StateTarget,
    /// Work directories
    #[arg(long)]
    work: bool,
    /// Archives of packages that are not in the sysroot
    #[arg(long)]
    archives: bool,
    /// Output of all runs but the last
    #[arg(long)]
    logs: bool,
    /// Cached sources that the definition does not name
    #[arg(long)]
    sources: bool,
    /// Everything, the sysroot and the ledger included
    #[arg(long, conflicts_with_all = ["work", "archives", "logs", "sources"])]
    all: bool,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Answer {
    freed_bytes: u64,
    deleted: Vec<String>,
}

impl Clean {
    pub(super) fn run(self) -> anyhow::Result<Exit> {
        let (job, _) = match self.target.job(Vec::new()) {
            Ok(job) => job,
            Err(exit) => return Ok(exit),
        };
        let none = !(self.work || self.archives || self.logs || self.sources);
        let what = What {
            work: self.work || none,
            archives: self.archives || none,
            logs: self.logs,
            sources: self.sources,
            all: self.all,
        };
        let tidied = tidy::tidy(&job, what)?;
        let deleted: Vec<String> = tidied.deleted.iter().map(|path| path.display().to_string()).collect();
        if self.json {
            output::answer_json(&Answer { freed_bytes: tidied.freed, deleted })?;
        } else {
            for path in &deleted {
                output::say(&format!("deleted {path}"));
            }
            output::answer(&format!("{} freed\n", output::size(tidied.freed)));
        }
        Ok(Exit::Completed)
    }
}
