//! What the spawner costs per process, beside a bare loop that spawns and waits:
//! `spawn_bench [JOBS [SLOTS [ROUNDS]]]`, built in release mode, as root for the namespace.
#![expect(clippy::print_stdout, reason = "a bench prints")]

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use kiln::driver::spawn::{Exit, INIT_ARGUMENT, Job, Limits, Options, Report, Spawner, User, init_main};

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.get(1).is_some_and(|argument| argument == INIT_ARGUMENT) {
        init_main();
    }
    let number = |index: usize, default| arguments.get(index).map_or(Ok(default), |text| text.parse());
    let (jobs, slots, rounds) = (number(1, 10_000)?, number(2, 2)?, number(3, 2)?);
    // Memory that a fork would have to copy the tables of.
    let ballast = vec![1_u8; 100 << 20];
    for _ in 0..rounds {
        measure("bare loop", jobs, || bare(jobs, slots))?;
        let root = rustix::process::geteuid().is_root();
        let user = User { uid: 65534, gid: 65534, groups: vec![] };
        let given = Given::default();
        let namespace = || Given { namespace: true, ..Given::default() };
        for (name, given) in [
            ("process groups", given),
            ("namespace", namespace()),
            ("namespace, user", Given { user: Some(user), ..namespace() }),
            ("namespace, sandbox", Given { sandbox: true, ..namespace() }),
            ("namespace, cgroup", Given { cgroup: true, ..namespace() }),
            ("all but user", Given { sandbox: true, cgroup: true, ..namespace() }),
        ] {
            if root || !given.namespace {
                measure(name, jobs, || spawner(jobs, slots, &given))?;
            }
        }
    }
    drop(ballast);
    Ok(())
}

/// What each job gets.
#[derive(Debug, Default)]
struct Given {
    namespace: bool,
    user: Option<User>,
    sandbox: bool,
    cgroup: bool,
}

fn measure(name: &str, jobs: u64, run: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    let (before, start) = (own_cpu()?, Instant::now());
    run()?;
    let micros = |duration: Duration| duration.as_secs_f64() * 1e6 / jobs as f64;
    println!(
        "{name:18} own CPU {:6.1} us, wall {:6.1} us a job",
        micros(own_cpu()?.saturating_sub(before)),
        micros(start.elapsed())
    );
    Ok(())
}

/// Of all threads of this process, alive and dead, without its children.
fn own_cpu() -> anyhow::Result<Duration> {
    let stat = procfs::process::Process::myself()?.stat()?;
    Ok(Duration::from_millis((stat.utime + stat.stime) * 1000 / procfs::ticks_per_second()))
}

fn bare(jobs: u64, slots: u64) -> anyhow::Result<()> {
    let mut left = jobs;
    let mut running = 0;
    while left > 0 || running > 0 {
        while left > 0 && running < slots {
            let mut command = Command::new("/bin/true");
            command.env_clear().process_group(0).stdin(Stdio::null());
            drop(command.spawn()?);
            left -= 1;
            running += 1;
        }
        rustix::process::wait(rustix::process::WaitOptions::empty())?.context("no child")?;
        running -= 1;
    }
    Ok(())
}

fn spawner(jobs: u64, slots: u64, given: &Given) -> anyhow::Result<()> {
    let (sender, reports) = mpsc::channel();
    let options = Options {
        namespace: given.namespace,
        cgroups: given.cgroup,
        isolation: given.sandbox,
        ..Options::new("bench")
    };
    // As the driver does: nobody need wake up to hear that a job has started.
    let spawner = Spawner::start(options, move |report| match report {
        Report::Started { .. } => {}
        Report::SpawnFailed { .. } | Report::Exited { .. } => drop(sender.send(report)),
    })?;
    let output = File::create("/dev/null")?;
    let (mut next, mut running) = (0, 0);
    while next < jobs || running > 0 {
        while next < jobs && running < slots {
            let argv = vec!["/bin/true".into()];
            let env = vec![("PATH".into(), "/usr/bin:/bin".into())];
            let (cwd, output) = ("/".into(), output.try_clone()?);
            spawner.spawn(Job {
                id: next,
                argv,
                env,
                cwd,
                output,
                errors: None,
                user: given.user.clone(),
                limits: given.cgroup.then(Limits::default),
                confined: given.sandbox.then(|| vec!["/tmp".into()]),
            });
            next += 1;
            running += 1;
        }
        let report = reports.recv()?;
        let Report::Exited { exit: Exit::Code(0), .. } = report else { bail!("{report:?}") };
        running -= 1;
    }
    Ok(())
}
