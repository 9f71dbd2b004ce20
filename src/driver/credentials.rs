//! Asks something as another user.
//!
//! Owns: the calling thread's user and groups for as long as that takes. Does not know: who asks what.
//!
//! User and groups belong to a thread; root stays its saved user, so that it can come back.

use std::io;

use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use super::spawn::User;

/// The thread's own user and groups.
#[derive(Debug)]
pub(super) struct Own {
    uid: Uid,
    gid: Gid,
    groups: Vec<Gid>,
}

/// The thread could not become itself again.
#[derive(Debug)]
pub(super) struct Stuck;

impl Own {
    pub(super) fn of_this_thread() -> io::Result<Self> {
        Ok(Self {
            uid: rustix::process::geteuid(),
            gid: rustix::process::getegid(),
            groups: rustix::process::getgroups()?,
        })
    }

    /// Runs `ask` as `user`.
    pub(super) fn with<T>(
        &self,
        user: &User,
        ask: impl FnOnce() -> io::Result<T>,
    ) -> Result<io::Result<T>, Stuck> {
        let result = self.become_user(user).and_then(|()| ask());
        self.restore().map(|()| result).map_err(|_| Stuck)
    }

    fn become_user(&self, user: &User) -> io::Result<()> {
        let invalid = || io::Error::new(io::ErrorKind::InvalidInput, "user or group id out of range");
        let group = |raw| if raw == u32::MAX { Err(invalid()) } else { Ok(Gid::from_raw(raw)) };
        let gid = group(user.gid)?;
        let groups = user.groups.iter().copied().map(group).collect::<io::Result<Vec<_>>>()?;
        if user.uid == u32::MAX {
            return Err(invalid());
        }
        let uid = Uid::from_raw(user.uid);
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
