//! Reads processes from /proc, and kills them, without ever mistaking one for another that got its pid.
//!
//! Owns: the texts of /proc. Does not know: tasks.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::{io, str};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Dir, Mode, OFlags};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// The /proc that was mounted when this was opened, whatever is mounted there now.
#[derive(Debug)]
pub(in crate::driver) struct Proc {
    directory: OwnedFd,
}

impl Proc {
    pub(in crate::driver) fn open() -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { directory: rustix::fs::open("/proc", flags, Mode::empty())? })
    }

    pub(in crate::driver) fn open_file(&self, path: &str) -> io::Result<File> {
        Ok(rustix::fs::openat(&self.directory, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?.into())
    }

    fn numbers(&self, path: &str) -> io::Result<Vec<Pid>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::openat(&self.directory, path, flags, Mode::empty())?;
        let mut numbers = Vec::new();
        for entry in Dir::new(directory)? {
            numbers.extend(parse_pid(entry?.file_name().to_bytes()));
        }
        Ok(numbers)
    }

    /// Every process of the machine.
    pub(in crate::driver) fn all(&self) -> io::Result<Vec<Pid>> {
        self.numbers(".")
    }

    /// The process that has this pid now; None when there is none.
    pub(in crate::driver) fn process(&self, pid: Pid) -> io::Result<Option<Process>> {
        // The directory stays with the process that it was opened for: reads fail once that one is gone. The
        // pidfd is opened first, so if both belonged to different processes the first would be dead.
        let handle = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(handle) => handle,
            // INVAL: the pid is a thread's.
            Err(rustix::io::Errno::SRCH | rustix::io::Errno::INVAL) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rustix::fs::openat(&self.directory, pid.to_string(), flags, Mode::empty()) {
            Ok(directory) => Ok(Some(Process { pid, handle, directory })),
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::SRCH) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Children of all threads of a process, dead ones included that nobody has waited for. One that is born or
    /// dies meanwhile may be missed, or hide another.
    pub(in crate::driver) fn children(&self, pid: Pid) -> io::Result<Vec<Pid>> {
        let mut children = Vec::new();
        for thread in gone_is_empty(self.numbers(&format!("{pid}/task")))? {
            match self.open_file(&format!("{pid}/task/{thread}/children")) {
                Ok(file) => children.extend(read_children(&file).or_else(ignore_gone)?),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    // The thread is gone, or the kernel was built without CONFIG_PROC_CHILDREN.
                    if !has_children_files(self) {
                        return self.children_by_scan(pid);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(children)
    }

    /// The same from every process's own account of its parent.
    pub(in crate::driver) fn children_by_scan(&self, parent: Pid) -> io::Result<Vec<Pid>> {
        let mut children = Vec::new();
        for pid in self.all()? {
            let Ok(file) = self.open_file(&format!("{pid}/stat")) else { continue };
            if read_all(&file)
                .ok()
                .and_then(|text| Stat::parse(&text))
                .is_some_and(|stat| stat.parent == Some(parent))
            {
                children.push(pid);
            }
        }
        Ok(children)
    }
}

/// Whether the kernel lists a thread's children.
pub(in crate::driver) fn has_children_files(proc: &Proc) -> bool {
    proc.open_file("thread-self/children").is_ok()
}

/// Reads a `children` file from its start, however often it was read.
pub(in crate::driver) fn read_children(file: &File) -> io::Result<Vec<Pid>> {
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let length = rustix::io::pread(file, &mut buffer, text.len() as u64)?;
        text.extend_from_slice(&buffer[..length]);
        if length == 0 {
            return Ok(text.split(|&byte| byte == b' ').filter_map(parse_pid).collect());
        }
    }
}

/// One process, held by its pidfd.
#[derive(Debug)]
pub(in crate::driver) struct Process {
    pub(in crate::driver) pid: Pid,
    handle: OwnedFd,
    directory: OwnedFd,
}

impl Process {
    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        read_all(&rustix::fs::openat(&self.directory, name, flags, Mode::empty())?.into())
    }

    /// None once it is gone.
    pub(in crate::driver) fn stat(&self) -> Option<Stat> {
        Stat::parse(&self.read("stat").ok()?)
    }

    /// The values of variables in the environment that its program was started with. None also when the
    /// environment is not readable: another user's.
    pub(in crate::driver) fn variables<const N: usize>(&self, names: [&str; N]) -> [Option<String>; N] {
        let environment = self.environment().unwrap_or_default();
        names.map(|name| {
            let value = environment
                .split(|&byte| byte == 0)
                .find_map(|entry| entry.strip_prefix(name.as_bytes())?.strip_prefix(b"="))?;
            Some(str::from_utf8(value).ok()?.to_owned())
        })
    }

    fn environment(&self) -> io::Result<Vec<u8>> {
        // For a moment within exec a process has the new program's memory, but no environment in it yet. There is
        // nothing to wait on for its end; the bound is for one that a dead disk holds up.
        const TURNS: u32 = 10_000;
        let mut environment = self.read("environ")?;
        for _ in 0..TURNS {
            if !environment.is_empty() || !self.stat().is_some_and(|stat| stat.in_exec_or_exit) {
                break;
            }
            std::thread::yield_now();
            environment = self.read("environ")?;
        }
        Ok(environment)
    }

    /// Nanoseconds of timer slack; None without `CAP_SYS_NICE`.
    pub(in crate::driver) fn timer_slack(&self) -> Option<u64> {
        str::from_utf8(&self.read("timerslack_ns").ok()?).ok()?.trim_end().parse().ok()
    }

    /// The user that it acts as.
    pub(in crate::driver) fn uid(&self) -> io::Result<u32> {
        Ok(rustix::fs::fstat(&self.directory)?.st_uid)
    }

    /// Readable once it is gone.
    pub(in crate::driver) fn into_handle(self) -> OwnedFd {
        self.handle
    }

    fn signal(&self, signal: Signal) -> bool {
        pidfd_send_signal(&self.handle, signal).is_ok()
    }
}

/// In the flags of a process that is part of the kernel: `PF_KTHREAD`.
const KERNEL_THREAD: u32 = 0x0020_0000;

/// The fields of `/proc/PID/stat` that are needed here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::driver) struct Stat {
    pub(in crate::driver) name: String,
    /// Dead, but perhaps not waited for.
    pub(in crate::driver) dead: bool,
    pub(in crate::driver) parent: Option<Pid>,
    pub(in crate::driver) group: Option<Pid>,
    pub(in crate::driver) session: Option<Pid>,
    /// Has no memory with an environment, because it is within exec or on its way out. Also true of one that
    /// kiln may not look into.
    pub(in crate::driver) in_exec_or_exit: bool,
    /// Clock ticks since the machine started.
    pub(in crate::driver) started: u64,
}

impl Stat {
    fn parse(text: &[u8]) -> Option<Self> {
        // The name is in parentheses and may itself contain any of them, and spaces.
        let open = text.iter().position(|&byte| byte == b'(')?;
        let close = text.iter().rposition(|&byte| byte == b')')?;
        let name = String::from_utf8_lossy(text.get(open + 1..close)?).into_owned();
        let rest = str::from_utf8(text.get(close + 1..)?).ok()?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // The kernel says -1 for the group and the session of a process that it is about to forget.
        let pid = |index: usize| Some(Pid::from_raw(fields.get(index)?.parse::<i32>().ok()?.max(0)));
        let dead = matches!(*fields.first()?, "Z" | "X");
        let is_kernels = fields.get(6)?.parse::<u32>().ok()? & KERNEL_THREAD != 0;
        Some(Self {
            name,
            dead,
            in_exec_or_exit: *fields.get(48)? == "0" && !is_kernels && !dead,
            parent: pid(1)?,
            group: pid(2)?,
            session: pid(3)?,
            started: fields.get(19)?.parse().ok()?,
        })
    }
}

/// A process that has SIGKILL but may take a moment to be gone.
#[derive(Debug)]
pub(in crate::driver) struct Killed {
    pub(in crate::driver) pid: Pid,
    pub(in crate::driver) name: String,
    /// Readable once it is gone.
    pub(in crate::driver) handle: OwnedFd,
}

impl Killed {
    pub(in crate::driver) fn wait(&self) {
        wait_for(&self.handle);
    }
}

/// Returns when the process of a pidfd is gone.
pub(in crate::driver) fn wait_for(handle: &OwnedFd) {
    let mut gone = [PollFd::from_borrowed_fd(handle.as_fd(), PollFlags::IN)];
    while poll(&mut gone, None) == Err(rustix::io::Errno::INTR) {}
}

/// Kills a process and all its descendants. Those that kiln may not kill are left out, and what is below them.
pub(in crate::driver) fn kill_tree(proc: &Proc, root: Process) -> io::Result<Vec<Killed>> {
    // A stopped process has no further children: a fork that had not finished by then fails and is redone
    // later. So each list is final once its process has the signal.
    let mut seen = vec![root.pid];
    let mut waiting = vec![root];
    let mut tree = Vec::new();
    while let Some(process) = waiting.pop() {
        if !process.signal(Signal::STOP) {
            continue;
        }
        for child in proc.children(process.pid)? {
            if !seen.contains(&child) {
                seen.push(child);
                waiting.extend(proc.process(child)?);
            }
        }
        let name = process.stat().map(|stat| stat.name).unwrap_or_default();
        tree.push((process, name));
    }
    // One that died since needs no signal.
    tree.retain(|(process, _)| process.signal(Signal::KILL));
    let killed =
        |(process, name): (Process, String)| Killed { pid: process.pid, name, handle: process.handle };
    Ok(tree.into_iter().map(killed).collect())
}

fn parse_pid(digits: &[u8]) -> Option<Pid> {
    Pid::from_raw(str::from_utf8(digits).ok()?.parse::<i32>().ok()?.max(0))
}

fn read_all(mut file: &File) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    Ok(text)
}

fn gone_is_empty(result: io::Result<Vec<Pid>>) -> io::Result<Vec<Pid>> {
    result.or_else(ignore_gone)
}

fn ignore_gone(error: io::Error) -> io::Result<Vec<Pid>> {
    let gone = error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error());
    if gone { Ok(Vec::new()) } else { Err(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_spaces_is_read_whole() {
        let text = b"42 (a) b (c) S 7 8 9 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 123456 0 0 1 1 1 1 1 1 \
            0 0 0 0 0 0 0 17 1 0 0 0 0 0 1 1 1 1 1 1 1 0\n";
        let stat = Stat::parse(text).unwrap();
        assert_eq!(stat.name, "a) b (c");
        assert_eq!(stat.parent, Pid::from_raw(7));
        assert_eq!(stat.group, Pid::from_raw(8));
        assert_eq!(stat.session, Pid::from_raw(9));
        assert_eq!(stat.started, 123_456);
        assert!(!stat.dead && !stat.in_exec_or_exit);
    }

    #[test]
    fn a_process_that_is_about_to_be_forgotten_has_no_group() {
        let text = b"42 (sh) X 7 -1 -1 0 -1 4228108 1 2 3 4 5 6 7 8 20 0 1 0 123456 0 0 1 1 1 1 1 1 \
            0 0 0 0 0 0 0 17 1 0 0 0 0 0 1 1 1 1 1 1 1 0\n";
        let stat = Stat::parse(text).unwrap();
        assert_eq!((stat.parent, stat.group, stat.session), (Pid::from_raw(7), None, None));
    }

    #[test]
    fn text_that_is_cut_is_no_process() {
        assert_eq!(Stat::parse(b"42 (sh) S 7 8"), None);
        assert_eq!(Stat::parse(b""), None);
    }

    #[test]
    fn this_process_is_found_with_its_parent_and_variables() {
        let proc = Proc::open().unwrap();
        let process = proc.process(rustix::process::getpid()).unwrap().unwrap();
        let stat = process.stat().unwrap();
        assert_eq!(stat.parent, rustix::process::getppid());
        assert!(!stat.dead && !stat.in_exec_or_exit);
        let [path, none] = process.variables(["PATH", "PAT"]);
        assert_eq!(path, std::env::var("PATH").ok());
        assert_eq!(none, None);
    }

    #[test]
    fn children_are_listed_the_same_by_both_ways() {
        let mut child =
            std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let pid = Pid::from_child(&child);
        let proc = Proc::open().unwrap();
        let me = rustix::process::getpid();
        assert!(proc.children(me).unwrap().contains(&pid));
        assert!(proc.children_by_scan(me).unwrap().contains(&pid));
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(proc.process(pid).unwrap().is_none());
    }
}
