//! Which of many lines counts.

use super::*;

fn classify_as(case: &Case<'_>, text: &str) -> Option<Failure> {
    let mut output = Output::default();
    output.feed(text.as_bytes());
    case.classify(output)
}

fn classify(end: End, text: &str) -> Option<Failure> {
    classify_as(&Case { kind: None, facts: &[], end }, text)
}

/// The category, and the line that says so.
#[track_caller]
fn check(text: &str, category: Category, line: u64) {
    for text in [text.to_owned(), text.replace('\n', "\r\n")] {
        let failure = classify(End::Unknown, &text).unwrap();
        assert_eq!((failure.category, failure.evidence.line), (category, Some(line)), "{failure:?}");
        assert_eq!((failure.confidence, &*failure.evidence.source), (Confidence::Medium, "output"));
    }
}

#[test]
fn the_first_error_is_found_above_what_follows_from_it() {
    check(
        "cc -c a.c\na.c:1:10: fatal error: zlib.h: No such file or directory\ncompilation terminated.\n\
         make[1]: *** [Makefile:3: a.o] Error 1\nmake: *** [Makefile:9: all] Error 2\n",
        Category::MissingDependency,
        2,
    );
    check(
        "a.c:3:5: error: unknown type name 'x'\na.c:4:5: error: expected ';'\nmake: *** [a.o] Error 1\n",
        Category::CompilationFailure,
        1,
    );
    check(
        "ld: cannot open a.o: Too many open files\nld: cannot find -lpthread\n\
         collect2: error: ld returned 1 exit status\n",
        Category::ProcessLimits,
        1,
    );
    check(
        "a.c:1:10: fatal error: zlib.h: No such file or directory\na.c:9:3: error: 'z_stream' undeclared\n",
        Category::MissingDependency,
        1,
    );
}

#[test]
fn the_heavier_cause_counts_wherever_it_stands() {
    check(
        "curl: (6) Could not resolve host: example.org\ngzip: stdin: unexpected end of file\n\
         tar: Child returned status 1\ntar: Error is not recoverable: exiting now\n",
        Category::NetworkIssues,
        1,
    );
    check(
        "a.c:1:1: error: expected ';'\n{standard input}: Error: can't write: No space left on device\n\
         make: *** [a.o] Error 1\n",
        Category::DiskSpace,
        2,
    );
    check(
        "cc1plus: out of memory allocating 65536 bytes\ng++: fatal error: Killed signal terminated program cc1plus\n",
        Category::MemoryAllocation,
        1,
    );
}

#[test]
fn of_one_message_the_line_that_says_most_counts() {
    check(
        "configure: error: in `/build/x':\nconfigure: error: C compiler cannot create executables\n\
         See `config.log' for more details\n",
        Category::ConfigurationError,
        2,
    );
    check(
        "npm error code ERESOLVE\nnpm error ERESOLVE unable to resolve dependency tree\nnpm error\n\
         npm error Could not resolve dependency:\nnpm error peer x@\"^7\" from y@7.0.0\n",
        Category::VersionConflict,
        5,
    );
}

#[test]
fn another_job_that_goes_on_does_not_hide_the_error() {
    let mut text = "  CC      a.o\n".repeat(500);
    text.push_str("b.c:7:1: error: expected ';'\nmake[2]: *** [b.o] Error 1\n");
    text.push_str(&"  CC      c.o\n".repeat(150));
    text.push_str("make[1]: *** [all] Error 2\nmake: *** [all] Error 2\n");
    check(&text, Category::CompilationFailure, 501);
}

#[test]
fn what_was_overcome_counts_less() {
    let mut text = "curl: (28) Connection timed out after 300 ms\n".to_owned();
    text.push_str(&"  CC      a.o\n".repeat(300));
    text.push_str("b.c:7:1: error: expected ';'\nmake: *** [b.o] Error 1\n");
    check(&text, Category::CompilationFailure, 302);
    check(
        "fatal error: x.h: No such file or directory\n[100%] Built target probe\nb.c:7:1: error: expected ';'\n\
         make: *** [b.o] Error 1\n",
        Category::CompilationFailure,
        3,
    );
}

#[test]
fn what_stands_above_decides_what_cmake_means() {
    let message = "  Could not find a package configuration file provided by \"X\" with any of\n";
    let error = format!("CMake Error at CMakeLists.txt:3 (find_package):\n{message}");
    check(&error, Category::MissingDependency, 2);
    let warning =
        format!("CMake Warning at CMakeLists.txt:3 (find_package):\n{message}-- Configuring done\n");
    assert_eq!(classify(End::Unknown, &warning), None);
}

#[test]
fn prefixes_colours_and_other_quotes_do_not_matter() {
    check("#7 18.61 a.c:1:10: fatal error: x.h: No such file or directory\n", Category::MissingDependency, 1);
    check("client_1  | E: Unable to locate package x\n", Category::MissingDependency, 1);
    check("[  168s] make: *** No rule to make target ‘x’.  Stop.\n", Category::ConfigurationError, 1);
    check(
        "\x1b[01m\x1b[Ka.c:1:10:\x1b[m\x1b[K \x1b[01;31m\x1b[Kfatal error: \x1b[m\x1b[Kx.h: No such file or directory\n",
        Category::MissingDependency,
        1,
    );
    check("10%\r50%\rcurl: (6) Could not resolve host: x\n", Category::NetworkIssues, 1);
}

#[test]
fn success_is_no_failure_whatever_words_it_has() {
    #[track_caller]
    fn check(text: &str) {
        assert_eq!(classify(End::Unknown, text), None);
    }
    check("");
    check("\n\n");
    check("checking for error_at_line... no\nchecking for library containing strerror... none required\n");
    check("gcc -Wno-error -Werror=format -c error.c -o error.o\nar rc liberror.a error.o\n");
    check("a.c:3:5: warning: 'error' is deprecated: fatal error: soon\n");
    check("rm: cannot remove 'x': No such file or directory\nmake: [Makefile:3: clean] Error 1 (ignored)\n");
    check("XFAIL: error.sh\nPASS: fatal.sh\n# FAIL:  0\n");
    check(
        "error: could not find `x`\n   Compiling x v1.0.0\n    Finished `release` profile [optimized] target(s) in 1s\n",
    );
    check("npm WARN optional SKIPPING OPTIONAL DEPENDENCY: Exit status 1\nadded 3 packages in 2s\n");
    let mut went_on = "sh: 1: git: not found\n".to_owned();
    went_on.push_str(&"checking for x... yes\n".repeat(9));
    check(&went_on);
    assert_eq!(classify(End::Status(0), "make: *** [x] Error 1\n"), None);
}

#[test]
fn what_fits_no_category_is_said_to_and_taken_for_what_such_a_task_mostly_is() {
    use TaskKind as K;
    let rejected = "Hunk #1 FAILED at 3.\n1 out of 1 hunk FAILED -- saving rejects to file a.c.rej\n";
    for (kind, category) in [
        (None, Category::CompilationFailure),
        (Some(K::Fetch), Category::NetworkIssues),
        (Some(K::Configure), Category::ConfigurationError),
        (Some(K::Build), Category::CompilationFailure),
        (Some(K::Check), Category::CompilationFailure),
    ] {
        let case = Case { kind, facts: &[], end: End::Status(1) };
        let failure = classify_as(&case, rejected).unwrap();
        assert_eq!((failure.category, failure.confidence), (category, Confidence::Low));
        assert_eq!(failure.evidence.text, "it fits no category: Hunk #1 FAILED at 3.");
        let failure = classify_as(&case, "hm\n\n").unwrap();
        assert_eq!((failure.category, failure.confidence), (category, Confidence::Low));
        let said = "exit status 1; nothing that it printed says why; the last line of its output is: hm";
        assert_eq!((failure.evidence.line, &*failure.evidence.text), (Some(1), said));
    }
    let silent = classify(End::Lost, "").unwrap();
    assert_eq!(silent.evidence.text, "its exit status was lost; it printed nothing");
    let ended = classify(End::Unknown, "x\nmake: *** [all] Error 2\n").unwrap();
    assert_eq!((ended.category, ended.confidence), (Category::CompilationFailure, Confidence::Low));
}

#[test]
fn a_failing_test_is_not_what_it_printed() {
    let text = "error: cannot link x\nFAIL: x.sh\n# FAIL:  1\nmake: *** [check] Error 1\n";
    let failure = classify(End::Unknown, text).unwrap();
    assert_eq!((failure.confidence, failure.evidence.line), (Confidence::Low, Some(2)));
}

#[test]
fn an_exit_says_something_too() {
    #[track_caller]
    fn check(end: End, text: &str, category: Category, source: &str) {
        let failure = classify(end, text).unwrap();
        assert_eq!((failure.category, &*failure.evidence.source), (category, source), "{failure:?}");
    }
    use Category as C;
    let rejects = "a.c:1:1: error: expected ';'\n";
    check(End::Signal(9), rejects, C::ResourceExhaustion, "exit");
    check(End::Status(137), rejects, C::ResourceExhaustion, "exit");
    check(End::Status(137), "cc1: out of memory\n", C::MemoryAllocation, "output");
    check(End::Signal(24), rejects, C::ResourceExhaustion, "exit");
    check(End::Signal(25), rejects, C::ProcessLimits, "exit");
    check(End::Status(124), "", C::ResourceExhaustion, "exit");
    check(End::Status(139), rejects, C::CompilationFailure, "output");
    check(End::Signal(11), "hm\n", C::CompilationFailure, "exit");
    check(End::Signal(31), "", C::SecurityViolation, "exit");
    check(End::Status(2), rejects, C::CompilationFailure, "output");
}

#[test]
fn a_hint_names_what_was_named() {
    let hint = |text| classify(End::Unknown, text).unwrap().hint.unwrap();
    let header = hint("a.c:1:10: fatal error: zlib.h: No such file or directory\n");
    assert_eq!(header, "install the package that has the header `zlib.h`");
    assert!(hint("/usr/bin/ld: cannot find -lz: No such file or directory\n").contains("`z`"));
}

#[test]
fn of_weak_signs_the_last_counts_and_of_strong_ones_the_first() {
    let between = "x\n".repeat(9);
    let weak = format!("Error: the first thing\n{between}Error: the second thing\n");
    let failure = classify(End::Status(1), &weak).unwrap();
    assert_eq!((failure.evidence.line, failure.confidence), (Some(11), Confidence::Low));
    check(
        "a.c:1:10: fatal error: a.h: No such file or directory\n\
         b.c:1:10: fatal error: b.h: No such file or directory\nmake: *** [b.o] Error 1\n",
        Category::MissingDependency,
        1,
    );
}

#[test]
fn a_warning_says_why_only_if_something_failed() {
    let skipping = "/usr/bin/ld: skipping incompatible /usr/lib32/libx.so when searching for -lx\n";
    assert!(classify(End::Unknown, skipping).is_none());
    assert!(classify(End::Unknown, &format!("{skipping}make[1]: Leaving directory '/b'\n")).is_none());
    check(&format!("{skipping}make: *** [x] Error 1\n"), Category::BrokenDependency, 1);
}

#[test]
fn an_ending_may_stand_just_above_what_it_is_about() {
    let text = "[1/9] CXX a.o\nFAILED: a.o\nc++ -c a.cc\na.cc:1:10: fatal error: zlib.h: No such file or directory\n";
    let work = "[2/9] CXX b.o\n".repeat(100);
    check(&format!("{text}{work}"), Category::MissingDependency, 4);
}

#[test]
fn a_violation_is_not_tried_again() {
    let retryable = |text| classify(End::Status(1), text).unwrap().retryable;
    assert!(!retryable("x.tar.gz: FAILED\nsha256sum: WARNING: 1 computed checksum did NOT match\n"));
    assert!(retryable("curl: (6) Could not resolve host: example.org\n"));
}
