//! Status updates: what a terminal and the log say every `status_updates.frequency` seconds.
//!
//! Owns: which fields an update has, and their text. Does not know: where it is printed, the clock.
//!
//! The fields that `progress_tracking.metrics` names come first, in its order, whatever the level. Then
//! `detail_level` adds: `low` the phase's and the packages' counts, `normal` also running tasks and the
//! expected end, `high` also attempts and resources.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::config::document::{DetailLevel, ProgressMetric};
use crate::engine::state::{Counts, PackageState, PhaseState};

use super::human;
use super::live::Sample;
use super::snapshot::{PHASE_STATES, RunningTask, Snapshot, phase_state_index};

/// One update: fields in the order in which they are shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Update {
    build_id: Arc<str>,
    fields: Vec<(&'static str, String)>,
}

/// When the next update is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// Nanoseconds.
    every: i64,
    /// Nanoseconds since 1970.
    next: i64,
}

impl Schedule {
    /// Every `frequency` seconds from `now` on, nanoseconds since 1970.
    pub fn new(frequency: u32, now: i64) -> Self {
        let every = i64::from(frequency.max(1)) * 1_000_000_000;
        Self { every, next: now.saturating_add(every) }
    }

    /// How long until the next one.
    pub fn wait(&self, now: i64) -> Duration {
        // A clock that was set back makes nobody wait longer than one period.
        human::between(now, self.next.min(now.saturating_add(self.every)))
    }

    /// Whether one is due; then the next is due a period later, those that were missed are left out.
    pub fn due(&mut self, now: i64) -> bool {
        if now < self.next {
            self.next = self.next.min(now.saturating_add(self.every));
            return false;
        }
        let missed = (now - self.next) / self.every;
        self.next = self.next.saturating_add((missed + 1).saturating_mul(self.every));
        true
    }
}

impl Update {
    /// Of a run, with the fields and the level that its definition asks for.
    pub fn of(snapshot: &Snapshot, sample: &Sample) -> Self {
        let mut update = Self { build_id: Arc::clone(&snapshot.run.build_id), fields: Vec::new() };
        for metric in &snapshot.tracking.metrics {
            update.metric(*metric, snapshot);
        }
        let level = snapshot.tracking.status_updates.detail_level;
        update.counts(snapshot);
        if level >= DetailLevel::Normal {
            update.tasks(snapshot);
        }
        if level >= DetailLevel::High {
            update.resources(snapshot, sample);
        }
        update
    }

    /// The value of a field, if the update has it.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| *field == name).map(|(_, value)| value.as_str())
    }

    /// Says it to the log: one event at info with all fields.
    pub fn emit(&self) {
        tracing::info!(
            target: "kiln::status",
            MESSAGE_ID = super::events::STATUS_UPDATE,
            BUILD_ID = Some(&*self.build_id).filter(|id| !id.is_empty()),
            packages_completed = self.get("packages_completed"),
            current_phase = self.get("current_phase"),
            estimated_remaining = self.get("estimated_remaining"),
            error_count = self.get("error_count"),
            retry_count = self.get("retry_count"),
            phase_packages = self.get("phase_packages"),
            packages_running = self.get("packages_running"),
            packages_failed = self.get("packages_failed"),
            packages_skipped = self.get("packages_skipped"),
            estimated_completion = self.get("estimated_completion"),
            running = self.get("running"),
            attempts = self.get("attempts"),
            failed_attempts = self.get("failed_attempts"),
            slots = self.get("slots"),
            cpu_time = self.get("cpu_time"),
            memory_available = self.get("memory_available"),
            disk_available = self.get("disk_available"),
            "{self}"
        );
    }

    fn add(&mut self, name: &'static str, value: impl fmt::Display) {
        self.fields.push((name, value.to_string()));
    }

    fn metric(&mut self, metric: ProgressMetric, snapshot: &Snapshot) {
        let run = &snapshot.run;
        match metric {
            ProgressMetric::PackagesCompleted => {
                let packages = snapshot.packages;
                self.add("packages_completed", format!("{}/{}", packages.completed, packages.total));
            }
            ProgressMetric::CurrentPhase => self.add("current_phase", &run.phase),
            ProgressMetric::EstimatedRemaining => {
                let remaining = run.remaining.map(|estimate| human::duration(estimate.p50));
                self.add("estimated_remaining", remaining.as_deref().unwrap_or("unknown"));
            }
            ProgressMetric::ErrorCount => self.add("error_count", run.failed_attempts),
            ProgressMetric::RetryCount => self.add("retry_count", run.retries),
        }
    }

    fn counts(&mut self, snapshot: &Snapshot) {
        let packages = snapshot.packages;
        if let Some(phase) = snapshot.phases.iter().find(|phase| phase.key == snapshot.run.phase)
            && let Some(Counts { packages: counts, .. }) = phase.counts
        {
            let completed = counts[PackageState::Completed { reused: false }.index()];
            let all: u32 = counts.iter().sum();
            let state = PHASE_STATES[phase_state_index(phase.state)];
            match phase.state {
                PhaseState::Running => self.add("phase_packages", format!("{completed}/{all}")),
                PhaseState::Pending | PhaseState::Finished(_) => {
                    self.add("phase_packages", format!("{completed}/{all} {state}"));
                }
            }
        }
        self.add("packages_running", snapshot.packages_running());
        self.add("packages_failed", packages.failed);
        self.add("packages_skipped", packages.skipped);
    }

    fn tasks(&mut self, snapshot: &Snapshot) {
        let eta = snapshot.completion().map(|(p50, p90)| {
            if snapshot.run.ended.is_some() {
                human::timestamp(p50)
            } else {
                format!("{}..{}", human::timestamp(p50), human::timestamp(p90))
            }
        });
        self.add("estimated_completion", eta.as_deref().unwrap_or("unknown"));
        let running: Vec<String> = snapshot.running.iter().map(|task| running(task, snapshot.now)).collect();
        self.add("running", if running.is_empty() { "none".to_owned() } else { running.join(", ") });
    }

    fn resources(&mut self, snapshot: &Snapshot, sample: &Sample) {
        self.add("attempts", snapshot.run.attempts);
        self.add("failed_attempts", snapshot.run.failed_attempts);
        self.add("slots", format!("{}/{}", snapshot.slots_in_use, snapshot.slots));
        self.add("cpu_time", human::duration(snapshot.run.cpu));
        if let Some(available) = sample.memory_available {
            self.add("memory_available", human::size(available));
        }
        if let Some(filesystem) = sample.filesystems[0] {
            self.add("disk_available", human::size(filesystem.available));
        }
    }
}

/// `gcc.build 12m of 40m`, `(attempt 2)` from the second on.
fn running(task: &RunningTask, now: i64) -> String {
    let elapsed = human::duration(human::between(task.since, now));
    let expected = task.expected.map(|span| format!(" of {}", human::duration(span))).unwrap_or_default();
    let attempt = if task.attempt > 1 { format!(" (attempt {})", task.attempt) } else { String::new() };
    format!("{}.{} {elapsed}{expected}{attempt}", task.package, task.task.name())
}

/// `packages_completed=12/48 current_phase=toolchain …`; values with blanks are quoted.
impl fmt::Display for Update {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, value)) in self.fields.iter().enumerate() {
            let blank = if index == 0 { "" } else { " " };
            if value.contains(' ') {
                write!(f, "{blank}{name}=\"{value}\"")?;
            } else {
                write!(f, "{blank}{name}={value}")?;
            }
        }
        Ok(())
    }
}
