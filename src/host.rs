//! What the host has: cores, memory, disk.
//!
//! Owns: measuring, for the driver (requirements) and for observers alike. Does not know: what is required.

use std::io;
use std::path::Path;

/// Cores that this process may use.
pub fn cores() -> u32 {
    std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX))
}

/// Bytes of memory that can be used without swapping: `MemAvailable`, capped by the cgroup's limit.
pub fn memory_available() -> io::Result<u64> {
    let mut system = sysinfo::System::new().map_err(|error| io::Error::other(error.to_string()))?;
    system.refresh_memory_specifics(sysinfo::MemoryRefreshKind::nothing().with_ram());
    let available = system.available_memory();
    Ok(match system.cgroup_limits() {
        // Without a limit the crate repeats the host's total.
        Some(limits) if limits.total_memory < system.total_memory() => available.min(limits.free_memory),
        Some(_) | None => available,
    })
}

/// Free bytes for us on the filesystem of `path`.
pub fn disk_available(path: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}
