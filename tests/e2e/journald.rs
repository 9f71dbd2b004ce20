//! A systemd-journald of a test's own.
//!
//! It runs in a mount namespace in which `/run`, the journal and its catalog are nobody else's; what a test wants to see of
//! the journal it asks with `journalctl` in there.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Map, Value};

use super::fifo::STUCK;
use super::space::Space;

/// Makes the namespace, says so, and stays until nobody listens any more.
const PLACE: &str = "set -e
for dir in /run /var/log /var/lib/systemd /usr/lib/systemd/catalog; do mount -t tmpfs -o mode=755 tmpfs $dir; done
mkdir -p /run/systemd/journal /run/systemd/journald.conf.d /run/log/journal /var/lib/systemd/catalog
cat > /run/systemd/journald.conf.d/test.conf <<END
[Journal]
Storage=volatile
RateLimitBurst=0
ReadKMsg=no
Audit=no
ForwardToSyslog=no
ForwardToKMsg=no
ForwardToConsole=no
ForwardToWall=no
END
echo made
read end";

/// Where a journald can run.
pub(crate) struct Place {
    keeper: Child,
}

/// One that runs.
pub(crate) struct Journald(Child);

/// An entry of the journal: each field once.
pub(crate) type Entry = Map<String, Value>;

impl Place {
    /// `None`: there can be none here, and that may be.
    pub(crate) fn make(test: &str) -> Option<Self> {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation=private"]).args(user(&["--user", "--map-root-user"]));
        command.args(["--", "/bin/sh", "-c", PLACE]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let made = command.spawn().and_then(|mut keeper| {
            let mut line = String::new();
            BufReader::new(keeper.stdout.take().unwrap()).read_line(&mut line)?;
            let there = line == "made\n" && Path::new(JOURNALD).exists();
            Ok(Some(Self { keeper }).filter(|_| there))
        });
        if let Ok(Some(place)) = made {
            return Some(place);
        }
        assert!(std::env::var_os("CI").is_none(), "{test} needs systemd-journald and unshare");
        eprintln!("skipped: {test} (no systemd-journald, or no namespace for it)");
        None
    }

    /// A command in there, in a directory of its own choice.
    pub(crate) fn command(&self, inner: &Command) -> Command {
        let mut command = Command::new("nsenter");
        command.arg("--mount").arg(format!("--target={}", self.keeper.id()));
        command.args(user(&["--user", "--preserve-credentials"]));
        command.args(["--", "env", "--chdir"]).arg(inner.get_current_dir().unwrap_or(Path::new("/")));
        command.arg(inner.get_program()).args(inner.get_args());
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.stdin(Stdio::null());
        command
    }

    /// Starts one, and waits until it listens.
    pub(crate) fn journald(&self, space: &Space) -> Journald {
        let path = space.path("notify");
        // One that was there before.
        let _ = std::fs::remove_file(&path);
        let ready = UnixDatagram::bind(&path).unwrap();
        ready.set_read_timeout(Some(STUCK)).unwrap();
        let mut journald = Command::new(JOURNALD);
        journald.env("NOTIFY_SOCKET", path);
        let journald = Journald(self.command(&journald).spawn().unwrap());
        let mut buffer = [0; 4096];
        loop {
            let length = ready.recv(&mut buffer).expect("journald starts");
            if buffer[..length].split(|byte| *byte == b'\n').any(|line| line == b"READY=1") {
                return journald;
            }
        }
    }

    /// What `journalctl` says once everything that was sent is in the journal.
    #[track_caller]
    pub(crate) fn journalctl<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> String {
        self.ask(["--sync"]);
        self.ask(arguments)
    }

    #[track_caller]
    fn ask<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> String {
        let mut journalctl = Command::new("journalctl");
        journalctl.env("LC_ALL", "C.UTF-8").arg("--quiet").args(arguments);
        let output = self.command(&journalctl).output().unwrap();
        let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        assert!(output.status.success() && err.is_empty(), "{}\n{out}{err}", output.status);
        out
    }

    /// The entries that `journalctl ARGUMENTS` shows, in order. Each field is there once, and a text.
    #[track_caller]
    pub(crate) fn entries(&self, arguments: &str) -> Vec<Entry> {
        let lines = self.journalctl(arguments.split(' ').chain(["--output=json", "--all"]));
        let entries: Vec<Entry> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        for (field, value) in entries.iter().flatten() {
            assert!(value.is_string(), "{field} is there twice, or is no text: {value}");
        }
        entries
    }

    /// The catalog, as it was compiled.
    pub(crate) fn dump_catalog(&self) -> String {
        self.ask(["--dump-catalog"])
    }

    /// Installs a catalog as a packager does.
    pub(crate) fn install_catalog(&self, file: &str) {
        let mut copy = Command::new("cp");
        copy.args([file, "/usr/lib/systemd/catalog/"]);
        assert!(self.command(&copy).status().unwrap().success());
        assert_eq!(self.ask(["--update-catalog"]), "");
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // It ends when nobody can write to it any more.
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

impl Journald {
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }
}

impl Drop for Journald {
    fn drop(&mut self) {
        // Also one that is stopped.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const JOURNALD: &str = "/lib/systemd/systemd-journald";

/// What a user who is not root needs besides.
fn user(arguments: &'static [&'static str]) -> &'static [&'static str] {
    if rustix::process::geteuid().is_root() { &[] } else { arguments }
}
