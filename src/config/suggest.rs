//! "Did you mean": the known word that is nearest to a misspelt one.
//!
//! Owns: when two words are near. Does not know: what the words are.

/// The nearest of `known`, when a slip of a few letters leads from one to the other.
pub fn similar<'k>(text: &str, known: &[&'k str]) -> Option<&'k str> {
    let folded = |word: &str| word.to_lowercase().replace('-', "_");
    let wanted = folded(text);
    let nearest =
        known.iter().map(|word| (strsim::damerau_levenshtein(&wanted, &folded(word)), *word)).min()?;
    // One slip in three letters.
    let length = wanted.chars().count().max(nearest.1.chars().count());
    (nearest.0 <= (length / 3).max(1)).then_some(nearest.1)
}

/// "did you mean `x`?", or all of `known` after `list:`.
pub fn hint(text: &str, known: &[&str], list: &str) -> String {
    match similar(text, known) {
        Some(word) => format!("did you mean `{word}`?"),
        None => format!("{list}: {}", known.join(", ")),
    }
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
        assert_eq!(hint("x", &known, "known keys"), "known keys: steps, order, critical, requirements");
    }
}
