//! `/metrics`: a snapshot and a sample as Prometheus families.
//!
//! Owns: which value goes into which series. Does not know: where the values come from, who scrapes.
//!
//! One collector over an immutable snapshot, instead of the crate's live counters: those hash label values
//! without a separator, and so take ("a", "bc") and ("ab", "c") for one series.
//!
//! **Invariant**: at most 350 series, 60 per phase (of this and earlier definitions of the ledger), 4 per job
//! slot and 4 per package that failed in this run, up to `FAILED_MOST` of those; whatever the plan's size.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{self, LabelPair, MetricFamily, MetricType};
use prometheus::{Encoder as _, TextEncoder};

use crate::config::document::NotificationChannel;
use crate::config::document::{GATE_REASONS, RECOVERY_ACTIONS};
use crate::config::permission::PERMISSIONS;
use crate::engine::state::{PACKAGE_STATES, RunState, TASK_STATES};
use crate::failure::{CATEGORIES, Category};
use crate::plan::{TASK_KINDS, TaskKind};

use super::counters::{ByTask, PhaseCounters};
use super::facts::COUNTED_CHANNELS;
use super::families::{FAMILIES, Family, FamilyInfo};
use super::histogram::Histogram;
use super::human::seconds;
use super::live::{COLLECTORS, PRESSURES, ROLES, Sample};
use super::snapshot::{FAILED_MOST, PHASE_STATES, RUN_STATES, Snapshot, phase_state_index, run_state_index};

/// Content type of what `render` returns.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What is exported about this kiln.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildInfo {
    /// Version of kiln.
    pub version: &'static str,
    /// Commit; `unknown` where the build did not say.
    pub revision: &'static str,
    /// The compiler's version; `unknown` where the build did not say.
    pub rustversion: &'static str,
}

/// One exposition.
#[derive(Debug)]
pub struct Exposition {
    build: BuildInfo,
    snapshot: Snapshot,
    sample: Option<Sample>,
    descriptions: Vec<Desc>,
}

impl Default for BuildInfo {
    fn default() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            revision: option_env!("KILN_REVISION").unwrap_or("unknown"),
            rustversion: option_env!("KILN_RUSTVERSION").unwrap_or("unknown"),
        }
    }
}

/// The text that a scrape gets.
pub fn render(build: BuildInfo, snapshot: Snapshot, sample: Sample) -> prometheus::Result<String> {
    encode(&Exposition::new(build, snapshot, Some(sample))?)
}

/// What stays true of a run that is over, for node_exporter, which shows it as its own until the next one is: nothing of this process,
/// and nothing of this moment.
pub fn render_for_later(build: BuildInfo, snapshot: Snapshot) -> prometheus::Result<String> {
    let over = Snapshot { alive: false, runner: None, permissions: None, collected: Vec::new(), ..snapshot };
    encode(&Exposition::new(build, over, None)?)
}

fn encode(exposition: &Exposition) -> prometheus::Result<String> {
    let mut text = Vec::with_capacity(64 * 1024);
    TextEncoder::new().encode(&exposition.collect(), &mut text)?;
    String::from_utf8(text).map_err(|error| prometheus::Error::Msg(error.to_string()))
}

impl Exposition {
    /// Of what is known now, with live facts if they are wanted. An error is a family that Prometheus would refuse.
    pub fn new(build: BuildInfo, snapshot: Snapshot, sample: Option<Sample>) -> prometheus::Result<Self> {
        let describe = |family: &FamilyInfo| {
            let labels = family.labels.iter().map(|label| (*label).to_owned()).collect();
            Desc::new(family.name.into(), family.help.into(), labels, HashMap::new())
        };
        let descriptions = FAMILIES.iter().map(describe).collect::<prometheus::Result<_>>()?;
        Ok(Self { build, snapshot, sample, descriptions })
    }
}

impl Collector for Exposition {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut out = Sheet::new();
        out.gauge(Family::BuildInfo, &[self.build.version, self.build.revision, self.build.rustversion], 1.0);
        out.run(&self.snapshot);
        out.phases(&self.snapshot);
        out.counters(&self.snapshot);
        out.runner(&self.snapshot);
        out.failures(&self.snapshot);
        out.gates(&self.snapshot);
        out.active(&self.snapshot);
        if let Some(sample) = &self.sample {
            out.host(sample);
            out.process(sample);
        }
        out.finish()
    }
}

/// Families being filled in.
struct Sheet {
    families: Vec<Vec<proto::Metric>>,
}

impl Sheet {
    fn new() -> Self {
        Self { families: vec![Vec::new(); FAMILIES.len()] }
    }

    fn metric(&mut self, family: Family, labels: &[&str]) -> &mut proto::Metric {
        let info = family.info();
        debug_assert_eq!(info.labels.len(), labels.len(), "labels of {}", info.name);
        let pairs = info.labels.iter().zip(labels).map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        });
        let metrics = &mut self.families[family as usize];
        metrics.push(proto::Metric::from_label(pairs.collect()));
        let last = metrics.len() - 1;
        &mut metrics[last]
    }

    fn gauge(&mut self, family: Family, labels: &[&str], value: f64) {
        debug_assert_eq!(family.info().kind, MetricType::GAUGE, "{}", family.info().name);
        let mut gauge = proto::Gauge::default();
        gauge.set_value(value);
        self.metric(family, labels).set_gauge(gauge);
    }

    fn counter(&mut self, family: Family, labels: &[&str], value: f64) {
        debug_assert_eq!(family.info().kind, MetricType::COUNTER, "{}", family.info().name);
        let mut counter = proto::Counter::default();
        counter.set_value(value);
        self.metric(family, labels).set_counter(counter);
    }

    fn histogram(&mut self, family: Family, labels: &[&str], values: &Histogram) {
        debug_assert_eq!(family.info().kind, MetricType::HISTOGRAM, "{}", family.info().name);
        let buckets = values.cumulative().map(|(bound, count)| {
            let mut bucket = proto::Bucket::default();
            bucket.set_upper_bound(bound);
            bucket.set_cumulative_count(count);
            bucket
        });
        let mut histogram = proto::Histogram::default();
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(values.count());
        histogram.set_sample_sum(values.sum());
        self.metric(family, labels).set_histogram(histogram);
    }

    /// 1 for what is, 0 for what is not.
    fn states(&mut self, family: Family, phase: Option<&str>, names: &[&str], is: usize) {
        for (index, name) in names.iter().enumerate() {
            let value = if index == is { 1.0 } else { 0.0 };
            match phase {
                Some(phase) => self.gauge(family, &[phase, name], value),
                None => self.gauge(family, &[name], value),
            }
        }
    }

    fn time(&mut self, family: Family, labels: &[&str], wall: Option<i64>) {
        if let Some(wall) = wall {
            self.gauge(family, labels, seconds(wall));
        }
    }

    fn run(&mut self, snapshot: &Snapshot) {
        let run = &snapshot.run;
        if run.state != RunState::Idle {
            self.gauge(
                Family::RunInfo,
                &[
                    &run.build_id,
                    &run.definition,
                    &run.digest,
                    &snapshot.directory,
                    &snapshot.state_directory,
                ],
                1.0,
            );
        }
        // Of a runner that is gone the last state is told, and that it is gone.
        let state = snapshot.blocked().map_or(run.state, |_| RunState::Paused);
        self.states(Family::RunState, None, &RUN_STATES, run_state_index(state));
        self.gauge(Family::RunProgress, &[], run.ratio);
        self.time(Family::RunStart, &[], run.started);
        self.time(Family::RunLastProgress, &[], run.last_progress);
        self.time(Family::RunCompletion, &[], run.ended);
        if let Some(remaining) = run.remaining {
            self.gauge(Family::RunRemaining, &["p50"], remaining.p50.as_secs_f64());
            self.gauge(Family::RunRemaining, &["p90"], remaining.p90.as_secs_f64());
        }
        let (p50, p90) = snapshot.completion().unzip();
        self.time(Family::RunExpected, &["p50"], p50);
        self.time(Family::RunExpected, &["p90"], p90);
        self.counter(Family::Runs, &["completed"], snapshot.counters.runs_completed as f64);
        self.counter(Family::Runs, &["error"], snapshot.counters.runs_error as f64);
        self.gauge(Family::JobSlots, &[], f64::from(snapshot.slots));
        self.gauge(Family::JobSlotsInUse, &[], f64::from(snapshot.slots_in_use));
        self.gauge(Family::RunnerUp, &[], f64::from(u8::from(snapshot.alive)));
        for (channel, name) in CHANNELS {
            let enabled = snapshot.channels.contains(&channel);
            self.gauge(Family::ChannelEnabled, &[name], f64::from(u8::from(enabled)));
        }
    }

    fn phases(&mut self, snapshot: &Snapshot) {
        for phase in &snapshot.phases {
            let key = &*phase.key;
            self.states(Family::PhaseState, Some(key), &PHASE_STATES, phase_state_index(phase.state));
            self.time(Family::PhaseStart, &[key], phase.started);
            self.time(Family::PhaseCompletion, &[key], phase.finished);
            let Some(counts) = phase.counts else { continue };
            for (name, count) in PACKAGE_STATES.iter().zip(counts.packages) {
                self.gauge(Family::Packages, &[key, name], f64::from(count));
            }
            for (name, count) in TASK_STATES.iter().zip(counts.tasks) {
                self.gauge(Family::Tasks, &[key, name], f64::from(count));
            }
            self.gauge(Family::PhaseRequired, &[key, "disk"], phase.disk.unwrap_or(0) as f64);
            self.gauge(Family::PhaseRequired, &[key, "memory"], phase.memory.unwrap_or(0) as f64);
        }
    }

    fn counters(&mut self, snapshot: &Snapshot) {
        let counters = &snapshot.counters;
        // Those of the plan first, even if nothing has happened in them; then what the ledger alone knows.
        let nothing = PhaseCounters::default();
        let mut phases: Vec<(&str, &PhaseCounters)> = Vec::new();
        let mut others: BTreeMap<&Arc<str>, &PhaseCounters> = counters.phases.iter().collect();
        for phase in &snapshot.phases {
            phases.push((&phase.key, others.remove(&phase.key).unwrap_or(&nothing)));
        }
        phases.extend(others.into_iter().map(|(key, of)| (&**key, of)));
        for (phase, of) in phases {
            self.counter(Family::PackagesCompleted, &[phase], of.packages_completed as f64);
            self.by_task(Family::TaskAttempts, phase, &of.attempts);
            self.by_task(Family::TaskFailures, phase, &of.failures);
            self.by_task(Family::TaskRetries, phase, &of.retries);
            self.counter(Family::TaskCpu, &[phase], of.cpu as f64 / 1e9);
            self.histogram(Family::TaskMemory, &[phase], &of.peak_memory);
        }
        for kind in TASK_KINDS {
            let at = kind as usize;
            self.histogram(Family::TaskDuration, &[kind.name()], &counters.durations[at]);
            self.histogram(Family::TaskQueue, &[kind.name()], &counters.queued[at]);
        }
        for category in CATEGORIES {
            let count = counters.errors[category as usize];
            self.counter(Family::Errors, &[category.name()], count as f64);
        }
        for action in RECOVERY_ACTIONS {
            let (ended, failed) =
                (counters.actions[action as usize], counters.failed_actions[action as usize]);
            self.counter(Family::RecoveryActions, &[action.as_str()], ended as f64);
            self.counter(Family::RecoveryFailures, &[action.as_str()], failed as f64);
        }
        for (channel, count) in COUNTED_CHANNELS.into_iter().zip(counters.notifications) {
            self.counter(Family::Notifications, &[channel], count as f64);
        }
        self.counter(Family::Checkpoints, &[], counters.checkpoints as f64);
        self.counter(Family::CheckpointFailures, &[], counters.failed_checkpoints as f64);
        self.time(Family::CheckpointLast, &[], snapshot.checkpoints.last);
        self.time(Family::CheckpointVerified, &[], snapshot.checkpoints.verified);
        self.gauge(Family::CheckpointUncovered, &[], snapshot.uncovered as f64);
        self.counter(Family::FetchedBytes, &[], counters.fetched as f64);
        self.counter(Family::CacheRequests, &[], counters.cache_requests as f64);
        self.counter(Family::CacheHits, &[], counters.cache_hits as f64);
        self.counter(Family::LedgerWrites, &[], counters.records as f64);
    }

    /// What is in no record.
    fn runner(&mut self, snapshot: &Snapshot) {
        let totals = &snapshot.totals;
        self.counter(Family::LedgerFailures, &[], totals.ledger_failures as f64);
        self.counter(Family::LogDropped, &[], totals.messages_dropped as f64);
        for (channel, count) in COUNTED_CHANNELS.into_iter().zip(totals.notification_failures) {
            self.counter(Family::NotificationFailures, &[channel], count as f64);
        }
        for (permission, granted) in PERMISSIONS.iter().zip(snapshot.permissions.into_iter().flatten()) {
            self.gauge(Family::Permission, &[permission.name()], f64::from(u8::from(granted)));
        }
        for part in &snapshot.collected {
            self.collector(part.name, part.took, part.worked);
        }
        let Some(runner) = &snapshot.runner else { return };
        self.time(Family::LedgerDurable, &[], Some(runner.durable));
        let Some(memory) = &runner.memory else { return };
        for phase in &snapshot.phases {
            let bytes = memory.get(&*phase.key).copied().unwrap_or(0);
            self.gauge(Family::TasksMemory, &[&phase.key], bytes as f64);
        }
    }

    fn collector(&mut self, name: &str, took: Duration, worked: bool) {
        self.gauge(Family::CollectorDuration, &[name], took.as_secs_f64());
        self.gauge(Family::CollectorSuccess, &[name], f64::from(u8::from(worked)));
    }

    fn by_task(&mut self, family: Family, phase: &str, counts: &ByTask<u64>) {
        for kind in TASK_KINDS {
            self.counter(family, &[phase, kind.name()], counts[kind as usize] as f64);
        }
    }

    fn failures(&mut self, snapshot: &Snapshot) {
        for failed in &snapshot.failed {
            let (phase, package) = (&*failed.phase, &*failed.package);
            self.gauge(Family::EscalationLevel, &[phase, package], f64::from(failed.level));
            self.time(Family::EscalationTime, &[phase, package], Some(failed.changed));
            if failed.level > 0 {
                let category = failed.category().name();
                let reason = failed.gate.map_or("", |(_, reason)| reason.as_str());
                let labels = [phase, package, failed.task.name(), category, reason];
                self.gauge(Family::FailedPackage, &labels, 1.0);
            }
        }
    }

    fn gates(&mut self, snapshot: &Snapshot) {
        for gate in snapshot.gates.iter().take(FAILED_MOST) {
            let labels = [
                &*gate.number.to_string(),
                gate.reason.as_str(),
                &gate.phase,
                gate.package.as_deref().unwrap_or_default(),
                gate.task.map_or("", TaskKind::name),
                gate.category.map_or("", Category::name),
            ];
            self.gauge(Family::GateInfo, &labels, 1.0);
        }
        for reason in GATE_REASONS {
            let open = snapshot.gates.iter().filter(|gate| gate.reason == reason).count();
            self.gauge(Family::GatesOpen, &[reason.as_str()], open as f64);
        }
    }

    fn active(&mut self, snapshot: &Snapshot) {
        let most = 2 * snapshot.slots as usize + 8;
        for task in snapshot.running.iter().take(most) {
            let labels = [&*task.phase, &*task.package, task.task.name()];
            self.time(Family::ActiveStart, &labels, Some(task.since));
            if let Some(expected) = task.expected {
                self.gauge(Family::ActiveExpected, &labels, expected.as_secs_f64());
            }
        }
    }

    fn host(&mut self, sample: &Sample) {
        for (role, filesystem) in ROLES.iter().zip(sample.filesystems) {
            let Some(filesystem) = filesystem else { continue };
            self.gauge(Family::FilesystemAvail, &[role], filesystem.available as f64);
            self.gauge(Family::FilesystemSize, &[role], filesystem.size as f64);
            self.gauge(Family::FilesystemInodes, &[role], filesystem.free_inodes as f64);
        }
        if let Some(available) = sample.memory_available {
            self.gauge(Family::MemoryAvailable, &[], available as f64);
        }
        for (resource, pressure) in PRESSURES.iter().zip(sample.pressure) {
            let Some(pressure) = pressure else { continue };
            self.gauge(Family::Pressure, &[resource, "some"], pressure.some);
            self.gauge(Family::Pressure, &[resource, "full"], pressure.full);
        }
        for (name, (took, worked)) in COLLECTORS.iter().zip(sample.collectors) {
            self.collector(name, took, worked);
        }
    }

    fn process(&mut self, sample: &Sample) {
        let Some(process) = sample.process else { return };
        self.counter(Family::ProcessCpu, &[], process.cpu);
        self.gauge(Family::ProcessOpenFds, &[], process.open_fds as f64);
        self.gauge(Family::ProcessMaxFds, &[], process.max_fds.map_or(f64::INFINITY, |most| most as f64));
        self.gauge(Family::ProcessVirtual, &[], process.virtual_memory as f64);
        self.gauge(Family::ProcessResident, &[], process.resident_memory as f64);
        self.gauge(Family::ProcessThreads, &[], process.threads as f64);
        self.gauge(Family::ProcessStart, &[], process.start);
    }

    /// What has metrics, in the order of `FAMILIES`.
    fn finish(mut self) -> Vec<MetricFamily> {
        let series = 1 + FAMILIES
            .iter()
            .zip(&self.families)
            .map(|(info, metrics)| metrics.iter().map(|metric| series(info.kind, metric)).sum::<usize>())
            .sum::<usize>();
        self.gauge(Family::Series, &[], series as f64);
        let filled = FAMILIES.iter().zip(self.families).filter(|(_, metrics)| !metrics.is_empty());
        filled
            .map(|(info, metrics)| {
                let mut family = MetricFamily::default();
                family.set_name(info.name.to_owned());
                family.set_help(info.help.to_owned());
                family.set_field_type(info.kind);
                family.set_metric(metrics);
                family
            })
            .collect()
    }
}

/// How many series one metric becomes.
fn series(kind: MetricType, metric: &proto::Metric) -> usize {
    match kind {
        MetricType::HISTOGRAM => metric.get_histogram().get_bucket().len() + 3, // +Inf, sum, count
        MetricType::COUNTER | MetricType::GAUGE | MetricType::SUMMARY | MetricType::UNTYPED => 1,
    }
}

/// Notification channels by name.
const CHANNELS: [(NotificationChannel, &str); 3] = [
    (NotificationChannel::SystemLog, "system_log"),
    (NotificationChannel::Email, "email"),
    (NotificationChannel::Dashboard, "dashboard"),
];
