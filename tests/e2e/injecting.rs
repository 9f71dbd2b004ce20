//! Fault injection: for each of the framework's 13 categories a build that really fails, with the tools that real builds
//! fail with; what kiln takes it for, what it does about it, how often it tries, and how that ends.
//!
//! Each has one package, `p`, that fails; what is printed, and killed, is the tool's and the kernel's own doing. All 13 are
//! injected: full disks in `disks`. Where a machine does not permit it (control groups, a file system of one's own), the test
//! says `skipped`. `attempts` has what fits no category, how often is tried, and what the definition changes of that.

mod attempts;
mod disks;

use std::fs;
use std::net::TcpListener;

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
    let lines: Vec<&str> = lines.trim().lines().map(str::trim).collect();
    format!("package: p\nversion: 1\ntasks:\n  build: |\n    {}\n", lines.join("\n    "))
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
    let reason = "compilation_failure medium output 2: answer.c:3:12: error: \u{2018}fortytwo\u{2019} undeclared (first use \
                  in this function)";
    fails_for(&space, reason, &AFTER_BUILD_FAILURE);
}

#[test]
fn an_undefined_symbol() {
    let space = critical(&building(UNDEFINED));
    fails_for(
        &space,
        "link_failure medium output 2: main.c:(.text+0x5): undefined reference to `answer'",
        &AFTER_BUILD_FAILURE,
    );
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
    )
    .says("(line 1); the tool names the cycle; break it");
}

// Limits: of memory, of what malloc gets, of processes. What follows has half the jobs.

/// A recipe whose `build` does `much` with two jobs, and `little` with one.
fn by_jobs(more: &str, much: &str, little: &str) -> String {
    building_with(more, &format!("if test $KILN_JOBS = 1; then {little}; exit 0; fi\n{much}"))
}

/// It fails with two jobs for want of something, and completes with the one that is left of them.
#[track_caller]
fn recovers_with_fewer_jobs(recipe: &str, category: &str, actions: &[&str]) -> Option<Ledger> {
    let space = critical(recipe);
    let ended = space.kiln(&RUN);
    if !ended.stderr.contains("tasks have control groups") && recipe.contains("limits:") {
        eprintln!("skipped: {}", ended.stderr);
        return None;
    }
    ended.exits(0);
    let ledger = space.ledger();
    assert_eq!(ledger.story("p"), ["build 1", &format!("build 1: {category}"), "build 2", "completed"]);
    assert_eq!(jobs(&ledger), [Some(1)], "half of two");
    assert_eq!(ledger.actions("p"), actions);
    Some(ledger)
}

#[test]
fn a_compiler_that_exceeds_the_tasks_memory() {
    let recipe = by_jobs("limits: {memory: 64M}", &format!("{HUGE}\ngcc -c huge.c"), "true");
    let ledger = recovers_with_fewer_jobs(&recipe, "resource_exhaustion", &AFTER_BUILD_FAILURE);
    let Some(ledger) = ledger else { return };
    let reason =
        "resource_exhaustion high kernel: the kernel killed `cc1` for memory: the task's limit is 64M";
    assert_eq!(why(&ledger), reason);
}

#[test]
fn a_compiler_that_gets_no_more_memory_from_malloc() {
    let recipe = by_jobs("", &format!("{HUGE}\nulimit -v 60000\ngcc -c huge.c"), "true");
    let ledger = recovers_with_fewer_jobs(&recipe, "memory_allocation", &AFTER_SYSTEM_FAILURE);
    // Which of its several words for it gcc takes depends on who asked malloc.
    let reason = why(&ledger.unwrap());
    assert!(reason.starts_with("memory_allocation medium output"), "{reason}");
    assert!(reason.ends_with("annot allocate memory") || reason.contains("out of memory"), "{reason}");
}

#[test]
fn more_processes_than_the_task_may_have() {
    let all = "for i in 1 2 3 4 5 6; do sleep 1000 & done; wait";
    let recipe = by_jobs("limits: {pids: 4}", all, "sleep 1000 & kill $!");
    let Some(ledger) = recovers_with_fewer_jobs(&recipe, "process_limits", &AFTER_SYSTEM_FAILURE) else {
        return;
    };
    assert!(why(&ledger).starts_with("process_limits high kernel: the kernel refused "), "{}", why(&ledger));
    assert!(
        why(&ledger).ends_with(" more processes or threads: its limit of 4 was reached"),
        "{}",
        why(&ledger)
    );
}

#[test]
fn what_no_number_of_jobs_helps_is_given_up() {
    let recipe = building("ulimit -v 60000\nhead -c 200M /dev/zero | tail");
    let space = critical(&recipe);
    fails_for(&space, "memory_allocation medium output 1: tail: memory exhausted", &AFTER_SYSTEM_FAILURE);
    assert_eq!(jobs(&space.ledger()), [Some(1), Some(1), None]);
}

// The network.

/// A port of this machine where nobody listens.
fn nobody() -> String {
    format!("http://{}/data.txt", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap())
}

#[test]
fn a_mirror_that_cannot_be_reached() {
    let space = Space::new();
    let source = space.source("data.txt", b"right");
    let nobody = nobody();
    put(&space, &sourced(&source.entry(&[&nobody])).replace("sourced", "p"), true, "", "");
    space.run(4);
    let ledger = space.ledger();
    let reason = why(&ledger);
    assert!(
        reason.starts_with(&format!(
            "network_issues high kiln: `data.txt` is nowhere to be had; {nobody}: cannot connect: "
        )),
        "{reason}"
    );
    let actions =
        [&AFTER_SYSTEM_FAILURE[..2], &["reset_build_environment: nothing_to_do"], &AFTER_SYSTEM_FAILURE[3..]];
    assert_eq!(ledger.actions("p"), [actions.concat(), actions.concat()].concat());
    assert_eq!(ledger.story("p").last().unwrap(), "gate 1: critical_build_failure");
}

#[test]
fn a_file_that_no_mirror_has() {
    let space = Space::new();
    let source = space.source("data.txt", b"right");
    let upstream = Mirror::of(b"");
    let removed = upstream.url("data.txt");
    put(&space, &sourced(&source.entry(&[&removed])).replace("sourced", "p"), false, "", "");
    let kiln = space.start(&RUN);
    for _ in 0..3 {
        upstream.answer_not_found();
    }
    let ended = kiln.wait().exits(0);
    assert!(ended.stdout.contains("p failed at fetch"), "{}", ended.stdout);
    let reason = format!(
        "network_issues high kiln: `data.txt` is nowhere to be had; {removed}: not found: http status 404"
    );
    assert_eq!(why(&space.ledger()), reason);
    assert_eq!(failed(&space.ledger(), "p").len(), 3);
}

#[test]
fn a_connection_that_is_cut_and_the_mirror_that_is_asked_next() {
    let space = Space::new();
    let source = space.source("data.txt", b"right");
    let (cut, other) = (Mirror::of(b"right"), Mirror::of(b"right"));
    let urls = [&*cut.url("data.txt"), &*other.url("data.txt")];
    put(&space, &sourced(&source.entry(&urls)).replace("sourced", "p"), true, "", "");
    let kiln = space.start(&RUN);
    // The first gives less than it promised, again when the rest is asked for; then the second is asked.
    drop(cut.answer_but(2));
    drop(other.answer_but(0));
    kiln.wait().exits(0).says("interrupted").says(&format!("`data.txt` came from {}", urls[1]));
    assert_eq!(space.sysroot().at("src/data.txt"), "file 0644 right");
}

#[test]
fn a_mirror_that_failed_is_asked_last_the_next_time() {
    let space = Space::new();
    let source = space.source("data.txt", b"right");
    let (down, late) = (nobody(), Mirror::of(b"right"));
    let urls = [&*down, &*late.url("data.txt")];
    let more = "recovery_procedures: {system_failure: [check_alternative_sources, retry_build]}\n";
    put(&space, &sourced(&source.entry(&urls)).replace("sourced", "p"), true, "", more);
    let kiln = space.start(&RUN);
    late.answer_not_found();
    drop(late.answer_but(0));
    kiln.wait()
        .exits(0)
        .says(&format!("check_alternative_sources: `data.txt`: {} is asked first, of 2 mirrors", urls[1]));
    let ledger = space.ledger();
    assert_eq!(ledger.story("p")[..4], ["fetch 1", "fetch 1: network_issues", "fetch 2", "unpack 1"]);
    assert_eq!(ledger.actions("p"), ["check_alternative_sources: done", "retry_build: done"]);
}

// Security: never tried again.

#[test]
fn a_wrong_digest() {
    for critical in [true, false] {
        let space = Space::new();
        let source = space.source("data.txt", b"what upstream announced");
        put(&space, &sourced(&source.entry(&[&source.url()])).replace("sourced", "p"), critical, "", "");
        fs::write(&source.path, "what somebody else put there").unwrap();
        space.run(4).says("gate 1 (security_violation): p needs a person: `data.txt` from ");
        let ledger = space.ledger();
        assert!(
            why(&ledger).starts_with("security_violation high kiln: `data.txt` from file:"),
            "{}",
            why(&ledger)
        );
        assert_eq!(
            ledger.story("p"),
            ["fetch 1", "fetch 1: security_violation", "gate 1: security_violation"]
        );
        assert_eq!(ledger.actions("p"), [""; 0]);
    }
}

#[test]
fn a_setuid_file_that_nobody_declared() {
    let recipe = "package: p\nversion: 1\ntasks: {install: 'cp /bin/true \"$DESTDIR/su\"; chmod 4755 \"$DESTDIR/su\"'}\n";
    let space = critical(recipe);
    space.run(4).says("gate 1 (security_violation): p needs a person: ");
    let ledger = space.ledger();
    assert!(why(&ledger).starts_with("security_violation high kiln: `su`"), "{}", why(&ledger));
    assert_eq!(
        ledger.story("p"),
        ["install 1", "install 1: security_violation", "gate 1: security_violation"]
    );
    assert_eq!(space.sysroot().files(), [""; 0]);
    // What the recipe says is no violation.
    space.recipes(&recipe.replace("tasks:", "privileged: [su]\ntasks:"));
    space.run(0);
}

// Dependencies that are damaged.

/// `lib` has a header and an archive; `vandal` does something to them the first time; `p` is compiled with them.
fn vandalised(space: &Space, deed: &str) -> String {
    format!(
        r##"
package: lib
version: 1
tasks: {{install: 'mkdir -p "$DESTDIR/include"; echo "#define ANSWER 42" > "$DESTDIR/include/lib.h"'}}
---
package: vandal
version: 1
build_deps: [lib]
tasks:
  build: |
    {deed}
---
package: p
version: 1
build_deps: [lib, vandal]
tasks:
  build: |
    printf '#include <lib.h>\nint answer = ANSWER;\n' > answer.c
    gcc -c -I"$SYSROOT/include" answer.c
  install: cp answer.o "$DESTDIR"
"##
    )
    .replace("STATE", &space.state().display().to_string())
}

#[test]
fn a_file_of_a_dependency_that_was_deleted_is_found_before_it_is_missed() {
    let space = Space::new();
    put(&space, &vandalised(&space, "rm \"$SYSROOT/include/lib.h\""), true, "", "");
    space.run(0);
    let ledger = space.ledger();
    let reason = "broken_dependency high kiln: `lib`, which it needs, is damaged in the sysroot: `include/lib.h` is missing";
    assert_eq!(why(&ledger), reason);
    assert_eq!(ledger.story("p")[..3], ["build 1", "build 1: broken_dependency", "build 2"]);
    assert_eq!(ledger.story("lib").last().unwrap(), "completed");
    assert_eq!(ledger.actions("p"), AFTER_DEPENDENCY_FAILURE);
    assert_eq!(space.sysroot().files(), ["answer.o", "include/lib.h"]);
}

#[test]
fn where_nobody_looks_first_the_compiler_misses_it_and_recovery_puts_it_back() {
    let space = Space::new();
    let recipes = vandalised(&space, "rm \"$SYSROOT/include/lib.h\"");
    space.recipes(&recipes);
    let document = document(&recipes, true, "", "");
    let normal = "{method: parallel}, package_types: {build_deps: {verification: normal}}";
    space.document(&document.replace("{method: parallel}", normal));
    space.run(0).says("rebuild_dependencies: `lib`: `include/lib.h` is missing; merged again");
    let ledger = space.ledger();
    let reason =
        "missing_dependency medium output 1: answer.c:1:10: fatal error: lib.h: No such file or directory";
    assert_eq!(why(&ledger), reason);
    let actions = [&AFTER_DEPENDENCY_FAILURE[..3], &["rebuild_dependencies: done"]].concat();
    assert_eq!(ledger.actions("p"), actions);
    assert_eq!(ledger.story("p")[..3], ["build 1", "build 1: missing_dependency", "build 2"]);
}

#[test]
fn a_dependency_of_which_the_archive_is_damaged_too_is_built_again() {
    let space = Space::new();
    let deed = "rm \"$SYSROOT/include/lib.h\"; for f in STATE/packages/lib/*.zst; do echo >> $f; done";
    put(&space, &vandalised(&space, deed), true, "", "");
    space.run(0);
    let ledger = space.ledger();
    let again = ["package_damaged", "install 2", "merge 2", "completed"];
    assert_eq!(ledger.story("lib")[3..], again);
    assert_eq!(ledger.story("p")[..3], ["build 1", "build 1: broken_dependency", "build 2"]);
}

#[test]
fn a_source_archive_that_is_damaged_as_its_digest_names_it() {
    let space = Space::new();
    let whole = space.tarball("s.tar.gz", &[("s/file", "content")]);
    let bytes = fs::read(&whole.path).unwrap();
    let half = space.source("half.tar.gz", &bytes[..bytes.len() / 2]);
    put(&space, &sourced(&half.entry(&[&half.url()])).replace("sourced", "p"), true, "", "");
    space.run(4);
    let ledger = space.ledger();
    assert!(why(&ledger).starts_with("broken_dependency high kiln: "), "{}", why(&ledger));
    // It would be as damaged the next time.
    assert_eq!(
        ledger.story("p")[1..],
        ["unpack 1", "unpack 1: broken_dependency", "gate 1: critical_build_failure"]
    );
    // A build that unpacks it itself says so in other words.
    let recipe = building(&format!("tar -xf {}", half.path.display()));
    let space = critical(&recipe);
    fails_for(
        &space,
        "broken_dependency medium output 2: gzip: stdin: unexpected end of file",
        &AFTER_DEPENDENCY_FAILURE,
    );
}
