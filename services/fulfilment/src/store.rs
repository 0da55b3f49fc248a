//! Where fulfilment is kept: the rows of a batch, and what readers may ask.

use std::sync::Arc;

use async_trait::async_trait;
use spillway_storage::{
    Committer, Resources, Rules, StoreError, Tracked,
    bus::Event,
    database::{Database, DatabaseUrl, Schema},
    group_commit::{self, Limits},
    idempotency,
};
use spillway_types::{EventId, Fault, OrderId, ShipmentId, Timestamp, WarehouseId};

use crate::{
    DATABASE,
    domain::{
        Answer, CarrierReport, Command, Day, Effects, Once, Plan, PlanChange, Shipment, ShipmentState, View, Warehouse,
        decide,
    },
};

mod postgres;
mod sqlite;
mod wanted;

use postgres::{PgReader, PgStore};
use sqlite::{SqliteReader, SqliteStore};

/// Published at every change of an order's parcels; key is the order id, sequence the plan's version.
pub const TOPIC_SHIPMENTS: &str = "fulfilment.shipments";

/// The rows that one batch touches.
#[derive(Debug, Default)]
pub struct Rows {
    pub(crate) warehouses: Tracked<WarehouseId, Warehouse>,
    pub(crate) loads: Tracked<(WarehouseId, Day), u32>,
    pub(crate) plans: Tracked<OrderId, Plan>,
    pub(crate) shipments: Tracked<ShipmentId, Shipment>,
    pub(crate) records: idempotency::Records,
    pub(crate) changes: Vec<PlanChange>,
    pub(crate) reports: Vec<CarrierReport>,
    pub(crate) events: Vec<Event>,
}

/// The rules of fulfilment, as group commit wants them.
#[derive(Clone, Copy, Debug)]
pub struct Desk;

/// Which shipments a listing wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShipmentFilter {
    /// Only those of this order.
    pub order_id: Option<OrderId>,
    /// Only those in one of these states.
    pub states: Option<Vec<ShipmentState>>,
}

/// What can be read beside the writer.
#[async_trait]
pub trait Reader: Send + Sync + 'static {
    /// A shipment.
    async fn shipment(&self, id: ShipmentId) -> Result<Option<Shipment>, StoreError>;
    /// Shipments by id, which groups them by order, from the one behind `after`.
    async fn shipments(
        &self,
        filter: &ShipmentFilter,
        after: Option<ShipmentId>,
        limit: u32,
    ) -> Result<Vec<Shipment>, StoreError>;
    /// Warehouses by id, from the one behind `after`.
    async fn warehouses(&self, after: Option<&WarehouseId>, limit: u32) -> Result<Vec<Warehouse>, StoreError>;
    /// Whether the store answers.
    async fn check(&self) -> Result<(), StoreError>;
}

/// The tables, as each kind of database has them.
pub const SCHEMA: Schema = Schema { file: DATABASE, sqlite: sqlite::STEPS, postgres: postgres::STEPS };

/// Opens plans and warehouses wherever the settings say they are, and starts the writer.
///
/// # Errors
/// When the database cannot be opened or its schema is not what it must be.
pub async fn open(
    url: &DatabaseUrl,
    limits: Limits,
    resources: &Resources,
) -> Result<(Database, Committer<Desk>, Arc<dyn Reader>), StoreError> {
    let database = Database::open(url, &resources.data, &SCHEMA).await?;
    let (committer, reader): (_, Arc<dyn Reader>) = match &database {
        Database::Sqlite(file) => {
            let store = SqliteStore::new(file, Arc::clone(&resources.clock)).await?;
            (group_commit::spawn(store, limits), Arc::new(SqliteReader::new(file.clone())))
        }
        Database::Postgres(server) => {
            (group_commit::spawn(PgStore::new(server), limits), Arc::new(PgReader::new(server.clone())))
        }
    };
    Ok((database, committer, reader))
}

// === impl Desk ===

impl Rules for Desk {
    type Command = Command;
    type Answer = Result<Answer, Fault>;
    type Rows = Rows;

    fn decide(rows: &mut Rows, command: &Command, now: Timestamp) -> Result<Answer, Fault> {
        match command {
            Command::CreateWarehouse(once) => remembered(rows, command, once, now),
            Command::UpdateWarehouse(once) => remembered(rows, command, once, now),
            Command::Record(once) => remembered(rows, command, once, now),
            Command::Plan(_) | Command::Cancel(_) | Command::Dispatch(_) => {
                let decision = decide(rows, command, now);
                rows.apply(decision.effects);
                decision.answer
            }
        }
    }
}

/// Decides a command whose record is kept apart from its domain row. A refusal is not kept: asked again, it is judged
/// again, so that a report which overtook the dispatch is not refused for ever.
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
        Command::CreateWarehouse(_) => "CreateWarehouse",
        Command::UpdateWarehouse(_) => "UpdateWarehouse",
        Command::Record(_) => "RecordCarrierEvent",
        Command::Plan(_) | Command::Cancel(_) | Command::Dispatch(_) => "",
    };
    idempotency::Key { scope: scope.to_owned(), request_id: once.request_id }
}

// === impl Rows ===

impl Rows {
    fn apply(&mut self, effects: Effects) {
        let Effects { warehouses, loads, plans, shipments, changes, reports } = effects;
        for (id, warehouse) in warehouses {
            self.warehouses.put(id, warehouse);
        }
        for (key, load) in loads {
            self.loads.put(key, load);
        }
        for (order_id, plan) in plans {
            self.plans.put(order_id, plan);
        }
        for (id, shipment) in shipments {
            self.shipments.put(id, shipment);
        }
        self.events.extend(changes.iter().map(event));
        self.changes.extend(changes);
        self.reports.extend(reports);
    }
}

impl View for Rows {
    fn warehouse(&self, id: &WarehouseId) -> Option<&Warehouse> {
        self.warehouses.get(id)
    }

    fn warehouses(&self) -> Vec<&Warehouse> {
        self.warehouses.iter().map(|(_, warehouse)| warehouse).collect()
    }

    fn load(&self, warehouse: &WarehouseId, day: Day) -> u32 {
        self.loads.get(&(warehouse.clone(), day)).copied().unwrap_or_default()
    }

    fn plan(&self, order_id: OrderId) -> Option<&Plan> {
        self.plans.get(&order_id)
    }

    fn shipment(&self, id: ShipmentId) -> Option<&Shipment> {
        self.shipments.get(&id)
    }
}

fn event(change: &PlanChange) -> Event {
    let payload = serde_json::json!({ "order_id": change.order_id, "order_state": change.state.as_str() });
    Event {
        event_id: EventId::random(),
        topic: TOPIC_SHIPMENTS.to_owned(),
        key: change.order_id.to_string(),
        sequence: change.version,
        occurred_at: change.at,
        payload: payload.to_string(),
    }
}

#[cfg(test)]
mod tests;
