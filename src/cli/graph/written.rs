//! Where a dependency is written.

use std::fmt;

use serde::Serialize;

use crate::config::load::Definition;
use crate::graph::{Edge, Graph};

/// `FILE:LINE:COLUMN`; `file`, `line` and `column` for programs.
#[derive(Serialize)]
pub(super) struct Written<'a> {
    pub(super) file: &'a str,
    pub(super) line: Option<usize>,
    column: Option<usize>,
}

impl<'a> Written<'a> {
    pub(super) fn of(definition: &'a Definition, graph: &Graph, edge: &Edge) -> Self {
        let place = graph.place(definition, edge);
        let position = definition.files.position(&place);
        Self {
            file: &definition.files.get(place.file).name,
            line: position.map(|position| position.line),
            column: position.map(|position| position.column),
        }
    }
}

impl fmt::Display for Written<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.file)?;
        [self.line, self.column].into_iter().flatten().try_for_each(|number| write!(f, ":{number}"))
    }
}
