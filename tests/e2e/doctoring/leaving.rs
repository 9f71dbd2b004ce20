//! What `kiln doctor` leaves when it does not get to its end, and who takes that away.

use std::fs;

use rustix::event::PollFlags;
use rustix::process::Signal;

use super::super::fifo::{self, Bell, Tickets};
use super::super::process::Running;
use super::super::space::Space;
use super::{JSON, WRITES};

/// A doctor that has begun to ask apt, with all that it has made, until it may go on; what its space and the groups have of it.
struct Asking {
    space: Space,
    here: Bell,
    go: Tickets,
}

impl Asking {
    fn new() -> Self {
        let space = Space::new();
        let (here, go) = (space.bell("here"), space.tickets("go"));
        let source = format!("sources: [{{file: data, sha256: {}, from: [{{apt: data}}]}}]", "0".repeat(64));
        space.packages(&format!(
            "package: p\nversion: 1\n{source}\nprivileged: [dev/null]\ntasks: {{build: 'true'}}\n"
        ));
        let programs = space.path("bin");
        fs::create_dir(&programs).unwrap();
        let script = format!("#!/bin/sh\necho here > {}\nread x < {}\n", here.path(), go.path());
        for program in ["apt-get", "apt-cache"] {
            use std::os::unix::fs::PermissionsExt as _;
            fs::write(programs.join(program), &script).unwrap();
            fs::set_permissions(programs.join(program), fs::Permissions::from_mode(0o755)).unwrap();
        }
        Self { space, here, go }
    }

    fn start(&mut self) -> Running {
        let mut command = self.space.command(&JSON);
        command.env("PATH", format!("{}:/usr/bin:/bin", self.space.path("bin").display()));
        let kiln = self.space.start_command(command);
        self.here.wait(&kiln);
        assert_ne!(self.left(kiln.pid()), Vec::<String>::new());
        kiln
    }

    /// Names of what is left of the doctor with this process id.
    fn left(&self, pid: u32) -> Vec<String> {
        let here = fs::read_dir(self.space.path("")).unwrap().map(Result::unwrap);
        let here = here.map(|entry| entry.path()).filter(|path| path.to_string_lossy().contains(".kiln-"));
        let groups = walkdir::WalkDir::new("/sys/fs/cgroup").into_iter().filter_map(Result::ok);
        let group = format!("kiln-doctor-{pid}");
        let groups = groups.filter(|entry| *entry.file_name() == *group).map(walkdir::DirEntry::into_path);
        here.chain(groups).map(|path| path.display().to_string()).collect()
    }
}

#[test]
fn when_it_is_interrupted_it_leaves_nothing() {
    if !apt_is_here("when_it_is_interrupted_it_leaves_nothing") {
        return;
    }
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let mut asking = Asking::new();
        let kiln = asking.start();
        let pid = kiln.pid();
        kiln.signal(signal);
        kiln.says("ending when what was tried is taken away");
        asking.go.give(1);
        let ended = kiln.wait().exits(130);
        assert_eq!(ended.stdout, "");
        assert_eq!(asking.left(pid), Vec::<String>::new());
    }
    // Whoever cannot wait does not have to; the next one takes it away.
    let mut asking = Asking::new();
    let kiln = asking.start();
    let pid = kiln.pid();
    kiln.signal(Signal::INT);
    kiln.says("once more ends at once");
    kiln.signal(Signal::INT);
    kiln.wait().exits(130);
    asking.space.packages(WRITES);
    asking.space.kiln(&JSON).exits(0);
    assert_eq!(asking.left(pid), Vec::<String>::new());
}

#[test]
fn what_a_killed_one_has_left_goes_with_the_next() {
    if !apt_is_here("what_a_killed_one_has_left_goes_with_the_next") {
        return;
    }
    let mut asking = Asking::new();
    let kiln = asking.start();
    let pid = kiln.pid();
    kiln.signal(Signal::KILL);
    // Nobody has buried it yet.
    fifo::wait(&[kiln.end()], PollFlags::IN);
    let left = asking.left(pid);
    assert!(left.iter().any(|path| path.contains(&format!(".kiln-permissions.{pid}."))), "{left:?}");
    assert!(
        left.iter().any(|path| path.contains(".null")) || !rustix::process::geteuid().is_root(),
        "{left:?}"
    );
    // By then it may have been made; and what another one is using stays.
    asking.space.packages(WRITES);
    asking.space.run(0);
    let mine = asking.space.path(&format!(".kiln-permissions.{}.1", std::process::id()));
    fs::write(&mine, "").unwrap();
    asking.space.kiln(&JSON).exits(0);
    assert_eq!(asking.left(pid), [mine.display().to_string()]);
}

fn apt_is_here(test: &str) -> bool {
    let is_here = std::path::Path::new("/usr/lib/apt/apt-helper").exists();
    assert!(is_here || std::env::var_os("CI").is_none(), "{test} needs apt");
    if !is_here {
        eprintln!("skipped: {test} needs apt");
    }
    is_here
}
