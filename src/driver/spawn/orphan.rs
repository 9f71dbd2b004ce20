//! Finds the processes that tasks leave behind, and kills those whose task is over.
//!
//! Owns: whose orphan a process is (the order of evidence is in [`spawn`](super)). Does not know: requests and reports.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use rustix::process::{Pid, getpgrp, getpid};

use super::process::{Killed, Proc, Process, Stat, has_children_files, kill_tree, read_children};
use super::worker::Task;
use super::{STATE_VARIABLE, TASK_VARIABLE};

/// Where orphans turn up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Adopter {
    /// Below the namespace's init, which also reaps them.
    Init(Pid),
    /// Below the first thread of this process, which is a subreaper.
    Kiln,
}

/// Knows all orphans.
#[derive(Debug)]
pub(super) struct Orphans {
    proc: Proc,
    adopter: Adopter,
    /// Kept open: one read tells that there are none. None when the kernel has no such file.
    children: Option<File>,
    state_id: String,
}

impl Orphans {
    pub(super) fn of(adopter: Adopter, proc: Proc, state_id: String) -> io::Result<Self> {
        let pid = match adopter {
            Adopter::Init(pid) => pid,
            Adopter::Kiln => getpid(),
        };
        let children = if has_children_files(&proc) {
            Some(proc.open_file(&format!("{pid}/task/{pid}/children"))?)
        } else {
            None
        };
        Ok(Self { proc, adopter, children, state_id })
    }

    /// Whether the namespace is ending: nothing can be born in it from the moment its init is on its way out,
    /// though init ends last.
    pub(super) fn adopter_is_dying(&self) -> bool {
        let Adopter::Init(init) = self.adopter else { return false };
        let stat = self.proc.process(init).ok().flatten().and_then(|process| process.stat());
        stat.is_none_or(|stat| stat.dead || stat.in_exec_or_exit)
    }

    /// Kills the orphans of a task, and those of no task, with their descendants, and returns them.
    pub(super) fn kill_those_of(&self, ended: u64, tasks: &BTreeMap<u64, Task>) -> io::Result<Vec<Killed>> {
        self.kill(tasks, |process, stat| self.dies_with(ended, process, stat, tasks))
    }

    /// Kills all orphans with their descendants and returns them.
    pub(super) fn kill_all(&self, tasks: &BTreeMap<u64, Task>) -> io::Result<Vec<Killed>> {
        self.kill(tasks, |_, _| true)
    }

    /// Live orphans in a process group; what is below them turns up here when they end.
    pub(super) fn members(&self, group: Pid) -> io::Result<Vec<OwnedFd>> {
        let mut members = Vec::new();
        for pid in self.list()? {
            let Some(process) = self.proc.process(pid)? else { continue };
            let Some(stat) = process.stat() else { continue };
            if stat.group == Some(group) && pid != group && self.is_orphan(&process, &stat) {
                members.push(process.into_handle());
            }
        }
        Ok(members)
    }

    fn kill(
        &self,
        tasks: &BTreeMap<u64, Task>,
        condemned: impl Fn(&Process, &Stat) -> bool,
    ) -> io::Result<Vec<Killed>> {
        let mut killed: Vec<Killed> = Vec::new();
        let mut listed: Vec<Pid> = Vec::new();
        loop {
            // One that was listed may be gone by now, and what it had below it has turned up here since.
            let mut fresh = self.list()?;
            fresh.retain(|pid| !listed.contains(pid));
            if fresh.is_empty() {
                return Ok(killed);
            }
            for &pid in &fresh {
                let being_killed = tasks.values().any(|task| task.is_ending(pid))
                    || killed.iter().any(|process| process.pid == pid);
                let own_task = tasks.values().any(|task| task.pid() == pid);
                if being_killed || own_task {
                    continue;
                }
                let Some(process) = self.proc.process(pid)? else { continue };
                let Some(stat) = process.stat() else { continue };
                if self.is_orphan(&process, &stat) && condemned(&process, &stat) {
                    killed.extend(kill_tree(&self.proc, process)?);
                }
            }
            listed.append(&mut fresh);
        }
    }

    fn list(&self) -> io::Result<Vec<Pid>> {
        match (&self.children, self.adopter) {
            (Some(file), _) => read_children(file),
            (None, Adopter::Init(init)) => self.proc.children_by_scan(init),
            (None, Adopter::Kiln) => self.proc.children_by_scan(getpid()),
        }
    }

    /// Live, and adopted. Reaps the dead where that is kiln's to do.
    fn is_orphan(&self, process: &Process, stat: &Stat) -> bool {
        match self.adopter {
            Adopter::Init(init) => !stat.dead && stat.parent == Some(init),
            // A task has a process group of its own; what is in kiln's is a child that other code started.
            Adopter::Kiln if stat.group == Some(getpgrp()) => false,
            Adopter::Kiln => {
                if stat.dead {
                    // Fails only when it was reaped already.
                    let _ = wait4::try_wait4_pid(process.pid.as_raw_pid().unsigned_abs());
                }
                !stat.dead && stat.parent == Some(getpid())
            }
        }
    }

    fn dies_with(&self, ended: u64, process: &Process, stat: &Stat, tasks: &BTreeMap<u64, Task>) -> bool {
        let by_group = |(_, task): &(&u64, &Task)| {
            let pid = Some(task.pid());
            stat.group == pid || stat.session == pid
        };
        if let Some((&id, _)) = tasks.iter().find(by_group) {
            return id == ended;
        }
        let [state, task] = process.variables([STATE_VARIABLE, TASK_VARIABLE]);
        // Another state's: a kiln that was itself a task, and died.
        if state.as_deref() == Some(&*self.state_id)
            && let Some(id) = task.and_then(|id| id.parse().ok())
        {
            return id == ended || !tasks.contains_key(&id);
        }
        let slack = process.timer_slack();
        if let Some((&id, _)) = tasks.iter().find(|(_, task)| Some(task.slack()) == slack) {
            return id == ended;
        }
        // No descendant of a task is older than the task.
        !tasks.iter().any(|(&id, task)| {
            id != ended && task.is_running() && self.started(task).is_none_or(|start| start <= stat.started)
        })
    }

    fn started(&self, task: &Task) -> Option<u64> {
        Some(self.proc.process(task.pid()).ok()??.stat()?.started)
    }
}
