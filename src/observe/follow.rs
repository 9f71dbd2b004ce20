//! The ledger of a runner in another process, followed.
//!
//! Owns: which records are new, that a ledger in the place of another is read from its start, and that a run of another
//! definition is seen through that one. Does not know: when it is asked, what records mean.
//!
//! Whatever is wrong with the ledger, what was seen of it before stays.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::engine::Limits;
use crate::ledger::writer::told;
use crate::ledger::{Entry, Extent, Ledger, LedgerError};
use crate::plan::Plan;

use super::progress::Progress;

/// Between two tries to read a ledger from its start that could not be.
const AGAIN: Duration = Duration::from_secs(10);
/// Between two looks for the definition that a run is of.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// Loads the definition as it is now, or says why that cannot be.
pub type Reload = Box<dyn FnMut() -> Result<Arc<Plan>, String> + Send>;

/// A ledger, and how far it has been read.
pub struct Follower {
    path: PathBuf,
    /// With the number of its file.
    ledger: Option<(Ledger, u64)>,
    /// The file that was read last.
    seen: Option<u64>,
    reload: Reload,
    /// The definition of this digest was looked for, and when.
    looked_for: Option<(Arc<str>, Instant)>,
    /// Why the run is not seen through its own definition, as it was told last.
    excuse: Option<String>,
    /// When which file could not be read.
    failed: Option<(Instant, Option<u64>)>,
    /// It could be read at least once, or there was none to read.
    has_read: bool,
    /// The last error that was told.
    told: Option<String>,
}

/// What following has come to.
pub(super) enum Followed {
    /// These are new.
    More(Vec<Entry>),
    /// Everything has to be seen anew, and is.
    Anew(Box<Progress>),
}

impl std::fmt::Debug for Follower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Follower").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Follower {
    /// Of the ledger at this path, which need not be there yet.
    pub fn new(path: PathBuf, reload: Reload) -> Self {
        Self {
            path,
            ledger: None,
            seen: None,
            reload,
            looked_for: None,
            excuse: None,
            failed: None,
            has_read: false,
            told: None,
        }
    }

    /// Whether anything can be said at all.
    pub(super) fn has_read(&self) -> bool {
        self.has_read
    }

    /// Tells once what is wrong. Whether it could be read.
    pub(super) fn tell(&mut self, read: &Result<(), Option<LedgerError>>) -> bool {
        match read {
            Ok(()) if self.told.take().is_some() => tracing::info!("the ledger can be read again"),
            Ok(()) | Err(None) => {}
            Err(Some(error)) => {
                let text = told(error);
                if self.told.as_ref() != Some(&text) {
                    tracing::error!("{text}");
                    self.told = Some(text);
                }
            }
        }
        read.is_ok()
    }

    /// What has come since, seen through `plan`; `foreign`: the digest of the definition of the last run, where it is
    /// another one. An error that is `None` is that of a moment ago.
    pub(super) fn follow(
        &mut self,
        plan: &Arc<Plan>,
        limits: Limits,
        foreign: Option<Arc<str>>,
    ) -> Result<Followed, Option<LedgerError>> {
        let followed = self.look(plan, limits, foreign);
        self.has_read |= followed.is_ok();
        followed
    }

    fn look(
        &mut self,
        plan: &Arc<Plan>,
        limits: Limits,
        foreign: Option<Arc<str>>,
    ) -> Result<Followed, Option<LedgerError>> {
        // Somebody may be editing it.
        let again = |digest: &Arc<str>| {
            self.looked_for.as_ref().is_none_or(|(last, when)| last != digest || when.elapsed() > LOOK_AGAIN)
        };
        if let Some(digest) = foreign.filter(again) {
            self.looked_for = Some((Arc::clone(&digest), Instant::now()));
            match (self.reload)() {
                Ok(own) if own.digest == digest => {
                    self.excuse = None;
                    return self.anew(&own, limits, None);
                }
                Ok(_) => self.excuse("the run is of another definition than there is now".to_owned()),
                Err(why) => self.excuse(why),
            }
        }
        let id = match fs::metadata(&self.path) {
            Ok(meta) => Some(meta.ino()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let root = self.path.parent().unwrap_or(&self.path);
                if !root.is_dir() && self.has_read {
                    return Err(Some(LedgerError::Gone { path: root.to_owned() }));
                }
                None
            }
            Err(source) => return Err(Some(LedgerError::Unwritable { path: self.path.clone(), source })),
        };
        match &mut self.ledger {
            None if id.is_none() && self.seen.is_none() => Ok(Followed::More(Vec::new())),
            Some((ledger, own)) if id == Some(*own) => {
                let mut entries = Vec::new();
                let read = ledger.replay(|entry| entries.push(entry));
                if read.is_err() {
                    // From its start, next time.
                    self.ledger = None;
                }
                read.map(|()| Followed::More(entries)).map_err(Some)
            }
            Some(_) | None => {
                let plan = Arc::clone(plan);
                self.anew(&plan, limits, id)
            }
        }
    }

    /// Tells once why not all can be told.
    fn excuse(&mut self, why: String) {
        if self.excuse.as_ref() != Some(&why) {
            tracing::warn!(
                "{why}: its phases are shown as they were recorded, its packages are only counted"
            );
            self.excuse = Some(why);
        }
    }

    /// Reads the ledger, which is this file, from its start.
    fn anew(
        &mut self,
        plan: &Arc<Plan>,
        limits: Limits,
        id: Option<u64>,
    ) -> Result<Followed, Option<LedgerError>> {
        if self.failed.is_some_and(|(failed, other)| failed.elapsed() < AGAIN && other == id) {
            return Err(None);
        }
        self.ledger = None;
        let mut progress = Progress::new(Arc::clone(plan), limits);
        match self.open(&mut progress) {
            Ok(()) => {
                self.failed = None;
                Ok(Followed::Anew(Box::new(progress)))
            }
            Err(error) => {
                self.failed = Some((Instant::now(), id));
                Err(Some(error))
            }
        }
    }

    fn open(&mut self, progress: &mut Progress) -> Result<(), LedgerError> {
        // Before it is opened: of one that is replaced meanwhile this is the old one's.
        let id = fs::metadata(&self.path).ok().map(|meta| meta.ino());
        let mut ledger = Ledger::open_to_read(&self.path, Extent::Durable)?;
        if let Some(ledger) = &mut ledger {
            ledger.replay(|entry| progress.fold(&entry))?;
        }
        self.ledger = ledger.zip(id);
        self.seen = id;
        Ok(())
    }
}
