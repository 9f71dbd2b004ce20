//! Real failures, and real successes that look like failures.
//!
//! `cargo nextest run --test faillogs --no-capture` prints the figures and the confusion matrix. `made.jsonl` is what
//! tools printed on a machine of ours; the logs of `../shared/data/faillogs` are not in this repository: without them
//! their test is skipped, and says so.
//!
//! How it is counted: a log is classified without its exit status. An answer that the log's `accept` list has counts as the
//! label; F1 is of each label (the 13 categories, and none for a success), and macro-F1 their mean over the labels that
//! occur. Evidence is right when its line is one of those that readers chose (`evidence.tsv`), whatever the category.

#[cfg(test)]
mod faillogs {
    use std::collections::{BTreeMap, BTreeSet};
    use std::path::{Path, PathBuf};

    use kiln::failure::classify::{Case, End};
    use kiln::failure::output::Output;
    use kiln::failure::{Confidence, Failure};
    use serde::Deserialize;

    /// What nothing failed is called here.
    const NONE: &str = "none";

    #[derive(Deserialize)]
    struct Made {
        id: String,
        /// `other`: none fits.
        category: Option<String>,
        lines: Vec<u64>,
        #[expect(dead_code, reason = "for whoever wants to make it again")]
        command: String,
        exit: i32,
        log: String,
    }

    #[derive(Deserialize)]
    struct Found {
        id: String,
        category: String,
        accept: Vec<String>,
        log: String,
    }

    fn data(path: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
    }

    fn read<T: for<'a> Deserialize<'a>>(path: &Path) -> Vec<T> {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn classify(log: &str, end: End) -> Option<Failure> {
        let mut output = Output::default();
        output.feed(log.as_bytes());
        Case { kind: None, facts: &[], end }.classify(output)
    }

    #[test]
    fn what_tools_printed_here_is_understood_line_by_line() {
        let mut wrong = Vec::new();
        for made in read::<Made>(&data("tests/data/faillogs/made.jsonl")) {
            let ends = if made.exit == 0 { vec![End::Unknown] } else { vec![End::Unknown, End::Status(1)] };
            for end in ends {
                let failure = classify(&made.log, end);
                let right = match (&failure, made.category.as_deref()) {
                    (None, None) => true,
                    (Some(failure), Some("other")) => {
                        failure.confidence == Confidence::Low
                            && failure.category.name() == "compilation_failure"
                    }
                    (Some(failure), Some(category)) => {
                        failure.confidence == Confidence::Medium && failure.category.name() == category
                    }
                    _ => false,
                };
                let line = failure.as_ref().and_then(|failure| failure.evidence.line);
                if !right || line.is_some_and(|line| !made.lines.contains(&line)) {
                    wrong.push(format!("{} ({end:?}): {failure:?}", made.id));
                }
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn what_others_met_is_understood_as_well_as_ever() {
        let shared = data("../shared/data/faillogs");
        if !shared.exists() {
            eprintln!("SKIPPED: {} is not there", shared.display());
            return;
        }
        let lines = evidence();
        for (file, least_f1, least_evidence) in [("dev.jsonl", 0.97, 0.95), ("induced.jsonl", 0.97, 0.95)] {
            let mut score = Score::default();
            for found in read::<Found>(&shared.join(file)) {
                score.add(&found, classify(&found.log, End::Unknown), &lines);
            }
            eprintln!("{file}: {}", score.report());
            assert!(score.macro_f1() >= least_f1, "{file}: {}", score.report());
            assert!(score.evidence() >= least_evidence, "{file}: {}", score.report());
            assert_eq!(score.false_alarms(), 0, "{file}: {}", score.report());
        }
    }

    /// Which lines of a log say why.
    fn evidence() -> BTreeMap<String, Vec<u64>> {
        let text = std::fs::read_to_string(data("tests/data/faillogs/evidence.tsv")).unwrap();
        let row = |row: &str| {
            let (id, lines) = row.split_once('\t').unwrap();
            let lines = lines.split(',').filter_map(|line| line.parse().ok()).collect();
            (id.to_owned(), lines)
        };
        text.lines().map(row).collect()
    }

    #[derive(Default)]
    struct Score {
        /// How often a label got an answer.
        answers: BTreeMap<(String, String), usize>,
        evidence: [usize; 2],
        wrong: Vec<String>,
    }

    impl Score {
        fn add(&mut self, found: &Found, failure: Option<Failure>, lines: &BTreeMap<String, Vec<u64>>) {
            let name = |category: &str| if category == "success_noisy" { NONE } else { category }.to_owned();
            let label = name(&found.category);
            let accepted: BTreeSet<String> = found.accept.iter().map(|category| name(category)).collect();
            let got = failure.as_ref().map_or(NONE, |failure| failure.category.name()).to_owned();
            let answer = if accepted.contains(&got) { label.clone() } else { got };
            let line = failure.and_then(|failure| failure.evidence.line);
            if answer != label {
                self.wrong.push(format!("{} is {label}, taken for {answer} by line {line:?}", found.id));
            }
            *self.answers.entry((label, answer)).or_default() += 1;
            if let Some(lines) = lines.get(&found.id).filter(|lines| !lines.is_empty()) {
                let right = line.is_some_and(|line| lines.contains(&line));
                self.evidence[usize::from(right)] += 1;
                if !right {
                    self.wrong.push(format!("{}: line {line:?} instead of {lines:?}", found.id));
                }
            }
        }

        fn count(&self, filter: impl Fn(&str, &str) -> bool) -> usize {
            self.answers
                .iter()
                .filter(|((label, answer), _)| filter(label, answer))
                .map(|(_, count)| count)
                .sum()
        }

        fn names(&self) -> BTreeSet<&str> {
            self.answers.keys().flat_map(|(label, answer)| [&**label, &**answer]).collect()
        }

        #[expect(clippy::cast_precision_loss, reason = "a few hundred")]
        fn f1(&self, name: &str) -> f64 {
            let both = self.count(|label, answer| label == name && answer == name) as f64;
            let either = self.count(|label, _| label == name) + self.count(|_, answer| answer == name);
            2.0 * both / either as f64
        }

        #[expect(clippy::cast_precision_loss, reason = "a few hundred")]
        fn macro_f1(&self) -> f64 {
            let names = self.names();
            names.iter().map(|name| self.f1(name)).sum::<f64>() / names.len() as f64
        }

        #[expect(clippy::cast_precision_loss, reason = "a few hundred")]
        fn evidence(&self) -> f64 {
            let [wrong, right] = self.evidence;
            right as f64 / (wrong + right) as f64
        }

        /// Successes that were taken for failures.
        fn false_alarms(&self) -> usize {
            self.count(|label, answer| label == NONE && answer != NONE)
        }

        fn report(&self) -> String {
            let names = self.names();
            let mut text = format!(
                "macro-F1 {:.3}, right line {:.3} of {}, {} false alarms\n{:24}",
                self.macro_f1(),
                self.evidence(),
                self.evidence.iter().sum::<usize>(),
                self.false_alarms(),
                "label \\ answer"
            );
            for name in &names {
                text.push_str(&format!("{name:>8.8}"));
            }
            for label in &names {
                text.push_str(&format!("\n{label:24}"));
                for answer in &names {
                    let count = self.count(|l, a| l == *label && a == *answer);
                    text.push_str(&if count == 0 { format!("{:>8}", ".") } else { format!("{count:>8}") });
                }
                text.push_str(&format!("  F1 {:.3}", self.f1(label)));
            }
            for wrong in &self.wrong {
                text.push_str(&format!("\n  {wrong}"));
            }
            text
        }
    }
}
