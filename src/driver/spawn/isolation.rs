//! What keeps confined jobs in: a network namespace with nothing but a loopback, and Landlock's rules of where to write.
//!
//! Owns: which of the two there is, the devices that every job may write to, a job's ruleset. Does not know: which
//! directories are a job's; how a process gets in (`sys::launch`).
//!
//! The namespace is made once and joined by each job. A ruleset is a job's own: it names the job's directories and its
//! output file, which `/dev/stderr` opens anew.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::thread;

use landlock::{
    ABI, AccessFs, LandlockStatus, PathBeneath, PathFd, Ruleset, RulesetAttr as _, RulesetCreated,
    RulesetCreatedAttr as _, RulesetError,
};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with};

use super::super::sys;
use super::Isolation;

/// Files and directories that every confined job may write to.
pub(in crate::driver) const DEVICES: [&str; 9] = [
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
    "/dev/tty",
    "/dev/ptmx",
    "/dev/pts",
    "/dev/shm",
];

/// The rights of this ABI are ruled, or as many of them as the kernel knows: everything that changes a file or a directory.
/// Commands to devices came later and are not: who gives one has to open the device.
const RULED: ABI = ABI::V3;
/// The first with which a file can be moved from one directory to another.
const LEAST: i32 = 2;

/// Both walls, where they could be had.
#[derive(Debug)]
pub(super) struct Walls {
    network: Option<OwnedFd>,
    /// `None`: no Landlock.
    devices: Option<Vec<PathFd>>,
}

impl Walls {
    /// No walls.
    pub(super) fn none() -> Self {
        Self { network: None, devices: None }
    }

    /// What this host has of them, and why it has not the rest. To be called while the thread can still start threads.
    pub(super) fn find() -> io::Result<(Self, Isolation)> {
        // On a thread of its own, because both change a thread for good.
        let trial =
            thread::Builder::new().name("sandbox".into()).spawn(|| (lonely_network(), try_landlock()))?;
        let (network, writes) =
            trial.join().map_err(|_| io::Error::other("the thread that tries the sandbox has failed"))?;
        let refused = |error: &io::Error| format!("cannot make a network namespace: {error}");
        let reason = network.as_ref().err().map(refused);
        // One that is missing needs no rule.
        let devices = || DEVICES.iter().filter_map(|device| PathFd::new(device).ok()).collect();
        let walls = Self { network: network.ok(), devices: writes.is_ok().then(devices) };
        Ok((walls, Isolation { writes, network: reason.map_or(Ok(()), Err) }))
    }

    /// The namespace that a confined job joins.
    pub(super) fn network(&self) -> Option<BorrowedFd<'_>> {
        self.network.as_ref().map(AsFd::as_fd)
    }

    /// The ruleset of a job that may write below these directories, and to these files.
    pub(super) fn ruleset(&self, writable: &[PathBuf], outputs: &[&File]) -> io::Result<Option<OwnedFd>> {
        let Some(devices) = &self.devices else { return Ok(None) };
        let mut rules = ruleset().map_err(io::Error::other)?;
        for device in devices {
            rules = allow(rules, device)?;
        }
        for directory in writable {
            rules = allow(rules, PathFd::new(directory).map_err(io::Error::other)?)?;
        }
        for output in outputs {
            rules = allow(rules, output)?;
        }
        Ok(rules.into())
    }
}

fn ruleset() -> Result<RulesetCreated, RulesetError> {
    Ruleset::default().handle_access(AccessFs::from_write(RULED))?.create()
}

/// Of a file only those rights count that files have.
fn allow(rules: RulesetCreated, place: impl AsFd) -> io::Result<RulesetCreated> {
    rules.add_rule(PathBeneath::new(place, AccessFs::from_write(RULED))).map_err(io::Error::other)
}

/// Binds the calling thread, so that it is known that a job can be bound; the ABI to go by, or why there is none.
fn try_landlock() -> Result<i32, String> {
    let status = ruleset().and_then(RulesetCreated::restrict_self);
    abi(status.map_err(|error| format!("Landlock refuses: {error}"))?.landlock)
}

fn abi(landlock: LandlockStatus) -> Result<i32, String> {
    let abi = match landlock {
        LandlockStatus::NotEnabled => return Err("Landlock is switched off in this kernel".to_owned()),
        LandlockStatus::NotImplemented => return Err("this kernel has no Landlock".to_owned()),
        LandlockStatus::Available { effective_abi, kernel_abi } => kernel_abi.unwrap_or(effective_abi as i32),
    };
    if abi < LEAST {
        return Err(format!(
            "this kernel's Landlock (ABI {abi}) lets nobody move a file to another directory"
        ));
    }
    Ok(abi)
}

/// A network namespace in which nothing is but a loopback, up.
fn lonely_network() -> io::Result<OwnedFd> {
    sys::unshare_network()?;
    raise_loopback()?;
    Ok(File::open("/proc/thread-self/ns/net")?.into())
}

/// `ip link set lo up`, in the words of netlink(7) and rtnetlink(7).
fn raise_loopback() -> io::Result<()> {
    const LENGTH: u32 = 32;
    const NEW_LINK: u16 = 16;
    const ERROR: u16 = 2;
    const REQUEST_AND_ACKNOWLEDGE: u16 = 1 | 4;
    /// The loopback is the first interface of every namespace.
    const FIRST: u32 = 1;
    const UP: u32 = 1;
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    let mut message = Vec::with_capacity(LENGTH as usize);
    message.extend(LENGTH.to_ne_bytes());
    message.extend(NEW_LINK.to_ne_bytes());
    message.extend(REQUEST_AND_ACKNOWLEDGE.to_ne_bytes());
    // Sequence and sender: nobody else talks here. Then family, padding and type: not told.
    message.extend([0; 12]);
    message.extend(FIRST.to_ne_bytes());
    // The flags, and which of them are to change.
    message.extend(UP.to_ne_bytes());
    message.extend(UP.to_ne_bytes());
    sendto(&socket, &message, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    let mut answer = [0_u8; 256];
    let (length, _) = recv(&socket, &mut answer, RecvFlags::empty())?;
    let kind = answer.get(4..6).map(|bytes| u16::from_ne_bytes([bytes[0], bytes[1]]));
    match (answer.get(16..20), kind) {
        (Some(&[a, b, c, d]), Some(ERROR)) if length >= 20 => match i32::from_ne_bytes([a, b, c, d]) {
            0 => Ok(()),
            error => Err(io::Error::from_raw_os_error(-error)),
        },
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn landlock_is_gone_by_from_the_abi_on_that_can_move_files() {
        let available =
            |effective_abi, kernel_abi| abi(LandlockStatus::Available { effective_abi, kernel_abi });
        assert!(abi(LandlockStatus::NotImplemented).unwrap_err().contains("no Landlock"));
        assert!(abi(LandlockStatus::NotEnabled).unwrap_err().contains("switched off"));
        assert!(available(ABI::V1, None).unwrap_err().contains("ABI 1"));
        assert_eq!(available(ABI::V2, None), Ok(2));
        assert_eq!(available(ABI::V7, Some(99)), Ok(99));
    }
}
