//! One runner per state directory.
//!
//! Owns: the lock file. The kernel releases the lock with its holder, however that ends; the pid in the file
//! is only for messages.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// How long a child of a killed runner may take to let go of the lock, which it had no time to.
const DYING: Duration = Duration::from_secs(5);
/// Between two tries then.
const AGAIN: Duration = Duration::from_millis(10);

/// Why the lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another has it.
    #[error("another {who}{} holds the state directory `{}`", .pid.map(|p| format!(" (pid {p})")).unwrap_or_default(), .path.display())]
    Held {
        /// What it is.
        who: &'static str,
        /// The state directory.
        path: PathBuf,
        /// Its process id.
        pid: Option<u32>,
    },
    /// The file cannot be made or locked.
    #[error("lock `{}`", .path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Held as long as this lives.
#[derive(Debug)]
pub struct RunnerLock {
    _file: File,
}

impl RunnerLock {
    /// Takes the runner's lock, or says who has it.
    pub fn take(state: &Path, file: &Path) -> Result<Self, LockError> {
        Self::take_for("runner", state, file)
    }

    /// Takes a lock, or says who has it.
    pub fn take_for(who: &'static str, state: &Path, file: &Path) -> Result<Self, LockError> {
        let io = |source| LockError::Io { path: file.to_owned(), source };
        let mut open = OpenOptions::new();
        let mut handle =
            open.read(true).write(true).create(true).truncate(false).mode(0o644).open(file).map_err(io)?;
        let until = Instant::now() + DYING;
        loop {
            match flock(&handle, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(Errno::WOULDBLOCK) => {
                    let mut pid = String::new();
                    handle.rewind().map_err(io)?;
                    let pid = handle.read_to_string(&mut pid).ok().and_then(|_| pid.trim().parse().ok());
                    if pid.is_none_or(is_alive) || Instant::now() > until {
                        return Err(LockError::Held { who, path: state.to_owned(), pid });
                    }
                    std::thread::sleep(AGAIN);
                }
                Err(errno) => return Err(io(errno.into())),
            }
        }
        handle.rewind().map_err(io)?;
        handle.set_len(0).map_err(io)?;
        writeln!(handle, "{}", std::process::id()).map_err(io)?;
        Ok(Self { _file: handle })
    }

    /// Whether a runner holds the lock now.
    pub fn is_held(file: &Path) -> bool {
        let Ok(handle) = File::open(file) else { return false };
        // A shared lock is taken and dropped at once: two who only look do not disturb each other.
        flock(&handle, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK)
    }
}

/// Whether there is such a process, and no corpse. Whose it is does not matter: who holds the lock has written its own pid.
fn is_alive(pid: u32) -> bool {
    let stat = i32::try_from(pid).ok().and_then(|pid| procfs::process::Process::new(pid).ok()?.stat().ok());
    stat.is_some_and(|stat| !matches!(stat.state, 'Z' | 'X'))
}
