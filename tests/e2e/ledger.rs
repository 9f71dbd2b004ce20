//! The ledger, read as anybody could: SQLite and JSON.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};
use serde_json::Value;

/// Records, in order.
#[derive(Debug, Clone)]
pub(crate) struct Ledger(Vec<Value>);

impl Ledger {
    pub(crate) fn read(file: &Path) -> Self {
        let db = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        let mut select = db.prepare("SELECT record FROM records ORDER BY seq").unwrap();
        let rows = select.query_map([], |row| row.get::<_, String>(0)).unwrap();
        Self(rows.map(|row| serde_json::from_str(&row.unwrap()).unwrap()).collect())
    }

    /// Since kiln was last started.
    pub(crate) fn last_start(&self) -> Self {
        let starts = |record: &Value| matches!(kind(record), "run_started" | "run_resumed");
        let from = self.0.iter().rposition(starts).expect("kiln has run");
        Self(self.0[from..].to_vec())
    }

    /// Records of a kind.
    pub(crate) fn of(&self, name: &str) -> impl DoubleEndedIterator<Item = &Value> {
        self.0.iter().filter(move |record| kind(record) == name)
    }

    /// The only record of a kind.
    #[track_caller]
    pub(crate) fn only(&self, name: &str) -> &Value {
        let all: Vec<&Value> = self.of(name).collect();
        assert_eq!(all.len(), 1, "{name}: {all:?}");
        all[0]
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn last(&self) -> &Value {
        self.0.last().expect("kiln has run")
    }

    /// Values of a field of all records of a kind.
    pub(crate) fn all(&self, name: &str, field: &str) -> Vec<String> {
        self.of(name).map(|record| word(&record[field])).collect()
    }

    /// Packages of which a task was started, each once, by name.
    pub(crate) fn worked_on(&self) -> Vec<String> {
        let mut names = self.all("task_started", "package");
        names.sort();
        names.dedup();
        names
    }

    /// What was done between a package's attempts, and what came of it.
    pub(crate) fn actions(&self, package: &str) -> Vec<String> {
        let about = self.of("action_finished").filter(|record| record["package"] == package);
        about.map(|record| format!("{}: {}", word(&record["action"]), word(&record["result"]))).collect()
    }

    /// What happened to a package, a line a record; without what was done between attempts.
    pub(crate) fn story(&self, package: &str) -> Vec<String> {
        let about = self.0.iter().filter(|record| record["package"] == package);
        about.filter_map(line).collect()
    }
}

fn kind(record: &Value) -> &str {
    record["record"].as_str().unwrap()
}

fn word(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A record in a few words; a task's success says nothing that the next line does not.
fn line(record: &Value) -> Option<String> {
    let attempt = || format!("{} {}", word(&record["task"]), record["attempt"]);
    let again = if record["restore"] == true { " again" } else { "" };
    let tolerated = if record["tolerated"] == true { ", tolerated" } else { "" };
    Some(match kind(record) {
        "task_finished" | "action_finished" => return None,
        "gate_opened" => format!("gate {}: {}", record["gate"], word(&record["reason"])),
        "task_started" => format!("{}{again}", attempt()),
        "task_failed" => format!("{}{again}: {}{tolerated}", attempt(), word(&record["failure"]["category"])),
        "task_interrupted" => format!("{}: interrupted", attempt()),
        "package_completed" => "completed".to_owned(),
        "package_failed" => "failed".to_owned(),
        "package_skipped" => format!("skipped because of {}", word(&record["because"])),
        other => other.to_owned(),
    })
}
