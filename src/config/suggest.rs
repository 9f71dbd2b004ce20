//! "Did you mean": the known word that is nearest to a misspelt one.
//!
//! Owns: when two words are near. Does not know: what the words are.

/// Of words that are equally near, so many are named.
const NEAREST_MOST: usize = 3;

/// The nearest of `known`, when a slip of a few letters leads from one to the other; of several the first by name.
pub fn similar<'k>(text: &str, known: &[&'k str]) -> Option<&'k str> {
    nearest(text, known).first().copied()
}

/// All of `known` that are nearest, by name, when a slip of a few letters leads from one to the other.
fn nearest<'k>(text: &str, known: &[&'k str]) -> Vec<&'k str> {
    let folded = |word: &str| word.to_lowercase().replace('-', "_");
    let wanted = folded(text);
    let mut near: Vec<_> =
        known.iter().map(|word| (strsim::damerau_levenshtein(&wanted, &folded(word)), *word)).collect();
    let Some(least) = near.iter().map(|(slips, _)| *slips).min() else { return Vec::new() };
    near.retain(|(slips, _)| *slips == least);
    near.sort_unstable();
    near.dedup();
    // One slip in three letters.
    let letters = |word: &str| wanted.chars().count().max(word.chars().count());
    near.into_iter().map(|(_, word)| word).filter(|word| least <= (letters(word) / 3).max(1)).collect()
}

/// "did you mean `x`?", or several that are equally near.
pub fn did_you_mean(text: &str, known: &[&str]) -> Option<String> {
    let near = nearest(text, known);
    let words: Vec<String> = near.iter().take(NEAREST_MOST).map(|word| format!("`{word}`")).collect();
    let (last, others) = words.split_last()?;
    Some(match others {
        [] => format!("did you mean {last}?"),
        others => format!("did you mean {} or {last}?", others.join(", ")),
    })
}

/// "did you mean `x`?", or all of `known` after `list:`.
pub fn hint(text: &str, known: &[&str], list: &str) -> String {
    did_you_mean(text, known).unwrap_or_else(|| format!("{list}: {}", known.join(", ")))
}

#[cfg(test)]
mod tests {
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
    fn words_that_are_equally_near_are_all_named() {
        let known = ["zlib2", "zlib1", "curl", "zlib1"];
        assert_eq!(did_you_mean("zlib", &known).as_deref(), Some("did you mean `zlib1` or `zlib2`?"));
        let known = ["aa", "ab", "ac", "ad", "b"];
        assert_eq!(did_you_mean("a", &known).as_deref(), Some("did you mean `aa`, `ab` or `ac`?"));
        assert_eq!(did_you_mean("nothing-like-it", &known), None);
    }
}
