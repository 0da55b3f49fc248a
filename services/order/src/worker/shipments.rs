//! Moves orders along as fulfilment reports their shipments.
//!
//! News may come twice, late or out of turn: the inbox takes each once, and an order catches up with the furthest it has
//! heard of. News that no order can use is taken all the same, logged and counted; the order catches up with its next
//! news. News that cannot be read is refused for its own sake, so that the bus puts it aside for an operator.

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
}

/// What an event means for an order; nothing when it is about something before the order moves.
fn read(event: &Event) -> Result<Option<News>, NotTaken> {
    let Event { event_id, key, sequence, .. } = event;
    let Payload { order_id, order_state } = serde_json::from_str(&event.payload)
        .map_err(|error| NotTaken::poison(CONSUMER_SHIPMENTS, format!("news {sequence} of {key}: {error}")))?;
    let progress = Progress::from_order_state(&order_state);
    Ok(progress.map(|progress| News { event_id: *event_id, order_id, progress }))
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
        let read = events.iter().filter_map(|event| read(event).transpose());
        let news = read.collect::<Result<Vec<_>, _>>()?;
        if news.is_empty() {
            return Ok(());
        }
        let not_now = |problem| NotTaken::for_now(CONSUMER_SHIPMENTS, problem);
        let answer = self.committer.submit(Command::Follow(news)).await.map_err(|error| not_now(error.to_string()))?;
        match answer.map_err(|fault| not_now(fault.message))? {
            Answer::Followed(unused) => {
                for (news, state) in unused {
                    let (order_id, progress, total) = (news.order_id, news.progress, self.pass_over());
                    let state = state.map_or("none", State::as_str);
                    tracing::warn!(%order_id, ?progress, state, total, "news that the order cannot use");
                }
                Ok(())
            }
            Answer::Order(_) => Err(not_now("the store answered another command".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use spillway_types::EventId;

    use super::*;
    use crate::{
        domain::{
            Move, Role,
            tests::{NOON, advance, create, fresh_id},
        },
        store::tests::house::{House, Shop},
    };

    fn event(key: OrderId, sequence: i64, payload: String) -> Event {
        let topic = TOPIC.to_owned();
        Event { event_id: EventId::random(), topic, key: key.to_string(), sequence, occurred_at: NOON, payload }
    }

    fn says(id: OrderId, state: &str) -> String {
        format!(r#"{{"order_id":"{id}","order_state":"{state}"}}"#)
    }

    async fn paid_order(shop: &Shop) -> OrderId {
        let id = fresh_id();
        shop.ask(Command::Create(create(id, 1))).await.unwrap();
        shop.ask(Command::Advance(advance(id, Move::Pay, Role::Saga))).await.unwrap();
        id
    }

    #[tokio::test]
    async fn an_order_follows_its_shipments_and_odd_news_hold_up_nobody() {
        for house in House::each() {
            let house = house.await;
            let shop = house.open().await;
            let (id, stranger) = (paid_order(&shop).await, fresh_id());
            let shipments = Shipments::new(shop.committer.clone());
            let events = vec![
                event(id, 1, says(id, "PLANNED")),
                event(stranger, 1, says(stranger, "DISPATCHED")),
                event(id, 2, says(id, "DISPATCHED")),
                event(id, 3, says(id, "HANDED_OVER")),
            ];
            shipments.take(events.clone()).await.unwrap();
            shipments.take(events).await.unwrap();
            let order = shop.reader.order(id).await.unwrap().unwrap();
            assert_eq!((order.state, order.version), (State::Shipped, 4));
            assert_eq!(shipments.unused.load(Ordering::Relaxed), 1, "the stranger's, once: the inbox knows it then");

            let unreadable = vec![event(id, 4, says(id, "DELIVERED")), event(stranger, 2, "{}".to_owned())];
            let refused = shipments.take(unreadable).await.unwrap_err();
            assert!(refused.poison && refused.problem.contains(&stranger.to_string()), "{refused}");
            assert_eq!(shop.reader.order(id).await.unwrap().unwrap(), order, "a refused batch has no effect");
        }
    }

    #[tokio::test]
    async fn news_in_any_order_and_twice_come_to_the_same() {
        for house in House::each() {
            let house = house.await;
            let shop = house.open().await;
            let shipments = Shipments::new(shop.committer.clone());
            for turns in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
                let id = paid_order(&shop).await;
                let news = ["DISPATCHED", "HANDED_OVER", "DELIVERED"].map(|state| event(id, 1, says(id, state)));
                for turn in turns {
                    shipments.take(vec![news[turn].clone()]).await.unwrap();
                    shipments.take(news[turn..].iter().rev().cloned().collect()).await.unwrap();
                }
                let path = [Move::Create, Move::Pay, Move::Fulfil, Move::Ship, Move::Deliver];
                assert_eq!(shop.moves(id).await, (1..).zip(path).collect::<Vec<_>>(), "{turns:?}");
            }
            assert_eq!(shipments.unused.load(Ordering::Relaxed), 0);
        }
    }
}
