//! What tasks run on, tried with tasks.
//!
//! Owns: a spawner for a moment, and a few tasks in it. Does not know: what is needed.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use crate::config::scalar::Switch;
use crate::config::settings::Sandbox;
use crate::driver::fetch::{Answers, Helpers, apt};
use crate::driver::spawn::{
    self, Exit, Ground, Job as Process, Limits, Options, Report, Signal, SpawnError, Spawner, User,
};
use crate::driver::{Job, chain};

use super::missing::{Done, Missing};
use super::place::{Place, is_dead, not_executed};

/// Longer than a task that cannot be killed, and shorter than a person's patience.
const PATIENCE: Duration = Duration::from_secs(30);
/// Ends by itself where it cannot be killed.
const KILLED: &str = "exec sleep 3";
/// Not with the mark of a run's processes: the next start would kill them, and its control groups are a live run's.
const MARK: &str = "doctor";

/// What came of the tasks.
#[derive(Debug)]
pub(super) struct Tasks {
    pub(super) ground: Result<Ground, Missing>,
    /// `None` of these: it was not tried.
    pub(super) starts: Option<Done>,
    pub(super) executes: Option<Done>,
    pub(super) ends: Option<Done>,
    pub(super) apt: Option<Done>,
}

/// Starts tasks below `place` as a run would, where its user can be had, and asks apt if that is wanted.
pub(super) fn attempt(job: &Job, place: &Place, user: Option<&User>, apt: bool) -> Tasks {
    spawn::sweep_groups(|name| {
        name.strip_prefix(MARK).and_then(|rest| rest.strip_prefix('-')).is_some_and(is_dead)
    });
    let (sender, reports) = mpsc::channel();
    let answers = Answers::default();
    let helpers_answers = answers.clone();
    let options = Options {
        cgroups: job.settings.cgroups == Switch::On,
        isolation: job.settings.sandbox != Sandbox::Off,
        ..Options::new(format!("{MARK}-{}", std::process::id()))
    };
    let spawner = Spawner::start(options, move |report| {
        if let Some(report) = helpers_answers.take(report) {
            // Whoever has lost patience hears no more.
            let _ = sender.send(report);
        }
    });
    let spawner = match spawner {
        Ok(spawner) => spawner,
        Err(error) => {
            let missing = Missing::because(chain(&error));
            let starts = Some(Err(missing.clone()));
            return Tasks { ground: Err(missing), starts, executes: None, ends: None, apt: None };
        }
    };
    let ground = Ok(spawner.ground().clone());
    let (Some(scratch), Some(more)) = (place.scratch(), &place.more) else {
        return Tasks { ground, starts: None, executes: None, ends: None, apt: None };
    };
    let helpers = Helpers::of(&spawner, answers);
    let apt = apt.then(|| apt::attempt(&scratch.join("apt"), helpers).map_err(Missing::because));
    if more.user.as_ref().is_some_and(Result::is_err) {
        return Tasks { ground, starts: None, executes: None, ends: None, apt };
    }
    let bench = Bench { spawner, reports, scratch, user };
    let starts = bench.starts();
    let (executes, ends) = match &starts {
        Ok(()) => (Some(bench.executes()), Some(bench.ends())),
        Err(_) => (None, None),
    };
    Tasks { ground, starts: Some(starts), executes, ends, apt }
}

struct Bench<'a> {
    spawner: Spawner,
    reports: Receiver<Report>,
    scratch: &'a Path,
    user: Option<&'a User>,
}

impl Bench<'_> {
    /// The directory that tasks run in; theirs, as that of a package is.
    fn directory(&self) -> io::Result<std::path::PathBuf> {
        let dir = self.scratch.join("task");
        if !dir.exists() {
            fs::create_dir(&dir)?;
            if let Some(user) = self.user {
                chown(&dir, Some(user.uid), Some(user.gid))?;
            }
        }
        Ok(dir)
    }

    fn begin(&self, id: u64, argv: &[&str]) -> io::Result<()> {
        let dir = self.directory()?;
        self.spawner.spawn(Process {
            id,
            argv: argv.iter().map(Into::into).collect(),
            env: vec![("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into())],
            cwd: dir.clone(),
            output: File::create(self.scratch.join("output"))?,
            errors: None,
            user: self.user.cloned(),
            limits: Some(Limits::default()),
            confined: Some(vec![dir]),
        });
        Ok(())
    }

    /// A task's end, after its start.
    fn end(&self, on_start: impl Fn()) -> Result<Result<Exit, SpawnError>, Missing> {
        loop {
            match self.reports.recv_timeout(PATIENCE) {
                Ok(Report::Started { .. }) => on_start(),
                Ok(Report::Exited { exit, .. }) => return Ok(Ok(exit)),
                Ok(Report::SpawnFailed { error, .. }) => return Ok(Err(error)),
                Err(_) => return Err(Missing::because("a task does not end")),
            }
        }
    }

    fn run(&self, id: u64, argv: &[&str]) -> Result<Result<Exit, SpawnError>, Missing> {
        let failed = |error| Missing::because(format!("cannot prepare a task: {error}"));
        self.begin(id, argv).map_err(failed)?;
        self.end(|| {})
    }

    /// A script that writes into its directory.
    fn starts(&self) -> Done {
        let output = || fs::read_to_string(self.scratch.join("output")).unwrap_or_default();
        match self.run(1, &["/bin/sh", "-e", "-c", ": > made"])? {
            Ok(Exit::Code(0)) => Ok(()),
            Ok(exit) => Err(Missing::because(format!("a task fails ({exit:?}): {}", output().trim()))),
            Err(error) => Err(Missing::because(chain(&error))),
        }
    }

    /// A program in its directory.
    fn executes(&self) -> Done {
        let shown = self.scratch.parent().unwrap_or(self.scratch);
        let program = self.scratch.join("program");
        let made = fs::write(&program, "#!/bin/sh\nexit 0\n")
            .and_then(|()| fs::set_permissions(&program, fs::Permissions::from_mode(0o755)));
        made.map_err(|error| Missing::because(format!("cannot make a program: {error}")))?;
        match self.run(2, &[&program.to_string_lossy()])? {
            Ok(Exit::Code(0)) => Ok(()),
            Ok(exit) => Err(Missing::because(format!("a program in `{}` fails ({exit:?})", shown.display()))),
            Err(SpawnError::Exec { source, .. }) => {
                let why = format!("cannot execute a file in `{}`: {source}", shown.display());
                Err(not_executed(Missing::because(why), shown))
            }
            Err(error) => Err(Missing::because(chain(&error))),
        }
    }

    /// One that is killed.
    fn ends(&self) -> Done {
        let failed = |error| Missing::because(format!("cannot prepare a task: {error}"));
        self.begin(3, &["/bin/sh", "-c", KILLED]).map_err(failed)?;
        match self.end(|| self.spawner.kill(3, Signal::Kill))? {
            Ok(Exit::Signal(libc::SIGKILL)) => Ok(()),
            Ok(_) => Err(Missing::because("a task that was killed went on")),
            Err(error) => Err(Missing::because(chain(&error))),
        }
    }
}

/// By the spawner's words.
pub(super) fn control_groups(ground: &Ground) -> Done {
    use spawn::Control;
    match &ground.control {
        Control::V2 | Control::V1 { memory: true, pids: true } => Ok(()),
        Control::V1 { memory, .. } => {
            let lacking = if *memory { "pids" } else { "memory" };
            Err(Missing::because(format!("no group of the controller {lacking} can be made")))
        }
        Control::Neither { reason } => Err(Missing::because(reason)),
    }
}

pub(super) fn pid_namespace(ground: &Ground) -> Done {
    use spawn::Confinement;
    match &ground.confinement {
        Confinement::PidNamespace { .. } => Ok(()),
        Confinement::ProcessGroups { reason } => Err(Missing::because(format!("unshare: {reason}"))),
    }
}

pub(super) fn private_proc(ground: &Ground) -> Done {
    use spawn::Confinement;
    match &ground.confinement {
        Confinement::PidNamespace { private_proc: true } => Ok(()),
        Confinement::PidNamespace { private_proc: false } => {
            Err(Missing::because("cannot mount a /proc for the tasks"))
        }
        Confinement::ProcessGroups { reason } => {
            Err(Missing::because(format!("tasks have no pid namespace ({reason})")))
        }
    }
}

pub(super) fn landlock(ground: &Ground) -> Done {
    ground.isolation.writes.as_ref().map(drop).map_err(Missing::because)
}

pub(super) fn network_namespace(ground: &Ground) -> Done {
    ground.isolation.network.clone().map_err(Missing::because)
}
