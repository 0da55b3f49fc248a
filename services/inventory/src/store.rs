//! Where the ledger is kept: the rows of a batch, what readers may ask, and the gate before it all.

use std::sync::Arc;

use async_trait::async_trait;
use spillway_storage::{
    Committer, Resources, Rules, StoreError, Tracked,
    bus::Event,
    database::{Database, DatabaseUrl, Schema},
    group_commit::{self, Limits},
    idempotency,
};
use spillway_types::{EventId, Fault, OrderId, Sku, Timestamp};

use self::postgres::{PgReader, PgStore};
use crate::{
    DATABASE,
    domain::{
        Answer, Command, Effects, Item, Movement, Reservation, State, View, admission::Stock, command::Once, decide,
    },
};

pub mod gate;
pub mod postgres;
pub mod sqlite;
mod wanted;

/// Published at every change of a reservation; key is the order id, sequence the reservation's version.
pub const TOPIC_RESERVATION: &str = "inventory.reservation";

/// Most lapsed promises that one batch takes back; the rest waits for the next one.
const LAPSED_MAX: i64 = 256;

/// The rows that one batch touches.
#[derive(Debug, Default)]
pub struct Rows {
    pub(crate) items: Tracked<Sku, Item>,
    pub(crate) reservations: Tracked<OrderId, Reservation>,
    pub(crate) records: idempotency::Records,
    pub(crate) movements: Vec<Movement>,
    pub(crate) events: Vec<Event>,
}

/// The ledger's rules, as group commit wants them.
#[derive(Clone, Copy, Debug)]
pub struct Ledger;

/// What can be read beside the writer.
#[async_trait]
pub trait Reader: Send + Sync + 'static {
    /// An item.
    async fn item(&self, sku: &Sku) -> Result<Option<Item>, StoreError>;
    /// Items in SKU order, from the one behind `after`.
    async fn items(&self, after: Option<&Sku>, limit: u32) -> Result<Vec<Item>, StoreError>;
    /// A reservation, tombstone or recorded refusal.
    async fn reservation(&self, order_id: OrderId) -> Result<Option<Reservation>, StoreError>;
    /// What a Reserve could have of each of these SKUs at this moment; those that are not known are left out.
    async fn stocks(&self, skus: &[Sku]) -> Result<Vec<Stock>, StoreError>;
    /// Whether the store answers.
    async fn check(&self) -> Result<(), StoreError>;
}

/// The tables, as each kind of database has them.
pub const SCHEMA: Schema = Schema { file: DATABASE, sqlite: sqlite::STEPS, postgres: postgres::STEPS };

/// Opens the ledger wherever the settings say it is, and starts the writer.
///
/// # Errors
/// When the database cannot be opened or its schema is not what it must be.
pub async fn open(
    url: &DatabaseUrl,
    limits: Limits,
    resources: &Resources,
) -> Result<(Database, Committer<Ledger>, Arc<dyn Reader>), StoreError> {
    let database = Database::open(url, &resources.data, &SCHEMA).await?;
    let (committer, reader): (_, Arc<dyn Reader>) = match &database {
        Database::Sqlite(file) => {
            let (store, reader) = sqlite::ends(file, &resources.clock).await?;
            (group_commit::spawn(store, limits), Arc::new(reader))
        }
        Database::Postgres(server) => {
            (group_commit::spawn(PgStore::new(server), limits), Arc::new(PgReader::new(server.clone())))
        }
    };
    Ok((database, committer, reader))
}

// === impl Ledger ===

impl Rules for Ledger {
    type Command = Command;
    type Answer = Result<Answer, Fault>;
    type Rows = Rows;

    fn decide(rows: &mut Rows, command: &Command, now: Timestamp) -> Result<Answer, Fault> {
        match command {
            Command::CreateItem(once) => remembered(rows, command, once, now),
            Command::UpdateItem(once) => remembered(rows, command, once, now),
            Command::AdjustStock(once) => remembered(rows, command, once, now),
            Command::Reserve(_) | Command::Pin(_) | Command::Confirm(_) | Command::Release(_) | Command::Expire => {
                let decision = decide(rows, command, now);
                rows.apply(decision.effects);
                decision.answer
            }
        }
    }
}

/// Decides a command whose record is kept apart from its domain row. A refusal is not kept: asked again, it is judged
/// again.
fn remembered<T>(rows: &mut Rows, command: &Command, once: &Once<T>, now: Timestamp) -> Result<Answer, Fault> {
    let key = record_key(command, once);
    if let Some(answer) = idempotency::replay(&rows.records, &key, &once.fingerprint)? {
        return Ok(answer);
    }
    let decision = decide(rows, command, now);
    rows.apply(decision.effects);
    if let Ok(answer) = &decision.answer {
        idempotency::remember(&mut rows.records, key, once.fingerprint.clone(), answer, now);
    }
    decision.answer
}

/// The key under which a command's answer is kept.
fn record_key<T>(command: &Command, once: &Once<T>) -> idempotency::Key {
    let scope = match command {
        Command::CreateItem(_) => "CreateItem",
        Command::UpdateItem(_) => "UpdateItem",
        Command::AdjustStock(_) => "AdjustStock",
        Command::Reserve(_) | Command::Pin(_) | Command::Confirm(_) | Command::Release(_) | Command::Expire => "",
    };
    idempotency::Key { scope: scope.to_owned(), request_id: once.request_id }
}

// === impl Rows ===

impl Rows {
    fn apply(&mut self, effects: Effects) {
        let Effects { items, reservations, movements } = effects;
        for (sku, item) in items {
            self.items.put(sku, item);
        }
        for (order_id, reservation) in reservations {
            if reservation.version > 0 {
                self.events.push(event(&reservation));
            }
            self.reservations.put(order_id, reservation);
        }
        self.movements.extend(movements);
    }
}

impl View for Rows {
    fn item(&self, sku: &Sku) -> Option<&Item> {
        self.items.get(sku)
    }

    fn reservation(&self, order_id: OrderId) -> Option<&Reservation> {
        self.reservations.get(&order_id)
    }

    fn lapsed(&self, now: Timestamp) -> Vec<&Reservation> {
        let mut lapsed: Vec<_> =
            self.reservations.iter().map(|(_, reservation)| reservation).filter(|r| r.has_lapsed(now)).collect();
        lapsed.sort_by_key(|reservation| reservation.expires_at);
        lapsed
    }
}

fn event(reservation: &Reservation) -> Event {
    let lines: Vec<_> = reservation
        .lines
        .iter()
        .map(|line| serde_json::json!({ "sku": line.sku, "quantity": line.quantity, "confirmed": line.confirmed }))
        .collect();
    let payload = serde_json::json!({
        "order_id": reservation.order_id,
        "state": reservation.state.as_str(),
        "lines": lines,
    });
    Event {
        event_id: EventId::random(),
        topic: TOPIC_RESERVATION.to_owned(),
        key: reservation.order_id.to_string(),
        sequence: reservation.version,
        occurred_at: reservation.updated_at,
        payload: payload.to_string(),
    }
}

/// A state by its stored name.
pub(crate) fn stored_state(name: &str) -> Result<State, StoreError> {
    State::from_stored(name).ok_or_else(|| StoreError::corrupt(format!("reservation state {name:?}")))
}

#[cfg(test)]
mod tests;
