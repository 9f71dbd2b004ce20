//! Recovery actions: what is done between a failed attempt and the next.
//!
//! Owns: what each action looks at and changes, and whether more attempts make sense after it. Does not know: which actions a
//! failure asks for, nor when (`engine::recovery`, which does `retry_build` and looks at dependencies itself).
//!
//! A script of the definition's `recovery_actions` takes an action's place. Its exit status says what came of it: 0 done,
//! 10 nothing to do, 20 another attempt is pointless, 30 a person is needed, anything else failed; its last line of output
//! what it looked at.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::config::document::RecoveryAction;
use crate::config::recipe::Recipe;
use crate::engine::message::{Act, Acted, ActionResult, Then};
use crate::failure::{Category, line};
use crate::host::{self, Free};
use crate::words::{count, size};

use super::chores::{Chores, wanted};
use super::fetch::{Availability, Helpers};
use super::identity::wall_now;
use super::spawn::Exit;
use super::tidy::{self, Tidied};
use super::work::Work;
use super::{DriverError, verdict};

/// With less free than this a file system is as good as full, whatever was asked for.
const ROOM_BYTES: u64 = 16 * 1024 * 1024;
const ROOM_INODES: u64 = 64;
/// How long a script may take: nobody should wait for one that hangs.
const SCRIPT_MOST: Duration = Duration::from_mins(10);
/// 2020-01-01, nanoseconds since 1970: a clock that is earlier was never set.
const SET_CLOCK: i64 = 1_577_836_800_000_000_000;
/// Part of the last ten seconds, in per cent, in which somebody waited.
const PRESSED: f32 = 50.0;

/// All that an action needs.
#[derive(Debug)]
pub(super) struct Recoverer {
    pub(super) chores: Arc<Chores>,
    pub(super) helpers: Helpers,
    /// When the ledger was last written, nanoseconds since 1970.
    pub(super) last: i64,
}

impl Recoverer {
    /// Does one. `idle`: packages whose work directories nobody needs any more.
    pub(super) fn act(&self, act: &Act, idle: &[Arc<str>], cancel: &AtomicBool) -> Acted {
        let script = self.chores.definition.document.recovery_actions.get(&act.action);
        let acted = match script {
            Some(script) => self.script(act, script, cancel),
            None => self.built_in(act, idle, cancel),
        };
        acted.unwrap_or_else(|error| Acted {
            result: ActionResult::Failed,
            examined: verdict::chain(&error).into(),
            then: Then::GoOn,
        })
    }

    fn built_in(&self, act: &Act, idle: &[Arc<str>], cancel: &AtomicBool) -> Result<Acted, DriverError> {
        use RecoveryAction as A;
        match act.action {
            A::CleanupFailedBuild => self.clean_up(act),
            A::CheckResources => Ok(self.check_resources(act)),
            A::VerifyPackageAvailability => Ok(self.availability(act, cancel)),
            A::CheckAlternativeSources => Ok(self.alternatives(act)),
            A::ValidateVersions => Ok(self.versions(act)),
            A::FreeResources => self.free(act, idle),
            A::CleanupTemporaryFiles => self.temporary(act),
            A::ResetBuildEnvironment => self.reset(act),
            A::VerifySystemHealth => Ok(self.health()),
            A::RetryBuild | A::VerifyDependencies | A::RebuildDependencies => {
                Ok(nothing("the engine does this itself"))
            }
        }
    }

    fn recipe(&self, act: &Act) -> &Recipe {
        &self.chores.definition.recipes[self.chores.plan.package(act.package).recipe].value
    }

    fn work(&self, act: &Act) -> Work {
        Work::of(&self.chores.state, &self.recipe(act).package)
    }

    /// Deletes its work directory, and says how much was in it; `None`: there was none.
    fn delete_work(&self, act: &Act) -> Result<Option<u64>, DriverError> {
        let work = self.work(act);
        if !work.root().exists() {
            return Ok(None);
        }
        let mut tidied = Tidied::default();
        tidied.delete(work.root().to_owned())?;
        Ok(Some(tidied.freed))
    }

    /// Processes were ended when the attempt did; logs are kept.
    fn clean_up(&self, act: &Act) -> Result<Acted, DriverError> {
        let none_left = "no process of it is left";
        Ok(match self.delete_work(act)? {
            None => nothing(format!("{none_left}; it has no work directory")),
            Some(freed) => done(format!("{none_left}; work directory deleted, {}", size(freed))),
        })
    }

    fn check_resources(&self, act: &Act) -> Acted {
        let limits = &self.recipe(act).limits;
        let (room, full) = self.room();
        let then = if full { Then::Person } else { Then::GoOn };
        let mut texts = vec![room, memory()];
        texts.extend(limits.memory.map(|limit| format!("the task's limit is {limit}")));
        texts.extend(limits.pids.map(|limit| format!("the task's limit is {}", count(limit, "process"))));
        checked(&texts, then)
    }

    /// The cache, then each mirror.
    fn availability(&self, act: &Act, cancel: &AtomicBool) -> Acted {
        let sources = &self.recipe(act).sources;
        if sources.is_empty() {
            return nothing("it has no sources");
        }
        let mut result = ActionResult::Done;
        let mut texts = Vec::new();
        for source in sources {
            let text = match self.chores.fetcher.available(&wanted(source), cancel) {
                Ok(Availability { there, refused }) => {
                    if there.is_empty() {
                        result = ActionResult::Failed;
                    }
                    let has = if there.is_empty() { "nowhere".to_owned() } else { there.join(", ") };
                    let said = refused.iter().map(ToString::to_string);
                    let all: Vec<String> = std::iter::once(has).chain(said).collect();
                    format!("`{}`: {}", source.file, all.join("; "))
                }
                Err(error) => {
                    result = ActionResult::Failed;
                    verdict::chain(&error)
                }
            };
            texts.push(text);
        }
        Acted { result, examined: texts.join("; ").into(), then: Then::GoOn }
    }

    /// The fetcher asks hosts that failed last: so the next attempt begins with another one, where there is one.
    fn alternatives(&self, act: &Act) -> Acted {
        let sources = &self.recipe(act).sources;
        let mut texts = Vec::new();
        let mut changed = false;
        for source in sources {
            let source = wanted(source);
            let order = self.chores.fetcher.order(&source);
            let first = source.mirrors.first().map(|mirror| mirror.place.to_string());
            changed |= order.first() != first.as_ref();
            let mirrors = count(order.len(), "mirror");
            let next = order.first().map_or("none", |next| next);
            texts.push(format!("`{}`: {next} is asked first, of {mirrors}", source.file));
        }
        match (texts.is_empty(), changed) {
            (true, _) => nothing("it has no sources, and nothing else provides what it needs"),
            (false, true) => done(texts.join("; ")),
            (false, false) => nothing(texts.join("; ")),
        }
    }

    /// What is in the sysroot against what the recipe asks for.
    fn versions(&self, act: &Act) -> Acted {
        let recipe = self.recipe(act);
        let all = recipe.build_deps.iter().chain(&recipe.runtime_deps).chain(&recipe.optional_deps);
        let store = self.chores.store();
        let mut seen = 0;
        let mut wrong = Vec::new();
        for dependency in all {
            // What is not there is not wrong: the plan says what has to be.
            let Some(text) = store.version(&dependency.name) else { continue };
            seen += 1;
            if text.parse().is_ok_and(|version| !dependency.constraint.allows(&version)) {
                wrong.push(format!("`{}` is {text}, and `{dependency}` is asked for", dependency.name));
            }
        }
        if seen == 0 {
            return nothing("nothing that it names is in the sysroot");
        }
        if wrong.is_empty() {
            return nothing(format!("{} there, each of a version that will do", count(seen, "dependency")));
        }
        Acted { result: ActionResult::Failed, examined: wrong.join("; ").into(), then: Then::Pointless }
    }

    /// Finished work first: then sources that no recipe names.
    fn free(&self, act: &Act, idle: &[Arc<str>]) -> Result<Acted, DriverError> {
        let state = &self.chores.state;
        let mut tidied = Tidied::default();
        for package in idle {
            tidied.delete(state.work_of(package))?;
        }
        let works = tidied.deleted.len();
        // Without want of room a source may be wanted again, by an older recipe.
        if act.category == Category::DiskSpace {
            tidied.unnamed_sources(&self.chores.definition, state)?;
        }
        let sources = tidied.deleted.len() - works;
        let text = format!(
            "{} and {} deleted, {} freed",
            count(works, "work directory"),
            count(sources, "cached source"),
            size(tidied.freed)
        );
        // The next attempt begins without what this one has left.
        let own = tidy::held(self.work(act).root());
        let (room, full) = self.room_with(own);
        let examined = format!("{text}; {room}");
        let short = full && act.category == Category::DiskSpace;
        Ok(match (short, tidied.deleted.is_empty()) {
            (true, _) => {
                Acted { result: ActionResult::Failed, examined: examined.into(), then: Then::Person }
            }
            (false, true) => nothing(examined),
            (false, false) => done(examined),
        })
    }

    fn temporary(&self, act: &Act) -> Result<Acted, DriverError> {
        let mut tidied = Tidied::default();
        for path in tidy::children(&self.work(act).tmp())? {
            tidied.delete(path)?;
        }
        if tidied.deleted.is_empty() {
            return Ok(nothing("its TMPDIR is empty"));
        }
        Ok(done(format!(
            "{} below its TMPDIR deleted, {}",
            count(tidied.deleted.len(), "path"),
            size(tidied.freed)
        )))
    }

    fn reset(&self, act: &Act) -> Result<Acted, DriverError> {
        let state = &self.chores.state;
        state.create().map_err(|source| DriverError::State { path: state.root().to_owned(), source })?;
        let text = "the directories of the state are there";
        Ok(match self.delete_work(act)? {
            None => nothing(format!("{text}; it has no work directory")),
            Some(freed) => done(format!(
                "{text}; work directory deleted, {}: the next attempt makes it anew",
                size(freed)
            )),
        })
    }

    fn health(&self) -> Acted {
        let root = self.chores.state.root();
        let mut texts = Vec::new();
        let mut then = Then::GoOn;
        let mut need = |text: String, texts: &mut Vec<String>| {
            then = Then::Person;
            texts.push(text);
        };
        match tempfile::tempfile_in(root) {
            Ok(_) => texts.push(format!("`{}` can be written", root.display())),
            Err(error) => need(format!("`{}` cannot be written: {error}", root.display()), &mut texts),
        }
        match self.room() {
            (full, true) => need(full, &mut texts),
            (free, false) => texts.push(free),
        }
        texts.push(memory());
        texts.extend(pressure());
        let now = wall_now();
        if now < SET_CLOCK {
            need("the clock is not set".to_owned(), &mut texts);
        } else if now < self.last {
            let back = (self.last - now) / 1_000_000_000;
            need(format!("the clock has been set back by {back} s"), &mut texts);
        } else {
            texts.push("the clock is right as far as the ledger can tell".to_owned());
        }
        checked(&texts, then)
    }

    /// What is free where the state is, and whether that is as good as nothing.
    fn room(&self) -> (String, bool) {
        self.room_with(Free { bytes: 0, inodes: None })
    }

    /// The same when so much more will be free.
    fn room_with(&self, more: Free) -> (String, bool) {
        let root = self.chores.state.root();
        let free = match host::filesystem(root) {
            Ok(free) => free,
            Err(error) => return (format!("`{}`: {error}", root.display()), false),
        };
        let inodes = free.inodes.map(|inodes| format!(" and {}", count(inodes, "inode"))).unwrap_or_default();
        let text = format!("{}{inodes} free at `{}`", size(free.bytes), root.display());
        let then = Free {
            bytes: free.bytes.saturating_add(more.bytes),
            inodes: free.inodes.map(|inodes| inodes.saturating_add(more.inodes.unwrap_or(0))),
        };
        let full = then.bytes < ROOM_BYTES || then.inodes.is_some_and(|inodes| inodes < ROOM_INODES);
        (if full { format!("only {text}") } else { text }, full)
    }

    fn script(&self, act: &Act, script: &str, cancel: &AtomicBool) -> Result<Acted, DriverError> {
        let state = &self.chores.state;
        let recipe = self.recipe(act);
        let mut command = Command::new("/bin/sh");
        command.args(["-e", "-c", script]).current_dir(state.root());
        command
            .env("KILN_ACTION", act.action.as_str())
            .env("KILN_PACKAGE", &*recipe.package)
            .env("KILN_TASK", act.task.name())
            .env("KILN_ATTEMPT", act.attempt.to_string())
            .env("KILN_CATEGORY", act.category.name())
            .env("KILN_BUILD_ID", &*self.chores.build_id)
            .env("KILN_LOG", state.log(&self.chores.build_id, &recipe.package, act.task, act.attempt))
            .env("KILN_STATE", state.root())
            .env("SYSROOT", state.sysroot())
            .env("SRC", self.work(act).src());
        let plan = &self.chores.plan;
        tracing::info!(
            BUILD_ID = &*self.chores.build_id,
            PHASE = &*plan.phase(plan.package(act.package).phase).key,
            PACKAGE = &*recipe.package,
            TASK = act.task.name(),
            ATTEMPT = act.attempt,
            ACTION = act.action.as_str(),
            "{}: {}: its script runs",
            recipe.package,
            act.action
        );
        let began = Instant::now();
        let mut watch = || {
            if began.elapsed() > SCRIPT_MOST {
                cancel.store(true, Ordering::Relaxed);
            }
        };
        let ended = self.helpers.run(&command, state.root(), cancel, &mut watch);
        let ended = match ended {
            Ok(ended) => ended,
            Err(_) if began.elapsed() > SCRIPT_MOST => {
                let examined =
                    format!("its script was ended: it took longer than {} min", SCRIPT_MOST.as_secs() / 60);
                return Ok(Acted {
                    result: ActionResult::Failed,
                    examined: examined.into(),
                    then: Then::GoOn,
                });
            }
            Err(stop) => {
                let what = "run a script of `recovery_actions`";
                return Err(DriverError::Prepare { what, source: Box::new(stop) });
            }
        };
        let said = ended.said().map(|said| line::shown(said.as_bytes()));
        let said = said.unwrap_or_else(|| format!("its script said nothing; {}", ended.how()));
        let (result, then) = match ended.exit {
            Exit::Code(0) => (ActionResult::Done, Then::GoOn),
            Exit::Code(10) => (ActionResult::NothingToDo, Then::GoOn),
            Exit::Code(20) => (ActionResult::Failed, Then::Pointless),
            Exit::Code(30) => (ActionResult::Failed, Then::Person),
            Exit::Code(_) | Exit::Signal(_) | Exit::Lost => (ActionResult::Failed, Then::GoOn),
        };
        Ok(Acted { result, examined: said.into(), then })
    }
}

fn memory() -> String {
    match host::memory_available() {
        Ok(bytes) => format!("{} of memory available", size(bytes)),
        Err(error) => format!("the available memory cannot be read: {error}"),
    }
}

/// Only what is out of the ordinary. Kernels without PSI say nothing.
fn pressure() -> Vec<String> {
    use procfs::Current as _;
    let memory = procfs::MemoryPressure::current().map(|pressure| ("memory", pressure.some.avg10));
    let io = procfs::IoPressure::current().map(|pressure| ("io", pressure.some.avg10));
    let pressed = [memory.ok(), io.ok()].into_iter().flatten().filter(|(_, avg)| *avg > PRESSED);
    pressed.map(|(what, avg)| format!("{avg:.0} % of the last 10 s somebody waited for {what}")).collect()
}

fn checked(texts: &[String], then: Then) -> Acted {
    let result = match then {
        Then::GoOn => ActionResult::Done,
        Then::Pointless | Then::Person => ActionResult::Failed,
    };
    Acted { result, examined: texts.join("; ").into(), then }
}

fn done(examined: impl Into<Arc<str>>) -> Acted {
    Acted { result: ActionResult::Done, examined: examined.into(), then: Then::GoOn }
}

fn nothing(examined: impl Into<Arc<str>>) -> Acted {
    Acted { result: ActionResult::NothingToDo, examined: examined.into(), then: Then::GoOn }
}
