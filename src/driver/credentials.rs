//! Asks something as another user.
//!
//! Owns: the calling thread's user and groups for as long as that takes. Does not know: who asks what.
//!
//! User and groups belong to a thread; root stays its saved user, so that it can come back.

use std::io;

use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use super::spawn::{User, birth};
use super::sys::launch::Credentials;

/// The thread's own user and groups.
#[derive(Debug)]
pub(crate) struct Own {
    uid: Uid,
    gid: Gid,
    groups: Vec<Gid>,
}

impl Own {
    pub(crate) fn of_this_thread() -> io::Result<Self> {
        Ok(Self {
            uid: rustix::process::geteuid(),
            gid: rustix::process::getegid(),
            groups: rustix::process::getgroups()?,
        })
    }

    /// Runs `ask` as `user`.
    pub(crate) fn with<T>(&self, user: &User, ask: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let result = self.become_user(user).and_then(|()| ask());
        self.restore()?;
        result
    }

    fn become_user(&self, user: &User) -> io::Result<()> {
        let Credentials { uid, gid, groups } = birth::credentials(user)?;
        set_thread_groups(&groups)?;
        set_thread_res_gid(gid, gid, self.gid)?;
        set_thread_res_uid(uid, uid, self.uid)?;
        Ok(())
    }

    fn restore(&self) -> io::Result<()> {
        set_thread_res_uid(self.uid, self.uid, self.uid)?;
        set_thread_res_gid(self.gid, self.gid, self.gid)?;
        if rustix::process::getgroups()? != self.groups {
            set_thread_groups(&self.groups)?;
        }
        Ok(())
    }
}
