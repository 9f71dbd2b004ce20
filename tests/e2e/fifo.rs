//! Fifos between scripts and tests: a `Bell` rings here, a `Gate` lets a script go on, so many `Tickets` let as many go on, a
//! `Hold` proves a life. And `Changes` of a file.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Display, Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, FileType, Mode, OFlags};

use super::process::Running;

/// After this a test is stuck. Nothing depends on how long anything takes.
pub(crate) const STUCK: Duration = Duration::from_mins(2);

/// Scripts ring it with `echo > PATH`, which never blocks them.
pub(crate) struct Bell {
    path: PathBuf,
    end: OwnedFd,
    lines: usize,
}

impl Bell {
    pub(crate) fn make(path: &Path) -> Self {
        make(path);
        // With a writer of our own it never looks as if everybody had gone.
        let end = rustix::fs::open(path, OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty());
        Self { path: path.to_owned(), end: end.unwrap(), lines: 0 }
    }

    pub(crate) fn path(&self) -> Display<'_> {
        self.path.display()
    }

    /// Blocks until it has rung; a kiln that ends instead fails the test, with what it said.
    #[track_caller]
    pub(crate) fn wait(&mut self, kiln: &Running) {
        assert!(self.wait_for_or(1, kiln.end()), "kiln has ended:\n{}", kiln.said());
    }

    /// Blocks until it has rung that often, or `other` is readable: whether it has.
    #[track_caller]
    pub(crate) fn wait_for_or(&mut self, count: usize, other: BorrowedFd<'_>) -> bool {
        while self.lines < count {
            if wait(&[other, self.end.as_fd()], PollFlags::IN) == 0 {
                return false;
            }
            self.take();
        }
        self.lines -= count;
        true
    }

    /// Reads what there is.
    fn take(&mut self) {
        let mut buffer = [0_u8; 4096];
        match rustix::io::read(&self.end, &mut buffer) {
            Ok(n) => self.lines += buffer[..n].split(|byte| *byte == b'\n').count() - 1,
            Err(error) => assert_eq!(error, rustix::io::Errno::AGAIN),
        }
    }
}

/// Scripts wait before it with `read x < PATH`.
pub(crate) struct Gate(PathBuf);

impl Gate {
    pub(crate) fn make(path: &Path) -> Self {
        make(path);
        Self(path.to_owned())
    }

    pub(crate) fn path(&self) -> Display<'_> {
        self.0.display()
    }

    /// Lets one script go on; blocks until it is there.
    pub(crate) fn open(&self) {
        fs::write(&self.0, "go\n").unwrap();
    }
}

/// Scripts take one with `read x < PATH`, and wait where there is none.
pub(crate) struct Tickets {
    path: PathBuf,
    end: OwnedFd,
}

impl Tickets {
    /// A pipe has room for so many.
    pub(crate) const MOST: usize = 65_536;

    pub(crate) fn make(path: &Path) -> Self {
        make(path);
        // With both ends here, neither a script that is the first to come nor one that finds none ever sees the end of it.
        let end = rustix::fs::open(path, OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty());
        Self { path: path.to_owned(), end: end.unwrap() }
    }

    pub(crate) fn path(&self) -> Display<'_> {
        self.path.display()
    }

    pub(crate) fn give(&self, count: usize) {
        // A byte each: of two scripts that read at once none gets a part of one.
        assert_eq!(rustix::io::write(&self.end, &vec![b'\n'; count]), Ok(count));
    }
}

/// Processes hold it with `exec 9> PATH`, and leave go when they die.
pub(crate) struct Hold {
    path: PathBuf,
    end: OwnedFd,
}

impl Hold {
    pub(crate) fn make(path: &Path) -> Self {
        make(path);
        // Open before anybody holds it, so that holding it never blocks.
        let end = rustix::fs::open(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty());
        Self { path: path.to_owned(), end: end.unwrap() }
    }

    pub(crate) fn path(&self) -> Display<'_> {
        self.path.display()
    }

    /// Whether somebody holds it.
    pub(crate) fn is_held(&self) -> bool {
        match rustix::io::read(&self.end, &mut [0_u8]) {
            Ok(n) => {
                assert_eq!(n, 0, "somebody has written");
                false
            }
            Err(error) => {
                assert_eq!(error, rustix::io::Errno::AGAIN);
                true
            }
        }
    }

    /// Blocks until nobody holds it any more; somebody must have.
    #[track_caller]
    pub(crate) fn wait_until_free(&self) {
        wait(&[self.end.as_fd()], PollFlags::empty());
    }
}

fn make(path: &Path) {
    rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::empty(), 0).unwrap();
    rustix::fs::chmod(path, Mode::from_bits_truncate(0o666)).unwrap();
}

/// Blocks until one of these is ready, and says which is the first.
#[track_caller]
pub(crate) fn wait(what: &[BorrowedFd<'_>], flags: PollFlags) -> usize {
    let mut fds: Vec<PollFd<'_>> = what.iter().map(|fd| PollFd::from_borrowed_fd(*fd, flags)).collect();
    let timeout = Timespec::try_from(STUCK).unwrap();
    let ready = poll(&mut fds, Some(&timeout)).unwrap();
    assert_ne!(ready, 0, "stuck");
    fds.iter().position(|fd| !fd.revents().is_empty()).unwrap()
}

/// Writes to a file.
pub(crate) struct Changes(OwnedFd);

impl Changes {
    pub(crate) fn of(path: &Path) -> Self {
        use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
        let watch = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).unwrap();
        add_watch(&watch, path, WatchFlags::MODIFY).unwrap();
        Self(watch)
    }

    /// Blocks until there has been one since the last time.
    pub(crate) fn wait(&self) {
        wait(&[self.0.as_fd()], PollFlags::IN);
        self.take();
    }

    /// Blocks until there has been one since the last time, or `other` is readable: whether there has.
    pub(crate) fn wait_or(&self, other: BorrowedFd<'_>) -> bool {
        let changed = wait(&[self.0.as_fd(), other], PollFlags::IN) == 0;
        self.take();
        changed
    }

    fn take(&self) {
        while rustix::io::read(&self.0, &mut [0_u8; 4096]).is_ok() {}
    }
}
