//! Each rule, against what tools print.

use super::*;
use crate::failure::Confidence;
use crate::failure::classify::{Case, End};
use crate::failure::line::Line;
use crate::failure::output::Output;

/// What a text would be taken for if a task had failed with it.
fn means(text: &str) -> Option<(Means, u64)> {
    let mut output = Output::default();
    output.feed(text.as_bytes());
    let case = Case { kind: None, facts: &[], end: End::Status(1) };
    let failure = case.classify(output)?;
    let line = failure.evidence.line?;
    let low = failure.confidence == Confidence::Low;
    let other = failure.evidence.text.starts_with("it fits no category");
    let means = match (low, other) {
        (false, _) => Means::Category(failure.category),
        (true, true) => Means::Mark(Mark::Other),
        (true, false) => Means::Mark(Mark::Ending),
    };
    Some((means, line))
}

#[test]
fn every_line_that_a_rule_says_tools_print_means_what_the_rule_says() {
    let mut wrong = Vec::new();
    for rule in &RULES.all {
        let texts: Vec<String> = match &rule.under {
            None => rule.prints.lines().map(str::to_owned).collect(),
            // A heading and what is below it.
            Some(_) => {
                rule.prints.lines().collect::<Vec<_>>().chunks(2).map(|pair| pair.join("\n")).collect()
            }
        };
        for text in texts {
            let marked = matches!(rule.means, Means::Mark(Mark::Success | Mark::Noise | Mark::Work));
            let expected = if marked { Means::Mark(Mark::Ending) } else { rule.means };
            match means(&text) {
                Some((means, _)) if means == expected => {}
                other => wrong.push(format!("{text}\n    is {other:?} instead of {:?}", rule.means)),
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_pattern_matches_what_its_rule_says_tools_print() {
    let mut idle = Vec::new();
    for pattern in &RULES.patterns {
        let rule = &RULES.all[pattern.rule];
        let matches = |line: &str| pattern.regex().is_match(&Line::new(line.as_bytes()).text);
        if !rule.prints.lines().any(matches) {
            idle.push(pattern.source.as_str());
        }
    }
    assert!(idle.is_empty(), "{} without an example:\n{}", idle.len(), idle.join("\n"));
}

#[test]
fn every_pattern_has_a_word_that_is_rare_enough() {
    let short: Vec<_> = RULES
        .patterns
        .iter()
        .filter(|pattern| {
            let hir = ParserBuilder::new().unicode(false).utf8(false).build().parse(&pattern.source).unwrap();
            literal::required(&hir).unwrap().iter().any(|word| literal::worth(word) < 4)
        })
        .map(|pattern| pattern.source.as_str())
        .collect();
    assert!(short.is_empty(), "{}", short.join("\n"));
}

#[test]
fn every_pattern_of_noise_and_work_matches_an_example() {
    for (mark, rule) in RULES.all.iter().filter_map(|rule| match rule.means {
        Means::Mark(mark @ (Mark::Noise | Mark::Work)) => Some((mark, rule)),
        Means::Mark(_) | Means::Category(_) => None,
    }) {
        let lines: Vec<_> = rule.prints.lines().map(|line| Line::new(line.as_bytes()).text).collect();
        for source in rule.lines.lines() {
            assert!(lines.iter().any(|line| compile(source).is_match(line)), "{source}: no example");
        }
        for line in &lines {
            assert!(RULES.is(mark, line), "{}", String::from_utf8_lossy(line));
        }
    }
}
