//! `kiln fetch`: every source of a plan, several at a time.
//!
//! Owns: the threads. Does not know: how a source is fetched (`fetch`).

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;

use rustix::fs::{FlockOperation, flock};

use crate::config::load::Root;
use crate::failure::Failure;

use super::fetch::{self, Fetcher, Helpers};
use super::identity::state_id;
use super::{DriverError, Job, chores, leftover, spawn, verdict};

/// One source, and what became of it.
#[derive(Debug)]
pub struct Ahead {
    /// The package that needs it.
    pub package: Arc<str>,
    /// Its name.
    pub file: String,
    /// Where it came from, or why it did not.
    pub result: Result<Got, Failure>,
}

/// A source that is in the cache now.
#[derive(Debug)]
pub struct Got {
    /// `cache`, or the mirror.
    pub from: String,
    /// Bytes that came for it.
    pub bytes: u64,
}

/// The fetcher of a job.
pub(super) fn fetcher(job: &Job, helpers: Helpers) -> Result<Fetcher, DriverError> {
    let base = match &job.definition.root {
        Root::Directory(path) => path.clone(),
        Root::Embedded { .. } => job.state.root().to_owned(),
    };
    let options = fetch::Options {
        offline: job.settings.offline,
        connect_timeout: job.settings.connect_timeout.0,
        ..fetch::Options::new(job.state.sources(), base)
    };
    Fetcher::new(options, helpers)
        .map_err(|source| DriverError::Prepare { what: "open the source cache", source: Box::new(source) })
}

/// Ends what an earlier `kiln fetch` left, unless another one is at work. As long as the answer lives, nobody ends
/// what we start. Needs no runner's lock, and so must not have the mark of a run's processes.
pub(super) fn sweep(job: &Job) -> Result<File, DriverError> {
    let path = job.state.fetch_lock();
    let failed = |source: io::Error| DriverError::State { path: path.clone(), source };
    let lock = File::options().write(true).create(true).truncate(false).open(&path).map_err(failed)?;
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
        leftover::sweep(&mark(job)?).map_err(failed)?;
    }
    flock(&lock, FlockOperation::LockShared).map_err(|errno| failed(errno.into()))?;
    Ok(lock)
}

fn mark(job: &Job) -> Result<String, DriverError> {
    Ok(format!("{}-fetch", state_id(job)?))
}

/// Fetches every source of the plan, in its order; `each` is told of each as it is done. Needs no lock: the
/// cache is made for being shared. Once cancelled, it returns within a tenth of a second, and nothing that it has
/// started is left.
pub fn fetch_all(
    job: &Job,
    cancel: &AtomicBool,
    mut each: impl FnMut(&Ahead),
) -> Result<Vec<Ahead>, DriverError> {
    let root = job.state.root().to_owned();
    job.state.create().map_err(|source| DriverError::State { path: root, source })?;
    let _lock = sweep(job)?;
    let helpers = Helpers::alone(spawn::Options::new(mark(job)?)).map_err(|source| DriverError::Prepare {
        what: "start the spawning thread",
        source: Box::new(source),
    })?;
    let fetcher = fetcher(job, helpers)?;
    let all: Vec<_> = job
        .plan
        .packages
        .iter()
        .flat_map(|package| {
            let recipe = &job.definition.recipes[package.recipe].value;
            recipe.sources.iter().map(|source| (Arc::clone(&package.name), source))
        })
        .collect();
    let next = AtomicUsize::new(0);
    let (sender, receiver) = mpsc::channel();
    let mut done: Vec<(usize, Ahead)> = Vec::new();
    std::thread::scope(|scope| {
        for _ in 0..job.settings.fetches.min(u32::try_from(all.len()).unwrap_or(u32::MAX)) {
            let sender = sender.clone();
            let (all, next, fetcher, cancel) = (&all, &next, &fetcher, cancel);
            scope.spawn(move || {
                while !cancel.load(Ordering::Relaxed) {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some((package, source)) = all.get(index) else { return };
                    let result = fetcher
                        .fetch(&chores::wanted(source), cancel, &|_| {})
                        .map(|got| Got { from: got.from, bytes: got.bytes_fetched })
                        .map_err(|error| verdict::fetch(&error));
                    let ahead = Ahead { package: Arc::clone(package), file: source.file.clone(), result };
                    if sender.send((index, ahead)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        for (index, ahead) in receiver {
            each(&ahead);
            done.push((index, ahead));
        }
    });
    done.sort_by_key(|(index, _)| *index);
    Ok(done.into_iter().map(|(_, ahead)| ahead).collect())
}
