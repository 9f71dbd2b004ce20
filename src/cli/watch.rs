//! Watches a run for the person in front of it: messages, status updates, the display.
//!
//! Owns: a thread's loop over committed records. It never talks back, and waits for no terminal: what it says and draws is
//! written by another thread (`logging`).

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use super::logging::{self, Screen};
use crate::engine::message::Record;
use crate::ledger::Entry;
use crate::ledger::place::StateDir;
use crate::observe::events::{self, Told};
use crate::observe::observer::{Observer, now};
use crate::observe::updates::{Schedule, Update};

/// Time between two drawings.
const DRAW: Duration = Duration::from_millis(250);
/// Lines of output that are shown when a package has failed.
const TAIL_LINES: usize = 12;
/// How much of the end of an output is looked at for them.
const TAIL_BYTES: u64 = 16 * 1024;

/// What it takes to watch.
pub(super) struct Watch {
    observer: Arc<Observer>,
    state: StateDir,
    screen: Option<Screen>,
    address: Option<String>,
}

impl Watch {
    pub(super) fn new(
        observer: Arc<Observer>,
        state: StateDir,
        screen: Option<Screen>,
        address: Option<String>,
    ) -> Self {
        Self { observer, state, screen, address }
    }

    /// Until nothing more comes.
    pub(super) fn until_the_end(self, entries: &Receiver<Vec<Entry>>) {
        if let Some(address) = &self.address {
            tracing::info!("metrics at {address}");
        }
        let frequency = self.observer.with(|p| p.plan().document.progress_tracking.status_updates.frequency);
        let mut updates = Schedule::new(frequency, now());
        let live = self.screen.is_some();
        let mut drawn = 0;
        loop {
            let wait = updates.wait(now());
            match entries.recv_timeout(if live { wait.min(DRAW) } else { wait }) {
                Ok(committed) => self.take(committed),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            while let Ok(committed) = entries.try_recv() {
                self.take(committed);
            }
            let at = now();
            let due = updates.due(at);
            if due || live && at - drawn >= i64::try_from(DRAW.as_nanos()).unwrap_or(i64::MAX) {
                let snapshot = self.observer.snapshot(at);
                if due {
                    Update::of(&snapshot, &self.observer.sample()).emit();
                }
                if let Some(screen) = &self.screen {
                    screen.draw(&snapshot, self.address.as_deref());
                }
                drawn = at;
            }
        }
        if let Some(screen) = &self.screen {
            screen.clear();
        }
    }

    fn take(&self, committed: Vec<Entry>) {
        for entry in committed {
            let told = self.observer.with(|progress| {
                let told = events::is_told(&entry.record, progress).then(|| events::tell(&entry, progress));
                progress.fold(&entry);
                told
            });
            let Some(mut told) = told else { continue };
            told.output = self.output(&told);
            told.emit();
            if let (Record::TaskFailed { retry_at: None, tolerated: false, .. }, Some(output)) =
                (&entry.record, &told.output)
            {
                show_tail(output);
            }
        }
    }

    /// Where to look for why it failed, if that is what is told.
    fn output(&self, told: &Told) -> Option<PathBuf> {
        told.category?;
        let output = self.state.log(&told.build_id, told.package.as_ref()?, told.task?, told.attempt?);
        output.exists().then_some(output)
    }
}

/// The last bytes of a file, at most `TAIL_BYTES`, however large it is.
fn tail(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let from = file.metadata()?.len().saturating_sub(TAIL_BYTES);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The end of what a failed task printed, for people only.
fn show_tail(log: &Path) {
    let Ok(text) = tail(log) else { return };
    let lines: Vec<&str> = text.lines().collect();
    if lines.is_empty() {
        return;
    }
    let mut tail = String::new();
    for line in &lines[lines.len().saturating_sub(TAIL_LINES)..] {
        tail.push_str("    | ");
        tail.extend(line.chars().map(|c| if c.is_control() && c != '\t' { ' ' } else { c }));
        tail.push('\n');
    }
    tail.push_str(&format!("    the whole output: {}\n", log.display()));
    tracing::info!(target: logging::TAIL, "the end of its output:\n{}", tail.trim_end());
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn only_the_end_of_an_output_is_read() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        // More than a machine for tests has memory, and no block of it on the disk.
        let size = 1 << 40;
        file.as_file().set_len(size).unwrap();
        file.seek(SeekFrom::Start(size)).unwrap();
        file.write_all(b"\nthe end\n").unwrap();
        let text = tail(file.path()).unwrap();
        assert_eq!((text.len() as u64, text.lines().last()), (TAIL_BYTES, Some("the end")));
    }
}
