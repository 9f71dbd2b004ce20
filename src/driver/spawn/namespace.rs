//! The pid namespace that tasks are born in, and its init.
//!
//! Owns: the namespace's beginning and end. Does not know: tasks.
//!
//! init is this program again, holding the read end of a pipe whose write end only kiln has. When kiln goes, the
//! pipe ends, init exits, and the kernel kills whatever is in the namespace.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Stdio, exit};

use std::os::unix::process::CommandExt;

use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::process::{Pid, PidfdFlags, Signal, geteuid, pidfd_open, pidfd_send_signal};
use rustix::thread::{CapabilitySet, capabilities, configure_capability_in_ambient_set, set_capabilities};

use super::super::sys;

/// First argument of init; hidden from users.
pub const INIT_ARGUMENT: &str = "--pid-namespace-init";

const MOUNT_PROC: &str = "mount-proc";

/// What [`init_main`] says when it is ready.
const PROC_MOUNTED: u8 = b'p';
const PROC_INHERITED: u8 = b'-';

/// A live namespace; the calling thread's children are born in it.
#[derive(Debug)]
pub(super) struct Namespace {
    init: Child,
    /// Readable when init has died.
    pub(super) handle: OwnedFd,
    /// Nobody ever writes to it.
    _lifeline: io::PipeWriter,
    pub(super) private_proc: bool,
}

impl Namespace {
    /// Makes the namespace. Ok(Err) says why that is not permitted; Err that it broke half-way.
    pub(super) fn enter(executable: &Path) -> io::Result<Result<Self, io::Error>> {
        if let Err(refused) = sys::unshare_pids() {
            return Ok(Err(refused));
        }
        // Without a /proc of their own, tasks would find other processes under their own ids there. Mounts of
        // the machine still arrive in the copy, none leaves it.
        let private_mounts = sys::unshare_mounts().is_ok()
            && mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC).is_ok();
        let (lifeline_end, lifeline) = io::pipe()?;
        let (mut ready, ready_end) = io::pipe()?;
        let mut command = Command::new(executable);
        command
            .arg(INIT_ARGUMENT)
            .args(private_mounts.then_some(MOUNT_PROC))
            .env_clear()
            .current_dir("/")
            .process_group(0)
            .stdin(lifeline_end)
            .stdout(ready_end)
            .stderr(Stdio::null());
        let mut init = if geteuid().is_root() { command.spawn()? } else { spawn_with_admin(&mut command)? };
        // It holds init's end of the pipe: without it nothing is heard of an init that does not come up.
        drop(command);
        let mut answer = [0];
        let started = ready
            .read_exact(&mut answer)
            .and_then(|()| Ok(pidfd_open(Pid::from_child(&init), PidfdFlags::empty())?));
        match started {
            Ok(handle) => {
                let private_proc = answer == [PROC_MOUNTED];
                Ok(Ok(Self { init, handle, _lifeline: lifeline, private_proc }))
            }
            Err(error) => {
                drop(lifeline);
                init.kill()?;
                init.wait()?;
                Err(error)
            }
        }
    }

    pub(super) fn init(&self) -> Pid {
        Pid::from_child(&self.init)
    }

    /// The kernel kills everything inside; init itself ends last, when kiln has waited for its own children.
    pub(super) fn kill(&self) {
        // Fails only when it is dead already.
        let _ = pidfd_send_signal(&self.handle, Signal::KILL);
    }

    /// Returns when nothing is left in the namespace.
    pub(super) fn wait(&mut self) {
        // Fails only when it was waited for already.
        let _ = self.init.wait();
    }
}

/// An ordinary user's programs lose, with exec, what kiln may do in its user namespace. init keeps the right to mount.
fn spawn_with_admin(command: &mut Command) -> io::Result<Child> {
    let before = capabilities(None)?;
    let mut sets = before;
    sets.inheritable |= CapabilitySet::SYS_ADMIN;
    // Without it, /proc stays as it is.
    let kept = set_capabilities(None, sets)
        .and_then(|()| configure_capability_in_ambient_set(CapabilitySet::SYS_ADMIN, true));
    let spawned = command.spawn();
    if kept.is_ok() {
        configure_capability_in_ambient_set(CapabilitySet::SYS_ADMIN, false)?;
    }
    set_capabilities(None, before)?;
    spawned
}

/// The life of init: reap orphans, and exit when kiln does. Never returns.
pub fn init_main() -> ! {
    match serve_as_init() {
        Ok(()) => exit(0),
        Err(_) => exit(1),
    }
}

fn serve_as_init() -> io::Result<()> {
    if std::process::id() != 1 {
        return Err(io::ErrorKind::Unsupported.into());
    }
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    sys::set_children(sys::Children::Ignored)?;
    let wanted = std::env::args_os().nth(2).is_some_and(|argument| argument == MOUNT_PROC);
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let mounted = wanted && mount("proc", "/proc", "proc", flags, None).is_ok();
    let mut ready = io::stdout();
    ready.write_all(&[if mounted { PROC_MOUNTED } else { PROC_INHERITED }])?;
    ready.flush()?;
    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(())
}
