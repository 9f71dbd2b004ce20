//! What whoever listens to `tracing` hears.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::mpsc::{Sender, channel};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

/// A message: its level and its fields.
#[derive(Debug, Clone)]
pub(crate) struct Heard {
    pub(crate) level: Level,
    pub(crate) fields: BTreeMap<&'static str, String>,
}

impl Heard {
    /// What `say` says.
    pub(crate) fn by(say: impl FnOnce()) -> Vec<Self> {
        let (sender, all) = channel();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(Listen(sender)), say);
        all.try_iter().collect()
    }

    pub(crate) fn get(&self, field: &str) -> Option<&str> {
        self.fields.get(field).map(String::as_str)
    }
}

struct Listen(Sender<Heard>);

impl<S: Subscriber> Layer<S> for Listen {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let mut heard = Heard { level: *event.metadata().level(), fields: BTreeMap::new() };
        event.record(&mut heard);
        self.0.send(heard).unwrap();
    }
}

impl Visit for Heard {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.fields.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields.insert(field.name(), value.to_owned());
    }
}
