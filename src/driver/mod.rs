//! The thin shell around the engine: one loop that turns what happens into events and effects into deeds.
//!
//! A turn of the loop drains everything that has happened, hands it to the engine, writes the records that
//! come out in one transaction, and only then acts on the effects.
//!
//! Owns: processes, files, the kernel, the clock. Does not know: why something is started or retried (the
//! engine does), who watches (`observe` gets the records and nothing else).
//!
//! Reading order: this file, `run` (the loop), `script` and `chores` (what tasks are), `work` (where they do it), `sandbox`
//! (what keeps them there), `store` (archives and the sysroot), `look` (what is there at a start), `checkpoint` and `restore`, then the tools: `spawn`, `fetch`, `unpack`, `stage`.

pub mod ahead;
pub mod answer;
pub mod beneath;
pub mod checkpoint;
mod chores;
pub(crate) mod credentials;
mod discard;
pub mod fetch;
mod identity;
pub mod leftover;
pub mod look;
pub mod path;
mod recover;
pub mod restore;
pub mod run;
mod sandbox;
mod script;
mod space;
mod spares;
pub mod spawn;
pub mod stage;
mod store;
mod sys;
pub mod tidy;
pub mod unpack;
mod verdict;
mod work;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use crate::config::load::Definition;
use crate::config::settings::Settings;
use crate::engine::Limits;
use crate::ledger::LedgerError;
use crate::ledger::lock::LockError;
use crate::ledger::place::StateDir;
use crate::plan::{PackageId, Plan};

pub(crate) use discard::TRASH as SCRATCH_BELOW_WORK;
pub(crate) use identity::wall_now;
use spawn::User;
pub(crate) use verdict::chain;

/// What to run.
#[derive(Debug, Clone)]
pub struct Job {
    /// The definition.
    pub definition: Arc<Definition>,
    /// Its plan.
    pub plan: Arc<Plan>,
    /// The host's settings.
    pub settings: Settings,
    /// Where everything is kept.
    pub state: StateDir,
    /// Job slots.
    pub jobs: u32,
    /// The only packages that are wanted, ascending; all where `None`.
    pub selection: Option<Vec<PackageId>>,
    /// Packages to be built although nothing changed, ascending.
    pub forced: Vec<PackageId>,
    /// Who scripts run as, once the host has been asked ([`Job::build_user`]).
    pub user: OnceLock<Option<User>>,
}

impl Job {
    /// What the engine is allowed.
    pub fn limits(&self) -> Limits {
        Limits { jobs: self.jobs, fetches: self.settings.fetches, grace: self.settings.grace.0 }
    }

    /// Who scripts run as: `build_user`, where kiln is root and one is set; else kiln's own user. The host is asked once.
    pub fn build_user(&self) -> Result<Option<User>, DriverError> {
        if let Some(user) = self.user.get() {
            return Ok(user.clone());
        }
        let user = identity::build_user(self)?;
        Ok(self.user.get_or_init(|| user).clone())
    }

    /// Refuses runs of another definition, which have another name: what is said or done of them by this one is wrong.
    pub fn must_be_of(&self, theirs: &Arc<str>) -> Result<(), DriverError> {
        let ours = &self.plan.definition;
        if theirs == ours {
            return Ok(());
        }
        let path = self.state.root().to_owned();
        Err(DriverError::OtherDefinition { path, theirs: Arc::clone(theirs), ours: Arc::clone(ours) })
    }
}

/// Why the driver itself could not go on. A task's failure is none of these.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// The state directory is in use.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The ledger cannot be read or written.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A directory of the state cannot be made or read.
    #[error("cannot use `{}`", .path.display())]
    State {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The state directory is another definition's, whose packages this one would take out of the sysroot.
    #[error(
        "`{}` holds runs of the definition `{theirs}`, and this one is `{ours}`: say another --state (or, if it was renamed, \
         say `name: {theirs}` in kiln.yaml)",
        .path.display()
    )]
    OtherDefinition {
        /// The directory.
        path: PathBuf,
        /// Of its last run.
        theirs: Arc<str>,
        /// Of this.
        ours: Arc<str>,
    },
    /// `sandbox: require`, and this host has not all of it.
    #[error("`sandbox: require`, but here tasks {missing}; `sandbox: on` runs with as much as there is")]
    Sandbox {
        /// What tasks could do.
        missing: String,
    },
    /// Something that every task needs could not be prepared.
    #[error("cannot {what}")]
    Prepare {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

pub(crate) fn prepare<E: std::error::Error + Send + Sync + 'static>(
    what: &'static str,
) -> impl FnOnce(E) -> DriverError {
    move |error| DriverError::Prepare { what, source: Box::new(error) }
}
