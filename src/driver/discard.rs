//! Deleting work directories beside the run: a compiler's build tree takes seconds.
//!
//! Owns: the one thread that does it. Does not know: when a directory is no longer needed (`run`).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Sender};
use std::thread::JoinHandle;

use super::identity::wall_now;
use super::work;

/// Prefix of names of work directories that are on their way out. No package's name begins like that.
pub(crate) const TRASH: &str = ".trash-";

/// Deletes what it is given, one after the other.
#[derive(Debug)]
pub(super) struct Discarder {
    /// `STATE/work`.
    work: PathBuf,
    /// Tells its names from those of other starts.
    since: i64,
    count: u64,
    sender: Sender<PathBuf>,
    thread: JoinHandle<()>,
}

impl Discarder {
    /// Begins with what was on its way out when kiln ended.
    pub(super) fn start(work: PathBuf) -> io::Result<Self> {
        let (sender, receiver) = mpsc::channel::<PathBuf>();
        let thread = std::thread::Builder::new().name("discard".into()).spawn(move || {
            for path in receiver {
                if let Err(error) = work::remove_tree(&path) {
                    tracing::warn!("cannot delete `{}`: {error}", path.display());
                }
            }
        })?;
        let discarder = Self { work, since: wall_now(), count: 0, sender, thread };
        for entry in std::fs::read_dir(&discarder.work).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(TRASH) {
                discarder.send(entry.path());
            }
        }
        Ok(discarder)
    }

    /// Deletes a directory below `STATE/work`, if it is there; its name is free at once.
    pub(super) fn discard(&mut self, path: &Path) {
        // What an earlier start was deleting may still be there, even one with our pid.
        let trash = self.work.join(format!("{TRASH}{}.{}", self.since, self.count));
        self.count += 1;
        match std::fs::rename(path, &trash) {
            Ok(()) => self.send(trash),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!("cannot move `{}` out of the way: {error}", path.display()),
        }
    }

    /// Waits until everything is deleted.
    pub(super) fn finish(self) {
        drop(self.sender);
        // A thread that has panicked has said so.
        let _ = self.thread.join();
    }

    fn send(&self, path: PathBuf) {
        // A thread that has panicked leaves it to the next start.
        let _ = self.sender.send(path);
    }
}
