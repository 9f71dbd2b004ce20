//! The ledger on real files.

use std::sync::Arc;

use super::lock::{Holder, LockError, Role, RunnerLock};
use super::salvage::Salvaged;
use super::*;
use crate::engine::message::Escalation;

fn record(build_id: &str) -> Record {
    let text = |text: &str| -> Arc<str> { text.into() };
    Record::RunStarted {
        build_id: text(build_id),
        definition: text("d"),
        digest: text("x"),
        kiln: text("1"),
        boot: text(""),
        escalation: Escalation::default(),
    }
}

fn all(ledger: &mut Ledger) -> Vec<Entry> {
    let mut entries = Vec::new();
    ledger.replay(|entry| entries.push(entry)).unwrap();
    entries
}

fn reader(path: &Path, extent: Extent) -> Ledger {
    Ledger::open_to_read(path, extent).unwrap().unwrap()
}

/// A ledger with three records, closed.
fn three(dir: &tempfile::TempDir) -> PathBuf {
    let path = dir.path().join("ledger.sqlite");
    let mut ledger = Ledger::open(&path).unwrap();
    ledger.append(Time(1), 1, &[record("a"), record("b")]).unwrap();
    ledger.append(Time(2), 2, &[record("c")]).unwrap();
    ledger.sync().unwrap();
    path
}

/// What replaying says after somebody has run this.
fn damage(path: &Path, sql: &str) -> String {
    Connection::open(path).unwrap().execute_batch(sql).unwrap();
    let opened = Ledger::open(path).unwrap().replay(|_| ()).unwrap_err().to_string();
    let read = reader(path, Extent::Durable).replay(|_| ()).unwrap_err().to_string();
    assert_eq!(opened, read);
    opened
}

#[test]
fn what_was_appended_is_replayed_in_order_by_whoever_opens_it_next() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.sqlite");
    let mut ledger = Ledger::open(&path).unwrap();
    assert_eq!(ledger.append(Time(5), 100, &[record("a"), record("b")]).unwrap(), 2);
    assert_eq!(
        ledger.append(Time(6), 101, &[Record::RunPaused { reason: "stop".into(), held: false }]).unwrap(),
        3
    );
    let seen = all(&mut reader(&path, Extent::Everything));
    drop(ledger);
    let mut ledger = Ledger::open(&path).unwrap();
    assert_eq!(all(&mut ledger), seen);
    assert_eq!(
        seen.iter().map(|e| (e.seq, e.at.0, e.wall)).collect::<Vec<_>>(),
        [(1, 5, 100), (2, 5, 100), (3, 6, 101)]
    );
    assert_eq!(seen[1].record, record("b"));
    ledger.append(Time(7), 102, &[record("c")]).unwrap();
    let more = all(&mut ledger);
    assert_eq!((more.len(), more[0].seq), (1, 4), "what was replayed before is not replayed again");
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
    assert_eq!(all(&mut ledger).len(), 1);
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
    for error in [Ledger::open(&path).unwrap_err(), Ledger::open_to_read(&path, Extent::Durable).unwrap_err()]
    {
        let text = error.to_string();
        assert!(text.contains("schema version 99, this kiln knows 2"), "{text}");
    }
}

#[test]
fn a_record_that_is_not_what_was_written_is_named() {
    for (sql, expected) in [
        (
            "UPDATE records SET record = '{\"record\": \"nonsense\"}' WHERE seq = 2",
            "record 2 is not what was written",
        ),
        ("UPDATE records SET wall = wall + 1 WHERE seq = 1", "record 1 is not what was written"),
        ("UPDATE records SET elapsed = 0 WHERE seq = 3", "record 3 is not what was written"),
        ("UPDATE records SET hash = NULL WHERE seq = 2", "record 2 is not what was written"),
        ("UPDATE records SET hash = zeroblob(32) WHERE seq = 3", "record 3 is not what was written"),
        ("DELETE FROM records WHERE seq = 2", "record 2 is missing"),
        ("DELETE FROM records WHERE seq > 1", "record 2 is missing"),
        ("DELETE FROM records", "record 1 is missing"),
        ("UPDATE records SET seq = 9 WHERE seq = 3", "record 3 is missing"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let said = damage(&three(&dir), sql);
        assert!(said.contains(expected), "{sql}: {said}");
        assert!(said.contains("kiln checkpoint restore"), "{said}");
    }
}

#[test]
fn the_ledger_of_another_run_is_not_taken_for_this_one() {
    let [ours, theirs] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let path = three(&ours);
    let other = theirs.path().join("ledger.sqlite");
    let mut ledger = Ledger::open(&other).unwrap();
    ledger.append(Time(1), 1, &[record("x"), record("y"), record("z")]).unwrap();
    drop(ledger);
    std::fs::copy(other, &path).unwrap();
    let said = Ledger::open(&path).unwrap().replay(|_| ()).unwrap_err().to_string();
    assert!(said.contains("record 3 is another ledger's"), "{said}");
}

#[test]
fn a_file_that_is_no_ledger_is_damaged_and_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = three(&dir);
    std::fs::write(&path, "x".repeat(9000)).unwrap();
    for error in [Ledger::open(&path).unwrap_err(), Ledger::open_to_read(&path, Extent::Durable).unwrap_err()]
    {
        let said = error.to_string();
        assert!(said.contains("is damaged") && !error.may_pass(), "{said}");
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "x".repeat(9000));
}

#[test]
fn who_shows_the_ledger_sees_what_is_on_disk_and_who_decides_sees_all() {
    let dir = tempfile::tempdir().unwrap();
    let path = three(&dir);
    let mut ledger = Ledger::open(&path).unwrap();
    ledger.append(Time(3), 3, &[record("d")]).unwrap();
    let mut shown = reader(&path, Extent::Durable);
    assert_eq!(all(&mut shown).len(), 3);
    assert_eq!(all(&mut reader(&path, Extent::Everything)).len(), 4);
    ledger.sync().unwrap();
    let more = all(&mut shown);
    assert_eq!((more.len(), more[0].seq), (1, 4));
}

#[test]
fn a_ledger_without_hashes_is_read_as_it_is_and_gets_them_when_it_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = three(&dir);
    // As an older kiln left it.
    Connection::open(&path)
        .unwrap()
        .execute_batch("UPDATE records SET hash = NULL; PRAGMA user_version = 1")
        .unwrap();
    std::fs::remove_file(path.with_extension("durable")).unwrap();
    let before = all(&mut reader(&path, Extent::Durable));
    assert_eq!(before.len(), 3);
    let mut ledger = Ledger::open(&path).unwrap();
    assert_eq!(all(&mut ledger), before);
    ledger.append(Time(3), 3, &[record("d")]).unwrap();
    drop(ledger);
    assert_eq!(all(&mut reader(&path, Extent::Everything)).len(), 4);
    let said = damage(&path, "UPDATE records SET wall = 0 WHERE seq = 1");
    assert!(said.contains("record 1 is not what was written"), "{said}");
}

#[test]
fn where_there_is_no_ledger_there_is_nothing_to_read_and_none_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.sqlite");
    assert!(Ledger::open_to_read(&path, Extent::Durable).unwrap().is_none());
    assert!(!path.exists());
}

#[test]
fn the_lock_has_one_holder_who_is_named_and_is_free_again_with_him() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("lock");
    assert!(!RunnerLock::is_held(&file));
    let held = RunnerLock::take(Role::Runner, dir.path(), &file).unwrap();
    assert!(RunnerLock::is_held(&file));
    let Err(LockError::Held { holder, .. }) = RunnerLock::take(Role::Runner, dir.path(), &file) else {
        panic!("taken twice")
    };
    assert_eq!(holder, Some(Holder { pid: std::process::id(), role: Role::Runner }));
    drop(held);
    assert!(!RunnerLock::is_held(&file));
    let _command = RunnerLock::take(Role::Command, dir.path(), &file).unwrap();
    assert!(!RunnerLock::is_held(&file), "that is no runner");
    assert_eq!(RunnerLock::holder(&file).map(|holder| holder.role), Some(Role::Command));
}

#[test]
fn what_is_before_the_damage_is_saved_and_goes_on_in_a_ledger_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let path = three(&dir);
    assert_eq!(Salvaged::read(&path).unwrap().damage, None);
    damage(&path, "UPDATE records SET wall = 0 WHERE seq = 3");
    let saved = Salvaged::read(&path).unwrap();
    assert_eq!(saved.damage.as_deref(), Some("record 3 is not what was written"));
    assert_eq!(
        saved.entries.iter().map(|entry| (entry.seq, entry.wall)).collect::<Vec<_>>(),
        [(1, 1), (2, 1)]
    );
    let aside = dir.path().join("aside");
    let mut ledger = Ledger::replace(&path, &aside, &saved.entries).unwrap();
    assert_eq!(all(&mut ledger), saved.entries);
    assert_eq!(ledger.append(Time(9), 9, &[record("new")]).unwrap(), 3);
    ledger.sync().unwrap();
    assert_eq!(all(&mut reader(&path, Extent::Durable)).len(), 3);
    let old = Salvaged::read(&aside.join("ledger.sqlite")).unwrap();
    assert_eq!((old.entries, old.damage), (saved.entries, saved.damage));
    let left: Vec<_> =
        std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with(".ledger")), "{left:?}");
}

#[test]
fn of_a_ledger_that_is_gone_or_garbage_nothing_can_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = three(&dir);
    std::fs::write(&path, "garbage".repeat(1000)).unwrap();
    let saved = Salvaged::read(&path).unwrap();
    assert!(saved.entries.is_empty() && saved.damage.is_some());
    let mut ledger = Ledger::replace(&path, &dir.path().join("aside"), &[]).unwrap();
    assert_eq!(all(&mut ledger), []);
    ledger.append(Time(1), 1, &[record("a")]).unwrap();
    ledger.sync().unwrap();
    drop(ledger);
    std::fs::remove_file(&path).unwrap();
    let saved = Salvaged::read(&path).unwrap();
    assert_eq!(saved.damage.as_deref(), Some("it is gone"));
    let said = Ledger::open(&path).unwrap_err().to_string();
    assert!(said.contains("its records are gone"), "{said}");
}

/// Whether this process has a lock on a file, as the kernel sees it.
///
/// Not by `/proc/locks`: it is read page by page, and what others lock and unlock between two
/// reads moves lines past the reader.
fn is_locked(file: &Path) -> bool {
    std::fs::read_dir("/proc/self/fd").unwrap().flatten().any(|fd| {
        let info = Path::new("/proc/self/fdinfo").join(fd.file_name());
        std::fs::read_link(fd.path()).is_ok_and(|target| target == file)
            && std::fs::read_to_string(info).unwrap().contains("POSIX")
    })
}

#[test]
fn no_reader_takes_the_index_of_a_living_writer_for_that_of_a_dead_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = three(&dir);
    let ledger = Ledger::open(&path).unwrap();
    let index = path.with_extension("sqlite-shm");
    assert!(is_locked(&index));
    let writer = writer::Writer::start(ledger, Arc::default(), &[], Deaf).unwrap();
    assert!(is_locked(&index));
    writer.finish().unwrap();
}

struct Deaf;

impl writer::Audience for Deaf {
    fn durable(&mut self, _: Vec<Entry>) {}
    fn lost(&mut self, _: LedgerError) {}
}

#[test]
fn a_ledger_is_replaced_or_damaged_whenever_that_is_cut_off() {
    // As far as it had come: files of the new one that are in place, of the old one that are gone.
    let dir = tempfile::tempdir().unwrap();
    let path = three(&dir);
    damage(&path, "UPDATE records SET wall = 0 WHERE seq = 3");
    let saved = Salvaged::read(&path).unwrap();
    let mark = std::fs::read(path.with_extension("durable")).unwrap();
    Ledger::replace(&path, &dir.path().join("aside"), &saved.entries).unwrap();
    // All but the mark.
    std::fs::write(path.with_extension("durable"), mark).unwrap();
    let again = Salvaged::read(&path).unwrap();
    assert_eq!(again.damage.as_deref(), Some("record 3 is missing"));
    assert_eq!(again.entries, saved.entries);
    let mut ledger = Ledger::replace(&path, &dir.path().join("aside2"), &again.entries).unwrap();
    assert_eq!(all(&mut ledger), saved.entries);
}
