//! A fifo between a script and a test.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, FileType, Mode, OFlags};

/// After this a test is stuck. Nothing depends on how long anything takes.
const STUCK: Duration = Duration::from_secs(120);

/// The test's end exists before anybody writes, so that opening it never blocks a script.
pub(crate) struct Fifo {
    path: PathBuf,
    end: OwnedFd,
    lines: usize,
}

impl Fifo {
    pub(crate) fn make(path: &Path) -> Self {
        rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::from_bits_truncate(0o666), 0).unwrap();
        rustix::fs::chmod(path, Mode::from_bits_truncate(0o666)).unwrap();
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let end = rustix::fs::open(path, flags, Mode::empty()).unwrap();
        Self { path: path.to_owned(), end, lines: 0 }
    }

    /// For a script's text.
    pub(crate) fn path(&self) -> std::path::Display<'_> {
        self.path.display()
    }

    /// Blocks until this many lines more have come.
    #[track_caller]
    pub(crate) fn wait_for_lines(&mut self, count: usize) {
        while self.lines < count {
            wait(&[(self.end.as_fd(), PollFlags::IN)]);
            let more = self.take();
            assert_ne!(more, 0, "whoever should write a line has gone");
            self.lines += more;
        }
        self.lines -= count;
    }

    /// The same, unless `other` becomes readable first: whether the lines came.
    #[track_caller]
    pub(crate) fn wait_for_lines_or(&mut self, count: usize, other: BorrowedFd<'_>) -> bool {
        while self.lines < count {
            let more = match wait(&[(other, PollFlags::IN), (self.end.as_fd(), PollFlags::IN)]) {
                0 => return false,
                _ => self.take(),
            };
            // Between two writers there is none: the next one's line ends that.
            self.lines += more;
        }
        self.lines -= count;
        true
    }

    /// Blocks until nobody holds it open any more; somebody must have.
    #[track_caller]
    pub(crate) fn wait_until_free(&self) {
        wait(&[(self.end.as_fd(), PollFlags::empty())]);
    }

    /// Whether somebody who opened it still has it open.
    pub(crate) fn is_held(&self) -> bool {
        loop {
            match rustix::io::read(&self.end, &mut [0_u8; 256]) {
                Ok(0) => return false,
                Ok(_) => {}
                Err(error) => {
                    assert_eq!(error, rustix::io::Errno::AGAIN);
                    return true;
                }
            }
        }
    }

    fn take(&self) -> usize {
        let mut buffer = [0_u8; 4096];
        let n = rustix::io::read(&self.end, &mut buffer).unwrap();
        buffer[..n].iter().filter(|byte| **byte == b'\n').count()
    }
}

/// Lets one `read x < PATH` of a script return. Blocks until the script is there.
pub(crate) fn answer(path: &Path) {
    std::fs::write(path, "go\n").unwrap();
}

/// Blocks until one of these is ready, and says which is the first.
#[track_caller]
pub(crate) fn wait(what: &[(BorrowedFd<'_>, PollFlags)]) -> usize {
    let mut fds: Vec<PollFd<'_>> = what.iter().map(|(fd, flags)| PollFd::from_borrowed_fd(*fd, *flags)).collect();
    let timeout = Timespec::try_from(STUCK).unwrap();
    let ready = poll(&mut fds, Some(&timeout)).unwrap();
    assert_ne!(ready, 0, "stuck");
    fds.iter().position(|fd| !fd.revents().is_empty()).unwrap()
}
