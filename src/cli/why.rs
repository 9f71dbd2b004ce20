//! `kiln why`: why a package is built or not, what it needs, who needs it; and what became of its attempts.

use std::fs::File;
use std::io::BufReader;
use std::sync::Arc;

use clap::Args;
use serde::Serialize;

use super::classify::lines_around;
use super::target::{self, StateTarget};
use super::{Exit, output};
use crate::driver::Job;
use crate::driver::look::{self, Decision};
use crate::engine::message::Record;
use crate::engine::recovery::procedure;
use crate::engine::state::{State, TaskState};
use crate::failure::Failure;
use crate::ledger::Entry;
use crate::observe::{Progress, events, human};
use crate::plan::{DroppedEdge, PackageId, TaskId, TaskKind};
use crate::words::count;

/// Arguments.
#[derive(Debug, Args)]
pub(super) struct Why {
    /// The package
    package: String,
    #[command(flatten)]
    target: StateTarget,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Answer<'a> {
    package: &'a str,
    version: &'a str,
    phase: &'a str,
    step: &'a str,
    key: &'a str,
    decision: Decision,
    reason: &'a str,
    needs: Vec<&'a str>,
    needed_by: Vec<&'a str>,
    /// What it needs and does not wait for, so that nothing is circular.
    dropped_edges: Vec<&'a DroppedEdge>,
    /// In the last run.
    history: Vec<Event>,
    /// The last failure, if it has not been got over.
    failure: Option<Failed>,
    /// What happens next, if anything does.
    next: Option<String>,
}

/// Something that happened to it.
#[derive(Debug, Serialize)]
struct Event {
    at: String,
    text: String,
}

#[derive(Debug, Serialize)]
struct Failed {
    task: TaskKind,
    attempt: u32,
    #[serde(flatten)]
    failure: Failure,
    /// The evidence among its neighbours in the output.
    #[serde(skip)]
    around: Vec<(u64, String)>,
}

impl Why {
    pub(super) fn run(self) -> anyhow::Result<Exit> {
        let (job, _) = match self.target.job(Vec::new()) {
            Ok(job) => job,
            Err(exit) => return Ok(exit),
        };
        let id = match target::package(&job, &self.package) {
            Ok(id) => id,
            Err(exit) => return Ok(exit),
        };
        let mut story = Story::new(&job);
        let seen = look::look(&job, |entry| story.fold(entry, &self.package))?;
        let plan = &job.plan;
        let package = plan.package(id);
        let fact = &seen.facts[id.0 as usize];
        let needed_by = plan.package_ids().filter(|other| plan.package(*other).depends_on.contains(&id));
        let name = |id: PackageId| &*plan.package(id).name;
        let next = self.next(&job, story.progress.state(), id);
        let answer = Answer {
            package: &package.name,
            version: &package.version,
            phase: &plan.phase(package.phase).key,
            step: &package.step,
            key: &package.key,
            decision: fact.decision,
            reason: &fact.reason,
            needs: package.depends_on.iter().map(|id| name(*id)).collect(),
            needed_by: needed_by.map(name).collect(),
            dropped_edges: plan.dropped_edges.iter().filter(|edge| edge.from == package.name).collect(),
            history: story.events,
            failure: story.failed.map(|failed| failed.with_neighbours(&job, &seen.state, &self.package)),
            next,
        };
        if self.json {
            output::answer_json(&answer)?;
        } else {
            output::answer(&answer.text());
        }
        Ok(Exit::Completed)
    }

    /// What happens next to what failed.
    fn next(&self, job: &Job, state: &State, id: PackageId) -> Option<String> {
        if let Some((number, _)) = state.gate_of(&self.package) {
            let answer = self.target.command("resolve", &[&number.to_string(), "retry"]);
            return Some(format!("gate {number} waits for a person: {answer} (or skip, abort)"));
        }
        let below = job.plan.below(id);
        let waits = state.gates.iter().find(|(_, gate)| {
            let about = gate.package.as_deref().and_then(|name| job.plan.find(name));
            about.is_some_and(|about| below.contains(&about))
        });
        if let Some((number, gate)) = waits.filter(|_| !state.package(id).state.is_final()) {
            return Some(format!(
                "it waits for {}: gate {number}, {}",
                gate.about(),
                self.target.command("gates", &[])
            ));
        }
        let most = job.plan.document.error_recovery.automatic_recovery.max_attempts;
        if let Some((recovery, action)) = state
            .recoveries
            .get(&id)
            .and_then(|recovery| Some((recovery, recovery.next(&job.plan.document)?)))
        {
            let steps = procedure(&job.plan.document, recovery.category).len();
            let step = recovery.step + 1;
            return Some(format!(
                "{action}, step {step} of {steps} of its recovery, then {} again",
                recovery.task.name()
            ));
        }
        let paused = |task: &TaskId| matches!(state.task(*task).state, TaskState::Backoff { .. });
        let task = job.plan.tasks_of(id).find(paused)?;
        let attempt = state.task(task).failures + 1;
        Some(format!("{} is tried again, attempt {attempt} of {most}", job.plan.kind(task).name()))
    }
}

/// What the ledger says of a package.
struct Story {
    progress: Progress,
    events: Vec<Event>,
    failed: Option<Failed>,
}

impl Story {
    fn new(job: &Job) -> Self {
        let progress = Progress::new(Arc::clone(&job.plan), job.limits());
        Self { progress, events: Vec::new(), failed: None }
    }

    fn fold(&mut self, entry: &Entry, name: &str) {
        if let Record::RunStarted { .. } = entry.record {
            self.events.clear();
            self.failed = None;
        }
        if self.is_about(&entry.record, name) {
            let told = events::tell(entry, &self.progress);
            self.events.push(Event { at: human::timestamp(entry.wall), text: told.text });
        }
        if let Record::TaskFailed { package, task, attempt, failure, .. } = &entry.record
            && **package == *name
        {
            let (task, attempt, failure) = (*task, *attempt, failure.clone());
            self.failed = Some(Failed { task, attempt, failure, around: Vec::new() });
        } else if let Record::PackageCompleted { package, .. } = &entry.record
            && **package == *name
        {
            self.failed = None;
        }
        self.progress.fold(entry);
    }

    fn is_about(&self, record: &Record, name: &str) -> bool {
        match record {
            Record::TaskFailed { package, .. }
            | Record::ActionFinished { package, .. }
            | Record::PackageCompleted { package, .. }
            | Record::PackageFailed { package, .. }
            | Record::PackageDamaged { package, .. }
            | Record::PackageSkipped { package, .. }
            | Record::PackageKept { package } => **package == *name,
            Record::GateOpened { package, .. } => package.as_deref() == Some(name),
            Record::GateAnswered { gate, .. } | Record::GateClosed { gate } => {
                let open = self.progress.state().gates.get(gate);
                open.is_some_and(|gate| gate.package.as_deref() == Some(name))
            }
            Record::CheckpointTaken { packages, .. } => packages.iter().any(|package| **package == *name),
            Record::RunStarted { .. }
            | Record::RunResumed { .. }
            | Record::Decided { .. }
            | Record::PhaseStarted { .. }
            | Record::PhaseFinished { .. }
            | Record::RequirementUnmet { .. }
            | Record::TaskStarted { .. }
            | Record::TaskFinished { .. }
            | Record::TaskInterrupted { .. }
            | Record::WorkLost { .. }
            | Record::Verified { .. }
            | Record::CheckpointFailed { .. }
            | Record::Restored { .. }
            | Record::RestoreFinished { .. }
            | Record::RunPaused { .. }
            | Record::RunEnded { .. }
            | Record::Undone { .. }
            | Record::PackageRemoved { .. } => false,
        }
    }
}

impl Failed {
    fn with_neighbours(mut self, job: &Job, state: &State, package: &str) -> Self {
        let path = job.state.log(&state.build_id, package, self.task, self.attempt);
        if let Some(line) = self.failure.evidence.line
            && let Ok(file) = File::open(path)
        {
            // What cannot be read any more is not shown; the evidence itself is in the ledger.
            self.around = lines_around(BufReader::new(file), line).unwrap_or_default();
        }
        self
    }

    fn text(&self) -> String {
        let Self { task, attempt, failure, around } = self;
        let mut text = format!(
            "  failed    {}, attempt {attempt}: {}, confidence {}\n",
            task.name(),
            failure.category.name(),
            failure.confidence.name()
        );
        let line = failure.evidence.line;
        if !around.iter().any(|(number, shown)| line == Some(*number) && *shown == failure.evidence.text) {
            text.push_str(&format!("            {}\n", human::plain(&failure.evidence.text)));
        }
        let width = around.last().map_or(0, |(number, _)| number.to_string().len());
        for (number, shown) in around {
            let mark = if line == Some(*number) { '>' } else { ' ' };
            text.push_str(format!("          {mark} {number:width$} | {shown}").trim_end());
            text.push('\n');
        }
        if let Some(hint) = &failure.hint {
            text.push_str(&format!("  hint      {}\n", human::plain(hint)));
        }
        text
    }
}

impl Answer<'_> {
    fn text(&self) -> String {
        let list = |names: &[&str]| if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
        let dropped = self.dropped_edges.iter().map(|DroppedEdge { to, dependency_type, reason, .. }| {
            let list = dependency_type.list();
            format!("  dropped   {to} ({list}): it is not waited for, because that {reason}\n")
        });
        let mut text = format!(
            "{} {}: {} ({})\n  phase     {}, by step {}\n  needs     {}\n{}  needed by {}\n  key       {}\n",
            self.package,
            self.version,
            self.decision.name(),
            self.reason,
            self.phase,
            self.step,
            list(&self.needs),
            dropped.collect::<String>(),
            list(&self.needed_by),
            self.key
        );
        if let Some(failed) = &self.failure {
            text.push_str(&failed.text());
        }
        if let Some(next) = &self.next {
            text.push_str(&format!("  next      {next}\n"));
        }
        if !self.history.is_empty() {
            text.push_str(&format!("  history   {} in the last run\n", count(self.history.len(), "event")));
        }
        for Event { at, text: said } in &self.history {
            text.push_str(&format!("    {at}  {said}\n"));
        }
        text
    }
}
