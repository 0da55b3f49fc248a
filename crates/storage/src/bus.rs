//! Who hears of published events.

use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use spillway_types::{EventId, Timestamp};

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

/// A consumer could not take a batch; it will be offered again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("consumer {consumer}: {problem}")]
pub struct NotTaken {
    /// Whose trouble it is.
    pub consumer: &'static str,
    /// What the trouble is.
    pub problem: String,
}

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
    /// Adds a consumer. Done before any outbox relay starts, so that nothing is published past it.
    fn subscribe(&self, consumer: Arc<dyn Consumer>);
    /// Delivers a batch. When it returns, every consumer has it for good.
    async fn publish(&self, events: &[Event]) -> Result<(), NotTaken>;
}

/// The bus of embedded mode: consumers are called by the relay itself. Events need no store between, since the outbox
/// keeps each until every consumer has taken it.
#[derive(Default)]
pub struct InProcessBus {
    consumers: RwLock<Vec<Arc<dyn Consumer>>>,
}

/// No bus at all: events stay in the outbox, where a process that has one will find them.
#[derive(Clone, Copy, Debug)]
pub struct Unconnected;

// === impl Unconnected ===

#[async_trait]
impl Bus for Unconnected {
    fn subscribe(&self, consumer: Arc<dyn Consumer>) {
        tracing::warn!(consumer = consumer.name(), "no event bus: nothing will be consumed");
    }

    async fn publish(&self, _: &[Event]) -> Result<(), NotTaken> {
        Err(NotTaken { consumer: "none", problem: "there is no event bus".to_owned() })
    }
}

// === impl InProcessBus ===

#[async_trait]
impl Bus for InProcessBus {
    fn subscribe(&self, consumer: Arc<dyn Consumer>) {
        self.consumers.write().unwrap_or_else(PoisonError::into_inner).push(consumer);
    }

    async fn publish(&self, events: &[Event]) -> Result<(), NotTaken> {
        let consumers = self.consumers.read().unwrap_or_else(PoisonError::into_inner).clone();
        for consumer in consumers {
            let wanted = events.iter().filter(|event| consumer.topics().contains(&event.topic.as_str()));
            let wanted: Vec<Event> = wanted.cloned().collect();
            if !wanted.is_empty() {
                consumer.take(wanted).await?;
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for InProcessBus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> =
            self.consumers.read().unwrap_or_else(PoisonError::into_inner).iter().map(|c| c.name()).collect();
        f.debug_tuple("InProcessBus").field(&names).finish()
    }
}
