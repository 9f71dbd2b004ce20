//! How a recipe's script is run.
//!
//! Owns: the environment, the output file. Does not know: processes (`spawn`), what follows.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::FallocateFlags;

use crate::config::recipe::Recipe;
use crate::engine::message::Start;
use crate::ledger::place::StateDir;
use crate::plan::TaskKind;

use super::sandbox::{self, Cell};
use super::spares::Spares;
use super::spawn::{Isolation, Job, Limits, User};
use super::work::Work;

/// From here on a script is run from a file: the kernel allows an argument 128 KiB (`MAX_ARG_STRLEN`).
const ARGUMENT_BYTES_MOST: usize = 100 * 1024;

/// So much room is set aside for an attempt's output, which is no more than the least that a file takes: of a disk that was
/// full for a moment nothing else tells than what the tool says of it.
const SET_ASIDE_BYTES: u64 = 4096;

/// What is the same for all scripts of a run.
#[derive(Debug, Clone)]
pub(super) struct Scripts {
    pub(super) state: StateDir,
    pub(super) build_id: String,
    pub(super) user: Option<User>,
}

impl Scripts {
    /// The output file of an attempt, opened to be appended to: a task that is done again to restore a work
    /// directory has the number of the attempt that it restores.
    fn open_log(&self, package: &str, start: &Start, spares: &mut Spares) -> io::Result<File> {
        let path = self.state.log(&self.build_id, package, start.kind, start.attempt);
        let mut open = OpenOptions::new();
        open.create(true).read(true);
        let spare = !start.restore && !path.exists() && spares.take_file(&path);
        if start.restore {
            open.append(true);
        } else {
            // What a definition that has changed since has printed is no output of this attempt. What is spare is empty, and
            // keeps the room that it has.
            open.write(true).truncate(!spare);
        }
        let log = match open.open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(path.parent().unwrap_or(&path))?;
                open.open(&path)
            }
            result => result,
        }?;
        if !spare {
            // Where the file system cannot, or has none left, there is as much room as there is.
            let _ = rustix::fs::fallocate(&log, FallocateFlags::KEEP_SIZE, 0, SET_ASIDE_BYTES);
        }
        Ok(log)
    }

    /// Prepares the directories, and says what to spawn.
    pub(super) fn job(&self, recipe: &Recipe, start: &Start, spares: &mut Spares) -> io::Result<Job> {
        let work = Work::of(&self.state, &recipe.package);
        if start.fresh {
            let spare = !work.root().exists() && spares.take_directory(work.root());
            if !spare {
                work.renew(self.user.as_ref())?;
            }
        }
        if start.kind == TaskKind::Install && !recipe.direct {
            work.renew_dest(self.user.as_ref())?;
        }
        let script = Self::script(recipe, start.kind);
        let (cwd, env) = self.place(recipe, start.attempt, start.jobs);
        let log = self.open_log(&recipe.package, start, spares)?;
        if start.restore {
            use std::io::Write as _;
            writeln!(&log, "--- kiln: again, to restore the work directory")?;
        }
        let argv: Vec<OsString> = if script.len() < ARGUMENT_BYTES_MOST {
            ["/bin/sh", "-e", "-c", script].map(OsString::from).into()
        } else {
            let file = work.root().join(format!("{}.sh", start.kind.name()));
            fs::write(&file, script)?;
            vec!["/bin/sh".into(), "-e".into(), file.into()]
        };
        Ok(Job {
            id: u64::from(start.task.0),
            argv,
            env,
            cwd,
            output: log,
            errors: None,
            user: self.user.clone(),
            limits: Some(Limits {
                memory: recipe.limits.memory.map(|size| size.0),
                pids: recipe.limits.pids,
            }),
            confined: Some(sandbox::writable(&self.state, recipe, start)),
        })
    }

    /// What keeps it in.
    pub(super) fn cell(&self, recipe: &Recipe, start: &Start, isolation: &Isolation) -> Cell {
        let writable = || sandbox::writable(&self.state, recipe, start);
        Cell {
            writable: isolation.writes.is_ok().then(writable),
            user: self.user.clone(),
            network: isolation.network.is_err(),
        }
    }

    /// What the recipe says that a task does; nothing where kiln does it.
    pub(super) fn script(recipe: &Recipe, kind: TaskKind) -> &str {
        let script = match kind {
            TaskKind::Configure => &recipe.tasks.configure,
            TaskKind::Build => &recipe.tasks.build,
            TaskKind::Check => &recipe.tasks.check,
            TaskKind::Install => &recipe.tasks.install,
            TaskKind::Fetch | TaskKind::Unpack | TaskKind::Merge => &None,
        };
        script.as_ref().map_or("", |task| task.script())
    }

    /// The directory and the environment of a task.
    pub(super) fn place(
        &self,
        recipe: &Recipe,
        attempt: u32,
        jobs: u32,
    ) -> (PathBuf, Vec<(OsString, OsString)>) {
        let work = Work::of(&self.state, &recipe.package);
        let dest = if recipe.direct { self.state.sysroot() } else { work.dest() };
        (work.src(), self.environment(recipe, attempt, jobs, &work, &dest))
    }

    fn environment(
        &self,
        recipe: &Recipe,
        attempt: u32,
        jobs: u32,
        work: &Work,
        dest: &Path,
    ) -> Vec<(OsString, OsString)> {
        let sysroot = self.state.sysroot();
        let tools = sysroot.join("tools");
        let path = format!(
            "{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            tools.join("bin").display()
        );
        let mut env: Vec<(OsString, OsString)> = [
            ("SRC", work.src().into_os_string()),
            ("DESTDIR", dest.into()),
            ("SYSROOT", sysroot.into()),
            ("TOOLS", tools.into()),
            ("KILN_JOBS", jobs.to_string().into()),
            ("KILN_ATTEMPT", attempt.to_string().into()),
            ("KILN_BUILD_ID", self.build_id.clone().into()),
            ("MAKEFLAGS", format!("-j{jobs}").into()),
            ("SOURCE_DATE_EPOCH", work.epoch(recipe).to_string().into()),
            ("PATH", path.into()),
            ("HOME", work.tmp().into()),
            ("TMPDIR", work.tmp().into()),
            ("LC_ALL", "C.UTF-8".into()),
        ]
        .map(|(name, value)| (name.into(), value))
        .into();
        for (name, value) in &recipe.env {
            env.retain(|(other, _)| other.to_str() != Some(name));
            env.push((name.into(), value.into()));
        }
        env
    }
}
