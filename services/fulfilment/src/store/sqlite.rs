//! Fulfilment in a SQLite file.

use std::{collections::BTreeSet, sync::Arc};

use async_trait::async_trait;
use spillway_storage::{
    Session, Store, StoreError, Tracked,
    database::Step,
    idempotency, outbox,
    sqlite::{Database, SqliteSession, json, write},
};
use spillway_types::{Clock, OrderId, ShipmentId, WarehouseId};
use sqlx::SqliteConnection;

use self::rows::{PLAN_COLUMNS, SHIPMENT_COLUMNS, WAREHOUSE_COLUMNS};
use super::{Desk, Reader, Rows, ShipmentFilter, wanted::Wanted};
use crate::domain::{Command, Day, Plan, Shipment, Warehouse};

mod rows;

/// The service's own schema.
pub(super) const STEPS: &[Step] =
    &[Step { version: 2, name: "fulfilment", sql: include_str!("../../migrations/sqlite/0002_fulfilment.sql") }];

/// The write end.
#[derive(Debug)]
pub(super) struct SqliteStore {
    session: SqliteSession,
}

/// The read end.
#[derive(Clone, Debug)]
pub(super) struct SqliteReader {
    database: Database,
}

// === impl SqliteStore ===

impl SqliteStore {
    /// The write end of a file; there is one at a time.
    pub(super) async fn new(database: &Database, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        Ok(Self { session: database.session(clock).await? })
    }
}

#[async_trait]
impl Store<Desk> for SqliteStore {
    type Session = SqliteSession;

    fn session(&mut self) -> &mut SqliteSession {
        &mut self.session
    }

    async fn load(&mut self, commands: &[Command]) -> Result<Rows, StoreError> {
        let Wanted { mut orders, parcels, warehouses, plans, records } = Wanted::by(commands);
        let now = self.session.now().await?;
        let connection = self.session.connection();
        orders.extend(orders_of(connection, &parcels).await?);
        let warehouses =
            if plans { every_warehouse(connection).await? } else { some_warehouses(connection, &warehouses).await? };
        let shipments = shipments_of(connection, &orders).await?;
        // A new parcel takes of today's capacity, a cancelled one gives back that of its own day.
        let mut loads: BTreeSet<(WarehouseId, Day)> =
            shipments.iter().map(|shipment| (shipment.warehouse_id.clone(), shipment.day)).collect();
        if plans {
            let today = Day::of(now);
            loads.extend(warehouses.iter().map(|warehouse| (warehouse.warehouse_id.clone(), today)));
        }
        Ok(Rows {
            loads: rows::loads(connection, &loads).await?,
            plans: plans_of(connection, &orders).await?,
            warehouses: Tracked::loaded(warehouses.into_iter().map(|row| (row.warehouse_id.clone(), row))),
            shipments: Tracked::loaded(shipments.into_iter().map(|row| (row.shipment_id, row))),
            records: idempotency::load(connection, records).await?,
            ..Rows::default()
        })
    }

    async fn save(&mut self, rows: &Rows) -> Result<(), StoreError> {
        let connection = self.session.connection();
        rows::save_warehouses(connection, &rows.warehouses).await?;
        rows::save_loads(connection, &rows.loads).await?;
        rows::save_plans(connection, &rows.plans).await?;
        rows::save_shipments(connection, &rows.shipments).await?;
        rows::save_changes(connection, &rows.changes).await?;
        rows::save_reports(connection, &rows.reports).await?;
        idempotency::save(connection, &rows.records).await?;
        outbox::save(connection, &rows.events).await
    }
}

async fn orders_of(
    connection: &mut SqliteConnection,
    parcels: &BTreeSet<ShipmentId>,
) -> Result<Vec<OrderId>, StoreError> {
    if parcels.is_empty() {
        return Ok(Vec::new());
    }
    let orders: Vec<String> = sqlx::query_scalar(
        "select distinct order_id from shipment where shipment_id in (select value from json_each(?1))",
    )
    .bind(json(parcels)?)
    .fetch_all(connection)
    .await
    .map_err(StoreError::database("reading whose shipments these are"))?;
    orders.iter().map(|order| order.parse().map_err(StoreError::corrupt)).collect()
}

async fn every_warehouse(connection: &mut SqliteConnection) -> Result<Vec<Warehouse>, StoreError> {
    let rows = sqlx::query(sqlx::AssertSqlSafe(format!("select {WAREHOUSE_COLUMNS} from warehouse")))
        .fetch_all(connection)
        .await
        .map_err(StoreError::database("reading all warehouses"))?;
    rows.iter().map(rows::warehouse).collect()
}

async fn some_warehouses(
    connection: &mut SqliteConnection,
    ids: &BTreeSet<WarehouseId>,
) -> Result<Vec<Warehouse>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
        "select {WAREHOUSE_COLUMNS} from warehouse where warehouse_id in (select value from json_each(?1))"
    )))
    .bind(json(ids)?)
    .fetch_all(connection)
    .await
    .map_err(StoreError::database("reading warehouses"))?;
    rows.iter().map(rows::warehouse).collect()
}

async fn plans_of(
    connection: &mut SqliteConnection,
    orders: &BTreeSet<OrderId>,
) -> Result<Tracked<OrderId, Plan>, StoreError> {
    if orders.is_empty() {
        return Ok(Tracked::default());
    }
    let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
        "select {PLAN_COLUMNS} from shipment_plan where order_id in (select value from json_each(?1))"
    )))
    .bind(json(orders)?)
    .fetch_all(connection)
    .await
    .map_err(StoreError::database("reading plans"))?;
    let plans = rows.iter().map(|row| rows::plan(row).map(|plan| (plan.order_id, plan)));
    Ok(Tracked::loaded(plans.collect::<Result<Vec<_>, _>>()?))
}

async fn shipments_of(
    connection: &mut SqliteConnection,
    orders: &BTreeSet<OrderId>,
) -> Result<Vec<Shipment>, StoreError> {
    if orders.is_empty() {
        return Ok(Vec::new());
    }
    let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
        "select {SHIPMENT_COLUMNS} from shipment where order_id in (select value from json_each(?1))"
    )))
    .bind(json(orders)?)
    .fetch_all(connection)
    .await
    .map_err(StoreError::database("reading shipments"))?;
    rows.iter().map(rows::shipment).collect()
}

// === impl SqliteReader ===

impl SqliteReader {
    /// A read end, on the database's pool.
    pub(super) const fn new(database: Database) -> Self {
        Self { database }
    }
}

#[async_trait]
impl Reader for SqliteReader {
    async fn shipment(&self, id: ShipmentId) -> Result<Option<Shipment>, StoreError> {
        let sql = sqlx::AssertSqlSafe(format!("select {SHIPMENT_COLUMNS} from shipment where shipment_id = ?1"));
        let row = sqlx::query(sql).bind(id.to_string()).fetch_optional(self.database.readers()).await;
        row.map_err(StoreError::database("reading a shipment"))?.as_ref().map(rows::shipment).transpose()
    }

    async fn shipments(
        &self,
        filter: &ShipmentFilter,
        after: Option<ShipmentId>,
        limit: u32,
    ) -> Result<Vec<Shipment>, StoreError> {
        // Written apart rather than as `?2 is null or ..`, so that the primary key serves the one and the index the other.
        let scope = if filter.order_id.is_some() { "order_id = ?2 and" } else { "" };
        let states = filter.states.as_ref().map(json).transpose()?;
        let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
            "select {SHIPMENT_COLUMNS} from shipment
              where {scope} shipment_id > ?1 and (?3 is null or state in (select value from json_each(?3)))
              order by shipment_id limit ?4"
        )))
        .bind(after.map(|id| id.to_string()).unwrap_or_default())
        .bind(filter.order_id.map(|id| id.to_string()))
        .bind(states)
        .bind(limit)
        .fetch_all(self.database.readers())
        .await
        .map_err(StoreError::database("listing shipments"))?;
        rows.iter().map(rows::shipment).collect()
    }

    async fn warehouses(&self, after: Option<&WarehouseId>, limit: u32) -> Result<Vec<Warehouse>, StoreError> {
        let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
            "select {WAREHOUSE_COLUMNS} from warehouse where warehouse_id > ?1 order by warehouse_id limit ?2"
        )))
        .bind(after.map_or("", WarehouseId::as_str))
        .bind(limit)
        .fetch_all(self.database.readers())
        .await
        .map_err(StoreError::database("listing warehouses"))?;
        rows.iter().map(rows::warehouse).collect()
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.database.check().await
    }
}
