//! From a job to what the kernel is told to start.
//!
//! Owns: where a program is looked for, the strings. Does not know: how a process is made of them (`sys::launch`).

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

use rustix::process::{Gid, Uid};

use super::super::sys::launch::Credentials;
use super::{STATE_VARIABLE, TASK_VARIABLE, User};

/// Where programs are looked for without a `PATH`.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// The places where a program may be.
pub(super) fn candidates(program: &OsStr, env: &[(OsString, OsString)]) -> io::Result<Vec<CString>> {
    if program.as_bytes().contains(&b'/') {
        return Ok(vec![string(program.to_owned())?]);
    }
    let path = env.iter().rfind(|(name, _)| name == "PATH").map(|(_, value)| value.as_os_str());
    std::env::split_paths(path.unwrap_or(OsStr::new(DEFAULT_PATH)))
        .map(|directory| {
            // Nothing means here, as everywhere.
            let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { &directory };
            string(directory.join(program).into_os_string())
        })
        .collect()
}

/// The environment, and the two variables that name the task.
pub(super) fn environment(
    env: Vec<(OsString, OsString)>,
    state_id: &str,
    task: u64,
) -> io::Result<Vec<CString>> {
    let marks = [(STATE_VARIABLE, state_id.to_owned()), (TASK_VARIABLE, task.to_string())];
    let is_mark = |name: &OsString| name == STATE_VARIABLE || name == TASK_VARIABLE;
    env.into_iter()
        .filter(|(name, _)| !is_mark(name))
        .chain(marks.map(|(name, value)| (name.into(), value.into())))
        .map(|(mut variable, value)| {
            variable.push("=");
            variable.push(value);
            string(variable)
        })
        .collect()
}

pub(super) fn string(text: impl Into<OsString>) -> io::Result<CString> {
    Ok(CString::new(text.into().into_vec())?)
}

pub(in crate::driver) fn credentials(user: &User) -> io::Result<Credentials> {
    // The kernel takes this one for `do not change`.
    let valid = |id: u32| {
        let invalid = || io::Error::new(io::ErrorKind::InvalidInput, "user or group id out of range");
        if id == u32::MAX { Err(invalid()) } else { Ok(id) }
    };
    Ok(Credentials {
        uid: Uid::from_raw(valid(user.uid)?),
        gid: Gid::from_raw(valid(user.gid)?),
        groups: user.groups.iter().map(|id| valid(*id).map(Gid::from_raw)).collect::<io::Result<_>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(program: &str, path: Option<&str>) -> Vec<String> {
        let env: Vec<_> = path.map(|path| ("PATH".into(), path.into())).into_iter().collect();
        let places = candidates(OsStr::new(program), &env).unwrap();
        places.into_iter().map(|place| place.into_string().unwrap()).collect()
    }

    #[test]
    fn a_program_is_looked_for_where_a_shell_would() {
        assert_eq!(places("./make", Some("/bin")), ["./make"]);
        assert_eq!(places("make", Some("/a:/b")), ["/a/make", "/b/make"]);
        assert_eq!(places("make", Some("/a::/b")), ["/a/make", "./make", "/b/make"]);
        assert_eq!(places("make", None), ["/bin/make", "/usr/bin/make"]);
    }

    #[test]
    fn marks_cannot_be_forged_and_a_nul_is_refused() {
        let env = |name: &str, value: &str| environment(vec![(name.into(), value.into())], "s", 7);
        let text = |env: io::Result<Vec<CString>>| -> Vec<String> {
            env.unwrap().into_iter().map(|text| text.into_string().unwrap()).collect()
        };
        assert_eq!(text(env("A", "1")), ["A=1", "KILN_STATE_ID=s", "KILN_TASK_ID=7"]);
        assert_eq!(text(env("KILN_TASK_ID", "8")), ["KILN_STATE_ID=s", "KILN_TASK_ID=7"]);
        assert!(env("A", "1\x002").is_err());
    }
}
