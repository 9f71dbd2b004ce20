//! `kiln fetch`: all sources of a definition, ahead of a build.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use clap::Args;

use super::target::StateTarget;
use super::{Exit, output, signals};
use crate::driver::{ahead, spawn};
use crate::observe::human;
use crate::words::count;

/// Arguments.
#[derive(Debug, Args)]
pub(super) struct Fetch {
    #[command(flatten)]
    target: StateTarget,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

impl Fetch {
    pub(super) fn run(self) -> anyhow::Result<Exit> {
        spawn::enter_user_namespace().context("cannot enter a user namespace")?;
        let (job, _) = match self.target.job(Vec::new()) {
            Ok(job) => job,
            Err(exit) => return Ok(exit),
        };
        let cancel = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&cancel);
        signals::listen(move |name| {
            output::say(&format!("kiln: {name}: ending; what came so far is continued the next time"));
            stop.store(true, Ordering::Relaxed);
        })?;
        let fetched = ahead::fetch_all(&job, &cancel, |source| {
            let text = match &source.result {
                Ok(got) => format!("{}: {} from {}", source.package, source.file, got.from),
                Err(failure) => {
                    format!("{}: {}: {}", source.package, source.file, human::plain(&failure.evidence.text))
                }
            };
            output::say(&text);
        })?;
        if cancel.load(Ordering::Relaxed) {
            return Ok(Exit::Interrupted);
        }
        let missing = fetched.iter().filter(|source| source.result.is_err()).count();
        if self.json {
            let rows: Vec<_> = fetched
                .iter()
                .map(|source| match &source.result {
                    Ok(got) => serde_json::json!({
                        "package": source.package, "file": source.file, "from": got.from,
                        "bytes_fetched": got.bytes, "error": null,
                    }),
                    Err(failure) => serde_json::json!({
                        "package": source.package, "file": source.file, "from": null,
                        "bytes_fetched": 0, "error": failure.evidence.text,
                    }),
                })
                .collect();
            output::answer_json(&rows)?;
        } else {
            let sources = count(fetched.len(), "source");
            output::answer(&format!("there: {} of {sources}\n", fetched.len() - missing));
        }
        Ok(if missing == 0 { Exit::Completed } else { Exit::Error })
    }
}
