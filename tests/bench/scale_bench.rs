//! What the libraries below kiln take alone for a definition, and the engine for a run of it; for `tests/bench/scale`.
//!
//! ```sh
//! cargo run --release --example scale_bench -- yaml DIR       # serde_yaml reads all its files into nothing
//! cargo run --release --example scale_bench -- order DIR      # petgraph sorts its graph, or finds the cycles in it
//! cargo run --release --example scale_bench -- engine DIR 2   # a run with 2 jobs whose tasks end as they begin
//! ```
//!
//! Prints one JSON object. `seconds` is CPU time of this thread for just that: reading files, and for `order` and `engine`
//! all that leads up to the graph or the plan, is not in it.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "it talks to a script")]

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kiln::config::load::{Definition, Root, load};
use kiln::engine::message::{Covered, Effect, Event, Facts, Findings, Have, Outcome, Resources, Time, Usage};
use kiln::engine::state::State;
use kiln::engine::{Engine, Limits, RunInfo};
use kiln::graph::resolve::resolve;
use kiln::plan::build::plan;
use petgraph::algo::{kosaraju_scc, toposort};
use petgraph::graph::{DiGraph, NodeIndex};
use serde::de::{Deserialize as _, IgnoredAny};
use serde_json::{Value, json};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let answer = match arguments[..] {
        ["yaml", dir] => yaml(Path::new(dir)),
        ["order", dir] => order(&definition(dir)),
        ["engine", dir, jobs] => engine(&definition(dir), jobs.parse().unwrap()),
        _ => panic!("yaml DIR | order DIR | engine DIR JOBS"),
    };
    println!("{answer}");
}

fn definition(dir: &str) -> Definition {
    load(Root::Directory(PathBuf::from(dir)))
        .unwrap_or_else(|problems| panic!("{:?}", problems.diagnostics))
        .0
}

/// CPU time of this thread so far, in nanoseconds.
fn cpu() -> u64 {
    let times = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    times.split(' ').next().unwrap().parse().unwrap()
}

/// What `work` gives, and the CPU time that it takes, in seconds. The kernel counts that by the tick, so what is short is
/// repeated.
fn timed<T>(mut work: impl FnMut() -> T) -> (T, f64) {
    let before = cpu();
    let mut times = 0;
    loop {
        let done = work();
        times += 1;
        let passed = cpu() - before;
        if passed > LONG_ENOUGH {
            return (done, passed as f64 / 1e9 / f64::from(times));
        }
    }
}

/// Nanoseconds.
const LONG_ENOUGH: u64 = 200_000_000;

fn yaml(dir: &Path) -> Value {
    let packages = std::fs::read_dir(dir.join("packages")).unwrap().map(|entry| entry.unwrap().path());
    let texts: Vec<String> =
        packages.chain([dir.join("kiln.yaml")]).map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let (documents, seconds) = timed(|| {
        let mut documents = 0;
        for document in texts.iter().flat_map(|text| serde_yaml::Deserializer::from_str(text)) {
            IgnoredAny::deserialize(document).unwrap();
            documents += 1;
        }
        documents
    });
    json!({"seconds": seconds, "documents": documents, "bytes": texts.iter().map(String::len).sum::<usize>()})
}

fn order(definition: &Definition) -> Value {
    let (graph, _) = resolve(definition);
    let mut di: DiGraph<(), ()> = DiGraph::with_capacity(graph.nodes.len(), graph.edges.len());
    for _ in &graph.nodes {
        di.add_node(());
    }
    for edge in &graph.edges {
        di.add_edge(NodeIndex::new(edge.from), NodeIndex::new(edge.to), ());
    }
    let (sorted, toposort) = timed(|| toposort(&di, None).is_ok());
    // Where there is no order, this is what finds one of components.
    let (components, components_take) = timed(|| kosaraju_scc(&di).len());
    json!({
        "seconds": if sorted { toposort } else { components_take }, "acyclic": sorted, "components": components,
        "nodes": graph.nodes.len(), "edges": graph.edges.len(),
    })
}

fn engine(definition: &Definition, jobs: u32) -> Value {
    let plan = Arc::new(plan(definition).unwrap_or_else(|problems| panic!("{problems:?}")).plan);
    let expected: Vec<u64> = plan.packages.iter().map(|package| package.tasks.len() as u64).collect();
    let limits = Limits { jobs, fetches: jobs, grace: Duration::from_secs(10) };
    let info = RunInfo { build_id: "bench".into(), kiln: "bench".into(), boot: "".into() };
    let ((records, started), seconds) = timed(|| {
        let state = State::new(&plan);
        let mut engine = Engine::new(Arc::clone(&plan), limits, info.clone(), state, &expected);
        let facts = Facts { packages: vec![Have::Nothing; plan.packages.len()], ..Facts::default() };
        let (mut records, mut started) = (0_u64, 0_u64);
        let mut now = Time::default();
        let mut events = VecDeque::from([Event::Begin(facts)]);
        while let Some(event) = events.pop_front() {
            for effect in engine.handle(now, event) {
                match effect {
                    Effect::Start(start) => {
                        started += 1;
                        events.push_back(Event::Finished {
                            task: start.task,
                            outcome: Outcome::Success,
                            usage: Usage::default(),
                        });
                    }
                    Effect::Measure { phase } => {
                        let resources =
                            Resources { disk: u64::MAX, memory: u64::MAX, toolchain_verified: true };
                        events.push_back(Event::Measured { phase, resources });
                    }
                    Effect::MeasureMemory => events.push_back(Event::Memory { available: u64::MAX }),
                    // Nobody but the engine is measured, so nothing is damaged.
                    Effect::Verify { task, packages } => {
                        let findings = Ok(Findings { read: packages, ..Findings::default() });
                        events.push_back(Event::Verified { task, findings });
                    }
                    Effect::Checkpoint { number, kind, packages, .. } => {
                        let covered = Covered { kind, packages, verified: true, damaged: Vec::new() };
                        events.push_back(Event::Checkpointed { number, result: Ok(covered) });
                    }
                    Effect::Record(_) => records += 1,
                    Effect::Kill { .. }
                    | Effect::Act(_)
                    | Effect::CancelAct { .. }
                    | Effect::WatchOutput { .. }
                    | Effect::End(_) => {}
                }
            }
            now = now + Duration::from_millis(1);
        }
        (records, started)
    });
    assert_eq!(started, plan.task_count() as u64, "every task is run once");
    json!({"seconds": seconds, "tasks": started, "packages": plan.packages.len(), "records": records})
}
