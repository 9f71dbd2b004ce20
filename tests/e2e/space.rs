//! A directory with a definition and its state.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::Mode;

use super::fifo::{Bell, Changes, Gate, Hold, Tickets};
use super::ledger::Ledger;
use super::process::{Ended, Running};
use super::tree::Tree;

/// `kiln run` as tests use it.
pub(crate) const RUN: [&str; 4] = ["run", "--no-listen", "--jobs", "2"];

/// A definition, its state directory, and whatever else a test puts beside them. Everybody may write into it.
pub(crate) struct Space {
    directory: PathBuf,
    started: Cell<u32>,
    _temporary: Option<tempfile::TempDir>,
}

impl Space {
    pub(crate) fn new() -> Self {
        let temporary = tempfile::Builder::new().prefix("kiln-e2e-").tempdir().unwrap();
        let (directory, temporary) = if std::env::var_os("KILN_KEEP").is_some() {
            let kept = temporary.keep();
            eprintln!("kept: {}", kept.display());
            (kept, None)
        } else {
            (temporary.path().to_owned(), Some(temporary))
        };
        rustix::fs::chmod(&directory, Mode::from_bits_truncate(0o777)).unwrap();
        let space = Self { directory, started: Cell::new(0), _temporary: temporary };
        fs::create_dir_all(space.definition().join("packages")).unwrap();
        space
    }

    /// A space with these packages in one critical phase; see `packages`.
    pub(crate) fn with(recipes: &str) -> Self {
        let space = Self::new();
        space.packages(recipes);
        space
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    pub(crate) fn definition(&self) -> PathBuf {
        self.path("definition")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.path("state")
    }

    pub(crate) fn document(&self, text: &str) {
        fs::write(self.definition().join("kiln.yaml"), text).unwrap();
    }

    /// Replaces all recipes.
    pub(crate) fn recipes(&self, text: &str) {
        fs::write(self.definition().join("packages/all.yaml"), text).unwrap();
    }

    /// Replaces all recipes, and the document by one with a single critical phase whose steps they are: in
    /// parallel, three attempts without delay, nobody is asked.
    pub(crate) fn packages(&self, recipes: &str) {
        self.recipes(recipes);
        self.document(&one_phase(recipes, ""));
    }

    /// A command of this kiln in this space, in a clean environment.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.bare_command(arguments);
        command.arg(self.definition()).arg("--state").arg(self.state());
        command
    }

    /// The same without DIR and `--state`.
    pub(crate) fn bare_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", &self.directory)
            // Scripts talk to their tests through files beside the definition.
            .env("KILN_SET_SANDBOX", "off")
            .current_dir(&self.directory)
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn start_command(&self, command: Command) -> Running {
        self.started.set(self.started.get() + 1);
        Running::start(command, &self.path(&format!("kiln-{}", self.started.get())))
    }

    pub(crate) fn start(&self, arguments: &[&str]) -> Running {
        self.start_command(self.command(arguments))
    }

    #[track_caller]
    pub(crate) fn kiln(&self, arguments: &[&str]) -> Ended {
        self.start(arguments).wait()
    }

    /// `kiln run`, which must end with this code.
    #[track_caller]
    pub(crate) fn run(&self, code: i32) -> Ended {
        self.kiln(&RUN).exits(code)
    }

    pub(crate) fn ledger(&self) -> Ledger {
        Ledger::read(&self.state().join("ledger.sqlite"))
    }

    /// Ends the ledger with the last record of this kind about this task, as if kiln had been killed right after it.
    pub(crate) fn cut_ledger(&self, kind: &str, package: &str, task: &str) {
        let db = rusqlite::Connection::open(self.state().join("ledger.sqlite")).unwrap();
        let cut = db.execute(
            "DELETE FROM records WHERE seq > (SELECT max(seq) FROM records WHERE record ->> 'record' = ?1 AND \
             record ->> 'package' = ?2 AND record ->> 'task' = ?3)",
            [kind, package, task],
        );
        assert_ne!(cut.unwrap(), 0);
        // What is cut was never known to be on disk.
        fs::remove_file(self.state().join("ledger.durable")).unwrap();
    }

    /// Blocks until everything recorded so far is on disk, and so shown.
    pub(crate) fn settle(&self) {
        let recorded = self.ledger().len();
        let mark = self.state().join("ledger.durable");
        let changes = Changes::of(&mark);
        let durable = || -> Option<usize> { fs::read_to_string(&mark).ok()?.split_once(' ')?.0.parse().ok() };
        while durable().is_none_or(|durable| durable < recorded) {
            changes.wait();
        }
    }

    pub(crate) fn sysroot(&self) -> Tree {
        Tree::read(&self.state().join("sysroot"))
    }

    pub(crate) fn bell(&self, name: &str) -> Bell {
        Bell::make(&self.path(name))
    }

    pub(crate) fn gate(&self, name: &str) -> Gate {
        Gate::make(&self.path(name))
    }

    pub(crate) fn tickets(&self, name: &str) -> Tickets {
        Tickets::make(&self.path(name))
    }

    pub(crate) fn hold(&self, name: &str) -> Hold {
        Hold::make(&self.path(name))
    }

    /// What a script has written with `> SPACE/NAME`.
    #[track_caller]
    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// Where the space is, for a script's text.
    pub(crate) fn here(&self) -> std::path::Display<'_> {
        self.directory.display()
    }
}

/// A document with one phase, `main`, of all packages in `recipes`; `phase` are further lines of it.
pub(crate) fn one_phase(recipes: &str, phase: &str) -> String {
    let steps: Vec<&str> = recipes.lines().filter_map(|line| line.strip_prefix("package: ")).collect();
    format!(
        "build_phases:\n  main:\n    order: 1\n    steps: [{}]\n{phase}\
         dependency_tracking: {{dependency_resolution: {{method: parallel}}}}\n\
         error_recovery:\n  automatic_recovery: {{delay_between_attempts: 0}}\n  \
         manual_intervention: {{required_for: []}}\n",
        steps.join(", ")
    )
}

/// The kiln under test. A target directory that several worktrees share has one `kiln` for all of them: then
/// `KILN_BINARY` names the right one.
pub(crate) fn binary() -> PathBuf {
    std::env::var_os("KILN_BINARY")
        .map_or_else(|| Path::new(env!("CARGO_BIN_EXE_kiln")).to_owned(), PathBuf::from)
}
