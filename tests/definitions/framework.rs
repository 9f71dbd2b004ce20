//! The framework's document, verbatim: every value, every default, and every key made wrong.

use kiln::config::document::*;
use kiln::config::name::Name;
use kiln::config::scalar::{Seconds, Size};
use kiln::config::tree::{NodeId, Tree, Value};

use super::space::Space;

const FRAMEWORK: &str = include_str!("../../config/framework/kiln.yaml");

fn document(text: &str) -> Document {
    let space = Space::kiln_yaml(text);
    let (definition, warnings) = space.load().unwrap_or_else(|problems| panic!("{:?}", problems.diagnostics));
    assert_eq!(warnings, []);
    definition.document
}

#[test]
fn every_value_of_the_framework_is_read() {
    use {EdgeAttribute as E, GateReason as G, NodeAttribute as N, NotificationChannel as C};
    use {ProgressMetric as M, RecoveryAction as A};

    const GIB: u64 = 1 << 30;
    let Document {
        name,
        settings: _,
        build_phases,
        dependency_tracking,
        dependency_graph,
        progress_tracking,
        error_recovery,
        recovery_procedures,
        recovery_actions,
    } = document(FRAMEWORK);
    assert_eq!(name, None);
    assert!(recovery_actions.is_empty());

    let phase = |key: &str| {
        let Phase { name, order, critical, requirements, steps } = &build_phases[key];
        let Requirements { disk_space, memory, toolchain } = requirements;
        let steps: Vec<&str> = steps.iter().map(Name::as_str).collect();
        let sizes = (disk_space.unwrap(), memory.unwrap());
        (name.clone().unwrap(), *order, *critical, sizes, *toolchain, steps)
    };
    let complete = Some(ToolchainRequirement::Complete);
    assert_eq!(build_phases.len(), 3);
    assert_eq!(
        phase("toolchain"),
        (
            "Toolchain Build".to_owned(),
            1,
            true,
            (Size(15 * GIB), Size(4 * GIB)),
            None,
            vec!["binutils_pass1", "gcc_pass1", "linux_headers", "glibc", "gcc_pass2"]
        )
    );
    assert_eq!(
        phase("base_system"),
        (
            "Base System Build".to_owned(),
            2,
            true,
            (Size(20 * GIB), Size(4 * GIB)),
            complete,
            vec!["core_packages", "system_config", "bootloader"]
        )
    );
    assert_eq!(
        phase("desktop"),
        (
            "Desktop Environment".to_owned(),
            3,
            false,
            (Size(30 * GIB), Size(8 * GIB)),
            complete,
            vec!["xorg", "desktop_environment", "applications"]
        )
    );

    let PackageTypes { build_deps, runtime_deps, optional_deps } = dependency_tracking.package_types;
    let package_type = |required, verification| PackageType { required, verification };
    assert_eq!(build_deps, package_type(true, Verification::Strict));
    assert_eq!(runtime_deps, package_type(true, Verification::Normal));
    assert_eq!(optional_deps, package_type(false, Verification::Relaxed));
    let DependencyResolution { method, max_depth, circular_handling } =
        dependency_tracking.dependency_resolution;
    assert_eq!((method, max_depth, circular_handling), (Method::Topological, 10, CircularHandling::Error));

    let DependencyGraph { nodes, edges, validation } = dependency_graph;
    assert_eq!(nodes, [N::PackageName, N::Version, N::BuildStatus, N::VerificationStatus]);
    assert_eq!(edges, [E::DependencyType, E::RequirementLevel, E::BuildOrder]);
    let Validation { cycle_detection, version_compatibility, build_order_verification } = validation;
    assert!(cycle_detection && version_compatibility && build_order_verification);

    let ProgressTracking { metrics, checkpoints, status_updates } = progress_tracking;
    let all = [M::PackagesCompleted, M::CurrentPhase, M::EstimatedRemaining, M::ErrorCount, M::RetryCount];
    assert_eq!(metrics, all);
    let Checkpoints { frequency, kind, verification } = checkpoints;
    assert_eq!((frequency, kind, verification), (10, CheckpointType::Incremental, true));
    let StatusUpdates { frequency, detail_level } = status_updates;
    assert_eq!((frequency, detail_level), (60, DetailLevel::High));

    let AutomaticRecovery {
        enabled,
        max_attempts,
        delay_between_attempts,
        escalation_threshold,
        stop_on_same_failure,
    } = error_recovery.automatic_recovery;
    assert!(enabled && !stop_on_same_failure);
    assert_eq!((max_attempts, delay_between_attempts, escalation_threshold), (3, Seconds(60.0), 3));
    let ManualIntervention { required_for, notification_channels } = error_recovery.manual_intervention;
    assert_eq!(required_for, [G::CriticalBuildFailure, G::SystemResourceExhaustion, G::SecurityViolation]);
    assert_eq!(notification_channels, [C::SystemLog, C::Email, C::Dashboard]);

    let RecoveryProcedures { build_failure, dependency_failure, system_failure } = recovery_procedures;
    assert_eq!(
        build_failure,
        [A::CleanupFailedBuild, A::VerifyDependencies, A::CheckResources, A::RetryBuild]
    );
    assert_eq!(
        dependency_failure,
        [
            A::VerifyPackageAvailability,
            A::CheckAlternativeSources,
            A::ValidateVersions,
            A::RebuildDependencies
        ]
    );
    assert_eq!(
        system_failure,
        [A::FreeResources, A::CleanupTemporaryFiles, A::ResetBuildEnvironment, A::VerifySystemHealth]
    );
}

#[test]
fn build_phases_alone_are_enough() {
    let (phases, _) = FRAMEWORK.split_once("dependency_tracking:").unwrap();
    assert_eq!(document(phases), document(FRAMEWORK));
}

/// A key of the document.
struct Entry {
    path: String,
    key: NodeId,
    value: NodeId,
}

fn keys(tree: &Tree) -> Vec<Entry> {
    fn below(tree: &Tree, id: NodeId, path: &str, found: &mut Vec<Entry>) {
        let Value::Mapping(entries) = tree.value(id) else { return };
        for (key, value) in entries {
            let path = format!("{path}/{}", tree.text(*key).unwrap());
            below(tree, *value, &path, found);
            found.push(Entry { path, key: *key, value: *value });
        }
    }
    let mut found = Vec::new();
    below(tree, tree.roots[0], "", &mut found);
    assert_eq!(found.len(), 72, "keys of the framework's document");
    found
}

/// Replaces these bytes (without the blanks at their end).
fn replaced(span: &std::ops::Range<usize>, new: &str) -> String {
    let end = span.start + FRAMEWORK[span.clone()].trim_end().len();
    format!("{}{new}{}", &FRAMEWORK[..span.start], &FRAMEWORK[end..])
}

fn position(byte: usize) -> (usize, usize) {
    let before = &FRAMEWORK[..byte];
    (before.matches('\n').count() + 1, before.len() - before.rfind('\n').map_or(0, |at| at + 1) + 1)
}

/// The document is refused for exactly one reason, there.
#[track_caller]
fn refused(what: &str, text: &str, at: (usize, usize), codes: &[&str]) {
    let found = Space::kiln_yaml(text).diagnostics();
    let found: Vec<_> = found
        .iter()
        .map(|one| (one.position.map(|at| (at.line, at.column)), one.code, one.message.as_str()))
        .collect();
    let [(position, code, _)] = &*found else { panic!("{what}: {found:#?}") };
    assert_eq!(*position, Some(at), "{what}: {found:?}");
    assert!(codes.contains(code), "{what}: {found:?}");
}

#[test]
fn each_key_left_out_has_the_frameworks_value() {
    let tree = Tree::parse(FRAMEWORK);
    let whole = document(FRAMEWORK);
    for Entry { path, key, value } in keys(&tree) {
        if path.starts_with("/build_phases") {
            continue;
        }
        let (start, end) = (tree.node(key).span.start, tree.node(value).span.end);
        let start = FRAMEWORK[..start].rfind('\n').map_or(0, |at| at + 1);
        let end = start + FRAMEWORK[start..end].trim_end().len();
        let text = format!("{}{}", &FRAMEWORK[..start], &FRAMEWORK[end..]);
        assert_eq!(document(&text), whole, "{path}");
    }
}

#[test]
fn each_key_misspelt_is_found_where_it_stands() {
    let tree = Tree::parse(FRAMEWORK);
    for Entry { path, key, .. } in keys(&tree) {
        let span = &tree.node(key).span;
        let name = &FRAMEWORK[span.clone()];
        // Phases have names of their own: these can only be no names.
        let phase = path.matches('/').count() == 2 && path.starts_with("/build_phases/");
        let (wrong, code) =
            if phase { (format!("{name}/"), "bad-value") } else { (format!("{name}x"), "unknown-key") };
        let mut text = replaced(span, &wrong);
        if path == "/build_phases/toolchain" {
            // Without a phase of this name the others' requirement would be worth a warning.
            text = text.replace("toolchain: \"complete\"", "toolchain: null");
        }
        refused(&path, &text, position(span.start), &[code]);
    }
}

#[test]
fn each_value_of_a_wrong_type_is_found_where_it_stands() {
    let tree = Tree::parse(FRAMEWORK);
    for Entry { path, value, .. } in keys(&tree) {
        let span = &tree.node(value).span;
        let wrong = match tree.value(value) {
            Value::Scalar { .. } => ["[1, 2]", "{a: b}"],
            Value::Sequence(_) => ["7", "{a: b}"],
            Value::Mapping(_) => ["text", "[1, 2]"],
            Value::Alias(_) => unreachable!(),
        };
        for wrong in wrong {
            let mut text = replaced(span, wrong);
            if path == "/build_phases/toolchain" || path == "/build_phases/toolchain/order" {
                text = text.replace("toolchain: \"complete\"", "toolchain: null");
            }
            refused(&format!("{path}: {wrong}"), &text, position(span.start), &["wrong-type"]);
        }
        let Value::Sequence(items) = tree.value(value) else { continue };
        for item in items {
            let span = &tree.node(*item).span;
            refused(
                &format!("{path}: element"),
                &replaced(span, "[x]"),
                position(span.start),
                &["wrong-type"],
            );
        }
    }
}

#[test]
fn each_value_out_of_range_is_found_where_it_stands() {
    let tree = Tree::parse(FRAMEWORK);
    let mut seen = 0;
    for Entry { path, value, .. } in keys(&tree) {
        let leaf = path.rsplit('/').next().unwrap();
        let wrong: &[&str] = match leaf {
            "order" => &["-1", "1.5", "4294967296", "first"],
            "frequency" | "max_depth" | "max_attempts" | "escalation_threshold" => {
                &["0", "-1", "1.5", "99999999999"]
            }
            "delay_between_attempts" => &["-1", ".inf", "soon"],
            "disk_space" | "memory" => &["15Q", "-1", "1.5", "99999999999G", "\"\""],
            "critical"
            | "required"
            | "cycle_detection"
            | "version_compatibility"
            | "build_order_verification"
            | "enabled" => &["maybe", "yes", "1", "\"true\""],
            "verification" if path.contains("checkpoints") => &["strict"],
            "verification" | "method" | "circular_handling" | "type" | "detail_level" => {
                &["nonsense", "7", "STRICT"]
            }
            "toolchain" if path.contains("requirements") => &["partial", "true", "\"null\""],
            _ => &[],
        };
        seen += usize::from(!wrong.is_empty());
        for wrong in wrong {
            let span = &tree.node(value).span;
            let mut text = replaced(span, wrong);
            if path == "/build_phases/toolchain/order" {
                text = text.replace("toolchain: \"complete\"", "toolchain: null");
            }
            let codes = ["out-of-range", "wrong-type", "bad-value", "unknown-value"];
            refused(&format!("{path}: {wrong}"), &text, position(span.start), &codes);
        }
        let Value::Sequence(items) = tree.value(value) else { continue };
        for item in items {
            let span = &tree.node(*item).span;
            let (wrong, code) =
                if leaf == "steps" { ("a/b", "bad-value") } else { ("nonsense", "unknown-value") };
            refused(&format!("{path}: element"), &replaced(span, wrong), position(span.start), &[code]);
        }
        if leaf == "steps" {
            let span = &tree.node(value).span;
            refused(&path, &replaced(span, "[]"), position(span.start), &["out-of-range"]);
        }
    }
    assert_eq!(seen, 36, "values with a range");
}
