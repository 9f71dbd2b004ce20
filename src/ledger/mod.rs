//! The ledger: every record of every run of a state directory, in order, on disk.
//!
//! Owns: the `SQLite` file, its schema and versions, and that what is read from it is what was written. Does not know: what
//! records mean.
//!
//! One writer (the driver's thread), one transaction for each turn of its loop, WAL: a killed kiln loses
//! nothing that it had recorded, and readers in other processes never wait. A power cut loses what was not on disk yet: the
//! `writer` sees to that, and nobody is shown a record before (`Ledger::open_to_read`).

pub mod chain;
pub mod lock;
mod mark;
pub mod place;
pub mod salvage;
#[cfg(test)]
mod tests;
pub mod writer;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _, ffi, params};
use rustix::fs::FallocateFlags;

use crate::engine::message::{Record, Time};

use chain::Link;
use mark::Mark;

/// Version of the schema that this kiln writes, kept in `user_version`. 1 had no hashes.
const SCHEMA: i32 = 2;

/// So much of the log is allocated ahead, which is more than it grows to between two of `SQLite`'s checkpoints: that the disk
/// is full, and what makes room there, has to be recorded, too.
const RESERVED_BYTES: u64 = 8 * 1024 * 1024;

/// Of the log's index so much is allocated as belongs to four times that log. `SQLite` maps it into memory: where blocks are smaller
/// than pages it has holes, and who writes into one of them on a full disk is killed by SIGBUS.
const RESERVED_INDEX_BYTES: u64 = 64 * 1024;

/// Extensions of a ledger's files, the one that makes it a ledger first.
pub(crate) const FILES: [&str; 4] = ["sqlite", "sqlite-shm", "sqlite-wal", "durable"];

/// How long another transaction on the ledger may take.
const PATIENCE: Duration = Duration::from_secs(5);

const CREATE: &str = "
    CREATE TABLE records (
        seq     INTEGER PRIMARY KEY,   -- 1, 2, 3, …
        elapsed INTEGER NOT NULL,      -- nanoseconds of running time since the run started
        wall    INTEGER NOT NULL,      -- nanoseconds since 1970, for people
        record  TEXT    NOT NULL,      -- JSON
        hash    BLOB                   -- of the chain; see `chain`
    ) STRICT;
    PRAGMA user_version = 2;
";

/// A record with when and where it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Position in the ledger, from 1.
    pub seq: i64,
    /// Running time of its run.
    pub at: Time,
    /// Nanoseconds since 1970.
    pub wall: i64,
    /// What was recorded.
    pub record: Record,
}

/// Why a ledger cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// `SQLite` says no.
    #[error("ledger `{}`", .path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: rusqlite::Error,
    },
    /// A kiln of the future wrote it.
    #[error(
        "ledger `{}` has schema version {found}, this kiln knows {SCHEMA}: use the kiln that wrote it, or another --state",
        .path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i32,
    },
    /// It is not what was written.
    #[error(
        "ledger `{}` is damaged: {reason}; `kiln checkpoint restore` says what can be saved",
        .path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with which record.
        reason: String,
    },
    /// There is no writing where it is.
    #[error("ledger `{}` cannot be written", .path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What was recorded cannot be brought to the disk.
    #[error("ledger `{}` cannot be synced", .path.display())]
    Unsynced {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Somebody has deleted or replaced it, or what belongs to it, while it was open.
    #[error("`{}` is not there any more: somebody has deleted, moved or replaced it", .path.display())]
    Gone {
        /// The file or directory.
        path: PathBuf,
    },
}

impl LedgerError {
    fn of(path: &Path) -> impl Fn(rusqlite::Error) -> Self {
        let path = path.to_owned();
        move |source| match source.sqlite_error_code() {
            // The last: statements are always the same; where one of them is said to be wrong, it is the tables that are.
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::Unknown) => {
                Self::damaged(&path, source.to_string())
            }
            _ if source.sqlite_extended_error_code() == Some(ffi::SQLITE_IOERR_SHORT_READ) => {
                Self::damaged(&path, "it ends within a page")
            }
            _ => Self::Sqlite { path: path.clone(), source },
        }
    }

    fn damaged(path: &Path, reason: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_owned(), reason: reason.into() }
    }

    /// `SQLite` has a number for what a disk says; whoever tries to write beside the ledger hears it in words.
    fn in_words(self) -> Self {
        let Self::Sqlite { path, .. } = &self else { return self };
        if !self.may_pass() {
            return self;
        }
        let tried = tempfile::tempfile_in(path.parent().unwrap_or(Path::new(".")));
        let tried = tried.and_then(|mut file| file.write_all(&[0; 8192]).and_then(|()| file.sync_all()));
        match tried {
            Ok(()) => self,
            Err(source) => Self::Unwritable { path: path.clone(), source },
        }
    }

    /// Whether it may be better later without anybody touching the ledger: a full disk, one that does not work for a while,
    /// a filesystem that is read-only, somebody who has locked the file.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Sqlite { source, .. } => matches!(
                source.sqlite_error_code(),
                Some(
                    ErrorCode::DiskFull
                        | ErrorCode::SystemIoFailure
                        | ErrorCode::ReadOnly
                        | ErrorCode::CannotOpen
                        | ErrorCode::DatabaseBusy
                        | ErrorCode::DatabaseLocked
                )
            ),
            Self::Unsynced { .. } | Self::Unwritable { .. } => true,
            Self::Newer { .. } | Self::Damaged { .. } | Self::Gone { .. } => false,
        }
    }
}

/// An open ledger.
#[derive(Debug)]
pub struct Ledger {
    db: Connection,
    path: PathBuf,
    /// The last record that was replayed.
    replayed: Link,
    /// The last record that there is, for whoever writes.
    tip: Link,
    /// Whether records have hashes.
    chained: bool,
    /// How far it is read.
    extent: Extent,
}

/// How far a ledger is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// What is known to be on disk: for those who show it, so that nothing shown has to be taken back.
    Durable,
    /// To its end: for those who decide what to do.
    Everything,
}

impl Ledger {
    /// Opens the ledger for writing; makes it where there is none.
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        Self::try_open(path).map_err(LedgerError::in_words)
    }

    fn try_open(path: &Path) -> Result<Self, LedgerError> {
        let wrap = LedgerError::of(path);
        let db = Connection::open(path).map_err(&wrap)?;
        let mut ledger = Self::over(db, path, Extent::Everything);
        ledger.prepare().map_err(&wrap)?;
        match ledger.version()? {
            0 if Mark::is_set(path) => return Err(LedgerError::damaged(path, "its records are gone")),
            0 => ledger.db.execute_batch(&format!("BEGIN; {CREATE} COMMIT;")).map_err(&wrap)?,
            1 => ledger.migrate().map_err(&wrap)?,
            SCHEMA => {}
            found => return Err(LedgerError::Newer { path: ledger.path, found }),
        }
        ledger.tip = ledger.last().map_err(&wrap)?;
        reserve(path);
        reserve_index(path);
        Ok(ledger)
    }

    fn over(db: Connection, path: &Path, extent: Extent) -> Self {
        let (replayed, tip) = (Link::START, Link::START);
        Self { db, path: path.to_owned(), replayed, tip, chained: true, extent }
    }

    /// Opens the ledger for reading; `None` where there is none yet.
    pub fn open_to_read(path: &Path, extent: Extent) -> Result<Option<Self>, LedgerError> {
        if !path.exists() {
            return if Mark::is_set(path) { Err(LedgerError::damaged(path, "it is gone")) } else { Ok(None) };
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let (mut ledger, version) =
            Self::open_as(path, path.as_os_str(), flags, extent).or_else(|error| {
                // Readers, too, want to write: a WAL's index. Where nothing can be written, nobody writes the ledger
                // either; it is all in the file unless the last writer was killed.
                if wal(path).metadata().is_ok_and(|wal| wal.len() > 0) {
                    return Err(error);
                }
                let mut uri = OsString::from("file:");
                uri.push(escape(path.as_os_str()));
                uri.push("?immutable=1");
                Self::open_as(path, &uri, flags | OpenFlags::SQLITE_OPEN_URI, extent).map_err(|_| error)
            })?;
        match version {
            0 if Mark::is_set(path) => Err(LedgerError::damaged(path, "its version is gone")),
            0 => Ok(None), // being made this moment
            1 => {
                ledger.chained = false;
                Ok(Some(ledger))
            }
            SCHEMA => Ok(Some(ledger)),
            found => Err(LedgerError::Newer { path: ledger.path, found }),
        }
    }

    /// With its version; `name` is what `SQLite` is told.
    fn open_as(
        path: &Path,
        name: &OsStr,
        flags: OpenFlags,
        extent: Extent,
    ) -> Result<(Self, i32), LedgerError> {
        let wrap = LedgerError::of(path);
        let db = Connection::open_with_flags(name, flags).map_err(&wrap)?;
        db.busy_timeout(PATIENCE).map_err(&wrap)?;
        let ledger = Self::over(db, path, extent);
        let version = ledger.version()?;
        Ok((ledger, version))
    }

    fn prepare(&self) -> rusqlite::Result<()> {
        self.db.busy_timeout(PATIENCE)?;
        self.db.pragma_update(None, "journal_mode", "WAL")?;
        // A killed process loses nothing either way. When records get to the disk, and when they move from the log to the
        // file, is the writer's to say; NORMAL syncs before that moves.
        self.db.pragma_update(None, "synchronous", "NORMAL")?;
        self.db.pragma_update(None, "wal_autocheckpoint", 0)
    }

    fn version(&self) -> Result<i32, LedgerError> {
        self.db
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .map_err(LedgerError::of(&self.path))
    }

    /// Gives the records of an older kiln their hashes.
    fn migrate(&self) -> rusqlite::Result<()> {
        let mut link = Link::START;
        let mut hashes = Vec::new();
        let transaction = self.db.unchecked_transaction()?;
        {
            let mut select =
                transaction.prepare("SELECT seq, elapsed, wall, record FROM records ORDER BY seq")?;
            let mut rows = select.query([])?;
            while let Some(row) = rows.next()? {
                link = link.next(row.get(1)?, row.get(2)?, row.get_ref(3)?.as_str()?);
                hashes.push((row.get::<_, i64>(0)?, link.hash));
            }
            let mut update = transaction.prepare("UPDATE records SET hash = ?2 WHERE seq = ?1")?;
            for (seq, hash) in hashes {
                update.execute(params![seq, hash.as_bytes()])?;
            }
        }
        transaction.pragma_update(None, "user_version", SCHEMA)?;
        transaction.commit()
    }

    /// The last record, as its row says.
    fn last(&self) -> rusqlite::Result<Link> {
        let row = self
            .db
            .query_row("SELECT seq, hash FROM records ORDER BY seq DESC LIMIT 1", [], |row| {
                Ok((row.get(0)?, row.get::<_, Option<[u8; 32]>>(1)?))
            })
            .optional()?;
        Ok(row.map_or(Link::START, |(seq, hash)| Link { seq, hash: hash.unwrap_or_default().into() }))
    }

    /// Writes records in one transaction: all of them, or none. Returns the position of the last.
    pub fn append(&mut self, at: Time, wall: i64, records: &[Record]) -> Result<i64, LedgerError> {
        let wrap = LedgerError::of(&self.path);
        // Prepared once: a turn of the driver's loop with a task or two is a transaction.
        let run = |sql: &str| self.db.prepare_cached(sql)?.execute([]).map(|_| ());
        run("BEGIN IMMEDIATE").map_err(&wrap)?;
        let written = self.insert(at, wall, records).and_then(|tip| {
            run("COMMIT")?;
            Ok(tip)
        });
        if written.is_err() {
            // What failed first is what is told.
            let _ = run("ROLLBACK");
        }
        self.tip = written.map_err(&wrap)?;
        Ok(self.tip.seq)
    }

    fn insert(&self, at: Time, wall: i64, records: &[Record]) -> rusqlite::Result<Link> {
        let mut tip = self.tip;
        let mut insert = self.db.prepare_cached(
            "INSERT INTO records (seq, elapsed, wall, record, hash) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?;
        for record in records {
            let json = serde_json::to_string(record)
                .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
            let elapsed = at.0.cast_signed();
            tip = tip.next(elapsed, wall, &json);
            insert.execute(params![tip.seq, elapsed, wall, json, tip.hash.as_bytes()])?;
        }
        Ok(tip)
    }

    /// Every record after those that it has given before, in order, each checked against the chain.
    pub fn replay(&mut self, mut each: impl FnMut(Entry)) -> Result<(), LedgerError> {
        let wrap = LedgerError::of(&self.path);
        let damaged = |reason: String| LedgerError::damaged(&self.path, reason);
        let mark = Mark::read(&self.path).filter(|_| self.chained);
        let end = match (mark, self.extent) {
            (Some(mark), Extent::Durable) => mark.seq,
            (None, _) | (_, Extent::Everything) => i64::MAX,
        };
        let mut select = self
            .db
            .prepare_cached(
                "SELECT seq, elapsed, wall, record, hash FROM records WHERE seq > ?1 AND seq <= ?2 ORDER BY seq",
            )
            .map_err(&wrap)?;
        let mut rows = select.query([self.replayed.seq, end]).map_err(&wrap)?;
        while let Some(row) = rows.next().map_err(&wrap)? {
            let seq: i64 = row.get(0).map_err(&wrap)?;
            let expected = self.replayed.seq + 1;
            if seq != expected {
                return Err(damaged(format!("record {expected} is missing")));
            }
            let columns = || -> rusqlite::Result<_> {
                let hash = row.get_ref(4)?.as_blob_or_null()?;
                Ok((row.get(1)?, row.get(2)?, row.get_ref(3)?.as_str()?, hash))
            };
            let (elapsed, wall, text, hash) =
                columns().map_err(|error| damaged(format!("record {seq} cannot be read: {error}")))?;
            let link: Link = self.replayed.next(elapsed, wall, text);
            if self.chained && hash != Some(link.hash.as_bytes()) {
                return Err(damaged(format!("record {seq} is not what was written")));
            }
            if mark.is_some_and(|mark| mark.seq == seq && mark.hash != link.hash) {
                return Err(damaged(format!("record {seq} is another ledger's")));
            }
            let record = serde_json::from_str(text)
                .map_err(|error| damaged(format!("record {seq} cannot be understood: {error}")))?;
            self.replayed = link;
            each(Entry { seq, at: Time(elapsed.cast_unsigned()), wall, record });
        }
        if self.replayed.seq < mark.map_or(0, |mark| mark.seq).max(self.tip.seq) {
            return Err(damaged(format!("record {} is missing", self.replayed.seq + 1)));
        }
        Ok(())
    }

    /// Brings everything that is recorded to the disk.
    pub fn sync(&self) -> Result<(), LedgerError> {
        let unsynced = |source| LedgerError::Unsynced { path: self.path.clone(), source };
        sync_log(&self.path).map_err(unsynced)?;
        Mark::open(&self.path).and_then(|mark| mark.set(self.tip)).map_err(unsynced)
    }
}

/// Allocates `RESERVED_INDEX_BYTES` of the log's index.
fn reserve_index(ledger: &Path) {
    if let Ok(index) = File::options().write(true).open(ledger.with_extension("sqlite-shm")) {
        let _ = rustix::fs::fallocate(&index, FallocateFlags::KEEP_SIZE, 0, RESERVED_INDEX_BYTES);
        // Whoever closes any descriptor of a file gives up all locks that his process has on it. `SQLite`'s is what keeps the next
        // reader from taking this index for that of a dead process, and cutting it off under the living one. So it stays open.
        std::mem::forget(index);
    }
}

/// Allocates `RESERVED_BYTES` of the log. Where it cannot be done there is no reserve: it is no less a ledger.
fn reserve(ledger: &Path) {
    if let Ok(log) = File::options().write(true).open(wal(ledger)) {
        let _ = rustix::fs::fallocate(log, FallocateFlags::KEEP_SIZE, 0, RESERVED_BYTES);
    }
}

/// The file that `SQLite` writes first.
fn wal(ledger: &Path) -> PathBuf {
    ledger.with_extension("sqlite-wal")
}

/// What is in the log and not in the ledger's file is on disk. No lock of `SQLite`'s is on this file, which closing it would
/// release.
fn sync_log(ledger: &Path) -> io::Result<()> {
    match File::open(wal(ledger)) {
        Ok(log) => log.sync_data(),
        // All of it is in the file.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// A path within a URI of `SQLite`'s.
fn escape(path: &OsStr) -> OsString {
    let escaped = path.as_bytes().iter().flat_map(|byte| match byte {
        b'?' | b'#' | b'%' => format!("%{byte:02X}").into_bytes(),
        byte => vec![*byte],
    });
    OsString::from_vec(escaped.collect())
}
