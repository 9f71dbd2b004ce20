//! Thousands of random runs: random plans, durations, failures, silence, stops; kiln killed before or after any
//! record, or the power cut, and what was not synced lost; damage at any time, another definition or a selection at the next start; further runs of what is there. After
//! each event the invariants are checked:
//!
//! - no task begins before what it needs is there (by an own reckoning from the recipes), and no first script before what it
//!   needs at `strict` is undamaged and its check has not failed;
//! - no two checkpoints are taken at once, none covers what is not complete, and at its end a run has covered what is, unless
//!   the last one failed;
//! - nothing changes the sysroot while somebody looks at it;
//! - no task that has succeeded begins again without a reason; attempt numbers never repeat;
//! - slots are never exceeded, and one package at a time means that;
//! - the state replayed from the records equals the live one;
//! - between a failed attempt and the next its recovery procedure has been gone through, unless that was cut short;
//! - every run ends, waits for a person that is asked, or is told to end; and what it says then is true.
//!
//! A failing seed is printed; `KILN_SEED=N` runs it alone, `KILN_SEEDS=N` sets how many are run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::config::document::Method;
use crate::engine::command::Command;
use crate::engine::message::{
    Act, Covered, Effect, Ending, Event, Facts, Have, Record, Resources, Said, Start, Time, Usage,
};
use crate::engine::state::{PackageState, RunState, Skip, State, TaskState};
use crate::engine::{Engine, Limits, RunInfo};
use crate::plan::{PackageId, Plan, TaskId, TaskKind};

mod books;
mod chance;

use super::random::{Random, words};
use super::reckoning::{Recipes, needs, strict};
use super::script::memory;
use super::sketch;

/// What is outside of the engine: processes, files, the ledger.
struct World {
    plan: Arc<Plan>,
    /// The same packages in a definition with another digest: somebody edits it while kiln is away.
    other_plan: Arc<Plan>,
    /// By package: what must be there before it begins, and what must at least be over.
    needs: Vec<(BTreeSet<PackageId>, BTreeSet<PackageId>)>,
    /// By package: what must be verified before its first script, and whether a failed check will do.
    strict: Vec<(BTreeSet<PackageId>, bool)>,
    /// The only packages that are wanted.
    selection: Option<BTreeSet<PackageId>>,
    /// What the committed records say.
    replayed: State,
    limits: Limits,
    random: Random,
    engine: Engine,
    now: Time,
    ledger: Vec<(Time, Record)>,
    /// Lengths of the ledger after each transaction that a power cut can take back, and before the first of them.
    commits: Vec<usize>,
    /// The books are made up again from the ledger.
    refolding: bool,
    in_flight: BTreeMap<TaskId, (Start, Time)>,
    /// Packages of which a work directory is there, and how many of their tasks it has seen.
    work: BTreeMap<PackageId, usize>,
    archives: BTreeSet<PackageId>,
    merged: BTreeSet<PackageId>,
    /// Of these, what somebody has damaged; and of that, what the engine has been told of and must put right.
    damaged: BTreeSet<PackageId>,
    told: BTreeSet<PackageId>,
    /// Whose check failed when what there is was built.
    failed_checks: BTreeSet<PackageId>,
    /// Who waits until somebody has looked at which packages, and when that ends.
    looking: Option<(TaskId, Vec<PackageId>, Time)>,
    /// The checkpoint that is being taken, and when that ends.
    checkpoint: Option<(u32, Covered, Time)>,
    /// Completed, and by an own reckoning not covered; and whether the last checkpoint failed.
    uncovered: BTreeSet<PackageId>,
    last_failed: bool,
    /// What is being done about failures, and when that ends.
    acting: BTreeMap<PackageId, (Act, Time)>,
    /// What was available when that was asked last, in a turn that is not over; and ever.
    available: Option<u64>,
    most: u64,
    /// By task: what it is expected to need.
    memory: Vec<u64>,
    /// Completed according to the ledger, whatever became of it.
    completed: BTreeSet<PackageId>,
    /// The same, without something optional, and not begun again.
    degraded: BTreeSet<PackageId>,
    /// Attempts begun in this run of the definition, without restoring ones.
    begun: BTreeSet<(TaskId, u32)>,
    /// Tasks that succeeded and whose package has not been looked at afresh since.
    succeeded: BTreeSet<TaskId>,
    failures_left: u64,
    damage_left: u64,
    kills_left: u64,
    runs_left: u64,
    ended: Option<Ending>,
    trace: Vec<String>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let words = words(&mut random);
        let plan = sketch::plan(&words);
        let other_plan = sketch::plan(&format!("{words}delay 7\n"));
        let recipes = sketch::definition(&words).recipes;
        let recipes: Recipes = recipes.into_iter().map(|r| (r.value.package.to_string(), r.value)).collect();
        let strict = plan.packages.iter().map(|package| strict(&plan, &recipes, &package.name)).collect();
        let needs = plan.packages.iter().map(|package| needs(&plan, &recipes, &package.name)).collect();
        let limits = Limits {
            jobs: 1 + u32::try_from(random.below(3)).unwrap(),
            fetches: 1 + u32::try_from(random.below(2)).unwrap(),
            grace: Duration::from_secs(5),
        };
        let engine = engine(&plan, limits, State::new(&plan));
        let failures_left = random.below(6);
        let damage_left = random.below(4);
        let kills_left = random.below(5);
        let runs_left = random.below(3);
        Self {
            replayed: State::new(&plan),
            memory: memory(&plan),
            plan,
            other_plan,
            needs,
            strict,
            selection: None,
            limits,
            random,
            engine,
            now: Time::default(),
            ledger: Vec::new(),
            commits: vec![0],
            refolding: false,
            in_flight: BTreeMap::new(),
            work: BTreeMap::new(),
            archives: BTreeSet::new(),
            merged: BTreeSet::new(),
            damaged: BTreeSet::new(),
            told: BTreeSet::new(),
            failed_checks: BTreeSet::new(),
            looking: None,
            checkpoint: None,
            uncovered: BTreeSet::new(),
            last_failed: false,
            acting: BTreeMap::new(),
            available: None,
            most: 0,
            completed: BTreeSet::new(),
            degraded: BTreeSet::new(),
            begun: BTreeSet::new(),
            succeeded: BTreeSet::new(),
            failures_left,
            damage_left,
            kills_left,
            runs_left,
            ended: None,
            trace: Vec::new(),
        }
    }

    fn facts(&self) -> Facts {
        let have = |id: PackageId| {
            let has_install = self.plan.task(id, TaskKind::Install).is_some();
            let merged = !has_install || self.merged.contains(&id) && !self.damaged.contains(&id);
            if self.completed.contains(&id) && merged {
                Have::Everything
            } else if self.selection.as_ref().is_some_and(|selection| !selection.contains(&id)) {
                Have::Unselected
            } else if self.degraded.contains(&id) && merged {
                Have::Degraded
            } else if has_install && self.archives.contains(&id) {
                Have::Archive
            } else if self.work.contains_key(&id) {
                Have::WorkDirectory
            } else {
                Have::Nothing
            }
        };
        let failed_checks = self.failed_checks.iter().copied().filter(|id| !have(*id).is_new()).collect();
        Facts { packages: self.plan.package_ids().map(have).collect(), failed_checks, forced: Vec::new() }
    }

    /// One turn of the driver's loop. Kiln may be killed before its records are written, or right after,
    /// before anything else is done.
    fn turn(&mut self, event: Event) {
        let effects = self.engine.handle(self.now, event);
        if self.engine.state().held {
            let starts = effects.iter().find(|effect| is_start(effect));
            assert_eq!(starts, None, "something is started while the run is paused");
        }
        let kill = self.kills_left > 0 && self.random.chance(8);
        if kill && self.random.chance(50) {
            self.trace.push(format!("{} killed before the commit", self.now));
            return self.restart();
        }
        let mut todo = Vec::new();
        for effect in effects {
            if let Effect::Record(record) = effect {
                self.trace.push(format!("{} {record:?}", self.now));
                self.observe(&record);
                self.replayed.apply(&self.plan, self.now, &record, &mut Vec::new());
                self.ledger.push((self.now, record));
            } else {
                todo.push(effect);
            }
        }
        if self.random.chance(30) {
            self.commits.clear(); // synced
        }
        self.commits.push(self.ledger.len());
        if kill {
            self.trace.push(format!("{} killed after the commit", self.now));
            return self.restart();
        }
        assert_eq!(&self.replayed, self.engine.state(), "the records do not say what the state is");
        let (mut measure, mut watch, mut memory) = (Vec::new(), Vec::new(), false);
        for effect in todo {
            match effect {
                Effect::Start(start) => self.start(start),
                Effect::Kill { task, at_once } => {
                    // Some tasks do not listen until they are killed.
                    if (at_once || self.random.chance(60))
                        && let Some((_, end)) = self.in_flight.get_mut(&task)
                    {
                        *end = self.now;
                    }
                }
                Effect::Measure { phase } => measure.push(phase),
                Effect::MeasureMemory => memory = true,
                Effect::Verify { task, packages } => {
                    let end = self.now + Duration::from_secs(self.random.below(3));
                    assert!(self.looking.replace((task, packages, end)).is_none(), "two look at once");
                }
                Effect::Checkpoint { number, kind, packages, .. } => {
                    let end = self.now + Duration::from_secs(self.random.below(40));
                    let covered = Covered { kind, packages, verified: true, damaged: Vec::new() };
                    let before = self.checkpoint.replace((number, covered, end));
                    assert!(before.is_none(), "two checkpoints at once");
                }
                Effect::Act(act) => {
                    let end = self.now + Duration::from_secs(self.random.below(10));
                    let before = self.acting.insert(act.package, (act, end));
                    assert!(before.is_none(), "two actions at once for one package");
                }
                Effect::CancelAct { package } => {
                    if let Some((_, end)) = self.acting.get_mut(&package) {
                        *end = self.now;
                    }
                }
                Effect::WatchOutput { task } => watch.push(task),
                Effect::End(ending) => self.ended = Some(ending),
                Effect::Record(_) => unreachable!("sorted out above"),
            }
        }
        self.check();
        self.available = None;
        if memory {
            let available = self.random.below(1500);
            self.available = Some(available);
            self.most = self.most.max(available);
            self.turn(Event::Memory { available });
        }
        for task in watch {
            let quiet = Duration::from_secs(self.random.below(20));
            let last = Time(self.now.0.saturating_sub(u64::try_from(quiet.as_nanos()).unwrap()));
            self.turn(Event::Output { task, last });
        }
        for phase in measure {
            let disk = if self.random.chance(5) { 1 } else { 1000 };
            let resources = Resources { disk, memory: 1000, toolchain_verified: true };
            self.turn(Event::Measured { phase, resources });
        }
    }

    fn start(&mut self, start: Start) {
        let Start { task, package, kind, .. } = start;
        // What is merged again was complete without asking who else is.
        let again = kind == TaskKind::Merge && start.restore;
        if kind != TaskKind::Fetch && !again {
            let (there, over) = &self.needs[package.0 as usize];
            let name = |id: &PackageId| self.plan.package(*id).name.to_string();
            for id in there {
                let merged = self.plan.task(*id, TaskKind::Merge).is_none() || self.merged.contains(id);
                let completed =
                    matches!(self.engine.state().package(*id).state, PackageState::Completed { .. });
                let there = merged && completed;
                assert!(there, "{} begins without {}", name(&package), name(id));
            }
            for id in over {
                let over = self.engine.state().package(*id).state.is_final();
                assert!(over, "{} begins before {} is over", name(&package), name(id));
            }
        }
        if self.plan.package(package).tasks.iter().find(|k| k.is_script()) == Some(&kind) {
            let name = |id: &PackageId| &self.plan.package(*id).name;
            let (strict, accepts) = &self.strict[package.0 as usize];
            let there = |id: &PackageId| {
                matches!(self.engine.state().package(*id).state, PackageState::Completed { .. })
            };
            for id in strict.iter().filter(|id| there(id)) {
                assert!(!self.damaged.contains(id), "{} begins with {} damaged", name(&package), name(id));
                let failed = self.failed_checks.contains(id) && !accepts;
                assert!(!failed, "{} begins although {} failed its check", name(&package), name(id));
            }
        }
        if kind.works() {
            let tasks = &self.plan.package(package).tasks;
            let position = tasks.iter().filter(|k| k.works()).position(|k| *k == kind).unwrap();
            if start.fresh {
                assert_eq!(position, 0);
                self.work.insert(package, 0);
            }
            let seen = self.work.get(&package).copied();
            // A check that is behind it need not be seen again.
            assert!(
                seen.is_some_and(|seen| seen == position || seen + 1 == position),
                "{kind:?} of {package:?} finds a work directory that has seen {seen:?}, not {position}"
            );
        }
        if kind == TaskKind::Merge {
            assert!(self.archives.contains(&package), "merge without an archive");
        }
        if kind != TaskKind::Fetch || !self.engine.state().doomed.contains_key(&package) {
            assert!(!self.acting.contains_key(&package), "{kind:?} begins while its failure is looked into");
        }
        let end = self.now + Duration::from_secs(1 + self.random.below(30));
        assert!(self.in_flight.insert(task, (start, end)).is_none(), "started while running");
    }

    fn check(&self) {
        let count = |wanted: &dyn Fn(TaskKind) -> bool| {
            self.in_flight.values().filter(|(s, _)| wanted(s.kind)).count()
        };
        assert!(count(&TaskKind::works) <= self.limits.jobs as usize, "slots exceeded");
        assert!(count(&|k| k == TaskKind::Fetch) <= self.limits.fetches as usize, "fetch slots exceeded");
        let looks = usize::from(self.looking.is_some());
        assert!(count(&|k| k == TaskKind::Merge) + looks <= 1, "two at the sysroot at once");
        if self.plan.document.dependency_tracking.dependency_resolution.method == Method::Topological {
            let others = count(&|k| k != TaskKind::Fetch);
            // Dependencies are looked at for a fetch that failed ahead as well.
            let begins = |task: TaskId| matches!(self.replayed.task(task).state, TaskState::Running { .. });
            let looks = usize::from(self.looking.as_ref().is_some_and(|(task, ..)| begins(*task)));
            assert!(others + looks <= 1, "more than one package at a time");
        }
    }

    /// Kiln was killed.
    fn restart(&mut self) {
        self.kills_left -= 1;
        if self.random.chance(40) {
            self.cut_power();
        }
        self.begin();
    }

    /// What was in flight has died, and a new engine goes on from the ledger, or begins a new run.
    fn begin(&mut self) {
        self.in_flight.clear();
        self.looking = None;
        self.checkpoint = None;
        self.acting.clear();
        if self.random.chance(15) {
            std::mem::swap(&mut self.plan, &mut self.other_plan);
        }
        self.replayed = State::new(&self.plan);
        for (at, record) in &self.ledger {
            self.replayed.apply(&self.plan, *at, record, &mut Vec::new());
        }
        let mut state = self.replayed.clone();
        self.selection = None;
        if self.random.chance(15) {
            self.select();
            // As the driver does: a part of the definition is a run of its own.
            state.run = RunState::Idle;
        }
        self.damage();
        self.engine = engine(&self.plan, self.limits, state);
        self.ended = None;
        self.turn(Event::Begin(self.facts()));
    }

    fn run(&mut self) {
        self.turn(Event::Begin(self.facts()));
        for _ in 0..20_000 {
            if self.ended == Some(Ending::Stopped) && self.kills_left > 0 {
                self.restart();
                continue;
            }
            if self.ended == Some(Ending::Gates) {
                self.check_end();
                self.answer_at_rest();
                self.begin();
                continue;
            }
            if self.ended.is_some() {
                self.check_end();
                if self.runs_left == 0 || self.ended == Some(Ending::Stopped) {
                    return;
                }
                self.runs_left -= 1;
                self.begin();
                continue;
            }
            self.intrude();
            if let Some((task, packages, end)) = self.looking.take_if(|_| self.random.chance(70)) {
                self.now = self.now.max(end);
                let findings = self.findings(&packages);
                self.turn(Event::Verified { task, findings });
                continue;
            }
            let over = self.checkpoint.as_ref().is_some_and(|(.., end)| *end <= self.now);
            if self.checkpoint.is_some() && (over || self.random.chance(5)) {
                self.end_checkpoint();
                continue;
            }
            if self.random.chance(10)
                && let Some((&gate, _)) = self.engine.state().gates.first_key_value()
            {
                let answered = self.answered(gate);
                self.turn(Event::Answered(answered));
                continue;
            }
            if self.random.chance(3) {
                self.command();
                continue;
            }
            let ended = self.acting.iter().find(|(_, (_, end))| *end <= self.now).map(|(id, _)| *id);
            if let Some(package) = ended {
                self.acting.remove(&package);
                let acted = self.acted();
                self.turn(Event::Acted { package, acted });
                continue;
            }
            let next = self.in_flight.iter().map(|(t, (s, end))| (*end, *t, *s)).min_by_key(|n| (n.0, n.1));
            let wakeup = self.engine.next_wakeup();
            if self.random.chance(1) {
                self.turn(Event::Stop);
            } else if let Some((end, task, start)) = next.filter(|n| wakeup.is_none_or(|w| n.0 <= w)) {
                self.now = self.now.max(end);
                self.in_flight.remove(&task);
                let outcome = self.outcome(start);
                self.turn(Event::Finished { task, outcome, usage: Usage::default() });
            } else if let Some(wakeup) = wakeup {
                self.now = self.now.max(wakeup);
                self.turn(Event::Tick);
            } else if let Some(end) = self.acting.values().map(|(_, end)| *end).min() {
                self.now = self.now.max(end);
            } else if self.checkpoint.is_some() {
                self.end_checkpoint();
            } else if self.engine.state().held {
                self.turn(Event::Resume(Said::default()));
            } else if self.looking.is_none() {
                let state = self.engine.state();
                let open = self.plan.package_ids().filter(|id| !state.package(*id).state.is_final());
                let open: Vec<_> = open
                    .map(|id| {
                        let tasks: Vec<_> =
                            self.plan.tasks_of(id).map(|task| state.task(task).state).collect();
                        (&self.plan.package(id).name, *state.package(id), tasks)
                    })
                    .collect();
                panic!(
                    "nothing runs, nothing will, and the run has not ended: {open:?} {:?}",
                    state.recoveries
                );
            }
        }
        panic!("the run does not end");
    }

    /// Somebody pauses the run, lets it go on or wants a checkpoint, if that can be done.
    fn command(&mut self) {
        let said = Said { by: "ann".into(), note: "".into() };
        let command = match self.random.below(4) {
            0 => Command::Pause(said),
            1 => Command::Checkpoint,
            _ => Command::Resume(said),
        };
        if let Ok(event) = self.engine.hear(command) {
            self.turn(event);
        }
    }

    fn check_end(&self) {
        let state = self.engine.state();
        // Only who says stop twice does not wait.
        let waits = self.ended != Some(Ending::Stopped);
        assert!(self.checkpoint.is_none() || !waits, "it ends while a checkpoint is taken");
        let complete = |id: &&PackageId| matches!(state.package(**id).state, PackageState::Completed { .. });
        if state.run == RunState::Completed || state.run == RunState::Error {
            let left = self.uncovered.iter().find(complete);
            assert!(left.is_none() || self.last_failed, "{left:?} is complete and not covered");
        }
        let bad = |id: &PackageId| match state.package(*id).state {
            PackageState::Failed | PackageState::Skipped(Skip::Doomed) => true,
            PackageState::Pending
            | PackageState::Running
            | PackageState::Completed { .. }
            | PackageState::Skipped(Skip::Unwanted | Skip::Waived) => false,
        };
        let critical = self.plan.phases.iter().filter(|p| p.critical).flat_map(|p| &p.packages).any(bad);
        match self.ended {
            Some(Ending::Completed) => {
                assert!(!critical, "completed, but something critical is missing");
                assert!(state.gates.is_empty(), "completed, but a person is asked");
                let there =
                    |id: &PackageId| matches!(state.package(*id).state, PackageState::Completed { .. });
                let known = self.told.iter().find(|id| there(id));
                assert_eq!(known, None, "completed, but something is damaged, and that is known");
                let open = self.plan.package_ids().find(|id| !state.package(*id).state.is_final());
                assert_eq!(open, None, "completed, but a package was never finished");
            }
            Some(Ending::Error) => {
                assert!(critical || state.aborted, "ended in error, but nothing critical is missing");
            }
            Some(Ending::Gates) => {
                assert!(!state.gates.is_empty(), "a person is needed, but nothing is asked");
                assert!(self.in_flight.is_empty() && self.acting.is_empty(), "paused, but something is done");
                let free = |id: &PackageId| {
                    let open = !state.package(*id).state.is_final() && !state.stands(*id);
                    open && state.is_free(&self.plan, *id)
                };
                assert_eq!(self.plan.package_ids().find(free), None, "a package could go on");
            }
            Some(Ending::Requirements | Ending::Stopped) | None => {}
        }
    }
}

/// What a paused run does not do. A task that was started before may have waited for a look at what it needs.
fn is_start(effect: &Effect) -> bool {
    matches!(
        effect,
        Effect::Act(_)
            | Effect::Measure { .. }
            | Effect::Record(Record::TaskStarted { .. } | Record::PhaseStarted { .. })
    )
}

fn engine(plan: &Arc<Plan>, limits: Limits, state: State) -> Engine {
    let info = RunInfo { build_id: "b".into(), kiln: "test".into(), boot: "".into() };
    let expected: Vec<u64> = plan.packages.iter().map(|p| p.tasks.len() as u64).collect();
    Engine::new(Arc::clone(plan), limits, info, state, &expected).expecting_memory(memory(plan))
}

fn run_seed(seed: u64) {
    let mut world = World::new(seed);
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.run()));
    if let Err(panic) = result {
        let tail = world.trace.len().saturating_sub(60);
        println!("seed {seed} (KILN_SEED={seed} runs it alone)\n{}", world.trace[tail..].join("\n"));
        std::panic::resume_unwind(panic);
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the test is no part of the engine")]
fn random_runs_keep_every_promise() {
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    if let Some(seed) = number("KILN_SEED") {
        return run_seed(seed);
    }
    for seed in 0..number("KILN_SEEDS").unwrap_or(5_000) {
        run_seed(seed);
    }
}
