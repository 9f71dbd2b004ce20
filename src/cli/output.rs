//! Printing.
//!
//! Owns: the two streams. A reader that has gone away (`kiln plan | head`) ends the command quietly.

use std::io::{self, IsTerminal as _, Write as _};

use serde::Serialize;

use super::Exit;
use crate::driver::DriverError;
use crate::ledger::lock::LockError;

/// Prints an answer to standard output.
pub(super) fn answer(text: &str) {
    let mut stdout = io::stdout().lock();
    if let Err(error) = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        gone(&error);
    }
}

/// Prints an answer to standard output, if anybody is there to read it.
pub(super) fn answer_if_heard(text: &str) {
    let mut stdout = io::stdout().lock();
    // The command has done what it should, and says so with its exit code.
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

/// Prints an answer as JSON, while it is made.
pub(super) fn answer_json(value: &impl Serialize) -> anyhow::Result<()> {
    let mut stdout = io::BufWriter::new(io::stdout().lock());
    let written = match serde_json::to_writer_pretty(&mut stdout, value) {
        Err(error) if !error.is_io() => return Err(error.into()),
        written => written.map_err(io::Error::from),
    };
    if let Err(error) = written.and_then(|()| stdout.write_all(b"\n")).and_then(|()| stdout.flush()) {
        gone(&error);
    }
    Ok(())
}

/// Prints a diagnostic or progress to standard error.
pub(super) fn say(text: &str) {
    let mut stderr = io::stderr().lock();
    // Nobody is left to be told.
    let _ = stderr.write_all(text.as_bytes());
    if !text.ends_with('\n') {
        let _ = stderr.write_all(b"\n");
    }
}

/// Whether diagnostics may be coloured.
pub(super) fn coloured_stderr() -> bool {
    is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// Whether there is a terminal to draw on.
pub(super) fn is_terminal() -> bool {
    io::stderr().is_terminal()
}

/// An error that ended a command, with its causes.
pub(super) fn failed(error: &anyhow::Error) -> Exit {
    let mut text = format!("kiln: {error}");
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    say(&text);
    let held = matches!(error.downcast_ref(), Some(DriverError::Lock(LockError::Held { .. })));
    let refused = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>()).any(|cause| {
        [io::ErrorKind::PermissionDenied, io::ErrorKind::ReadOnlyFilesystem].contains(&cause.kind())
    });
    let not_ours = match error.downcast_ref() {
        Some(DriverError::OtherDefinition { .. }) => true,
        Some(DriverError::State { source, .. }) => source.kind() == io::ErrorKind::AlreadyExists,
        Some(
            DriverError::Lock(_)
            | DriverError::Ledger(_)
            | DriverError::Sandbox { .. }
            | DriverError::Prepare { .. },
        )
        | None => false,
    };
    let unconfined = matches!(error.downcast_ref(), Some(DriverError::Sandbox { .. }));
    if held {
        Exit::Held
    } else if not_ours {
        Exit::Usage
    } else if refused || unconfined {
        Exit::Requirements
    } else {
        Exit::Error
    }
}

fn gone(error: &io::Error) {
    if error.kind() == io::ErrorKind::BrokenPipe {
        std::process::exit(i32::from(Exit::Completed as u8));
    }
    say(&format!("kiln: cannot write to standard output: {error}"));
    std::process::exit(i32::from(Exit::Error as u8));
}

/// Columns, each as wide as its widest cell, the last one ragged.
pub(super) fn table<const N: usize, C: AsRef<str>>(
    head: [&str; N],
    rows: impl IntoIterator<Item = [C; N]>,
) -> String {
    use unicode_width::UnicodeWidthStr as _;
    let rows: Vec<[C; N]> = rows.into_iter().collect();
    let cells = || std::iter::once(head).chain(rows.iter().map(|row| row.each_ref().map(C::as_ref)));
    let mut widths = [0; N];
    for row in cells() {
        for (cell, width) in row.into_iter().zip(&mut widths) {
            *width = cell.width().max(*width);
        }
    }
    let mut text = String::new();
    for row in cells() {
        for (cell, width) in row.into_iter().zip(widths) {
            text.push_str(cell);
            text.extend(std::iter::repeat_n(' ', width - cell.width() + 2));
        }
        text.truncate(text.trim_end_matches(' ').len());
        text.push('\n');
    }
    text
}

/// Bytes for people, in 1024-based units.
pub(super) fn size(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}
