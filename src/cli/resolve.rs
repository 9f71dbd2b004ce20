//! `kiln resolve`: answers a gate, through the runner's control socket or, where there is no runner, in the ledger.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use hyper::StatusCode;

use super::target::StateTarget;
use super::{Exit, output};
use crate::driver::{DriverError, answer};
use crate::engine::gate;
use crate::engine::message::Answer;
use crate::ledger::lock::LockError;
use crate::web::client;
use crate::web::control::{self, COMPONENT, Command};

/// How long a runner may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long something may stand between an answer and the run.
const BETWEEN: Duration = Duration::from_secs(10);

/// Arguments.
#[derive(Debug, Args)]
pub(super) struct Resolve {
    /// The gate's number, or the package or phase that it is about
    gate: String,
    /// What to do
    answer: Said,
    #[command(flatten)]
    target: StateTarget,
    /// With `retry`: let the package's tasks use at most so many jobs from now on
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    jobs: Option<u32>,
    /// Why, for the history
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    note: String,
}

/// What can be said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Said {
    /// Try again, `max_attempts` times more
    Retry,
    /// Go on without it, and without what needs it
    Skip,
    /// End the run in error
    Abort,
}

impl Said {
    fn word(self) -> Answer {
        match self {
            Self::Retry => Answer::Retry,
            Self::Skip => Answer::Skip,
            Self::Abort => Answer::Abort,
        }
    }
}

impl Resolve {
    pub(super) fn run(self) -> anyhow::Result<Exit> {
        if self.jobs.is_some() && self.answer != Said::Retry {
            output::say("kiln: --jobs goes with `retry`");
            return Ok(Exit::Usage);
        }
        let (job, _) = match self.target.job(Vec::new()) {
            Ok(job) => job,
            Err(exit) => return Ok(exit),
        };
        // A runner that has just begun has no socket yet, one that is about to end none any more, and another answer takes a
        // moment.
        let until = Instant::now() + BETWEEN;
        let request = self.request();
        loop {
            let held = match answer::answer(&job, request.clone()) {
                Ok(reply) => return Ok(self.at_rest(reply)),
                Err(DriverError::Lock(held @ LockError::Held { .. })) => held,
                Err(error) => return Err(error.into()),
            };
            let mut failed = None;
            for socket in control::places(&job.state).into_iter().filter(|path| path.exists()) {
                match self.ask(&socket) {
                    Ok(Some(exit)) => return Ok(exit),
                    Ok(None) => {}
                    Err(error) => failed = failed.or(Some(error)),
                }
            }
            if Instant::now() > until {
                let silent = || anyhow::Error::new(held).context("it does not answer");
                return Err(failed.unwrap_or_else(silent));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn request(&self) -> gate::Request {
        gate::Request {
            gate: Some(self.gate.clone()),
            answer: self.answer.word(),
            jobs: self.jobs,
            by: control::name(rustix::process::getuid().as_raw()),
            note: self.note.clone(),
        }
    }

    /// Where no runner was.
    fn at_rest(&self, reply: Result<u32, gate::Refusal>) -> Exit {
        match reply {
            Ok(number) => {
                let next = match self.answer {
                    Said::Abort => "the run has ended in error".to_owned(),
                    Said::Retry | Said::Skip => format!("`{}` goes on", self.target.command("run", &[])),
                };
                output::answer(&format!("gate {number}: {}; {next}\n", self.answer.word().name()));
                Exit::Completed
            }
            Err(refusal) => {
                output::say(&format!("kiln: {refusal}"));
                Exit::Usage
            }
        }
    }

    /// Through the runner. `None`: it is about to end.
    fn ask(&self, socket: &Path) -> anyhow::Result<Option<Exit>> {
        let command = Command {
            component: COMPONENT.into(),
            operation: self.answer.word().name().into(),
            gate_id: Some(self.gate.clone()),
            jobs: self.jobs,
            note: (!self.note.is_empty()).then(|| self.note.clone()),
            ..Command::default()
        };
        let (status, outcome) = client::command(socket, &command, PATIENCE)
            .map_err(anyhow::Error::from_boxed)
            .with_context(|| format!("the runner does not answer at `{}`", socket.display()))?;
        if status == StatusCode::OK {
            let number = outcome.gate_id.unwrap_or_default();
            let next = match self.answer {
                Said::Abort => "the run ends in error",
                Said::Retry | Said::Skip => "the run goes on",
            };
            output::answer(&format!("gate {number}: {}; {next}\n", self.answer.word().name()));
            return Ok(Some(Exit::Completed));
        }
        if outcome.error.as_deref() == Some(gate::ENDING) {
            return Ok(None);
        }
        output::say(&format!("kiln: {}", outcome.error.unwrap_or_else(|| status.to_string())));
        Ok(Some(Exit::Usage))
    }
}
