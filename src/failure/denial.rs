//! What a task that was kept in says of its attempts to get out.
//!
//! Owns: how tools word that they may not write to a path, or reach a host. Does not know: where a task may write, and
//! whether anything but the sandbox is in the way (its caller does).
//!
//! The kernel tells nobody of a denial but who was denied. So only those are seen that a tool printed, with an absolute path,
//! before it failed.

use std::io::{self, BufRead, Read as _};
use std::path::Path;
use std::sync::LazyLock;

use regex::bytes::{Regex, RegexBuilder};

use super::fact::Fact;
use super::line::{self, Line};
use super::{Category, Failure};

/// Of a longer line only so much is looked at.
const LINE_BYTES_MOST: u64 = 64 * 1024;

/// A path that a tool could not do something with, for want of a permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused<'a> {
    /// Which, absolute.
    pub path: &'a Path,
    /// It may be that it was to be executed, not written to.
    pub perhaps_executed: bool,
}

fn regex(pattern: &str) -> Regex {
    RegexBuilder::new(pattern).unicode(false).case_insensitive(true).build().expect("a sound pattern")
}

static REFUSAL: LazyLock<Regex> =
    LazyLock::new(|| regex(r"permission denied|operation not permitted|AccessDeniedException"));

/// In quotes, which are backticks by now, or up to what can stand behind a path.
static PATH: LazyLock<Regex> =
    LazyLock::new(|| regex(r"`(/[^`]*)`|(?:^|[\s`(\[=>])(/[^\s`,;()\[\]]*[^\s`,;()\[\]:.])"));

/// What stands before a path that a shell or the like could not execute, and may stand before one that it could not open.
static EXECUTES: LazyLock<Regex> = LazyLock::new(|| {
    regex(concat!(
        r"(?:^|[\s/])(?:(?:ba|da|k|z|mk)?sh|g?make(?:\[\d+\])?|env|nice|nohup|timeout|xargs|time|setsid|stdbuf|busybox): (?:line )?(?:\d+: )?`?$",
        r"|: (?:line )?\d+: `?$",
        r"|(?:exec\w*|execut\w*|run|running|start|starting|spawn\w*)(?: command| program)?:? *`?$",
    ))
});

static REFUSAL_FOLLOWS: LazyLock<Regex> =
    LazyLock::new(|| regex(r"^`?: (?:permission denied|operation not permitted)"));

/// The first attempt in an output to write where `is_sandboxed` says that only the sandbox forbids it.
pub fn first_write(
    mut output: impl BufRead,
    mut is_sandboxed: impl FnMut(Refused<'_>) -> bool,
) -> io::Result<Option<Fact>> {
    let mut raw = Vec::new();
    let mut number = 1;
    loop {
        raw.clear();
        if (&mut output).take(LINE_BYTES_MOST).read_until(b'\n', &mut raw)? == 0 {
            return Ok(None);
        }
        if REFUSAL.is_match(&raw) {
            let plain = line::without_escapes(&raw);
            let text = Line::new(&plain).text;
            let found = paths(&text).into_iter().find(|refused| is_sandboxed(*refused));
            if let Some(refused) = found {
                let path = refused.path.display().to_string();
                return Ok(Some(Fact::Denied { path, line: number, text: line::shown(&plain) }));
            }
        }
        number += u64::from(raw.ends_with(b"\n"));
    }
}

/// The paths in a line that its refusal may be about.
fn paths(text: &[u8]) -> Vec<Refused<'_>> {
    let mut paths = Vec::new();
    for found in PATH.captures_iter(text) {
        let Some(path) = found.get(1).or_else(|| found.get(2)) else { continue };
        let directly = REFUSAL_FOLLOWS.is_match(&text[path.end()..]);
        // A program's own name, as it calls itself.
        if path.start() == 0 && !directly {
            continue;
        }
        let perhaps_executed = path.start() == 0 || EXECUTES.is_match(&text[..path.start()]);
        if let Ok(path) = std::str::from_utf8(path.as_bytes()) {
            paths.push(Refused { path: Path::new(path), perhaps_executed });
        }
    }
    paths
}

/// A host could not be found or reached.
static UNREACHABLE: LazyLock<Regex> = LazyLock::new(|| {
    regex(concat!(
        r"unreachable|no route to host|name resolution|dns (?:error|resolution|lookup)|resolv(?:e|ing)\b|name or service not known",
        r"|nodename nor servname|no address associated|getaddrinfo|EAI_AGAIN|ENOTFOUND|ENETUNREACH|unknown ?host|no such host",
        r"|lookup address|bad address|[a-z]://|connect(?:ed)? to |connecting to |\(7\)",
    ))
});

/// A host that a task without a network does have.
static LOOPBACK: LazyLock<Regex> =
    LazyLock::new(|| regex(r"\blocalhost\b|\b127\.\d+\.\d+\.\d+|\b0\.0\.0\.0|(?:^|[^\w:])::1?\b"));

/// The same failure, seen knowing that the task had no network: what could not be reached was outside.
#[must_use]
pub fn without_network(failure: Failure) -> Failure {
    let text = failure.evidence.text.as_bytes();
    let reached_out = UNREACHABLE.is_match(text) && !LOOPBACK.is_match(text);
    if failure.category != Category::NetworkIssues || !reached_out {
        return failure;
    }
    Failure { category: Category::SecurityViolation, ..failure }
        .hint("only fetching has the network: declare what this downloads in the recipe's `sources`")
        .pointless_to_retry()
}

#[cfg(test)]
mod tests;
