//! Where orders are kept: the rows of a batch, what readers may ask, and who is told of commits.

use std::fmt;

use async_trait::async_trait;
use spillway_storage::{Rules, StoreError, Tracked, bus::Event, database::Schema, inbox};
use spillway_types::{BuyerId, EventId, Fault, OrderId, TenantId, Timestamp};

use crate::{
    DATABASE,
    domain::{Answer, Command, Decision, Effects, Entry, News, Order, State, View, decide},
};

pub mod announcing;
pub mod cache;
pub mod hub;
pub mod lookup;
pub mod opened;
pub mod postgres;
mod rows;
pub mod sqlite;
mod wanted;

pub use self::opened::{Opened, open};

/// The tables, as each kind of database has them.
pub const SCHEMA: Schema = Schema { file: DATABASE, sqlite: sqlite::STEPS, postgres: postgres::STEPS };

/// Published at every move of an order; key is the order id, sequence the order's version.
pub const TOPIC_STATE_CHANGED: &str = "order.state_changed";
/// The name under which fulfilment's news are noted in the inbox.
pub const CONSUMER_SHIPMENTS: &str = "order.shipments";

/// The rows that one batch touches.
#[derive(Debug, Default)]
pub struct Rows {
    pub(crate) orders: Tracked<OrderId, Order>,
    pub(crate) entries: Tracked<(OrderId, i64), Entry>,
    pub(crate) taken: inbox::Taken,
    pub(crate) events: Vec<Event>,
}

/// The rules of orders, as group commit wants them.
#[derive(Clone, Copy, Debug)]
pub struct Orders;

/// Which orders to list, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// Whose shop.
    pub tenant_id: TenantId,
    /// Only this buyer's.
    pub buyer_id: Option<BuyerId>,
    /// Only those in one of these; all when empty.
    pub states: Vec<State>,
    /// Only those older than this one.
    pub before: Option<OrderId>,
    /// How many at most.
    pub limit: u32,
}

/// What can be read beside the writer.
#[async_trait]
pub trait Reader: fmt::Debug + Send + Sync + 'static {
    /// An order or tombstone.
    async fn order(&self, order_id: OrderId) -> Result<Option<Order>, StoreError>;
    /// Orders and tombstones, newest first.
    async fn orders(&self, listing: &Listing) -> Result<Vec<Order>, StoreError>;
    /// An order's moves, oldest first, from the one behind version `after`. None for a tombstone.
    async fn entries(&self, order_id: OrderId, after: i64, limit: u32) -> Result<Vec<Entry>, StoreError>;
    /// Whether the store answers.
    async fn check(&self) -> Result<(), StoreError>;
}

// === impl Orders ===

impl Rules for Orders {
    type Command = Command;
    type Answer = Result<Answer, Fault>;
    type Rows = Rows;

    fn decide(rows: &mut Rows, command: &Command, now: Timestamp) -> Result<Answer, Fault> {
        let Decision { answer, effects } = match command {
            Command::Create(_) | Command::Advance(_) => decide(rows, command, now),
            Command::Follow(news) => {
                let fresh = Command::Follow(rows.take(news, now));
                decide(rows, &fresh, now)
            }
        };
        rows.apply(effects);
        answer
    }
}

// === impl Rows ===

impl Rows {
    /// Notes news in the inbox, and gives those that were not there before.
    fn take(&mut self, news: &[News], now: Timestamp) -> Vec<News> {
        let mut fresh = Vec::with_capacity(news.len());
        for piece in news {
            let key = (CONSUMER_SHIPMENTS.to_owned(), piece.event_id);
            if self.taken.get(&key).is_none() {
                self.taken.put(key, now);
                fresh.push(*piece);
            }
        }
        fresh
    }

    fn apply(&mut self, effects: Effects) {
        let Effects { orders, entries } = effects;
        for entry in entries {
            self.events.push(event(&entry));
            self.entries.put((entry.order_id, entry.version), entry);
        }
        for (order_id, order) in orders {
            self.orders.put(order_id, order);
        }
    }
}

impl View for Rows {
    fn order(&self, order_id: OrderId) -> Option<&Order> {
        self.orders.get(&order_id)
    }

    fn trail(&self, order_id: OrderId) -> Vec<&Entry> {
        (1..).map_while(|version| self.entries.get(&(order_id, version))).collect()
    }
}

fn event(entry: &Entry) -> Event {
    let payload = serde_json::json!({
        "order_id": entry.order_id,
        "buyer_id": entry.buyer_id,
        "version": entry.version,
        "name": entry.step,
        "from_state": entry.from_state,
        "to_state": entry.to_state,
        "role": entry.role,
        "reason": entry.reason,
    });
    Event {
        event_id: EventId::random(),
        topic: TOPIC_STATE_CHANGED.to_owned(),
        key: entry.order_id.to_string(),
        sequence: entry.version,
        occurred_at: entry.at,
        payload: payload.to_string(),
    }
}

#[cfg(test)]
pub(crate) mod tests;
