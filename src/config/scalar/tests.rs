//! Scalars as they are read and written.

use std::time::Duration as Span;

use proptest::prelude::*;

use super::*;

#[test]
fn sizes_are_1024_based() {
    for (text, bytes) in [
        ("0", 0),
        ("15G", 15 << 30),
        ("300M", 300 << 20),
        ("1.5GiB", 3 << 29),
        ("1k", 1024),
        ("0.5K", 512),
        ("2T", 2 << 40),
        ("1P", 1 << 50),
        ("18446744073709551615", u64::MAX),
        ("16383P", 16383 << 50),
    ] {
        assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
    }
}

#[test]
fn what_is_no_size_is_refused() {
    for text in [
        "", "G", "15Q", "15GB", "15 G", "-1", "+1", "1.5", ".5G", "5.G", "1e3", "0x10", "1..5G", "15G ",
        "15iB",
    ] {
        assert_eq!(text.parse::<Size>(), Err(ScalarError::Size(text.to_owned())), "{text}");
    }
    for text in ["18446744073709551616", "16384P", "99999999999999999999999999999999999999999G"] {
        assert_eq!(text.parse::<Size>(), Err(ScalarError::SizeTooLarge(text.to_owned())), "{text}");
    }
}

#[test]
fn durations_have_units() {
    for (text, seconds, shown) in [
        ("90s", 90.0, "1m30s"),
        ("20m", 1200.0, "20m"),
        ("2h", 7200.0, "2h"),
        ("1h30m", 5400.0, "1h30m"),
        ("30d", 2_592_000.0, "30d"),
        ("60", 60.0, "1m"),
        ("0", 0.0, "0s"),
        ("1.5", 1.5, "1.5s"),
        ("0.25s", 0.25, "0.25s"),
        ("1d0.5s", 86400.5, "1d0.5s"),
    ] {
        let duration: Duration = text.parse().unwrap();
        assert_eq!(duration, Duration(Span::from_secs_f64(seconds)), "{text}");
        assert_eq!(duration.to_string(), shown);
        assert_eq!(shown.parse(), Ok(duration));
    }
    for text in [
        "",
        "-1",
        "-1h",
        "1h ago",
        "h",
        "1x",
        "1 h",
        "PT1H",
        "1:30",
        "1y",
        "1M",
        "99999999999999999999d",
        "1.2.3",
        "30m1h",
    ] {
        assert_eq!(text.parse::<Duration>(), Err(ScalarError::Duration(text.to_owned())), "{text}");
    }
}

#[test]
fn digests_are_64_hexadecimal_digits() {
    let digest = "0123456789ABCDEF".repeat(4);
    assert_eq!(digest.parse::<Digest>().unwrap().as_str(), digest.to_lowercase());
    for (text, message) in [
        ("abc", "`abc` is not a SHA-256 digest: 64 hexadecimal digits, not 3 characters"),
        ("", "`` is not a SHA-256 digest: 64 hexadecimal digits, not 0 characters"),
        ("g", "`g` is no hexadecimal digit: a SHA-256 digest is 64 of them"),
    ] {
        assert_eq!(text.parse::<Digest>().unwrap_err().to_string(), message);
    }
    let long = "a".repeat(65);
    assert!(long.parse::<Digest>().unwrap_err().to_string().contains("`aaaaaaaaaaaaaaaa…`"));
}

#[test]
fn jobs_and_switches_are_what_they_say() {
    assert_eq!("all".parse(), Ok(Jobs::All));
    assert_eq!("4".parse(), Ok(Jobs::Most(4)));
    for text in ["0", "-1", "+1", "ALL", "", "1.5", "4294967296"] {
        assert!(text.parse::<Jobs>().is_err(), "{text}");
    }
    for (text, switch) in
        [("on", Switch::On), ("true", Switch::On), ("off", Switch::Off), ("false", Switch::Off)]
    {
        assert_eq!(text.parse(), Ok(switch));
        assert_eq!(serde_yaml::from_str::<Switch>(text).unwrap(), switch, "in YAML");
    }
    assert!("yes".parse::<Switch>().is_err());
}

#[test]
fn seconds_are_finite_and_not_negative() {
    for (text, seconds) in [("60", 60.0), ("0", 0.0), ("0.5", 0.5)] {
        assert_eq!(serde_yaml::from_str::<Seconds>(text).unwrap(), Seconds(seconds));
    }
    for text in ["-1", ".inf", ".nan", "1m", "[1]", "\"60\""] {
        assert!(serde_yaml::from_str::<Seconds>(text).is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn a_size_reads_back(bytes: u64) {
        prop_assert_eq!(Size(bytes).to_string().parse(), Ok(Size(bytes)));
    }

    #[test]
    fn a_duration_reads_back(seconds in 0_u64..10_000_000_000, nanos in 0_u32..1_000_000_000) {
        let duration = Duration(Span::new(seconds, nanos));
        prop_assert_eq!(duration.to_string().parse(), Ok(duration));
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,20}|[0-9.KMGTPiBdhms]{0,30}") {
        drop(text.parse::<Size>());
        drop(text.parse::<Duration>());
        drop(text.parse::<Digest>());
        drop(text.parse::<Jobs>());
    }
}
