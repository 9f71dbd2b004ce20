//! `kiln resolve`: answers a gate, through the runner's control socket or, where there is no runner, in the ledger.

use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};

use super::speak::{Spoken, speak};
use super::target::StateTarget;
use super::{Exit, output};
use crate::driver::{DriverError, Job, answer};
use crate::engine::gate;
use crate::engine::message::Answer;
use crate::ledger::lock::LockError;
use crate::observe::status::Status;
use crate::web::command::{Command, Operation};
use crate::web::control;

/// How long others may hold the lock one after another.
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
        let job = match self.target.job_that_ran() {
            Ok(job) => job,
            Err(exit) => return Ok(exit),
        };
        self.say(&job)
    }

    fn say(&self, job: &Job) -> anyhow::Result<Exit> {
        // Whoever holds the lock at this moment may be another answer, or a runner that is about to end.
        let until = Instant::now() + BETWEEN;
        loop {
            let held = match answer::answer(job, self.request()) {
                Ok(reply) => return Ok(self.at_rest(reply)),
                Err(DriverError::Lock(held @ LockError::Held { .. })) => held,
                Err(error) => return Err(error.into()),
            };
            match speak(&job.state, &self.command())? {
                Spoken::Done(outcome) => return Ok(self.done(&outcome)),
                Spoken::Refused(why, _) => {
                    output::say(&format!("kiln: {why}"));
                    return Ok(Exit::Usage);
                }
                Spoken::Nobody if Instant::now() > until => return Err(held.into()),
                Spoken::Nobody => {}
            }
        }
    }

    fn request(&self) -> gate::Request {
        self.command().answer(self.answer.word(), &control::name(rustix::process::getuid().as_raw()))
    }

    fn command(&self) -> Command {
        Command {
            gate_id: Some(self.gate.clone()),
            jobs: self.jobs,
            note: (!self.note.is_empty()).then(|| self.note.clone()),
            ..Command::new(Operation::Answer(self.answer.word()))
        }
    }

    /// Where no runner was.
    fn at_rest(&self, reply: Result<Option<u32>, gate::Refusal>) -> Exit {
        match reply {
            Ok(number) => {
                let next = match self.answer {
                    Said::Abort => "the run has ended in error".to_owned(),
                    Said::Retry | Said::Skip => format!("`{}` goes on", self.target.command("run", &[])),
                };
                let number = number.unwrap_or_default();
                output::answer(&format!("gate {number}: {}; {next}\n", self.answer.word().name()));
                Exit::Completed
            }
            Err(refusal) => {
                output::say(&format!("kiln: {refusal}"));
                Exit::Usage
            }
        }
    }

    /// Through the runner.
    fn done(&self, outcome: &Command) -> Exit {
        let number = outcome.gate_id.as_deref().unwrap_or_default();
        let next = match self.answer {
            Said::Abort => "the run ends in error",
            Said::Retry | Said::Skip if outcome.status == Status::Paused.name() => "the run is still paused",
            Said::Retry | Said::Skip => "the run goes on",
        };
        output::answer(&format!("gate {number}: {}; {next}\n", self.answer.word().name()));
        Exit::Completed
    }
}
