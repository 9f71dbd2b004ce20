//! Ids: of a state directory, of a run.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{DriverError, Job};

/// The state directory's own id, which it has had since it was made.
pub(super) fn state_id(job: &Job) -> Result<String, DriverError> {
    let path = job.state.id();
    let id = std::fs::read_to_string(&path).map_err(|source| DriverError::State { path, source })?;
    Ok(id.trim().to_owned())
}

/// `20261122T101028Z-3f9a1c`: sorts by time, unique without coordination.
pub(super) fn new_build_id() -> String {
    let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
    format!("{now}-{}", &unique()[..6])
}

/// Hexadecimal digits that no other process has at any time.
fn unique() -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&wall_now().to_le_bytes());
    hasher.update(&std::process::id().to_le_bytes());
    hasher.update(std::fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap_or_default().as_bytes());
    hasher.finalize().to_hex()[..16].to_owned()
}

/// Nanoseconds since 1970.
pub(super) fn wall_now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
