//! What tools print, as data.
//!
//! Owns: the tables in `tables/`, and finding which of them a line may match. Does not know: what follows from a match.
//!
//! A rule says what its lines mean: a category, or `ending` (something failed before), `other` (a failure that fits no
//! category), `success`, `noise` (alarming words that mean nothing), `work` (a tool at work). `lines` are patterns, one a line, each tried on a
//! line without prefix, colours and outer white space, in which quotes of every kind are a backtick. `prints` is
//! what tools print: each of its lines is matched by one of the patterns, which the tests see to. `under` is asked of
//! the line above that is indented less. `generic` rules give way to others on the same line,
//! `heading` ones to what is below them. `warning` ones say why if something failed, and not that it did. `hint` may
//! name what a pattern captured: `$1`.

use std::collections::BTreeMap;
use std::sync::{LazyLock, OnceLock};

use aho_corasick::{AhoCorasick, AhoCorasickBuilder, AhoCorasickKind, MatchKind};
use include_dir::{Dir, include_dir};
use regex::bytes::{Regex, RegexBuilder, RegexSet, RegexSetBuilder};
use regex_syntax::ParserBuilder;
use serde::Deserialize;

use super::{Category, literal};

static TABLES: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/src/failure/tables");

/// What a line means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(super) enum Means {
    /// A failure of this category.
    Category(Category),
    /// Anything else.
    Mark(Mark),
}

/// What a line means that names no category.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Mark {
    /// Something failed before.
    Ending,
    /// A failure that fits no category.
    Other,
    /// What was to be done is done.
    Success,
    /// Alarming words that mean nothing.
    Noise,
    /// A tool at work: what was before did not end it.
    Work,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rule {
    pub(super) means: Means,
    weight: Option<u8>,
    pub(super) hint: Option<String>,
    /// It gives way to any other rule on the same line.
    #[serde(default)]
    pub(super) generic: bool,
    /// What is below it says more.
    #[serde(default)]
    pub(super) heading: bool,
    /// It is printed too when all goes well.
    #[serde(default)]
    pub(super) warning: bool,
    under: Option<String>,
    #[serde(skip)]
    under_regex: OnceLock<Regex>,
    lines: String,
    #[cfg_attr(not(test), expect(dead_code, reason = "what the tests hold the rule against"))]
    prints: String,
}

/// One line of a rule's `lines`.
#[derive(Debug)]
pub(super) struct Pattern {
    pub(super) rule: usize,
    source: String,
    regex: OnceLock<Regex>,
}

#[derive(Debug)]
pub(super) struct Rules {
    pub(super) all: Vec<Rule>,
    pub(super) patterns: Vec<Pattern>,
    /// Finds words in output; `patterns_of` says which patterns each belongs to.
    words: AhoCorasick,
    patterns_of: Vec<Vec<usize>>,
    /// Lines are asked for these only after something was found.
    noise: RegexSet,
    work: RegexSet,
}

/// All rules. Patterns are compiled when a line has one of their words, which few lines have.
pub(super) static RULES: LazyLock<Rules> = LazyLock::new(|| {
    let files = TABLES.files().map(|file| file.contents_utf8().unwrap_or_default());
    Rules::read(files).expect("sound tables")
});

impl Rules {
    fn read<'a>(tables: impl Iterator<Item = &'a str>) -> Result<Self, String> {
        let mut rules: Vec<Rule> = Vec::new();
        for table in tables {
            rules.extend(
                serde_yaml::from_str::<Vec<Rule>>(table)
                    .map_err(|error| format!("{error} in {}", table.lines().next().unwrap_or_default()))?,
            );
        }
        let mut patterns = Vec::new();
        let mut words: BTreeMap<Vec<u8>, Vec<usize>> = BTreeMap::new();
        let set = |mark| {
            let lines = rules
                .iter()
                .filter(|rule| rule.means == Means::Mark(mark))
                .flat_map(|rule| rule.lines.lines());
            RegexSetBuilder::new(lines).unicode(false).build().map_err(|error| error.to_string())
        };
        let (noise, work) = (set(Mark::Noise)?, set(Mark::Work)?);
        for (rule, of) in rules.iter().enumerate().filter(|(_, of)| !of.asked_later()) {
            for source in of.lines.lines() {
                let hir = ParserBuilder::new().unicode(false).utf8(false).build().parse(source);
                let hir = hir.map_err(|error| format!("{source}: {error}"))?;
                let required = literal::required(&hir).ok_or_else(|| format!("{source}: needs a word"))?;
                for word in required {
                    words.entry(literal::cut(word)).or_default().push(patterns.len());
                }
                patterns.push(Pattern { rule, source: source.to_owned(), regex: OnceLock::new() });
            }
        }
        let search = AhoCorasickBuilder::new()
            .match_kind(MatchKind::Standard)
            .ascii_case_insensitive(true)
            .kind(Some(AhoCorasickKind::DFA))
            .build(words.keys())
            .map_err(|error| error.to_string())?;
        Ok(Self {
            all: rules,
            patterns,
            words: search,
            patterns_of: words.into_values().collect(),
            noise,
            work,
        })
    }

    /// Where any word ends in the bytes, and which it is.
    pub(super) fn words(&self, bytes: &[u8]) -> impl Iterator<Item = (usize, usize)> {
        self.words.find_overlapping_iter(bytes).map(|found| (found.end(), found.pattern().as_usize()))
    }

    /// The patterns that a word belongs to.
    pub(super) fn of_word(&self, word: usize) -> &[usize] {
        &self.patterns_of[word]
    }

    /// Whether a line is of a kind that lines are asked for only after something was found.
    pub(super) fn is(&self, mark: Mark, text: &[u8]) -> bool {
        match mark {
            Mark::Noise => self.noise.is_match(text),
            Mark::Work => self.work.is_match(text),
            Mark::Ending | Mark::Other | Mark::Success => false,
        }
    }

    pub(super) fn rule(&self, pattern: usize) -> &Rule {
        &self.all[self.patterns[pattern].rule]
    }
}

impl Pattern {
    pub(super) fn regex(&self) -> &Regex {
        self.regex.get_or_init(|| compile(&self.source))
    }
}

/// Line ends are no matter: a line has none. What is not ASCII is bytes.
fn compile(source: &str) -> Regex {
    RegexBuilder::new(source).unicode(false).build().expect("a sound pattern")
}

impl Rule {
    /// How much it counts: what comes first of several things that go wrong is what the others follow from.
    pub(super) fn weight(&self) -> u8 {
        use Category as C;
        self.weight.unwrap_or(match self.means {
            Means::Category(
                C::DiskSpace | C::ProcessLimits | C::MemoryAllocation | C::ResourceExhaustion,
            ) => 95,
            Means::Category(C::SecurityViolation | C::NetworkIssues) => 85,
            Means::Category(
                C::MissingDependency | C::VersionConflict | C::CircularDependency | C::BrokenDependency,
            ) => 75,
            Means::Mark(Mark::Other) => 65,
            Means::Category(C::ConfigurationError) => 55,
            Means::Category(C::LinkFailure) => 45,
            Means::Category(C::CompilationFailure) => 35,
            Means::Mark(Mark::Ending | Mark::Success | Mark::Noise | Mark::Work) => 0,
        })
    }

    fn asked_later(&self) -> bool {
        matches!(self.means, Means::Mark(Mark::Noise | Mark::Work))
    }

    /// Whether it fits below this line.
    pub(super) fn fits_under(&self, parent: Option<&[u8]>) -> bool {
        let Some(under) = &self.under else { return true };
        parent.is_some_and(|parent| self.under_regex.get_or_init(|| compile(under)).is_match(parent))
    }

    /// Whether it asks what stands above.
    pub(super) fn asks_parent(&self) -> bool {
        self.under.is_some()
    }
}

#[cfg(test)]
mod tests;
