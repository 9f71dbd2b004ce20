//! One at a time for each digest, among threads and among processes.
//!
//! Owns: waiting for a turn, and giving up when cancelled. Does not know: what the turn is for.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::error::FetchError;

/// How often a waiting thread looks whether it was cancelled, or another process is done.
pub(super) const TICK: Duration = Duration::from_millis(50);

/// Who is at work in this process.
#[derive(Debug, Default)]
pub(super) struct Turns {
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    taken: BTreeSet<String>,
    waiting: usize,
}

/// A turn, until dropped.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    key: String,
}

impl Turns {
    /// Waits until no other thread of this process has the turn for `key`.
    pub(super) fn take(&self, key: &str, cancel: &AtomicBool) -> Result<Turn<'_>, FetchError> {
        let mut state = self.state.lock();
        while state.taken.contains(key) {
            self.pause(&mut state, cancel)?;
        }
        state.taken.insert(key.to_owned());
        Ok(Turn { turns: self, key: key.to_owned() })
    }

    /// Waits until no other process has `file` locked. The lock goes with the last copy of the descriptor.
    pub(super) fn lock_file(&self, file: &File, path: &Path, cancel: &AtomicBool) -> Result<(), FetchError> {
        loop {
            match flock(file, FlockOperation::NonBlockingLockExclusive) {
                // A filesystem without locks: then there is only this process to care about.
                Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOLCK | Errno::NOSYS) => return Ok(()),
                Err(Errno::WOULDBLOCK) => self.pause(&mut self.state.lock(), cancel)?,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(FetchError::io(path)(io::Error::from(errno))),
            }
        }
    }

    /// How many threads wait: lets a test see that one does.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.state.lock().waiting
    }

    fn pause(&self, state: &mut MutexGuard<'_, State>, cancel: &AtomicBool) -> Result<(), FetchError> {
        check(cancel)?;
        state.waiting += 1;
        self.freed.wait_for(state, TICK);
        state.waiting -= 1;
        Ok(())
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.turns.state.lock().taken.remove(&self.key);
        self.turns.freed.notify_all();
    }
}

/// Fails once the caller has asked to stop.
pub(super) fn check(cancel: &AtomicBool) -> Result<(), FetchError> {
    if cancel.load(Ordering::Relaxed) { Err(FetchError::Cancelled) } else { Ok(()) }
}
