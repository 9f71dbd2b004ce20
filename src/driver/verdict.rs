//! From what kiln's own tools say to a failure in the framework's words.
//!
//! Owns: which error means which category. Does not know: what scripts print (`failure`), retries.

use std::error::Error;
use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

use crate::config::recipe::Limits;
use crate::engine::message::Usage;
use crate::failure::classify::{Case, End};
use crate::failure::denial;
use crate::failure::fact::Fact;
use crate::failure::output::Output;
use crate::failure::{Category, Failure};
use crate::plan::TaskKind;

use super::fetch::FetchError;
use super::sandbox::Cell;
use super::spawn::{Ended, Exit, SpawnError, Usage as ProcessUsage};
use super::stage::StageError;
use super::stage::plan::MergeError;
use super::stage::tree::CaptureError;
use super::unpack::UnpackError;

const KILN: &str = "kiln";

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let said = next.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = next.source();
    }
    text
}

fn io_category(error: &io::Error) -> Category {
    use io::ErrorKind as K;
    let kind = error.kind();
    let errno = error.raw_os_error();
    // A disk that does not work is, among the framework's categories, one that has no space.
    let no_disk = [libc::EIO, libc::EROFS, libc::ENXIO, libc::ENODEV, libc::ESTALE, libc::ENOTCONN];
    let no_disk = errno.is_some_and(|errno| no_disk.contains(&errno));
    if [K::StorageFull, K::QuotaExceeded].contains(&kind) || no_disk {
        Category::DiskSpace
    } else if kind == K::OutOfMemory {
        Category::MemoryAllocation
    } else if kind == K::WouldBlock || [Some(libc::EMFILE), Some(libc::ENFILE)].contains(&errno) {
        Category::ProcessLimits
    } else {
        Category::ConfigurationError
    }
}

fn fact(category: Category, error: &dyn Error) -> Failure {
    Failure::fact(category, KILN, chain(error))
}

/// What the kernel says of a script that failed.
pub(super) fn facts(group: &Ended, limits: &Limits) -> Vec<Fact> {
    let mut facts = Vec::new();
    if group.oom_kills > 0 {
        facts.push(Fact::OutOfMemory {
            killed: group.oom_kills,
            first: group.oom_killed.first().cloned(),
            limit: limits.memory.map(|limit| limit.to_string()),
        });
    }
    if group.pids_refused > 0 {
        facts.push(Fact::ProcessLimit { refused: group.pids_refused, limit: limits.pids });
    }
    facts
}

/// A script ended otherwise than with exit code 0. `facts`: what the kernel says; what its output, in `log`, says comes on top.
pub(super) fn script(kind: TaskKind, exit: Exit, mut facts: Vec<Fact>, log: &Path, cell: &Cell) -> Failure {
    // An output that cannot be read says nothing.
    let output = File::open(log).and_then(Output::read_from).unwrap_or_default();
    facts.extend(cell.denial(log).unwrap_or_default());
    let end = match exit {
        Exit::Code(code) => End::Status(code),
        Exit::Signal(signal) => End::Signal(signal),
        Exit::Lost => End::Lost,
    };
    let case = Case { kind: Some(kind), facts: &facts, end };
    let failure = case.classify(output).expect("only exit code 0 needs no explanation");
    if cell.network { failure } else { denial::without_network(failure) }
}

pub(super) fn spawn(error: &SpawnError) -> Failure {
    let category = match error {
        SpawnError::Exec { source, .. } | SpawnError::Group(source) | SpawnError::Confine(source) => {
            io_category(source)
        }
        SpawnError::NoProgram
        | SpawnError::Duplicate(_)
        | SpawnError::Internal(_)
        | SpawnError::ShuttingDown => Category::ConfigurationError,
    };
    fact(category, error)
}

/// Where a script would work could not be made ready.
pub(super) fn work_directory(error: &io::Error) -> Failure {
    Failure::fact(io_category(error), KILN, format!("cannot make the work directory ready: {error}"))
}

pub(super) fn fetch(error: &FetchError) -> Failure {
    match error {
        FetchError::DigestMismatch { failures, .. } => {
            let failure = fact(Category::SecurityViolation, error)
                .hint("compare the recipe's sha256 with upstream's announcement before changing either");
            // The mirror that gave something else is not asked again, but one that could not be reached is.
            let may_pass = failures.iter().any(|failure| failure.reason.is_the_hosts());
            if may_pass { failure.worth_retrying() } else { failure }
        }
        FetchError::Unavailable { .. } => fact(Category::NetworkIssues, error)
            .hint("look at each mirror's answer; all sources can be fetched ahead of a build"),
        FetchError::Offline { .. } => {
            fact(Category::NetworkIssues, error).hint("fetch it once without `offline`").pointless_to_retry()
        }
        FetchError::Cancelled => fact(Category::NetworkIssues, error),
        FetchError::Io { source, .. } => fact(io_category(source), error),
        FetchError::Invalid { .. } => fact(Category::ConfigurationError, error).pointless_to_retry(),
    }
}

pub(super) fn unpack(error: &UnpackError) -> Failure {
    match error {
        UnpackError::Escape { .. } => fact(Category::SecurityViolation, error),
        UnpackError::Damaged { .. } => fact(Category::BrokenDependency, error)
            .hint("its digest is the recipe's: see whether upstream's file is whole, and take that one's digest")
            .pointless_to_retry(),
        UnpackError::Io { source, .. } => fact(io_category(source), error),
        UnpackError::Cancelled => fact(Category::ConfigurationError, error),
    }
}

pub(super) fn stage(error: &StageError) -> Failure {
    match error {
        StageError::SecurityViolation { .. } | StageError::Replaced => {
            fact(Category::SecurityViolation, error)
        }
        StageError::Socket { .. } | StageError::Rule { .. } | StageError::Path { .. } => {
            fact(Category::ConfigurationError, error).pointless_to_retry()
        }
        StageError::Changed { .. } | StageError::Damaged { .. } => fact(Category::ConfigurationError, error),
        StageError::Io { source, .. } => fact(io_category(source), error),
    }
}

pub(super) fn merge(error: &MergeError) -> Failure {
    match error {
        MergeError::Conflict(_) => fact(Category::ConfigurationError, error)
            .hint("name the owner in `replaces` if this package may take its paths over")
            .pointless_to_retry(),
        MergeError::SecurityViolation { .. } => fact(Category::SecurityViolation, error),
        MergeError::Io { source, .. } => fact(io_category(source), error),
        MergeError::Damaged { .. } | MergeError::Blocked { .. } | MergeError::Interrupted => {
            fact(Category::ConfigurationError, error)
        }
    }
}

/// A package's files in the sysroot could not be looked at.
pub(super) fn look(error: &MergeError) -> Failure {
    let MergeError::Io { path, source } = error else { return merge(error) };
    Failure::fact(io_category(source), KILN, format!("cannot look at `{path}` in the sysroot: {source}"))
}

pub(super) fn capture(error: &CaptureError) -> Failure {
    match error {
        CaptureError::Merge(error) => merge(error),
        CaptureError::Stage(error) => stage(error),
    }
}

/// `provides` names what `install` did not make.
pub(super) fn not_provided(path: &str) -> Failure {
    Failure::fact(
        Category::ConfigurationError,
        KILN,
        format!("`provides` names `{path}`, which `install` did not make"),
    )
    .hint("correct the recipe's `install` or its `provides`")
}

/// What a task used: its control group knows better than its processes, of which only those count that were waited for.
pub(super) fn usage(usage: &ProcessUsage, group: Option<&Ended>) -> Usage {
    let nanos = |span: Duration| u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
    Usage {
        cpu: group
            .and_then(|group| group.cpu)
            .map_or_else(|| nanos(usage.user).saturating_add(nanos(usage.system)), nanos),
        peak_memory: group.and_then(|group| group.memory_peak).unwrap_or(usage.max_rss_bytes),
        ..Usage::default()
    }
}
