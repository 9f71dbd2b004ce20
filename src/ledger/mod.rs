//! The ledger: every record of every run of a state directory, in order, on disk.
//!
//! Owns: the `SQLite` file, its schema and versions. Does not know: what records mean.
//!
//! One writer (the driver's thread), one transaction for each turn of its loop, WAL: a killed kiln loses
//! nothing that it had recorded, and readers in other processes never wait.

pub mod lock;
pub mod place;
#[cfg(test)]
mod tests;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, params};
use rustix::fs::FallocateFlags;

use crate::engine::message::{Record, Time};

/// Version of the schema that this kiln writes, kept in `user_version`.
const SCHEMA: i32 = 1;

/// So much of the log is allocated ahead, which is more than it grows to between two of `SQLite`'s checkpoints: that the disk
/// is full, and what makes room there, has to be recorded, too.
const RESERVED_BYTES: u64 = 8 * 1024 * 1024;

/// `hash` is for the chain over all predecessors and stays NULL until there is one.
const CREATE: &str = "
    CREATE TABLE records (
        seq     INTEGER PRIMARY KEY,   -- 1, 2, 3, …
        elapsed INTEGER NOT NULL,      -- nanoseconds of running time since the run started
        wall    INTEGER NOT NULL,      -- nanoseconds since 1970, for people
        record  TEXT    NOT NULL,      -- JSON
        hash    BLOB
    ) STRICT;
    PRAGMA user_version = 1;
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
    /// A row is not a record.
    #[error("ledger `{}`, record {seq} cannot be read", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Which row.
        seq: i64,
        /// Why.
        source: serde_json::Error,
    },
}

/// An open ledger.
#[derive(Debug)]
pub struct Ledger {
    db: Connection,
    path: PathBuf,
}

impl Ledger {
    /// Opens the ledger for writing; makes it where there is none.
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        let wrap = |source| LedgerError::Sqlite { path: path.to_owned(), source };
        let db = Connection::open(path).map_err(wrap)?;
        let ledger = Self { db, path: path.to_owned() };
        ledger.prepare().map_err(wrap)?;
        match ledger.version()? {
            0 => ledger.db.execute_batch(&format!("BEGIN; {CREATE} COMMIT;")).map_err(wrap)?,
            SCHEMA => {}
            found => return Err(LedgerError::Newer { path: ledger.path, found }),
        }
        ledger.reserve();
        Ok(ledger)
    }

    /// Where it cannot be done there is no reserve: it is no less a ledger.
    fn reserve(&self) {
        let log = self.path.with_extension("sqlite-wal");
        if let Ok(log) = std::fs::File::options().write(true).open(log) {
            let _ = rustix::fs::fallocate(log, FallocateFlags::KEEP_SIZE, 0, RESERVED_BYTES);
        }
    }

    /// Opens the ledger for reading; `None` where there is none yet.
    pub fn open_to_read(path: &Path) -> Result<Option<Self>, LedgerError> {
        if !path.exists() {
            return Ok(None);
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let (ledger, version) = Self::open_as(path, path.as_os_str(), flags).or_else(|error| {
            // Readers, too, want to write: a WAL's index. Where nothing can be written, nobody writes the ledger
            // either; it is all in the file unless the last writer was killed.
            let wal = path.with_extension("sqlite-wal");
            if wal.metadata().is_ok_and(|wal| wal.len() > 0) {
                return Err(error);
            }
            let mut uri = OsString::from("file:");
            uri.push(escape(path.as_os_str()));
            uri.push("?immutable=1");
            Self::open_as(path, &uri, flags | OpenFlags::SQLITE_OPEN_URI).map_err(|_| error)
        })?;
        match version {
            0 => Ok(None), // being made this moment
            SCHEMA => Ok(Some(ledger)),
            found => Err(LedgerError::Newer { path: ledger.path, found }),
        }
    }

    /// With its version; `name` is what `SQLite` is told.
    fn open_as(path: &Path, name: &OsStr, flags: OpenFlags) -> Result<(Self, i32), LedgerError> {
        let wrap = |source| LedgerError::Sqlite { path: path.to_owned(), source };
        let db = Connection::open_with_flags(name, flags).map_err(wrap)?;
        db.busy_timeout(std::time::Duration::from_secs(5)).map_err(wrap)?;
        let ledger = Self { db, path: path.to_owned() };
        let version = ledger.version()?;
        Ok((ledger, version))
    }

    fn prepare(&self) -> rusqlite::Result<()> {
        self.db.busy_timeout(std::time::Duration::from_secs(5))?;
        self.db.pragma_update(None, "journal_mode", "WAL")?;
        // A killed process loses nothing either way; NORMAL syncs at WAL checkpoints only.
        self.db.pragma_update(None, "synchronous", "NORMAL")
    }

    fn version(&self) -> Result<i32, LedgerError> {
        self.db
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .map_err(|source| LedgerError::Sqlite { path: self.path.clone(), source })
    }

    /// Writes records in one transaction: all of them, or none. Returns the position of the last.
    pub fn append(&mut self, at: Time, wall: i64, records: &[Record]) -> Result<i64, LedgerError> {
        let path = &self.path;
        let wrap = |source| LedgerError::Sqlite { path: path.clone(), source };
        // Prepared once: a turn of the driver's loop with a task or two is a transaction.
        let run = |sql: &str| self.db.prepare_cached(sql)?.execute([]).map(|_| ());
        run("BEGIN IMMEDIATE").map_err(wrap)?;
        let written = self.insert(at, wall, records).and_then(|last| {
            run("COMMIT").map_err(wrap)?;
            Ok(last)
        });
        if written.is_err() {
            // What failed first is what is told.
            let _ = run("ROLLBACK");
        }
        written
    }

    fn insert(&self, at: Time, wall: i64, records: &[Record]) -> Result<i64, LedgerError> {
        let path = &self.path;
        let wrap = |source| LedgerError::Sqlite { path: path.clone(), source };
        let mut insert = self
            .db
            .prepare_cached("INSERT INTO records (elapsed, wall, record) VALUES (?1, ?2, ?3)")
            .map_err(wrap)?;
        for record in records {
            let json = serde_json::to_string(record).map_err(|source| LedgerError::Damaged {
                path: path.clone(),
                seq: 0,
                source,
            })?;
            insert.execute(params![at.0.cast_signed(), wall, json]).map_err(wrap)?;
        }
        Ok(self.db.last_insert_rowid())
    }

    /// Every record after position `after`, in order.
    pub fn replay(&self, after: i64, mut each: impl FnMut(Entry)) -> Result<(), LedgerError> {
        let wrap = |source| LedgerError::Sqlite { path: self.path.clone(), source };
        let mut select = self
            .db
            .prepare_cached("SELECT seq, elapsed, wall, record FROM records WHERE seq > ?1 ORDER BY seq")
            .map_err(wrap)?;
        let mut rows = select.query([after]).map_err(wrap)?;
        while let Some(row) = rows.next().map_err(wrap)? {
            let seq: i64 = row.get(0).map_err(wrap)?;
            let at = Time(row.get::<_, i64>(1).map_err(wrap)?.cast_unsigned());
            let wall = row.get(2).map_err(wrap)?;
            let text = row.get_ref(3).map_err(wrap)?.as_str().map_err(|e| wrap(e.into()))?;
            let record = serde_json::from_str(text).map_err(|source| LedgerError::Damaged {
                path: self.path.clone(),
                seq,
                source,
            })?;
            each(Entry { seq, at, wall, record });
        }
        Ok(())
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
