//! What can be done with files where the state directory is, or would be.
//!
//! Owns: a directory that lasts as long as the tries, and every try with files. Does not know: what is needed.
//!
//! Beside a live run nothing may appear in the sysroot, not even for a moment: a `direct` package's files are told by comparing
//! it. So files without a name are made there, and everything with a name below `work`.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _, chown, fchown, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{
    Access, AtFlags, CWD, FileType, FlockOperation, Mode, OFlags, accessat, flock, makedev, mknodat,
};
use rustix::io::Errno;

use crate::driver::credentials::Own;
use crate::driver::spawn::User;
use crate::driver::{SCRATCH_BELOW_WORK, chain, wall_now};
use crate::ledger::place::{SCRATCH, StateDir};
use crate::ledger::{FILES, Ledger};

/// What could not be done.
#[derive(Debug, Clone)]
pub(super) struct Missing {
    /// What the system said.
    pub(super) why: String,
    /// What grants it, if that is more than the table knows.
    pub(super) grant: Option<String>,
    /// Trying again does not help.
    pub(super) refused: bool,
}

pub(super) type Done = Result<(), Missing>;

/// What could be done at a state directory's place.
#[derive(Debug)]
pub(super) struct Place {
    scratch: Option<Scratch>,
    pub(super) state: Done,
    pub(super) logs: Done,
    pub(super) sysroot: Done,
    /// What could be tried only where something can be made at all.
    pub(super) more: Option<More>,
}

/// What else can be done with files.
#[derive(Debug)]
pub(super) struct More {
    pub(super) links: Done,
    pub(super) execute: Done,
    /// By the user whom scripts run as, if that is another.
    pub(super) user: Option<Done>,
    pub(super) owners: Done,
    pub(super) setuid_bits: Done,
    pub(super) device_nodes: Done,
}

/// A directory that goes when this does.
#[derive(Debug)]
struct Scratch {
    path: PathBuf,
    /// Who has made something in it, too.
    user: Option<User>,
}

impl Missing {
    /// For another reason than a refusal of the system's.
    pub(super) fn because(why: impl Into<String>) -> Self {
        Self { why: why.into(), grant: None, refused: true }
    }

    fn of(what: &str, path: &Path, error: &io::Error) -> Self {
        let read_only = error.kind() == io::ErrorKind::ReadOnlyFilesystem;
        let unsupported = [Errno::OPNOTSUPP, Errno::NOSYS].map(|errno| Some(errno.raw_os_error()));
        Self {
            why: format!("cannot {what} in `{}`: {error}", path.display()),
            grant: read_only.then(|| format!("mount -o remount,rw {}", mount_of(path).display())),
            refused: read_only
                || error.kind() == io::ErrorKind::PermissionDenied
                || unsupported.contains(&error.raw_os_error()),
        }
    }
}

/// Names what was being done, and where.
fn doing<T, E: Into<io::Error>>(
    what: &str,
    path: &Path,
    result: impl FnOnce() -> Result<T, E>,
) -> Result<T, Missing> {
    result().map_err(|error| Missing::of(what, path, &error.into()))
}

impl Place {
    /// Tries everything; `thorough`: a ledger, too, which is synced.
    pub(super) fn attempt(state: &StateDir, user: Option<&User>, thorough: bool) -> Self {
        let scratch = match scratch(state, user) {
            Ok(scratch) => scratch,
            Err(missing) => {
                let done = || Err(missing.clone());
                return Self { scratch: None, state: done(), logs: done(), sysroot: done(), more: None };
            }
        };
        let dir = &*scratch.path;
        let shown = dir.parent().unwrap_or(dir);
        let own = Exercise::of(dir, shown);
        let theirs = user.map(|user| as_user(dir, shown, user));
        let exercised = theirs.as_ref().and_then(|result| result.as_ref().ok());
        let ledger = || {
            let made = thorough.then(|| Ledger::open(&dir.join("ledger.sqlite")));
            made.map_or(Ok(()), |made| made.map(drop).map_err(|error| Missing::because(chain(&error))))
        };
        let directories = || {
            let all = [state.root().to_owned(), state.work(), state.packages(), state.sources()];
            all.iter().try_for_each(|dir| can_write(dir)).and_then(|()| existing_files(state))
        };
        let more = More {
            links: own.links.and_then(|()| exercised.map_or(Ok(()), |it| it.links.clone())),
            execute: exercised.map_or(own.executes, |it| it.executes.clone()),
            user: theirs.map(|result| result.and_then(|it| it.writes)),
            owners: give_away(dir, shown),
            setuid_bits: set_bits(dir, shown),
            device_nodes: make_device(dir, shown),
        };
        Self {
            state: own.writes.clone().and_then(|()| directories()).and_then(|()| ledger()),
            logs: own.writes.clone().and_then(|()| can_write(&state.logs())),
            sysroot: own.writes.and_then(|()| can_write(&state.sysroot())),
            more: Some(more),
            scratch: Some(scratch),
        }
    }

    /// Where more can be tried.
    pub(super) fn scratch(&self) -> Option<&Path> {
        self.scratch.as_ref().map(|scratch| &*scratch.path)
    }

    /// Takes away what was made.
    pub(super) fn clear(&mut self) {
        let Some(scratch) = self.scratch.take() else { return };
        let shown = scratch.path.parent().unwrap_or(&scratch.path);
        if let Err(missing) = doing("delete a directory", shown, || scratch.remove())
            && self.state.is_ok()
        {
            self.state = Err(missing);
        }
    }
}

impl Scratch {
    /// Where kiln may not delete what is another user's, that user does.
    fn remove(&self) -> io::Result<()> {
        match (fs::remove_dir_all(&self.path), &self.user) {
            (Err(error), Some(user)) if error.kind() == io::ErrorKind::PermissionDenied => {
                let theirs = || {
                    for dir in fs::read_dir(&self.path)?.flatten() {
                        // Its own directory stays, which is in kiln's.
                        let _ = fs::remove_dir_all(dir.path());
                    }
                    Ok(())
                };
                Own::of_this_thread()?.with(user, theirs)?;
                fs::remove_dir_all(&self.path)
            }
            (removed, _) => removed,
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // `clear` has done it, and said so where that failed.
        let _ = self.remove();
    }
}

/// A directory below `work`, else where that would be.
fn scratch(state: &StateDir, user: Option<&User>) -> Result<Scratch, Missing> {
    let work = state.work();
    let (dir, prefix, what) = if work.is_dir() {
        (work, SCRATCH_BELOW_WORK, "make a directory".to_owned())
    } else if state.root().is_dir() {
        let strange = |error: io::Error| Missing {
            why: format!("`{}`: {error}", state.root().display()),
            grant: Some("--state DIR names another".to_owned()),
            refused: false,
        };
        state.must_not_be_strange().map_err(strange)?;
        (state.root().to_owned(), SCRATCH, "make a directory".to_owned())
    } else {
        let what = format!("make `{}`", state.root().display());
        (state.nearest().unwrap_or(state.root()).to_owned(), ".kiln-", what)
    };
    let path = dir.join(format!("{prefix}permissions.{}", wall_now()));
    doing(&what, &dir, || DirBuilder::new().mode(0o755).create(&path))?;
    Ok(Scratch { path, user: user.cloned() })
}

/// What one user can do in a directory.
struct Exercise {
    writes: Done,
    links: Done,
    executes: Done,
}

impl Exercise {
    /// In `dir`, which is one of `shown` to people.
    fn of(dir: &Path, shown: &Path) -> Self {
        let own = dir.join("own");
        if let Err(missing) = writes(&own, shown) {
            return Self {
                writes: Err(missing.clone()),
                links: Err(missing.clone()),
                executes: Err(missing),
            };
        }
        let (links, executes) = (links(&own, shown), executes(&own, shown));
        Self { writes: doing("delete a directory", shown, || fs::remove_dir_all(&own)), links, executes }
    }
}

fn writes(own: &Path, shown: &Path) -> Done {
    doing("make a directory", shown, || fs::create_dir(own))?;
    let mut file = doing("make a file", shown, || File::create(own.join("a")))?;
    doing("write a file", shown, || file.write_all(b"#!/bin/sh\nexit 0\n"))?;
    doing("lock a file", shown, || flock(&file, FlockOperation::NonBlockingLockExclusive))?;
    drop(file);
    doing("rename a file", shown, || fs::rename(own.join("a"), own.join("b")))
}

fn links(own: &Path, shown: &Path) -> Done {
    doing("make a hard link", shown, || fs::hard_link(own.join("b"), own.join("c")))?;
    doing("make a symbolic link", shown, || symlink("b", own.join("d")))?;
    set_mode(&own.join("b"), 0o640, shown)
}

fn set_mode(file: &Path, mode: u32, shown: &Path) -> Done {
    let set = || fs::set_permissions(file, Permissions::from_mode(mode));
    doing(&format!("set a file's mode to {mode:o}"), shown, set)?;
    let found = doing("look at a file", shown, || fs::metadata(file))?.permissions().mode() & 0o7777;
    if found == mode {
        return Ok(());
    }
    Err(Missing::because(format!("a file in `{}` has mode {found:o} and not {mode:o}", shown.display())))
}

/// By the kernel's word; where there is time, tasks do it themselves.
fn executes(own: &Path, shown: &Path) -> Done {
    let program = own.join("b");
    set_mode(&program, 0o755, shown)?;
    let executed =
        doing("execute a file", shown, || accessat(CWD, &program, Access::EXEC_OK, AtFlags::empty()));
    executed.map_err(|missing| not_executed(missing, shown))
}

/// Everybody may execute the file: what is in the way is the mount.
pub(super) fn not_executed(missing: Missing, dir: &Path) -> Missing {
    Missing { grant: Some(format!("mount -o remount,exec {}", mount_of(dir).display())), ..missing }
}

/// What scripts do as another user, and what kiln does before and after them; on a thread of its own, which is that user for a
/// while.
fn as_user(dir: &Path, shown: &Path, user: &User) -> Result<Exercise, Missing> {
    let theirs = dir.join("user");
    doing("make a directory", shown, || fs::create_dir(&theirs))?;
    let give = || chown(&theirs, Some(user.uid), Some(user.gid));
    doing(&format!("give a directory to uid {}", user.uid), shown, give)?;
    let locked = theirs.join("locked");
    let be_them = || {
        let exercise = || {
            let exercise = Exercise::of(&theirs, shown);
            if exercise.writes.is_ok() {
                DirBuilder::new().mode(0o700).create(&locked)?;
                fs::create_dir(locked.join("inside"))?;
            }
            Ok(exercise)
        };
        let acting = || Own::of_this_thread()?.with(user, exercise);
        let mut exercise = doing(&format!("act as uid {}", user.uid), shown, acting)?;
        if exercise.writes.is_ok() {
            let what = "delete what the user keeps to itself";
            exercise.writes = doing(what, shown, || fs::remove_dir_all(&locked));
        }
        Ok(exercise)
    };
    std::thread::scope(|scope| {
        let them = std::thread::Builder::new().name("permissions".into()).spawn_scoped(scope, be_them);
        let them = doing("start a thread", shown, || them)?;
        them.join().unwrap_or_else(|_| Err(Missing::because("the thread that acts as the user has failed")))
    })
}

/// Whether a file can be made in a directory, if that is there. Where files need names, the kernel is asked instead.
fn can_write(dir: &Path) -> Done {
    if !dir.is_dir() {
        return Ok(()); // made with the state directory
    }
    let flags = OFlags::WRONLY | OFlags::TMPFILE | OFlags::CLOEXEC;
    doing("make a file", dir, || match rustix::fs::open(dir, flags, Mode::RUSR | Mode::WUSR) {
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {
            accessat(CWD, dir, Access::WRITE_OK | Access::EXEC_OK, AtFlags::empty())
        }
        file => file.and_then(|file| rustix::io::write(&file, b"x")).map(drop),
    })
}

/// What another user's run may have left. Asked, not opened: whoever closes a file of SQLite's loses its locks on it.
fn existing_files(state: &StateDir) -> Done {
    let ledger = state.ledger();
    let files = FILES.iter().map(|end| ledger.with_extension(end)).chain([state.lock(), ledger.clone()]);
    files.filter(|file| file.exists()).try_for_each(|file| {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let write = || accessat(CWD, &file, Access::WRITE_OK, AtFlags::empty());
        doing(&format!("write `{name}`"), state.root(), write)
    })
}

/// To one that is neither kiln's nor root's; and what a merge does then.
fn give_away(dir: &Path, shown: &Path) -> Done {
    let path = dir.join("owners");
    let file = doing("make a file", shown, || File::create(&path))?;
    doing("give a file to 1:1", shown, || fchown(&file, Some(1), Some(1)))?;
    let set = || file.set_permissions(Permissions::from_mode(0o640));
    doing("set the mode of somebody else's file", shown, set)
}

fn set_bits(dir: &Path, shown: &Path) -> Done {
    let file = dir.join("bits");
    doing("make a file", shown, || File::create(&file))?;
    [0o4755, 0o2755].into_iter().try_for_each(|mode| set_mode(&file, mode, shown))
}

/// The node of /dev/null, which nobody opens.
fn make_device(dir: &Path, shown: &Path) -> Done {
    let node = dir.join("null");
    let make = || mknodat(CWD, &node, FileType::CharacterDevice, Mode::RUSR, makedev(1, 3));
    doing("make a device node", shown, make)
}

/// Where the file system of a path is mounted; `/` where nobody knows.
pub(super) fn mount_of(path: &Path) -> PathBuf {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mounts = procfs::process::Process::myself().and_then(|own| own.mountinfo());
    let points = mounts.into_iter().flatten().map(|mount| mount.mount_point);
    // Of several at one point the last covers the others.
    points
        .filter(|point| path.starts_with(point))
        .max_by_key(|point| point.components().count())
        .unwrap_or_else(|| PathBuf::from("/"))
}
