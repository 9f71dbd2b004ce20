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
use crate::driver::{SCRATCH_BELOW_WORK, wall_now};
use crate::host;
use crate::ledger::place::{SCRATCH, StateDir};
use crate::ledger::{FILES, Ledger};

use super::missing::{Done, Grant, Missing, doing, mount_of};

/// What could be done at a state directory's place.
#[derive(Debug)]
pub(super) struct Place {
    scratch: Option<Scratch>,
    pub(super) state: Done,
    pub(super) work: Done,
    /// The sysroot, and archives.
    pub(super) merge: Done,
    pub(super) logs: Done,
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

/// With this begin the names of what is made where nothing is kiln's.
const SCRATCH_ELSEWHERE: &str = ".kiln-";
const PREFIXES: [&str; 3] = [SCRATCH_BELOW_WORK, SCRATCH, SCRATCH_ELSEWHERE];

/// Files that go when this does, and a directory where one is asked for: to remove that takes the kernel longer than all
/// else that a run tries.
#[derive(Debug)]
struct Scratch {
    /// What their names begin with; the directory's name.
    base: PathBuf,
    /// Who has made something in the directory, too.
    user: Option<User>,
}

impl Place {
    /// Tries everything; `thorough`: a ledger, too, which is synced.
    pub(super) fn attempt(state: &StateDir, user: Option<&User>, thorough: bool) -> Self {
        // Without the directory there is none of its parts.
        let whole = |missing: Missing| {
            let done = || Err(missing.clone());
            Self { scratch: None, state: done(), work: done(), merge: done(), logs: done(), more: None }
        };
        if let Err(missing) = own_files(state) {
            return whole(missing);
        }
        let scratch = Scratch::new(state, user);
        let shown = scratch.shown().to_owned();
        let mut own = Exercise::of(|name| scratch.file(name), &shown);
        if thorough && own.writes.is_ok() {
            own.writes = scratch.make_directory();
        }
        if let Err(missing) = &own.writes
            && !state.work().is_dir()
        {
            return whole(missing.clone());
        }
        let merge = can_write(&state.packages()).and_then(|()| can_write(&state.sysroot()));
        let logs = can_write(&state.logs());
        let ledger = thorough && own.writes.is_ok();
        let ledger = ledger.then(|| Ledger::open(&scratch.base.join("ledger.sqlite")));
        let ledger = ledger.map(|made| made.map(drop).map_err(|error| Missing::from_error(&error, &shown)));
        let more = own.writes.is_ok().then(|| {
            let theirs = user.map(|user| as_user(&scratch, user));
            let exercised = theirs.as_ref().and_then(|result| result.as_ref().ok());
            More {
                links: own.links.and_then(|()| exercised.map_or(Ok(()), |it| it.links.clone())),
                execute: exercised.map_or(own.executes, |it| it.executes.clone()),
                user: theirs.map(|result| result.and_then(|it| it.writes)),
                owners: give_away(&shown),
                setuid_bits: set_bits(&shown),
                device_nodes: make_device(&scratch.file("null"), &shown),
            }
        });
        Self { state: ledger.unwrap_or(Ok(())), work: own.writes, merge, logs, more, scratch: Some(scratch) }
    }

    /// A directory in which more can be tried, where that is wanted.
    pub(super) fn scratch(&self) -> Option<&Path> {
        self.scratch.as_ref().map(|scratch| &*scratch.base).filter(|dir| dir.is_dir())
    }

    /// Takes away what was made.
    pub(super) fn clear(&mut self) {
        let Some(scratch) = self.scratch.take() else { return };
        let removed = doing("delete files", scratch.shown(), || scratch.remove());
        // It need not be removed twice.
        std::mem::forget(scratch);
        if self.work.is_ok() {
            self.work = removed;
        }
    }
}

impl Scratch {
    /// Below `work`, else where that would be. Makes nothing yet.
    fn new(state: &StateDir, user: Option<&User>) -> Self {
        let (root, work) = (state.root(), state.work());
        let (dir, prefix) = if work.is_dir() {
            (&*work, SCRATCH_BELOW_WORK)
        } else if root.is_dir() {
            (root, SCRATCH)
        } else {
            (state.nearest().unwrap_or(root), SCRATCH_ELSEWHERE)
        };
        let own = std::process::id();
        Self { base: dir.join(format!("{prefix}{NAME}{own}.{}", wall_now())), user: user.cloned() }
    }

    /// What it is in: for people, to whom its own name means nothing.
    fn shown(&self) -> &Path {
        self.base.parent().unwrap_or(&self.base)
    }

    fn file(&self, name: &str) -> PathBuf {
        let mut path = self.base.clone().into_os_string();
        path.push(".");
        path.push(name);
        path.into()
    }

    fn make_directory(&self) -> Done {
        if self.base.is_dir() {
            return Ok(());
        }
        doing("make a directory", self.shown(), || DirBuilder::new().mode(0o755).create(&self.base))
    }

    /// Where kiln may not delete what is another user's, that user does.
    fn remove(&self) -> io::Result<()> {
        for name in FILE_NAMES {
            match fs::remove_file(self.file(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        match (fs::remove_dir_all(&self.base), &self.user) {
            (Err(error), _) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            (Err(error), Some(user)) if error.kind() == io::ErrorKind::PermissionDenied => {
                let theirs = || {
                    for dir in fs::read_dir(&self.base)?.flatten() {
                        // Its own directory stays, which is in kiln's.
                        let _ = fs::remove_dir_all(dir.path());
                    }
                    Ok(())
                };
                Own::of_this_thread()?.with(user, theirs)?;
                fs::remove_dir_all(&self.base)
            }
            (removed, _) => removed,
        }
    }
}

/// In the names of all scratch, before the process id of who made it.
const NAME: &str = "permissions.";

/// Takes away what killed ones have left on the way to the state directory: it may have been made since.
pub(super) fn sweep(state: &StateDir) {
    let below = state.work();
    // What cannot be looked at or removed is another user's.
    for entry in below.ancestors().filter_map(|dir| fs::read_dir(dir).ok()).flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_str().and_then(|name| name.split_once(NAME));
        let is_left = name.is_some_and(|(prefix, rest)| {
            let maker = rest.split('.').next().unwrap_or_default();
            PREFIXES.contains(&prefix) && is_dead(maker)
        });
        if is_left {
            let _ = fs::remove_dir_all(entry.path()).or_else(|_| fs::remove_file(entry.path()));
        }
    }
}

/// Whether a process id is that of nobody any more; our own was somebody else's before.
pub(super) fn is_dead(maker: &str) -> bool {
    let maker = maker.parse().ok().filter(|maker| (1..=i32::MAX.cast_unsigned()).contains(maker));
    maker.is_some_and(|maker| maker == std::process::id() || !host::is_alive(maker))
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Nothing could be tried, and that is said.
        let _ = self.remove();
    }
}

/// What is there on the way to the directory, or where it would be, must be one.
fn leads_to_it(state: &StateDir) -> Done {
    let there = state.root().ancestors().find(|path| path.symlink_metadata().is_ok());
    let Some(there) = there else { return Ok(()) };
    let why = match there.metadata() {
        Ok(found) if found.is_dir() => return Ok(()),
        Ok(_) => format!("`{}` is no directory", there.display()),
        // What is below says so, as of any directory.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(()),
        Err(error) => format!("cannot follow the symbolic link `{}`: {error}", there.display()),
    };
    let grant = Grant::Only("move it away; or --state DIR names another directory".to_owned());
    Err(Missing { why, grant, refused: false })
}

/// The directory itself, if it is there.
fn own_files(state: &StateDir) -> Done {
    leads_to_it(state)?;
    if !state.root().is_dir() {
        return Ok(());
    }
    let strange = |error: io::Error| Missing {
        why: format!("`{}`: {error}", state.root().display()),
        grant: Grant::Only("--state DIR names another".to_owned()),
        refused: false,
    };
    state.must_not_be_strange().map_err(strange)?;
    can_write(state.root())?;
    can_write(&state.sources())?;
    existing_files(state)
}

/// What one user can do with files.
struct Exercise {
    writes: Done,
    links: Done,
    executes: Done,
}

/// Files that are made on the way, the last one a device.
const FILE_NAMES: [&str; 5] = ["a", "b", "c", "d", "null"];

impl Exercise {
    /// With the files that `file` names, which are in a directory that is `shown` to people.
    fn of(file: impl Fn(&str) -> PathBuf, shown: &Path) -> Self {
        let [a, b, c, d] = ["a", "b", "c", "d"].map(file);
        if let Err(missing) = writes(&a, &b, shown) {
            return Self {
                writes: Err(missing.clone()),
                links: Err(missing.clone()),
                executes: Err(missing),
            };
        }
        let (links, executes) = (links(&b, &c, &d, shown), executes(&b, shown));
        let gone = [b, c, d].iter().try_for_each(|file| match fs::remove_file(file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        });
        Self { writes: doing("delete a file", shown, || gone), links, executes }
    }
}

fn writes(made: &Path, renamed: &Path, shown: &Path) -> Done {
    let mut file = doing("make a file", shown, || File::create_new(made))?;
    doing("write a file", shown, || file.write_all(b"#!/bin/sh\nexit 0\n"))?;
    doing("lock a file", shown, || flock(&file, FlockOperation::NonBlockingLockExclusive))?;
    drop(file);
    doing("rename a file", shown, || fs::rename(made, renamed))
}

fn links(file: &Path, hard: &Path, symbolic: &Path, shown: &Path) -> Done {
    doing("make a hard link", shown, || fs::hard_link(file, hard))?;
    doing("make a symbolic link", shown, || symlink("b", symbolic))?;
    doing("open a file", shown, || File::open(file)).and_then(|file| set_mode(&file, 0o640, shown))
}

fn set_mode(file: &File, mode: u32, shown: &Path) -> Done {
    let set = || file.set_permissions(Permissions::from_mode(mode));
    doing(&format!("set a file's mode to {mode:o}"), shown, set)?;
    let found = doing("look at a file", shown, || file.metadata())?.permissions().mode() & 0o7777;
    if found == mode {
        return Ok(());
    }
    Err(Missing::because(format!("a file in `{}` has mode {found:o} and not {mode:o}", shown.display())))
}

/// By the kernel's word; where there is time, tasks do it themselves.
fn executes(file: &Path, shown: &Path) -> Done {
    doing("open a file", shown, || File::open(file)).and_then(|file| set_mode(&file, 0o755, shown))?;
    let executed = doing("execute a file", shown, || accessat(CWD, file, Access::EXEC_OK, AtFlags::empty()));
    executed.map_err(|missing| not_executed(missing, shown))
}

/// Everybody may execute the file: what is in the way is the mount.
pub(super) fn not_executed(missing: Missing, dir: &Path) -> Missing {
    Missing { grant: Grant::OrUnit(format!("mount -o remount,exec {}", mount_of(dir).display())), ..missing }
}

/// What scripts do as another user, and what kiln does before and after them; on a thread of its own, which is that user for a
/// while.
fn as_user(scratch: &Scratch, user: &User) -> Result<Exercise, Missing> {
    let shown = scratch.shown();
    scratch.make_directory()?;
    let theirs = scratch.base.join("user");
    doing("make a directory", shown, || fs::create_dir(&theirs))?;
    let give = || chown(&theirs, Some(user.uid), Some(user.gid));
    doing(&format!("give a directory to uid {}", user.uid), shown, give)?;
    let locked = theirs.join("locked");
    let be_them = || {
        let exercise = || {
            let exercise = Exercise::of(|name| theirs.join(name), shown);
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

/// A file to one that is neither kiln's nor root's; and what a merge does then.
fn give_away(dir: &Path) -> Done {
    let file = doing("make a file", dir, || tempfile::tempfile_in(dir))?;
    doing("give a file to 1:1", dir, || fchown(&file, Some(1), Some(1)))?;
    let set = || file.set_permissions(Permissions::from_mode(0o640));
    doing("set the mode of somebody else's file", dir, set)
}

fn set_bits(dir: &Path) -> Done {
    let file = doing("make a file", dir, || tempfile::tempfile_in(dir))?;
    [0o4755, 0o2755].into_iter().try_for_each(|mode| set_mode(&file, mode, dir))
}

/// The node of /dev/null, which nobody opens.
fn make_device(node: &Path, shown: &Path) -> Done {
    let make = || mknodat(CWD, node, FileType::CharacterDevice, Mode::RUSR, makedev(1, 3));
    doing("make a device node", shown, make)
}
