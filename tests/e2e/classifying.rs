//! `kiln classify`, and what a run says of a script that failed.

use std::fs::File;

use serde_json::json;

use super::process::Ended;
use super::space::Space;

const HEADER: &str = "cc -c main.c\nmain.c:1:10: fatal error: zlib.h: No such file or directory\n\
     compilation terminated.\nmake: *** [Makefile:3: main.o] Error 1\n";
const SUCCESS: &str = "checking for error_at_line... no\n    Finished `release` profile target(s) in 1s\n";

fn classify(space: &Space, arguments: &[&str]) -> Ended {
    space.start_command(space.bare_command(&[&["classify"], arguments].concat())).wait()
}

fn space() -> Space {
    let space = Space::new();
    std::fs::write(space.path("header.log"), HEADER).unwrap();
    std::fs::write(space.path("success.log"), SUCCESS).unwrap();
    space
}

#[test]
fn an_answer_has_these_keys_in_this_order() {
    let space = space();
    let answer = "{\"category\":\"missing_dependency\",\"class\":\"dependency\",\"confidence\":\"medium\",\
         \"evidence\":{\"source\":\"output\",\"line\":2,\
         \"text\":\"main.c:1:10: fatal error: zlib.h: No such file or directory\"},\
         \"hint\":\"install the package that has the header `zlib.h`\"}\n";
    let nothing = "{\"category\":null,\"class\":null,\"confidence\":null,\"evidence\":null,\"hint\":null}\n";
    assert_eq!(classify(&space, &["--json", "header.log"]).exits(0).stdout, answer);
    assert_eq!(classify(&space, &["--json", "success.log"]).exits(0).stdout, nothing);
    assert_eq!(classify(&space, &["--json", "--exit", "0", "header.log"]).exits(0).stdout, nothing);
    let all = classify(&space, &["success.log", "header.log", "--json", "success.log"]).exits(0);
    assert_eq!(all.stdout, format!("{nothing}{answer}{nothing}"));
    let killed = classify(&space, &["--json", "--signal", "9", "success.log"]).exits(0).json();
    assert_eq!(killed["category"], "resource_exhaustion");
    assert_eq!(killed["evidence"]["line"], json!(null));
}

#[test]
fn people_see_the_line_among_its_neighbours() {
    let space = space();
    let text = classify(&space, &["header.log", "success.log"]).exits(0).stdout;
    assert_eq!(
        text,
        "header.log: missing_dependency (dependency), confidence medium\n  1 | cc -c main.c\n\
         > 2 | main.c:1:10: fatal error: zlib.h: No such file or directory\n  3 | compilation terminated.\n  \
         4 | make: *** [Makefile:3: main.o] Error 1\n  \
         hint: install the package that has the header `zlib.h`\nsuccess.log: nothing failed\n"
    );
    let guessed = classify(&space, &["--exit", "3", "success.log"]).exits(0).stdout;
    assert!(
        guessed.contains("compilation_failure (build), confidence low\n  exit status 3; nothing"),
        "{guessed}"
    );
}

#[test]
fn standard_input_and_pipes_can_be_read_too() {
    let space = space();
    let mut command = space.bare_command(&["classify"]);
    command.stdin(File::open(space.path("header.log")).unwrap());
    let text = space.start_command(command).wait().exits(0).stdout;
    assert!(text.starts_with("missing_dependency (dependency)") && text.contains("> 2 | main.c"), "{text}");
    let mut command = space.bare_command(&["classify", "/dev/stdin", "--json"]);
    let (reader, mut writer) = std::io::pipe().unwrap();
    std::io::Write::write_all(&mut writer, HEADER.as_bytes()).unwrap();
    drop(writer);
    command.stdin(reader);
    assert_eq!(space.start_command(command).wait().exits(0).json()["evidence"]["line"], 2);
}

#[test]
fn what_cannot_be_read_is_named_and_the_rest_is_answered() {
    let space = space();
    let ended = classify(&space, &["nowhere.log", "header.log", "."]).exits(2);
    assert!(ended.stdout.starts_with("header.log: missing_dependency"), "{}", ended.stdout);
    ended.says("kiln: cannot read nowhere.log: No such file").says("kiln: cannot read .: Is a directory");
    classify(&space, &["--exit", "1", "--signal", "9", "header.log"]).exits(2);
}

#[test]
fn a_script_that_failed_is_explained_from_all_of_its_output() {
    let space = Space::new();
    space.packages(&format!(
        "package: header\nversion: 1\ntasks:\n  build: |\n    cat {}/header.log\n    exit 2\n",
        space.here()
    ));
    let filler = "  CC      x.o\n".repeat(100);
    std::fs::write(space.path("header.log"), format!("{filler}{HEADER}{filler}make: *** [all] Error 2\n"))
        .unwrap();
    let ended = space.run(1);
    let failure = space.ledger().of("task_failed").next().unwrap()["failure"].clone();
    assert_eq!(failure["category"], "missing_dependency");
    assert_eq!(failure["evidence"]["line"], 102);
    assert_eq!(failure["hint"], "install the package that has the header `zlib.h`");
    assert!(
        ended.stdout.contains("zlib.h") || ended.stderr.contains("zlib.h"),
        "{}{}",
        ended.stdout,
        ended.stderr
    );
}
