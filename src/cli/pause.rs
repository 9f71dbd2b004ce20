//! `kiln pause`, `kiln resume`, `kiln stop`: what a person says to a run that is alive.

use clap::Args;

use super::speak::{Spoken, speak};
use super::target::StateTarget;
use super::{Exit, output};
use crate::web::command::{Command, Operation};

/// Arguments of each.
#[derive(Debug, Args)]
pub(super) struct Live {
    #[command(flatten)]
    target: StateTarget,
    /// Why, for the history
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    /// Answer with the framework's Command System document
    #[arg(long)]
    json: bool,
}

impl Live {
    pub(super) fn run(self, operation: Operation) -> anyhow::Result<Exit> {
        let state = match self.target.place() {
            Ok(state) => state,
            Err(exit) => return Ok(exit),
        };
        let command = Command { note: self.note.filter(|note| !note.is_empty()), ..Command::new(operation) };
        match speak(&state, &command)? {
            Spoken::Done(outcome) if self.json => output::answer_json(&outcome)?,
            Spoken::Done(_) => {
                let resume = self.target.command("resume", &[]);
                let run = self.target.command("run", &[]);
                output::answer(&match operation {
                    Operation::Pause => {
                        format!(
                            "paused: what runs goes on to its end, nothing more is started; `{resume}` goes on\n"
                        )
                    }
                    Operation::Stop => format!("the run is being ended; `{run}` goes on with it\n"),
                    Operation::BuildPhase
                    | Operation::Resume
                    | Operation::Answer(_)
                    | Operation::Checkpoint
                    | Operation::Status => "the run goes on\n".to_owned(),
                });
            }
            Spoken::Refused(why, outcome) => {
                if self.json {
                    output::answer_json(&outcome)?;
                }
                output::say(&format!("kiln: {why}"));
                return Ok(Exit::Usage);
            }
            Spoken::Nobody => {
                let run = self.target.command("run", &[]);
                let more = if operation == Operation::Resume {
                    format!(
                        ": `{run}` goes on, and waits for this again if it was killed while it was paused"
                    )
                } else {
                    String::new()
                };
                output::say(&format!("kiln: no runner is there{more}"));
                return Ok(Exit::Usage);
            }
        }
        Ok(Exit::Completed)
    }
}
