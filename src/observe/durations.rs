//! What a task is expected to take.
//!
//! Owns: what was measured, and the rules that make an expectation of it. Does not know: slots, the state of
//! a run, the time.
//!
//! The first of these that there is:
//! 1. what the same task of the same package took when it last succeeded in this ledger;
//! 2. for a package with a weight: weight × seconds per unit of weight, as measured for this kind of task, or
//!    for all kinds together and then × the usual share of the kind;
//! 3. the median of this kind of task, or of all kinds together × the usual share.
//!
//! While no script has been measured, nothing is known: a fetch that the cache answered says nothing about a
//! compiler. What is returned then is weights, good for an order and no more.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::plan::{PackageId, Plan, TASK_KINDS, TaskId, TaskKind};

use super::counters::ByTask;

/// What each task took when it last succeeded.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History {
    /// Nanoseconds.
    last: BTreeMap<(Arc<str>, TaskKind), u64>,
    /// Peak memory, bytes: its own, or its largest process's.
    peaks: BTreeMap<(Arc<str>, TaskKind), u64>,
}

/// What one task is expected to take.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Expected {
    /// Nanoseconds; with `Basis::Nothing` a thousandth of a unit of weight.
    pub nanoseconds: u64,
    /// Where that comes from.
    pub basis: Basis,
    /// How far it may be off upwards, nine times out of ten, as a part of it.
    pub spread: f64,
}

/// What an expectation was concluded from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// The same task of the same package.
    History,
    /// The package's weight.
    Weight,
    /// Other packages.
    Median,
    /// Nothing was measured.
    Nothing,
}

/// What each task of a plan is expected to take.
#[derive(Debug, Clone, PartialEq)]
pub struct Expectations {
    /// By `TaskId`.
    tasks: Vec<Expected>,
    /// By `PackageId`: its tasks together.
    packages: Vec<u64>,
    known: bool,
}

/// Usual part of a package's time that each kind of task takes. Used only until the kind has been measured.
const SHARE: ByTask<f64> = [0.02, 0.03, 0.12, 0.65, 0.10, 0.05, 0.03];

/// Of an expectation from history: builds on a quiet host repeat to within a tenth.
const HISTORY_SPREAD: f64 = 0.10;

impl History {
    /// A task succeeded after `nanoseconds`, with `peak` bytes of memory.
    pub fn learn(&mut self, package: &Arc<str>, task: TaskKind, nanoseconds: u64, peak: u64) {
        self.last.insert((Arc::clone(package), task), nanoseconds);
        if scripted(task) {
            self.peaks.insert((Arc::clone(package), task), peak);
        }
    }

    /// What each task is expected to need of memory, by `TaskId`: what its recipe says, or what was measured if that is
    /// more. Not if it is less: where there are no control groups, the largest process is all that is known of a task.
    pub fn memory(&self, plan: &Plan) -> Vec<u64> {
        let tasks =
            plan.packages.iter().flat_map(|package| package.tasks.iter().map(move |task| (package, *task)));
        let expected = tasks.map(|(package, task)| {
            let measured = self.peaks.get(&(Arc::clone(&package.name), task)).copied();
            measured.max(package.memory.filter(|_| scripted(task))).unwrap_or(0)
        });
        expected.collect()
    }
}

/// What was measured, in the forms in which it can be transferred to other packages.
struct Rates {
    /// Nanoseconds per unit of weight, by kind.
    per_weight: ByTask<Option<f64>>,
    /// Nanoseconds per unit of weight and of share.
    overall_per_weight: Option<f64>,
    weighed: usize,
    /// Nanoseconds, by kind.
    median: ByTask<Option<f64>>,
    /// Nanoseconds per share.
    overall_median: Option<f64>,
    measured: usize,
}

impl Rates {
    fn new(plan: &Plan, history: &History) -> Self {
        let mut time = ByTask::<f64>::default();
        let mut weight = ByTask::<f64>::default();
        let mut all: ByTask<Vec<f64>> = ByTask::default();
        let mut scaled = Vec::new();
        let mut weighed = 0;
        for ((package, task), nanoseconds) in &history.last {
            let (at, took) = (*task as usize, *nanoseconds as f64);
            all[at].push(took);
            if scripted(*task) {
                scaled.push(took / SHARE[at]);
                let own = plan.find(package).and_then(|id| plan.package(id).weight);
                if let Some(own) = own.filter(|own| *own > 0.0) {
                    time[at] += took;
                    weight[at] += own;
                    weighed += 1;
                }
            }
        }
        let shares: f64 = TASK_KINDS.iter().map(|kind| weight[*kind as usize] * SHARE[*kind as usize]).sum();
        Self {
            per_weight: std::array::from_fn(|at| (weight[at] > 0.0).then(|| time[at] / weight[at])),
            overall_per_weight: (shares > 0.0).then(|| time.iter().sum::<f64>() / shares),
            weighed,
            median: all.map(median),
            measured: scaled.len(),
            overall_median: median(scaled),
        }
    }

    fn expect(&self, task: TaskKind, weight: Option<f64>) -> Expected {
        let at = task as usize;
        let by_weight = weight.filter(|_| scripted(task)).and_then(|weight| {
            let rate = self.per_weight[at].or(self.overall_per_weight.map(|rate| rate * SHARE[at]));
            // Nothing with a weight was measured: a unit of it is taken for what the median package took.
            let rate = rate.or(self.overall_median.map(|rate| rate * SHARE[at]))?;
            Some(Expected {
                nanoseconds: whole(rate * weight),
                basis: Basis::Weight,
                spread: 0.25 + 0.5 / root(self.weighed),
            })
        });
        let by_median = || {
            let nanoseconds = self.median[at].or(self.overall_median.map(|all| all * SHARE[at]))?;
            let spread = 0.5 + 1.0 / root(self.measured);
            Some(Expected { nanoseconds: whole(nanoseconds), basis: Basis::Median, spread })
        };
        by_weight.or_else(by_median).unwrap_or(Expected {
            nanoseconds: whole(weight.unwrap_or(1.0) * SHARE[at] * 1000.0).max(1),
            basis: Basis::Nothing,
            spread: 1.0,
        })
    }
}

impl Expectations {
    /// What `history` says about the tasks of `plan`.
    pub fn new(plan: &Plan, history: &History) -> Self {
        let known = history.last.keys().any(|(_, task)| scripted(*task));
        let rates = Rates::new(plan, if known { history } else { &NOTHING });
        let mut tasks = Vec::with_capacity(plan.task_count());
        let mut packages = Vec::with_capacity(plan.packages.len());
        for package in &plan.packages {
            let from = tasks.len();
            for task in &package.tasks {
                let last = history.last.get(&(Arc::clone(&package.name), *task)).filter(|_| known);
                tasks.push(match last {
                    Some(took) => {
                        Expected { nanoseconds: *took, basis: Basis::History, spread: HISTORY_SPREAD }
                    }
                    None => rates.expect(*task, package.weight),
                });
            }
            packages.push(tasks[from..].iter().map(|task| task.nanoseconds).fold(0, u64::saturating_add));
        }
        Self { tasks, packages, known }
    }

    /// Whether anything that matters was measured, so that figures are times.
    pub fn known(&self) -> bool {
        self.known
    }

    /// A task, in nanoseconds or, if nothing is known, in units that only compare.
    pub fn task(&self, id: TaskId) -> Expected {
        self.tasks[id.0 as usize]
    }

    /// By package: its tasks together, for the critical path.
    pub fn packages(&self) -> &[u64] {
        &self.packages
    }

    /// How long a task takes, if that is known.
    pub fn time(&self, id: TaskId) -> Option<Duration> {
        self.known.then(|| Duration::from_nanos(self.task(id).nanoseconds))
    }

    /// How long a package takes, one task after another, if that is known.
    pub fn package_time(&self, id: PackageId) -> Option<Duration> {
        self.known.then(|| Duration::from_nanos(self.packages[id.0 as usize]))
    }
}

static NOTHING: History = History { last: BTreeMap::new(), peaks: BTreeMap::new() };

/// Whether a recipe's script does it, so that weight says something about it.
fn scripted(task: TaskKind) -> bool {
    match task {
        TaskKind::Configure | TaskKind::Build | TaskKind::Check | TaskKind::Install => true,
        TaskKind::Fetch | TaskKind::Unpack | TaskKind::Merge => false,
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = values[(values.len() - 1) / 2];
    Some(f64::midpoint(lower, upper))
}

fn root(count: usize) -> f64 {
    (count.max(1) as f64).sqrt()
}

/// To whole nanoseconds. Weights are finite and not negative, times far below what fits.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, which is meant")]
fn whole(nanoseconds: f64) -> u64 {
    nanoseconds.round() as u64
}
