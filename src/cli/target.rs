//! Which definition, which settings, which state directory.
//!
//! Owns: how DIR and `--state` are understood, by all commands alike.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use anyhow::Context as _;
use clap::Args;
use include_dir::{Dir, include_dir};

use super::brief::brief;
use super::{Exit, output};
use crate::config::diagnostic::{Diagnostic, Severity, Spot};
use crate::config::files::Files;
use crate::config::layers::{Flag, Inputs, Layered, layered};
use crate::config::load::{Definition, Problems, Rest, Root, load};
use crate::config::render;
use crate::config::settings::Settings;
use crate::config::suggest::did_you_mean;
use crate::driver::Job;
use crate::graph::resolve::resolve;
use crate::ledger::place::StateDir;
use crate::ledger::{Extent, Ledger};
use crate::observe::Progress;
use crate::plan::PackageId;
use crate::plan::build::{self, Planned, plan};

/// The definition that is used where there is none: `config/pocket`.
static SHIPPED: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/config/pocket");
const SHIPPED_NAME: &str = "pocket";

/// Arguments of every command that looks at a definition.
#[derive(Debug, Clone, Args)]
pub(super) struct Target {
    /// The definition's directory [default: the current one if it holds kiln.yaml, else the shipped `pocket`]
    #[arg(value_name = "DIR")]
    pub(super) dir: Option<PathBuf>,
}

/// Arguments of every command that looks at a definition's runs.
#[derive(Debug, Clone, Args)]
pub(super) struct StateTarget {
    #[command(flatten)]
    pub(super) target: Target,
    /// Where the definition's runs are kept [default: NAME in the `$STATE_DIRECTORY` of a systemd unit; else kiln/NAME in
    /// `$XDG_STATE_HOME`, in /var/lib for a unit of root's, or in ~/.local/state]
    #[arg(long, value_name = "DIR")]
    pub(super) state: Option<String>,
}

/// A definition that can be run.
#[derive(Debug)]
pub(super) struct Sound {
    pub(super) definition: Arc<Definition>,
    pub(super) planned: Planned,
    pub(super) warnings: Vec<Diagnostic>,
}

impl Target {
    /// Where the definition is.
    pub(super) fn root(&self) -> Root {
        match &self.dir {
            Some(dir) => Root::Directory(dir.clone()),
            None if Path::new("kiln.yaml").exists() => Root::Directory(PathBuf::from(".")),
            None => Root::Embedded { name: SHIPPED_NAME, dir: &SHIPPED },
        }
    }

    /// Loads and plans. Every problem is in `Err`.
    pub(super) fn load(&self) -> Result<Sound, Problems> {
        let (definition, mut warnings) = load(self.root()).map_err(with_names)?;
        match plan(&definition) {
            Ok(planned) => {
                warnings.extend(planned.warnings.iter().cloned());
                Ok(Sound { definition: Arc::new(definition), planned, warnings })
            }
            Err(problems) => {
                warnings.extend(problems);
                Err(Problems { files: definition.files, diagnostics: warnings, rest: None })
            }
        }
    }

    /// The same for commands that need a sound definition: problems are printed, and end the command.
    pub(super) fn sound(&self) -> Result<Sound, Exit> {
        match self.load() {
            Ok(sound) => {
                show(&sound.definition.files, &sound.warnings);
                // They live as long as the process: to free what a distribution has, piece by piece, would take as long
                // as to plan a small one.
                std::mem::forget((Arc::clone(&sound.definition), Arc::clone(&sound.planned.plan)));
                Ok(sound)
            }
            Err(problems) => {
                show(&problems.files, &problems.diagnostics);
                Err(Exit::Invalid)
            }
        }
    }
}

/// Adds what is wrong as a whole with what is left of a definition with errors.
pub(super) fn with_names(mut problems: Problems) -> Problems {
    let Some(rest) = problems.rest.take() else { return problems };
    let Rest { mut definition, unread } = *rest;
    definition.files = problems.files;
    // What is wrong in kiln.yaml may be what it says of cycles or depth.
    let in_document = |diagnostic: &Diagnostic| {
        let file = diagnostic.spot.as_ref().map(Spot::file);
        diagnostic.severity == Severity::Error && file == Some(definition.place.file)
    };
    let found = if problems.diagnostics.iter().any(in_document) {
        resolve(&definition).1
    } else {
        build::problems(&definition)
    };
    let found = Rest::relocate(&definition, found);
    problems.files = definition.files;
    let about_unread = |diagnostic: &Diagnostic| {
        let is_unread = |name: &String| diagnostic.message.contains(&format!("`{name}` has no recipe"));
        // What is in no step may be needed by one that could not be read.
        diagnostic.code == "left-out" || unread.iter().any(is_unread)
    };
    problems.diagnostics.extend(found.into_iter().filter(|diagnostic| !about_unread(diagnostic)));
    problems
}

/// Prints diagnostics to standard error; of warnings a few of each kind.
pub(super) fn show(files: &Files, diagnostics: &[Diagnostic]) {
    if !diagnostics.is_empty() {
        output::say(&render::text(&files.render_all(&brief(diagnostics)), output::coloured_stderr()));
    }
}

/// The host's settings for a definition.
pub(super) fn settings(definition: &Definition, flags: Vec<Flag>) -> Result<Layered, Problems> {
    let environment = std::env::vars_os().collect();
    layered(&Inputs { flags, ..Inputs::of(definition, environment) })
}

impl StateTarget {
    /// A command about the same runs, for a person to paste; `operands` come before DIR.
    pub(super) fn command(&self, name: &str, operands: &[&str]) -> String {
        let mut words = vec!["kiln".to_owned(), name.to_owned()];
        words.extend(operands.iter().map(|word| shell_word(word.as_bytes())));
        if let Some(dir) = &self.target.dir {
            let dir = dir.as_os_str().as_bytes();
            let here: &[u8] = if dir.starts_with(b"-") { b"./" } else { b"" };
            words.push(shell_word(&[here, dir].concat()));
        }
        if let Some(state) = &self.state {
            words.push(shell_word(format!("--state={state}").as_bytes()));
        }
        words.join(" ")
    }

    /// The state directory. Where `--state` names it, whatever is wrong with the definition: a live run can be spoken to while
    /// that is being edited.
    pub(super) fn place(&self) -> Result<StateDir, Exit> {
        let named = self.state.as_ref().and_then(|state| std::path::absolute(state).ok());
        match named {
            Some(path) => Ok(StateDir::new(path)),
            None => Ok(self.job(Vec::new())?.0.state),
        }
    }

    /// `--state` as a flag of the settings.
    pub(super) fn flags(&self) -> Vec<Flag> {
        flag("--state", "state", self.state.clone()).collect()
    }

    /// A sound definition with its settings; what is wrong is printed, and ends the command.
    pub(super) fn job(&self, more: Vec<Flag>) -> Result<(Job, Planned), Exit> {
        let sound = self.target.sound()?;
        let mut flags = self.flags();
        flags.extend(more);
        let settings = match settings(&sound.definition, flags) {
            Ok(layered) => layered.settings,
            Err(problems) => {
                show(&problems.files, &problems.diagnostics);
                // What stands in no file was said on the command line or in the environment.
                let in_files = problems.diagnostics.iter().any(|diagnostic| diagnostic.spot.is_some());
                return Err(if in_files { Exit::Invalid } else { Exit::Usage });
            }
        };
        let state = state_dir(&settings, &sound.definition).map_err(|error| {
            output::failed(&error);
            Exit::Usage
        })?;
        let jobs = settings.jobs.unwrap_or_else(crate::host::cores);
        let job = Job {
            definition: sound.definition,
            plan: Arc::clone(&sound.planned.plan),
            settings,
            state,
            jobs,
            selection: None,
            forced: Vec::new(),
            user: OnceLock::new(),
        };
        Ok((job, sound.planned))
    }

    /// The same for commands that are about a run, of a definition that was ever run there.
    pub(super) fn job_that_ran(&self) -> Result<Job, Exit> {
        let (job, _) = self.job(Vec::new())?;
        if job.state.ledger().exists() { Ok(job) } else { Err(no_run(&job)) }
    }
}

/// All that a definition's ledger says, as far as that cannot be taken back.
pub(super) fn progress(job: &Job) -> anyhow::Result<Progress> {
    let mut progress = Progress::new(Arc::clone(&job.plan), job.limits());
    if let Some(mut ledger) = Ledger::open_to_read(&job.state.ledger(), Extent::Durable)? {
        ledger.replay(|entry| progress.fold(&entry))?;
    }
    job.must_be_of(progress.definition())?;
    Ok(progress)
}

/// Says that there was no run, and where: whoever asks may be in another directory than he thinks.
pub(super) fn no_run(job: &Job) -> Exit {
    output::say(&format!(
        "kiln: `{}` has no run yet in `{}` (another definition is named by DIR, another place by --state)",
        job.plan.definition,
        job.state.root().display()
    ));
    Exit::Usage
}

/// A word that a shell reads as these bytes.
fn shell_word(bytes: &[u8]) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-+=,:@%".contains(byte);
    match str::from_utf8(bytes) {
        Ok(text) if !text.is_empty() && bytes.iter().all(plain) => text.to_owned(),
        Ok(text) if !text.contains(char::is_control) => format!("'{}'", text.replace('\'', r"'\''")),
        Ok(_) | Err(_) => {
            let mut word = "$'".to_owned();
            for byte in bytes {
                match byte {
                    b' '..=b'~' if !b"'\\".contains(byte) => word.push(char::from(*byte)),
                    // Always three digits, so that what follows does not count as one.
                    _ => word.push_str(&format!("\\{byte:03o}")),
                }
            }
            word + "'"
        }
    }
}

/// A flag that was given, as a layer of settings.
pub(super) fn flag(name: &str, key: &str, value: Option<String>) -> impl Iterator<Item = Flag> {
    value.map(|value| Flag { flag: name.to_owned(), key: key.to_owned(), value }).into_iter()
}

/// `--state`, else what the environment says.
fn state_dir(settings: &Settings, definition: &Definition) -> anyhow::Result<StateDir> {
    let dir = match &settings.state {
        Some(dir) => dir.clone(),
        None => state_base(|name| std::env::var_os(name), rustix::process::geteuid().is_root())
            .context("HOME is not set: say --state DIR")?
            .join(&*definition.name),
    };
    // Tasks and apt run elsewhere, and must find it.
    Ok(StateDir::new(std::path::absolute(&dir).with_context(|| format!("state `{}`", dir.display()))?))
}

/// Where the state directories of all definitions are, by the first of these that holds:
///
/// 1. `STATE_DIRECTORY`: a systemd unit with `StateDirectory=` is told its own, `/var/lib/kiln` for `kiln`. Of
///    several, the first.
/// 2. `XDG_STATE_HOME`, unless it is relative: its specification calls that invalid, and says to ignore it.
/// 3. `INVOCATION_ID`, for root: a system unit without `StateDirectory=`. For others it says nothing: whatever is
///    started below a user's service inherits it, terminals of a desktop for instance, and they cannot write there.
/// 4. `HOME`.
fn state_base(variable: impl Fn(&str) -> Option<OsString>, root: bool) -> Option<PathBuf> {
    let set = |name| variable(name).filter(|value| !value.is_empty());
    let absolute = |name| set(name).map(PathBuf::from).filter(|path| path.is_absolute());
    if let Some(units) = set("STATE_DIRECTORY") {
        let first = units.as_bytes().split(|byte| *byte == b':').next().unwrap_or_default();
        return Some(PathBuf::from(OsStr::from_bytes(first)));
    }
    if let Some(base) = absolute("XDG_STATE_HOME") {
        return Some(base.join("kiln"));
    }
    if root && set("INVOCATION_ID").is_some() {
        return Some(PathBuf::from("/var/lib/kiln"));
    }
    Some(PathBuf::from(set("HOME")?).join(".local/state/kiln"))
}

/// The package of this name, or what is printed instead.
pub(super) fn package(job: &Job, name: &str) -> Result<PackageId, Exit> {
    job.plan.find(name).ok_or_else(|| {
        let names: Vec<&str> = job.plan.by_name.keys().map(|name| &**name).collect();
        no_package(name, &names, &job.plan.definition)
    })
}

/// Says that there is no such package, and which may have been meant.
pub(super) fn no_package(name: &str, known: &[&str], definition: &str) -> Exit {
    let hint = did_you_mean(name, known).map_or_else(String::new, |hint| format!("; {hint}"));
    output::say(&format!("kiln: `{name}` is not a package of `{definition}`{hint}"));
    Exit::Usage
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(variables: &[(&str, &str)], root: bool, expected: Option<&str>) {
        let variable = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
        };
        assert_eq!(state_base(variable, root), expected.map(PathBuf::from), "{variables:?}");
    }

    #[test]
    fn a_command_to_paste_says_what_was_given() {
        let target = |dir: Option<&[u8]>, state: Option<&str>| StateTarget {
            target: Target { dir: dir.map(|dir| OsStr::from_bytes(dir).into()) },
            state: state.map(str::to_owned),
        };
        let log = |dir, state| target(dir, state).command("log", &["gcc"]);
        assert_eq!(log(None, None), "kiln log gcc");
        assert_eq!(log(Some(b"../my-lfs"), Some("/mnt/lfs")), "kiln log gcc ../my-lfs --state=/mnt/lfs");
        assert_eq!(log(Some(b"it's mine"), Some("$x")), r"kiln log gcc 'it'\''s mine' '--state=$x'");
        assert_eq!(log(Some(b"-d"), None), "kiln log gcc ./-d");
        assert_eq!(log(Some(b"a\xff\n7'\\"), None), r"kiln log gcc $'a\377\0127\047\134'");
        assert_eq!(log(Some("größer".as_bytes()), None), "kiln log gcc 'größer'");
        assert_eq!(target(None, Some("s")).command("fetch", &[]), "kiln fetch --state=s");
    }

    #[test]
    fn an_inherited_invocation_id_moves_nobodys_state() {
        let (home, id) = (("HOME", "/home/me"), ("INVOCATION_ID", "0123"));
        let state = ("XDG_STATE_HOME", "/home/me/state");
        check(&[home], false, Some("/home/me/.local/state/kiln"));
        check(&[home, id], false, Some("/home/me/.local/state/kiln"));
        check(&[home, state, id], false, Some("/home/me/state/kiln"));
        check(&[home, state, id], true, Some("/home/me/state/kiln"));
        check(&[home, ("XDG_STATE_HOME", "")], false, Some("/home/me/.local/state/kiln"));
        check(&[home, ("XDG_STATE_HOME", "state")], false, Some("/home/me/.local/state/kiln"));
        check(&[id], false, None);
    }

    #[test]
    fn a_unit_has_the_state_directory_that_systemd_gives_it() {
        let (home, id) = (("HOME", "/root"), ("INVOCATION_ID", "0123"));
        check(&[home, id], true, Some("/var/lib/kiln"));
        check(&[home, id, ("STATE_DIRECTORY", "/var/lib/builds")], true, Some("/var/lib/builds"));
        let both = ("STATE_DIRECTORY", "/var/lib/kiln:/var/lib/other");
        check(&[home, ("XDG_STATE_HOME", "/x"), both], false, Some("/var/lib/kiln"));
    }
}
