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
    let killed = Fact::OutOfMemory { killed: 2, limit_bytes: Some(1 << 30) };
    check(&[killed], Some(C::ResourceExhaustion));
    check(&[Fact::ProcessLimit { limit: 64 }], Some(C::ProcessLimits));
    check(&[FULL], Some(C::DiskSpace));
    check(&[Fact::TimedOut { limit: "no output for 20m".into() }], Some(C::ResourceExhaustion));
    check(&[Fact::Denied { what: "write to `/etc/passwd`".into() }], Some(C::SecurityViolation));
    check(&[Fact::Digest { file: "x.tar.gz".into() }], Some(C::SecurityViolation));
}

#[test]
fn of_several_facts_the_gravest_counts() {
    let limit = Fact::ProcessLimit { limit: 64 };
    check(&[limit.clone(), FULL], Some(Category::DiskSpace));
    check(&[Fact::OutOfMemory { killed: 1, limit_bytes: None }, FULL], Some(Category::ResourceExhaustion));
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
    let killed = |limit_bytes| text(Fact::OutOfMemory { killed: 1, limit_bytes });
    assert_eq!(killed(Some(4096)), "the kernel killed 1 process for its limit of 4096 bytes of memory");
    assert_eq!(killed(None), "the kernel killed 1 process for the host's memory");
    let inodes = Fact::Space { path: "/build".into(), free_bytes: 1 << 30, free_inodes: Some(1) };
    assert_eq!(text(inodes), "`/build` had 1 inode left");
}
