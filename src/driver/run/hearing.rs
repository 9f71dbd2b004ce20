//! What reaches the loop, made into events for the engine.
//!
//! Owns: what a process's end means, and packing what an `install` has left. Does not know: what follows from it.

use std::sync::Arc;

use crate::engine::command::Command;
use crate::engine::message::{Event, Outcome, Usage};
use crate::plan::{TaskId, TaskKind};
use crate::words::count;

use super::super::spawn::{self, Ended, Exit, Report};
use super::super::{DriverError, prepare, verdict};
use super::{Hands, Message, Shift, Sign};

/// What shows that an event has had its effect.
fn sign(event: &Event) -> Sign {
    if let Event::Answered(answered) = event {
        Sign::Answered(answered.gate)
    } else if let Event::Pause(_) | Event::Resume(_) = event {
        Sign::Held(matches!(event, Event::Pause(_)))
    } else {
        Sign::None
    }
}

impl Shift<'_> {
    pub(super) fn take(&mut self, message: Message, events: &mut Vec<Event>) -> Result<(), DriverError> {
        match message {
            Message::Stop => {
                self.stopping = true;
                events.push(Event::Stop);
            }
            Message::Lost(error) => return Err(error.into()),
            Message::Measured { phase, resources } => events.push(Event::Measured { phase, resources }),
            Message::Verified { task, findings } => events.push(Event::Verified { task, findings }),
            Message::Acted { package, acted } => {
                self.acting.remove(&package);
                events.push(Event::Acted { package, acted });
            }
            Message::Checkpointed { number, result } => {
                events.push(Event::Checkpointed { number, result });
            }
            Message::Command { fate, .. } if !fate.seal() => {}
            Message::Command { command, reply, .. } => {
                self.stopping |= matches!(command, Command::Stop(_));
                let heard = self.engine.hear(command);
                self.replies.push((reply, heard.as_ref().map(sign).map_err(Clone::clone)));
                events.extend(heard);
            }
            Message::Done { task, outcome, usage } => {
                if let Some(done) = self.in_flight.remove(&task) {
                    let usage = Usage {
                        cpu: done.usage.cpu.saturating_add(usage.cpu),
                        peak_memory: done.usage.peak_memory.max(usage.peak_memory),
                        ..usage
                    };
                    events.push(Event::Finished { task, outcome, usage });
                }
            }
            Message::Report(Report::Started { .. }) => {}
            // No task can start any more: that is no package's failure.
            Message::Report(Report::SpawnFailed {
                error: error @ (spawn::SpawnError::Internal(_) | spawn::SpawnError::ShuttingDown),
                ..
            }) => return Err(prepare("start tasks any more; run it again to go on")(error)),
            Message::Report(Report::SpawnFailed { id, error }) => {
                let failure = verdict::spawn(&error);
                self.end(id, Outcome::Failure(failure), Usage::default(), events);
            }
            Message::Report(Report::Exited { id, exit, usage, leftovers, group }) => {
                let usage = verdict::usage(&usage, group.as_ref());
                self.exited(id, exit, usage, leftovers, group.unwrap_or_default(), events);
            }
        }
        Ok(())
    }

    fn end(&mut self, id: u64, outcome: Outcome, usage: Usage, events: &mut Vec<Event>) {
        let task = TaskId(u32::try_from(id).unwrap_or(u32::MAX));
        if self.in_flight.remove(&task).is_some() {
            events.push(Event::Finished { task, outcome, usage });
        }
    }

    fn exited(
        &mut self,
        id: u64,
        exit: Exit,
        usage: Usage,
        leftovers: u32,
        group: Ended,
        events: &mut Vec<Event>,
    ) {
        let task = TaskId(u32::try_from(id).unwrap_or(u32::MAX));
        let Some(flying) = self.in_flight.get_mut(&task) else { return };
        let start = flying.start;
        let package = &self.engine.plan().package(start.package).name;
        if leftovers > 0 {
            let plan = self.engine.plan();
            tracing::warn!(
                BUILD_ID = &*self.scripts.build_id,
                PHASE = &*plan.phase(plan.package(start.package).phase).key,
                PACKAGE = &**package,
                TASK = start.kind.name(),
                ATTEMPT = start.attempt,
                "{package}: ended {} that {} left behind",
                count(leftovers, "process"),
                start.kind.name()
            );
        }
        let log = self.scripts.state.log(&self.scripts.build_id, package, start.kind, start.attempt);
        let succeeded = exit == Exit::Code(0);
        let least = self.space.end(task, !succeeded);
        // Nobody needs an empty file.
        if succeeded && std::fs::metadata(&log).is_ok_and(|m| m.len() == 0) {
            self.spares.keep_file(&log);
        }
        if succeeded && start.kind != TaskKind::Install {
            return self.end(id, Outcome::Success, usage, events);
        }
        flying.hands = Hands::Thread;
        flying.usage = usage;
        let before = flying.before.take();
        let chores = Arc::clone(&self.chores);
        let cell = self.scripts.cell(chores.recipe(&start), &start, self.spawner.isolation());
        // What `install` staged is packed; what a direct one changed is taken back if it failed. All of the output is
        // read to say why, which may be hundreds of megabytes.
        self.on_a_thread(start, move |_| {
            let outcome = if succeeded {
                chores.pack(&start, before.as_ref()).map_or_else(Outcome::Failure, |()| Outcome::Success)
            } else {
                let mut facts = verdict::facts(&group, &chores.recipe(&start).limits);
                facts.extend(least);
                Outcome::Failure(verdict::script(start.kind, exit, facts, &log, &cell))
            };
            if outcome != Outcome::Success && before.is_some() {
                chores.undo_or_say(&start);
            }
            (outcome, Usage::default())
        });
    }
}
