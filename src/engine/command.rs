//! What a person says to a run that is alive, other than to a gate: pause, resume, take a checkpoint.
//!
//! Owns: when each of these can be done, and what it does. Does not know: how it is said (`web`, `cli`).
//!
//! A paused run starts nothing: no task, no phase, no recovery action, no checkpoint that nobody asked for. What runs goes on to its
//! end, gates open and can be answered. Only `resume` or the run's end ends that: a kiln that was killed while its run was
//! paused starts it again paused, one that was stopped does not.

use std::sync::Arc;

use super::Engine;
use super::gate::{self, Refusal};
use super::message::{Effect, Escalation, Event, Record, Time};
use super::state::RunState;

/// What a person or a program says to a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Answers a gate.
    Answer(gate::Request),
    /// Start nothing more.
    Pause(Said),
    /// Go on.
    Resume(Said),
    /// Take a checkpoint now.
    Checkpoint,
    /// End the run; it can be gone on with.
    Stop(Said),
}

/// Who says something, and why.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    /// Who.
    pub by: Arc<str>,
    /// Why; may be empty.
    pub note: Arc<str>,
}

impl Said {
    /// `by root (uid 0): the disk is being replaced`
    pub(super) fn words(&self) -> String {
        let why = if self.note.is_empty() { String::new() } else { format!(": {}", self.note) };
        format!("by {}{why}", self.by)
    }
}

impl Engine {
    /// What a command means now; or why it cannot be done.
    pub fn hear(&self, command: Command) -> Result<Event, Refusal> {
        if self.ended || self.closing.is_some() && !matches!(command, Command::Stop(_)) {
            return Err(Refusal::Ending);
        }
        match command {
            Command::Answer(request) => self.state.take(request).map(Event::Answered),
            Command::Pause(_) if self.state.held => Err(Refusal::Paused),
            Command::Pause(said) => Ok(Event::Pause(said)),
            Command::Resume(_) if !self.state.held && self.state.run == RunState::Paused => {
                Err(Refusal::Asks)
            }
            Command::Resume(_) if !self.state.held => Err(Refusal::NotPaused),
            Command::Resume(said) => Ok(Event::Resume(said)),
            Command::Checkpoint if !self.checkpoints.are_idle() => Err(Refusal::Taking),
            Command::Checkpoint if !self.could_cover() => Err(Refusal::Covered),
            Command::Checkpoint => Ok(Event::TakeCheckpoint),
            Command::Stop(said) => Ok(Event::StopFor(said)),
        }
    }

    /// A person wants nothing more to be started.
    pub(super) fn hold(&mut self, now: Time, said: &Said, out: &mut Vec<Effect>) {
        if self.closing.is_none() && !self.state.held {
            let reason = said.words().into();
            self.record(now, Record::RunPaused { reason, held: true }, out);
        }
    }

    /// A person wants a paused run to go on.
    pub(super) fn resume(&mut self, now: Time, said: &Said, out: &mut Vec<Effect>) {
        if self.closing.is_none() && self.state.held {
            let reason = Some(said.words().into());
            self.go_on(now, reason, false, out);
        }
    }

    /// Records that the run goes on.
    pub(super) fn go_on(&mut self, now: Time, reason: Option<Arc<str>>, afresh: bool, out: &mut Vec<Effect>) {
        let (digest, boot) = (Arc::clone(&self.plan.digest), Arc::clone(&self.info.boot));
        let escalation = Escalation::of(&self.plan.document.error_recovery);
        self.record(now, Record::RunResumed { digest, afresh, boot, reason, escalation }, out);
    }
}
