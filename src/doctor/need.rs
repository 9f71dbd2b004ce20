//! Which permissions the packages that would be built cannot do without.
//!
//! Owns: reading that out of recipes. Does not know: what is granted.

use std::sync::Arc;

use crate::config::recipe::{Mirror, Recipe, Task};
use crate::driver::Job;
use crate::driver::chain;
use crate::driver::look::{self, Fact};
use crate::engine::message::Have;
use crate::ledger::place::StateDir;
use crate::plan::PackageId;

use super::trial::Trial;

/// Who needs something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Need {
    /// Nobody.
    No,
    /// Every run.
    Yes,
    /// These packages.
    By(Vec<Arc<str>>),
}

/// What would be built.
#[derive(Debug)]
pub(super) struct Work {
    /// By package; `None`: everything.
    facts: Option<Vec<Fact>>,
    /// Why it is not known.
    pub(super) unknown: Option<String>,
}

impl Work {
    pub(super) fn of(job: &Job) -> Self {
        match look::look(job, |_| {}) {
            Ok(seen) => Self { facts: Some(seen.facts), unknown: None },
            Err(error) => Self { facts: None, unknown: Some(chain(&error)) },
        }
    }

    pub(super) fn is_work(&self, id: PackageId) -> bool {
        self.facts.as_ref().is_none_or(|facts| facts[id.0 as usize].have.is_work())
    }

    /// Whether it is complete, with nothing to be done for it.
    pub(super) fn is_there(&self, id: PackageId) -> bool {
        self.facts.as_ref().is_some_and(|facts| facts[id.0 as usize].have == Have::Everything)
    }
}

/// Packages of the plan whose recipes are like this.
pub(super) fn any(job: &Job, wanted: impl Fn(&Recipe) -> bool) -> bool {
    job.plan.packages.iter().any(|package| wanted(&job.definition.recipes[package.recipe].value))
}

/// Those of them that would be built.
pub(super) fn by(trial: &Trial, wanted: impl Fn(&Recipe) -> bool) -> Need {
    let job = trial.job();
    let ids = job.plan.package_ids().filter(|id| {
        let recipe = &job.definition.recipes[job.plan.package(*id).recipe].value;
        wanted(recipe) && trial.work().is_work(*id)
    });
    let names: Vec<Arc<str>> = ids.map(|id| Arc::clone(&job.plan.package(id).name)).collect();
    if names.is_empty() { Need::No } else { Need::By(names) }
}

/// For all alike.
pub(super) fn any_work(trial: &Trial, wanted: impl Fn(&Recipe) -> bool) -> Need {
    match by(trial, wanted) {
        Need::By(_) => Need::Yes,
        need @ (Need::No | Need::Yes) => need,
    }
}

pub(super) fn has_script(recipe: &Recipe) -> bool {
    scripts(recipe).next().is_some()
}

fn scripts(recipe: &Recipe) -> impl Iterator<Item = &str> {
    let tasks = &recipe.tasks;
    [&tasks.configure, &tasks.build, &tasks.check, &tasks.install].into_iter().flatten().map(Task::script)
}

/// Whether one of its scripts runs something that it has itself unpacked or built.
pub(super) fn executes(recipe: &Recipe) -> bool {
    scripts(recipe).any(script_executes)
}

/// Whether a command of it is named by a path from where it is; what a here-document says is none.
fn script_executes(script: &str) -> bool {
    let mut end: Option<String> = None;
    for line in script.lines().map(str::trim) {
        if let Some(word) = &end {
            if line == word {
                end = None;
            }
            continue;
        }
        if line.split(['&', '|', ';', '(', '`']).any(command_executes) {
            return true;
        }
        end = line.split_once("<<").map(|(_, rest)| {
            let word = rest.trim_start_matches(['-', ' ', '\'', '"', '\\']);
            word.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
        });
    }
    false
}

fn command_executes(command: &str) -> bool {
    /// Words before a command.
    const BEFORE: [&str; 11] =
        ["if", "then", "else", "elif", "while", "until", "do", "!", "{", "exec", "env"];
    let is_assignment = |word: &str| word.split_once('=').is_some_and(|(name, _)| !name.contains('/'));
    let first = command.split_whitespace().find(|word| !BEFORE.contains(word) && !is_assignment(word));
    let program = first.unwrap_or_default().trim_start_matches('"');
    ["./", "../", "$SRC", "${SRC"].iter().any(|start| program.starts_with(start))
}

fn is_device(path: &str) -> bool {
    path.trim_start_matches('/').starts_with("dev/")
}

/// By the custom that devices are below `dev`, and nothing else is.
pub(super) fn has_devices(recipe: &Recipe) -> bool {
    recipe.privileged.iter().any(|path| is_device(path))
}

pub(super) fn has_setuid(recipe: &Recipe) -> bool {
    recipe.privileged.iter().any(|path| !is_device(path))
}

pub(super) fn names_apt(recipe: &Recipe) -> bool {
    recipe.sources.iter().flat_map(|source| &source.from).any(is_apt)
}

fn is_apt(mirror: &Mirror) -> bool {
    matches!(mirror, Mirror::Entry(entry) if entry.apt.is_some())
}

/// Whether it has a source that only apt can get.
pub(super) fn lacks_without_apt(recipe: &Recipe, state: &StateDir) -> bool {
    let cached = |digest: &str| state.source(digest).exists();
    recipe.sources.iter().any(|source| {
        let other = |mirror: &Mirror| match mirror {
            Mirror::Entry(entry) => entry.sha256.as_ref().is_some_and(|digest| cached(digest.as_str())),
            Mirror::Url(_) => false,
        };
        source.from.iter().all(is_apt) && !cached(source.sha256.as_str()) && !source.from.iter().any(other)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_that_runs_what_is_beside_it_needs_to_execute() {
        for script in [
            "./configure --prefix=/usr",
            "CC=gcc LD=ld ./configure",
            "mkdir build && cd build && ../configure",
            "make\nif ./test; then :; fi",
            "\"$SRC\"/configure",
            "cat > x <<'END'\ntext\nEND\n./x",
            "echo `./version`",
        ] {
            assert!(script_executes(script), "{script}");
        }
        for script in [
            "make",
            "cp ./a ./b",
            "sh ./configure",
            "cat > \"$DESTDIR/run\" <<END\n./program\nEND\necho done",
            "install -D hello \"$DESTDIR/usr/bin/hello\"",
            "cd ./x",
        ] {
            assert!(!script_executes(script), "{script}");
        }
    }
}
