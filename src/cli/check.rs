//! `kiln check`: everything that is wrong with a definition, at once.

use clap::Args;

use super::brief::brief;
use super::target::{self, Sound, StateTarget};
use super::{Exit, output};
use crate::config::diagnostic::{Diagnostic, Severity};
use crate::config::files::{Files, Rendered};
use crate::config::render;
use crate::words::count;

/// Arguments.
#[derive(Debug, Args)]
pub(super) struct Check {
    #[command(flatten)]
    target: StateTarget,
    /// List every setting of the host, its value and where it came from
    #[arg(long)]
    settings: bool,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

impl Check {
    pub(super) fn run(self) -> anyhow::Result<Exit> {
        let (sound, rendered) = match self.target.target.load() {
            Ok(sound) if self.settings => return self.show_settings(&sound),
            Ok(sound) => {
                let mut rendered = self.render(&sound.definition.files, &sound.warnings);
                // `kiln run` would refuse them.
                let refused = target::settings(&sound.definition, self.target.flags()).err();
                let sound = if refused.is_some() { None } else { Some(sound) };
                rendered.extend(refused.iter().flat_map(|p| self.render(&p.files, &p.diagnostics)));
                (sound, rendered)
            }
            Err(problems) => (None, self.render(&problems.files, &problems.diagnostics)),
        };
        let exit = if sound.is_some() { Exit::Completed } else { Exit::Invalid };
        if self.json {
            output::answer_json(&render::report(&rendered))?;
            return Ok(exit);
        }
        if !rendered.is_empty() {
            output::say(&render::text(&rendered, output::coloured_stderr()));
        }
        match &sound {
            Some(Sound { planned, .. }) => output::answer(&format!(
                "{}: ok, {} in {}\n",
                planned.plan.definition,
                count(planned.plan.packages.len(), "package"),
                count(planned.plan.phases.len(), "phase")
            )),
            None => {
                let errors = rendered.iter().filter(|r| r.severity == Severity::Error).count();
                output::say(&format!("\n{}", count(errors, "error")));
            }
        }
        Ok(exit)
    }

    /// For people a few of each kind of warning are enough.
    fn render(&self, files: &Files, diagnostics: &[Diagnostic]) -> Vec<Rendered> {
        if self.json { files.render_all(diagnostics) } else { files.render_all(&brief(diagnostics)) }
    }

    fn show_settings(&self, sound: &Sound) -> anyhow::Result<Exit> {
        let layered = match target::settings(&sound.definition, self.target.flags()) {
            Ok(layered) => layered,
            Err(problems) => {
                target::show(&problems.files, &problems.diagnostics);
                return Ok(Exit::Invalid);
            }
        };
        if self.json {
            output::answer_json(&layered.origins)?;
            return Ok(Exit::Completed);
        }
        let rows = layered.origins.iter().map(|origin| {
            let value = match origin.value.as_str() {
                Some(text) => text.to_owned(),
                None if origin.value.is_null() => "-".to_owned(),
                None => origin.value.to_string(),
            };
            [origin.setting.clone(), value, origin.origin.clone()]
        });
        output::answer(&output::table(["setting", "value", "from"], rows));
        Ok(Exit::Completed)
    }
}
