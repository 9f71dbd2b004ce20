//! Versions against dpkg, dependencies as they are written.

use std::process::{Command, Stdio};

use proptest::prelude::*;

use super::*;

fn version(text: &str) -> Version {
    text.parse().unwrap()
}

#[track_caller]
fn ordered(a: &str, relation: Ordering, b: &str) {
    assert_eq!(version(a).cmp(&version(b)), relation, "{a} {b}");
    assert_eq!(version(b).cmp(&version(a)), relation.reverse(), "{b} {a}");
}

#[test]
fn versions_sort_as_dpkg_sorts_them() {
    let less = [
        ("2.0~rc1", "2.0"),
        ("2.0", "2.0-rc1"),
        ("1.9", "1.10"),
        ("1.0.2", "1.0.2k"),
        ("2.0", "1:0.9"),
        ("1.0~~", "1.0~"),
        ("1.0~~a", "1.0~"),
        ("1.0-1", "1.0-1.1"),
        ("1.0a", "1.0+"),
        ("1.0Z", "1.0a"),
        ("1.0-9", "1.0-10"),
        ("1.0-1", "1.0.1-1"),
        ("0.9", "99999999999999999999999999"),
        ("1.99999999999999999999999998", "1.99999999999999999999999999"),
        ("1:1.0", "2:0.1"),
        ("1.0-a-1", "1.0-b-1"),
    ];
    for (a, b) in less {
        ordered(a, Ordering::Less, b);
    }
    for (a, b) in [("1.0", "1.00"), ("1.0", "1.0-0"), ("0:1.0", "1.0"), ("1.", "1.0"), ("1a0", "1a")] {
        ordered(a, Ordering::Equal, b);
    }
}

#[test]
fn a_chain_of_versions_is_ascending() {
    let chain = [
        "0", "0.1~", "0.1", "0.1-1~x", "0.1-1", "0.1-2", "0.1a", "0.1+b", "0.2", "0.10", "1", "1:0", "2:0~a",
    ];
    for (i, a) in chain.iter().enumerate() {
        for (j, b) in chain.iter().enumerate() {
            assert_eq!(version(a).cmp(&version(b)) == Ordering::Less, i < j, "{a} {b}");
        }
    }
}

#[test]
fn what_is_no_version_is_refused_and_named() {
    for (text, message) in [
        ("", "a version may not be empty"),
        ("1_0", "`_` may not be in a version (`1_0`): only letters, digits and `. + - ~`"),
        ("1 0", "` ` may not be in a version (`1 0`): only letters, digits and `. + - ~`"),
        ("a:1", "epoch `a` of version `a:1` is not a number from 0 to 2147483647"),
        (":1", "epoch `` of version `:1` is not a number from 0 to 2147483647"),
        ("2147483648:1", "epoch `2147483648` of version `2147483648:1` is not a number from 0 to 2147483647"),
        ("1:", "version `1:` has no upstream part"),
        ("-1", "version `-1` has no upstream part"),
        ("1.0-", "version `1.0-` ends with `-`: its revision is empty"),
        ("~1", "version `~1` does not begin with a digit or letter"),
        ("1:2:3", "`:` may not be in a version (`1:2:3`): only letters, digits and `. + - ~`"),
    ] {
        assert_eq!(text.parse::<Version>().unwrap_err().to_string(), message, "{text}");
    }
    for text in ["1.10", "v2.4", "2024a", "1.0.2k", "0.0~git20240101.abc-1", "5:1.2-3-4"] {
        assert_eq!(version(text).to_string(), text);
    }
}

#[test]
fn dependencies_are_read_and_written() {
    for (text, canonical) in [
        ("musl", "musl"),
        ("musl >= 1.2", "musl >= 1.2"),
        ("musl>=1.2,<2", "musl >= 1.2, < 2"),
        ("  libstdc++   = 1:2.0-1 ", "libstdc++ = 1:2.0-1"),
        ("a > 1 , <= 2", "a > 1, <= 2"),
    ] {
        let dependency: Dependency = text.parse().unwrap();
        assert_eq!(dependency.to_string(), canonical);
        assert_eq!(canonical.parse::<Dependency>().unwrap(), dependency);
    }
    for (text, message) in [
        ("", "a name may not be empty"),
        (">= 1", "a name may not be empty"),
        ("musl 1.2", "expected `>=`, `<=`, `>`, `<` or `=` at `1.2`"),
        ("musl >= 1.2 < 2", "`1.2 < 2` is not one version: write a comma between comparisons"),
        ("musl == 1.2", "`==` is not a comparison: write `=`"),
        ("musl >> 1.2", "`>>` is not a comparison: write `>`"),
        ("musl => 1.2", "`=>` is not a comparison: write `>=`"),
        ("musl (>= 1.2)", "write the constraint without parentheses: `NAME >= VERSION`"),
        ("musl >=", "a version may not be empty"),
        ("musl >= 1.2,", "a constraint is missing beside a comma"),
        ("mu/sl", "`/` may not be in a name (`mu/sl`): only letters, digits and `+ - . _`"),
    ] {
        assert_eq!(text.parse::<Dependency>().unwrap_err().to_string(), message, "{text}");
    }
}

#[test]
fn a_constraint_allows_what_every_part_allows() {
    let constraint: Constraint = ">= 1.2, < 2".parse().unwrap();
    for (text, allowed) in
        [("1.2", true), ("1.10", true), ("2", false), ("1.1", false), ("2~rc1", true), ("1:0", false)]
    {
        assert_eq!(constraint.allows(&version(text)), allowed, "{text}");
    }
    assert!(Constraint::default().allows(&version("0")));
    for (operator, less, equal, greater) in [
        ("<", true, false, false),
        ("<=", true, true, false),
        ("=", false, true, false),
        (">=", false, true, true),
        (">", false, false, true),
    ] {
        let constraint: Constraint = format!("{operator} 2").parse().unwrap();
        assert_eq!(constraint.allows(&version("1")), less);
        assert_eq!(constraint.allows(&version("2")), equal);
        assert_eq!(constraint.allows(&version("3")), greater);
    }
}

fn any_version() -> impl Strategy<Value = String> {
    ("([0-9]{1,2}:)?", "[0-9][0-9a-bZ.+~]{0,6}", "(-[0-9a-b.+~]{1,3})?")
        .prop_map(|(e, u, r)| format!("{e}{u}{r}"))
}

proptest! {
    #[test]
    fn the_order_is_total(a in any_version(), b in any_version(), c in any_version()) {
        let (a, b, c) = (version(&a), version(&b), version(&c));
        prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
        prop_assert_eq!(a.cmp(&a), Ordering::Equal);
        prop_assert!(a <= b || b <= a);
        // Random ones are seldom in order: so all that can be said of three is looked at.
        for [a, b, c] in [[&a, &b, &c], [&a, &c, &b], [&b, &a, &c], [&b, &c, &a], [&c, &a, &b], [&c, &b, &a]] {
            prop_assert!(!(a <= b && b <= c) || a <= c, "{a} {b} {c}");
            prop_assert!(!(a == b && b < c) || a < c, "{a} {b} {c}");
        }
        prop_assert_eq!(a == b, a.cmp(&b) == Ordering::Equal);
    }

    /// Versions that are made of few pieces are often equal, or nearly so.
    #[test]
    fn versions_that_are_alike_have_a_total_order(
        pieces in prop::collection::vec(prop::collection::vec(prop::sample::select(vec!["0", "00", "1", ".", "~", "a", "+", "-1", "-0"]), 0..4), 3),
    ) {
        let texts = pieces.iter().map(|pieces| format!("1{}0", pieces.concat()));
        let mut all: Vec<Version> = texts.map(|text| version(&text)).collect();
        all.sort();
        for (i, a) in all.iter().enumerate() {
            for (j, b) in all.iter().enumerate() {
                prop_assert_eq!(a.cmp(b), b.cmp(a).reverse());
                prop_assert!(i > j || a <= b, "{a} {b}");
            }
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,20}") {
        drop(text.parse::<Version>());
        drop(text.parse::<Dependency>());
    }
}

/// Pairs of versions with a relation between them, a line each: `A lt B`.
fn facts(text: &str) -> Vec<(&str, Ordering, &str)> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let fact = |line| match str::split(line, ' ').collect::<Vec<_>>()[..] {
        [a, "lt", b] => (a, Ordering::Less, b),
        [a, "eq", b] => (a, Ordering::Equal, b),
        [a, "gt", b] => (a, Ordering::Greater, b),
        _ => panic!("`{line}` is no fact"),
    };
    lines.map(fact).collect()
}

const DEBIAN: &str = include_str!("../../../tests/data/versions/debian.txt");

#[test]
fn real_versions_are_ordered_as_dpkg_has_ordered_them() {
    let facts = facts(DEBIAN);
    assert!(facts.len() >= 700, "{}", facts.len());
    for (a, relation, b) in facts {
        ordered(a, relation, b);
    }
}

/// One shell asks dpkg of each pair whether what we say of it is so.
fn assert_dpkg_agrees(test: &str, pairs: impl IntoIterator<Item = (String, String)>) {
    if Command::new("dpkg").arg("--version").stdout(Stdio::null()).status().is_err() {
        eprintln!("skipped: {test} (no dpkg here)");
        return;
    }
    let lines = pairs.into_iter().map(|(a, b)| {
        let relation = match version(&a).cmp(&version(&b)) {
            Ordering::Less => "lt",
            Ordering::Equal => "eq",
            Ordering::Greater => "gt",
        };
        format!("{a} {relation} {b}\n")
    });
    let lines = lines.collect::<Vec<_>>().concat();
    let script = r#"while read -r a relation b; do
        dpkg --compare-versions "$a" "$relation" "$b" || echo "$a $relation $b"
    done; echo end"#;
    let mut shell = Command::new("sh")
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut to = shell.stdin.take().unwrap();
    let write = std::thread::spawn(move || std::io::Write::write_all(&mut to, lines.as_bytes()).unwrap());
    let output = String::from_utf8(shell.wait_with_output().unwrap().stdout).unwrap();
    write.join().unwrap();
    assert_eq!(output, "end\n", "dpkg says otherwise of these");
}

/// A version of Debian's against others of them, some of which are near it: there are no more interesting ones than
/// those that people made.
#[test]
fn dpkg_agrees_on_thousands_of_pairs_of_real_versions() {
    let facts = facts(DEBIAN);
    let left = |at: usize| facts[at % facts.len()].0.to_owned();
    let right = |at: usize| facts[at % facts.len()].2.to_owned();
    let all = 0..facts.len();
    // As in the file, beside its neighbour in the order of bytes, and far from that.
    let pairs =
        all.flat_map(|at| [(left(at), right(at)), (left(at), left(at + 1)), (right(at), left(at + 311))]);
    let pairs: Vec<_> = pairs.collect();
    assert!(pairs.len() >= 2000, "{}", pairs.len());
    assert_dpkg_agrees("dpkg_agrees_on_thousands_of_pairs_of_real_versions", pairs);
}

/// What nobody would write.
#[test]
fn dpkg_agrees_on_made_up_versions() {
    // A small generator of our own: the pairs are the same in every run.
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut pick = |n: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % n).unwrap()
    };
    let parts = ["0", "1", "00", "10", "9", "a", "b", "Z", ".", "+", "~", "rc"];
    let mut any = || {
        let epoch = ["", "", "", "0:", "1:"][pick(5)];
        let upstream: String = (0..pick(5)).map(|_| parts[pick(12)]).collect();
        let revision = ["", "", "-0", "-1", "-1~a", "-a.0"][pick(6)];
        format!("{epoch}1{upstream}{revision}")
    };
    let pairs: Vec<_> = (0..300).map(|_| (any(), any())).collect();
    assert_dpkg_agrees("dpkg_agrees_on_made_up_versions", pairs);
}

/// Of each of 2,000 packages the version and that of the next: where `../shared/data/debian` is, which no checkout has.
#[test]
fn dpkg_agrees_on_versions_of_two_thousand_packages() {
    let file =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/debian/acyclic-2000.jsonl");
    let Ok(text) = std::fs::read_to_string(&file) else {
        eprintln!("skipped: dpkg_agrees_on_versions_of_two_thousand_packages (no {})", file.display());
        return;
    };
    let versions = text.lines().map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        line["version"].as_str().unwrap().to_owned()
    });
    let versions: Vec<_> = versions.collect();
    let pairs = versions.iter().cloned().zip(versions.iter().skip(1).cloned());
    assert_dpkg_agrees("dpkg_agrees_on_versions_of_two_thousand_packages", pairs);
}
