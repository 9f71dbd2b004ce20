//! Records in plain words, for the log and the journal.
//!
//! Owns: the text, severity, fields and `MESSAGE_ID` of each kind of record. Does not know: where the log goes
//! (the command line sets that up), what a record changes (see `progress`).
//!
//! What happens to packages, phases and the run is told at info, what tasks do at debug, failures at warning
//! and, when attempts are spent or a person is needed, at error.
//!
//! `packaging/kiln.catalog` explains each `MESSAGE_ID`.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tracing::Level;

use crate::config::document::{CheckpointType, RecoveryAction};
use crate::engine::message::{ActionResult, Answer, PhaseOutcome, Record, RunEnd, Then, Time};
use crate::failure::{Category, Failure};
use crate::ledger::Entry;
use crate::plan::TaskKind;
use crate::words::count;

use super::failures::FailedPackage;
use super::human::{self, plain};
use super::progress::Progress;

// `MESSAGE_ID` of what is no record.

/// A status update.
pub const STATUS_UPDATE: &str = "6f72b090c3934e49acb5f330f6fd06d1";
/// The ledger cannot be written: the run is paused.
pub const LEDGER_UNWRITABLE: &str = "9bf0d2d0e1b54cc8a072e6b67aeef64c";
/// The ledger can be written again: the run goes on.
pub const LEDGER_WRITABLE: &str = "dde3e21d7ade40eda50d5b6cc22c5540";
/// The sysroot has something in it that should not be there, and that could not be taken out.
pub const SYSROOT_LEFT: &str = "aef5510217324aed9e1bc2b4692f346f";
/// The file for node_exporter could not be written.
pub const TEXTFILE_FAILED: &str = "f0e30377992c40c8bee6112affefd696";
/// An alert that Alertmanager told of.
pub const ALERT: &str = "9fab361099fa4532ab6452de36a355ac";
/// Messages that found no room.
pub const MESSAGES_DROPPED: &str = "d7cfa6c745844bb396af2941b760ecae";
/// A fault of kiln's.
pub const PANICKED: &str = "69fc802e5a09475e8b3ea33d621bcad0";
/// A task that had failed has succeeded. That is also the record of a finished task.
pub const RECOVERED: &str = "ede431597d6d46e09b8c581ebbd7c948";

/// Target of events about records.
pub const TARGET: &str = "kiln::run";

/// Names that a list in a message has at most.
const NAMES_MOST: usize = 12;

/// A record, told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Names the kind of event, for ever: 32 hexadecimal digits.
    pub message_id: &'static str,
    /// How grave it is.
    pub level: Level,
    /// One line without control characters.
    pub text: String,
    /// Id of the run.
    pub build_id: Arc<str>,
    /// Phase that it is about.
    pub phase: Option<Arc<str>>,
    /// Package that it is about.
    pub package: Option<Arc<str>>,
    /// Task that it is about.
    pub task: Option<TaskKind>,
    /// Attempt that it is about, 1-based.
    pub attempt: Option<u32>,
    /// What went wrong.
    pub category: Option<Category>,
    /// The recovery action that it is about.
    pub action: Option<RecoveryAction>,
    /// The gate that it is about.
    pub gate: Option<u32>,
    /// Where the output is of what failed. `tell` does not know.
    pub output: Option<PathBuf>,
}

/// One fixed id per kind of record.
pub fn message_id(record: &Record) -> &'static str {
    match record {
        Record::RunStarted { .. } => "9e5c8db0d5a54b12b7f17f74b7760bf8",
        Record::RunResumed { .. } => "58d2fce422db4024be999de7db502b41",
        Record::Decided { .. } => "0ba1155bb8c44ef199ce47aa1080131d",
        Record::PhaseStarted { .. } => "683a8e39a6ab4c839522d3a16b8d913b",
        Record::PhaseFinished { .. } => "5a6b3503eec0427cb3d6c4ba54934e80",
        Record::RequirementUnmet { .. } => "1c8b7894c53e4fdebd1578bb59b9d461",
        Record::TaskStarted { .. } => "96ae8e906c294cbea21efa94fe842fe4",
        Record::TaskFinished { .. } => "ef43ba7f768842de85e47f492bf82f5d",
        Record::TaskFailed { .. } => "473ed99f90024da0a3619db43a687f47",
        Record::TaskInterrupted { .. } => "4943cc8a505c43ef85c62a5ced10fc9b",
        Record::WorkLost { .. } => "c5a301d8f31f4e8db08a44c86a88f72b",
        Record::PackageCompleted { .. } => "6c49d9044f70479ba60281dbf63ef69d",
        Record::ActionFinished { .. } => "ccc47ec730e14b699f80e5f2cf4e1dec",
        Record::GateOpened { .. } => "3cb659713f1143a4958bf09d03f02a2b",
        Record::GateAnswered { .. } => "8e48223cda674edd8a015082f02f4997",
        Record::GateClosed { .. } => "09e56847ecce49048921f63e97a687c3",
        Record::PackageFailed { .. } => "1171721583064511af10d0ff98596c76",
        Record::Verified { .. } => "ec03c6b05a544daab80da88f9f88cd02",
        Record::PackageDamaged { .. } => "1a4fb06aa8c346fe884d1eba438fcde0",
        Record::CheckpointTaken { .. } => "22ea6de93ac34ef9914c103e236f79d2",
        Record::CheckpointFailed { .. } => "e5574838812745ada25d1bd469329d32",
        Record::Restored { .. } => "385fd06ccdf147f3afd12f3b464464a3",
        Record::RestoreFinished { .. } => "8bfa552ce6cc4336b87c2413009a22cf",
        Record::PackageSkipped { .. } => "3bb52c5bda65436d816c793915a6bec4",
        Record::PackageKept { .. } => "9eece6a7573f416eafb915725da99a7f",
        Record::RunPaused { .. } => "8ac847f38a1a40cfa3567bb05524d6dd",
        Record::RunEnded { .. } => "80a808803f85425a9591f1c58fa6ef98",
        Record::Undone { .. } => "6ad1c3d23b404efab46893db359d58c4",
        Record::PackageRemoved { .. } => "052046a9e7424c1fb632205faa9f3e28",
    }
}

/// Whether anybody listens to this: details are told at debug only, and telling costs.
pub fn is_told(record: &Record, before: &Progress) -> bool {
    if let Record::TaskFinished { package, task, .. } = record
        && recovered(package, *task, before).is_some()
    {
        return true;
    }
    !is_detail(record) || tracing::enabled!(target: TARGET, Level::DEBUG)
}

/// Whether it is only about what a task does while all is well.
pub fn is_detail(record: &Record) -> bool {
    match record {
        Record::TaskStarted { .. }
        | Record::TaskFinished { .. }
        | Record::TaskInterrupted { .. }
        | Record::Verified { .. }
        | Record::RestoreFinished { .. } => true,
        Record::RunStarted { .. }
        | Record::RunResumed { .. }
        | Record::Decided { .. }
        | Record::PhaseStarted { .. }
        | Record::PhaseFinished { .. }
        | Record::RequirementUnmet { .. }
        | Record::TaskFailed { .. }
        | Record::WorkLost { .. }
        | Record::ActionFinished { .. }
        | Record::GateOpened { .. }
        | Record::GateAnswered { .. }
        | Record::GateClosed { .. }
        | Record::PackageCompleted { .. }
        | Record::PackageFailed { .. }
        | Record::PackageDamaged { .. }
        | Record::PackageSkipped { .. }
        | Record::PackageKept { .. }
        | Record::CheckpointTaken { .. }
        | Record::CheckpointFailed { .. }
        | Record::Restored { .. }
        | Record::RunPaused { .. }
        | Record::RunEnded { .. }
        | Record::Undone { .. }
        | Record::PackageRemoved { .. } => false,
    }
}

/// Tells a record. `before` has folded every record before it, and not yet this one.
pub fn tell(entry: &Entry, before: &Progress) -> Told {
    let mut told = Told {
        message_id: message_id(&entry.record),
        level: Level::INFO,
        text: String::new(),
        build_id: Arc::clone(&before.state().build_id),
        phase: None,
        package: None,
        task: None,
        attempt: None,
        category: None,
        action: None,
        gate: None,
        output: None,
    };
    told.fill(entry, before);
    told
}

impl Told {
    /// Says it to whoever listens to `tracing`.
    pub fn emit(&self) {
        macro_rules! say {
            ($level:expr) => {
                tracing::event!(
                    target: TARGET,
                    $level,
                    MESSAGE_ID = self.message_id,
                    BUILD_ID = Some(&*self.build_id).filter(|id| !id.is_empty()),
                    PHASE = self.phase.as_deref(),
                    PACKAGE = self.package.as_deref(),
                    TASK = self.task.map(TaskKind::name),
                    ATTEMPT = self.attempt,
                    CATEGORY = self.category.map(Category::name),
                    ACTION = self.action.map(RecoveryAction::as_str),
                    GATE_ID = self.gate,
                    OUTPUT = self.output.as_ref().map(|path| tracing::field::display(path.display())),
                    "{}",
                    self.text
                )
            };
        }
        // The level of an event is part of its call site.
        if self.level == Level::ERROR {
            say!(Level::ERROR);
        } else if self.level == Level::WARN {
            say!(Level::WARN);
        } else if self.level == Level::INFO {
            say!(Level::INFO);
        } else {
            say!(Level::DEBUG);
        }
    }

    fn fill(&mut self, entry: &Entry, before: &Progress) {
        match &entry.record {
            Record::RunStarted { build_id, definition, .. } => {
                self.build_id = Arc::clone(build_id);
                let packages = count(before.plan().packages.len(), "package");
                self.text = format!("run {build_id} of {definition} starts: {packages}");
            }
            Record::RunResumed { afresh, reason, .. } => {
                let who = reason.as_ref().map(|reason| format!(": {}", plain(reason))).unwrap_or_default();
                let why = if *afresh { "; its packages are decided again" } else { "" };
                self.text = format!("run {} goes on{who}{why}", self.build_id);
            }
            Record::Decided { reused, archived, skipped, degraded, .. } => {
                let packages = before.state().packages.len();
                let build =
                    packages.saturating_sub(reused.len() + archived.len() + skipped.len() + degraded.len());
                let mut parts = vec![format!("{build} to build")];
                let others = [
                    (reused.len(), "there already"),
                    (degraded.len(), "there without something optional"),
                    (archived.len(), "to merge only"),
                    (skipped.len(), "not wanted"),
                ];
                parts.extend(others.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")));
                self.text = format!("{}: {}", count(packages, "package"), parts.join(", "));
            }
            Record::PhaseStarted { phase } => {
                self.phase = Some(Arc::clone(phase));
                self.text = format!("phase {phase} starts");
            }
            Record::PhaseFinished { phase, outcome } => {
                self.phase = Some(Arc::clone(phase));
                self.text = match outcome {
                    PhaseOutcome::Completed => format!("phase {phase} is completed"),
                    PhaseOutcome::Failed => {
                        format!("phase {phase} failed: not all of its packages are there")
                    }
                    PhaseOutcome::Skipped => {
                        format!("phase {phase} ends without packages that are not wanted")
                    }
                };
                if *outcome == PhaseOutcome::Failed {
                    self.level = Level::WARN;
                }
            }
            Record::RequirementUnmet { phase, requirement, required, available } => {
                self.phase = Some(Arc::clone(phase));
                self.level = Level::ERROR;
                self.text = human::unmet(phase, *requirement, *required, *available);
            }
            Record::TaskStarted { phase, package, task, attempt, restore, .. } => {
                self.about(package, *task, *attempt, before);
                self.phase = Some(Arc::clone(phase));
                let again = if *restore { ", again, to restore the work directory" } else { "" };
                self.text = format!("{package}: {} starts (attempt {attempt}{again})", task.name());
            }
            Record::TaskFinished { package, task, attempt, .. } => {
                self.about(package, *task, *attempt, before);
                let took = took(package, *task, entry.at, before);
                self.text = format!("{package}: {} is done{took}", task.name());
                if let Some(failed) = recovered(package, *task, before) {
                    self.message_id = RECOVERED;
                    self.level = Level::INFO;
                    // Writing to a string cannot fail.
                    let _ = write!(self.text, "; {} had failed", count(failed.failures, "attempt"));
                }
            }
            Record::TaskFailed { package, task, attempt, failure, retry_at, tolerated, .. } => {
                self.about(package, *task, *attempt, before);
                self.level = Level::WARN;
                self.category = Some(failure.category);
                let most = before.plan().document.error_recovery.automatic_recovery.max_attempts;
                let next = match retry_at {
                    Some(at) => format!(", again in {}", pause(at.since(entry.at))),
                    None if *tolerated => ", which its recipe allows".to_owned(),
                    None => ", not tried again".to_owned(),
                };
                // A person may have granted more than the rule.
                let plan = before.plan();
                let task_id = plan.find(package).and_then(|id| plan.task(id, *task));
                let failures = task_id.map_or(0, |id| before.state().task(id).failures) + 1;
                let most = if *attempt == failures { format!(" of {most}") } else { String::new() };
                self.text = format!(
                    "{package}: {} failed ({}, attempt {attempt}{most}{next}): {}",
                    task.name(),
                    failure.category.name(),
                    evidence(failure)
                );
            }
            Record::TaskInterrupted { package, task, attempt } => {
                self.about(package, *task, *attempt, before);
                self.text = format!("{package}: {} was cut off, which counts as nothing", task.name());
            }
            Record::WorkLost { package } => {
                self.package(package, before);
                self.text = format!("{package}: its work directory is gone, its tasks run again");
            }
            Record::PackageCompleted { phase, package, version, degraded, .. } => {
                self.phase = Some(Arc::clone(phase));
                self.package = Some(Arc::clone(package));
                let spent = human::duration(before.spent_on(package));
                let degraded = if *degraded { ", without something optional" } else { "" };
                self.text = format!("{package} {version}: completed in {spent}{degraded}");
            }
            Record::ActionFinished { package, task, attempt, action, result, examined, then, .. } => {
                self.about(package, *task, *attempt, before);
                self.action = Some(*action);
                self.level = match result {
                    ActionResult::Done => Level::INFO,
                    ActionResult::NothingToDo => Level::DEBUG,
                    ActionResult::Failed => Level::WARN,
                };
                let what = match result {
                    ActionResult::Done => "",
                    ActionResult::NothingToDo => " nothing to do,",
                    ActionResult::Failed => " failed,",
                };
                let then = match then {
                    Then::GoOn => "",
                    Then::Pointless => "; trying again would give the same",
                    Then::Person => "; a person is needed",
                };
                self.text = format!("{package}: {action}:{what} {}{then}", plain(examined));
            }
            Record::GateOpened { gate, reason, phase, package, task, .. } => {
                self.phase = Some(Arc::clone(phase));
                self.package.clone_from(package);
                self.task = *task;
                self.gate = Some(*gate);
                self.level = Level::ERROR;
                let about = package.as_ref().map_or_else(
                    || format!("phase {phase} needs a person"),
                    |package| {
                        let failed = before.failures().find(package);
                        self.category = failed.map(FailedPackage::category);
                        self.attempt = failed.map(|failed| failed.attempt);
                        let why = failed.map(|failed| format!(": {}", evidence(&failed.failure)));
                        format!("{package} needs a person{}", why.unwrap_or_default())
                    },
                );
                self.text = format!("gate {gate} ({reason}): {about}; `kiln gates` says how to answer");
            }
            Record::GateAnswered { gate, answer, jobs, by, note } => {
                self.open_gate(*gate, before);
                if *answer == Answer::Abort {
                    self.level = Level::WARN;
                }
                let jobs = jobs.map(|jobs| format!(" with {}", count(u64::from(jobs), "job")));
                let note = if note.is_empty() { String::new() } else { format!(": {}", plain(note)) };
                self.text = format!(
                    "gate {gate}: {} says {}{}{note}",
                    plain(by),
                    answer.name(),
                    jobs.unwrap_or_default()
                );
            }
            Record::GateClosed { gate } => {
                self.open_gate(*gate, before);
                self.text =
                    format!("gate {gate}: closed, since the definition has changed or another run begins");
            }
            Record::PackageFailed { package, task } => self.package_failed(package, *task, before),
            Record::Verified { packages, .. } => {
                self.level = Level::DEBUG;
                self.text = format!("in the sysroot as they should be: {}", names(packages));
            }
            Record::PackageDamaged { package, path, what, archive, .. } => {
                self.package(package, before);
                self.level = Level::WARN;
                let how = if *archive { "merged again" } else { "built again" };
                self.text = format!("{package}: damaged in the sysroot: {} {what}; {how}", plain(path));
            }
            Record::CheckpointTaken { checkpoint, kind, phase, packages, verified, duration } => {
                self.phase.clone_from(phase);
                let kind = match kind {
                    CheckpointType::Incremental => "",
                    CheckpointType::Full => " (full)",
                };
                let at =
                    phase.as_ref().map_or_else(String::new, |phase| format!(" at the end of phase {phase}"));
                let read = if *verified { ", read back" } else { "" };
                let took = human::duration(Duration::from_nanos(*duration));
                let covers = count(packages.len(), "package");
                self.text = format!("checkpoint {checkpoint}{kind}{at}: covers {covers}{read}, in {took}");
            }
            Record::Restored { checkpoint, build_id, packages, aside, by, .. } => {
                self.build_id = Arc::clone(build_id);
                self.level = Level::WARN;
                let there = count(packages.len(), "package");
                let aside = count(aside.len(), "younger archive");
                let by = plain(by);
                self.text = format!("checkpoint {checkpoint} restored by {by}: {there}; {aside} set aside");
            }
            Record::RestoreFinished { checkpoint } => {
                self.text = format!("the sysroot is as checkpoint {checkpoint} has it");
            }
            Record::CheckpointFailed { checkpoint, reason, .. } => {
                self.level = Level::WARN;
                let reason = plain(reason);
                self.text =
                    format!("checkpoint {checkpoint} failed: {reason}; the next one covers what it did not");
            }
            Record::PackageSkipped { package, because } => {
                self.package(package, before);
                self.level = Level::WARN;
                self.text = format!("{package}: skipped, since {because} is not there");
            }
            Record::PackageKept { package } => {
                self.package(package, before);
                self.text = format!("{package}: stays as it is, something optional is still missing");
            }
            Record::RunPaused { reason, .. } => {
                self.text = format!("run {} is paused: {}", self.build_id, plain(reason));
            }
            Record::RunEnded { state, missing } => self.run_ended(*state, missing),
            Record::Undone { package } => {
                self.package(package, before);
                self.text = format!("{package}: nothing is left in the sysroot of what did not end well");
            }
            Record::PackageRemoved { package } => {
                self.package(package, before);
                self.text = format!("{package}: taken out of the sysroot");
            }
        }
    }

    fn about(&mut self, package: &Arc<str>, task: TaskKind, attempt: u32, before: &Progress) {
        self.level = Level::DEBUG;
        self.package(package, before);
        if let Some(open) = before.running(package, task) {
            self.phase = Some(Arc::clone(&open.phase));
        }
        self.task = Some(task);
        self.attempt = Some(attempt);
    }

    fn package(&mut self, package: &Arc<str>, before: &Progress) {
        let plan = before.plan();
        self.phase = plan.find(package).map(|id| Arc::clone(&plan.phase(plan.package(id).phase).key));
        self.package = Some(Arc::clone(package));
    }

    fn open_gate(&mut self, gate: u32, before: &Progress) {
        self.gate = Some(gate);
        if let Some(open) = before.state().gates.get(&gate) {
            self.phase = Some(Arc::clone(&open.phase));
            self.package.clone_from(&open.package);
            self.task = open.task;
        }
    }

    fn package_failed(&mut self, package: &Arc<str>, task: TaskKind, before: &Progress) {
        self.package(package, before);
        self.level = Level::ERROR;
        self.task = Some(task);
        self.text = format!("{package}: failed at {}", task.name());
        if let Some(failed) = before.failures().find(package) {
            self.phase = Some(Arc::clone(&failed.phase));
            self.attempt = Some(failed.attempt);
            self.category = Some(failed.category());
            // Writing to a string cannot fail.
            let _ = write!(
                self.text,
                " after {} ({}): {}",
                count(failed.failures, "failed attempt"),
                failed.category().name(),
                evidence(&failed.failure)
            );
        }
    }

    fn run_ended(&mut self, state: RunEnd, missing: &[Arc<str>]) {
        let (level, how) = match state {
            RunEnd::Completed if missing.is_empty() => (Level::INFO, "is completed"),
            RunEnd::Completed => (Level::WARN, "is completed"),
            RunEnd::Error => (Level::ERROR, "ended in error"),
        };
        self.level = level;
        self.text = format!("run {} {how}", self.build_id);
        if !missing.is_empty() {
            let _ = write!(self.text, ", without {}: {}", count(missing.len(), "package"), names(missing));
        }
    }
}

/// The first of them, and how many more there are.
pub fn names(all: &[Arc<str>]) -> String {
    let mut out = all.iter().take(NAMES_MOST).map(|name| &**name).collect::<Vec<_>>().join(", ");
    if all.len() > NAMES_MOST {
        let _ = write!(out, " and {} more", all.len() - NAMES_MOST);
    }
    out
}

fn evidence(failure: &Failure) -> String {
    let line = failure.evidence.line.map(|line| format!(" (line {line})")).unwrap_or_default();
    let hint = failure.hint.as_ref().map(|hint| format!("; {}", plain(hint))).unwrap_or_default();
    format!("{}{line}{hint}", plain(&failure.evidence.text))
}

/// What had failed, if it is this task that has succeeded now.
fn recovered<'a>(package: &str, task: TaskKind, before: &'a Progress) -> Option<&'a FailedPackage> {
    before.failures().find(package).filter(|failed| failed.level > 0 && failed.task == task)
}

fn took(package: &Arc<str>, task: TaskKind, at: Time, before: &Progress) -> String {
    let open = before.running(package, task);
    open.map(|open| format!(", after {}", human::duration(at.since(open.at)))).unwrap_or_default()
}

/// `60 s`, and larger units from two minutes on.
fn pause(span: Duration) -> String {
    if span.as_secs() < 120 { format!("{} s", span.as_secs()) } else { human::duration(span) }
}
