//! Which permissions kiln has here: what is missing, how it is granted, what kiln does without it; and what phases require.
//!
//! Owns: the framework's five permissions, the table of what belongs to them (`table`), how each of that is tried, and which of
//! it a definition needs. Does not know: how a run goes (`driver`), how anything is printed.
//!
//! Nothing is concluded from user ids: everything is tried, in the way in which a run will do it, and nothing is left of that.
//! A run tries at its start what costs next to nothing ([`Permissions::before_a_run`]) and takes the rest from its own spawner,
//! which had to try all that anyhow. Whoever has more time ([`Permissions::examine`]) also starts tasks, makes a ledger and asks
//! apt. All of it can be done beside a live run of the same state directory.
//!
//! **Invariant**: a run is refused only for what the packages that it would build cannot do without.

mod ground;
mod missing;
mod need;
mod phases;
mod place;
mod table;
#[cfg(test)]
mod tests;
mod trial;

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::Serialize;

pub use crate::config::permission::{PERMISSIONS, Permission};
use crate::driver::Job;
use crate::driver::spawn::Ground;
use crate::words::listed;

use trial::{Depth, Trial};

pub use phases::Requirement;
pub use table::{CHECKS, Row};

/// Held while something is there that has been made for a try.
static MADE: Mutex<()> = Mutex::new(());

/// Calls `end` when nothing is left of any try, and lets none begin before that returns.
pub fn when_nothing_is_left<T>(end: impl FnOnce() -> T) -> T {
    let _made = MADE.lock();
    end()
}

/// One thing that was tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Whose it is.
    #[serde(skip)]
    pub permission: Permission,
    /// Its name.
    pub check: &'static str,
    /// It worked.
    pub granted: bool,
    /// What would be built cannot do without.
    pub needed: bool,
    /// The packages because of which it is needed, where it is not for all.
    pub needed_by: Vec<Arc<str>>,
    /// What the system said; `None` where it worked, as the following.
    pub why: Option<String>,
    /// What grants it.
    pub grant: Option<String>,
    /// The same as settings of a systemd unit, where there are any.
    pub unit: Option<String>,
    /// What kiln does without it.
    pub without: Option<String>,
    /// It was refused for good; other failures, such as a full disk, a run deals with itself.
    #[serde(skip)]
    refused: bool,
}

/// Where the server's address stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listening {
    /// Nothing is served.
    Never,
    /// It is listened to.
    Already,
    /// It would be; `explicit`: somebody has named it, and gets no run without.
    Would {
        /// The address.
        address: SocketAddr,
        /// It is no default.
        explicit: bool,
    },
}

/// What was tried, apart from what tasks run on.
#[derive(Debug)]
pub struct Permissions {
    trial: Trial,
    checks: Vec<Check>,
}

/// All there is to say.
#[derive(Debug, Serialize)]
pub struct Report {
    /// All that is needed is granted, the requirements of all phases with work are met, and nothing is unknown.
    pub ok: bool,
    /// In the framework's order.
    pub permissions: Vec<Granted>,
    /// In the order in which they run.
    pub phases: Vec<Requirement>,
    /// Why the state directory could not be looked at, and everything was taken to be built.
    pub unknown: Option<String>,
}

/// One permission.
#[derive(Debug, Serialize)]
pub struct Granted {
    /// Which.
    pub permission: Permission,
    /// All of its checks are.
    pub granted: bool,
    /// One of them is.
    pub needed: bool,
    /// What was tried.
    pub checks: Vec<Check>,
}

impl Permissions {
    /// Tries what costs next to nothing, before anything is done.
    pub fn before_a_run(job: &Job, listening: Listening) -> Self {
        Self::of(Trial::new(job, listening, Depth::Quick))
    }

    /// Tries everything, and starts tasks for that. One that is no root's must have entered its user namespace before.
    pub fn examine(job: &Job, listening: Listening) -> Self {
        Self::of(Trial::new(job, listening, Depth::Whole))
    }

    fn of(trial: Trial) -> Self {
        let checks = trial.checks(None);
        Self { trial, checks }
    }

    /// Everything that was tried; tasks run on this `ground`, if anybody knows.
    fn checks(&self, ground: Option<&Ground>) -> Vec<Check> {
        let mut checks = self.checks.clone();
        if let Some(ground) = ground {
            checks.extend(self.trial.checks(Some(ground)));
        }
        checks
    }

    /// Whether all that belongs to each of [`PERMISSIONS`] is granted.
    pub fn granted(&self, ground: Option<&Ground>) -> [bool; 5] {
        let checks = self.checks(ground);
        PERMISSIONS.map(|permission| {
            checks.iter().filter(|check| check.permission == permission).all(|check| check.granted)
        })
    }

    /// Why there can be no run, and what grants what it lacks. `None`: nothing is in its way.
    pub fn refusal(&self, ground: Option<&Ground>) -> Option<String> {
        let checks = self.checks(ground);
        let lacking: Vec<&Check> = checks.iter().filter(|check| check.needed && check.refused).collect();
        (!lacking.is_empty()).then(|| in_words(&lacking).join("\n"))
    }

    /// All there is to say, requirements of phases included.
    pub fn report(&self) -> Report {
        let checks = self.checks(None);
        let permissions = PERMISSIONS.map(|permission| {
            let checks: Vec<Check> = checks.iter().filter(|c| c.permission == permission).cloned().collect();
            let granted = checks.iter().all(|check| check.granted);
            Granted { permission, granted, needed: checks.iter().any(|check| check.needed), checks }
        });
        let phases = phases::requirements(self.trial.job(), self.trial.work());
        let granted = checks.iter().all(|check| check.granted || !check.needed);
        let unknown = self.trial.work().unknown.clone();
        Report {
            // A run looks at the same, and ends where it cannot.
            ok: granted && unknown.is_none() && phases.iter().all(|phase| phase.met || !phase.needed),
            permissions: permissions.into(),
            phases,
            unknown,
        }
    }
}

/// What is missing, and what to do, for people: once for all that is missing for the same reason.
pub fn in_words(missing: &[&Check]) -> Vec<String> {
    let is_first = |at: usize| missing[..at].iter().all(|earlier| earlier.why != missing[at].why);
    let firsts = (0..missing.len()).filter(|at| is_first(*at));
    firsts
        .map(|at| {
            let others = missing[at + 1..].iter().filter(|other| other.why == missing[at].why);
            let also: Vec<String> = others.map(|other| other.title()).collect();
            missing[at].in_words(&also)
        })
        .collect()
}

impl Check {
    fn title(&self) -> String {
        format!("{} ({})", self.check, self.permission.name())
    }

    /// `also`: what else is missing for this reason.
    fn in_words(&self, also: &[String]) -> String {
        let by: Vec<&str> = self.needed_by.iter().map(|name| &**name).collect();
        let needed = match (self.needed, by.is_empty()) {
            (true, true) => "needed".to_owned(),
            (true, false) => format!("needed by {}", listed(&by, 3)),
            (false, _) => "not needed".to_owned(),
        };
        let mut text = format!("{}: missing, {needed}", self.title());
        let also = (!also.is_empty()).then(|| also.join(", "));
        let lines = [
            ("why", &self.why),
            ("also", &also),
            ("grant", &self.grant),
            ("unit", &self.unit),
            ("without", &self.without),
        ];
        for (name, said) in lines {
            let name = format!("{name}:");
            text.extend(said.iter().map(|said| format!("\n  {name:<8} {said}")));
        }
        text
    }
}
