//! Ends what a dead kiln left running, where no namespace did.
//!
//! Owns: telling a dead run's processes by their environment. Does not know: who holds the state directory; the
//! caller does, or this would end a live run.

use std::io;

use rustix::process::{Pid, geteuid, getpid};

use super::spawn::STATE_VARIABLE;
use super::spawn::process::{Killed, Proc, Process, kill_tree};

/// A process that was ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Its process id.
    pub pid: u32,
    /// The kernel's name for it: the first 15 bytes of the program's.
    pub comm: String,
}

/// Kills every process whose environment says `KILN_STATE_ID=state_id`, with all its descendants, and returns when
/// they are gone. Only processes of this user (of any user for root), and never this one or its ancestors:
/// somebody may run kiln from a task's environment.
///
/// A process that dropped that variable and whose parent is gone is not found.
pub fn sweep(state_id: &str) -> io::Result<Vec<Ended>> {
    let proc = Proc::open()?;
    let spared = ancestors(&proc)?;
    let mut ended = Vec::new();
    loop {
        let mut killed: Vec<Killed> = Vec::new();
        for pid in proc.all()? {
            if spared.contains(&pid) || killed.iter().any(|process| process.pid == pid) {
                continue;
            }
            let Some(process) = proc.process(pid)? else { continue };
            if is_ours(&process, state_id) {
                killed.extend(kill_tree(&proc, process)?);
            }
        }
        // One that was being forked behind the scan's back is found by the next.
        if killed.is_empty() {
            return Ok(ended);
        }
        for process in killed {
            process.wait();
            ended.push(Ended { pid: process.pid.as_raw_pid().unsigned_abs(), comm: process.name });
        }
    }
}

fn is_ours(process: &Process, state_id: &str) -> bool {
    let user = geteuid();
    let permitted = user.is_root() || process.uid().is_ok_and(|uid| uid == user.as_raw());
    let [marked] = process.variables([STATE_VARIABLE]);
    permitted && marked.as_deref() == Some(state_id) && process.stat().is_some_and(|stat| !stat.dead)
}

fn ancestors(proc: &Proc) -> io::Result<Vec<Pid>> {
    let mut ancestors = Vec::new();
    let mut next = Some(getpid());
    while let Some(pid) = next {
        ancestors.push(pid);
        next = proc.process(pid)?.and_then(|process| process.stat()).and_then(|stat| stat.parent);
    }
    Ok(ancestors)
}
