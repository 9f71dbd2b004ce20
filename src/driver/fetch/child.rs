//! Commands that help to fetch.
//!
//! Owns: running one until it ends or is cancelled. Does not know: what the commands are.
//!
//! They are jobs of the spawner like any task, so that nothing of them outlives kiln, however kiln ends.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use super::super::spawn::{self, Exit, Hand, Job, Report, Signal, SpawnError, Spawner, StartError};
use super::error::{FetchError, Reason, Stop};
use super::turns;
use parking_lot::Mutex;

/// How often a cancellation is looked for. Commands that end are heard of at once.
const TICK: Duration = Duration::from_millis(50);
/// Bytes of an error's text that are kept.
const TAIL: usize = 2000;
/// The ids of tasks are smaller.
const FIRST_ID: u64 = 1 << 32;

/// Who starts the commands.
#[derive(Debug, Clone)]
pub struct Helpers {
    hand: Hand,
    answers: Answers,
    next: Arc<AtomicU64>,
    _own: Option<Arc<Spawner>>,
}

/// Takes the spawner's reports about commands to whoever waits for them.
#[derive(Debug, Clone, Default)]
pub struct Answers(Arc<Mutex<BTreeMap<u64, Sender<Report>>>>);

/// A command that ended.
#[derive(Debug)]
pub(in crate::driver) struct Ended {
    pub(in crate::driver) exit: Exit,
    pub(super) stdout: String,
    stderr: String,
}

impl Ended {
    pub(super) fn succeeded(&self) -> bool {
        self.exit == Exit::Code(0)
    }

    /// In words.
    pub(in crate::driver) fn how(&self) -> String {
        match self.exit {
            Exit::Code(code) => format!("exit status {code}"),
            Exit::Signal(signal) => format!("killed by signal {signal}"),
            Exit::Lost => "its exit status was lost".to_owned(),
        }
    }

    /// The last line that it printed, else that of what it complained about.
    pub(in crate::driver) fn said(&self) -> Option<String> {
        let last = |text: &str| text.lines().map(str::trim).rfind(|line| !line.is_empty()).map(str::to_owned);
        last(&self.stdout).or_else(|| last(&self.stderr))
    }

    /// The end of what it complained about, or how it ended.
    pub(super) fn complaint(&self) -> String {
        let text = self.stderr.trim();
        if text.is_empty() {
            return self.how();
        }
        let start = text.len().saturating_sub(TAIL);
        text[text.ceil_char_boundary(start)..].to_owned()
    }
}

impl Answers {
    /// Passes on what is about a command, and gives back what is about something else.
    pub fn take(&self, report: Report) -> Option<Report> {
        let (id, last) = match &report {
            Report::Started { id, .. } => (*id, false),
            Report::SpawnFailed { id, .. } | Report::Exited { id, .. } => (*id, true),
        };
        let mut waiting = self.0.lock();
        let Some(sender) = waiting.get(&id) else { return Some(report) };
        // Nobody stops waiting before the last word.
        let _ = sender.send(report);
        if last {
            waiting.remove(&id);
        }
        None
    }
}

impl Helpers {
    /// Through a spawner whose reports go through `answers`.
    pub fn of(spawner: &Spawner, answers: Answers) -> Self {
        Self { hand: spawner.hand(), answers, next: Arc::new(AtomicU64::new(FIRST_ID)), _own: None }
    }

    /// Through a spawner of their own: one per process.
    pub fn alone(options: spawn::Options) -> Result<Self, StartError> {
        let answers = Answers::default();
        let theirs = answers.clone();
        let spawner = Spawner::start(options, move |report| drop(theirs.take(report)))?;
        let hand = spawner.hand();
        let next = Arc::new(AtomicU64::new(FIRST_ID));
        Ok(Self { hand, answers, next, _own: Some(Arc::new(spawner)) })
    }

    /// Runs `command` with kiln's environment and what it adds to it. Its output goes through files without a name
    /// in `scratch`; `watch` is called while it runs. When cancelled, it is killed with all its descendants; none
    /// is left either when this returns for another reason.
    pub(in crate::driver) fn run(
        &self,
        command: &Command,
        scratch: &Path,
        cancel: &AtomicBool,
        watch: &mut dyn FnMut(),
    ) -> Result<Ended, Stop> {
        let file = || tempfile::tempfile_in(scratch).map_err(FetchError::io(scratch));
        let (mut stdout, mut stderr) = (file()?, file()?);
        let io = |error| FetchError::io(scratch)(error);
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let mut env: BTreeMap<_, _> = std::env::vars_os().collect();
        env.extend(command.get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))));
        let (sender, reports) = channel();
        self.answers.0.lock().insert(id, sender);
        self.hand.spawn(Job {
            id,
            argv: [command.get_program()].into_iter().chain(command.get_args()).map(Into::into).collect(),
            env: env.into_iter().collect(),
            cwd: command.get_current_dir().unwrap_or(scratch).to_owned(),
            output: stdout.try_clone().map_err(io)?,
            errors: Some(stderr.try_clone().map_err(io)?),
            user: None,
            limits: None,
            confined: None,
        });
        let exit = self.wait(id, &reports, cancel, watch)?.map_err(|error| unstarted(command, error))?;
        // After the last word about a cancelled one.
        turns::check(cancel)?;
        watch();
        let text = |file: &mut File| -> Result<String, FetchError> {
            let mut bytes = Vec::new();
            file.seek(SeekFrom::Start(0))
                .and_then(|_| file.read_to_end(&mut bytes))
                .map_err(FetchError::io(scratch))?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        Ok(Ended { exit, stdout: text(&mut stdout)?, stderr: text(&mut stderr)? })
    }

    fn wait(
        &self,
        id: u64,
        reports: &Receiver<Report>,
        cancel: &AtomicBool,
        watch: &mut dyn FnMut(),
    ) -> Result<Result<Exit, SpawnError>, Stop> {
        loop {
            match reports.recv_timeout(TICK) {
                Ok(Report::Exited { exit, .. }) => return Ok(Ok(exit)),
                Ok(Report::SpawnFailed { error, .. }) => return Ok(Err(error)),
                Ok(Report::Started { .. }) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(FetchError::Cancelled.into()),
            }
            // Without a spawner nothing runs, and nobody reports it.
            if turns::check(cancel).is_err() && !self.hand.kill(id, Signal::Kill) {
                return Err(FetchError::Cancelled.into());
            }
            watch();
        }
    }
}

fn unstarted(command: &Command, error: SpawnError) -> Stop {
    let name = Path::new(command.get_program());
    match error {
        SpawnError::Exec { source, .. } if source.kind() == io::ErrorKind::NotFound => {
            Reason::Unsupported(format!("`{}` is not installed here", name.display())).into()
        }
        SpawnError::Exec { source, .. } | SpawnError::Group(source) | SpawnError::Confine(source) => {
            FetchError::io(name)(source).into()
        }
        SpawnError::ShuttingDown => FetchError::Cancelled.into(),
        other @ (SpawnError::NoProgram | SpawnError::Duplicate(_) | SpawnError::Internal(_)) => {
            FetchError::io(name)(io::Error::other(other.to_string())).into()
        }
    }
}

#[cfg(test)]
impl Helpers {
    /// For tests, whose program cannot be the init of a namespace.
    pub(super) fn for_tests() -> Self {
        let options = spawn::Options { namespace: false, ..spawn::Options::new("test") };
        Self::alone(options).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use std::env::temp_dir;

    use rustix::fs::{FlockOperation, flock};

    use super::*;

    fn run(script: &str, dir: &Path, cancel: &AtomicBool, watch: &mut dyn FnMut()) -> Result<Ended, Stop> {
        let mut command = Command::new("sh");
        command.args(["-c", script]).current_dir(dir);
        Helpers::for_tests().run(&command, dir, cancel, watch)
    }

    #[test]
    fn output_and_complaints_are_told_apart_and_only_the_end_of_complaints_is_kept() {
        let script = "echo out; i=0; while [ $i -lt 900 ]; do echo $i é >&2; i=$((i+1)); done; exit 3";
        let ended = run(script, &temp_dir(), &AtomicBool::new(false), &mut || {}).unwrap();
        assert_eq!((ended.stdout.as_str(), ended.exit), ("out\n", Exit::Code(3)));
        let complaint = ended.complaint();
        assert!(complaint.len() <= TAIL && complaint.ends_with("898 é\n899 é"), "{complaint}");
        let silent = run("exit 4", &temp_dir(), &AtomicBool::new(false), &mut || {}).unwrap();
        assert_eq!(silent.complaint(), "exit status 4");
    }

    #[test]
    fn a_cancelled_command_is_killed_with_its_children_whatever_group_they_are_in() {
        let dir = tempfile::tempdir().unwrap();
        let (locked, cancel) = (dir.path().join("locked"), AtomicBool::new(false));
        // The grandchild has the file locked as long as it lives, and says so with a second file.
        let script = "exec 9>locked; flock 9; setsid sleep 1000 & : >ready; wait";
        let mut watch = || cancel.store(dir.path().join("ready").exists(), Ordering::Relaxed);
        let stopped = run(script, dir.path(), &cancel, &mut watch);
        assert!(matches!(stopped, Err(Stop::Fetch(FetchError::Cancelled))), "{stopped:?}");
        let free = flock(File::open(locked).unwrap(), FlockOperation::NonBlockingLockExclusive);
        assert_eq!(free, Ok(()));
    }

    #[test]
    fn a_missing_command_is_named() {
        let command = Command::new("/no/such");
        let missing = Helpers::for_tests().run(&command, &temp_dir(), &AtomicBool::new(false), &mut || {});
        assert!(
            matches!(missing, Err(Stop::Mirror(Reason::Unsupported(text))) if text.contains("`/no/such`"))
        );
    }
}
