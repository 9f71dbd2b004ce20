//! What a sidecar does with commands: the runner is told, if there is one; else what can be done without.
//!
//! Owns: an answer into the ledger, starting a runner for a phase. Does not know: how a command comes in (`web::control`).

use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command as Process, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::StatusCode;
use parking_lot::Mutex;

use super::target::StateTarget;
use crate::driver::{Job, answer};
use crate::engine::message::Answer;
use crate::ledger::lock::RunnerLock;
use crate::ledger::place::StateDir;
use crate::observe::{Observer, Progress};
use crate::web::client;
use crate::web::command::{Command, Operation, Rejection, is_new};

/// How long a runner may take to answer.
const PATIENCE: Duration = Duration::from_secs(9);
/// How long one that is started may take until it holds the state directory, or says why not.
const START: Duration = Duration::from_secs(8);

/// The sidecar, for those who give it commands.
pub(super) struct Beside {
    /// Names the state directory, too.
    pub(super) target: StateTarget,
    pub(super) state: StateDir,
    /// Held while a runner is being started.
    pub(super) starting: Mutex<()>,
}

impl Beside {
    pub(super) fn act(
        &self,
        observer: &Observer,
        command: &Command,
        operation: Operation,
        by: &str,
    ) -> Result<Option<u32>, Rejection> {
        if observer.alive() {
            return pass_on(&self.state, command, by);
        }
        match operation {
            Operation::Answer(answer) => answer_at_rest(&self.job()?, command, answer, by),
            Operation::BuildPhase => self.build(observer, command, by),
            Operation::Pause
            | Operation::Resume
            | Operation::Stop
            | Operation::Checkpoint
            | Operation::Status => {
                let run = self.target.command("run", &[]);
                Err(Rejection::NotNow(format!("no runner is there: `{run}` starts one")))
            }
        }
    }

    fn job(&self) -> Result<Job, Rejection> {
        let check = self.target.command("check", &[]);
        let job = self.target.job(Vec::new()).map(|(job, _)| job);
        job.map_err(|_| Rejection::NotNow(format!("the definition cannot be loaded: `{check}` says why")))
    }

    /// Starts a runner for a phase of the definition as it is now.
    fn build(&self, observer: &Observer, command: &Command, by: &str) -> Result<Option<u32>, Rejection> {
        let job = self.job()?;
        observer.with(|progress| {
            let state = progress.state();
            if let Some((number, gate)) = state.gates.first_key_value().filter(|_| state.run.goes_on()) {
                let why = format!("gate {number} ({}) is open: answer it first", gate.about());
                return Err(Rejection::NotNow(why));
            }
            if progress.plan().digest == job.plan.digest {
                return is_new(progress, &command.phase).map(drop);
            }
            // What was finished was so of another definition.
            is_new(&Progress::new(Arc::clone(&job.plan), job.limits()), &command.phase).map(drop)
        })?;
        let _starting = self.starting.lock();
        if observer.alive() {
            return pass_on(&self.state, command, by);
        }
        self.start(observer, &command.phase, by).map(|()| None)
    }

    /// Starts a runner, and waits until it has begun.
    fn start(&self, observer: &Observer, phase: &str, by: &str) -> Result<(), Rejection> {
        let records = || observer.with(|progress| progress.counters().records);
        let before = records();
        let failed = |why: String| Rejection::NotNow(format!("`kiln run` cannot be started: {why}"));
        let own = std::env::current_exe().map_err(|error| failed(error.to_string()))?;
        let mut process = Process::new(own);
        process.arg("run").args(&self.target.target.dir).arg("--state").arg(self.state.root());
        process.args(["--phase", phase, "--no-listen"]).stdin(Stdio::null());
        // Ctrl-C is meant for the sidecar.
        process.process_group(0);
        let mut runner = process.spawn().map_err(|error| failed(error.to_string()))?;
        tracing::info!("started a runner (pid {}) for phase {phase}, as {by} wants", runner.id());
        let until = Instant::now() + START;
        while RunnerLock::holder(&self.state.lock()).is_none_or(|holder| holder.pid != runner.id()) {
            if let Ok(Some(status)) = runner.try_wait() {
                // It may have had little to do, or come to a gate at once.
                observer.refresh();
                let has_begun = status.success() || records() > before;
                let why = || failed(format!("{status}; the sidecar's own messages say why"));
                return if has_begun { Ok(()) } else { Err(why()) };
            }
            if Instant::now() > until {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        reap(runner).map_err(|error| failed(error.to_string()))
    }
}

/// Waits for the end of a runner that goes on, beside whoever started it.
fn reap(mut runner: Child) -> std::io::Result<()> {
    let wait = move || match runner.wait() {
        Ok(status) => tracing::info!("the runner (pid {}) has ended: {status}", runner.id()),
        Err(error) => tracing::warn!("cannot wait for the runner: {error}"),
    };
    std::thread::Builder::new().name("runner".into()).spawn(wait).map(drop)
}

/// Tells the runner on behalf of somebody.
fn pass_on(state: &StateDir, command: &Command, by: &str) -> Result<Option<u32>, Rejection> {
    let (status, outcome) = client::command(state, command, Some(by), PATIENCE).map_err(|silence| {
        if silence.may_be_heard() {
            let known = "whether it has heard that is not known";
            Rejection::Unsettled(format!(
                "the runner has been told, and does not answer ({silence}): {known}"
            ))
        } else {
            Rejection::NotNow(format!("the runner does not answer: {silence}"))
        }
    })?;
    let why = outcome.error.unwrap_or_else(|| status.to_string());
    match status {
        StatusCode::OK => Ok(outcome.gate_id.and_then(|number| number.parse().ok())),
        StatusCode::BAD_REQUEST => Err(Rejection::Wrong(why)),
        StatusCode::ACCEPTED => Err(Rejection::Unsettled(why)),
        _ => Err(Rejection::NotNow(why)),
    }
}

/// An answer to a gate of a run without a runner.
fn answer_at_rest(job: &Job, command: &Command, word: Answer, by: &str) -> Result<Option<u32>, Rejection> {
    let answered = answer::answer(job, command.answer(word, by));
    let answered = answered.map_err(|error| Rejection::NotNow(error.to_string()))?;
    Ok(answered?)
}
