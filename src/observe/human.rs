//! Times, sizes and what is missing, for people.
//!
//! Owns: how they are written. Does not know: what they are of.

use std::time::Duration;

use crate::engine::message::Requirement;

pub use crate::words::size;

/// `0s`, `42s`, `14m`, `1h20m`, `2d3h`: two units at most, the smaller one where it still matters.
pub fn duration(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..600 if !seconds.is_multiple_of(60) => format!("{}m{:02}s", seconds / 60, seconds % 60),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        86_400.. => format!("{}d{:02}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// What a phase requires and is not there.
pub fn unmet(phase: &str, requirement: Requirement, required: u64, available: u64) -> String {
    let sizes = (size(required), size(available));
    match requirement {
        Requirement::DiskSpace => {
            format!(
                "phase {phase} cannot start: it requires {} of free disk space, there are {}",
                sizes.0, sizes.1
            )
        }
        Requirement::Memory => {
            format!(
                "phase {phase} cannot start: it requires {} of available memory, there are {}",
                sizes.0, sizes.1
            )
        }
        Requirement::Toolchain => {
            format!(
                "phase {phase} cannot start: the phase toolchain is not completed, or its archives do not verify"
            )
        }
    }
}

/// RFC 3339 in UTC, to the second; empty for a time that no calendar has.
pub fn timestamp(wall: i64) -> String {
    let second = wall.div_euclid(1_000_000_000);
    jiff::Timestamp::from_second(second).map(|at| at.to_string()).unwrap_or_default()
}

/// Seconds since 1970.
pub fn seconds(wall: i64) -> f64 {
    wall as f64 / 1e9
}

/// From one time to a later one; nothing if that is earlier.
pub fn between(from: i64, to: i64) -> Duration {
    Duration::from_nanos(u64::try_from(to.saturating_sub(from)).unwrap_or(0))
}

/// Text of others on one line, without what would move a terminal's cursor or change its colours.
pub fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_two_units_at_most() {
        let shown: Vec<String> = [0, 59, 60, 61, 599, 600, 3599, 3600, 4800, 86_399, 86_400, 183_600]
            .map(|s| duration(Duration::from_secs(s)))
            .into();
        let expect =
            ["0s", "59s", "1m", "1m01s", "9m59s", "10m", "59m", "1h00m", "1h20m", "23h59m", "1d00h", "2d03h"];
        assert_eq!(shown, expect);
    }

    #[test]
    fn sizes_are_1024_based() {
        let shown = [0, 1023, 1024, 1536, 20 * 1024 * 1024, u64::MAX].map(size);
        assert_eq!(shown, ["0B", "1023B", "1.0K", "1.5K", "20M", "16384P"]);
    }

    #[test]
    fn times_are_rfc_3339_in_utc() {
        assert_eq!(timestamp(1_700_000_000_900_000_000), "2023-11-14T22:13:20Z");
        assert_eq!(timestamp(i64::MIN), "1677-09-21T00:12:43Z");
    }

    #[test]
    fn text_of_others_cannot_move_the_cursor() {
        assert_eq!(plain("\u{1b}[31mred\r\nblue\u{7}"), "[31mred  blue");
    }
}
