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

use crate::host;

/// How long a child of a killed runner may take to let go of the lock, which it had no time to.
const DYING: Duration = Duration::from_secs(5);
/// Between two tries then.
const AGAIN: Duration = Duration::from_millis(10);

/// So long somebody may look who has the lock, which takes it, too, for a moment.
const LOOKING: Duration = Duration::from_millis(100);

/// What holds a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A run.
    Runner,
    /// `kiln serve`; a lock of its own.
    Sidecar,
    /// A command that changes something between runs.
    Command,
}

const ROLES: [Role; 3] = [Role::Runner, Role::Sidecar, Role::Command];

impl Role {
    fn name(self) -> &'static str {
        match self {
            Self::Runner => "runner",
            Self::Sidecar => "sidecar",
            Self::Command => "command",
        }
    }
}

/// Who holds a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    /// Its process id.
    pub pid: u32,
    /// What it is.
    pub role: Role,
}

fn held(holder: Option<&Holder>, state: &Path) -> String {
    let state = state.display();
    match holder {
        None => format!("another runner holds the state directory `{state}`"),
        Some(holder @ Holder { pid, role }) if holder.is_alive() => {
            format!("another {} (pid {pid}) holds the state directory `{state}`", role.name())
        }
        Some(Holder { pid, .. }) => {
            format!(
                "the lock of the state directory `{state}` is held, but not by the kiln that had it last (pid {pid} is not there; or it is, in another container): \
                 `fuser -v {state}/*lock` says by whom; whoever can read the directory can hold it"
            )
        }
    }
}

/// Why the lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another has it.
    #[error("{}", held(.holder.as_ref(), .path))]
    Held {
        /// The state directory.
        path: PathBuf,
        /// Who, if that is known.
        holder: Option<Holder>,
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
    /// Takes a lock in some role, or says who has it.
    pub fn take(role: Role, state: &Path, file: &Path) -> Result<Self, LockError> {
        let io = |source| LockError::Io { path: file.to_owned(), source };
        let mut open = OpenOptions::new();
        let mut handle =
            open.read(true).write(true).create(true).truncate(false).mode(0o644).open(file).map_err(io)?;
        let begun = Instant::now();
        loop {
            match flock(&handle, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(Errno::WOULDBLOCK) => {
                    let holder = Holder::read(&mut handle);
                    let dies = holder.as_ref().is_some_and(|holder| !holder.is_alive());
                    let patience = if dies { DYING } else { LOOKING };
                    if begun.elapsed() > patience {
                        return Err(LockError::Held { path: state.to_owned(), holder });
                    }
                    std::thread::sleep(AGAIN);
                }
                Err(errno) => return Err(io(errno.into())),
            }
        }
        handle.rewind().map_err(io)?;
        handle.set_len(0).map_err(io)?;
        // A runner's file has its pid and nothing else, as people and scripts know it.
        let more = if role == Role::Runner { String::new() } else { format!(" {}", role.name()) };
        writeln!(handle, "{}{more}", std::process::id()).map_err(io)?;
        Ok(Self { _file: handle })
    }

    /// Who holds a lock now; `None`: nobody does.
    pub fn holder(file: &Path) -> Option<Holder> {
        let mut handle = File::open(file).ok()?;
        // A shared lock is taken and dropped at once: two who only look do not disturb each other.
        let held = flock(&handle, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK);
        // Whoever has taken it this moment has not written who it is.
        held.then(|| Holder::read(&mut handle).unwrap_or(Holder { pid: 0, role: Role::Runner }))
    }

    /// The runner that holds the lock now. Commands that look after the state directory hold it, too, for a while. Whether its process
    /// is there is no evidence: it may have another number in another container.
    pub fn runner(file: &Path) -> Option<Holder> {
        Self::holder(file).filter(|holder| holder.role == Role::Runner)
    }

    /// Whether there is one.
    pub fn is_held(file: &Path) -> bool {
        Self::runner(file).is_some()
    }
}

impl Holder {
    /// Whether there is such a process, as far as this one sees others. Whose it is does not matter: who holds the lock has written
    /// its own pid.
    pub fn is_alive(&self) -> bool {
        host::is_alive(self.pid)
    }

    /// Who is in the file.
    fn read(handle: &mut File) -> Option<Self> {
        let mut text = String::new();
        handle.rewind().ok()?;
        handle.read_to_string(&mut text).ok()?;
        let mut words = text.split_whitespace();
        let pid = words.next()?.parse().ok()?;
        let role = words.next().and_then(|word| ROLES.into_iter().find(|role| role.name() == word));
        Some(Self { pid, role: role.unwrap_or(Role::Runner) })
    }
}
