//! What the host has: cores, memory, disk.
//!
//! Owns: measuring, for the driver (requirements) and for observers alike. Does not know: what is required.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use procfs::process::{MountInfo, MountInfos, Process};
use procfs::{FromRead as _, Meminfo, ProcResult, ProcessCGroup, ProcessCGroups};

use rustix::fs::StatVfsMountFlags;
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

/// Cores that this process may use.
pub fn cores() -> u32 {
    std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX))
}

/// Whether there is such a process, and no corpse: where nobody buries the dead they still have their ids.
pub fn is_alive(pid: u32) -> bool {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return false };
    let stat = || Process::new(pid.as_raw_pid()).and_then(|process| process.stat());
    test_kill_process(pid) != Err(Errno::SRCH) && !stat().is_ok_and(|stat| matches!(stat.state, 'Z' | 'X'))
}

/// Bytes of memory that can be used without swapping: `MemAvailable`, capped by what the limits of our cgroup and
/// of those above it leave.
pub fn memory_available() -> io::Result<u64> {
    memory_available_in(Path::new("/")).map_err(|error| io::Error::other(error.to_string()))
}

/// The same of the system whose `proc` and `sys` are below `root`.
fn memory_available_in(root: &Path) -> ProcResult<u64> {
    let info = Meminfo::from_file(root.join("proc/meminfo"))?;
    // Kernels before 3.14 have no estimate of their own.
    let available = info.mem_available.unwrap_or(info.mem_free);
    Ok(left_by_cgroups(root).into_iter().fold(available, u64::min))
}

/// For each group with a limit that counts for us: what is left of it. A host without cgroups has none.
fn left_by_cgroups(root: &Path) -> Vec<u64> {
    let own = root.join("proc/self");
    let (Ok(groups), Ok(mounts)) =
        (ProcessCGroups::from_file(own.join("cgroup")), MountInfos::from_file(own.join("mountinfo")))
    else {
        return Vec::new();
    };
    let mut left = Vec::new();
    for group in &groups {
        let Some(kind) = Hierarchy::of(group) else { continue };
        let Some(mount) = mounts.iter().find(|mount| kind.is_mounted_at(mount)) else { continue };
        let top = root.join(mount.mount_point.strip_prefix("/").unwrap_or(&mount.mount_point));
        let mut at = directory(&top, mount, group);
        // A limit bounds everything below it, so each on the way up counts.
        loop {
            left.extend(kind.left(&at));
            if at == top || !at.pop() {
                break;
            }
        }
    }
    left
}

/// Where a group is, as far as it can be seen: in a container the mount may show only a part of the tree, or the
/// group may be outside of what our namespace sees (`/../…`); then the mount's top is the nearest.
fn directory(top: &Path, mount: &MountInfo, group: &ProcessCGroup) -> PathBuf {
    let path = Path::new(&group.pathname);
    let below = path.strip_prefix(&mount.root).or_else(|_| path.strip_prefix("/")).unwrap_or(Path::new(""));
    let inside = below.components().all(|part| matches!(part, std::path::Component::Normal(_)));
    let at = if inside { top.join(below) } else { top.to_owned() };
    if at.is_dir() { at } else { top.to_owned() }
}

/// A tree of groups that limits memory, and the names of its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hierarchy {
    V1,
    V2,
}

impl Hierarchy {
    fn of(group: &ProcessCGroup) -> Option<Self> {
        if group.controllers.iter().any(|controller| controller == "memory") {
            Some(Self::V1)
        } else {
            (group.hierarchy == 0).then_some(Self::V2)
        }
    }

    fn is_mounted_at(self, mount: &MountInfo) -> bool {
        match self {
            Self::V1 => mount.fs_type == "cgroup" && mount.super_options.contains_key("memory"),
            Self::V2 => mount.fs_type == "cgroup2",
        }
    }

    /// What is left of one group's limit. None without a limit, or without such files: v2's root has none.
    fn left(self, group: &Path) -> Option<u64> {
        let (limit, usage, cache) = match self {
            // "No limit" is a number so large that it never is the smallest.
            Self::V1 => ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
            // "No limit" is `max`.
            Self::V2 => ("memory.max", "memory.current", "inactive_file"),
        };
        let number = |name| fs::read_to_string(group.join(name)).ok()?.trim().parse::<u64>().ok();
        let (limit, usage) = (number(limit)?, number(usage)?);
        // Files that were read or written count as usage until the memory is needed. Without this a group that has
        // built anything would seem full, as `MemFree` would.
        let stat = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
        let reclaimable = stat.lines().find_map(|line| line.strip_prefix(cache)?.trim().parse().ok());
        Some(limit.saturating_sub(usage.saturating_sub(reclaimable.unwrap_or(0))))
    }
}

/// What a filesystem has left for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Free {
    /// Bytes.
    pub bytes: u64,
    /// Inodes; `None` where it has no fixed number of them.
    pub inodes: Option<u64>,
}

/// What the filesystem of `path` has left for us.
pub fn filesystem(path: &Path) -> io::Result<Free> {
    let stat = rustix::fs::statvfs(path)?;
    let inodes = (stat.f_files > 0).then_some(stat.f_favail);
    Ok(Free { bytes: stat.f_bavail.saturating_mul(stat.f_frsize), inodes })
}

/// Whether the filesystem of `path` cannot be written. One that cannot be asked can, as far as anybody knows.
pub fn is_read_only(path: &Path) -> bool {
    rustix::fs::statvfs(path).is_ok_and(|stat| stat.f_flag.contains(StatVfsMountFlags::RDONLY))
}

/// Free bytes for us on the filesystem of `path`.
pub fn disk_available(path: &Path) -> io::Result<u64> {
    Ok(filesystem(path)?.bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMINFO: &str = "MemTotal: 8000 kB\nMemFree: 1000 kB\nMemAvailable: 4000 kB\nBuffers: 0 kB\n\
        Cached: 0 kB\nSwapCached: 0 kB\nActive: 0 kB\nInactive: 0 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n\
        Dirty: 0 kB\nWriteback: 0 kB\nMapped: 0 kB\nSlab: 0 kB\nCommitted_AS: 0 kB\nVmallocTotal: 0 kB\n\
        VmallocUsed: 0 kB\nVmallocChunk: 0 kB\n";
    const V1: &str = "36 25 0:31 / /sys/fs/cgroup/memory rw,nosuid - cgroup cgroup rw,memory\n";
    const V2: &str = "29 25 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";

    /// A system of which these files below `sys/fs/cgroup` are known; kB are available in it.
    #[track_caller]
    fn check(mounts: &str, own: &str, groups: &[(&str, &str)], expected_kb: u64) {
        let root = tempfile::tempdir().unwrap();
        let files = [("proc/meminfo", MEMINFO), ("proc/self/cgroup", own), ("proc/self/mountinfo", mounts)];
        let groups = groups.iter().map(|(path, text)| (format!("sys/fs/cgroup/{path}"), *text));
        for (path, text) in files.map(|(path, text)| (path.to_owned(), text)).into_iter().chain(groups) {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        assert_eq!(memory_available_in(root.path()).unwrap(), expected_kb * 1024);
    }

    #[test]
    fn without_cgroups_it_is_what_the_kernel_says() {
        check("", "", &[], 4000);
        check(V2, "0::/\n", &[("cgroup.procs", "")], 4000);
    }

    #[test]
    fn the_own_groups_limit_caps_it() {
        let group = [("build/memory.max", "2048000\n"), ("build/memory.current", "1024000\n")];
        check(V2, "0::/build\n", &group, 1000);
        let group = [
            ("memory/build/memory.limit_in_bytes", "2048000\n"),
            ("memory/build/memory.usage_in_bytes", "1024000\n"),
        ];
        check(V1, "4:memory:/build\n3:cpuset:/\n", &group, 1000);
    }

    #[test]
    fn every_group_above_counts_and_the_smallest_rest_wins() {
        let groups = [
            ("a/memory.max", "1536000\n"),
            ("a/memory.current", "1024000\n"),
            ("a/b/memory.max", "max\n"),
            ("a/b/memory.current", "512000\n"),
            ("a/b/c/memory.max", "2048000\n"),
            ("a/b/c/memory.current", "0\n"),
        ];
        check(V2, "0::/a/b/c\n", &groups, 500);
        let unlimited = "9223372036854771712\n";
        let groups = [
            ("memory/memory.limit_in_bytes", unlimited),
            ("memory/memory.usage_in_bytes", "1024000\n"),
            ("memory/a/memory.limit_in_bytes", "512000\n"),
            ("memory/a/memory.usage_in_bytes", "1024000\n"),
            ("memory/a/b/memory.limit_in_bytes", unlimited),
            ("memory/a/b/memory.usage_in_bytes", "0\n"),
        ];
        // With a v2 tree beside it that has no memory controller.
        check(&format!("{V2}{V1}"), "4:memory:/a/b\n0::/\n", &groups, 0);
    }

    #[test]
    fn files_that_can_be_dropped_from_memory_are_not_in_use() {
        let group = [
            ("build/memory.max", "2048000\n"),
            ("build/memory.current", "2048000\n"),
            ("build/memory.stat", "anon 1\ninactive_file 1024000\nactive_file 7\n"),
        ];
        check(V2, "0::/build\n", &group, 1000);
    }

    #[test]
    fn in_a_container_the_mount_shows_a_part_of_the_tree() {
        let inside = "36 25 0:31 /docker/1 /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        let limit = [("memory.max", "1024000\n"), ("memory.current", "0\n")];
        for own in ["0::/docker/1\n", "0::/docker/1/gone\n", "0::/../../other\n", "0::/\n"] {
            check(inside, own, &limit, 1000);
        }
    }
}
