//! `kiln checkpoint`.

use clap::{Args, Subcommand};

use super::{Exit, restore};

/// Arguments.
#[derive(Debug, Args)]
pub(super) struct Checkpoint {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Bring the sysroot back to a checkpoint
    ///
    /// What was completed later is set aside: nothing is deleted. A ledger that is damaged is set aside, too; what can be read
    /// of it is kept.
    Restore(restore::Restore),
}

impl Checkpoint {
    pub(super) fn run(self) -> anyhow::Result<Exit> {
        match self.what {
            What::Restore(command) => command.run(),
        }
    }
}
