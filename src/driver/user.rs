//! Who scripts run as.

use std::io;

use super::spawn::User;
use super::{DriverError, Job, prepare};

/// `build_user`, where kiln is root and one is set.
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
