//! Starts a process as `posix_spawn` does, and does in it what that cannot: joining namespaces and control groups,
//! another user, Landlock.
//!
//! Owns: a child between its birth and its program, and the proof that this is sound. Does not know: why anybody wants
//! any of it.
//!
//! Between fork and exec std can run a closure, but then it forks, and that copies the tables of all memory that kiln has
//! for each of thousands of small processes. This child borrows the memory instead (vfork), and the calling thread sleeps
//! until it is given back by exec or exit. So the child neither allocates, nor locks, nor panics; what it needs is made
//! before it is born.
#![expect(unsafe_code, reason = "std and rustix have no vfork, nor Landlock's last step")]

use std::convert::Infallible;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};
use std::{io, ptr};

use rustix::io::Errno;
use rustix::process::{Gid, Pid, Uid, chdir, setpgid};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
use rustix::thread::{
    LinkNameSpaceType, move_into_link_name_space, set_no_new_privs, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};

/// Signals' numbers end here.
const SIGNAL_LAST: c_int = 64;

/// A process to be started, in a process group of its own, with no signal blocked.
#[derive(Debug)]
pub(crate) struct Launch<'a> {
    /// Where its program may be, tried in this order.
    pub(crate) programs: Vec<CString>,
    pub(crate) argv: Vec<CString>,
    pub(crate) env: Vec<CString>,
    pub(crate) cwd: CString,
    pub(crate) input: BorrowedFd<'a>,
    pub(crate) output: BorrowedFd<'a>,
    pub(crate) errors: BorrowedFd<'a>,
    /// Files that it writes `0` to: control groups that it enters.
    pub(crate) doors: Vec<OwnedFd>,
    /// A network namespace that it joins.
    pub(crate) network: Option<BorrowedFd<'a>>,
    /// Who it becomes.
    pub(crate) user: Option<Credentials>,
    /// A Landlock ruleset that it is bound by; it can gain no privileges then.
    pub(crate) ruleset: Option<OwnedFd>,
}

/// Ids of a process.
#[derive(Debug)]
pub(crate) struct Credentials {
    pub(crate) uid: Uid,
    pub(crate) gid: Gid,
    pub(crate) groups: Vec<Gid>,
}

/// What could not be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Being kept in by the namespace or by Landlock.
    Confine,
    /// Anything else.
    Start,
}

/// It has not become its program.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) step: Step,
    pub(crate) source: io::Error,
}

/// What a child runs on until it is its program. Its functions need little of it.
#[derive(Debug)]
pub(crate) struct Stack(Box<[MaybeUninit<u128>]>);

impl Stack {
    pub(crate) fn new() -> Self {
        const BYTES: usize = 128 * 1024;
        Self(Box::new_uninit_slice(BYTES / size_of::<u128>()))
    }
}

/// What the child reads and, from `step` on, writes.
struct Birth<'a> {
    launch: &'a Launch<'a>,
    programs: &'a [*const c_char],
    argv: &'a [*const c_char],
    env: &'a [*const c_char],
    step: Step,
    errno: i32,
}

impl Launch<'_> {
    /// Starts it. The calling thread can start one at a time: it waits until the program runs.
    pub(crate) fn start(&self, stack: &mut Stack) -> Result<Pid, Refused> {
        let (programs, argv, env) = (pointers(&self.programs), pointers(&self.argv), pointers(&self.env));
        let mut birth =
            Birth { launch: self, programs: &programs, argv: &argv, env: &env, step: Step::Start, errno: 0 };
        let top = stack.0.as_mut_ptr_range().end;
        let pid = with_signals_blocked(|| {
            // SAFETY: `top` is the aligned end of memory that nobody else uses while this thread sleeps. `born` follows
            // the rules above, and only this thread's memory is its to write, `birth`; CLONE_VFORK keeps this thread,
            // and so `birth`, in place until the child has left this memory. Other threads go on, as they may: the
            // child touches nothing of theirs.
            let pid = unsafe {
                libc::clone(
                    born,
                    top.cast(),
                    libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD,
                    (&raw mut birth).cast(),
                )
            };
            if pid < 0 { Err(io::Error::last_os_error()) } else { Ok(pid) }
        });
        let start = |source| Refused { step: Step::Start, source };
        let pid = pid.and_then(|pid| Pid::from_raw(pid).ok_or_else(|| io::ErrorKind::InvalidData.into()));
        let pid = pid.map_err(start)?;
        // SAFETY: it is initialised; volatile, because the compiler does not see who has written to it.
        let (step, errno) = unsafe {
            (ptr::read_volatile(&raw const birth.step), ptr::read_volatile(&raw const birth.errno))
        };
        if errno == 0 {
            return Ok(pid);
        }
        // It has exited; nothing else can be said of its end.
        let _ = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
        Err(Refused { step, source: io::Error::from_raw_os_error(errno) })
    }
}

/// Pointers to the strings, and a null pointer.
fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect()
}

/// No handler of this process may run in the child, on memory that is not its own.
fn with_signals_blocked<T>(call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let (mut all, mut before) = (MaybeUninit::uninit(), MaybeUninit::uninit());
    // SAFETY: both sets are valid to write, and `all` is initialised by the first call.
    let error = unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr())
    };
    if error != 0 {
        return Err(io::Error::from_raw_os_error(error));
    }
    let result = call();
    // SAFETY: `before` was initialised by the call above, which succeeded.
    let error = unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), ptr::null_mut()) };
    if error == 0 { result } else { Err(io::Error::from_raw_os_error(error)) }
}

/// The life of the child.
extern "C" fn born(birth: *mut c_void) -> c_int {
    // SAFETY: it is the `Birth` that `start` keeps alive and does not touch meanwhile.
    let birth = unsafe { &mut *birth.cast::<Birth<'_>>() };
    let Err(errno) = become_program(birth);
    birth.errno = errno.raw_os_error();
    // SAFETY: runs nothing of this process, neither destructors nor buffers' flushes.
    unsafe { libc::_exit(127) }
}

/// Returns only when that is not to be. Of rustix only functions that are one system call each.
fn become_program(birth: &mut Birth<'_>) -> Result<Infallible, Errno> {
    let launch = birth.launch;
    forget_handlers();
    setpgid(None, None)?;
    // Before the user changes: that takes the right to do it.
    if let Some(network) = launch.network {
        birth.step = Step::Confine;
        move_into_link_name_space(network, Some(LinkNameSpaceType::Network))?;
        birth.step = Step::Start;
    }
    for door in &launch.doors {
        rustix::io::write(door, b"0")?;
    }
    if let Some(user) = &launch.user {
        // These are of the calling thread alone, so the parent keeps its own.
        set_thread_groups(&user.groups)?;
        set_thread_res_gid(user.gid, user.gid, user.gid)?;
        set_thread_res_uid(user.uid, user.uid, user.uid)?;
    }
    chdir::<&CStr>(&launch.cwd)?;
    dup2_stdin(launch.input)?;
    dup2_stdout(launch.output)?;
    dup2_stderr(launch.errors)?;
    if let Some(ruleset) = &launch.ruleset {
        birth.step = Step::Confine;
        set_no_new_privs(true)?;
        // SAFETY: takes plain integers and changes only the child's credentials.
        let result = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0) };
        if result != 0 {
            return Err(errno());
        }
        birth.step = Step::Start;
    }
    unblock_signals()?;
    // As in a shell: of those that are not there it says so only when none is.
    let mut refused = Errno::NOENT;
    for program in birth.programs {
        if program.is_null() {
            break;
        }
        // SAFETY: strings and arrays end with a null, and live until the parent goes on.
        unsafe { libc::execve(*program, birth.argv.as_ptr(), birth.env.as_ptr()) };
        match errno() {
            Errno::NOENT | Errno::NOTDIR => {}
            Errno::ACCESS => refused = Errno::ACCESS,
            other => return Err(other),
        }
    }
    Err(refused)
}

/// Exec does that, too, but signals are unblocked before it. Rust's runtime ignores SIGPIPE, which programs do not expect.
fn forget_handlers() {
    for signal in 1..=SIGNAL_LAST {
        let mut action = MaybeUninit::<libc::sigaction>::uninit();
        // SAFETY: it only reads, into memory that is valid to write. It refuses numbers that are libc's own.
        let read = unsafe { libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) };
        if read != 0 {
            continue;
        }
        // SAFETY: initialised by the call, which succeeded.
        let mut action = unsafe { action.assume_init() };
        let ignored = action.sa_sigaction == libc::SIG_IGN && signal != libc::SIGPIPE;
        if ignored || action.sa_sigaction == libc::SIG_DFL {
            continue;
        }
        action.sa_sigaction = libc::SIG_DFL;
        // SAFETY: the default is no function of ours. The child's table of handlers is its own.
        unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) };
    }
}

fn unblock_signals() -> Result<(), Errno> {
    let mut none = MaybeUninit::uninit();
    // SAFETY: the set is valid to write, and initialised by the first call.
    let result = unsafe {
        libc::sigemptyset(none.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut())
    };
    if result == 0 { Ok(()) } else { Err(errno()) }
}

/// The child's is the sleeping thread's.
fn errno() -> Errno {
    // SAFETY: libc's pointer to it is always valid.
    Errno::from_raw_os_error(unsafe { *libc::__errno_location() })
}
