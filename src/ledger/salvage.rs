//! What can be saved of a damaged ledger, and a new one made of that.
//!
//! Owns: reading as far as the chain holds, and replacing the files so that the damaged ones stay. Does not know: what is
//! done about what is lost (`driver::restore`).

use std::fs::{self, File};
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
            None if Mark::read(path).is_some_and(|mark| mark.seq > 0) => {
                Err(LedgerError::Damaged { path: path.to_owned(), reason: "it is gone".into() })
            }
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
    /// A new ledger of these records in the place of the damaged one, whose files are moved to `aside`. Killed in between it
    /// leaves a damaged ledger, and all of it is done again.
    pub fn replace(path: &Path, aside: &Path, entries: &[Entry]) -> Result<Self, LedgerError> {
        let io = |source| LedgerError::Unsynced { path: path.to_owned(), source };
        let parent = path.parent().unwrap_or(Path::new("."));
        let beside = tempfile::Builder::new().prefix(".ledger-").tempdir_in(parent).map_err(io)?;
        let new = beside.path().join("ledger.sqlite");
        {
            let mut ledger = Self::open(&new)?;
            let wrap = LedgerError::of(&new);
            ledger.db.execute_batch("BEGIN").map_err(&wrap)?;
            for Entry { at, wall, record, .. } in entries {
                ledger.tip = ledger.insert(*at, *wall, std::slice::from_ref(record)).map_err(&wrap)?;
            }
            ledger.db.execute_batch("COMMIT").map_err(&wrap)?;
        } // Closed, it is one file.
        File::open(&new).and_then(|file| file.sync_all()).map_err(io)?;
        fs::create_dir_all(aside).map_err(io)?;
        // The log first: over another file it would be taken for that one's.
        for end in FILES.iter().rev() {
            let from = path.with_extension(end);
            if from.exists() {
                fs::rename(&from, aside.join(from.file_name().unwrap_or_default())).map_err(io)?;
            }
        }
        fs::rename(&new, path).map_err(io)?;
        File::open(parent).and_then(|dir| dir.sync_all()).map_err(io)?;
        let ledger = Self::open(path)?;
        ledger.sync()?;
        Ok(ledger)
    }
}
