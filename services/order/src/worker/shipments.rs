//! Moves orders along as fulfilment reports their shipments.
//!
//! News that no order can use is taken all the same: one odd order must not hold up all others. It is logged and counted,
//! and the order catches up with its next news.

use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use serde::Deserialize;
use spillway_storage::{
    Committer,
    bus::{Consumer, Event, NotTaken},
};
use spillway_types::OrderId;

use crate::{
    domain::{Answer, Command, News, Progress, State},
    store::{CONSUMER_SHIPMENTS, Orders},
};

/// Where fulfilment publishes how far the shipments of an order have come; key is the order's id.
const TOPIC: &str = "fulfilment.shipments";

/// The consumer.
#[derive(Debug)]
pub(crate) struct Shipments {
    committer: Committer<Orders>,
    /// News that had to be passed over since the start.
    unused: AtomicU64,
}

/// What fulfilment writes: the state of the least advanced live shipment of an order.
#[derive(Debug, Deserialize)]
struct Payload {
    order_id: OrderId,
    order_state: String,
}

// === impl Shipments ===

impl Shipments {
    pub(crate) const fn new(committer: Committer<Orders>) -> Self {
        Self { committer, unused: AtomicU64::new(0) }
    }

    /// Counts a piece of news that had to be passed over, and says how many there have been.
    fn pass_over(&self) -> u64 {
        self.unused.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn read(&self, event: &Event) -> Option<News> {
        match serde_json::from_str::<Payload>(&event.payload) {
            Ok(Payload { order_id, order_state }) => Progress::from_order_state(&order_state).map(|progress| News {
                event_id: event.event_id,
                order_id,
                progress,
            }),
            Err(error) => {
                let total = self.pass_over();
                tracing::error!(%error, key = event.key, sequence = event.sequence, total, "news not readable");
                None
            }
        }
    }
}

#[async_trait]
impl Consumer for Shipments {
    fn name(&self) -> &'static str {
        CONSUMER_SHIPMENTS
    }

    fn topics(&self) -> &'static [&'static str] {
        &[TOPIC]
    }

    async fn take(&self, events: Vec<Event>) -> Result<(), NotTaken> {
        let news: Vec<_> = events.iter().filter_map(|event| self.read(event)).collect();
        if news.is_empty() {
            return Ok(());
        }
        let not_taken = |problem| NotTaken { consumer: CONSUMER_SHIPMENTS, problem };
        let answer =
            self.committer.submit(Command::Follow(news)).await.map_err(|error| not_taken(error.to_string()))?;
        match answer.map_err(|fault| not_taken(fault.message))? {
            Answer::Followed(unused) => {
                for (news, state) in unused {
                    let (order_id, progress, total) = (news.order_id, news.progress, self.pass_over());
                    let state = state.map_or("none", State::as_str);
                    tracing::warn!(%order_id, ?progress, state, total, "news that the order cannot use");
                }
                Ok(())
            }
            Answer::Order(_) => Err(not_taken("the store answered another command".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use spillway_storage::group_commit::{self, Limits};
    use spillway_types::{EventId, ManualClock};

    use super::*;
    use crate::{
        domain::{
            Move, Role,
            tests::{NOON, advance, create, fresh_id},
        },
        store::{Reader, hub::Hub, sqlite},
    };

    fn event(key: OrderId, sequence: i64, payload: String) -> Event {
        let topic = TOPIC.to_owned();
        Event { event_id: EventId::random(), topic, key: key.to_string(), sequence, occurred_at: NOON, payload }
    }

    #[tokio::test]
    async fn an_order_follows_its_shipments_and_odd_news_hold_up_nobody() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("order.db");
        let (_, store, reader) = sqlite::open(&path, Arc::new(ManualClock::at(NOON)), Hub::new(1)).await.unwrap();
        let committer = group_commit::spawn(store, Limits { batch_max: 64, queue_max: 1_024 });
        let (id, stranger) = (fresh_id(), fresh_id());
        committer.submit(Command::Create(create(id, 1))).await.unwrap().unwrap();
        committer.submit(Command::Advance(advance(id, Move::Pay, Role::Saga))).await.unwrap().unwrap();

        let shipments = Shipments::new(committer);
        let says = |id: OrderId, state: &str| format!(r#"{{"order_id":"{id}","order_state":"{state}"}}"#);
        let events = vec![
            event(id, 1, says(id, "PLANNED")),
            event(stranger, 1, says(stranger, "DISPATCHED")),
            event(stranger, 2, "{}".to_owned()),
            event(id, 2, says(id, "DISPATCHED")),
            event(id, 3, says(id, "HANDED_OVER")),
        ];
        shipments.take(events.clone()).await.unwrap();
        shipments.take(events).await.unwrap();
        let order = reader.order(id).await.unwrap().unwrap();
        assert_eq!((order.state, order.version), (State::Shipped, 4));
        // The stranger's once (the inbox knows it then), the unreadable one each time.
        assert_eq!(shipments.unused.load(Ordering::Relaxed), 3);
    }
}
