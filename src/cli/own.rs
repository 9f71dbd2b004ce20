//! The runner in this process, for those who speak to it or ask how it is.
//!
//! Owns: which driver that is at this moment, and phases that are added to what it builds. Does not know: who speaks.
//!
//! A run of a part of the definition takes no further part on: what is added is a run of its own, after this one.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use super::logging::Lost;
use crate::doctor::Permissions;
use crate::driver::Job;
use crate::driver::look::with_dependencies;
use crate::driver::run::{Driver, Remote};
use crate::driver::spawn::{Ground, MemoryGauge};
use crate::engine::Limits;
use crate::engine::gate::Refusal;
use crate::ledger::writer::Health;
use crate::observe::Observer;
use crate::observe::facts::{RunnerFacts, Totals};
use crate::observe::observer::now;
use crate::observe::snapshot::RunningTask;
use crate::plan::PhaseId;
use crate::web::command::{Command, Operation, Rejection, is_new};

/// The runner in this process.
pub(super) struct Own {
    /// Names this process among all that there have been.
    id: i64,
    limits: Limits,
    lost: Arc<Lost>,
    /// Of drivers before this one.
    failures_before: AtomicU64,
    permissions: Arc<Permissions>,
    /// Looked up once: every scrape asks.
    granted: OnceLock<[bool; 5]>,
    driver: Mutex<Handles>,
    /// Phases that are to be built next; `None`: it is over.
    added: Mutex<Option<Vec<PhaseId>>>,
}

/// What reaches a driver while it runs.
struct Handles {
    remote: Remote,
    health: Arc<Health>,
    ground: Arc<OnceLock<Ground>>,
}

impl Handles {
    fn of(driver: &Driver) -> Self {
        Self { remote: driver.remote(), health: driver.health(), ground: driver.ground() }
    }
}

impl Own {
    pub(super) fn new(
        driver: &Driver,
        limits: Limits,
        lost: Arc<Lost>,
        permissions: Arc<Permissions>,
    ) -> Self {
        Self {
            id: now(),
            limits,
            lost,
            failures_before: AtomicU64::new(0),
            permissions,
            granted: OnceLock::new(),
            driver: Mutex::new(Handles::of(driver)),
            added: Mutex::new(Some(Vec::new())),
        }
    }

    /// Another driver goes on.
    pub(super) fn is_now(&self, driver: &Driver) {
        let mut handles = self.driver.lock();
        self.failures_before.fetch_add(handles.health.failures(), Ordering::Relaxed);
        *handles = Handles::of(driver);
        // Somebody may have wanted an end while there was none.
        if self.added.lock().is_none() {
            handles.remote.stop();
        }
    }

    /// How it is while these tasks run.
    pub(super) fn facts(&self, running: &[RunningTask]) -> RunnerFacts {
        let (health, ground) = {
            let driver = self.driver.lock();
            (Arc::clone(&driver.health), Arc::clone(&driver.ground))
        };
        RunnerFacts {
            id: self.id,
            jobs: self.limits.jobs,
            fetches: self.limits.fetches,
            permissions: ground
                .get()
                .map(|ground| *self.granted.get_or_init(|| self.permissions.granted(Some(ground)))),
            memory: ground.get().and_then(|ground| Some(by_phase(ground.memory.as_ref()?, running))),
            durable: health.durable(now()),
            blocked: health.blocked(),
            totals: Totals {
                ledger_failures: self.failures_before.load(Ordering::Relaxed) + health.failures(),
                messages_dropped: self.lost.messages.load(Ordering::Relaxed),
                notification_failures: [self.lost.notifications.load(Ordering::Relaxed), 0],
            },
        }
    }

    /// Ends the run in good order; a second time, at once. False: it is over.
    pub(super) fn stop(&self) -> bool {
        self.added.lock().take();
        self.driver.lock().remote.stop()
    }

    /// Does what a command asks for.
    pub(super) fn act(
        &self,
        observer: &Observer,
        command: &Command,
        operation: Operation,
        by: &str,
    ) -> Result<Option<u32>, Rejection> {
        let Some(said) = command.to_engine(operation, by) else {
            let (new, id) = observer.with(|progress| {
                (is_new(progress, &command.phase), progress.plan().find_phase(&command.phase))
            });
            if new? && let Some(id) = id {
                self.added.lock().as_mut().ok_or(Refusal::Ending)?.push(id);
                tracing::info!("phase {} is built next, as {by} wants", command.phase);
            }
            return Ok(None);
        };
        if operation == Operation::Stop {
            self.added.lock().take();
        }
        let remote = self.driver.lock().remote.clone();
        remote.say(said).unwrap_or(Err(Refusal::Ending)).map_err(Rejection::from)
    }

    /// The run is over: phases that were to be built next, and are not.
    pub(super) fn given_up(&self) -> Vec<PhaseId> {
        self.added.lock().take().unwrap_or_default()
    }

    /// The run that was wanted is completed: what to do next, if something was added. Then nothing more can be.
    pub(super) fn next(&self, job: &Job) -> Option<Job> {
        let mut added = self.added.lock();
        let phases = added.as_mut().map(std::mem::take).filter(|phases| !phases.is_empty());
        let Some(phases) = phases else {
            added.take();
            return None;
        };
        let packages = phases.iter().flat_map(|id| job.plan.phase(*id).packages.iter().copied());
        let wanted: Vec<_> = job.selection.iter().flatten().copied().chain(packages).collect();
        let selection = Some(with_dependencies(&job.plan, &wanted));
        Some(Job { selection, forced: Vec::new(), ..job.clone() })
    }
}

fn by_phase(gauge: &MemoryGauge, running: &[RunningTask]) -> BTreeMap<String, u64> {
    let mut memory = BTreeMap::new();
    for task in running {
        // One that has ended meanwhile uses none.
        let bytes = task.id.and_then(|id| gauge.read(u64::from(id.0))).unwrap_or(0);
        *memory.entry(task.phase.to_string()).or_default() += bytes;
    }
    memory
}
