//! Who and what a run is: its id, the state directory's id, the user of its scripts.
//!
//! Owns: making ids that nobody else has, and asking the host for the user. Does not know: what they are for.

use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::spawn::User;
use super::{DriverError, Job, prepare};

/// The state directory's own id, which it has had since it was made: processes of its runs carry it.
pub(super) fn state_id(job: &Job) -> Result<String, DriverError> {
    let path = job.state.id();
    let id = std::fs::read_to_string(&path).map_err(|source| DriverError::State { path, source })?;
    Ok(id.trim().to_owned())
}

/// `20261122T101028Z-3f9a1c`: sorts by time, unique without coordination.
pub(super) fn new_build_id() -> String {
    format!("{}-{}", stamp(), &unique()[..6])
}

/// `20261122T101028Z`: now, as a part of names.
pub(super) fn stamp() -> String {
    jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string()
}

/// Hexadecimal digits that no other process has at any time.
fn unique() -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&wall_now().to_le_bytes());
    hasher.update(&std::process::id().to_le_bytes());
    hasher.update(std::fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap_or_default().as_bytes());
    hasher.finalize().to_hex()[..16].to_owned()
}

/// Who scripts run as: `build_user`, where kiln is root and one is set.
pub(super) fn build_user(job: &Job) -> Result<Option<User>, DriverError> {
    let Some(name) = job.settings.build_user.as_ref().filter(|_| rustix::process::geteuid().is_root()) else {
        return Ok(None);
    };
    // `id` asks whatever the host keeps its users in; a parser of ours would know /etc/passwd alone.
    let ask = |what: &str| -> Result<Vec<u32>, DriverError> {
        let what_failed = prepare("look up build_user");
        let output = std::process::Command::new("id").args([what, "--", name]).output();
        let output = match output {
            Ok(output) if output.status.success() => output,
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                return Err(what_failed(io::Error::other(said)));
            }
            Err(error) => return Err(what_failed(error)),
        };
        let numbers = String::from_utf8_lossy(&output.stdout);
        Ok(numbers.split_whitespace().filter_map(|number| number.parse().ok()).collect())
    };
    let first = |numbers: Vec<u32>| {
        numbers.first().copied().ok_or_else(|| prepare("look up build_user")(io::Error::other("no id")))
    };
    Ok(Some(User { uid: first(ask("-u")?)?, gid: first(ask("-g")?)?, groups: ask("-G")? }))
}

/// Names this start of the machine.
pub(super) fn boot_id() -> io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// Now, RFC 3339.
pub(super) fn written_now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Nanoseconds since 1970.
pub(crate) fn wall_now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
