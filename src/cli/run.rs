//! `kiln run`: builds, and lets itself be watched.
//!
//! Owns: what stands around a run: arguments, the server, signals, the watcher, what is left when it is over.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};

use anyhow::Context as _;
use clap::Args;

use super::own::Own;
use super::target::{self, StateTarget};
use super::watch::Watch;
use super::{Exit, logging, output, signals};
use crate::config::layers::Flag;
use crate::config::load::Root;
use crate::config::settings::Settings;
use crate::doctor::{Listening, Permissions};
use crate::driver::look;
use crate::driver::run::Driver;
use crate::driver::spawn;
use crate::driver::{DriverError, Job};
use crate::engine::message::Ending;
use crate::failure::Category;
use crate::ledger::lock::{Holder, LockError, RunnerLock};
use crate::observe::events::{TEXTFILE_FAILED, names};
use crate::observe::human;
use crate::observe::metrics::{self, BuildInfo};
use crate::observe::observer::{self, Observer};
use crate::observe::snapshot::GateView;
use crate::observe::{Progress, Snapshot};
use crate::plan::PackageId;
use crate::web::control::Side;
use crate::web::{self, Bound, ServerHandle};
use crate::words::count;

/// Where `/metrics` is unless something else is said.
const DEFAULT_LISTEN: ([u8; 4], u16) = ([127, 0, 0, 1], 10978);

/// Arguments.
#[derive(Debug, Args)]
pub(super) struct Run {
    #[command(flatten)]
    target: StateTarget,
    /// Job slots [default: all cores]
    #[arg(long, short, value_name = "N")]
    jobs: Option<String>,
    /// Address of /metrics and the API [default: 127.0.0.1:10978, if it is free]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Serve nothing
    #[arg(long, conflicts_with = "listen")]
    no_listen: bool,
    /// Build only this phase, and what it needs
    #[arg(long, value_name = "NAME")]
    phase: Option<String>,
    /// Build only this package, and what it needs
    #[arg(long, value_name = "NAME")]
    package: Option<String>,
    /// Build this package although nothing changed, and what depends on it
    #[arg(long, value_name = "PACKAGE")]
    force: Option<String>,
    /// When only a person can go on, wait for the answer instead of ending with exit status 4
    #[arg(long)]
    wait: bool,
    /// Use the source cache alone
    #[arg(long)]
    offline: bool,
    /// After the end, serve /metrics for so many seconds, or until two scrapes have seen the final state [default: until
    /// those who have scraped it again and again have, for 2 minutes at most]; a signal ends that at once
    #[arg(long, value_name = "SECONDS")]
    linger: Option<String>,
    /// After the end, write what stays true of the run to this file, for node_exporter's textfile collector; it is deleted
    /// when the run begins
    #[arg(long, value_name = "FILE")]
    textfile: Option<PathBuf>,
    /// How messages are written: text, json or journald [default: journald where it reads our output, else text]
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
}

impl Run {
    pub(super) fn run(self) -> anyhow::Result<Exit> {
        spawn::enter_user_namespace().context("cannot enter a user namespace")?;
        let (mut job, _) = match self.target.job(self.flags()) {
            Ok(job) => job,
            Err(exit) => return Ok(exit),
        };
        if let Err(exit) = self.select(&mut job) {
            return Ok(exit);
        }
        if let Some(exit) = refuse_web_config(&job, ", or say --no-listen").filter(|_| !self.no_listen) {
            return Ok(exit);
        }
        if let Some(file) = &self.textfile {
            let wrong = if !directory_of(file).is_dir() {
                Some("there is no such directory")
            } else if file.is_dir() {
                Some("that is a directory: name a file in it, such as kiln.prom")
            } else {
                None
            };
            if let Some(wrong) = wrong {
                output::say(&format!("kiln: --textfile `{}`: {wrong}", file.display()));
                return Ok(Exit::Usage);
            }
        }
        if let Root::Directory(dir) = &job.definition.root
            && job.state.is_at(dir)
        {
            output::say("kiln: the state directory must not be the definition's own: say --state DIR");
            return Ok(Exit::Usage);
        }
        // Before the address is taken from whoever else would have it. One that is dying lets go of the lock in a moment.
        if let Some(holder) = RunnerLock::runner(&job.state.lock()).filter(Holder::is_alive) {
            let path = job.state.root().to_owned();
            return Err(DriverError::Lock(LockError::Held { path, holder: Some(holder) }).into());
        }
        let messages = logging::set_up(job.settings.log_format)?;
        let server = self.bind(&job);
        let address = address(&job.settings);
        let listening = match &server {
            Ok(None) if self.no_listen => Listening::Never,
            Ok(Some(_)) => Listening::Already,
            Ok(None) => Listening::Would { address, explicit: false },
            Err(_) => Listening::Would { address, explicit: true },
        };
        let permissions = Arc::new(Permissions::before_a_run(&job, listening));
        if let Some(refusal) = permissions.refusal(None) {
            output::say(&format!(
                "kiln: this run has not the permissions that it needs (`kiln doctor` shows all)\n{refusal}"
            ));
            return Ok(Exit::Requirements);
        }
        let server = server?;

        let mut progress = Progress::new(Arc::clone(&job.plan), job.limits());
        let linger = job.settings.linger.map(|linger| linger.0);
        let state = job.state.clone();
        let sysroot = state.sysroot();
        let forced: Vec<String> =
            job.forced.iter().map(|id| job.plan.package(*id).name.to_string()).collect();
        let (sender, entries) = mpsc::channel();
        // A watcher that is gone has panicked; the build goes on without.
        let observe = move || {
            let sender = sender.clone();
            move |durable| drop(sender.send(durable))
        };
        let mut driver = Driver::open(job.clone(), |entry| progress.fold(entry), observe())?;
        if let Some(file) = &self.textfile {
            // What it says of the last run would be shown beside this one. Where it cannot be deleted, it cannot be written either.
            let _ = std::fs::remove_file(file);
        }
        for gate in
            progress.state().gates.iter().filter(|(_, gate)| forced.contains(&gate.about().to_owned()))
        {
            let answer = self.target.command("resolve", &[&gate.0.to_string(), "retry"]);
            output::say(&format!(
                "kiln: gate {} is open for `{}`: to build it, {answer}",
                gate.0,
                gate.1.about()
            ));
        }
        let expected = progress.expected();
        let memory = progress.expected_memory();
        let own = Arc::new(Own::new(&driver, progress.limits(), messages.lost(), Arc::clone(&permissions)));
        let asked = Arc::clone(&own);
        let observer = Observer::here(
            progress,
            state.clone(),
            job.definition.root.absolute(),
            Box::new(move |running| Some(asked.facts(running))),
        );
        let server = server.map(|bound| serve(bound, &observer)).transpose()?;
        let address = server.as_ref().map(|server| format!("http://{}/metrics", server.addr()));
        let signalled = Arc::clone(&own);
        let ground = driver.ground();
        // Who wants an end does not want to wait for scrapes either, whenever that was said.
        let patience = server.as_ref().map(ServerHandle::patience);
        let asked = AtomicBool::new(false);
        signals::listen(move |name| {
            let again = asked.swap(true, Ordering::Relaxed);
            if again {
                // Said before the end that it brings.
                tracing::warn!("{name}: killing the running tasks");
            }
            if signalled.stop() && !again {
                tracing::warn!("{name}: ending the running tasks; once more kills them at once");
            }
            if let Some(patience) = &patience {
                patience.give_up();
            }
        })?;

        // Without it nobody can answer while the run is alive; it builds all the same.
        let (commanded, seen) = (Arc::clone(&own), Arc::clone(&observer));
        let control = web::control::serve(
            &state,
            Side::Runner,
            Arc::clone(&observer),
            Box::new(move |command, operation, by| commanded.act(&seen, command, operation, by)),
        );
        let control = control.inspect_err(|error| {
            let why = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
            let waits = if self.wait { ", so it does not wait for answers" } else { "" };
            tracing::warn!("{error} ({why}): gates can be answered only when the run is paused{waits}");
        });
        // Nobody could answer.
        let wait = self.wait && control.is_ok();
        let watch = Watch::new(Arc::clone(&observer), state.clone(), messages.screen(), address);
        let watcher = std::thread::Builder::new()
            .name("watch".into())
            .spawn(move || watch.until_the_end(&entries))
            .context("cannot start a thread")?;
        let mut ending = driver.run(&expected, memory, wait);
        while matches!(ending, Ok(Ending::Completed))
            && let Some(next) = own.next(&job)
        {
            job = next;
            driver = Driver::open(job.clone(), |_| (), observe())?;
            own.is_now(&driver);
            let (expected, memory) =
                observer.with(|progress| (progress.expected(), progress.expected_memory()));
            ending = driver.run(&expected, memory, wait);
        }
        for phase in own.given_up() {
            let key = &job.plan.phase(phase).key;
            tracing::warn!(PHASE = &**key, "phase {key} is not built: the run before it did not complete");
        }
        drop(observe);
        if watcher.join().is_err() {
            output::say("kiln: the display has failed; the run was not touched by that");
        }
        drop(control);
        let ending = ending.inspect_err(|_| {
            // Then the reason is among these.
            if let Some(refusal) = permissions.refusal(ground.get()) {
                output::say(&refusal);
            }
        })?;
        let summary = summary(&observer.snapshot(observer::now()), ending, &sysroot, &self.target);
        if let Some(file) = &self.textfile {
            leave(file, &observer);
        }
        let awaited = server.as_ref().and_then(ServerHandle::awaited).filter(|_| linger.is_none());
        if let Some((by, most)) = awaited {
            let most = human::duration(most);
            tracing::info!(
                "{by} has scraped this run: its end is served until that has seen it, for {most} at most"
            );
        }
        // What was said before the end is read before it.
        messages.settle();
        // A reader that has gone away must not change what the run comes to.
        output::answer_if_heard(&summary);
        if let Some(server) = server {
            server.wait_for_final_scrapes(linger);
            server.shutdown();
        }
        // Alerts that came meanwhile are written, too.
        drop(messages);
        Ok(match ending {
            Ending::Completed => Exit::Completed,
            Ending::Error => Exit::Error,
            Ending::Requirements => Exit::Requirements,
            Ending::Stopped => Exit::Interrupted,
            Ending::Gates => Exit::Person,
        })
    }

    fn flags(&self) -> Vec<Flag> {
        let offline = self.offline.then(|| "true".to_owned());
        target::flag("--jobs", "jobs", self.jobs.clone())
            .chain(target::flag("--listen", "listen", self.listen.clone()))
            .chain(target::flag("--offline", "offline", offline))
            .chain(target::flag("--linger", "linger", self.linger.clone()))
            .chain(target::flag("--log-format", "log_format", self.log_format.clone()))
            .collect()
    }

    /// `--phase`, `--package` and `--force`.
    fn select(&self, job: &mut Job) -> Result<(), Exit> {
        let mut wanted: Vec<PackageId> = Vec::new();
        if let Some(name) = &self.phase {
            let Some(phase) = job.plan.find_phase(name) else {
                let keys: Vec<&str> = job.plan.phases.iter().map(|phase| &*phase.key).collect();
                output::say(&format!("kiln: `{name}` is no phase: one of {}", keys.join(", ")));
                return Err(Exit::Usage);
            };
            wanted.extend(&job.plan.phase(phase).packages);
        }
        if let Some(name) = &self.package {
            wanted.push(target::package(job, name)?);
        }
        if let Some(name) = &self.force {
            job.forced.push(target::package(job, name)?);
        }
        if self.phase.is_some() || self.package.is_some() {
            wanted.extend(&job.forced);
            job.selection = Some(look::with_dependencies(&job.plan, &wanted));
        }
        Ok(())
    }

    /// An address that was asked for must be had; the default one may be taken, by a sidecar for instance.
    fn bind(&self, job: &Job) -> anyhow::Result<Option<Bound>> {
        if self.no_listen {
            return Ok(None);
        }
        match job.settings.listen {
            Some(listen) => Ok(Some(web::bind(listen.0)?)),
            None => match web::bind(DEFAULT_LISTEN.into()) {
                Ok(bound) => Ok(Some(bound)),
                Err(error) => {
                    let why = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                    tracing::warn!("{error} ({why}): going on without; --listen names another address");
                    Ok(None)
                }
            },
        }
    }
}

/// Where `/metrics` is.
pub(super) fn address(settings: &Settings) -> SocketAddr {
    settings.listen.map_or_else(|| DEFAULT_LISTEN.into(), |listen| listen.0)
}

/// Says why nothing can be served; `or`: what else than unsetting it helps.
pub(super) fn refuse_web_config(job: &Job, or: &str) -> Option<Exit> {
    output::say(&format!("kiln: {}: unset it{or}", job.settings.web_config_refusal()?));
    Some(Exit::Requirements)
}

/// Where a file will be written at the end of hours, its directory had better be there at the beginning.
fn directory_of(file: &Path) -> &Path {
    file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// What a person wants to know when it is over.
fn summary(snapshot: &Snapshot, ending: Ending, sysroot: &Path, target: &StateTarget) -> String {
    let packages = snapshot.packages;
    let mut text = format!("{}: ", snapshot.run.definition);
    let took = snapshot
        .run
        .started
        .map(|started| human::duration(human::between(started, snapshot.run.ended.unwrap_or(snapshot.now))));
    let took = took.unwrap_or_default();
    let done = format!("{} of {}", packages.completed, count(packages.total, "package"));
    text.push_str(&match ending {
        Ending::Completed if snapshot.run.attempts == 0 && packages.completed == 1 => {
            "COMPLETED, nothing to do: the package was there".to_owned()
        }
        Ending::Completed if snapshot.run.attempts == 0 => {
            format!("COMPLETED, nothing to do: all {} packages were there", packages.completed)
        }
        Ending::Completed => format!("COMPLETED in {took}, {done}"),
        Ending::Error => format!("ERROR after {took}, {done}"),
        Ending::Requirements => "ERROR, a phase's requirements are not met".to_owned(),
        Ending::Stopped => format!("PAUSED after {took}, {done}; run it again to go on"),
        Ending::Gates => format!("PAUSED after {took}, {done}: a person is needed"),
    });
    if ending == Ending::Completed && !snapshot.run.missing.is_empty() {
        text.push_str(&format!("; missing: {}", names(&snapshot.run.missing)));
    }
    if ending == Ending::Completed {
        text.push_str(&format!("\nsysroot: {}", sysroot.display()));
    }
    for gate in &snapshot.gates {
        let answer = target.command("resolve", &[&gate.number.to_string(), "retry"]);
        text.push_str(&format!(
            "\ngate {} ({}): {}: {answer} (or skip, abort)",
            gate.number,
            gate.reason,
            about(gate)
        ));
    }
    for failed in snapshot.failed.iter().filter(|failed| failed.level > 0 && ending != Ending::Stopped) {
        let (name, task) = (&failed.package, failed.task.name());
        text.push_str(&format!("\n{name} failed at {task} ({})", failed.category().name()));
        if failed.category() == Category::BrokenDependency {
            // It printed nothing: it was not begun.
            text.push_str(&format!(": {}", failed.failure.evidence.text));
        } else if failed.task.is_script() {
            text.push_str(&format!(": {}", target.command("log", &[name])));
        }
    }
    text.push('\n');
    text
}

fn about(gate: &GateView) -> &str {
    gate.package.as_deref().unwrap_or(&gate.phase)
}

fn serve(bound: Bound, observer: &Arc<Observer>) -> anyhow::Result<ServerHandle> {
    Ok(bound.serve(Arc::clone(observer), BuildInfo::default())?)
}

/// Leaves the final state for those who come late.
fn leave(file: &Path, observer: &Observer) {
    let text = metrics::render_for_later(BuildInfo::default(), observer.snapshot(observer::now()));
    let written = text.map_err(anyhow::Error::from).and_then(|text| Ok(write_atomically(file, &text)?));
    if let Err(error) = written {
        tracing::error!(MESSAGE_ID = TEXTFILE_FAILED, "cannot write `{}`: {error}", file.display());
    }
}

/// Whoever reads the file sees the old text or the new one.
fn write_atomically(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    let mut file = tempfile::Builder::new().prefix(".kiln-").tempfile_in(directory_of(path))?;
    file.write_all(text.as_bytes())?;
    // node_exporter runs as another user.
    use std::os::unix::fs::PermissionsExt as _;
    file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
    file.persist(path)?;
    Ok(())
}
