//! How often it is tried, what is done between attempts, and how that ends.

use serde_json::{Value, json};

use super::super::space::Space;
use super::{
    AFTER_BUILD_FAILURE, COMPILE_ERROR, CYCLE, MISSING_HEADER, TOO_OLD, UNDEFINED, building, critical,
    failed, put, why, with,
};

// What fits no category.

#[test]
fn a_patch_that_does_not_apply() {
    let space = critical(&building(
        "echo here > file\nprintf -- '--- a/file\\n+++ b/file\\n@@ -1 +1 @@\\n-there\\n+gone\\n' > p.diff\npatch -p1 -i p.diff",
    ));
    space.run(4);
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
    space.run(4);
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
    assert_eq!(space.kiln(&["gates", "--json"]).exits(0).json(), json!([]));
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
            let space = with(&building("exit 3"), critical, automatic, "");
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
    let space = with(&building("exit 3"), true, ", max_attempts: 2", procedure);
    space.run(4);
    let expected = ["verify_system_health: done", "retry_build: done", "cleanup_failed_build: done"];
    assert_eq!(space.ledger().actions("p"), expected);

    let space = with(&building("exit 3"), true, "", "recovery_procedures: {build_failure: []}\n");
    space.run(4);
    assert_eq!(space.ledger().actions("p"), [""; 0]);
    assert_eq!(failed(&space.ledger(), "p").len(), 3, "it is tried again all the same");
}

#[test]
fn a_script_takes_an_actions_place_and_its_exit_status_says_what_follows() {
    for (status, result, then, attempts, gate) in [
        ("0", "done", Value::Null, 2, "critical_build_failure"),
        ("10", "nothing_to_do", Value::Null, 2, "critical_build_failure"),
        ("20", "failed", json!("pointless"), 1, "critical_build_failure"),
        ("30", "failed", json!("person"), 1, "system_resource_exhaustion"),
        ("1", "failed", Value::Null, 2, "critical_build_failure"),
    ] {
        let more = format!(
            "recovery_actions:\n  check_resources: |\n    echo noise\n    echo $KILN_ACTION after $KILN_PACKAGE $KILN_TASK \
             $KILN_ATTEMPT: $KILN_CATEGORY\n    exit {status}\n"
        );
        let space = with(&building("exit 3"), true, ", max_attempts: 2", &more);
        space.run(4);
        let ledger = space.ledger();
        let of_it = |record: &&Value| record["action"] == "check_resources";
        let acted = ledger.of("action_finished").find(of_it).unwrap();
        assert_eq!((&acted["result"], &acted["then"]), (&json!(result), &then), "{status}");
        assert_eq!(acted["examined"], "check_resources after p build 1: compilation_failure");
        assert_eq!(failed(&ledger, "p").len(), attempts, "{status}");
        assert_eq!(ledger.story("p").last().unwrap(), &format!("gate 1: {gate}"), "{status}");
    }
}

#[test]
fn a_script_in_an_actions_place_can_mend_what_failed() {
    let space = Space::new();
    let more = "recovery_actions:\n  verify_dependencies: |\n    touch \"$KILN_STATE/mended\"\n    grep -o 'answer.c:[0-9]*' \
                \"$KILN_LOG\"\n  retry_build: 'exit 10'\n";
    let recipe =
        building(&format!("test ! -e {}/mended || exit 0\n{COMPILE_ERROR}", space.state().display()));
    put(&space, &recipe, true, "", more);
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
    assert_eq!(space.kiln(&["gates", "--json"]).exits(0).json(), json!([]));
}
