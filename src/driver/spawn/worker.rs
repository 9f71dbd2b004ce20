//! The spawning thread: one loop over requests, ends of processes, and ends of what they left.
//!
//! Owns: each task from its spawn to its last report. Does not know: how orphans are told apart.

use std::collections::BTreeMap;
use std::fs::File;
use std::num::NonZeroU64;
use std::os::fd::AsFd as _;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::{io, mem};

use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::process::{
    Pid, PidfdFlags, WaitOptions, kill_process_group, pidfd_open, pidfd_send_signal, waitpid,
};
use wait4::{ResUse, try_wait4_pid};

use super::super::sys::launch::{Launch, Refused, Stack, Step};
use super::birth;
use super::cgroup::{Group, Groups};
use super::isolation::Walls;
use super::namespace::Namespace;
use super::orphan::{Adopter, Orphans};
use super::process::{Killed, Proc, wait_for};
use super::{
    Confinement, Control, Ended, Exit, Ground, Inbox, Isolation, Job, Options, Report, Request, Signal,
    SpawnError, StartError, Usage, sys,
};

/// Epoll's words for what is not a task's pidfd.
const WAKE: u64 = u64::MAX;
const INIT: u64 = u64::MAX - 1;

const INIT_DIED: &str = "the init of the tasks' pid namespace has died";

/// What ends does so once.
const ONCE: epoll::EventFlags = epoll::EventFlags::IN.union(epoll::EventFlags::ONESHOT);

/// Timer slacks that mark tasks: the kernel's default and up to 20 % more, which nothing can feel.
const SLACK_BASE: u64 = 50_001;
const SLACKS: u64 = 10_000;

/// A job from its spawn to its last report.
#[derive(Debug)]
pub(super) struct Task {
    pid: Pid,
    slack: u64,
    group: Option<Group>,
    state: State,
}

#[derive(Debug)]
enum State {
    Running {
        handle: OwnedFd,
        /// It was told to end. Then the others of its process group may end in their own time, too: a shell dies of
        /// SIGTERM at once, what it runs may have something to tidy up.
        asked: bool,
        /// Those others, once the top process has ended, with the tokens that tell of their ends.
        staying: Vec<(u64, OwnedFd)>,
    },
    /// The top process has ended; what it left is being killed.
    Ending {
        exit: Exit,
        usage: Usage,
        leftovers: u32,
        /// With the tokens that tell of their ends.
        dying: Vec<(u64, Killed)>,
    },
}

impl Task {
    /// Of the top process; another process may have it once the task is ending.
    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    pub(super) fn slack(&self) -> u64 {
        self.slack
    }

    pub(super) fn is_running(&self) -> bool {
        matches!(self.state, State::Running { .. })
    }

    /// Whether a process is one of its leftovers and about to die.
    pub(super) fn is_ending(&self, pid: Pid) -> bool {
        match &self.state {
            State::Running { .. } => false,
            State::Ending { dying, .. } => dying.iter().any(|(_, process)| process.pid == pid),
        }
    }
}

struct Worker<F> {
    inbox: Arc<Inbox>,
    report: F,
    epoll: OwnedFd,
    namespace: Option<Namespace>,
    orphans: Orphans,
    groups: Option<Groups>,
    walls: Walls,
    stack: Stack,
    null: File,
    state_id: String,
    tasks: BTreeMap<u64, Task>,
    /// Which task a pidfd's token in the epoll belongs to.
    watched: BTreeMap<u64, u64>,
    /// Never used twice. A child that was just started still holds copies of kiln's descriptors for a moment,
    /// so a pidfd that kiln has closed may linger in the epoll: its descriptor's number would not do.
    next_token: u64,
    next_slack: u64,
    unusable: Option<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Continue {
    Yes,
    No,
}

/// The life of the thread.
pub(super) fn run<F: FnMut(Report)>(
    options: &Options,
    inbox: Arc<Inbox>,
    report: F,
    ready: &SyncSender<Result<Ground, StartError>>,
) {
    let (answer, worker) = match Worker::prepare(options, inbox, report) {
        Ok((found, worker)) => (Ok(found), Some(worker)),
        Err(error) => (Err(error), None),
    };
    // Whoever asked waits for the answer.
    let _ = ready.send(answer);
    if let Some(mut worker) = worker {
        worker.serve();
        worker.end_everything();
    }
}

impl<F: FnMut(Report)> Worker<F> {
    fn prepare(options: &Options, inbox: Arc<Inbox>, report: F) -> Result<(Ground, Self), StartError> {
        let prepare = |step| move |source: io::Error| StartError::Prepare { step, source };
        sys::unblock_signals().map_err(prepare("unblocking signals"))?;
        // Before the namespace hides it.
        let proc = Proc::open().map_err(prepare("opening /proc"))?;
        let null = File::open("/dev/null").map_err(prepare("opening /dev/null"))?;
        // Before the namespace, too: what it writes there is its own pid.
        let groups =
            if options.cgroups { Groups::find(&options.state_id) } else { Err("not wanted".to_owned()) };
        let control = match &groups {
            Ok(groups) => groups.control(),
            Err(reason) => Control::Neither { reason: reason.clone() },
        };
        let memory = groups.as_ref().ok().and_then(Groups::gauge);
        // And this: inside, the thread cannot start others.
        let (walls, isolation) = if options.isolation {
            Walls::find().map_err(prepare("trying the sandbox"))?
        } else {
            (Walls::none(), Isolation::unwanted())
        };
        let entered = if options.namespace {
            Namespace::enter(&options.executable)
                .map_err(|source| StartError::Init { executable: options.executable.clone(), source })?
                .map_err(|refused| refused.to_string())
        } else {
            Err("not wanted".to_owned())
        };
        let confinement = match &entered {
            Ok(namespace) => Confinement::PidNamespace { private_proc: namespace.private_proc },
            Err(reason) => {
                rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
                    .map_err(|error| prepare("adopting orphans")(error.into()))?;
                Confinement::ProcessGroups { reason: reason.clone() }
            }
        };
        let namespace = entered.ok();
        let adopter = namespace.as_ref().map_or(Adopter::Kiln, |namespace| Adopter::Init(namespace.init()));
        let orphans = Orphans::of(adopter, proc, options.state_id.clone())
            .map_err(prepare("opening the list of orphans"))?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)
            .and_then(|epoll| {
                // An edge for each write, so that nobody has to read.
                add(&epoll, &inbox.wake, WAKE, epoll::EventFlags::IN | epoll::EventFlags::ET)?;
                if let Some(namespace) = &namespace {
                    add(&epoll, &namespace.handle, INIT, ONCE)?;
                }
                Ok(epoll)
            })
            .map_err(|error| prepare("creating an epoll")(error.into()))?;
        let worker = Self {
            inbox,
            report,
            epoll,
            namespace,
            orphans,
            groups: groups.ok(),
            walls,
            stack: Stack::new(),
            null,
            state_id: options.state_id.clone(),
            tasks: BTreeMap::new(),
            watched: BTreeMap::new(),
            next_token: 0,
            next_slack: 0,
            unusable: None,
        };
        Ok((Ground { confinement, control, memory, isolation }, worker))
    }

    /// Returns when it is time to end everything.
    fn serve(&mut self) {
        let mut events = Vec::with_capacity(64);
        loop {
            events.clear();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                // Cannot happen with a descriptor of ours; without events nothing could be kept up.
                Err(_) => return,
            }
            for event in &events {
                match event.data.u64() {
                    WAKE => {
                        if self.take_requests() == Continue::No {
                            return;
                        }
                    }
                    INIT => self.unusable = Some(INIT_DIED),
                    token => self.process_ended(token),
                }
            }
        }
    }

    fn take_requests(&mut self) -> Continue {
        for request in self.inbox.take_all() {
            match request {
                Request::Spawn(job) => self.start(*job),
                Request::Kill(id, signal) => self.signal(id, signal),
                Request::Shutdown => return Continue::No,
            }
        }
        Continue::Yes
    }

    fn start(&mut self, job: Job) {
        let id = job.id;
        let report = match self.try_start(job) {
            Ok(pid) => Report::Started { id, pid: number(pid) },
            Err(error) => Report::SpawnFailed { id, error },
        };
        (self.report)(report);
    }

    fn try_start(&mut self, job: Job) -> Result<Pid, SpawnError> {
        if let Some(reason) = self.unusable {
            return Err(SpawnError::Internal(reason));
        }
        if self.tasks.contains_key(&job.id) {
            return Err(SpawnError::Duplicate(job.id));
        }
        let program = job.argv.first().ok_or(SpawnError::NoProgram)?;
        let failed = |source| SpawnError::Exec { program: program.to_string_lossy().into_owned(), source };
        let slack = self.free_slack();
        // Only a mark: without it orphans are told apart by other means.
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(slack));
        let group = match (&self.groups, job.limits) {
            (Some(groups), Some(limits)) => Some(groups.make(job.id, limits).map_err(SpawnError::Group)?),
            (None, _) | (_, None) => None,
        };
        let doors = group.as_ref().map(Group::doors).transpose().map_err(SpawnError::Group)?;
        let errors = job.errors.as_ref().unwrap_or(&job.output);
        let (network, ruleset) = match &job.confined {
            Some(writable) => {
                let ruleset = self.walls.ruleset(writable, &[&job.output, errors]);
                (self.walls.network(), ruleset.map_err(SpawnError::Confine)?)
            }
            None => (None, None),
        };
        let launch = Launch {
            programs: birth::candidates(program, &job.env).map_err(failed)?,
            argv: job.argv.iter().map(birth::string).collect::<io::Result<_>>().map_err(failed)?,
            env: birth::environment(job.env, &self.state_id, job.id).map_err(failed)?,
            cwd: birth::string(job.cwd).map_err(failed)?,
            input: self.null.as_fd(),
            output: job.output.as_fd(),
            errors: errors.as_fd(),
            doors: doors.unwrap_or_default(),
            network,
            user: job.user.as_ref().map(birth::credentials).transpose().map_err(failed)?,
            ruleset,
        };
        let spawned = launch.start(&mut self.stack);
        if spawned.is_err() && self.orphans.adopter_is_dying() {
            self.unusable = Some(INIT_DIED);
            return Err(SpawnError::Internal(INIT_DIED));
        }
        let pid = spawned.map_err(|Refused { step, source }| match step {
            Step::Confine => SpawnError::Confine(source),
            Step::Start => failed(source),
        })?;
        let watched = pidfd_open(pid, PidfdFlags::empty())
            .and_then(|handle| self.watch(&handle, job.id).map(|_| handle));
        match watched {
            Ok(handle) => {
                let state = State::Running { handle, asked: false, staying: Vec::new() };
                self.tasks.insert(job.id, Task { pid, slack, group, state });
                Ok(pid)
            }
            Err(error) => {
                let _ = kill_process_group(pid, rustix::process::Signal::KILL);
                let _ = waitpid(Some(pid), WaitOptions::empty());
                Err(failed(error.into()))
            }
        }
    }

    fn free_slack(&mut self) -> u64 {
        loop {
            let slack = SLACK_BASE + self.next_slack;
            self.next_slack = (self.next_slack + 1) % SLACKS;
            if self.tasks.len() as u64 >= SLACKS || self.tasks.values().all(|task| task.slack != slack) {
                return slack;
            }
        }
    }

    fn signal(&mut self, id: u64, signal: Signal) {
        let Some(Task { pid, state: State::Running { handle, asked, .. }, .. }) = self.tasks.get_mut(&id)
        else {
            return;
        };
        *asked = true;
        // Each fails only when the process has just died; nobody else can have its pid before we wait for it.
        match signal {
            Signal::Term => {
                let _ = kill_process_group(*pid, rustix::process::Signal::TERM);
                let _ = kill_process_group(*pid, rustix::process::Signal::CONT);
            }
            Signal::Kill => {
                let _ = kill_process_group(*pid, rustix::process::Signal::KILL);
                // It may have left its group.
                let _ = pidfd_send_signal(handle, rustix::process::Signal::KILL);
            }
        }
    }

    /// A top process or a leftover is gone.
    fn process_ended(&mut self, token: u64) {
        let Some(id) = self.watched.remove(&token) else { return };
        if self.is_waited_for(id, token) {
            return;
        }
        let Some(task) = self.tasks.get_mut(&id) else { return };
        match &mut task.state {
            State::Running { .. } => {
                // Before it is waited for, because until then nobody else can have its pid.
                let _ = kill_process_group(task.pid, rustix::process::Signal::KILL);
                let (exit, usage) = outcome(try_wait4_pid(number(task.pid)).ok().flatten());
                task.state = State::Ending { exit, usage, leftovers: 0, dying: Vec::new() };
            }
            State::Ending { dying, .. } => {
                dying.retain(|(known, _)| *known != token);
                if !dying.is_empty() {
                    return;
                }
            }
        }
        self.settle(id);
    }

    /// Whether others of the process group of a task that was told to end are still there, or ending.
    fn is_waited_for(&mut self, id: u64, token: u64) -> bool {
        let Some(Task { pid, state: State::Running { asked, staying, .. }, .. }) = self.tasks.get_mut(&id)
        else {
            return false;
        };
        staying.retain(|(known, _)| *known != token);
        if !staying.is_empty() || !*asked {
            return !staying.is_empty();
        }
        // Fails only without memory or descriptors; then nobody is waited for.
        let members = self.orphans.members(*pid).unwrap_or_default();
        let watched: Vec<_> =
            members.into_iter().filter_map(|handle| Some((self.watch(&handle, id).ok()?, handle))).collect();
        let Some(Task { state: State::Running { staying, .. }, .. }) = self.tasks.get_mut(&id) else {
            return false;
        };
        *staying = watched;
        !staying.is_empty()
    }

    /// Kills what an ended task has left, or reports its end when nothing is left.
    fn settle(&mut self, id: u64) {
        // Without an init there is no namespace, and nothing in it.
        let left = if self.namespace.is_some() && self.unusable.is_some() {
            Vec::new()
        } else {
            // Fails only without memory or descriptors; the orphans then fall to the next task that ends.
            self.orphans.kill_those_of(id, &self.tasks).unwrap_or_default()
        };
        if self.watch_leftovers(id, left) {
            return;
        }
        if let Some(Task { state: State::Ending { exit, usage, leftovers, .. }, group, .. }) =
            self.tasks.remove(&id)
        {
            let group = self.ended(group);
            (self.report)(Report::Exited { id, exit, usage, leftovers, group });
        }
    }

    /// What the kernel says of a task's group, which is of no more use.
    fn ended(&mut self, group: Option<Group>) -> Option<Ended> {
        Some(self.groups.as_mut()?.ended(&group?))
    }

    /// Whether there is anything to wait for.
    fn watch_leftovers(&mut self, id: u64, left: Vec<Killed>) -> bool {
        let found = u32::try_from(left.len()).unwrap_or(u32::MAX);
        let watched =
            left.into_iter().filter_map(|process| Some((self.watch(&process.handle, id).ok()?, process)));
        let watched: Vec<_> = watched.collect();
        let Some(Task { state: State::Ending { leftovers, dying, .. }, .. }) = self.tasks.get_mut(&id) else {
            return false;
        };
        *leftovers = leftovers.saturating_add(found);
        *dying = watched;
        !dying.is_empty()
    }

    /// Tells of the end of a process; the token that it will be told by.
    fn watch(&mut self, handle: &OwnedFd, id: u64) -> rustix::io::Result<u64> {
        let token = self.next_token;
        add(&self.epoll, handle, token, ONCE)?;
        self.next_token += 1;
        self.watched.insert(token, id);
        Ok(token)
    }

    /// Kills and waits for everything, then reports it.
    fn end_everything(&mut self) {
        if let Some(namespace) = &self.namespace {
            namespace.kill();
        } else {
            for id in self.tasks.keys().copied().collect::<Vec<_>>() {
                self.signal(id, Signal::Kill);
            }
        }
        let mut ended = Vec::new();
        for (&id, task) in &mut self.tasks {
            match mem::replace(&mut task.state, State::gone()) {
                State::Running { handle, .. } => {
                    wait_for(&handle);
                    let (exit, usage) = outcome(try_wait4_pid(number(task.pid)).ok().flatten());
                    ended.push((id, exit, usage, 0, task.group.take()));
                }
                State::Ending { exit, usage, leftovers, dying } => {
                    for (_, process) in &dying {
                        process.wait();
                    }
                    ended.push((id, exit, usage, leftovers, task.group.take()));
                }
            }
        }
        self.tasks.clear();
        if let Some(namespace) = &mut self.namespace {
            namespace.wait();
        } else {
            while let Ok(left) = self.orphans.kill_all(&self.tasks)
                && !left.is_empty()
            {
                left.iter().for_each(Killed::wait);
            }
        }
        for (id, exit, usage, leftovers, group) in ended {
            let group = self.ended(group);
            (self.report)(Report::Exited { id, exit, usage, leftovers, group });
        }
        for request in self.inbox.take_all() {
            if let Request::Spawn(job) = request {
                (self.report)(Report::SpawnFailed { id: job.id, error: SpawnError::ShuttingDown });
            }
        }
    }
}

impl State {
    fn gone() -> Self {
        Self::Ending { exit: Exit::Lost, usage: Usage::NONE, leftovers: 0, dying: Vec::new() }
    }
}

fn add(epoll: &OwnedFd, source: &OwnedFd, token: u64, flags: epoll::EventFlags) -> rustix::io::Result<()> {
    epoll::add(epoll, source, epoll::EventData::new_u64(token), flags)
}

fn number(pid: Pid) -> u32 {
    pid.as_raw_pid().unsigned_abs()
}

fn outcome(waited: Option<ResUse>) -> (Exit, Usage) {
    let Some(ResUse { status, rusage }) = waited else { return (Exit::Lost, Usage::NONE) };
    let exit = match (status.code(), status.signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, Some(signal)) => Exit::Signal(signal),
        (None, None) => Exit::Lost,
    };
    (exit, Usage { user: rusage.utime, system: rusage.stime, max_rss_bytes: rusage.maxrss })
}
