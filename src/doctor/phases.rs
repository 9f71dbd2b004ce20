//! What phases require, against what there is now.
//!
//! Owns: that comparison. Does not know: when a phase starts; the engine compares anew then.

use serde::Serialize;

use crate::driver::Job;
use crate::host;
use crate::plan::{Phase, PhaseId};
use crate::words::size;

use super::missing::mount_of;
use super::need::Work;

/// One requirement of a phase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Requirement {
    /// The phase.
    pub phase: String,
    /// `disk_space`, `memory` or `toolchain`.
    pub requirement: &'static str,
    /// Of `toolchain` there are no bytes.
    pub required_bytes: Option<u64>,
    /// What there is; `None` where that cannot be read.
    pub available_bytes: Option<u64>,
    /// There is enough.
    pub met: bool,
    /// Something of the phase would be built, and nothing that is built before brings it.
    pub needed: bool,
    /// What can be done; `None` where nothing is to be done.
    pub help: Option<String>,
}

/// All requirements of all phases, in the order in which they run.
pub(super) fn requirements(job: &Job, work: &Work) -> Vec<Requirement> {
    let plan = &job.plan;
    let state = job.state.nearest().unwrap_or(job.state.root());
    let (disk, memory) = (host::disk_available(state).ok(), host::memory_available().ok());
    let mut all = Vec::new();
    for id in plan.phase_ids() {
        let phase = plan.phase(id);
        let needed = phase.packages.iter().any(|id| work.is_work(*id));
        let mut bytes =
            |requirement, required: Option<u64>, available: Option<u64>, help: &dyn Fn(u64) -> String| {
                let Some(required) = required else { return };
                let lacking = required.saturating_sub(available.unwrap_or(0));
                all.push(Requirement {
                    phase: phase.key.to_string(),
                    requirement,
                    required_bytes: Some(required),
                    available_bytes: available,
                    met: lacking == 0,
                    needed,
                    help: (lacking > 0).then(|| help(lacking)),
                });
            };
        bytes("disk_space", phase.disk_space, disk, &|lacking| {
            format!(
                "free {} on `{}` (`kiln clean` deletes what it does not need), or --state DIR names another disk",
                size(lacking),
                mount_of(state).display()
            )
        });
        bytes("memory", phase.memory, memory, &|lacking| {
            format!(
                "end what uses {} of memory, or raise the limit of kiln's control group (`MemoryMax=` of its unit)",
                size(lacking)
            )
        });
        if phase.toolchain {
            all.push(toolchain(job, work, id, phase, needed));
        }
    }
    all
}

fn toolchain(job: &Job, work: &Work, id: PhaseId, phase: &Phase, needed: bool) -> Requirement {
    let plan = &job.plan;
    let earlier = plan.find_phase("toolchain").filter(|toolchain| *toolchain < id);
    let met = earlier.is_some_and(|it| plan.phase(it).packages.iter().all(|id| work.is_there(*id)));
    let help = match earlier {
        _ if met => None,
        Some(_) => Some("the phase `toolchain` is built before".to_owned()),
        None => Some("name a phase of a lower `order` toolchain, or leave the requirement out".to_owned()),
    };
    Requirement {
        phase: phase.key.to_string(),
        requirement: "toolchain",
        required_bytes: None,
        available_bytes: None,
        met,
        needed: needed && earlier.is_none(),
        help,
    }
}
