//! What belongs to each permission, as data.
//!
//! Owns: every check's name, when it applies, who needs it, what grants it, what kiln does without it. Does not know: how
//! anything is tried.
//!
//! In texts `STATE`, `MOUNT`, `ME` and `BUILD_USER` stand for the state directory, where its file system is mounted, kiln's own
//! user and the user that scripts run as.

use std::io::ErrorKind;

use rustix::process::geteuid;

use crate::config::scalar::Switch;
use crate::config::settings::{LogFormat, Sandbox};
use crate::driver::chain;
use crate::driver::fetch::apt;
use crate::driver::spawn::{Ground, kernel_log};
use crate::web::{self, WebError, control};

use super::missing::{Done, Grant, Missing, mount_of};
use super::need::{self, Need, any_work, by};
use super::trial::{Trial, Tried};
use super::{Check, Listening, MADE, Permission, ground};

/// A check.
#[derive(Debug)]
pub struct Row {
    /// Whose it is.
    pub permission: Permission,
    /// Its name.
    pub check: &'static str,
    /// What is tried.
    pub what: &'static str,
    pub(super) applies: fn(&Trial) -> bool,
    pub(super) attempt: Attempt,
    /// Who cannot do without.
    pub(super) need: fn(&Trial) -> Need,
    /// What grants it, unless the try itself knows better.
    pub grant: &'static str,
    /// The same as settings of a systemd unit.
    pub unit: Option<&'static str>,
    /// What kiln does without.
    pub without: &'static str,
}

/// How it is tried.
#[derive(Debug, Clone, Copy)]
pub(super) enum Attempt {
    /// `None`: only by who has time.
    Host(fn(&Trial) -> Tried),
    /// By looking at what tasks run on.
    Ground(fn(&Ground) -> Done),
}

use Attempt::{Ground as OnGround, Host};
use Permission::{
    BuildDirectoryAccess, LogManagement, PackageManagement, ResourceControl, SystemConfiguration,
};

/// Grants namespaces to an ordinary user.
const NAMESPACES: &str = "run kiln as root; or let users make namespaces: `sysctl user.max_user_namespaces=10000` (Debian also \
                          `kernel.unprivileged_userns_clone=1`, Ubuntu `kernel.apparmor_restrict_unprivileged_userns=0`)";
const NAMESPACES_UNIT: &str = "RestrictNamespaces=user pid mnt net, RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK, \
                               CapabilityBoundingSet=CAP_SYS_ADMIN CAP_NET_ADMIN";
const WRITABLE: &str = "`install -d -o ME STATE` as root; or --state DIR names another directory";
const WRITABLE_UNIT: &str = "StateDirectory=kiln, or ReadWritePaths=STATE";

/// All of them, in the order in which they are shown.
pub const CHECKS: [Row; 21] = [
    Row {
        permission: BuildDirectoryAccess,
        check: "state_directory",
        what: "make files in the state directory and in the source cache, and a ledger",
        applies: |_| true,
        attempt: Host(|trial| Some(trial.place.state.clone())),
        need: |_| Need::Yes,
        grant: WRITABLE,
        unit: Some(WRITABLE_UNIT),
        without: "nothing can be recorded, and so nothing is built",
    },
    Row {
        permission: BuildDirectoryAccess,
        check: "work_directory",
        what: "make, write, lock, rename and delete files in the directory of work directories",
        applies: |_| true,
        attempt: Host(|trial| Some(trial.place.work.clone())),
        need: |trial| any_work(trial, need::has_script),
        grant: "`install -d -o ME STATE/work` as root; or --state DIR names another directory",
        unit: Some(WRITABLE_UNIT),
        without: "no task has a place to work in",
    },
    Row {
        permission: BuildDirectoryAccess,
        check: "build_user",
        what: "act as `build_user`: give it a work directory, let it write there, end its tasks, delete what it leaves",
        applies: |trial| !matches!(trial.user, Ok(None)),
        attempt: Host(build_user),
        need: |trial| if trial.user.is_err() { Need::Yes } else { any_work(trial, need::has_script) },
        grant: "run kiln as root, and let BUILD_USER through to STATE (`namei -l STATE` shows where it ends); or unset `build_user`",
        unit: Some(
            "User=root, CapabilityBoundingSet=CAP_CHOWN CAP_DAC_OVERRIDE CAP_KILL CAP_SETUID CAP_SETGID",
        ),
        without: "no task can run as `build_user`",
    },
    Row {
        permission: BuildDirectoryAccess,
        check: "execute",
        what: "execute a file in the work directory, as scripts do with `./configure`",
        applies: |_| true,
        attempt: Host(execute),
        need: |trial| by(trial, need::executes),
        grant: "mount -o remount,exec MOUNT",
        unit: Some("no NoExecPaths= that has STATE, or ExecPaths=STATE"),
        without: "whatever a task has unpacked or built cannot be run, and tasks that try to fail",
    },
    Row {
        permission: BuildDirectoryAccess,
        check: "links",
        what: "make hard and symbolic links, set modes",
        applies: |_| true,
        attempt: Host(|trial| Some(trial.place.more.as_ref()?.links.clone())),
        need: |_| Need::No,
        grant: "--state DIR names a directory on a file system of Linux's own: ext4, xfs, btrfs",
        unit: None,
        without: "checkpoints copy archives; packages that install links cannot be merged",
    },
    Row {
        permission: PackageManagement,
        check: "merge",
        what: "make files in the directory of archives and in the sysroot",
        applies: |_| true,
        attempt: Host(|trial| Some(trial.place.merge.clone())),
        need: |trial| any_work(trial, |recipe| recipe.tasks.install.is_some()),
        grant: "`install -d -o ME STATE/packages STATE/sysroot` as root; or --state DIR names another directory",
        unit: Some(WRITABLE_UNIT),
        without: "no package can be merged",
    },
    Row {
        permission: PackageManagement,
        check: "owners",
        what: "give files to other users",
        applies: |_| true,
        attempt: Host(|trial| Some(trial.place.more.as_ref()?.owners.clone())),
        // Where kiln is no root it does not try to.
        need: |trial| if geteuid().is_root() { by(trial, |it| !it.owners.is_empty()) } else { Need::No },
        grant: "run kiln as root",
        unit: Some("User=root, CapabilityBoundingSet=CAP_CHOWN CAP_FOWNER CAP_FSETID"),
        without: "an ordinary user's sysroot has files of that user alone (archives record the right owners); as root, packages \
                  with `owners` cannot be merged",
    },
    Row {
        permission: PackageManagement,
        check: "setuid_bits",
        what: "set a file's setuid and setgid bits, where a recipe has such files under `privileged`",
        applies: |trial| need::any(trial.job(), need::has_setuid),
        attempt: Host(|trial| Some(trial.place.more.as_ref()?.setuid_bits.clone())),
        need: |trial| by(trial, need::has_setuid),
        grant: "run kiln where nothing forbids chmod such bits (a container's seccomp profile, for instance)",
        unit: Some("RestrictSUIDSGID=no"),
        without: "packages with setuid or setgid files cannot be installed",
    },
    Row {
        permission: PackageManagement,
        check: "device_nodes",
        what: "make a device node, where a recipe has some under `privileged` (paths below `dev`)",
        applies: |trial| need::any(trial.job(), need::has_devices),
        attempt: Host(|trial| Some(trial.place.more.as_ref()?.device_nodes.clone())),
        need: |trial| by(trial, need::has_devices),
        grant: "run kiln as root, and outside of containers",
        unit: Some("User=root, CapabilityBoundingSet=CAP_MKNOD, PrivateDevices=no, DevicePolicy=auto"),
        without: "packages with device nodes cannot be installed",
    },
    Row {
        permission: PackageManagement,
        check: "apt",
        what: "read the system's entries with a private configuration of apt, where a recipe names `apt:` sources",
        applies: |trial| trial.apt,
        attempt: Host(apt_sources),
        need: |trial| by(trial, |recipe| need::lacks_without_apt(recipe, &trial.job().state)),
        grant: "`apt-get install apt`, with entries in /etc/apt; or fetch elsewhere (`kiln fetch`), and copy STATE/sources",
        unit: None,
        without: "sources come from the cache and from other mirrors alone",
    },
    Row {
        permission: ResourceControl,
        check: "tasks",
        what: "start a task with all that follows, and kill it",
        applies: |_| true,
        attempt: Host(tasks),
        need: |trial| any_work(trial, need::has_script),
        grant: "what the reason names",
        unit: Some("SystemCallFilter=@system-service @mount @sandbox"),
        without: "nothing can be built",
    },
    Row {
        permission: ResourceControl,
        check: "control_groups",
        what: "make control groups with memory and pids (`cgroups: on`)",
        applies: |trial| trial.job().settings.cgroups == Switch::On,
        attempt: OnGround(ground::control_groups),
        need: |_| Need::No,
        grant: "`systemd-run --scope -p Delegate=yes kiln run` (with --user where kiln is no root); with cgroups version 1, run kiln \
                as root; `cgroups: off` does without",
        unit: Some("Delegate=memory pids"),
        without: "tasks share kiln's control group: `limits` are not enforced, memory is known of the largest process alone, and \
                  a lack of memory is told from what tasks print",
    },
    Row {
        permission: ResourceControl,
        check: "pid_namespace",
        what: "start tasks in a pid namespace",
        applies: |_| true,
        attempt: OnGround(ground::pid_namespace),
        need: |_| Need::No,
        grant: NAMESPACES,
        unit: Some(NAMESPACES_UNIT),
        without: "if kiln is killed, what its tasks have left runs until the next start ends it",
    },
    Row {
        permission: ResourceControl,
        check: "landlock",
        what: "limit by Landlock where tasks may write (`sandbox: on`)",
        applies: sandboxed,
        attempt: OnGround(ground::landlock),
        need: required,
        grant: "boot Linux 5.19 or later with Landlock among its modules (`lsm=landlock,…`; /sys/kernel/security/lsm lists them); \
                `sandbox: off` does without",
        unit: Some("SystemCallFilter=@system-service @sandbox"),
        without: "tasks may write wherever their user may",
    },
    Row {
        permission: ResourceControl,
        check: "network_namespace",
        what: "start tasks in a network namespace with a loopback alone (`sandbox: on`)",
        applies: sandboxed,
        attempt: OnGround(ground::network_namespace),
        need: required,
        grant: NAMESPACES,
        unit: Some(NAMESPACES_UNIT),
        without: "tasks have the host's network",
    },
    Row {
        permission: LogManagement,
        check: "logs",
        what: "make files in the directory for what tasks print",
        applies: |_| true,
        attempt: Host(|trial| Some(trial.place.logs.clone())),
        need: |trial| any_work(trial, need::has_script),
        grant: "`install -d -o ME STATE/logs` as root; or --state DIR names another directory",
        unit: Some(WRITABLE_UNIT),
        without: "no task can start, since what it prints could not be kept",
    },
    Row {
        permission: LogManagement,
        check: "journal",
        what: "reach journald, unless `log_format` is text or json",
        applies: |trial| !matches!(trial.job().settings.log_format, Some(LogFormat::Text | LogFormat::Json)),
        attempt: Host(|_| Some(journal())),
        need: |_| Need::No,
        grant: "`systemctl start systemd-journald.socket`; a container needs /run/systemd/journal/socket of its host; `log_format: text` \
                does without",
        unit: Some(
            "RestrictAddressFamilies=AF_UNIX; with RootDirectory= also MountAPIVFS=yes and BindLogSockets=yes",
        ),
        without: "messages go to standard error",
    },
    Row {
        permission: LogManagement,
        check: "kernel_log",
        what: "read the kernel's log, for the names of processes that it kills for memory (`cgroups: on`)",
        applies: |trial| trial.job().settings.cgroups == Switch::On,
        attempt: Host(|_| {
            Some(
                kernel_log()
                    .map(drop)
                    .map_err(|error| Missing::because(format!("cannot open /dev/kmsg: {error}"))),
            )
        }),
        need: |_| Need::No,
        grant: "`sysctl kernel.dmesg_restrict=0`, or run kiln as root",
        unit: Some("AmbientCapabilities=CAP_SYSLOG, ProtectKernelLogs=no, DeviceAllow=/dev/kmsg r"),
        without: "of a task that lacked memory it is known that processes were killed, and not which",
    },
    Row {
        permission: SystemConfiguration,
        check: "private_proc",
        what: "mount a /proc of the tasks' own, in a mount namespace",
        applies: |_| true,
        attempt: OnGround(ground::private_proc),
        need: |_| Need::No,
        grant: NAMESPACES,
        unit: Some(
            "RestrictNamespaces=user pid mnt net, ProtectProc=default, ProcSubset=all, ProtectKernelTunables=no",
        ),
        without: "tasks see the host's processes in /proc, and others under their own ids",
    },
    Row {
        permission: SystemConfiguration,
        check: "control_socket",
        what: "make the control socket, in /run/kiln, $XDG_RUNTIME_DIR/kiln or the state directory",
        applies: |_| true,
        attempt: Host(|trial| Some(control_socket(trial))),
        need: |_| Need::No,
        grant: "`install -d -o ME /run/kiln` as root",
        unit: Some("RuntimeDirectory=kiln"),
        without: "a live run takes no commands: gates are answered while it is paused",
    },
    Row {
        permission: SystemConfiguration,
        check: "listen",
        what: "listen to the address of /metrics",
        applies: |trial| trial.listening != Listening::Never,
        attempt: Host(|trial| Some(listen(trial))),
        need: |trial| match trial.listening {
            Listening::Would { explicit: true, .. } => Need::Yes,
            Listening::Would { .. } if trial.job().settings.web_config_file.is_some() => Need::Yes,
            Listening::Would { .. } | Listening::Already | Listening::Never => Need::No,
        },
        grant: "`--listen ADDRESS:PORT` names another; for a port below 1024 `sysctl net.ipv4.ip_unprivileged_port_start=PORT`",
        unit: Some("AmbientCapabilities=CAP_NET_BIND_SERVICE, RestrictAddressFamilies=AF_INET AF_INET6"),
        without: "nothing is served",
    },
];

impl Row {
    /// What is said of it.
    pub(super) fn check(&self, trial: &Trial, missing: Option<Missing>, need: Need) -> Check {
        let fill = |text: &str| {
            let state = trial.job().state.root();
            let build_user = trial.job().settings.build_user.as_ref().map_or("", |name| name.as_str());
            // Only where it is asked for: the list of mounts has to be read.
            let mount = || mount_of(state).display().to_string();
            let text = text.replace("ME", &geteuid().as_raw().to_string()).replace("BUILD_USER", build_user);
            let text = if text.contains("MOUNT") { text.replace("MOUNT", &mount()) } else { text };
            // Last: it may have any of these words in its name.
            text.replace("STATE", &state.display().to_string())
        };
        let lacks = missing.is_some();
        let refused = missing.as_ref().is_some_and(|missing| missing.refused);
        let unit = || self.unit.map(fill);
        let (why, grant, unit) = match missing {
            None => (None, None, None),
            Some(Missing { why, grant, .. }) => match grant {
                Grant::OfTable => (Some(why), Some(fill(self.grant)), unit()),
                Grant::OrUnit(grant) => (Some(why), Some(grant), unit()),
                Grant::Only(grant) => (Some(why), Some(grant), None),
            },
        };
        Check {
            permission: self.permission,
            check: self.check,
            granted: !lacks,
            needed: need != Need::No,
            needed_by: if let Need::By(packages) = need { packages } else { Vec::new() },
            why,
            grant,
            unit,
            without: lacks.then(|| self.without.to_owned()),
            refused,
        }
    }
}

fn sandboxed(trial: &Trial) -> bool {
    trial.job().settings.sandbox != Sandbox::Off
}

fn required(trial: &Trial) -> Need {
    if trial.job().settings.sandbox == Sandbox::Require { Need::Yes } else { Need::No }
}

fn build_user(trial: &Trial) -> Tried {
    if let Err(why) = &trial.user {
        let grant = "name a user of this host (`getent passwd` lists them); or unset `build_user`";
        return Some(Err(Missing { grant: Grant::Only(grant.to_owned()), ..Missing::because(why) }));
    }
    let wrote = trial.place.more.as_ref()?.user.clone()?;
    let ended = trial.tasks.as_ref().and_then(|tasks| tasks.ends.clone());
    Some(wrote.and_then(|()| ended.unwrap_or(Ok(()))))
}

/// Whether those of another user can be killed is that user's check.
fn tasks(trial: &Trial) -> Tried {
    let tasks = trial.tasks.as_ref()?;
    let killed = tasks.ends.clone().filter(|_| matches!(trial.user, Ok(None)));
    Some(tasks.starts.clone()?.and_then(|()| killed.unwrap_or(Ok(()))))
}

fn execute(trial: &Trial) -> Tried {
    let executed = trial.tasks.as_ref().and_then(|tasks| tasks.executes.clone());
    Some(trial.place.more.as_ref()?.execute.clone().and_then(|()| executed.unwrap_or(Ok(()))))
}

fn apt_sources(trial: &Trial) -> Tried {
    match &trial.tasks {
        Some(tasks) => tasks.apt.clone(),
        None => Some(apt::programs().map_err(Missing::because)),
    }
}

/// As `tracing-journald` finds out: journald takes no notice of an empty message.
fn journal() -> Done {
    const SOCKET: &str = "/run/systemd/journal/socket";
    let sent = std::os::unix::net::UnixDatagram::unbound().and_then(|socket| socket.send_to(&[], SOCKET));
    sent.map(drop).map_err(|error| Missing::because(format!("cannot reach `{SOCKET}`: {error}")))
}

fn control_socket(trial: &Trial) -> Done {
    let _made = MADE.lock();
    control::attempt(&trial.job().state).map_err(|error| Missing::because(chain(&error)))
}

/// That somebody else has the address is no lack of permission; a run that must have it says so itself.
fn listen(trial: &Trial) -> Done {
    let Listening::Would { address, .. } = trial.listening else { return Ok(()) };
    if let Some(why) = trial.job().settings.web_config_refusal() {
        let grant = Grant::Only("unset it, or say --no-listen".to_owned());
        return Err(Missing { grant, ..Missing::because(why) });
    }
    let Err(error) = web::bind(address) else { return Ok(()) };
    let kind = match &error {
        WebError::Bind { source, .. } => source.kind(),
        WebError::Control { .. } | WebError::Start(_) => ErrorKind::Other,
    };
    if kind == ErrorKind::AddrInUse {
        return Ok(());
    }
    let refused = kind == ErrorKind::PermissionDenied;
    Err(Missing { refused, ..Missing::because(chain(&error)) })
}
