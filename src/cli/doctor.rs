//! `kiln doctor`: what a run would miss here, and how that is granted.

use std::process::exit;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use clap::Args;

use super::run::address;
use super::target::StateTarget;
use super::{Exit, output, signals};
use crate::doctor::{self, Check, Granted, Listening, Permissions, Report, Requirement};
use crate::driver::{Job, spawn};
use crate::words::{count, size};

/// What `--json` answers.
pub(super) const SHAPE: &str = "\
JSON:
  {\"ok\": bool,
   \"permissions\": [{\"permission\", \"granted\": bool, \"needed\": bool,
     \"checks\": [{\"check\", \"granted\": bool, \"needed\": bool, \"needed_by\": [package],
                 \"why\", \"grant\", \"unit\", \"without\"}]}],
   \"phases\": [{\"phase\", \"requirement\", \"required_bytes\", \"available_bytes\",
               \"met\": bool, \"needed\": bool, \"help\"}],
   \"unknown\"}

The five permissions are always there, each with the checks that apply to the definition and its settings and could be tried; \
it is granted when all of them are. Without what is needed a run refuses to start; needed_by names the packages that need it, \
where not every run does. why (the system's words), grant (what to do), unit (settings of a systemd unit that do) and without \
(what kiln does then) are null where it is granted.

A requirement is disk_space, memory or toolchain (of which there are no bytes). It is needed if something of its phase is to be \
built and no earlier phase brings it; ok is false without it, too.

unknown says why the state directory could not be looked at, so that everything is taken to be built, and ok is false; or it is \
null.";

/// Arguments.
#[derive(Debug, Args)]
pub(super) struct Doctor {
    #[command(flatten)]
    target: StateTarget,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

impl Doctor {
    pub(super) fn run(self) -> anyhow::Result<Exit> {
        spawn::enter_user_namespace().context("cannot enter a user namespace")?;
        end_by_signals()?;
        let (job, _) = match self.target.job(Vec::new()) {
            Ok(job) => job,
            Err(exit) => return Ok(exit),
        };
        let explicit = job.settings.listen.is_some();
        let address = address(&job.settings);
        let report = Permissions::examine(&job, Listening::Would { address, explicit }).report();
        if self.json {
            output::answer_json(&report)?;
        } else {
            output::answer(&text(&job, &report));
        }
        Ok(if report.ok { Exit::Completed } else { Exit::Requirements })
    }
}

/// SIGINT, SIGTERM and SIGHUP end it once nothing is left of what is being tried, a second one at once.
fn end_by_signals() -> anyhow::Result<()> {
    let asked = AtomicBool::new(false);
    signals::listen(move |name| {
        let interrupted = || exit(Exit::Interrupted as i32);
        if asked.swap(true, Ordering::Relaxed) {
            interrupted();
        }
        output::say(&format!("{name}: ending when what was tried is taken away; once more ends at once"));
        let waiter = std::thread::Builder::new().spawn(move || doctor::when_nothing_is_left(interrupted));
        if waiter.is_err() {
            interrupted();
        }
    })
}

fn text(job: &Job, report: &Report) -> String {
    let root = job.state.root();
    let nearest = job.state.nearest().filter(|there| *there != root);
    let made = nearest.map(|there| format!(" (not made yet; tried in {})", there.display()));
    let mut text = format!("{} in {}{}\n", job.plan.definition, root.display(), made.unwrap_or_default());
    if let Some(unknown) = &report.unknown {
        text.push_str(&format!("what is to be built is not known, so all is taken to be: {unknown}\n"));
    }
    let rows = report.permissions.iter().flat_map(rows);
    text.push_str(&format!("\n{}", output::table(["permission", "check", ""], rows)));
    let phases = &report.phases;
    if !phases.is_empty() {
        let head = ["phase", "requires", "", "available", ""];
        text.push_str(&format!("\n{}", output::table(head, phases.iter().map(phase))));
    }
    let checks = || report.permissions.iter().flat_map(|permission| &permission.checks);
    let missing = |needed: bool| checks().filter(move |check| !check.granted && check.needed == needed);
    let all: Vec<&Check> = missing(true).chain(missing(false)).collect();
    text.extend(doctor::in_words(&all).iter().map(|said| format!("\n{said}\n")));
    for unmet in phases.iter().filter(|phase| !phase.met && phase.needed) {
        let help = unmet.help.as_deref().unwrap_or_default();
        text.push_str(&format!(
            "\n{} of phase {}: not met\n  help:    {help}\n",
            unmet.requirement, unmet.phase
        ));
    }
    text.push_str(&format!("\n{}\n", verdict(report, missing(true).count(), missing(false).count())));
    text
}

/// The permission's name stands at its first check.
fn rows(permission: &Granted) -> impl Iterator<Item = [&str; 3]> {
    let result = |check: &Check| match (check.granted, check.needed) {
        (true, _) => "granted",
        (false, true) => "MISSING, needed",
        (false, false) => "missing, not needed",
    };
    permission.checks.iter().enumerate().map(move |(at, check)| {
        [if at == 0 { permission.permission.name() } else { "" }, check.check, result(check)]
    })
}

fn phase(phase: &Requirement) -> [String; 5] {
    let bytes = |bytes: Option<u64>| bytes.map_or_else(|| "?".to_owned(), size);
    let (required, available) = match phase.required_bytes {
        Some(required) => (size(required), bytes(phase.available_bytes)),
        None => ("complete".to_owned(), if phase.met { "complete" } else { "not yet" }.to_owned()),
    };
    let result = match (phase.met, phase.needed) {
        (true, _) => "met",
        (false, true) => "NOT MET",
        (false, false) => "not met, not needed now",
    };
    [phase.phase.clone(), phase.requirement.to_owned(), required, available, result.to_owned()]
}

fn verdict(report: &Report, needed: usize, others: usize) -> String {
    let unmet = report.phases.iter().filter(|phase| !phase.met && phase.needed).count();
    let mut said = Vec::new();
    if report.ok {
        said.push("all that is needed is granted".to_owned());
    }
    if report.unknown.is_some() {
        said.push("what is there cannot be looked at".to_owned());
    }
    if needed > 0 {
        said.push(format!("{} missing", count(needed, "needed check")));
    }
    if unmet > 0 {
        said.push(format!("{} not met", count(unmet, "requirement")));
    }
    if others > 0 {
        said.push(format!("{} missing that a run does without", count(others, "check")));
    }
    said.join("; ")
}
