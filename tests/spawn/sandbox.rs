//! What keeps confined jobs in: where they may write, and which network they have.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;

use kiln::driver::spawn::{Exit, Isolation, Job, Options, Report, SpawnError, User};

use super::host::SCENARIO;
use super::space::{Space, options, permitted};

/// The port that the `network` scenario tries.
const PORT: &str = "KILN_TEST_PORT";

/// A space with a directory `own` for its jobs beside a directory `other` that everybody may write to; `None`, and a word about
/// it, where this host lacks what the test needs.
fn space(test: &str, has: fn(&Isolation) -> Result<(), String>) -> Option<Space> {
    let space = Space::with(Options { isolation: true, ..options() });
    if let Err(reason) = has(space.spawner.isolation()) {
        assert!(std::env::var_os("CI").is_none(), "{test}: {reason}");
        eprintln!("skipped: {test}: {reason}");
        return None;
    }
    for name in ["own", "own/a", "own/b", "other"] {
        let path = space.path().join(name);
        fs::create_dir(&path).unwrap();
        rustix::fs::chmod(&path, rustix::fs::Mode::from_bits_truncate(0o777)).unwrap();
    }
    fs::write(space.path().join("other/file"), "content").unwrap();
    rustix::fs::chmod(space.path().join("other/file"), rustix::fs::Mode::from_bits_truncate(0o777)).unwrap();
    Some(space)
}

fn landlock(isolation: &Isolation) -> Result<(), String> {
    isolation.writes.clone().map(drop)
}

fn network(isolation: &Isolation) -> Result<(), String> {
    isolation.network.clone()
}

/// A script in `own`, which is all that it may write to.
fn confined(space: &Space, id: u64, script: &str) -> Job {
    let own = space.path().join("own");
    let job = space.job(id, &["/bin/sh", "-e", "-c", script]);
    Job { cwd: own.clone(), confined: Some(vec![own]), ..job }
}

/// Each of these changes something in `other`, `../other` for it.
const ATTEMPTS: [&str; 14] = [
    "echo x > ../other/new",
    "echo x >> ../other/file",
    ": > ../other/file",
    "truncate -s 0 ../other/file",
    "rm ../other/file",
    "mkdir ../other/new",
    "rmdir ../other/empty",
    "mkfifo ../other/new",
    "ln -s x ../other/new",
    "touch a/file; ln a/file ../other/new",
    "touch a/file; mv -T a/file ../other/new",
    "mv ../other/file a/moved",
    "ln ../other/file a/linked",
    "mknod ../other/new c 1 3",
];

#[test]
fn outside_of_its_directories_a_job_changes_nothing() {
    let Some(space) = space("outside_of_its_directories_a_job_changes_nothing", landlock) else { return };
    fs::create_dir(space.path().join("other/empty")).unwrap();
    let nobody =
        rustix::process::geteuid().is_root().then(|| User { uid: 65534, gid: 65534, groups: vec![] });
    for (id, (attempt, user)) in
        ATTEMPTS.iter().flat_map(|attempt| [(attempt, None), (attempt, nobody.clone())]).enumerate()
    {
        let id = id as u64;
        space.start(Job { user, ..confined(&space, id, attempt) });
        let end = space.end_of(id);
        assert_ne!(end.exit, Exit::Code(0), "{attempt}");
        let output = space.output(id);
        assert!(
            output.contains("Permission denied") || output.contains("Invalid cross-device link"),
            "{output}"
        );
        let mut left: Vec<_> = fs::read_dir(space.path().join("other"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        left.sort();
        assert_eq!(left, ["empty", "file"], "{attempt}");
        assert_eq!(fs::read_to_string(space.path().join("other/file")).unwrap(), "content", "{attempt}");
    }
    // They fail for no other reason: without the sandbox each works.
    let free = |script: &str| Job { confined: None, ..confined(&space, 1000, script) };
    for attempt in ATTEMPTS.iter().filter(|attempt| !attempt.contains("mknod")) {
        space.output_of(free(&format!(
            "rm -rf a/* ../other/*; mkdir ../other/empty; echo content > ../other/file; {attempt}"
        )));
    }
}

#[test]
fn within_its_directories_a_job_may_do_everything_and_read_and_run_what_is_outside() {
    let test = "within_its_directories_a_job_may_do_everything_and_read_and_run_what_is_outside";
    let Some(space) = space(test, landlock) else { return };
    fs::write(space.path().join("other/program"), "#!/bin/sh\necho ran\n").unwrap();
    let mode = rustix::fs::Mode::from_bits_truncate(0o755);
    rustix::fs::chmod(space.path().join("other/program"), mode).unwrap();
    let script = "
        echo x > a/file; : > a/file; echo y > a/file; truncate -s 1 a/file
        ln a/file b/file; ln -s b/file symlink; mkfifo a/fifo; mkdir -p a/x/y; mv a/x b/x; rmdir b/x/y b/x
        rm a/file a/fifo symlink
        cat b/file; echo; cat ../other/file; echo; ../other/program";
    assert_eq!(space.output_of(confined(&space, 1, script)), "y\ncontent\nran\n");
}

#[test]
fn a_job_may_write_to_the_usual_devices_and_its_output() {
    let Some(space) = space("a_job_may_write_to_the_usual_devices_and_its_output", landlock) else { return };
    let script = "
        for device in null zero full random urandom; do : > /dev/$device; : >> /dev/$device; done
        test ! -d /dev/shm || { mkdir /dev/shm/kiln-$$; echo x > /dev/shm/kiln-$$/x; rm -r /dev/shm/kiln-$$; }
        echo one; echo two >> /dev/stdout; echo three >> /dev/stderr";
    assert_eq!(space.output_of(confined(&space, 1, script)), "one\ntwo\nthree\n");
}

#[test]
fn a_job_with_two_directories_moves_files_between_them() {
    let Some(space) = space("a_job_with_two_directories_moves_files_between_them", landlock) else { return };
    let both = ["own/a", "other"].map(|name| space.path().join(name)).to_vec();
    let job =
        confined(&space, 1, "echo x > a/x; ln a/x ../other/linked; mv a/x ../other/x; rm ../other/file");
    space.output_of(Job { confined: Some(both.clone()), ..job });
    // What is beside them is not theirs.
    space.start(Job { confined: Some(both), ..confined(&space, 2, "echo x > b/x") });
    assert_ne!(space.end_of(2).exit, Exit::Code(0));
}

#[test]
fn a_confined_job_gains_no_privileges_and_another_one_may() {
    let Some(space) = space("a_confined_job_gains_no_privileges_and_another_one_may", landlock) else {
        return;
    };
    let show = "grep NoNewPrivs /proc/self/status";
    assert_eq!(space.output_of(confined(&space, 1, show)), "NoNewPrivs:\t1\n");
    assert_eq!(space.output_of(Job { confined: None, ..confined(&space, 2, show) }), "NoNewPrivs:\t0\n");
}

#[test]
fn a_job_whose_directory_is_missing_does_not_start() {
    let Some(space) = space("a_job_whose_directory_is_missing_does_not_start", landlock) else { return };
    let job = confined(&space, 1, "exit 0");
    space.spawner.spawn(Job { confined: Some(vec![PathBuf::from("/does/not/exist")]), ..job });
    let report = space.report();
    let Report::SpawnFailed { id: 1, error: error @ SpawnError::Confine(_) } = report else {
        panic!("{report:?}")
    };
    assert_eq!(error.to_string(), "cannot confine it");
    space.output_of(confined(&space, 1, "exit 0"));
}

#[test]
fn without_isolation_a_job_that_asks_for_it_is_free() {
    let space = Space::new();
    fs::create_dir(space.path().join("own")).unwrap();
    assert!(space.spawner.isolation().writes.is_err() && space.spawner.isolation().network.is_err());
    space.output_of(confined(&space, 1, "echo x > ../outside"));
}

#[test]
fn a_confined_job_has_a_loopback_of_its_own_and_others_have_the_hosts() {
    let test = "a_confined_job_has_a_loopback_of_its_own_and_others_have_the_hosts";
    if !permitted(test) {
        return;
    }
    let Some(space) = space(test, network) else { return };
    let host = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = host.local_addr().unwrap().port().to_string();
    let job = |id, is_confined: bool, user: Option<User>| {
        let program = std::env::current_exe().unwrap();
        let argv = [&*program.display().to_string(), "spawn::host::host_process", "--exact", "--nocapture"];
        let mut job = space.job(id, &argv);
        job.env.extend([(SCENARIO.into(), "network".into()), (PORT.into(), port.clone().into())]);
        job.confined = is_confined.then(|| vec![space.path().join("own")]);
        job.user = user;
        job
    };
    let said = |job| {
        let output = space.output_of(job);
        output.lines().filter(|line| line.starts_with("network: ")).collect::<Vec<_>>().join(", ")
    };
    let lonely = "network: host ConnectionRefused, network: own reached, network: outside NetworkUnreachable";
    assert_eq!(said(job(1, true, None)), lonely);
    // The spawning thread has stayed where it was.
    assert!(said(job(2, false, None)).starts_with("network: host reached, network: own reached"));
    assert_eq!(said(job(3, true, Some(User { uid: 65534, gid: 65534, groups: vec![] }))), lonely);
}

/// Within the job.
pub(crate) fn network_scenario() {
    let port: u16 = std::env::var(PORT).unwrap().parse().unwrap();
    let own = TcpListener::bind("127.0.0.1:0").unwrap();
    let own = own.local_addr().unwrap().port();
    let tries = [("host", ("127.0.0.1", port)), ("own", ("127.0.0.1", own))];
    for (name, address) in tries {
        let what = TcpStream::connect(address)
            .map_or_else(|error| format!("{:?}", error.kind()), |_| "reached".into());
        println!("\nnetwork: {name} {what}");
    }
    // TEST-NET-1 is nowhere. A datagram has no answer to wait for.
    let outside = std::net::UdpSocket::bind("0.0.0.0:0").unwrap().connect("192.0.2.1:9");
    println!(
        "network: outside {}",
        outside.map_or_else(|error| format!("{:?}", error.kind()), |()| "possible".into())
    );
}
