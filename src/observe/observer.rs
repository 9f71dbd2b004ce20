//! The one place where those who fold records and those who look meet.
//!
//! Owns: the lock, and how little is done under it: folding, copying a snapshot. Looking ahead and drawing
//! happen outside, so that nobody who looks slows the build. Does not know: who looks.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::ledger::Entry;
use crate::ledger::lock::RunnerLock;
use crate::ledger::place::StateDir;
use crate::ledger::writer::Health;

use super::live::Sample;
use super::progress::Progress;
use super::snapshot::{LedgerView, Snapshot};

/// Where the runner is whose records are folded.
#[derive(Debug, Clone)]
pub enum Runner {
    /// In this process, with a ledger that fares like this.
    Here(Arc<Health>),
    /// In another, if at all: the lock of the state directory tells.
    Elsewhere,
}

/// Progress that can be shared between threads.
#[derive(Debug)]
pub struct Observer {
    progress: Mutex<Progress>,
    place: StateDir,
    runner: Runner,
}

impl Observer {
    /// Over what has been folded so far.
    pub fn new(progress: Progress, place: StateDir, runner: Runner) -> Arc<Self> {
        Arc::new(Self { progress: Mutex::new(progress), place, runner })
    }

    /// More records.
    pub fn fold(&self, entries: &[Entry]) {
        let mut progress = self.lock();
        for entry in entries {
            progress.fold(entry);
        }
    }

    /// Looks at the progress. Whoever looks long stops the build.
    pub fn with<T>(&self, look: impl FnOnce(&mut Progress) -> T) -> T {
        look(&mut self.lock())
    }

    /// The run at `now`, nanoseconds since 1970, with an estimate that is as fresh as it may be.
    pub fn snapshot(&self, now: i64) -> Snapshot {
        let alive = self.alive();
        let forecast = self.lock().take_forecast(now);
        if let Some(forecast) = forecast {
            let view = forecast.compute();
            self.lock().keep(view);
        }
        let ledger = match &self.runner {
            Runner::Here(health) => Some(LedgerView::of(health, now)),
            Runner::Elsewhere => None,
        };
        Snapshot { ledger, ..self.lock().snapshot(now, alive) }
    }

    /// Live facts about the host.
    pub fn sample(&self) -> Sample {
        Sample::take(&self.place)
    }

    /// Whether a runner is there.
    pub fn alive(&self) -> bool {
        match &self.runner {
            Runner::Here(_) => true,
            Runner::Elsewhere => RunnerLock::is_held(&self.place.lock()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        // Whoever panicked did so while folding; what is there is at worst one record short.
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Now, nanoseconds since 1970.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
