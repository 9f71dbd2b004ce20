//! What tools print, mostly what they printed when they were made to.

use super::*;
use crate::failure::classify::{Case, End};
use crate::failure::output::Output;
use crate::plan::TaskKind;

/// The paths that a line is about; those that may have been executed with a star.
#[track_caller]
fn check(printed: &str, expected: &[&str]) {
    let mut seen = Vec::new();
    let output = printed.as_bytes();
    let none = first_write(output, |refused| {
        let star = if refused.perhaps_executed { "*" } else { "" };
        seen.push(format!("{}{star}", refused.path.display()));
        false
    });
    assert_eq!(none.unwrap(), None);
    assert_eq!(seen, expected, "{printed}");
}

#[test]
fn paths_that_could_not_be_written() {
    for (printed, path) in [
        ("sh: 1: cannot create /etc/x: Permission denied", "/etc/x"),
        ("./install.sh: 3: cannot create /etc/x: Permission denied", "/etc/x"),
        ("touch: cannot touch '/etc/x': Permission denied", "/etc/x"),
        ("touch: cannot touch ‘/etc/a b’: Permission denied", "/etc/a b"),
        ("cp: cannot create regular file '/usr/lib/x.so': Permission denied", "/usr/lib/x.so"),
        (
            "/usr/bin/install: cannot create directory ‘/usr/local/share’: Permission denied",
            "/usr/local/share",
        ),
        ("/usr/bin/ld: cannot open output file /usr/lib/x.so: Permission denied", "/usr/lib/x.so"),
        ("mv: cannot move 'a' to '/opt/a': Permission denied", "/opt/a"),
        ("tee: /etc/x: Permission denied", "/etc/x"),
        ("dd: failed to open '/tmp/x': Permission denied", "/tmp/x"),
        ("PermissionError: [Errno 13] Permission denied: '/etc/x'", "/etc/x"),
        ("Can't open '/etc/x' for output: Permission denied at x.pl line 1.", "/etc/x"),
        ("Can't open /etc/x: Permission denied at x.pl line 1.", "/etc/x"),
        ("open /root/go/pkg: permission denied", "/root/go/pkg"),
        ("Error: EACCES: permission denied, open '/etc/x'", "/etc/x"),
        ("java.io.FileNotFoundException: /etc/x (Permission denied)", "/etc/x"),
        ("java.nio.file.AccessDeniedException: /root/.gradle", "/root/.gradle"),
        ("tar: /opt: Cannot mkdir: Permission denied", "/opt"),
        ("mount: /mnt: permission denied.", "/mnt"),
        ("\u{1b}[31mrm: cannot remove '/etc/x'\u{1b}[0m: Permission denied", "/etc/x"),
    ] {
        check(printed, &[path]);
    }
}

#[test]
fn what_may_have_been_executed() {
    for printed in [
        "sh: 1: /usr/share/x: Permission denied",
        "/bin/sh: 1: /usr/share/x: Permission denied",
        "bash: line 1: /usr/share/x: Permission denied",
        "./configure: line 12: /usr/share/x: Permission denied",
        "make[2]: /usr/share/x: Permission denied",
        "env: ‘/usr/share/x’: Permission denied",
        "timeout: failed to run command ‘/usr/share/x’: Permission denied",
        "/usr/share/x: Permission denied",
    ] {
        check(printed, &["/usr/share/x*"]);
    }
}

#[test]
fn lines_that_are_about_no_absolute_path() {
    for printed in [
        "touch: cannot touch 'x': Permission denied",
        "/usr/bin/install: cannot create regular file 'x': Permission denied",
        "touch: cannot touch '/etc/x': No such file or directory",
        "checking whether /etc/x is writable... no",
        "Permission denied (publickey).",
    ] {
        check(printed, &[]);
    }
}

#[test]
fn the_first_that_only_the_sandbox_forbids_is_told_with_its_line() {
    let printed = "a\ncat: /root/x: Permission denied\ntouch: cannot touch '/etc/x': Permission denied\nrm: cannot remove '/etc/y': Permission denied\n";
    let fact = first_write(printed.as_bytes(), |refused| refused.path.starts_with("/etc")).unwrap();
    let text = "touch: cannot touch '/etc/x': Permission denied".to_owned();
    assert_eq!(fact, Some(Fact::Denied { path: "/etc/x".into(), line: 3, text }));
}

#[test]
fn a_line_without_end_is_looked_at_in_pieces() {
    let piece = usize::try_from(LINE_BYTES_MOST).unwrap();
    let printed = "x".repeat(3 * piece) + "\ntouch: cannot touch '/etc/x': Permission denied";
    let fact = first_write(printed.as_bytes(), |_| true).unwrap();
    assert!(matches!(fact, Some(Fact::Denied { line: 2, .. })), "{fact:?}");
}

#[track_caller]
fn category(printed: &str) -> (Category, bool) {
    let mut output = Output::default();
    output.feed(printed.as_bytes());
    let case = Case { kind: Some(TaskKind::Build), facts: &[], end: End::Status(1) };
    let failure = without_network(case.classify(output).unwrap());
    (failure.category, failure.retryable)
}

#[test]
fn who_reaches_out_without_a_network_breaks_the_rules() {
    for printed in [
        "curl: (6) Could not resolve host: example.org\n",
        "curl: (7) Failed to connect to 192.0.2.1 port 80 after 0 ms: Couldn't connect to server\n",
        "wget: unable to resolve host address ‘example.org’\n",
        "fatal: unable to access 'https://example.org/x.git/': Could not resolve host: example.org\n",
        "OSError: [Errno 101] Network is unreachable\n",
        "socket.gaierror: [Errno -3] Temporary failure in name resolution\n",
        "go: example.org/x@v1.0.0: Get \"https://example.org/x\": dial tcp: lookup example.org: no such host\n",
    ] {
        assert_eq!(category(printed), (Category::SecurityViolation, false), "{printed}");
    }
}

#[test]
fn what_fails_on_the_loopback_or_for_another_reason_stays_what_it_was() {
    for printed in [
        "ConnectionRefusedError: [Errno 111] Connection refused\n",
        "curl: (7) Failed to connect to 127.0.0.1 port 80 after 0 ms: Couldn't connect to server\n",
        "curl: (7) Failed to connect to localhost port 80 after 0 ms: Couldn't connect to server\n",
        "curl: (22) The requested URL returned error: 404\n",
    ] {
        assert_eq!(category(printed).0, Category::NetworkIssues, "{printed}");
    }
    assert_eq!(category("a.c:1:1: error: expected ';'\n").0, Category::CompilationFailure);
}
