//! `kiln graph --focus PACKAGE --depth N`: what is near a package.

use clap::Args;

use super::name;
use crate::cli::Exit;
use crate::config::load::Definition;
use crate::graph::part::Part;
use crate::plan::build::Planned;

#[derive(Debug, Args)]
pub(super) struct Focus {
    /// Only this package, what it needs, and what needs it; a group's name means its members
    #[arg(long = "focus", value_name = "PACKAGE")]
    package: Option<String>,
    /// How many edges away from it, each way
    #[arg(long, value_name = "N", default_value_t = 1, requires = "package")]
    depth: u32,
}

impl Focus {
    /// The part that is asked for, or what is printed instead.
    pub(super) fn part(&self, definition: &Definition, planned: &Planned) -> Result<Part, Exit> {
        Ok(match &self.package {
            None => Part::whole(&planned.graph),
            Some(package) => {
                Part::around(&planned.graph, &name::nodes(definition, planned, package)?, self.depth)
            }
        })
    }
}
