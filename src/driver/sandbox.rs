//! Where a task is kept in, and whether it tried to get out.
//!
//! Owns: the directories that are a task's to write to, what is said of the sandbox, what `sandbox: require` requires.
//! Does not know: how a process is kept in (`spawn`), how tools word a denial (`failure::denial`).

use std::fs::{self, File};
use std::io::{self, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, accessat};

use crate::config::recipe::Recipe;
use crate::config::settings::Sandbox;
use crate::engine::message::Start;
use crate::failure::denial::{self, Refused};
use crate::failure::fact::Fact;
use crate::ledger::place::StateDir;
use crate::plan::TaskKind;

use super::DriverError;
use super::credentials::Own;
use super::spawn::isolation::DEVICES;
use super::spawn::{Isolation, User};
use super::work::Work;

/// The directories that a script may write to.
pub(super) fn writable(state: &StateDir, recipe: &Recipe, start: &Start) -> Vec<PathBuf> {
    let work = Work::of(state, &recipe.package).root().to_owned();
    let sysroot = (recipe.direct && start.kind == TaskKind::Install).then(|| state.sysroot());
    [work].into_iter().chain(sysroot).collect()
}

/// What there is of the sandbox, in words: what is in force, and what is missing with the reason.
fn describe(isolation: &Isolation) -> (Vec<String>, Vec<String>) {
    let (mut in_force, mut missing) = (Vec::new(), Vec::new());
    match &isolation.writes {
        Ok(abi) => {
            let truncate = if *abi < 3 { ", which lets them truncate others' files" } else { "" };
            in_force
                .push(format!("may write only below their work directories (Landlock ABI {abi}{truncate})"));
        }
        Err(reason) => missing.push(format!("may write wherever their user may ({reason})")),
    }
    match &isolation.network {
        Ok(()) => in_force.push("have no network".to_owned()),
        Err(reason) => missing.push(format!("have the host's network ({reason})")),
    }
    (in_force, missing)
}

/// Says what is in force; an error where something is required that is not.
pub(super) fn say(setting: Sandbox, isolation: &Isolation) -> Result<(), DriverError> {
    let (in_force, missing) = describe(isolation);
    let (in_force, missing) = (in_force.join(" and "), missing.join(" and "));
    match setting {
        Sandbox::Off => {
            tracing::info!(
                "tasks may write wherever their user may and have the host's network (`sandbox: off`)"
            );
            return Ok(());
        }
        Sandbox::Require if !missing.is_empty() => return Err(DriverError::Sandbox { missing }),
        Sandbox::On | Sandbox::Require => {}
    }
    if !in_force.is_empty() {
        tracing::info!("tasks {in_force}");
    }
    if !missing.is_empty() {
        tracing::warn!("tasks {missing}");
    }
    Ok(())
}

/// One task's.
#[derive(Debug)]
pub(super) struct Cell {
    /// `None`: it could write anywhere.
    pub(super) writable: Option<Vec<PathBuf>>,
    pub(super) user: Option<User>,
    /// It had a network.
    pub(super) network: bool,
}

impl Cell {
    /// The first attempt to get out that its output tells of.
    pub(super) fn denial(&self, output: &Path) -> io::Result<Option<Fact>> {
        let Some(writable) = &self.writable else { return Ok(None) };
        let inside: Vec<PathBuf> = writable.iter().filter_map(|place| place.canonicalize().ok()).collect();
        let output = BufReader::new(File::open(output)?);
        denial::first_write(output, |refused| self.is_sandboxed(&inside, refused))
    }

    /// Whether it could have written there but for the sandbox.
    fn is_sandboxed(&self, inside: &[PathBuf], refused: Refused<'_>) -> bool {
        let Some((nearest, whole)) = real(refused.path) else { return false };
        let open = |place: &Path| whole.starts_with(place);
        // Of other processes' files in /proc most are closed to everybody, whatever their modes say.
        let closed = Path::new("/proc");
        if inside.iter().any(|place| open(place))
            || DEVICES.iter().any(|device| open(Path::new(device)))
            || open(closed)
        {
            return false;
        }
        if refused.perhaps_executed && nearest == whole && !is_program(&whole) {
            return false;
        }
        // Another user's rights are best judged by being that user, for as long as the question takes.
        let ask = || accessat(CWD, &nearest, Access::WRITE_OK, AtFlags::empty()).map_err(io::Error::from);
        match &self.user {
            None => ask().is_ok(),
            Some(user) => Own::of_this_thread().and_then(|own| own.with(user, ask)).is_ok(),
        }
    }
}

/// The nearest of a path's ancestors, itself included, that is there, and the whole path as continued from that, both
/// without links.
fn real(path: &Path) -> Option<(PathBuf, PathBuf)> {
    path.ancestors().find_map(|ancestor| {
        let real = ancestor.canonicalize().ok()?;
        let rest = path.strip_prefix(ancestor).ok()?;
        let whole = if rest.as_os_str().is_empty() { real.clone() } else { real.join(rest) };
        Some((real, whole))
    })
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn isolation(writes: Result<i32, &str>, network: Result<(), &str>) -> Isolation {
        Isolation { writes: writes.map_err(Into::into), network: network.map_err(Into::into) }
    }

    #[test]
    fn what_is_required_must_be_there() {
        let whole = isolation(Ok(7), Ok(()));
        let refused = |isolation: &Isolation| say(Sandbox::Require, isolation).unwrap_err().to_string();
        assert!(say(Sandbox::Require, &whole).is_ok());
        let text = refused(&isolation(Err("no Landlock"), Ok(())));
        assert!(text.contains("may write wherever") && text.contains("(no Landlock)"), "{text}");
        assert!(!text.contains("network"), "{text}");
        let text = refused(&isolation(Ok(7), Err("not permitted")));
        assert!(text.contains("the host's network (not permitted)"), "{text}");
        assert!(refused(&isolation(Err("a"), Err("b"))).contains("(a) and have"));
        for setting in [Sandbox::On, Sandbox::Off] {
            assert!(say(setting, &isolation(Err("a"), Err("b"))).is_ok());
        }
    }

    #[test]
    fn what_is_in_force_is_said_with_its_abi() {
        let (in_force, missing) = describe(&isolation(Ok(7), Ok(())));
        assert_eq!(
            in_force,
            ["may write only below their work directories (Landlock ABI 7)", "have no network"]
        );
        assert_eq!(missing, [""; 0]);
        assert!(describe(&isolation(Ok(2), Ok(()))).0[0].contains("truncate"));
    }

    /// A cell with a directory that is its own, beside one that is not.
    fn cell(place: &Path, user: Option<User>) -> Cell {
        for name in ["own", "other"] {
            fs::create_dir(place.join(name)).unwrap();
        }
        Cell { writable: Some(vec![place.join("own")]), user, network: false }
    }

    fn is_sandboxed(cell: &Cell, path: &Path, perhaps_executed: bool) -> bool {
        let output = tempfile::NamedTempFile::new().unwrap();
        let colon = if perhaps_executed { "sh: 1: " } else { "touch: cannot touch " };
        fs::write(output.path(), format!("{colon}{}: Permission denied\n", path.display())).unwrap();
        cell.denial(output.path()).unwrap().is_some()
    }

    #[test]
    fn a_denial_is_seen_where_the_user_may_write_and_the_task_may_not() {
        let place = tempfile::tempdir().unwrap();
        let at = |path: &str| place.path().join(path);
        let cell = cell(place.path(), None);
        assert!(is_sandboxed(&cell, &at("other/new"), false));
        assert!(is_sandboxed(&cell, &at("other/new/below"), false));
        assert!(!is_sandboxed(&cell, &at("own/new"), false));
        assert!(!is_sandboxed(&cell, Path::new("/dev/null"), false));
        std::os::unix::fs::symlink(at("other"), at("own/link")).unwrap();
        std::os::unix::fs::symlink(at("own"), at("other/link")).unwrap();
        assert!(is_sandboxed(&cell, &at("own/link/new"), false));
        assert!(!is_sandboxed(&cell, &at("other/link/new"), false));
        // A file that is no program could not be executed by anybody.
        fs::write(at("other/file"), "").unwrap();
        assert!(is_sandboxed(&cell, &at("other/file"), false));
        assert!(!is_sandboxed(&cell, &at("other/file"), true));
        assert!(is_sandboxed(&cell, &at("other/new"), true));
        assert!(!is_sandboxed(&Cell { writable: None, ..cell }, &at("other/new"), false));
    }

    #[test]
    fn what_its_user_may_not_do_is_not_the_sandboxs_doing() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: needs root");
            return;
        }
        let place = tempfile::tempdir().unwrap();
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let user = User { uid: 65534, gid: 65534, groups: Vec::new() };
        let cell = cell(place.path(), Some(user));
        assert!(!is_sandboxed(&cell, &place.path().join("other/new"), false));
        fs::set_permissions(place.path().join("other"), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(is_sandboxed(&cell, &place.path().join("other/new"), false));
        assert!(rustix::process::geteuid().is_root(), "the thread is itself again");
    }
}
