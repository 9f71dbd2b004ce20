//! The loop: drain what happened, ask the engine, write its records, act on its effects.
//!
//! Owns: the order of these, the clock, which task is in which hands. Does not know: any rule about a run.
//!
//! **Invariant**: an effect is acted on only after the records of its turn are committed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::config::scalar::Switch;
use crate::config::settings::Sandbox;
use crate::engine::command::Command;
use crate::engine::gate::Refusal;
use crate::engine::message::{
    Acted, Covered, Effect, Ending, Event, Findings, Outcome, Record, Resources, Start, Time, Usage,
};
use crate::engine::state::{RunState, State};
use crate::engine::{Engine, RunInfo};
use crate::failure::Failure;
use crate::ledger::lock::{Role, RunnerLock};
use crate::ledger::writer::{Health, Writer};
use crate::ledger::{Entry, Ledger, LedgerError};
use crate::plan::{PackageId, PhaseId, TaskId, TaskKind};
use parking_lot::Mutex;

use super::chores::{self, Chores};
use super::discard::{Discarder, TRASH};
use super::fetch::{Answers, Helpers};
use super::identity::{boot_id, new_build_id, state_id, wall_now};
use super::look::Past;
use super::recover::Recoverer;
use super::script::Scripts;
use super::space::Space;
use super::spares::Spares;
use super::spawn::{self, Confinement, Ground, Report, Spawner};
use super::stage::tree::Snapshot;
use super::store::{Replaces, Store};
use super::tidy::children;
use super::work::Work;
use super::{DriverError, Job, ahead, leftover, prepare, restore, sandbox, verdict};

mod acting;
mod answers;
mod before;
mod hearing;
mod recording;

use answers::memory_available;
use recording::Ears;

/// What reaches the loop.
enum Message {
    Report(Report),
    Done { task: TaskId, outcome: Outcome, usage: Usage },
    Measured { phase: PhaseId, resources: Resources },
    Verified { task: TaskId, findings: Result<Findings, Failure> },
    Acted { package: PackageId, acted: Acted },
    Checkpointed { number: u32, result: Result<Covered, Arc<str>> },
    Command { command: Command, reply: Sender<Reply>, fate: Arc<Fate> },
    Lost(LedgerError),
    Stop,
}

/// The number of the gate that was answered, if that was what was said; or why it was not done.
pub type Reply = Result<Option<u32>, Refusal>;

/// How long the loop may take to hear a command: it does not while the ledger cannot be written.
const PATIENCE: Duration = Duration::from_secs(5);

/// What becomes of a command: the loop takes it, or who has said it gives up. Never both: what was refused is not done.
#[derive(Debug, Default)]
struct Fate(AtomicBool);

impl Fate {
    /// Whether it was for the caller to decide.
    fn seal(&self) -> bool {
        !self.0.swap(true, Ordering::AcqRel)
    }
}

/// What shows that a command has been done.
enum Sign {
    /// This gate is answered.
    Answered(u32),
    /// The run is paused by a person, or not any more.
    Held(bool),
    /// Nothing has to: it has begun.
    None,
}

/// Reaches a running driver from another thread.
#[derive(Debug, Clone)]
pub struct Remote(Sender<Message>);

impl Remote {
    /// Ends the run in good order; a second time, at once. False: it is over.
    pub fn stop(&self) -> bool {
        self.0.send(Message::Stop).is_ok()
    }

    /// Says something to the run, and what came of it once that is on disk. `None`: the run is over.
    pub fn say(&self, command: Command) -> Option<Reply> {
        self.say_within(PATIENCE, command)
    }

    fn say_within(&self, patience: Duration, command: Command) -> Option<Reply> {
        let (reply, answer) = mpsc::channel();
        let fate = Arc::new(Fate::default());
        let message = Message::Command { command, reply, fate: Arc::clone(&fate) };
        self.0.send(message).ok()?;
        match answer.recv_timeout(patience) {
            Ok(reply) => Some(reply),
            Err(RecvTimeoutError::Timeout) if fate.seal() => Some(Err(Refusal::Unheard)),
            Err(RecvTimeoutError::Timeout) => Some(Err(Refusal::Unsettled)),
            Err(RecvTimeoutError::Disconnected) => None,
        }
    }
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Message")
    }
}

/// A run that has been looked up in the ledger, and not begun.
#[derive(Debug)]
pub struct Driver {
    job: Job,
    ledger: Writer,
    health: Arc<Health>,
    ground: Arc<OnceLock<Ground>>,
    past: Past,
    inbox: Receiver<Message>,
    remote: Remote,
    /// Last: nobody else may begin before the ledger's thread has ended.
    _lock: RunnerLock,
}

/// A task in flight.
struct InFlight {
    start: Start,
    hands: Hands,
    cancel: Arc<AtomicBool>,
    /// The sysroot before a `direct` package's `install`.
    before: Option<Snapshot>,
    usage: Usage,
}

/// Who has it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hands {
    /// A process of the recipe's.
    Process,
    /// A thread of ours.
    Thread,
}

impl Driver {
    /// Takes the state directory and replays its ledger; `each` sees every record. `observe` gets what is recorded from then
    /// on, in order, once it is on disk.
    pub fn open(
        job: Job,
        each: impl FnMut(&Entry),
        observe: impl FnMut(Vec<Entry>) + Send + 'static,
    ) -> Result<Self, DriverError> {
        let root = job.state.root().to_owned();
        job.state.create().map_err(|source| DriverError::State { path: root.clone(), source })?;
        let lock = RunnerLock::take(Role::Runner, &root, &job.state.lock())?;
        let mut ledger = Ledger::open(&job.state.ledger())?;
        let past = Past::read(&job, &mut ledger, each)?;
        // What a killed kiln has recorded is in the log, perhaps in the kernel's memory alone, and is shown from now on.
        ledger.sync()?;
        let (sender, inbox) = mpsc::channel();
        let health = Arc::new(Health::default());
        let audience = Ears { observe, sender: sender.clone() };
        let ledger = Writer::start(ledger, Arc::clone(&health), &job.state.in_use(), audience)?;
        let ground = Arc::default();
        Ok(Self { job, _lock: lock, ledger, health, ground, past, inbox, remote: Remote(sender) })
    }

    /// How the ledger fares.
    pub fn health(&self) -> Arc<Health> {
        Arc::clone(&self.health)
    }

    /// What tasks run on, once they can.
    pub fn ground(&self) -> Arc<OnceLock<Ground>> {
        Arc::clone(&self.ground)
    }

    /// Reaches the run from other threads.
    pub fn remote(&self) -> Remote {
        self.remote.clone()
    }

    /// Runs until the engine says that it is over. `expected`: nanoseconds that each package is expected to
    /// take, for the critical path; `memory`: bytes that each task is expected to need; `wait`: when only a person can go on
    /// with it, it does not end.
    pub fn run(mut self, expected: &[u64], memory: Vec<u64>, wait: bool) -> Result<Ending, DriverError> {
        let user = self.job.build_user()?;
        let state_id = state_id(&self.job)?;
        leftover::sweep(&state_id).map_err(prepare("look for processes of an earlier run"))?;
        drop(ahead::sweep(&self.job)?);
        let sender = self.remote.0.clone();
        let answers = Answers::default();
        let helpers_answers = answers.clone();
        let cgroups = self.job.settings.cgroups == Switch::On;
        let isolation = self.job.settings.sandbox != Sandbox::Off;
        let options = spawn::Options { cgroups, isolation, ..spawn::Options::new(state_id) };
        let spawner = Spawner::start(options, move |report| {
            // For the engine a task runs from the moment that it says so: the loop need not wake for this.
            if let Some(report) = helpers_answers.take(report)
                && !matches!(report, Report::Started { .. })
            {
                let _ = sender.send(Message::Report(report));
            }
        })
        .map_err(prepare("start the spawning thread"))?;
        if let Confinement::ProcessGroups { reason } = spawner.confinement() {
            tracing::info!(
                "tasks run without a pid namespace of their own ({reason}): if kiln is killed, the next start ends what they left"
            );
        }
        self.say_control(spawner.control());
        // Nobody else sets it.
        let _ = self.ground.set(spawner.ground().clone());
        sandbox::say(self.job.settings.sandbox, spawner.isolation())?;
        let discarder = Discarder::start(self.job.state.work());
        let mut discarder = discarder.map_err(prepare("start a thread"))?;

        // Killed while a checkpoint was being restored.
        if let Some(finished) = restore::finish(&self.job, &self.past)? {
            self.ledger.append(self.past.last, wall_now(), &mut vec![finished])?;
        }

        let boot: Arc<str> = boot_id().map_err(prepare("read the boot id"))?.into();
        let power_was_cut = self.past.power_was_cut(&boot);
        if power_was_cut {
            // What is in work directories may be ahead of the ledger, or not be there although the ledger says so. A person may
            // want to look at what failed.
            for path in children(&self.job.state.work())? {
                let package = path.file_name().unwrap_or_default().to_string_lossy();
                if self.past.state.gate_of(&package).is_none() && !package.starts_with(TRASH) {
                    discarder.discard(&path);
                }
            }
        }
        // A part of the definition is a run of its own: its end must not be taken for that of the whole.
        if self.job.selection.is_some() {
            self.past.state.run = RunState::Idle;
        }
        let goes_on = self.past.state.run.goes_on();
        let base = if goes_on { self.past.last } else { Time::default() };
        let (mut store, lost) =
            Store::open(&self.job.state, &self.past.installed, Replaces::of(&self.job.definition))
                .map_err(prepare("open the sysroot"))?;
        let mut before = self.settle_sysroot(&mut store, &lost, power_was_cut);
        self.past.fold_live(&before, wall_now());
        if !before.is_empty() {
            self.ledger.append(self.past.last, wall_now(), &mut before)?;
        }
        let (facts, verified) = self.facts(&mut store)?;
        if let Some(verified) = verified {
            self.ledger.append(self.past.last, wall_now(), &mut vec![verified])?;
        }
        let merging = self.job.plan.package_ids().filter(|id| facts.packages[id.0 as usize].is_work());
        store.expect(merging.map(|id| Arc::clone(&self.job.plan.package(id).name)));

        let info = RunInfo { build_id: new_build_id().into(), kiln: env!("CARGO_PKG_VERSION").into(), boot };
        let build_id = if goes_on { self.past.state.build_id.to_string() } else { info.build_id.to_string() };
        let limits = self.job.limits();
        let state = std::mem::replace(&mut self.past.state, State::new(&self.job.plan));
        let engine = Engine::new(Arc::clone(&self.job.plan), limits, info, state, expected);
        let engine = engine.expecting_memory(memory);
        let engine = if wait { engine.waiting() } else { engine };

        let helpers = Helpers::of(&spawner, answers);
        let fetcher = ahead::fetcher(&self.job, helpers.clone())?;
        let chores = Chores {
            definition: Arc::clone(&self.job.definition),
            plan: Arc::clone(&self.job.plan),
            state: self.job.state.clone(),
            fetcher,
            store: Mutex::new(store),
            user: user.clone(),
            build_id: build_id.as_str().into(),
        };
        let chores = Arc::new(chores);
        let recoverer = Recoverer { chores: Arc::clone(&chores), helpers, last: self.past.wall };
        let scripts = Scripts { state: self.job.state.clone(), build_id, user };
        let spares = Spares::new(self.job.state.work());
        let space = Space::watch(self.job.state.work()).map_err(prepare("start a thread"))?;
        let mut shift = Shift {
            driver: &mut self,
            engine,
            spawner,
            chores,
            recoverer: Arc::new(recoverer),
            scripts,
            in_flight: BTreeMap::new(),
            look: None,
            acting: BTreeMap::new(),
            space,
            replies: Vec::new(),
            held: VecDeque::new(),
            stopping: false,
            discarder,
            spares,
            base,
            began: Instant::now(),
        };
        let ending = shift.work(Event::Begin(facts))?;
        // Who stops a run does not want to wait: the next start deletes what is left.
        if ending != Ending::Stopped {
            shift.discarder.finish();
        }
        self.ledger.finish()?;
        Ok(ending)
    }
}

/// A run in progress.
struct Shift<'a> {
    driver: &'a mut Driver,
    engine: Engine,
    spawner: Spawner,
    chores: Arc<Chores>,
    scripts: Scripts,
    in_flight: BTreeMap<TaskId, InFlight>,
    /// Who waited last for a look at the sysroot, and what ends that. There is one at a time.
    look: Option<(TaskId, Arc<AtomicBool>)>,
    recoverer: Arc<Recoverer>,
    /// Recovery actions under way, and what ends them.
    acting: BTreeMap<PackageId, Arc<AtomicBool>>,
    space: Space,
    /// Who said something, and what shows that it is done; or why it cannot be.
    replies: Vec<(Sender<Reply>, Result<Sign, Refusal>)>,
    /// What came while nothing could be recorded.
    held: VecDeque<Message>,
    /// Somebody wants the run to end. The engine hears nothing of that once it has ended, but its last records may have to wait.
    stopping: bool,
    discarder: Discarder,
    spares: Spares,
    base: Time,
    began: Instant,
}

impl Shift<'_> {
    fn now(&self) -> Time {
        self.base + self.began.elapsed()
    }

    fn work(&mut self, first: Event) -> Result<Ending, DriverError> {
        let mut events = vec![first];
        loop {
            let now = self.now();
            let mut effects = Vec::new();
            for event in events.drain(..) {
                effects.extend(self.engine.handle(now, event));
            }
            let mut records = Vec::new();
            let mut deeds = Vec::with_capacity(effects.len());
            for effect in effects {
                if let Effect::Record(record) = effect { records.push(record) } else { deeds.push(effect) }
            }
            let answers = records.iter().filter_map(|record| {
                let Record::GateAnswered { gate, .. } = record else { return None };
                Some(*gate)
            });
            let mut answered: BTreeSet<u32> = answers.collect();
            let mut complete = Vec::new();
            if !records.is_empty() {
                complete.extend(records.iter().filter_map(|record| {
                    let Record::PackageCompleted { package, .. } = record else { return None };
                    Some(Arc::clone(package))
                }));
                self.driver.past.fold_live(&records, wall_now());
                self.record(now, records)?;
            }
            if !self.replies.is_empty() {
                // What a person is told must not be taken back.
                self.driver.ledger.settle();
            }
            for (reply, said) in self.replies.drain(..) {
                // Another answer to it may have come in the same moment, or the end of the run.
                let state = self.engine.state();
                let said = said.and_then(|sign| match sign {
                    Sign::Answered(gate) if answered.remove(&gate) => Ok(Some(gate)),
                    Sign::Answered(gate) => {
                        Err(state.gate(Some(&gate.to_string())).err().unwrap_or(Refusal::Ending))
                    }
                    Sign::Held(held) if held != state.held => Err(Refusal::Ending),
                    Sign::Held(_) | Sign::None => Ok(None),
                });
                // Who does not wait for the reply has been heard all the same.
                let _ = reply.send(said);
            }
            let mut ended = None;
            for deed in deeds {
                match deed {
                    Effect::Start(start) => self.start(start, &mut events),
                    Effect::Kill { task, at_once } => self.kill(task, at_once),
                    Effect::Measure { phase } => self.measure(phase)?,
                    Effect::MeasureMemory => events.push(Event::Memory { available: memory_available()? }),
                    Effect::Verify { task, packages } => self.verify(task, packages),
                    Effect::Act(act) => self.act(act),
                    Effect::Checkpoint { number, kind, phase, packages } => {
                        self.checkpoint(number, kind, phase, packages);
                    }
                    Effect::CancelAct { package } => self.cancel_act(package),
                    Effect::WatchOutput { task } => events.push(self.last_output(task)),
                    Effect::End(ending) => ended = Some(ending),
                    Effect::Record(_) => {}
                }
            }
            // Only now: what comes next is running already.
            for package in complete {
                self.clear_work(&package);
            }
            if let Some(ending) = ended {
                return Ok(ending);
            }
            if events.is_empty() {
                self.wait(&mut events)?;
            }
        }
    }

    /// Waits for something to happen, then takes all that has.
    fn wait(&mut self, events: &mut Vec<Event>) -> Result<(), DriverError> {
        if self.held.is_empty() {
            let first = match self.engine.next_wakeup() {
                None => self.driver.inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(at) => self.driver.inbox.recv_timeout(at.since(self.now())),
            };
            match first {
                Ok(message) => self.held.push_back(message),
                Err(RecvTimeoutError::Timeout) => {}
                // The driver itself holds a sender.
                Err(RecvTimeoutError::Disconnected) => {
                    let broken = io::Error::from(io::ErrorKind::BrokenPipe);
                    return Err(prepare("hear from its own threads")(broken));
                }
            }
        }
        while let Some(message) = self.held.pop_front().or_else(|| self.driver.inbox.try_recv().ok()) {
            // The next one is judged by what this one has changed.
            let last = matches!(message, Message::Command { .. });
            self.take(message, events)?;
            if last {
                break;
            }
        }
        if self.engine.next_wakeup().is_some_and(|at| at <= self.now()) {
            events.push(Event::Tick);
        }
        Ok(())
    }

    fn start(&mut self, start: Start, events: &mut Vec<Event>) {
        let cancel = Arc::new(AtomicBool::new(false));
        let mut flying = InFlight {
            start,
            hands: Hands::Thread,
            cancel: Arc::clone(&cancel),
            before: None,
            usage: Usage::default(),
        };
        let chores = Arc::clone(&self.chores);
        match start.kind {
            TaskKind::Fetch | TaskKind::Unpack | TaskKind::Merge => {
                self.in_flight.insert(start.task, flying);
                self.on_a_thread(start, move |cancel| chores.perform(&start, cancel));
            }
            TaskKind::Configure | TaskKind::Build | TaskKind::Check | TaskKind::Install => {
                let recipe = chores.recipe(&start);
                // What an attempt before has left may take seconds to delete, and nothing waits for that.
                let work = Work::of(&self.scripts.state, &recipe.package);
                if start.fresh {
                    self.discarder.discard(work.root());
                } else if start.kind == TaskKind::Install && !recipe.direct {
                    self.discarder.discard(&work.dest());
                }
                let prepared = self.scripts.job(recipe, &start, &mut self.spares);
                let prepared = prepared.map_err(|error| verdict::work_directory(&error));
                let prepared = prepared.and_then(|job| {
                    if recipe.direct && start.kind == TaskKind::Install {
                        let before = self.chores.store().snapshot();
                        flying.before = Some(before.map_err(|error| verdict::stage(&error))?);
                    }
                    Ok(job)
                });
                flying.hands = Hands::Process;
                match prepared {
                    Ok(job) => {
                        self.in_flight.insert(start.task, flying);
                        self.space.begin(start.task);
                        self.spawner.spawn(job);
                    }
                    Err(failure) => events.push(Event::Finished {
                        task: start.task,
                        outcome: Outcome::Failure(failure),
                        usage: Usage::default(),
                    }),
                }
            }
        }
    }

    fn on_a_thread(
        &self,
        start: Start,
        chore: impl FnOnce(&AtomicBool) -> (Outcome, Usage) + Send + 'static,
    ) {
        let cancel = self.in_flight.get(&start.task).map(|f| Arc::clone(&f.cancel)).unwrap_or_default();
        let done = move |(outcome, usage)| Message::Done { task: start.task, outcome, usage };
        let failed = move |failure| done((Outcome::Failure(failure), Usage::default()));
        self.beside(start.kind.name(), move || done(chore(&cancel)), failed);
    }

    fn kill(&self, task: TaskId, at_once: bool) {
        let Some(flying) = self.in_flight.get(&task) else {
            if let Some((_, cancel)) = self.look.iter().find(|(waiting, _)| *waiting == task) {
                chores::cancel(cancel);
            }
            return;
        };
        match flying.hands {
            Hands::Process => {
                let signal = if at_once { spawn::Signal::Kill } else { spawn::Signal::Term };
                self.spawner.kill(u64::from(task.0), signal);
            }
            // A merge or a packing that has begun is short, and ends well.
            Hands::Thread => chores::cancel(&flying.cancel),
        }
    }

    /// A completed package's work directory is not needed any more.
    fn clear_work(&mut self, package: &str) {
        let work = Work::of(&self.scripts.state, package);
        if !self.spares.keep_directory(&work, self.scripts.user.as_ref()) {
            self.discarder.discard(work.root());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_was_given_up_is_never_taken_and_one_that_was_taken_is_never_given_up() {
        let (sender, inbox) = mpsc::channel();
        let remote = Remote(sender);
        let reply = remote.say_within(Duration::ZERO, Command::Checkpoint);
        assert!(matches!(reply, Some(Err(Refusal::Unheard))), "{reply:?}");
        let Ok(Message::Command { fate, .. }) = inbox.try_recv() else { panic!("nothing was said") };
        assert!(!fate.seal(), "what was refused is not done");
        let fate = Fate::default();
        assert!(fate.seal() && !fate.seal(), "one of both decides");
        drop(inbox);
        assert!(remote.say(Command::Checkpoint).is_none());
    }
}
