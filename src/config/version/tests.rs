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
        if a <= b && b <= c {
            prop_assert!(a <= c);
        }
        prop_assert_eq!(a == b, a.cmp(&b) == Ordering::Equal);
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,20}") {
        drop(text.parse::<Version>());
        drop(text.parse::<Dependency>());
    }
}

/// 200 pairs in one shell, which asks dpkg for the relation of each.
#[test]
fn dpkg_agrees() {
    if Command::new("dpkg").arg("--version").stdout(Stdio::null()).status().is_err() {
        eprintln!("skipped: dpkg_agrees (no dpkg here)");
        return;
    }
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
    let pairs: Vec<(String, String)> = (0..200).map(|_| (any(), any())).collect();
    let script = r#"while read -r a b; do
        for relation in lt eq gt; do
            dpkg --compare-versions "$a" "$relation" "$b" && { echo "$relation"; break; }
        done
    done"#;
    let mut shell = Command::new("sh")
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = pairs.iter().map(|(a, b)| format!("{a} {b}\n")).collect::<Vec<_>>().concat();
    std::io::Write::write_all(&mut shell.stdin.take().unwrap(), lines.as_bytes()).unwrap();
    let output = String::from_utf8(shell.wait_with_output().unwrap().stdout).unwrap();
    assert_eq!(output.lines().count(), pairs.len());
    for ((a, b), relation) in pairs.iter().zip(output.lines()) {
        let relation = match relation {
            "lt" => Ordering::Less,
            "eq" => Ordering::Equal,
            _ => Ordering::Greater,
        };
        ordered(a, relation, b);
    }
}
