//! `kiln serve`: the sidecar. Serves what `kiln run` serves, for runners in other processes, and after their end.
//!
//! Owns: what stands around following a ledger: arguments, the one sidecar of a state directory, the server. Does not
//! know: what is seen (`observe`), what is answered (`web`).

use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use clap::Args;
use parking_lot::Mutex;

use super::beside::Beside;
use super::run::{address, refuse_web_config};
use super::target::{self, StateTarget};
use super::{Exit, logging, signals};
use crate::driver::{DriverError, Job};
use crate::ledger::lock::{Role, RunnerLock};
use crate::ledger::place::StateDir;
use crate::observe::follow::Follower;
use crate::observe::metrics::BuildInfo;
use crate::observe::{Observer, Progress, observer};
use crate::web::control::{self, Control, Side};
use crate::web::{self, client};

/// How long a runner may take to say how it is: a scrape waits for it.
const PATIENCE: Duration = Duration::from_millis(500);

/// Between two looks whether the state directory is still the same.
const LOOK: Duration = Duration::from_secs(1);

/// Arguments.
#[derive(Debug, Args)]
pub(super) struct Serve {
    #[command(flatten)]
    target: StateTarget,
    /// Address of /metrics and the API [default: 127.0.0.1:10978]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// TLS and users, in exporter-toolkit's format
    #[arg(long = "web.config.file", value_name = "FILE")]
    web_config_file: Option<String>,
    /// How messages are written: text, json or journald [default: journald where it reads our output, else text]
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
}

impl Serve {
    pub(super) fn run(self) -> anyhow::Result<Exit> {
        let flags = target::flag("--listen", "listen", self.listen.clone())
            .chain(target::flag("--web.config.file", "web_config_file", self.web_config_file.clone()))
            .chain(target::flag("--log-format", "log_format", self.log_format.clone()));
        let (job, _) = match self.target.job(flags.collect()) {
            Ok(job) => job,
            Err(exit) => return Ok(exit),
        };
        if let Some(exit) = refuse_web_config(&job, "") {
            return Ok(exit);
        }
        let _messages = logging::set_up(job.settings.log_format)?;
        let mut seat = Seat::take(&job.state)?;
        // Whoever is started for a command must find the same, wherever that is.
        let state = job.state.root().to_string_lossy().into_owned();
        let target = StateTarget { state: Some(state), ..self.target };
        let observer = observer(&job, target.clone());
        // The first look may be at years of records: whoever scrapes first need not wait for it.
        let run = observer.snapshot(observer::now()).run;
        job.must_be_of(&run.definition)?;
        let server = web::bind(address(&job.settings))?.serve(Arc::clone(&observer), BuildInfo::default())?;
        let beside = Arc::new(Beside { target, state: job.state.clone(), starting: Mutex::new(()) });
        let mut control = take_commands(&observer, &beside);
        let (stop, stopped) = mpsc::channel();
        signals::listen(move |_| {
            // Whoever hears it has stopped.
            let _ = stop.send(());
        })?;
        let what =
            if run.build_id.is_empty() { "no run yet".to_owned() } else { format!("run {}", run.build_id) };
        tracing::info!("metrics of {} ({what}) at http://{}/metrics", job.plan.definition, server.addr());
        while stopped.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
            // Where there was no run before, somebody may have begun one of another definition.
            job.must_be_of(&observer.with(|progress| Arc::clone(progress.definition())))?;
            if seat.is_lost() {
                drop(control);
                seat = Seat::take(&job.state)?;
                control = take_commands(&observer, &beside);
                tracing::info!("`{}` was made anew: this is its sidecar, too", job.state.root().display());
            }
        }
        drop(control);
        server.shutdown();
        Ok(Exit::Completed)
    }
}

/// The one sidecar's place in a state directory.
struct Seat {
    state: StateDir,
    /// The directory, held open: no other one gets its number meanwhile.
    root: File,
    _lock: RunnerLock,
}

impl Seat {
    fn take(state: &StateDir) -> Result<Self, DriverError> {
        let unusable = |source| DriverError::State { path: state.root().to_owned(), source };
        state.create().map_err(unusable)?;
        let root = File::open(state.root()).map_err(unusable)?;
        let lock = RunnerLock::take(Role::Sidecar, state.root(), &state.sidecar_lock())?;
        Ok(Self { state: state.clone(), root, _lock: lock })
    }

    /// Whether somebody has removed the state directory and made another in its place. One that is only gone may be
    /// about to come back.
    fn is_lost(&self) -> bool {
        let id = |meta: Metadata| (meta.dev(), meta.ino());
        let there = self.state.root().metadata().ok().map(id);
        there.is_some() && there != self.root.metadata().ok().map(id)
    }
}

/// Takes commands for as long as what this returns lives.
fn take_commands(observer: &Arc<Observer>, beside: &Arc<Beside>) -> Option<Control> {
    let (seen, acting) = (Arc::clone(observer), Arc::clone(beside));
    let control = control::serve(
        &beside.state,
        Side::Sidecar,
        Arc::clone(observer),
        Box::new(move |command, operation, by| acting.act(&seen, command, operation, by)),
    );
    if let Err(error) = &control {
        let why = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
        tracing::warn!("{error} ({why}): commands can be given to a runner only");
    }
    control.ok()
}

/// Over the ledger and the runner of a state directory, whether or not they are there.
pub(super) fn observer(job: &Job, target: StateTarget) -> Arc<Observer> {
    let reload = move || {
        let sound = target.target.load().map_err(|_| {
            let check = target.command("check", &[]);
            format!("the definition of the run cannot be loaded (`{check}` says why)")
        })?;
        Ok(sound.planned.plan)
    };
    let follower = Follower::new(job.state.ledger(), Box::new(reload));
    let state = job.state.clone();
    let progress = Progress::new(Arc::clone(&job.plan), job.limits());
    Observer::elsewhere(
        progress,
        job.state.clone(),
        job.definition.root.absolute(),
        follower,
        Box::new(move |_| client::runner(&state, PATIENCE).ok()),
    )
}
