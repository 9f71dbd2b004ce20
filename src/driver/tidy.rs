//! `kiln clean`: what of a state directory can go.
//!
//! Owns: which files nobody needs. Does not know: retention over time (a later policy's).

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::config::load::Definition;
use crate::config::recipe::Mirror;
use crate::host::Free;
use crate::ledger::lock::{Role, RunnerLock};
use crate::ledger::place::StateDir;
use crate::ledger::{Extent, Ledger};
use crate::plan::key;

use super::look::Past;
use super::work::remove_tree;
use super::{DriverError, Job, prepare};

/// What to delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub struct What {
    /// Work directories.
    pub work: bool,
    /// Archives that are not in the sysroot.
    pub archives: bool,
    /// Output of all runs but the last.
    pub logs: bool,
    /// Cached sources that the definition does not name.
    pub sources: bool,
    /// Everything.
    pub all: bool,
}

/// What was deleted.
#[derive(Debug, Default)]
pub struct Tidied {
    /// Bytes.
    pub freed: u64,
    /// Files and directories.
    pub deleted: Vec<PathBuf>,
}

impl Tidied {
    /// Deletes cached sources that the definition does not name.
    pub(super) fn unnamed_sources(
        &mut self,
        definition: &Definition,
        state: &StateDir,
    ) -> Result<(), DriverError> {
        let named = digests(definition);
        for dir in children(&state.sources().join("sha256"))? {
            for path in children(&dir)?.into_iter().filter(|path| !named.contains(&name(path))) {
                self.delete(path)?;
            }
        }
        Ok(())
    }

    pub(super) fn delete(&mut self, path: PathBuf) -> Result<(), DriverError> {
        let freed = held(&path).bytes;
        let is_dir = path.symlink_metadata().is_ok_and(|meta| meta.is_dir());
        let gone = if is_dir { remove_tree(&path) } else { fs::remove_file(&path) };
        gone.map_err(|source| DriverError::State { path: path.clone(), source })?;
        self.freed += freed;
        self.deleted.push(path);
        Ok(())
    }
}

/// What is free once all at and below a path is gone.
pub(super) fn held(path: &Path) -> Free {
    let mut held = Free { bytes: 0, inodes: Some(0) };
    for meta in walkdir::WalkDir::new(path).into_iter().flatten().filter_map(|entry| entry.metadata().ok()) {
        held.bytes += if meta.is_file() { meta.len() } else { 0 };
        held.inodes = held.inodes.map(|inodes| inodes + 1);
    }
    held
}

/// Deletes; refused while a runner has the state directory.
pub fn tidy(job: &Job, what: What) -> Result<Tidied, DriverError> {
    let mut tidied = Tidied::default();
    let state = &job.state;
    if !state.ledger().exists() {
        return Ok(tidied); // nothing of ours is there, whatever else may be
    }
    let _lock = RunnerLock::take(Role::Command, state.root(), &state.lock())?;
    let mut past = Past::new(&job.plan);
    let read = Ledger::open_to_read(&state.ledger(), Extent::Everything);
    let read = read.and_then(|ledger| match ledger {
        Some(mut ledger) => ledger.replay(|entry| past.fold(&job.plan, &entry)),
        None => Ok(()),
    });
    // Even a ledger that cannot be read any more can be deleted.
    if !what.all {
        read?;
    }
    past.must_be_of(job)?;
    if !what.all && past.restoring().is_some() {
        let source = io::Error::other("`kiln run` or `kiln checkpoint verify` finishes it");
        return Err(prepare("clean while a checkpoint is only half restored")(source));
    }
    if what.all {
        // By name: `--state` may have been any directory. The lock stays, held or not: who waits for it must not
        // find another one in its place.
        let sidecar = RunnerLock::holder(&state.sidecar_lock()).map(|_| state.sidecar_control());
        let ours = |path: &PathBuf| path.symlink_metadata().is_ok() && sidecar.as_ref() != Some(path);
        for path in state.everything().into_iter().filter(ours) {
            tidied.delete(path)?;
        }
        return Ok(tidied);
    }
    if what.work {
        for path in children(&state.work())? {
            tidied.delete(path)?;
        }
    }
    if what.archives {
        for dir in children(&state.packages())? {
            let package = name(&dir);
            let merged = past.installed.get(&package).map(|merged| key::stored(&merged.key, merged.degraded));
            // What a merge left that did not end well is known from its manifest.
            let unfinished = past.installed.unfinished().get(&*package).cloned().flatten();
            let kept: Vec<PathBuf> = merged
                .into_iter()
                .chain(unfinished)
                .flat_map(|key| [state.archive(&package, &key), state.manifest(&package, &key)])
                .collect();
            for path in children(&dir)? {
                if !kept.contains(&path) {
                    tidied.delete(path)?;
                }
            }
        }
    }
    if what.logs {
        for path in children(&state.logs())? {
            if name(&path) != *past.state.build_id {
                tidied.delete(path)?;
            }
        }
    }
    if what.sources {
        tidied.unnamed_sources(&job.definition, state)?;
    }
    Ok(tidied)
}

/// All digests that the definition's recipes name.
fn digests(definition: &Definition) -> BTreeSet<String> {
    let sources = definition.recipes.iter().flat_map(|recipe| &recipe.value.sources);
    sources
        .flat_map(|source| {
            let others = source.from.iter().filter_map(|mirror| match mirror {
                Mirror::Url(_) => None,
                Mirror::Entry(entry) => entry.sha256.as_ref(),
            });
            others.chain([&source.sha256]).map(|digest| digest.as_str().to_owned()).collect::<Vec<_>>()
        })
        .collect()
}

pub(super) fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// What is in a directory, in the order of names; nothing where it is missing.
pub(super) fn list(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

/// The same, for those whose errors are the driver's.
pub(super) fn children(dir: &Path) -> Result<Vec<PathBuf>, DriverError> {
    list(dir).map_err(|source| DriverError::State { path: dir.to_owned(), source })
}
