//! The hash chain: each record's hash covers the record and, through its predecessor's hash, all before it.
//!
//! `SQLite`'s own integrity check does not see a flipped bit in a payload, nor a record that is not there any more. Whoever
//! reads the chain from its start sees both, whatever the page was that they were lost from: so kiln does not run that check.

use blake3::{Hash, Hasher};

/// A record as the end of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Position of the record, from 1; 0 is before the first.
    pub seq: i64,
    /// Its hash.
    pub hash: Hash,
}

impl Link {
    /// Before the first record.
    pub const START: Self = Self { seq: 0, hash: Hash::from_bytes([0; 32]) };

    /// The next record: the columns of its row.
    #[must_use]
    pub fn next(self, elapsed: i64, wall: i64, record: &str) -> Self {
        let seq = self.seq + 1;
        let mut hasher = Hasher::new();
        hasher.update(self.hash.as_bytes());
        for number in [seq, elapsed, wall] {
            hasher.update(&number.to_le_bytes());
        }
        hasher.update(record.as_bytes());
        Self { seq, hash: hasher.finalize() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_depends_on_everything_before_it_and_on_every_column() {
        let first = Link::START.next(1, 2, "a");
        let second = first.next(3, 4, "b");
        assert_eq!(second.seq, 2);
        let others = [
            Link::START.next(1, 2, "x").next(3, 4, "b"),
            first.next(0, 4, "b"),
            first.next(3, 0, "b"),
            first.next(3, 4, "c"),
            Link { seq: 2, ..first }.next(3, 4, "b"),
        ];
        for (at, other) in others.iter().enumerate() {
            assert_ne!(other.hash, second.hash, "{at}");
        }
        assert_eq!(Link::START.next(1, 2, "a").next(3, 4, "b"), second);
    }
}
