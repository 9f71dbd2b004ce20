//! What `packaging/kiln.catalog` explains is what kiln says.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::document::{CheckpointType, GateReason, RecoveryAction};
use crate::engine::message::{ActionResult, Answer, Record, Requirement, RunEnd, Then};
use crate::failure::Category;
use crate::ledger::Entry;
use crate::observe::Progress;
use crate::observe::events::{
    ALERT, LEDGER_UNWRITABLE, LEDGER_WRITABLE, MESSAGES_DROPPED, PANICKED, RECOVERED, STATUS_UPDATE,
    SYSROOT_LEFT, TEXTFILE_FAILED, message_id, tell,
};
use crate::observe::live::Sample;
use crate::observe::notices::{Alert, messages_dropped, panicked};
use crate::observe::updates::Update;
use crate::plan::TaskKind;

use super::heard::Heard;
use super::story::{Play, Story};

/// An explanation.
struct Explained {
    headers: BTreeMap<&'static str, &'static str>,
    /// Fields that are put into it.
    fields: BTreeSet<&'static str>,
    body: &'static str,
}

fn catalog() -> BTreeMap<&'static str, Explained> {
    let text = include_str!("../../../packaging/kiln.catalog");
    let entries: Vec<_> = text.split("\n-- ").skip(1).collect();
    let all: BTreeMap<_, _> = entries.iter().map(|entry| explained(entry)).collect();
    assert_eq!(all.len(), entries.len(), "none twice");
    all
}

fn explained(entry: &'static str) -> (&'static str, Explained) {
    let (id, rest) = entry.split_once('\n').unwrap();
    let (headers, body) = rest.split_once("\n\n").unwrap();
    let headers = headers.lines().map(|line| line.split_once(": ").unwrap()).collect();
    // Every other piece stands between two of them.
    let fields = rest.split('@').skip(1).step_by(2).collect();
    (id, Explained { headers, fields, body })
}

/// Every 32 hexadecimal digits in the file that owns them: a list here would have to be kept in step.
fn ids() -> Vec<&'static str> {
    let words = include_str!("../events.rs").split('"');
    words.filter(|word| word.len() == 32 && word.bytes().all(|b| b.is_ascii_hexdigit())).collect()
}

#[test]
fn every_kind_of_message_has_an_id_of_its_own_and_an_explanation() {
    let ids = ids();
    let different: BTreeSet<&str> = ids.iter().copied().collect();
    assert_eq!(different.len(), ids.len());
    assert!(ids.iter().all(|id| id.as_bytes()[12] == b'4'), "random ones");
    assert_eq!(catalog().into_keys().collect::<BTreeSet<_>>(), different);
}

#[test]
fn every_explanation_has_a_subject_where_to_look_and_what_to_do() {
    for (id, explained) in catalog() {
        let headers: Vec<_> = explained.headers.keys().copied().collect();
        assert_eq!(headers, ["Defined-By", "Documentation", "Subject", "Support"], "{id}");
        let commands = explained.body.lines().filter(|line| line.starts_with("    ")).count();
        assert!(commands > 0 || explained.body.contains("There is nothing to do"), "{id}");
        assert!(explained.body.lines().all(|line| line.len() <= 80), "{id}");
    }
}

/// A story with most kinds of records, and one of each of the others.
fn told() -> Vec<Heard> {
    let mut story = Story::new(
        "attempts 2\ngates\nphase base\n zlib: configure build\n a: build\n d: build\n b: build < d\nphase? more\n c: build",
    );
    let play = |task: &str| match task {
        "zlib.build#2" | "a.build#1" | "a.build#2" | "c.build#1" | "c.build#2" | "d.build#1" => {
            Play::Fail(5, Category::CompilationFailure)
        }
        "d.build#2" => Play::Fail(5, Category::LinkFailure),
        _ => Play::Ok(5),
    };
    story.run(|task| if task.starts_with("zlib.build") { Play::Crash(5) } else { play(task) });
    story.run(play);
    story.answer(1, Answer::Skip);
    story.answer(2, Answer::Skip);
    story.run(play);
    let mut progress = Progress::new(std::sync::Arc::clone(&story.plan), story.limits);
    let mut out = Vec::new();
    for entry in &story.entries {
        out.extend(Heard::by(|| tell(entry, &progress).emit()));
        progress.fold(entry);
    }
    let at = story.entries.last().unwrap();
    for record in others() {
        out.extend(Heard::by(|| tell(&Entry { record, ..at.clone() }, &progress).emit()));
    }
    out
}

fn others() -> Vec<Record> {
    let (phase, package, text) = (|| "base".into(), || "zlib".into(), || "text".into());
    let (task, attempt) = (TaskKind::Build, 1);
    vec![
        Record::RequirementUnmet {
            phase: phase(),
            requirement: Requirement::Memory,
            required: 2,
            available: 1,
        },
        Record::TaskInterrupted { package: package(), task, attempt },
        Record::WorkLost { package: package() },
        Record::ActionFinished {
            package: package(),
            task,
            attempt,
            action: RecoveryAction::RetryBuild,
            result: ActionResult::Failed,
            examined: text(),
            then: Then::GoOn,
            duration: 1,
        },
        Record::GateOpened {
            gate: 3,
            reason: GateReason::CriticalBuildFailure,
            phase: phase(),
            package: None,
            task: None,
            trial: 0,
        },
        Record::GateClosed { gate: 3 },
        Record::Verified { packages: vec![package()], at: 0 },
        Record::PackageDamaged {
            phase: phase(),
            package: package(),
            path: text(),
            what: text(),
            archive: true,
        },
        Record::CheckpointTaken {
            checkpoint: 1,
            kind: CheckpointType::Full,
            phase: None,
            packages: Vec::new(),
            verified: true,
            duration: 1,
        },
        Record::CheckpointFailed { checkpoint: 1, reason: text(), duration: 1 },
        Record::Restored {
            checkpoint: 1,
            build_id: text(),
            definition: text(),
            packages: Vec::new(),
            aside: Vec::new(),
            place: text(),
            checkpoints: Vec::new(),
            by: text(),
        },
        Record::RestoreFinished { checkpoint: 1 },
        Record::PackageSkipped { package: package(), because: text() },
        Record::PackageKept { package: package() },
        Record::Undone { package: package() },
        Record::PackageRemoved { package: package() },
        Record::RunEnded { state: RunEnd::Error, missing: vec![package()] },
    ]
}

#[test]
fn an_explanation_names_only_what_each_message_of_its_kind_has() {
    let catalog = catalog();
    let mut heard = told();
    heard.extend(Heard::by(|| {
        let story = Story::new("phase base\n zlib: build");
        Update::of(&story.progress().snapshot(0, true), &Sample::default()).emit();
        messages_dropped(2);
        panicked("main", "src/x.rs:1:1", "why", "");
        let alert = Alert {
            name: "a",
            severity: "b",
            firing: true,
            summary: "c",
            phase: None,
            package: None,
            gate: None,
        };
        alert.emit();
    }));
    let mut seen = BTreeSet::new();
    for message in &heard {
        let id = message.get("MESSAGE_ID").unwrap();
        for field in &catalog[id].fields {
            assert!(message.get(field).is_some(), "no {field} in {message:?}");
        }
        seen.insert(id);
    }
    // These are the driver's and the command line's.
    for (id, fields) in [
        (LEDGER_UNWRITABLE, &["BUILD_ID"][..]),
        (LEDGER_WRITABLE, &["BUILD_ID"]),
        (SYSROOT_LEFT, &[]),
        (TEXTFILE_FAILED, &[]),
    ] {
        assert!(catalog[id].fields.iter().all(|field| fields.contains(field)), "{id}");
        seen.insert(id);
    }
    for id in [STATUS_UPDATE, ALERT, MESSAGES_DROPPED, PANICKED, RECOVERED] {
        assert!(seen.contains(id), "{id}");
    }
    assert_eq!(ids().into_iter().filter(|id| !seen.contains(id)).collect::<Vec<_>>(), [""; 0]);
}

#[test]
fn the_id_of_a_record_is_the_one_of_its_message() {
    let record = Record::GateClosed { gate: 1 };
    let story = Story::new("phase base\n zlib: build");
    let entry = Entry { seq: 1, at: crate::engine::message::Time(0), wall: 0, record };
    assert_eq!(tell(&entry, &story.progress()).message_id, message_id(&entry.record));
}
