//! A user namespace for the whole process, where it is an ordinary user's: within one it may make the tasks' pid
//! namespace, so that nothing of theirs outlives kiln.
//!
//! Owns: getting in. Does not know: tasks.
//!
//! kiln stays who it is: its own user and group are the only ones that are mapped, to themselves. Supplementary groups
//! still open what they did; nobody can be changed to, and nothing becomes root by its setuid bit.

use std::io;
use std::process::{Command, Stdio, exit};

use rustix::process::{getegid, geteuid};

use super::super::sys;

/// First argument of the probe; hidden from users.
pub const PROBE_ARGUMENT: &str = "--user-namespace-probe";

/// Enters it, where that is permitted and of use. To be called before there are other threads.
pub fn enter_user_namespace() -> io::Result<()> {
    if geteuid().is_root() {
        return Ok(());
    }
    // There is no way back, and some hosts permit the namespace but nothing in it: so a child tries first.
    let probe = Command::new("/proc/self/exe")
        .arg(PROBE_ARGUMENT)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match probe {
        Ok(status) if status.success() => enter(),
        // Tasks then run without.
        Ok(_) | Err(_) => Ok(()),
    }
}

/// The life of the probe. Never returns.
pub fn probe_main() -> ! {
    let permitted = enter().and_then(|()| sys::unshare_pids());
    exit(i32::from(permitted.is_err()));
}

fn enter() -> io::Result<()> {
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    sys::unshare_users()?;
    // Without this the kernel lets nobody map a group.
    std::fs::write("/proc/self/setgroups", "deny")?;
    std::fs::write("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
    std::fs::write("/proc/self/gid_map", format!("{gid} {gid} 1"))
}
