//! Speaks to the runner of a state directory, through its control socket.
//!
//! Owns: waiting for a runner that has no socket at this moment. Does not know: what is said.

use std::time::{Duration, Instant};

use hyper::StatusCode;

use crate::engine::gate;
use crate::ledger::lock::RunnerLock;
use crate::ledger::place::StateDir;
use crate::web::client::{self, Silence};
use crate::web::command::Command;

/// How long a runner may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long something may stand between what is said and the run.
const BETWEEN: Duration = Duration::from_secs(10);

/// What came back.
#[derive(Debug)]
pub(super) enum Spoken {
    /// It is done.
    Done(Command),
    /// It is not, for this reason; and what came back.
    Refused(String, Box<Command>),
    /// There is no runner.
    Nobody,
}

/// Says a command to the runner.
pub(super) fn speak(state: &StateDir, command: &Command) -> anyhow::Result<Spoken> {
    // A runner that has just begun has no socket yet, one that is about to end none any more, and another answer takes a
    // moment.
    let until = Instant::now() + BETWEEN;
    loop {
        if !RunnerLock::is_held(&state.lock()) {
            return Ok(Spoken::Nobody);
        }
        let silence = match client::command(state, command, None, PATIENCE) {
            Ok((StatusCode::OK, outcome)) => return Ok(Spoken::Done(outcome)),
            Ok((status, outcome)) => {
                let why = outcome.error.clone().unwrap_or_else(|| status.to_string());
                if status == StatusCode::ACCEPTED {
                    return Err(anyhow::anyhow!(why));
                }
                // Once it has ended, an answer can be given without it.
                let later = why == gate::ENDING && command.gate_id.is_some();
                if !later || Instant::now() > until {
                    return Ok(Spoken::Refused(why, Box::new(outcome)));
                }
                Silence::NoSocket
            }
            Err(silence) => silence,
        };
        if silence.is_final() || Instant::now() > until {
            return Err(match silence {
                Silence::NoSocket => anyhow::anyhow!("the runner does not answer"),
                Silence::At { socket, why, sent } => {
                    let known = if sent {
                        ": whether it has heard that is not known, `kiln status` says"
                    } else {
                        ""
                    };
                    anyhow::Error::from_boxed(why)
                        .context(format!("the runner does not answer at `{}`{known}", socket.display()))
                }
            });
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
