//! Records into the ledger, or nothing at all until that can be done.
//!
//! Owns: waiting for a ledger that cannot be written. Does not know: how it is written (`ledger::writer`).
//!
//! A disk that is full or does not work pauses the run: nothing is done before the record that says so is written, so
//! nothing is started, ended or answered; what runs goes on, and what it comes to is heard later. No gate is opened: that
//! could not be recorded either.

use std::sync::mpsc::{RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use crate::engine::command::Command;
use crate::engine::message::{Record, Time};
use crate::ledger::writer::{Audience, told};
use crate::ledger::{Entry, LedgerError};
use crate::observe::events::{LEDGER_UNWRITABLE, LEDGER_WRITABLE};

use super::super::DriverError;
use super::super::identity::wall_now;
use super::{Message, Shift};

/// Between two tries.
const AGAIN: Duration = Duration::from_secs(1);

impl Shift<'_> {
    /// Writes records, as soon as that can be done.
    pub(super) fn record(&mut self, at: Time, mut records: Vec<Record>) -> Result<(), DriverError> {
        let mut paused = false;
        loop {
            match self.driver.ledger.append(at, wall_now(), &mut records) {
                Ok(()) if paused => {
                    tracing::warn!(
                        MESSAGE_ID = LEDGER_WRITABLE,
                        BUILD_ID = &*self.scripts.build_id,
                        "the ledger can be written again: the run goes on"
                    );
                    return Ok(());
                }
                Ok(()) => return Ok(()),
                Err(error) if error.may_pass() => {
                    if !paused {
                        tracing::error!(
                            MESSAGE_ID = LEDGER_UNWRITABLE,
                            BUILD_ID = &*self.scripts.build_id,
                            "{}; the run is paused until it can be written",
                            told(&error)
                        );
                        paused = true;
                    }
                    self.hold(error)?;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Keeps what comes in for later. Who wants the run to end gets that at once, as if it had been killed: nothing can be
    /// recorded about it.
    fn hold(&mut self, error: LedgerError) -> Result<(), DriverError> {
        if self.stopping {
            return Err(error.into());
        }
        let until = Instant::now() + AGAIN;
        loop {
            match self.driver.inbox.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(Message::Stop) => return Err(error.into()),
                Ok(Message::Command { command: Command::Stop(_), reply, fate }) if fate.seal() => {
                    // Who does not wait for the reply has been heard all the same.
                    let _ = reply.send(Ok(None));
                    return Err(error.into());
                }
                Ok(Message::Lost(error)) => return Err(error.into()),
                Ok(message) => self.held.push_back(message),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    }
}

/// What is on disk goes to the observers; that nothing gets there any more, to the loop.
pub(super) struct Ears<O> {
    pub(super) observe: O,
    pub(super) sender: Sender<Message>,
}

impl<O: FnMut(Vec<Entry>) + Send> Audience for Ears<O> {
    fn durable(&mut self, entries: Vec<Entry>) {
        (self.observe)(entries);
    }

    fn lost(&mut self, error: LedgerError) {
        // A loop that has ended needs no ledger.
        let _ = self.sender.send(Message::Lost(error));
    }
}
