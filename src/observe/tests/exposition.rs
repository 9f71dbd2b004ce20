//! `/metrics`: the golden file, its rules, its size.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use prometheus::core::Collector as _;
use prometheus::proto::MetricType;
use prometheus::{Encoder as _, TextEncoder};

use crate::engine::Limits;
use crate::engine::state::RunState;
use crate::failure::Category;
use crate::observe::Progress;
use crate::observe::facts::{RunnerFacts, Totals};
use crate::observe::families::{FAMILIES, FamilyInfo};
use crate::observe::live::{Filesystem, Pressure, Process, Sample};
use crate::observe::metrics::{BuildInfo, Exposition, render, render_for_later};
use crate::observe::snapshot::{Collected, Snapshot};
use crate::observe::status::{Health, Monitoring};

use super::story::{Play, SECOND, Story};

const WORDS: &str = "
    attempts 2
    phase toolchain
      needs disk 1073741824
      binutils: fetch unpack configure build install
      gcc: fetch unpack configure build check? install < binutils
    phase? desktop
      needs memory 4096
      odd: build
      xorg: build install < gcc";

fn build() -> BuildInfo {
    BuildInfo { version: "0.0.1", revision: "abc", rustversion: "1.2.3" }
}

fn sample() -> Sample {
    let filesystem = Filesystem { available: 5_000_000_000, size: 10_000_000_000, free_inodes: 1234 };
    Sample {
        filesystems: [Some(filesystem); 4],
        memory_available: Some(8_000_000_000),
        pressure: [Some(Pressure { some: 0.25, full: 0.0 }), None, Some(Pressure { some: 0.5, full: 0.125 })],
        process: Some(Process {
            cpu: 1.25,
            open_fds: 12,
            max_fds: Some(1024),
            virtual_memory: 300_000_000,
            resident_memory: 20_000_000,
            threads: 4,
            start: 1_700_000_000.5,
        }),
        collectors: [
            (Duration::from_micros(50), true),
            (Duration::from_micros(100), true),
            (Duration::from_micros(20), false),
            (Duration::ZERO, false),
        ],
    }
}

/// What is in no record.
fn with_runner(snapshot: &mut Snapshot) {
    let memory = Some([("desktop".to_owned(), 12_345_678)].into());
    snapshot.runner = Some(RunnerFacts { durable: snapshot.now, memory, ..RunnerFacts::default() });
    snapshot.totals = Totals { ledger_failures: 2, messages_dropped: 1, notification_failures: [1, 0] };
    snapshot.permissions = Some([true, true, false, true, true]);
    snapshot.collected = vec![Collected { name: "forecast", took: Duration::from_millis(3), worked: true }];
}

/// What a scrape at `now` gets.
pub(super) fn text(progress: &mut Progress, now: i64) -> String {
    progress.estimate(now);
    let mut snapshot = progress.snapshot(now, true);
    snapshot.run.digest = "0123abcd".into(); // the real one changes with what goes into it
    with_runner(&mut snapshot);
    render(build(), snapshot, sample()).unwrap()
}

/// Series of counters and histograms, and their values.
pub(super) fn counters(text: &str) -> BTreeMap<String, f64> {
    let mut kind = "";
    let mut out = BTreeMap::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            kind = rest.rsplit_once(' ').unwrap().1;
        } else if !line.starts_with('#') && kind != "gauge" {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let old = out.insert(series.to_owned(), value.parse().unwrap());
            assert_eq!(old, None, "{series} is there twice");
        }
    }
    out.retain(|series, _| !series.starts_with("process_"));
    out
}

fn series(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.starts_with('#')).map(|line| line.rsplit_once(' ').unwrap().0).collect()
}

/// The second run, in the middle: a recovered package, a failed one, one that runs.
fn halfway() -> (Story, i64) {
    let mut story = Story::new(WORDS);
    story.run(|_| Play::Ok(30));
    story.sleep(600);
    story.lost = vec!["binutils", "gcc", "odd", "xorg"];
    story.run(|task| match task {
        "binutils.build#1" => Play::Fail(7, Category::LinkFailure),
        "gcc.check#1" => Play::Fail(3, Category::CompilationFailure),
        "odd.build#1" | "odd.build#2" => Play::Fail(200, Category::DiskSpace),
        "xorg.install#1" => Play::Crash(300),
        _ => Play::Ok(90),
    });
    let now = story.now() + 5 * SECOND;
    (story, now)
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

#[test]
fn the_exposition_is_the_golden_one() {
    let (story, now) = halfway();
    let text = text(&mut story.progress(), now);
    let path = golden("metrics.prom");
    if std::env::var_os("KILN_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &text).unwrap();
    }
    let expect = std::fs::read_to_string(&path).unwrap();
    for (line, (is, should)) in text.lines().zip(expect.lines()).enumerate() {
        assert_eq!(is, should, "line {} of {} (KILN_BLESS=1 rewrites it)", line + 1, path.display());
    }
    assert_eq!(text.lines().count(), expect.lines().count());
}

#[test]
fn every_family_is_in_the_golden_exposition() {
    let (story, now) = halfway();
    let mut text = text(&mut story.progress(), now);
    // A run that has ended has what a running one has not.
    let mut ended = Story::new("phase base\n a: build");
    ended.run(super::story::quick);
    text += &self::text(&mut ended.progress(), ended.now());
    let mut asking = Story::new("attempts 1\ngates\nphase base\n a: build");
    asking.run(|_| Play::Fail(1, Category::LinkFailure));
    let asked = self::text(&mut asking.progress(), asking.now());
    let gate = "kiln_gate_info{gate=\"1\",reason=\"critical_build_failure\",phase=\"base\",package=\"a\",task=\"build\",\
                category=\"link_failure\"} 1\n";
    assert!(asked.contains(gate), "{asked}");
    text += &asked;
    for family in FAMILIES {
        assert!(text.contains(&format!("# TYPE {} ", family.name)), "{} is never exported", family.name);
    }
}

#[test]
fn families_are_named_once_and_as_prometheus_wants_them() {
    let names: BTreeSet<&str> = FAMILIES.iter().map(|family| family.name).collect();
    assert_eq!(names.len(), FAMILIES.len());
    for family in FAMILIES {
        assert_eq!(wrong(family), None, "{}", family.name);
    }
}

/// What is wrong with a family, by prometheus.io/docs/practices/naming and what promtool does not look at.
fn wrong(family: &FamilyInfo) -> Option<&'static str> {
    let counter = family.kind == MetricType::COUNTER;
    let stem = family.name.strip_suffix("_total").unwrap_or(family.name);
    let words: Vec<&str> = stem.split('_').collect();
    let last = *words.last().unwrap();
    let units = ["seconds", "bytes", "ratio"];
    let unit = words.iter().position(|word| units.contains(word));
    let bad_words = [
        "percent",
        "percentage",
        "ms",
        "millis",
        "milliseconds",
        "minutes",
        "hours",
        "kb",
        "mb",
        "gb",
        "kib",
        "mib",
    ];
    let snake = |name: &str| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    if !family.name.starts_with("kiln_") && !family.name.starts_with("process_") {
        Some("has no prefix")
    } else if !snake(family.name) || family.labels.iter().any(|label| !snake(label) || label.starts_with('_'))
    {
        Some("is not in snake case")
    } else if family.name.ends_with("_total") != counter {
        Some("is a counter without _total, or the other way round")
    } else if words.iter().any(|word| bad_words.contains(word)) {
        Some("is in no base unit")
    } else if unit.is_some_and(|at| at + 1 != words.len()) {
        Some("has its unit not at the end")
    } else if words.contains(&"timestamp") && last != "seconds" {
        Some("is a timestamp without _seconds")
    } else if words.contains(&"duration") && last != "seconds" || words.contains(&"memory") && last != "bytes"
    {
        Some("has no unit")
    } else if family.kind == MetricType::HISTOGRAM && unit.is_none() {
        Some("is a histogram without a unit")
    } else if ["count", "sum", "bucket", "created"].contains(&last) {
        Some("looks like a part of a histogram")
    } else if last == "info" && family.labels.is_empty() {
        Some("has nothing to tell")
    } else if ["le", "quantile", "job", "instance", "build_id"]
        .iter()
        .any(|label| family.labels.contains(label) && family.name != "kiln_run_info")
    {
        Some("has a label that is Prometheus's, or a run's")
    } else if family.labels.iter().any(|label| family.name.contains(&format!("_by_{label}"))) {
        Some("says its label in its name")
    } else if !family.help.ends_with('.') || family.help.len() < 20 || family.help.contains('\n') {
        Some("has no help that teaches")
    } else {
        None
    }
}

#[test]
fn what_promtool_does_not_see_is_seen() {
    let of = |name, kind, labels| FamilyInfo { name, kind, labels, help: "Says what it is in a line." };
    let gauge = |name| wrong(&of(name, MetricType::GAUGE, &[]));
    let bad = [
        "kiln_run_start_timestamp",
        "kiln_run_progress_percent",
        "kiln_seconds_running",
        "kiln_bytes_free",
        "kiln_run_duration",
        "kiln_duration_ms",
        "kiln_memory",
        "kiln_things_total",
        "kiln_things_count",
        "KilnThings",
        "things",
    ];
    for name in bad {
        assert!(gauge(name).is_some(), "{name}");
    }
    assert!(wrong(&of("kiln_things", MetricType::COUNTER, &[])).is_some());
    assert!(wrong(&of("kiln_size", MetricType::HISTOGRAM, &[])).is_some());
    assert!(wrong(&of("kiln_x_info", MetricType::GAUGE, &["build_id"])).is_some());
    assert_eq!(gauge("kiln_job_slots"), None);
}

/// The crate's own vectors would take these two for one.
#[test]
fn label_values_that_read_the_same_when_joined_are_two_series() {
    let mut story = Story::new("attempts 1\nphase? a\n bc: build\nphase? ab\n c: build");
    story.run(|_| Play::Fail(1, Category::LinkFailure));
    let text = text(&mut story.progress(), story.now());
    for labels in [r#"phase="a",package="bc""#, r#"phase="ab",package="c""#] {
        assert!(text.contains(&format!("kiln_escalation_level{{{labels}}} 2\n")), "{text}");
    }
}

#[test]
fn a_registry_takes_the_collector_and_gathers_the_same() {
    let (story, now) = halfway();
    let mut progress = story.progress();
    progress.estimate(now);
    let snapshot = progress.snapshot(now, true);
    let text = render(build(), snapshot.clone(), sample()).unwrap();
    let exposition = Exposition::new(build(), snapshot, Some(sample())).unwrap();
    let mut own: Vec<String> = exposition.collect().iter().map(|family| family.name().to_owned()).collect();
    own.sort();
    let registry = prometheus::Registry::new();
    registry.register(Box::new(exposition)).unwrap();
    let gathered = registry.gather();
    assert_eq!(gathered.iter().map(|family| family.name().to_owned()).collect::<Vec<_>>(), own);
    let mut encoded = Vec::new();
    TextEncoder::new().encode(&gathered, &mut encoded).unwrap();
    let encoded = String::from_utf8(encoded).unwrap();
    let sorted = |text: &str| series(text).into_iter().map(str::to_owned).collect::<BTreeSet<_>>();
    assert_eq!(sorted(&encoded).symmetric_difference(&sorted(&text)).count(), 0);
}

#[test]
fn what_is_left_for_node_exporter_is_true_for_good() {
    let (story, now) = halfway();
    let text = render_for_later(build(), story.progress().snapshot(now, true)).unwrap();
    for gone in
        ["process_", "kiln_collector", "kiln_filesystem", "kiln_memory", "kiln_pressure", "kiln_permission"]
    {
        assert!(!text.contains(&format!("\n{gone}")), "{gone}: {text}");
    }
    assert!(text.contains("\nkiln_runner_up 0\n") && text.contains("\nkiln_task_attempts_total{"), "{text}");
}

#[test]
fn labels_are_escaped() {
    let (story, now) = halfway();
    let mut snapshot = story.progress().snapshot(now, true);
    snapshot.run.definition = "a\"b\\c\nd".into();
    let text = render(build(), snapshot, sample()).unwrap();
    assert!(text.contains(r#"definition="a\"b\\c\nd""#), "{text}");
}

#[test]
fn kiln_series_is_the_number_of_series() {
    let (story, now) = halfway();
    let text = text(&mut story.progress(), now);
    let said = text.lines().find_map(|line| line.strip_prefix("kiln_series ")).unwrap();
    assert_eq!(said.parse::<usize>().unwrap(), series(&text).len());
    assert_eq!(series(&text).iter().collect::<BTreeSet<_>>().len(), series(&text).len(), "no series twice");
}

#[test]
fn before_the_first_run_there_is_a_whole_exposition_with_no_time_in_it() {
    let story = Story::new("phase base\n a: build");
    let text = text(&mut story.progress(), SECOND);
    assert!(text.contains("kiln_run_state{state=\"idle\"} 1"));
    assert!(text.contains("kiln_errors_total{category=\"security_violation\"} 0"));
    assert!(text.contains("kiln_task_attempts_total{phase=\"base\",task=\"merge\"} 0"));
    for absent in
        ["kiln_run_info", "kiln_run_start_", "kiln_run_estimated", "kiln_run_expected", "kiln_phase_start"]
    {
        assert!(!text.contains(absent), "{absent}");
    }
}

#[test]
fn the_number_of_series_is_bounded_whatever_the_size_of_the_plan() {
    let (phases, packages) = (6, 34_288);
    let mut words = String::from("method parallel\nattempts 3\ndelay 0\n");
    for index in 0..packages {
        if index % (packages / phases) == 0 && index / (packages / phases) < phases {
            writeln!(words, "phase? p{}", index / (packages / phases)).unwrap();
        }
        // Fifty of them are fetched at once; the others would only take longer.
        let fetch = if index < 2000 { "fetch " } else { "" };
        writeln!(words, "k{index}: {fetch}build").unwrap();
    }
    let mut story = Story::new(&words);
    story.limits = Limits { jobs: 3, fetches: 50, ..story.limits };
    story.run(|task| {
        let number = task.bytes().fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        match number % 5 {
            0 => Play::Fail(1, Category::NetworkIssues),
            _ => Play::Ok(1),
        }
    });
    let failures = |progress: &Progress| progress.failures().list().len().min(100);
    let mut most = 0;
    // After 60 records fifty fetches are under way.
    for count in (0..=story.entries.len()).step_by(story.entries.len() / 4).chain([60]) {
        let mut progress = story.progress_after(count);
        let now = story.entries[count.saturating_sub(1)].wall;
        let text = text(&mut progress, now);
        let bound = 350 + 60 * phases + 4 * 3 + 4 * failures(&progress);
        assert!(series(&text).len() <= bound, "{} series, {bound} allowed", series(&text).len());
        let active = series(&text).iter().filter(|series| series.starts_with("kiln_active_")).count();
        assert!(active <= 2 * (2 * 3 + 8), "{active} series of running tasks");
        most = most.max(failures(&progress));
    }
    assert_eq!(most, 100, "the test is about something");
}

/// A gate behind a hundred packages that only had to be tried again would have no name.
#[test]
fn of_too_many_failed_packages_those_that_matter_most_are_told() {
    let mut words = String::from("attempts 2\ndelay 0\nphase base\n");
    for index in 0..110 {
        writeln!(words, "k{index:03}: build").unwrap();
    }
    let mut story = Story::new(&words);
    story.run(|task| match task.split_once('.').unwrap().0 {
        "k109" => Play::Fail(1, Category::LinkFailure),
        _ if task.ends_with("#1") => Play::Fail(1, Category::LinkFailure),
        _ => Play::Ok(1),
    });
    let text = text(&mut story.progress(), story.now());
    assert!(text.contains("kiln_failed_package_info{phase=\"base\",package=\"k109\""), "{text}");
}

#[test]
fn promtool_has_nothing_to_say() {
    let promtool = std::env::var_os("PROMTOOL").unwrap_or_else(|| "promtool".into());
    let command = Command::new(&promtool)
        .args(["check", "metrics"])
        .stdin(std::fs::File::open(golden("metrics.prom")).unwrap())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let child = match command {
        Ok(child) => child,
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "promtool cannot be run: {error}");
            println!("promtool_has_nothing_to_say: skipped, there is no promtool");
            return;
        }
    };
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.is_empty(), "{said}");
}

#[test]
fn a_runner_that_is_gone_is_not_up() {
    let (story, now) = halfway();
    let up = |alive| render(build(), story.progress().snapshot(now, alive), sample()).unwrap();
    assert!(up(true).contains("\nkiln_runner_up 1\n"));
    assert!(up(false).contains("\nkiln_runner_up 0\n"));
}

#[test]
fn a_run_whose_ledger_cannot_be_written_is_paused() {
    let (story, now) = halfway();
    let mut snapshot = story.progress().snapshot(now, true);
    snapshot.runner = Some(RunnerFacts { blocked: Some("full".into()), ..RunnerFacts::default() });
    assert_eq!(snapshot.state(), RunState::Paused);
    let text = render(build(), snapshot.clone(), sample()).unwrap();
    assert!(text.contains("\nkiln_run_state{state=\"paused\"} 1\n"));
    assert!(text.contains("\nkiln_run_state{state=\"running\"} 0\n"));
    let health = Monitoring::of(&snapshot).metrics.health_status;
    assert_eq!(health, Health::Attention);
}
