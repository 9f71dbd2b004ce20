//! `kiln run`: builds.

use clap::Args;

use super::target::{self, StateTarget};
use super::{Exit, output};
use crate::driver::look;
use crate::driver::run::Driver;
use crate::engine::message::Ending;

/// Arguments.
#[derive(Debug, Args)]
pub(super) struct Run {
    #[command(flatten)]
    target: StateTarget,
    /// Job slots [default: all cores]
    #[arg(long, short, value_name = "N")]
    jobs: Option<String>,
    /// Build only this phase, and what it needs
    #[arg(long, value_name = "NAME")]
    phase: Option<String>,
    /// Build only this package, and what it needs
    #[arg(long, value_name = "NAME")]
    package: Option<String>,
    /// Build this package although nothing changed, and what depends on it
    #[arg(long, value_name = "PACKAGE")]
    force: Option<String>,
    /// Use the source cache alone
    #[arg(long)]
    offline: bool,
}

impl Run {
    pub(super) fn run(self) -> anyhow::Result<Exit> {
        let flags = target::flag("--jobs", "jobs", self.jobs.clone())
            .chain(target::flag("--offline", "offline", self.offline.then(|| "true".to_owned())))
            .collect();
        let (job, _) = match self.target.job(flags) {
            Ok(job) => job,
            Err(exit) => return Ok(exit),
        };
        let driver = Driver::open(job, |_| {})?;
        let _ = look::names;
        let ending = driver.run(&[], |entries| {
            for entry in entries {
                output::say(&format!("{:?}", entry.record));
            }
        })?;
        Ok(match ending {
            Ending::Completed => Exit::Completed,
            Ending::Error => Exit::Error,
            Ending::Requirements => Exit::Requirements,
            Ending::Stopped => Exit::Interrupted,
        })
    }
}
