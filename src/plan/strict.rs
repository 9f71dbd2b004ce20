//! `verification: strict`: which dependencies must be verified before a package's first script.
//!
//! Owns: what the levels mean for the plan. Does not know: how something is verified (`driver::store`), when (`engine`).
//!
//! `required` says whether a dependency must be there, `verification` what must hold of one that is: `strict`, that its
//! version fits, that its files in the sysroot have the digests of its manifest, and that its `check` has not failed;
//! `normal`, that its version fits; `relaxed`, nothing. A runtime dependency is looked at where it is needed: with what
//! depends on the package that needs it to run.

//!
//! What a package needs to run may be thousands, of thousands of packages: it is not written down for each, but gone through
//! when somebody asks.

use std::borrow::Cow;
use std::collections::BTreeSet;

use crate::config::document::{PackageTypes, Verification};
use crate::graph::lists::Lists;
use crate::graph::{DependencyType, Edge, Graph, RequirementLevel};

use super::{PackageId, Plan, Strict};

/// Which dependencies must be verified.
#[derive(Debug, Clone)]
pub struct Verified {
    /// By package: those that it is built with, ascending; twice where two lists name one at different levels.
    own: Lists<Strict>,
    /// Where runtime dependencies are strict; else nothing has to be gone through.
    to_run: Option<ToRun>,
}

#[derive(Debug, Clone)]
struct ToRun {
    /// By package: all that it is built with.
    uses: Lists<Strict>,
    /// By package: what it needs to run.
    runs_with: Lists<Strict>,
}

impl Verified {
    pub(super) fn new(types: &PackageTypes, graph: &Graph, id_of: &[PackageId]) -> Self {
        let is_strict = |kind: DependencyType| kind.treated(types).verification == Verification::Strict;
        let lists = |counts: &dyn Fn(&Edge) -> bool| {
            Lists::new(graph.nodes.len(), || {
                graph.edges.iter().filter(|edge| counts(edge)).map(|edge| {
                    let required = edge.requirement_level == RequirementLevel::Required;
                    (id_of[edge.from].0 as usize, Strict { package: id_of[edge.to], required })
                })
            })
        };
        let mut own = lists(&|edge| edge.waits() && is_strict(edge.dependency_type));
        for package in 0..own.len() {
            own[package].sort_unstable();
        }
        Self {
            own,
            to_run: is_strict(DependencyType::Runtime)
                .then(|| ToRun { uses: lists(&Edge::waits), runs_with: lists(&|edge| !edge.waits()) }),
        }
    }
}

impl Plan {
    /// The dependencies that must be verified before a package's first script, ascending, each once.
    pub fn strict(&self, id: PackageId) -> Cow<'_, [Strict]> {
        let own = &self.verified.own[id.0 as usize];
        if self.verified.to_run.is_none() && own.is_sorted_by(|a, b| a.package < b.package) {
            return Cow::Borrowed(own);
        }
        Cow::Owned(each_once(self.each_strict(id).collect()))
    }

    /// The same in any order, some more than once, and no more of them looked for than are taken.
    pub fn each_strict(&self, id: PackageId) -> impl Iterator<Item = Strict> {
        let own = self.verified.own[id.0 as usize].iter().copied();
        own.chain(self.verified.to_run.iter().flat_map(move |to_run| to_run.closure(id)))
    }
}

impl ToRun {
    /// What all that a package is built with needs to run, at any distance.
    fn closure(&self, id: PackageId) -> impl Iterator<Item = Strict> {
        // The required ones first: what is reached through them is required.
        [true, false].into_iter().flat_map(move |with| {
            let uses = self.uses[id.0 as usize].iter().filter(|strict| strict.required == with);
            let mut stack: Vec<PackageId> = uses.map(|strict| strict.package).collect();
            let mut seen: BTreeSet<PackageId> = stack.iter().copied().collect();
            let reached = std::iter::from_fn(move || {
                let own = &self.runs_with[stack.pop()?.0 as usize];
                stack.extend(own.iter().map(|strict| strict.package).filter(|package| seen.insert(*package)));
                Some(own)
            });
            let others = reached.flatten().filter(move |strict| strict.package != id);
            others.map(move |strict| Strict { required: with && strict.required, ..*strict })
        })
    }
}

/// Of one that is there twice, the required one.
fn each_once(mut strict: Vec<Strict>) -> Vec<Strict> {
    strict.sort_unstable();
    strict.reverse();
    strict.dedup_by_key(|strict| strict.package);
    strict.reverse();
    strict
}

#[cfg(test)]
mod tests {
    use crate::engine::tests::sketch;
    use crate::plan::build::plan;

    /// Names of those that must be verified, `?` before one that `app` can do without.
    fn strict(words: &str) -> String {
        let plan = sketch::plan(words);
        let strict = plan.strict(plan.find("app").unwrap()).into_owned();
        assert!(strict.is_sorted_by(|a, b| a.package < b.package), "{strict:?}");
        let name = |one: &super::Strict| {
            format!("{}{}", if one.required { "" } else { "?" }, plan.package(one.package).name)
        };
        strict.iter().map(name).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_dependencies_need_to_run_is_looked_at_where_that_is_strict() {
        let packages =
            "phase one\n z: build\n y: build ~z\n x: build ~y\n w: build ~y\n app: build < x ?w ~z";
        assert_eq!(strict(&format!("strict build\n{packages}")), "x");
        assert_eq!(strict(&format!("strict runtime\n{packages}")), "z y");
        assert_eq!(strict(&format!("strict build runtime optional\n{packages}")), "z y x ?w");
        let packages = packages.replace("< x ?w", "< ?w");
        assert_eq!(strict(&format!("strict runtime\n{packages}")), "?z ?y");
        // Those that need each other to run, and what is built with one of them.
        let circle = "strict runtime\nphase one\n x: build ~y\n y: build ~x\n app: build < x";
        assert_eq!(strict(circle), "x y");
        assert_eq!(strict(&circle.replace("< x", "< x ?y")), "x y");
    }

    /// Thousands of packages, each built with something that needs thousands to run: nothing is written down for each pair.
    #[test]
    fn a_plan_does_not_grow_with_closures() {
        let mut words = String::from("strict runtime\nphase one\n r0: build\n u0: build < r0\n");
        for at in 1..3000 {
            words.push_str(&format!(" r{at}: build ~r{}\n u{at}: build < r{at}\n", at - 1));
        }
        let mut definition = sketch::definition(&words);
        definition.document.dependency_tracking.dependency_resolution.max_depth = 10_000;
        let plan = plan(&definition).unwrap().plan;
        let strict = plan.strict(plan.find("u2999").unwrap());
        assert_eq!(strict.len(), 2999);
        let to_run = plan.verified.to_run.as_ref().unwrap();
        let written: usize =
            (0..plan.packages.len()).map(|at| to_run.runs_with[at].len() + to_run.uses[at].len()).sum();
        assert_eq!(written, 2999 + 3000);
    }
}
