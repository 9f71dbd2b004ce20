//! Rules within one recipe.
//!
//! Owns: which keys go together, paths, mirrors, environment names. Does not know: other recipes.

use super::super::diagnostic::{Diagnostic, Place};
use super::super::document::CircularHandling;
use super::super::recipe::{Jobs, Limits, Mirror, MirrorEntry, Recipe, SourceFile, Task, Tasks};
use super::super::version::Dependency;
use super::document::script_problem;
use super::twice;

/// Everything that is wrong within this recipe; `place` is its document's root. `circular`: what it means
/// that a package needs itself. Such a dependency leads to no edge in the graph.
pub fn recipe(recipe: &Recipe, place: &Place, circular: CircularHandling) -> Vec<Diagnostic> {
    let mut check = Check { recipe, place, found: Vec::new() };
    if let Some(members) = &recipe.group {
        let at = place.clone().key("group");
        check.found.extend(twice(members, &at));
        if let Some(index) = members.iter().position(|member| *member == recipe.package) {
            let message = format!("group `{}` contains itself", recipe.package);
            check.found.push(Diagnostic::error("self-dependency", message).at(at.index(index)));
        }
        check.group_alone();
    } else {
        check.required();
        check.sources();
        check.dependencies(circular);
        check.environment();
        check.tasks();
        check.paths();
        check.limits();
    }
    check.found
}

struct Check<'r> {
    recipe: &'r Recipe,
    place: &'r Place,
    found: Vec<Diagnostic>,
}

impl Check<'_> {
    fn at(&self, key: &str) -> Place {
        self.place.clone().key(key)
    }

    fn error(&mut self, at: Place, code: &'static str, message: impl Into<String>) {
        self.found.push(Diagnostic::error(code, message).at(at));
    }

    fn warning(&mut self, at: Place, code: &'static str, message: impl Into<String>) {
        self.found.push(Diagnostic::warning(code, message).at(at));
    }

    /// A group has `package` and `group` only.
    fn group_alone(&mut self) {
        let r = self.recipe;
        let given = [
            ("version", r.version.is_some()),
            ("sources", !r.sources.is_empty()),
            ("build_deps", !r.build_deps.is_empty()),
            ("runtime_deps", !r.runtime_deps.is_empty()),
            ("optional_deps", !r.optional_deps.is_empty()),
            ("env", !r.env.is_empty()),
            ("memory", r.memory.is_some()),
            ("limits", r.limits != Limits::default()),
            ("weight", r.weight.is_some()),
            ("jobs", r.jobs != Jobs::default()),
            ("timeout", r.timeout.is_some()),
            ("silent_timeout", r.silent_timeout.is_some()),
            ("tasks", r.tasks != Tasks::default()),
            ("provides", !r.provides.is_empty()),
            ("replaces", !r.replaces.is_empty()),
            ("direct", r.direct),
            ("accept_failed_check", r.accept_failed_check),
            ("source_date_epoch", r.source_date_epoch.is_some()),
            ("privileged", !r.privileged.is_empty()),
            ("owners", !r.owners.is_empty()),
        ];
        for (key, _) in given.into_iter().filter(|(_, given)| *given) {
            let message = format!("group `{}` may not have `{key}`", r.package);
            let hint = "a group is no package: it has `package` and `group` only";
            let at = self.place.clone().key_itself(key);
            self.found.push(Diagnostic::error("group-key", message).at(at).hint(hint));
        }
    }

    fn required(&mut self) {
        let package = &self.recipe.package;
        if self.recipe.version.is_none() {
            let message = format!("package `{package}` has no `version`");
            self.found.push(
                Diagnostic::error("missing-key", message)
                    .at(self.at("package"))
                    .hint("a package needs `version` and one task; a group has `group`"),
            );
        }
        if self.recipe.tasks == Tasks::default() {
            let message = format!("package `{package}` has no task");
            let hint = "it needs at least one of `configure`, `build`, `check` and `install` in `tasks`";
            self.found.push(Diagnostic::error("no-task", message).at(self.at("package")).hint(hint));
        }
    }

    fn sources(&mut self) {
        for (i, source) in self.recipe.sources.iter().enumerate() {
            let at = self.at("sources").index(i);
            if let Some(problem) = file_name_problem(&source.file) {
                self.error(at.clone().key("file"), "bad-file-name", problem);
            }
            if self.recipe.sources[..i].iter().any(|before| before.file == source.file) {
                let message = format!("two sources have the same file name, `{}`", source.file);
                self.error(at.clone().key("file"), "duplicate-entry", message);
            }
            self.mirrors(source, &at.key("from"));
        }
    }

    fn mirrors(&mut self, source: &SourceFile, place: &Place) {
        for (i, mirror) in source.from.iter().enumerate() {
            let at = place.clone().index(i);
            let MirrorEntry { url, apt, file, sha256: _ } = match mirror {
                Mirror::Url(url) => {
                    self.found.extend(url_problem(url).map(|diagnostic| diagnostic.at(at)));
                    continue;
                }
                Mirror::Entry(entry) => entry,
            };
            match (url, apt) {
                (Some(url), None) => {
                    let at = at.clone().key("url");
                    self.found.extend(url_problem(url).map(|diagnostic| diagnostic.at(at)));
                }
                (None, Some(apt)) => {
                    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b);
                    let begin = apt.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
                    if !begin || !apt.bytes().all(allowed) {
                        let message = format!("`{apt}` is not the name of a source package");
                        self.error(at.clone().key("apt"), "bad-value", message);
                    }
                }
                (Some(_), Some(_)) => {
                    let message = "a place has `url` or `apt`, not both";
                    self.error(at.clone().key_itself("apt"), "mirror", message);
                }
                (None, None) => self.error(at.clone(), "no-place", "this place has neither `url` nor `apt`"),
            }
            if let Some(problem) = file.as_deref().and_then(file_name_problem) {
                self.error(at.key("file"), "bad-file-name", problem);
            }
        }
    }

    fn dependencies(&mut self, circular: CircularHandling) {
        let r = self.recipe;
        let lists = [
            ("build_deps", &r.build_deps),
            ("runtime_deps", &r.runtime_deps),
            ("optional_deps", &r.optional_deps),
        ];
        for (key, list) in lists {
            let names: Vec<_> = list.iter().map(|Dependency { name, .. }| name).collect();
            let place = self.at(key);
            self.found.extend(twice(&names, &place));
            let Some(index) = names.iter().position(|name| **name == r.package) else { continue };
            let message = format!("package `{}` depends on itself", r.package);
            let diagnostic = match (key, circular) {
                (_, CircularHandling::Ignore) => continue,
                ("build_deps", CircularHandling::Error) => Diagnostic::error("self-dependency", message)
                    .hint("take it out, or set circular_handling: warn"),
                // What it needs to run or would use is no reason for an error (`plan::cycles`).
                (_, CircularHandling::Error | CircularHandling::Warn) => {
                    Diagnostic::warning("self-dependency", format!("{message}, which means nothing"))
                        .hint("it is built as if this were not there: take it out")
                }
            };
            self.found.push(diagnostic.at(place.index(index)));
        }
        self.found.extend(twice(&r.replaces, &self.at("replaces")));
    }

    fn environment(&mut self) {
        const OURS: [&str; 4] = ["DESTDIR", "SRC", "SYSROOT", "TOOLS"];
        for (name, value) in &self.recipe.env {
            let at = self.at("env");
            let letters = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            if !letters || name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
                let message = format!("`{name}` is not the name of an environment variable");
                let hint = "letters, digits and `_`; not a digit first";
                self.found
                    .push(Diagnostic::error("bad-value", message).at(at.clone().key_itself(name)).hint(hint));
            }
            if OURS.contains(&&**name) || name.starts_with("KILN_") {
                let message = format!("`{name}` is set by kiln");
                self.error(at.clone().key_itself(name), "reserved-variable", message);
            }
            if value.contains('\0') {
                self.error(at.key(name), "bad-value", "an environment variable may not hold a zero byte");
            }
        }
    }

    fn tasks(&mut self) {
        let Tasks { configure, build, check, install } = &self.recipe.tasks;
        let tasks = [("configure", configure), ("build", build), ("check", check), ("install", install)];
        for (name, task) in tasks {
            let Some(task) = task else { continue };
            let at = self.at("tasks").key(name);
            let script = match task {
                Task::Script(_) => at.clone(),
                Task::Entry(_) => at.clone().key("run"),
            };
            self.found.extend(script_problem(task.script()).map(|diagnostic| diagnostic.at(script)));
            if !task.required() && name != "check" {
                let message = format!("task `{name}` is always required");
                let hint = "only `check` may say `required: false`";
                self.found
                    .push(Diagnostic::error("required-task", message).at(at.key("required")).hint(hint));
            }
        }
    }

    fn paths(&mut self) {
        let r = self.recipe;
        for (key, paths) in [("provides", &r.provides), ("privileged", &r.privileged)] {
            let place = self.at(key);
            for (i, path) in paths.iter().enumerate() {
                if let Some(problem) = path_problem(path) {
                    self.error(place.clone().index(i), "bad-path", problem);
                }
            }
            self.found.extend(twice(paths, &place));
        }
        for (path, owner) in &r.owners {
            let at = self.at("owners");
            if let Some(problem) = path_problem(path) {
                self.error(at.clone().key_itself(path), "bad-path", problem);
            }
            let name = |t: &str| {
                !t.is_empty() && t.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
            };
            if !owner.split_once(':').is_some_and(|(user, group)| name(user) && name(group)) {
                let message = format!("`{owner}` is not an owner: write `USER:GROUP` or `UID:GID`");
                self.error(at.key(path), "bad-value", message);
            }
        }
        if r.tasks.install.is_some() || r.tasks == Tasks::default() {
            return;
        }
        if r.direct {
            self.error(self.at("direct"), "needs-install", "`direct` needs an `install` task");
        }
        if !r.provides.is_empty() {
            let at = self.place.clone().key_itself("provides");
            self.error(at, "needs-install", "`provides` needs an `install` task");
        }
        let idle = [
            ("replaces", !r.replaces.is_empty()),
            ("privileged", !r.privileged.is_empty()),
            ("owners", !r.owners.is_empty()),
        ];
        for (key, _) in idle.into_iter().filter(|(_, given)| *given) {
            let at = self.place.clone().key_itself(key);
            self.warning(at, "needs-install", format!("`{key}` does nothing without an `install` task"));
        }
    }

    fn limits(&mut self) {
        let r = self.recipe;
        if let (Some(memory), Some(limit)) = (r.memory, r.limits.memory)
            && memory > limit
        {
            let message = format!("`memory` ({memory}) is more than `limits.memory` ({limit}) allows");
            self.warning(self.at("memory"), "limit", message);
        }
        for (key, size) in [(self.at("memory"), r.memory), (self.at("limits").key("memory"), r.limits.memory)]
        {
            if size.is_some_and(|size| size.0 == 0) {
                self.error(key, "out-of-range", "nothing runs without memory");
            }
        }
        for (key, span) in [("timeout", r.timeout), ("silent_timeout", r.silent_timeout)] {
            if span.is_some_and(|span| span.0.is_zero()) {
                self.error(self.at(key), "out-of-range", format!("`{key}` must be more than 0"));
            }
        }
        if let (Some(timeout), Some(silent)) = (r.timeout, r.silent_timeout)
            && silent > timeout
        {
            let message = format!("`silent_timeout` ({silent}) is longer than `timeout` ({timeout})");
            self.warning(self.at("silent_timeout"), "limit", message);
        }
    }
}

/// Paths are relative to the sysroot and stay in it.
fn path_problem(path: &str) -> Option<String> {
    if path.is_empty() || path.contains('\0') {
        return Some("a path may not be empty or hold a zero byte".to_owned());
    }
    if path.starts_with('/') {
        return Some(format!("path `{path}` is absolute: paths are relative to the sysroot"));
    }
    let parts = || path.trim_end_matches('/').split('/');
    if parts().any(|part| part == "..") {
        return Some(format!("path `{path}` contains `..`"));
    }
    parts()
        .any(|part| matches!(part, "" | "."))
        .then(|| format!("path `{path}` contains an empty part or `.`"))
}

fn file_name_problem(name: &str) -> Option<String> {
    let bad = name.is_empty() || matches!(name, "." | "..") || name.len() > 255;
    let bad = bad || name.chars().any(|c| c == '/' || c.is_control());
    bad.then(|| format!("`{}` is not the name of a file", name.escape_debug()))
}

fn url_problem(url: &str) -> Option<Diagnostic> {
    let web = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let complete = match (web, url.strip_prefix("file:")) {
        (Some(rest), _) => !rest.starts_with('/') && !rest.is_empty(),
        (None, Some(path)) => !path.trim_start_matches('/').is_empty(),
        (None, None) => {
            let message = format!("`{}` is not a URL that kiln fetches", url.escape_debug());
            let hint = match url.strip_prefix("apt:") {
                Some(name) => format!("write it with keys: `{{apt: {}}}`", name.trim()),
                None => "`https://…`, `http://…` or `file:…`; `{apt: NAME}` for a source package".to_owned(),
            };
            return Some(Diagnostic::error("bad-url", message).hint(hint));
        }
    };
    let clean = !url.chars().any(|c| c.is_whitespace() || c.is_control()) || url.starts_with("file:");
    if complete && clean && !url.contains('\0') {
        return None;
    }
    Some(Diagnostic::error("bad-url", format!("`{}` is not a complete URL", url.escape_debug())))
}
