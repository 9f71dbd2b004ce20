//! One runner per state directory.

use super::space::{RUN, Space};

#[test]
fn a_second_runner_is_refused_and_told_who_has_the_state() {
    let space = Space::new();
    let mut here = space.bell("here");
    let go = space.gate("go");
    space.packages(&format!(
        "package: a\nversion: 1\ntasks: {{build: 'echo here > {}; read x < {}', install: touch \"$DESTDIR/a\"}}\n",
        here.path(),
        go.path()
    ));
    let first = space.start(&RUN);
    here.wait(&first);
    space.kiln(&RUN).exits(6).says(&format!("pid {}", first.pid()));
    space.kiln(&["clean", "--all"]).exits(6).says(&format!("pid {}", first.pid()));
    // Whoever only looks is welcome.
    let plan = space.kiln(&["plan", "--json"]).exits(0).json();
    assert_eq!(plan["packages"][0]["decision"], "build");
    let graph = space.kiln(&["graph"]).exits(0).json();
    assert_eq!(graph["nodes"][0]["build_status"], "running");
    go.open();
    first.wait().exits(0);
    space.run(0);
    assert_eq!(space.ledger().of("run_started").count(), 2);
}

#[test]
fn what_a_runner_leaves_can_be_cleaned() {
    let space = Space::with("package: a\nversion: 1\ntasks: {install: touch \"$DESTDIR/a\"}\n");
    space.run(0);
    space.packages("package: a\nversion: 2\ntasks: {install: touch \"$DESTDIR/a\"}\n");
    space.run(0);
    let archives = || std::fs::read_dir(space.state().join("packages/a")).unwrap().count();
    assert_eq!(archives(), 4, "two archives, two manifests");
    space.kiln(&["clean"]).exits(0);
    assert_eq!(archives(), 2);
    space.run(0);
    assert_eq!(space.ledger().last_start().worked_on(), [""; 0]);
    space.kiln(&["clean", "--all"]).exits(0);
    space.run(0);
    assert_eq!(space.ledger().last_start().worked_on(), ["a"]);
}
