//! What a script finds: variables, descriptors, directories.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::process::{Command, Stdio};

use super::space::{RUN, Space};

/// Writes down what it finds.
const CURIOUS: &str = r#"
package: curious
version: 1
env: {ARCH: x86_64, LEVEL: 3}
tasks:
  install: |
    mkdir "$DESTDIR/found"
    pwd -P > "$DESTDIR/found/directory"
    cd "$DESTDIR/found"
    env > environment
    ls /proc/$$/fd     # into the log: a redirection would add to them
    readlink /proc/$$/fd/0 > stdin
    umask > umask
    ls -A "$SRC" > src
    stat -c '%a %F' "$HOME" > home
    ls -A "$HOME" >> home
    touch "$HOME/.bashrc"
"#;

/// A file that `CURIOUS` wrote.
fn found(space: &Space, name: &str) -> String {
    std::fs::read_to_string(space.state().join("sysroot/found").join(name)).unwrap()
}

fn variables(space: &Space) -> BTreeMap<String, String> {
    let text = found(space, "environment");
    text.lines().map(|line| line.split_once('=').unwrap()).map(|(k, v)| (k.into(), v.into())).collect()
}

#[test]
fn a_script_finds_the_variables_that_are_promised_and_no_others() {
    let space = Space::with(CURIOUS);
    let mut command = space.command(&RUN);
    command.envs([
        ("CFLAGS", "-O9"),
        ("MAKEFLAGS", "-k"),
        ("KILN_LOG", "info"),
        ("LANG", "de_DE"),
        ("FOO", "1"),
    ]);
    space.start_command(command).wait().exits(0);

    let mut variables = variables(&space);
    // What the shell itself adds.
    for name in ["PWD", "OLDPWD", "SHLVL", "_"] {
        variables.remove(name);
    }
    let mut take = |name: &str| variables.remove(name).unwrap_or_else(|| panic!("no {name}"));
    let work = space.state().join("work/curious");
    let work = |name: &str| work.join(name).display().to_string();
    let sysroot = space.state().join("sysroot").display().to_string();
    assert_eq!(take("SRC"), work("src"));
    assert_eq!(take("DESTDIR"), work("dest"));
    assert_eq!(take("TOOLS"), format!("{sysroot}/tools"));
    assert!(take("PATH").starts_with(&format!("{sysroot}/tools/bin:")));
    assert_eq!(take("SYSROOT"), sysroot);
    assert_eq!(take("KILN_JOBS"), "2");
    assert_eq!(take("KILN_ATTEMPT"), "1");
    assert_eq!(take("KILN_BUILD_ID"), space.ledger().only("run_started")["build_id"]);
    assert_eq!(take("MAKEFLAGS"), "-j2");
    assert_eq!(take("SOURCE_DATE_EPOCH"), "315532800", "1980, where nothing else is said");
    assert_eq!(take("LC_ALL"), "C.UTF-8");
    assert_eq!(take("ARCH"), "x86_64");
    assert_eq!(take("LEVEL"), "3");
    let home = take("HOME");
    assert_ne!(home, space.here().to_string());
    assert_eq!(take("TMPDIR"), home);
    take("KILN_TASK_ID");
    take("KILN_STATE_ID");
    assert_eq!(variables, BTreeMap::new(), "and nothing else");
}

#[test]
fn a_script_inherits_nothing_of_the_place_that_kiln_was_started_in() {
    let space = Space::with(CURIOUS);
    let kiln = space.command(&RUN);
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "umask 077; cd /; exec 7<\"$HOME\"; exec \"$@\"", "sh"])
        .arg(kiln.get_program())
        .args(kiln.get_args())
        .env_clear()
        .envs(kiln.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .stdin(Stdio::from(File::open(space.definition().join("kiln.yaml")).unwrap()));
    space.start_command(shell).wait().exits(0);

    assert_eq!(space.kiln(&["log", "curious"]).exits(0).stdout, "0\n1\n2\n");
    assert_eq!(found(&space, "stdin"), "/dev/null\n");
    assert_eq!(found(&space, "umask"), "0022\n");
    let src = space.path("").canonicalize().unwrap().join("state/work/curious/src");
    assert_eq!(found(&space, "directory"), format!("{}\n", src.display()));
    assert_eq!(found(&space, "src"), "", "without sources it is empty");
    assert_eq!(found(&space, "home"), "755 directory\n", "and empty");
    assert!(!space.path(".bashrc").exists());
}

#[test]
fn the_newest_file_in_the_sources_tells_the_time_and_the_archive_keeps_it() {
    let space = Space::new();
    let source = space.tarball("old-1.tar.gz", &[("old-1/file", "old")]);
    space.packages(&format!(
        "{}\n---\npackage: timeless\nversion: 1\nsource_date_epoch: 1234567890\ntasks: {{install: echo \
         $SOURCE_DATE_EPOCH > \"$DESTDIR/timeless\"}}\n",
        r#"
package: old
version: 1
SOURCES
source_date_epoch: 1
tasks:
  install: |
    echo $SOURCE_DATE_EPOCH > "$DESTDIR/epoch"
    cp -p file "$DESTDIR/oldest"
"#
        .replace("SOURCES", &source.as_sources())
    ));
    space.run(0);
    let sysroot = space.sysroot();
    assert_eq!(sysroot.at("epoch"), "file 0644 1000000000\n".trim_end());
    assert_eq!(sysroot.at("timeless"), "file 0644 1234567890");
    // Younger than its sources is nothing: two builds of the same make the same archive.
    let mtime = |name: &str| space.state().join("sysroot").join(name).metadata().unwrap().mtime();
    assert_eq!((mtime("epoch"), mtime("oldest")), (1_000_000_000, 1_000_000_000));
}

#[test]
fn a_recipe_may_ask_for_fewer_jobs() {
    let recipe = |name: &str, jobs: &str| {
        format!(
            "package: {name}\nversion: 1\njobs: {jobs}\ntasks: {{install: echo $KILN_JOBS $MAKEFLAGS > \
             \"$DESTDIR/{name}\"}}\n"
        )
    };
    let space = Space::new();
    space.packages(&[recipe("one", "1"), recipe("two", "2"), recipe("all", "all")].join("---\n"));
    let text = std::fs::read_to_string(space.definition().join("kiln.yaml")).unwrap();
    space.document(&text.replace("parallel", "topological"));
    space.kiln(&["run", "--no-listen", "--jobs", "3"]).exits(0);
    let sysroot = space.sysroot();
    assert_eq!(sysroot.at("one"), "file 0644 1 -j1");
    assert_eq!(sysroot.at("two"), "file 0644 2 -j2");
    assert_eq!(sysroot.at("all"), "file 0644 3 -j3");
}

#[test]
fn a_script_of_any_length_runs() {
    let space = Space::new();
    let filler =
        "    : a line that only makes the script longer, and longer, and longer than an argument may be\n";
    space.packages(&format!(
        "package: long\nversion: 1\ntasks:\n  install: |\n{}    test -e ../tmp && echo end > \"$DESTDIR/end\"\n",
        filler.repeat(2000)
    ));
    space.run(0);
    assert_eq!(std::fs::read_to_string(space.state().join("sysroot/end")).unwrap(), "end\n");
}
