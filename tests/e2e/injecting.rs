//! Fault injection: for each of the framework's 13 categories a build that really fails, with the tools that real builds
//! fail with; what kiln takes it for, what it does about it, how often it tries, and how that ends.
//!
//! Each has one package, `p`, that fails; what is printed, and killed, is the tool's and the kernel's own doing. Where a
//! machine does not permit the injection (control groups, a file system of one's own), the test says `skipped`.

use std::fs;
use std::net::TcpListener;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::fetching::recipe as sourced;
use super::http::Mirror;
use super::ledger::Ledger;
use super::process::Ended;
use super::space::{RUN, Space};

/// The framework's procedures where nothing is wrong with what they look at, and the package has no sources.
const AFTER_BUILD_FAILURE: [&str; 4] = [
    "cleanup_failed_build: done",
    "verify_dependencies: nothing_to_do",
    "check_resources: done",
    "retry_build: done",
];
const AFTER_DEPENDENCY_FAILURE: [&str; 4] = [
    "verify_package_availability: nothing_to_do",
    "check_alternative_sources: nothing_to_do",
    "validate_versions: nothing_to_do",
    "rebuild_dependencies: nothing_to_do",
];
const AFTER_SYSTEM_FAILURE: [&str; 4] = [
    "free_resources: nothing_to_do",
    "cleanup_temporary_files: nothing_to_do",
    "reset_build_environment: done",
    "verify_system_health: done",
];

/// A document whose single phase has the packages of `recipes`; `automatic` and `more` are added to it.
fn document(recipes: &str, critical: bool, automatic: &str, more: &str) -> String {
    let steps: Vec<&str> = recipes.lines().filter_map(|line| line.strip_prefix("package: ")).collect();
    format!(
        "build_phases: {{main: {{order: 1, critical: {critical}, steps: [{}]}}}}\n\
         dependency_tracking: {{dependency_resolution: {{method: parallel}}}}\n\
         error_recovery: {{automatic_recovery: {{delay_between_attempts: 0{automatic}}}}}\n{more}",
        steps.join(", ")
    )
}

/// These packages in a critical phase; a person may be asked.
fn critical(recipes: &str) -> Space {
    with(recipes, true, "", "")
}

fn with(recipes: &str, critical: bool, automatic: &str, more: &str) -> Space {
    let space = Space::new();
    put(&space, recipes, critical, automatic, more);
    space
}

fn put(space: &Space, recipes: &str, critical: bool, automatic: &str, more: &str) {
    space.recipes(recipes);
    space.document(&document(recipes, critical, automatic, more));
}

/// `p` with a `build` of these lines.
fn building(lines: &str) -> String {
    let script: String = lines.trim().lines().map(|line| format!("    {}\n", line.trim())).collect();
    format!("package: p\nversion: 1\ntasks:\n  build: |\n{script}")
}

/// The same; it also wants these things.
fn building_with(more: &str, lines: &str) -> String {
    building(lines).replace("tasks:", &format!("{more}\ntasks:"))
}

/// All failures of a package's tasks, in order.
fn failed(ledger: &Ledger, package: &str) -> Vec<Value> {
    ledger.of("task_failed").filter(|record| record["package"] == package).cloned().collect()
}

/// What is known of the failures of `p`, which are all for the same reason: `CATEGORY CONFIDENCE SOURCE: EVIDENCE`.
#[track_caller]
fn why(ledger: &Ledger) -> String {
    let mut all: Vec<String> = failed(ledger, "p").iter().map(|record| said(&record["failure"])).collect();
    all.dedup();
    assert_eq!(all.len(), 1, "{all:#?}");
    all.remove(0)
}

fn said(failure: &Value) -> String {
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let evidence = &failure["evidence"];
    let line = evidence["line"].as_u64().map_or_else(String::new, |line| format!(" {line}"));
    format!(
        "{} {} {}{line}: {}",
        word(&failure["category"]),
        word(&failure["confidence"]),
        word(&evidence["source"]),
        word(&evidence["text"])
    )
}

/// `p` fails three times for this reason, each time but the last these actions are taken, and then a person is asked.
#[track_caller]
fn fails_for(space: &Space, reason: &str, actions: &[&str]) -> Ended {
    let ended = space.run(4);
    let ledger = space.ledger();
    assert_eq!(why(&ledger), reason);
    assert_eq!(failed(&ledger, "p").len(), 3, "{:?}", ledger.story("p"));
    assert_eq!(ledger.actions("p"), [actions, actions].concat());
    assert_eq!(ledger.story("p").last().unwrap(), "gate 1: critical_build_failure");
    let category = reason.split(' ').next().unwrap();
    let (_, evidence) = reason.split_once(": ").unwrap();
    let ended = ended.says(&format!("gate 1 (critical_build_failure): p needs a person: {evidence}"));
    let gates = space.kiln(&["gates", "--json"]).exits(0).json();
    assert_eq!((&gates[0]["category"], &gates[0]["package"]), (&category.into(), &"p".into()));
    ended.says(&format!("p: build failed ({category}, attempt 1 of 3, again "))
}

/// How many jobs each failed attempt of `p` left for the next.
fn jobs(ledger: &Ledger) -> Vec<Option<u64>> {
    failed(ledger, "p").iter().map(|record| record["jobs"].as_u64()).collect()
}

// What compilers, linkers and build tools say.

const COMPILE_ERROR: &str = "printf 'int answer(void)\\n{\\n    return fortytwo;\\n}\\n' > answer.c
     gcc -c answer.c";
const UNDEFINED: &str = "printf 'int answer(void);\\nint main(void) { return answer(); }\\n' > main.c
     gcc -o main main.c";
const BAD_OPTION: &str = "echo \"project('x')\" > meson.build
     meson setup -Dcolour=red build";
const MISSING_HEADER: &str = "printf '#include <nosuch/header.h>\\n' > uses.c
     gcc -c uses.c";
const TOO_OLD: &str = "printf 'Name: x\\nDescription: x\\nVersion: 2.3\\n' > x.pc
     PKG_CONFIG_PATH=. pkg-config --exists --print-errors 'x >= 9'";
const CYCLE: &str = "printf 'rule cc\\n  command = cc\\nbuild a: cc b\\nbuild b: cc a\\n' > build.ninja
     ninja a";
/// The preprocessor makes a hundred megabytes of it.
const HUGE: &str = r#"printf '#define A "%s",\n' 0123456789 > huge.c
     for i in AB BC CD DE EF; do
     printf '#define %s %s %s %s %s %s %s %s %s %s %s\n' ${i#?} ${i%?} ${i%?} ${i%?} ${i%?} ${i%?} ${i%?} ${i%?} ${i%?} ${i%?} ${i%?} >> huge.c
     done
     printf 'const char *all[] = { F F F F };\n' >> huge.c"#;

#[test]
fn a_compile_error() {
    let space = critical(&building(COMPILE_ERROR));
    let reason = "compilation_failure medium output 2: answer.c:3:12: error: 'fortytwo' undeclared (first use in this function)";
    let reason = reason.replace('\'', "\u{2018}").replacen("\u{2018} ", "\u{2019} ", 1);
    fails_for(&space, &reason, &AFTER_BUILD_FAILURE);
}

#[test]
fn an_undefined_symbol() {
    let space = critical(&building(UNDEFINED));
    let ended = space.run(4);
    eprintln!("{} {}", ended.stderr, why(&space.ledger()));
}

#[test]
fn a_bad_option() {
    let space = critical(&building(BAD_OPTION));
    fails_for(
        &space,
        "configuration_error medium output 7: meson.build:1:0: ERROR: Unknown options: \"colour\"",
        &AFTER_BUILD_FAILURE,
    );
}

#[test]
fn a_missing_header() {
    let space = critical(&building(MISSING_HEADER));
    fails_for(
        &space,
        "missing_dependency medium output 1: uses.c:1:10: fatal error: nosuch/header.h: No such file or directory",
        &AFTER_DEPENDENCY_FAILURE,
    );
}

#[test]
fn a_version_that_is_too_old() {
    let space = critical(&building(TOO_OLD));
    fails_for(
        &space,
        "version_conflict medium output 2: Package 'x' has version '2.3', required version is '>= 9'",
        &AFTER_DEPENDENCY_FAILURE,
    );
}

#[test]
fn a_dependency_cycle() {
    let space = critical(&building(CYCLE));
    fails_for(
        &space,
        "circular_dependency medium output 1: ninja: error: dependency cycle: a -> b -> a",
        &AFTER_DEPENDENCY_FAILURE,
    );
}

#[test]
fn memory_that_malloc_does_not_get() {
    let space = critical(&building(&format!("{HUGE}\nulimit -v 90000\ngcc -c huge.c")));
    let ended = space.run(4);
    eprintln!("{} {:?} {:?}", ended.stderr, jobs(&space.ledger()), space.ledger().actions("p"));
    let _ = space.kiln(&["log", "p"]);
    panic!("{}", why(&space.ledger()));
}

#[test]
fn the_tasks_memory() {
    let space = critical(&building_with("limits: {memory: 64M}", &format!("{HUGE}\ngcc -c huge.c")));
    let ended = space.run(4);
    eprintln!("{} {:?} {:?}", ended.stderr, jobs(&space.ledger()), space.ledger().actions("p"));
    panic!("{}", why(&space.ledger()));
}

#[test]
fn the_tasks_processes() {
    let space = critical(&building_with("limits: {pids: 4}", "for i in 1 2 3 4 5 6; do sleep 1000 & done; wait"));
    let ended = space.run(4);
    eprintln!("{} {:?} {:?}", ended.stderr, jobs(&space.ledger()), space.ledger().actions("p"));
    panic!("{}", why(&space.ledger()));
}
