//! A directory, a spawner and its reports.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use kiln::driver::spawn::{Ended, Exit, Job, Options, Report, Spawner, Usage};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, FileType, Mode, OFlags};

/// After this a test is stuck. Nothing depends on how long anything takes.
const STUCK: Duration = Duration::from_secs(30);

/// What `Exited` said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) exit: Exit,
    pub(crate) usage: Usage,
    pub(crate) leftovers: u32,
    pub(crate) group: Option<Ended>,
}

pub(crate) struct Space {
    pub(crate) spawner: Spawner,
    reports: Receiver<Report>,
    directory: PathBuf,
    _temporary: Option<tempfile::TempDir>,
}

/// Whether this machine lets the test make namespaces; in CI it has to.
#[track_caller]
pub(crate) fn permitted(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    assert!(root || std::env::var_os("CI").is_none(), "{test} needs root");
    if !root {
        eprintln!("skipped: {test} needs root");
    }
    root
}

pub(crate) fn options() -> Options {
    Options { executable: env!("CARGO_BIN_EXE_kiln").into(), ..Options::new("test-state") }
}

/// Exists before anybody writes to it, so that opening it never blocks.
pub(crate) struct Fifo(OwnedFd);

impl Fifo {
    pub(crate) fn make(path: &Path) -> Self {
        rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::from_bits_truncate(0o666), 0).unwrap();
        rustix::fs::chmod(path, Mode::from_bits_truncate(0o666)).unwrap();
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Self(rustix::fs::open(path, flags, Mode::empty()).unwrap())
    }

    /// Whether a process that once opened it still has it open.
    pub(crate) fn is_held(&self) -> bool {
        match rustix::io::read(&self.0, &mut [0_u8; 64]) {
            Ok(0) => false,
            Ok(_) => self.is_held(),
            Err(error) => {
                assert_eq!(error, rustix::io::Errno::AGAIN);
                true
            }
        }
    }

    /// Blocks until somebody has written.
    pub(crate) fn wait_for_line(&self) {
        self.wait(PollFlags::IN);
        assert_ne!(rustix::io::read(&self.0, &mut [0_u8; 64]), Ok(0), "nobody has written");
    }

    /// Blocks until nobody holds it any more.
    pub(crate) fn wait_until_free(&self) {
        self.wait(PollFlags::empty());
    }

    fn wait(&self, flags: PollFlags) {
        let timeout = Timespec::try_from(STUCK).unwrap();
        let ready = poll(&mut [PollFd::new(&self.0, flags)], Some(&timeout)).unwrap();
        assert_ne!(ready, 0, "stuck");
    }
}

impl Space {
    pub(crate) fn new() -> Self {
        Self::with(options())
    }

    pub(crate) fn with(options: Options) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        rustix::fs::chmod(temporary.path(), Mode::from_bits_truncate(0o777)).unwrap();
        let directory = temporary.path().to_owned();
        Self { _temporary: Some(temporary), ..Self::within(&directory, options) }
    }

    /// In a directory that another process keeps.
    pub(crate) fn within(directory: &Path, options: Options) -> Self {
        let (sender, reports) = mpsc::channel();
        let spawner = Spawner::start(options, move |report| sender.send(report).unwrap()).unwrap();
        Self { spawner, reports, directory: directory.to_owned(), _temporary: None }
    }

    pub(crate) fn job(&self, id: u64, argv: &[&str]) -> Job {
        Job {
            id,
            argv: argv.iter().map(Into::into).collect(),
            env: vec![("PATH".into(), "/usr/sbin:/usr/bin:/bin".into())],
            cwd: self.directory.clone(),
            output: File::create(self.directory.join(format!("output-{id}"))).unwrap(),
            errors: None,
            user: None,
            limits: None,
            confined: None,
        }
    }

    pub(crate) fn start(&self, job: Job) {
        let id = job.id;
        self.spawner.spawn(job);
        assert_eq!(self.started(), id);
    }

    pub(crate) fn start_script(&self, id: u64, script: &str) {
        self.start(self.job(id, &["/bin/sh", "-e", "-c", script]));
    }

    /// Runs a job that leaves nothing and exits with 0, and returns what it printed.
    #[track_caller]
    pub(crate) fn output_of(&self, job: Job) -> String {
        let id = job.id;
        self.start(job);
        let end = self.end_of(id);
        let output = self.output(id);
        assert_eq!((end.exit, end.leftovers), (Exit::Code(0), 0), "{output}");
        output
    }

    pub(crate) fn output(&self, id: u64) -> String {
        fs::read_to_string(self.directory.join(format!("output-{id}"))).unwrap()
    }

    pub(crate) fn report(&self) -> Report {
        self.reports.recv_timeout(STUCK).unwrap()
    }

    #[track_caller]
    pub(crate) fn started(&self) -> u64 {
        let report = self.report();
        let Report::Started { id, .. } = report else { panic!("{report:?}") };
        id
    }

    #[track_caller]
    pub(crate) fn end(&self) -> (u64, End) {
        let report = self.report();
        let Report::Exited { id, exit, usage, leftovers, group } = report else { panic!("{report:?}") };
        (id, End { exit, usage, leftovers, group })
    }

    #[track_caller]
    pub(crate) fn end_of(&self, expected: u64) -> End {
        let (id, end) = self.end();
        assert_eq!(id, expected);
        end
    }

    /// Ends the spawner; the reports that were left.
    pub(crate) fn shutdown(self) -> Vec<Report> {
        self.spawner.shutdown();
        self.reports.try_iter().collect()
    }

    pub(crate) fn fifo(&self, name: &str) -> Fifo {
        Fifo::make(&self.directory.join(name))
    }

    /// Lets one `read x < NAME` of a script return.
    pub(crate) fn answer(&self, name: &str) {
        fs::write(self.directory.join(name), "go\n").unwrap();
    }

    pub(crate) fn path(&self) -> &Path {
        &self.directory
    }
}

pub(crate) fn read_to_string(mut from: impl Read) -> String {
    let mut text = String::new();
    from.read_to_string(&mut text).unwrap();
    text
}
