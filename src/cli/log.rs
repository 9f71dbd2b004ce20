//! `kiln log`: what a package's tasks printed.

use std::io::{IsTerminal as _, Read as _, Write as _};
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::tame::Tame;
use super::target::{self, StateTarget};
use super::{Exit, output};
use crate::driver::look;
use crate::engine::message::Record;
use crate::plan::{TASK_KINDS, TaskKind};

/// Arguments.
#[derive(Debug, Args)]
pub(super) struct Log {
    /// The package
    package: String,
    /// Only this task [default: the last one that printed anything]
    #[arg(long, value_name = "TASK")]
    task: Option<String>,
    /// Only this attempt [default: the last]
    #[arg(long, value_name = "N")]
    attempt: Option<u32>,
    /// Print the file's path instead of its content
    #[arg(long)]
    path: bool,
    /// Answer in JSON: `{"package", "task", "attempt", "build_id", "path", "text"}`; without `text` where --path is given.
    /// What is not UTF-8 is replaced
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: StateTarget,
}

/// What an attempt printed, as `--json` shows it.
#[derive(Serialize)]
struct Output<'a> {
    package: &'a str,
    task: &'static str,
    attempt: u32,
    build_id: &'a str,
    path: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

impl Log {
    pub(super) fn run(self) -> anyhow::Result<Exit> {
        let (job, _) = match self.target.job(Vec::new()) {
            Ok(job) => job,
            Err(exit) => return Ok(exit),
        };
        if let Err(exit) = target::package(&job, &self.package) {
            return Ok(exit);
        }
        let wanted = match &self.task {
            None => None,
            Some(name) => match TASK_KINDS.into_iter().find(|kind| kind.name() == name) {
                Some(kind) => Some(kind),
                None => {
                    let names: Vec<_> = TASK_KINDS.iter().map(|kind| kind.name()).collect();
                    output::say(&format!("kiln: `{name}` is no task: one of {}", names.join(", ")));
                    return Ok(Exit::Usage);
                }
            },
        };
        // Later runs first: an attempt's file is named by its run.
        let mut build_id = None;
        let mut attempts: Vec<(std::sync::Arc<str>, TaskKind, u32)> = Vec::new();
        look::look(&job, |entry| {
            if let Record::RunStarted { build_id: id, .. } = &entry.record {
                build_id = Some(id.clone());
            }
            if let Record::TaskStarted { package, task, attempt, .. } = &entry.record
                && **package == *self.package
            {
                attempts.extend(build_id.clone().map(|id| (id, *task, *attempt)));
            }
        })?;
        let matching = attempts.iter().rev().filter(|(_, kind, attempt)| {
            wanted.is_none_or(|wanted| wanted == *kind) && self.attempt.is_none_or(|n| n == *attempt)
        });
        let mut outputs = matching.map(|(id, kind, n)| Output {
            package: &self.package,
            task: kind.name(),
            attempt: *n,
            build_id: id,
            path: job.state.log(id, &self.package, *kind, *n),
            text: None,
        });
        let Some(output) = outputs.find(|output| output.path.exists()) else {
            output::say(&format!("kiln: no output of `{}` is kept", self.package));
            return Ok(Exit::Usage);
        };
        self.show(output)
    }

    fn show(&self, mut output: Output<'_>) -> anyhow::Result<Exit> {
        if self.json {
            if !self.path {
                output.text = Some(String::from_utf8_lossy(&std::fs::read(&output.path)?).into_owned());
            }
            output::answer_json(&output)?;
            return Ok(Exit::Completed);
        }
        if self.path {
            output::answer(&format!("{}\n", output.path.display()));
            return Ok(Exit::Completed);
        }
        let mut from = std::fs::File::open(&output.path)?;
        let mut buffer = vec![0; 64 * 1024];
        let mut stdout = std::io::stdout().lock();
        // Elsewhere a log is copied, to the byte.
        let mut tame = stdout.is_terminal().then(Tame::default);
        loop {
            let n = from.read(&mut buffer)?;
            let written = match &mut tame {
                None => stdout.write_all(&buffer[..n]),
                Some(tame) if n == 0 => stdout.write_all(tame.end().as_bytes()),
                Some(tame) => stdout.write_all(tame.feed(&buffer[..n]).as_bytes()),
            };
            if n == 0 || written.is_err() {
                return Ok(Exit::Completed);
            }
        }
    }
}
