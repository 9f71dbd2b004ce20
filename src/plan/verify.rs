//! The framework's `build_order_verification`: a finished plan is held against the edges.
//!
//! Owns: what must be true of an order. Does not know: how it was found. It shares nothing with `build`: neither its
//! closures nor its components nor its order are trusted.

use crate::config::diagnostic::Diagnostic;
use crate::graph::lists::Lists;
use crate::graph::{Graph, RequirementLevel};

use super::{NodeId, PackageId, Plan, Waiter};

/// So many problems are told; a plan that is wrong is wrong in many places.
const PROBLEMS_MAX: usize = 10;

/// The problems of a plan as diagnostics, if its definition wants to know them.
pub(super) fn check(plan: &Plan, graph: &Graph, package_of_node: &[PackageId]) -> Vec<Diagnostic> {
    if !plan.document.dependency_graph.validation.build_order_verification {
        return Vec::new();
    }
    let problems = problems(plan, graph, package_of_node);
    let left_out = problems.len().saturating_sub(PROBLEMS_MAX);
    let more = (left_out > 0).then(|| format!("{left_out} more like these"));
    let told = problems.into_iter().take(PROBLEMS_MAX).chain(more);
    let diagnostic = |problem| {
        Diagnostic::error("build-order", format!("internal: {problem}"))
            .hint("please report this with the definition")
    };
    told.map(diagnostic).collect()
}

/// Everything that is wrong with a plan.
pub(super) fn problems(plan: &Plan, graph: &Graph, package_of_node: &[PackageId]) -> Vec<String> {
    let mut verifier = Verifier { plan, graph, package_of_node, problems: Vec::new() };
    verifier.every_package_once();
    if verifier.problems.is_empty() {
        verifier.phases();
        verifier.edges();
        verifier.nodes();
    }
    if verifier.problems.is_empty() {
        verifier.waiting();
    }
    verifier.problems
}

struct Verifier<'a> {
    plan: &'a Plan,
    graph: &'a Graph,
    package_of_node: &'a [PackageId],
    problems: Vec<String>,
}

impl Verifier<'_> {
    fn position(&self, node: usize) -> usize {
        self.package_of_node[node].0 as usize
    }

    fn name(&self, position: usize) -> &str {
        &self.plan.packages[position].name
    }

    /// A node in words: a package, or the closure that it is the name of.
    fn words(&self, node: usize) -> String {
        match self.plan.packages.get(node) {
            Some(package) => format!("`{}`", package.name),
            None => format!("closure {node}"),
        }
    }

    /// The plan's packages are the graph's nodes, each once, in the same phase.
    fn every_package_once(&mut self) {
        let (planned, known) = (self.plan.packages.len(), self.graph.nodes.len());
        if planned != known || self.package_of_node.len() != known {
            self.problems.push(format!("{planned} packages are planned, and the graph has {known}"));
            return;
        }
        let mut seen = vec![false; planned];
        for (node, position) in self.graph.nodes.iter().zip(self.package_of_node) {
            let Some(package) = self.plan.packages.get(position.0 as usize) else {
                self.problems.push(format!("`{}` is not planned", node.name));
                continue;
            };
            if std::mem::replace(&mut seen[position.0 as usize], true) {
                self.problems.push(format!("`{}` is planned twice", package.name));
            }
            if package.name != node.name {
                self.problems.push(format!("`{}` is planned where `{}` should be", package.name, node.name));
            }
            if package.phase.0 as usize != node.phase {
                self.problems.push(format!("`{}` is planned in another phase than its own", node.name));
            }
        }
    }

    /// Earlier phases come first, and each knows its packages.
    fn phases(&mut self) {
        for pair in self.plan.packages.windows(2) {
            if pair[0].phase > pair[1].phase {
                self.problems.push(format!(
                    "`{}` is planned after a later phase, that of `{}`",
                    pair[1].name, pair[0].name
                ));
            }
        }
        let mut next = 0;
        for (index, phase) in self.plan.phases.iter().enumerate() {
            let own = self
                .plan
                .package_ids()
                .skip(next)
                .take_while(|id| self.plan.package(*id).phase.0 as usize == index);
            let own: Vec<PackageId> = own.collect();
            if own != phase.packages {
                self.problems
                    .push(format!("phase `{}` lists other packages than those planned in it", phase.key));
            }
            next += own.len();
        }
    }

    /// Each package comes after what it waits for, with all that this needs to run.
    fn edges(&mut self) {
        let packages = self.plan.packages.len();
        // By position, who needs that to run.
        let runtime = Lists::new(packages, || {
            let edges = self.graph.edges.iter().filter(|edge| !edge.waits());
            edges.map(|edge| (self.position(edge.to), self.position(edge.from)))
        });
        // Of each package the last of its runtime closure: from the end of the order, whatever is reached is marked.
        let mut last = vec![None; packages];
        let mut stack = Vec::new();
        for position in (0..packages).rev() {
            stack.push(position);
            while let Some(at) = stack.pop() {
                if last[at].is_none() {
                    last[at] = Some(position);
                    stack.extend(&runtime[at]);
                }
            }
        }
        for edge in self.graph.edges.iter().filter(|edge| edge.waits()) {
            let (from, to) = (self.position(edge.from), self.position(edge.to));
            let late = last[to].unwrap_or(to);
            if to >= from {
                self.problems.push(format!(
                    "`{}` is planned before `{}`, which it needs",
                    self.name(from),
                    self.name(to)
                ));
            } else if late >= from {
                self.problems.push(format!(
                    "`{}` is planned before `{}`, which `{}` needs to run, which it needs",
                    self.name(from),
                    self.name(late),
                    self.name(to)
                ));
            }
        }
    }

    /// All nodes are in their order, each after those that it waits for, as many as it counts.
    fn nodes(&mut self) {
        let Plan { node_order, waiters, wait_count, packages, .. } = self.plan;
        let nodes = waiters.len();
        if node_order.len() != nodes || wait_count.len() != nodes {
            self.problems.push(format!(
                "{nodes} nodes are waited for, {} ordered, {} count",
                node_order.len(),
                wait_count.len()
            ));
            return;
        }
        let mut turn = vec![None; nodes];
        for (at, node) in node_order.iter().enumerate() {
            match turn.get_mut(node.0 as usize) {
                Some(turn @ None) => *turn = Some(at),
                Some(Some(_)) => {
                    self.problems.push(format!("{} is twice in the order", self.words(node.0 as usize)));
                }
                None => self.problems.push(format!("node {} does not exist", node.0)),
            }
        }
        let ordered = node_order.iter().filter(|node| (node.0 as usize) < packages.len());
        if !ordered.is_sorted() {
            self.problems.push("packages are not in the order of their positions".to_owned());
        }
        let mut awaited = vec![0_u32; nodes];
        for node in 0..nodes {
            for waiter in &waiters[node] {
                let Some(count) = awaited.get_mut(waiter.node.0 as usize) else { continue };
                *count += 1;
                if turn[waiter.node.0 as usize] <= turn[node] {
                    let (first, then) = (self.words(waiter.node.0 as usize), self.words(node));
                    self.problems.push(format!("{first} is before {then} in the order, and waits for it"));
                }
            }
        }
        for node in 0..nodes {
            if awaited[node] != wait_count[node] {
                let (has, says) = (awaited[node], wait_count[node]);
                self.problems.push(format!("{} waits for {has} and counts {says}", self.words(node)));
            }
        }
    }

    /// Who waits for whom is what the edges say, and nothing else. What needs something to run is waited for by one
    /// closure, which stands for it; that waits for the closures of what it needs.
    fn waiting(&mut self) {
        let (plan, packages) = (self.plan, self.plan.packages.len());
        let mut stands_for: Vec<NodeId> = plan.package_ids().map(|id| NodeId(id.0)).collect();
        let mut needs_to_run = vec![false; packages];
        for edge in self.graph.edges.iter().filter(|edge| !edge.waits()) {
            needs_to_run[self.position(edge.from)] = true;
        }
        for at in (0..packages).filter(|at| needs_to_run[*at]) {
            let mut closures =
                plan.waiters[at].iter().filter(|waiter| plan.as_package(waiter.node).is_none());
            match (closures.next(), closures.next()) {
                (Some(closure), None) => stands_for[at] = closure.node,
                (None, _) => self
                    .problems
                    .push(format!("`{}` needs something to run, and no closure has it", self.name(at))),
                (Some(_), Some(_)) => self.problems.push(format!("`{}` is in two closures", self.name(at))),
            }
        }
        if !self.problems.is_empty() {
            return;
        }
        let mut expected = Lists::new(plan.waiters.len(), || {
            let closures = (0..packages).filter(|at| needs_to_run[*at]).map(|at| (at, stands_for[at], true));
            let edges = self.graph.edges.iter().filter_map(|edge| {
                let to = stands_for[self.position(edge.to)];
                let from = self.package_of_node[edge.from];
                let from = if edge.waits() { NodeId(from.0) } else { stands_for[from.0 as usize] };
                let required = edge.requirement_level == RequirementLevel::Required;
                (from != to).then_some((to.0 as usize, from, required))
            });
            closures.chain(edges).map(|(on, node, required)| (on, Waiter { node, required }))
        });
        let key = |waiter: &Waiter| (waiter.node, waiter.required);
        let mut actual = Vec::new();
        for node in 0..plan.waiters.len() {
            let (expected, waiters) = (&mut expected[node], &plan.waiters[node]);
            if expected == waiters {
                continue;
            }
            actual.clear();
            actual.extend_from_slice(waiters);
            actual.sort_unstable_by_key(key);
            expected.sort_unstable_by_key(key);
            let (mut left, mut right) = (expected.iter().peekable(), actual.iter().peekable());
            while left.peek().is_some() || right.peek().is_some() {
                if left.peek() == right.peek() {
                    _ = (left.next(), right.next());
                    continue;
                }
                let missing = match (left.peek(), right.peek()) {
                    (Some(expected), Some(actual)) => key(expected) < key(actual),
                    (expected, _) => expected.is_some(),
                };
                let waiter = if missing { left.next() } else { right.next() };
                let Some(waiter) = waiter else { break };
                let how = if waiter.required { "" } else { " (if it is there)" };
                let what = if missing { "should wait" } else { "waits, and no edge says so," };
                let (who, on) = (self.words(waiter.node.0 as usize), self.words(node));
                self.problems.push(format!("{who} {what} for {on}{how}"));
            }
        }
    }
}

#[cfg(test)]
mod tests;
