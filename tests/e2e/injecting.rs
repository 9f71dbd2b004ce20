//! Fault injection: for each of the framework's 13 categories a build that really fails, with the tools that real builds
//! fail with; what kiln takes it for, what it does about it, how often it tries, and how that ends.
//!
//! Each has one package, `p`, that fails; what is printed, and killed, is the tool's and the kernel's own doing. Where a
//! machine does not permit the injection (control groups, a file system of one's own), the test says `skipped`.

use std::fs;
use std::net::TcpListener;
use std::process::Command;

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
    );
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
    let ended = space.run(4);
    let ledger = space.ledger();
    let reason = why(&ledger);
    eprintln!("{}", ended.stderr);
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
    let ended = kiln.wait();
    eprintln!("{}{}", ended.stderr, ended.stdout);
    let ended = ended.exits(0);
    ended.says("interrupted");
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
    let space = critical(
        "package: p\nversion: 1\ntasks: {install: 'cp /bin/true \"$DESTDIR/su\"; chmod 4755 \"$DESTDIR/su\"'}\n",
    );
    let ended = space.run(4).says("gate 1 (security_violation): p needs a person: ");
    let ledger = space.ledger();
    eprintln!("{}\n{}", ended.stderr, why(&ledger));
    assert!(why(&ledger).starts_with("security_violation high kiln: `su`"), "{}", why(&ledger));
    assert_eq!(
        ledger.story("p"),
        ["install 1", "install 1: security_violation", "gate 1: security_violation"]
    );
    assert_eq!(space.sysroot().files(), [""; 0]);
    // What the recipe says is no violation.
    let recipes = fs::read_to_string(space.definition().join("packages/all.yaml")).unwrap();
    space.recipes(&recipes.replace("tasks:", "privileged: [su]\ntasks:"));
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
    eprintln!("{:?}", ledger.actions("p"));
    assert_eq!(ledger.actions("p"), AFTER_DEPENDENCY_FAILURE);
    assert_eq!(space.sysroot().files(), ["answer.o", "include/lib.h"]);
}

#[test]
fn where_nobody_looks_first_the_compiler_misses_it_and_recovery_puts_it_back() {
    let space = Space::new();
    let recipes = vandalised(&space, "rm \"$SYSROOT/include/lib.h\"");
    put(&space, &recipes, true, "", "");
    let document = fs::read_to_string(space.definition().join("kiln.yaml")).unwrap();
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
    let ended = space.run(4);
    let ledger = space.ledger();
    eprintln!("{}\n{}", ended.stderr, why(&ledger));
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

// Disks that are full: the state is on a file system of the test's own.

/// Runs the lines of a shell with the state on a new tmpfs of this size: `kiln` is what `command` has, with `run` for the
/// test's options. What is left of the state is copied to `left`. `None` where this machine does not permit it.
fn on_a_small_disk(space: &Space, size: &str, script: &str) -> Option<Ended> {
    let state = space.state();
    fs::create_dir_all(&state).unwrap();
    let mounts = format!("mount -t tmpfs -o size={size} none {}", state.display());
    let tries = |script: &str| {
        let mut shell = Command::new("unshare");
        shell.args(["--mount", "sh", "-c", &format!("{mounts} && {script}"), "sh"]);
        shell
    };
    if !tries("true").status().is_ok_and(|status| status.success()) {
        assert!(std::env::var_os("CI").is_none(), "the tests of full disks need to mount");
        eprintln!("skipped: no file system can be mounted");
        return None;
    }
    let kiln = space.bare_command(&[]);
    let script = format!(
        "kiln() {{ {} \"$@\" {} --state {}; }}\nrun() {{ code=0; kiln {} || code=$?; test $code = $1; }}\n{script}\ncp -a {} {}\n",
        kiln.get_program().to_str().unwrap(),
        space.definition().display(),
        state.display(),
        RUN.join(" "),
        state.display(),
        space.path("left").display()
    );
    let mut shell = tries(&format!("{{ set -e\n{script}}}"));
    shell.env_clear().envs(kiln.get_envs().filter_map(|(name, value)| Some((name, value?))));
    Some(space.start_command(shell).wait())
}

fn left(space: &Space) -> Ledger {
    Ledger::read(&space.path("left/ledger.sqlite"))
}

#[test]
fn finished_work_and_sources_that_nobody_names_make_room() {
    let space = Space::new();
    space.recipes(
        "package: failed\nversion: 1\ntasks: {build: 'head -c 20M /dev/zero > work; exit 1'}\n---\npackage: p\n\
         version: 1\ntasks: {build: 'head -c 36M /dev/zero > big'}\n",
    );
    space.document(
        "build_phases:\n  one: {order: 1, critical: false, steps: [failed]}\n  two: {order: 2, steps: [p]}\n\
         error_recovery: {automatic_recovery: {delay_between_attempts: 0}}\n",
    );
    let unnamed = space.state().join("sources/sha256/aa/aaaa");
    let script = format!(
        "kiln fetch\nmkdir {0}\nhead -c 4M /dev/zero > {1}\nrun 0",
        unnamed.parent().unwrap().display(),
        unnamed.display()
    );
    let Some(ended) = on_a_small_disk(&space, "64M", &script) else { return };
    let ended =
        ended.exits(0).says("p: free_resources: 1 work directory and 1 cached source deleted, 24M freed; ");
    let ledger = left(&space);
    eprintln!("{}{} {} {:?}", ended.stderr, ended.stdout, why(&ledger), ledger.actions("p"));
    assert!(why(&ledger).starts_with("disk_space high kernel: "), "{}", why(&ledger));
    assert_eq!(ledger.story("p"), ["build 1", "build 1: disk_space", "build 2", "completed"]);
    assert_eq!(
        ledger.actions("p"),
        ["free_resources: done", AFTER_SYSTEM_FAILURE[1], AFTER_SYSTEM_FAILURE[2], AFTER_SYSTEM_FAILURE[3]]
    );
}

#[test]
fn a_package_that_alone_fills_the_disk_needs_a_person_after_its_attempts() {
    let space = with(&building("cat /dev/zero > big"), true, "", "");
    let Some(ended) = on_a_small_disk(&space, "48M", "run 4") else { return };
    eprintln!("{}{}", ended.stderr, ended.stdout);
    ended.exits(0).says("gate 1 (system_resource_exhaustion): p needs a person");
    let ledger = left(&space);
    assert_eq!(
        why(&ledger),
        format!("disk_space high kernel: `{}` had 0 bytes left", space.state().display())
    );
    assert_eq!(failed(&ledger, "p").len(), 3);
    assert_eq!(ledger.actions("p"), [AFTER_SYSTEM_FAILURE, AFTER_SYSTEM_FAILURE].concat());
}

#[test]
fn a_disk_that_others_have_filled_needs_a_person_at_once_and_the_run_goes_on_when_there_is_room() {
    let script = "test $KILN_ATTEMPT != 1 || head -c 99M /dev/zero > STATE/logs/others || cp /dev/zero mine";
    let space = Space::new();
    put(&space, &building(&script.replace("STATE", &space.state().display().to_string())), true, "", "");
    let script = format!("run 4\nrm {}/logs/others\nkiln resolve 1 retry\nrun 0", space.state().display());
    let Some(ended) = on_a_small_disk(&space, "32M", &script) else { return };
    eprintln!("{}{}", ended.stderr, ended.stdout);
    ended.exits(0).says("gate 1 (system_resource_exhaustion): p needs a person");
    let ledger = left(&space);
    assert_eq!(
        ledger.story("p"),
        ["build 1", "build 1: disk_space", "gate 1: system_resource_exhaustion", "build 2", "completed"]
    );
    assert_eq!(ledger.actions("p"), ["free_resources: failed"]);
}

#[test]
fn a_disk_that_is_full_for_the_tool_alone_is_seen_from_what_it_says() {
    let recipe = building("fallocate -l 900M big");
    let space = with(&recipe, false, "", "");
    let Some(ended) = on_a_small_disk(&space, "48M", "run 4") else { return };
    // In whichever phase: the next package would meet the same.
    ended.exits(0).says("gate 1 (system_resource_exhaustion): p needs a person");
    assert_eq!(
        why(&left(&space)),
        "disk_space medium output 1: fallocate: fallocate failed: No space left on device"
    );
}

#[test]
fn a_compiler_that_takes_its_half_written_file_away_has_said_why() {
    let array = "static const char all[40 << 20] = { 1 };";
    let space = with(
        &building(&format!("echo '{array}' > array.c\ngcc -pipe -c array.c")),
        true,
        ", max_attempts: 1",
        "",
    );
    let Some(ended) = on_a_small_disk(&space, "32M", "run 4") else { return };
    ended.exits(0).says("gate 1 (system_resource_exhaustion): p needs a person");
    let reason = why(&left(&space));
    assert!(
        reason.starts_with("disk_space medium output 1: ") && reason.contains("No space left on device"),
        "{reason}"
    );
}

// What fits no category.

#[test]
fn a_patch_that_does_not_apply() {
    let space = critical(&building(
        "echo here > file\nprintf -- '--- a/file\\n+++ b/file\\n@@ -1 +1 @@\\n-there\\n+gone\\n' > p.diff\npatch -p1 -i p.diff",
    ));
    let ended = space.run(4);
    eprintln!("{}", ended.stderr);
    assert_eq!(
        why(&space.ledger()),
        "compilation_failure low output 2: it fits no category: Hunk #1 FAILED at 1."
    );
}

#[test]
fn a_test_suite_that_fails() {
    let makefile =
        "printf 'check:\\n\\t@echo PASS: one; echo FAIL: two\\n\\t@echo \"# FAIL:  1\"; false\\n' > Makefile";
    let recipe = format!("package: p\nversion: 1\ntasks:\n  check: |\n    {makefile}\n    make check\n");
    let space = critical(&recipe);
    let ended = space.run(4);
    eprintln!("{}", ended.stderr);
    assert_eq!(why(&space.ledger()), "compilation_failure low output 2: it fits no category: FAIL: two");
    assert_eq!(space.ledger().actions("p"), [AFTER_BUILD_FAILURE, AFTER_BUILD_FAILURE].concat());
}

#[test]
fn what_says_nothing_at_all() {
    for (task, category) in [
        ("configure", "configuration_error"),
        ("build", "compilation_failure"),
        ("install", "compilation_failure"),
    ] {
        let space = critical(&building("exit 3").replace("build:", &format!("{task}:")));
        space.run(4);
        assert_eq!(why(&space.ledger()), format!("{category} low exit: exit status 3; it printed nothing"));
    }
}

// How often, and what is done between.

#[test]
fn a_flaky_task_of_a_critical_phase_completes_unattended() {
    let space = critical(&building(&format!("test $KILN_ATTEMPT != 3 || exit 0\n{UNDEFINED}")));
    space.run(0);
    let ledger = space.ledger();
    let failed = |n: u32| format!("build {n}: link_failure");
    assert_eq!(ledger.story("p"), ["build 1", &failed(1), "build 2", &failed(2), "build 3", "completed"]);
    assert_eq!(space.kiln(&["gates", "--json"]).exits(0).json(), serde_json::json!([]));
}

#[test]
fn the_same_failure_twice_is_enough_where_the_definition_says_so() {
    let space = with(&building(COMPILE_ERROR), true, ", stop_on_same_failure: true", "");
    space.run(4);
    let ledger = space.ledger();
    assert_eq!(failed(&ledger, "p").len(), 2, "wasted work: a third attempt");
    assert_eq!(ledger.actions("p"), AFTER_BUILD_FAILURE);
    assert_eq!(ledger.story("p").last().unwrap(), "gate 1: critical_build_failure");
    // Another failure is another matter.
    let other = "if test $KILN_ATTEMPT = 2; then gcc -c nowhere.c; fi\n";
    let space = with(&building(&format!("{other}{COMPILE_ERROR}")), true, ", stop_on_same_failure: true", "");
    space.run(4);
    assert_eq!(failed(&space.ledger(), "p").len(), 3);
}

#[test]
fn one_attempt_and_no_recovery_where_the_definition_says_so() {
    for automatic in [", max_attempts: 1", ", enabled: false"] {
        for (critical, code, last) in [(true, 4, "gate 1: critical_build_failure"), (false, 0, "failed")] {
            let space = with(&building(COMPILE_ERROR), critical, automatic, "");
            space.run(code).says("not tried again");
            let ledger = space.ledger();
            assert_eq!(ledger.story("p"), ["build 1", "build 1: compilation_failure", last], "{automatic}");
            assert_eq!(ledger.actions("p"), [""; 0]);
        }
    }
}

#[test]
fn procedures_have_the_order_that_the_definition_says() {
    let procedure =
        "recovery_procedures: {build_failure: [verify_system_health, retry_build, cleanup_failed_build]}\n";
    let space = with(&building(COMPILE_ERROR), true, ", max_attempts: 2", procedure);
    space.run(4);
    let expected = ["verify_system_health: done", "retry_build: done", "cleanup_failed_build: done"];
    assert_eq!(space.ledger().actions("p"), expected);

    let space = with(&building(COMPILE_ERROR), true, "", "recovery_procedures: {build_failure: []}\n");
    space.run(4);
    assert_eq!(space.ledger().actions("p"), [""; 0]);
    assert_eq!(failed(&space.ledger(), "p").len(), 3, "it is tried again all the same");
}

#[test]
fn a_script_takes_an_actions_place_and_its_exit_status_says_what_follows() {
    let all = |status: &str, end: &str| {
        let script = format!(
            "echo noise; echo $KILN_ACTION after $KILN_PACKAGE $KILN_TASK $KILN_ATTEMPT: $KILN_CATEGORY; exit {status}"
        );
        let more = format!("recovery_actions: {{check_resources: '{script}'}}\n");
        let space = with(&building(COMPILE_ERROR), true, ", max_attempts: 2", &more);
        let ended = space.run(4);
        let ledger = space.ledger();
        let acted =
            ledger.of("action_finished").find(|record| record["action"] == "check_resources").unwrap();
        assert_eq!(acted["examined"], "check_resources after p build 1: compilation_failure");
        assert_eq!(ledger.story("p").last().unwrap(), &format!("gate 1: {end}"), "{status}");
        let then = acted["then"].as_str().unwrap_or("go_on").to_owned();
        (ended.stderr, ledger.actions("p")[2].clone(), then, failed(&ledger, "p").len())
    };
    for (status, result, then, attempts, end) in [
        ("0", "done", "go_on", 2, "critical_build_failure"),
        ("10", "nothing_to_do", "go_on", 2, "critical_build_failure"),
        ("20", "failed", "pointless", 1, "critical_build_failure"),
        ("30", "failed", "person", 1, "system_resource_exhaustion"),
        ("1", "failed", "go_on", 2, "critical_build_failure"),
    ] {
        let (stderr, acted, followed, tried) = all(status, end);
        assert_eq!(
            (&*acted, &*followed, tried),
            (&*format!("check_resources: {result}"), then, attempts),
            "{status}"
        );
        eprintln!("{stderr}");
    }
}

#[test]
fn a_script_in_an_actions_place_can_mend_what_failed() {
    let space = Space::new();
    let more = "recovery_actions:\n  verify_dependencies: |\n    mkdir -p \"$SYSROOT/include/nosuch\"\n    touch \"$SYSROOT/include/nosuch/header.h\" \"$KILN_STATE/mended\"\n    grep -o 'answer.c:[0-9]*' \"$KILN_LOG\"\n  retry_build: 'exit 10'\n";
    put(
        &space,
        &building(&format!("test -e {}/mended || {{ {COMPILE_ERROR}\n}}", space.state().display())),
        true,
        "",
        more,
    );
    space.run(0).says("p: verify_dependencies: answer.c:3");
    let ledger = space.ledger();
    assert_eq!(ledger.story("p"), ["build 1", "build 1: compilation_failure", "build 2", "completed"]);
    assert_eq!(
        ledger.actions("p"),
        [
            "cleanup_failed_build: done",
            "verify_dependencies: done",
            "check_resources: done",
            "retry_build: nothing_to_do"
        ]
    );
}

// A phase that is not critical.

#[test]
fn in_a_phase_that_is_not_critical_all_are_named_and_the_run_completes() {
    let scripts = [
        ("compilation_failure", COMPILE_ERROR),
        ("link_failure", UNDEFINED),
        ("missing_dependency", MISSING_HEADER),
        ("version_conflict", TOO_OLD),
        ("circular_dependency", CYCLE),
        ("memory_allocation", "ulimit -v 60000; head -c 200M /dev/zero | tail"),
        ("broken_dependency", "echo no archive > x.tar.gz; tar -xf x.tar.gz"),
    ];
    let mut recipes = String::new();
    for (category, script) in scripts {
        recipes += &building(script).replace("package: p", &format!("package: {category}"));
        recipes += "---\n";
    }
    recipes += "package: well\nversion: 1\ntasks: {install: 'echo > \"$DESTDIR/well\"'}\n";
    let space = with(&recipes, false, ", max_attempts: 2", "");
    let ended = space.run(0);
    let ledger = space.ledger();
    for (category, _) in scripts {
        let both = [format!("build 1: {category}"), format!("build 2: {category}")];
        assert_eq!(ledger.story(category), ["build 1", &both[0], "build 2", &both[1], "failed"]);
        let said = format!("{category} failed at build ({category})");
        assert!(ended.stdout.contains(&said), "{said}: {}", ended.stdout);
    }
    assert_eq!(ledger.last()["missing"].as_array().unwrap().len(), scripts.len());
    assert_eq!(space.sysroot().files(), ["well"]);
    assert_eq!(space.kiln(&["gates", "--json"]).exits(0).json(), serde_json::json!([]));
}
