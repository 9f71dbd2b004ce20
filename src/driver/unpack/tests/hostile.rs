//! Archives that nobody would make by accident: whatever they say, nothing outside is touched, and nothing panics.

use proptest::prelude::*;

use super::{FILE, Meta, Space, Tar, compress, zip};

fn hostile_name() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        4 => prop::sample::select(vec!["a", "b", "c", "l", "p"]).prop_map(str::to_owned),
        1 => prop::sample::select(vec!["..", ".", "", "outside", "canary", "\u{1b}"]).prop_map(str::to_owned),
    ];
    (prop::bool::weighted(0.05), prop::collection::vec(part, 1..4), prop::bool::weighted(0.2)).prop_map(
        |(absolute, parts, slash)| {
            format!("{}{}{}", if absolute { "/" } else { "" }, parts.join("/"), if slash { "/" } else { "" })
        },
    )
}

fn hostile_target() -> impl Strategy<Value = String> {
    prop_oneof![
        hostile_name(),
        prop::sample::select(vec![
            "../outside",
            "../../outside",
            "../../../outside",
            "..",
            ".",
            "../../outside/canary"
        ])
        .prop_map(str::to_owned),
    ]
}

fn hostile_tar() -> impl Strategy<Value = Tar> {
    let kind = prop::sample::select(b"0000555111222S3g\0VxL".to_vec());
    let entry = (kind, hostile_name(), hostile_target(), prop::collection::vec(any::<u8>(), 0..20));
    prop::collection::vec(entry, 1..12).prop_map(|entries| {
        entries.into_iter().fold(Tar::default(), |tar, (kind, name, link, data)| {
            tar.entry(Meta { kind, ..FILE }, name.as_bytes(), link.as_bytes(), &data)
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_tar_writes_outside(tar in hostile_tar(), second in hostile_tar()) {
        // `unpack` checks the canary; only its errors differ.
        let _ = Space::new().add("evil.tar", &tar.bytes()).add("evil2.tar", &second.bytes()).unpack();
    }

    #[test]
    fn no_damaged_archive_writes_outside_or_panics(
        tar in hostile_tar(), at in any::<prop::sample::Index>(), value: u8, format in 0..5usize,
    ) {
        let format = ["", "gz", "bz2", "xz", "zst"][format];
        let mut bytes = compress(format, &tar.bytes());
        let at = at.index(bytes.len());
        bytes[at] = value;
        let _ = Space::new().add("evil", &bytes).unpack();
    }

    #[test]
    fn no_zip_writes_outside_or_panics(
        entries in prop::collection::btree_map(hostile_name(), (any::<bool>(), hostile_target()), 1..8),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
    ) {
        let entries: Vec<_> = entries.iter()
            .map(|(name, (link, target))| (name.as_str(), link.then_some(0o120_777), target.as_str()))
            .collect();
        let mut bytes = zip(&entries);
        for (at, value) in flips {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let _ = Space::new().add("evil.zip", &bytes).unpack();
    }
}
