//! How little space was left while a task ran.
//!
//! Owns: the thread that looks now and then. Does not know: what follows.
//!
//! A disk that was full for a moment is free again when the compiler's temporary files are gone: what is there at the end does
//! not tell why a task failed.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::failure::fact::Fact;
use crate::host::{self, Free};
use crate::plan::TaskId;
use parking_lot::Mutex;

/// How often it looks. Between two looks a disk may fill and empty unseen.
const EVERY: Duration = Duration::from_millis(500);

/// Looks at the filesystem of one path while tasks run.
#[derive(Debug)]
pub(super) struct Space {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// By task that runs: the least that was seen since it began.
    least: BTreeMap<TaskId, Option<Free>>,
    ended: bool,
}

impl Space {
    pub(super) fn watch(path: PathBuf) -> io::Result<Self> {
        let shared = Arc::new(Shared { path, state: Mutex::default() });
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("space".into()).spawn(move || {
            while theirs.look() {
                std::thread::park_timeout(EVERY);
            }
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// A task begins.
    pub(super) fn begin(&self, task: TaskId) {
        self.shared.state.lock().least.insert(task, None);
    }

    /// A task has ended: the least that was seen while it ran, now included.
    pub(super) fn end(&self, task: TaskId, failed: bool) -> Option<Fact> {
        let seen = self.shared.state.lock().least.remove(&task).flatten();
        // Nobody asks what was left to a task that did well.
        if !failed {
            return None;
        }
        if host::is_read_only(&self.shared.path) {
            return Some(Fact::ReadOnly { path: self.shared.path.display().to_string() });
        }
        let now = host::filesystem(&self.shared.path).ok();
        let Free { bytes, inodes } = seen.into_iter().chain(now).reduce(least)?;
        let path = self.shared.path.display().to_string();
        Some(Fact::Space { path, free_bytes: bytes, free_inodes: inodes })
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        self.shared.state.lock().ended = true;
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // One that has panicked has said so.
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// False: nobody wants to know any more.
    fn look(&self) -> bool {
        let idle = {
            let state = self.state.lock();
            if state.ended {
                return false;
            }
            state.least.is_empty()
        };
        // A filesystem that hangs must not hold the lock.
        if !idle && let Ok(now) = host::filesystem(&self.path) {
            for seen in self.state.lock().least.values_mut() {
                *seen = Some(seen.map_or(now, |seen| least(seen, now)));
            }
        }
        true
    }
}

fn least(one: Free, other: Free) -> Free {
    let inodes = one.inodes.into_iter().chain(other.inodes).min();
    Free { bytes: one.bytes.min(other.bytes), inodes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_of_each_counts_and_what_is_not_counted_does_not() {
        let free = |bytes, inodes| Free { bytes, inodes };
        assert_eq!(least(free(3, Some(9)), free(5, Some(2))), free(3, Some(2)));
        assert_eq!(least(free(3, None), free(5, None)), free(3, None));
    }

    #[test]
    fn a_task_that_failed_is_told_what_is_left_now_even_if_nobody_looked() {
        let directory = tempfile::tempdir().unwrap();
        let space = Space::watch(directory.path().to_owned()).unwrap();
        space.begin(TaskId(1));
        space.begin(TaskId(2));
        assert!(space.end(TaskId(1), true).is_some());
        space.end(TaskId(2), false);
        assert!(space.shared.state.lock().least.is_empty());
    }
}
