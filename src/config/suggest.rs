//! "Did you mean": the known word that is nearest to a misspelt one.
//!
//! Owns: when two words are near. Does not know: what the words are.

/// Of words that are equally near, so many are named.
const NEAREST_MOST: usize = 3;

/// Words that may have been meant, folded once: a distribution has tens of thousands, and may lack hundreds.
#[derive(Debug)]
pub struct Known<'k>(Vec<Word<'k>>);

#[derive(Debug)]
struct Word<'k> {
    text: &'k str,
    folded: String,
    letters: usize,
    bag: u128,
}

impl<'k> Known<'k> {
    /// These words.
    pub fn new(words: impl IntoIterator<Item = &'k str>) -> Self {
        Self(words.into_iter().map(Word::new).collect())
    }

    /// All that are nearest, by name, when a slip of a few letters leads from one to the other.
    fn nearest(&self, text: &str) -> Vec<&'k str> {
        let wanted = Word::new(text);
        let mut least = usize::MAX;
        let mut near: Vec<&str> = Vec::new();
        for word in &self.0 {
            let most = wanted.slips_at_most(word).min(least);
            // To reckon the slips takes a hundred times as long as to see that they are too many.
            if wanted.slips_at_least(word) > most {
                continue;
            }
            let slips = strsim::damerau_levenshtein(&wanted.folded, &word.folded);
            if slips > most {
                continue;
            }
            if slips < least {
                least = slips;
                near.clear();
            }
            near.push(word.text);
        }
        near.sort_unstable();
        near.dedup();
        near
    }

    /// "did you mean `x`?", or several that are equally near.
    pub fn did_you_mean(&self, text: &str) -> Option<String> {
        let near = self.nearest(text);
        let words: Vec<String> = near.iter().take(NEAREST_MOST).map(|word| format!("`{word}`")).collect();
        let (last, others) = words.split_last()?;
        Some(match others {
            [] => format!("did you mean {last}?"),
            others => format!("did you mean {} or {last}?", others.join(", ")),
        })
    }
}

impl<'k> Word<'k> {
    fn new(text: &'k str) -> Self {
        let folded = text.to_lowercase().replace('-', "_");
        let (mut letters, mut bag) = (0, 0_u128);
        for letter in folded.chars() {
            letters += 1;
            let one = 1 << (u32::from(letter) % 64);
            bag |= if bag & one == 0 { one } else { one << 64 };
        }
        Self { text, folded, letters, bag }
    }

    /// One slip in three letters, but not in all of them.
    fn slips_at_most(&self, other: &Self) -> usize {
        let letters = self.letters.max(other.letters);
        (letters / 3).max(1).min(letters.saturating_sub(1))
    }

    /// No slip makes a word longer or shorter by more than a letter, or takes more than one out of its bag. (Letters beyond a
    /// second of a kind are not in there, and some kinds share a place: that makes it less, never more.)
    fn slips_at_least(&self, other: &Self) -> usize {
        let gone = |from: u128, to: u128| (from & !to).count_ones() as usize;
        let bags = gone(self.bag, other.bag).max(gone(other.bag, self.bag));
        self.letters.abs_diff(other.letters).max(bags)
    }
}

/// The nearest of `known`, when a slip of a few letters leads from one to the other; of several the first by name.
pub fn similar<'k>(text: &str, known: &[&'k str]) -> Option<&'k str> {
    Known::new(known.iter().copied()).nearest(text).first().copied()
}

/// "did you mean `x`?", or several that are equally near.
pub fn did_you_mean(text: &str, known: &[&str]) -> Option<String> {
    Known::new(known.iter().copied()).did_you_mean(text)
}

/// "did you mean `x`?", or all of `known` after `list:`.
pub fn hint(text: &str, known: &[&str], list: &str) -> String {
    did_you_mean(text, known).unwrap_or_else(|| format!("{list}: {}", known.join(", ")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_slip_is_recognized_and_another_word_is_not() {
        let known = ["steps", "order", "critical", "requirements"];
        for (text, word) in
            [("step", "steps"), ("Order", "order"), ("critcal", "critical"), ("requirments", "requirements")]
        {
            assert_eq!(similar(text, &known), Some(word), "{text}");
        }
        for text in ["name", "x", ""] {
            assert_eq!(similar(text, &known), None, "{text}");
        }
        assert_eq!(hint("ordr", &known, "known keys"), "did you mean `order`?");
        assert_eq!(hint("x", &known, "known keys"), "known keys: steps, order, critical, requirements");
    }

    #[test]
    fn no_word_is_wrong_in_all_of_its_letters() {
        assert_eq!(did_you_mean("5", &["a", "b"]), None);
        assert_eq!(did_you_mean("A", &["a", "b"]).as_deref(), Some("did you mean `a`?"));
        assert_eq!(did_you_mean("ab", &["b", "cd", "ax"]).as_deref(), Some("did you mean `ax` or `b`?"));
        assert_eq!(did_you_mean("", &["a"]), None);
    }

    proptest! {
        /// What is passed over for its length or its letters would not have been near.
        #[test]
        fn nothing_that_is_near_is_passed_over(text in "[abcA-]{0,9}", known in prop::collection::vec("[abc_]{0,9}", 0..6)) {
            let known: Vec<&str> = known.iter().map(|word| &**word).collect();
            let wanted = Word::new(&text);
            let slips = |word: &&&str| {
                let word = Word::new(word);
                let slips = strsim::damerau_levenshtein(&wanted.folded, &word.folded);
                (slips <= wanted.slips_at_most(&word)).then_some(slips)
            };
            let least = known.iter().filter_map(|word| slips(&word)).min();
            let near = known.iter().filter(|word| least.is_some() && slips(word) == least).copied();
            let near: std::collections::BTreeSet<&str> = near.collect();
            prop_assert_eq!(Known::new(known.iter().copied()).nearest(&text), near.into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn words_that_are_equally_near_are_all_named() {
        let known = ["zlib2", "zlib1", "curl", "zlib1"];
        assert_eq!(did_you_mean("zlib", &known).as_deref(), Some("did you mean `zlib1` or `zlib2`?"));
        let known = ["aa", "ab", "ac", "ad", "b"];
        assert_eq!(did_you_mean("a", &known).as_deref(), Some("did you mean `aa`, `ab` or `ac`?"));
        assert_eq!(did_you_mean("nothing-like-it", &known), None);
    }
}
