//! Where messages go: lines for people, JSON, or the journal.
//!
//! Owns: the choice, and the shape of a line of text. Does not know: what is said.

use std::fmt::{self, Write as _};
use std::io;
use std::os::unix::fs::MetadataExt as _;

use anyhow::Context as _;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use super::display::Display;
use super::output;
use crate::config::settings::LogFormat;

/// Sends messages where they belong. `KILN_LOG` filters them (`debug` shows every task).
pub(super) fn set_up(format: Option<LogFormat>, display: &Display) -> anyhow::Result<()> {
    let format =
        format.unwrap_or_else(|| if journald_listens() { LogFormat::Journald } else { LogFormat::Text });
    let filter = EnvFilter::try_from_env("KILN_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let writer = display.clone();
    let layer = match format {
        LogFormat::Text => tracing_subscriber::fmt::layer()
            .event_format(Line { colour: output::coloured_stderr() })
            .with_writer(move || writer.writer())
            .boxed(),
        LogFormat::Json => tracing_subscriber::fmt::layer()
            .json()
            .flatten_event(true)
            .with_writer(move || writer.writer())
            .boxed(),
        LogFormat::Journald => tracing_journald::layer()
            .context("cannot reach journald: --log-format text or json")?
            .with_syslog_identifier("kiln".to_owned())
            .with_field_prefix(None)
            .boxed(),
    };
    tracing_subscriber::registry()
        .with(layer.with_filter(filter))
        .try_init()
        .context("cannot set up messages")
}

/// Whether standard error is the journal's (systemd.exec(5), `JOURNAL_STREAM`).
fn journald_listens() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    std::fs::metadata("/proc/self/fd/2").is_ok_and(|meta| stream == format!("{}:{}", meta.dev(), meta.ino()))
}

/// `12:03:04 zlib: completed in 5s`
struct Line {
    colour: bool,
}

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut message = Message::default();
        event.record(&mut message);
        let time = jiff::Zoned::now().strftime("%H:%M:%S").to_string();
        let (word, code) = match *event.metadata().level() {
            Level::ERROR => ("error: ", "\x1b[31m"),
            Level::WARN => ("warning: ", "\x1b[33m"),
            Level::INFO => ("", ""),
            Level::DEBUG | Level::TRACE => ("", "\x1b[2m"),
        };
        let package = message.package.map(|name| format!("{name}: ")).unwrap_or_default();
        if self.colour && !code.is_empty() {
            writeln!(writer, "\x1b[2m{time}\x1b[0m {code}{word}{package}{}\x1b[0m", message.text)
        } else if self.colour {
            writeln!(writer, "\x1b[2m{time}\x1b[0m {package}{}", message.text)
        } else {
            writeln!(writer, "{time} {word}{package}{}", message.text)
        }
    }
}

/// What a line shows of an event. Events about records name their package in the text.
#[derive(Default)]
struct Message {
    text: String,
    package: Option<String>,
}

impl Visit for Message {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.text.push_str(value),
            "package" => self.package = Some(value.to_owned()),
            _ => {}
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            // A String takes whatever is written.
            let _ = write!(self.text, "{value:?}");
        }
    }
}

/// A writer that leaves the display alone.
pub(super) struct Above {
    pub(super) display: Display,
}

impl io::Write for Above {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.display.print(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
