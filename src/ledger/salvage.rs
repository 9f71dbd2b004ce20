//! What can be saved of a damaged ledger, and a new one made of that.
//!
//! Owns: reading as far as the chain holds, and replacing the files so that the damaged ones stay. Does not know: what is
//! done about what is lost (`driver::restore`).

use std::fs::{self, File};
use std::io;
use std::path::Path;

use super::mark::Mark;
use super::{Entry, Extent, FILES, Ledger, LedgerError};

/// What can be read of a ledger.
#[derive(Debug, Default)]
pub struct Salvaged {
    /// Every record before the first that is not what was written.
    pub entries: Vec<Entry>,
    /// What is wrong; `None`: nothing.
    pub damage: Option<String>,
}

impl Salvaged {
    /// Of the ledger at `path`, which is not changed.
    pub fn read(path: &Path) -> Result<Self, LedgerError> {
        let mut entries = Vec::new();
        let read = Ledger::open_to_read(path, Extent::Everything).and_then(|ledger| match ledger {
            Some(mut ledger) => ledger.replay(|entry| entries.push(entry)),
            None => Ok(()),
        });
        match read {
            Ok(()) => Ok(Self { entries, damage: None }),
            Err(LedgerError::Damaged { reason, .. }) => Ok(Self { entries, damage: Some(reason) }),
            Err(error) => Err(error),
        }
    }
}

impl Ledger {
    /// A new ledger of these records in the place of the damaged one, whose files are kept `aside`. Killed at any moment it leaves
    /// the one or the other, or a ledger that does not reach its durable mark, which is damaged: the mark is replaced last.
    pub fn replace(path: &Path, aside: &Path, entries: &[Entry]) -> Result<Self, LedgerError> {
        let io = |source| LedgerError::Unsynced { path: path.to_owned(), source };
        let parent = path.parent().unwrap_or(Path::new("."));
        let sync = |dir: &Path| File::open(dir).and_then(|dir| dir.sync_all()).map_err(io);
        let beside = path.with_extension("new");
        if beside.is_dir() {
            fs::remove_dir_all(&beside).map_err(io)?;
        }
        fs::create_dir(&beside).map_err(io)?;
        let new = beside.join("ledger.sqlite");
        let tip = {
            let mut ledger = Self::open(&new)?;
            let wrap = LedgerError::of(&new);
            ledger.db.execute_batch("BEGIN").map_err(&wrap)?;
            for Entry { at, wall, record, .. } in entries {
                ledger.tip = ledger.insert(*at, *wall, std::slice::from_ref(record)).map_err(&wrap)?;
            }
            ledger.db.execute_batch("COMMIT").map_err(&wrap)?;
            ledger.tip
        }; // Closed, it is one file.
        File::open(&new).and_then(|file| file.sync_all()).map_err(io)?;
        fs::create_dir_all(aside).map_err(io)?;
        for end in FILES {
            let from = path.with_extension(end);
            let to = aside.join(from.file_name().unwrap_or_default());
            if from.exists() && !to.exists() {
                fs::hard_link(&from, &to).or_else(|_| fs::copy(&from, &to).map(drop)).map_err(io)?;
            }
        }
        sync(aside)?;
        // The log first: over another file it would be taken for that one's.
        for end in ["sqlite-wal", "sqlite-shm"] {
            match fs::remove_file(path.with_extension(end)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
                Ok(()) | Err(_) => {}
            }
        }
        sync(parent)?;
        fs::rename(&new, path).map_err(io)?;
        sync(parent)?;
        Mark::replace(path, tip).map_err(io)?;
        fs::remove_dir_all(&beside).map_err(io)?;
        Self::open(path)
    }
}
