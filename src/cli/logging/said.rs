//! A message that outlives the call that said it.
//!
//! Owns: a copy of an event of `tracing`, and saying it once more. Does not know: how it is written.

use std::fmt;

use tracing::field::{Field, Visit};
use tracing::subscriber::with_default;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt as _};

/// A message.
#[derive(Debug, Clone)]
pub(super) struct Said {
    /// When it was said.
    pub(super) at: jiff::Timestamp,
    metadata: &'static Metadata<'static>,
    /// By index in `metadata`; those that have no value are left out.
    fields: Box<[(usize, Value)]>,
}

/// What a field has.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(untagged)]
pub(super) enum Value {
    Text(String),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Bool(bool),
}

impl Said {
    fn of(event: &Event<'_>) -> Self {
        let mut fields = Fields(Vec::new());
        event.record(&mut fields);
        Self { at: jiff::Timestamp::now(), metadata: event.metadata(), fields: fields.0.into() }
    }

    /// What `say` says, to nobody else.
    pub(super) fn by(say: impl FnOnce()) -> Vec<Self> {
        let (sender, all) = std::sync::mpsc::channel();
        // It is received below.
        let listen = Listen(move |said| drop(sender.send(said)));
        with_default(tracing_subscriber::registry().with(listen), say);
        all.try_iter().collect()
    }

    /// Says it to `to` as if it were said now, where it was said.
    pub(super) fn again(&self, to: &impl Subscriber) {
        let fields = self.metadata.fields();
        let mut values = vec![None; fields.len()];
        for (index, value) in &self.fields {
            values[*index] = Some(value.borrow());
        }
        to.event(&Event::new(self.metadata, &fields.value_set_all(&values)));
    }

    /// Bytes that it takes.
    pub(super) fn size(&self) -> usize {
        let text = |value: &Value| if let Value::Text(text) = value { text.len() } else { 0 };
        let texts: usize = self.fields().map(|(_, value)| text(value)).sum();
        size_of::<Self>() + size_of_val(&*self.fields) + texts
    }

    pub(super) fn level(&self) -> Level {
        *self.metadata.level()
    }

    pub(super) fn target(&self) -> &'static str {
        self.metadata.target()
    }

    /// All that has a value, in the order in which it was said.
    pub(super) fn fields(&self) -> impl Iterator<Item = (&'static str, &Value)> {
        let name = |index| self.metadata.fields().iter().nth(index).map_or("", |field| field.name());
        self.fields.iter().map(move |(index, value)| (name(*index), value))
    }

    /// The sentence.
    pub(super) fn text(&self) -> &str {
        match self.get("message") {
            Some(Value::Text(text)) => text,
            Some(Value::Unsigned(_) | Value::Signed(_) | Value::Float(_) | Value::Bool(_)) | None => "",
        }
    }

    /// Whether it tells of a failure or of a gate, as records do.
    pub(super) fn is_notification(&self) -> bool {
        self.get("CATEGORY").is_some() || self.get("GATE_ID").is_some()
    }

    fn get(&self, name: &str) -> Option<&Value> {
        self.fields().find(|(field, _)| *field == name).map(|(_, value)| value)
    }
}

impl Value {
    fn borrow(&self) -> &dyn tracing::Value {
        match self {
            Self::Text(text) => text,
            Self::Unsigned(number) => number,
            Self::Signed(number) => number,
            Self::Float(number) => number,
            Self::Bool(yes) => yes,
        }
    }
}

/// Hears every message.
pub(super) struct Listen<F>(pub(super) F);

impl<S: Subscriber, F: Fn(Said) + 'static> tracing_subscriber::Layer<S> for Listen<F> {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        (self.0)(Said::of(event));
    }
}

struct Fields(Vec<(usize, Value)>);

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.push((field.index(), Value::Text(value.to_owned())));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.push((field.index(), Value::Unsigned(value)));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.push((field.index(), Value::Signed(value)));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.push((field.index(), Value::Float(value)));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.push((field.index(), Value::Bool(value)));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.push((field.index(), Value::Text(format!("{value:?}"))));
    }
}
