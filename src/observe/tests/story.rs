//! A ledger without a disk: runs of the engine in virtual time, with crashes and changed definitions.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;
use std::time::Duration;

use crate::engine::message::{
    Acted, ActionResult, Answer, Answered, Covered, Damaged, Effect, Ending, Event, Facts, Findings, Have,
    Outcome, Record, Resources, Then, Time, Usage,
};
use crate::engine::state::{RunState, State};
use crate::engine::{Engine, Limits, RunInfo};
use crate::failure::{Category, Evidence, Failure};
use crate::ledger::Entry;
use crate::observe::Progress;
use crate::plan::{Plan, TaskId, TaskKind};

use crate::engine::tests::sketch;

/// Wall time of the first record: 2023-11-14T22:13:20Z.
pub(crate) const EPOCH: i64 = 1_700_000_000_000_000_000;

/// A second.
pub(crate) const SECOND: i64 = 1_000_000_000;

/// How an execution goes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Play {
    /// Success after that many seconds.
    Ok(u64),
    /// Failure after that many seconds.
    Fail(u64, Category),
    /// kiln is killed that many seconds after it began.
    Crash(u64),
    /// Somebody asks the run to stop that many seconds after it began.
    Stop(u64),
}

pub(crate) struct Story {
    pub(crate) plan: Arc<Plan>,
    pub(crate) limits: Limits,
    pub(crate) entries: Vec<Entry>,
    /// Packages that are not wanted.
    pub(crate) unwanted: Vec<&'static str>,
    /// Packages of which nothing is there, whatever the ledger says.
    pub(crate) lost: Vec<&'static str>,
    /// Packages that the next look finds damaged, and whether their archives are intact.
    pub(crate) damaged: Vec<(&'static str, bool)>,
    runs: u32,
    wall: i64,
}

impl Story {
    pub(crate) fn new(words: &str) -> Self {
        Self::of(sketch::plan(words))
    }

    pub(crate) fn of(plan: Arc<Plan>) -> Self {
        let limits = Limits { jobs: 2, fetches: 2, grace: Duration::from_secs(10) };
        let (entries, unwanted, lost) = (Vec::new(), Vec::new(), Vec::new());
        Self { plan, limits, entries, unwanted, lost, damaged: Vec::new(), runs: 0, wall: EPOCH }
    }

    /// The definition changes.
    pub(crate) fn redefine(&mut self, words: &str) {
        self.plan = sketch::plan(words);
    }

    /// Time passes without a kiln.
    pub(crate) fn sleep(&mut self, seconds: i64) {
        self.wall += seconds * SECOND;
    }

    /// Wall time of the last record.
    pub(crate) fn now(&self) -> i64 {
        self.entries.last().map_or(EPOCH, |entry| entry.wall)
    }

    /// What has been recorded, folded.
    pub(crate) fn progress(&self) -> Progress {
        self.progress_after(self.entries.len())
    }

    /// The first records, folded.
    pub(crate) fn progress_after(&self, count: usize) -> Progress {
        let mut progress = Progress::new(Arc::clone(&self.plan), self.limits);
        self.entries[..count].iter().for_each(|entry| progress.fold(entry));
        progress
    }

    /// A person answers a gate while no kiln runs.
    pub(crate) fn answer(&mut self, gate: u32, answer: Answer) {
        let (by, note) = ("ann".into(), "".into());
        let state = self.progress().state().clone();
        let at = self.entries.last().map_or(Time(0), |entry| entry.at);
        for record in state.answer_at_rest(&self.plan, Answered { gate, answer, jobs: None, by, note }) {
            let seq = 1 + self.entries.last().map_or(0, |entry| entry.seq);
            self.entries.push(Entry { seq, at, wall: self.wall, record });
        }
    }

    /// One life of kiln: `play` says of `package.task#attempt` how it goes. `None`: it was killed.
    pub(crate) fn run(&mut self, mut playing: impl FnMut(&str) -> Play) -> Option<Ending> {
        let mut state = State::new(&self.plan);
        for entry in &self.entries {
            state.apply(&self.plan, entry.at, &entry.record, &mut Vec::new());
        }
        let base = match state.run {
            RunState::Running | RunState::Paused => self.entries.last().map_or(Time(0), |entry| entry.at),
            RunState::Idle | RunState::Completed | RunState::Error => {
                self.runs += 1;
                Time(0)
            }
        };
        let start = self.wall;
        let info =
            RunInfo { build_id: format!("run{}", self.runs).into(), kiln: "test".into(), boot: "".into() };
        let plan = Arc::clone(&self.plan);
        let mut engine =
            Engine::new(Arc::clone(&plan), self.limits, info, state, &vec![1; plan.packages.len()]);
        let mut ends: BinaryHeap<Reverse<(Time, u8, TaskId)>> = BinaryHeap::new();
        let mut plays: BTreeMap<TaskId, Play> = BTreeMap::new();
        let mut now = base;
        let mut events = vec![Event::Begin(self.facts())];
        loop {
            let mut effects = Vec::new();
            for event in events.drain(..) {
                effects.extend(engine.handle(now, event));
            }
            self.wall = start + i64::try_from(now.since(base).as_nanos()).unwrap();
            for effect in effects {
                match effect {
                    Effect::Record(record) => {
                        let seq = 1 + self.entries.last().map_or(0, |entry| entry.seq);
                        self.entries.push(Entry { seq, at: now, wall: self.wall, record });
                    }
                    Effect::Start(it) => {
                        let package = &plan.package(it.package).name;
                        let deed = playing(&format!("{package}.{}#{}", it.kind.name(), it.attempt));
                        let (Play::Ok(seconds)
                        | Play::Fail(seconds, _)
                        | Play::Crash(seconds)
                        | Play::Stop(seconds)) = deed;
                        plays.insert(it.task, deed);
                        ends.push(Reverse((now + Duration::from_secs(seconds), 0, it.task)));
                    }
                    Effect::Kill { task, .. } => {
                        plays.insert(task, Play::Fail(0, Category::CompilationFailure));
                        ends.push(Reverse((now, 1, task)));
                    }
                    Effect::Measure { phase } => {
                        let resources =
                            Resources { disk: u64::MAX, memory: u64::MAX, toolchain_verified: true };
                        events.push(Event::Measured { phase, resources });
                    }
                    Effect::Verify { task, .. } => {
                        let damaged = self.damaged.drain(..).map(|(name, archive)| {
                            let (path, what) = ("bin/x".into(), "is missing".into());
                            Damaged { package: plan.find(name).unwrap(), path, what, others: 0, archive }
                        });
                        let findings = Findings { damaged: damaged.collect(), ..Findings::default() };
                        events.push(Event::Verified { task, findings: Ok(findings) });
                    }
                    Effect::MeasureMemory => events.push(Event::Memory { available: u64::MAX }),
                    Effect::Act(act) => {
                        let examined = "all is well".into();
                        let acted = Acted { result: ActionResult::Done, examined, then: Then::GoOn };
                        events.push(Event::Acted { package: act.package, acted });
                    }
                    Effect::Checkpoint { number, kind, packages, .. } => {
                        let covered = Covered { kind, packages, verified: true, damaged: Vec::new() };
                        events.push(Event::Checkpointed { number, result: Ok(covered) });
                    }
                    Effect::WatchOutput { .. } | Effect::CancelAct { .. } => {}
                    Effect::End(ending) => return Some(ending),
                }
            }
            if !events.is_empty() {
                continue;
            }
            let wakeup = engine.next_wakeup();
            let end = ends.peek().map(|Reverse((at, ..))| *at);
            if end.is_some_and(|end| wakeup.is_none_or(|wakeup| end <= wakeup)) {
                let Some(Reverse((at, _, task))) = ends.pop() else { unreachable!() };
                let Some(deed) = plays.remove(&task) else { continue };
                let seconds = at.since(now).as_secs();
                now = now.max(at);
                let usage = usage(plan.kind(task), seconds);
                let outcome = match deed {
                    Play::Ok(_) => Outcome::Success,
                    Play::Fail(_, category) => Outcome::Failure(failure(category)),
                    Play::Crash(_) => {
                        self.wall = start + i64::try_from(now.since(base).as_nanos()).unwrap();
                        return None;
                    }
                    Play::Stop(_) => {
                        // It goes on until it is told to end.
                        plays.insert(task, Play::Fail(0, Category::CompilationFailure));
                        events.push(Event::Stop);
                        continue;
                    }
                };
                events.push(Event::Finished { task, outcome, usage });
            } else {
                now = wakeup.expect("something is going on");
                events.push(Event::Tick);
            }
        }
    }

    /// What the last life left behind.
    fn facts(&self) -> Facts {
        let have = |name: &str| {
            if self.unwanted.contains(&name) {
                Have::Unselected
            } else if self.lost.contains(&name) {
                Have::Nothing
            } else {
                self.left(name)
            }
        };
        Facts {
            packages: self.plan.packages.iter().map(|package| have(&package.name)).collect(),
            ..Facts::default()
        }
    }

    fn left(&self, name: &str) -> Have {
        let mut have = Have::Nothing;
        for entry in &self.entries {
            if let Record::PackageCompleted { package, .. } = &entry.record
                && **package == *name
            {
                have = Have::Everything;
            } else if let Record::TaskStarted { package, .. } = &entry.record
                && **package == *name
            {
                have = Have::WorkDirectory;
            }
        }
        have
    }
}

fn usage(kind: TaskKind, seconds: u64) -> Usage {
    let scripted = !matches!(kind, TaskKind::Fetch | TaskKind::Unpack | TaskKind::Merge);
    let fetched = kind == TaskKind::Fetch;
    Usage {
        cpu: if scripted { seconds * 1_500_000_000 } else { 0 },
        peak_memory: if scripted { 50 << 20 } else { 0 },
        fetched: if fetched { 1000 } else { 0 },
        cache_requests: u64::from(fetched),
        cache_hits: 0,
    }
}

fn failure(category: Category) -> Failure {
    let mut failure = Failure::fact(category, "output", "main.c:7: error: <b>\u{1b}[31mno such thing");
    failure.evidence = Evidence { line: Some(12), ..failure.evidence };
    failure.hint("look at it")
}

/// Everything takes a second.
pub(crate) fn quick(_: &str) -> Play {
    Play::Ok(1)
}
