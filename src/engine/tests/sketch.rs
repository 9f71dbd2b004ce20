//! Plans from a few words.
//!
//! ```text
//! method parallel               # and: attempts 3, threshold 3, channels system_log email, delay 60, disabled, same (stop_on_same_failure)
//! gates                         # all reasons open one; without this line none does
//! wait                          # for a person (`Engine::waiting`)
//! recover cleanup_failed_build retry_build     # the procedure of every class; without this line none
//! checkpoints 10 full           # frequency, and the type where it is not incremental; without this line scripts hide them
//! phase base                    # critical; `phase? extras` is not
//! needs disk 10 memory 5 toolchain
//! strict build runtime optional # which are verified before a dependent's first script; without this line none is
//!   zlib: fetch unpack build install
//!   curl: build install < zlib ?brotli ~ca     # needs zlib, would use brotli, runs with ca
//!   odd: build check? (timeout 10 silent 5 jobs 1 memory 8 accept 1)     # accept: failed checks of dependencies, direct 1
//! ```
//! A package with `install` has a `merge` as well; `fetch` and `unpack` come together.

use std::sync::Arc;
use std::time::Duration;

use crate::config::diagnostic::{FileId, Place};
use crate::config::document::{
    CheckpointType, GATE_REASONS, Method, Phase, RECOVERY_ACTIONS, RecoveryProcedures, Requirements,
    ToolchainRequirement, Verification,
};
use crate::config::files::Files;
use crate::config::load::{Definition, Located, Root};
use crate::config::name::Name;
use crate::config::recipe::{Jobs, Recipe, SourceFile, Task, TaskEntry};
use crate::config::scalar::{self, Seconds, Size};
use crate::config::version::Dependency;
use crate::plan::{Plan, build};

/// The plan that the words describe.
pub(crate) fn plan(words: &str) -> Arc<Plan> {
    match build::plan(&definition(words)) {
        Ok(planned) => planned.plan,
        Err(problems) => panic!("sketch: {problems:?}"),
    }
}

/// The definition that the words describe.
pub(crate) fn definition(words: &str) -> Definition {
    let mut files = Files::default();
    files.add("sketch", words);
    let mut definition = Definition {
        name: name("sketch"),
        root: Root::Directory("sketch".into()),
        document: serde_yaml::from_str("{build_phases: {}}").unwrap(),
        place: Place::document(FileId(0), 0),
        recipes: Vec::new(),
        files,
    };
    definition.document.dependency_tracking.package_types.build_deps.verification = Verification::Normal;
    let nothing = || Vec::new();
    definition.document.recovery_procedures = RecoveryProcedures {
        build_failure: nothing(),
        dependency_failure: nothing(),
        system_failure: nothing(),
    };
    definition.document.error_recovery.manual_intervention.required_for.clear();
    let mut phase = String::new();
    for line in words.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let mut tokens = line.split_whitespace();
        let rules = &mut definition.document.error_recovery.automatic_recovery;
        match tokens.next() {
            // The second is the scripts' own.
            None | Some("wait") => {}
            Some("method") => {
                definition.document.dependency_tracking.dependency_resolution.method = match tokens.next() {
                    Some("topological") => Method::Topological,
                    Some("parallel") => Method::Parallel,
                    Some("dynamic") => Method::Dynamic,
                    other => panic!("method {other:?}"),
                }
            }
            Some("strict") => {
                let types = &mut definition.document.dependency_tracking.package_types;
                for word in tokens {
                    let of_kind = match word {
                        "build" => &mut types.build_deps,
                        "runtime" => &mut types.runtime_deps,
                        "optional" => &mut types.optional_deps,
                        other => panic!("strict {other}"),
                    };
                    of_kind.verification = Verification::Strict;
                }
            }
            Some("attempts") => rules.max_attempts = tokens.next().unwrap().parse().unwrap(),
            Some("threshold") => rules.escalation_threshold = tokens.next().unwrap().parse().unwrap(),
            Some("channels") => {
                let channel = |word: &str| serde_yaml::from_str(word).unwrap();
                definition.document.error_recovery.manual_intervention.notification_channels =
                    tokens.map(channel).collect();
            }
            Some("delay") => rules.delay_between_attempts = Seconds(tokens.next().unwrap().parse().unwrap()),
            Some("checkpoints") => {
                let wanted = &mut definition.document.progress_tracking.checkpoints;
                wanted.frequency = tokens.next().unwrap().parse().unwrap();
                if tokens.next() == Some("full") {
                    wanted.kind = CheckpointType::Full;
                }
            }
            Some("disabled") => rules.enabled = false,
            Some("same") => rules.stop_on_same_failure = true,
            Some("gates") => {
                definition.document.error_recovery.manual_intervention.required_for = GATE_REASONS.to_vec();
            }
            Some("recover") => {
                let named =
                    |word| RECOVERY_ACTIONS.into_iter().find(|action| action.as_str() == word).unwrap();
                let actions: Vec<_> = tokens.map(named).collect();
                definition.document.recovery_procedures = RecoveryProcedures {
                    build_failure: actions.clone(),
                    dependency_failure: actions.clone(),
                    system_failure: actions,
                };
            }
            Some(kind @ ("phase" | "phase?")) => {
                phase = tokens.next().unwrap().to_owned();
                let order = u32::try_from(definition.document.build_phases.len()).unwrap();
                let new = Phase {
                    name: None,
                    order,
                    critical: kind == "phase",
                    requirements: Requirements::default(),
                    steps: Vec::new(),
                };
                definition.document.build_phases.0.insert(name(&phase), new);
            }
            Some("needs") => {
                let wanted = &mut definition.document.build_phases.0.get_mut(&*phase).unwrap().requirements;
                while let Some(what) = tokens.next() {
                    let mut size = || Some(Size(tokens.next().unwrap().parse().unwrap()));
                    match what {
                        "disk" => wanted.disk_space = size(),
                        "memory" => wanted.memory = size(),
                        "toolchain" => wanted.toolchain = Some(ToolchainRequirement::Complete),
                        other => panic!("needs {other}"),
                    }
                }
            }
            Some(package) => {
                let package = package.strip_suffix(':').unwrap_or_else(|| panic!("`{line}` is no package"));
                let tail = line.split_once(':').unwrap().1;
                let (own, rest) = tail.split_once('(').unwrap_or((tail, ""));
                let recipe = recipe(package, own, rest.trim_end_matches(')'));
                definition.document.build_phases.0.get_mut(&*phase).unwrap().steps.push(name(package));
                let place = Place::document(FileId(0), u32::try_from(definition.recipes.len()).unwrap());
                definition.recipes.push(Located { value: recipe, place });
            }
        }
    }
    definition.document.dependency_tracking.dependency_resolution.max_depth = 1000;
    definition
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn dependency(text: &str) -> Dependency {
    text.parse().unwrap()
}

fn recipe(package: &str, own: &str, rest: &str) -> Recipe {
    let mut recipe: Recipe = serde_yaml::from_str(&format!("{{package: {package}, version: 1}}")).unwrap();
    let script = || Some(Task::Script(String::new()));
    for word in own.split_whitespace() {
        match word {
            "fetch" => recipe.sources.push(SourceFile {
                file: "x.tar".into(),
                sha256: "0".repeat(64).parse().unwrap(),
                from: Vec::new(),
            }),
            "configure" => recipe.tasks.configure = script(),
            "build" => recipe.tasks.build = script(),
            "check" => recipe.tasks.check = script(),
            "check?" => {
                recipe.tasks.check = Some(Task::Entry(TaskEntry { run: String::new(), required: false }));
            }
            "install" => recipe.tasks.install = script(),
            "unpack" | "<" => {}
            other => {
                if let Some(other) = other.strip_prefix('?') {
                    recipe.optional_deps.push(dependency(other));
                } else if let Some(other) = other.strip_prefix('~') {
                    recipe.runtime_deps.push(dependency(other));
                } else {
                    recipe.build_deps.push(dependency(other));
                }
            }
        }
    }
    let mut words = rest.split_whitespace();
    while let Some(word) = words.next() {
        let number: u64 = words.next().unwrap().parse().unwrap();
        let span = Some(scalar::Duration(Duration::from_secs(number)));
        match word {
            "timeout" => recipe.timeout = span,
            "silent" => recipe.silent_timeout = span,
            "jobs" => recipe.jobs = Jobs::Most(u32::try_from(number).unwrap()),
            "memory" => recipe.memory = Some(Size(number)),
            "accept" => recipe.accept_failed_check = number > 0,
            "direct" => recipe.direct = number > 0,
            other => panic!("({other})"),
        }
    }
    recipe
}
