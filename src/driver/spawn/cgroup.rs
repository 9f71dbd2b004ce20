//! Control groups: one for each task, where the host permits them.
//!
//! Owns: which kind there is, a group's life, its limits, and what the kernel says of it when its task has ended.
//! Does not know: how a process gets in (`sys::launch`), what follows from what is said.
//!
//! There is a crate, cgroups-rs; on a host with version 2 it switches controllers on from the root of the tree down, which only
//! root may. kiln lives in what systemd has delegated to it, and touches nothing above.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use procfs::ProcResult;
use procfs::process::Process;

use super::{Control, Ended, Limits};

/// The groups of this state directory.
#[derive(Debug)]
pub(super) struct Groups {
    base: Base,
    /// Part of the names of this kiln's: what a killed one has left may still be there, with processes that have no name and no
    /// environment any more and are not gone yet. Nothing can be removed or said of those.
    ours: String,
    kernel_log: Option<File>,
}

/// Directories below which each task gets one.
#[derive(Debug)]
enum Base {
    /// One tree for everything.
    V2(PathBuf),
    /// A tree a controller; those that there are.
    V1 { memory: Option<PathBuf>, pids: Option<PathBuf>, cpuacct: Option<PathBuf> },
}

/// A task's group. Its directories go when it is dropped, if nobody is in them any more.
#[derive(Debug)]
pub(super) struct Group(Base);

/// How much memory the groups of tasks use now.
#[derive(Debug, Clone)]
pub struct MemoryGauge {
    base: PathBuf,
    ours: String,
    file: &'static str,
}

/// With this begin the names of what has the groups of a state directory.
const NAME: &str = "kiln-";

/// Of the directory of a task's group.
fn name(id: u64, ours: &str) -> String {
    format!("{id}-{ours}")
}

impl MemoryGauge {
    /// Bytes, page cache included; `None` of a task that has no group any more.
    pub fn read(&self, id: u64) -> Option<u64> {
        number(&self.base.join(name(id, &self.ours)), self.file)
    }
}

impl Base {
    fn directories(&self) -> Vec<&Path> {
        match self {
            Self::V2(base) => vec![base],
            Self::V1 { memory, pids, cpuacct } => {
                [memory, pids, cpuacct].into_iter().flatten().map(PathBuf::as_path).collect()
            }
        }
    }

    /// The same with a directory below each.
    fn below(&self, name: &str) -> Self {
        let join = |base: &Option<PathBuf>| base.as_ref().map(|base| base.join(name));
        match self {
            Self::V2(base) => Self::V2(base.join(name)),
            Self::V1 { memory, pids, cpuacct } => {
                Self::V1 { memory: join(memory), pids: join(pids), cpuacct: join(cpuacct) }
            }
        }
    }
}

impl Groups {
    /// Makes the place for the groups of this state directory; why there is none where the host does not permit it.
    /// Those that a killed kiln has left are removed, and what is still running in them is killed.
    pub(super) fn find(state_id: &str) -> Result<Self, String> {
        let trees = Tree::all().map_err(|error| error.to_string())?;
        let name = format!("{NAME}{state_id}");
        let mut refused = Vec::new();
        for tree in trees.iter().filter(|tree| tree.controllers.is_none()) {
            match v2(&tree.own, &name) {
                Ok(base) => return Ok(Self::with(Base::V2(base))),
                Err(error) => refused.push(format!("{}: {error}", tree.own.display())),
            }
        }
        let mut v1 = |controller: &str| {
            let has = |tree: &&Tree| {
                tree.controllers.as_ref().is_some_and(|names| names.iter().any(|name| name == controller))
            };
            let base = trees.iter().find(has)?.own.join(&name);
            match renew(&base) {
                Ok(()) => Some(base),
                Err(error) => {
                    refused.push(format!("{}: {error}", base.display()));
                    None
                }
            }
        };
        let (memory, pids, cpuacct) = (v1("memory"), v1("pids"), v1("cpuacct"));
        if memory.is_some() || pids.is_some() {
            return Ok(Self::with(Base::V1 { memory, pids, cpuacct }));
        }
        Err(if refused.is_empty() { "no hierarchy is mounted".to_owned() } else { refused.join(", ") })
    }

    fn with(base: Base) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { base, ours: format!("{:x}", since.as_nanos()), kernel_log: kernel_log().ok() }
    }

    pub(super) fn control(&self) -> Control {
        match &self.base {
            Base::V2(_) => Control::V2,
            Base::V1 { memory, pids, .. } => Control::V1 { memory: memory.is_some(), pids: pids.is_some() },
        }
    }

    /// Says how much memory groups use.
    pub(super) fn gauge(&self) -> Option<MemoryGauge> {
        match &self.base {
            Base::V2(base) => {
                Some(MemoryGauge { base: base.clone(), ours: self.ours.clone(), file: "memory.current" })
            }
            Base::V1 { memory, .. } => Some(MemoryGauge {
                base: memory.clone()?,
                ours: self.ours.clone(),
                file: "memory.usage_in_bytes",
            }),
        }
    }

    /// A task's group, with its limits. A limit that cannot be set is an error: it was asked for.
    pub(super) fn make(&self, id: u64, limits: Limits) -> io::Result<Group> {
        let group = Group(self.base.below(&name(id, &self.ours)));
        for directory in group.0.directories() {
            fs::create_dir(directory)?;
        }
        match &group.0 {
            Base::V2(own) => {
                if let Some(bytes) = limits.memory {
                    write(own, "memory.max", &bytes.to_string())?;
                    // A build without its compiler is lost: better an end with one reason.
                    write(own, "memory.oom.group", "1")?;
                }
                if let Some(count) = limits.pids {
                    write(own, "pids.max", &count.to_string())?;
                }
            }
            Base::V1 { memory, pids, .. } => {
                if let (Some(own), Some(bytes)) = (memory, limits.memory) {
                    write(own, "memory.limit_in_bytes", &bytes.to_string())?;
                }
                if let (Some(own), Some(count)) = (pids, limits.pids) {
                    write(own, "pids.max", &count.to_string())?;
                }
            }
        }
        Ok(group)
    }

    /// What the kernel says of a group whose processes have ended.
    pub(super) fn ended(&mut self, group: &Group) -> Ended {
        let mut ended = group.counters();
        if ended.oom_kills > 0 {
            let killed = self.kernel_log.as_mut().map(|log| killed_in(log, group));
            ended.oom_killed = killed.unwrap_or_default();
        }
        ended
    }
}

/// Removes what killed kilns have left in the group that this one is in, and kills what is still running there; `is_left`
/// is asked with the id of each.
pub(crate) fn sweep(is_left: impl Fn(&str) -> bool) {
    let trees = Tree::all().unwrap_or_default();
    for entry in trees.iter().filter_map(|tree| fs::read_dir(&tree.own).ok()).flatten().flatten() {
        let name = entry.file_name();
        if name.to_str().and_then(|name| name.strip_prefix(NAME)).is_some_and(&is_left) {
            // What has not died yet is there the next time.
            let _ = renew(&entry.path()).and_then(|()| fs::remove_dir(entry.path()));
        }
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        // Whoever is in a group still will be found by the next start.
        match &self.base {
            Base::V2(base) => _ = leave_v2(base),
            base @ Base::V1 { .. } => {
                for directory in base.directories() {
                    let _ = fs::remove_dir(directory);
                }
            }
        }
    }
}

impl Group {
    /// Where a process has to write `0` in order to be in it.
    pub(super) fn doors(&self) -> io::Result<Vec<OwnedFd>> {
        let door = |directory: &Path| {
            OpenOptions::new().write(true).open(directory.join("cgroup.procs")).map(OwnedFd::from)
        };
        self.0.directories().into_iter().map(door).collect()
    }

    fn counters(&self) -> Ended {
        match &self.0 {
            Base::V2(own) => Ended {
                oom_kills: key(own, "memory.events", "oom_kill").unwrap_or(0),
                oom_killed: Vec::new(),
                pids_refused: key(own, "pids.events", "max").unwrap_or(0),
                memory_peak: number(own, "memory.peak"),
                cpu: key(own, "cpu.stat", "usage_usec").map(Duration::from_micros),
            },
            Base::V1 { memory, pids, cpuacct } => Ended {
                oom_kills: memory
                    .as_ref()
                    .and_then(|own| key(own, "memory.oom_control", "oom_kill"))
                    .unwrap_or(0),
                oom_killed: Vec::new(),
                pids_refused: pids.as_ref().and_then(|own| key(own, "pids.events", "max")).unwrap_or(0),
                memory_peak: memory.as_ref().and_then(|own| number(own, "memory.max_usage_in_bytes")),
                cpu: cpuacct.as_ref().and_then(|own| number(own, "cpuacct.usage")).map(Duration::from_nanos),
            },
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for directory in self.0.directories() {
            let _ = fs::remove_dir(directory);
        }
    }
}

/// A mounted hierarchy.
struct Tree {
    /// Of version 1; `None` for version 2.
    controllers: Option<Vec<String>>,
    /// The directory of the group that kiln is in.
    own: PathBuf,
}

impl Tree {
    fn all() -> ProcResult<Vec<Self>> {
        let process = Process::myself()?;
        let own = process.cgroups()?;
        let mounts = process.mountinfo()?;
        Ok(mounts.into_iter().filter_map(|mount| Self::of(&mount, &own)).collect())
    }

    fn of(mount: &procfs::process::MountInfo, own: &procfs::ProcessCGroups) -> Option<Self> {
        let v2 = match mount.fs_type.as_str() {
            "cgroup2" => true,
            "cgroup" => false,
            _ => return None,
        };
        let group = own.into_iter().find(|group| {
            if v2 {
                group.hierarchy == 0
            } else {
                let named = |name: &String| mount.super_options.contains_key(name);
                group.hierarchy != 0 && !group.controllers.is_empty() && group.controllers.iter().all(named)
            }
        })?;
        // What is mounted may be a part of the hierarchy only.
        let path = Path::new(&group.pathname).strip_prefix(&mount.root).ok()?;
        let controllers = (!v2).then(|| group.controllers.clone());
        Some(Self { controllers, own: mount.mount_point.join(path) })
    }
}

/// kiln's own, beside those of the tasks: with version 2 processes are in leaves only.
const RUNNER: &str = "runner";
const CONTROLLERS: [&str; 2] = ["memory", "pids"];

/// Divides the group that kiln is in.
fn v2(own: &Path, name: &str) -> io::Result<PathBuf> {
    let there = read(own, "cgroup.controllers").unwrap_or_default();
    if !CONTROLLERS.iter().all(|name| there.split_whitespace().any(|other| other == *name)) {
        let text = format!("its controllers are `{}`; memory and pids are needed", there.trim());
        return Err(io::Error::other(text));
    }
    let base = own.join(name);
    renew(&base)?;
    fs::create_dir(base.join(RUNNER))?;
    let divided = write(&base.join(RUNNER), "cgroup.procs", "0")
        .and_then(|()| switch(own, '+'))
        .and_then(|()| switch(&base, '+'));
    match divided {
        Ok(()) => Ok(base),
        Err(error) => {
            // Others live in kiln's group: it is not kiln's to divide.
            leave_v2(&base)?;
            Err(error)
        }
    }
}

/// Makes one group again of what kiln has divided.
fn leave_v2(base: &Path) -> io::Result<()> {
    let own = base.parent().unwrap_or(base);
    // Fails where it was never switched on.
    let _ = switch(base, '-').and_then(|()| switch(own, '-'));
    write(own, "cgroup.procs", "0")?;
    fs::remove_dir(base.join(RUNNER))?;
    fs::remove_dir(base)
}

/// Switches the controllers on or off for the groups below.
fn switch(directory: &Path, sign: char) -> io::Result<()> {
    let words = CONTROLLERS.map(|name| format!("{sign}{name}")).join(" ");
    write(directory, "cgroup.subtree_control", &words)
}

/// Makes a directory for groups; those that a killed kiln has left there go, with what is in them.
fn renew(base: &Path) -> io::Result<()> {
    match fs::create_dir(base) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        result => return result,
    }
    for entry in fs::read_dir(base)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            // Version 2 only; elsewhere `leftover::sweep` finds them.
            let _ = write(&entry.path(), "cgroup.kill", "1");
            let _ = fs::remove_dir(entry.path());
        }
    }
    Ok(())
}

fn write(directory: &Path, file: &str, text: &str) -> io::Result<()> {
    let path = directory.join(file);
    fs::write(&path, text).map_err(|error| {
        io::Error::new(error.kind(), format!("cannot write `{text}` to {}: {error}", path.display()))
    })
}

fn read(directory: &Path, file: &str) -> Option<String> {
    fs::read_to_string(directory.join(file)).ok()
}

fn number(directory: &Path, file: &str) -> Option<u64> {
    read(directory, file)?.trim().parse().ok()
}

/// The value of a line `KEY VALUE`.
fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))
}

fn key(directory: &Path, file: &str, key: &str) -> Option<u64> {
    value(&read(directory, file)?, key)?.trim().parse().ok()
}

/// The kernel's log from now on. Not everybody may read it.
pub(crate) fn kernel_log() -> io::Result<File> {
    use std::io::Seek as _;
    let mut log = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open("/dev/kmsg")?;
    log.seek(io::SeekFrom::End(0))?;
    Ok(log)
}

/// Names of the processes that the kernel has killed in a group for memory, as far as its log still has them.
fn killed_in(log: &mut File, group: &Group) -> Vec<String> {
    let mut names = Vec::new();
    // One record a read, by the device's rule; the longest has 8 KiB (`CONSOLE_EXT_LOG_MAX`).
    let mut record = [0; 8192];
    loop {
        match log.read(&mut record) {
            Ok(0) => break,
            Ok(length) => {
                let text = String::from_utf8_lossy(&record[..length]);
                names.extend(oom_victim(&text, group).map(str::to_owned));
            }
            // Overwritten before it was read: the next read goes on behind the gap.
            Err(error) if error.raw_os_error() == Some(libc::EPIPE) => {}
            Err(_) => break,
        }
    }
    names
}

/// `oom-kill:constraint=CONSTRAINT_MEMCG,…,task_memcg=/a/b,task=cc1plus,pid=17,uid=0`
fn oom_victim<'a>(record: &'a str, group: &Group) -> Option<&'a str> {
    let fields = record.split_once("oom-kill:")?.1;
    let (_, rest) = fields.split_once("task_memcg=")?;
    let (path, rest) = rest.split_once(",task=")?;
    let (name, _) = rest.rsplit_once(",pid=")?;
    // The log's path begins at the hierarchy's root, ours where that is mounted.
    let ours =
        group.0.directories().into_iter().any(|directory| directory.ends_with(path.trim_start_matches('/')));
    ours.then_some(name)
}

#[cfg(test)]
mod tests;
