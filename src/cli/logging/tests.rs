//! Messages that wait, and that nobody reads.

use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use tracing::subscriber::with_default;
use tracing_subscriber::layer::SubscriberExt as _;

use super::queue::{Item, Queue};
use super::said::{Listen, Said};
use super::{Messages, lines, tell_panics};
use crate::cli::display::Display;
use crate::config::settings::LogFormat;

/// Nobody who is not stuck takes so long.
const STUCK: Duration = Duration::from_mins(1);

fn said(text: &str) -> Said {
    Said::by(|| tracing::info!("{text}")).remove(0)
}

/// Room for so many of `said("message")`.
fn room_for(messages: usize) -> Queue {
    Queue::new(messages * said("message").size())
}

/// All that can be had without waiting.
fn rest(queue: &Queue) -> Vec<String> {
    let text = |item: Arc<Item>| match &*item {
        Item::Said(said) => said.text().to_owned(),
        Item::Dropped(count) => format!("{count} dropped"),
        Item::Frame(frame) => frame.join(""),
    };
    std::iter::from_fn(|| queue.take_over()).map(text).collect()
}

#[test]
fn what_finds_no_room_is_counted_and_told_once_after_what_had_room() {
    let queue = room_for(2);
    for _ in 0..5 {
        queue.say(said("message"));
    }
    assert_eq!(queue.counts().messages.load(Ordering::Relaxed), 3);
    assert_eq!(rest(&queue), ["message", "message", "3 dropped"]);
    queue.say(said("message"));
    queue.lost(&said("message"));
    assert_eq!(
        rest(&queue),
        ["message"],
        "a message that could not be written is not told: neither could that be"
    );
    assert_eq!(queue.counts().messages.load(Ordering::Relaxed), 4);
}

#[test]
fn a_message_that_is_larger_than_all_room_is_told_of_at_once() {
    let queue = Arc::new(Queue::new(1));
    let writer = Arc::clone(&queue);
    let thread = std::thread::spawn(move || matches!(*writer.next(), Item::Dropped(1)));
    queue.say(said("message"));
    assert!(thread.join().unwrap());
}

#[test]
fn only_the_newest_frame_is_drawn() {
    let queue = room_for(1);
    for frame in ["old", "new"] {
        queue.draw(vec![frame.to_owned()]);
    }
    assert_eq!(rest(&queue), ["new"]);
}

#[test]
fn what_is_in_hand_is_not_written_yet_and_whoever_takes_over_begins_with_it() {
    let queue = room_for(2);
    queue.say(said("first"));
    queue.say(said("second"));
    let in_hand = queue.next();
    assert!(matches!(&*in_hand, Item::Said(said) if said.text() == "first"));
    assert_eq!(rest(&queue), ["first", "second"]);

    queue.say(said("third"));
    let _in_hand = queue.next();
    assert!(!queue.is_written(Duration::ZERO));
    let queue = Arc::new(queue);
    let writer = Arc::clone(&queue);
    // It asks for more, so what it had is written; nothing comes, and it waits until the process ends.
    std::thread::spawn(move || writer.next());
    assert!(queue.is_written(STUCK));
}

#[test]
fn the_end_waits_for_what_is_being_written() {
    let queue = Arc::new(room_for(1));
    let messages = Messages { queue: Arc::clone(&queue), format: LogFormat::Text, display: Display::new() };
    queue.say(said("message"));
    drop(queue.next());
    let (sender, over) = mpsc::channel();
    std::thread::spawn(move || {
        drop(messages);
        sender.send(()).unwrap();
    });
    // However long it is given, it does not come while that is in hand.
    over.recv_timeout(Duration::from_millis(100)).unwrap_err();
    std::thread::spawn(move || queue.next());
    over.recv_timeout(STUCK).unwrap();
}

#[test]
fn what_is_said_again_is_the_same_to_the_last_field() {
    let absent: Option<&str> = None;
    let first = Said::by(|| {
        tracing::warn!(target: "x", text = "t", n = 1_u64, m = -1_i64, f = 0.5, b = true, absent, d = ?[1], "{}", 7);
    });
    let again = Said::by(|| {
        tracing::dispatcher::get_default(|to| first[0].again(&To(to.clone())));
    });
    assert_eq!(again.len(), 1);
    let [first, again] = [&first[0], &again[0]];
    assert_eq!((again.level(), again.target()), (first.level(), "x"));
    assert_eq!(
        format!("{:?}", first.fields().collect::<Vec<_>>()),
        format!("{:?}", again.fields().collect::<Vec<_>>())
    );
    let names: Vec<&str> = again.fields().map(|(name, _)| name).collect();
    assert_eq!(names.len(), 7, "{names:?}");
    assert_eq!(again.text(), "7");
}

/// The default dispatcher as a subscriber.
struct To(tracing::Dispatch);

impl tracing::Subscriber for To {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        self.0.enabled(metadata)
    }
    fn new_span(&self, span: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        self.0.new_span(span)
    }
    fn record(&self, span: &tracing::span::Id, values: &tracing::span::Record<'_>) {
        self.0.record(span, values);
    }
    fn record_follows_from(&self, span: &tracing::span::Id, follows: &tracing::span::Id) {
        self.0.record_follows_from(span, follows);
    }
    fn event(&self, event: &tracing::Event<'_>) {
        self.0.event(event);
    }
    fn enter(&self, span: &tracing::span::Id) {
        self.0.enter(span);
    }
    fn exit(&self, span: &tracing::span::Id) {
        self.0.exit(span);
    }
}

#[test]
fn a_line_has_a_time_a_word_for_what_is_wrong_and_the_sentence() {
    let line = |said: &Said| lines::text(said, false).split_off("12:03:04".len());
    assert_eq!(line(&said("all is well")), " all is well\n");
    assert_eq!(line(&Said::by(|| tracing::warn!(PACKAGE = "a", "so so"))[0]), " warning: so so\n");
    assert_eq!(line(&Said::by(|| tracing::error!("bad"))[0]), " error: bad\n");
    assert!(
        lines::text(&Said::by(|| tracing::error!("bad"))[0], true).ends_with("\x1b[31merror: bad\x1b[0m\n")
    );
}

#[test]
fn an_object_has_the_time_of_the_message_and_its_fields_with_their_types() {
    let said = Said::by(|| tracing::warn!(PACKAGE = "a", ATTEMPT = 2, "so \"so\""));
    let line = lines::json(&said[0]).unwrap();
    let object: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&object["level"], &object["target"]), (&"WARN".into(), &module_path!().into()));
    assert_eq!((&object["PACKAGE"], &object["ATTEMPT"]), (&"a".into(), &2.into()));
    assert_eq!(object["message"], "so \"so\"");
    let at: jiff::Timestamp = object["timestamp"].as_str().unwrap().parse().unwrap();
    assert_eq!(at.as_microsecond(), said[0].at.as_microsecond());
    assert!(line.ends_with("}\n") && line.matches('\n').count() == 1);
}

#[test]
fn a_panic_is_told_like_everything_else() {
    let queue = Arc::new(Queue::new(1 << 20));
    let (sender, written) = mpsc::channel();
    let writer = Arc::clone(&queue);
    std::thread::spawn(move || while sender.send(writer.next()).is_ok() {});
    tell_panics(Arc::clone(&queue));
    let listen = Listen({
        let queue = Arc::clone(&queue);
        move |said| queue.say(said)
    });
    let panicking = std::thread::Builder::new().name("watch".into());
    let thread = panicking.spawn(|| {
        with_default(tracing_subscriber::registry().with(listen), || panic!("no such\nthing"));
    });
    thread.unwrap().join().unwrap_err();
    drop(std::panic::take_hook());
    let item = written.recv_timeout(STUCK).unwrap();
    let Item::Said(said) = &*item else { panic!("{item:?}") };
    let text = said.text();
    assert!(
        text.starts_with("a fault of kiln's: thread `watch` panicked at src/cli/logging/tests.rs:"),
        "{text}"
    );
    assert!(text.lines().next().unwrap().ends_with(": no such thing"), "{text}");
}
