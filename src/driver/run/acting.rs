//! Recovery actions and checkpoints on threads beside the loop.
//!
//! Owns: how anything is done beside the loop; which of them are under way. Does not know: what they do (`recover`,
//! `checkpoint`), which are needed (the engine).

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::config::document::{CheckpointType, RecoveryAction};
use crate::engine::message::{Act, Acted, ActionResult, Then};
use crate::failure::{Category, Failure};
use crate::plan::PackageId;

use super::super::checkpoint::{self, Order};
use super::super::identity::written_now;
use super::super::{chores, verdict};
use super::{Message, Shift};

impl Shift<'_> {
    /// Sends what is made on a thread; where none can be started, what that failure makes.
    pub(super) fn beside(
        &self,
        name: &str,
        make: impl FnOnce() -> Message + Send + 'static,
        failed: impl FnOnce(Failure) -> Message,
    ) {
        let sender = self.driver.remote.0.clone();
        let spawned = std::thread::Builder::new().name(name.into()).spawn(move || drop(sender.send(make())));
        if let Err(error) = spawned {
            let _ = self.driver.remote.0.send(failed(no_thread(&error)));
        }
    }

    /// Does a recovery action, on a thread.
    pub(super) fn act(&mut self, act: Act) {
        let cancel = Arc::new(AtomicBool::new(false));
        self.acting.insert(act.package, Arc::clone(&cancel));
        let frees = act.action == RecoveryAction::FreeResources;
        let idle = if frees { self.idle_work() } else { Vec::new() };
        let recoverer = Arc::clone(&self.recoverer);
        let package = act.package;
        let done = move |acted| Message::Acted { package, acted };
        self.beside(
            "recover",
            move || done(recoverer.act(&act, &idle, &cancel)),
            |failure| {
                let examined = failure.evidence.text.into();
                done(Acted { result: ActionResult::Failed, examined, then: Then::GoOn })
            },
        );
    }

    /// Takes a checkpoint, on a thread.
    pub(super) fn checkpoint(
        &self,
        number: u32,
        kind: CheckpointType,
        phase: Option<Arc<str>>,
        packages: Vec<Arc<str>>,
    ) {
        let rule = &self.engine.plan().document.progress_tracking.checkpoints;
        let order = Order {
            number,
            kind,
            phase,
            packages,
            build_id: Arc::clone(&self.engine.state().build_id),
            taken_at: written_now(),
            installed: self.driver.past.installed.clone(),
            base: self.engine.state().coverage.taken,
            verify: rule.verification,
        };
        let chores = Arc::clone(&self.chores);
        let done = move |result| Message::Checkpointed { number, result };
        self.beside(
            "checkpoint",
            move || done(checkpoint::take(&chores, &order).map_err(|error| verdict::chain(&error).into())),
            |failure| done(Err(failure.evidence.text.into())),
        );
    }

    pub(super) fn cancel_act(&self, package: PackageId) {
        let flags = self.acting.get(&package).into_iter();
        let looks = self.look.iter().filter(|(task, _)| self.engine.plan().package_of(*task) == package);
        flags.chain(looks.map(|(_, flag)| flag)).for_each(|flag| chores::cancel(flag));
    }

    /// Packages with a work directory that nobody needs any more: nothing more is done for them, and no person is asked
    /// to look at it.
    fn idle_work(&self) -> Vec<Arc<str>> {
        let (plan, state) = (self.engine.plan(), self.engine.state());
        let there = std::fs::read_dir(self.scripts.state.work()).into_iter().flatten().flatten();
        let found = there.filter_map(|entry| plan.find(entry.file_name().to_str()?));
        let idle = found.filter(|id| state.package(*id).state.is_final());
        idle.map(|id| Arc::clone(&plan.package(id).name))
            .filter(|name| state.gate_of(name).is_none())
            .collect()
    }
}

fn no_thread(error: &io::Error) -> Failure {
    Failure::fact(Category::ProcessLimits, "kiln", format!("cannot start a thread: {error}"))
}
