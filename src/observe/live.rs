//! Live facts about the host and about kiln itself, read when somebody asks.
//!
//! Owns: reading them, and whether that worked. Does not know: how they are shown.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use procfs::{CpuPressure, Current as _, IoPressure, MemoryPressure, PressureRecord};

use crate::host;
use crate::ledger::place::StateDir;

/// Roles of filesystems, in the order of `Sample::filesystems`.
pub const ROLES: [&str; 4] = ["build", "sysroot", "state", "cache"];

/// Resources that tasks wait for, in the order of `Sample::pressure`.
pub const PRESSURES: [&str; 3] = ["cpu", "memory", "io"];

/// Readers of live facts, in the order of `Sample::collectors`.
pub const COLLECTORS: [&str; 4] = ["filesystem", "memory", "pressure", "process"];

/// The host at one moment. `None` is what could not be read.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sample {
    /// By role.
    pub filesystems: [Option<Filesystem>; 4],
    /// Bytes that can be used without swapping, capped by the cgroup's limit.
    pub memory_available: Option<u64>,
    /// By resource.
    pub pressure: [Option<Pressure>; 3],
    /// kiln itself.
    pub process: Option<Process>,
    /// By reader: how long it took, and whether it worked.
    pub collectors: [(Duration, bool); 4],
}

/// A filesystem.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Filesystem {
    /// Free bytes for us.
    pub available: u64,
    /// Bytes in all.
    pub size: u64,
    /// Free inodes for us.
    pub free_inodes: u64,
}

/// How much of the last 10 seconds tasks of the host waited for a resource: parts of 1.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Pressure {
    /// At least one of them.
    pub some: f64,
    /// All that were not idle.
    pub full: f64,
}

/// A process.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Process {
    /// CPU time, seconds.
    pub cpu: f64,
    /// Open file descriptors.
    pub open_fds: u64,
    /// Most that may be open; `None` without a limit.
    pub max_fds: Option<u64>,
    /// Bytes of virtual memory.
    pub virtual_memory: u64,
    /// Bytes of resident memory.
    pub resident_memory: u64,
    /// Threads.
    pub threads: u64,
    /// When it started, seconds since 1970.
    pub start: f64,
}

impl Sample {
    /// Reads everything.
    pub fn take(place: &StateDir) -> Self {
        let paths = [place.work(), place.sysroot(), place.root().to_owned(), place.sources()];
        let (filesystems, filesystem_cost) = timed(|| paths.map(|path| filesystem(&path).ok()));
        let (memory_available, memory_cost) = timed(|| host::memory_available().ok());
        let (pressure, pressure_cost) = timed(Pressure::all);
        let (process, process_cost) = timed(|| Process::own().ok());
        Self {
            filesystems,
            memory_available,
            pressure,
            process,
            collectors: [
                (filesystem_cost, filesystems.iter().all(Option::is_some)),
                (memory_cost, memory_available.is_some()),
                (
                    pressure_cost,
                    pressure.iter().all(Option::is_some) || !Path::new("/proc/pressure").exists(),
                ),
                (process_cost, process.is_some()),
            ],
        }
    }
}

impl Pressure {
    /// By resource. Before Linux 5.13 the kernel has no `full` for cpu, and the crate takes a file without it for
    /// unreadable.
    fn all() -> [Option<Self>; 3] {
        let cpu = CpuPressure::current().map(|cpu| Self::of(&cpu.some, &cpu.full));
        let memory = MemoryPressure::current().map(|memory| Self::of(&memory.some, &memory.full));
        let io = IoPressure::current().map(|io| Self::of(&io.some, &io.full));
        [cpu.ok(), memory.ok(), io.ok()]
    }

    fn of(some: &PressureRecord, full: &PressureRecord) -> Self {
        // The kernel says per cent, with two digits after the point: so many the ratio has too.
        let ratio = |record: &PressureRecord| (f64::from(record.avg10) * 100.0).round() / 10_000.0;
        Self { some: ratio(some), full: ratio(full) }
    }
}

impl Process {
    /// This process.
    fn own() -> procfs::ProcResult<Self> {
        let own = procfs::process::Process::myself()?;
        let stat = own.stat()?;
        let ticks = procfs::ticks_per_second() as f64;
        let boot = procfs::boot_time_secs()? as f64;
        let max_fds = match own.limits()?.max_open_files.soft_limit {
            procfs::process::LimitValue::Unlimited => None,
            procfs::process::LimitValue::Value(most) => Some(most),
        };
        Ok(Self {
            cpu: (stat.utime + stat.stime) as f64 / ticks,
            open_fds: own.fd_count()? as u64,
            max_fds,
            virtual_memory: stat.vsize,
            resident_memory: stat.rss.saturating_mul(procfs::page_size()),
            threads: u64::try_from(stat.num_threads).unwrap_or(0),
            start: boot + stat.starttime as f64 / ticks,
        })
    }
}

/// The filesystem of `path`, or of the nearest directory above it that exists.
fn filesystem(path: &Path) -> io::Result<Filesystem> {
    let there = path.ancestors().find(|path| path.exists()).unwrap_or(path);
    let stat = rustix::fs::statvfs(there)?;
    Ok(Filesystem {
        available: stat.f_bavail.saturating_mul(stat.f_frsize),
        size: stat.f_blocks.saturating_mul(stat.f_frsize),
        free_inodes: stat.f_favail,
    })
}

fn timed<T>(read: impl FnOnce() -> T) -> (T, Duration) {
    let began = Instant::now();
    let out = read();
    (out, began.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_with_pressure_files_has_pressures_between_0_and_1() {
        let files = PRESSURES.map(|name| Path::new("/proc/pressure").join(name).exists());
        let pressures = Pressure::all();
        assert_eq!(pressures.map(|pressure| pressure.is_some()), files);
        for pressure in pressures.into_iter().flatten() {
            assert!(0.0 <= pressure.full && pressure.full <= pressure.some && pressure.some <= 1.0);
        }
    }

    #[test]
    fn per_cent_become_parts_of_one() {
        let record = |avg10| PressureRecord { avg10, avg60: 0.0, avg300: 0.0, total: 0 };
        assert_eq!(Pressure::of(&record(12.34), &record(0.01)), Pressure { some: 0.1234, full: 0.0001 });
    }
}
