//! Processes that run a spawner and can be killed, or be another user: this test binary again, told by a variable
//! which scenario to play.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use kiln::driver::spawn::{Options, Report, SpawnError, prepare_process};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, kill_process};

use super::space::{Fifo, Space, options, read_to_string};
use super::{fallback, sandbox};

pub(crate) const SCENARIO: &str = "KILN_TEST_SCENARIO";
const DIRECTORY: &str = "KILN_TEST_DIRECTORY";
const STATE: &str = "KILN_TEST_STATE";

/// Plays the scenario that it is told; without one, as in an ordinary test run, there is nothing to do.
#[test]
fn host_process() {
    let Ok(scenario) = std::env::var(SCENARIO) else { return };
    match &*scenario {
        "descriptors" => descriptors(),
        "init-killed" => init_killed(),
        "daemon" => daemon(),
        "fallback-confinement" => fallback::confinement(),
        "fallback-leftovers" => fallback::leftovers(),
        "fallback-no-evidence" => fallback::no_evidence(),
        "fallback-shutdown" => fallback::shutdown(),
        "network" => sandbox::network_scenario(),
        "sweep-from-inside" => fallback::sweep_from_inside(),
        other => panic!("{other}"),
    }
    println!("played {scenario}");
}

fn host(scenario: &str, uid: Option<u32>) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["spawn::host::host_process", "--exact", "--nocapture"]).env(SCENARIO, scenario);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    if let Some(uid) = uid {
        command.uid(uid).gid(uid);
    }
    command
}

/// Plays a scenario to its end.
#[track_caller]
pub(crate) fn check(scenario: &str, uid: Option<u32>) {
    check_with(scenario, uid, &[]);
}

#[track_caller]
pub(crate) fn check_with(scenario: &str, uid: Option<u32>, variables: &[(&str, &str)]) {
    let output = host(scenario, uid).envs(variables.iter().copied()).output().unwrap();
    let text = read_to_string(&*output.stdout) + &read_to_string(&*output.stderr);
    assert!(output.status.success() && text.contains(&format!("played {scenario}")), "{text}");
}

fn descriptors() {
    let leak = || rustix::fs::open("/dev/null", OFlags::RDONLY, Mode::empty()).unwrap();
    let _leaks: Vec<_> = (0..10).map(|_| leak()).collect();
    prepare_process().unwrap();
    let space = Space::new();
    // The fourth is the directory that ls reads.
    assert_eq!(space.output_of(space.job(1, &["/bin/ls", "/proc/self/fd"])), "0\n1\n2\n3\n");
    assert_eq!(space.output_of(space.job(2, &["/bin/grep", "Umask", "/proc/self/status"])), "Umask:\t0022\n");
}

fn init_killed() {
    let space = Space::new();
    space.start(space.job(1, &["/bin/sleep", "1000"]));
    let task = |entry: std::io::Result<std::fs::DirEntry>| {
        std::fs::read_to_string(entry.unwrap().path().join("children")).unwrap()
    };
    let children: String = std::fs::read_dir("/proc/self/task").unwrap().map(task).collect();
    let init = children
        .split_whitespace()
        .find(|pid| {
            std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap().contains("--pid-namespace-init")
        })
        .unwrap();
    kill_process(Pid::from_raw(init.parse().unwrap()).unwrap(), Signal::KILL).unwrap();
    assert_eq!(space.end_of(1).exit, kiln::driver::spawn::Exit::Signal(9));
    space.spawner.spawn(space.job(2, &["/bin/true"]));
    assert!(matches!(space.report(), Report::SpawnFailed { id: 2, error: SpawnError::Internal(_) }));
}

/// Runs a task with a daemon until it is killed.
fn daemon() {
    let directory = PathBuf::from(std::env::var_os(DIRECTORY).unwrap());
    let options = Options { state_id: std::env::var(STATE).unwrap(), ..options() };
    let space = Space::within(&directory, options);
    let daemon = "exec 9>hold; echo up >up; sleep 1000; true";
    space.start_script(1, &format!("( setsid sh -c '{daemon}' & ); exec sleep 1000"));
    space.end_of(1);
}

/// A kiln whose task has a daemon.
pub(crate) struct KilnWithDaemon {
    /// Held by the daemon and its child.
    pub(crate) hold: Fifo,
    pub(crate) state_id: String,
    child: Mutex<Child>,
    _directory: tempfile::TempDir,
}

impl KilnWithDaemon {
    pub(crate) fn start(uid: Option<u32>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        rustix::fs::chmod(directory.path(), Mode::from_bits_truncate(0o777)).unwrap();
        let (hold, up) =
            (Fifo::make(&directory.path().join("hold")), Fifo::make(&directory.path().join("up")));
        let state_id = directory.path().display().to_string();
        let child = host("daemon", uid)
            .env(DIRECTORY, directory.path())
            .env(STATE, &state_id)
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        up.wait_for_line();
        Self { hold, state_id, child: Mutex::new(child), _directory: directory }
    }

    /// With SIGKILL.
    pub(crate) fn kill(&self) {
        let mut child = self.child.lock().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
