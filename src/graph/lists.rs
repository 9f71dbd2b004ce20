//! Many short lists in one piece.
//!
//! Owns: lists by number, as long as all are made at once. A distribution has a hundred thousand of them: an allocation for
//! each takes longer than what they are made for. Does not know: what is in them.

use std::ops::{Index, IndexMut};

/// Lists by number, from 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lists<T> {
    /// Where each begins; at the end the number of all entries.
    first: Vec<u32>,
    all: Vec<T>,
}

impl<T: Copy + Default> Lists<T> {
    /// `count` lists of these entries, each behind those of its list that come before it. They are gone through twice.
    pub fn new<I: Iterator<Item = (usize, T)>>(count: usize, entries: impl Fn() -> I) -> Self {
        let mut first = vec![0_u32; count + 1];
        for (list, _) in entries() {
            first[list] += 1;
        }
        let mut sum = 0;
        for first in &mut first {
            sum += std::mem::replace(first, sum);
        }
        let mut all = vec![T::default(); sum as usize];
        // While a list is filled, its beginning is where the next entry goes; in the end that is where the next list begins.
        for (list, entry) in entries() {
            all[first[list] as usize] = entry;
            first[list] += 1;
        }
        first.rotate_right(1);
        first[0] = 0;
        Self { first, all }
    }

    /// Number of lists.
    pub fn len(&self) -> usize {
        self.first.len() - 1
    }

    /// Whether there is no list.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T> Index<usize> for Lists<T> {
    type Output = [T];

    fn index(&self, list: usize) -> &[T] {
        &self.all[self.first[list] as usize..self.first[list + 1] as usize]
    }
}

impl<T> IndexMut<usize> for Lists<T> {
    fn index_mut(&mut self, list: usize) -> &mut [T] {
        &mut self.all[self.first[list] as usize..self.first[list + 1] as usize]
    }
}
