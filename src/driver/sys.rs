//! System calls that neither std nor rustix offers as safe functions; here and below is the only `unsafe` of the crate.
//!
//! Owns: the proof of each call's safety. Does not know: why anybody calls it.
#![expect(unsafe_code, reason = "few calls that std and rustix have no safe function for")]

pub(crate) mod launch;

use std::{io, ptr};

use rustix::thread::UnshareFlags;

/// Marks every open descriptor from `first` up close-on-exec, whoever opened it.
pub(crate) fn close_on_exec_from(first: u32) -> io::Result<()> {
    // SAFETY: takes plain integers and changes only the close-on-exec flag of descriptors, which nothing in
    // this process relies on being clear.
    let result =
        unsafe { libc::close_range(first, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC.cast_signed()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// What becomes of a child that ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Children {
    /// It stays until it is waited for.
    WaitedFor,
    /// The kernel reaps it at once; waiting for it fails.
    Ignored,
}

/// Sets the disposition of SIGCHLD, which a process may have inherited either way.
pub(crate) fn set_children(children: Children) -> io::Result<()> {
    let disposition = match children {
        Children::WaitedFor => libc::SIG_DFL,
        Children::Ignored => libc::SIG_IGN,
    };
    // SAFETY: both dispositions are constants of the kernel, no handler of ours can run.
    let before = unsafe { libc::signal(libc::SIGCHLD, disposition) };
    if before == libc::SIG_ERR { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Blocks no signal in the calling thread; children inherit the mask.
pub(crate) fn unblock_signals() -> io::Result<()> {
    let mut none = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `sigemptyset` initialises the set that it is given a valid pointer to.
    unsafe { libc::sigemptyset(none.as_mut_ptr()) };
    // SAFETY: the set was initialised above, and a null pointer asks for no old mask.
    let error = unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut()) };
    if error == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(error)) }
}

/// Later children of the calling thread are born in a new pid namespace, the first one as its init.
/// After this the thread cannot start threads.
pub(crate) fn unshare_pids() -> io::Result<()> {
    // SAFETY: NEWPID changes nothing of the caller but the namespace of its children; descriptors stay shared.
    Ok(unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWPID) }?)
}

/// The process, which must have one thread, gets a user namespace of its own, in which nobody is mapped yet.
pub(crate) fn unshare_users() -> io::Result<()> {
    // SAFETY: NEWUSER changes only credentials; descriptors stay as they are.
    Ok(unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWUSER) }?)
}

/// The calling thread, and its later children, get a copy of the mount namespace, of root and of the working
/// directory.
pub(crate) fn unshare_mounts() -> io::Result<()> {
    // SAFETY: NEWNS implies FS, never FILES: descriptors stay shared with the other threads.
    Ok(unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }?)
}

/// The calling thread, and its later children, get a network namespace in which nothing is but a loopback that is down.
pub(crate) fn unshare_network() -> io::Result<()> {
    // SAFETY: NEWNET changes nothing of the caller but the network; descriptors, open sockets included, stay as they are.
    Ok(unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }?)
}
