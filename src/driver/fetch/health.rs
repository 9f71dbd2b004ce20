//! Which mirrors are worth asking first.
//!
//! Owns: the hosts that failed, and the places that gave wrong content, for the life of the process.
//! Does not know: how a mirror is asked.

use std::collections::{BTreeMap, BTreeSet};

use super::{Mirror, Place};
use parking_lot::Mutex;

/// What this process has learned of the mirrors.
#[derive(Debug, Default)]
pub(super) struct Health {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// `SCHEME://HOST:PORT`, or `apt`.
    failed: BTreeSet<String>,
    /// The digest that came, by place and expected digest.
    refused: BTreeMap<(String, String), String>,
}

impl Health {
    /// Takes the mirror to ask next out of `rest`: the first whose host has not failed, else the first.
    pub(super) fn next<'a>(&self, rest: &mut Vec<&'a Mirror>) -> Option<&'a Mirror> {
        if rest.is_empty() {
            return None;
        }
        let known = self.known.lock();
        let up = |mirror: &&Mirror| host(&mirror.place).is_none_or(|host| !known.failed.contains(&host));
        Some(rest.remove(rest.iter().position(up).unwrap_or(0)))
    }

    /// Remembers that the mirror's host has failed. That holds for good: one that fails now and then costs a time-out
    /// each time that it is asked first, and asked last it is still asked.
    pub(super) fn host_failed(&self, place: &Place) {
        self.known.lock().failed.extend(host(place));
    }

    /// Remembers that the mirror has `got` where `mirror.sha256` was expected.
    pub(super) fn refuse(&self, mirror: &Mirror, got: &str) {
        self.known.lock().refused.insert(refusal(mirror), got.to_owned());
    }

    /// What the mirror had the last time, if that was not what was expected.
    pub(super) fn refused(&self, mirror: &Mirror) -> Option<String> {
        self.known.lock().refused.get(&refusal(mirror)).cloned()
    }
}

fn refusal(mirror: &Mirror) -> (String, String) {
    (format!("{:?} {}", mirror.place, mirror.file), mirror.sha256.clone())
}

/// What has failed when the place has; nothing for `file:`.
fn host(place: &Place) -> Option<String> {
    match place {
        Place::Apt(_) => Some("apt".to_owned()),
        Place::Url(url) => {
            let (scheme, rest) = url.split_once("://").filter(|(scheme, _)| *scheme != "file")?;
            let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
            let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
            Some(format!("{scheme}://{host}").to_ascii_lowercase())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mirror(place: Place) -> Mirror {
        Mirror { place, file: "a".to_owned(), sha256: "0".repeat(64) }
    }

    fn order(health: &Health, mirrors: &[Mirror]) -> Vec<String> {
        let mut rest = mirrors.iter().collect::<Vec<_>>();
        std::iter::from_fn(|| health.next(&mut rest)).map(|mirror| mirror.place.to_string()).collect()
    }

    #[test]
    fn a_host_that_failed_goes_to_the_end_with_all_its_urls() {
        let url = |url: &str| mirror(Place::Url(url.to_owned()));
        let mirrors = [
            url("https://user:word@A.example/x"),
            mirror(Place::Apt("x".to_owned())),
            url("https://a.example/y"),
            url("https://b.example/x"),
            url("file:x"),
        ];
        let health = Health::default();
        let as_written =
            ["https://A.example/x", "apt:x", "https://a.example/y", "https://b.example/x", "file:x"];
        assert_eq!(order(&health, &mirrors), as_written);
        health.host_failed(&mirrors[2].place);
        assert_eq!(
            order(&health, &mirrors),
            ["apt:x", "https://b.example/x", "file:x", "https://A.example/x", "https://a.example/y"]
        );
        health.host_failed(&mirrors[1].place);
        assert_eq!(
            order(&health, &mirrors),
            ["https://b.example/x", "file:x", "https://A.example/x", "apt:x", "https://a.example/y"]
        );
        // When all have failed, they are as good as ever.
        health.host_failed(&mirrors[3].place);
        let all_but_the_file = [&mirrors[..4]].concat();
        assert_eq!(order(&health, &all_but_the_file), as_written[..4]);
    }
}
