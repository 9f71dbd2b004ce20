//! What the engine asks for, answered: files of the sysroot, what a phase requires, output.
//!
//! Does not know: why it is asked.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

use crate::engine::message::{Event, Resources, Time};
use crate::host;
use crate::plan::{PackageId, PhaseId, TaskId};

use super::super::{DriverError, prepare};
use super::{Message, Shift};

impl Shift<'_> {
    /// Looks at packages' files, on a thread: there may be gigabytes.
    pub(super) fn verify(&mut self, task: TaskId, packages: Vec<PackageId>) {
        let chores = Arc::clone(&self.chores);
        let cancel = Arc::new(AtomicBool::new(false));
        self.look = Some((task, Arc::clone(&cancel)));
        let verified = move |findings| Message::Verified { task, findings };
        self.beside(
            "verify",
            move || verified(chores.verify(&packages, &cancel)),
            |failure| verified(Err(failure)),
        );
    }

    pub(super) fn last_output(&self, task: TaskId) -> Event {
        let now = self.now();
        let quiet = self.in_flight.get(&task).and_then(|flying| {
            let start = flying.start;
            let package = &self.engine.plan().package(start.package).name;
            let log = self.scripts.state.log(&self.scripts.build_id, package, start.kind, start.attempt);
            let modified = std::fs::metadata(log).and_then(|m| m.modified()).ok()?;
            // A clock that was set back makes the output younger than now: it is taken for now.
            Some(SystemTime::now().duration_since(modified).unwrap_or_default())
        });
        let quiet = u64::try_from(quiet.unwrap_or_default().as_nanos()).unwrap_or(u64::MAX);
        Event::Output { task, last: Time(now.0.saturating_sub(quiet)) }
    }

    /// What there is for a phase. On a thread where archives have to be read.
    pub(super) fn measure(&mut self, phase: PhaseId) -> Result<(), DriverError> {
        let root = self.driver.job.state.root().to_owned();
        let disk = host::disk_available(&root).map_err(|source| DriverError::State { path: root, source })?;
        let memory = memory_available()?;
        let plan = Arc::clone(self.engine.plan());
        let sender = self.driver.remote.0.clone();
        let send = move |toolchain_verified| {
            let resources = Resources { disk, memory, toolchain_verified };
            let _ = sender.send(Message::Measured { phase, resources });
        };
        let toolchain = plan.find_phase("toolchain").filter(|_| plan.phase(phase).toolchain);
        match toolchain {
            Some(toolchain) => {
                let chores = Arc::clone(&self.chores);
                std::thread::Builder::new()
                    .name("verify".into())
                    .spawn(move || {
                        let names = plan.phase(toolchain).packages.iter();
                        let names = names.map(|id| &*plan.package(*id).name);
                        send(chores.store().archives_verify(names));
                    })
                    .map_err(prepare("start a thread"))?;
            }
            None => send(true),
        }
        Ok(())
    }
}

pub(super) fn memory_available() -> Result<u64, DriverError> {
    host::memory_available().map_err(prepare("read the available memory"))
}
