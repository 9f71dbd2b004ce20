//! `kiln gates`: what only a person can decide, and a shell where it failed.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::target::{self, StateTarget};
use super::{Exit, output};
use crate::config::document::GateReason;
use crate::driver::answer;
use crate::engine::message::{ANSWERS, Answer};
use crate::failure::{Category, Evidence, Failure};
use crate::observe::Progress;
use crate::observe::human::{self, plain};
use crate::observe::observer;
use crate::observe::snapshot::GateView;
use crate::plan::TaskKind;
use crate::web::alertmanager::{Acknowledged, Alertmanager};
use crate::web::control;

/// Arguments.
#[derive(Debug, Args)]
pub(super) struct Gates {
    #[command(subcommand)]
    which: Option<Which>,
    #[command(flatten)]
    target: StateTarget,
    /// Answer in JSON: `[{"gate_id", "reason", "phase", "package", "task", "category", "evidence", "opened_at", "answers"}]`
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Which {
    /// Open a shell in the directory and the environment of the task that failed
    ///
    /// `sh -e -c "$KILN_SCRIPT"` runs its script. What the shell changes there is gone with the next attempt.
    Shell(Shell),
    /// Say that somebody is on it: a silence in Alertmanager, so that nobody is told again
    ///
    /// Needs the setting `alertmanager_url`. The gate stays open; `kiln gates` shows who is on it.
    Ack(Ack),
}

/// Arguments of `kiln gates ack`.
#[derive(Debug, Args)]
struct Ack {
    /// The gate's number, or the package or phase that it is about
    gate: String,
    #[command(flatten)]
    target: StateTarget,
    /// For how long
    #[arg(long = "for", value_name = "TIME", default_value = "8h")]
    span: String,
    /// What is being done
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    note: String,
}

/// Arguments of `kiln gates shell`.
#[derive(Debug, Args)]
struct Shell {
    /// The gate's number, or the package that it is about
    gate: String,
    #[command(flatten)]
    target: StateTarget,
}

#[derive(Serialize)]
struct Shown<'a> {
    gate_id: String,
    reason: GateReason,
    phase: &'a str,
    package: Option<&'a str>,
    task: Option<&'static str>,
    category: Option<&'static str>,
    evidence: Option<Evidence>,
    opened_at: String,
    answers: [Answer; 3],
    #[serde(skip_serializing_if = "Option::is_none")]
    acknowledged: Option<Acknowledged>,
}

impl Gates {
    pub(super) fn run(self) -> anyhow::Result<Exit> {
        match self.which {
            Some(Which::Shell(shell)) => return shell.run(),
            Some(Which::Ack(ack)) => return ack.run(),
            None => {}
        }
        let job = match self.target.job_that_ran() {
            Ok(job) => job,
            Err(exit) => return Ok(exit),
        };
        let progress = target::progress(&job)?;
        let snapshot = progress.snapshot(observer::now(), false);
        let definition = &snapshot.run.definition;
        let mut who = vec![None; snapshot.gates.len()];
        if let Some(url) = job.settings.alertmanager_url.as_ref().filter(|_| !snapshot.gates.is_empty()) {
            match Alertmanager::new(url).acknowledged(definition, &snapshot.gates) {
                Ok(acknowledged) => who = acknowledged,
                Err(error) => output::say(&format!("kiln: who is on what is not known: {error}")),
            }
        }
        let gates = snapshot.gates.iter().zip(who);
        if self.json {
            let shown: Vec<Shown<'_>> = gates.map(|(gate, who)| Shown::of(gate, &progress, who)).collect();
            output::answer_json(&shown)?;
        } else if snapshot.gates.is_empty() {
            output::answer("no gate is open\n");
        } else {
            let texts: Vec<String> = gates
                .map(|(gate, who)| text(gate, who.as_ref(), snapshot.now, &progress, &self.target))
                .collect();
            output::answer(&texts.join("\n"));
        }
        Ok(Exit::Completed)
    }
}

fn failure<'a>(gate: &GateView, progress: &'a Progress) -> Option<&'a Failure> {
    let package = gate.package.as_ref()?;
    Some(&progress.failures().find(package)?.failure)
}

impl<'a> Shown<'a> {
    fn of(gate: &'a GateView, progress: &Progress, acknowledged: Option<Acknowledged>) -> Self {
        let failure = failure(gate, progress);
        Self {
            gate_id: gate.number.to_string(),
            reason: gate.reason,
            phase: &gate.phase,
            package: gate.package.as_deref(),
            task: gate.task.map(TaskKind::name),
            category: gate.category.map(Category::name),
            evidence: failure.map(|failure| failure.evidence.clone()).or_else(|| {
                let text = gate.why.clone()?;
                Some(Evidence { source: "kiln".into(), line: None, text })
            }),
            opened_at: human::timestamp(gate.opened),
            answers: ANSWERS,
            acknowledged,
        }
    }
}

/// What a person has to know to answer, and how to.
fn text(
    gate: &GateView,
    who: Option<&Acknowledged>,
    now: i64,
    progress: &Progress,
    target: &StateTarget,
) -> String {
    let plan = progress.plan();
    let number = gate.number.to_string();
    let since = human::duration(human::between(gate.opened, now));
    let about = match (&gate.package, gate.task) {
        (Some(package), Some(task)) => format!("{package}, {} (phase {})", task.name(), gate.phase),
        _ => format!("phase {}: its requirements are not met", gate.phase),
    };
    let mut text = format!("gate {number} ({}): {about}, for {since}\n", gate.reason);
    if let Some(Failure { category, evidence, hint, .. }) = failure(gate, progress) {
        let line = evidence.line.map(|line| format!(" (line {line})")).unwrap_or_default();
        text.push_str(&format!("  {}: {}{line}\n", category.name(), plain(&evidence.text)));
        if let Some(hint) = hint {
            text.push_str(&format!("  hint: {}\n", plain(hint)));
        }
    }
    if let Some(Acknowledged { by, until, comment }) = who {
        let comment = if comment.is_empty() { String::new() } else { format!(": {}", plain(comment)) };
        text.push_str(&format!("  acknowledged by {} until {}{comment}\n", plain(by), plain(until)));
    }
    if let Some(why) = &gate.why {
        text.push_str(&format!("  {}\n", plain(why)));
    }
    if let Some(package) = gate.package.as_deref().filter(|package| plan.find(package).is_some()) {
        text.push_str(&format!("  why:    {}\n", target.command("why", &[package])));
        // What kiln does itself has no environment of its own.
        if gate.task.is_some_and(TaskKind::is_script) {
            text.push_str(&format!("  shell:  {}\n", target.command("gates", &["shell", &number])));
        }
    }
    let answer = target.command("resolve", &[&number, Answer::Retry.name()]);
    text.push_str(&format!("  answer: {answer} (or skip, abort)\n"));
    text
}

impl Ack {
    fn run(self) -> anyhow::Result<Exit> {
        let span = match self.span.parse::<jiff::SignedDuration>().map(std::time::Duration::try_from) {
            Ok(Ok(span)) if !span.is_zero() => span,
            Ok(_) | Err(_) => {
                output::say(&format!("kiln: --for `{}` is no time: write `30m` or `8h`", self.span));
                return Ok(Exit::Usage);
            }
        };
        let job = match self.target.job_that_ran() {
            Ok(job) => job,
            Err(exit) => return Ok(exit),
        };
        let progress = target::progress(&job)?;
        let snapshot = progress.snapshot(observer::now(), false);
        let number = match progress.state().gate(Some(&self.gate)) {
            Ok(number) => number,
            Err(refusal) => {
                output::say(&format!("kiln: {refusal}"));
                return Ok(Exit::Usage);
            }
        };
        let Some(url) = &job.settings.alertmanager_url else {
            output::say(
                "kiln: which Alertmanager is not known: set `alertmanager_url` in /etc/kiln/kiln.yaml, or KILN_SET_ALERTMANAGER_URL",
            );
            return Ok(Exit::Usage);
        };
        let Some(gate) = snapshot.gates.iter().find(|gate| gate.number == number) else {
            return Ok(Exit::Usage); // it has just been found
        };
        let by = control::name(rustix::process::getuid().as_raw());
        let comment = if self.note.is_empty() { format!("gate {number}") } else { self.note };
        Alertmanager::new(url).acknowledge(&snapshot.run.definition, gate, &by, &comment, span)?;
        output::answer(&format!(
            "gate {number}: acknowledged for {}; it stays open\n",
            human::duration(span)
        ));
        Ok(Exit::Completed)
    }
}

impl Shell {
    fn run(self) -> anyhow::Result<Exit> {
        let job = match self.target.job_that_ran() {
            Ok(job) => job,
            Err(exit) => return Ok(exit),
        };
        let progress = target::progress(&job)?;
        let state = progress.state();
        let gate = match state.gate(Some(&self.gate)) {
            Ok(number) => &state.gates[&number],
            Err(refusal) => {
                output::say(&format!("kiln: {refusal}"));
                return Ok(Exit::Usage);
            }
        };
        let Some((package, task)) =
            gate.package.as_deref().and_then(|package| job.plan.find(package)).zip(gate.task)
        else {
            output::say(
                "kiln: that gate is about no package of this definition: there is no environment to open",
            );
            return Ok(Exit::Usage);
        };
        let environment = answer::environment(&job, state, package, task)?;
        if !environment.directory.is_dir() {
            output::say(&format!("kiln: `{}` is not there any more", environment.directory.display()));
            return Ok(Exit::Usage);
        }
        let shell = std::env::var_os("SHELL").unwrap_or_else(|| "/bin/sh".into());
        let mut command = Command::new(&shell);
        command.current_dir(&environment.directory).env_clear().envs(environment.variables);
        command.env("KILN_SCRIPT", &environment.script);
        command
            .envs(["TERM", "COLORTERM"].into_iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        if let Some((uid, gid)) = environment.user {
            command.uid(uid).gid(gid);
        }
        let name = gate.about();
        output::say(&format!(
            "kiln: {name}, {}: `sh -e -c \"$KILN_SCRIPT\"` runs its script; `exit` leads back",
            task.name()
        ));
        // Replaces kiln: only an error comes back.
        let error = command.exec();
        Err(anyhow::Error::new(error).context(format!("cannot start `{}`", shell.display())))
    }
}
