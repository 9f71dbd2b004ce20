//! Records in plain words.

use std::collections::BTreeSet;

use crate::failure::Category;
use crate::observe::Progress;
use crate::observe::events::{STATUS_UPDATE, Told, tell};
use crate::plan::TaskKind;

use super::story::{Play, Story, quick};

fn told(story: &Story) -> Vec<Told> {
    let mut progress = Progress::new(std::sync::Arc::clone(&story.plan), story.limits);
    let mut out = Vec::new();
    for entry in &story.entries {
        out.push(tell(entry, &progress));
        progress.fold(entry);
    }
    out
}

fn lines(story: &Story) -> String {
    let told = told(story);
    told.iter().map(|told| format!("{} {}", told.level, told.text)).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_run_reads_as_a_story() {
    let mut story =
        Story::new("attempts 2\nphase base\n zlib: configure build\nphase? more\n a: build\n b: build < a");
    story.run(|task| match task {
        "zlib.build#1" | "a.build#1" | "a.build#2" => Play::Fail(5, Category::CompilationFailure),
        _ => Play::Ok(65),
    });
    let expect = "\
INFO run run1 of sketch starts: 3 packages
INFO 3 packages: 3 to build
INFO phase base starts
DEBUG zlib: configure starts (attempt 1)
DEBUG zlib: configure is done, after 1m05s
DEBUG zlib: build starts (attempt 1)
WARN zlib: build failed (compilation_failure, attempt 1 of 2, again in 60 s): main.c:7: error: <b> [31mno such thing (line 12); look at it
DEBUG zlib: configure starts (attempt 1, again, to restore the work directory)
DEBUG zlib: configure is done, after 1m05s
DEBUG zlib: build starts (attempt 2)
DEBUG zlib: build is done, after 1m05s
INFO zlib 1: completed in 3m20s
INFO phase base is completed
INFO phase more starts
DEBUG a: build starts (attempt 1)
INFO checkpoint 1 (full) at the end of phase base: covers 1 package, read back, in 0s
WARN a: build failed (compilation_failure, attempt 1 of 2, again in 60 s): main.c:7: error: <b> [31mno such thing (line 12); look at it
DEBUG a: build starts (attempt 2)
WARN a: build failed (compilation_failure, attempt 2 of 2, not tried again): main.c:7: error: <b> [31mno such thing (line 12); look at it
ERROR a: failed at build after 2 failed attempts (compilation_failure): main.c:7: error: <b> [31mno such thing (line 12); look at it
WARN b: skipped, since a is not there
WARN phase more failed: not all of its packages are there
WARN run run1 is completed, without 2 packages: a, b";
    assert_eq!(lines(&story), expect);
}

#[test]
fn an_event_names_its_package_phase_task_attempt_and_category() {
    let mut story = Story::new("phase base\n zlib: build");
    story.run(|task| match task {
        "zlib.build#1" => Play::Fail(5, Category::LinkFailure),
        _ => Play::Ok(1),
    });
    let told = told(&story);
    let failed = told.iter().find(|told| told.category.is_some()).unwrap();
    assert_eq!(&*failed.build_id, "run1");
    assert_eq!(failed.phase.as_deref(), Some("base"));
    assert_eq!(failed.package.as_deref(), Some("zlib"));
    assert_eq!((failed.task.map(TaskKind::name), failed.attempt), (Some("build"), Some(1)));
    assert_eq!(failed.category, Some(Category::LinkFailure));
    assert_eq!(&*told[0].build_id, "run1", "the first record already names its run");
}

#[test]
fn a_run_that_was_cut_off_says_so() {
    let mut story = Story::new("phase base\n zlib: build");
    story.run(|_| Play::Crash(5));
    story.run(|_| Play::Stop(5));
    story.run(quick);
    let lines = lines(&story);
    assert!(lines.contains("INFO run run1 goes on\nDEBUG zlib: build was cut off"), "{lines}");
    assert!(lines.contains("INFO run run1 is paused: stopped"), "{lines}");
    assert!(lines.ends_with("INFO run run1 is completed"), "{lines}");
}

#[test]
fn every_kind_of_event_has_an_id_of_its_own() {
    // The ids of one source file: a test that listed the kinds would have to be kept in step with it.
    let source = include_str!("../events.rs");
    let words = source.split('"');
    let ids: Vec<&str> =
        words.filter(|word| word.len() == 32 && word.bytes().all(|b| b.is_ascii_hexdigit())).collect();
    let different: BTreeSet<&&str> = ids.iter().collect();
    assert_eq!(ids.len(), 30);
    assert_eq!(different.len(), ids.len());
    assert!(ids.contains(&STATUS_UPDATE));
    assert!(ids.iter().all(|id| id.as_bytes()[12] == b'4'), "random ones");
}

#[test]
fn what_is_said_reaches_tracing_with_its_fields() {
    use std::sync::{Arc, Mutex};
    use tracing_subscriber::fmt::MakeWriter;

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);
    impl std::io::Write for Page {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    impl<'a> MakeWriter<'a> for Page {
        type Writer = Self;
        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    let mut story = Story::new("attempts 1\nphase base\n zlib: build");
    story.run(|_| Play::Fail(5, Category::LinkFailure));
    let page = Page::default();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(page.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, || told(&story).iter().for_each(Told::emit));
    let text = String::from_utf8(page.0.lock().unwrap().clone()).unwrap();
    let failed: serde_json::Value = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .find(|line: &serde_json::Value| line["level"] == "ERROR")
        .unwrap();
    let fields = &failed["fields"];
    assert_eq!(fields["MESSAGE_ID"], "1171721583064511af10d0ff98596c76");
    assert_eq!((&fields["BUILD_ID"], &fields["PHASE"]), (&"run1".into(), &"base".into()));
    assert_eq!((&fields["PACKAGE"], &fields["TASK"]), (&"zlib".into(), &"build".into()));
    assert_eq!((&fields["ATTEMPT"], &fields["CATEGORY"]), (&1.into(), &"link_failure".into()));
    let first: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert!(first["fields"].get("PACKAGE").is_none(), "what an event is not about is left out: {first}");
}
