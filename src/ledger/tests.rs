//! The ledger on real files.

use std::sync::Arc;

use super::lock::{LockError, RunnerLock};
use super::*;

fn record(build_id: &str) -> Record {
    let text = |text: &str| -> Arc<str> { text.into() };
    Record::RunStarted {
        build_id: text(build_id),
        definition: text("d"),
        digest: text("x"),
        kiln: text("1"),
        boot: text(""),
    }
}

fn all(ledger: &Ledger, after: i64) -> Vec<Entry> {
    let mut entries = Vec::new();
    ledger.replay(after, |entry| entries.push(entry)).unwrap();
    entries
}

#[test]
fn what_was_appended_is_replayed_in_order_by_whoever_opens_it_next() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.sqlite");
    let mut ledger = Ledger::open(&path).unwrap();
    assert_eq!(ledger.append(Time(5), 100, &[record("a"), record("b")]).unwrap(), 2);
    assert_eq!(ledger.append(Time(6), 101, &[Record::RunPaused { reason: "stop".into() }]).unwrap(), 3);
    let seen = all(&Ledger::open_to_read(&path).unwrap().unwrap(), 0);
    drop(ledger);
    assert_eq!(all(&Ledger::open(&path).unwrap(), 0), seen);
    assert_eq!(
        seen.iter().map(|e| (e.seq, e.at.0, e.wall)).collect::<Vec<_>>(),
        [(1, 5, 100), (2, 5, 100), (3, 6, 101)]
    );
    assert_eq!(seen[1].record, record("b"));
    assert_eq!(all(&Ledger::open(&path).unwrap(), 2), seen[2..]);
}

#[test]
fn a_transaction_that_fails_leaves_nothing_behind_and_the_next_one_works() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.sqlite");
    let mut ledger = Ledger::open(&path).unwrap();
    ledger.db.execute_batch("CREATE TRIGGER no BEFORE INSERT ON records WHEN NEW.record LIKE '%bad%' BEGIN SELECT RAISE(ABORT, 'refused'); END").unwrap();
    let error = ledger.append(Time(1), 1, &[record("good"), record("bad")]).unwrap_err();
    assert!(format!("{error:?}").contains("refused"));
    assert_eq!(ledger.append(Time(2), 2, &[record("good")]).unwrap(), 1);
    assert_eq!(all(&ledger, 0).len(), 1);
}

#[test]
fn the_room_that_is_set_aside_is_free_again_when_the_ledger_is_closed() {
    use std::os::unix::fs::MetadataExt as _;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.sqlite");
    let log = path.with_extension("sqlite-wal");
    for _ in 0..2 {
        let mut ledger = Ledger::open(&path).unwrap();
        ledger.append(Time(1), 1, &[record("a")]).unwrap();
        assert!(log.metadata().unwrap().blocks() * 512 >= RESERVED_BYTES);
        assert!(log.metadata().unwrap().len() < RESERVED_BYTES);
        drop(ledger);
        assert!(!log.exists());
    }
}

#[test]
fn the_ledger_of_a_newer_kiln_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.sqlite");
    Ledger::open(&path).unwrap().db.pragma_update(None, "user_version", 99).unwrap();
    for error in [Ledger::open(&path).unwrap_err(), Ledger::open_to_read(&path).unwrap_err()] {
        let text = error.to_string();
        assert!(text.contains("schema version 99, this kiln knows 1"), "{text}");
    }
}

#[test]
fn a_row_that_is_no_record_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.sqlite");
    let mut ledger = Ledger::open(&path).unwrap();
    ledger.append(Time(1), 1, &[record("a"), record("b")]).unwrap();
    ledger.db.execute("UPDATE records SET record = '{\"record\": \"nonsense\"}' WHERE seq = 2", []).unwrap();
    let error = ledger.replay(0, |_| ()).unwrap_err();
    assert!(error.to_string().contains("record 2 cannot be read"), "{error}");
}

#[test]
fn where_there_is_no_ledger_there_is_nothing_to_read_and_none_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.sqlite");
    assert!(Ledger::open_to_read(&path).unwrap().is_none());
    assert!(!path.exists());
}

#[test]
fn the_lock_has_one_holder_who_is_named_and_is_free_again_with_him() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("lock");
    assert!(!RunnerLock::is_held(&file));
    let held = RunnerLock::take(dir.path(), &file).unwrap();
    assert!(RunnerLock::is_held(&file));
    let Err(LockError::Held { pid, .. }) = RunnerLock::take(dir.path(), &file) else { panic!("taken twice") };
    assert_eq!(pid, Some(std::process::id()));
    drop(held);
    assert!(!RunnerLock::is_held(&file));
    RunnerLock::take(dir.path(), &file).unwrap();
}
