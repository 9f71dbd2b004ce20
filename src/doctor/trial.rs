//! One look at the host, for one job.
//!
//! Owns: what is tried when, and going through the table. Does not know: what is in it.

use std::sync::OnceLock;

use crate::driver::spawn::{Ground, User};
use crate::driver::{Job, chain};

use super::ground::{self, Tasks};
use super::missing::Done;
use super::need::{self, Need, Work};
use super::place::{self, Place};
use super::table::{Attempt, CHECKS, Row};
use super::{Check, Listening, MADE};

/// How thoroughly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// With a few calls of the kernel.
    Quick,
    /// Processes are started, and data are synced.
    Whole,
}

/// What came of a try; `None`: it was not tried.
pub(super) type Tried = Option<Done>;

/// What was tried once, and what rows of the table ask about.
#[derive(Debug)]
pub(super) struct Trial {
    job: Job,
    pub(super) listening: Listening,
    pub(super) user: Result<Option<User>, String>,
    pub(super) place: Place,
    /// Only where it is thorough.
    pub(super) tasks: Option<Tasks>,
    /// apt is asked for sources.
    pub(super) apt: bool,
    work: OnceLock<Work>,
}

impl Trial {
    pub(super) fn new(job: &Job, listening: Listening, depth: Depth) -> Self {
        let user = job.build_user().map_err(|error| chain(&error));
        let thorough = depth == Depth::Whole;
        let who = user.as_ref().ok().and_then(Option::as_ref);
        let made = MADE.lock();
        if thorough {
            place::sweep(&job.state);
        }
        let mut place = Place::attempt(&job.state, who, thorough);
        let apt = !job.settings.offline && need::any(job, need::names_apt);
        let tasks = thorough.then(|| ground::attempt(job, &place, who, apt));
        place.clear();
        drop(made);
        Self { job: job.clone(), listening, user, place, tasks, apt, work: OnceLock::new() }
    }

    pub(super) fn job(&self) -> &Job {
        &self.job
    }

    /// What would be built. Looked up when somebody asks: it means reading the ledger.
    pub(super) fn work(&self) -> &Work {
        self.work.get_or_init(|| Work::of(&self.job))
    }

    /// What comes of each row of the table; of those that are about the ground alone, if that is told.
    pub(super) fn checks(&self, told: Option<&Ground>) -> Vec<Check> {
        let ground = told.or(self.tasks.as_ref().and_then(|tasks| tasks.ground.as_ref().ok()));
        let made = |row: &Row| {
            let tried = match row.attempt {
                Attempt::Host(attempt) if told.is_none() && (row.applies)(self) => attempt(self),
                Attempt::Ground(attempt) if (row.applies)(self) => ground.map(attempt),
                Attempt::Host(_) | Attempt::Ground(_) => None,
            };
            let missing = tried?.err();
            // Who needs it costs more than to see that it is there.
            let need = if missing.is_some() || self.tasks.is_some() { (row.need)(self) } else { Need::No };
            Some(row.check(self, missing, need))
        };
        CHECKS.iter().filter_map(made).collect()
    }
}
