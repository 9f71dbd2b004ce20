//! What each fact means, and which of several counts.

use super::*;
use crate::failure::Confidence;
use crate::failure::classify::{Case, End};
use crate::failure::output::Output;

const FULL: Fact = Fact::Space { path: String::new(), free_bytes: 4096, free_inodes: Some(1000) };

#[track_caller]
fn check(facts: &[Fact], expected: Option<Category>) {
    let mut output = Output::default();
    output.feed(b"a.c:1:1: error: expected ';'\n");
    let failure = Case { kind: None, facts, end: End::Status(0) }.classify(output);
    assert_eq!(failure.as_ref().map(|failure| failure.category), expected, "{failure:?}");
    if let Some(failure) = failure {
        assert_eq!((failure.confidence, failure.evidence.line), (Confidence::High, None));
        assert_eq!(failure.retryable, failure.category != Category::SecurityViolation);
    }
}

#[test]
fn a_fact_outranks_what_was_printed_and_how_it_ended() {
    use Category as C;
    let killed = Fact::OutOfMemory { killed: 2, first: None, limit: Some("1G".into()) };
    check(&[killed], Some(C::ResourceExhaustion));
    check(&[Fact::ProcessLimit { refused: 1, limit: Some(64) }], Some(C::ProcessLimits));
    check(&[FULL], Some(C::DiskSpace));
    check(&[Fact::ReadOnly { path: "/build".into() }], Some(C::DiskSpace));
    check(&[Fact::TimedOut { limit: "no output for 20m".into() }], Some(C::ResourceExhaustion));
    check(&[Fact::Digest { file: "x.tar.gz".into() }], Some(C::SecurityViolation));
}

#[test]
fn a_denial_has_the_line_that_tells_of_it_and_says_where_a_task_may_write() {
    let text = "touch: cannot touch '/tmp/x': Permission denied";
    let denied = Fact::Denied { path: "/tmp/x".into(), line: 7, text: text.into() };
    let case = Case { kind: None, facts: &[denied], end: End::Status(2) };
    let failure = case.classify(Output::default()).unwrap();
    assert_eq!((failure.category, failure.retryable), (Category::SecurityViolation, false));
    assert_eq!(failure.confidence, Confidence::Medium, "the kernel has said nothing");
    assert_eq!((failure.evidence.line, &*failure.evidence.text), (Some(7), text));
    assert!(failure.hint.unwrap().contains("$TMPDIR is there"));
}

#[test]
fn of_several_facts_the_gravest_counts() {
    let limit = Fact::ProcessLimit { refused: 1, limit: Some(64) };
    check(&[limit.clone(), FULL], Some(Category::DiskSpace));
    check(
        &[Fact::OutOfMemory { killed: 1, first: None, limit: None }, FULL],
        Some(Category::ResourceExhaustion),
    );
    check(&[Fact::Digest { file: String::new() }, limit], Some(Category::SecurityViolation));
}

#[test]
fn room_enough_is_no_reason() {
    let space = |free_bytes, free_inodes| Fact::Space { path: "/build".into(), free_bytes, free_inodes };
    check(&[space(1 << 30, Some(1000))], None);
    check(&[space(1 << 30, None)], None);
    check(&[space(1 << 30, Some(0))], Some(Category::DiskSpace));
    check(&[space(0, None)], Some(Category::DiskSpace));
}

#[test]
fn a_fact_says_what_was_seen() {
    let text = |fact: Fact| fact.failure().unwrap().1.evidence.text;
    let killed = |killed, first: Option<&str>, limit: Option<&str>| {
        text(Fact::OutOfMemory { killed, first: first.map(Into::into), limit: limit.map(Into::into) })
    };
    let one = killed(1, Some("cc1plus"), Some("2G"));
    assert_eq!(one, "the kernel killed `cc1plus` for memory: the task's limit is 2G");
    let more = killed(3, Some("cc1plus"), None);
    assert_eq!(
        more,
        "the kernel killed 3 processes, `cc1plus` the first, for memory: the host had none left"
    );
    assert_eq!(killed(1, None, None), "the kernel killed a process for memory: the host had none left");
    assert_eq!(killed(2, None, None), "the kernel killed 2 processes for memory: the host had none left");
    let limit = |limit| text(Fact::ProcessLimit { refused: 3, limit });
    assert_eq!(
        limit(Some(64)),
        "the kernel refused 3 more processes or threads: its limit of 64 was reached"
    );
    assert_eq!(limit(None), "the kernel refused 3 more processes or threads: its limit was reached");
    let inodes = Fact::Space { path: "/build".into(), free_bytes: 1 << 30, free_inodes: Some(1) };
    assert_eq!(text(inodes), "`/build` had 1 inode left");
}
