//! `apt:` mirrors: source packages of the distribution.
//!
//! Owns: a private apt configuration below `CACHE/apt`, made from the system's own, and what is asked of apt with
//! it. Nothing of the system changes, and an ordinary user can do it. Does not know: digests other than those that
//! apt itself tells.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use super::Mirror;
use super::cache::Partial;
use super::child::{Ended, Helpers};
use super::error::{FetchError, Reason, Stop};
use super::turns::Turns;
use sources::Entries;

mod config;
mod index;
mod sources;

/// Lists older than this are fetched again before they are used.
const LISTS_MAX_AGE: Duration = Duration::from_hours(24);
/// Where apt keeps the helper that downloads one file the way apt does.
const HELPER: &str = "/usr/lib/apt/apt-helper";

/// apt, with our configuration.
#[derive(Debug)]
pub(super) struct Apt {
    dir: PathBuf,
    connect_timeout: Duration,
    helpers: Helpers,
    /// Whether this process has updated the lists: once must do.
    updated: AtomicBool,
    /// Where the system's entries are.
    system: PathBuf,
}

impl Apt {
    /// With everything private in `dir`, an absolute path. Touches nothing.
    pub(super) fn new(dir: &Path, connect_timeout: Duration, helpers: Helpers) -> Self {
        Self {
            dir: dir.to_owned(),
            connect_timeout,
            helpers,
            updated: AtomicBool::new(false),
            system: PathBuf::from("/etc/apt"),
        }
    }

    /// Fetches the file that `mirror` names out of any version of the source package `name`.
    pub(super) fn get(
        &self,
        name: &str,
        mirror: &Mirror,
        turns: &Turns,
        partial: &mut Partial,
        cancel: &AtomicBool,
        progress: &dyn Fn(u64),
    ) -> Result<(), Stop> {
        match self.get_as_listed(name, mirror, turns, partial, cancel, progress) {
            // Lists of yesterday name files that the archive has replaced today.
            Err(Stop::Mirror(Reason::NotFound(_))) if !self.updated.load(Ordering::Relaxed) => {
                self.forget_lists()?;
                self.get_as_listed(name, mirror, turns, partial, cancel, progress)
            }
            got => got,
        }
    }

    fn get_as_listed(
        &self,
        name: &str,
        mirror: &Mirror,
        turns: &Turns,
        partial: &mut Partial,
        cancel: &AtomicBool,
        progress: &dyn Fn(u64),
    ) -> Result<(), Stop> {
        let item = self.find(name, &mirror.file, turns, cancel)?;
        if let Some(got) = item.sha256.filter(|digest| *digest != mirror.sha256) {
            return Err(Reason::DigestMismatch { got }.into());
        }
        // apt replaces files as it likes, so it does not get the partial file, which is locked.
        let target = self.dir.join("download").join(&mirror.sha256);
        let mut seen = fs::metadata(&target).map_or(0, |meta| meta.len());
        let mut watch = || {
            let len = fs::metadata(&target).map_or(seen, |meta| meta.len());
            progress(len.saturating_sub(seen));
            seen = len;
        };
        let mut helper = self.command(HELPER);
        helper.args(["-q", "download-file", &item.uri]).arg(&target);
        let ended = self.helpers.run(&helper, &self.dir, cancel, &mut watch)?;
        if !ended.succeeded() {
            return Err(failure(&ended).into());
        }
        let mut file = File::open(&target).map_err(FetchError::io(&target))?;
        partial.copy(&mut file, cancel)?;
        fs::remove_file(&target).map_err(FetchError::io(&target))?;
        Ok(())
    }

    /// Where apt has `file` of the source package `name`. Updates the lists if they do not know it.
    pub(super) fn find(
        &self,
        name: &str,
        file: &str,
        turns: &Turns,
        cancel: &AtomicBool,
    ) -> Result<index::Item, Stop> {
        // Both become arguments of apt's commands.
        let plain = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "+-._~".contains(c));
        if !plain(name) || !name.starts_with(|first: char| first.is_ascii_alphanumeric()) {
            return Err(Reason::NotFound(format!("`{name}` is no name of a source package")).into());
        }
        let _turn = turns.take("apt", cancel)?;
        self.make_dirs()?;
        let lock_path = self.dir.join("lock");
        let lock = File::create(&lock_path).map_err(FetchError::io(&lock_path))?;
        turns.lock_file(&lock, &lock_path, cancel)?;
        let changed = self.configure()?;
        let mut complaint = None;
        if changed || !self.lists_are_fresh() {
            complaint = self.update(cancel)?;
        }
        let reason = loop {
            match self.look_up(name, file, cancel)? {
                Ok(item) => return Ok(item),
                Err(reason) if self.updated.load(Ordering::Relaxed) => break reason,
                Err(_) => complaint = self.update(cancel)?,
            }
        };
        // Without any list this is no answer of the distribution's.
        Err(match complaint {
            Some(text) if !self.has_lists() => Reason::Connect(text),
            Some(text) => Reason::NotFound(format!("{reason}; apt-get update: {text}")),
            None if !self.has_lists() => Reason::Connect("there are no package lists".to_owned()),
            None => Reason::NotFound(reason),
        }
        .into())
    }

    /// One question to the lists as they are. The inner error says what they have instead.
    fn look_up(
        &self,
        name: &str,
        file: &str,
        cancel: &AtomicBool,
    ) -> Result<Result<index::Item, String>, Stop> {
        let mut show = self.command("apt-cache");
        show.args(["showsrc", "--only-source", name]);
        let shown = self.helpers.run(&show, &self.dir, cancel, &mut || {})?;
        let packages = index::packages(&shown.stdout);
        let Some(package) = packages.iter().find(|package| package.files.iter().any(|has| has == file))
        else {
            return Ok(Err(index::instead(name, &packages)));
        };
        let mut source = self.command("apt-get");
        source.args(["source", "--print-uris", "--only-source", "--download-only", "-qq"]);
        source.arg(format!("{name}={}", package.version));
        let printed = self.helpers.run(&source, &self.dir, cancel, &mut || {})?;
        match index::items(&printed.stdout).into_iter().find(|item| item.file == file) {
            Some(item) => Ok(Ok(item)),
            None => Err(Reason::Apt(printed.complaint()).into()),
        }
    }

    /// Updates the lists, once a process. Entries that fail are put up with: what matters is whether the package is
    /// found afterwards. Returns apt's complaints.
    fn update(&self, cancel: &AtomicBool) -> Result<Option<String>, Stop> {
        if self.updated.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let mut update = self.command("apt-get");
        update.args(["update", "-qq"]);
        let ended = self.helpers.run(&update, &self.dir, cancel, &mut || {})?;
        self.updated.store(true, Ordering::Relaxed);
        let complaint = ended.complaint();
        if self.has_lists() {
            let stamp = self.stamp();
            File::create(&stamp).map_err(FetchError::io(&stamp))?;
        }
        let failed = !ended.succeeded() || complaint.contains("Failed to fetch");
        Ok(failed.then_some(complaint))
    }

    /// Lets the lists be updated before they are used again, if this process has not done so.
    fn forget_lists(&self) -> Result<(), FetchError> {
        let stamp = self.stamp();
        match fs::remove_file(&stamp) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(FetchError::io(&stamp)(error)),
            _ => Ok(()),
        }
    }

    /// A file as old as the lists; their own times are the server's.
    fn stamp(&self) -> PathBuf {
        self.dir.join("updated")
    }

    fn lists_are_fresh(&self) -> bool {
        let updated = fs::metadata(self.stamp()).and_then(|meta| meta.modified());
        // A time in the future says that the clock was set: no reason to believe it.
        let age = updated.ok().and_then(|then| SystemTime::now().duration_since(then).ok());
        self.has_lists() && age.is_some_and(|age| age < LISTS_MAX_AGE)
    }

    fn has_lists(&self) -> bool {
        fs::read_dir(self.dir.join("lists")).is_ok_and(|entries| {
            entries.flatten().any(|entry| entry.file_name().to_string_lossy().contains("_Sources"))
        })
    }

    fn make_dirs(&self) -> Result<(), FetchError> {
        for name in ["lists/partial", "cache/archives/partial", "sources.d", "download"] {
            let dir = self.dir.join(name);
            fs::create_dir_all(&dir).map_err(FetchError::io(&dir))?;
        }
        // Entries may hold credentials.
        fs::set_permissions(&self.dir, Permissions::from_mode(0o700)).map_err(FetchError::io(&self.dir))
    }

    /// Writes the configuration. Says whether the entries are others than the last time.
    fn configure(&self) -> Result<bool, Stop> {
        let Some(text) = config::text(&self.dir, self.connect_timeout) else {
            let path = self.dir.display();
            return Err(Reason::Unsupported(format!("apt cannot use the directory `{path}`")).into());
        };
        write_if_changed(&self.dir.join("apt.conf"), &text)?;
        let entries = Entries::of_system(&self.system);
        let dir = self.dir.join("sources.d");
        let lines = write_if_changed(&dir.join("kiln.list"), &entries.lines)?;
        let stanzas = write_if_changed(&dir.join("kiln.sources"), &entries.stanzas)?;
        Ok(lines || stanzas)
    }

    /// `program` with our configuration, read after the system's. Messages in English, because we read them.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.arg("-c").arg(self.dir.join("apt.conf"));
        command.env("LC_ALL", "C").env("DEBIAN_FRONTEND", "noninteractive").current_dir(&self.dir);
        command
    }
}

/// Whether apt's programs are here.
pub(crate) fn programs() -> Result<(), String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there = |program: &&str| {
        std::env::split_paths(&path).map(|dir| dir.join(program)).any(|path| {
            let may_run = rustix::fs::access(&path, rustix::fs::Access::EXEC_OK).is_ok();
            may_run && path.is_file()
        })
    };
    // A path with a root is itself, wherever it is looked for.
    match ["apt-get", "apt-cache", HELPER].iter().find(|program| !is_there(program)) {
        Some(missing) => Err(format!("`{missing}` is not installed here")),
        None => Ok(()),
    }
}

/// Whether apt reads the private configuration with the system's entries, tried in `dir`. Asks no server.
pub(crate) fn attempt(dir: &Path, helpers: Helpers) -> Result<(), String> {
    programs()?;
    let apt = Apt::new(dir, Duration::from_secs(10), helpers);
    if Entries::of_system(&apt.system) == Entries::default() {
        return Err(format!("`{}` names no sources", apt.system.display()));
    }
    let ended = apt.make_dirs().map_err(Stop::from).and_then(|()| {
        apt.configure()?;
        let mut list = apt.command("apt-get");
        list.arg("indextargets");
        apt.helpers.run(&list, &apt.dir, &AtomicBool::new(false), &mut || {})
    });
    match ended {
        Ok(ended) if ended.succeeded() => Ok(()),
        Ok(ended) => Err(format!("apt-get: {}", ended.complaint())),
        Err(Stop::Mirror(reason)) => Err(reason.to_string()),
        Err(Stop::Fetch(error)) => Err(error.to_string()),
    }
}

/// What a failed download says of the mirror.
fn failure(ended: &Ended) -> Reason {
    let text = ended.complaint();
    if [
        "Could not connect",
        "Could not resolve",
        "Temporary failure resolving",
        "Cannot initiate the connection",
    ]
    .iter()
    .any(|words| text.contains(words))
    {
        Reason::Connect(text)
    } else if text.contains("404  Not Found") {
        Reason::NotFound(text)
    } else {
        Reason::Apt(text)
    }
}

fn write_if_changed(path: &Path, text: &str) -> Result<bool, FetchError> {
    match fs::read(path) {
        Ok(old) if old == text.as_bytes() => return Ok(false),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(FetchError::io(path)(error)),
    }
    fs::write(path, text).map_err(FetchError::io(path))?;
    Ok(true)
}

#[cfg(test)]
mod tests;
