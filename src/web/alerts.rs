//! `POST /api/v1/alerts`: what Alertmanager tells of, into the journal.
//!
//! Owns: its webhook's document (version 4), and how much of it is taken. Does not know: who may send it (`routes`), how an
//! entry looks (`observe::notices`).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::Deserialize;

use crate::observe::notices::Alert;

/// Bytes of a document: of `ENTRIES_MOST` alerts with all their labels and texts it has a third.
pub(super) const BYTES_MOST: usize = 1024 * 1024;
/// Entries in a row, and how soon there is room for another: nobody fills the journal through this.
const ENTRIES_MOST: u32 = 200;
const EVERY: Duration = Duration::from_secs(1);

/// As Alertmanager sends it; what it says beside this does not matter here.
#[derive(Debug, Deserialize)]
struct Document {
    alerts: Vec<Told>,
}

#[derive(Debug, Deserialize)]
struct Told {
    status: Status,
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    Firing,
    Resolved,
}

/// Why a document is not taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("no alerts of Alertmanager's: {0}")]
    Wrong(String),
    #[error("too many alerts: try again later")]
    TooMany,
}

/// How many entries there is room for, and as of when.
#[derive(Debug)]
pub(super) struct Alerts(Mutex<(u32, Option<Instant>)>);

impl Default for Alerts {
    fn default() -> Self {
        Self(Mutex::new((ENTRIES_MOST, None)))
    }
}

impl Alerts {
    /// Writes an entry for each alert of a document, or none.
    pub(super) fn take(&self, body: &[u8], now: Instant) -> Result<usize, Refused> {
        let document: Document =
            serde_json::from_slice(body).map_err(|error| Refused::Wrong(error.to_string()))?;
        if !self.has_room(document.alerts.len(), now) {
            return Err(Refused::TooMany);
        }
        for Told { status, labels, annotations } in &document.alerts {
            let label = |name: &str| labels.get(name).map(String::as_str);
            Alert {
                name: label("alertname").unwrap_or_default(),
                severity: label("severity").unwrap_or_default(),
                firing: *status == Status::Firing,
                summary: annotations.get("summary").map_or("", String::as_str),
                phase: label("phase"),
                package: label("package"),
                gate: label("gate"),
            }
            .emit();
        }
        Ok(document.alerts.len())
    }

    fn has_room(&self, count: usize, now: Instant) -> bool {
        let mut room = self.0.lock();
        let (free, since) = &mut *room;
        let begun = *since.get_or_insert(now);
        let more = u32::try_from(now.saturating_duration_since(begun).as_nanos() / EVERY.as_nanos())
            .unwrap_or(u32::MAX);
        *free = free.saturating_add(more).min(ENTRIES_MOST);
        *since = Some(begun + EVERY * more);
        match u32::try_from(count).ok().and_then(|count| free.checked_sub(count)) {
            Some(left) => {
                *free = left;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(count: usize) -> Vec<u8> {
        let alert =
            r#"{"status": "firing", "labels": {"alertname": "A"}, "startsAt": "2026-01-01T00:00:00Z"}"#;
        let all = vec![alert; count].join(",");
        format!(r#"{{"version": "4", "groupKey": "{{}}", "status": "firing", "alerts": [{all}]}}"#)
            .into_bytes()
    }

    #[test]
    fn alerts_are_taken_as_long_as_there_is_room() {
        let alerts = Alerts::default();
        let begun = Instant::now();
        let after = |seconds| begun + Duration::from_secs(seconds);
        assert_eq!(alerts.take(&document(150), after(0)), Ok(150));
        assert_eq!(alerts.take(&document(60), after(5)), Err(Refused::TooMany), "and none of them is");
        assert_eq!(alerts.take(&document(55), after(5)), Ok(55));
        assert_eq!(alerts.take(&document(1), after(5)), Err(Refused::TooMany));
        assert_eq!(alerts.take(&document(200), after(100_000)), Ok(200), "room does not grow for ever");
        assert_eq!(alerts.take(&document(1), after(100_000)), Err(Refused::TooMany));
        assert_eq!(alerts.take(&document(1), after(100_001)), Ok(1));
    }

    #[test]
    fn what_is_no_document_is_refused() {
        let refused = |body: &str| {
            matches!(Alerts::default().take(body.as_bytes(), Instant::now()), Err(Refused::Wrong(_)))
        };
        for body in ["", "{", "[]", r#"{"alerts": [{"status": "maybe", "labels": {}}]}"#, r#"{"alerts": 1}"#]
        {
            assert!(refused(body), "{body}");
        }
    }
}
