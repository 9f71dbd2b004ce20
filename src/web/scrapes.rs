//! Who scrapes, and who has seen how the run ended.
//!
//! Owns: counting those who saw the end, and how long it is worth to wait for them. Does not know: when a run has ended, what was shown.
//!
//! A Prometheus that never sees the end of a run takes it for one whose runner died. So who came again and again while the run went on
//! is waited for once more, whether or not anybody thought of `--linger` (default in the design: 0 seconds).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// Scrapes that end `--linger`: whoever scrapes in pairs has come, too.
const ENOUGH: u32 = 2;
/// Who comes less often is not waited for: Prometheus's own default interval.
const RARELY: Duration = Duration::from_mins(1);
/// A scrape may be late by that.
const LATE: Duration = Duration::from_secs(5);
/// Addresses that are remembered.
const SCRAPERS_MOST: usize = 64;

/// Shared by those who answer and who waits.
#[derive(Debug, Default)]
pub(super) struct Scrapes {
    seen: Mutex<Seen>,
    more: Condvar,
}

/// What was seen, by whom. An end is told from others by the number of records: before this run began, that of the last was shown.
#[derive(Debug, Default)]
struct Seen {
    scrapers: BTreeMap<IpAddr, Scraper>,
    /// The end that was shown last, and how often.
    end: u64,
    count: u32,
    given_up: bool,
}

#[derive(Debug)]
struct Scraper {
    last: Instant,
    /// The longest time between two of its scrapes, once there were two.
    gap: Option<Duration>,
    /// The end that it has seen.
    end: Option<u64>,
}

impl Scrapes {
    /// Metrics were shown: of a run that goes on, or of this end.
    pub(super) fn count(&self, by: IpAddr, end: Option<u64>) {
        self.seen.lock().count(by, end, Instant::now());
        self.more.notify_all();
    }

    /// How often this end was shown.
    pub(super) fn of(&self, end: u64) -> u32 {
        self.seen.lock().of(end)
    }

    /// Whoever waits, or is about to, waits no longer.
    pub(super) fn give_up(&self) {
        self.seen.lock().given_up = true;
        self.more.notify_all();
    }

    /// Who is still to see this end, and for how long that is waited for at most.
    pub(super) fn awaited(&self, end: u64) -> Option<(IpAddr, Duration)> {
        let now = Instant::now();
        let seen = self.seen.lock();
        let (by, until) = seen.awaited(end, now).filter(|_| !seen.given_up)?;
        Some((by, until.saturating_duration_since(now)))
    }

    /// Waits until enough scrapes have shown this end, but not longer than `most`; without that for whoever came again and again.
    /// Whether they have.
    pub(super) fn wait(&self, end: u64, most: Option<Duration>) -> bool {
        let until = most.map(|most| Instant::now() + most);
        let mut seen = self.seen.lock();
        loop {
            let now = Instant::now();
            let due = match until {
                Some(until) => (seen.of(end) < ENOUGH).then_some(until),
                None => seen.awaited(end, now).map(|(_, until)| until),
            };
            let Some(due) = due else { return true };
            let left = due.saturating_duration_since(now);
            if left.is_zero() || seen.given_up {
                return false;
            }
            self.more.wait_for(&mut seen, left);
        }
    }
}

impl Seen {
    fn count(&mut self, by: IpAddr, end: Option<u64>, now: Instant) {
        if let Some(end) = end {
            if self.end != end {
                (self.end, self.count) = (end, 0);
            }
            self.count += 1;
        }
        if let Some(scraper) = self.scrapers.get_mut(&by) {
            scraper.gap = scraper.gap.max(Some(now.saturating_duration_since(scraper.last)));
            scraper.last = now;
            scraper.end = end;
        } else if self.scrapers.len() < SCRAPERS_MOST {
            self.scrapers.insert(by, Scraper { last: now, gap: None, end });
        }
    }

    fn of(&self, end: u64) -> u32 {
        if self.end == end { self.count } else { 0 }
    }

    /// Who is due last of those who come regularly and have not seen this end. Who is late by more than his longest gap, or a few seconds,
    /// has gone.
    fn awaited(&self, end: u64, now: Instant) -> Option<(IpAddr, Instant)> {
        let waits = |(by, scraper): (&IpAddr, &Scraper)| {
            let gap = scraper.gap?.min(RARELY);
            let due = scraper.last + gap + gap.max(LATE);
            (scraper.end != Some(end) && due > now).then_some((*by, due))
        };
        self.scrapers.iter().filter_map(waits).max_by_key(|(_, due)| *due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_came_again_and_again_is_waited_for_once_more() {
        let [one, other, person]: [IpAddr; 3] =
            ["10.0.0.1", "10.0.0.2", "10.0.0.3"].map(|ip| ip.parse().unwrap());
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let mut seen = Seen::default();
        assert_eq!(seen.awaited(7, at(0)), None, "nobody scrapes");
        seen.count(person, None, at(1));
        for second in [0, 15, 30] {
            seen.count(one, None, at(second));
            seen.count(other, None, at(second + 5));
        }
        assert_eq!(seen.awaited(7, at(36)), Some((other, at(65))), "once in a while is no habit");
        seen.count(other, Some(7), at(50));
        assert_eq!(seen.awaited(7, at(50)), Some((one, at(60))));
        assert_eq!(seen.awaited(8, at(50)), Some((other, at(80))), "that is another end");
        assert_eq!(seen.awaited(7, at(60)), None, "it has gone");
        seen.count(one, Some(7), at(61));
        assert_eq!((seen.awaited(7, at(61)), seen.of(7), seen.of(8)), (None, 2, 0));
    }

    #[test]
    fn who_comes_rarely_is_not_waited_for_for_long() {
        let by: IpAddr = "::1".parse().unwrap();
        let begun = Instant::now();
        let mut seen = Seen::default();
        seen.count(by, None, begun);
        seen.count(by, None, begun + Duration::from_hours(1));
        let due = begun + Duration::from_hours(1) + 2 * RARELY;
        assert_eq!(seen.awaited(7, begun + Duration::from_hours(1)), Some((by, due)));
    }
}
