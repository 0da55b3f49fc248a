//! Who hears of published events.
//!
//! Events of one topic and key are a lane: numbered 1, 2, 3 and so on, and taken in that order by every consumer. What a
//! consumer cannot take for the event's own sake is put aside, durably, and its lane waits behind it; everything else
//! goes on.
//!
//! | module | holds |
//! |---|---|
//! | [`InProcessBus`] | the bus of one process: the relay calls the consumers |
//! | [`RedisBus`] | the bus of many: streams in Redis, read by every replica of a consumer |
//! | [`letterbox`] | what a consumer's database remembers: how far each lane is, and what was put aside |

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use spillway_types::{EventId, Timestamp};
use tokio_util::sync::CancellationToken;

use crate::outbox::Outbox;

mod delivery;
mod in_process;
pub mod letterbox;
mod redis;

pub use self::{in_process::InProcessBus, letterbox::Letterbox, redis::RedisBus, redis::Repairs};

/// A fact that other services may want to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Identity, for the consumers' inboxes.
    pub event_id: EventId,
    /// Kind of fact, such as `order.state_changed`.
    pub topic: String,
    /// What it is about; events of one topic and key are delivered in order.
    pub key: String,
    /// Number within topic and key: 1, 2, 3 and so on without a gap.
    pub sequence: i64,
    /// When it happened.
    pub occurred_at: Timestamp,
    /// The fact, as JSON.
    pub payload: String,
}

/// The events of one topic and key, which are taken in order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lane {
    /// Kind of fact.
    pub topic: String,
    /// What it is about.
    pub key: String,
}

/// A consumer could not take a batch; it will be offered again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("consumer {consumer}: {problem}")]
pub struct NotTaken {
    /// Whose trouble it is.
    pub consumer: &'static str,
    /// What the trouble is.
    pub problem: String,
    /// Whether an event of the batch is the trouble, so that offering it for ever would not help. False for a store that
    /// is down: that is not the event's fault, and it is offered until it is taken.
    pub poison: bool,
}

/// Events could not be handed to the bus; they stay in the outbox.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotPublished(pub String);

/// Something that takes events. It must keep an inbox: an event may be offered more than once.
#[async_trait]
pub trait Consumer: Send + Sync + 'static {
    /// Stable name; the inbox is kept under it.
    fn name(&self) -> &'static str;
    /// Topics it wants.
    fn topics(&self) -> &'static [&'static str];
    /// Takes a batch, in order. When it returns, the effects are durable.
    async fn take(&self, events: Vec<Event>) -> Result<(), NotTaken>;
}

/// Carries events from outboxes to consumers, each at least once, in order within topic and key.
#[async_trait]
pub trait Bus: Send + Sync + 'static {
    /// Adds a consumer, with its place in its own database. Done before any outbox relay starts, so that nothing is
    /// published past it.
    fn subscribe(&self, consumer: Arc<dyn Consumer>, letterbox: Arc<dyn Letterbox>);

    /// Takes a batch over. When it returns, the events need no outbox any more as long as the bus keeps the data that it
    /// had: it says which (empty for a bus that keeps none itself, since all consumers have the events by then).
    async fn publish(&self, events: &[Event]) -> Result<String, NotPublished>;

    /// Prepares for the first event of a topic from this outbox.
    async fn enrol(&self, _outbox: &dyn Outbox, _topic: &str) -> Result<(), NotPublished> {
        Ok(())
    }

    /// Looks after what was published from this outbox, until `stop`.
    async fn attend(&self, _outbox: Arc<dyn Outbox>, stop: CancellationToken) {
        stop.cancelled().await;
    }

    /// Events on the bus that not every consumer has acknowledged, as they were counted last.
    fn backlog(&self) -> u64 {
        0
    }

    /// Ends taking events, and waits some seconds for what is being taken at the moment: a replica that goes leaves its
    /// events to the others at once.
    async fn close(&self) {}

    /// The letterboxes of the consumers that were added, by their names.
    fn letterboxes(&self) -> Vec<(&'static str, Arc<dyn Letterbox>)> {
        Vec::new()
    }

    /// Whether it is worth while to offer it anything now.
    fn is_up(&self) -> bool {
        true
    }

    /// Whether events get through at the moment; where they do not, they wait in their outboxes.
    ///
    /// # Errors
    /// Says why they do not.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

/// No bus at all: events stay in the outbox, where a process that has one will find them.
#[derive(Clone, Copy, Debug)]
pub struct Unconnected;

// === impl Event ===

impl Event {
    /// The lane it belongs to.
    pub fn lane(&self) -> Lane {
        Lane { topic: self.topic.clone(), key: self.key.clone() }
    }
}

// === impl NotTaken ===

impl NotTaken {
    /// Not now, and not for an event's sake: it will be offered until it is taken.
    pub fn for_now(consumer: &'static str, problem: impl ToString) -> Self {
        Self { consumer, problem: problem.to_string(), poison: false }
    }

    /// Not at all, for an event's sake: after a few attempts it is put aside.
    pub fn poison(consumer: &'static str, problem: impl ToString) -> Self {
        Self { consumer, problem: problem.to_string(), poison: true }
    }
}

// === impl Unconnected ===

#[async_trait]
impl Bus for Unconnected {
    fn subscribe(&self, consumer: Arc<dyn Consumer>, _: Arc<dyn Letterbox>) {
        tracing::warn!(consumer = consumer.name(), "no event bus: nothing will be consumed");
    }

    async fn publish(&self, _: &[Event]) -> Result<String, NotPublished> {
        Err(NotPublished("there is no event bus".to_owned()))
    }
}
