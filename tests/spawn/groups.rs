//! Control groups, where this host has them: limits hold, and the kernel says what became of them.

use kiln::driver::spawn::{Control, Exit, Limits, Options};

use super::space::{Space, options, permitted};

/// A space whose jobs get control groups; `None`, and a word about it, where there are none.
fn space(test: &str) -> Option<Space> {
    if !permitted(test) {
        return None;
    }
    // Groups are named by the state: tests run side by side.
    let state_id = format!("test-{}-{test}", std::process::id());
    let space = Space::with(Options { state_id, cgroups: true, ..options() });
    if let Control::Neither { reason } = space.spawner.control() {
        eprintln!("skipped: {test} needs control groups: {reason}");
        return None;
    }
    Some(space)
}

#[test]
fn a_job_that_needs_more_memory_than_its_limit_is_killed_and_the_kernel_says_whom() {
    let Some(space) = space("memory") else { return };
    // tail keeps a line until it ends.
    let mut job = space.job(1, &["/bin/sh", "-c", "head -c 300M /dev/zero | tail"]);
    job.limits = Some(Limits { memory: Some(64 << 20), pids: None });
    space.start(job);
    let end = space.end_of(1);
    assert_ne!(end.exit, Exit::Code(0));
    let group = end.group.unwrap();
    assert!(group.oom_kills > 0, "{group:?}");
    if rustix::fs::open("/dev/kmsg", rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty()).is_ok() {
        // With version 2 all of the group is killed, `tail` first.
        assert_eq!(group.oom_killed.first().map(String::as_str), Some("tail"), "{group:?}");
    }
    assert!(group.memory_peak.is_none_or(|peak| peak > 32 << 20 && peak <= 64 << 20), "{group:?}");
}

#[test]
fn a_job_gets_no_more_processes_than_its_limit() {
    let Some(space) = space("pids") else { return };
    let script = "for i in 1 2 3 4 5 6 7 8; do /bin/cat </dev/zero >/dev/null & done; exit 0";
    let mut job = space.job(1, &["/bin/sh", "-c", script]);
    job.limits = Some(Limits { memory: None, pids: Some(4) });
    space.start(job);
    let end = space.end_of(1);
    assert!(end.group.as_ref().unwrap().pids_refused > 0, "{end:?}");
    assert!(end.leftovers <= 3, "{end:?}");
}

#[test]
fn what_nobody_waited_for_counts_and_a_job_without_limits_has_none() {
    let Some(space) = space("usage") else { return };
    // The child is killed with the job, unwaited for, after it has told that it has worked.
    let work = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done";
    let script = format!("mkfifo told; (setsid sh -c '{work}; echo > told; sleep 1000') & read line < told");
    let mut job = space.job(1, &["/bin/sh", "-c", &script]);
    job.limits = Some(Limits::default());
    space.start(job);
    let end = space.end_of(1);
    assert_eq!(end.exit, Exit::Code(0));
    let group = end.group.unwrap();
    assert_eq!((group.oom_kills, group.pids_refused), (0, 0));
    let waited_for = end.usage.user + end.usage.system;
    assert!(group.cpu.unwrap() > waited_for, "{group:?}, waited for: {waited_for:?}");
}

#[test]
fn a_job_that_asked_for_nothing_has_no_group() {
    let Some(space) = space("none") else { return };
    space.start_script(1, "exit 0");
    assert_eq!(space.end_of(1).group, None);
}

#[test]
fn nothing_is_left_of_a_group() {
    let Some(space) = space("left") else { return };
    let mut job = space.job(1, &["/bin/cat", "/proc/self/cgroup"]);
    job.limits = Some(Limits::default());
    let output = space.output_of(job);
    let group = output.lines().filter_map(|line| line.rsplit_once(':')).map(|(_, path)| path.to_owned());
    let group = group.into_iter().find(|path| path.contains("-left/1-")).expect(&output);
    let name = group.rsplit('/').nth(1).unwrap().to_owned();
    let left = || {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let points = mounts
            .lines()
            .filter(|line| line.contains(" cgroup"))
            .map(|line| line.split(' ').nth(4).unwrap());
        let found = points.map(|point| std::path::Path::new(point).join(group.trim_start_matches('/')));
        found
            .filter(|path| {
                path.exists() || path.parent().is_some_and(|above| above.ends_with(&name) && above.exists())
            })
            .count()
    };
    assert!(left() > 0, "the state's own group is there as long as the spawner is");
    drop(space);
    assert_eq!(left(), 0);
}
