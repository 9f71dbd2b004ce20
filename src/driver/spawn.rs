//! Starts tasks' processes, says how they ended, and ends what they leave behind.
//!
//! Owns: the one thread that spawns, the pid namespace that it spawns into, every process of every task.
//! Does not know: packages, attempts, time-outs (whoever decides sends [`Spawner::kill`]), logs, where a task may write
//! (each [`Job`] says that).
//!
//! **Invariant: when `Exited` is reported, no process of that task is left**, not even one that called `setsid`
//! or forked twice. An orphan is a child of the namespace's init (or, without a namespace, of kiln); whose it is
//! says, in this order: its process group or session, `KILN_TASK_ID` in its environment, the timer slack that
//! it inherited (readable with `CAP_SYS_NICE` only). One that hid all of these belongs to any of the tasks
//! that were running when it started, and ends with the last of them. So the invariant has one hole: without
//! `CAP_SYS_NICE` such an orphan outlives its own task until then.
//!
//! **Invariant: nothing outlives kiln**, however kiln ends: the kernel ends the namespace with its init, and
//! the init with kiln. Without a namespace the next start must call [`leftover::sweep`](super::leftover::sweep),
//! which cannot see orphans that cleared their environment.
//!
//! A process that the kernel cannot end (state D) delays its task's `Exited`, and [`Spawner::shutdown`].

pub(in crate::driver) mod birth;
mod cgroup;
pub(in crate::driver) mod isolation;
mod namespace;
mod orphan;
pub(in crate::driver) mod process;
mod user_namespace;
mod worker;

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Weak, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;
use std::{io, thread};

use parking_lot::Mutex;
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::Mode;

use super::sys;

pub use cgroup::MemoryGauge;
pub(crate) use cgroup::{kernel_log, sweep as sweep_groups};
pub use namespace::{INIT_ARGUMENT, init_main};
pub use user_namespace::{PROBE_ARGUMENT, enter_user_namespace, probe_main};

/// In the environment of every task: the state directory's unique id, by which a later start finds leftovers.
pub const STATE_VARIABLE: &str = "KILN_STATE_ID";
/// In the environment of every task: its [`Job::id`].
pub const TASK_VARIABLE: &str = "KILN_TASK_ID";

/// How a [`Spawner`] works.
#[derive(Debug, Clone)]
pub struct Options {
    /// Unique id of the state directory; every task carries it as [`STATE_VARIABLE`].
    pub state_id: String,
    /// This program, whose `main` hands [`INIT_ARGUMENT`] to [`init_main`].
    pub executable: PathBuf,
    /// Whether to try for a pid namespace.
    pub namespace: bool,
    /// Whether to try for a control group for each job that has [`Job::limits`].
    pub cgroups: bool,
    /// Whether to try for what [`Job::confined`] asks for.
    pub isolation: bool,
}

impl Options {
    /// A namespace if permitted, with this very executable as its init; no control groups, no isolation.
    pub fn new(state_id: impl Into<String>) -> Self {
        let executable = PathBuf::from("/proc/self/exe");
        Self { state_id: state_id.into(), executable, namespace: true, cgroups: false, isolation: false }
    }
}

/// One process to start, in a process group of its own, standard input from /dev/null.
#[derive(Debug)]
pub struct Job {
    /// Names the job in reports and kills; must not be the id of a job that has not ended.
    pub id: u64,
    /// Program and arguments. A program with a slash in its name starts fastest; others are looked up in
    /// `PATH` of `env`.
    pub argv: Vec<OsString>,
    /// The whole environment but for the two variables that name the task.
    pub env: Vec<(OsString, OsString)>,
    /// Working directory.
    pub cwd: PathBuf,
    /// Standard output, and standard error unless that has a file of its own.
    pub output: File,
    /// Standard error, where it is to be told from the output.
    pub errors: Option<File>,
    /// Who to run as; kiln's own user and groups when absent.
    pub user: Option<User>,
    /// What it may use. With it, though it may set no limit, the job gets a control group where there are any.
    pub limits: Option<Limits>,
    /// With it, the job has no network but a loopback, which all such jobs share, and may write only below these
    /// directories, to its output and to the usual devices: as much of this as [`Spawner::isolation`] says.
    pub confined: Option<Vec<PathBuf>>,
}

/// What a job may use, where control groups enforce it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u32>,
}

/// Numeric credentials of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Supplementary group ids.
    pub groups: Vec<u32>,
}

/// What [`Spawner::kill`] sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM to the process group, and SIGCONT so that a stopped one hears it. The job's end is then that of the
    /// whole group.
    Term,
    /// SIGKILL to the process group; what is left elsewhere is killed as soon as the group's leader is gone.
    Kill,
}

/// What happened to a job. `SpawnFailed` and `Exited` are last words.
#[derive(Debug)]
pub enum Report {
    /// Its program runs.
    Started {
        /// The job.
        id: u64,
        /// Process and process group id, as seen by kiln.
        pid: u32,
    },
    /// It never ran.
    SpawnFailed {
        /// The job.
        id: u64,
        /// Why.
        error: SpawnError,
    },
    /// It and all its descendants are gone.
    Exited {
        /// The job.
        id: u64,
        /// How the top process ended.
        exit: Exit,
        /// What the top process used, and those descendants that were waited for.
        usage: Usage,
        /// Processes that it left behind and kiln ended.
        leftovers: u32,
        /// What the kernel says of its control group, if it had one.
        group: Option<Ended>,
    },
}

/// What the kernel says of a job's control group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ended {
    /// Processes of it that the kernel has killed for memory.
    pub oom_kills: u64,
    /// Their names, where kiln may read the kernel's log.
    pub oom_killed: Vec<String>,
    /// How often it could not get another process or thread for its limit.
    pub pids_refused: u64,
    /// The most memory that it had, bytes, page cache included; Linux 5.19 or later with version 2.
    pub memory_peak: Option<u64>,
    /// CPU time, descendants that nobody waited for included.
    pub cpu: Option<Duration>,
}

/// Which control groups jobs get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Control {
    /// Version 2, with memory and pids.
    V2,
    /// Version 1, with those of the two controllers that there are.
    V1 {
        /// Memory can be limited.
        memory: bool,
        /// Processes can be limited.
        pids: bool,
    },
    /// None.
    Neither {
        /// Why.
        reason: String,
    },
}

/// What keeps a confined job in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Isolation {
    /// Landlock limits where it may write: the ABI; or why not.
    pub writes: Result<i32, String>,
    /// It has no network but a loopback; or why it has the host's.
    pub network: Result<(), String>,
}

impl Isolation {
    fn unwanted() -> Self {
        let reason = || "not wanted".to_owned();
        Self { writes: Err(reason()), network: Err(reason()) }
    }
}

/// What jobs run on.
#[derive(Debug, Clone)]
pub struct Ground {
    /// What ends them when kiln is killed.
    pub confinement: Confinement,
    /// Which control groups they get.
    pub control: Control,
    /// How much memory they use, where they have control groups.
    pub memory: Option<MemoryGauge>,
    /// What keeps confined ones in.
    pub isolation: Isolation,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// With this exit code.
    Code(i32),
    /// By this signal's number.
    Signal(i32),
    /// Internal error: other code of this process has waited for it.
    Lost,
}

/// Resources used, as wait4 counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// CPU time in user mode.
    pub user: Duration,
    /// CPU time in the kernel.
    pub system: Duration,
    /// Peak memory of the largest single process, not of the task.
    pub max_rss_bytes: u64,
}

impl Usage {
    const NONE: Self = Self { user: Duration::ZERO, system: Duration::ZERO, max_rss_bytes: 0 };
}

/// Why a job did not start.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// Its control group could not be made, or its limits set.
    #[error("cannot make a control group")]
    Group(#[source] io::Error),
    /// It could not be kept in.
    #[error("cannot confine it")]
    Confine(#[source] io::Error),
    /// Program, working directory, user, or the kernel's limits.
    #[error("cannot start `{program}`")]
    Exec {
        /// First of argv.
        program: String,
        /// What the kernel said; "not found" may mean the working directory or the script's interpreter.
        source: io::Error,
    },
    /// `argv` is empty.
    #[error("job has no program")]
    NoProgram,
    /// A job with this id has not ended yet.
    #[error("job `{0}` is running already")]
    Duplicate(u64),
    /// Nothing can start any more: somebody killed the namespace's init, and with it all tasks.
    #[error("internal error: {0}")]
    Internal(&'static str),
    /// The spawner is shutting down.
    #[error("kiln is shutting down")]
    ShuttingDown,
}

/// Why a [`Spawner`] did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The pid namespace was permitted but its init did not come up.
    #[error("cannot start `{executable}` as init of a pid namespace")]
    Init {
        /// What was run.
        executable: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Anything else that the kernel refused.
    #[error("cannot prepare the spawning of tasks: {step}")]
    Prepare {
        /// What was being done.
        step: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

/// What ends the tasks when kiln is killed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Confinement {
    /// The kernel, at once.
    PidNamespace {
        /// Tasks see a /proc of their own, where their process ids are right.
        private_proc: bool,
    },
    /// The next start's [`leftover::sweep`](super::leftover::sweep).
    ProcessGroups {
        /// Why there is no namespace.
        reason: String,
    },
}

/// The spawning thread. Dropping it ends every task and waits for them.
///
/// One per process: without a namespace it adopts every orphan of the process. It takes children of kiln's main
/// thread that have left kiln's process group for such orphans.
#[derive(Debug)]
pub struct Spawner {
    inbox: Arc<Inbox>,
    ground: Ground,
    thread: Option<JoinHandle<()>>,
}

/// Reaches a [`Spawner`] from other threads, and does not keep it alive.
#[derive(Debug, Clone)]
pub struct Hand(Weak<Inbox>);

/// To be called first thing in `main`: umask 022, children can be waited for, and descriptors that kiln
/// inherited are not passed on to tasks.
pub fn prepare_process() -> io::Result<()> {
    rustix::process::umask(Mode::from_bits_truncate(0o022));
    sys::set_children(sys::Children::WaitedFor)?;
    sys::close_on_exec_from(3)
}

impl Spawner {
    /// Starts the thread, and the namespace where that is permitted. `report` runs on that thread: it should
    /// only pass on what it is told, and need not wake anybody for `Started`.
    pub fn start(options: Options, report: impl FnMut(Report) + Send + 'static) -> Result<Self, StartError> {
        let prepare = |step| move |source: io::Error| StartError::Prepare { step, source };
        let inbox = Arc::new(Inbox::new().map_err(prepare("creating an eventfd"))?);
        let (ready, started) = mpsc::sync_channel(1);
        let theirs = Arc::clone(&inbox);
        let thread = thread::Builder::new()
            .name("spawner".to_owned())
            .spawn(move || worker::run(&options, theirs, report, &ready))
            .map_err(prepare("starting a thread"))?;
        let ground = started
            .recv()
            .unwrap_or_else(|_| Err(prepare("waiting for the thread")(io::ErrorKind::BrokenPipe.into())))?;
        Ok(Self { inbox, ground, thread: Some(thread) })
    }

    /// What jobs run on.
    pub fn ground(&self) -> &Ground {
        &self.ground
    }

    /// What ends the tasks when kiln is killed.
    pub fn confinement(&self) -> &Confinement {
        &self.ground.confinement
    }

    /// Which control groups jobs get.
    pub fn control(&self) -> &Control {
        &self.ground.control
    }

    /// What keeps confined jobs in.
    pub fn isolation(&self) -> &Isolation {
        &self.ground.isolation
    }

    /// Reaches it from other threads.
    pub fn hand(&self) -> Hand {
        Hand(Arc::downgrade(&self.inbox))
    }

    /// Starts a job; the outcome is reported.
    pub fn spawn(&self, job: Job) {
        self.inbox.put(Request::Spawn(Box::new(job)));
    }

    /// Signals a job; one that has ended is left alone.
    pub fn kill(&self, id: u64, signal: Signal) {
        self.inbox.put(Request::Kill(id, signal));
    }

    /// Kills everything, reports each job's end, and returns when all processes are gone.
    pub fn shutdown(mut self) {
        self.stop();
    }

    fn stop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.inbox.put(Request::Shutdown);
            // A panic of that thread has been printed, and its processes have died with it.
            drop(thread.join());
        }
    }
}

impl Hand {
    /// Starts a job; the outcome is reported. False: the spawner is gone.
    pub fn spawn(&self, job: Job) -> bool {
        self.put(|| Request::Spawn(Box::new(job)))
    }

    /// Signals a job; one that has ended is left alone. False: the spawner is gone, and its jobs with it.
    pub fn kill(&self, id: u64, signal: Signal) -> bool {
        self.put(|| Request::Kill(id, signal))
    }

    fn put(&self, request: impl FnOnce() -> Request) -> bool {
        self.0.upgrade().map(|inbox| inbox.put(request())).is_some()
    }
}

impl Drop for Spawner {
    fn drop(&mut self) {
        self.stop();
    }
}

#[derive(Debug)]
enum Request {
    Spawn(Box<Job>),
    Kill(u64, Signal),
    Shutdown,
}

/// Requests on their way to the thread, taken in batches.
#[derive(Debug)]
struct Inbox {
    requests: Mutex<Vec<Request>>,
    wake: OwnedFd,
}

impl Inbox {
    fn new() -> io::Result<Self> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { requests: Mutex::default(), wake })
    }

    fn put(&self, request: Request) {
        let mut requests = self.requests.lock();
        requests.push(request);
        if requests.len() == 1 {
            // Fails only when the counter is full, after 2^64 writes.
            let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
        }
    }

    fn take_all(&self) -> Vec<Request> {
        std::mem::take(&mut *self.requests.lock())
    }
}
