//! `kiln doctor`: what is missing on hosts that lack something, and which runs are refused because of that.

mod leaving;
mod mending;

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::process::Command;

use serde_json::Value;

use super::process::Ended;
use super::space::{RUN, Space, one_phase};
use super::users::{of_nobody, of_nobody_without_namespaces, root, started_by};

/// A package with a script that executes what it has made, and files to be merged.
const RUNS: &str = "package: a\nversion: 1\ntasks:\n  build: |\n    printf '#!/bin/sh\\n' > x; chmod +x x\n    ./x\n  install: \
                    touch \"$DESTDIR/a\"\n";
/// The same, and nothing is executed.
const WRITES: &str = "package: a\nversion: 1\ntasks: {build: touch x, install: touch \"$DESTDIR/a\"}\n";
const JSON: [&str; 2] = ["doctor", "--json"];
const PERMISSIONS: [&str; 5] = [
    "build_directory_access",
    "package_management",
    "resource_control",
    "log_management",
    "system_configuration",
];

/// The sandbox as it is by default.
fn command(space: &Space, arguments: &[&str]) -> Command {
    let mut command = space.command(arguments);
    command.env("KILN_SET_SANDBOX", "on");
    command
}

fn doctor(space: &Space) -> Command {
    command(space, &JSON)
}

/// One of the checks; what is missing has a reason and a way out, and nothing else has.
#[track_caller]
fn check(report: &Value, name: &str) -> Value {
    let permissions = report["permissions"].as_array().unwrap();
    let mut checks = permissions.iter().flat_map(|permission| permission["checks"].as_array().unwrap());
    let found = checks.find(|check| check["check"] == name);
    let check = found.unwrap_or_else(|| panic!("no {name} in {report:#}")).clone();
    for text in ["why", "grant", "without"] {
        assert_eq!(check[text].is_null(), check["granted"] == true, "{check:#}");
    }
    check
}

#[track_caller]
fn is_granted(report: &Value, name: &str) -> bool {
    check(report, name)["granted"] == true
}

#[track_caller]
fn permission<'a>(report: &'a Value, name: &str) -> &'a Value {
    report["permissions"].as_array().unwrap().iter().find(|it| it["permission"] == name).unwrap()
}

/// A check that is missing, and whether a run needs it; its permission is not granted then.
#[track_caller]
fn missing(report: &Value, name: &str, needed: bool, why: &str) -> String {
    let check = check(report, name);
    assert_eq!((&check["granted"], &check["needed"]), (&false.into(), &needed.into()), "{check:#}");
    let said = check["why"].as_str().unwrap();
    assert!(said.contains(why), "{said}");
    said.to_owned()
}

/// Every line of a shell must succeed; `doctor` and `run` end with any status, in the files `DOCTOR` and `RUN`.
fn in_namespace(space: &Space, lines: &str) -> Option<()> {
    let mut may = Command::new("unshare");
    if !may.args(["--mount", "true"]).status().is_ok_and(|status| status.success()) {
        assert!(std::env::var_os("CI").is_none(), "the tests of other hosts need to mount");
        eprintln!("skipped: nothing can be mounted");
        return None;
    }
    let kiln = doctor(space);
    let script = format!(
        "set -e\nstate={state}\nkiln() {{ code=0; {program} \"$@\" {definition} --state $state || code=$?; echo $code; }}\n\
         doctor() {{ kiln doctor --json > {here}/DOCTOR; }}\nrun() {{ kiln {run} > {here}/RUN 2>&1; }}\n{lines}\n",
        state = space.state().display(),
        program = kiln.get_program().to_str().unwrap(),
        definition = space.definition().display(),
        here = space.here(),
        run = RUN.join(" ")
    );
    let mut shell = Command::new("unshare");
    shell.args(["--mount", "sh", "-c", &script]);
    shell.env_clear().envs(kiln.get_envs().filter_map(|(name, value)| Some((name, value?))));
    space.start_command(shell).wait().exits(0);
    Some(())
}

/// Exit status and answer of the doctor that ran there.
#[track_caller]
fn answer(space: &Space) -> (i32, Value) {
    let text = space.read("DOCTOR");
    let (report, code) = text.trim_end().rsplit_once('\n').unwrap();
    (code.parse().unwrap(), serde_json::from_str(report).unwrap())
}

/// The run that ran there, which must have ended with this status.
#[track_caller]
fn run_there(space: &Space, code: &str) -> String {
    let text = space.read("RUN");
    assert_eq!(text.trim_end().rsplit('\n').next(), Some(code), "{text}");
    text
}

#[test]
fn on_a_good_host_all_that_is_needed_is_granted_and_nothing_is_left() {
    let space = Space::with(RUNS);
    let before = super::tree::Tree::read(&space.path(""));
    let ended = space.start_command(doctor(&space)).wait().exits(0);
    let report = ended.json();
    assert_eq!(report["ok"], true, "{report:#}");
    let permissions = report["permissions"].as_array().unwrap();
    let names: Vec<&str> = permissions.iter().map(|it| it["permission"].as_str().unwrap()).collect();
    assert_eq!(names, PERMISSIONS);
    for permission in permissions {
        let checks = permission["checks"].as_array().unwrap();
        let all = |key: &str| checks.iter().all(|check| check[key] == true);
        let any = |key: &str| checks.iter().any(|check| check[key] == true);
        assert_eq!(permission["granted"], all("granted"), "{permission:#}");
        assert_eq!(permission["needed"], any("needed"), "{permission:#}");
        assert!(checks.iter().all(|check| check["granted"] == true || check["needed"] == false));
    }
    assert_eq!(check(&report, "execute")["needed_by"], serde_json::json!(["a"]));
    assert!(is_granted(&report, "state_directory") && is_granted(&report, "tasks"));
    assert_eq!((&report["phases"], &report["unknown"]), (&serde_json::json!([]), &Value::Null));
    let after = super::tree::Tree::read(&space.path(""));
    let new: Vec<&str> = after.files().into_iter().filter(|path| !before.has(path)).collect();
    assert_eq!(new, ["kiln-1.stderr", "kiln-1.stdout"], "but for what it said");
    assert!(!space.state().exists());

    // The same once there is a state directory, in words.
    space.run(0);
    let sysroot = space.sysroot();
    let said = space.start_command(command(&space, &["doctor"])).wait().exits(0).stdout;
    assert!(said.contains("all that is needed is granted"), "{said}");
    sysroot.assert_identical(&space.sysroot());
    assert_eq!(fs::read_dir(space.state().join("work")).unwrap().count(), 0);
}

#[test]
fn a_definition_that_is_wrong_is_no_patient() {
    let space = Space::with(RUNS);
    space.document("build_phases: {main: {order: 1, steps: [b]}}\n");
    space.kiln(&JSON).exits(3).says("error[");
}

#[test]
fn where_the_state_cannot_be_written_no_run_starts() {
    // Whether it is there already or would be made.
    for make in ["mkdir $state", "true"] {
        let space = Space::with(RUNS);
        let at = space.path("");
        let lines = format!(
            "mkdir -p {0}/disk; mount -t tmpfs none {0}/disk; state={0}/disk/state\n{make}\nmount -o remount,ro {0}/disk\ndoctor\n\
             run\ntest -e $state/sysroot && exit 1\nmount -o remount,rw {0}/disk\nrun\n",
            at.display().to_string().trim_end_matches('/')
        );
        // The first run's words would be lost.
        let lines = lines.replacen("run\ntest", &format!("run\ncp {0}RUN {0}REFUSED\ntest", at.display()), 1);
        if in_namespace(&space, &lines).is_none() {
            return;
        }
        let (code, report) = answer(&space);
        assert_eq!((code, &report["ok"]), (5, &false.into()));
        let why = missing(&report, "state_directory", true, "Read-only file system");
        assert_eq!(permission(&report, "build_directory_access")["granted"], false);
        let grant = check(&report, "state_directory")["grant"].as_str().unwrap().to_owned();
        assert!(grant.starts_with("mount -o remount,rw /") && grant.ends_with("/disk"), "{grant}");
        assert!(is_granted(&report, "pid_namespace"), "what can be tried is");
        let refused = space.read("REFUSED");
        for words in ["state_directory (build_directory_access): missing, needed", &why, &grant] {
            assert!(refused.contains(words), "no `{words}` in {refused}");
        }
        assert!(refused.ends_with("\n5\n"), "{refused}");
        run_there(&space, "0");
    }
}

#[test]
fn a_part_of_the_state_that_cannot_be_written_is_missed_by_who_has_to() {
    let space = Space::with(RUNS);
    space.run(0);
    let lines = "mount --bind $state/sysroot $state/sysroot; mount -o remount,bind,ro $state/sysroot\n";
    if in_namespace(&space, &format!("{lines}doctor\nrun\n")).is_none() {
        return;
    }
    let (code, report) = answer(&space);
    assert_eq!(code, 0, "nothing is to be merged");
    missing(&report, "merge", false, "Read-only file system");
    assert!(is_granted(&report, "state_directory") && is_granted(&report, "work_directory"));
    run_there(&space, "0");
    space.packages(&RUNS.replace("version: 1", "version: 2"));
    in_namespace(&space, &format!("{lines}doctor\nrun\n"));
    let (code, report) = answer(&space);
    assert_eq!(code, 5);
    missing(&report, "merge", true, "Read-only file system");
    assert_eq!(permission(&report, "package_management")["needed"], true);
    assert!(run_there(&space, "5").contains("merge (package_management): missing, needed"));
}

#[test]
fn where_nothing_can_be_executed_only_definitions_that_do_not_try_are_built() {
    for (recipe, needed, code) in [(RUNS, true, "5"), (WRITES, false, "0")] {
        let space = Space::with(recipe);
        fs::create_dir(space.state()).unwrap();
        if in_namespace(&space, "mount -t tmpfs -o noexec none $state\ndoctor\nrun\n").is_none() {
            return;
        }
        let (status, report) = answer(&space);
        let why = missing(&report, "execute", needed, "Permission denied");
        assert_eq!((status == 0, &report["ok"]), (!needed, &(!needed).into()), "{report:#}");
        let execute = check(&report, "execute");
        assert_eq!(execute["grant"], format!("mount -o remount,exec {}", space.state().display()));
        let said = run_there(&space, code);
        assert_eq!(said.contains(&why) && said.contains("missing, needed by `a`"), needed, "{said}");
    }
}

#[test]
fn an_ordinary_user_misses_some_things_and_needs_none_of_them() {
    if !root("an_ordinary_user_misses_some_things_and_needs_none_of_them") {
        return;
    }
    for (of_nobody, namespaces) in
        [(of_nobody as fn(&Command) -> Command, None), (of_nobody_without_namespaces, Some(false))]
    {
        let space = Space::with(RUNS);
        let report = space.start_command(of_nobody(&doctor(&space))).wait().exits(0).json();
        missing(&report, "owners", false, "cannot give a file to 1:1");
        missing(&report, "control_groups", false, "");
        assert_eq!(permission(&report, "package_management")["granted"], false);
        assert_eq!(permission(&report, "build_directory_access")["granted"], true);
        if namespaces == Some(false) {
            for (name, why) in [
                ("pid_namespace", "Operation not permitted"),
                ("network_namespace", "Operation not permitted"),
                ("private_proc", "no pid namespace"),
            ] {
                missing(&report, name, false, why);
            }
        }
        space.start_command(of_nobody(&command(&space, &RUN))).wait().exits(0);
    }
}

#[test]
fn what_is_required_is_needed_and_without_it_nothing_is_done() {
    if !root("what_is_required_is_needed_and_without_it_nothing_is_done") {
        return;
    }
    let space = Space::with(RUNS);
    let required = |arguments: &[&str]| {
        let mut command = space.command(arguments);
        command.env("KILN_SET_SANDBOX", "require");
        of_nobody_without_namespaces(&command)
    };
    let report = space.start_command(required(&JSON)).wait().exits(5).json();
    let why = missing(&report, "network_namespace", true, "Operation not permitted");
    missing(&report, "pid_namespace", false, "Operation not permitted");
    let refused = space.start_command(required(&RUN)).wait().exits(5);
    refused
        .says("network_namespace (resource_control): missing, needed")
        .says(&why)
        .says("max_user_namespaces");
    assert_eq!(space.ledger().len(), 0, "not even a run was recorded");
    // Who wants none misses none.
    let mut off = space.command(&JSON);
    off.env("KILN_SET_SANDBOX", "off").env("KILN_SET_CGROUPS", "off");
    let report = space.start_command(of_nobody_without_namespaces(&off)).wait().exits(0).json();
    let text = report.to_string();
    assert!(!text.contains("landlock") && !text.contains("control_groups"), "{text}");
}

#[test]
fn a_host_without_control_groups_runs_without() {
    let space = Space::with(RUNS);
    if in_namespace(&space, "umount -R -l /sys/fs/cgroup\ndoctor\nrun\n").is_none() {
        return;
    }
    let (code, report) = answer(&space);
    assert_eq!(code, 0);
    missing(&report, "control_groups", false, "no hierarchy is mounted");
    run_there(&space, "0");
}

#[test]
fn journald_is_there_if_it_answers() {
    let space = Space::with(RUNS);
    let journal = UnixDatagram::bind(space.path("socket")).unwrap();
    let lines = format!(
        "mount -t tmpfs none /run; mkdir -p /run/systemd/journal; touch /run/systemd/journal/socket\nmount --bind {} \
         /run/systemd/journal/socket\ndoctor\n",
        space.path("socket").display()
    );
    if in_namespace(&space, &lines).is_none() {
        return;
    }
    assert!(is_granted(&answer(&space).1, "journal"));
    assert_eq!(journal.recv(&mut [0; 8]).unwrap(), 0, "journald drops what is empty");
    drop(journal);
    in_namespace(&space, &lines);
    missing(&answer(&space).1, "journal", false, "Connection refused");
    let mut text = doctor(&space);
    text.env("KILN_SET_LOG_FORMAT", "text");
    let report = space.start_command(text).wait().exits(0).json();
    assert!(!report.to_string().contains("journald"), "who does not use it does not miss it");
}

/// Root without one of its capabilities.
fn without(capability: &str, kiln: &Command) -> Command {
    let mut by = Command::new("setpriv");
    by.args(["--bounding-set", capability, "--inh-caps", capability]);
    started_by(by, kiln)
}

#[test]
fn a_build_user_needs_what_it_takes_to_act_as_another() {
    if !root("a_build_user_needs_what_it_takes_to_act_as_another") {
        return;
    }
    for (capability, why) in [
        ("-chown", "cannot give a directory to uid 65534"),
        ("-setuid", "cannot act as uid 65534"),
        ("-dac_override", "cannot delete what the user keeps to itself"),
        ("-kill", "a task that was killed went on"),
    ] {
        let space = Space::with(RUNS);
        let as_user = |arguments: &[&str]| {
            let mut command = command(&space, arguments);
            command.env("KILN_SET_BUILD_USER", "nobody");
            command
        };
        let report = space.start_command(without(capability, &as_user(&JSON))).wait().exits(5).json();
        missing(&report, "build_user", true, why);
        let unit = check(&report, "build_user")["unit"].as_str().unwrap().to_lowercase();
        assert!(unit.contains(&capability.replace('-', "cap_")), "{unit}");
        // Only a task that has been started shows whether it can be ended.
        if capability != "-kill" {
            space.start_command(without(capability, &as_user(&RUN))).wait().exits(5).says(why);
        }
        assert!(!space.state().exists());
        let left = fs::read_dir(space.path("")).unwrap().map(|entry| entry.unwrap().file_name());
        assert!(left.into_iter().all(|name| !name.to_string_lossy().starts_with('.')), "nothing is left");
        let report = space.start_command(as_user(&JSON)).wait().exits(0).json();
        assert!(is_granted(&report, "build_user"));
    }
}

#[test]
fn where_the_build_user_cannot_get_to_its_work_no_run_starts() {
    if !root("where_the_build_user_cannot_get_to_its_work_no_run_starts") {
        return;
    }
    let space = Space::with(RUNS);
    let closed = space.path("closed");
    fs::create_dir(&closed).unwrap();
    let at = |arguments: &[&str], mode| {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(&closed, fs::Permissions::from_mode(mode)).unwrap();
        let mut command = space.bare_command(arguments);
        command.arg(space.definition()).arg("--state").arg(closed.join("state"));
        command.env("KILN_SET_BUILD_USER", "nobody");
        space.start_command(command).wait()
    };
    let report = at(&JSON, 0o700).exits(5).json();
    missing(&report, "build_user", true, "Permission denied");
    at(&RUN, 0o700).exits(5).says("build_user (build_directory_access): missing, needed").says("namei -l");
    at(&JSON, 0o711).exits(0);
    at(&RUN, 0o711).exits(0);
}

#[test]
fn an_address_that_was_asked_for_is_needed() {
    let test = "an_address_that_was_asked_for_is_needed";
    if !root(test) {
        return;
    }
    let first = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap_or_default();
    if first.trim().parse().is_ok_and(|port: u16| port <= 80) {
        eprintln!("skipped: {test}: everybody may listen to all ports here");
        return;
    }
    let space = Space::with(RUNS);
    let kiln = |arguments: &[&str]| {
        let mut command = command(&space, arguments);
        command.env("KILN_SET_LISTEN", "127.0.0.1:80");
        space.start_command(of_nobody(&command)).wait()
    };
    let why = missing(
        &kiln(&JSON).exits(5).json(),
        "listen",
        true,
        "cannot listen on `127.0.0.1:80`: Permission denied",
    );
    kiln(&["run"]).exits(5).says("listen (system_configuration): missing, needed").says(&why);
    assert!(!space.state().exists());
    kiln(&["run", "--no-listen"]).exits(0);
    // That another kiln listens there is no lack of permission.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = command(&space, &JSON);
    command.env("KILN_SET_LISTEN", listener.local_addr().unwrap().to_string());
    assert!(is_granted(&space.start_command(command).wait().exits(0).json(), "listen"));
}

#[test]
fn apt_is_needed_by_what_can_be_had_nowhere_else() {
    let space = Space::new();
    let digest = "0".repeat(64);
    let source = |others: &str| {
        format!(
            "package: p\nversion: 1\nsources: [{{file: data, sha256: {digest}, from: [{{apt: data}}{others}]}}]\ntasks: {{build: \
             'true'}}\n"
        )
    };
    let kiln = |arguments: &[&str], path: &str| {
        let mut command = space.command(arguments);
        command.env("PATH", path);
        space.start_command(command).wait()
    };
    space.packages(&source(""));
    let report = kiln(&JSON, "/nowhere").exits(5).json();
    let why = missing(&report, "apt", true, "`apt-get` is not installed here");
    assert_eq!(check(&report, "apt")["needed_by"], serde_json::json!(["p"]));
    kiln(&RUN, "/nowhere").exits(5).says(&why);
    let cached = space.state().join("sources/sha256/00");
    fs::create_dir_all(&cached).unwrap();
    fs::write(space.state().join("id"), "x").unwrap();
    fs::write(cached.join(&digest), "").unwrap();
    missing(&kiln(&JSON, "/nowhere").exits(0).json(), "apt", false, "apt-get");
    fs::remove_dir_all(space.state()).unwrap();
    space.packages(&source(", 'file:/nowhere/data'"));
    missing(&kiln(&JSON, "/nowhere").exits(0).json(), "apt", false, "apt-get");
    if std::path::Path::new("/usr/lib/apt/apt-helper").exists() {
        assert!(is_granted(&kiln(&JSON, "/usr/bin:/bin").exits(0).json(), "apt"));
        assert!(!space.state().exists());
    }
}

const DEVICE: &str = "package: a\nversion: 1\nprivileged: [dev/null]\ntasks: {install: 'mkdir \"$DESTDIR/dev\"; mknod \
                      \"$DESTDIR/dev/null\" c 1 3'}\n---\npackage: b\nversion: 1\ntasks: {build: 'true'}\n";

#[test]
fn what_only_some_packages_need_is_needed_as_long_as_they_are_to_be_built() {
    if !root("what_only_some_packages_need_is_needed_as_long_as_they_are_to_be_built") {
        return;
    }
    let space = Space::with(DEVICE);
    let kiln = |arguments: &[&str]| space.start_command(without("-mknod", &space.command(arguments))).wait();
    let report = kiln(&JSON).exits(5).json();
    missing(&report, "device_nodes", true, "Operation not permitted");
    assert_eq!(check(&report, "device_nodes")["needed_by"], serde_json::json!(["a"]));
    kiln(&RUN).exits(5).says("device_nodes (package_management): missing, needed by `a`");
    // Neither by the other package nor once it is there.
    kiln(&[&RUN[..], &["--package", "b"]].concat()).exits(0);
    space.run(0);
    missing(&kiln(&JSON).exits(0).json(), "device_nodes", false, "Operation not permitted");
    kiln(&RUN).exits(0);
    let other = Space::with(RUNS);
    let report = other.kiln(&JSON).exits(0).json();
    assert!(!report.to_string().contains("device_nodes"), "nobody has any");
}

#[test]
fn beside_a_live_run_it_disturbs_nothing() {
    let space = Space::new();
    let (mut here, go) = (space.bell("here"), space.gate("go"));
    space.packages(&format!(
        "package: a\nversion: 1\ndirect: true\ntasks: {{install: 'touch \"$SYSROOT/x\"; echo here > {}; read x < {}'}}\n",
        here.path(),
        go.path()
    ));
    let kiln = space.start(&RUN);
    here.wait(&kiln);
    for _ in 0..3 {
        let report = space.kiln(&JSON).exits(0).json();
        assert!(is_granted(&report, "state_directory") && is_granted(&report, "merge"), "{report:#}");
    }
    go.open();
    let ended = kiln.wait().exits(0);
    assert_eq!(space.sysroot().files(), ["x"]);
    assert_eq!(space.ledger().story("a"), ["install 1", "merge 1", "completed"], "{}", ended.stderr);
    space.run(0);
}

fn phase<'a>(report: &'a Value, phase: &str, requirement: &str) -> &'a Value {
    let mut all = report["phases"].as_array().unwrap().iter();
    all.find(|it| it["phase"] == phase && it["requirement"] == requirement).unwrap()
}

#[test]
fn requirements_of_phases_are_held_against_what_there_is() {
    let space = Space::new();
    space.recipes(WRITES);
    for (requirement, needed) in [("disk_space: 900000T", "free "), ("memory: 900000T", "MemoryMax=")] {
        space.document(&one_phase(WRITES, &format!("    requirements: {{{requirement}}}\n")));
        let report = space.kiln(&JSON).exits(5).json();
        let unmet = phase(&report, "main", requirement.split_once(':').unwrap().0);
        assert_eq!(unmet["required_bytes"], 900_000_u64 << 40);
        assert!(unmet["available_bytes"].as_u64().unwrap() > 0);
        assert_eq!((&unmet["met"], &unmet["needed"]), (&false.into(), &true.into()));
        assert!(unmet["help"].as_str().unwrap().contains(needed), "{unmet}");
        assert!(space.kiln(&["doctor"]).exits(5).stdout.contains("1 requirement not met"));
    }
    // What is built needs nothing to be built with.
    space.document(&one_phase(WRITES, ""));
    space.run(0);
    space.document(&one_phase(WRITES, "    requirements: {disk_space: 900000T}\n"));
    let report = space.kiln(&JSON).exits(0).json();
    assert_eq!(phase(&report, "main", "disk_space")["needed"], false);
}

#[test]
fn a_toolchain_that_is_to_be_built_before_is_not_missed() {
    let space = Space::new();
    space.recipes("package: compiler\nversion: 1\ntasks: {install: touch \"$DESTDIR/cc\"}\n---\npackage: user\nversion: 1\ntasks: {build: 'true'}\n");
    space.document(
        "build_phases:\n  toolchain: {order: 1, steps: [compiler]}\n  base: {order: 2, steps: [user], requirements: {toolchain: \
         complete, memory: 1M}}\n",
    );
    let toolchain = |ended: Ended| {
        let report = ended.exits(0).json();
        let it = phase(&report, "base", "toolchain").clone();
        assert_eq!((&it["required_bytes"], &it["needed"]), (&Value::Null, &false.into()), "{it}");
        assert_eq!(phase(&report, "base", "memory")["met"], true);
        it["met"] == true
    };
    assert!(!toolchain(space.kiln(&JSON)));
    space.run(0);
    assert!(toolchain(space.kiln(&JSON)));
}
