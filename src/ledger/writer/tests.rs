//! The sync thread, with a disk that fails when it is told to.

use std::sync::mpsc::{self, Receiver, Sender};

use super::super::Extent;
use super::*;

/// A disk that waits for a word before each sync, and then does or fails what it is told.
struct Told {
    files: Files,
    words: Receiver<bool>,
    did: Sender<&'static str>,
}

impl Disk for Told {
    fn sync(&mut self) -> io::Result<()> {
        let _ = self.did.send("sync");
        if self.words.recv().unwrap_or(true) { self.files.sync() } else { Err(io::Error::other("no")) }
    }

    fn rewrite(&mut self) -> Result<(), LedgerError> {
        let _ = self.did.send("rewrite");
        if self.words.recv().unwrap_or(true) {
            return self.files.rewrite();
        }
        Err(LedgerError::Unsynced { path: "x".into(), source: io::Error::other("no") })
    }

    fn shrink(&mut self) -> rusqlite::Result<()> {
        self.files.shrink()
    }

    fn missing(&self) -> Option<PathBuf> {
        self.files.missing()
    }
}

const QUICK: Pace =
    Pace { every: Duration::from_millis(2), again: Duration::from_millis(2), look: Duration::from_millis(2) };

struct Heard(Sender<Result<Vec<i64>, String>>);

impl Audience for Heard {
    fn durable(&mut self, entries: Vec<Entry>) {
        let _ = self.0.send(Ok(entries.iter().map(|entry| entry.seq).collect()));
    }

    fn lost(&mut self, error: LedgerError) {
        let _ = self.0.send(Err(error.to_string()));
    }
}

struct Fixture {
    dir: tempfile::TempDir,
    writer: Option<Writer>,
    health: Arc<Health>,
    words: Sender<bool>,
    did: Receiver<&'static str>,
    heard: Receiver<Result<Vec<i64>, String>>,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.sqlite");
        let ledger = Ledger::open(&path).unwrap();
        let health = Arc::new(Health::default());
        let (words, obeys) = mpsc::channel();
        let (does, did) = mpsc::channel();
        let (told, heard) = mpsc::channel();
        let disk = Told { files: Files::open(&path, &[]).unwrap(), words: obeys, did: does };
        let writer = Writer::with(ledger, Arc::clone(&health), Heard(told), disk, QUICK).unwrap();
        Self { dir, writer: Some(writer), health, words, did, heard }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("ledger.sqlite")
    }

    fn append(&mut self, wall: i64) -> Result<(), LedgerError> {
        let mut records = vec![Record::RunPaused { reason: "test".into(), held: false }];
        let written = self.writer.as_mut().unwrap().append(Time(0), wall, &mut records);
        assert_eq!(records.is_empty(), written.is_ok(), "what could not be written is still there");
        written
    }

    /// How many records others are shown.
    fn shown(&self) -> i64 {
        let mut last = 0;
        let mut ledger = Ledger::open_to_read(&self.path(), Extent::Durable).unwrap().unwrap();
        ledger.replay(|entry| last = entry.seq).unwrap();
        last
    }
}

#[test]
fn nobody_is_told_of_a_record_before_it_is_on_disk() {
    let mut fixture = Fixture::new();
    fixture.append(10).unwrap();
    assert_eq!(fixture.did.recv().unwrap(), "sync");
    assert_eq!((fixture.shown(), fixture.health.durable(99)), (0, 10));
    assert!(fixture.heard.try_recv().is_err());
    fixture.words.send(true).unwrap();
    assert_eq!(fixture.heard.recv().unwrap(), Ok(vec![1]));
    assert_eq!((fixture.shown(), fixture.health.durable(99)), (1, 99));
    // What is written during a sync waits for the next.
    fixture.append(20).unwrap();
    assert_eq!(fixture.did.recv().unwrap(), "sync");
    fixture.append(30).unwrap();
    fixture.words.send(true).unwrap();
    assert_eq!(fixture.heard.recv().unwrap(), Ok(vec![2]));
    fixture.words.send(true).unwrap();
    assert_eq!(fixture.heard.recv().unwrap(), Ok(vec![3]));
    assert_eq!(fixture.health.failures(), 0);
}

#[test]
fn after_a_failed_sync_nothing_is_written_until_all_of_it_is_on_disk_in_another_way() {
    let mut fixture = Fixture::new();
    fixture.append(10).unwrap();
    assert_eq!(fixture.did.recv().unwrap(), "sync");
    fixture.words.send(false).unwrap();
    assert_eq!(fixture.did.recv().unwrap(), "rewrite");
    let error = fixture.append(20).unwrap_err();
    assert!(error.may_pass(), "{error}");
    assert!(fixture.health.blocked().is_some_and(|why| why.contains("cannot be synced: no")));
    assert_eq!((fixture.health.failures(), fixture.health.durable(99), fixture.shown()), (1, 10, 0));
    fixture.words.send(true).unwrap();
    assert_eq!(fixture.heard.recv().unwrap(), Ok(vec![1]));
    assert_eq!((fixture.health.blocked(), fixture.shown()), (None, 1));
    fixture.append(20).unwrap();
    assert_eq!(fixture.did.recv().unwrap(), "sync", "the log is trusted again");
    fixture.words.send(true).unwrap();
    assert_eq!(fixture.heard.recv().unwrap(), Ok(vec![2]));
}

#[test]
fn the_end_waits_until_everything_is_on_disk_and_says_if_it_cannot_be() {
    let mut fixture = Fixture::new();
    fixture.append(10).unwrap();
    fixture.words.send(true).unwrap();
    fixture.append(20).unwrap();
    fixture.words.send(true).unwrap();
    fixture.writer.take().unwrap().finish().unwrap();
    assert_eq!(fixture.heard.iter().flat_map(Result::unwrap).collect::<Vec<_>>(), [1, 2]);

    let mut fixture = Fixture::new();
    fixture.append(10).unwrap();
    for _ in 0..LAST_TRIES {
        fixture.words.send(false).unwrap();
    }
    let error = fixture.writer.take().unwrap().finish().unwrap_err();
    assert!(told(&error).contains("no"), "{error}");
    assert_eq!(fixture.heard.iter().count(), 0);
}

#[test]
fn a_full_disk_leaves_the_records_with_whoever_wanted_to_write_them() {
    let mut fixture = Fixture::new();
    let db = &fixture.writer.as_ref().unwrap().ledger.db;
    let pages: i64 = db.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
    db.pragma_update(None, "max_page_count", pages).unwrap();
    let mut records = vec![Record::RunPaused { reason: "x".repeat(100_000).into(), held: false }];
    let error = fixture.writer.as_mut().unwrap().append(Time(0), 1, &mut records).unwrap_err();
    assert!(error.may_pass() && records.len() == 1, "{error:?}");
    assert!(fixture.health.blocked().is_some_and(|why| why.contains("full")));
    assert_eq!(fixture.health.failures(), 1);
    let db = &fixture.writer.as_ref().unwrap().ledger.db;
    db.pragma_update(None, "max_page_count", 1_000_000).unwrap();
    fixture.writer.as_mut().unwrap().append(Time(0), 1, &mut records).unwrap();
    assert_eq!((records.len(), fixture.health.blocked()), (0, None));
    fixture.words.send(true).unwrap();
    assert_eq!(fixture.heard.recv().unwrap(), Ok(vec![1]));
}

#[test]
fn a_ledger_that_is_deleted_or_replaced_is_missed() {
    let takes: [fn(&Path); 3] = [
        |path| std::fs::remove_file(path).unwrap(),
        |path| std::fs::rename(path, path.with_extension("old")).unwrap(),
        |path| {
            std::fs::copy(path, path.with_extension("copy")).unwrap();
            std::fs::rename(path.with_extension("copy"), path).unwrap();
        },
    ];
    for take in takes {
        let mut fixture = Fixture::new();
        fixture.append(10).unwrap();
        fixture.words.send(true).unwrap();
        assert_eq!(fixture.heard.recv().unwrap(), Ok(vec![1]));
        take(&fixture.path());
        let said = fixture.heard.recv().unwrap().unwrap_err();
        assert!(said.contains("somebody has deleted, moved or replaced it"), "{said}");
    }
}

/// The ledger's files, and word of each move of the log.
struct Moving(Files, Sender<()>);

impl Disk for Moving {
    fn sync(&mut self) -> io::Result<()> {
        self.0.sync()
    }

    fn rewrite(&mut self) -> Result<(), LedgerError> {
        self.0.rewrite()
    }

    fn shrink(&mut self) -> rusqlite::Result<()> {
        let shrunk = self.0.shrink();
        self.1.send(()).unwrap();
        shrunk
    }

    fn missing(&self) -> Option<PathBuf> {
        self.0.missing()
    }
}

#[test]
fn the_log_is_moved_into_the_file_now_and_then_and_grows_no_further() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.sqlite");
    let (told, heard) = mpsc::channel();
    let (words, moved) = mpsc::channel();
    let ledger = Ledger::open(&path).unwrap();
    let disk = Moving(Files::open(&path, &[]).unwrap(), words);
    let mut writer = Writer::with(ledger, Arc::default(), Heard(told), disk, QUICK).unwrap();
    let mut lengths = Vec::new();
    for _ in 0..4 {
        for wall in 0..i64::try_from(MOVE_AFTER).unwrap() {
            let mut records = vec![Record::RunPaused { reason: "x".repeat(3000).into(), held: false }];
            writer.append(Time(0), wall, &mut records).unwrap();
        }
        moved.recv().unwrap();
        lengths.push(wal(&path).metadata().unwrap().len());
    }
    writer.finish().unwrap();
    let seen: Vec<i64> = heard.iter().flat_map(Result::unwrap).collect();
    assert_eq!(seen, (1..=4 * i64::try_from(MOVE_AFTER).unwrap()).collect::<Vec<_>>());
    assert!(lengths.iter().all(|length| *length < lengths[0] * 3 / 2), "{lengths:?}");
}
