//! A kiln that runs, and what it said.

use std::fs::{self, File};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};

use rustix::event::PollFlags;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use super::fifo::{self, Changes};

/// What a kiln left.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Killed when dropped.
pub(crate) struct Running {
    child: Child,
    ended: OwnedFd,
    output: [PathBuf; 2],
}

impl Running {
    /// Starts a command whose output goes to `BASE.stdout` and `BASE.stderr`.
    pub(crate) fn start(mut command: Command, base: &Path) -> Self {
        let output = ["stdout", "stderr"].map(|extension| base.with_extension(extension));
        command.stdout(File::create(&output[0]).unwrap()).stderr(File::create(&output[1]).unwrap());
        let child = command.spawn().unwrap();
        let ended = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).unwrap();
        Self { child, ended, output }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Readable once it has ended.
    pub(crate) fn end(&self) -> BorrowedFd<'_> {
        self.ended.as_fd()
    }

    /// What it has said so far.
    pub(crate) fn said(&self) -> String {
        self.output.each_ref().map(|path| fs::read_to_string(path).unwrap()).concat()
    }

    /// Blocks until it has said this to standard error, and returns the rest of that line.
    #[track_caller]
    pub(crate) fn says(&self, words: &str) -> String {
        let changes = Changes::of(&self.output[1]);
        loop {
            let said = fs::read_to_string(&self.output[1]).unwrap();
            let line = said.lines().find_map(|line| line.split_once(words));
            if let Some((_, rest)) = line.filter(|_| said.ends_with('\n')) {
                return rest.to_owned();
            }
            assert!(changes.wait_or(self.end()), "kiln has ended:\n{}", self.said());
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    #[track_caller]
    pub(crate) fn wait(mut self) -> Ended {
        fifo::wait(&[self.ended.as_fd()], PollFlags::IN);
        let status = self.child.wait().unwrap();
        let [stdout, stderr] = self.output.each_ref().map(|path| fs::read_to_string(path).unwrap());
        Ended { status, stdout, stderr }
    }

    /// SIGKILL, and what it left.
    #[track_caller]
    pub(crate) fn kill(self) -> Ended {
        self.signal(Signal::KILL);
        self.wait()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already, or its test has failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.status.code(), Some(code), "{}\n{}{}", self.status, self.stdout, self.stderr);
        self
    }

    #[track_caller]
    pub(crate) fn says(self, words: &str) -> Self {
        assert!(self.stderr.contains(words), "no `{words}` in:\n{}", self.stderr);
        self
    }

    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}:\n{}", self.stdout))
    }
}
