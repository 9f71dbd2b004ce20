//! Who writes the ledger of a run: records go into the log at once, to the disk soon, and to the observers only then.
//!
//! Owns: the thread that syncs, that nobody is shown what a power cut could take back, and what can be said of the ledger
//! while it cannot be written. Does not know: what records mean, what waits for them.
//!
//! A killed process loses nothing that is in the log; for power cuts the log is synced at most 250 ms after a record was
//! written, beside the loop, which never waits for a disk. `SQLite`'s own checkpoints, which move the log into the file,
//! happen here as well.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rusqlite::Connection;

use crate::engine::message::{Record, Time};

use super::chain::Link;
use super::mark::Mark;
use super::{Entry, Ledger, LedgerError, reserve, wal};

/// When the thread does what.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// Between two syncs. A quiet run's records are on disk, and shown, at once; a busy one's at most so much later.
    every: Duration,
    /// Between two tries to sync when that has failed.
    again: Duration,
    /// Between two looks whether the ledger is still there, when nothing is recorded.
    look: Duration,
}

const PACE: Pace =
    Pace { every: Duration::from_millis(250), again: Duration::from_secs(1), look: Duration::from_secs(1) };
/// Tries when the run is over.
const LAST_TRIES: u32 = 3;
/// Transactions after which the log is moved into the file: some 4 MiB of log, as `SQLite`'s own default.
const MOVE_AFTER: u64 = 700;
/// How long readers may hold up the move of the log; writers wait meanwhile. It is tried again later.
const MOVE_PATIENCE: Duration = Duration::from_millis(20);

/// What can be said of the ledger of a live run that is no record: facts for observers.
#[derive(Debug, Default)]
pub struct Health {
    failures: AtomicU64,
    said: Mutex<Said>,
}

#[derive(Debug, Default)]
struct Said {
    /// When the oldest record was written that is not on disk yet, nanoseconds since 1970.
    waiting: Option<i64>,
    /// Why nothing can be written.
    unwritten: Option<String>,
    /// What the disk says, so that what is written does not get there.
    unsynced: Option<String>,
}

impl Health {
    /// Failed tries to write or sync.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Everything recorded until then is on disk: `now`, if nothing waits to be. Nanoseconds since 1970.
    pub fn durable(&self, now: i64) -> i64 {
        self.said.lock().waiting.unwrap_or(now)
    }

    /// Why nothing can be recorded, and so nothing is started.
    pub fn blocked(&self) -> Option<String> {
        let said = self.said.lock();
        let unsynced = || Some(format!("the ledger cannot be synced: {}", said.unsynced.as_ref()?));
        said.unwritten.clone().or_else(unsynced)
    }

    /// What came of a try to write.
    fn wrote(&self, error: Option<&LedgerError>) {
        self.failures.fetch_add(u64::from(error.is_some()), Ordering::Relaxed);
        self.said.lock().unwritten = error.map(told);
    }

    /// What came of a try to sync, and since when something waits for the next.
    fn synced(&self, error: Option<&LedgerError>, waiting: Option<i64>) {
        self.failures.fetch_add(u64::from(error.is_some()), Ordering::Relaxed);
        let mut said = self.said.lock();
        said.unsynced = error.map(|error| {
            if let LedgerError::Unsynced { source, .. } = error { source.to_string() } else { told(error) }
        });
        said.waiting = waiting;
    }
}

/// An open ledger and its thread.
#[derive(Debug)]
pub struct Writer {
    ledger: Ledger,
    health: Arc<Health>,
    shared: Arc<Shared>,
    pace: Pace,
    thread: Option<JoinHandle<Result<(), LedgerError>>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// Something has got to the disk, or has not.
    settled: Condvar,
}

#[derive(Debug)]
struct State {
    /// Written, and not yet taken by the thread.
    entries: Vec<Entry>,
    tip: Link,
    transactions: u64,
    /// The last record that is known to be on disk.
    durable: i64,
    /// Somebody waits.
    hurry: bool,
    closing: bool,
}

/// Who hears of what is on disk.
pub trait Audience: Send {
    /// These are, and all before them.
    fn durable(&mut self, entries: Vec<Entry>);
    /// Nothing more can be recorded, for this reason; there is no more to come.
    fn lost(&mut self, error: LedgerError);
}

/// How records get to the disk.
trait Disk: Send {
    /// What is in the log is on disk.
    fn sync(&mut self) -> io::Result<()>;
    /// What is in the log is in the file, and that is on disk; the log is empty. The kernel forgets what a failed sync
    /// should have written, and the next one succeeds without it: after a failure only this counts.
    fn rewrite(&mut self) -> Result<(), LedgerError>;
    /// The log becomes part of the file and is written from its start again.
    fn shrink(&mut self) -> rusqlite::Result<()>;
    /// What is not where it was, or is another one there.
    fn missing(&self) -> Option<PathBuf>;
}

impl Writer {
    /// Over a ledger that has been replayed. `beside`: what has to stay where it is, too.
    pub fn start(
        ledger: Ledger,
        health: Arc<Health>,
        beside: &[PathBuf],
        audience: impl Audience + 'static,
    ) -> Result<Self, LedgerError> {
        let disk = Files::open(&ledger.path, beside)?;
        Self::with(ledger, health, audience, disk, PACE)
    }

    fn with(
        ledger: Ledger,
        health: Arc<Health>,
        audience: impl Audience + 'static,
        disk: impl Disk + 'static,
        pace: Pace,
    ) -> Result<Self, LedgerError> {
        let unsynced = |source| LedgerError::Unsynced { path: ledger.path.clone(), source };
        let (tip, durable) = (ledger.tip, ledger.tip.seq);
        let state =
            State { entries: Vec::new(), tip, transactions: 0, durable, hurry: false, closing: false };
        let shared =
            Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new(), settled: Condvar::new() });
        let syncer = Syncer {
            path: ledger.path.clone(),
            mark: Mark::open(&ledger.path).map_err(unsynced)?,
            disk,
            pace,
            audience,
            health: Arc::clone(&health),
            shared: Arc::clone(&shared),
        };
        let thread = std::thread::Builder::new().name("sync".into()).spawn(move || syncer.run());
        let thread = Some(thread.map_err(unsynced)?);
        Ok(Self { ledger, health, shared, pace, thread })
    }

    /// Writes records in one transaction and takes them; or none, and they stay.
    pub fn append(&mut self, at: Time, wall: i64, records: &mut Vec<Record>) -> Result<(), LedgerError> {
        let unsynced = self.health.said.lock().unsynced.clone();
        if let Some(why) = unsynced {
            // It could be written, and would be lost all the same.
            let source = io::Error::other(why);
            return Err(LedgerError::Unsynced { path: self.ledger.path.clone(), source });
        }
        let written = self.ledger.append(at, wall, records);
        self.health.wrote(written.as_ref().err());
        let last = written?;
        let first = last - i64::try_from(records.len()).unwrap_or(i64::MAX) + 1;
        let entries = records.drain(..).zip(first..).map(|(record, seq)| Entry { seq, at, wall, record });
        let mut state = self.shared.state.lock();
        self.health.said.lock().waiting.get_or_insert(wall);
        state.entries.extend(entries);
        state.tip = self.ledger.tip;
        state.transactions += 1;
        self.shared.changed.notify_one();
        Ok(())
    }

    /// Waits until what is written is on disk, or cannot be brought there.
    pub fn settle(&self) {
        let mut state = self.shared.state.lock();
        state.hurry = true;
        self.shared.changed.notify_one();
        while state.durable < self.ledger.tip.seq
            && self.health.said.lock().unsynced.is_none()
            && self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
        {
            self.shared.settled.wait_for(&mut state, self.pace.look);
        }
    }

    /// Brings what is left to the disk and tells of it.
    pub fn finish(mut self) -> Result<(), LedgerError> {
        self.close()
    }

    fn close(&mut self) -> Result<(), LedgerError> {
        self.shared.state.lock().closing = true;
        self.shared.changed.notify_one();
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(_)) => {
                let source = io::Error::other("the thread that syncs it has panicked");
                Err(LedgerError::Unsynced { path: self.ledger.path.clone(), source })
            }
            None => Ok(()),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Whoever does not `finish` has a failure of his own to tell.
        let _ = self.close();
    }
}

/// The thread.
struct Syncer<D, A> {
    path: PathBuf,
    mark: Mark,
    disk: D,
    pace: Pace,
    audience: A,
    health: Arc<Health>,
    shared: Arc<Shared>,
}

/// What the thread has to do.
struct Work {
    entries: Vec<Entry>,
    tip: Link,
    transactions: u64,
    closing: bool,
}

impl<D: Disk, A: Audience> Syncer<D, A> {
    fn run(mut self) -> Result<(), LedgerError> {
        let mut pending: Vec<Entry> = Vec::new();
        let mut transactions = 0;
        let mut last = None;
        let mut failed = 0;
        loop {
            let pause = if failed > 0 { self.pace.again } else { self.pace.every };
            let not_before = last.map(|last: Instant| last + pause);
            let Some(work) = self.wait(!pending.is_empty(), not_before, failed > 0) else { return Ok(()) };
            pending.extend(work.entries);
            transactions += work.transactions;
            if let Some(path) = self.disk.missing() {
                self.audience.lost(LedgerError::Gone { path: path.clone() });
                return Err(LedgerError::Gone { path });
            }
            if pending.is_empty() {
                continue;
            }
            last = Some(Instant::now());
            let synced = self.bring(work.tip, failed > 0);
            {
                let mut state = self.shared.state.lock();
                if synced.is_ok() {
                    state.durable = work.tip.seq;
                }
                self.shared.settled.notify_all();
                let left = if synced.is_ok() { &state.entries } else { &pending };
                self.health.synced(synced.as_ref().err(), left.first().map(|entry| entry.wall));
            }
            match synced {
                Ok(()) => {
                    failed = 0;
                    self.audience.durable(std::mem::take(&mut pending));
                }
                Err(error) => {
                    failed += 1;
                    if work.closing && failed >= LAST_TRIES {
                        return Err(error);
                    }
                }
            }
            if transactions >= MOVE_AFTER && failed == 0 {
                // Where it cannot be done now, for a reader or a full disk, the log grows until it can.
                let _ = self.disk.shrink();
                transactions = 0;
            }
        }
    }

    /// Until there is something to do, at the earliest at `not_before`. `None`: it is over. Who is closing waits for no
    /// moment but that of another try.
    fn wait(&self, pending: bool, not_before: Option<Instant>, failed: bool) -> Option<Work> {
        let mut state = self.shared.state.lock();
        loop {
            let something = pending || !state.entries.is_empty();
            if !something && state.closing {
                return None;
            }
            let left = not_before.map_or(Duration::ZERO, |at| at.saturating_duration_since(Instant::now()));
            let hurry = (state.closing || state.hurry) && !failed;
            if something && (hurry || left.is_zero()) {
                break;
            }
            let limit = if something { left } else { self.pace.look };
            let waited = self.shared.changed.wait_for(&mut state, limit);
            if waited.timed_out() && !something {
                break;
            }
        }
        state.hurry = false;
        Some(Work {
            entries: std::mem::take(&mut state.entries),
            tip: state.tip,
            transactions: std::mem::take(&mut state.transactions),
            closing: state.closing,
        })
    }

    fn bring(&mut self, tip: Link, again: bool) -> Result<(), LedgerError> {
        let unsynced = |source| LedgerError::Unsynced { path: self.path.clone(), source };
        if again {
            self.disk.rewrite()?;
        } else {
            self.disk.sync().map_err(unsynced)?;
        }
        self.mark.set(tip).map_err(unsynced)
    }
}

/// The ledger's files.
struct Files {
    path: PathBuf,
    /// The ledger and what is beside it, and which file or directory each is.
    places: Vec<(PathBuf, Id)>,
    db: Connection,
    log: Option<File>,
}

impl Files {
    fn open(path: &Path, beside: &[PathBuf]) -> Result<Self, LedgerError> {
        let wrap = LedgerError::of(path);
        let db = Connection::open(path).map_err(&wrap)?;
        db.busy_timeout(MOVE_PATIENCE).map_err(&wrap)?;
        db.pragma_update(None, "synchronous", "NORMAL").map_err(&wrap)?;
        db.pragma_update(None, "wal_autocheckpoint", 0).map_err(&wrap)?;
        let place = |path: &PathBuf| {
            let place = path.metadata().map(|meta| (path.clone(), id(&meta)));
            place.map_err(|source| LedgerError::Unsynced { path: path.clone(), source })
        };
        let own = path.to_owned();
        let places = std::iter::once(&own).chain(beside).map(place).collect::<Result<_, _>>()?;
        Ok(Self { path: own, places, db, log: None })
    }

    /// Whether all of the log was moved.
    fn move_log(&self, how: &str) -> rusqlite::Result<bool> {
        self.db.query_row(&format!("PRAGMA wal_checkpoint({how})"), [], |row| Ok(row.get::<_, i64>(0)? == 0))
    }
}

impl Disk for Files {
    fn sync(&mut self) -> io::Result<()> {
        match &self.log {
            Some(log) => log.sync_data(),
            None => self.log.insert(File::open(wal(&self.path))?).sync_data(),
        }
    }

    fn rewrite(&mut self) -> Result<(), LedgerError> {
        let moved = self.move_log("TRUNCATE").map_err(LedgerError::of(&self.path))?;
        if moved {
            reserve(&self.path);
            return Ok(());
        }
        let source = io::Error::other("another process reads it");
        Err(LedgerError::Unsynced { path: self.path.clone(), source })
    }

    fn shrink(&mut self) -> rusqlite::Result<()> {
        // Most of it while others write; what has come since and the new start while they wait.
        self.move_log("PASSIVE")?;
        self.move_log("RESTART").map(|_| ())
    }

    fn missing(&self) -> Option<PathBuf> {
        let is_there = |(path, known): &&(PathBuf, Id)| match path.metadata() {
            Ok(meta) => id(&meta) == *known,
            // What cannot be looked at now may be there.
            Err(error) => !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory),
        };
        let missing = self.places.iter().find(|place| !is_there(place)).map(|(path, _)| path.clone());
        let log = self.log.as_ref().and_then(|log| log.metadata().ok());
        missing.or_else(|| log.filter(|log| log.nlink() == 0).map(|_| wal(&self.path)))
    }
}

/// Names a file as long as it is there.
type Id = (u64, u64);

fn id(meta: &Metadata) -> Id {
    (meta.dev(), meta.ino())
}

/// An error with what it came from.
pub(crate) fn told(error: &LedgerError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests;
