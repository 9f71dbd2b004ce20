//! Commands that help to fetch.
//!
//! Owns: running one until it ends or is cancelled. Does not know: what the commands are.
//!
//! Should kiln itself be killed, a command goes on by itself until its own time-outs: it has no standard input and
//! writes only to nameless files and below the cache, where the next kiln takes up what it left.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use super::error::{FetchError, Reason, Stop};
use super::turns;

/// How often a command is looked at. Most end within a few of these.
const TICK: Duration = Duration::from_millis(10);
/// Bytes of an error's text that are kept.
const TAIL: usize = 2000;

/// A command that ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) status: ExitStatus,
    pub(super) stdout: String,
    stderr: String,
}

impl Ended {
    /// The end of what it complained about, or its status.
    pub(super) fn complaint(&self) -> String {
        let text = self.stderr.trim();
        if text.is_empty() {
            return self.status.to_string();
        }
        let start = text.len().saturating_sub(TAIL);
        text[text.ceil_char_boundary(start)..].to_owned()
    }
}

/// Runs `command` in a process group of its own. Its output goes through files without a name in `scratch`; `watch`
/// is called while it runs. When cancelled, the whole group is killed.
pub(super) fn run(
    command: &mut Command,
    scratch: &Path,
    cancel: &AtomicBool,
    watch: &mut dyn FnMut(),
) -> Result<Ended, Stop> {
    let file = || tempfile::tempfile_in(scratch).map_err(FetchError::io(scratch));
    let (mut stdout, mut stderr) = (file()?, file()?);
    let io = |error| FetchError::io(scratch)(error);
    let program = command.get_program().to_owned();
    let spawned = command
        .stdin(Stdio::null())
        .stdout(stdout.try_clone().map_err(io)?)
        .stderr(stderr.try_clone().map_err(io)?)
        .process_group(0)
        .spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let name = Path::new(&program).display();
            return Err(Reason::Unsupported(format!("`{name}` is not installed here")).into());
        }
        Err(error) => return Err(FetchError::io(Path::new(&program))(error).into()),
    };
    let status = loop {
        if let Err(cancelled) = turns::check(cancel) {
            kill(&mut child);
            return Err(cancelled.into());
        }
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) => thread::sleep(TICK),
            Err(error) => {
                kill(&mut child);
                return Err(FetchError::io(Path::new(&program))(error).into());
            }
        }
        watch();
    };
    watch();
    let text = |file: &mut File| -> Result<String, FetchError> {
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(0))
            .and_then(|_| file.read_to_end(&mut bytes))
            .map_err(FetchError::io(scratch))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    Ok(Ended { status, stdout: text(&mut stdout)?, stderr: text(&mut stderr)? })
}

/// Kills the group and reaps its leader. Errors mean that it has just ended by itself.
fn kill(child: &mut Child) {
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    group.and_then(|group| kill_process_group(group, Signal::KILL).ok());
    drop(child.wait());
}

#[cfg(test)]
mod tests {
    use std::env::temp_dir;
    use std::sync::atomic::Ordering;

    use rustix::fs::{FlockOperation, flock};

    use super::*;

    fn sh(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn output_and_complaints_are_told_apart_and_only_the_end_of_complaints_is_kept() {
        let script = "echo out; i=0; while [ $i -lt 900 ]; do echo $i é >&2; i=$((i+1)); done; exit 3";
        let ended = run(&mut sh(script), &temp_dir(), &AtomicBool::new(false), &mut || {}).unwrap();
        assert_eq!((ended.stdout.as_str(), ended.status.code()), ("out\n", Some(3)));
        let complaint = ended.complaint();
        assert!(complaint.len() <= TAIL && complaint.ends_with("898 é\n899 é"), "{complaint}");
        let silent = run(&mut sh("exit 4"), &temp_dir(), &AtomicBool::new(false), &mut || {}).unwrap();
        assert_eq!(silent.complaint(), "exit status: 4");
    }

    #[test]
    fn a_cancelled_command_is_killed_with_its_children() {
        let dir = tempfile::tempdir().unwrap();
        let (locked, cancel) = (dir.path().join("locked"), AtomicBool::new(false));
        // The grandchild has the file locked as long as it lives, and says so with a second file.
        let mut script = sh("exec 9>locked; flock 9; sleep 1000 & : >ready; wait");
        script.current_dir(dir.path());
        let mut watch = || cancel.store(dir.path().join("ready").exists(), Ordering::Relaxed);
        let stopped = run(&mut script, dir.path(), &cancel, &mut watch);
        assert!(matches!(stopped, Err(Stop::Fetch(FetchError::Cancelled))), "{stopped:?}");
        // Waits for the kernel to bury it; for ever if it was spared.
        flock(File::open(locked).unwrap(), FlockOperation::LockExclusive).unwrap();
    }

    #[test]
    fn a_missing_command_is_named() {
        let missing = run(&mut Command::new("/no/such"), &temp_dir(), &AtomicBool::new(false), &mut || {});
        assert!(
            matches!(missing, Err(Stop::Mirror(Reason::Unsupported(text))) if text.contains("`/no/such`"))
        );
    }
}
