//! `kiln serve`: the sidecar. Serves what `kiln run` serves, for runners in other processes, and after their end.
//!
//! Owns: what stands around following a ledger: arguments, the one sidecar of a state directory, the server. Does not
//! know: what is seen (`observe`), what is answered (`web`).

use std::sync::{Arc, mpsc};
use std::time::Duration;

use clap::Args;
use parking_lot::Mutex;

use super::beside::Beside;
use super::run::{address, refuse_web_config};
use super::target::{self, StateTarget};
use super::{Exit, logging, signals};
use crate::driver::{DriverError, Job};
use crate::ledger::lock::{Role, RunnerLock};
use crate::observe::follow::Follower;
use crate::observe::metrics::BuildInfo;
use crate::observe::{Observer, Progress, observer};
use crate::web::control::{self, Side};
use crate::web::{self, client};

/// How long a runner may take to say how it is: a scrape waits for it.
const PATIENCE: Duration = Duration::from_millis(500);

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
        let root = job.state.root().to_owned();
        job.state.create().map_err(|source| DriverError::State { path: root.clone(), source })?;
        let _lock =
            RunnerLock::take(Role::Sidecar, &root, &job.state.sidecar_lock()).map_err(DriverError::from)?;
        let bound = web::bind(address(&job.settings))?;
        // Whoever is started for a command must find the same, wherever that is.
        let state = job.state.root().to_string_lossy().into_owned();
        let target = StateTarget { state: Some(state), ..self.target };
        let observer = observer(&job, target.clone());
        // The first look may be at years of records: whoever scrapes first need not wait for it.
        let run = observer.snapshot(observer::now()).run;
        let server = bound.serve(Arc::clone(&observer), BuildInfo::default())?;
        let beside = Beside { target, state: job.state.clone(), starting: Mutex::new(()) };
        let seen = Arc::clone(&observer);
        let control = control::serve(
            &job.state,
            Side::Sidecar,
            observer,
            Box::new(move |command, operation, by| beside.act(&seen, command, operation, by)),
        );
        if let Err(error) = &control {
            let why = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
            tracing::warn!("{error} ({why}): commands can be given to a runner only");
        }
        let (stop, stopped) = mpsc::channel();
        signals::listen(move |_| {
            // Whoever hears it has stopped.
            let _ = stop.send(());
        })?;
        let what =
            if run.build_id.is_empty() { "no run yet".to_owned() } else { format!("run {}", run.build_id) };
        tracing::info!("metrics of {} ({what}) at http://{}/metrics", job.plan.definition, server.addr());
        // Nobody else has a sender: an error is no end.
        let _ = stopped.recv();
        drop(control);
        server.shutdown();
        Ok(Exit::Completed)
    }
}

/// Over the ledger and the runner of a state directory, whether or not they are there.
pub(super) fn observer(job: &Job, target: StateTarget) -> Arc<Observer> {
    let reload = move || match target.target.load() {
        Ok(sound) => Some(sound.planned.plan),
        Err(_) => {
            let check = target.command("check", &[]);
            tracing::warn!(
                "the definition of the run cannot be loaded (`{check}` says why): its packages are only counted"
            );
            None
        }
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
