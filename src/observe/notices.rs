//! Messages about what no record tells: alerts that have fired, and kiln itself.
//!
//! Owns: their text, severity and fields. Does not know: who sends alerts, where messages go.

use crate::words::count;

use super::events::{ALERT, MESSAGES_DROPPED, PANICKED};
use super::human::plain;

/// An alert, as Alertmanager tells of it. Its texts may be anybody's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alert<'a> {
    /// Its name.
    pub name: &'a str,
    /// `critical`, `warning`, or anything else.
    pub severity: &'a str,
    /// Whether it fires; otherwise it is resolved.
    pub firing: bool,
    /// What it says.
    pub summary: &'a str,
    /// Phase that it is about.
    pub phase: Option<&'a str>,
    /// Package that it is about.
    pub package: Option<&'a str>,
    /// Gate that it is about.
    pub gate: Option<&'a str>,
}

impl Alert<'_> {
    /// Says it to whoever listens to `tracing`.
    pub fn emit(&self) {
        let [name, severity, summary] = [self.name, self.severity, self.summary].map(plain);
        let [phase, package, gate] = [self.phase, self.package, self.gate]
            .map(|label| label.map(plain).filter(|label| !label.is_empty()));
        let status = if self.firing { "firing" } else { "resolved" };
        let verb = if self.firing { "fires" } else { "is resolved" };
        macro_rules! say {
            ($level:ident) => {
                tracing::$level!(
                    MESSAGE_ID = ALERT,
                    ALERT = name,
                    ALERT_SEVERITY = severity,
                    ALERT_STATUS = status,
                    PHASE = phase,
                    PACKAGE = package,
                    GATE_ID = gate,
                    "alert {name} ({severity}) {verb}: {summary}"
                )
            };
        }
        match (self.firing, &*severity) {
            (true, "critical") => say!(error),
            (true, "warning") => say!(warn),
            (true | false, _) => say!(info),
        }
    }
}

/// So many messages found no room while nobody took any.
pub fn messages_dropped(dropped: u64) {
    let what = count(dropped, "message");
    let were = if dropped == 1 { "was" } else { "were" };
    tracing::warn!(
        MESSAGE_ID = MESSAGES_DROPPED,
        DROPPED = dropped,
        "{what} {were} dropped here: whoever reads them did not keep up"
    );
}

/// A thread has panicked, which is a fault of kiln's. A backtrace stands on lines of its own.
pub fn panicked(thread: &str, place: &str, why: &str, backtrace: &str) {
    tracing::error!(
        MESSAGE_ID = PANICKED,
        THREAD = thread,
        "a fault of kiln's: thread `{thread}` panicked at {place}: {}{backtrace}",
        plain(why)
    );
}
