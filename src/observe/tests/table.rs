//! `alerts/METRICS.md` is what the code says.

use std::fmt::Write as _;
use std::path::Path;

use prometheus::proto::MetricType;

use crate::observe::families::{FAMILIES, FamilyInfo};

/// The same as in the exposition, for people.
fn table() -> String {
    let mut text = String::from(
        "# Metrics\n\n\
         Made from `src/observe/families.rs` (`KILN_BLESS=1 cargo test metrics_md` writes it anew). Counters and histograms cover \
         the life of the\nledger, or of the process where that is said; gauges the current run, or the last. Bounded label sets are \
         complete from the first scrape on.\n\n\
         | metric | type | labels | what it says |\n| --- | --- | --- | --- |\n",
    );
    for FamilyInfo { name, kind, labels, help } in FAMILIES {
        let kind = match kind {
            MetricType::COUNTER => "counter",
            MetricType::HISTOGRAM => "histogram",
            MetricType::GAUGE | MetricType::SUMMARY | MetricType::UNTYPED => "gauge",
        };
        writeln!(text, "| `{name}` | {kind} | {} | {} |", labels.join(", "), help.replace('|', "\\|"))
            .unwrap();
    }
    text
}

#[test]
fn metrics_md_is_what_the_code_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("alerts/METRICS.md");
    if std::env::var_os("KILN_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, table()).unwrap();
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(there == table(), "{} is not made from the code: KILN_BLESS=1 writes it anew", path.display());
}
