//! The one place where those who fold records and those who look meet.
//!
//! Owns: the lock, and how little is done under it: folding, copying a snapshot. Looking ahead and drawing
//! happen outside, so that nobody who looks slows the build. Does not know: who looks.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

use crate::ledger::lock::RunnerLock;
use crate::ledger::place::StateDir;
use crate::ledger::{Entry, LedgerError};

use super::facts::{RunnerFacts, Sum};
use super::follow::{Followed, Follower};
use super::live::Sample;
use super::progress::Progress;
use super::snapshot::{Collected, RunningTask, Snapshot};

/// Asks the runner what it says of itself; these tasks run. `None`: it does not answer.
pub type Ask = Box<dyn Fn(&[RunningTask]) -> Option<RunnerFacts> + Send + Sync>;

/// What is found out at most this often, however many ask: sixteen clients at once cost little more than one.
const FRESH: Duration = Duration::from_millis(100);

/// What was found out last, and when.
type Memo<T> = Mutex<Option<(Instant, T)>>;

/// Progress that can be shared between threads.
pub struct Observer {
    progress: Mutex<Progress>,
    place: StateDir,
    /// The definition's directory; empty for one that kiln ships.
    directory: Arc<str>,
    ask: Ask,
    sum: Mutex<Sum>,
    /// Expositions that could not be had.
    not_shown: AtomicU64,
    facts: Memo<Option<RunnerFacts>>,
    sample: Memo<Sample>,
    /// Where the runner is in another process, if at all.
    follower: Option<Mutex<Follower>>,
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observer").field("place", &self.place).finish_non_exhaustive()
    }
}

impl Observer {
    /// Of a runner in this process, over what has been folded so far; the rest comes by `fold`.
    pub fn here(progress: Progress, place: StateDir, directory: Arc<str>, ask: Ask) -> Arc<Self> {
        Arc::new(Self::new(progress, place, directory, ask, None))
    }

    /// Of a runner in another process, if at all: the state directory's lock tells. `progress` has folded nothing.
    pub fn elsewhere(
        progress: Progress,
        place: StateDir,
        directory: Arc<str>,
        follower: Follower,
        ask: Ask,
    ) -> Arc<Self> {
        Arc::new(Self::new(progress, place, directory, ask, Some(Mutex::new(follower))))
    }

    fn new(
        progress: Progress,
        place: StateDir,
        directory: Arc<str>,
        ask: Ask,
        follower: Option<Mutex<Follower>>,
    ) -> Self {
        Self {
            progress: Mutex::new(progress),
            place,
            directory,
            ask,
            sum: Mutex::default(),
            not_shown: AtomicU64::new(0),
            facts: Mutex::default(),
            sample: Mutex::default(),
            follower,
        }
    }

    /// More records.
    pub fn fold(&self, entries: &[Entry]) {
        let mut progress = self.progress.lock();
        for entry in entries {
            progress.fold(entry);
        }
    }

    /// Looks at the progress. Whoever looks long stops those who fold.
    pub fn with<T>(&self, look: impl FnOnce(&mut Progress) -> T) -> T {
        look(&mut self.progress.lock())
    }

    /// The run at `now`, nanoseconds since 1970, with an estimate that is as fresh as it may be.
    pub fn snapshot(&self, now: i64) -> Snapshot {
        let mut collected = Vec::new();
        if let Some(follower) = &self.follower {
            let began = Instant::now();
            let mut follower = follower.lock();
            let read = self.follow(&mut follower);
            let worked = follower.tell(&read);
            collected.push(Collected { name: "ledger", took: began.elapsed(), worked });
        }
        let alive = self.alive();
        let mut took = Duration::ZERO;
        let forecast = self.progress.lock().take_forecast(now);
        if let Some(forecast) = forecast {
            let began = Instant::now();
            let view = forecast.compute();
            took = began.elapsed();
            self.progress.lock().keep(view);
        }
        collected.push(Collected { name: "forecast", took, worked: true });
        let mut snapshot = self.progress.lock().snapshot(now, alive);
        let began = Instant::now();
        let runner = alive.then(|| fresh(&self.facts, || (self.ask)(&snapshot.running))).flatten();
        let mut sum = self.sum.lock();
        if let Some(facts) = &runner {
            sum.hear(facts);
            snapshot.slots = facts.jobs;
            self.progress.lock().limit(facts.jobs, facts.fetches);
        }
        collected.push(Collected {
            name: "runner",
            took: began.elapsed(),
            worked: runner.is_some() || !alive,
        });
        let mut totals = sum.total();
        totals.notification_failures[1] += self.not_shown.load(Ordering::Relaxed);
        let permissions = sum.permissions();
        let directory = Arc::clone(&self.directory);
        let state_directory = self.place.root().to_string_lossy().into();
        Snapshot { directory, state_directory, runner, totals, permissions, collected, ..snapshot }
    }

    /// Whether the ledger could ever be read: otherwise nothing can be said.
    pub fn has_read(&self) -> bool {
        self.follower.as_ref().is_none_or(|follower| follower.lock().has_read())
    }

    /// Sees what has come into the ledger, where the runner is in another process.
    pub fn refresh(&self) {
        if let Some(follower) = &self.follower {
            let mut follower = follower.lock();
            let read = self.follow(&mut follower);
            follower.tell(&read);
        }
    }

    /// The same for one who looks once, and can do nothing without.
    pub fn read(&self) -> Result<(), LedgerError> {
        let Some(follower) = &self.follower else { return Ok(()) };
        // An error that was told a moment ago was told to somebody else.
        self.follow(&mut follower.lock()).or_else(|error| error.map_or(Ok(()), Err))
    }

    /// Folds what has come into the ledger. Where it cannot be read, what was seen before stays.
    fn follow(&self, follower: &mut Follower) -> Result<(), Option<LedgerError>> {
        loop {
            let (plan, limits, foreign) = self.with(|progress| {
                let foreign = progress.is_foreign().then(|| progress.state().digest().into());
                (Arc::clone(progress.plan()), progress.limits(), foreign)
            });
            match follower.follow(&plan, limits, foreign)? {
                Followed::More(entries) if entries.is_empty() => return Ok(()),
                // They may be of a run of another definition.
                Followed::More(entries) => self.fold(&entries),
                Followed::Anew(progress) => *self.progress.lock() = *progress,
            }
        }
    }

    /// Somebody wanted to see the metrics, and could not.
    pub fn not_shown(&self) {
        self.not_shown.fetch_add(1, Ordering::Relaxed);
    }

    /// What the runner says of itself.
    pub fn facts(&self) -> Option<RunnerFacts> {
        let running = self.with(|progress| progress.running_now());
        (self.ask)(&running)
    }

    /// Live facts about the host.
    pub fn sample(&self) -> Sample {
        fresh(&self.sample, || Sample::take(&self.place))
    }

    /// Whether a runner is there.
    pub fn alive(&self) -> bool {
        self.follower.is_none() || RunnerLock::is_held(&self.place.lock())
    }
}

/// What was found out a moment ago, or is now. Others wait meanwhile, and then need not.
fn fresh<T: Clone>(memo: &Memo<T>, find: impl FnOnce() -> T) -> T {
    let mut memo = memo.lock();
    if let Some((_, found)) = memo.as_ref().filter(|(when, _)| when.elapsed() < FRESH) {
        return found.clone();
    }
    let found = find();
    *memo = Some((Instant::now(), found.clone()));
    found
}

/// Now, nanoseconds since 1970.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
